"""stream_fork gives every user every beat once, whatever the stalls of the others."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "users"), [(8, 2), (1, 3), (70, 5)])
def test_gives_to_all(width: int, users: int) -> None:
    run_bench("stream_fork", {"Width": width, "Users": users})
