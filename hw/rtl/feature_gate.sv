/// Keeps the features that a stage leaves behind until its verdict, for the stage that goes on from them.
///
/// Features come in at `s_*`, `Beats` beats a frame, frame by frame in the stage's order. For every frame one verdict comes,
/// in the same order (`verdict_valid_i` for one cycle): with `pass_i` the frame's features go out at `m_*`, else they are
/// dropped.
///
/// Interval: Beats cycles a frame, whether it passes or is dropped. Latency: 2 cycles from a first beat and its verdict.
/// Flow:     streams. A frame that waits for its verdict, or for the stage behind, holds up those behind it: when the
///           memory is full, the stage before waits. It has room for a whole frame at least, so that a stage that gives
///           every beat here and to its own layers alike comes to the verdict that frees it: no deadlock.
/// Does not: wait with a verdict: there are at most as many that wait as frames have features inside, for which there is
///           room; an assertion watches over that in simulation.
module feature_gate #(
  parameter int unsigned Width = 8,  // bits of a beat
  parameter int unsigned Beats = 16,  // of a frame
  // Beats in memory. With those of as many frames as are inside the stage on their way to a verdict, and one more, it
  // never waits for the memory.
  parameter int unsigned Depth = 2 * Beats
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             s_valid_i,
  output logic             s_ready_o,
  input  logic [Width-1:0] s_data_i,
  input  logic             verdict_valid_i,
  input  logic             pass_i,
  output logic             m_valid_o,
  input  logic             m_ready_i,
  output logic [Width-1:0] m_data_o
);

  if (Beats < 1) begin : gen_beats_check
    $error("feature_gate: Beats must be at least 1, but is %0d", Beats);
  end
  if (Depth < Beats) begin : gen_depth_check
    $error("feature_gate: Depth must be at least Beats, or a frame could never come to its verdict, but is %0d", Depth);
  end

  localparam int unsigned CountWidth = Beats > 1 ? $clog2(Beats) : 1;
  localparam int unsigned Frames = Beats > 0 ? Depth / Beats : 0;

  logic held_valid, held_ready, verdict_ready, known, known_pass;
  logic [CountWidth-1:0] count_q;  // beats of the frame that are gone
  logic last;

  block_fifo #(
    .Width(Width),
    .Depth(Depth)
  ) u_features (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i,
    .m_valid_o(held_valid),
    .m_ready_i(held_ready),
    .m_data_o
  );

  stream_fifo #(
    .Width(1),
    .Depth(Frames + 2)
  ) u_verdicts (
    .clk_i,
    .rst_ni,
    .s_valid_i(verdict_valid_i),
    .s_ready_o(verdict_ready),
    .s_data_i (pass_i),
    .m_valid_o(known),
    .m_ready_i(held_valid && held_ready && last),
    .m_data_o (known_pass)
  );

  assign last       = count_q == CountWidth'(Beats - 1);
  assign m_valid_o  = held_valid && known && known_pass;
  assign held_ready = known && (!known_pass || m_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
    end else if (held_valid && held_ready) begin
      count_q <= last ? '0 : count_q + 1'b1;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!verdict_valid_i || verdict_ready)
      else $error("feature_gate: a verdict comes, but more than there are frames wait already");
    end
  end
`endif

endmodule
