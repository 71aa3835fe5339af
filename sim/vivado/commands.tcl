# What a recorder of a tool's commands is made of: see recorder.tcl (Vivado) and hls_recorder.tcl (Vitis HLS).

namespace eval recorder {
  variable script
  variable version              ;# of the tool
  variable done {}              ;# steps behind us
  variable problems {}
  variable parsed               ;# options of the command that is running
}

# What ends the script, and what is told of it beside.
proc recorder::fail {message} { error $message }
proc recorder::report {message} {
  variable problems
  lappend problems $message
}

# Define a command: its options without a value, its options with one, how many other arguments it takes, and what it
# does. The body finds them in `arguments` and, by `given` and `option`, in what was parsed.
proc recorder::command {name flags valued fewest most body} {
  proc ::$name args [string map [list @name@ $name @flags@ [list $flags] @valued@ [list $valued] @fewest@ $fewest \
    @most@ $most @body@ $body] {
    set arguments [::recorder::parse {@name@} @flags@ @valued@ @fewest@ @most@ $args]
    @body@
  }]
}

proc recorder::parse {name flags valued fewest most words} {
  variable parsed
  set parsed {}
  set rest {}
  for {set i 0} {$i < [llength $words]} {incr i} {
    set word [lindex $words $i]
    if {$word in $flags} {
      dict set parsed $word 1
    } elseif {$word in $valued} {
      if {[incr i] >= [llength $words]} { fail "$name: option $word has no value" }
      dict set parsed $word [lindex $words $i]
    } elseif {[regexp {^-[a-zA-Z]} $word]} {
      fail "$name: knows no option $word"
    } else {
      lappend rest $word
    }
  }
  if {[llength $rest] < $fewest || [llength $rest] > $most} {
    fail "$name: takes $fewest to $most arguments, was given [llength $rest]"
  }
  return $rest
}

proc recorder::option {name} {
  variable parsed
  if {![dict exists $parsed $name]} { fail "option $name is missing" }
  return [dict get $parsed $name]
}
proc recorder::given {name} {
  variable parsed
  return [dict exists $parsed $name]
}

# A step that needs others before it.
proc recorder::step {name args} {
  variable done
  foreach before $args {
    if {$before ni $done} { fail "$name comes before $before" }
  }
  lappend done $name
}

# Steps that are not behind us any more.
proc recorder::undo {args} {
  variable done
  set kept {}
  foreach step $done {
    if {$step ni $args} { lappend kept $step }
  }
  set done $kept
}

proc recorder::place_holder {path text} {
  if {![file isdirectory [file dirname $path]]} { fail "$path: its folder does not exist" }
  set file [open $path w]
  puts $file $text
  close $file
}

# Anything else that is not Tcl's own. (Tcl would look further: in its packages and in the shell.)
proc unknown {name args} { recorder::fail "no command is called $name" }

# Run the script, which has to take the steps `args` at least; print the problems and end.
proc recorder::run {args} {
  variable script
  variable done
  variable problems
  if {[catch {uplevel #0 [list source $script]} message options]} {
    set where $script
    regexp {\(file "([^"]*)" line (\d+)\)} [dict get $options -errorinfo] -> where line
    if {[info exists line]} { append where ":$line" }
    lappend problems "[file tail $where]: $message"
  } else {
    foreach wanted $args {
      if {$wanted ni $done} { lappend problems "[file tail $script]: ended before $wanted" }
    }
  }
  foreach problem $problems { puts $problem }
  exit [expr {[llength $problems] > 0}]
}
