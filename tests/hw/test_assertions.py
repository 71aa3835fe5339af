"""What a module says never happens is watched in the benches: a run in which it happens fails."""

import pytest

from edgesight.sim.rtl.runner import run_bench


def test_a_misuse_of_slot_pool_ends_the_bench(capfd: pytest.CaptureFixture[str]) -> None:
    # The simulator stops, which is neither a result nor a success.
    with pytest.raises((AssertionError, RuntimeError)):
        run_bench("slot_pool", {"Slots": 4}, bench="tests.hw.misuse_bench")
    assert "slot 2 is given back at 0, but is not taken" in capfd.readouterr().out
