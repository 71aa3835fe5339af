/// The maximum of every Kernel x Kernel neighbourhood, channel by channel, without padding.
///
/// Formula:  y[r][c][channel] = max over kr, kc < Kernel of x[r * Stride + kr][c * Stride + kc][channel];
///           rows = (ImgH - Kernel) / Stride + 1, rounded down (pixels that are left over are taken and dropped).
/// Interval: ImgH * ImgW cycles a frame, one pixel a cycle. Latency: 2 cycles from a window's last pixel.
/// Flow:     `s_ready_o` depends on `m_ready_i`, not on `s_valid_i`. The output is registered and stays while stalled.
/// Does not: pad (a maximum over zeros is wrong for signed values), or pool globally at a lower cost.
module max_pool #(
  // Values a pixel; all come in one beat, channel 0 lowest.
  parameter int unsigned Channels = 1,
  // Bits a value.
  parameter int unsigned Width = 8,
  // Whether the values are two's complement: it decides the order.
  parameter bit Signed = 1'b0,
  // Size of the image in pixels.
  parameter int unsigned ImgH = 4,
  parameter int unsigned ImgW = 4,
  // Side of the square window, and its step in both directions.
  parameter int unsigned Kernel = 2,
  parameter int unsigned Stride = 2,
  localparam int unsigned PixelWidth = Channels * Width
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  s_valid_i,
  output logic                  s_ready_o,
  input  logic [PixelWidth-1:0] s_data_i,
  output logic                  m_valid_o,
  input  logic                  m_ready_i,
  output logic [PixelWidth-1:0] m_data_o
);
  if (ImgH < Kernel || ImgW < Kernel) begin : g_check
    $error("max_pool: the kernel (%0d) is larger than the image (%0d x %0d)", Kernel, ImgH, ImgW);
  end

  localparam int unsigned Taps = Kernel * Kernel;

  logic window_valid, window_ready;
  logic [Taps*PixelWidth-1:0] window;

  sliding_window #(
    .Channels(Channels),
    .Width   (Width),
    .ImgH    (ImgH),
    .ImgW    (ImgW),
    .Kernel  (Kernel),
    .Stride  (Stride)
  ) u_window (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i,
    .m_valid_o(window_valid),
    .m_ready_i(window_ready),
    .m_data_o (window)
  );

  // With the sign bit turned around, two's complement has the order of unsigned numbers.
  localparam logic [Width-1:0] Flip = Signed ? (Width'(1) << (Width - 1)) : '0;

  assign window_ready = !m_valid_o || m_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) m_valid_o <= 1'b0;
    else if (window_ready) m_valid_o <= window_valid;
  end

  // A block a channel: loops of many turns stay loops in a simulator, and index wide vectors slowly.
  for (genvar channel = 0; channel < Channels; channel++) begin : g_channel
    always_ff @(posedge clk_i) begin
      if (window_ready && window_valid) begin
        automatic logic [Width-1:0] best = window[channel*Width+:Width] ^ Flip;
        for (int unsigned tap = 1; tap < Taps; tap++) begin
          automatic logic [Width-1:0] other = window[tap*PixelWidth+channel*Width+:Width] ^ Flip;
          if (other > best) best = other;
        end
        m_data_o[channel*Width+:Width] <= best ^ Flip;
      end
    end
  end
endmodule
