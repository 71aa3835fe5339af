/// What max_pool promises, as assertions over all inputs.
///
/// One symbolic window of one symbolic frame is followed: `follow_i` picks the frame at its first pixel, `window_i` of the
/// first cycle the window; its maximum is kept as the pixels come in, and must be what goes out. Nothing is assumed of
/// the neighbours; reset is low in the first cycle, and whenever it likes after it.
module max_pool_proof #(
  parameter int unsigned Channels = 1,
  parameter int unsigned Width = 2,
  parameter bit Signed = 1'b0,
  parameter int unsigned ImgH = 2,
  parameter int unsigned ImgW = 4,
  parameter int unsigned Kernel = 2,
  parameter int unsigned Stride = 2,
  // Longest stall of the receiver, in cycles, under which maxima are promised to come in time.
  parameter int unsigned Stall = 1,
  localparam int unsigned PixelWidth = Channels * Width
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic                  s_valid_i,
  input logic [PixelWidth-1:0] s_data_i,
  input logic                  m_ready_i,
  input logic                  follow_i,
  input logic [7:0]            window_i
);
  logic s_ready, m_valid;
  logic [PixelWidth-1:0] m_data;

  max_pool #(
    .Channels(Channels),
    .Width   (Width),
    .Signed  (Signed),
    .ImgH    (ImgH),
    .ImgW    (ImgW),
    .Kernel  (Kernel),
    .Stride  (Stride)
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
  localparam count_t Rows = count_t'((ImgH - Kernel) / Stride + 1);
  localparam count_t Columns = count_t'((ImgW - Kernel) / Stride + 1);
  localparam count_t Step = count_t'(Stride);
  localparam count_t Side = count_t'(Kernel);
  localparam count_t RowPixels = count_t'(ImgW);

  logic started, push, pop, frame_end;
  count_t row, column, lead;
  window_proof #(
    .Width (PixelWidth),
    .ImgH  (ImgH),
    .ImgW  (ImgW),
    .Kernel(Kernel),
    .Stride(Stride),
    .Stall (Stall),
    .Bound (2 * (Stall + 1) + 2)
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
    .row_o      (row),
    .column_o   (column),
    .lead_o     (lead),
    .frame_end_o(frame_end)
  );

  // ---- Which window is followed, and which pixel comes next -----------------------------------------------------
  count_t picked_row_q, picked_column_q, in_row_q, in_column_q;
  always_comb assume (32'(window_i[7:4]) < 32'(Rows) && 32'(window_i[3:0]) < 32'(Columns));
  always_ff @(posedge clk_i) begin
    if (!started) {picked_row_q, picked_column_q} <= {4'd0, window_i[7:4], 4'd0, window_i[3:0]};
    if (!rst_ni) begin
      in_row_q <= '0;
      in_column_q <= '0;
    end else if (push) begin
      in_column_q <= in_column_q == RowPixels - 8'sd1 ? '0 : in_column_q + 8'sd1;
      if (in_column_q == RowPixels - 8'sd1) in_row_q <= in_row_q == count_t'(ImgH) - 8'sd1 ? '0 : in_row_q + 8'sd1;
    end
  end

  // ---- No pixel lost, doubled or changed, and the largest of each window ----------------------------------------
  logic followed_q, whole_q;  // `whole_q`: its last pixel was taken
  logic first, in_window;
  count_t start_q;  // `lead` as it was at the frame's first pixel: how many pixels it is behind the next maximum's frame
  logic [PixelWidth-1:0] best_q;
  assign first = in_row_q == 8'sd0 && in_column_q == 8'sd0;
  assign in_window = in_row_q >= picked_row_q * Step && in_row_q < picked_row_q * Step + Side
      && in_column_q >= picked_column_q * Step && in_column_q < picked_column_q * Step + Side;
  function automatic logic [Width-1:0] larger(input logic [Width-1:0] one, input logic [Width-1:0] other);
    if (Signed) return signed'(one) > signed'(other) ? one : other;
    return one > other ? one : other;
  endfunction
  logic follows;
  assign follows = !followed_q && push && first && follow_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      followed_q <= 1'b0;
    end else begin
      if (follows) begin
        followed_q <= 1'b1;
        whole_q <= Pixels == 8'sd1;
        start_q <= lead - (frame_end ? Pixels : 8'sd0);
      end else begin
        if (push && in_row_q == count_t'(ImgH) - 8'sd1 && in_column_q == RowPixels - 8'sd1) whole_q <= 1'b1;
        if (frame_end) begin
          start_q <= start_q - Pixels;
          if (start_q == 8'sd0) followed_q <= 1'b0;
        end
      end
      if (push && (follows || (followed_q && !whole_q)) && in_window) begin
        for (int unsigned channel = 0; channel < Channels; channel++) begin
          if (in_row_q == picked_row_q * Step && in_column_q == picked_column_q * Step) begin
            best_q[channel*Width+:Width] <= s_data_i[channel*Width+:Width];
          end else begin
            best_q[channel*Width+:Width] <= larger(best_q[channel*Width+:Width], s_data_i[channel*Width+:Width]);
          end
        end
      end
    end
  end
  always_comb begin
    if (started && m_valid && followed_q && start_q == 8'sd0) begin
      if (row == picked_row_q && column == picked_column_q) largest_of_its_window: assert (m_data == best_q);
    end
  end
endmodule
