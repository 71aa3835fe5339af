# Stands in for Vivado to check a script of it: every command that the script may use, with the rules that it is under.
#
#   tclsh recorder.tcl SCRIPT VIVADO_VERSION CATALOGUE SETUP_SLACKS
#
# Runs SCRIPT in the current folder. An unknown command, option, block, pin, interface, property or file ends it, and so
# does a connection between things that do not belong together; the finished block design is checked as a whole:
# everything connected, one clock, widths equal, every address segment there, of the right size, apart from the others.
# CATALOGUE is a Tcl file that sets what is true apart from the script: `components`, the description of the component
# in ip/kernel by its VLNV, and of the board `board_part`, `board_clock_mhz` and `board_memory_bytes`.
# Reports and bitstream are place holders, and the setup slacks are the ones given: after routing, after the optimisation
# that follows, and so on, the last one for ever. Nothing is synthesised.
# Prints one problem a line and ends with status 1, or prints nothing and ends with 0.
#
# What it knows of the blocks is from their product guides (PG021 AXI DMA, PG099 AXI interrupt controller, PG164
# processor system reset, PG247 SmartConnect, PG082 and PG201 processing systems). The names of pins, interfaces and
# properties were found in handoffs that Vivado 2019.2 to 2024.1 wrote (PYNQ ships them), SmartConnect's in public
# scripts. It has never been held against Vivado itself.

namespace eval recorder {
  variable slacks
  variable passes 0             ;# of routing, or of optimising what is routed
  variable components {}        ;# vlnv -> {interfaces pins segments}
  variable cells {}             ;# name -> {vlnv properties {}}
  variable by_user {}           ;# cell, property -> 1, where it is not derived
  variable nets {}              ;# pin of a cell -> number of its net
  variable links {}             ;# interface of a cell -> the one at its other end
  variable external {}          ;# interfaces that leave the chip
  variable assigned {}          ;# {space segment} -> {offset range}
  variable excluded {}          ;# {space segment} -> 1
  variable periods {}           ;# clock -> its period in ns
  variable project {}           ;# what was set up: in_memory part board_part ip_repo_paths catalogued ...
}
source [file join [file dirname [info script]] commands.tcl]

# ---- Blocks -------------------------------------------------------------------------------------------------------
#
# A block is described by
#   properties  name -> {default allowed-pattern}; a third word says that Vivado derives it unless its VALUE_SRC is USER
#   interfaces  name -> {mode bus width clock-pin}     mode: master, slave; bus: axis, aximm, fixed
#   pins        name -> {direction kind width need}    kind: clk, rst, intr; need: needed, optional
#   segments    name -> {interface range}              range in bytes; "at least N" for a block that takes more
#   spaces      name -> {interfaces first last}        what an address of a master reaches through these interfaces

proc recorder::number {} { return {^\d+(\.\d+)?$} }

proc recorder::properties_of {vlnv} {
  variable components
  set flag {^[01]$}
  switch -glob -- $vlnv {
    xilinx.com:ip:processing_system7:5.5 {
      return [list PCW_EN_CLK0_PORT [list 0 $flag] PCW_EN_RST0_PORT [list 0 $flag] \
        PCW_FPGA0_PERIPHERAL_FREQMHZ [list 50 [number]] PCW_USE_M_AXI_GP0 [list 1 $flag] \
        PCW_USE_S_AXI_HP0 [list 0 $flag] PCW_S_AXI_HP0_DATA_WIDTH {64 {^(32|64)$}} \
        PCW_USE_FABRIC_INTERRUPT [list 0 $flag] PCW_IRQ_F2P_INTR [list 0 $flag]]
    }
    xilinx.com:ip:zynq_ultra_ps_e:3.4 - xilinx.com:ip:zynq_ultra_ps_e:3.5 {
      return [list PSU__FPGA_PL0_ENABLE [list 0 $flag] PSU__USE__FABRIC__RST [list 0 $flag] \
        PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ [list 100 [number]] \
        PSU__USE__M_AXI_GP0 [list 1 $flag] PSU__USE__M_AXI_GP1 [list 1 $flag] PSU__USE__M_AXI_GP2 [list 0 $flag] \
        PSU__MAXIGP0__DATA_WIDTH {128 {^(32|64|128)$}} PSU__USE__S_AXI_GP2 [list 0 $flag] \
        PSU__SAXIGP2__DATA_WIDTH {128 {^(32|64|128)$}} PSU__USE__IRQ0 [list 0 $flag]]
    }
    xilinx.com:ip:axi_dma:7.1 {
      set width {^(32|64|128|256|512|1024)$}
      return [list c_include_sg [list 1 $flag] c_sg_length_width {14 {^([89]|1\d|2[0-6])$}} \
        c_addr_width {32 {^(3[2-9]|[45]\d|6[0-4])$}} c_include_mm2s [list 1 $flag] c_include_s2mm [list 1 $flag] \
        c_m_axi_mm2s_data_width [list 32 $width] c_m_axis_mm2s_tdata_width [list 32 {^(8|16|32|64|128)$}] \
        c_mm2s_burst_size {16 {^(2|4|8|16|32|64|128|256)$}} \
        c_m_axi_s2mm_data_width [list 32 $width derived] c_s2mm_burst_size {16 {^(2|4|8|16|32|64|128|256)$}}]
    }
    xilinx.com:ip:smartconnect:1.0 {
      return {NUM_SI {1 {^([1-9]|1[0-6])$}} NUM_MI {1 {^([1-9]|1[0-6])$}} NUM_CLKS {1 {^1$}}}
    }
    xilinx.com:ip:axi_intc:4.1 { return {C_IRQ_CONNECTION {0 {^[01]$}}} }
    xilinx.com:ip:proc_sys_reset:5.0 { return {} }
    default { if {[dict exists $components $vlnv]} { return {} } }
  }
  fail "no block is called $vlnv"
}

