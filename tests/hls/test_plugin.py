"""hls4ml's plugin registers whichever is imported first, and says nothing where it cannot run."""

from __future__ import annotations

import subprocess
import sys

import pytest

LISTED = "; import hls4ml; print(hls4ml.backends.get_available_backends())"
# As in an environment with the extra `sim` alone.
WITHOUT_ONNX = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "qonnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("onnx", "qonnx") else found(name, package)
"""


def said(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


@pytest.mark.parametrize("first", ["import hls4ml", "import edgesight.hls.backend"])
def test_the_backend_is_registered_whichever_is_imported_first(first: str) -> None:
    printed = said(first + LISTED)
    assert "WARNING" not in printed
    assert "'rtl'" in printed.lower()


def test_without_onnx_the_plugin_stays_silent() -> None:
    printed = said(WITHOUT_ONNX + LISTED.removeprefix("; "))
    assert "WARNING" not in printed
    assert "'rtl'" not in printed.lower()
