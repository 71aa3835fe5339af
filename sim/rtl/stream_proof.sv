/// What the proof of every stream cell begins with: the first cycle is reset's, what the cell offers stays as it is until
/// it is taken, and how long the receiver lets it wait.
module stream_proof #(
  parameter int unsigned Width = 1,
  // Longest stall of the receiver, in cycles, under which a cell promises to be in time.
  parameter int unsigned Stall = 1
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  input  logic             ready_i,
  input  logic [Width-1:0] data_i,
  output logic             started_o,  // in every cycle but the first
  output logic [      5:0] stall_o,  // cycles for which the beat on offer has waited
  output logic             prompt_o,  // no stall since reset was longer than `Stall`
  output logic             stalls_o  // there was one since reset
);
  logic started_q = 1'b0;
  logic stalled_q, prompt_q, stalls_q;
  logic [5:0] stall_q;
  logic [Width-1:0] data_q;
  logic stalled;
  assign stalled = valid_i && !ready_i;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    stalled_q <= rst_ni && stalled;
    data_q <= data_i;
    if (!rst_ni) begin
      prompt_q <= 1'b1;
      stalls_q <= 1'b0;
      stall_q <= '0;
    end else begin
      if (stalled && 32'(stall_q) >= Stall) prompt_q <= 1'b0;
      if (stalled) stalls_q <= 1'b1;
      stall_q <= stalled ? stall_q + 1'b1 : '0;
    end
  end
  assign started_o = started_q;
  assign stall_o = stall_q;
  assign prompt_o = prompt_q;
  assign stalls_o = stalls_q;

  always_comb assume (started_q || !rst_ni);
  always_comb begin
    if (started_q && stalled_q) begin
      valid_stays: assert (valid_i);
      payload_stays: assert (data_i == data_q);
    end
  end
`ifdef INSIDE
  always_comb if (started_q && prompt_q) inside_stall: assert (32'(stall_q) <= Stall);
`endif
endmodule
