/// Takes frames from the AXI4-Stream, checks them, writes their payload into a slot of the frame buffer.
///
/// A frame is a header beat and Words = ceil(PayloadBytes / 8) payload beats; TLAST on the last. Header: [63:48] magic,
/// [47:40] threshold set, [39:32] flags (0), [31:0] tag. For every header with the magic, exactly one of these happens:
/// - the frame is whole and good: `frame_valid_o` for one cycle, together with its last beat; the slot is then the
///   receiver's, and is not written again before it is offered again at `slot_i`;
/// - it is bad: one error record (`error_*`, a stream), at the first beat that shows it; its slot is used again.
/// Which error, if a beat shows several. Header: keep, set, flags, short. Payload before the last beat: short, keep.
/// Last beat: long, keep. After an error the beats through the frame's TLAST are discarded. A frame without the magic
/// is discarded in the same way, and counted by `bad_header_o`, without a record.
/// While `accept_i` is low no beat is accepted, and a frame that was coming in ends with the error cut.
///
/// Interval: 1 cycle a beat.
/// Latency:  none; outputs are combinational from registers and the beat at hand.
/// Flow:     a header waits for a free slot and until the previous error record was taken; a payload beat never waits.
/// Does not: count, or decide in which order frames are worked on.
module frame_input
  import registers_pkg::*;
