"""Fixtures around the kernel by hand."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.files import sha256
from edgesight.host.libraries import LIBRARY, keep
from edgesight.host.package import Package
from tests.digits import digits, images
from tests.host.by_hand import CLASSES, CSIM, SHAPE, calibration, package, save_onnx

__all__ = ["digits", "images"]


@pytest.fixture(scope="session")
def csim_library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The compiled csim of the kernel by hand."""
    folder = tmp_path_factory.mktemp("csim")
    (folder / "csim.cpp").write_text(CSIM)
    subprocess.run(
        ["g++", "-O1", "-shared", "-fPIC", "-o", folder / "csim.so", folder / "csim.cpp"], check=True, timeout=120
    )
    return (folder / "csim.so").read_bytes()


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The back end as an ONNX file: logits are minus the full sums."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    columns = np.arange(SHAPE[0] * SHAPE[1]) % SHAPE[1]
    weights = -np.eye(CLASSES, dtype=np.float32)[columns * CLASSES // SHAPE[1]]
    path = tmp_path_factory.mktemp("backend") / "backend.onnx"
    save_onnx(path, "image", weights)
    return path


@pytest.fixture
def served_package(tmp_path: Path, csim_library: bytes, backend: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """The kernel by hand, calibrated with the back end, with its csim library in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = package(tmp_path / "kernel", calibration(sha256(backend.read_bytes())))
    keep(made, "csim", "by hand", {LIBRARY: csim_library})
    return made
