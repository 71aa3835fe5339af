"""What a compilation aims at, in a user's words: a board, images a second, look-up tables, and the rates of the exits.

Words owned here: aim, exit rates (the share of the images that reaches each stage).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesight.hls.boards import Board
from edgesight.hls.budget import OutOfReach, Room, Solved, Stage, fastest, meet
from edgesight.hls.checks import FRAME_SLOTS
from edgesight.hls.compile import read_network
from edgesight.hls.cost.kernel import around
from edgesight.hls.cost.model import cost_model
from edgesight.hls.cost.picture import as_svg
from edgesight.hls.cost.report import CostRow, as_json, cost_rows
from edgesight.hls.dataflow.exits import cut
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.graph.integer_network import Format as EntryFormat
from edgesight.hls.network import CompileError
from edgesight.hls.reuse import by_name
from edgesight.host.package import Package

_MHZ = 1e6
REPORT, PICTURE = "folding.json", "folding.svg"  # files of a package


@dataclass(frozen=True)
class Aim:
    """A rate on a board, with at most so many look-up tables; without `fps` the highest rate that fits.

    `slots`: frames that the kernel buffers.
    """

    board: Board
    fps: float | None
    max_luts: int | None
    exit_rates: Sequence[float]  # by stage; the first is 1
    slots: int = FRAME_SLOTS

    def images_a_second(self, interval: float) -> float:
        """The rate of an interval of cycles, at the board's clock."""
        return self.board.clock_mhz * _MHZ / interval


@dataclass(frozen=True)
class Folded:
    """Networks of stages with their foldings."""

    networks: Sequence[IntegerNetwork]
    solved: Solved

    def rows(self) -> list[list[CostRow]]:
        """What every layer takes, by stage."""
        model = cost_model()
        return [
            cost_rows(network, folding, model)
            for network, folding in zip(self.networks, self.solved.foldings, strict=True)
        ]


def reported(package: Package, rows: Sequence[Sequence[CostRow]]) -> Package:
    """The package with what its layers take: for machines, and as a picture."""
    report = json.dumps(as_json(rows), indent=1) + "\n"
    return package.put({REPORT: report.encode(), PICTURE: as_svg(rows).encode()}, ())


def folded(
    paths: Sequence[Path], aim: Aim, reuse: Sequence[Mapping[str, int]], entry: EntryFormat | None = None
) -> Folded:
    """The foldings of the networks in `paths`, or of the exits of a single one, that reach an aim.

    `reuse`: factors by stage and layer, which stay as they are. Raises CompileError naming what the board is short of
    and the highest rate that fits.
    """
    networks = _networks(paths, len(aim.exit_rates), entry)
    stages = [
        Stage(name := f"stage{at}", network, share, by_name(factors, network, name))
        for at, (network, share, factors) in enumerate(zip(networks, aim.exit_rates, reuse, strict=True))
    ]
    model = cost_model()
    room = Room.of_part(aim.board.capacity, aim.max_luts, around(networks, model, aim.slots))
    try:
        if aim.fps is None:
            return Folded(networks, fastest(stages, room, model))
        return Folded(networks, meet(stages, aim.board.clock_mhz * _MHZ / aim.fps, room, model))
    except OutOfReach as error:
        best = aim.images_a_second(error.best.interval)
        raise CompileError(
            f"{aim.board.title}: {aim.fps:g} images/s are out of reach: {error.why}; the most that fits is {best:.0f} "
            f"images/s, bound by {error.best.bound_by}: ask for fewer (`--fps`), or take a board with a larger part "
            "(`edgesight board list`)"
        ) from error


def _networks(paths: Sequence[Path], stages: int, entry: EntryFormat | None = None) -> list[IntegerNetwork]:
    """The integer networks of the stages: of a file each, or of one file's exits.

    Raises CompileError where a file cannot be read, or has not as many outputs as there are stages.
    """
    if len(paths) == stages:
        return [read_network(path, entry) for path in paths]
    whole = read_network(paths[0])
    if len(whole.outputs) != stages:
        raise CompileError(f"{paths[0]}: has {len(whole.outputs)} outputs, not {stages}: give a rate for each")
    return cut(whole)
