/// What the cells that give windows of frames promise alike: windows come in order, none before its pixels and none late.
module window_proof #(
  parameter int unsigned Width = 1,  // of a window
  parameter int unsigned ImgH = 2,
  parameter int unsigned ImgW = 2,
  parameter int unsigned Kernel = 1,
  parameter int unsigned Stride = 1,
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  parameter int unsigned Stall = 1,
  parameter int unsigned Bound = 1  // cycles in which pixels are taken and windows come under stalls of `Stall`
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    s_valid_i,
  input  logic                    s_ready_i,
  input  logic                    m_valid_i,
  input  logic                    m_ready_i,
  input  logic        [Width-1:0] m_data_i,
  output logic                    started_o,  // in every cycle but the first
  output logic                    push_o,
  output logic                    pop_o,
  output logic signed [      7:0] row_o,  // of the next window
  output logic signed [      7:0] column_o,
  // Pixels taken since the first one of the next window's frame; below 0 while a frame's last pixels, which are in no
  // window, are still to come.
  output logic signed [      7:0] lead_o,
  output logic                    frame_end_o  // the frame's last window is taken
);
  typedef logic signed [7:0] count_t;
  localparam count_t Pixels = count_t'(ImgH * ImgW);
  localparam count_t LastRow = count_t'((PadTop + ImgH + PadBottom - Kernel) / Stride);
  localparam count_t LastColumn = count_t'((PadLeft + ImgW + PadRight - Kernel) / Stride);

  logic started, prompt, stalls;
  stream_proof #(
    .Width(Width),
    .Stall(Stall)
  ) u_stream (
    .clk_i,
    .rst_ni,
    .valid_i  (m_valid_i),
    .ready_i  (m_ready_i),
    .data_i   (m_data_i),
    .started_o(started),
    .stall_o  (),
    .prompt_o (prompt),
    .stalls_o (stalls)
  );

  logic push, pop, frame_end;
  count_t row_q, column_q, lead_q;
  assign push = s_valid_i && s_ready_i;
  assign pop = m_valid_i && m_ready_i;
  assign frame_end = pop && row_q == LastRow && column_q == LastColumn;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      column_q <= '0;
      lead_q <= '0;
    end else begin
      lead_q <= lead_q + (push ? 8'sd1 : 8'sd0) - (frame_end ? Pixels : 8'sd0);
      if (pop) begin
        column_q <= column_q == LastColumn ? '0 : column_q + 8'sd1;
        if (column_q == LastColumn) row_q <= row_q == LastRow ? '0 : row_q + 8'sd1;
      end
    end
  end
  assign started_o = started;
  assign push_o = push;
  assign pop_o = pop;
  assign row_o = row_q;
  assign column_o = column_q;
  assign lead_o = lead_q;
  assign frame_end_o = frame_end;

  // Pixels of the frame up to the window's last position, in the order in which they come.
  count_t end_row, end_column, needed;
  always_comb begin
    end_row = row_q * count_t'(Stride) + count_t'(Kernel) - 8'sd1 - count_t'(PadTop);
    end_column = column_q * count_t'(Stride) + count_t'(Kernel) - 8'sd1 - count_t'(PadLeft);
    if (end_row < 8'sd0) needed = '0;
    else if (end_row >= count_t'(ImgH)) needed = Pixels;
    else begin
      needed = end_row * count_t'(ImgW);
      if (end_column >= count_t'(ImgW)) needed += count_t'(ImgW);
      else if (end_column >= 8'sd0) needed += end_column + 8'sd1;
    end
  end
  logic owed;  // all that the window needs is there
  assign owed = lead_q >= needed;
  always_comb if (started && m_valid_i) none_before_its_pixels: assert (owed);

  // ---- Progress under stalls of at most `Stall` cycles ----------------------------------------------------------
  logic [5:0] waits_q, late_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waits_q <= '0;
      late_q <= '0;
    end else begin
      waits_q <= s_valid_i && !s_ready_i ? waits_q + 1'b1 : '0;
      late_q <= owed && !pop ? late_q + 1'b1 : '0;
    end
  end
  always_comb begin
    if (started && prompt) begin
      pixel_taken_in_time: assert (32'(waits_q) < Bound);
      window_comes_in_time: assert (32'(late_q) < Bound);
    end
  end

  // ---- The proof reaches the end of two whole frames ------------------------------------------------------------
  logic [2:0] frames_q;  // given whole
  always_ff @(posedge clk_i) begin
    if (!rst_ni) frames_q <= '0;
    else frames_q <= frames_q + 3'(frame_end);
  end
  always_comb if (started && rst_ni && frames_q == 3'd2 && stalls) two_frames: cover (1'b1);
endmodule
