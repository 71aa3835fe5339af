/// Pe sums of Simd products each, pipelined: the multipliers and the trees of adders of mvu.sv.
///
/// Formula:  sum p = sum over i < Simd of w[p][i] * x[block][i], for block = p / (Pe / SideBlocks), in full width. Lane
///           block * Simd + i of `values_i` is x, lane p * Simd + i of `weights_i` is w, in two's complement.
/// Agree:    where inputs and weights have one bit, a product is 1 if both bits are the same and 0 if not.
/// Folding:  a product of up to 4 bits (InWidth * WeightWidth) is not computed: the lanes with a bit of both factors are
///           counted, six in the first step, and the counts of all pairs of bits put together at last.
/// Interval: 1 cycle. Latency: 1 + ceil(log4(Simd)) cycles; where lanes are counted 1 + ceil(log4(ceil(Simd / 6))), and 1
///           more if there are several pairs of bits.
/// Flow:     it moves on in a cycle with `advance_i`. `tag_i` goes along; `soon_` is what will be at the output after the
///           next such cycle.
/// Does not: accumulate, or wait.
module dot_products #(
  // Sums, and products of each.
  parameter int unsigned Pe = 2,
  parameter int unsigned Simd = 2,
  // Blocks of values, of which each is shared by Pe / SideBlocks sums.
  parameter int unsigned SideBlocks = 1,
  // Bits of a value, and whether it is two's complement; bits of a weight, which is.
  parameter int unsigned InWidth = 4,
  parameter bit InSigned = 1'b0,
  parameter int unsigned WeightWidth = 4,
  // Count lanes whose bits agree.
  parameter bit Agree = 1'b0,
  // What computes products that are not counted: 0 what the synthesis chooses, 1 look-up tables, 2 the part's multipliers.
  parameter int unsigned Multipliers = 0,
  // Bits that go along.
  parameter int unsigned TagWidth = 1,
  localparam int unsigned SumWidth = InWidth + WeightWidth + $clog2(Simd)
) (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  logic                            advance_i,
  input  logic                            valid_i,
  input  logic [TagWidth-1:0]             tag_i,
  input  logic [SideBlocks*Simd*InWidth-1:0] values_i,
  input  logic [Pe*Simd*WeightWidth-1:0]  weights_i,
  output logic                            soon_valid_o,
  output logic [TagWidth-1:0]             soon_tag_o,
  output logic                            valid_o,
  output logic [TagWidth-1:0]             tag_o,
  output logic [Pe*SumWidth-1:0]          sums_o
);
  if (Pe < 1 || Simd < 1 || SideBlocks < 1 || Pe % SideBlocks != 0) begin : g_check_fold
    $error("dot_products: Simd must be at least 1, and SideBlocks divide Pe, but they are %0d, %0d and %0d",
           Simd, SideBlocks, Pe);
  end
  if (Multipliers > 2) begin : g_check_multipliers
    $error("dot_products: Multipliers must be 0, 1 or 2, but is %0d", Multipliers);
  end
  if (Agree && (InWidth != 1 || WeightWidth != 1)) begin : g_check_agree
    $error("dot_products: InWidth and WeightWidth must be 1 where bits are to agree, but are %0d and %0d",
           InWidth, WeightWidth);
  end

  localparam bit Counted = InWidth > 0 && WeightWidth > 0 && InWidth * WeightWidth <= 4;
  localparam int unsigned Chunk = Counted ? 6 : 1;  // lanes of a leaf of the tree
  localparam int unsigned Leaves = (Simd + Chunk - 1) / Chunk;
  // An adder of four a level, a register behind each; then one for the pairs of bits.
  localparam int unsigned TreeLevels = ($clog2(Leaves) + 1) / 2;
  localparam int unsigned Levels = TreeLevels + (Counted && InWidth * WeightWidth > 1 ? 1 : 0);

  logic [Levels+1:0] valid;
  logic [Levels+1:0][TagWidth-1:0] tag;
  logic [Levels:0] valid_q;
  logic [Levels:0][TagWidth-1:0] tag_q;
  assign valid = {valid_q, valid_i};
  assign tag = {tag_q, tag_i};
  assign soon_valid_o = valid[Levels];
  assign soon_tag_o = tag[Levels];
  assign valid_o = valid[Levels+1];
  assign tag_o = tag[Levels+1];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (advance_i) valid_q <= valid[Levels:0];
  end
  always_ff @(posedge clk_i) begin
    if (advance_i) tag_q <= tag[Levels:0];
  end

  localparam int unsigned FactorWidth = InWidth + WeightWidth > 32 ? InWidth + WeightWidth : 32;
  function automatic logic signed [SumWidth-1:0] product(logic [InWidth-1:0] value, logic [WeightWidth-1:0] weight);
    logic signed [FactorWidth-1:0] factor;
    logic signed [SumWidth-1:0] shifted;
    if (InSigned) factor = FactorWidth'(signed'(value));
    else factor = FactorWidth'(value);
    if (Multipliers == 1) begin
      // Sums of the weight's bits: no synthesis takes them for a multiplier.
      product = '0;
      for (int unsigned k = 0; k < WeightWidth; k++) begin
        shifted = weight[k] ? SumWidth'(factor <<< k) : '0;
        product = k + 1 < WeightWidth ? product + shifted : product - shifted;
      end
      return product;
    end
    return SumWidth'(factor * FactorWidth'(signed'(weight)));
  endfunction

  // Values behind an adder level.
  function automatic int unsigned count(int unsigned level);
    return (Leaves + (1 << (2 * level)) - 1) >> (2 * level);
  endfunction
  // Bits of a count of lanes behind an adder level.
  function automatic int unsigned count_width(int unsigned level);
    return (Chunk << (2 * level)) < Simd ? $clog2((Chunk << (2 * level)) + 1) : $clog2(Simd + 1);
  endfunction

  // Bits by their place, those of all lanes side by side.
  localparam int unsigned Side = SideBlocks * Simd;
  if (Counted) begin : g_bits
    logic [InWidth-1:0][Side-1:0] inputs;
    logic [WeightWidth-1:0][Pe*Simd-1:0] weights;
    for (genvar i = 0; i < Side; i++) begin : g_input
      for (genvar at = 0; at < InWidth; at++) begin : g_bit
        assign inputs[at][i] = values_i[i*InWidth+at];
      end
    end
    for (genvar i = 0; i < Pe * Simd; i++) begin : g_weight
      for (genvar at = 0; at < WeightWidth; at++) begin : g_bit
        assign weights[at][i] = weights_i[i*WeightWidth+at];
      end
    end
  end

  for (genvar p = 0; p < Pe; p++) begin : g_pe
    localparam int unsigned Block = p / (Pe / SideBlocks);  // which of the blocks side by side
    logic signed [SumWidth-1:0] sum_of_lanes;
    if (Counted) begin : g_counted
      for (genvar place = 0; place < InWidth * WeightWidth; place++) begin : g_place
        logic [Simd-1:0] inputs, weights, both;
        assign inputs = g_bits.inputs[place/WeightWidth][Block*Simd+:Simd];
        assign weights = g_bits.weights[place%WeightWidth][p*Simd+:Simd];
        assign both = Agree ? ~(inputs ^ weights) : inputs & weights;
        for (genvar level = 0; level <= TreeLevels; level++) begin : g_level
          for (genvar i = 0; i < (level == TreeLevels ? 1 : 4 * count(level + 1)); i++) begin : g_node
            logic [count_width(level)-1:0] value_q;
            if (i >= count(level)) begin : g_zero
              assign value_q = '0;
            end else if (level == 0) begin : g_leaf
              localparam int unsigned Lanes = Simd - i * Chunk < Chunk ? Simd - i * Chunk : Chunk;
              always_ff @(posedge clk_i) begin
                if (advance_i && valid[0]) value_q <= count_width(0)'($countones(both[i*Chunk+:Lanes]));
              end
            end else begin : g_sum
              always_ff @(posedge clk_i) begin
                if (advance_i && valid[level]) begin
                  value_q <= count_width(level)'(g_level[level-1].g_node[4*i].value_q)
                      + count_width(level)'(g_level[level-1].g_node[4*i+1].value_q)
                      + count_width(level)'(g_level[level-1].g_node[4*i+2].value_q)
                      + count_width(level)'(g_level[level-1].g_node[4*i+3].value_q);
                end
              end
            end
          end
        end
        // What the place's count is worth; the highest bit of two's complement stands for less than nothing.
        localparam bit Negative =
            !Agree && ((place % WeightWidth == WeightWidth - 1) != (InSigned && place / WeightWidth == InWidth - 1));
        logic signed [SumWidth-1:0] worth, rest;  // `rest`: of the places before it
        assign worth = SumWidth'(g_level[TreeLevels].g_node[0].value_q) << (place / WeightWidth + place % WeightWidth);
        if (place == 0) begin : g_first
          assign rest = '0;
        end else begin : g_next
          assign rest = g_place[place-1].sum;
        end
        logic signed [SumWidth-1:0] sum;
        assign sum = Negative ? rest - worth : rest + worth;
      end
      if (InWidth * WeightWidth > 1) begin : g_places
        logic signed [SumWidth-1:0] sum_q;
        always_ff @(posedge clk_i) begin
          if (advance_i && valid[Levels]) sum_q <= g_place[InWidth*WeightWidth-1].sum;
        end
        assign sum_of_lanes = sum_q;
      end else begin : g_one_place
        assign sum_of_lanes = g_place[0].sum;
      end
    end else begin : g_multiplied
      // Level 0 has the products; every further level adds four values of the one before, which zeros fill up. All have
      // the width of the last sum: sign extension costs nothing in synthesis, which drops it, and much in simulation
      // wherever a narrower value is read.
      for (genvar level = 0; level <= TreeLevels; level++) begin : g_level
        for (genvar i = 0; i < (level == TreeLevels ? 1 : 4 * count(level + 1)); i++) begin : g_node
          logic signed [SumWidth-1:0] value_q;
          if (i >= count(level)) begin : g_zero
            assign value_q = '0;
          end else if (level == 0 && Multipliers == 2) begin : g_multiplier
            (* use_dsp = "yes" *)
            logic signed [SumWidth-1:0] product_q;
            always_ff @(posedge clk_i) begin
              if (advance_i && valid[0]) begin
                product_q <= product(values_i[(Block*Simd+i)*InWidth+:InWidth], weights_i[(p*Simd+i)*WeightWidth+:WeightWidth]);
              end
            end
            assign value_q = product_q;
          end else if (level == 0) begin : g_product
            always_ff @(posedge clk_i) begin
              if (advance_i && valid[0]) begin
                value_q <= product(values_i[(Block*Simd+i)*InWidth+:InWidth], weights_i[(p*Simd+i)*WeightWidth+:WeightWidth]);
              end
            end
          end else begin : g_sum
            always_ff @(posedge clk_i) begin
              if (advance_i && valid[level]) begin
                value_q <= g_level[level-1].g_node[4*i].value_q
                    + g_level[level-1].g_node[4*i+1].value_q
                    + g_level[level-1].g_node[4*i+2].value_q
                    + g_level[level-1].g_node[4*i+3].value_q;
              end
            end
          end
        end
      end
      assign sum_of_lanes = g_level[TreeLevels].g_node[0].value_q;
    end

    assign sums_o[p*SumWidth+:SumWidth] = sum_of_lanes;
  end
endmodule
