"""From an integer network to SystemVerilog that computes the same integers, folded as fast as it is asked to be.

Words owned here: unit (the hardware of an operator), plan (the units of a network), join.
"""
