"""Every module of `hw/rtl` is clean under Verilator's lint with all warnings, as a top of its own."""

import subprocess
from pathlib import Path

import pytest

from sim.bench import RTL, missing_tools, tools_on_path

PACKAGES = sorted(RTL.glob("*_pkg.sv"))
MODULES = sorted(set(RTL.glob("*.sv")) - set(PACKAGES))

pytestmark = pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")


def test_there_are_modules() -> None:
    assert MODULES


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_lint_is_clean(module: Path) -> None:
    files = [str(path) for path in [RTL.parent / "lint.vlt", *PACKAGES, module]]
    command = ["verilator", "--lint-only", "-Wall", "--quiet", "-y", str(RTL), "--top-module", module.stem, *files]
    with tools_on_path():
        lint = subprocess.run(command, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stderr
    assert "%Warning" not in lint.stderr, lint.stderr
