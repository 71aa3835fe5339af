"""The weight memory against the words of its file."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import os
from typing import Any

import cocotb

from edgesight.sim.rtl.steps import Steps

WORDS = [int(word) for word in os.environ["EDGESIGHT_WORDS"].split()]


@cocotb.test()
async def every_word_is_read_one_cycle_later_and_held(dut: Any) -> None:
    """All of them, in order and at random, with pauses in which the last one stays."""
    steps = Steps(dut, ("data_o",))
    await steps.start(en_i=0, addr_i=0)
    shown: int | None = None
    for cycle in range(4 * len(WORDS) + 100):
        enabled = cycle < len(WORDS) or steps.chance(0.5)
        address = cycle if cycle < len(WORDS) else steps.random.randrange(len(WORDS))
        out = await steps.step(en_i=enabled, addr_i=address)
        assert shown is None or out["data_o"] == shown, f"cycle {cycle}"
        if enabled:
            shown = WORDS[address]
