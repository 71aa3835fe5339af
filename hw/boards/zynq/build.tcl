# From a kernel package to a bitstream, in one Vivado batch run without a project on disk:
#
#   vivado -mode batch -nojournal -log vivado.log -source build.tcl
#
# Run in the folder that holds it; beside it lie settings.tcl (what is made for which part), processing_system.tcl (of
# this board's kind) and ip/kernel (the kernel as an IP-XACT component). It may be run again in the same folder. Further
# board files than Vivado's own are looked for in the folders that EDGESIGHT_BOARD_FILES names.
# Leaves result/: <kernel>.bit, <kernel>.hwh, <kernel>.xsa, reports, and result.json last, only if timing was met; and
# checkpoints/, which Vivado opens, whether it was or not.

source settings.tcl
source processing_system.tcl

# What an earlier run left: Vivado makes no block design where there is one.
file delete -force bd .gen .srcs result checkpoints
file mkdir bd result checkpoints

# What a reader of the result should know; plain words without quotation marks, since they go into JSON.
set remarks {}

# ---- The project and the blocks that it may use -------------------------------------------------------------------

if {[info exists env(EDGESIGHT_BOARD_FILES)]} {
  set_param board.repoPaths [split $env(EDGESIGHT_BOARD_FILES) $tcl_platform(pathSeparator)]
}
create_project -in_memory -part $part
set_property target_language Verilog [current_project]

# The newest version of each block that this Vivado has. `version -short` may carry a patch, such as 2024.1.2.
set release [version -short]
regexp {^\d+\.\d+} $release release
if {$release ni $known_versions} {
  lappend remarks "Vivado [version -short] is not among those that this flow knows ([join $known_versions {, }])"
}
set blocks {}
foreach name [list $ps_block axi_dma axi_intc proc_sys_reset smartconnect] {
  set versions [lsort -dictionary [get_ipdefs -all -quiet xilinx.com:ip:$name:*]]
  if {[llength $versions] == 0} {
    error "Vivado [version -short] has no block xilinx.com:ip:$name: was support for part $part installed?"
  }
  dict set blocks $name [lindex $versions end]
}

# Several versions of a board's files may be installed; the newest is taken.
set boards [lsort -dictionary [get_board_parts -quiet $preset]]
if {[llength $boards] == 0} {
  set name [lindex [split $preset :] 1]
  error "no board files match $preset: install them (in Vivado's Tcl console `xhub::refresh_catalog\
    \[xhub::get_xstores xilinx_board_store\]` and `xhub::install \[xhub::get_xitems *$name*\]`), or let the variable\
    EDGESIGHT_BOARD_FILES name a folder with them, and run again"
}
set_property board_part [lindex $boards end] [current_project]

# Vivado's own judgement of the component, before anything is built from it.
set component [ipx::open_core ip/kernel/component.xml]
ipx::check_integrity $component
ipx::save_core $component
ipx::unload_core $component
set_property ip_repo_paths [file normalize ip] [current_project]
update_ip_catalog

# ---- The block design ---------------------------------------------------------------------------------------------
#
#   memory <- ps <- memory_port <- dma -> kernel -> dma       frames and records
#             ps -> control_port -> dma, kernel, interrupts   registers
#
# One clock and one reset for all of it. The memory port is not coherent with the processor's caches: the host flushes
# what it sends and invalidates what it receives.

create_bd_design -dir [file normalize bd] system
create_processing_system

# A transfer without descriptors each way; its length register has 26 bits, so that a batch may have 64 MiB.
# Bursts of 16 beats are the longest that a Zynq-7000 port takes whole. The width of the stream from the kernel is the
# kernel's own: Vivado hands it on. The width of the port that it leaves by would be derived, too, and is given all the
# same, so that it cannot differ from what the host and the memory port are made for.
create_bd_cell -type ip -vlnv [dict get $blocks axi_dma] dma
set_property CONFIG.c_m_axi_s2mm_data_width.VALUE_SRC USER [get_bd_cells dma]
set_property -dict [list \
  CONFIG.c_include_sg {0} \
  CONFIG.c_sg_length_width {26} \
  CONFIG.c_addr_width {32} \
  CONFIG.c_include_mm2s {1} \
  CONFIG.c_m_axi_mm2s_data_width {64} \
  CONFIG.c_m_axis_mm2s_tdata_width {64} \
  CONFIG.c_mm2s_burst_size {16} \
  CONFIG.c_include_s2mm {1} \
  CONFIG.c_m_axi_s2mm_data_width {64} \
  CONFIG.c_s2mm_burst_size {16} \
] [get_bd_cells dma]

