/// Joins several streams: waits for a beat of each and gives them side by side.
///
/// Formula:  output beat i is {beat i of the last source, ..., beat i of source 0}; of `Width` bits in all.
/// Interval: 1 cycle. Latency: 1 cycle from the last of the beats.
/// Flow:     all sources are taken in one cycle, in which each is valid: `s_ready_o` depends on every `s_valid_i` and on
///           `m_ready_i`. So no source may wait with its valid for its ready; a stream_fifo does not. The output is
///           registered and stays while stalled.
/// Does not: hold what the faster sources are ahead; a stream_fifo before it does.
module stream_concat #(
  // Streams that are joined.
  parameter int unsigned Sources = 2,
  // Bits of the beats of all sources together.
  parameter int unsigned Width = 16
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic [Sources-1:0] s_valid_i,
  output logic [Sources-1:0] s_ready_o,
  input  logic [Width-1:0]   s_data_i,
  output logic               m_valid_o,
  input  logic               m_ready_i,
  output logic [Width-1:0]   m_data_o
);
  if (Sources < 1 || Width < 1) begin : g_check
    $error("stream_concat: Sources and Width must be at least 1, but are %0d and %0d", Sources, Width);
  end

  logic all, free;
  assign all = &s_valid_i;
  assign free = !m_valid_o || m_ready_i;
  assign s_ready_o = {Sources{all && free}};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) m_valid_o <= 1'b0;
    else if (free) m_valid_o <= all;
  end
  always_ff @(posedge clk_i) begin
    if (free) m_data_o <= s_data_i;
  end
endmodule
