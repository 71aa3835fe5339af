/// Takes vectors apart into groups of Pe channels for a pipeline that computes them, and puts the results together.
///
/// Formula:  a vector of `Channels` values goes through the pipeline as Channels / Pe groups in order; of what comes back of
///           them, Pe results of OutWidth bits a group, the output vector is made, channel 0 lowest.
/// Pipeline: it moves on in a cycle with `advance_o`. Stage 0 has `values_o`; what is known of stage k is whether a group
///           is in it, `valid_o[k]`, and which one, lane k of `group_o`. `results_i` are those of the group in stage
///           `Latency`. A stage may change while it is not valid.
/// Interval: Channels / Pe cycles a vector, vectors follow without a bubble.
/// Latency:  Latency + 2 cycles from the cycle that takes a vector, which is the one that reads its last group.
/// Flow:     a vector is read in place and taken with its last group, so `s_data_i` must stay while `s_valid_i` waits.
///           `s_ready_o` comes from registers alone. One vector waits in the output register and one behind it; with that
///           the pipeline stands still.
/// Does not: compute.
module channel_fold #(
  // Values a vector, and how many go side by side; Pe divides Channels.
  parameter int unsigned Channels = 4,
  parameter int unsigned Pe = 2,
  // Bits of a value and of a result.
  parameter int unsigned InWidth = 8,
  parameter int unsigned OutWidth = 4,
  // Stages of the pipeline behind stage 0.
  parameter int unsigned Latency = 1,
  localparam int unsigned Groups = Channels / Pe,
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1
) (
  input  logic                              clk_i,
  input  logic                              rst_ni,
  input  logic                              s_valid_i,
  output logic                              s_ready_o,
  input  logic [Channels*InWidth-1:0]       s_data_i,
  output logic                              advance_o,
  output logic [Latency:0]                  valid_o,
  output logic [Latency:0][GroupWidth-1:0]  group_o,
  output logic [Pe*InWidth-1:0]             values_o,
  input  logic [Pe*OutWidth-1:0]            results_i,
  output logic                              m_valid_o,
  input  logic                              m_ready_i,
  output logic [Channels*OutWidth-1:0]      m_data_o
);
  if (Pe < 1 || Channels < 1 || Channels % Pe != 0) begin : g_check_pe
    $error("channel_fold: Pe must divide Channels, but they are %0d and %0d", Pe, Channels);
  end
  if (InWidth < 1 || OutWidth < 1 || Latency < 1) begin : g_check_width
    $error("channel_fold: InWidth, OutWidth and Latency must be at least 1, but are %0d, %0d and %0d",
           InWidth, OutWidth, Latency);
  end

  logic pending, issue;
  logic [GroupWidth-1:0] group_q;
  logic last_q;  // a register, so that no comparison is on the path of the ready signals
  assign advance_o = !pending;
  assign issue = advance_o && s_valid_i;
  assign s_ready_o = advance_o && last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      group_q <= '0;
      last_q <= Groups == 1;
    end else if (issue) begin
      group_q <= last_q ? '0 : group_q + 1'b1;
      last_q <= last_q ? Groups == 1 : 32'(group_q) + 2 == Groups;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= '0;
    else if (advance_o) valid_o <= {valid_o[Latency-1:0], s_valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (advance_o) group_o <= {group_o[Latency-1:0], group_q};
    if (issue) values_o <= s_data_i[32'(group_q)*(Pe*InWidth)+:Pe*InWidth];
  end

  group_collector #(
    .Groups(Groups),
    .Width (Pe * OutWidth)
  ) u_collector (
    .clk_i,
    .rst_ni,
    .arrives_i   (valid_o[Latency]),
    .group_i     (group_o[Latency]),
    .group_data_i(results_i),
    .pending_o   (pending),
    .m_valid_o,
    .m_ready_i,
    .m_data_o
  );
endmodule
