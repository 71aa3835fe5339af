"""The csim library: built without importing hls4ml, and what is said where it cannot be built."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from edgesight.hls.csim import CsimError, build_library
from edgesight.host.package import Package

DIGITS = Path(__file__).resolve().parents[2] / "bitstreams" / "digits"


def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "hls4ml", None)
    package = Package.load(DIGITS)
    with pytest.raises(CsimError, match=r"digits: install hls4ml's headers, .*: pip install 'edgesight\[sim\]'"):
        build_library(package)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    with pytest.raises(CsimError, match=r"install g\+\+, which is not installed \(Debian: .*\) and hls4ml's headers"):
        build_library(package)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")
def test_a_library_that_was_built_is_found_where_nothing_can_be_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package = Package.load(DIGITS)
    library = build_library(package)
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setitem(sys.modules, "hls4ml", None)
    assert build_library(package) == library
