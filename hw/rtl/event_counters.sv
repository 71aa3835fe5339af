/// Counts the cascade's events and measures its intervals, in cycles of `clk_i`.
///
/// Every counter has 32 bits and wraps. `now_o` counts cycles from reset. `cycles_i` is what `last_cycles` keeps in a cycle
/// in which a frame is answered or offloaded.
///
/// Latency:  an event shows in `counters_o` one cycle later.
/// Flow:     none; every event is counted.
/// Does not: saturate, or freeze: a reader that needs counters of one moment stops the input first.
module event_counters
  import cascade_pkg::*;
(
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  events_t          events_i,
  input  logic                   [31:0] cycles_i,
  output logic                   [31:0] now_o,
  output counters_t        counters_o
);

  counters_t counters_q;
  logic [31:0] now_q;
  logic [MaxStages-1:0][31:0] last_q;  // when the last logits were taken, by stage
  logic [MaxStages-1:0] seen_q;  // whether there were any

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
      for (int unsigned stage = 0; stage < MaxStages; stage++) begin
        if (events_i.answered[stage]) begin
          counters_q.answered[stage] <= counters_q.answered[stage] + 32'd1;
        end
        if (events_i.logits[stage]) begin
          counters_q.interval[stage] <= seen_q[stage] ? now_q - last_q[stage] : '0;
          seen_q[stage]              <= 1'b1;
        end
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
      if (events_i.answered != '0 || events_i.offloaded) begin
        counters_q.last_cycles <= cycles_i;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned stage = 0; stage < MaxStages; stage++) begin
      if (events_i.logits[stage]) begin
        last_q[stage] <= now_q;
      end
    end
  end

endmodule
