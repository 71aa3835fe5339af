/// Turns a stream of pixels into the stream of their Kernel x Kernel neighbourhoods, with zero padding.
///
/// Formula:  the window at output row r, column c holds in lane (kr * Kernel + kc) * Channels + channel the pixel at
///           (r * Stride + kr - PadTop, c * Stride + kc - PadLeft), or 0 where that lies outside of the image.
///           Rows = (PadTop + ImgH + PadBottom - Kernel) / Stride + 1, rounded down; columns alike.
/// Interval: GridRows * GridColumns cycles a frame (below), one position of the padded image a cycle; padding takes a
///           cycle but no pixel; padding below or right of the last window is not walked. Frames follow without a bubble.
/// Latency:  1 cycle from a window's last position to the window.
/// Flow:     a window waits in the output register; positions that complete no window go on meanwhile, so that the turn
///           from one row to the next hides behind a slow consumer. `s_ready_o` depends on `m_ready_i`, not on `s_valid_i`.
/// Does not: dilate, take rectangular kernels, or split a pixel over beats.
module sliding_window #(
  // Values a pixel; all come in one beat, channel 0 lowest.
  parameter int unsigned Channels = 1,
  // Bits a value; zero padding is the same for signed and unsigned, so that the sign does not matter here.
  parameter int unsigned Width = 8,
  // Size of the image in pixels: the frames carry no marker, they are counted.
  parameter int unsigned ImgH = 4,
  parameter int unsigned ImgW = 4,
  // Side of the square window. 1 is allowed (a pointwise convolution with a stride).
  parameter int unsigned Kernel = 3,
  // Step of the window, the same in both directions.
  parameter int unsigned Stride = 1,
  // Rows and columns of zeros around the image; four numbers, because `same` padding of an even sum is lopsided.
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  localparam int unsigned PixelWidth = Channels * Width
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,
  input  logic                                s_valid_i,
  output logic                                s_ready_o,
  input  logic [PixelWidth-1:0]               s_data_i,
  output logic                                m_valid_o,
  input  logic                                m_ready_i,
  output logic [Kernel*Kernel*PixelWidth-1:0] m_data_o
);
  if (Channels < 1 || Width < 1) begin : g_check1
    $error("sliding_window: Channels and Width must be at least 1, but are %0d and %0d", Channels, Width);
  end
  if (ImgH < 1 || ImgW < 1) begin : g_check2
    $error("sliding_window: ImgH and ImgW must be at least 1, but are %0d and %0d", ImgH, ImgW);
  end
  if (Kernel < 1 || Stride < 1) begin : g_check3
    $error("sliding_window: Kernel and Stride must be at least 1, but are %0d and %0d", Kernel, Stride);
  end
  if (PadTop + ImgH + PadBottom < Kernel || PadLeft + ImgW + PadRight < Kernel) begin : g_check4
    $error("sliding_window: the kernel (%0d) is larger than the padded image (%0d x %0d)",
           Kernel, PadTop + ImgH + PadBottom, PadLeft + ImgW + PadRight);
  end

  // Nothing is divided by 0: the check above is what speaks.
  localparam int unsigned Divisor = Stride > 0 ? Stride : 1;
  localparam int unsigned WindowRows = (PadTop + ImgH + PadBottom - Kernel) / Divisor + 1;
  localparam int unsigned WindowColumns = (PadLeft + ImgW + PadRight - Kernel) / Divisor + 1;
  // The walk ends with the last window or with the last pixel, whichever comes later.
  localparam int unsigned RowsNeeded = (WindowRows - 1) * Stride + Kernel;
  localparam int unsigned ColumnsNeeded = (WindowColumns - 1) * Stride + Kernel;
  localparam int unsigned GridRows = RowsNeeded > PadTop + ImgH ? RowsNeeded : PadTop + ImgH;
  localparam int unsigned GridColumns = ColumnsNeeded > PadLeft + ImgW ? ColumnsNeeded : PadLeft + ImgW;

  localparam int unsigned RowWidth = GridRows > 1 ? $clog2(GridRows) : 1;
  localparam int unsigned ColumnWidth = GridColumns > 1 ? $clog2(GridColumns) : 1;
  localparam int unsigned LongestWait = Kernel > Stride ? Kernel : Stride;
  localparam int unsigned WaitWidth = LongestWait > 1 ? $clog2(LongestWait) : 1;
  localparam logic [WaitWidth-1:0] FirstWait = WaitWidth'(Kernel - 1);
  localparam logic [WaitWidth-1:0] NextWait = WaitWidth'(Stride - 1);

  // Where the walk stands, and how many more rows and columns until a window is complete.
  logic [RowWidth-1:0] row_q;
  logic [ColumnWidth-1:0] column_q;
  logic [WaitWidth-1:0] row_wait_q, column_wait_q;
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
  assign step = clear && (s_valid_i || !in_image);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      column_q <= '0;
      row_wait_q <= FirstWait;
      column_wait_q <= FirstWait;
      row_inside_q <= PadTop == 0;
      column_inside_q <= PadLeft == 0;
      m_valid_o <= 1'b0;
    end else begin
      if (step && emit) m_valid_o <= 1'b1;
      else if (m_ready_i) m_valid_o <= 1'b0;
      if (step) begin
        if (!row_end) begin
          column_q <= column_q + 1'b1;
          column_wait_q <= column_wait_q == '0 ? NextWait : column_wait_q - 1'b1;
          if (32'(column_q) + 1 == PadLeft) column_inside_q <= 1'b1;
          if (32'(column_q) + 1 == PadLeft + ImgW) column_inside_q <= 1'b0;
        end else begin
          column_q <= '0;
          column_wait_q <= FirstWait;
          column_inside_q <= PadLeft == 0;
          if (!frame_end) begin
            row_q <= row_q + 1'b1;
            row_wait_q <= row_wait_q == '0 ? NextWait : row_wait_q - 1'b1;
            if (32'(row_q) + 1 == PadTop) row_inside_q <= 1'b1;
            if (32'(row_q) + 1 == PadTop + ImgH) row_inside_q <= 1'b0;
          end else begin
            row_q <= '0;
            row_wait_q <= FirstWait;
            row_inside_q <= PadTop == 0;
          end
        end
      end
    end
  end

  if (Kernel <= 1) begin : g_point
    always_ff @(posedge clk_i) begin
      if (load) m_data_o <= in_image ? s_data_i : '0;
    end
  end else begin : g_area
    localparam int unsigned Lines = Kernel - 1;
    localparam int unsigned LinesWidth = Lines * PixelWidth;

    // The last Kernel - 1 rows, oldest lowest, a word a column. What earlier frames left is shifted out before a window
    // is complete, so that nothing needs clearing.
    logic [LinesWidth-1:0] lines_q [GridColumns];
    logic [LinesWidth-1:0] line_q;  // the word of the column to come

    // The column at hand is {pixel or padding, line_q}. It has no signal, and the columns of the window have a register
    // each rather than one shift register: a simulator would compute and copy them in every cycle.
    always_ff @(posedge clk_i) begin
      if (step) lines_q[column_q] <= LinesWidth'({in_image ? s_data_i : '0, line_q} >> PixelWidth);
    end

    if (GridColumns == 1) begin : g_narrow
      // The column to come is the one that is being written.
      always_ff @(posedge clk_i) begin
        if (step) line_q <= LinesWidth'({in_image ? s_data_i : '0, line_q} >> PixelWidth);
      end
    end else begin : g_wide
      always_ff @(posedge clk_i) begin
        if (step) line_q <= lines_q[row_end ? '0 : column_q + 1'b1];
      end
    end

    // The window but for its last column, oldest column first.
    for (genvar kc = 0; kc < Lines; kc++) begin : g_column
      logic [Kernel*PixelWidth-1:0] value_q;
      if (kc + 1 < Lines) begin : g_older
        always_ff @(posedge clk_i) begin
          if (step) value_q <= g_column[kc+1].value_q;
        end
      end else begin : g_newest
        always_ff @(posedge clk_i) begin
          if (step) value_q <= {in_image ? s_data_i : '0, line_q};
        end
      end
      for (genvar kr = 0; kr < Kernel; kr++) begin : g_row
        always_ff @(posedge clk_i) begin
          if (load) m_data_o[(kr*Kernel+kc)*PixelWidth+:PixelWidth] <= value_q[kr*PixelWidth+:PixelWidth];
        end
      end
    end

    // Its last column.
    for (genvar kr = 0; kr < Lines; kr++) begin : g_row
      always_ff @(posedge clk_i) begin
        if (load) m_data_o[(kr*Kernel+Lines)*PixelWidth+:PixelWidth] <= line_q[kr*PixelWidth+:PixelWidth];
      end
    end
    always_ff @(posedge clk_i) begin
      if (load) m_data_o[(Lines*Kernel+Lines)*PixelWidth+:PixelWidth] <= in_image ? s_data_i : '0;
    end
  end
endmodule
