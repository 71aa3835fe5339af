"""The slot pool against a set."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from sim.bench import bench_parameters
from sim.steps import Steps

SLOTS = int(bench_parameters()["Slots"])


@cocotb.test()
async def the_lowest_free_slot_is_offered(dut: Any) -> None:
    """Slots are taken and given back at random, up to three events in a cycle."""
    steps = Steps(dut, ("free_o", "slot_o"))
    await steps.start(take_i=0, take_slot_i=0, give0_i=0, give0_slot_i=0, give1_i=0, give1_slot_i=0)
    taken: set[int] = set()
    was_full = False
    for cycle in range(2000):
        free = sorted(set(range(SLOTS)) - taken)
        backs = steps.random.sample(sorted(taken), min(len(taken), 2))
        giving = 0.1 if cycle // 100 % 2 else 0.6
        gives = [len(backs) > n and steps.chance(giving) for n in range(2)]
        take = bool(free) and steps.chance(0.6)
        out = await steps.step(
            take_i=take,
            take_slot_i=free[0] if free else 0,
            give0_i=gives[0],
            give0_slot_i=backs[0] if gives[0] else 0,
            give1_i=gives[1],
            give1_slot_i=backs[1] if gives[1] else 0,
        )
        assert out["free_o"] == bool(free)
        if free:
            assert out["slot_o"] == free[0]
        taken -= {slot for slot, give in zip(backs, gives, strict=False) if give}
        if take:
            taken.add(free[0])
        was_full |= len(taken) == SLOTS
    assert was_full