proc recorder::set_to {cell property} {
  variable cells
  set changed [dict get $cells $cell properties]
  if {[dict exists $changed $property]} { return [dict get $changed $property] }
  return [lindex [dict get [properties_of [vlnv_of $cell]] $property] 0]
}

proc recorder::vlnv_of {cell} {
  variable cells
  return [dict get $cells $cell vlnv]
}

# The block of a cell under the properties that it has now.
proc recorder::block_of {cell} {
  variable components
  set interfaces {}
  set pins {}
  set segments {}
  set spaces {}
  switch -glob -- [vlnv_of $cell] {
    xilinx.com:ip:processing_system7:* {
      dict set interfaces DDR {master fixed 0 {}}
      dict set interfaces FIXED_IO {master fixed 0 {}}
      if {[set_to $cell PCW_EN_CLK0_PORT]} { dict set pins FCLK_CLK0 {O clk 1 needed} }
      if {[set_to $cell PCW_EN_RST0_PORT]} { dict set pins FCLK_RESET0_N {O rst 1 needed} }
      if {[set_to $cell PCW_USE_FABRIC_INTERRUPT] && [set_to $cell PCW_IRQ_F2P_INTR]} {
        dict set pins IRQ_F2P {I intr 1 needed}
      }
      if {[set_to $cell PCW_USE_M_AXI_GP0]} {
        dict set interfaces M_AXI_GP0 {master aximm any M_AXI_GP0_ACLK}
        dict set pins M_AXI_GP0_ACLK {I clk 1 needed}
        dict set spaces Data {M_AXI_GP0 0x40000000 0x7fffffff}
      }
      if {[set_to $cell PCW_USE_S_AXI_HP0]} {
        dict set interfaces S_AXI_HP0 [list slave aximm [set_to $cell PCW_S_AXI_HP0_DATA_WIDTH] S_AXI_HP0_ACLK]
        dict set pins S_AXI_HP0_ACLK {I clk 1 needed}
        dict set segments S_AXI_HP0/HP0_DDR_LOWOCM [list S_AXI_HP0 $::board_memory_bytes]
      }
    }
    xilinx.com:ip:zynq_ultra_ps_e:* {
      if {[set_to $cell PSU__FPGA_PL0_ENABLE]} { dict set pins pl_clk0 {O clk 1 needed} }
      if {[set_to $cell PSU__USE__FABRIC__RST]} { dict set pins pl_resetn0 {O rst 1 needed} }
      if {[set_to $cell PSU__USE__IRQ0]} { dict set pins pl_ps_irq0 {I intr 1 needed} }
      foreach {number port window} {0 HPM0_FPD {0xa0000000 0xafffffff} 1 HPM1_FPD {0xb0000000 0xbfffffff}
                                    2 HPM0_LPD {0x80000000 0x9fffffff}} {
        if {[set_to $cell PSU__USE__M_AXI_GP$number]} {
          set clock maxi[string tolower $port]_aclk
          dict set interfaces M_AXI_$port [list master aximm any $clock]
          dict set pins $clock {I clk 1 needed}
          if {$number == 0} { dict set spaces Data [list M_AXI_$port {*}$window] }
        }
      }
      if {[set_to $cell PSU__USE__S_AXI_GP2]} {
        dict set interfaces S_AXI_HP0_FPD [list slave aximm [set_to $cell PSU__SAXIGP2__DATA_WIDTH] saxihp0_fpd_aclk]
        dict set pins saxihp0_fpd_aclk {I clk 1 needed}
        dict set segments SAXIGP2/HP0_DDR_LOW [list S_AXI_HP0_FPD $::board_memory_bytes]
        dict set segments SAXIGP2/HP0_LPS_OCM {S_AXI_HP0_FPD 0x1000000}
        dict set segments SAXIGP2/HP0_QSPI {S_AXI_HP0_FPD 0x20000000}
      }
    }
    xilinx.com:ip:axi_dma:* {
      dict set interfaces S_AXI_LITE {slave aximm any s_axi_lite_aclk}
      dict set pins s_axi_lite_aclk {I clk 1 needed}
      dict set pins axi_resetn {I rst 1 needed}
      dict set segments S_AXI_LITE/Reg {S_AXI_LITE {at least 4096}}
      set last [expr {(1 << [set_to $cell c_addr_width]) - 1}]
      if {[set_to $cell c_include_sg]} {
        dict set interfaces M_AXI_SG {master aximm 32 m_axi_sg_aclk}
        dict set pins m_axi_sg_aclk {I clk 1 needed}
      }
      if {[set_to $cell c_include_mm2s]} {
        dict set interfaces M_AXI_MM2S [list master aximm [set_to $cell c_m_axi_mm2s_data_width] m_axi_mm2s_aclk]
        dict set interfaces M_AXIS_MM2S [list master axis [set_to $cell c_m_axis_mm2s_tdata_width] m_axi_mm2s_aclk]
        dict set pins m_axi_mm2s_aclk {I clk 1 needed}
        dict set pins mm2s_introut {O intr 1 optional}
        dict set spaces Data_MM2S [list M_AXI_MM2S 0 $last]
      }
      if {[set_to $cell c_include_s2mm]} {
        dict set interfaces M_AXI_S2MM [list master aximm [set_to $cell c_m_axi_s2mm_data_width] m_axi_s2mm_aclk]
        dict set interfaces S_AXIS_S2MM [list slave axis any m_axi_s2mm_aclk]
        dict set pins m_axi_s2mm_aclk {I clk 1 needed}
        dict set pins s2mm_introut {O intr 1 needed}
        dict set spaces Data_S2MM [list M_AXI_S2MM 0 $last]
      }
    }
    xilinx.com:ip:smartconnect:* {
      for {set i 0} {$i < [set_to $cell NUM_SI]} {incr i} {
        dict set interfaces [format S%02d_AXI $i] {slave aximm any aclk}
      }
      for {set i 0} {$i < [set_to $cell NUM_MI]} {incr i} {
        dict set interfaces [format M%02d_AXI $i] {master aximm any aclk}
      }
      set pins {aclk {I clk 1 needed} aresetn {I rst 1 needed}}
    }
    xilinx.com:ip:axi_intc:* {
      dict set interfaces s_axi {slave aximm any s_axi_aclk}
      dict set pins s_axi_aclk {I clk 1 needed}
      dict set pins s_axi_aresetn {I rst 1 needed}
      # Takes as many interrupts as the net brings.
      dict set pins intr {I intr any needed}
      # The other connection is an interface towards a soft processor.
      if {[set_to $cell C_IRQ_CONNECTION]} { dict set pins irq {O intr 1 needed} }
      dict set segments S_AXI/Reg {s_axi {at least 4096}}
    }
    xilinx.com:ip:proc_sys_reset:* {
      set pins {
        slowest_sync_clk {I clk 1 needed} ext_reset_in {I rst 1 needed} aux_reset_in {I rst 1 optional}
        mb_debug_sys_rst {I rst 1 optional} dcm_locked {I rst 1 optional} mb_reset {O rst 1 optional}
        bus_struct_reset {O rst 1 optional} peripheral_reset {O rst 1 optional}
        interconnect_aresetn {O rst 1 optional} peripheral_aresetn {O rst 1 optional}
      }
    }
    default { return [dict merge {spaces {}} [dict get $components [vlnv_of $cell]]] }
  }
  return [list interfaces $interfaces pins $pins segments $segments spaces $spaces]
}

