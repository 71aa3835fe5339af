"""How a kernel becomes a netlist of an ECP5: what Yosys' own script for it leaves on the table in arithmetic."""