create_bd_cell -type ip -vlnv $kernel_vlnv kernel

create_bd_cell -type ip -vlnv [dict get $blocks proc_sys_reset] reset

create_bd_cell -type ip -vlnv [dict get $blocks smartconnect] control_port
set_property -dict [list CONFIG.NUM_SI {1} CONFIG.NUM_MI {3} CONFIG.NUM_CLKS {1}] [get_bd_cells control_port]

create_bd_cell -type ip -vlnv [dict get $blocks smartconnect] memory_port
set_property -dict [list CONFIG.NUM_SI {2} CONFIG.NUM_MI {1} CONFIG.NUM_CLKS {1}] [get_bd_cells memory_port]

# PYNQ wants a controller between a block's interrupt and the processor's. There is one interrupt: that records have come.
create_bd_cell -type ip -vlnv [dict get $blocks axi_intc] system_interrupts
set_property -dict [list CONFIG.C_IRQ_CONNECTION {1}] [get_bd_cells system_interrupts]

proc connect_buses {source sink} {
  connect_bd_intf_net [get_bd_intf_pins $source] [get_bd_intf_pins $sink]
}
proc connect_pins {source sinks} {
  foreach sink $sinks {
    connect_bd_net [get_bd_pins $source] [get_bd_pins $sink]
  }
}

# Frames and records.
connect_buses dma/M_AXIS_MM2S kernel/S_AXIS
connect_buses kernel/M_AXIS dma/S_AXIS_S2MM
connect_buses dma/M_AXI_MM2S memory_port/S00_AXI
connect_buses dma/M_AXI_S2MM memory_port/S01_AXI
connect_buses memory_port/M00_AXI $ps_memory

# Registers.
connect_buses $ps_control control_port/S00_AXI
connect_buses control_port/M00_AXI dma/S_AXI_LITE
connect_buses control_port/M01_AXI kernel/S_AXI
connect_buses control_port/M02_AXI system_interrupts/s_axi

# Clock and reset.
connect_pins $ps_clock $ps_port_clocks
connect_pins $ps_clock reset/slowest_sync_clk
connect_pins $ps_clock kernel/aclk
connect_pins $ps_clock dma/s_axi_lite_aclk
connect_pins $ps_clock dma/m_axi_mm2s_aclk
connect_pins $ps_clock dma/m_axi_s2mm_aclk
connect_pins $ps_clock control_port/aclk
connect_pins $ps_clock memory_port/aclk
connect_pins $ps_clock system_interrupts/s_axi_aclk
connect_pins $ps_reset reset/ext_reset_in
connect_pins reset/peripheral_aresetn kernel/aresetn
connect_pins reset/peripheral_aresetn dma/axi_resetn
connect_pins reset/peripheral_aresetn system_interrupts/s_axi_aresetn
connect_pins reset/interconnect_aresetn control_port/aresetn
connect_pins reset/interconnect_aresetn memory_port/aresetn

# Interrupts.
connect_pins dma/s2mm_introut system_interrupts/intr
connect_pins system_interrupts/irq $ps_interrupt

# ---- Addresses ----------------------------------------------------------------------------------------------------

# Each by hand, so that every build of a board has the same. The kernel has 12 address bits, hence 4 KiB.
set processor [get_bd_addr_spaces ps/Data]
assign_bd_address -offset $dma_address -range 0x10000 \
  -target_address_space $processor [get_bd_addr_segs dma/S_AXI_LITE/Reg]
assign_bd_address -offset $kernel_address -range 0x1000 \
  -target_address_space $processor [get_bd_addr_segs kernel/S_AXI/Reg]
assign_bd_address -offset $interrupts_address -range 0x10000 \
  -target_address_space $processor [get_bd_addr_segs system_interrupts/S_AXI/Reg]
foreach space {dma/Data_MM2S dma/Data_S2MM} {
  assign_bd_address -offset 0x00000000 -range $memory_bytes \
    -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $ps_memory_segment]
  foreach other $ps_other_segments {
    set segment [get_bd_addr_segs -quiet $other]
    if {[llength $segment]} {
      exclude_bd_addr_seg -target_address_space [get_bd_addr_spaces $space] $segment
    }
  }
}

validate_bd_design
save_bd_design

# ---- From the block design to a routed one ------------------------------------------------------------------------

