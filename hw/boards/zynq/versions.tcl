# The Vivado versions that the flow knows, and what the blocks are called there (vendor:library:name:version).
# Read by Vivado only; a version that is not here is refused, since a block of another version may have other pins.
#
# 2022.1 built the overlays of PYNQ 3.0, 2024.1 those of 3.1, 2025.2 those of 4.0 (PYNQ's release notes); 2023.2 stands
# between them. The blocks' versions are those that PYNQ's own designs of each release and public designs name.

set known_blocks {
  processing_system7 xilinx.com:ip:processing_system7:5.5
  axi_dma            xilinx.com:ip:axi_dma:7.1
  axi_intc           xilinx.com:ip:axi_intc:4.1
  proc_sys_reset     xilinx.com:ip:proc_sys_reset:5.0
  smartconnect       xilinx.com:ip:smartconnect:1.0
  xlconcat           xilinx.com:ip:xlconcat:2.1
}
set blocks_by_version {
  2022.1 {zynq_ultra_ps_e xilinx.com:ip:zynq_ultra_ps_e:3.4}
  2023.2 {zynq_ultra_ps_e xilinx.com:ip:zynq_ultra_ps_e:3.5}
  2024.1 {zynq_ultra_ps_e xilinx.com:ip:zynq_ultra_ps_e:3.5}
  2025.2 {zynq_ultra_ps_e xilinx.com:ip:zynq_ultra_ps_e:3.5}
}

# The blocks of the Vivado that runs this, by short name; an error that names the known versions for any other.
proc blocks_of_this_vivado {} {
  global known_blocks blocks_by_version
  # `version -short` may carry a patch: 2024.1.2 or 2024.1_AR12345.
  if {![regexp {^\d+\.\d+} [version -short] release] || ![dict exists $blocks_by_version $release]} {
    error "Vivado [version -short] is not known to this flow: use one of [join [dict keys $blocks_by_version] {, }]"
  }
  return [dict merge $known_blocks [dict get $blocks_by_version $release]]
}
