/// Reads frames from the frame buffer and hands them out pixel by pixel.
///
/// Formula:  one beat is one pixel: `Channels` bytes, channel 0 lowest; a frame is `Pixels` beats. Byte b of the frame is
///           byte b % 8 of the slot's word b / 8.
/// Interval: Pixels cycles a frame, without a bubble between frames that wait at `s_*` (Pixels >= 2).
/// Latency:  4 cycles from the slot's handshake to its first pixel when idle.
/// Flow:     a slot is taken ahead, while the frame before it is being read; `fetched_o` tells for one cycle that the last
///           word of `fetched_slot_o` is being read, after which the slot may be overwritten.
/// Does not: know what is in a frame.
module pixel_feeder #(
  parameter int unsigned Pixels = 784,
  parameter int unsigned Channels = 1,  // bytes of a pixel
  parameter int unsigned Slots = 8,
  localparam int unsigned Words = (Pixels * Channels + 7) / 8,
  localparam int unsigned SlotWidth = $clog2(Slots),
  localparam int unsigned AddrWidth = $clog2(Slots * Words)
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  s_valid_i,
  output logic                  s_ready_o,
  input  logic [ SlotWidth-1:0] s_slot_i,
  // frame buffer: answers one cycle later and holds
  output logic                  read_en_o,
  output logic [ AddrWidth-1:0] read_addr_o,
  input  logic [          63:0] read_data_i,
  output logic                  fetched_o,
  output logic [ SlotWidth-1:0] fetched_slot_o,
  output logic                  m_valid_o,
  input  logic                  m_ready_i,
  output logic [Channels*8-1:0] m_data_o
);

  if (Channels < 1 || Channels > 8) begin : gen_channels_check
    $error("pixel_feeder: Channels must be 1 to 8, but is %0d", Channels);
  end
  if (Pixels < 1) begin : gen_pixels_check
    $error("pixel_feeder: Pixels must be at least 1, but is %0d", Pixels);
  end

  localparam int unsigned WordCountWidth = $clog2(Words + 1);
  localparam int unsigned PixelCountWidth = $clog2(Pixels + 1);

  // Fetch: one word a cycle as long as there is room behind the memory.
  logic next_valid_q;
  logic [SlotWidth-1:0] next_slot_q, slot_q;
  logic fetching_q;
  logic [WordCountWidth-1:0] words_left_q;
  logic [AddrWidth-1:0] addr_q;
  logic last_word_q, start;  // `last_word_q` is a register, so that no comparison is on the path to the memory

  // Words on their way: the memory's output, then `next`, then `word`, from which pixels are cut.
  logic memory_valid_q, next_word_valid_q, word_valid_q;
  logic [63:0] next_word_q, word_q;
  logic take_memory;

  // Pixels.
  logic [PixelCountWidth-1:0] pixels_left_q;
  logic [2:0] offset_q;  // first byte of the pixel in `word`
  logic [3:0] pixel_end;  // first byte behind it
  logic straddles, ends_word, take;
  logic last_pixel_q;  // a register for the same reason
  logic [127:0] pair;
  logic [1:0] drop;

  assign s_ready_o      = !next_valid_q;
  assign read_en_o      = fetching_q && (!memory_valid_q || take_memory);
  assign read_addr_o    = addr_q;
  assign fetched_o      = read_en_o && last_word_q;
  assign fetched_slot_o = slot_q;
  assign start          = next_valid_q && (!fetching_q || fetched_o);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_valid_q <= 1'b0;
      fetching_q   <= 1'b0;
    end else begin
      if (s_valid_i && s_ready_o) begin
        next_valid_q <= 1'b1;
      end else if (start) begin
        next_valid_q <= 1'b0;
      end
      if (start) begin
        fetching_q <= 1'b1;
      end else if (fetched_o) begin
        fetching_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_valid_i && s_ready_o) begin
      next_slot_q <= s_slot_i;
    end
    if (start) begin
      slot_q       <= next_slot_q;
      words_left_q <= WordCountWidth'(Words);
      last_word_q    <= Words == 1;
      addr_q       <= AddrWidth'(32'(next_slot_q) * Words);
    end else if (read_en_o) begin
      words_left_q <= words_left_q - WordCountWidth'(1);
      last_word_q    <= 32'(words_left_q) == 2;
      addr_q       <= addr_q + AddrWidth'(1);
    end
  end

  assign pixel_end  = {1'b0, offset_q} + 4'(Channels);
  assign straddles  = pixel_end > 4'd8;
  assign ends_word  = pixel_end >= 4'd8;
  assign pair       = {next_word_q, word_q};
  assign m_valid_o  = word_valid_q && (!straddles || next_word_valid_q);
  assign m_data_o   = pair[{1'b0, offset_q, 3'b000}+:Channels*8];
  assign take       = m_valid_o && m_ready_i;

  // A frame's last pixel drops what is left of its last word.
  always_comb begin
    drop = 2'd0;
    if (take) begin
      if (last_pixel_q && straddles) begin
        drop = 2'd2;
      end else if (last_pixel_q || ends_word) begin
        drop = 2'd1;
      end
    end
  end

  assign take_memory = memory_valid_q && (drop != 2'd0 || !word_valid_q || !next_word_valid_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      memory_valid_q    <= 1'b0;
      next_word_valid_q <= 1'b0;
      word_valid_q      <= 1'b0;
      pixels_left_q     <= PixelCountWidth'(Pixels);
      last_pixel_q      <= Pixels == 1;
      offset_q          <= '0;
    end else begin
      if (read_en_o) begin
        memory_valid_q <= 1'b1;
      end else if (take_memory) begin
        memory_valid_q <= 1'b0;
      end
      if (drop == 2'd1 && next_word_valid_q) begin
        next_word_valid_q <= memory_valid_q;
      end else if (drop != 2'd0 || !word_valid_q) begin
        word_valid_q      <= memory_valid_q;
        next_word_valid_q <= 1'b0;
      end else if (take_memory) begin
        next_word_valid_q <= 1'b1;
      end
      if (take) begin
        pixels_left_q <= last_pixel_q ? PixelCountWidth'(Pixels) : pixels_left_q - PixelCountWidth'(1);
        last_pixel_q  <= last_pixel_q ? Pixels == 1 : 32'(pixels_left_q) == 2;
        offset_q      <= last_pixel_q ? 3'd0 : pixel_end[2:0];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (drop == 2'd1 && next_word_valid_q) begin
      word_q      <= next_word_q;
      next_word_q <= read_data_i;
    end else if (take_memory) begin
      if (drop != 2'd0 || !word_valid_q) begin
        word_q <= read_data_i;
      end else begin
        next_word_q <= read_data_i;
      end
    end
  end

endmodule
