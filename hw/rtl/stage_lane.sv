/// One stage's way through the cascade: feeds it a frame's pixels, and tells how sure it is of its answer.
///
/// For every frame taken at `s_*`, in order: its pixels go out at `pixel_*`, its logits come in at `logits_*`, and one
/// verdict goes out at `m_*`: label = first index of the largest logit, margin = largest minus second-largest logit,
/// sure = margin >= the frame's threshold of this stage, except that the threshold `ThresholdNever` is never met.
/// `tap_valid_o` is high for the cycle in which the logits of the frame tagged `tap_tag_o` are taken.
///
/// Where not `Fed`, the stage begins at features that come to it another way: no pixels go out, and nothing is read.
/// Logits come in `LogitBeats` beats of Classes / LogitBeats each, the frame's first in the first one. Where `Serial`, as it
/// must be for more than one beat, each logit is handed out at `logit_*`, too, one a cycle.
///
/// Interval: the largest of Pixels, the stage's own and Classes cycles a frame; a pixel wider than 8 bytes is fed in the
///           fewest equal parts of at most 8 bytes, a cycle each.
/// Flow:     streams; up to `Depth` frames may be inside the stage. One that does not answer holds its frames.
/// Does not: own slots: `fetched_*` tells when the frame was read, the verdict carries the slot on.
module stage_lane #(
  parameter int unsigned Stage = 0,  // which threshold counts
  parameter bit Fed = 1'b1,
  parameter int unsigned Pixels = 784,
  parameter int unsigned Channels = 1,  // bytes of a pixel
  parameter int unsigned Classes = 10,
  parameter int unsigned LogitWidth = 16,
  parameter int unsigned LogitBeats = 1,
  parameter bit Serial = 1'b0,
  parameter int unsigned Slots = 8,
  parameter int unsigned Depth = 8,  // frames inside the stage; a power of two
  localparam int unsigned Words = (Pixels * Channels + 7) / 8,
  localparam int unsigned SlotWidth = $clog2(Slots),
  localparam int unsigned AddrWidth = $clog2(Slots * Words)
) (
  input  logic                                  clk_i,
  input  logic                                  rst_ni,
  input  logic                                  s_valid_i,
  output logic                                  s_ready_o,
  input  logic                [  SlotWidth-1:0] s_slot_i,
  input  cascade_pkg::frame_t                   s_frame_i,
  output logic                                  read_en_o,
  output logic                [  AddrWidth-1:0] read_addr_o,
  input  logic                [           63:0] read_data_i,
  output logic                                  fetched_o,
  output logic                [  SlotWidth-1:0] fetched_slot_o,
  output logic                                  pixel_valid_o,
  input  logic                                  pixel_ready_i,
  output logic                [ Channels*8-1:0] pixel_data_o,
  input  logic                                  logits_valid_i,
  output logic                                  logits_ready_o,
  input  logic [Classes/LogitBeats*LogitWidth-1:0] logits_data_i,
  output logic                                  logit_valid_o,
  input  logic                                  logit_ready_i,
  output logic                [ LogitWidth-1:0] logit_data_o,
  output logic                                  logit_last_o,
  output logic                                  tap_valid_o,
  output logic                [           31:0] tap_tag_o,
  output logic                                  m_valid_o,
  input  logic                                  m_ready_i,
  output logic                [  SlotWidth-1:0] m_slot_o,
  output cascade_pkg::frame_t                   m_frame_o,
  output logic                [           15:0] m_label_o,
  output logic                [           31:0] m_margin_o,
  output logic                                  m_sure_o
);

  if (Stage >= cascade_pkg::MaxStages) begin : gen_stage_check
    $error("stage_lane: Stage must be 0 to %0d, but is %0d", cascade_pkg::MaxStages - 1, Stage);
  end
  if (Classes < 1 || Classes > 65536) begin : gen_classes_check
    $error("stage_lane: Classes must be 1 to 65536, but is %0d", Classes);
  end
  if (LogitWidth < 1 || LogitWidth > 31) begin : gen_width_check
    $error("stage_lane: LogitWidth must be 1 to 31, so that no margin reaches ThresholdNever, but is %0d", LogitWidth);
  end

  if (LogitBeats < 1 || Classes % LogitBeats != 0 || (LogitBeats > 1 && !Serial)) begin : gen_beats_check
    $error("stage_lane: LogitBeats must divide Classes, and be 1 unless Serial, but is %0d", LogitBeats);
  end

  // The most bytes, at most 8, that a pixel consists of a whole number of.
  function automatic int unsigned part_of(input int unsigned bytes);
    for (int unsigned part = 8; part > 1; part--) begin
      if (bytes % part == 0) return part;
    end
    return 1;
  endfunction

  localparam int unsigned PartBytes = part_of(Channels);
  localparam int unsigned Parts = Channels / PartBytes;  // of a pixel
  localparam int unsigned LabelWidth = (Classes > 2) ? $clog2(Classes) : 1;
  localparam int unsigned FrameWidth = $bits(cascade_pkg::frame_t) + SlotWidth;

  logic feeder_ready, inside_ready, inside_valid, judged_ready, judged_valid;
  logic margin_s_valid, margin_s_ready, margin_s_last, margin_m_valid;
  logic [(Serial ? 1 : Classes)*LogitWidth-1:0] margin_s_data;
  logic [LabelWidth-1:0] winner;
  logic [LogitWidth:0] distance;
  logic take_frame, take_logits, taken_q, take_verdict;
  cascade_pkg::frame_t inside_frame, judged_frame;
  logic [SlotWidth-1:0] inside_slot, judged_slot;
  logic [31:0] threshold;

  assign s_ready_o  = feeder_ready && inside_ready;
  assign take_frame = s_valid_i && s_ready_o;

  if (!Fed) begin : gen_not_fed
    /* verilator lint_off UNUSEDSIGNAL */  // nothing is read
    logic unused;
    assign unused = ^{s_slot_i, read_data_i, pixel_ready_i};
    /* verilator lint_on UNUSEDSIGNAL */
    assign feeder_ready   = 1'b1;
    assign read_en_o      = 1'b0;
    assign read_addr_o    = '0;
    assign fetched_o      = 1'b0;
    assign fetched_slot_o = '0;
    assign pixel_valid_o  = 1'b0;
    assign pixel_data_o   = '0;
  end else begin : gen_fed
    logic fed_valid, fed_ready, part_valid, part_ready;
    logic [Channels*8-1:0] fed_data;
    logic [PartBytes*8-1:0] part_data;

    pixel_feeder #(
      .Pixels  (Pixels * Parts),
      .Channels(PartBytes),
      .Slots   (Slots)
    ) u_feeder (
      .clk_i,
      .rst_ni,
      .s_valid_i     (take_frame),
      .s_ready_o     (feeder_ready),
      .s_slot_i,
      .read_en_o,
      .read_addr_o,
      .read_data_i,
      .fetched_o,
      .fetched_slot_o,
      .m_valid_o     (part_valid),
      .m_ready_i     (part_ready),
      .m_data_o      (part_data)
    );

    if (Parts > 1) begin : gen_parts
      stream_gather #(
        .Width(PartBytes * 8),
        .Parts(Parts)
      ) u_gather (
        .clk_i,
        .rst_ni,
        .s_valid_i(part_valid),
        .s_ready_o(part_ready),
        .s_data_i (part_data),
        .m_valid_o(fed_valid),
        .m_ready_i(fed_ready),
        .m_data_o (fed_data)
      );
    end else begin : gen_whole
      assign fed_valid  = part_valid;
      assign part_ready = fed_ready;
      assign fed_data   = part_data;
    end

    // Cuts the path of ready signals from the stage to the frame buffer.
    stream_fifo #(
      .Width(Channels * 8),
      .Depth(1)
    ) u_fed (
      .clk_i,
      .rst_ni,
      .s_valid_i(fed_valid),
      .s_ready_o(fed_ready),
      .s_data_i (fed_data),
      .m_valid_o(pixel_valid_o),
      .m_ready_i(pixel_ready_i),
      .m_data_o (pixel_data_o)
    );
  end

  // Frames whose logits are still to come.
  stream_fifo #(
    .Width(FrameWidth),
    .Depth(Depth)
  ) u_inside (
    .clk_i,
    .rst_ni,
    .s_valid_i(take_frame),
    .s_ready_o(inside_ready),
    .s_data_i ({s_slot_i, s_frame_i}),
    .m_valid_o(inside_valid),
    .m_ready_i(taken_q),
    .m_data_o ({inside_slot, inside_frame})
  );

  // Logits are taken together with their frame, which moves on a cycle later: the handshake with the stage is a long path
  // already, and the next logits are taken two cycles later at the earliest.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) taken_q <= 1'b0;
    else taken_q <= take_logits;
  end

  if (Serial) begin : gen_serial
    logic one_valid, one_ready;

    stream_scatter #(
      .Width(LogitWidth),
      .Parts(Classes / LogitBeats)
    ) u_scatter (
      .clk_i,
      .rst_ni,
      .s_valid_i(logits_valid_i),
      .s_ready_o(logits_ready_o),
      .s_data_i (logits_data_i),
      .m_valid_o(one_valid),
      .m_ready_i(one_ready),
      .m_data_o (margin_s_data)
    );

    assign one_ready      = margin_s_ready && logit_ready_i && inside_valid && judged_ready;
    assign margin_s_valid = one_valid && logit_ready_i && inside_valid && judged_ready;
    assign logit_valid_o  = one_valid && margin_s_ready && inside_valid && judged_ready;
    assign take_logits    = one_valid && one_ready && margin_s_last;
  end else begin : gen_parallel
    /* verilator lint_off UNUSEDSIGNAL */  // nobody asks for single logits, and the beat is taken with its last one
    logic unused;
    assign unused = logit_ready_i ^ margin_s_last;
    /* verilator lint_on UNUSEDSIGNAL */
    assign margin_s_data  = logits_data_i;
    assign margin_s_valid = logits_valid_i && inside_valid && judged_ready;
    assign logits_ready_o = margin_s_ready && inside_valid && judged_ready;
    assign logit_valid_o  = 1'b0;
    assign take_logits    = logits_valid_i && logits_ready_o;
  end

  assign logit_data_o   = margin_s_data[LogitWidth-1:0];
  assign logit_last_o   = margin_s_last;
  assign tap_valid_o    = take_logits;
  assign tap_tag_o      = inside_frame.tag;

  margin #(
    .Classes(Classes),
    .Width  (LogitWidth),
    .Serial (Serial)
  ) u_margin (
    .clk_i,
    .rst_ni,
    .s_valid_i(margin_s_valid),
    .s_ready_o(margin_s_ready),
    .s_data_i (margin_s_data),
    .s_last_o (margin_s_last),
    .m_valid_o(margin_m_valid),
    .m_ready_i(take_verdict),
    .m_label_o(winner),
    .m_margin_o(distance)
  );

  // Frames whose margin is being found.
  stream_fifo #(
    .Width(FrameWidth),
    .Depth(2)
  ) u_judged (
    .clk_i,
    .rst_ni,
    .s_valid_i(taken_q),
    .s_ready_o(judged_ready),
    .s_data_i ({inside_slot, inside_frame}),
    .m_valid_o(judged_valid),
    .m_ready_i(take_verdict),
    .m_data_o ({judged_slot, judged_frame})
  );

  // The verdict is compared, then shown: comparing and arbitrating records in one cycle would be too long a path. The next
  // one is taken once this one has left, so that the arbitration's answer ends here; none is due earlier, since logits are
  // taken every second cycle at most.
  assign take_verdict = margin_m_valid && judged_valid && !m_valid_o;
  assign threshold    = judged_frame.thresholds[Stage];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
    end else begin
      m_valid_o <= m_valid_o ? !m_ready_i : take_verdict;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!m_valid_o) begin
      m_slot_o   <= judged_slot;
      m_frame_o  <= judged_frame;
      m_label_o  <= 16'(winner);
      m_margin_o <= 32'(distance);
      // A margin has at most 32 bits and its largest value is below ThresholdNever, so that needs no case of its own.
      m_sure_o   <= 32'(distance) >= threshold;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(take_verdict && threshold == registers_pkg::ThresholdNever && 32'(distance) >= threshold))
      else $error("stage_lane: a margin of %0d meets the threshold that is never met", distance);
      assert (!taken_q || judged_ready)
      else $error("stage_lane: a frame's logits were taken, but its place among the judged ones is not free");
    end
  end
`endif

endmodule
