/// Frames packets for the serial line: flag, the packet's bytes and their check sequence, escaped, flag (serial_protocol_pkg.sv).
///
/// Interval: bytes + 6 beats a packet, one more for each byte that is escaped.
/// Latency:  none, the opening flag goes out while the packet's first byte waits.
/// Flow:     streams; `m_valid_o` and `m_data_o` come from registers and the byte that waits, which is taken with the last
///           beat that it makes. A packet ends with `s_last_i`.
/// Does not: bound a packet's length, or look into it.
module hdlc_framer (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       s_valid_i,
  output logic       s_ready_o,
  input  logic [7:0] s_data_i,
  input  logic       s_last_i,
  output logic       m_valid_o,
  input  logic       m_ready_i,
  output logic [7:0] m_data_o
);
  import serial_pkg::*;
  import serial_protocol_pkg::*;

  typedef enum logic [1:0] {
    StOpen,
    StData,
    StCheck,
    StClose
  } state_e;

  state_e state_q;
  logic [31:0] crc_q;  // complemented where it is sent, lowest byte first
  logic [1:0] check_q;  // which byte of the check sequence
  logic escaped_q;  // the escape was sent, the byte follows
  logic [7:0] data;
  logic special, delimiter, byte_done;

  assign data      = state_q == StData ? s_data_i : ~crc_q[7:0];
  assign special   = data == Flag || data == Escape;
  assign delimiter = state_q == StOpen || state_q == StClose;
  assign m_valid_o = s_valid_i || state_q == StCheck || state_q == StClose;
  // The byte at hand, or what precedes it, or what it became.
  assign m_data_o  = delimiter ? Flag : escaped_q ? data ^ EscapeFlip : special ? Escape : data;
  assign byte_done = m_valid_o && m_ready_i && !delimiter && (!special || escaped_q);
  assign s_ready_o = state_q == StData && m_ready_i && (!special || escaped_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q   <= StOpen;
      escaped_q <= 1'b0;
      check_q   <= '0;
    end else if (m_valid_o && m_ready_i) begin
      escaped_q <= !delimiter && special && !escaped_q;
      unique case (state_q)
        StOpen: state_q <= StData;
        StData: begin
          if (byte_done && s_last_i) begin
            state_q <= StCheck;
          end
        end
        StCheck: begin
          if (byte_done) begin
            check_q <= check_q + 2'd1;
            if (check_q == 2'd3) begin
              state_q <= StClose;
            end
          end
        end
        default: state_q <= StOpen;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StOpen) begin
      crc_q <= CrcStart;
    end else if (byte_done) begin
      crc_q <= state_q == StData ? crc_step(crc_q, s_data_i) : {8'd0, crc_q[31:8]};
    end
  end

endmodule
