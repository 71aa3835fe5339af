/// The frame of a pipeline that computes vectors in groups of channels: flow control, and which group is where.
///
/// Formula:  the groups of a vector, 0 to Groups - 1, come in turn, again and again; what the pipeline makes of each leaves
///           in the same order.
/// Pipeline: it moves on in a cycle with `advance_o`. Stage 0 has `values_o`; what is known of stage k is whether a group
///           is in it, `valid_o[k]`, and which one, lane k of `group_o`. `results_i` are those of the group in stage
///           `Latency`. A stage may change while it is not valid.
/// Interval: 1 cycle a group.
/// Latency:  Latency + 2 cycles from the cycle that takes a group.
/// Flow:     `s_ready_o` comes from a register. One group waits in the output register and one behind it; with that the
///           pipeline stands still.
/// Does not: compute.
module group_pipeline #(
  // Groups of a vector.
  parameter int unsigned Groups = 2,
  // Bits of a group, and of what is made of it.
  parameter int unsigned InWidth = 8,
  parameter int unsigned OutWidth = 4,
  // Stages of the pipeline behind stage 0.
  parameter int unsigned Latency = 1,
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1
) (
  input  logic                              clk_i,
  input  logic                              rst_ni,
  input  logic                              s_valid_i,
  output logic                              s_ready_o,
  input  logic [InWidth-1:0]                s_data_i,
  output logic                              advance_o,
  output logic [Latency:0]                  valid_o,
  output logic [Latency:0][GroupWidth-1:0]  group_o,
  output logic [InWidth-1:0]                values_o,
  input  logic [OutWidth-1:0]               results_i,
  output logic                              m_valid_o,
  input  logic                              m_ready_i,
  output logic [OutWidth-1:0]               m_data_o
);
  if (Groups < 1 || InWidth < 1 || OutWidth < 1 || Latency < 1) begin : g_check
    $error("group_pipeline: Groups, InWidth, OutWidth and Latency must be at least 1, but are %0d, %0d, %0d and %0d",
           Groups, InWidth, OutWidth, Latency);
  end

  logic pending;
  logic [GroupWidth-1:0] group_q;
  assign advance_o = !pending;
  assign s_ready_o = advance_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      group_q <= '0;
      valid_o <= '0;
    end else if (advance_o) begin
      if (Groups > 1 && s_valid_i) group_q <= group_q == GroupWidth'(Groups - 1) ? '0 : group_q + 1'b1;
      valid_o <= {valid_o[Latency-1:0], s_valid_i};
    end
  end

  always_ff @(posedge clk_i) begin
    if (advance_o) begin
      group_o <= {group_o[Latency-1:0], group_q};
      values_o <= s_data_i;
    end
  end

  pipeline_output #(
    .Width(OutWidth)
  ) u_output (
    .clk_i,
    .rst_ni,
    .arrives_i(valid_o[Latency]),
    .data_i   (results_i),
    .pending_o(pending),
    .m_valid_o,
    .m_ready_i,
    .m_data_o
  );
endmodule
