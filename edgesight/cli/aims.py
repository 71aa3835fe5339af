"""What `compile` is asked to fold for: a board, a rate, look-up tables and exit rates."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgesight.cli.ending import ArgumentError
from edgesight.cli.options import warn
from edgesight.host.registers import MAX_STAGES

if TYPE_CHECKING:
    from edgesight.hls.aims import Folded
    from edgesight.hls.cost.report import CostRow
    from edgesight.hls.graph.integer_network import Format as EntryFormat
    from edgesight.host.kernel import Calibration
    from edgesight.host.package import Package

LEAST_SHARE = 0.01  # that a stage is built for: the one picture that does reach it must not wait for ever
SERIES = "vivado"  # the flow of the boards whose parts there is a cost model of


@dataclass(frozen=True)
class Asked:
    """The options, as they were given."""

    board: str | None
    fps: float | None
    max_luts: int | None
    exit_rates: str | None
    frame_slots: int | None


@dataclass(frozen=True)
class AimAsked:
    """What they mean. `exit_rates` are empty where none were given, and `slots`, frames that are buffered, None."""

    board: str
    fps: float | None
    max_luts: int | None
    exit_rates: tuple[float, ...]
    slots: int | None

    def of_stages(self, networks: Path, stages: int, calibration: Calibration | None = None) -> AimAsked:
        """With a rate for every one of so many stages, of which later ones may be left out; ArgumentError for more.

        Rates that were not given are those of a `calibration`.
        """
        if not self.exit_rates:
            return replace(self, exit_rates=_rates_of(calibration) or (1.0,) * stages)
        if len(self.exit_rates) > stages:
            given = ",".join(f"{rate:g}" for rate in self.exit_rates)
            raise ArgumentError(f"--exit-rates {given}: {networks} has {stages} stages; give a share for each")
        return self


def aim_of(asked: Asked, cycles: str | None) -> AimAsked | None:
    """What is asked for; None where nothing is. ArgumentError where the options do not fit together."""
    if asked.board is None:
        for option, value in (("--fps", asked.fps), ("--max-luts", asked.max_luts), ("--exit-rates", asked.exit_rates)):
            if value is not None:
                raise ArgumentError(f"{option} {value}: belongs to a board; give --board, too")
        return None
    if cycles is not None:
        raise ArgumentError(f"--cycles {cycles}: --board {asked.board} sets the cycles itself; leave one of them out")
    from edgesight.hls.boards import load_board

    board = load_board(asked.board)
    if board.flow != SERIES:
        raise ArgumentError(
            f"--board {asked.board}: there is no cost model of its part yet; use --cycles, or a board with a Zynq"
        )
    return AimAsked(asked.board, asked.fps, asked.max_luts, _rates(asked.exit_rates), asked.frame_slots)


def _rates(text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        rates = tuple(float(rate) for rate in text.split(","))
    except ValueError:
        rates = ()
    falling = all(0 < later <= earlier for earlier, later in itertools.pairwise(rates))
    if not rates or rates[0] != 1 or not falling or len(rates) > MAX_STAGES:
        raise ArgumentError(
            f"--exit-rates {text}: give the share of the images that reaches each stage, 1 first and none larger than "
            "the one before, such as 1,0.3"
        )
    return rates


def _rates_of(calibration: Calibration | None) -> tuple[float, ...]:
    """For each stage the share of the pictures that reaches it, under the target that sends it the most.

    Empty without a calibration, or where it tells no shares, which is warned about.
    """
    if calibration is None:
        return ()
    told = [target.calibration_reached for target in calibration.targets]
    reached = [shares for shares in told if shares is not None]
    if len(reached) < len(told) or not reached:
        warn(["--calibration: tells no shares of its exits, so every stage is built for all images: calibrate again"])
        return ()
    return tuple(max(LEAST_SHARE, *shares) for shares in zip(*reached, strict=True))


def solved(
    paths: Sequence[Path],
    asked: AimAsked,
    reuse: Sequence[Mapping[str, int]],
    entry: EntryFormat | None = None,
    *,
    told: bool,
) -> Folded:
    """The networks' stages, folded; what they will take is told on standard error."""
    from edgesight.hls.aims import Aim, folded
    from edgesight.hls.boards import load_board
    from edgesight.hls.budget import amounts
    from edgesight.hls.checks import FRAME_SLOTS

    slots = FRAME_SLOTS if asked.slots is None else asked.slots
    aim = Aim(load_board(asked.board), asked.fps, asked.max_luts, asked.exit_rates, slots)
    made = folded(paths, aim, reuse, entry)
    found = made.solved
    if told:
        shares = ", ".join(
            f"{count:.0f} of {aim.board.capacity[name]} {name}" for name, count in amounts(found.cells).items()
        )
        print(
            f"{aim.board.title}: {aim.images_a_second(found.interval):.0f} images/s, predicted to take {shares}",
            file=sys.stderr,
        )
        _tell(made.rows())
    return made


def with_report(package: Package, made: Folded | None) -> Package:
    """The package with what its layers take, where they were folded for a board."""
    if made is None:
        return package
    from edgesight.hls.aims import reported

    return reported(package, made.rows())


def _tell(stages: Sequence[Sequence[CostRow]]) -> None:
    """What every layer takes, as a table on standard error."""
    from rich.console import Console

    from edgesight.bench.report import PlainTable

    columns = ("layer", "products", "multipliers", "in", "weights", "cycles", "latency", "bits")
    cells = ("LUT", "FF", "RAMB18", "DSP")
    for at, rows in enumerate(stages):
        table = PlainTable(f"stage{at}, predicted", (*columns, *cells), words=("layer", "in", "weights"))
        for row in rows:
            taken = row.predicted
            built = (row.multiplications, row.multipliers, row.multipliers_in, row.weights_in)
            numbers = (row.interval_cycles, row.latency_cycles, row.memory_bits)
            counts = (taken.luts, taken.flip_flops, taken.half_blocks, taken.dsps)
            # Roughly: the cost model was not fitted to all that the layer is made of.
            table.add_row(f"{row.layer} (roughly)" if row.rough else row.layer, *map(str, (*built, *numbers, *counts)))
        Console(stderr=True).print(table)
