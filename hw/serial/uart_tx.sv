/// Sends bytes on an asynchronous serial line: 8 data bits, no parity, one stop bit.
///
/// Interval: 10 * ClockHz / Baud cycles a byte on average, the ratio need not be whole: a bit takes its floor or its
///           ceiling, and the remainder is carried on.
/// Latency:  1 cycle from the handshake to the start bit.
/// Flow:     a stream; a byte is taken when the one before has left. The line idles high.
/// Does not: queue bytes, or pause between them.
module uart_tx #(
  parameter int unsigned ClockHz = 100_000_000,  // of `clk_i`
  parameter int unsigned Baud = 3_000_000  // at most ClockHz / 2
) (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       s_valid_i,
  output logic       s_ready_o,
  input  logic [7:0] s_data_i,
  output logic       tx_o
);

  if (Baud < 1 || ClockHz / 2 < Baud) begin : gen_baud_check
    $error("uart_tx: Baud must be 1 to ClockHz / 2 (%0d), but is %0d", ClockHz / 2, Baud);
  end

  // A bit takes Modulus / Step cycles.
  localparam int unsigned Divisor = serial_pkg::gcd(ClockHz, Baud);
  localparam int unsigned Step = Baud / Divisor;
  localparam int unsigned Modulus = ClockHz / Divisor;
  localparam int unsigned PhaseWidth = $clog2(Modulus + Step);
  localparam int unsigned Bits = 10;  // start, data, stop

  logic [8:0] shift_q;  // what follows the bit on the line
  logic tx_q;
  logic [3:0] left_q, left_d;  // bits that have not ended
  logic [PhaseWidth-1:0] phase_q, phase_d;
  // Registers, so that no comparison of phases is on the way of what a byte's sender does.
  logic bit_ends_q, ready_q, bit_ends_d;

  assign s_ready_o = ready_q;
  assign tx_o      = tx_q;

  always_comb begin
    phase_d = phase_q;
    left_d  = left_q;
    if (left_q != '0) phase_d = bit_ends_q ? phase_q - PhaseWidth'(Modulus - Step) : phase_q + PhaseWidth'(Step);
    if (s_valid_i && ready_q) left_d = 4'(Bits);
    else if (left_q != '0 && bit_ends_q) left_d = left_q - 4'd1;
    bit_ends_d = phase_d >= PhaseWidth'(Modulus - Step);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q     <= '0;
      tx_q       <= 1'b1;
      phase_q    <= '0;
      bit_ends_q <= 1'b0;
      ready_q    <= 1'b1;
    end else begin
      left_q     <= left_d;
      phase_q    <= phase_d;
      bit_ends_q <= bit_ends_d;
      ready_q    <= left_d == '0 || (left_d == 4'd1 && bit_ends_d);
      if (s_valid_i && ready_q) tx_q <= 1'b0;
      else if (left_q != '0 && bit_ends_q) tx_q <= shift_q[0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (s_valid_i && s_ready_o) begin
      shift_q <= {1'b1, s_data_i};
    end else if (bit_ends_q) begin
      shift_q <= {1'b1, shift_q[8:1]};
    end
  end

endmodule
