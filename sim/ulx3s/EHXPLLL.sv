/// Stands in for the ECP5's PLL in simulation: the bench drives the board's clock pin with the kernel's clock, and this
/// passes it through once it has looked at what the real one would make of 25 MHz.
///
/// Formula:  real output = 25 MHz / CLKI_DIV * CLKFB_DIV, by an oscillator of CLKOP_DIV times that, 400 to 800 MHz (ECP5
///           data sheet, sysCLOCK PLL timing); anything but 100 MHz stops the simulation's build.
/// Does not: multiply, take time to lock, or jitter.
/* verilator lint_off UNUSEDPARAM */  // the real primitive's
/* verilator lint_off UNUSEDSIGNAL */
module EHXPLLL #(
  parameter int CLKI_DIV = 1,
  parameter int CLKFB_DIV = 1,
  parameter int CLKOP_DIV = 8,
  parameter int CLKOP_CPHASE = 0,
  parameter int CLKOP_FPHASE = 0,
  parameter CLKOP_ENABLE = "ENABLED",
  parameter FEEDBK_PATH = "CLKOP",
  parameter OUTDIVIDER_MUXA = "DIVA",
  parameter OUTDIVIDER_MUXB = "DIVB",
  parameter OUTDIVIDER_MUXC = "DIVC",
  parameter OUTDIVIDER_MUXD = "DIVD",
  parameter PLLRST_ENA = "DISABLED",
  parameter INTFB_WAKE = "DISABLED",
  parameter STDBY_ENABLE = "DISABLED",
  parameter DPHASE_SOURCE = "DISABLED"
) (
  input  logic CLKI,
  input  logic CLKFB,
  input  logic PHASESEL0,
  input  logic PHASESEL1,
  input  logic PHASEDIR,
  input  logic PHASESTEP,
  input  logic PHASELOADREG,
  input  logic STDBY,
  input  logic PLLWAKESYNC,
  input  logic RST,
  input  logic ENCLKOP,
  output logic CLKOP,
  output logic LOCK
);
  localparam int OutputMhz = 25 * CLKFB_DIV / CLKI_DIV;

  if (25 * CLKFB_DIV % CLKI_DIV != 0 || OutputMhz != 100) begin : gen_output_check
    $error("EHXPLLL: the output is not 100 MHz");
  end
  if (OutputMhz * CLKOP_DIV < 400 || OutputMhz * CLKOP_DIV > 800) begin : gen_oscillator_check
    $error("EHXPLLL: the oscillator is outside of 400 to 800 MHz");
  end

  assign CLKOP = CLKI;
  assign LOCK  = 1'b1;

endmodule
