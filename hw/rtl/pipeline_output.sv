/// The end of a pipeline that can only stand still a cycle after it was told: a register that gives, and one behind it.
///
/// Formula:  what arrives leaves at `m_`, in order and unchanged.
/// Interval: 1 cycle. Latency: 1 cycle.
/// Flow:     where something arrives while the output waits, `pending_o` rises with the next cycle, and the pipeline must
///           stand still until it falls. It comes from a register.
/// Does not: take what arrives while `pending_o` is high.
module pipeline_output #(
  // Bits of what the pipeline gives.
  parameter int unsigned Width = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             arrives_i,
  input  logic [Width-1:0] data_i,
  output logic             pending_o,
  output logic             m_valid_o,
  input  logic             m_ready_i,
  output logic [Width-1:0] m_data_o
);
  if (Width < 1) begin : g_check
    $error("pipeline_output: Width must be at least 1, but is %0d", Width);
  end

  logic [Width-1:0] behind_q;
  logic free;
  assign free = !m_valid_o || m_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
      pending_o <= 1'b0;
    end else begin
      if (free) m_valid_o <= pending_o || arrives_i;
      pending_o <= (pending_o || arrives_i) && !free;
    end
  end

  always_ff @(posedge clk_i) begin
    // Both load whenever they may, not only when they must: their enables are then no long paths.
    if (!pending_o) behind_q <= data_i;
    if (free) m_data_o <= pending_o ? behind_q : data_i;
  end
endmodule
