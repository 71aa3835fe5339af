"""The slot pool against a set."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

SLOTS, GIVERS = (int(bench_parameters()[name]) for name in ("Slots", "Givers"))
SLOT_BITS = (SLOTS - 1).bit_length()


@cocotb.test()
async def the_lowest_free_slot_is_offered(dut: Any) -> None:
    """Slots are taken and given back at random, up to one at every port in a cycle."""
    steps = Steps(dut, ("free_o", "slot_o"))
    await steps.start(take_i=0, take_slot_i=0, give_i=0, give_slot_i=0)
    taken: set[int] = set()
    offer: int | None = None  # what the search of the cycle before found
    offers: list[int | None] = []
    for cycle in range(2000):
        backs = steps.random.sample(sorted(taken), min(len(taken), GIVERS))
        giving = 0.1 if cycle // 100 % 2 else 0.6
        gives = [len(backs) > n and steps.chance(giving) for n in range(GIVERS)]
        take = offer is not None and steps.chance(0.6)
        out = await steps.step(
            take_i=take,
            take_slot_i=offer or 0,
            give_i=sum(give << n for n, give in enumerate(gives)),
            give_slot_i=sum(backs[n] << n * SLOT_BITS for n, give in enumerate(gives) if give),
        )
        assert out["free_o"] == (offer is not None)
        if offer is not None:
            assert out["slot_o"] == offer
        offers.append(offer)
        found = None if take else min(set(range(SLOTS)) - taken, default=None)
        taken -= {slot for slot, give in zip(backs, gives, strict=False) if give}
        if take:
            assert offer is not None
            taken.add(offer)
        offer = found
    assert set(offers) == {None, *range(SLOTS)}
    assert any(offers[n : n + 3] == [None] * 3 for n in range(len(offers))), "the pool was never full"
