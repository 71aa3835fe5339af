/// Receives bytes from an asynchronous serial line: 8 data bits, no parity, one stop bit.
///
/// Formula:  the n-th bit after a start edge is sampled (n + 1/2) * ClockHz / Baud cycles behind it, rounded to a cycle:
///           the ratio need not be whole, and nothing adds up over the bits. An error is a byte whose stop bit is missing,
///           after which the line must idle before the next byte. A start bit that is gone by its middle is noise.
/// Latency:  `valid_o` or `error_o` is high for one cycle at the middle of the stop bit.
/// Flow:     none; whoever listens takes every byte.
/// Does not: vote over several samples, or measure the baud rate.
module uart_rx #(
  parameter int unsigned ClockHz = 100_000_000,  // of `clk_i`
  parameter int unsigned Baud = 3_000_000  // at most ClockHz / 8, so that a bit's middle is hit
) (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       rx_i,
  output logic       valid_o,
  output logic [7:0] data_o,
  output logic       error_o
);

  if (Baud < 1 || ClockHz / 8 < Baud) begin : gen_baud_check
    $error("uart_rx: Baud must be 1 to ClockHz / 8 (%0d), but is %0d", ClockHz / 8, Baud);
  end

  // A bit takes Modulus / Step cycles.
  localparam int unsigned Divisor = serial_pkg::gcd(ClockHz, Baud);
  localparam int unsigned Step = Baud / Divisor;
  localparam int unsigned Modulus = ClockHz / Divisor;
  localparam int unsigned PhaseWidth = $clog2(Modulus + Step);
  localparam int unsigned Samples = 10;  // start, data, stop

  typedef enum logic [1:0] {
    StIdle,
    StBits,
    StRecover
  } state_e;

  // Out of reset the line counts as idle; the first two registers keep metastability from the rest.
  logic [2:0] line_q;
  logic line;
  state_e state_q;
  logic [PhaseWidth-1:0] phase_q;
  logic [3:0] sample_q;
  logic [7:0] data_q;
  logic valid_q, error_q;
  logic sample;

  assign line    = line_q[2];
  assign sample  = phase_q >= PhaseWidth'(Modulus - Step);
  assign valid_o = valid_q;
  assign data_o  = data_q;
  assign error_o = error_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      line_q   <= '1;
      state_q  <= StIdle;
      sample_q <= '0;
      valid_q  <= 1'b0;
      error_q  <= 1'b0;
    end else begin
      line_q  <= {line_q[1:0], rx_i};
      valid_q <= 1'b0;
      error_q <= 1'b0;
      unique case (state_q)
        StIdle: begin
          sample_q <= '0;
          if (!line) begin
            state_q <= StBits;
          end
        end
        StBits: begin
          if (sample) begin
            sample_q <= sample_q + 4'd1;
            if (sample_q == '0 && line) begin
              state_q <= StIdle;
            end else if (sample_q == 4'(Samples - 1)) begin
              state_q <= line ? StIdle : StRecover;
              valid_q <= line;
              error_q <= !line;
            end
          end
        end
        default: begin
          if (line) begin
            state_q <= StIdle;
          end
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) begin
      phase_q <= PhaseWidth'(Modulus / 2);
    end else if (sample) begin
      phase_q <= phase_q - PhaseWidth'(Modulus - Step);
    end else begin
      phase_q <= phase_q + PhaseWidth'(Step);
    end
    if (sample && sample_q != 4'(Samples - 1)) begin
      data_q <= {line, data_q[7:1]};
    end
  end

endmodule
