"""stream_gather puts every beat together out of its parts."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "parts"), [(8, 2), (64, 3), (1, 13)])
def test_stream_gather(width: int, parts: int) -> None:
    run_bench("stream_gather", {"Width": width, "Parts": parts})