# Synthesised with the rest rather than block by block, which needs a project on disk.
set_property synth_checkpoint_mode None [get_files system.bd]
generate_target all [get_files system.bd]
read_verilog [make_wrapper -files [get_files system.bd] -top]

# The handoff is there from now on; better to miss it now than after hours. Where it lies differs between versions: beside
# the block design, or in a hidden folder. Copies of one another are one.
proc files_named {name folder} {
  set found [glob -nocomplain -types f -directory $folder $name]
  foreach pattern {* .?*} {
    foreach inner [glob -nocomplain -types d -directory $folder $pattern] {
      if {[file tail $inner] ne ".." && [file type $inner] ne "link"} {
        lappend found {*}[files_named $name $inner]
      }
    }
  }
  return $found
}
set handoffs {}
foreach path [files_named system.hwh .] {
  set file [open $path]
  dict set handoffs [read $file] $path
  close $file
}
if {[dict size $handoffs] != 1} {
  error "expected one hardware handoff system.hwh, found [dict size $handoffs] that differ: [dict values $handoffs]"
}
file copy -force [lindex [dict values $handoffs] 0] result/$kernel_name.hwh

# ---- Timing ---------------------------------------------------------------------------------------------------------

proc worst_slack {delay_type} {
  global ps_clock
  set paths [get_timing_paths -delay_type $delay_type -max_paths 1]
  set slack {}
  if {[llength $paths]} { set slack [get_property SLACK [lindex $paths 0]] }
  # A path without constraint has none, or an endless one.
  if {![string is double -strict $slack] || abs($slack) > 1e6} {
    error "the timing analysis found no $delay_type path: is the clock of $ps_clock constrained? See result/timing.rpt"
  }
  return $slack
}
proc timing_is_met {} {
  global setup_slack hold_slack
  report_timing_summary -file result/timing.rpt
  set setup_slack [worst_slack max]
  set hold_slack [worst_slack min]
  return [expr {$setup_slack >= 0.0 && $hold_slack >= 0.0}]
}

# No constraints of our own: the clock's comes with the processing system, and nothing of the logic reaches a pin.
synth_design -top system_wrapper -part $part
# The processing system divides its clock as near to what was asked for as it can.
set clocks [get_clocks -quiet $timing_clock]
if {[llength $clocks] != 1} {
  error "no clock is called $timing_clock: is the clock of $ps_clock constrained?"
}
set real_mhz [format %.6g [expr {1000.0 / [get_property PERIOD $clocks]}]]
opt_design

# First as Vivado does by itself; where that misses the clock, once more with directives that work harder for it.
set tries {
  {Default Default Default}
  {ExtraTimingOpt AggressiveExplore AggressiveExplore}
}
foreach directives $tries {
  lassign $directives place optimise route
  place_design -directive $place
  phys_opt_design -directive $optimise
  write_checkpoint -force checkpoints/placed.dcp
  route_design -directive $route
  if {[timing_is_met]} { break }
  # Now that the wires are known.
  phys_opt_design -directive $optimise
  if {[timing_is_met] || $directives eq [lindex $tries end]} { break }
  route_design -unroute
  place_design -unplace
}
write_checkpoint -force checkpoints/routed.dcp

report_utilization -file result/utilization.rpt
report_power -file result/power.rpt
report_route_status -file result/route.rpt
if {$setup_slack < 0.0 || $hold_slack < 0.0} {
  error "timing is missed at $real_mhz MHz: setup slack $setup_slack ns, hold slack $hold_slack ns (result/timing.rpt;\
    Vivado opens checkpoints/routed.dcp)"
}

# ---- Only then what may be loaded -----------------------------------------------------------------------------------

write_bitstream -force result/$kernel_name.bit
# For other tools; ours need none, so that its lack ends nothing.
if {[catch {write_hw_platform -fixed -include_bit -force -file result/$kernel_name.xsa}]} {
  lappend remarks "Vivado made no $kernel_name.xsa: see vivado.log"
}

set facts {{"vivado": "%s", "part": "%s", "clock_mhz": %s, "setup_slack_ns": %s, "hold_slack_ns": %s, "remarks": [%s]}}
set quoted [lmap remark $remarks {string cat \" $remark \"}]
set file [open result/result.json w]
puts $file [format $facts \
  [version -short] [get_property PART [current_design]] $real_mhz $setup_slack $hold_slack [join $quoted ", "]]
close $file
