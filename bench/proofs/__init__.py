"""What holds for every run of the stream cells: proofs by Yosys and z3, and mutants that show that the proofs bite.

Words owned here: proof, property, mutant.
"""
