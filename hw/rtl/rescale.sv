/// Multiplies, adds, shifts, rounds and clips each channel's value: a quantiser of a linear function.
///
/// Formula:  for a vector of `Channels` values x, y[c] = clip(round((x[c] * Multiplier[c] + Offset[c]) / 2^Shift)), from Low
///           to High. round: 0 down, 1 to nearest, half up, 2 to nearest, half to even.
/// Folding:  Pe channels a beat, with a multiplier for each (none where all multipliers are 1): beat g of a vector has
///           channels g * Pe on, as it comes and as it goes.
/// Interval: 1 cycle a beat.
/// Latency:  7 cycles from the cycle that takes a beat.
/// Flow:     as group_pipeline.sv: `s_ready_o` comes from a register.
/// Does not: shift left; the multiplier does.
module rescale #(
  // Values a vector, and those of a beat; Pe divides Channels.
  parameter int unsigned Channels = 4,
  parameter int unsigned Pe = 2,
  // Bits of a value, and whether it is two's complement.
  parameter int unsigned InWidth = 12,
  parameter bit InSigned = 1'b1,
  // Two's complement, channel 0 lowest.
  parameter int unsigned MultiplierWidth = 2,
  parameter logic [Channels*MultiplierWidth-1:0] Multiplier = {Channels{MultiplierWidth'(1)}},
  parameter int unsigned OffsetWidth = 4,
  parameter logic [Channels*OffsetWidth-1:0] Offset = '0,
  parameter int unsigned Shift = 4,
  parameter int unsigned Round = 0,
  // Bits of an output, and where it is clipped to; the caller sees to it that they hold these.
  parameter int unsigned OutWidth = 4,
  parameter logic signed [63:0] Low = 64'sd0,
  parameter logic signed [63:0] High = 64'sd15
) (
  input  logic                         clk_i,
  input  logic                         rst_ni,
  input  logic                         s_valid_i,
  output logic                         s_ready_o,
  input  logic [Pe*InWidth-1:0]        s_data_i,
  output logic                         m_valid_o,
  input  logic                         m_ready_i,
  output logic [Pe*OutWidth-1:0]       m_data_o
);
  if (Pe < 1 || Channels < 1 || Channels % Pe != 0) begin : g_check_pe
    $error("rescale: Pe must divide Channels, but they are %0d and %0d", Pe, Channels);
  end
  if (MultiplierWidth < 1 || OffsetWidth < 1) begin : g_check_width
    $error("rescale: MultiplierWidth and OffsetWidth must be at least 1, but are %0d and %0d",
           MultiplierWidth, OffsetWidth);
  end
  if (Round > 2) begin : g_check_round
    $error("rescale: Round must be 0, 1 or 2, but is %0d", Round);
  end
  if (Low > High) begin : g_check_clip
    $error("rescale: Low must not be above High, but they are %0d and %0d", Low, High);
  end

  localparam int unsigned Groups = Pe > 0 ? Channels / Pe : 1;
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1;
  localparam int unsigned ProductWidth = InWidth + MultiplierWidth;
  localparam int unsigned WidestWidth = ProductWidth > OffsetWidth ? ProductWidth : OffsetWidth;
  // One bit more for the offset, one for what rounding adds, and at least one that a shift leaves.
  localparam int unsigned SumWidth = (WidestWidth > Shift ? WidestWidth : Shift) + 2;
  // What is added before the shift: half a step; where a half goes to even, a bit less, and the bit that makes it odd.
  localparam logic [SumWidth-1:0] Half = Shift > 0 ? SumWidth'(1) << (Shift > 0 ? Shift - 1 : 0) : '0;
  localparam logic signed [SumWidth-1:0] Nearest = Round == 1 || Shift == 0 ? Half : Half - 1'b1;
  localparam bit OneMultiplier = Multiplier == {Channels{MultiplierWidth'(1)}} && MultiplierWidth > 1;

  logic advance;
  // verilator lint_off UNUSEDSIGNAL
  logic [5:0] valid;  // not every stage asks who is in it
  logic [5:0][GroupWidth-1:0] group;
  // verilator lint_on UNUSEDSIGNAL
  logic [Pe*InWidth-1:0] values;
  logic [Pe*OutWidth-1:0] results_q;

  group_pipeline #(
    .Groups  (Groups),
    .InWidth (Pe * InWidth),
    .OutWidth(Pe * OutWidth),
    .Latency (5)
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

  for (genvar p = 0; p < Pe; p++) begin : g_pe
    logic [MultiplierWidth-1:0] multiplier [Groups];
    logic [OffsetWidth-1:0] offset [Groups];
    for (genvar g = 0; g < Groups; g++) begin : g_channel
      assign multiplier[g] = Multiplier[(g*Pe+p)*MultiplierWidth+:MultiplierWidth];
      assign offset[g] = Offset[(g*Pe+p)*OffsetWidth+:OffsetWidth];
    end

    logic signed [ProductWidth-1:0] value, factor, value_q, factor_q, product_q;
    logic signed [SumWidth-1:0] sum_q, shifted_q;
    logic odd;
    assign value = InSigned ? ProductWidth'(signed'(values[p*InWidth+:InWidth])) : ProductWidth'(values[p*InWidth+:InWidth]);
    assign factor = ProductWidth'(signed'(multiplier[group[0]]));
    assign odd = Round == 2 && Shift > 0 && sum_q[Shift];
    always_ff @(posedge clk_i) begin
      if (advance && valid[0]) begin
        value_q <= value;
        factor_q <= factor;
      end
      if (advance && valid[1]) product_q <= OneMultiplier ? value_q : value_q * factor_q;
      if (advance && valid[2]) sum_q <= SumWidth'(product_q) + SumWidth'(signed'(offset[group[2]]));
      if (advance && valid[3]) begin
        if (Round == 0) shifted_q <= sum_q >>> Shift;
        else shifted_q <= (sum_q + Nearest + SumWidth'(signed'({1'b0, odd}))) >>> Shift;
      end
      if (advance && valid[4]) begin
        if (64'(shifted_q) < Low) results_q[p*OutWidth+:OutWidth] <= OutWidth'(Low);
        else if (64'(shifted_q) > High) results_q[p*OutWidth+:OutWidth] <= OutWidth'(High);
        else results_q[p*OutWidth+:OutWidth] <= OutWidth'(shifted_q);
      end
    end
  end
endmodule
