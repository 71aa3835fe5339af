/// What frame_input promises, as assertions over all inputs.
///
/// One symbolic beat is followed: payload beat `index_i` of the first cycle, in every frame; where a whole frame is handed
/// over, the buffer must hold it in that frame's slot as it came. What a frame is worth is judged beside the cell by the
/// rules of its contract. Assumed of the neighbours: a slot that exists is offered. Reset is low in the first cycle, and
/// whenever it likes after it.
module frame_input_proof
  import registers_pkg::*;
#(
  parameter int unsigned PayloadBytes = 12,
  parameter int unsigned Slots = 2,
  // Longest wait for a slot or for the receiver of errors under which frames are promised to be taken in time.
  parameter int unsigned Stall = 2,
  localparam int unsigned Words = (PayloadBytes + 7) / 8,
  localparam int unsigned SlotWidth = $clog2(Slots),
  localparam int unsigned AddrWidth = $clog2(Slots * Words)
) (
  input logic                 clk_i,
  input logic                 rst_ni,
  input logic                 accept_i,
  input logic          [31:0] now_i,
  input logic          [63:0] data_i,
  input logic          [ 7:0] keep_i,
  input logic                 valid_i,
  input logic                 last_i,
  input logic [cascade_pkg::MaxStages-1:0][31:0] thresholds_i,
  input logic                 slot_free_i,
  input logic [SlotWidth-1:0] slot_i,
  input logic                 error_ready_i,
  input logic          [ 7:0] index_i
);
  logic ready, write_en, frame_valid, error_valid, header, bad_header, receiving;
  logic [3:0] set;
  logic [AddrWidth-1:0] write_addr;
  logic [63:0] write_data;
  logic [SlotWidth-1:0] frame_slot;
  cascade_pkg::frame_t frame;
  cascade_pkg::record_t error;

  frame_input #(
    .PayloadBytes(PayloadBytes),
    .Slots       (Slots)
  ) u_cell (
    .clk_i,
    .rst_ni,
    .accept_i,
    .now_i,
    .s_axis_tdata_i (data_i),
    .s_axis_tkeep_i (keep_i),
    .s_axis_tvalid_i(valid_i),
    .s_axis_tready_o(ready),
    .s_axis_tlast_i (last_i),
    .set_o          (set),
    .thresholds_i,
    .slot_free_i,
    .slot_i,
    .write_en_o     (write_en),
    .write_addr_o   (write_addr),
    .write_data_o   (write_data),
    .frame_valid_o  (frame_valid),
    .frame_slot_o   (frame_slot),
    .frame_o        (frame),
    .error_valid_o  (error_valid),
    .error_ready_i,
    .error_o        (error),
    .header_o       (header),
    .bad_header_o   (bad_header),
    .receiving_o    (receiving)
  );

  logic started, errors_prompt;
  logic [5:0] stall;  // of the receiver of errors
  stream_proof #(
    .Width($bits(cascade_pkg::record_t)),
    .Stall(Stall)
  ) u_errors (
    .clk_i,
    .rst_ni,
    .valid_i  (error_valid),
    .ready_i  (error_ready_i),
    .data_i   (error),
    .started_o(started),
    .stall_o  (stall),
    .prompt_o (errors_prompt),
    .stalls_o ()
  );

  logic [7:0] index_q;
  always_ff @(posedge clk_i) if (!started) index_q <= index_i;
  always_comb assume (32'(index_i) < Words);
  always_comb assume (32'(slot_i) < Slots);

  logic beat;
  assign beat = valid_i && ready;

  // ---- A frame by the contract ----------------------------------------------------------------------------------
  typedef enum logic [1:0] {Between, Payload, Discard} where_e;
  where_e where_q;
  logic [7:0] seen_q;  // payload beats of the frame before this one
  logic [SlotWidth-1:0] slot_q;
  cascade_pkg::frame_t frame_q;
  logic [63:0] word_q;  // the followed beat, as it came
  logic judged;  // an error shows, or the frame is whole
  logic [7:0] code;
  localparam int unsigned Rest = PayloadBytes - 8 * (Words - 1);

  always_comb begin
    judged = 1'b0;
    code = ErrorNone;
    if (where_q == Between && beat && data_i[63:48] == FrameMagic) begin
      if (keep_i != 8'hFF) code = ErrorKeep;
      else if (data_i[47:40] > 8'd15) code = ErrorSet;
      else if (data_i[39:32] != 8'd0) code = ErrorFlags;
      else if (last_i) code = ErrorShort;
      judged = code != ErrorNone;
    end else if (where_q == Payload && !accept_i) begin
      code = ErrorCut;
      judged = 1'b1;
    end else if (where_q == Payload && beat) begin
      if (32'(seen_q) + 1 < Words) begin
        if (last_i) code = ErrorShort;
        else if (keep_i != 8'hFF) code = ErrorKeep;
        judged = code != ErrorNone;
      end else begin
        if (!last_i) code = ErrorLong;
        else if (keep_i != 8'hFF >> (8 - Rest)) code = ErrorKeep;
        judged = 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      where_q <= Between;
    end else if (where_q == Payload && !accept_i) begin
      where_q <= Between;
    end else if (beat) begin
      if (where_q == Between) begin
        seen_q <= '0;
        slot_q <= slot_i;
        frame_q <= '{tag: data_i[31:0], start: now_i, thresholds: thresholds_i};
      end else if (where_q == Payload) begin
        seen_q <= seen_q + 1'b1;
        if (seen_q == index_q) word_q <= data_i;
      end
      if (last_i) where_q <= Between;
      else if (where_q == Between) where_q <= data_i[63:48] == FrameMagic && !judged ? Payload : Discard;
      else if (judged) where_q <= Discard;
    end
  end

  always_comb begin
    if (started) begin
      stops_at_once: assert (accept_i || !ready);
      payload_never_waits: assert (!accept_i || where_q == Between || ready);
      header_waits_for_slot_and_error: assert (!accept_i || where_q != Between
          || ready == (slot_free_i && !error_valid));
      header_is_told: assert (header == (where_q == Between && beat && data_i[63:48] == FrameMagic));
      bad_header_is_told: assert (bad_header == (where_q == Between && beat && data_i[63:48] != FrameMagic));
      receiving_is_told: assert (receiving == (where_q != Between));
      set_is_the_header_s: assert (where_q != Between || set == data_i[43:40]);
      good_frame_is_handed_over: assert (frame_valid == (judged && code == ErrorNone));
      if (frame_valid) begin
        frame_keeps_its_slot: assert (frame_slot == slot_q);
        frame_keeps_its_header: assert (frame == frame_q);
      end
    end
  end

  // ---- Every header with the magic has one outcome: a frame or one error record ---------------------------------
  logic open_q;  // a header without its outcome
  logic due_q;  // an error was judged a cycle ago
  logic [7:0] due_code_q;
  logic [31:0] due_tag_q, due_cycles_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      open_q <= 1'b0;
      due_q <= 1'b0;
    end else begin
      if (header) open_q <= !judged;
      else if (judged) open_q <= 1'b0;
      due_q <= judged && code != ErrorNone;
      due_code_q <= code;
      due_tag_q <= header ? data_i[31:0] : frame_q.tag;
      due_cycles_q <= header ? '0 : now_i - frame_q.start;
    end
  end
  logic before_q;  // an error record was there and was not taken
  always_ff @(posedge clk_i) before_q <= rst_ni && error_valid && !error_ready_i;
  always_comb begin
    if (started) begin
      one_outcome_a_header: assert (header ? !open_q : judged ? open_q : 1'b1);
      open_while_it_comes: assert (open_q == (where_q == Payload));
      error_when_judged: assert (error_valid == (due_q || before_q));
      no_error_is_overwritten: assert (!due_q || !before_q);
      if (due_q) begin
        error_tells_its_cause: assert (error.error == due_code_q && error.tag == due_tag_q
            && error.cycles == due_cycles_q);
        error_tells_no_answer: assert (error.label == '0 && error.stage == '0 && error.margin == '0);
      end
    end
  end

  // ---- No beat lost, doubled or changed: what the buffer holds ---------------------------------------------------
  // One word of the buffer, the followed one of the frame's slot, written as the cell asks for it.
  logic [63:0] stored_q, stored;
  logic written_q, written, at_word;
  assign at_word = write_en && 32'(write_addr) == 32'(slot_q) * Words + 32'(index_q);
  assign stored = at_word ? write_data : stored_q;
  assign written = at_word || written_q;
  always_ff @(posedge clk_i) begin
    stored_q <= stored;
    written_q <= !header && written;
  end
  always_comb begin
    if (started) begin
      writes_payload_only: assert (write_en == (where_q == Payload && beat));
      if (write_en) writes_in_order: assert (32'(write_addr) == 32'(slot_q) * Words + 32'(seen_q));
      if (frame_valid) begin
        word_is_there: assert (written);
        word_unchanged: assert (stored == (seen_q == index_q ? data_i : word_q));
      end
    end
  end

  // ---- Progress: a header waits no longer than slots and errors do ----------------------------------------------
  logic [5:0] waits_q, no_slot_q;
  logic slots_prompt_q;  // no wait for a slot was longer than `Stall` so far, and `accept_i` stayed
  logic prompt;
  assign prompt = slots_prompt_q && errors_prompt;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slots_prompt_q <= 1'b1;
      waits_q <= '0;
      no_slot_q <= '0;
    end else begin
      no_slot_q <= slot_free_i ? '0 : no_slot_q + 1'b1;
      if (!accept_i) slots_prompt_q <= 1'b0;
      if (!slot_free_i && (32'(no_slot_q) >= Stall || error_valid)) slots_prompt_q <= 1'b0;
      waits_q <= valid_i && !ready ? waits_q + 1'b1 : '0;
    end
  end
  always_comb if (started && prompt) beat_taken_in_time: assert (32'(waits_q) <= 2 * Stall + 1);

`ifdef INSIDE
  // ---- What makes it inductive ----------------------------------------------------------------------------------
  always_comb begin
    if (started) begin
      inside_index: assert (32'(index_q) < Words);
      inside_state: assert (2'(u_cell.state_q) == 2'(where_q));
      if (where_q == Payload) begin
        inside_count: assert (32'(seen_q) < Words && 32'(u_cell.left_q) == Words - 32'(seen_q));
        inside_place: assert (32'(u_cell.addr_q) == 32'(slot_q) * Words + 32'(seen_q));
        inside_frame: assert (u_cell.slot_q == slot_q && u_cell.frame_q == frame_q && 32'(slot_q) < Slots);
        inside_no_error: assert (!error_valid);
        inside_word: assert (seen_q <= index_q || (written_q && stored_q == word_q));
      end
      if (prompt) begin
        inside_waits: assert (32'(waits_q) <= (error_valid ? 32'(stall) : Stall + 1 + 32'(no_slot_q)));
        inside_no_slot: assert (32'(no_slot_q) <= Stall);
        inside_flow: assert (where_q == Between || waits_q == '0);
      end
    end
  end
`endif

  // ---- The proof reaches two whole frames and an error between them ----------------------------------------------
  logic [1:0] frames_q;
  logic faulty_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      frames_q <= '0;
      faulty_q <= 1'b0;
    end else begin
      frames_q <= frames_q + 2'(frame_valid);
      if (frames_q == 2'd1 && error_valid) faulty_q <= 1'b1;
    end
  end
  always_comb if (started && rst_ni && faulty_q && frame_valid) two_frames: cover (1'b1);
endmodule
