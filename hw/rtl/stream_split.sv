/// Reads a wide beat in place, in `Parts` beats, its lowest bits first.
///
/// Interval: Parts cycles. Latency: none; the first part is there with the wide beat.
/// Flow:     streams; the wide beat is taken with its last part, so `s_data_i` must stay while `s_valid_i` waits. `s_ready_o`
///           follows `m_ready_i` in the same cycle.
/// Does not: keep anything (stream_scatter.sv does, and frees its source at once).
module stream_split #(
  // Bits of a part, and parts of a beat.
  parameter int unsigned Width = 8,
  parameter int unsigned Parts = 2
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   s_valid_i,
  output logic                   s_ready_o,
  input  logic [Parts*Width-1:0] s_data_i,
  output logic                   m_valid_o,
  input  logic                   m_ready_i,
  output logic [Width-1:0]       m_data_o
);
  if (Width < 1 || Parts < 1) begin : g_check
    $error("stream_split: Width and Parts must be at least 1, but are %0d and %0d", Width, Parts);
  end

  localparam int unsigned PartWidth = Parts > 1 ? $clog2(Parts) : 1;
  logic [PartWidth-1:0] part_q;
  logic last_q;  // a register, so that no comparison is on the path of the ready signals
  assign m_valid_o = s_valid_i;
  assign m_data_o = s_data_i[32'(part_q)*Width+:Width];
  assign s_ready_o = m_ready_i && last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      part_q <= '0;
      last_q <= Parts == 1;
    end else if (s_valid_i && m_ready_i) begin
      part_q <= last_q ? '0 : part_q + 1'b1;
      last_q <= last_q ? Parts == 1 : 32'(part_q) + 2 == Parts;
    end
  end
endmodule
