"""The board bench: what can be shown of the boards without one, held against its bars.

The open board's top answers at its simulated pins, the PYNQ host answers through a simulated processor and DMA, and the
energy meter measures worlds that were made up. What only a compiler can make comes in ready: the open board's bitstream
and the dry runs of the vendor's flow.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

import edgesight.sim.pynq
import edgesight.sim.ulx3s
from edgesight.bench.power_replay import FORMS, replayed_energy
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.fabric.base import Images, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.package import Package
from edgesight.host.selftest import ways_through

OPEN_BOARD = "ulx3s"
LUT_CEILING = 25_000  # of the open board's cascade
PIN_IMAGES, PYNQ_IMAGES = 20, 50
ENERGY_ERROR = 0.02
FABRIC_ENERGY_ERROR = 0.05  # it is the difference of two differences
_LUT = "TRELLIS_COMB"  # a 4-input look-up table in use, in nextpnr's words
_COMPARED = ("tag", "error", "stage", "label", "margin")  # cycles are the fabric's own

DryRuns = Mapping[str, Mapping[str, Any]]  # board -> passes, caught, of, problems


@dataclass(frozen=True)
class Counts:
    """How much is simulated.

    Attributes:
        pin_images: that the open board answers at its pins.
        pynq_images: that the PYNQ host answers on each board with a processor.
        energy_seeds: made-up worlds that energy is measured in, with each form of sensor files.
    """

    pin_images: int
    pynq_images: int
    energy_seeds: int


def bench_board(
    package: Package,
    fast: Package,
    dry_runs: DryRuns,
    images: Images,
    counts: Counts,
    out: Path,
    console: Console,
) -> bool:
    """Hold `package`, which has a bitstream for the open board and its csim built, against every bar.

    `fast` is the same cascade at the folding of the boards with a processor, which have room for it; the open board's
    line bounds it anyway, and a host that is simulated cycle by cycle wants few of them. A simulation that breaks off
    has answered nothing: its bars are unmet, and the report says why.
    `images` uint8 [N, H, W, C] are at least as many as `counts` asks for. Writes `out`/board.json;
    returns whether every bar is met.
    """
    pin_images, pynq_images, energy_seeds = counts.pin_images, counts.pynq_images, counts.energy_seeds
    calibration = package.kernel.calibration
    targets = calibration.targets if calibration is not None else []
    rows = [*ways_through(len(package.kernel.stages)), *(target.thresholds for target in targets)][
        : package.kernel.threshold_sets
    ]
    sets = (np.arange(len(images)) % len(rows)).astype(np.uint8)
    expected = by_csim(package, images, rows, sets)

    build = package.board(OPEN_BOARD)
    timing = json.loads(package.read(f"boards/{OPEN_BOARD}/seeds.json"))
    fmax = statistics.median(timing["fmax_mhz_by_seed"].values())
    checks = [
        Check(f"{OPEN_BOARD}: highest clock, median of seeds", fmax, build.clock_mhz, False, "MHz", "projected"),
        Check(f"{OPEN_BOARD}: 4-input look-up tables", build.utilisation[_LUT].used, LUT_CEILING, True, "LUT4",
              "projected"),
    ]  # fmt: skip

    console.print(f"{OPEN_BOARD}: the whole top answers {pin_images} images at its serial pins ...")
    broken: dict[str, str] = {}  # simulations that did not run through, and why
    where = f"{OPEN_BOARD}, at its pins"
    try:
        at_pins = edgesight.sim.ulx3s.answers_at_pins(package, images[:pin_images], rows, sets[:pin_images])
    except edgesight.sim.ulx3s.PinSimulationError as error:
        broken[where], at_pins = str(error), expected[:0]
    checks += _equality(where, at_pins, expected[:pin_images], PIN_IMAGES)

    simulated, failures = {}, {}
    for board, version in (("pynq-z2", "3.1.2"), ("kv260", "3.0.1")):
        console.print(f"{board}: the host answers {pynq_images} images through a simulated processor and DMA ...")
        where, answered = f"{board}, PYNQ host", expected[:0]
        survived: dict[str, edgesight.sim.pynq.Failure] = {}
        try:
            run = edgesight.sim.pynq.answer(
                fast, images[:pynq_images], rows, sets[:pynq_images], board, version=version
            )
            answered = run.records
            simulated[board] = {"selftest": run.selftest, "throughput": run.throughput}
            survived = edgesight.sim.pynq.failures(fast, board, version=version)
        except edgesight.sim.pynq.PynqSimulationError as error:
            broken[where] = str(error)
        checks += _equality(where, answered, expected[:pynq_images], PYNQ_IMAGES)
        count = sum(failure.survived for failure in survived.values())
        checks.append(Check(f"{where}: failures survived", count, 5, False, "of 5", "simulated"))
        failures[board] = {name: asdict(failure) for name, failure in survived.items()}

    for board, found in dry_runs.items():
        faults = len(found["problems"]) + (not found["passes"])
        checks.append(Check(f"{board}, dry run of Vivado's script: faults", faults, 0, True, "faults", "measured"))
        checks.append(
            Check(f"{board}, dry run: mistakes caught", found["caught"], 3, False, f"of {found['of']}", "measured")
        )

    console.print(f"power: {energy_seeds} made-up worlds through each form of sensor files ...")
    energies = [replayed_energy(form, seed) for form in FORMS for seed in range(energy_seeds)]
    for form in FORMS:
        of_form = [energy for energy in energies if energy.form == form]
        worst = max(energy.whole.error for energy in of_form)
        fabric_worst = max(energy.fabric.error for energy in of_form)
        checks += [
            Check(f"energy from replayed {form} files: largest error", worst, ENERGY_ERROR, True, "of the truth",
                  "simulated"),
            Check(f"the fabric's part of it from replayed {form} files: largest error", fabric_worst,
                  FABRIC_ENERGY_ERROR, True, "of the truth", "simulated"),
        ]  # fmt: skip

    body = {
        "kernel": package.kernel.name,
        "build_hash": package.kernel.build_hash,
        "open_board": {**build.model_dump(), "fmax_mhz_by_seed": timing["fmax_mhz_by_seed"]},
        "pynq": simulated,
        "failures": failures,
        "broken": broken,
        "dry_runs": {board: dict(found) for board, found in dry_runs.items()},
        "energy": [asdict(energy) for energy in energies],
    }
    write_report(out / "board.json", body, checks)
    for where, why in broken.items():
        console.print(f"{where}: {why}", style="red", markup=False, soft_wrap=True)
    return print_checks(console, checks)


def by_csim(package: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8]) -> Records:
    """Records [N] that csim gives images uint8 [N, H, W, C], each under its set [N] of the threshold `rows`."""
    fabric = CsimFabric(package)
    for index, row in enumerate(rows):
        fabric.set_thresholds(index, row)
    return fabric.run(images, sets)


def _equality(where: str, found: Records, expected: Records, least: int) -> list[Check]:
    """How many records there are, and how many are not csim's, those that are not there included."""
    both = min(len(found), len(expected))
    differing = np.ones(max(len(found), len(expected)), bool)
    differing[:both] = False
    for field in _COMPARED:
        differing[:both] |= found[field][:both] != expected[field][:both]
    return [
        Check(f"{where}: images answered", len(found), least, False, "images", "simulated"),
        Check(f"{where}: records unlike csim's", int(differing.sum()), 0, True, "records", "simulated"),
    ]
