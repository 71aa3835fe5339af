/// Finds packets in a stream of bytes, checks them and takes their framing off (see serial_protocol_pkg.sv).
///
/// The bytes of a packet go out at `m_*` as they come in, but for the four of its check sequence. The last one, with
/// `m_last_o`, goes out only if the packet is whole and undamaged; else `drop_o` is high for one cycle, and what went
/// out since the last packet's end is void. Damaged are: a wrong check sequence, fewer than five bytes, a byte that the
/// line lost (`s_error_i`), an escape before a flag or another escape. Flags without a byte between them are no packet.
/// Whatever came before, a whole packet between two flags is found: that is how the line resynchronises.
///
/// Interval: 1 cycle a byte. Latency: a byte goes out with the fifth byte or flag behind it, 1 cycle after that.
/// Flow:     none; a UART's bytes don't wait.
/// Does not: bound a packet's length, or look into it.
module hdlc_deframer (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       s_valid_i,
  input  logic [7:0] s_data_i,
  input  logic       s_error_i,
  output logic       m_valid_o,
  output logic [7:0] m_data_o,
  output logic       m_last_o,
  output logic       drop_o
);
  import serial_pkg::*;
  import serial_protocol_pkg::*;

  // A packet's last byte and its check sequence: only the flag tells that they are.
  localparam int unsigned Held = 5;

  logic [Held*8-1:0] held_q;  // oldest lowest
  logic [2:0] count_q;  // of them, up to `Held`
  logic [31:0] crc_q;
  logic escaped_q, lost_q, empty_q;
  logic valid_q, last_q, drop_q;
  logic [7:0] data_q;
  logic flag, escape, take, whole;
  logic [7:0] data;

  assign flag      = s_valid_i && s_data_i == Flag;
  assign escape    = s_valid_i && s_data_i == Escape;
  assign take      = s_valid_i && !flag && !escape;
  assign data      = escaped_q ? s_data_i ^ EscapeFlip : s_data_i;
  assign whole     = count_q == 3'(Held) && crc_q == CrcResidue && !escaped_q && !lost_q;
  assign m_valid_o = valid_q;
  assign m_data_o  = data_q;
  assign m_last_o  = last_q;
  assign drop_o    = drop_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q   <= '0;
      crc_q     <= CrcStart;
      escaped_q <= 1'b0;
      lost_q    <= 1'b0;
      empty_q   <= 1'b1;
      valid_q   <= 1'b0;
      drop_q    <= 1'b0;
    end else begin
      valid_q <= (take && count_q == 3'(Held)) || (flag && whole);
      drop_q  <= flag && !whole && !empty_q;
      if (flag) begin
        count_q   <= '0;
        crc_q     <= CrcStart;
        escaped_q <= 1'b0;
        lost_q    <= 1'b0;
        empty_q   <= 1'b1;
      end else begin
        if (take) begin
          crc_q <= crc_step(crc_q, data);
          if (count_q != 3'(Held)) begin
            count_q <= count_q + 3'd1;
          end
        end
        if (s_valid_i) begin
          escaped_q <= escape;
          empty_q   <= 1'b0;
        end
        if (s_error_i || (escape && escaped_q)) begin
          lost_q  <= 1'b1;
          empty_q <= 1'b0;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      held_q <= {data, held_q[Held*8-1:8]};
    end
    // While fewer than `Held` are there, the oldest is not at the bottom, and is not given out.
    data_q <= held_q[7:0];
    last_q <= flag;
  end

endmodule
