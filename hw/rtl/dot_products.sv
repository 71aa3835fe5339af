/// Pe sums of Simd products each, pipelined: the multipliers and the trees of adders of mvu.sv.
///
/// Formula:  sum p = sum over i < Simd of w[p][i] * x[block][i], for block = p / (Pe / SideBlocks), in full width. Lane
///           block * Simd + i of `values_i` is x, lane p * Simd + i of `weights_i` is w, in two's complement.
/// Agree:    where inputs and weights have one bit, a product is 1 if both bits are the same and 0 if not.
/// Folding:  a product of up to 4 bits (InWidth * WeightWidth) is not computed: the lanes with a bit of both factors are
///           counted, six in the first step, and the counts of all pairs of bits put together at last.
/// Packing:  with Multipliers = 3, sums side by side that share a value have their weights in fields of one factor, from the
///           lowest, as many as `PackWidth` bits hold, and one multiplier makes the products of all. A field has a product's
///           bits. All weights but the highest lie there plus 2^(WeightWidth - 1), so that none borrows from the one above;
///           the sums less that many sums of the values are the sums of products. Signed values can borrow all the same:
///           a field's highest bit is then added to the field above.
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
  // What computes products that are not counted: 0 what the synthesis chooses, 1 look-up tables, 2 the part's multipliers, 3
  // these with several weights to a factor.
  parameter int unsigned Multipliers = 0,
  // Bits of the wider factor of the part's multipliers: 18 of an ECP5, 25 of a DSP48.
  parameter int unsigned PackWidth = 18,
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
  if (Multipliers > 3) begin : g_check_multipliers
    $error("dot_products: Multipliers must be 0, 1, 2 or 3, but is %0d", Multipliers);
  end
  if (PackWidth < 2 || PackWidth > 64) begin : g_check_pack
    $error("dot_products: PackWidth must be 2 to 64, but is %0d", PackWidth);
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

  // A factor's fields, of as many sums of a block.
  localparam int unsigned SidePe = SideBlocks > 0 ? Pe / SideBlocks : 1;
  localparam int unsigned Field = InWidth + WeightWidth;
  localparam int unsigned Fit = PackWidth > WeightWidth ? (PackWidth - WeightWidth) / Field + 1 : 1;
  localparam int unsigned Fields = Multipliers != 3 || Counted ? 1 : Fit < SidePe ? Fit : SidePe;

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

  if (Fields > 1) begin : g_packed
    for (genvar at = 0; at < SideBlocks * Simd; at++) begin : g_lane
      localparam int unsigned Block = at / Simd;
      logic signed [InWidth:0] value;
      assign value = {InSigned && values_i[at*InWidth+InWidth-1], values_i[at*InWidth+:InWidth]};
      for (genvar pack = 0; pack < (SidePe + Fields - 1) / Fields; pack++) begin : g_pack
        localparam int unsigned First = Block * SidePe + pack * Fields;
        localparam int unsigned Own = SidePe - pack * Fields < Fields ? SidePe - pack * Fields : Fields;
        localparam int unsigned Width = (Own - 1) * Field + WeightWidth;
        logic signed [Width-1:0] factor;
        for (genvar f = 0; f < Own; f++) begin : g_field
          logic [WeightWidth-1:0] weight;
          assign weight = weights_i[((First+f)*Simd+at%Simd)*WeightWidth+:WeightWidth];
          if (f + 1 == Own) begin : g_highest
            assign factor[f*Field+:WeightWidth] = weight;
          end else begin : g_lower
            logic [WeightWidth-1:0] raised;
            assign raised = weight ^ ~(WeightWidth'('1) >> 1);
            assign factor[f*Field+:Field] = Field'(raised);
          end
        end
        (* use_dsp = "yes" *)
        logic signed [Own*Field-1:0] product_q;
        always_ff @(posedge clk_i) begin
          if (advance_i && valid[0]) product_q <= (Own * Field)'(value * factor);
        end
      end
    end

    // The sums of the values of each block.
    for (genvar block = 0; block < SideBlocks; block++) begin : g_block
      for (genvar level = 0; level <= TreeLevels; level++) begin : g_level
        for (genvar i = 0; i < (level == TreeLevels ? 1 : 4 * count(level + 1)); i++) begin : g_node
          logic signed [SumWidth-1:0] value_q;
          if (i >= count(level)) begin : g_zero
            assign value_q = '0;
          end else if (level == 0) begin : g_value
            always_ff @(posedge clk_i) begin
              if (advance_i && valid[0]) value_q <= SumWidth'(g_lane[block*Simd+i].value);
            end
          end else begin : g_sum
            always_ff @(posedge clk_i) begin
              if (advance_i && valid[level]) begin
                value_q <= (g_level[level-1].g_node[4*i].value_q + g_level[level-1].g_node[4*i+1].value_q)
                    + (g_level[level-1].g_node[4*i+2].value_q + g_level[level-1].g_node[4*i+3].value_q);
              end
            end
          end
        end
      end
    end
  end

  for (genvar p = 0; p < Pe; p++) begin : g_pe
    localparam int unsigned Block = p / (Pe / SideBlocks);  // which of the blocks side by side
    logic signed [SumWidth-1:0] sum_of_lanes;
    // Where its products lie, if they are packed: in which factor's, and in how many bits of it with those below.
    localparam int unsigned Pack = p % SidePe / Fields;
    localparam int unsigned FieldBits = (p % SidePe % Fields + 1) * Field;
    localparam bit Highest = Fields == 1 || p % SidePe % Fields == Fields - 1 || p % SidePe == SidePe - 1;
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
          end else if (level == 0 && Fields > 1) begin : g_field
            logic signed [Field-1:0] own;
            assign own = g_packed.g_lane[Block*Simd+i].g_pack[Pack].product_q[FieldBits-1-:Field];
            logic borrow;  // what the fields below took
            if (InSigned && FieldBits > Field) begin : g_borrow
              assign borrow = g_packed.g_lane[Block*Simd+i].g_pack[Pack].product_q[FieldBits-Field-1];
            end else begin : g_none
              assign borrow = 1'b0;
            end
            if (Highest) begin : g_highest
              assign value_q = SumWidth'(own) + SumWidth'(borrow);
            end else begin : g_lower
              assign value_q = SumWidth'(InSigned ? SumWidth'(own) : SumWidth'(unsigned'(own))) + SumWidth'(borrow);
            end
          end else if (level == 0 && Multipliers >= 2) begin : g_multiplier
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
      if (Highest) begin : g_as_it_is
        assign sum_of_lanes = g_level[TreeLevels].g_node[0].value_q;
      end else begin : g_less_values
        assign sum_of_lanes = g_level[TreeLevels].g_node[0].value_q
            - (g_packed.g_block[Block].g_level[TreeLevels].g_node[0].value_q <<< (WeightWidth - 1));
      end
    end

    assign sums_o[p*SumWidth+:SumWidth] = sum_of_lanes;
  end
endmodule
