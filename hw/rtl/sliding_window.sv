/// Turns a stream of pixels into the stream of their KernelH x KernelW neighbourhoods, padded.
///
/// Formula:  the window at output row r, column c holds in lane (kr * KernelW + kc) * Channels + channel the pixel at
///           (r * StrideH + kr * DilationH - PadTop, c * StrideW + kc * DilationW - PadLeft), or PadValue where that lies
///           outside of the image. Rows = (PadTop + ImgH + PadBottom - ReachH) / StrideH + 1, rounded down, with ReachH =
///           (KernelH - 1) * DilationH + 1; columns alike.
/// Interval: GridRows * GridColumns cycles a frame (below), one position of the padded image a cycle; padding takes a
///           cycle but no pixel; padding below or right of the last window is not walked. Frames follow without a bubble.
/// Latency:  1 cycle from a window's last position to the window.
/// Flow:     a window waits in the output register; positions that complete no window go on meanwhile, so that the turn
///           from one row to the next hides behind a slow consumer. No window leaves before its frame's first pixel is on
///           offer, and where windows lie in the padding alone, the walk waits for that pixel, too. `s_ready_o` depends on `m_ready_i`, not on `s_valid_i`.
/// Does not: split a pixel over beats, or leave the rows out that a dilated kernel steps over: it stores ReachH - 1 of them.
module sliding_window #(
  // Values a pixel; all come in one beat, channel 0 lowest.
  parameter int unsigned Channels = 1,
  // Bits a value; the sign does not matter here.
  parameter int unsigned Width = 8,
  // Size of the image in pixels: the frames carry no marker, they are counted. One row for a one-dimensional signal.
  parameter int unsigned ImgH = 4,
  parameter int unsigned ImgW = 4,
  // Side of a square window. 1 is allowed (a pointwise convolution with a stride).
  parameter int unsigned Kernel = 3,
  // Step of the window, the same in both directions.
  parameter int unsigned Stride = 1,
  // Rows and columns of padding around the image; four numbers, because `same` padding of an even sum is lopsided.
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  // Rows and columns of a window that is no square, and its step in each direction.
  parameter int unsigned KernelH = Kernel,
  parameter int unsigned KernelW = Kernel,
  parameter int unsigned StrideH = Stride,
  parameter int unsigned StrideW = Stride,
  // Rows and columns from one tap of the window to the next.
  parameter int unsigned DilationH = 1,
  parameter int unsigned DilationW = 1,
  // Every value of the padding: 0 for sums, the smallest there is for maxima.
  parameter logic [Width-1:0] PadValue = '0,
  localparam int unsigned PixelWidth = Channels * Width
) (
  input  logic                                  clk_i,
  input  logic                                  rst_ni,
  input  logic                                  s_valid_i,
  output logic                                  s_ready_o,
  input  logic [PixelWidth-1:0]                 s_data_i,
  output logic                                  m_valid_o,
  input  logic                                  m_ready_i,
  output logic [KernelH*KernelW*PixelWidth-1:0] m_data_o
);
  // From the first tap to the last. Nothing here falls below 0 or is divided by it: the checks are what speaks.
  localparam int unsigned StepW = DilationW > 0 ? DilationW : 1;
  localparam int unsigned ReachH = KernelH > 0 ? (KernelH - 1) * DilationH + 1 : 1;
  localparam int unsigned ReachW = KernelW > 0 ? (KernelW - 1) * StepW + 1 : 1;

  if (Channels < 1 || Width < 1) begin : g_check1
    $error("sliding_window: Channels and Width must be at least 1, but are %0d and %0d", Channels, Width);
  end
  if (ImgH < 1 || ImgW < 1) begin : g_check2
    $error("sliding_window: ImgH and ImgW must be at least 1, but are %0d and %0d", ImgH, ImgW);
  end
  if (KernelH < 1 || KernelW < 1 || StrideH < 1 || StrideW < 1 || DilationH < 1 || DilationW < 1) begin : g_check3
    $error("sliding_window: kernel, stride and dilation must be at least 1, but are %0d x %0d, %0d x %0d and %0d x %0d",
           KernelH, KernelW, StrideH, StrideW, DilationH, DilationW);
  end
  if (PadTop + ImgH + PadBottom < ReachH || PadLeft + ImgW + PadRight < ReachW) begin : g_check4
    $error("sliding_window: the window (%0d x %0d) is larger than the padded image (%0d x %0d)",
           ReachH, ReachW, PadTop + ImgH + PadBottom, PadLeft + ImgW + PadRight);
  end

  localparam int unsigned WindowRows = (PadTop + ImgH + PadBottom - ReachH) / (StrideH > 0 ? StrideH : 1) + 1;
  localparam int unsigned WindowColumns = (PadLeft + ImgW + PadRight - ReachW) / (StrideW > 0 ? StrideW : 1) + 1;
  // The walk ends with the last window or with the last pixel, whichever comes later.
  localparam int unsigned RowsNeeded = (WindowRows - 1) * StrideH + ReachH;
  localparam int unsigned ColumnsNeeded = (WindowColumns - 1) * StrideW + ReachW;
  localparam int unsigned GridRows = RowsNeeded > PadTop + ImgH ? RowsNeeded : PadTop + ImgH;
  localparam int unsigned GridColumns = ColumnsNeeded > PadLeft + ImgW ? ColumnsNeeded : PadLeft + ImgW;

  localparam int unsigned RowWidth = GridRows > 1 ? $clog2(GridRows) : 1;
  localparam int unsigned ColumnWidth = GridColumns > 1 ? $clog2(GridColumns) : 1;
  localparam int unsigned LongestWaitH = ReachH > StrideH ? ReachH : StrideH;
  localparam int unsigned LongestWaitW = ReachW > StrideW ? ReachW : StrideW;
  localparam int unsigned WaitWidthH = LongestWaitH > 1 ? $clog2(LongestWaitH) : 1;
  localparam int unsigned WaitWidthW = LongestWaitW > 1 ? $clog2(LongestWaitW) : 1;
  localparam logic [WaitWidthH-1:0] FirstWaitH = WaitWidthH'(ReachH - 1);
  localparam logic [WaitWidthW-1:0] FirstWaitW = WaitWidthW'(ReachW - 1);
  localparam logic [WaitWidthH-1:0] NextWaitH = WaitWidthH'(StrideH - 1);
  localparam logic [WaitWidthW-1:0] NextWaitW = WaitWidthW'(StrideW - 1);

  // Where the walk stands, and how many more rows and columns until a window is complete.
  logic [RowWidth-1:0] row_q;
  logic [ColumnWidth-1:0] column_q;
  logic [WaitWidthH-1:0] row_wait_q;
  logic [WaitWidthW-1:0] column_wait_q;
  // Whether the position lies in the image; registers, so that no comparison is on the path of the ready signals.
  logic row_inside_q, column_inside_q;

  logic row_end, frame_end, in_image, emit, step;
  assign row_end = column_q == ColumnWidth'(GridColumns - 1);
  assign frame_end = row_q == RowWidth'(GridRows - 1);
  assign in_image = row_inside_q && column_inside_q;
  assign emit = row_wait_q == '0 && column_wait_q == '0;
  logic clear;  // nothing downstream holds the walk
  assign clear = !emit || !m_valid_o || m_ready_i;
  // When the wide output loads. It needs no step: before a window is complete it may hold anything, and the many enables
  // are then no long path.
  logic load;
  assign load = emit && (!m_valid_o || m_ready_i);
  assign s_ready_o = in_image && clear;
  // Where the first windows lie in the padding alone, nothing but this keeps them from leaving before their frame comes.
  localparam bit Ahead = ReachH - 1 < PadTop || (ReachH - 1 == PadTop && ReachW - 1 < PadLeft);
  logic begins;
  assign begins = Ahead && row_q == '0 && column_q == '0;
  assign step = clear && (s_valid_i || (!in_image && !begins));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      column_q <= '0;
      row_wait_q <= FirstWaitH;
      column_wait_q <= FirstWaitW;
      row_inside_q <= PadTop == 0;
      column_inside_q <= PadLeft == 0;
      m_valid_o <= 1'b0;
    end else begin
      if (step && emit) m_valid_o <= 1'b1;
      else if (m_ready_i) m_valid_o <= 1'b0;
      if (step) begin
        if (!row_end) begin
          column_q <= column_q + 1'b1;
          column_wait_q <= column_wait_q == '0 ? NextWaitW : column_wait_q - 1'b1;
          if (32'(column_q) + 1 == PadLeft) column_inside_q <= 1'b1;
          if (32'(column_q) + 1 == PadLeft + ImgW) column_inside_q <= 1'b0;
        end else begin
          column_q <= '0;
          column_wait_q <= FirstWaitW;
          column_inside_q <= PadLeft == 0;
          if (!frame_end) begin
            row_q <= row_q + 1'b1;
            row_wait_q <= row_wait_q == '0 ? NextWaitH : row_wait_q - 1'b1;
            if (32'(row_q) + 1 == PadTop) row_inside_q <= 1'b1;
            if (32'(row_q) + 1 == PadTop + ImgH) row_inside_q <= 1'b0;
          end else begin
            row_q <= '0;
            row_wait_q <= FirstWaitH;
            row_inside_q <= PadTop == 0;
          end
        end
      end
    end
  end

  localparam logic [PixelWidth-1:0] PadPixel = {(Channels > 0 ? Channels : 1) {PadValue}};
  localparam int unsigned Lines = ReachH - 1;
  localparam int unsigned LinesWidth = Lines > 0 ? Lines * PixelWidth : 1;

  // The last ReachH - 1 rows of the column to come, oldest lowest.
  // verilator lint_off UNUSEDSIGNAL
  logic [LinesWidth-1:0] line_q;  // a window of one tap has no use for it
  // verilator lint_on UNUSEDSIGNAL

  // The window's rows of the column at hand, which is {pixel or padding, line_q}. It has no signal, and the columns of the
  // window have a register each rather than one shift register: a simulator would compute and copy them in every cycle.
  function automatic logic [KernelH*PixelWidth-1:0] rows(logic [PixelWidth-1:0] pixel, logic [LinesWidth-1:0] line);
    logic [LinesWidth+PixelWidth-1:0] whole;
    whole = {pixel, line};
    if (Lines == 0) return (KernelH * PixelWidth)'(pixel);
    if (DilationH == 1) return whole[LinesWidth+PixelWidth-1-:KernelH*PixelWidth];
    for (int unsigned kr = 0; kr < KernelH; kr++) begin
      rows[kr*PixelWidth+:PixelWidth] = whole[kr*DilationH*PixelWidth+:PixelWidth];
    end
  endfunction

  if (Lines == 0) begin : g_flat
    assign line_q = '0;
  end else begin : g_lines
    // A word a column. What earlier frames left is shifted out before a window is complete, so that nothing needs clearing.
    logic [LinesWidth-1:0] lines_q [GridColumns];
    always_ff @(posedge clk_i) begin
      if (step) lines_q[column_q] <= LinesWidth'({in_image ? s_data_i : PadPixel, line_q} >> PixelWidth);
    end

    if (GridColumns == 1) begin : g_narrow
      // The column to come is the one that is being written.
      always_ff @(posedge clk_i) begin
        if (step) line_q <= LinesWidth'({in_image ? s_data_i : PadPixel, line_q} >> PixelWidth);
      end
    end else begin : g_wide
      always_ff @(posedge clk_i) begin
        if (step) line_q <= lines_q[row_end ? '0 : column_q + 1'b1];
      end
    end
  end

  // The columns that the window reaches over, but for its last, oldest first.
  for (genvar at = 0; at + 1 < ReachW; at++) begin : g_column
    logic [KernelH*PixelWidth-1:0] value_q;
    if (at + 2 < ReachW) begin : g_older
      always_ff @(posedge clk_i) begin
        if (step) value_q <= g_column[at+1].value_q;
      end
    end else begin : g_newest
      always_ff @(posedge clk_i) begin
        if (step) value_q <= rows(in_image ? s_data_i : PadPixel, line_q);
      end
    end
  end

  for (genvar kr = 0; kr < KernelH; kr++) begin : g_row
    for (genvar kc = 0; kc + 1 < KernelW; kc++) begin : g_tap
      always_ff @(posedge clk_i) begin
        if (load) begin
          m_data_o[(kr*KernelW+kc)*PixelWidth+:PixelWidth] <= g_column[kc*StepW].value_q[kr*PixelWidth+:PixelWidth];
        end
      end
    end
    // Its last column.
    if (kr + 1 < KernelH) begin : g_above
      always_ff @(posedge clk_i) begin
        if (load) begin
          m_data_o[(kr*KernelW+KernelW-1)*PixelWidth+:PixelWidth] <= line_q[kr*DilationH*PixelWidth+:PixelWidth];
        end
      end
    end else begin : g_last
      always_ff @(posedge clk_i) begin
        if (load) m_data_o[(kr*KernelW+KernelW-1)*PixelWidth+:PixelWidth] <= in_image ? s_data_i : PadPixel;
      end
    end
  end
endmodule
