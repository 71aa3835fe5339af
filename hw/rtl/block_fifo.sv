/// A first-in first-out buffer of `Depth` beats in block memory, and one more in its output register.
///
/// Formula:  the beats taken at `s_` leave at `m_`, in order and unchanged.
/// Interval: 1 cycle. Latency: 2 cycles when empty.
/// Flow:     `s_ready_o` comes from registers alone. `m_data_o` stays as it is while `m_valid_o` waits for `m_ready_i`.
/// Does not: cross clocks, or tell its filling. For a few beats stream_fifo is smaller and a cycle quicker.
module block_fifo #(
  parameter int unsigned Width = 64,  // bits a beat
  parameter int unsigned Depth = 512
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

  if (Width < 1) begin : gen_width_check
    $error("block_fifo: Width must be at least 1, but is %0d", Width);
  end
  if (Depth < 2) begin : gen_depth_check
    $error("block_fifo: Depth must be at least 2, but is %0d", Depth);
  end

  localparam int unsigned IndexWidth = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned FillWidth = $clog2(Depth + 1);
  localparam logic [IndexWidth-1:0] LastIndex = IndexWidth'(Depth - 1);

  logic [Width-1:0] memory[Depth];
  logic [IndexWidth-1:0] write_q, read_q;
  logic [FillWidth-1:0] fill_q;  // beats in the memory, without the output register
  logic push, fetch;

  assign s_ready_o = fill_q != FillWidth'(Depth);
  assign push      = s_valid_i && s_ready_o;
  assign fetch     = fill_q != '0 && (!m_valid_o || m_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
      write_q   <= '0;
      read_q    <= '0;
      fill_q    <= '0;
    end else begin
      if (fetch) begin
        m_valid_o <= 1'b1;
        read_q    <= read_q == LastIndex ? '0 : read_q + 1'b1;
      end else if (m_ready_i) begin
        m_valid_o <= 1'b0;
      end
      if (push) begin
        write_q <= write_q == LastIndex ? '0 : write_q + 1'b1;
      end
      if (push && !fetch) begin
        fill_q <= fill_q + 1'b1;
      end else if (fetch && !push) begin
        fill_q <= fill_q - 1'b1;
      end
    end
  end

  // A read is one of the memory's own registers: what is read was written a cycle before at the latest.
  always_ff @(posedge clk_i) begin
    if (push) begin
      memory[write_q] <= s_data_i;
    end
    if (fetch) begin
      m_data_o <= memory[read_q];
    end
  end

endmodule
