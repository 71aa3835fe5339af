"""stream_add adds streams in order, whatever the stalls of each."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("sources", "values", "width"), [(2, 4, 5), (3, 1, 12), (2, 20, 1)])
def test_adds_in_order(sources: int, values: int, width: int) -> None:
    run_bench("stream_add", {"Sources": sources, "Values": values, "Width": width})
