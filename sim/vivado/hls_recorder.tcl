# Stands in for Vitis HLS to check a script of it, as recorder.tcl does for Vivado:
#
#   tclsh hls_recorder.tcl SCRIPT PART
#
# What the synthesis would leave is a Verilog module without contents. Its ports are those that Vitis HLS gives a
# function whose arguments are streams of ap_uint with `axis` interfaces and whose control is ap_ctrl_none (UG1399):
# ap_clk, ap_rst_n, and <argument>_TDATA, _TVALID and _TREADY. It has never been held against Vitis HLS itself.

namespace eval recorder {
  variable project {}
}
source [file join [file dirname [info script]] commands.tcl]

recorder::command open_project {-reset} {} 1 1 {
  ::recorder::step open_project
  set ::recorder::project [dict create folder $arguments files {}]
}
recorder::command set_top {} {} 1 1 {
  ::recorder::step set_top open_project
  dict set ::recorder::project top $arguments
}
recorder::command add_files {-tb} {-cflags} 1 1 {
  ::recorder::step add_files open_project
  if {![file isfile $arguments]} { ::recorder::fail "add_files: $arguments does not exist" }
  foreach flag [::recorder::option -cflags] {
    if {[regexp {^-I(.*)} $flag -> folder] && ![file isdirectory $folder]} {
      ::recorder::fail "add_files: folder $folder does not exist"
    }
  }
  dict lappend ::recorder::project files $arguments
}
recorder::command open_solution {-reset} {-flow_target} 1 1 {
  ::recorder::step open_solution set_top add_files
  dict set ::recorder::project solution $arguments
}
recorder::command set_part {} {} 1 1 {
  ::recorder::step set_part open_solution
  if {$arguments ne $::board_part} { ::recorder::fail "set_part: $arguments is not the board's $::board_part" }
}
recorder::command create_clock {} {-period -name} 0 0 {
  ::recorder::step create_clock open_solution
  if {![string is double -strict [::recorder::option -period]]} {
    ::recorder::fail "create_clock: no period [::recorder::option -period]"
  }
}
recorder::command config_compile {} {-name_max_length} 0 0 { ::recorder::step config_compile open_solution }
recorder::command config_rtl {} {-reset} 0 0 {
  if {[::recorder::option -reset] ni {none control state all}} {
    ::recorder::fail "config_rtl: no reset [::recorder::option -reset]"
  }
  ::recorder::step config_rtl open_solution
}
recorder::command csynth_design {} {} 0 0 {
  ::recorder::step csynth_design set_part create_clock
  set top [dict get $::recorder::project top]
  set text ""
  foreach file [dict get $::recorder::project files] {
    set channel [open $file]
    append text [read $channel]
    close $channel
  }
  if {![regexp "void ${top}\\((\[^)\]*)\\)" $text -> parameters]} {
    ::recorder::fail "csynth_design: no function is called $top"
  }
  if {![regexp {#pragma HLS INTERFACE ap_ctrl_none port=return} $text]} {
    ::recorder::fail "csynth_design: $top would wait for ap_start, which nothing gives"
  }
  set ports {"input ap_clk" "input ap_rst_n"}
  foreach parameter [split $parameters ,] {
    if {![regexp {hls::stream<(\w+)> &(\w+)} $parameter -> type name]} {
      ::recorder::fail "csynth_design: $parameter is no stream"
    }
    if {![regexp "typedef ap_uint<(\\d+)> ${type};" $text -> width] || $width % 8} {
      ::recorder::fail "csynth_design: $type is no ap_uint of whole bytes"
    }
    if {![regexp "#pragma HLS INTERFACE axis port=${name}\\n" $text]} {
      ::recorder::fail "csynth_design: $name has no axis interface"
    }
    # What the function reads comes in, what it writes goes out.
    lassign [expr {[regexp "${name}\\.read\\(" $text] ? {input output} : {output input}}] forward back
    lappend ports "$forward \[[expr {$width - 1}]:0\] ${name}_TDATA" "$forward ${name}_TVALID" "$back ${name}_TREADY"
  }
  set folder [file join [dict get $::recorder::project folder] [dict get $::recorder::project solution] syn verilog]
  file mkdir $folder
  ::recorder::place_holder $folder/$top.v "module $top (\n  [join $ports ",\n  "]\n);\nendmodule"
}
recorder::command close_project {} {} 0 0 {
  ::recorder::step close_project csynth_design
  set ::recorder::done close_project
}

lassign $argv recorder::script board_part
recorder::run close_project
