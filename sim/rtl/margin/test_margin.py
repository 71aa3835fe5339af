"""margin equals the reference over numbers of classes and widths."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("classes", "width"), [(10, 16), (2, 3), (3, 1), (43, 24)])
def test_equals_reference(classes: int, width: int) -> None:
    run_bench("margin", {"Classes": classes, "Width": width})
