# The processing system of a Zynq-7000, as build.tcl uses it. Needs: $blocks, $clock_mhz.

set ps_block processing_system7
set ps_clock ps/FCLK_CLK0
# What Vivado's own constraints of the block call that clock.
set timing_clock clk_fpga_0
set ps_reset ps/FCLK_RESET0_N
set ps_interrupt ps/IRQ_F2P
set ps_control ps/M_AXI_GP0
set ps_memory ps/S_AXI_HP0
# The clock inputs of the two ports.
set ps_port_clocks {ps/M_AXI_GP0_ACLK ps/S_AXI_HP0_ACLK}
set ps_memory_segment ps/S_AXI_HP0/HP0_DDR_LOWOCM
# What else the memory port reaches and the DMA does not need.
set ps_other_segments {}

# Register blocks, in the port's window 0x40000000 to 0x7FFFFFFF.
set dma_address 0x40400000
set interrupts_address 0x41800000
set kernel_address 0x43C00000

proc create_processing_system {} {
  global blocks clock_mhz
  create_bd_cell -type ip -vlnv [dict get $blocks processing_system7] ps
  # The board's preset: memory, clocks and pins of the processor.
  apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"} [get_bd_cells ps]
  # The port to memory is 64 bits wide, as the DMA is. PYNQ does not set the port's width on a Zynq-7000: it has to be
  # that of the board's boot image, which is 64, too.
  set_property -dict [list \
    CONFIG.PCW_EN_CLK0_PORT {1} \
    CONFIG.PCW_EN_RST0_PORT {1} \
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
    CONFIG.PCW_USE_M_AXI_GP0 {1} \
    CONFIG.PCW_USE_S_AXI_HP0 {1} \
    CONFIG.PCW_S_AXI_HP0_DATA_WIDTH {64} \
    CONFIG.PCW_USE_FABRIC_INTERRUPT {1} \
    CONFIG.PCW_IRQ_F2P_INTR {1} \
  ] [get_bd_cells ps]
}
