/// Stores packets of bytes until they are whole: a packet comes out once it is known to be good, or not at all.
///
/// Formula:  the packets that ended with `s_last_i` leave at `m_*` in order; those that ended with `drop_i`, and those
///           that did not fit into the room that was free, vanish. `overrun_o` is high for one cycle for each of the
///           latter, when it ends.
/// Interval: 1 cycle a byte on both sides. Latency: 3 cycles from a packet's last byte to its first one at `m_*`.
/// Flow:     none at the input: bytes of a line don't wait; a stream at the output, `m_valid_o` comes from a register.
/// Does not: hold a packet of more than `Depth` bytes: it overruns.
module packet_fifo #(
  // Bytes that it holds; a power of two. Two packets, so that one can come in while the other leaves.
  parameter int unsigned Depth = 2048
) (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       s_valid_i,
  input  logic [7:0] s_data_i,
  input  logic       s_last_i,
  input  logic       drop_i,
  output logic       overrun_o,
  output logic       m_valid_o,
  input  logic       m_ready_i,
  output logic [7:0] m_data_o,
  output logic       m_last_o
);

  if (Depth < 2 || (Depth & (Depth - 1)) != 0) begin : gen_depth_check
    $error("packet_fifo: Depth must be a power of two from 2, but is %0d", Depth);
  end

  localparam int unsigned IndexWidth = $clog2(Depth);

  logic [8:0] memory[Depth];  // {last, byte}

  // One bit more than an index, so that full and empty differ.
  logic [IndexWidth:0] write_q, committed_q, read_q;
  logic too_long_q;  // the packet that is coming in did not fit
  logic overrun_q;
  // A block memory takes half a cycle and more to answer: its word has a register of its own behind it.
  logic word_valid_q, valid_q;
  logic [8:0] word_q, out_q;
  logic full, store, fetch, move;

  assign full      = write_q - read_q == (IndexWidth + 1)'(Depth);
  assign store     = s_valid_i && !full && !too_long_q;
  assign move      = word_valid_q && (!valid_q || m_ready_i);
  assign fetch     = read_q != committed_q && (!word_valid_q || move);
  assign m_valid_o = valid_q;
  assign {m_last_o, m_data_o} = out_q;
  assign overrun_o = overrun_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q     <= '0;
      committed_q <= '0;
      read_q      <= '0;
      too_long_q  <= 1'b0;
      word_valid_q <= 1'b0;
      valid_q     <= 1'b0;
      overrun_q   <= 1'b0;
    end else begin
      overrun_q <= 1'b0;
      if (drop_i) begin
        write_q    <= committed_q;
        too_long_q <= 1'b0;
        overrun_q  <= too_long_q;
      end else if (s_valid_i) begin
        if (store) begin
          write_q <= write_q + 1'b1;
          if (s_last_i) begin
            committed_q <= write_q + 1'b1;
          end
        end else begin
          too_long_q <= !s_last_i;
          if (s_last_i) begin
            write_q   <= committed_q;
            overrun_q <= 1'b1;
          end
        end
      end
      if (fetch) begin
        read_q <= read_q + 1'b1;
      end
      word_valid_q <= fetch || (word_valid_q && !move);
      valid_q      <= move || (valid_q && !m_ready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (store) begin
      memory[write_q[IndexWidth-1:0]] <= {s_last_i, s_data_i};
    end
    if (fetch) begin
      word_q <= memory[read_q[IndexWidth-1:0]];
    end
    if (move) begin
      out_q <= word_q;
    end
  end

endmodule
