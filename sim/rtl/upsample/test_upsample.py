"""upsample copies pixels and rows in order, at a pixel a cycle."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(
    ("width", "columns", "row_copies", "copies"),
    [(8, 5, 2, 2), (3, 1, 3, 1), (70, 4, 1, 3), (1, 6, 2, 1)],
)
def test_copies_in_order(width: int, columns: int, row_copies: int, copies: int) -> None:
    run_bench("upsample", {"Width": width, "ImgW": columns, "FactorH": row_copies, "FactorW": copies})
