/// What sliding_window promises, as assertions over all inputs.
///
/// One symbolic pixel is followed: `follow_i` picks any one as it is taken, and wherever a window has it, it must be
/// there unchanged; where a window lies outside of the image it must be 0. Windows come in order, none before its pixels
/// and none late. Nothing is assumed of the neighbours; reset is low in the first cycle, and whenever it likes after it.
module sliding_window_proof #(
  parameter int unsigned Channels = 1,
  parameter int unsigned Width = 1,
  parameter int unsigned ImgH = 3,
  parameter int unsigned ImgW = 3,
  parameter int unsigned Kernel = 2,
  parameter int unsigned Stride = 1,
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  // Longest stall of the receiver, in cycles, under which windows are promised to come in time.
  parameter int unsigned Stall = 1,
  localparam int unsigned PixelWidth = Channels * Width
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic                  s_valid_i,
  input logic [PixelWidth-1:0] s_data_i,
  input logic                  m_ready_i,
  input logic                  follow_i
);
  logic s_ready, m_valid;
  logic [Kernel*Kernel*PixelWidth-1:0] m_data;

  sliding_window #(
    .Channels (Channels),
    .Width    (Width),
    .ImgH     (ImgH),
    .ImgW     (ImgW),
    .Kernel   (Kernel),
    .Stride   (Stride),
    .PadTop   (PadTop),
    .PadLeft  (PadLeft),
    .PadBottom(PadBottom),
    .PadRight (PadRight)
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
  localparam count_t Pixels = count_t'(ImgH * ImgW);
  localparam int unsigned Rows = (PadTop + ImgH + PadBottom - Kernel) / Stride + 1;
  localparam int unsigned Columns = (PadLeft + ImgW + PadRight - Kernel) / Stride + 1;
  // Positions that take no pixel, between two that do, at most; each takes no longer than a stall and a cycle.
  localparam int unsigned PadRun = PadLeft + PadRight + (PadTop + PadBottom) * (PadLeft + ImgW + PadRight);

  logic started, push, pop, frame_end;
  count_t next_row, next_column, lead;
  window_proof #(
    .Width    (Kernel * Kernel * PixelWidth),
    .ImgH     (ImgH),
    .ImgW     (ImgW),
    .Kernel   (Kernel),
    .Stride   (Stride),
    .PadTop   (PadTop),
    .PadLeft  (PadLeft),
    .PadBottom(PadBottom),
    .PadRight (PadRight),
    .Stall    (Stall),
    .Bound    ((PadRun + 2) * (Stall + 1))
  ) u_windows (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_i  (s_ready),
    .m_valid_i  (m_valid),
    .m_ready_i,
    .m_data_i   (m_data),
    .started_o  (started),
    .push_o     (push),
    .pop_o      (pop),
    .row_o      (next_row),
    .column_o   (next_column),
    .lead_o     (lead),
    .frame_end_o(frame_end)
  );

  // ---- No pixel lost, doubled or changed ------------------------------------------------------------------------
  logic followed_q;
  count_t place, place_q;  // in the next window's frame; the next frame's from `Pixels` on
  logic [PixelWidth-1:0] pixel_q;
  assign place = lead - (frame_end ? Pixels : 8'sd0);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      followed_q <= 1'b0;
    end else if (!followed_q) begin
      followed_q <= push && follow_i && place >= 8'sd0;
      pixel_q <= s_data_i;
      place_q <= place;
    end else if (frame_end) begin
      place_q <= place_q - Pixels;
      followed_q <= place_q >= Pixels;
    end
  end
  for (genvar kr = 0; kr < Kernel; kr++) begin : g_row
    for (genvar kc = 0; kc < Kernel; kc++) begin : g_column
      count_t row, column;
      logic [PixelWidth-1:0] value;
      assign row = next_row * count_t'(Stride) + count_t'(kr) - count_t'(PadTop);
      assign column = next_column * count_t'(Stride) + count_t'(kc) - count_t'(PadLeft);
      assign value = m_data[(kr*Kernel+kc)*PixelWidth+:PixelWidth];
      always_comb begin
        if (started && m_valid) begin
          if (row < 8'sd0 || row >= count_t'(ImgH) || column < 8'sd0 || column >= count_t'(ImgW)) begin
            padding_is_zero: assert (value == '0);
          end else if (followed_q && place_q == row * count_t'(ImgW) + column) pixel_unchanged: assert (value == pixel_q);
        end
      end
    end
  end

`ifdef INSIDE
  // ---- What makes it inductive: where the walk stands, and what the registers hold of the rows that it has seen ----
  localparam int unsigned RowsNeeded = (Rows - 1) * Stride + Kernel;
  localparam int unsigned ColumnsNeeded = (Columns - 1) * Stride + Kernel;
  localparam count_t GridRows = count_t'(RowsNeeded > PadTop + ImgH ? RowsNeeded : PadTop + ImgH);
  localparam count_t GridColumns = count_t'(ColumnsNeeded > PadLeft + ImgW ? ColumnsNeeded : PadLeft + ImgW);
  localparam count_t Top = count_t'(PadTop);
  localparam count_t Left = count_t'(PadLeft);
  localparam count_t Lines = count_t'(Kernel) - 8'sd1;
  localparam count_t LastRow = count_t'(Rows - 1);
  localparam count_t LastColumn = count_t'(Columns - 1);

  // A position's place in the walk of a frame, and that of a window's last position.
  function automatic count_t position(input count_t row, input count_t column);
    return row * GridColumns + column;
  endfunction
  function automatic count_t ending(input count_t row, input count_t column);
    return position(row * count_t'(Stride) + Lines, column * count_t'(Stride) + Lines);
  endfunction
  function automatic count_t clipped(input count_t value, input count_t limit);
    return value < 8'sd0 ? 8'sd0 : value > limit ? limit : value;
  endfunction
  function automatic logic inside_image(input count_t row, input count_t column);
    return row >= Top && row < Top + count_t'(ImgH) && column >= Left && column < Left + count_t'(ImgW);
  endfunction
  // Steps until a window's last row or column, from index `at`.
  function automatic count_t wait_at(input count_t at);
    count_t left;
    left = Lines - at;
    for (int unsigned step = 0; step < 64; step++) if (left < 8'sd0) left = left + count_t'(Stride);
    return left;
  endfunction

  count_t at_row, at_column, at, passed, frames_ahead, held_row, held_column;
  assign at_row = count_t'(u_cell.row_q);
  assign at_column = count_t'(u_cell.column_q);
  assign at = position(at_row, at_column);
  // Pixels of the walk's frame before the position.
  assign passed = clipped(at_row - Top, count_t'(ImgH)) * count_t'(ImgW)
      + (at_row >= Top && at_row < Top + count_t'(ImgH) ? clipped(at_column - Left, count_t'(ImgW)) : 8'sd0);
  // How many frames the walk is ahead of the next window.
  always_comb begin
    if (m_valid) frames_ahead = ending(next_row, next_column) < at ? 8'sd0 : 8'sd1;
    else frames_ahead = ending(next_row, next_column) >= at ? 8'sd0 : -8'sd1;
  end
  // The followed pixel, in the padded image of the walk's frame; `here`: the walk is still in its frame.
  logic here;
  count_t index;
  assign index = place_q - frames_ahead * Pixels;
  assign here = followed_q && index >= 8'sd0;
  always_comb begin
    held_row = Top;
    held_column = Left + index;
    for (int unsigned row = 1; row < ImgH; row++) begin
      if (held_column >= Left + count_t'(ImgW)) begin
        held_column = held_column - count_t'(ImgW);
        held_row = held_row + 8'sd1;
      end
    end
  end

  always_comb begin
    if (started) begin
      inside_walk: assert (at_row < GridRows && at_column < GridColumns);
      inside_waits: assert (count_t'(u_cell.row_wait_q) == wait_at(at_row)
          && count_t'(u_cell.column_wait_q) == wait_at(at_column));
      inside_rows: assert (u_cell.row_inside_q == (at_row >= Top && at_row < Top + count_t'(ImgH)));
      inside_columns: assert (u_cell.column_inside_q == (at_column >= Left && at_column < Left + count_t'(ImgW)));
      inside_next: assert (next_row >= 8'sd0 && next_row <= LastRow && next_column >= 8'sd0 && next_column <= LastColumn);
      inside_lead: assert (lead == passed + frames_ahead * Pixels);
      // Every window whose last position was walked was given or waits, and no other.
      if (m_valid && frames_ahead == 8'sd0 && !(next_row == LastRow && next_column == LastColumn)) begin
        inside_one_waits: assert (at
            <= (next_column == LastColumn ? ending(next_row + 8'sd1, 8'sd0) : ending(next_row, next_column + 8'sd1)));
      end
      if (m_valid && frames_ahead == 8'sd1) inside_last_waits: assert (next_row == LastRow
          && next_column == LastColumn && ending(8'sd0, 8'sd0) >= at);
      if (!m_valid && frames_ahead == 8'sd0 && (next_row != 8'sd0 || next_column != 8'sd0)) begin
        inside_all_given: assert (at
            > (next_column == 8'sd0 ? ending(next_row - 8'sd1, LastColumn) : ending(next_row, next_column - 8'sd1)));
      end
      if (!m_valid && frames_ahead == -8'sd1) begin
        inside_frame_given: assert (next_row == 8'sd0 && next_column == 8'sd0 && ending(LastRow, LastColumn) < at);
      end
      if (followed_q) inside_place: assert (place_q >= 8'sd0 && place_q < 8'sd2 * Pixels && index < passed);
    end
  end

  if (Kernel > 1) begin : g_held
    // Lane `lane` of a column's word has row `oldest + lane`.
    for (genvar column = 0; count_t'(column) < GridColumns; column++) begin : g_word
      for (genvar lane = 0; lane < Kernel - 1; lane++) begin : g_lane
        count_t row;
        logic [PixelWidth-1:0] value;
        assign row = at_row - Lines + count_t'(lane) + (count_t'(column) < at_column ? 8'sd1 : 8'sd0);
        assign value = u_cell.g_lines.lines_q[column][lane*PixelWidth+:PixelWidth];
        always_comb begin
          if (started && row >= 8'sd0) begin
            if (!inside_image(row, count_t'(column))) inside_word_padding: assert (value == '0);
            else if (here && held_row == row && held_column == count_t'(column)) inside_word: assert (value == pixel_q);
          end
        end
      end
    end
    for (genvar lane = 0; lane < Kernel - 1; lane++) begin : g_line
      count_t row;
      logic [PixelWidth-1:0] value;
      assign row = at_row - Lines + count_t'(lane);
      assign value = u_cell.line_q[lane*PixelWidth+:PixelWidth];
      always_comb begin
        if (started && row >= 8'sd0) begin
          if (!inside_image(row, at_column)) inside_line_padding: assert (value == '0);
          else if (here && held_row == row && held_column == at_column) inside_line: assert (value == pixel_q);
        end
      end
    end
    for (genvar kc = 0; kc < Kernel - 1; kc++) begin : g_older
      for (genvar kr = 0; kr < Kernel; kr++) begin : g_lane
        count_t row, column;
        logic [PixelWidth-1:0] value;
        assign row = at_row - Lines + count_t'(kr);
        assign column = at_column - Lines + count_t'(kc);
        assign value = u_cell.g_column[kc].value_q[kr*PixelWidth+:PixelWidth];
        always_comb begin
          if (started && row >= 8'sd0 && column >= 8'sd0) begin
            if (!inside_image(row, column)) inside_column_padding: assert (value == '0);
            else if (here && held_row == row && held_column == column) inside_column: assert (value == pixel_q);
          end
        end
      end
    end
  end
`endif
endmodule
