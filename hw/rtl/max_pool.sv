/// The maximum of every KernelH x KernelW neighbourhood, channel by channel.
///
/// Formula:  y[r][c][channel] = max over kr < KernelH, kc < KernelW of
///           x[r * StrideH + kr * DilationH - PadTop][c * StrideW + kc * DilationW - PadLeft][channel], of which those
///           outside of the image count as the smallest value that there is; rows and columns as in sliding_window.sv
///           (pixels that are left over are taken and dropped).
/// Interval: GridRows * GridColumns cycles a frame as in sliding_window.sv: without padding a pixel a cycle.
/// Latency:  2 cycles from a window's last pixel.
/// Flow:     `s_ready_o` depends on `m_ready_i`, not on `s_valid_i`. The output is registered and stays while stalled.
/// Does not: make sense of a window that lies in the padding alone, or pool globally at a lower cost.
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
  // Side of a square window, and its step in both directions.
  parameter int unsigned Kernel = 2,
  parameter int unsigned Stride = 2,
  // Rows and columns of padding around the image.
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  // Rows and columns of a window that is no square, its step in each direction, and from one tap to the next.
  parameter int unsigned KernelH = Kernel,
  parameter int unsigned KernelW = Kernel,
  parameter int unsigned StrideH = Stride,
  parameter int unsigned StrideW = Stride,
  parameter int unsigned DilationH = 1,
  parameter int unsigned DilationW = 1,
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
  // What is wrong with image and window, sliding_window says.
  localparam int unsigned Taps = KernelH * KernelW;

  // With the sign bit turned around, two's complement has the order of unsigned numbers.
  localparam logic [Width-1:0] Flip = Signed ? (Width'(1) << (Width - 1)) : '0;

  logic window_valid, window_ready;
  logic [Taps*PixelWidth-1:0] window;

  sliding_window #(
    .Channels (Channels),
    .Width    (Width),
    .ImgH     (ImgH),
    .ImgW     (ImgW),
    .PadTop   (PadTop),
    .PadLeft  (PadLeft),
    .PadBottom(PadBottom),
    .PadRight (PadRight),
    .KernelH  (KernelH),
    .KernelW  (KernelW),
    .StrideH  (StrideH),
    .StrideW  (StrideW),
    .DilationH(DilationH),
    .DilationW(DilationW),
    .PadValue (Flip)
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
