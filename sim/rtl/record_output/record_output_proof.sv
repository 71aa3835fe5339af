/// What record_output promises, as assertions over all inputs that its contract allows.
///
/// One symbolic record is followed: `follow_i` picks any one as it is taken; its two beats must be what the bus carries.
/// Batches, flushes and what is outstanding are counted beside the cell by the rules of its contract. Assumed of the
/// cascade: a record comes only for a header that was accepted before, none has the error of a closing record, and fewer
/// than 2^16 - 1 headers are outstanding. Reset is low in the first cycle, and whenever it likes after it.
module record_output_proof
  import registers_pkg::*;
#(
  parameter int unsigned Depth = 2,
  // Longest stall of the receiver, in cycles, under which records are promised to leave in time.
  parameter int unsigned Stall = 1
) (
  input logic                 clk_i,
  input logic                 rst_ni,
  input logic                 s_valid_i,
  input cascade_pkg::record_t s_record_i,
  input logic                 header_i,
  input logic                 flush_i,
  input logic          [15:0] batch_i,
  input logic                 m_ready_i,
  input logic                 follow_i
);
  logic s_ready, m_valid, m_last, flushing, batch_open, idle;
  logic [63:0] m_data;
  logic [7:0] m_keep;
  logic [15:0] outstanding;

  record_output #(
    .Depth(Depth)
  ) u_cell (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o      (s_ready),
    .s_record_i,
    .header_i,
    .flush_i,
    .batch_i,
    .m_axis_tdata_o (m_data),
    .m_axis_tkeep_o (m_keep),
    .m_axis_tvalid_o(m_valid),
    .m_axis_tready_i(m_ready_i),
    .m_axis_tlast_o (m_last),
    .outstanding_o  (outstanding),
    .flushing_o     (flushing),
    .batch_open_o   (batch_open),
    .idle_o         (idle)
  );

  logic started, prompt;
  stream_proof #(
    .Width(65),
    .Stall(Stall)
  ) u_stream (
    .clk_i,
    .rst_ni,
    .valid_i  (m_valid),
    .ready_i  (m_ready_i),
    .data_i   ({m_last, m_data}),
    .started_o(started),
    .stall_o  (),
    .prompt_o (prompt),
    .stalls_o ()
  );

  logic push, pop;
  assign push = s_valid_i && s_ready;
  assign pop = m_valid && m_ready_i;
  always_comb if (started) keeps_all_bytes: assert (m_keep == 8'hFF);

  // ---- What is on the bus: beats in pairs, of records in order, or of a closing record -----------------------------
  logic second_q;  // the beat on the bus, or the next one, is a record's second
  logic was_closing_q;  // the first beat was a closing record's
  logic closing;
  assign closing = second_q ? was_closing_q : m_data[63:56] == ErrorFlush;
  logic sent;  // a record, not a closing one
  assign sent = pop && second_q && !closing;
  logic [5:0] inside_q;  // records taken and not sent
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      second_q <= 1'b0;
      inside_q <= '0;
    end else begin
      second_q <= second_q ^ pop;
      inside_q <= inside_q + 6'(push) - 6'(sent);
    end
    if (pop && !second_q) was_closing_q <= closing;
  end
  always_comb begin
    if (started) begin
      if (m_valid && closing) closing_record: assert (m_data == (second_q ? 64'd0 : {ErrorFlush, 24'd0, ClosingTag}));
      if (m_valid && !closing) gives_what_it_has: assert (inside_q != '0);
      holds_no_more: assert (32'(inside_q) <= Depth + 2);
    end
  end

  // ---- No record lost, doubled or changed -----------------------------------------------------------------------
  logic followed_q;
  logic [5:0] ahead_q;  // records before it
  logic [127:0] record_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      followed_q <= 1'b0;
    end else if (!followed_q) begin
      followed_q <= push && follow_i;
      record_q <= s_record_i;
      ahead_q <= inside_q - 6'(sent);
    end else if (sent) begin
      ahead_q <= ahead_q - 1'b1;
      followed_q <= ahead_q != '0;
    end
  end
  always_comb begin
    if (started && followed_q) begin
      record_is_inside: assert (ahead_q < inside_q);
      if (m_valid && !closing && ahead_q == '0) begin
        record_unchanged: assert (m_data == (second_q ? record_q[127:64] : record_q[63:0]));
      end
    end
  end

  // ---- Batches and flushes, by the contract ---------------------------------------------------------------------
  logic [15:0] due_q;  // headers accepted minus records sent
  always_comb begin
    if (started) begin
      assume (!s_valid_i || (16'(inside_q) < due_q && s_record_i.error != ErrorFlush));
      assume (!header_i || due_q < 16'hFFFE);
    end
  end
  // A second beat that is new on the bus was decided upon a cycle ago, by what was true then.
  logic fresh_q, flush_was_q;
  logic [15:0] batch_was_q, due_was_q;
  logic [15:0] count_q;  // records since the last TLAST, those whose end is decided
  logic flush_q, fresh, ends;
  logic [16:0] reached;
  assign fresh = fresh_q && m_valid && second_q;
  assign reached = 17'(count_q) + 17'd1;
  assign ends = (flush_was_q && (closing || due_was_q == 16'd1)) || (batch_was_q != '0 && reached >= 17'(batch_was_q));
  logic [15:0] count;
  assign count = !fresh ? count_q : ends ? 16'd0 : count_q == 16'hFFFF ? count_q : count_q + 16'd1;
  // The flush is over with the beat that ends it, and where there is nothing to end.
  logic flush;
  assign flush = flush_q && !(fresh && flush_was_q && (closing || due_was_q == 16'd1));
  logic flush_set_q;  // a flush asked for in the cycle of the decision is another one
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      due_q <= '0;
      fresh_q <= 1'b0;
      count_q <= '0;
      flush_q <= 1'b0;
      flush_set_q <= 1'b0;
    end else begin
      due_q <= due_q + 16'(header_i) - 16'(sent);
      fresh_q <= !m_valid || m_ready_i;
      count_q <= count;
      flush_q <= flush_i || ((flush || flush_set_q) && !(due_q == '0 && count == '0));
      flush_set_q <= flush_i;
    end
    flush_was_q <= flush || flush_set_q;
    batch_was_q <= batch_i;
    due_was_q <= due_q;
  end
  always_comb begin
    if (started) begin
      tells_what_is_outstanding: assert (outstanding == due_q);
      if (m_valid && !second_q) no_last_on_a_first_beat: assert (!m_last);
      if (fresh) last_ends_the_batch: assert (m_last == ends);
      batch_open_is_told: assert (batch_open == (count != '0));
      flushing_is_told: assert (flushing == (flush || flush_set_q));
      if (fresh_q && m_valid && !second_q && closing) begin
        closes_an_open_batch: assert (flush_was_q && due_was_q == '0 && count_q != '0);
      end
      idle_is_told: assert (!idle || (due_q == '0 && !flushing && !m_valid && !second_q && inside_q == '0));
    end
  end

  // ---- Progress: under stalls of at most `Stall` cycles a record leaves, and a flush ends ------------------------
  localparam int unsigned Bound = 2 * (Depth + 2) * (Stall + 1) + 2;
  logic [5:0] age_q, closing_age_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      age_q <= '0;
      closing_age_q <= '0;
    end else begin
      age_q <= followed_q && age_q != '1 ? age_q + 1'b1 : followed_q ? age_q : '0;
      closing_age_q <= flushing && due_q == '0 && !flush_i ? closing_age_q + 1'b1 : '0;
    end
  end
  always_comb begin
    if (started && prompt) begin
      if (followed_q) record_leaves_in_time: assert (32'(age_q) < Bound);
      flush_ends_in_time: assert (32'(closing_age_q) < 2 * (Stall + 1) + 3);
    end
  end

`ifdef INSIDE
  // ---- What makes it inductive ----------------------------------------------------------------------------------
  // Records in the queue, those behind its output register apart; what the sender holds.
  localparam int unsigned IndexWidth = Depth > 1 ? $clog2(Depth) : 1;
  logic in_output;  // the sender still has the record's second beat to send
  logic [31:0] queued, place;
  assign queued = 32'(u_cell.u_waiting.fill_q) + 32'(u_cell.u_waiting.m_valid_o);
  assign in_output = m_valid && second_q && !closing;
  assign place = 32'(u_cell.u_waiting.read_q) + 32'(ahead_q) - 32'(in_output) - 32'd1;
  always_comb begin
    if (started) begin
      inside_fill: assert (32'(u_cell.u_waiting.fill_q) <= Depth
          && (u_cell.u_waiting.m_valid_o || u_cell.u_waiting.fill_q == '0));
      inside_read: assert (32'(u_cell.u_waiting.read_q) < Depth && 32'(u_cell.u_waiting.write_q) < Depth);
      inside_write: assert (32'(u_cell.u_waiting.write_q)
          == (32'(u_cell.u_waiting.read_q) + 32'(u_cell.u_waiting.fill_q)) % Depth);
      inside_queue: assert (32'(inside_q) == queued + 32'(in_output));
      inside_second: assert (u_cell.second_q == (second_q ^ m_valid));
      if (second_q || m_valid) inside_closing: assert (u_cell.closing_q == closing);
      if (m_valid && !second_q && !closing || !m_valid && second_q && !was_closing_q) begin
        inside_head: assert (u_cell.u_waiting.m_valid_o);
      end
      if (m_valid && !second_q && !closing) inside_first: assert (m_data == u_cell.waiting_record[63:0]);
      inside_due: assert (u_cell.outstanding_q == due_q && u_cell.none_q == (due_q == '0)
          && u_cell.one_q == (due_q == 16'd1));
      inside_records: assert (16'(inside_q) <= due_q);
      inside_count: assert (u_cell.count_q == count && u_cell.open_q == (count != '0));
      inside_flush: assert (u_cell.flush_q == (flush || flush_set_q));
      if (followed_q && ahead_q == 6'(in_output)) inside_waits: assert (u_cell.waiting_record == record_q);
      if (followed_q && ahead_q == '0 && in_output) inside_sent: assert (m_data == record_q[127:64]);
      if (followed_q && ahead_q > 6'(in_output)) begin
        inside_memory: assert (u_cell.u_waiting.memory_q[IndexWidth'(place >= Depth ? place - Depth : place)] == record_q);
      end
      if (u_cell.u_waiting.m_valid_o) inside_answer: assert (u_cell.waiting_record.error != ErrorFlush);
    end
  end
  for (genvar entry = 0; entry < Depth; entry++) begin : g_entry
    logic [31:0] behind;  // entries before it
    logic [127:0] record;
    assign behind = (entry + Depth - 32'(u_cell.u_waiting.read_q)) % Depth;
    assign record = u_cell.u_waiting.memory_q[entry];
    always_comb begin
      if (started && behind < 32'(u_cell.u_waiting.fill_q)) inside_answers: assert (record[63:56] != ErrorFlush);
    end
  end
`endif

  // ---- The proof reaches the end of two whole batches of two records each ----------------------------------------
  logic [1:0] batches_q;
  logic [1:0] length_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      batches_q <= '0;
      length_q <= '0;
    end else if (pop && second_q) begin
      length_q <= m_last ? '0 : 2'd1;
      if (m_last && length_q == 2'd1) batches_q <= batches_q + 1'b1;
    end
  end
  always_comb if (started && rst_ni && batches_q == 2'd2) two_batches: cover (1'b1);
endmodule
