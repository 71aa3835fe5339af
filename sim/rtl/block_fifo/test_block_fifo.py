"""block_fifo keeps order and loses nothing, at every depth: what stream_fifo's bench demands, a cycle later."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "depth"), [(8, 2), (70, 5), (33, 16)])
def test_keeps_order(width: int, depth: int) -> None:
    bench = "edgesight.sim.rtl.stream_fifo.stream_fifo_bench"
    run_bench("block_fifo", {"Width": width, "Depth": depth}, bench=bench)
