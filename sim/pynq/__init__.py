"""The host's PYNQ code against the Verilated kernel, as on a board: handoff, DMA, interrupts and registers included.

cocotbpynq carries it, which is under the GPL 3: it comes with the extra `dev` only. What builds on it, the folder
`simulator`, is in a checkout and not in the wheel, and what runs on a board never imports it.
The kernel is simulated inside the wrapper that the boards' block design takes in (hw/boards/zynq/edgesight_axi.v); DMA
and processor are stand-ins, so that what is shown is the protocol and the answers, not a board's speed.
Words owned here: simulated run.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import Images, Records
from edgesight.host.package import RTL, Package
from edgesight.sim.pynq.handoff import BOARDS, TOP, package_for
from edgesight.sim.rtl.runner import ROOT, missing_tools, run_bench

WRAPPER = ROOT / "hw" / "boards" / "zynq" / f"{TOP}.v"
PYTHON_NEEDS = ("cocotb", "cocotbpynq", "pynqmetadata", "pytest")  # beside what `missing_tools` looks for

SIMULATOR = "edgesight.sim.pynq.simulator.program"  # the module that runs inside

# Environment variables by which the program inside the simulator is told what to do.
FOLDER, PROGRAM = "EDGESIGHT_PYNQ_FOLDER", "EDGESIGHT_PYNQ_PROGRAM"


class PynqSimulationError(EdgeSightError):
    """The simulation cannot run or did not end as it should: says what is missing or what it said."""


@dataclass(frozen=True)
class SimulatedRun:
    """What the host program found on the simulated board."""

    records: Records  # [N], in the images' order
    selftest: dict[str, Any]  # fields of edgesight.host.selftest.SelfTestReport
    throughput: dict[
        str, Any
    ]  # fields of edgesight.host.fabric.pynq.Throughput; seconds are the simulator's, cycles are true
    dry_run_found: bool  # a run without the fabric found the records of the one before
    dry_run_frames: int  # that the fabric saw of it
    interrupts_waited_for: int


@dataclass(frozen=True)
class Failure:
    """One thing that went wrong on purpose, and what the host made of it."""

    message: str  # of the error raised; empty if there was none
    named: bool  # the message says what was wrong
    recovered: bool  # afterwards, on the same board, the self-test passes

    @property
    def survived(self) -> bool:
        """Whether it ended as it should."""
        return self.named and self.recovered


def answer(
    package: Package,
    images: Images,
    rows: list[list[int]],
    sets: npt.NDArray[np.uint8],
    board: str = "pynq-z2",
    *,
    version: str = "3.1.2",
    interrupts: bool = True,
) -> SimulatedRun:
    """Answer images uint8 [N, H, W, C], each under its set [N] of threshold `rows`, through PynqFabric on `board`.

    `version`: the PYNQ that the board claims to have. `interrupts`: whether the design has them connected. Raises
    PynqSimulationError if a tool is missing or the program fails.
    """
    with tempfile.TemporaryDirectory(prefix="edgesight-pynq-") as scratch:
        folder = Path(scratch)
        placed = package_for(package, folder / "kernel", BOARDS[board], interrupts=interrupts)
        np.savez(folder / "images.npz", images=images, sets=sets)
        found = _simulate(package, "answer", folder, board, version, {"package": str(placed.path), "rows": rows})
        return SimulatedRun(records=np.load(folder / "records.npy"), **found)


def failures(package: Package, board: str = "pynq-z2", *, version: str = "3.1.2") -> dict[str, Failure]:
    """Let go wrong what may go wrong on `board`, by name; each result says what the host said, and if it survived.

    Raises PynqSimulationError if a tool is missing or the program itself fails.
    """
    other = next(name for name in BOARDS if name != board)
    with tempfile.TemporaryDirectory(prefix="edgesight-pynq-") as scratch:
        folder = Path(scratch)
        good = package_for(package, folder / "kernel", BOARDS[board])
        other_board = package_for(package, folder / "other-board", BOARDS[other])
        # The hash in the package changes, the one in the simulated hardware does not.
        changed = f"{int(package.kernel.build_hash, 16) ^ 1:08x}"
        other_build = package_for(package, folder / "other-build", BOARDS[board]).replace(build_hash=changed)
        given = {
            "package": str(good.path),
            "handoff": good.kernel.boards[board].handoff,
            "other_board": str(other_board.path),
            "other_build": str(other_build.path),
            "build_hash": changed,
        }
        found = _simulate(package, "fail", folder, board, version, given)
    return {name: Failure(**fields) for name, fields in found.items()}


def _simulate(
    package: Package, program: str, folder: Path, board: str, version: str, given: dict[str, Any]
) -> dict[str, Any]:
    """Run `program` of sim/pynq/simulator/program.py in a simulator of the package's RTL; what it found."""
    if importlib.util.find_spec(SIMULATOR.rpartition(".")[0]) is None:
        raise PynqSimulationError(
            "the simulated board is in a checkout only: it builds on cocotbpynq, which is under the GPL 3; clone the "
            "repository"
        )
    absent = [*missing_tools(), *(name for name in PYTHON_NEEDS if importlib.util.find_spec(name) is None)]
    if absent:
        raise PynqSimulationError(
            f"not found: {', '.join(absent)}: simulating a board needs g++, make and perl, and "
            "`pip install 'edgesight[sim,dev]'`"
        )
    (folder / "given.json").write_text(json.dumps({**given, "board": BOARDS[board].pynq_board, "version": version}))
    try:
        run_bench(
            TOP,
            sources=[*package.source_paths(), WRAPPER],
            bench=SIMULATOR,
            settings={FOLDER: str(folder), PROGRAM: program},
            memories=package.path / RTL,
        )
    except (AssertionError, RuntimeError, EdgeSightError) as error:
        raise PynqSimulationError(f"program {program!r} on {board} failed; see its log above: {error}") from error
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found
