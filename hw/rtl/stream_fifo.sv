/// A first-in first-out buffer for a stream, of `Depth` beats and one more in its output register.
///
/// Formula:  the beats taken at `s_` leave at `m_`, in order and unchanged.
/// Interval: 1 cycle. Latency: 1 cycle when empty.
/// Flow:     `s_ready_o` comes from registers alone, so that the buffer also cuts a path of ready signals (Depth = 1 does).
///           `m_data_o` stays as it is while `m_valid_o` waits for `m_ready_i`.
/// Does not: cross clocks, tell its filling, or map to block memory (the bypass of an empty buffer wants distributed
///           memory; the depths of skip connections are small).
module stream_fifo #(
  // Bits a beat.
  parameter int unsigned Width = 8,
  // Beats that wait behind the output register: what the slower of two joining branches lags, at least.
  parameter int unsigned Depth = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             s_valid_i,
  output logic             s_ready_o,
  input  logic [Width-1:0] s_data_i,
  output logic             m_valid_o,
  input  logic             m_ready_i,
  output logic [Width-1:0] m_data_o
);
  if (Width < 1) begin : g_check1
    $error("stream_fifo: Width must be at least 1, but is %0d", Width);
  end
  if (Depth < 1) begin : g_check2
    $error("stream_fifo: Depth must be at least 1, but is %0d", Depth);
  end

  localparam int unsigned IndexWidth = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned FillWidth = $clog2(Depth + 1);
  localparam logic [IndexWidth-1:0] LastIndex = IndexWidth'(Depth - 1);

  logic [Width-1:0] memory_q [Depth];
  logic [IndexWidth-1:0] write_q, read_q;
  logic [FillWidth-1:0] fill_q;  // beats in the memory, without the output register

  logic push, free, some, fetch, store;
  assign s_ready_o = fill_q != FillWidth'(Depth);
  assign push = s_valid_i && s_ready_o;
  assign free = !m_valid_o || m_ready_i;
  assign some = fill_q != '0;
  assign fetch = free && some;
  assign store = push && !(free && !some);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
      write_q <= '0;
      read_q <= '0;
      fill_q <= '0;
    end else begin
      if (free) m_valid_o <= fetch || push;
      if (store) write_q <= write_q == LastIndex ? '0 : write_q + 1'b1;
      if (fetch) read_q <= read_q == LastIndex ? '0 : read_q + 1'b1;
      if (store && !fetch) fill_q <= fill_q + 1'b1;
      if (fetch && !store) fill_q <= fill_q - 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    // Wide registers load whenever they may, not only when they must: a free word of the memory, and a payload that is
    // not valid, may hold anything, and their enables are then no long paths.
    if (push) memory_q[write_q] <= s_data_i;
    if (free) m_data_o <= some ? memory_q[read_q] : s_data_i;
  end
endmodule
