# The processing system of a Zynq UltraScale+, as build.tcl uses it. Needs: $blocks, $clock_mhz.

set ps_block zynq_ultra_ps_e
set ps_clock ps/pl_clk0
# What Vivado's own constraints of the block call that clock.
set timing_clock clk_pl_0
set ps_reset ps/pl_resetn0
set ps_interrupt ps/pl_ps_irq0
set ps_control ps/M_AXI_HPM0_FPD
set ps_memory ps/S_AXI_HP0_FPD
# The clock inputs of the two ports.
set ps_port_clocks {ps/maxihpm0_fpd_aclk ps/saxihp0_fpd_aclk}
set ps_memory_segment ps/SAXIGP2/HP0_DDR_LOW
# What else the memory port reaches and the DMA does not need; which of them exist depends on the board's preset.
set ps_other_segments {ps/SAXIGP2/HP0_DDR_HIGH ps/SAXIGP2/HP0_LPS_OCM ps/SAXIGP2/HP0_QSPI}

# Register blocks, in the port's window 0xA0000000 to 0xAFFFFFFF.
set dma_address 0xA0000000
set kernel_address 0xA0010000
set interrupts_address 0xA0020000

proc create_processing_system {} {
  global blocks clock_mhz
  create_bd_cell -type ip -vlnv [dict get $blocks zynq_ultra_ps_e] ps
  # The board's preset: memory, clocks and pins of the processor.
  apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} [get_bd_cells ps]
  # M_AXI_GP0 is port M_AXI_HPM0_FPD, S_AXI_GP2 is port S_AXI_HP0_FPD; the other masters of the preset are closed.
  # The port to memory is 64 bits wide, as the DMA is; PYNQ sets the port's width register from the handoff.
  set_property -dict [list \
    CONFIG.PSU__FPGA_PL0_ENABLE {1} \
    CONFIG.PSU__USE__FABRIC__RST {1} \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
    CONFIG.PSU__USE__M_AXI_GP0 {1} \
    CONFIG.PSU__USE__M_AXI_GP1 {0} \
    CONFIG.PSU__USE__M_AXI_GP2 {0} \
    CONFIG.PSU__USE__S_AXI_GP2 {1} \
    CONFIG.PSU__SAXIGP2__DATA_WIDTH {64} \
    CONFIG.PSU__USE__IRQ0 {1} \
  ] [get_bd_cells ps]
}
