"""stream_scatter takes every beat apart."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "parts"), [(8, 2), (31, 10), (5, 1)])
def test_stream_scatter(width: int, parts: int) -> None:
    run_bench("stream_scatter", {"Width": width, "Parts": parts})
