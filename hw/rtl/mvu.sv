// Over 500 lines: one pipeline from the port of the inputs to that of the outputs, and what its parameters may be.
/// A folded matrix-vector unit with bias and requantisation: the arithmetic of every dense and convolution layer.
///
/// Formula:  an output vector belongs to `Beats` input beats of `InLanes` values x and has, for o < Outputs,
///             a[o] = Bias[o] * 2^BiasShift + sum over beat, lane of w[o][beat][lane] * x[beat][lane]  mod 2^AccWidth
///             y[o] = fit(round(a[o] / 2^Shift))
///           round: 0 down, 1 to nearest, half up, 2 to nearest, half to even. fit: into OutWidth bits (two's complement
///           if OutSigned), by saturation if Saturate, else by dropping upper bits. An unsigned, saturated output is a ReLU.
/// Agree:    where inputs and weights have one bit that stands for 1 or -1, a product w * x is instead 1 if both bits are the
///           same and 0 if not; twice the sum less the number of its lanes is then that of the numbers that they stand for.
/// Blocks:   with several, as in a grouped or depthwise convolution, output o takes the InLanes / Blocks lanes of block
///           o / (Outputs / Blocks) alone. A beat has the channels of each of its `Taps`, and a block has its share of
///           them: its lane tap * c + i, for c = InLanes / Taps / Blocks channels, is lane (tap * Blocks + block) * c + i.
/// Folding:  Pe outputs x Simd lanes a cycle, in the order: for beat, for group < Outputs / Pe, for slice <
///           InLanes / Blocks / Simd. Pe outputs belong to one block or are all those of several.
/// Interval: Beats * (Outputs / Pe) * (InLanes / Blocks / Simd) cycles an output vector, vectors follow without a bubble.
/// Latency:  7 + ceil(log4(Simd)) cycles, or with InWidth * WeightWidth up to 4, 7 + ceil(log4(Simd / 6)) and 1 more if it
///           is not 1, from the cycle that takes the last beat to the last group of the output vector, and
///           as many from a group's own last step to that group; 2 fewer where sums leave as they are (Shift is 0 and
///           Saturate is not set).
/// Weights:  in a memory outside, which answers one cycle after `weight_en_o` and holds its word until the next one. Word
///           (beat * (Outputs / Pe) + group) * (InLanes / Blocks / Simd) + slice has in lane p * Simd + i the two's
///           complement w[group * Pe + p][beat][slice * Simd + i], its lanes counted in their block.
/// Runtime:  `Bias` is of no account then: biases come from a memory outside that answers one cycle after `bias_en_o`, word g
///           with those of the outputs g * Pe and on, lowest first; BiasShift is 0. Where ShiftBits > 0, the shift and the
///           rounding mode come at `rounding_i`, {mode [1:0], shift [ShiftBits-1:0]}, which changes only while nothing is inside.
/// Flow:     an input beat is read in place and taken with its last use, so `s_data_i` must stay while `s_valid_i` waits.
///           Where it is `Sliced`, a beat has the lanes of one step alone, in the order of the steps, as window_memory.sv gives
///           them: slice * Simd + i of the first of the step's blocks, then of the next one.
///           `s_ready_o` comes from registers alone. The output vector leaves group by group: beat g of it has outputs g *
///           Pe on. One group waits in the output register and one behind it; a third freezes the pipeline.
/// Does not: skip zeros, share multipliers between layers, or keep an output vector (stream_gather.sv).
module mvu #(
  // Values of an input beat: a window's kernel * kernel * channels for a convolution, the channels for a dense layer.
  // Where it is sliced, those of all the beats that stand for it.
  parameter int unsigned InLanes = 4,
  // Bits of an input value, and whether it is two's complement.
  parameter int unsigned InWidth = 4,
  parameter bit InSigned = 1'b0,
  // Input beats a vector: 1, or the pixels of the map that a dense layer flattens.
  parameter int unsigned Beats = 1,
  // Values an output vector.
  parameter int unsigned Outputs = 4,
  // Outputs computed side by side; divides Outputs.
  parameter int unsigned Pe = 2,
  // Lanes multiplied side by side; divides InLanes / Blocks.
  parameter int unsigned Simd = 2,
  // Bits of a weight.
  parameter int unsigned WeightWidth = 4,
  // Bits of the sum; the caller proves that it cannot overflow, or wants the wrap.
  parameter int unsigned AccWidth = 16,
  // Biases, output 0 lowest, on a grid that is 2^BiasShift coarser than the sum's.
  parameter int unsigned BiasWidth = 8,
  parameter logic signed [Outputs*BiasWidth-1:0] Bias = '0,
  parameter int unsigned BiasShift = 0,
  // Biases are numbers of a memory.
  parameter bit Runtime = 1'b0,
  // Bits of a shift that comes at `rounding_i`; 0: `Shift` and `Round` say it.
  parameter int unsigned ShiftBits = 0,
  // Bits of an output value, and whether it is two's complement.
  parameter int unsigned OutWidth = 4,
  parameter bit OutSigned = 1'b0,
  // Bits that the output's grid is coarser than the sum's; negative where it is finer.
  parameter int Shift = 4,
  // 0 down, 1 half up, 2 half to even.
  parameter int unsigned Round = 0,
  // Saturate instead of wrapping.
  parameter bit Saturate = 1'b1,
  // Count lanes whose bits agree.
  parameter bit Agree = 1'b0,
  // Groups of a convolution, and taps of its window; they matter where there are several blocks.
  parameter int unsigned Blocks = 1,
  parameter int unsigned Taps = 1,
  // Whether the lanes come step by step, as often as they are used, so that none of them is looked up in a beat of all.
  parameter bit Sliced = 1'b0,
  // What computes products of more than 4 bits: 0 what the synthesis chooses, 1 look-up tables, 2 the part's multipliers, 3
  // these with the weights of several outputs to a factor of up to PackWidth bits (dot_products.sv).
  parameter int unsigned Multipliers = 0,
  parameter int unsigned PackWidth = 18,
  // How many blocks are computed side by side.
  localparam int unsigned SideBlocks = Pe > Outputs / Blocks ? Pe / (Outputs / Blocks) : 1,
  localparam int unsigned BeatLanes = Sliced ? SideBlocks * Simd : InLanes,
  localparam int unsigned Groups = Outputs / Pe,
  localparam int unsigned Slices = InLanes / Blocks / Simd,
  localparam int unsigned Words = Beats * Groups * Slices,
  localparam int unsigned AddressWidth = Words > 1 ? $clog2(Words) : 1,
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  output logic                           weight_en_o,
  output logic [AddressWidth-1:0]        weight_addr_o,
  input  logic [Pe*Simd*WeightWidth-1:0] weight_data_i,
  /* verilator lint_off UNUSEDSIGNAL */  // where nothing is loaded at run time
  output logic                           bias_en_o,
  output logic [GroupWidth-1:0]          bias_addr_o,
  input  logic [Pe*BiasWidth-1:0]        bias_data_i,
  input  logic [ShiftBits+1:0]           rounding_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                           s_valid_i,
  output logic                           s_ready_o,
  input  logic [BeatLanes*InWidth-1:0]   s_data_i,
  output logic                           m_valid_o,
  input  logic                           m_ready_i,
  output logic [Pe*OutWidth-1:0]         m_data_o
);
  // Outputs of a block, and how many groups one after the other share lanes.
  localparam int unsigned BlockOutputs = Outputs / Blocks;
  localparam int unsigned BlockGroups = Pe > BlockOutputs ? 1 : BlockOutputs / Pe;

  if (Pe < 1 || Outputs % Pe != 0) begin : g_check_pe
    $error("mvu: Pe must divide Outputs, but they are %0d and %0d", Pe, Outputs);
  end
  if (Blocks < 1 || Taps < 1 || Outputs % Blocks != 0 || InLanes % (Blocks * Taps) != 0) begin : g_check_blocks
    $error("mvu: Blocks must divide Outputs, and Blocks * Taps InLanes, but they are %0d and %0d, %0d * %0d and %0d",
           Blocks, Outputs, Blocks, Taps, InLanes);
  end
  if (Pe > BlockOutputs ? Pe % BlockOutputs != 0 : BlockOutputs % Pe != 0) begin : g_check_side
    $error("mvu: Pe must divide Outputs / Blocks or be a multiple of it, but they are %0d and %0d", Pe, BlockOutputs);
  end
  if (Simd < 1 || InLanes / Blocks % Simd != 0) begin : g_check_simd
    $error("mvu: Simd must divide InLanes / Blocks, but they are %0d and %0d", Simd, InLanes / Blocks);
  end
  if (Beats < 1 || Outputs < 1 || InLanes < 1) begin : g_check_shape
    $error("mvu: Beats, Outputs and InLanes must be at least 1, but are %0d, %0d and %0d", Beats, Outputs, InLanes);
  end
  if (InWidth < 1 || WeightWidth < 1 || BiasWidth < 1 || AccWidth < 1 || OutWidth < 1) begin : g_check_width
    $error("mvu: InWidth, WeightWidth, BiasWidth, AccWidth and OutWidth must be at least 1, but are %0d, %0d, %0d, %0d and %0d",
           InWidth, WeightWidth, BiasWidth, AccWidth, OutWidth);
  end
  if (Agree && (InWidth != 1 || WeightWidth != 1)) begin : g_check_agree
    $error("mvu: InWidth and WeightWidth must be 1 where bits are to agree, but are %0d and %0d", InWidth, WeightWidth);
  end
  if (BiasShift > AccWidth) begin : g_check_bias
    $error("mvu: BiasShift must be 0 to AccWidth (%0d), but is %0d", AccWidth, BiasShift);
  end
  if (Runtime && BiasShift != 0) begin : g_check_runtime
    $error("mvu: with Runtime, BiasShift must be 0, but is %0d", BiasShift);
  end
  if (ShiftBits > 0 && (!Runtime || !Saturate || ShiftBits > $clog2(AccWidth))) begin : g_check_shift
    $error("mvu: ShiftBits must be 0, or with Runtime and Saturate up to %0d, but is %0d", $clog2(AccWidth), ShiftBits);
  end
  if (Multipliers > 3) begin : g_check_multipliers
    $error("mvu: Multipliers must be 0, 1, 2 or 3, but is %0d", Multipliers);
  end
  if (PackWidth < 2 || PackWidth > 64) begin : g_check_pack
    $error("mvu: PackWidth must be 2 to 64, but is %0d", PackWidth);
  end
  if (Round > 2) begin : g_check_round
    $error("mvu: Round must be 0, 1 or 2, but is %0d", Round);
  end

  localparam int unsigned SumWidth = InWidth + WeightWidth + $clog2(Simd);

  localparam int unsigned SliceWidth = Slices > 1 ? $clog2(Slices) : 1;
  localparam int unsigned BeatWidth = Beats > 1 ? $clog2(Beats) : 1;

  // The pipeline stands still while a group waits behind the output register.
  logic pending, advance;
  assign advance = !pending;

  // ---- Walk: beat, group, slice; the address counts along --------------------------------------------------------
  logic [SliceWidth-1:0] slice_q;
  logic [GroupWidth-1:0] group_q;
  logic [BeatWidth-1:0] beat_q;
  logic [AddressWidth-1:0] address_q;
  logic issue, slice_first, beat_first, beat_last;
  logic slice_last_q, group_last_q;  // registers, so that no comparison is on the path of the ready signals

  assign issue = advance && s_valid_i;
  assign slice_first = slice_q == '0;
  assign beat_first = beat_q == '0;
  assign beat_last = beat_q == BeatWidth'(Beats - 1);
  assign s_ready_o = advance && (Sliced || (slice_last_q && group_last_q));
  assign weight_en_o = issue;
  assign weight_addr_o = address_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slice_q <= '0;
      group_q <= '0;
      beat_q <= '0;
      address_q <= '0;
      slice_last_q <= Slices == 1;
      group_last_q <= Groups == 1;
    end else if (issue) begin
      // What there is one of is not counted, so that synthesis sees it.
      if (Words > 1) address_q <= slice_last_q && group_last_q && beat_last ? '0 : address_q + 1'b1;
      if (Slices > 1) begin
        slice_q <= slice_last_q ? '0 : slice_q + 1'b1;
        slice_last_q <= !slice_last_q && 32'(slice_q) + 2 == Slices;
      end
      if (Groups > 1 && slice_last_q) begin
        group_q <= group_last_q ? '0 : group_q + 1'b1;
        group_last_q <= !group_last_q && 32'(group_q) + 2 == Groups;
      end
      if (Beats > 1 && slice_last_q && group_last_q) beat_q <= beat_last ? '0 : beat_q + 1'b1;
    end
  end

  // ---- What goes along with a step: stage 1 has the memory's word, 2 inputs and weights; then come the sums of the lanes,
  //      the accumulator, the rounded and the fitted value ---------------------------------------------------------
  typedef struct packed {
    logic load;   // the accumulator starts from the bias or from what earlier beats left
    logic fresh;  // ... from the bias
    logic save;   // the step ends a group in a beat
    logic whole;  // ... in the last beat: the group's sums are whole
    logic [GroupWidth-1:0] group;
  } step_t;

  step_t step_d;
  assign step_d.load = slice_first && (beat_first || Groups > 1);
  assign step_d.fresh = beat_first;
  assign step_d.save = slice_last_q;
  assign step_d.whole = slice_last_q && beat_last;
  assign step_d.group = group_q;

  logic [2:1] valid_q;
  step_t [2:1] step_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else if (advance) valid_q <= {valid_q[1], s_valid_i};
  end

  always_ff @(posedge clk_i) begin
    if (advance) step_q <= {step_q[1], step_d};
  end

  // A block memory takes half a cycle and more to answer: its word has a register of its own before the multipliers.
  localparam int unsigned InputWidth = SideBlocks * Simd * InWidth;
  logic [InputWidth-1:0] input_q;
  logic [Pe*Simd*WeightWidth-1:0] weight_q;
  always_ff @(posedge clk_i) begin
    if (advance && valid_q[1]) weight_q <= weight_data_i;
  end

  // Where the lanes of a step are: `Places` places, each with a slice of the blocks that are computed side by side.
  localparam int unsigned Places = Sliced ? 1 : Blocks / SideBlocks * Slices;
  localparam int unsigned PlaceWidth = Places > 1 ? $clog2(Places) : 1;
  logic [PlaceWidth-1:0] place;
  logic [Places*InputWidth-1:0] ordered;
  if (Sliced) begin : g_sliced
    assign place = '0;
    assign ordered = s_data_i;
  end else if (Blocks == 1) begin : g_one_block
    assign place = slice_q;
    assign ordered = s_data_i;
  end else begin : g_blocks
    localparam int unsigned Share = InLanes / Taps / Blocks;  // channels of a block
    for (genvar at = 0; at < Places * SideBlocks * Simd; at++) begin : g_lane
      localparam int unsigned Block = at / (SideBlocks * Simd) / Slices * SideBlocks + at / Simd % SideBlocks;
      localparam int unsigned Lane = at / (SideBlocks * Simd) % Slices * Simd + at % Simd;
      localparam int unsigned From = (Lane / Share * Blocks + Block) * Share + Lane % Share;
      assign ordered[at*InWidth+:InWidth] = s_data_i[From*InWidth+:InWidth];
    end

    localparam int unsigned TurnWidth = BlockGroups > 1 ? $clog2(BlockGroups) : 1;
    logic [PlaceWidth-1:0] place_q, start_q;  // `start_q`: the first place of the block at hand
    logic [TurnWidth-1:0] turn_q;  // how many groups have had the block at hand
    assign place = place_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        place_q <= '0;
        start_q <= '0;
        turn_q <= '0;
      end else if (issue) begin
        place_q <= place_q + 1'b1;
        if (slice_last_q) begin
          turn_q <= turn_q + 1'b1;
          if (group_last_q) begin
            place_q <= '0;
            start_q <= '0;
            turn_q <= '0;
          end else if (turn_q == TurnWidth'(BlockGroups - 1)) begin
            start_q <= place_q + 1'b1;
            turn_q <= '0;
          end else begin
            place_q <= start_q;
          end
        end
      end
    end
  end

  // One of many places is found in two steps: `Near` neighbours first, then the one among them. A simulator copies them
  // all, so that few places are told apart in one step.
  localparam int unsigned Near = Places > 16 ? 4 : 1;
  localparam int unsigned NearWidth = Near > 1 ? $clog2(Near) : 1;
  localparam int unsigned PickWidth = Near * InputWidth;
  localparam int unsigned Picks = (Places + Near - 1) / Near;
  logic [PickWidth-1:0] picked_q;
  logic [Picks*PickWidth-1:0] slices;
  assign slices = (Picks * PickWidth)'(ordered);
  always_ff @(posedge clk_i) begin
    if (issue) picked_q <= slices[32'(place)/Near*PickWidth+:PickWidth];
  end
  if (Near > 1) begin : g_near
    logic [NearWidth-1:0] near_q;
    always_ff @(posedge clk_i) begin
      if (issue) near_q <= place[NearWidth-1:0];
      if (advance && valid_q[1]) input_q <= picked_q[32'(near_q)*InputWidth+:InputWidth];
    end
  end else begin : g_alone
    always_ff @(posedge clk_i) begin
      if (advance && valid_q[1]) input_q <= picked_q;
    end
  end

  // ---- Multiply and add ------------------------------------------------------------------------------------------
  // verilator lint_off UNUSEDSIGNAL
  logic soon_valid, sum_valid;  // a step's sums come with the next advance, or are there
  step_t soon, sum_step;  // not every kind of accumulator asks for all
  // verilator lint_on UNUSEDSIGNAL
  logic [Pe*SumWidth-1:0] sums;
  dot_products #(
    .Pe         (Pe),
    .Simd       (Simd),
    .SideBlocks (SideBlocks),
    .InWidth    (InWidth),
    .InSigned   (InSigned),
    .WeightWidth(WeightWidth),
    .Agree      (Agree),
    .Multipliers(Multipliers),
    .PackWidth  (PackWidth),
    .TagWidth   ($bits(step_t))
  ) u_products (
    .clk_i,
    .rst_ni,
    .advance_i   (advance),
    .valid_i     (valid_q[2]),
    .tag_i       (step_q[2]),
    .values_i    (input_q),
    .weights_i   (weight_q),
    .soon_valid_o(soon_valid),
    .soon_tag_o  (soon),
    .valid_o     (sum_valid),
    .tag_o       (sum_step),
    .sums_o      (sums)
  );

  // ---- Round and fit ---------------------------------------------------------------------------------------------
  localparam int unsigned ShiftRight = Shift > 0 ? unsigned'(Shift) : 0;
  localparam int unsigned ShiftLeft = Shift < 0 ? unsigned'(-Shift) : 0;
  localparam int unsigned WideWidth = AccWidth > ShiftRight ? AccWidth : ShiftRight + 1;
  // One bit more, since rounding may carry.
  localparam int unsigned RoundedWidth = WideWidth - ShiftRight + ShiftLeft + 1;
  localparam int unsigned FitWidth = RoundedWidth > OutWidth + 1 ? RoundedWidth : OutWidth + 1;

  // The bits that rounding cuts off, below the most significant of them; one place higher, so that there is always one.
  localparam logic [WideWidth:0] RestMask = ((WideWidth + 1)'(1) << ShiftRight) - 1'b1;

  function automatic logic signed [RoundedWidth-1:0] rounded(logic signed [AccWidth-1:0] sum);
    logic signed [WideWidth-1:0] wide;
    logic signed [RoundedWidth-1:0] floor;
    logic [WideWidth:0] cut;
    logic half, rest, carry;
    wide = WideWidth'(sum);
    floor = RoundedWidth'(wide >>> ShiftRight) <<< ShiftLeft;
    cut = {wide, 1'b0};
    half = cut[ShiftRight];
    rest = (cut & RestMask) != '0;
    carry = half && (Round == 1 || (Round == 2 && (rest || floor[0])));
    return floor + RoundedWidth'(signed'({1'b0, carry}));
  endfunction

  function automatic logic [OutWidth-1:0] fit(logic signed [RoundedWidth-1:0] value);
    logic signed [FitWidth-1:0] wide;
    logic negative, over;
    wide = FitWidth'(value);
    negative = wide[FitWidth-1];
    if (!Saturate) return wide[OutWidth-1:0];
    if (OutSigned) begin
      over = wide[FitWidth-1:OutWidth-1] != {(FitWidth - OutWidth + 1) {negative}};
      if (over) return negative ? OutWidth'(1) << (OutWidth - 1) : ~(OutWidth'(1) << (OutWidth - 1));
    end else begin
      over = wide[FitWidth-1:OutWidth] != '0;
      if (over) return negative ? '0 : '1;
    end
    return wide[OutWidth-1:0];
  endfunction

  // Sums that leave as they are need neither rounding nor fitting.
  localparam bit Plain = Shift == 0 && !Saturate;
  logic [Pe*OutWidth-1:0] fitted_q;  // a group of the output vector
  logic [3:1] whole_q;  // a whole group is in the totals, rounded, fitted
  always_ff @(posedge clk_i) begin
    if (!rst_ni) whole_q <= '0;
    else if (advance) whole_q <= {whole_q[2:1], sum_valid && sum_step.whole};
  end

  // An output of the bits that a shift leaves it, of the sum's sign, and of whether what lies above them says that it is over.
  function automatic logic [OutWidth-1:0] fit_kept(logic [OutWidth-1:0] kept, logic negative, logic over, logic carry);
    logic [OutWidth-1:0] highest;
    highest = '1;
    if (OutSigned) highest[OutWidth-1] = 1'b0;
    if (negative && !OutSigned) return '0;
    if (over) return negative ? ~highest : highest;
    if (kept == highest) return highest;
    return kept + OutWidth'(carry);
  endfunction

  // A bias that is a number of a memory is looked up as the sums that it is added to come: the memory's register holds it.
  assign bias_en_o   = Runtime && advance && soon_valid && (Beats * Slices == 1 || (soon.load && soon.fresh));
  assign bias_addr_o = soon.group;

  for (genvar p = 0; p < Pe; p++) begin : g_pe
    // ---- Accumulate ----------------------------------------------------------------------------------------------
    // verilator lint_off UNUSEDSIGNAL
    logic signed [AccWidth-1:0] bias [Groups];  // nobody asks where all are 0 or come from a memory
    // verilator lint_on UNUSEDSIGNAL
    for (genvar g = 0; g < Groups; g++) begin : g_bias
      assign bias[g] = AccWidth'(signed'(Bias[(g*Pe+p)*BiasWidth+:BiasWidth])) <<< BiasShift;
    end

    // `sum_q` is what a group has so far, `total_q` a whole group's sum.
    logic signed [AccWidth-1:0] sum_q, sum_d;
    // verilator lint_off UNUSEDSIGNAL
    logic signed [AccWidth-1:0] total_q;  // its upper bits may be dropped
    // verilator lint_on UNUSEDSIGNAL
    logic adds;  // a lanes' sum comes
    assign adds = advance && sum_valid;
    always_ff @(posedge clk_i) begin
      if (adds && sum_step.whole) total_q <= sum_d;
    end

    if (Beats * Slices == 1) begin : g_once
      if (Runtime) begin : g_looked_up
        assign sum_q = AccWidth'(signed'(bias_data_i[p*BiasWidth+:BiasWidth]));
      end else begin : g_constant
        always_ff @(posedge clk_i) begin
          if (advance && soon_valid) sum_q <= bias[soon.group];
        end
      end
      assign sum_d = sum_q + AccWidth'(signed'(sums[p*SumWidth+:SumWidth]));
    end else if (!Runtime && Bias == '0 && (Beats == 1 || Groups == 1)) begin : g_cleared
      // A register that a group clears behind itself needs no look-up table before its adder.
      assign sum_d = sum_q + AccWidth'(signed'(sums[p*SumWidth+:SumWidth]));
      always_ff @(posedge clk_i) begin
        if (!rst_ni || (adds && sum_step.whole)) sum_q <= '0;
        else if (adds) sum_q <= sum_d;
      end
    end else begin : g_loaded
      // `carried_q`: what the group at hand starts from, unless that is a memory's word.
      // verilator lint_off UNUSEDSIGNAL
      logic signed [AccWidth-1:0] carried_q;
      // verilator lint_on UNUSEDSIGNAL
      logic signed [AccWidth-1:0] start;
      if (Runtime) begin : g_looked_up
        logic signed [AccWidth-1:0] looked_up;
        assign looked_up = AccWidth'(signed'(bias_data_i[p*BiasWidth+:BiasWidth]));
        assign start = sum_step.fresh ? looked_up : carried_q;
      end else begin : g_constant
        assign start = carried_q;
      end
      assign sum_d = (sum_step.load ? start : sum_q) + AccWidth'(signed'(sums[p*SumWidth+:SumWidth]));
      always_ff @(posedge clk_i) begin
        if (adds) sum_q <= sum_d;
      end

      if (Beats > 1 && Groups > 1) begin : g_partial
        // What earlier beats left of the groups' sums. A group comes again two steps after it was saved at the earliest,
        // so that what is fetched a step ahead is there.
        logic signed [AccWidth-1:0] partial_q [Groups];
        always_ff @(posedge clk_i) begin
          if (adds && sum_step.save) partial_q[sum_step.group] <= sum_d;
          if (advance && soon_valid && soon.load) begin
            carried_q <= soon.fresh ? bias[soon.group] : partial_q[soon.group];
          end
        end
      end else begin : g_whole
        always_ff @(posedge clk_i) begin
          if (advance && soon_valid && soon.load) carried_q <= bias[soon.group];
        end
      end
    end

    // ---- Requantise ----------------------------------------------------------------------------------------------
    if (ShiftBits > 0) begin : g_shifted
      // A shifter of four places, then of one, that keeps an output's bits and one more below them: the half. What lies
      // above these is only compared with the sign, where it is. An output that is over, or at the upper bound, is not
      // changed by what rounding adds: so that is added to its bits alone.
      localparam int unsigned FineBits = ShiftBits > 2 ? 2 : ShiftBits;
      logic [ShiftBits-1:0] shift;
      logic [OutWidth+3:0] near;
      logic [OutWidth:0] kept;
      logic [AccWidth-1:0] above, below;
      logic negative, carry, negative_q, carry_q, over_q;
      logic [OutWidth-1:0] kept_q;
      assign shift    = rounding_i[ShiftBits-1:0];
      assign near     = (OutWidth + 4)'($signed({total_q, 1'b0}) >>> (shift >> FineBits << FineBits));
      assign kept     = (OutWidth + 1)'(near >> shift[FineBits-1:0]);
      assign negative = total_q[AccWidth-1];
      assign above    = (total_q ^ {AccWidth{negative}}) & ({AccWidth{1'b1}} << shift << (OutWidth - 32'(OutSigned)));
      assign below    = total_q & (~({AccWidth{1'b1}} << shift) >> 1);  // what is cut off below the half
      assign carry = kept[0] && (rounding_i[ShiftBits] || rounding_i[ShiftBits+1] && (below != '0 || kept[1]));
      always_ff @(posedge clk_i) begin
        if (advance && whole_q[1]) begin
          kept_q     <= kept[OutWidth:1];
          negative_q <= negative;
          over_q     <= above != '0;
          carry_q    <= carry;
        end
        if (advance && whole_q[2]) fitted_q[p*OutWidth+:OutWidth] <= fit_kept(kept_q, negative_q, over_q, carry_q);
      end
    end else if (Plain) begin : g_plain
      assign fitted_q[p*OutWidth+:OutWidth] = OutWidth'(total_q);
    end else begin : g_rounded
      logic signed [RoundedWidth-1:0] rounded_q;
      always_ff @(posedge clk_i) begin
        if (advance && whole_q[1]) rounded_q <= rounded(total_q);
        if (advance && whole_q[2]) fitted_q[p*OutWidth+:OutWidth] <= fit(rounded_q);
      end
    end
  end

  pipeline_output #(
    .Width(Pe * OutWidth)
  ) u_output (
    .clk_i,
    .rst_ni,
    .arrives_i(whole_q[Plain ? 1 : 3]),
    .data_i   (fitted_q),
    .pending_o(pending),
    .m_valid_o,
    .m_ready_i,
    .m_data_o
  );
endmodule
