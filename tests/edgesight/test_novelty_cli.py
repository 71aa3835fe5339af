"""What `edgesight calibrate` does where a package's detector of strange pictures cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgesight.cli import build
from edgesight.host.kernel import KernelError
from edgesight.host.novelty import novelty_test
from edgesight.host.package import Package
from edgesight.quant import datasets, novelty

DIGITS = Path(__file__).resolve().parents[2] / "bitstreams" / "digits"


def test_a_detector_that_cannot_be_used_is_fitted_anew_on_the_packages_own_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package.load(Path(shutil.copytree(DIGITS, tmp_path / "digits")))
    assert package.kernel.novelty is not None
    before = novelty_test(package)
    assert before is not None
    told = package.kernel.novelty.model_copy(update={"file": "novelty-00000000.npz"})
    damaged = package.put({told.file: b"of another time"}, [], novelty=told.model_dump())
    monkeypatch.setattr(novelty, "fit", lambda data, told: before.detector)
    data = datasets.load("digits")
    own: Any = SimpleNamespace(split=data.calibration, trained_on=data)
    test = build._novelty(damaged, own)
    assert test is not None
    assert test.detector is before.detector
    others: Any = SimpleNamespace(split=data.calibration, trained_on=None)
    with pytest.raises(KernelError, match="calibrate it on its own data set first"):
        build._novelty(damaged, others)
