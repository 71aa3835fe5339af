"""A package's stages on integer tensors give csim's logits, and what is no longer its network is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.csim import build_library
from edgesight.hls.network import CompileError
from edgesight.hls.package_reference import PackageReference
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT

DIGITS = ROOT / "bitstreams" / "digits"


def test_it_gives_the_logits_of_csim() -> None:
    package = Package.load(DIGITS)
    build_library(package)
    images = np.random.default_rng(0).integers(0, 256, (300, *package.kernel.input.shape), np.uint8)
    found, wanted = PackageReference(package)(images), CsimFabric(package).logits(images)
    assert len(found) == len(wanted) == 2
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert len(np.unique(one, axis=0)) > 250
    assert [logits.shape for logits in PackageReference(package)(images[:0])] == [(0, 10)] * 2


def test_another_network_than_the_packages_is_refused(tmp_path: Path) -> None:
    shutil.copytree(DIGITS, tmp_path / "digits")
    package = Package.load(tmp_path / "digits")
    shutil.copy(DIGITS / "networks" / "stage1.onnx", tmp_path / "digits" / "networks" / "stage0.onnx")
    with pytest.raises(CompileError, match=r"the network of stage0 gives other logits .*; compile the package anew"):
        PackageReference(package)
