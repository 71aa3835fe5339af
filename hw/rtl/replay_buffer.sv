/// Passes words on, and repeats each `Words` of them: what a folded layer reads again for each fold of its outputs.
///
/// Formula:  beats 0 to Words - 1, Turns times one after the other; then the next Words beats, and so on.
/// Interval: 1 cycle a beat that is given. Latency: none the first time, 1 cycle from the last word to the first repeated.
/// Flow:     a word is taken as it is first given: `m_valid_o` follows `s_valid_i` and `s_ready_o` `m_ready_i`. While words
///           are repeated, none is taken.
/// Does not: keep what comes meanwhile (stream_fifo.sv).
module replay_buffer #(
  // Bits a word, words that are repeated, and how often they are given.
  parameter int unsigned Width = 8,
  parameter int unsigned Words = 4,
  parameter int unsigned Turns = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             s_valid_i,
  output logic             s_ready_o,
  input  logic [Width-1:0] s_data_i,
  output logic             m_valid_o,
  input  logic             m_ready_i,
  output logic [Width-1:0] m_data_o
);
  if (Width < 1 || Words < 1 || Turns < 1) begin : g_check
    $error("replay_buffer: Width, Words and Turns must be at least 1, but are %0d, %0d and %0d", Width, Words, Turns);
  end

  localparam int unsigned WordWidth = Words > 1 ? $clog2(Words) : 1;
  localparam int unsigned TurnWidth = Turns > 1 ? $clog2(Turns) : 1;
  logic [WordWidth-1:0] word_q, word_d;
  logic [TurnWidth-1:0] turn_q;
  logic repeats_q;  // not the first turn
  logic last, step;
  assign last = word_q == WordWidth'(Words - 1);
  assign word_d = last ? '0 : word_q + 1'b1;
  assign step = m_valid_o && m_ready_i;

  logic [Width-1:0] kept_q;  // the word at hand, where it is repeated
  assign m_valid_o = repeats_q || s_valid_i;
  assign m_data_o = repeats_q ? kept_q : s_data_i;
  assign s_ready_o = !repeats_q && m_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      word_q <= '0;
      turn_q <= '0;
      repeats_q <= 1'b0;
    end else if (step) begin
      if (Words > 1) word_q <= word_d;
      if (Turns > 1 && last) begin
        turn_q <= turn_q == TurnWidth'(Turns - 1) ? '0 : turn_q + 1'b1;
        repeats_q <= turn_q != TurnWidth'(Turns - 1);
      end
    end
  end

  if (Words == 1) begin : g_register
    always_ff @(posedge clk_i) begin
      if (step) kept_q <= m_data_o;
    end
  end else begin : g_memory
    // It reads no word in the cycle that writes it.
    (* no_rw_check *)
    logic [Width-1:0] memory_q [Words];
    always_ff @(posedge clk_i) begin
      if (step && !repeats_q) memory_q[word_q] <= s_data_i;
      if (step) kept_q <= memory_q[word_d];
    end
  end
endmodule
