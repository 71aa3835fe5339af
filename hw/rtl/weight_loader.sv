/// Takes the image of new weights word by word, writes it into the memories' other bank, checks it, and swaps the banks.
///
/// The image has for each memory a word {steps - 1 [31:16], memory [15:0]}, a word with its words - 1 [19:0], and its words
/// in the order of their addresses, each in `steps` words of 32 bits, the uppermost first. Whole, it has `Words` words.
/// Ready is what has them all, ends where a memory ends, and whose CRC-32 (ISO 3309, each word's lowest byte first) is
/// `crc_i`. `swap_i` is refused before. Then `hold_o` keeps frames out until `idle_i` says that none is inside; bank and hash
/// change in one cycle, and `hold_o` falls `Settle` cycles later, when the banks' change has reached all memories.
///
/// Interval: 5 cycles a word.
/// Latency:  a swap takes 2 + Settle cycles from `idle_i`.
/// Flow:     a word is taken with `word_valid_i` and `word_ready_o`; words that belong to no load are taken and dropped.
/// Does not: compare what it writes with what the memories are: an image of another kernel is only told by its length, and
///           by the host, which compares the kernels' hashes.
module weight_loader
  import weights_pkg::*;
#(
  // Words of the kernel's image.
  parameter int unsigned Words = 1,
  // Of the weights that the memories hold from the start.
  parameter logic [31:0] WeightsHash = 32'h0,
  // Cycles from the register of the bank to the last memory's port, at least.
  parameter int unsigned Settle = 4
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // commands, one cycle each
  input  logic        begin_i,
  input  logic        cancel_i,
  input  logic        swap_i,
  input  logic        word_valid_i,
  output logic        word_ready_o,
  input  logic [31:0] word_i,
  input  logic [31:0] crc_i,
  input  logic [31:0] new_hash_i,
  // frames
  output logic        hold_o,
  input  logic        idle_i,
  // what is so
  output status_t     status_o,
  output logic [31:0] taken_o,
  output logic [31:0] hash_o,
  output bus_t        bus_o
);
  if (Words < 1) begin : g_check_words
    $error("weight_loader: Words must be at least 1, but is %0d", Words);
  end
  if (Settle < 1) begin : g_check_settle
    $error("weight_loader: Settle must be at least 1, but is %0d", Settle);
  end

  localparam int unsigned TakenWidth = $clog2(Words + 1);
  localparam int unsigned SettleWidth = $clog2(Settle + 1);

  typedef enum logic [1:0] {
    StMemory,
    StLength,
    StWords
  } state_e;

  function automatic logic [31:0] crc_of(logic [31:0] crc, logic [7:0] value);
    logic [31:0] next;
    next = crc ^ 32'(value);
    for (int unsigned i = 0; i < 8; i++) next = next[0] ? next >> 1 ^ 32'hEDB88320 : next >> 1;
    return next;
  endfunction

  state_e state_q;
  logic loading_q, refused_q, swapping_q, bank_q, whole_q;
  logic [TakenWidth-1:0] taken_q;
  logic [SettleWidth-1:0] settle_q;
  logic [2:0] busy_q;  // 4: the word is new; each cycle a byte of it goes into the checksum
  logic [31:0] word_q, crc_q, hash_q;
  logic [15:0] memory_q, steps_q, step_q;  // steps, counted from 0, and those that are still to come
  logic [19:0] address_q, last_q;
  logic all, right, take, fresh;

  assign all   = taken_q == TakenWidth'(Words) && busy_q == '0;
  assign right = state_q == StMemory && ~crc_q == crc_i;
  assign take  = word_valid_i && word_ready_o && loading_q && !swapping_q && taken_q != TakenWidth'(Words);
  assign fresh = busy_q == 3'd4;

  assign word_ready_o = busy_q == '0;
  assign hold_o       = swapping_q;
  assign taken_o      = 32'(taken_q);
  assign hash_o       = hash_q;
  assign status_o     = '{
          loading: loading_q,
          ready: loading_q && all && right,
          damaged: loading_q && all && !right,
          swapping: swapping_q,
          refused: refused_q,
          bank: bank_q
      };
  assign bus_o = '{
          bank: bank_q,
          shift: fresh && state_q == StWords,
          store: whole_q,
          memory: memory_q,
          address: address_q,
          data: word_q
      };

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      loading_q  <= 1'b0;
      refused_q  <= 1'b0;
      swapping_q <= 1'b0;
      bank_q     <= 1'b0;
      hash_q     <= WeightsHash;
      settle_q   <= '0;
    end else if (swapping_q) begin
      if (settle_q != '0) begin
        settle_q <= settle_q - 1'b1;
        if (settle_q == SettleWidth'(1)) swapping_q <= 1'b0;
      end else if (idle_i) begin
        loading_q <= 1'b0;
        bank_q    <= !bank_q;
        hash_q    <= new_hash_i;
        settle_q  <= SettleWidth'(Settle);
      end
    end else if (begin_i) begin
      loading_q <= 1'b1;
      refused_q <= 1'b0;
    end else if (cancel_i) begin
      loading_q <= 1'b0;
    end else if (swap_i) begin
      swapping_q <= status_o.ready;
      refused_q  <= !status_o.ready;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni || (begin_i && !swapping_q)) begin
      taken_q <= '0;
      crc_q   <= '1;
      busy_q  <= '0;
      whole_q <= 1'b0;
      state_q <= StMemory;
    end else begin
      whole_q <= 1'b0;
      if (take) begin
        taken_q <= taken_q + 1'b1;
        word_q  <= word_i;
        busy_q  <= 3'd4;
      end
      if (busy_q != '0) begin
        busy_q <= busy_q - 1'b1;
        word_q <= word_q >> 8;
        crc_q  <= crc_of(crc_q, word_q[7:0]);
      end
      if (whole_q) begin
        address_q <= address_q + 1'b1;
        if (address_q == last_q) state_q <= StMemory;
      end
      if (fresh) begin
        unique case (state_q)
          StMemory: begin
            memory_q <= word_q[15:0];
            steps_q  <= word_q[31:16];
            state_q  <= StLength;
          end
          StLength: begin
            last_q    <= word_q[19:0];
            address_q <= '0;
            step_q    <= steps_q;
            state_q   <= StWords;
          end
          default: begin
            step_q  <= step_q == '0 ? steps_q : step_q - 1'b1;
            whole_q <= step_q == '0;
          end
        endcase
      end
    end
  end
endmodule
