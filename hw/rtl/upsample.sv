/// Nearest-neighbour upsampling: gives every pixel FactorW times in its row, and every row FactorH times.
///
/// Formula:  y[r][c] = x[r / FactorH][c / FactorW], rounded down.
/// Interval: ImgH * FactorH * ImgW * FactorW cycles a frame, one output pixel a cycle. Latency: 1 cycle.
/// Flow:     a pixel is read in place and taken as its last copy in its row's first turn leaves, so `s_data_i` must stay
///           while `s_valid_i` waits. `s_ready_o` depends on `m_ready_i`, not on `s_valid_i`. The output is registered and
///           stays while stalled.
/// Does not: interpolate. The row that is repeated lies in distributed memory.
module upsample #(
  // Bits a pixel.
  parameter int unsigned Width = 8,
  // Columns of the image; rows need no count, since each is done before the next one begins.
  parameter int unsigned ImgW = 4,
  // Copies of a row, and of a pixel in it.
  parameter int unsigned FactorH = 2,
  parameter int unsigned FactorW = 2
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
  if (Width < 1 || ImgW < 1 || FactorH < 1 || FactorW < 1) begin : g_check
    $error("upsample: Width, ImgW, FactorH and FactorW must be at least 1, but are %0d, %0d, %0d and %0d",
           Width, ImgW, FactorH, FactorW);
  end

  localparam int unsigned TurnWidth = FactorH > 1 ? $clog2(FactorH) : 1;
  localparam int unsigned ColumnWidth = ImgW > 1 ? $clog2(ImgW) : 1;
  localparam int unsigned CopyWidth = FactorW > 1 ? $clog2(FactorW) : 1;

  logic [TurnWidth-1:0] turn_q;  // of the row
  logic [ColumnWidth-1:0] column_q;
  logic [CopyWidth-1:0] copy_q;  // of the pixel
  logic first, copy_last, column_last, free, step;
  assign first = turn_q == '0;
  assign copy_last = copy_q == CopyWidth'(FactorW - 1);
  assign column_last = column_q == ColumnWidth'(ImgW - 1);
  assign free = !m_valid_o || m_ready_i;
  assign s_ready_o = free && first && copy_last;
  assign step = free && (s_valid_i || !first);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      turn_q <= '0;
      column_q <= '0;
      copy_q <= '0;
      m_valid_o <= 1'b0;
    end else begin
      if (free) m_valid_o <= step;
      if (step) begin
        copy_q <= copy_last ? '0 : copy_q + 1'b1;
        if (copy_last) begin
          column_q <= column_last ? '0 : column_q + 1'b1;
          if (column_last) turn_q <= turn_q == TurnWidth'(FactorH - 1) ? '0 : turn_q + 1'b1;
        end
      end
    end
  end

  if (FactorH == 1) begin : g_once
    always_ff @(posedge clk_i) begin
      if (free) m_data_o <= s_data_i;
    end
  end else begin : g_again
    logic [Width-1:0] row_q [ImgW];
    always_ff @(posedge clk_i) begin
      if (free && first) row_q[column_q] <= s_data_i;
      if (free) m_data_o <= first ? s_data_i : row_q[column_q];
    end
  end
endmodule
