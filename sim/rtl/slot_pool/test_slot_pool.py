"""Builds the slot pool in two sizes and runs its coroutines."""

from __future__ import annotations

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize("slots", [4, 16])
def test_slot_pool(slots: int) -> None:
    run_bench("slot_pool", {"Slots": slots})
