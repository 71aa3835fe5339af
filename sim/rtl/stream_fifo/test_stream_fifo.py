"""stream_fifo keeps order and loses nothing, at every depth."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "depth"), [(8, 1), (1, 2), (70, 5), (33, 16)])
def test_keeps_order(width: int, depth: int) -> None:
    run_bench("stream_fifo", {"Width": width, "Depth": depth})
