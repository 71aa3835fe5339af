/// Gives every beat of a stream to each of several users.
///
/// Formula:  user u gets the beats taken at `s_`, all of them, in order and unchanged.
/// Interval: 1 cycle. Latency: none; nothing is registered but who has had the beat on offer.
/// Flow:     a user takes a beat when it likes and waits for the next one until all have it; then `s_ready_o` is high, in
///           the cycle in which the last one takes it. It depends on `m_ready_i`: a stream_fifo behind each user's port
///           cuts that path.
/// Does not: hold beats for users that lag behind; a stream_fifo does.
module stream_fork #(
  // Bits a beat.
  parameter int unsigned Width = 8,
  // Users of the stream.
  parameter int unsigned Users = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             s_valid_i,
  output logic             s_ready_o,
  input  logic [Width-1:0] s_data_i,
  output logic [Users-1:0] m_valid_o,
  input  logic [Users-1:0] m_ready_i,
  output logic [Width-1:0] m_data_o
);
  if (Width < 1 || Users < 1) begin : g_check
    $error("stream_fork: Width and Users must be at least 1, but are %0d and %0d", Width, Users);
  end

  logic [Users-1:0] had_q;
  assign m_valid_o = {Users{s_valid_i}} & ~had_q;
  assign m_data_o = s_data_i;
  assign s_ready_o = &(had_q | m_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) had_q <= '0;
    else if (s_valid_i) had_q <= s_ready_o ? '0 : had_q | m_ready_i;
  end
endmodule