# One thing of a cell, by path cell/name; fails where there is none, naming those that there are.
proc recorder::find {path kind} {
  variable cells
  set cell [lindex [split $path /] 0]
  set name [string range $path [expr {[string length $cell] + 1}] end]
  if {![dict exists $cells $cell]} { fail "$path: no cell is called $cell" }
  set known [dict get [block_of $cell] $kind]
  if {![dict exists $known $name]} {
    set what [string trimright $kind s]
    fail "$path: $cell ([vlnv_of $cell]) has no such $what; it has [join [dict keys $known] {, }]"
  }
  return [dict get $known $name]
}

# ---- Commands -----------------------------------------------------------------------------------------------------

recorder::command version {-short} {} 0 0 { return $::recorder::version }

recorder::command create_project {-in_memory -force} {-part} 0 2 {
  ::recorder::step create_project
  if {[::recorder::option -part] ne $::board_part} {
    ::recorder::fail "create_project: part [::recorder::option -part] is not the board's $::board_part"
  }
  dict set ::recorder::project part [::recorder::option -part]
}
recorder::command current_project {} {} 0 0 { return project }
recorder::command set_param {} {} 2 2 {
  lassign $arguments name value
  if {$name ne "board.repoPaths"} { ::recorder::fail "set_param: no parameter is called $name" }
  if {[dict exists $::recorder::project part]} { ::recorder::fail "set_param: $name is read when a project is made" }
  foreach folder $value {
    if {![file isdirectory $folder]} { ::recorder::fail "set_param: $name: $folder is no folder" }
  }
}
recorder::command get_board_parts {-quiet} {} 1 1 {
  # As if the board's files were installed, in two versions.
  if {![regexp {^([a-z.]+:[a-z0-9_-]+:part0):\*$} [lindex $arguments 0] -> board]} { return {} }
  return [list $board:1.0 $board:1.1]
}

