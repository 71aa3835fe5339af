"""Builds the slot pool in several sizes and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("slots", "givers"), [(4, 2), (16, 2), (4, 1), (8, 4)])
def test_slot_pool(slots: int, givers: int) -> None:
    run_bench("slot_pool", {"Slots": slots, "Givers": givers})
