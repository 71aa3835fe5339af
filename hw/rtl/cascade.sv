/// The confidence-scaled cascade around two networks: frames in, one result record a frame out.
///
/// A frame (see frame_input.sv) is buffered whole, then fed to stage 0. If stage 0's margin (largest minus second-largest
/// logit) reaches the frame's threshold of stage 0, its label is the answer; else the buffered frame is fed to stage 1,
/// whose label is the answer, marked as offload if its margin does not reach the threshold of stage 1. Every valid
/// header yields exactly one record (see record_output.sv). Answers of stage 0 overtake those of stage 1, and records of
/// bad frames overtake answers; each of the three kinds keeps its own order.
///
/// Interval: of frames that stage 0 answers the largest of Pixels, stage 0's own interval, Classes and
///           1 + ceil(Pixels * Channels / 8) cycles, provided that FrameSlots covers the frame coming in and those inside
///           stage 0.
/// Latency:  of such a frame through an empty kernel, header to record made: ceil(Pixels * Channels / 8) + Classes + 9 and
///           stage 0's own from first pixel to logits; stage 1 adds its own and Classes + 9. The record is on the bus 2
///           cycles later, and carries the cycles that it really took.
/// Flow:     a slot is held from header to stage 0's answer, or until stage 1 has read the frame. While stage 1 is busy,
///           frames that it shall see keep their slots; when all are held, the input waits, which is the back-pressure.
/// Does not: compute networks: stages are outside, at the pixel and logits streams, under `core_rst_no`.
///
/// Soft reset (register `control`): no beat is accepted any more, a frame that was coming in ends with the error cut,
/// outstanding records are sent and an open batch is closed; then stages, datapath and counters are reset, thresholds
/// and faults stay. The command given again while that lasts drops what is left (the output may then end between the
/// beats of a record) and resets at once.
module cascade #(
  parameter int unsigned Pixels = 784,  // height x width of a frame
  parameter int unsigned Channels = 1,  // bytes of a pixel: grey 1, colour 3
  parameter int unsigned Classes = 10,
  parameter int unsigned LogitWidth0 = 16,  // signed integer logits; margins of a stage are in its own unit
  parameter int unsigned LogitWidth1 = 16,
  parameter int unsigned FrameSlots = 8,  // frames buffered: one coming in, those inside stage 0, a queue for stage 1
  parameter logic [31:0] BuildHash = 32'h0,  // register `build_hash`: ties the structure to its kernel package
  parameter logic [31:0] WeightsHash = 32'h0  // register `weights_hash`: ties the weights to it
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
  output logic                           core_rst_no,
  output logic                           pixel0_valid_o,
  input  logic                           pixel0_ready_i,
  output logic [         Channels*8-1:0] pixel0_data_o,
  input  logic                           logits0_valid_i,
  output logic                           logits0_ready_o,
  input  logic [Classes*LogitWidth0-1:0] logits0_data_i,
  output logic                           pixel1_valid_o,
  input  logic                           pixel1_ready_i,
  output logic [         Channels*8-1:0] pixel1_data_o,
  input  logic                           logits1_valid_i,
  output logic                           logits1_ready_o,
  input  logic [Classes*LogitWidth1-1:0] logits1_data_i,
  // verification: high while the logits of the frame with this tag are taken
  output logic                           tap0_valid_o,
  output logic [                   31:0] tap0_tag_o,
  output logic                           tap1_valid_o,
  output logic [                   31:0] tap1_tag_o
);

  if (Channels != 1 && Channels != 3) begin : gen_channels_check
    $error("cascade: Channels must be 1 or 3, but is %0d", Channels);
  end
  if (FrameSlots < 4 || FrameSlots > 256 || (FrameSlots & (FrameSlots - 1)) != 0) begin : gen_slots_check
    $error("cascade: FrameSlots must be a power of two from 4 to 256, but is %0d", FrameSlots);
  end
  if (Pixels < 2) begin : gen_pixels_check
    $error("cascade: Pixels must be at least 2, but is %0d", Pixels);
  end

  localparam int unsigned PayloadBytes = Pixels * Channels;
  localparam int unsigned Words = (PayloadBytes + 7) / 8;
  localparam int unsigned SlotWidth = $clog2(FrameSlots);
  localparam int unsigned AddrWidth = $clog2(FrameSlots * Words);
  localparam int unsigned FrameWidth = $bits(cascade_pkg::frame_t) + SlotWidth;
  localparam int unsigned ResetCycles = 4;  // long enough for a stage that registers its reset
  localparam int unsigned ResetLeftWidth = $clog2(ResetCycles + 1);

  logic core_rst_nq;

  // Input to stage 0.
  logic [3:0] set;
  logic [1:0][31:0] thresholds;
  logic slot_free;
  logic [SlotWidth-1:0] free_slot;
  logic whole_valid, whole_ready, queued_valid, queued_ready;
  logic [SlotWidth-1:0] whole_slot, queued_slot;
  cascade_pkg::frame_t whole_frame, queued_frame;

  // Frame buffer.
  logic write_en;
  logic [AddrWidth-1:0] write_addr;
  logic [63:0] write_data;
  logic read_en0, read_en1;
  logic [AddrWidth-1:0] read_addr0, read_addr1;
  logic [63:0] read_data0, read_data1;
  logic fetched1;
  logic [SlotWidth-1:0] fetched1_slot;

  // Verdicts.
  logic verdict0_valid, verdict0_ready, verdict0_sure;
  logic verdict1_valid, verdict1_ready, verdict1_sure;
  logic [SlotWidth-1:0] verdict0_slot;
  /* verilator lint_off UNUSEDSIGNAL */  // thresholds have done their work here
  cascade_pkg::frame_t verdict0_frame, verdict1_frame;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [15:0] verdict0_label, verdict1_label;
  logic [31:0] verdict0_margin, verdict1_margin;

  // Stage 0 to stage 1.
  logic forward_valid, forward_ready, forwarded_valid, forwarded_ready;
  logic [SlotWidth-1:0] forwarded_slot;
  cascade_pkg::frame_t forwarded_frame;

  // Records.
  logic error_valid, error_ready;
  cascade_pkg::record_t error_record, answer0, answer1, made;
  logic made_valid, made_ready;
  logic answer0_valid, answer0_taken;

  // Control.
  logic soft_reset, flush, draining_q, reset_due, output_idle;
  logic [ResetLeftWidth-1:0] reset_left_q;
  logic [15:0] batch;
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
    .accept_i       (core_rst_nq && !draining_q),
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
    .Slots(FrameSlots)
  ) u_slots (
    .clk_i,
    .rst_ni      (core_rst_nq),
    .free_o      (slot_free),
    .slot_o      (free_slot),
    .take_i      (whole_valid),
    .take_slot_i (whole_slot),
    .give0_i     (answer0_taken),
    .give0_slot_i(verdict0_slot),
    .give1_i     (fetched1),
    .give1_slot_i(fetched1_slot)
  );

  frame_buffer #(
    .Words(FrameSlots * Words)
  ) u_buffer (
    .clk_i,
    .write_en_i  (write_en),
    .write_addr_i(write_addr),
    .write_data_i(write_data),
    .read_en0_i  (read_en0),
    .read_addr0_i(read_addr0),
    .read_data0_o(read_data0),
    .read_en1_i  (read_en1),
    .read_addr1_i(read_addr1),
    .read_data1_o(read_data1)
  );

  // Whole frames; as deep as there are slots, so that it is never full.
  stream_fifo #(
    .Width(FrameWidth),
    .Depth(FrameSlots)
  ) u_queue (
    .clk_i,
    .rst_ni   (core_rst_nq),
    .s_valid_i(whole_valid),
    .s_ready_o(whole_ready),
    .s_data_i ({whole_slot, whole_frame}),
    .m_valid_o(queued_valid),
    .m_ready_i(queued_ready),
    .m_data_o ({queued_slot, queued_frame})
  );

  stage_lane #(
    .Stage     (0),
    .Pixels    (Pixels),
    .Channels  (Channels),
    .Classes   (Classes),
    .LogitWidth(LogitWidth0),
    .Slots     (FrameSlots),
    .Depth     (FrameSlots)
  ) u_lane0 (
    .clk_i,
    .rst_ni        (core_rst_nq),
    .s_valid_i     (queued_valid),
    .s_ready_o     (queued_ready),
    .s_slot_i      (queued_slot),
    .s_frame_i     (queued_frame),
    .read_en_o     (read_en0),
    .read_addr_o   (read_addr0),
    .read_data_i   (read_data0),
    /* verilator lint_off PINCONNECTEMPTY */  // stage 0's frames keep their slot until the verdict
    .fetched_o     (),
    .fetched_slot_o(),
    /* verilator lint_on PINCONNECTEMPTY */
    .pixel_valid_o (pixel0_valid_o),
    .pixel_ready_i (pixel0_ready_i),
    .pixel_data_o  (pixel0_data_o),
    .logits_valid_i(logits0_valid_i),
    .logits_ready_o(logits0_ready_o),
    .logits_data_i (logits0_data_i),
    .tap_valid_o   (tap0_valid_o),
    .tap_tag_o     (tap0_tag_o),
    .m_valid_o     (verdict0_valid),
    .m_ready_i     (verdict0_ready),
    .m_slot_o      (verdict0_slot),
    .m_frame_o     (verdict0_frame),
    .m_label_o     (verdict0_label),
    .m_margin_o    (verdict0_margin),
    .m_sure_o      (verdict0_sure)
  );

  // Frames that stage 0 was not sure of; they keep their slots, so that it is never full.
  assign forward_valid = verdict0_valid && !verdict0_sure;

  stream_fifo #(
    .Width(FrameWidth),
    .Depth(FrameSlots)
  ) u_forward (
    .clk_i,
    .rst_ni   (core_rst_nq),
    .s_valid_i(forward_valid),
    .s_ready_o(forward_ready),
    .s_data_i ({verdict0_slot, verdict0_frame}),
    .m_valid_o(forwarded_valid),
    .m_ready_i(forwarded_ready),
    .m_data_o ({forwarded_slot, forwarded_frame})
  );

  stage_lane #(
    .Stage     (1),
    .Pixels    (Pixels),
    .Channels  (Channels),
    .Classes   (Classes),
    .LogitWidth(LogitWidth1),
    .Slots     (FrameSlots),
    .Depth     (FrameSlots)
  ) u_lane1 (
    .clk_i,
    .rst_ni        (core_rst_nq),
    .s_valid_i     (forwarded_valid),
    .s_ready_o     (forwarded_ready),
    .s_slot_i      (forwarded_slot),
    .s_frame_i     (forwarded_frame),
    .read_en_o     (read_en1),
    .read_addr_o   (read_addr1),
    .read_data_i   (read_data1),
    .fetched_o     (fetched1),
    .fetched_slot_o(fetched1_slot),
    .pixel_valid_o (pixel1_valid_o),
    .pixel_ready_i (pixel1_ready_i),
    .pixel_data_o  (pixel1_data_o),
    .logits_valid_i(logits1_valid_i),
    .logits_ready_o(logits1_ready_o),
    .logits_data_i (logits1_data_i),
    .tap_valid_o   (tap1_valid_o),
    .tap_tag_o     (tap1_tag_o),
    .m_valid_o     (verdict1_valid),
    .m_ready_i     (verdict1_ready),
    /* verilator lint_off PINCONNECTEMPTY */  // stage 1's frames have given their slot back
    .m_slot_o      (),
    /* verilator lint_on PINCONNECTEMPTY */
    .m_frame_o     (verdict1_frame),
    .m_label_o     (verdict1_label),
    .m_margin_o    (verdict1_margin),
    .m_sure_o      (verdict1_sure)
  );

  assign answer0 = '{
          tag: verdict0_frame.tag,
          label: verdict0_label,
          stage: 8'd0,
          error: registers_pkg::ErrorNone,
          margin: verdict0_margin,
          cycles: now - verdict0_frame.start
      };

  always_comb begin
    answer1 = '{
        tag: verdict1_frame.tag,
        label: verdict1_label,
        stage: 8'd1,
        error: registers_pkg::ErrorNone,
        margin: verdict1_margin,
        cycles: now - verdict1_frame.start
    };
    answer1.stage[cascade_pkg::OffloadBit] = !verdict1_sure;
  end

  // One record a cycle. Stage 1, then stage 0, then errors: the first two are bound by their intervals, and whoever
  // waits last holds up the input, so that nobody waits for ever.
  assign answer0_valid  = verdict0_valid && verdict0_sure;
  assign made_valid     = verdict1_valid || answer0_valid || error_valid;
  assign made           = verdict1_valid ? answer1 : answer0_valid ? answer0 : error_record;
  assign verdict1_ready = made_ready;
  assign answer0_taken  = answer0_valid && made_ready && !verdict1_valid;
  assign verdict0_ready = !verdict0_sure || (made_ready && !verdict1_valid);
  assign error_ready    = made_ready && !verdict1_valid && !answer0_valid;

  record_output u_output (
    .clk_i,
    .rst_ni         (core_rst_nq && rst_ni),  // at once, so that no record of before a reset is seen behind it
    .s_valid_i      (made_valid),
    .s_ready_o      (made_ready),
    .s_record_i     (made),
    .header_i       (events.header),
    .flush_i        (flush || (soft_reset && !draining_q)),
    .batch_i        (batch),
    .m_axis_tdata_o (m_axis_tdata),
    .m_axis_tkeep_o (m_axis_tkeep),
    .m_axis_tvalid_o(m_axis_tvalid),
    .m_axis_tready_i(m_axis_tready),
    .m_axis_tlast_o (m_axis_tlast),
    .outstanding_o  (status.outstanding),
    .flushing_o     (status.flushing),
    .batch_open_o   (status.batch_open),
    .idle_o         (output_idle)
  );

  // Soft reset.
  assign reset_due       = draining_q && reset_left_q == '0 && (output_idle || soft_reset);
  assign status.draining = draining_q;
  assign core_rst_no     = core_rst_nq;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      draining_q   <= 1'b0;
      reset_left_q <= '0;
      core_rst_nq  <= 1'b0;
    end else begin
      core_rst_nq <= !(reset_due || reset_left_q > ResetLeftWidth'(1));
      if (reset_due) begin
        reset_left_q <= ResetLeftWidth'(ResetCycles);
      end else if (reset_left_q != '0) begin
        reset_left_q <= reset_left_q - 1'b1;
      end
      if (reset_left_q == ResetLeftWidth'(1)) begin
        draining_q <= 1'b0;
      end else if (soft_reset) begin
        draining_q <= 1'b1;
      end
    end
  end

  assign events.answered0    = answer0_taken;
  assign events.answered1    = verdict1_valid && verdict1_ready && verdict1_sure;
  assign events.offloaded    = verdict1_valid && verdict1_ready && !verdict1_sure;
  assign events.error        = error_valid && error_ready;
  assign events.logits0      = tap0_valid_o;
  assign events.logits1      = tap1_valid_o;
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

  axil_registers #(
    .Pixels     (Pixels),
    .Channels   (Channels),
    .Classes    (Classes),
    .FrameSlots (FrameSlots),
    .BuildHash  (BuildHash),
    .WeightsHash(WeightsHash)
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
    .soft_reset_o    (soft_reset),
    .flush_o         (flush),
    .faults_i        (faults),
    .status_i        (status),
    .counters_i      (counters)
  );

`ifndef SYNTHESIS
  // As many frames wait as there are slots: the queues are never full.
  always_ff @(posedge clk_i) begin
    if (core_rst_nq) begin
      assert (!whole_valid || whole_ready)
      else $error("cascade: the queue of whole frames is full");
      assert (!forward_valid || forward_ready)
      else $error("cascade: the queue of forwarded frames is full");
    end
  end
`endif

endmodule
