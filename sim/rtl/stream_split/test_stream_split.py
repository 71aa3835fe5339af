"""stream_split reads every beat in place."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "parts"), [(8, 2), (31, 10), (5, 1)])
def test_stream_split(width: int, parts: int) -> None:
    run_bench("stream_split", {"Width": width, "Parts": parts})