namespace eval ipx {}
recorder::command ipx::open_core {} {} 1 1 {
  set path [lindex $arguments 0]
  if {![file isfile $path]} { ::recorder::fail "ipx::open_core: $path does not exist" }
  return core
}
foreach name {ipx::check_integrity ipx::save_core ipx::unload_core} {
  recorder::command $name {-quiet} {} 1 1 {
    if {$arguments ne "core"} { ::recorder::fail "no component was opened as $arguments" }
  }
}
recorder::command update_ip_catalog {-rebuild} {} 0 0 {
  ::recorder::step update_ip_catalog create_project
  if {![dict exists $::recorder::project ip_repo_paths]} { ::recorder::fail "update_ip_catalog: no ip_repo_paths" }
  foreach folder [dict get $::recorder::project ip_repo_paths] {
    if {![llength [glob -nocomplain $folder/*/component.xml]]} {
      ::recorder::fail "update_ip_catalog: no component lies under $folder"
    }
  }
}
# The blocks that an installation with support for the board's family alone brings along.
proc recorder::catalogued {} {
  variable version
  if {[string match xc7z* $::board_part]} {
    set system processing_system7:5.5
  } elseif {[package vcompare $version 2023.1] < 0} {
    set system zynq_ultra_ps_e:3.4
  } else {
    set system zynq_ultra_ps_e:3.5
  }
  set found {}
  foreach block [list $system axi_dma:7.1 axi_intc:4.1 proc_sys_reset:5.0 smartconnect:1.0] {
    lappend found xilinx.com:ip:$block
  }
  return $found
}
recorder::command get_ipdefs {-all -quiet} {} 1 1 {
  ::recorder::step get_ipdefs create_project
  return [lsearch -all -inline -glob [::recorder::catalogued] [lindex $arguments 0]]
}

recorder::command create_bd_design {} {-dir} 1 1 {
  ::recorder::step create_bd_design update_ip_catalog
  dict set ::recorder::project design [lindex $arguments 0]
  dict set ::recorder::project folder [::recorder::option -dir]
  set folder [file join [::recorder::option -dir] [lindex $arguments 0]]
  if {[file exists $folder]} { ::recorder::fail "create_bd_design: the path $folder exists already" }
}
recorder::command create_bd_cell {} {-type -vlnv} 1 1 {
  ::recorder::step create_bd_cell create_bd_design
  set vlnv [::recorder::option -vlnv]
  ::recorder::properties_of $vlnv
  if {[::recorder::option -type] ne "ip"} { ::recorder::fail "create_bd_cell: $vlnv is of type ip" }
  if {![dict exists $::recorder::components $vlnv] && $vlnv ni [::recorder::catalogued]} {
    ::recorder::fail "Vivado $::recorder::version has no block $vlnv"
  }
  if {[dict exists $::recorder::cells $arguments]} { ::recorder::fail "create_bd_cell: $arguments exists already" }
  dict set ::recorder::cells $arguments [list vlnv $vlnv properties {}]
  return $arguments
}
recorder::command get_bd_cells {-quiet} {} 1 1 {
  if {![dict exists $::recorder::cells $arguments]} { ::recorder::fail "no cell is called $arguments" }
  return $arguments
}
recorder::command apply_bd_automation {} {-rule -config} 1 1 {
  set name [lindex [split [::recorder::vlnv_of $arguments] :] 2]
  if {[::recorder::option -rule] ne "xilinx.com:bd_rule:$name"} {
    ::recorder::fail "apply_bd_automation: no rule [::recorder::option -rule] for $arguments"
  }
  if {![dict exists $::recorder::project board_part]} { ::recorder::fail "apply_bd_automation: no board_part is set" }
  set config [::recorder::option -config]
  foreach key [dict keys $config] {
    if {$key ni {make_external apply_board_preset Master Slave}} {
      ::recorder::fail "apply_bd_automation: rule knows no $key"
    }
  }
  if {![dict exists $config apply_board_preset] || ![dict get $config apply_board_preset]} {
    ::recorder::report "the processing system is without its board's preset"
  }
  if {[dict exists $config make_external]} {
    foreach interface [split [string map {{, } ,} [dict get $config make_external]] ,] {
      ::recorder::find $arguments/$interface interfaces
      lappend ::recorder::external $arguments/$interface
    }
  }
}
recorder::command get_bd_pins {} {} 1 1 {
  ::recorder::find $arguments pins
  return $arguments
}
recorder::command get_bd_intf_pins {} {} 1 1 {
  ::recorder::find $arguments interfaces
  return $arguments
}
recorder::command connect_bd_intf_net {} {} 2 2 {
  lassign $arguments source sink
  lassign [::recorder::find $source interfaces] mode bus
  lassign [::recorder::find $sink interfaces] other_mode other_bus
  if {$mode ne "master" || $other_mode ne "slave"} {
    ::recorder::fail "connect_bd_intf_net: $source is $mode and $sink is $other_mode; a master goes to a slave"
  }
  if {$bus ne $other_bus} { ::recorder::fail "connect_bd_intf_net: $source is $bus, $sink is $other_bus" }
  foreach end $arguments {
    if {[dict exists $::recorder::links $end]} { ::recorder::fail "connect_bd_intf_net: $end is connected already" }
  }
  dict set ::recorder::links $source $sink
  dict set ::recorder::links $sink $source
}
recorder::command connect_bd_net {} {} 2 2 {
  lassign $arguments source sink
  lassign [::recorder::find $source pins] direction kind
  lassign [::recorder::find $sink pins] other_direction other_kind
  if {$direction ne "O" || $other_direction ne "I"} { ::recorder::fail "connect_bd_net: $source does not drive $sink" }
  if {$kind ne $other_kind} { ::recorder::fail "connect_bd_net: $source is of kind $kind, $sink of kind $other_kind" }
  if {[dict exists $::recorder::nets $sink]} {
    ::recorder::fail "connect_bd_net: $sink is driven already, by [dict get $::recorder::nets $sink]"
  }
  dict set ::recorder::nets $sink $source
  dict set ::recorder::nets $source $source
}

recorder::command get_bd_addr_spaces {} {} 1 1 {
  ::recorder::find $arguments spaces
  return $arguments
}
recorder::command get_bd_addr_segs {-quiet} {} 1 1 {
  if {[::recorder::given -quiet] && [catch {::recorder::find $arguments segments}]} { return {} }
  ::recorder::find $arguments segments
  return $arguments
}
recorder::command assign_bd_address {-force} {-offset -range -target_address_space} 1 1 {
  foreach name {-offset -range} {
    if {![string is entier -strict [::recorder::option $name]]} {
      ::recorder::fail "assign_bd_address: $name [::recorder::option $name] is no number"
    }
  }
  set key [list [::recorder::option -target_address_space] $arguments]
  if {[dict exists $::recorder::assigned $key]} { ::recorder::fail "assign_bd_address: $key is assigned already" }
  dict set ::recorder::assigned $key [list [expr {[::recorder::option -offset]}] [expr {[::recorder::option -range]}]]
}
recorder::command exclude_bd_addr_seg {} {-target_address_space} 1 1 {
  dict set ::recorder::excluded [list [::recorder::option -target_address_space] $arguments] 1
}

recorder::command set_property {} {-dict} 1 3 {
  if {[::recorder::given -dict]} {
    set pairs [::recorder::option -dict]
    set target [lindex $arguments 0]
  } else {
    lassign $arguments name value target
    set pairs [list $name $value]
  }
  if {[dict exists $::recorder::cells $target]} {
    set known [::recorder::properties_of [::recorder::vlnv_of $target]]
    dict for {name value} $pairs {
      if {![regexp {^CONFIG\.(\w+)(\.VALUE_SRC)?$} $name -> property source] || ![dict exists $known $property]} {
        ::recorder::fail "set_property: $target ([::recorder::vlnv_of $target]) has no property $name"
      }
      if {$source ne ""} {
        if {$value ne "USER"} { ::recorder::fail "set_property: $name of $target cannot be $value" }
        dict set ::recorder::by_user $target $property 1
        continue
      }
      if {[lindex [dict get $known $property] 2] eq "derived" && ![dict exists $::recorder::by_user $target $property]} {
        ::recorder::fail "set_property: $name of $target is derived: it stays so until its VALUE_SRC is USER"
      }
      if {![regexp [lindex [dict get $known $property] 1] $value]} {
        ::recorder::fail "set_property: $name of $target cannot be $value"
      }
      dict set ::recorder::cells $target properties $property $value
    }
  } elseif {$target eq "project"} {
    dict for {name value} $pairs {
      if {$name ni {board_part target_language ip_repo_paths}} { ::recorder::fail "set_property: project has no $name" }
      dict set ::recorder::project $name $value
    }
  } elseif {[file extension $target] eq ".bd"} {
    dict for {name value} $pairs {
      if {$name ne "synth_checkpoint_mode" || $value ni {None Singular Hierarchical}} {
        ::recorder::fail "set_property: a block design has no $name of $value"
      }
      dict set ::recorder::project $name $value
    }
  } else {
    ::recorder::fail "set_property: there is no $target"
  }
}

recorder::command validate_bd_design {} {} 0 0 {
  ::recorder::step validate_bd_design create_bd_cell
  ::recorder::check_design
  if {[llength $::recorder::problems]} { ::recorder::fail "the block design is not valid" }
}
recorder::command save_bd_design {} {} 0 0 { ::recorder::step save_bd_design validate_bd_design }
recorder::command get_files {} {} 1 1 {
  if {$arguments ne "[dict get $::recorder::project design].bd"} { ::recorder::fail "there is no file $arguments" }
  return $arguments
}
recorder::command generate_target {} {} 2 2 {
  ::recorder::step generate_target save_bd_design
  if {![dict exists $::recorder::project synth_checkpoint_mode]
      || [dict get $::recorder::project synth_checkpoint_mode] ne "None"} {
    ::recorder::fail "generate_target: out-of-context synthesis needs a project on disk; set synth_checkpoint_mode None"
  }
  set design [dict get $::recorder::project design]
  # The same in two places, one of them hidden, as some versions leave it.
  foreach folder [list [dict get $::recorder::project folder] .gen/sources_1/bd] {
    set folder [file join $folder $design hw_handoff]
    file mkdir $folder
    ::recorder::place_holder $folder/$design.hwh "<!-- place holder of a dry run -->"
  }
}
recorder::command make_wrapper {-top} {-files} 0 0 {
  ::recorder::step make_wrapper generate_target
  set design [dict get $::recorder::project design]
  set path [file join [dict get $::recorder::project folder] $design ${design}_wrapper.v]
  ::recorder::place_holder $path "// place holder of a dry run"
  return $path
}
recorder::command read_verilog {-sv} {} 1 1 {
  ::recorder::step read_verilog create_project
  foreach file [lindex $arguments 0] {
    if {![file isfile $file]} { ::recorder::fail "read_verilog: $file does not exist" }
  }
}
recorder::command synth_design {} {-top -part} 0 0 {
  ::recorder::step synth_design generate_target read_verilog
  if {[::recorder::option -top] ne "[dict get $::recorder::project design]_wrapper"} {
    ::recorder::fail "synth_design: no module is called [::recorder::option -top]"
  }
  if {[::recorder::option -part] ne [dict get $::recorder::project part]} {
    ::recorder::fail "synth_design: part [::recorder::option -part] is not the project's"
  }
}
recorder::command opt_design {} {} 0 0 { ::recorder::step opt_design synth_design }
# Directives by UG835; those that a later version added are not among them.
proc recorder::check_directive {name known} {
  if {[given -directive] && [option -directive] ni $known} { fail "$name: knows no directive [option -directive]" }
}
recorder::command place_design {-unplace} {-directive} 0 0 {
  ::recorder::check_directive place_design {
    Default Explore ExtraTimingOpt ExtraPostPlacementOpt ExtraNetDelay_high ExtraNetDelay_low EarlyBlockPlacement Quick
    RuntimeOptimized WLDrivenBlockPlacement AltSpreadLogic_high AltSpreadLogic_medium AltSpreadLogic_low
  }
  if {[::recorder::given -unplace]} {
    if {"route_design" in $::recorder::done} { ::recorder::fail "place_design: unroute what is routed first" }
    ::recorder::undo place_design phys_opt_design
    return
  }
  ::recorder::step place_design opt_design
}
recorder::command phys_opt_design {} {-directive} 0 0 {
  ::recorder::check_directive phys_opt_design {
    Default Explore ExploreWithHoldFix AggressiveExplore AlternateReplication AggressiveFanoutOpt AddRetime
    AlternateFlowWithRetiming RuntimeOptimized
  }
  ::recorder::step phys_opt_design place_design
  if {"route_design" in $::recorder::done} { incr ::recorder::passes }
}
recorder::command route_design {-unroute} {-directive} 0 0 {
  ::recorder::check_directive route_design {
    Default Explore AggressiveExplore NoTimingRelaxation MoreGlobalIterations HigherDelayCost RuntimeOptimized Quick
  }
  if {[::recorder::given -unroute]} {
    ::recorder::undo route_design report get_timing_paths
    return
  }
  ::recorder::step route_design place_design
  incr ::recorder::passes
}
recorder::command write_checkpoint {-force} {} 1 1 {
  ::recorder::step write_checkpoint synth_design
  if {[file extension $arguments] ne ".dcp"} { ::recorder::fail "write_checkpoint: $arguments does not end in .dcp" }
  ::recorder::place_holder $arguments "place holder of a dry run"
}
foreach name {report_utilization report_timing_summary report_power report_route_status} {
  recorder::command $name {} {-file} 0 0 {
    ::recorder::step report route_design
    ::recorder::place_holder [::recorder::option -file] "place holder of a dry run"
  }
}
recorder::command get_timing_paths {} {-delay_type -max_paths} 0 0 {
  ::recorder::step get_timing_paths route_design
  if {[::recorder::option -delay_type] ni {max min}} {
    ::recorder::fail "get_timing_paths: no delay type [::recorder::option -delay_type]"
  }
  return path_[::recorder::option -delay_type]
}
recorder::command current_design {} {} 0 0 {
  ::recorder::step current_design synth_design
  return design
}
# Clocks by the names that the constraints of the processing systems give them.
recorder::command get_clocks {-quiet} {} 1 1 {
  ::recorder::step get_clocks synth_design
  dict for {cell _} $::recorder::cells {
    foreach {block name property} {
      processing_system7 clk_fpga_0 PCW_FPGA0_PERIPHERAL_FREQMHZ
      zynq_ultra_ps_e    clk_pl_0   PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ
    } {
      if {$arguments eq $name && [string match *:$block:* [::recorder::vlnv_of $cell]]} {
        dict set ::recorder::periods $name [expr {1000.0 / [::recorder::set_to $cell $property]}]
        return $name
      }
    }
  }
  return {}
}
recorder::command get_property {} {} 2 2 {
  lassign $arguments name object
  if {$name eq "PERIOD" && [dict exists $::recorder::periods $object]} {
    return [dict get $::recorder::periods $object]
  }
  switch -- $name/$object {
    PART/design { return [dict get $::recorder::project part] }
    SLACK/path_max { return [lindex $::recorder::slacks [expr {min($::recorder::passes, [llength $::recorder::slacks]) - 1}]] }
    SLACK/path_min { return 0.010 }
  }
  ::recorder::fail "get_property: $object has no $name"
}
recorder::command write_bitstream {-force} {} 1 1 {
  ::recorder::step write_bitstream route_design report get_timing_paths
  ::recorder::place_holder $arguments "place holder of a dry run"
}
recorder::command write_hw_platform {-fixed -include_bit -force} {-file} 0 0 {
  ::recorder::step write_hw_platform write_bitstream
  if {[file extension [::recorder::option -file]] ne ".xsa"} { ::recorder::fail "write_hw_platform: makes an .xsa" }
  ::recorder::place_holder [::recorder::option -file] "place holder of a dry run"
}

# ---- The finished design ------------------------------------------------------------------------------------------

proc recorder::check_design {} {
  variable cells
  dict for {cell _} $cells {
    set block [block_of $cell]
    dict for {name interface} [dict get $block interfaces] { check_interface $cell/$name $interface }
    dict for {name pin} [dict get $block pins] { check_pin $cell/$name $pin }
    dict for {name space} [dict get $block spaces] { check_space $cell/$name $space }
  }
  check_assignments
  check_clock
}

proc recorder::check_clock {} {
  variable cells
  dict for {cell _} $cells {
    foreach property {PCW_FPGA0_PERIPHERAL_FREQMHZ PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ} {
      if {[dict exists [properties_of [vlnv_of $cell]] $property] && [set_to $cell $property] != $::board_clock_mhz} {
        report "$cell clocks the logic with [set_to $cell $property] MHz, the board with $::board_clock_mhz MHz"
      }
    }
  }
}

proc recorder::check_interface {path interface} {
  variable links
  variable external
  lassign $interface mode bus width clock
  if {$path in $external} { return }
  if {![dict exists $links $path]} {
    report "interface $path is not connected"
    return
  }
  if {$mode ne "master"} { return }
  set other [dict get $links $path]
  lassign [find $other interfaces] _ _ other_width other_clock
  if {$width ne "any" && $other_width ne "any" && $width != $other_width} {
    report "$path has $width data bits, $other has $other_width"
  }
  set clocks {}
  foreach {end pin} [list $path $clock $other $other_clock] {
    lappend clocks [driver_of [lindex [split $end /] 0]/$pin]
  }
  if {[lindex $clocks 0] ne [lindex $clocks 1]} { report "$path and $other are not on one clock" }
  # Through a SmartConnect the widths may differ; a port to memory shall be as wide as what comes to it all the same.
  if {$bus eq "aximm" && [string match *:smartconnect:* [vlnv_of [lindex [split $other /] 0]]]} {
    foreach target [targets_of $path] {
      set target_width [lindex [find $target interfaces] 2]
      if {$width ne "any" && $target_width ne "any" && $width != $target_width} {
        report "$path has $width data bits, $target behind [lindex [split $other /] 0] has $target_width"
      }
    }
  }
}

proc recorder::driver_of {pin} {
  variable nets
  return [expr {[dict exists $nets $pin] ? [dict get $nets $pin] : ""}]
}

proc recorder::check_pin {path pin} {
  lassign $pin direction kind width need
  set driver [driver_of $path]
  if {$driver eq ""} {
    if {$need eq "needed"} { report "pin $path is not connected" }
    return
  }
  if {$direction eq "I" && $width ne "any"} {
    set driver_width [lindex [find $driver pins] 2]
    if {$driver_width != $width} { report "$path has $width bits, $driver has $driver_width" }
  }
}

# The slave interfaces that a master interface reaches, through a SmartConnect or directly.
proc recorder::targets_of {path} {
  variable links
  if {![dict exists $links $path]} { return {} }
  set other [dict get $links $path]
  set cell [lindex [split $other /] 0]
  if {![string match *:smartconnect:* [vlnv_of $cell]]} { return [list $other] }
  set targets {}
  dict for {name interface} [dict get [block_of $cell] interfaces] {
    if {[lindex $interface 0] eq "master" && [dict exists $links $cell/$name]} {
      lappend targets [dict get $links $cell/$name]
    }
  }
  return $targets
}

# Every segment within reach is assigned or excluded, and lies inside the space.
proc recorder::check_space {path space} {
  variable assigned
  variable excluded
  lassign $space interface first last
  set cell [lindex [split $path /] 0]
  foreach target [targets_of $cell/$interface] {
    set slave [lindex [split $target /] 0]
    dict for {name segment} [dict get [block_of $slave] segments] {
      if {"$slave/[lindex $segment 0]" ne $target} { continue }
      set key [list $path $slave/$name]
      if {[dict exists $assigned $key]} {
        lassign [dict get $assigned $key] offset range
        if {$offset < $first || $offset + $range - 1 > $last} {
          report [format "%s of %s at 0x%x, 0x%x bytes, leaves the space from 0x%x to 0x%x" \
            $slave/$name $path $offset $range $first $last]
        }
      } elseif {![dict exists $excluded $key]} {
        report "segment $slave/$name is neither assigned to $path nor excluded from it"
      }
    }
  }
}

# Every assignment is of something within reach, of its size, aligned, and apart from the others of its space.
proc recorder::check_assignments {} {
  variable assigned
  set taken {}
  dict for {key window} $assigned {
    lassign $key space segment
    lassign $window offset range
    lassign [find $segment segments] interface size
    set cell [lindex [split $space /] 0]
    if {"[lindex [split $segment /] 0]/$interface" ni [targets_of $cell/[lindex [find $space spaces] 0]]} {
      report "$space does not reach $segment"
    }
    if {$range <= 0 || $range & ($range - 1)} {
      report "$segment has a range of $range bytes in $space, which is no power of two"
    } elseif {$offset % $range} {
      report [format "%s at 0x%x in %s is not aligned to its range of 0x%x bytes" $segment $offset $space $range]
    }
    if {[string match "at least *" $size]} {
      if {$range < [lindex $size 2]} { report "$segment has $range bytes in $space and needs [lindex $size 2]" }
    } elseif {$range != $size} {
      report "$segment has a range of $range bytes in $space and is [expr {$size}] bytes large"
    }
    foreach {other_space other_segment other_offset other_range} $taken {
      if {$other_space eq $space && $offset < $other_offset + $other_range && $other_offset < $offset + $range} {
        report "$segment and $other_segment overlap in $space"
      }
    }
    lappend taken $space $segment $offset $range
  }
}

# ---- Run ----------------------------------------------------------------------------------------------------------

lassign $argv recorder::script recorder::version recorder::catalogue recorder::slacks
source $recorder::catalogue
set recorder::components $components
recorder::run write_bitstream write_hw_platform write_checkpoint
