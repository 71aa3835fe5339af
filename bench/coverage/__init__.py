"""Which networks the compiler takes, and whether all forms of each answer alike.

Words owned here: example.
"""
