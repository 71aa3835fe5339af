"""What the compiler covers: random networks that are built and held against the reference.

Words owned here: drawn (a random network and how it is folded), block (the operators that one draw adds).
"""
