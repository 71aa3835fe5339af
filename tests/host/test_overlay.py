"""Installed bitstreams lie where PYNQ looks for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import edgesight.host.overlay
from edgesight.host.fabric.base import FabricError
from edgesight.host.kernel import KernelError
from edgesight.host.overlay import install
from edgesight.host.package import Package
from edgesight.sim.pynq.handoff import BOARDS, NO_BITSTREAM, package_for
from tests.host.by_hand import package as kernel_by_hand


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package for the PYNQ-Z2, and an empty folder for overlays."""
    monkeypatch.setattr(edgesight.host.overlay, "FOLDER", tmp_path / "overlay")
    return package_for(kernel_by_hand(tmp_path / "bare", None), tmp_path / "kernel", BOARDS["pynq-z2"])


def test_pynq_finds_the_bitstream_and_its_handoff_by_the_kernels_name(package: Package, tmp_path: Path) -> None:
    installed = install(package, "Pynq-Z2")
    # PYNQ's rule for a relative name: <folder of the entry point>/<stem>/<name>.
    name = f"{package.kernel.name}.bit"
    assert installed == tmp_path / "overlay" / os.path.splitext(name)[0] / name
    build = package.kernel.boards["pynq-z2"]
    assert build.handoff is not None
    assert installed.read_bytes() == NO_BITSTREAM
    assert installed.with_suffix(".hwh").read_bytes() == package.read(build.handoff)


def test_the_board_that_it_runs_on_is_the_default(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    assert install(package).is_file()
    monkeypatch.setenv("BOARD", "KV260")
    with pytest.raises(FabricError, match=r"no bitstream for this board, KV260 \(built: Pynq-Z2\)"):
        install(package)


def test_a_folder_that_cannot_be_written_is_named(package: Package, tmp_path: Path) -> None:
    (tmp_path / "overlay").write_text("in the way")
    with pytest.raises(KernelError, match=r"overlay/by-hand/by-hand\.bit: cannot be written"):
        install(package, "Pynq-Z2")
