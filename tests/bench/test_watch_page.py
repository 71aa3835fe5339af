"""The live page in a browser, of an edge that answers digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from edgesight.bench.watch import page
from edgesight.hls.zoo import shipped_folder
from edgesight.host.package import Package
from edgesight.quant import datasets

_LACKS = page.lacks()


@pytest.mark.skipif(_LACKS is not None, reason=_LACKS or "")
def test_a_phone_shows_answers_a_data_centre_that_dies_and_what_it_asks_itself(tmp_path: Path) -> None:
    package = Package.load(shipped_folder() / "digits")
    test = datasets.load("digits", None, package.kernel.input.height).test
    found = page.measure(package, test, tmp_path, Console(), widths=[360])
    timed, *others = found.checks
    assert timed.value < 5.0  # the bench has the bar: here others use the machine, too
    assert [check for check in others if not check.met] == []
    (seen,) = found.body["widths"]
    assert seen["dropped"]
    assert seen["own_back_after"] > 0.0
    assert {one.name for one in tmp_path.glob("*.png")} == {"edge-360.png", "datacenter-360.png"}
