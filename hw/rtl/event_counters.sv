/// Counts the cascade's events and measures its intervals, in cycles of `clk_i`.
///
/// Every counter has 32 bits and wraps. `now_o` counts cycles from reset. `cycles_i` is what `last_cycles` keeps in a cycle
/// in which a frame is answered or offloaded.
///
/// Latency:  an event shows in `counters_o` one cycle later.
/// Flow:     none; every event is counted.
/// Does not: saturate, or freeze: a reader that needs counters of one moment stops the input first.
module event_counters (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  cascade_pkg::events_t          events_i,
  input  logic                   [31:0] cycles_i,
  output logic                   [31:0] now_o,
  output cascade_pkg::counters_t        counters_o
);

  cascade_pkg::counters_t counters_q;
  logic [31:0] now_q;
  logic [1:0][31:0] last_q;  // when the last logits were taken, by stage
  logic [1:0] seen_q;  // whether there were any

  assign now_o      = now_q;
  assign counters_o = counters_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      now_q      <= '0;
      counters_q <= '0;
      seen_q     <= '0;
    end else begin
      now_q <= now_q + 32'd1;
      if (events_i.header) begin
        counters_q.frames <= counters_q.frames + 32'd1;
      end
      if (events_i.bad_header) begin
        counters_q.bad_headers <= counters_q.bad_headers + 32'd1;
      end
      if (events_i.answered0) begin
        counters_q.answered0 <= counters_q.answered0 + 32'd1;
      end
      if (events_i.answered1) begin
        counters_q.answered1 <= counters_q.answered1 + 32'd1;
      end
      if (events_i.offloaded) begin
        counters_q.offloaded <= counters_q.offloaded + 32'd1;
      end
      if (events_i.error) begin
        counters_q.errors <= counters_q.errors + 32'd1;
      end
      if (events_i.input_stall) begin
        counters_q.input_stall_cycles <= counters_q.input_stall_cycles + 32'd1;
      end
      if (events_i.output_stall) begin
        counters_q.output_stall_cycles <= counters_q.output_stall_cycles + 32'd1;
      end
      if (events_i.answered0 || events_i.answered1 || events_i.offloaded) begin
        counters_q.last_cycles <= cycles_i;
      end
      if (events_i.logits0) begin
        counters_q.interval0 <= seen_q[0] ? now_q - last_q[0] : '0;
        seen_q[0]            <= 1'b1;
      end
      if (events_i.logits1) begin
        counters_q.interval1 <= seen_q[1] ? now_q - last_q[1] : '0;
        seen_q[1]            <= 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (events_i.logits0) begin
      last_q[0] <= now_q;
    end
    if (events_i.logits1) begin
      last_q[1] <= now_q;
    end
  end

endmodule
