"""How a number came about. Whatever reports, plans or answers with a number says it of that number.

Words owned here: obtained.
"""

from __future__ import annotations

from typing import Literal

Obtained = Literal[
    "measured",  # read from a clock or an instrument while it happened
    "replayed",  # read from files in an instrument's place
    "simulated",  # counted in a simulation: cycles of the RTL, packets of an emulated link
    "proved",  # for every input, by a solver
    "projected",  # computed from other numbers
    "quoted",  # published by others
]
