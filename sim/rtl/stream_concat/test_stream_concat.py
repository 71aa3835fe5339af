"""stream_concat joins streams in order, whatever the stalls of each."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize("bits", [(4, 9), (1, 1, 1), (70, 3, 8)])
def test_joins_in_order(bits: tuple[int, ...]) -> None:
    settings = {"BEAT_BITS": " ".join(map(str, bits))}
    run_bench("stream_concat", {"Sources": len(bits), "Width": sum(bits)}, settings=settings)
