/// What window_memory promises, as assertions over all inputs, for one block.
///
/// One symbolic pixel is followed: `follow_i` picks any one as it is taken, and wherever a beat is of a tap on it, it must
/// be there unchanged; where a tap lies outside of the map the beat must be 0. Windows come in order, none before its
/// pixels and none late. Assumed of the sender is that a pixel on offer stays until it is taken; reset is low in the first
/// cycle, and whenever it likes after it.
module window_memory_proof #(
  parameter int unsigned Channels = 1,
  parameter int unsigned Width = 1,
  parameter int unsigned ImgH = 2,
  parameter int unsigned ImgW = 2,
  parameter int unsigned KernelH = 1,
  parameter int unsigned KernelW = 1,
  parameter int unsigned StrideH = 1,
  parameter int unsigned StrideW = 1,
  parameter int unsigned DilationH = 1,
  parameter int unsigned DilationW = 1,
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  parameter int unsigned Simd = 1,
  parameter int unsigned Turns = 1,
  parameter int unsigned Pixels = 1,
  // Longest stall of the receiver, in cycles, under which beats are promised to come in time.
  parameter int unsigned Stall = 1,
  localparam int unsigned PixelWidth = Channels * Width,
  localparam int unsigned WordWidth = Simd * Width
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic                  s_valid_i,
  input logic [PixelWidth-1:0] s_data_i,
  input logic                  m_ready_i,
  input logic                  follow_i
);
  logic s_ready, m_valid;
  logic [WordWidth-1:0] m_data;

  window_memory #(
    .Channels (Channels),
    .Width    (Width),
    .ImgH     (ImgH),
    .ImgW     (ImgW),
    .KernelH  (KernelH),
    .KernelW  (KernelW),
    .StrideH  (StrideH),
    .StrideW  (StrideW),
    .DilationH(DilationH),
    .DilationW(DilationW),
    .PadTop   (PadTop),
    .PadLeft  (PadLeft),
    .PadBottom(PadBottom),
    .PadRight (PadRight),
    .Simd     (Simd),
    .Turns    (Turns),
    .Pixels   (Pixels)
  ) u_cell (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o(s_ready),
    .s_data_i,
    .m_valid_o(m_valid),
    .m_ready_i,
    .m_data_o (m_data)
  );

  typedef logic signed [7:0] count_t;
  localparam count_t Frame = count_t'(ImgH * ImgW);
  localparam count_t Top = count_t'(PadTop);
  localparam count_t Left = count_t'(PadLeft);
  localparam count_t Rows = count_t'(ImgH);
  localparam count_t Columns = count_t'(ImgW);
  localparam count_t Slices = count_t'(Channels / Simd);
  localparam count_t ReachH = count_t'((KernelH - 1) * DilationH + 1);
  localparam count_t ReachW = count_t'((KernelW - 1) * DilationW + 1);
  localparam count_t WindowRows = count_t'((PadTop + ImgH + PadBottom - ((KernelH - 1) * DilationH + 1)) / StrideH + 1);
  localparam count_t WindowColumns = count_t'((PadLeft + ImgW + PadRight - ((KernelW - 1) * DilationW + 1)) / StrideW + 1);
  localparam int unsigned Beats = 32'(WindowRows) * 32'(WindowColumns) * Turns * KernelH * KernelW * 32'(Slices);

  logic started, prompt, stalls;
  stream_proof #(
    .Width(WordWidth),
    .Stall(Stall)
  ) u_stream (
    .clk_i,
    .rst_ni,
    .valid_i  (m_valid),
    .ready_i  (m_ready_i),
    .data_i   (m_data),
    .started_o(started),
    .stall_o  (),
    .prompt_o (prompt),
    .stalls_o (stalls)
  );

  // ---- The sender: what it offers stays ---------------------------------------------------------------------------
  logic offered_q;
  logic [PixelWidth-1:0] offer_q;
  always_ff @(posedge clk_i) begin
    offered_q <= rst_ni && s_valid_i && !s_ready;
    offer_q <= s_data_i;
  end
  always_comb if (started && offered_q) assume (s_valid_i && s_data_i == offer_q);

  // ---- Where the next beat belongs --------------------------------------------------------------------------------
  typedef struct packed {
    count_t row;
    count_t column;
    count_t turn;
    count_t tap_row;
    count_t tap_column;
    count_t slice;
  } step_t;
  function automatic step_t after(input step_t step);
    after = step;
    after.slice = step.slice + 8'sd1;
    if (after.slice != Slices) return after;
    after.slice = '0;
    after.tap_column = step.tap_column + 8'sd1;
    if (after.tap_column != count_t'(KernelW)) return after;
    after.tap_column = '0;
    after.tap_row = step.tap_row + 8'sd1;
    if (after.tap_row != count_t'(KernelH)) return after;
    after.tap_row = '0;
    after.turn = step.turn + 8'sd1;
    if (after.turn != count_t'(Turns)) return after;
    after.turn = '0;
    after.column = step.column + 8'sd1;
    if (after.column != WindowColumns) return after;
    after.column = '0;
    after.row = step.row + 8'sd1 == WindowRows ? '0 : step.row + 8'sd1;
  endfunction

  step_t next_q;
  count_t lead_q;  // pixels taken since the first one of the next beat's frame
  logic push, pop, frame_end;
  assign push = s_valid_i && s_ready;
  assign pop = m_valid && m_ready_i;
  assign frame_end = pop && after(next_q) == '0;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_q <= '0;
      lead_q <= '0;
    end else begin
      if (pop) next_q <= after(next_q);
      lead_q <= lead_q + (push ? 8'sd1 : 8'sd0) - (frame_end ? Frame : 8'sd0);
    end
  end

  // Pixels of its frame that a window needs, in the order in which they come.
  function automatic count_t needed(input count_t row, input count_t column);
    count_t last_row, last_column;
    last_row = row * count_t'(StrideH) + ReachH - 8'sd1 - Top;
    last_column = column * count_t'(StrideW) + ReachW - 8'sd1 - Left;
    if (last_row < 8'sd0) return 8'sd1;
    if (last_row >= Rows) return Frame;
    if (last_column < 8'sd0) last_column = '0;
    if (last_column >= Columns) last_column = Columns - 8'sd1;
    return last_row * Columns + last_column + 8'sd1;
  endfunction
  logic owed;  // all that the beat's window needs is there
  assign owed = lead_q >= needed(next_q.row, next_q.column);
  always_comb if (started && m_valid) none_before_its_pixels: assert (owed);

  // ---- No pixel lost, doubled or changed ----------------------------------------------------------------------------
  logic followed_q;
  count_t place, place_q;  // in the next beat's frame; the next frame's from `Frame` on
  logic [PixelWidth-1:0] pixel_q;
  assign place = lead_q - (frame_end ? Frame : 8'sd0);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      followed_q <= 1'b0;
    end else if (!followed_q) begin
      followed_q <= push && follow_i && place >= 8'sd0;
      pixel_q <= s_data_i;
      place_q <= place;
    end else if (frame_end) begin
      place_q <= place_q - Frame;
      followed_q <= place_q >= Frame;
    end
  end
  // The place in its frame of the pixel that a step's tap is on; below 0 where that is padding.
  function automatic count_t tapped(input step_t step);
    count_t row, column;
    row = step.row * count_t'(StrideH) + step.tap_row * count_t'(DilationH) - Top;
    column = step.column * count_t'(StrideW) + step.tap_column * count_t'(DilationW) - Left;
    if (row < 8'sd0 || row >= Rows || column < 8'sd0 || column >= Columns) return -8'sd1;
    return row * Columns + column;
  endfunction
  function automatic logic [WordWidth-1:0] word(input logic [PixelWidth-1:0] pixel, input count_t slice);
    return WordWidth'(pixel >> (32'(slice) * WordWidth));
  endfunction
  always_comb begin
    if (started && m_valid) begin
      if (tapped(next_q) < 8'sd0) padding_is_zero: assert (m_data == '0);
      else if (followed_q && tapped(next_q) == place_q) pixel_unchanged: assert (m_data == word(pixel_q, next_q.slice));
    end
  end

  // ---- Progress under stalls of at most `Stall` cycles --------------------------------------------------------------
  logic [5:0] waits_q, late_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waits_q <= '0;
      late_q <= '0;
    end else begin
      waits_q <= s_valid_i && !s_ready ? waits_q + 1'b1 : '0;
      late_q <= owed && !pop ? late_q + 1'b1 : '0;
    end
  end
  always_comb begin
    if (started && prompt) begin
      // A full memory waits for windows to be read, but not for a whole frame of them.
      pixel_taken_in_time: assert (32'(waits_q) <= 32'(Slices) + (Beats + 2) * (Stall + 1));
      beat_comes_in_time: assert (32'(late_q) < 3 + Stall);
    end
  end

`ifdef INSIDE
  // ---- What makes it inductive: where the walk stands, what it counts, and what the ring holds of the followed pixel ----
  // Pixels of its frame that neither a window nor a later one needs.
  function automatic count_t gone(input count_t row, input count_t column);
    count_t first_row, first_column;
    first_row = row * count_t'(StrideH) - Top;
    first_column = column * count_t'(StrideW) - Left;
    if (first_row < 8'sd0) return 8'sd0;
    if (first_row >= Rows) return Frame;
    if (first_column < 8'sd0) first_column = '0;
    if (first_column > Columns) first_column = Columns;
    return first_row * Columns + first_column;
  endfunction
  function automatic logic in_range(input step_t step);
    return step.row >= 8'sd0 && step.row < WindowRows && step.column >= 8'sd0 && step.column < WindowColumns
        && step.turn >= 8'sd0 && step.turn < count_t'(Turns) && step.tap_row >= 8'sd0 && step.tap_row < count_t'(KernelH)
        && step.tap_column >= 8'sd0 && step.tap_column < count_t'(KernelW) && step.slice >= 8'sd0 && step.slice < Slices;
  endfunction

  // The steps of the walk and of the memory's register, and how many frames these are ahead of the next beat's.
  step_t walk, read;
  count_t walk_frames, read_frames;
  assign walk.row = count_t'(u_cell.row_q);
  assign walk.column = count_t'(u_cell.column_q);
  assign walk.turn = count_t'(u_cell.turn_q);
  assign walk.tap_row = count_t'(u_cell.tap_row_q);
  assign walk.tap_column = count_t'(u_cell.tap_column_q);
  assign walk.slice = count_t'(u_cell.slice_q);
  assign read = m_valid ? after(next_q) : next_q;
  assign read_frames = m_valid && read == '0 ? 8'sd1 : 8'sd0;
  assign walk_frames = read_frames + (u_cell.waits_q && after(read) == '0 ? 8'sd1 : 8'sd0);
  always_comb begin
    if (started) begin
      inside_range: assert (in_range(next_q));
      inside_walk: assert (walk == (u_cell.waits_q ? after(read) : read) && u_cell.set_q == '0);
    end
  end

  // Pixels taken since the first one of the walk's frame, and the window before the walk's.
  count_t taken, earlier;
  assign taken = lead_q - walk_frames * Frame;
  always_comb begin
    if (walk.column != 8'sd0) earlier = needed(walk.row, walk.column - 8'sd1);
    else if (walk.row != 8'sd0) earlier = needed(walk.row - 8'sd1, WindowColumns - 8'sd1);
    else earlier = needed(WindowRows - 8'sd1, WindowColumns - 8'sd1) - Frame;
  end
  always_comb begin
    if (started) begin
      inside_lead: assert (count_t'(u_cell.lead_q) == taken - needed(walk.row, walk.column));
      inside_room: assert (count_t'(u_cell.room_q) == count_t'(Pixels) - 8'sd1 - taken + gone(walk.row, walk.column));
      inside_full: assert (count_t'(u_cell.room_q) >= -8'sd1);
      inside_enough: assert (taken >= earlier);
      if (walk.turn != '0 || walk.tap_row != '0 || walk.tap_column != '0 || walk.slice != '0) begin
        inside_whole: assert (taken >= needed(walk.row, walk.column));
      end
      if (u_cell.waits_q) inside_read_owed: assert (lead_q - read_frames * Frame >= needed(read.row, read.column));
    end
  end

  // What is known of a counter's last value and of the next window ahead of time.
  step_t ahead;  // where the window behind the walk's begins
  count_t frame_ahead;
  always_comb begin
    ahead = '0;
    if (walk.column != WindowColumns - 8'sd1) {ahead.row, ahead.column} = {walk.row, walk.column + 8'sd1};
    else if (walk.row != WindowRows - 8'sd1) ahead.row = walk.row + 8'sd1;
    frame_ahead = ahead == '0 ? Frame : '0;
  end
  always_comb begin
    if (started) begin
      inside_last_tap: assert (u_cell.slice_last_q == (walk.slice == Slices - 8'sd1)
          && u_cell.tap_column_last_q == (walk.tap_column == count_t'(KernelW) - 8'sd1)
          && u_cell.tap_row_last_q == (walk.tap_row == count_t'(KernelH) - 8'sd1));
      inside_last_window: assert (u_cell.turn_last_q == (walk.turn == count_t'(Turns) - 8'sd1) && u_cell.set_last_q
          && u_cell.column_last_q == (walk.column == WindowColumns - 8'sd1)
          && u_cell.row_last_q == (walk.row == WindowRows - 8'sd1));
      inside_ahead: assert (
          count_t'(u_cell.step_q.needed) == needed(ahead.row, ahead.column) + frame_ahead - needed(walk.row, walk.column)
          && count_t'(u_cell.step_q.gone) == gone(ahead.row, ahead.column) + frame_ahead - gone(walk.row, walk.column));
    end
  end

  // The ring: `base_q` is where the first pixel of the walk's frame is.
  typedef logic [7:0] slot_t;
  slot_t base_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) base_q <= '0;
    else if (u_cell.issue && u_cell.ends_frame) base_q <= 8'((32'(base_q) + ImgH * ImgW) % Pixels);
  end
  function automatic slot_t slot(input slot_t base, input count_t pixel);
    return 8'(32'(unsigned'(count_t'(base) + pixel + count_t'(16 * Pixels))) % Pixels);
  endfunction
  count_t begins, origin, line;
  assign begins = (walk.row * count_t'(StrideH) - Top) * Columns - Left;
  assign origin = begins + walk.column * count_t'(StrideW);
  assign line = origin + walk.tap_row * count_t'(DilationH) * Columns;
  slot_t write_slot;
  assign write_slot = slot(base_q, taken);
  always_comb begin
    if (started) begin
      inside_base: assert (32'(base_q) < Pixels);
      inside_begin: assert (8'(u_cell.begin_q) == slot(base_q, begins) * 8'(Slices));
      inside_origin: assert (8'(u_cell.origin_q) == slot(base_q, origin) * 8'(Slices));
      inside_line: assert (8'(u_cell.line_q) == slot(base_q, line) * 8'(Slices));
      inside_address: assert (8'(u_cell.address_q)
          == slot(base_q, line + walk.tap_column * count_t'(DilationW)) * 8'(Slices) + 8'(walk.slice));
      inside_write: assert (8'(u_cell.write_q) == write_slot * 8'(Slices) + 8'(u_cell.word_q));
      inside_word: assert (count_t'(u_cell.word_q) < Slices && u_cell.word_last_q == (count_t'(u_cell.word_q) == Slices - 8'sd1));
      if (u_cell.word_q != '0) inside_offer: assert (offered_q && count_t'(u_cell.room_q) >= 8'sd0);
    end
  end

  // The followed pixel, in the walk's frame.
  count_t index;
  assign index = place_q - walk_frames * Frame;
  always_comb begin
    if (started && followed_q) inside_place: assert (place_q >= 8'sd0 && place_q < lead_q);
  end
  for (genvar at = 0; at < Pixels; at++) begin : g_pixel
    for (genvar w = 0; w < Channels / Simd; w++) begin : g_word
      logic [WordWidth-1:0] held;
      assign held = u_cell.g_distributed.memory_q[at*(Channels/Simd)+w];
      always_comb begin
        if (started && followed_q && index >= gone(walk.row, walk.column) && 32'(slot(base_q, index)) == at) begin
          inside_held: assert (held == word(pixel_q, count_t'(w)));
        end
        if (started && w < 32'(u_cell.word_q) && 32'(write_slot) == at) inside_offered: assert (held == word(offer_q, count_t'(w)));
      end
    end
  end

  always_comb begin
    if (started && u_cell.waits_q) begin
      inside_padding: assert (u_cell.padding_q == (tapped(read) < 8'sd0));
      if (followed_q && tapped(read) >= 8'sd0 && tapped(read) == place_q - read_frames * Frame) begin
        inside_read: assert (u_cell.read_q == word(pixel_q, read.slice));
      end
    end
  end
  if (PadTop + PadLeft + PadBottom + PadRight > 0) begin : g_padded
    always_comb begin
      if (started) begin
        inside_places: assert (count_t'(u_cell.g_padded.top_q) == walk.row * count_t'(StrideH)
            && count_t'(u_cell.g_padded.left_q) == walk.column * count_t'(StrideW)
            && count_t'(u_cell.g_padded.place_row_q) == walk.row * count_t'(StrideH) + walk.tap_row * count_t'(DilationH)
            && count_t'(u_cell.g_padded.place_column_q)
                == walk.column * count_t'(StrideW) + walk.tap_column * count_t'(DilationW));
      end
    end
  end
`endif

  // ---- The proof reaches the end of two whole frames ----------------------------------------------------------------
  logic [2:0] frames_q;  // given whole
  always_ff @(posedge clk_i) begin
    if (!rst_ni) frames_q <= '0;
    else frames_q <= frames_q + 3'(frame_end);
  end
  always_comb if (started && rst_ni && frames_q == 3'd2 && stalls) two_frames: cover (1'b1);
endmodule
