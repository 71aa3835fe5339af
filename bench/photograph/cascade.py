"""The cascade of a photograph and its thumbnail, held against its back end alone and against a back end of thumbnails.

The stages' answers are the fast reference's, of which some are held against csim and the RTL. What goes to the data
centre goes through the strips and their repair at the back end's size.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.photograph.asked import Found
from edgesight.bench.photograph.kernels import LOSS, Made, form_of
from edgesight.bench.report import Check
from edgesight.hls.package_reference import PackageReference
from edgesight.host.calibrate import GRID, LOSSES, Observed, confidence_curve
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.fabric.base import NEVER
from edgesight.host.fabric.csim import below
from edgesight.host.kernel import Calibration
from edgesight.host.link.quality import Step
from edgesight.quant.gain import gain
from edgesight.sim.lossy_path import AS_ASKED
from edgesight.sim.observe import observe_once

BACK_END = 0.86  # accuracy of the back end of photographs
MINUTES = 60.0  # that its training may take
WORSE = 0.04  # by which the back end of thumbnails is less accurate, at least
BELOW = 0.01  # by which the cascade may be less accurate than the data centre alone
ON_EDGE = 0.15  # share of the pictures that the edge answers itself, at least
LOST = 0.005  # accuracy that 5 % of lost packets may cost
SEEDS = 10  # of lost packets
COMPARED = 100  # pictures whose logits are held against csim and the RTL
OVER_LINK = 100  # pictures that are asked over the emulated link

Bools = npt.NDArray[np.bool_]


def back_ends(made: Made) -> Found:
    """The back ends as their model cards tell of them."""
    own, small = (card["networks"]["backend"] for card in (made.card, made.thumbnail))
    accuracy, other = (entry["test_accuracy"]["by_seed"][0] for entry in (own, small))
    slowest = max(max(entry["seconds"]) for entry in (own, small)) / 60
    unit = f"of {made.card['data_set']['images']['test']} images"
    form = own.get("input") or {}
    body = {
        "network": own["network"],
        "height": form.get("height"),
        "accuracy": accuracy,
        "thumbnail": {"height": (small.get("input") or {}).get("height"), "accuracy": other},
        "training_minutes": [max(entry["seconds"]) / 60 for entry in (own, small)],
    }
    return Found(
        body,
        (
            Check("photograph: back end's accuracy", accuracy, BACK_END, False, unit, "measured"),
            Check("photograph: better than by the thumbnail", accuracy - other, WORSE, False, unit, "measured"),
            Check("photograph: longest training of a back end", slowest, MINUTES, True, "min", "measured"),
        ),
    )


def measure(made: Made, folder: Path, console: Console) -> Found:
    """All that is told of the cascade. Raises CommandError, CalibrationError or KernelError."""
    package, data = made.opened(), made.data()
    calibration = package.kernel.calibration
    assert calibration is not None  # `made` calibrates
    model = OnnxModel(package.path / "datacenter.onnx", form_of(package))
    stages, step = PackageReference(package), step_of(calibration)
    losses = [loss for loss in LOSSES if loss <= LOSS]

    def observed(split: Any, seed: int) -> Observed:
        return observe_once(package, model, stages, split, losses, seed, step, data.checksum)

    chosen = picked(observed(data.calibration, 0))
    seeds = [observed(data.test, seed) for seed in range(SEEDS)]
    whole = seeds[0]
    answered = on_edge(whole, chosen)
    cascade, alone = right_of(whole, chosen, 0), whole.backend_right[0]
    lossy = [float(right_of(one, chosen, len(losses) - 1).mean()) for one in seeds]
    cost = float(cascade.mean()) - float(np.mean(lossy))
    paired = gain(alone, cascade)
    equal, compared = _equal(made, folder / "verify", stages, console)
    ends = back_ends(made)
    body = {
        "back_ends": ends.body,
        "test_images": whole.count,
        "data_centre_only": float(alone.mean()),
        "cascade": float(cascade.mean()),
        "paired_difference": asdict(paired),
        "thresholds": chosen,
        "answered_on_edge": float(answered.mean()),
        "at_loss": {"loss": LOSS, "by_seed": lossy, "mean": float(np.mean(lossy))},
        "ladder": [rung.model_dump() for rung in calibration.ladder],
        "guaranteed": _guaranteed(calibration),
        "over_link": _over_link(made, calibration, folder / "demo", console),
        "compared": compared,
    }
    unit = f"of {whole.count} images"
    checks = (
        Check("photograph: cascade below the data centre alone", paired.difference, BELOW, True, unit, "simulated"),
        Check("photograph: answered on the edge", float(answered.mean()), ON_EDGE, False, unit, "simulated"),
        Check(f"photograph: cost of {LOSS:.0%} loss", cost, LOST, True, f"mean of {SEEDS} seeds", "simulated"),
        Check("photograph: images that differ", equal, 0, True, f"of {compared['images']}", "simulated"),
    )
    return Found(body, (*ends.checks, *checks))


def picked(observed: Observed) -> list[int]:
    """Thresholds of the stages, the lowest under which the pictures `observed` are answered as well as by the back end.

    Nothing is promised of others: it is what the calibration pictures suggest.
    """
    curves = [confidence_curve(*stage) for stage in zip(observed.margins, observed.right, strict=True)]
    best = [NEVER] * len(curves)
    for confidence in GRID:
        fits = [np.searchsorted(confidences, confidence, side="left") for _, confidences in curves]
        thresholds = [int(np.append(starts, NEVER)[fit]) for fit, (starts, _) in zip(fits, curves, strict=True)]
        if right_of(observed, thresholds, 0).mean() >= observed.backend_right[0].mean():
            best = thresholds
    return best


def on_edge(observed: Observed, thresholds: Sequence[int]) -> Bools:
    """Which pictures some stage answers: [N]."""
    sure: Bools = ~below(observed.margins, np.array(thresholds)[:, None]).all(axis=0)
    return sure


def right_of(observed: Observed, thresholds: Sequence[int], bucket: int) -> Bools:
    """Which pictures the cascade answers rightly, the back end at the loss of a `bucket`: [N]."""
    found = observed.backend_right[bucket].copy()
    for margins, right, threshold in zip(
        observed.margins[::-1], observed.right[::-1], list(thresholds)[::-1], strict=True
    ):
        sure = ~below(margins, np.int64(threshold))
        found[sure] = right[sure]
    return found


def step_of(calibration: Calibration) -> Step:
    """How photographs travel first."""
    return Step(calibration.ladder[0].quality, calibration.ladder[0].divisor) if calibration.ladder else AS_ASKED


def _guaranteed(calibration: Calibration) -> dict[str, Any]:
    """The targets that the calibration pictures show, with what would be sent under each."""
    return {
        "images": calibration.images,
        "targets": [
            {"accuracy": one.accuracy, "lower_bound": one.lower_bound, "sent": one.calibration_offload}
            for one in calibration.targets
        ],
        "refused": [one.accuracy for one in calibration.refused],
    }


def _equal(made: Made, out: Path, stages: PackageReference, console: Console) -> tuple[int, dict[str, Any]]:
    """How many pictures' logits differ between the fast reference, csim and the RTL, and what was compared."""
    compare = ["verify", str(made.package), made.dataset, "--zoo", str(made.zoo), "--images", str(COMPARED)]
    run_command(console, *compare, "--out", str(out), report=out / "report.json")
    report = json.loads((out / "report.json").read_text())
    data, package = made.data(), made.opened()
    pool = np.concatenate([data.test.images, data.calibration.images])[: report["images"]]
    differ = dict(report["mismatches"])
    with np.load(out / "logits.npz") as logits:
        for stage, found in zip(package.kernel.stages, stages(pool), strict=True):
            for form in ("csim", "rtl"):
                wrong = (logits[f"{form}_{stage.name}"] != found).any(axis=1)
                differ[f"{stage.name} logits reference={form}"] = int(wrong.sum())
    return sum(differ.values()), {"images": report["images"], "mismatches": differ}


def _over_link(made: Made, calibration: Calibration, out: Path, console: Console) -> list[dict[str, Any]]:
    """The demo's rows: the RTL, an emulated lossy link and a data centre that is a process of its own."""
    if not calibration.targets:
        return []
    shutil.rmtree(out, ignore_errors=True)
    ask = ["demo", "--package", str(made.package), "--dataset", made.dataset, "--images", str(OVER_LINK)]
    run_command(console, *ask, "--loss", str(LOSS), "--out", str(out), report=out / "report.json")
    told = ("name", "target", "accuracy", "offload", "degraded")
    rows = json.loads((out / "report.json").read_text())["rows"]
    return [{key: row[key] for key in told if key in row} for row in rows]