#(
  parameter int unsigned PayloadBytes = 784,  // exactly so many bytes a frame
  parameter int unsigned Slots = 8,  // frames in the buffer
  localparam int unsigned Words = (PayloadBytes + 7) / 8,
  localparam int unsigned SlotWidth = $clog2(Slots),
  localparam int unsigned AddrWidth = $clog2(Slots * Words)
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  logic                          accept_i,
  input  logic                   [31:0] now_i,
  // AXI4-Stream
  input  logic                   [63:0] s_axis_tdata_i,
  input  logic                   [ 7:0] s_axis_tkeep_i,
  input  logic                          s_axis_tvalid_i,
  output logic                          s_axis_tready_o,
  input  logic                          s_axis_tlast_i,
  // threshold table, answered in the same cycle
  output logic                   [ 3:0] set_o,
  input  logic [cascade_pkg::MaxStages-1:0][31:0] thresholds_i,
  // a free slot
  input  logic                          slot_free_i,
  input  logic          [SlotWidth-1:0] slot_i,
  // frame buffer
  output logic                          write_en_o,
  output logic          [AddrWidth-1:0] write_addr_o,
  output logic                   [63:0] write_data_o,
  // good frames: always taken
  output logic                          frame_valid_o,
  output logic          [SlotWidth-1:0] frame_slot_o,
  output cascade_pkg::frame_t           frame_o,
  // error records
  output logic                          error_valid_o,
  input  logic                          error_ready_i,
  output cascade_pkg::record_t          error_o,
  // events, one cycle each, and state
  output logic                          header_o,
  output logic                          bad_header_o,
  output logic                          receiving_o
);

  if (PayloadBytes < 1) begin : gen_bytes_check
    $error("frame_input: PayloadBytes must be at least 1, but is %0d", PayloadBytes);
  end
  if (Slots < 2) begin : gen_slots_check
    $error("frame_input: Slots must be at least 2, but is %0d", Slots);
  end

  localparam int unsigned CountWidth = $clog2(Words + 1);
  localparam int unsigned RestBytes = (PayloadBytes % 8 == 0) ? 8 : PayloadBytes % 8;
  localparam logic [7:0] LastKeep = 8'((1 << RestBytes) - 1);

  typedef enum logic [1:0] {
    StHeader,
    StPayload,
    StDiscard
  } state_e;

  state_e state_q;
  logic [CountWidth-1:0] left_q;  // payload beats that are still to come
  logic [AddrWidth-1:0] addr_q;
  logic [SlotWidth-1:0] slot_q;
  cascade_pkg::frame_t frame_q;
  logic error_valid_q;
  logic [7:0] error_code_q;
  logic [31:0] error_cycles_q;

  logic beat, magic, last_due;
  error_e header_error, payload_error;

  assign s_axis_tready_o = accept_i && (state_q != StHeader || (slot_free_i && !error_valid_q));
  assign beat            = s_axis_tvalid_i && s_axis_tready_o;
  assign magic           = s_axis_tdata_i[63:48] == FrameMagic;
  assign last_due        = left_q == CountWidth'(1);
  assign set_o           = s_axis_tdata_i[43:40];

  always_comb begin
    header_error = ErrorNone;
    if (s_axis_tkeep_i != 8'hFF) begin
      header_error = ErrorKeep;
    end else if (s_axis_tdata_i[47:40] >= ThresholdSets) begin
      header_error = ErrorSet;
    end else if (s_axis_tdata_i[39:32] != '0) begin
      header_error = ErrorFlags;
    end else if (s_axis_tlast_i) begin
      header_error = ErrorShort;
    end
  end

  always_comb begin
    payload_error = ErrorNone;
    if (last_due) begin
      if (!s_axis_tlast_i) begin
        payload_error = ErrorLong;
      end else if (s_axis_tkeep_i != LastKeep) begin
        payload_error = ErrorKeep;
      end
    end else if (s_axis_tlast_i) begin
      payload_error = ErrorShort;
    end else if (s_axis_tkeep_i != 8'hFF) begin
      payload_error = ErrorKeep;
    end
  end

  assign write_en_o    = beat && state_q == StPayload;
  assign write_addr_o  = addr_q;
  assign write_data_o  = s_axis_tdata_i;

  assign frame_valid_o = write_en_o && last_due && payload_error == ErrorNone;
  assign frame_slot_o  = slot_q;
  assign frame_o       = frame_q;

  assign header_o      = beat && state_q == StHeader && magic;
  assign bad_header_o  = beat && state_q == StHeader && !magic;
  assign receiving_o   = state_q != StHeader;

  assign error_valid_o = error_valid_q;
  assign error_o = '{
          tag: frame_q.tag,
          label: '0,
          stage: '0,
          error: error_code_q,
          margin: '0,
          cycles: error_cycles_q
      };

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q       <= StHeader;
      error_valid_q <= 1'b0;
    end else begin
      if (error_ready_i) begin
        error_valid_q <= 1'b0;
      end
      if (beat) begin
        unique case (state_q)
          StHeader: begin
            if (!magic) begin
              state_q <= s_axis_tlast_i ? StHeader : StDiscard;
            end else if (header_error != ErrorNone) begin
              state_q       <= s_axis_tlast_i ? StHeader : StDiscard;
              error_valid_q <= 1'b1;
            end else begin
              state_q <= StPayload;
            end
          end
          StPayload: begin
            if (payload_error != ErrorNone) begin
              state_q       <= s_axis_tlast_i ? StHeader : StDiscard;
              error_valid_q <= 1'b1;
            end else if (last_due) begin
              state_q <= StHeader;
            end
          end
          default: begin
            if (s_axis_tlast_i) begin
              state_q <= StHeader;
            end
          end
        endcase
      end else if (!accept_i && state_q == StPayload) begin
        state_q       <= StHeader;
        error_valid_q <= 1'b1;
      end
    end
  end

  // A header waits until no error record is pending, so the record's fields are free when a frame starts.
  always_ff @(posedge clk_i) begin
    if (beat && state_q == StHeader) begin
      slot_q             <= slot_i;
      frame_q.tag        <= s_axis_tdata_i[31:0];
      frame_q.start      <= now_i;
      frame_q.thresholds <= thresholds_i;
      left_q             <= CountWidth'(Words);
      addr_q             <= AddrWidth'(32'(slot_i) * Words);
      error_code_q       <= header_error;
      error_cycles_q     <= 32'd0;
    end else if (state_q == StPayload && (beat || !accept_i)) begin
      left_q         <= left_q - CountWidth'(1);
      addr_q         <= addr_q + AddrWidth'(1);
      error_code_q   <= accept_i ? payload_error : ErrorCut;
      error_cycles_q <= now_i - frame_q.start;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(state_q == StPayload && error_valid_q))
      else $error("frame_input: a frame comes in while an error record waits");
    end
  end
`endif

endmodule
