"""Builds the loader and runs its coroutines."""

from __future__ import annotations

from edgesight.sim.rtl.runner import RTL, run_bench, wide_literal

WORDS = 2 + 3 + 2 + 2 * 3  # three words of one step, two of three


def test_weight_loader() -> None:
    run_bench(
        "weight_loader",
        {"Words": WORDS, "WeightsHash": wide_literal(0x01D, 32)},
        sources=[RTL / "weights_pkg.sv", RTL / "weight_loader.sv"],
    )
