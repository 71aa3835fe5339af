/// The kernel on a ULX3S board: clock, reset, and its ports on the USB bridge's serial line.
///
/// Clock: the oscillator's 25 MHz through a PLL to 100 MHz, for everything. Reset: from the bitstream's load until the PLL
/// has locked, and while the button FIRE1 is held.
/// Lamps: 0 blinks while the clock runs; 1 out of reset; 2 turns over with every packet taken, 3 with every record sent;
/// 7 lights up from the first packet that had to be dropped, until reset.
/// Does not use: SDRAM, video, radio, or any other pin of the board.
module ulx3s_top #(
  // Payload bytes of a frame; the buffer of the line holds two.
  parameter int unsigned FrameBytes = 784,
  parameter int unsigned RecordBeats = 2,
  // Of the kernel, as the PLL's parameters below make it.
  parameter int unsigned ClockHz = 100_000_000,
  parameter int unsigned Baud = 3_000_000
) (
  input  logic       clk_25mhz,
  input  logic       fire1,
  input  logic       ftdi_txd,  // named as seen from the USB bridge
  output logic       ftdi_rxd,
  output logic [7:0] led,
  output logic       wifi_gpio0  // low would let the radio's processor boot into its loader, which resets the board
);

  // Frame header, packet type, and a round power of two above twice that.
  localparam int unsigned PacketBytes = FrameBytes + 9;
  localparam int unsigned BufferBytes = 1 << $clog2(2 * PacketBytes);
  localparam int unsigned BlinkWidth = 26;  // about 1.5 blinks a second

  logic clk, locked;

  // 25 MHz / 1 * 4 = 100 MHz; the oscillator inside runs at six times that, within its 400 to 800 MHz.
  // Charge pump, loop filter and its amplifier as Project Trellis' ecppll sets them for this frequency. nextpnr writes 0
  // for each that is not given, and no public design is known that locks with those.
  (* ICP_CURRENT = "12" *) (* LPF_RESISTOR = "8" *) (* MFG_ENABLE_FILTEROPAMP = "1" *) (* MFG_GMCREF_SEL = "2" *)
  EHXPLLL #(
    .CLKI_DIV        (1),
    .CLKFB_DIV       (4),
    .CLKOP_DIV       (6),
    .CLKOP_CPHASE    (2),
    .CLKOP_FPHASE    (0),
    .CLKOP_ENABLE    ("ENABLED"),
    .FEEDBK_PATH     ("CLKOP"),
    .OUTDIVIDER_MUXA ("DIVA"),
    .OUTDIVIDER_MUXB ("DIVB"),
    .OUTDIVIDER_MUXC ("DIVC"),
    .OUTDIVIDER_MUXD ("DIVD"),
    .PLLRST_ENA      ("DISABLED"),
    .INTFB_WAKE      ("DISABLED"),
    .STDBY_ENABLE    ("DISABLED"),
    .DPHASE_SOURCE   ("DISABLED")
  ) u_pll (
    .CLKI        (clk_25mhz),
    .CLKFB       (clk),
    .PHASESEL0   (1'b0),
    .PHASESEL1   (1'b0),
    .PHASEDIR    (1'b1),
    .PHASESTEP   (1'b1),
    .PHASELOADREG(1'b1),
    .STDBY       (1'b0),
    .PLLWAKESYNC (1'b0),
    .RST         (1'b0),
    .ENCLKOP     (1'b0),
    .CLKOP       (clk),
    .LOCK        (locked)
  );

  // ---- Reset: through a chain of registers, since lock and button come whenever they like --------------------------
  logic [3:0] reset_q;
  logic rst_n;
  initial reset_q = '0;  // the bitstream's own value: in reset before the clock runs
  always_ff @(posedge clk) begin
    reset_q <= {reset_q[2:0], locked && !fire1};
  end
  assign rst_n = reset_q[3];

  // ---- Kernel and line --------------------------------------------------------------------------------------------
  logic [63:0] frame_data, record_data;
  logic [7:0] frame_keep;
  logic frame_valid, frame_ready, frame_last, record_valid, record_ready, record_last;
  logic [11:0] awaddr, araddr;
  logic [31:0] wdata, rdata;
  logic [3:0] wstrb;
  logic awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic packet, fault;

  serial_bridge #(
    .ClockHz    (ClockHz),
    .Baud       (Baud),
    .BufferBytes(BufferBytes),
    .RecordBeats(RecordBeats)
  ) u_bridge (
    .clk_i         (clk),
    .rst_ni        (rst_n),
    .rx_i          (ftdi_txd),
    .tx_o          (ftdi_rxd),
    .m_axis_tdata  (frame_data),
    .m_axis_tkeep  (frame_keep),
    .m_axis_tvalid (frame_valid),
    .m_axis_tready (frame_ready),
    .m_axis_tlast  (frame_last),
    .s_axis_tdata  (record_data),
    .s_axis_tvalid (record_valid),
    .s_axis_tready (record_ready),
    .m_axil_awaddr (awaddr),
    .m_axil_awvalid(awvalid),
    .m_axil_awready(awready),
    .m_axil_wdata  (wdata),
    .m_axil_wstrb  (wstrb),
    .m_axil_wvalid (wvalid),
    .m_axil_wready (wready),
    .m_axil_bvalid (bvalid),
    .m_axil_bready (bready),
    .m_axil_araddr (araddr),
    .m_axil_arvalid(arvalid),
    .m_axil_arready(arready),
    .m_axil_rdata  (rdata),
    .m_axil_rvalid (rvalid),
    .m_axil_rready (rready),
    .packet_o      (packet),
    .fault_o       (fault)
  );

  /* verilator lint_off PINCONNECTEMPTY */  // records are whole beats, answers always OKAY, taps are for simulation
  kernel u_kernel (
    .clk_i         (clk),
    .rst_ni        (rst_n),
    .s_axis_tdata  (frame_data),
    .s_axis_tkeep  (frame_keep),
    .s_axis_tvalid (frame_valid),
    .s_axis_tready (frame_ready),
    .s_axis_tlast  (frame_last),
    .m_axis_tdata  (record_data),
    .m_axis_tkeep  (),
    .m_axis_tvalid (record_valid),
    .m_axis_tready (record_ready),
    .m_axis_tlast  (record_last),
    .s_axil_awaddr (awaddr),
    .s_axil_awvalid(awvalid),
    .s_axil_awready(awready),
    .s_axil_wdata  (wdata),
    .s_axil_wstrb  (wstrb),
    .s_axil_wvalid (wvalid),
    .s_axil_wready (wready),
    .s_axil_bresp  (),
    .s_axil_bvalid (bvalid),
    .s_axil_bready (bready),
    .s_axil_araddr (araddr),
    .s_axil_arvalid(arvalid),
    .s_axil_arready(arready),
    .s_axil_rdata  (rdata),
    .s_axil_rresp  (),
    .s_axil_rvalid (rvalid),
    .s_axil_rready (rready),
    .tap_valid_o   (),
    .tap_tag_o     (),
    .tap_logits_o  ()
  );
  /* verilator lint_on PINCONNECTEMPTY */

  // ---- Lamps ------------------------------------------------------------------------------------------------------
  logic [BlinkWidth-1:0] blink_q;
  logic packet_q, record_q, fault_q;

  always_ff @(posedge clk) begin
    if (!rst_n) begin
      blink_q  <= '0;
      packet_q <= 1'b0;
      record_q <= 1'b0;
      fault_q  <= 1'b0;
    end else begin
      blink_q  <= blink_q + 1'b1;
      packet_q <= packet_q ^ packet;
      record_q <= record_q ^ (record_valid && record_ready && record_last);
      fault_q  <= fault_q || fault;
    end
  end

  assign led        = {fault_q, 3'b000, record_q, packet_q, rst_n, blink_q[BlinkWidth-1]};
  assign wifi_gpio0 = 1'b1;

endmodule
