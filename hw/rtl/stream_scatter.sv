/// Hands a wide beat out in `Parts` beats, its lowest bits first.
///
/// Interval: Parts cycles. Latency: 1 cycle to the first part.
/// Flow:     streams; `s_ready_o` follows `m_ready_i` in the same cycle, so that no cycle is lost between two beats.
/// Does not: know where a frame ends.
module stream_scatter #(
  parameter int unsigned Width = 8,  // bits of a part
  parameter int unsigned Parts = 2
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   s_valid_i,
  output logic                   s_ready_o,
  input  logic [Parts*Width-1:0] s_data_i,
  output logic                   m_valid_o,
  input  logic                   m_ready_i,
  output logic [      Width-1:0] m_data_o
);

  if (Width < 1) begin : gen_width_check
    $error("stream_scatter: Width must be at least 1, but is %0d", Width);
  end
  if (Parts < 1) begin : gen_parts_check
    $error("stream_scatter: Parts must be at least 1, but is %0d", Parts);
  end

  localparam int unsigned CountWidth = $clog2(Parts + 1);

  logic [CountWidth-1:0] left_q;  // parts that are still to go out
  logic [Parts*Width-1:0] data_q;

  assign m_valid_o = left_q != '0;
  assign m_data_o  = data_q[Width-1:0];
  assign s_ready_o = left_q == '0 || (left_q == CountWidth'(1) && m_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
    end else if (s_valid_i && s_ready_o) begin
      left_q <= CountWidth'(Parts);
    end else if (m_valid_o && m_ready_i) begin
      left_q <= left_q - CountWidth'(1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_valid_i && s_ready_o) begin
      data_q <= s_data_i;
    end else if (m_valid_o && m_ready_i) begin
      data_q <= data_q >> Width;
    end
  end

endmodule
