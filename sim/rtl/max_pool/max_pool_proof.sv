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

  logic started_q = 1'b0;
  count_t picked_row_q, picked_column_q;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) {picked_row_q, picked_column_q} <= {4'd0, window_i[7:4], 4'd0, window_i[3:0]};
  end
  always_comb assume (started_q || !rst_ni);
  always_comb assume (32'(window_i[7:4]) < 32'(Rows) && 32'(window_i[3:0]) < 32'(Columns));

  logic push, pop;
  assign push = s_valid_i && s_ready;
  assign pop = m_valid && m_ready_i;

  // ---- Handshake ------------------------------------------------------------------------------------------------
  logic stalled_q;
  logic [PixelWidth-1:0] data_q;
  always_ff @(posedge clk_i) begin
    stalled_q <= rst_ni && m_valid && !m_ready_i;
    data_q <= m_data;
  end
  always_comb begin
    if (started_q && stalled_q) begin
      valid_stays: assert (m_valid);
      payload_stays: assert (m_data == data_q);
    end
  end

  // ---- Which pixel and which maximum are next -------------------------------------------------------------------
  count_t in_row_q, in_column_q, row_q, column_q;
  // Pixels taken since the first one of the next maximum's frame; below 0 while a frame's last pixels, which are in no
  // window, are still to come.
  count_t lead_q;
  logic last_window;
  assign last_window = row_q == Rows - 8'sd1 && column_q == Columns - 8'sd1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      in_row_q <= '0;
      in_column_q <= '0;
      row_q <= '0;
      column_q <= '0;
      lead_q <= '0;
    end else begin
      lead_q <= lead_q + (push ? 8'sd1 : 8'sd0) - (pop && last_window ? Pixels : 8'sd0);
      if (push) begin
        in_column_q <= in_column_q == RowPixels - 8'sd1 ? '0 : in_column_q + 8'sd1;
        if (in_column_q == RowPixels - 8'sd1) in_row_q <= in_row_q == count_t'(ImgH) - 8'sd1 ? '0 : in_row_q + 8'sd1;
      end
      if (pop) begin
        column_q <= column_q == Columns - 8'sd1 ? '0 : column_q + 8'sd1;
        if (column_q == Columns - 8'sd1) row_q <= row_q == Rows - 8'sd1 ? '0 : row_q + 8'sd1;
      end
    end
  end
  logic owed;  // all that the maximum needs is there
  assign owed = lead_q >= (row_q * Step + Side - 8'sd1) * RowPixels + column_q * Step + Side;
  always_comb if (started_q && m_valid) none_before_its_pixels: assert (owed);

  // ---- No pixel lost, doubled or changed, and the largest of each window ----------------------------------------
  logic followed_q, whole_q;  // `whole_q`: its last pixel was taken
  logic first, in_window;
  count_t start_q;  // `lead_q` as it was at the frame's first pixel: how many pixels it is behind the next maximum's frame
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
        start_q <= lead_q - (pop && last_window ? Pixels : 8'sd0);
      end else begin
        if (push && in_row_q == count_t'(ImgH) - 8'sd1 && in_column_q == RowPixels - 8'sd1) whole_q <= 1'b1;
        if (pop && last_window) begin
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
    if (started_q && m_valid && followed_q && start_q == 8'sd0) begin
      if (row_q == picked_row_q && column_q == picked_column_q) largest_of_its_window: assert (m_data == best_q);
    end
  end

  // ---- Progress under stalls of at most `Stall` cycles ----------------------------------------------------------
  localparam int unsigned Bound = 2 * (Stall + 1) + 2;
  logic [5:0] stall_q, waits_q, late_q;
  logic prompt_q;  // no stall was longer so far
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      prompt_q <= 1'b1;
      stall_q <= '0;
      waits_q <= '0;
      late_q <= '0;
    end else begin
      stall_q <= m_valid && !m_ready_i ? stall_q + 1'b1 : '0;
      if (m_valid && !m_ready_i && 32'(stall_q) >= Stall) prompt_q <= 1'b0;
      waits_q <= s_valid_i && !s_ready ? waits_q + 1'b1 : '0;
      late_q <= owed && !pop ? late_q + 1'b1 : '0;
    end
  end
  always_comb begin
    if (started_q && prompt_q) begin
      pixel_taken_in_time: assert (32'(waits_q) < Bound);
      maximum_comes_in_time: assert (32'(late_q) < Bound);
    end
  end

  // ---- The proof reaches the end of two whole frames ------------------------------------------------------------
  logic [2:0] frames_q;  // given whole
  logic stalls_q;  // the receiver stalled
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      frames_q <= '0;
      stalls_q <= 1'b0;
    end else begin
      if (pop && last_window) frames_q <= frames_q + 1'b1;
      if (m_valid && !m_ready_i) stalls_q <= 1'b1;
    end
  end
  always_comb if (started_q && rst_ni && frames_q == 3'd2 && stalls_q) two_frames: cover (1'b1);
endmodule
