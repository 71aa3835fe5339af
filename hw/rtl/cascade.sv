// Over 500 lines: most of them connect the parts, whose ports it names one by one.
/// The confidence-scaled cascade around one to four networks: frames in, one result record a frame out.
///
/// A frame (see frame_input.sv) is buffered whole, then fed to stage 0. If a stage's margin (largest minus second-largest
/// logit) reaches the frame's threshold of that stage, its label is the answer; else the buffered frame is fed to the
/// next stage. The last stage's label is the answer in any case, marked as offload if its margin does not reach its
/// threshold. Every valid header yields exactly one record (see record_output.sv). Answers of a stage overtake those of
/// later ones, and records of bad frames overtake answers; each of these kinds keeps its own order.
///
/// Interval: of frames that stage 0 answers the largest of Pixels, stage 0's own interval, Classes and
///           1 + ceil(Pixels * Channels / 8) cycles, provided that FrameSlots covers the frame coming in and those inside
///           stage 0.
/// Latency:  of such a frame through an empty kernel, header to record made: ceil(Pixels * Channels / 8) + Classes + 9 and
///           stage 0's own from first pixel to logits; every later stage adds its own and Classes + 9. The record is on
///           the bus 2 cycles later, and carries the cycles that it really took.
/// Flow:     a slot is held from header to the answer of a stage, or until the last stage that does has read the frame. While a
///           later stage is busy, frames that it shall see keep their slots; when all are held, the input waits, which is
///           the back-pressure.
/// A stage of `FromTrunk` goes on from features that the stage before it leaves behind, instead of from the pixels: they
/// pass outside, through a feature_gate that `verdict_valid_o` and `verdict_pass_o` (not sure) of that stage rule.
/// A network alone may say its logits: with `LogitsInRecord` every record is followed by those of its frame (see
/// record_logits.sv). They then come one a cycle, and may come in several beats, such as a map's pixels.
/// Where weights are loaded at run time (WeightsWords > 0), the stages' memories are written over `weights_o` while frames
/// are answered by what they hold; a swap (see weight_loader.sv) waits until every accepted frame has its record, keeping the
/// next one out meanwhile, and changes the weights of all stages and the threshold table between the two.
/// Does not: compute networks: stages are outside, at the pixel and logits streams, under `core_rst_no`.
///
/// Soft reset (register `control`): no beat is accepted any more, a frame that was coming in ends with the error cut,
/// outstanding records are sent and an open batch is closed; then stages, datapath and counters are reset, thresholds
/// and faults stay. The command given again while that lasts drops what is left (the output may then end between the
/// beats of a record) and resets at once.
module cascade #(
  parameter int unsigned Stages = 2,  // 1 to 4
  parameter int unsigned Pixels = 784,  // height x width of a frame
  parameter int unsigned Channels = 1,  // bytes of a pixel: grey 1, colour 3
  parameter int unsigned Classes = 10,  // logits of a frame
  parameter int unsigned FromTrunk = 0,  // bit k: stage k goes on from features of the stage before it
  parameter bit LogitsInRecord = 1'b0,  // of one stage only
  parameter int unsigned LogitBeats = 1,  // that a frame's logits come in; more than 1 only with LogitsInRecord
  parameter int unsigned LogitWidth = 16,  // signed integer logits of the widest stage; a margin is in its stage's unit
  parameter int unsigned FrameSlots = 8,  // frames buffered: one coming in, those inside stage 0, queues for later ones
  parameter logic [31:0] BuildHash = 32'h0,  // register `build_hash`: ties the structure to its kernel package
  parameter logic [31:0] WeightsHash = 32'h0,  // register `weights_hash`: ties the weights to it
  parameter int unsigned WeightsWords = 0,  // words of the image of weights that are loaded at run time; 0: none are
  localparam int unsigned LogitsWidth = Classes / LogitBeats * LogitWidth
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  // frames
  input  logic [                   63:0] s_axis_tdata,
  input  logic [                    7:0] s_axis_tkeep,
  input  logic                           s_axis_tvalid,
  output logic                           s_axis_tready,
  input  logic                           s_axis_tlast,
  // records
  output logic [                   63:0] m_axis_tdata,
  output logic [                    7:0] m_axis_tkeep,
  output logic                           m_axis_tvalid,
  input  logic                           m_axis_tready,
  output logic                           m_axis_tlast,
  // registers
  input  logic [                   11:0] s_axil_awaddr,
  input  logic                           s_axil_awvalid,
  output logic                           s_axil_awready,
  input  logic [                   31:0] s_axil_wdata,
  input  logic [                    3:0] s_axil_wstrb,
  input  logic                           s_axil_wvalid,
  output logic                           s_axil_wready,
  output logic [                    1:0] s_axil_bresp,
  output logic                           s_axil_bvalid,
  input  logic                           s_axil_bready,
  input  logic [                   11:0] s_axil_araddr,
  input  logic                           s_axil_arvalid,
  output logic                           s_axil_arready,
  output logic [                   31:0] s_axil_rdata,
  output logic [                    1:0] s_axil_rresp,
  output logic                           s_axil_rvalid,
  input  logic                           s_axil_rready,
  // stages
  output logic                                      core_rst_no,
  output weights_pkg::bus_t                         weights_o,
  output logic [Stages-1:0]                         pixel_valid_o,
  input  logic [Stages-1:0]                         pixel_ready_i,
  output logic [Stages-1:0][        Channels*8-1:0] pixel_data_o,
  input  logic [Stages-1:0]                         logits_valid_i,
  output logic [Stages-1:0]                         logits_ready_o,
  input  logic [Stages-1:0][       LogitsWidth-1:0] logits_data_i,
  output logic [Stages-1:0]                         verdict_valid_o,  // for one cycle, of every frame
  output logic [Stages-1:0]                         verdict_pass_o,
  // verification: high while a stage takes the logits of the frame with this tag
  output logic [Stages-1:0]                         tap_valid_o,
  output logic [Stages-1:0][                  31:0] tap_tag_o
);

  if (Stages < 1 || Stages > cascade_pkg::MaxStages) begin : gen_stages_check
    $error("cascade: Stages must be 1 to %0d, but is %0d", cascade_pkg::MaxStages, Stages);
  end
  if (FrameSlots < 4 || FrameSlots > 256 || (FrameSlots & (FrameSlots - 1)) != 0) begin : gen_slots_check
    $error("cascade: FrameSlots must be a power of two from 4 to 256, but is %0d", FrameSlots);
  end
  if (FromTrunk[0]) begin : gen_trunk_check
    $error("cascade: FromTrunk must not name stage 0, before which there is none, but is %0d", FromTrunk);
  end
  if (LogitsInRecord && Stages != 1) begin : gen_logits_check
    $error("cascade: only a network alone has its logits in the record, but there are %0d stages", Stages);
  end

  function automatic int unsigned last_read();
    for (int unsigned k = Stages - 1; k > 0; k--) begin
      if (!FromTrunk[k]) return k;
    end
    return 0;
  endfunction

  localparam int unsigned PayloadBytes = Pixels * Channels;
  localparam int unsigned Words = (PayloadBytes + 7) / 8;
  localparam int unsigned SlotWidth = $clog2(FrameSlots);
  localparam int unsigned AddrWidth = $clog2(FrameSlots * Words);
  localparam int unsigned FrameWidth = $bits(cascade_pkg::frame_t) + SlotWidth;
  localparam int unsigned Last = Stages - 1;
  localparam int unsigned LastRead = last_read();  // the last stage that begins at the pixels

  logic core_rst_nq;

  // Input to stage 0.
  logic [3:0] set;
  logic [cascade_pkg::MaxStages-1:0][31:0] thresholds;
  logic slot_free;
  logic [SlotWidth-1:0] free_slot;
  logic whole_valid;
  logic [SlotWidth-1:0] whole_slot;
  cascade_pkg::frame_t whole_frame;

  // Frame buffer.
  logic write_en;
  logic [AddrWidth-1:0] write_addr;
  logic [63:0] write_data;
  logic [Stages-1:0][63:0] read_data;
  /* verilator lint_off UNUSEDSIGNAL */  // one of the two gives a slot back; a stage that begins at features does not read
  logic [Stages-1:0] read_en, fetched, give;
  logic [Stages-1:0][AddrWidth-1:0] read_addr;
  logic [Stages-1:0][SlotWidth-1:0] fetched_slot, verdict_slot, give_slot;
  /* verilator lint_on UNUSEDSIGNAL */

  // Frames on their way into a stage, and those that wait there.
  logic [Stages-1:0] to_valid, to_ready, queued_valid, queued_ready;
  logic [Stages-1:0][SlotWidth-1:0] to_slot, queued_slot;
  cascade_pkg::frame_t [Stages-1:0] to_frame, queued_frame;

  // Verdicts.
  logic [Stages-1:0] verdict_valid, verdict_ready, verdict_sure;
  cascade_pkg::frame_t [Stages-1:0] verdict_frame;
  logic [Stages-1:0][15:0] verdict_label;
  logic [Stages-1:0][31:0] verdict_margin;

  // Records.
  logic error_valid, error_ready;
  cascade_pkg::record_t error_record, made;
  logic made_valid, made_ready;
  logic [Stages-1:0] answer_valid, answer_taken;
  logic [63:0] record_data;
  logic [15:0] outstanding;
  logic record_valid, record_ready, record_last, record_half_out, record_owed;
  logic logit_ready;
  /* verilator lint_off UNUSEDSIGNAL */  // where records do not carry them
  logic [Stages-1:0] logit_valid, logit_last;
  logic [Stages-1:0][LogitWidth-1:0] logit_data;
  /* verilator lint_on UNUSEDSIGNAL */

  // Control.
  logic ask_reset, flush, draining_q, reset_due, output_idle;
  logic [15:0] batch;
  logic weights_hold;
  logic [31:0] now;
  logic [7:0] faults;
  cascade_pkg::events_t events;
  cascade_pkg::counters_t counters;
  cascade_pkg::status_t status;

  frame_input #(
    .PayloadBytes(PayloadBytes),
    .Slots       (FrameSlots)
  ) u_input (
    .clk_i,
    .rst_ni         (core_rst_nq),
    // A swap of weights keeps frames out, but lets one come in whose header was taken.
    .accept_i       (core_rst_nq && !draining_q && !(weights_hold && !status.receiving)),
    .now_i          (now),
    .s_axis_tdata_i (s_axis_tdata),
    .s_axis_tkeep_i (s_axis_tkeep),
    .s_axis_tvalid_i(s_axis_tvalid),
    .s_axis_tready_o(s_axis_tready),
    .s_axis_tlast_i (s_axis_tlast),
    .set_o          (set),
    .thresholds_i   (thresholds),
    .slot_free_i    (slot_free),
    .slot_i         (free_slot),
    .write_en_o     (write_en),
    .write_addr_o   (write_addr),
    .write_data_o   (write_data),
    .frame_valid_o  (whole_valid),
    .frame_slot_o   (whole_slot),
    .frame_o        (whole_frame),
    .error_valid_o  (error_valid),
    .error_ready_i  (error_ready),
    .error_o        (error_record),
    .header_o       (events.header),
    .bad_header_o   (events.bad_header),
    .receiving_o    (status.receiving)
  );

  slot_pool #(
    .Slots (FrameSlots),
    .Givers(LastRead + 1)
  ) u_slots (
    .clk_i,
    .rst_ni     (core_rst_nq),
    .free_o     (slot_free),
    .slot_o     (free_slot),
    .take_i     (whole_valid),
    .take_slot_i(whole_slot),
    .give_i     (give[LastRead:0]),
    .give_slot_i(give_slot[LastRead:0])
  );

  frame_buffer #(
    .Words  (FrameSlots * Words),
    .Readers(LastRead + 1)
  ) u_buffer (
    .clk_i,
    .write_en_i  (write_en),
    .write_addr_i(write_addr),
    .write_data_i(write_data),
    .read_en_i   (read_en[LastRead:0]),
    .read_addr_i (read_addr[LastRead:0]),
    .read_data_o (read_data[LastRead:0])
  );

  assign verdict_valid_o = verdict_valid & verdict_ready;
  assign verdict_pass_o  = ~verdict_sure;

  assign to_valid[0] = whole_valid;
  assign to_slot[0]  = whole_slot;
  assign to_frame[0] = whole_frame;

  for (genvar k = 0; k < Stages; k++) begin : gen_stage
    // Frames for this stage: whole ones, or those that the stage before was not sure of. As deep as there are slots: it is
    // never full where they hold theirs, up to the last stage that reads them.
    stream_fifo #(
      .Width(FrameWidth),
      .Depth(FrameSlots)
    ) u_queue (
      .clk_i,
      .rst_ni   (core_rst_nq),
      .s_valid_i(to_valid[k]),
      .s_ready_o(to_ready[k]),
      .s_data_i ({to_slot[k], to_frame[k]}),
      .m_valid_o(queued_valid[k]),
      .m_ready_i(queued_ready[k]),
      .m_data_o ({queued_slot[k], queued_frame[k]})
    );

    stage_lane #(
      .Stage     (k),
      .Fed       (!FromTrunk[k]),
      .Pixels    (Pixels),
      .Channels  (Channels),
      .Classes   (Classes),
      .LogitWidth(LogitWidth),
      .LogitBeats(LogitBeats),
      .Serial    (LogitsInRecord),
      .Slots     (FrameSlots),
      .Depth     (FrameSlots)
    ) u_lane (
      .clk_i,
      .rst_ni        (core_rst_nq),
      .s_valid_i     (queued_valid[k]),
      .s_ready_o     (queued_ready[k]),
      .s_slot_i      (queued_slot[k]),
      .s_frame_i     (queued_frame[k]),
      .read_en_o     (read_en[k]),
      .read_addr_o   (read_addr[k]),
      .read_data_i   (read_data[k]),
      .fetched_o     (fetched[k]),
      .fetched_slot_o(fetched_slot[k]),
      .pixel_valid_o (pixel_valid_o[k]),
      .pixel_ready_i (pixel_ready_i[k]),
      .pixel_data_o  (pixel_data_o[k]),
      .logits_valid_i(logits_valid_i[k]),
      .logits_ready_o(logits_ready_o[k]),
      .logits_data_i (logits_data_i[k]),
      .logit_valid_o (logit_valid[k]),
      .logit_ready_i (logit_ready),
      .logit_data_o  (logit_data[k]),
      .logit_last_o  (logit_last[k]),
      .tap_valid_o   (tap_valid_o[k]),
      .tap_tag_o     (tap_tag_o[k]),
      .m_valid_o     (verdict_valid[k]),
      .m_ready_i     (verdict_ready[k]),
      .m_slot_o      (verdict_slot[k]),
      .m_frame_o     (verdict_frame[k]),
      .m_label_o     (verdict_label[k]),
      .m_margin_o    (verdict_margin[k]),
      .m_sure_o      (verdict_sure[k])
    );

    if (k < Last) begin : gen_forward
      // What this stage is not sure of goes on to the next one.
      assign to_valid[k+1]    = verdict_valid[k] && !verdict_sure[k];
      assign to_slot[k+1]     = verdict_slot[k];
      assign to_frame[k+1]    = verdict_frame[k];
      assign answer_valid[k]  = verdict_valid[k] && verdict_sure[k];
      assign verdict_ready[k] = verdict_sure[k] ? answer_taken[k] : to_ready[k+1];
    end else begin : gen_last
      assign answer_valid[k]  = verdict_valid[k];
      assign verdict_ready[k] = answer_taken[k];
    end

    // A later stage may read the frame: it keeps its slot until the answer. Else it gives it back once it is read.
    if (k > LastRead) begin : gen_gave
      assign give[k]      = 1'b0;
      assign give_slot[k] = '0;
      assign read_data[k] = '0;
    end else begin : gen_give
      assign give[k]      = k < LastRead ? answer_taken[k] : fetched[k];
      assign give_slot[k] = k < LastRead ? verdict_slot[k] : fetched_slot[k];
    end
  end

  // One record a cycle: the last stage first, then the ones before it, then errors. A stage that waits hands on no frame,
  // so that those after it run dry, and an error that waits holds up the input: nobody waits for ever.
  assign made_valid = answer_valid != '0 || error_valid;

  always_comb begin
    made         = error_record;
    answer_taken = '0;
    error_ready  = made_ready && answer_valid == '0;
    for (int unsigned k = 0; k < Stages; k++) begin
      if (answer_valid[k]) begin
        made = '{
            tag: verdict_frame[k].tag,
            label: verdict_label[k],
            stage: 8'(k),
            error: registers_pkg::ErrorNone,
            margin: verdict_margin[k],
            cycles: now - verdict_frame[k].start
        };
        made.stage[cascade_pkg::OffloadBit] = !verdict_sure[k];
        answer_taken                        = '0;
        answer_taken[k]                     = made_ready;
      end
    end
  end

  record_output u_output (
    .clk_i,
    .rst_ni         (core_rst_nq && rst_ni),  // at once, so that no record of before a reset is seen behind it
    .s_valid_i      (made_valid),
    .s_ready_o      (made_ready),
    .s_record_i     (made),
    .header_i       (events.header),
    .flush_i        (flush || (ask_reset && !draining_q)),
    .batch_i        (batch),
    .m_axis_tdata_o (record_data),
    .m_axis_tkeep_o (m_axis_tkeep),
    .m_axis_tvalid_o(record_valid),
    .m_axis_tready_i(record_ready),
    .m_axis_tlast_o (record_last),
    .outstanding_o  (outstanding),
    .flushing_o     (status.flushing),
    .batch_open_o   (status.batch_open),
    .idle_o         (output_idle)
  );

  if (LogitsInRecord) begin : gen_logits
    logic idle;

    record_logits #(
      .Classes(Classes),
      .Width  (LogitWidth)
    ) u_logits (
      .clk_i,
      .rst_ni         (core_rst_nq && rst_ni),
      .logit_valid_i  (logit_valid[0]),
      .logit_ready_o  (logit_ready),
      .logit_data_i   (logit_data[0]),
      .logit_last_i   (logit_last[0]),
      .s_axis_tdata_i (record_data),
      .s_axis_tvalid_i(record_valid),
      .s_axis_tready_o(record_ready),
      .s_axis_tlast_i (record_last),
      .m_axis_tdata_o (m_axis_tdata),
      .m_axis_tvalid_o(m_axis_tvalid),
      .m_axis_tready_i(m_axis_tready),
      .m_axis_tlast_o (m_axis_tlast),
      .idle_o         (idle),
      .owed_o         (record_owed)
    );

    assign record_half_out = !idle;
  end else begin : gen_no_logits
    assign m_axis_tdata    = record_data;
    assign m_axis_tvalid   = record_valid;
    assign record_ready    = m_axis_tready;
    assign m_axis_tlast    = record_last;
    assign logit_ready     = 1'b0;
    assign record_half_out = 1'b0;
    assign record_owed     = 1'b0;
  end

  soft_reset u_reset (
    .clk_i,
    .rst_ni,
    .ask_i      (ask_reset),
    .idle_i     (output_idle && !record_half_out),
    .due_o      (reset_due),
    .draining_o (draining_q),
    .core_rst_no(core_rst_nq)
  );

  assign core_rst_no        = core_rst_nq;
  assign status.draining    = draining_q;
  assign status.outstanding = outstanding + 16'(record_owed);

  assign events.answered     = cascade_pkg::MaxStages'(answer_taken & verdict_sure);
  assign events.offloaded    = answer_taken[Last] && !verdict_sure[Last];
  assign events.error        = error_valid && error_ready;
  assign events.logits       = cascade_pkg::MaxStages'(tap_valid_o);
  assign events.input_stall  = s_axis_tvalid && !s_axis_tready;
  assign events.output_stall = m_axis_tvalid && !m_axis_tready;

  event_counters u_counters (
    .clk_i,
    .rst_ni    (core_rst_nq),
    .events_i  (events),
    .cycles_i  (made.cycles),
    .now_o     (now),
    .counters_o(counters)
  );

  // The error codes 1 to 6 are the numbers of their fault bits.
  always_comb begin
    faults = '0;
    if (events.error) begin
      faults[error_record.error[2:0]] = 1'b1;
    end
    faults[registers_pkg::FaultsBadHeaderBit] = events.bad_header;
    faults[registers_pkg::FaultsDroppedBit]   = reset_due && status.outstanding != '0;
  end

  logic weights_begin, weights_cancel, weights_swap, weights_valid, weights_ready;
  logic [31:0] weights_word, weights_crc, weights_new_hash, weights_taken, weights_hash;
  weights_pkg::status_t weights_status;

  if (WeightsWords > 0) begin : gen_weights
    weight_loader #(
      .Words      (WeightsWords),
      .WeightsHash(WeightsHash)
    ) u_loader (
      .clk_i,
      .rst_ni,
      .begin_i     (weights_begin),
      .cancel_i    (weights_cancel),
      .swap_i      (weights_swap),
      .word_valid_i(weights_valid),
      .word_ready_o(weights_ready),
      .word_i      (weights_word),
      .crc_i       (weights_crc),
      .new_hash_i  (weights_new_hash),
      .hold_o      (weights_hold),
      .idle_i      (!status.receiving && status.outstanding == '0),
      .status_o    (weights_status),
      .taken_o     (weights_taken),
      .hash_o      (weights_hash),
      .bus_o       (weights_o)
    );
  end else begin : gen_fixed_weights
    assign weights_ready  = 1'b1;
    assign weights_hold   = 1'b0;
    assign weights_status = '0;
    assign weights_taken  = '0;
    assign weights_hash   = WeightsHash;
    assign weights_o      = '0;
    /* verilator lint_off UNUSEDSIGNAL */
    logic unused;
    assign unused = ^{weights_begin, weights_cancel, weights_swap, weights_valid, weights_word, weights_crc, weights_new_hash};
    /* verilator lint_on UNUSEDSIGNAL */
  end

  axil_registers #(
    .Stages     (Stages),
    .RecordBeats(LogitsInRecord ? 2 + (Classes + 1) / 2 : 2),
    .Pixels     (Pixels),
    .Channels   (Channels),
    .Classes    (Classes),
    .FrameSlots (FrameSlots),
    .BuildHash  (BuildHash),
    .WeightsWords(WeightsWords)
  ) u_registers (
    .clk_i,
    .rst_ni,
    .s_axil_awaddr_i (s_axil_awaddr),
    .s_axil_awvalid_i(s_axil_awvalid),
    .s_axil_awready_o(s_axil_awready),
    .s_axil_wdata_i  (s_axil_wdata),
    .s_axil_wstrb_i  (s_axil_wstrb),
    .s_axil_wvalid_i (s_axil_wvalid),
    .s_axil_wready_o (s_axil_wready),
    .s_axil_bresp_o  (s_axil_bresp),
    .s_axil_bvalid_o (s_axil_bvalid),
    .s_axil_bready_i (s_axil_bready),
    .s_axil_araddr_i (s_axil_araddr),
    .s_axil_arvalid_i(s_axil_arvalid),
    .s_axil_arready_o(s_axil_arready),
    .s_axil_rdata_o  (s_axil_rdata),
    .s_axil_rresp_o  (s_axil_rresp),
    .s_axil_rvalid_o (s_axil_rvalid),
    .s_axil_rready_i (s_axil_rready),
    .set_i           (set),
    .thresholds_o    (thresholds),
    .batch_o         (batch),
    .soft_reset_o    (ask_reset),
    .flush_o         (flush),
    .weights_begin_o (weights_begin),
    .weights_cancel_o(weights_cancel),
    .weights_swap_o  (weights_swap),
    .weights_valid_o (weights_valid),
    .weights_ready_i (weights_ready),
    .weights_word_o  (weights_word),
    .weights_crc_o   (weights_crc),
    .weights_new_hash_o(weights_new_hash),
    .weights_status_i(weights_status),
    .weights_taken_i (weights_taken),
    .weights_hash_i  (weights_hash),
    .faults_i        (faults),
    .status_i        (status),
    .counters_i      (counters)
  );

`ifndef SYNTHESIS
  // As many frames wait as there are slots: the queues are never full.
  always_ff @(posedge clk_i) begin
    if (core_rst_nq) begin
      for (int unsigned k = 0; k <= LastRead; k++) begin
        assert (!to_valid[k] || to_ready[k])
        else $error("cascade: the queue of frames for stage %0d is full", k);
      end
    end
  end
`endif

endmodule
