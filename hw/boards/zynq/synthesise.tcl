# All stages from hls4ml's C++ to Verilog, in one batch run of Vitis HLS before build.tcl:
#
#   vitis_hls -f synthesise.tcl               up to 2024.1
#   vitis-run --mode hls --tcl synthesise.tcl from 2024.2 on
#
# Run in the folder that holds it. Leaves the Verilog of stage k and the contents of its memories in
# hls/stage<k>_project/solution/syn/verilog.

source settings.tcl

foreach sources [lsort [glob -type d hls/stage?]] {
  set stage [file tail $sources]
  open_project -reset hls/${stage}_project
  set_top ${stage}_hls
  # The network as hls4ml wrote it, and the function around it that gives its ports their widths.
  foreach file [list $stage.cpp ${stage}_hls.cpp] {
    add_files $sources/$file -cflags "-std=c++14 -I$sources"
  }
  open_solution -reset solution
  set_part $part
  create_clock -period [expr {1000.0 / $clock_mhz}]
  # hls4ml names things after layers; longer names it cuts itself.
  config_compile -name_max_length 80
  # The layers keep their place in a frame in static variables, which a soft reset has to set back.
  config_rtl -reset all
  csynth_design
  close_project
}
