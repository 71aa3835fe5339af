/// Gathers `Parts` beats into one wide beat, the first part in the lowest bits.
///
/// Interval: Parts cycles. Latency: 1 cycle from the last part.
/// Flow:     streams; `s_ready_o` follows `m_ready_i` in the same cycle, so that no cycle is lost between two beats.
/// Does not: know where a frame ends: parts are counted from reset.
module stream_gather #(
  parameter int unsigned Width = 8,  // bits of a part
  parameter int unsigned Parts = 2
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   s_valid_i,
  output logic                   s_ready_o,
  input  logic [      Width-1:0] s_data_i,
  output logic                   m_valid_o,
  input  logic                   m_ready_i,
  output logic [Parts*Width-1:0] m_data_o
);

  if (Width < 1) begin : gen_width_check
    $error("stream_gather: Width must be at least 1, but is %0d", Width);
  end
  if (Parts < 2) begin : gen_parts_check
    $error("stream_gather: Parts must be at least 2, but is %0d", Parts);
  end

  localparam int unsigned CountWidth = $clog2(Parts);

  logic [CountWidth-1:0] count_q;  // parts that are there
  logic full_q, take;

  assign s_ready_o = !full_q || m_ready_i;
  assign m_valid_o = full_q;
  assign take      = s_valid_i && s_ready_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      full_q  <= 1'b0;
    end else begin
      if (m_ready_i) begin
        full_q <= 1'b0;
      end
      if (take) begin
        count_q <= count_q == CountWidth'(Parts - 1) ? '0 : count_q + 1'b1;
        full_q  <= count_q == CountWidth'(Parts - 1);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      m_data_o <= {s_data_i, m_data_o[Parts*Width-1:Width]};
    end
  end

endmodule
