/// Counts the thresholds that each channel's value reaches: a quantiser of any monotone function.
///
/// Formula:  for a vector of `Channels` values x, y[c] = First[c] + Step[c] * k  mod 2^OutWidth, where k is how many of the
///           2^Levels - 1 ascending thresholds t of channel c have t <= x[c].
/// Folding:  Pe channels a beat: beat g of a vector has channels g * Pe on, as it comes and as it goes. The count is searched bit by bit, a level of the pipeline for each, so that 255
///           thresholds take eight comparisons and eight memories for each of the Pe channels.
/// Interval: 1 cycle a beat.
/// Latency:  2 * Levels + 3 cycles from the cycle that takes a beat.
/// Thresholds: in memories outside, one for each level and each of the Pe channels; memory level * Pe + p has lane
///           level * Pe + p of the ports. It answers one cycle after its `threshold_en_o` and holds its word until the next
///           one. Word group * 2^level + path is, for channel c = group * Pe + p, the two's complement of threshold
///           t[path * 2^(Levels - level) + 2^(Levels - level - 1) - 1]: `path` are the count's bits that are known by then.
///           Where there are fewer thresholds, those behind the last are more than any value.
/// Falling:  with `Senses` a threshold has one bit more above it, the same in all of a channel's: set, k counts the thresholds
///           with t > x[c], which then descend. So a channel's sense is a number of the memories, not a constant.
/// Flow:     as group_pipeline.sv: `s_ready_o` comes from a register.
/// Does not: check that thresholds ascend, or compute the function where shift and round would do (rescale.sv).
module thresholding #(
  // Values a vector, and those of a beat; Pe divides Channels.
  parameter int unsigned Channels = 4,
  parameter int unsigned Pe = 2,
  // Bits of a value, and whether it is two's complement.
  parameter int unsigned InWidth = 12,
  parameter bit InSigned = 1'b1,
  // Bits of the count: as many as the number of thresholds has.
  parameter int unsigned Levels = 2,
  // Bits of a threshold, two's complement; may be more or fewer than a value has.
  parameter int unsigned ThresholdWidth = 12,
  // Whether each threshold has a bit that turns its comparison.
  parameter bit Senses = 1'b0,
  // Bits of an output.
  parameter int unsigned OutWidth = 2,
  // What a channel gives below its first threshold, and what each threshold adds; channel 0 lowest.
  parameter logic [Channels*OutWidth-1:0] First = '0,
  parameter logic [Channels*OutWidth-1:0] Step = {Channels{OutWidth'(1)}},
  localparam int unsigned Groups = Pe > 0 ? Channels / Pe : 1,
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1,
  localparam int unsigned DeepestWords = Groups << (Levels - 1),
  localparam int unsigned AddressWidth = DeepestWords > 1 ? $clog2(DeepestWords) : 1,
  localparam int unsigned WordWidth = ThresholdWidth + 32'(Senses)
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,
  output logic [Levels-1:0]                   threshold_en_o,
  output logic [Levels*Pe*AddressWidth-1:0]   threshold_addr_o,
  input  logic [Levels*Pe*WordWidth-1:0]      threshold_data_i,
  input  logic                                s_valid_i,
  output logic                                s_ready_o,
  input  logic [Pe*InWidth-1:0]               s_data_i,
  output logic                                m_valid_o,
  input  logic                                m_ready_i,
  output logic [Pe*OutWidth-1:0]              m_data_o
);
  if (Pe < 1 || Channels < 1 || Channels % Pe != 0) begin : g_check_pe
    $error("thresholding: Pe must divide Channels, but they are %0d and %0d", Pe, Channels);
  end
  if (Levels < 1 || Levels > 16) begin : g_check_levels
    $error("thresholding: Levels must be 1 to 16, but is %0d", Levels);
  end
  if (ThresholdWidth < 1) begin : g_check_width
    $error("thresholding: ThresholdWidth must be at least 1, but is %0d", ThresholdWidth);
  end

  // Stage 2 * level asks the level's memory, the next one compares; then comes the result.
  localparam int unsigned CountStage = 2 * Levels;
  localparam int unsigned PathWidth = Levels > 1 ? Levels - 1 : 1;  // bits of the count that a level needs, at most
  localparam int unsigned CompareWidth = InWidth + 1 > ThresholdWidth ? InWidth + 1 : ThresholdWidth;

  logic advance;
  logic [CountStage+1:0] valid;
  logic [CountStage+1:0][GroupWidth-1:0] group;
  logic [Pe*InWidth-1:0] values;
  logic [Pe*OutWidth-1:0] results_q;

  group_pipeline #(
    .Groups  (Groups),
    .InWidth (Pe * InWidth),
    .OutWidth(Pe * OutWidth),
    .Latency (CountStage + 1)
  ) u_pipeline (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i,
    .advance_o(advance),
    .valid_o  (valid),
    .group_o  (group),
    .values_o (values),
    .results_i(results_q),
    .m_valid_o,
    .m_ready_i,
    .m_data_o
  );

  // Most layers add the same for each threshold: a constant needs no multiplier.
  localparam bit OneStep = Step == {Channels{Step[OutWidth-1:0]}};

  for (genvar level = 0; level < Levels; level++) begin : g_enable
    assign threshold_en_o[level] = advance && valid[2*level];
  end

  for (genvar p = 0; p < Pe; p++) begin : g_pe
    for (genvar level = 0; level < Levels; level++) begin : g_level
      logic [InWidth-1:0] value, value_q;  // at the level's first and second stage
      logic [PathWidth-1:0] path, path_q;
      logic reached;
      if (level == 0) begin : g_first
        assign value = values[p*InWidth+:InWidth];
        assign path = '0;
      end else begin : g_next
        logic [InWidth-1:0] passed_q;
        logic [PathWidth-1:0] found_q;
        always_ff @(posedge clk_i) begin
          if (advance && valid[2*level-1]) begin
            passed_q <= g_level[level-1].value_q;
            found_q <= PathWidth'({g_level[level-1].path_q, g_level[level-1].reached});
          end
        end
        assign value = passed_q;
        assign path = found_q;
      end
      assign threshold_addr_o[(level*Pe+p)*AddressWidth+:AddressWidth] =
          AddressWidth'(32'(group[2*level]) << level | 32'(path));
      always_ff @(posedge clk_i) begin
        if (advance && valid[2*level]) begin
          value_q <= value;
          path_q <= path;
        end
      end

      logic signed [CompareWidth-1:0] compared, threshold;
      assign compared = InSigned ? CompareWidth'(signed'(value_q)) : CompareWidth'(value_q);
      assign threshold = CompareWidth'(signed'(threshold_data_i[(level*Pe+p)*WordWidth+:ThresholdWidth]));
      if (Senses) begin : g_sense
        assign reached = (compared >= threshold) ^ threshold_data_i[(level*Pe+p)*WordWidth+ThresholdWidth];
      end else begin : g_rising
        assign reached = compared >= threshold;
      end
    end

    logic [OutWidth-1:0] first [Groups];
    logic [OutWidth-1:0] step [Groups];
    for (genvar g = 0; g < Groups; g++) begin : g_channel
      assign first[g] = First[(g*Pe+p)*OutWidth+:OutWidth];
      assign step[g] = Step[(g*Pe+p)*OutWidth+:OutWidth];
    end
    logic [Levels-1:0] count_q;
    logic [OutWidth-1:0] step_of_group;
    assign step_of_group = OneStep ? Step[OutWidth-1:0] : step[group[CountStage]];
    always_ff @(posedge clk_i) begin
      if (advance && valid[CountStage-1]) begin
        count_q <= Levels'({g_level[Levels-1].path_q, g_level[Levels-1].reached});
      end
      if (advance && valid[CountStage]) begin
        results_q[p*OutWidth+:OutWidth] <= OutWidth'(first[group[CountStage]] + OutWidth'(step_of_group * OutWidth'(count_q)));
      end
    end
  end
endmodule
