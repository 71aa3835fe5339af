"""Runs inside the simulator: host code as it runs on a board, on the simulated one.

What to do lies in a folder that the environment names, and what was found is written there; `edgesight.sim.pynq` is
the other side. Words owned here: watchdog.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotbpynq  # type: ignore[import-untyped] # it carries no types
import numpy as np

from edgesight.host.fabric.base import ALWAYS, NEVER, FabricError
from edgesight.host.fabric.pynq import PynqFabric
from edgesight.host.kernel import KernelError
from edgesight.host.package import Package
from edgesight.host.selftest import selftest
from edgesight.sim.pynq import FOLDER, PROGRAM, Failure
from edgesight.sim.pynq.dma import Fault
from edgesight.sim.pynq.simulator.board import Board

_PATIENCE_S = 60.0  # of runs that shall succeed: simulated hardware is slow
_IMPATIENCE_S = 0.5  # of runs that shall stall
_WATCHDOG_S = 300.0  # a host thread that waits for a simulation which has ended would wait for ever


def _on_board(program: Callable[[Path, dict[str, Any], Board], None]) -> Any:
    """A cocotb test that runs `program` on a fresh board, with the folder and what was given there."""

    def run(dut: Any) -> None:
        faulthandler.dump_traceback_later(_WATCHDOG_S, exit=True)
        folder = Path(os.environ[FOLDER])
        given = json.loads((folder / "given.json").read_text())
        board = Board(given["board"], given["version"])
        with board.environment():
            program(folder, given, board)
        faulthandler.cancel_dump_traceback_later()

    return cocotbpynq.synctest(run)


def _answer(folder: Path, given: dict[str, Any], board: Board) -> None:
    """Answer the images that lie in the folder; then the package's own vectors, and the speed."""
    with np.load(folder / "images.npz") as file:
        images, sets = file["images"], file["sets"]
    package = Package.load(given["package"])
    fabric = PynqFabric(package, timeout_s=_PATIENCE_S)
    try:
        for index, row in enumerate(given["rows"]):
            fabric.set_thresholds(index, row)
        np.save(folder / "records.npy", fabric.run(images, sets))
        speed = fabric.throughput_test(images, sets)
        records, frames = fabric.run(images, sets), fabric.registers.read("frames")
        dry = fabric.dry_run(images, sets, records, 0.0)
        dry_frames = fabric.registers.read("frames") - frames
        test = selftest(fabric, package)
    finally:
        fabric.close()
    found = {
        "throughput": dataclasses.asdict(speed),
        "selftest": dataclasses.asdict(test),
        "dry_run_found": bool(np.array_equal(dry, records)),
        "dry_run_frames": dry_frames,
        "interrupts_waited_for": board.interrupts_waited_for,
    }
    (folder / "found.json").write_text(json.dumps(found))


def _fail(folder: Path, given: dict[str, Any], board: Board) -> None:
    """Let everything go wrong that may, one after the other, and see whether the board answers afterwards."""
    good = Path(given["package"])

    def opening(package: Path, words: list[str], undo: Callable[[], None] = lambda: None) -> Failure:
        """Opening `package` fails; afterwards the good one opens and answers."""
        message = ""
        try:
            PynqFabric(Package.load(package, verify=False), timeout_s=_PATIENCE_S).close()
        except (FabricError, KernelError) as error:
            message = str(error)
        undo()
        fabric = PynqFabric(Package.load(good), timeout_s=_PATIENCE_S)
        try:
            return Failure(message, _names(message, words), selftest(fabric, fabric.package).passed)
        finally:
            fabric.close()

    def running(faults: list[tuple[Any, Fault, int]], words: list[str]) -> Failure:
        """A run fails by each of `faults` (direction, fault, after so many beats); the next one answers."""
        package = Package.load(good)
        fabric = PynqFabric(package)
        images = np.zeros((12, *package.kernel.input.shape), np.uint8)
        sets = (np.arange(12) % 2).astype(np.uint8)
        messages, recovered = [], []
        try:
            for direction, fault, beats in faults:
                fabric.timeout_s = _IMPATIENCE_S
                fabric.set_thresholds(0, [ALWAYS, ALWAYS])
                fabric.set_thresholds(1, [NEVER, ALWAYS])
                assert board.dma is not None
                board.dma.inject(direction, fault, beats)
                try:
                    fabric.run(images, sets)
                except FabricError as error:
                    messages.append(str(error))
                fabric.timeout_s = _PATIENCE_S
                recovered.append(selftest(fabric, package).passed)
        finally:
            fabric.close()
        named = len(messages) == len(faults) and all(_names(message, words) for message in messages)
        return Failure("\n".join(messages), named, all(recovered))

    handoff = good / given["handoff"]
    hidden = handoff.with_suffix(".hidden")
    handoff.rename(hidden)

    def put_back() -> None:
        hidden.rename(handoff)

    frame = 1 + -(-Package.load(good, verify=False).kernel.input.frame_bytes // 8)
    failures = {
        "missing .hwh": opening(good, [str(handoff), "copy the whole package"], put_back),
        "package for another board": opening(Path(given["other_board"]), [given["board"], "built:", "make bitstream"]),
        "DMA error": running(
            [("send", "DMASlvErr", frame + 3), ("receive", "DMASlvErr", 4)],
            ["DMASlvErr", "slave error", "frames sent", "were reset"],
        ),
        "stalled stream": running(
            [("send", "stall", 2 * frame + 1), ("receive", "stall", 5)], ["nothing moved", "DMASR", "were reset"]
        ),
        "id register of another build": opening(Path(given["other_build"]), ["build hash reads", given["build_hash"]]),
    }
    (folder / "found.json").write_text(
        json.dumps({name: dataclasses.asdict(failure) for name, failure in failures.items()})
    )


def _names(message: str, words: list[str]) -> bool:
    return all(word in message for word in words)


program = _on_board({"answer": _answer, "fail": _fail}[os.environ[PROGRAM]])
