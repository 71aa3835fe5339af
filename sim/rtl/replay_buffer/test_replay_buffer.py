"""replay_buffer repeats words."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "words", "turns"), [(8, 2, 2), (31, 10, 3), (5, 1, 4), (4, 7, 1)])
def test_replay_buffer(width: int, words: int, turns: int) -> None:
    run_bench("replay_buffer", {"Width": width, "Words": words, "Turns": turns})
