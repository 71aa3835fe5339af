/// Adds several streams, value by value: waits for a beat of each and gives their sum.
///
/// Formula:  value v of output beat i is the sum over sources s of value s * Values + v of the beats i side by side,
///           mod 2^Width.
/// Interval: 1 cycle. Latency: 2 cycles from the last of the beats.
/// Flow:     as stream_concat.sv, which it joins the streams by.
/// Does not: extend values: the caller gives all of them in the width of the sum.
module stream_add #(
  // Streams that are added.
  parameter int unsigned Sources = 2,
  // Values a beat, and bits of each and of the sum.
  parameter int unsigned Values = 4,
  parameter int unsigned Width = 8,
  localparam int unsigned BeatWidth = Values * Width
) (
  input  logic                         clk_i,
  input  logic                         rst_ni,
  input  logic [Sources-1:0]           s_valid_i,
  output logic [Sources-1:0]           s_ready_o,
  input  logic [Sources*BeatWidth-1:0] s_data_i,
  output logic                         m_valid_o,
  input  logic                         m_ready_i,
  output logic [BeatWidth-1:0]         m_data_o
);
  if (Values < 1) begin : g_check
    $error("stream_add: Values must be at least 1, but is %0d", Values);
  end

  logic joined_valid, free;
  logic [Sources*BeatWidth-1:0] joined;
  stream_concat #(
    .Sources(Sources),
    .Width  (Sources * BeatWidth)
  ) u_join (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i,
    .m_valid_o(joined_valid),
    .m_ready_i(free),
    .m_data_o (joined)
  );

  assign free = !m_valid_o || m_ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) m_valid_o <= 1'b0;
    else if (free) m_valid_o <= joined_valid;
  end

  for (genvar value = 0; value < Values; value++) begin : g_value
    always_ff @(posedge clk_i) begin
      if (free && joined_valid) begin
        automatic logic [Width-1:0] sum = '0;
        for (int unsigned source = 0; source < Sources; source++) begin
          sum += joined[(source*Values+value)*Width+:Width];
        end
        m_data_o[value*Width+:Width] <= sum;
      end
    end
  end
endmodule
