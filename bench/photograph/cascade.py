"""The cascade of a photograph and its thumbnail, held against its back end alone and against a back end of thumbnails.

The stages' answers are the fast reference's, of which some are held against csim and the RTL. What goes to the data
centre goes through the strips and their repair at the back end's size.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.kept import Found
from edgesight.bench.photograph.kernels import LOSS, Made
from edgesight.bench.report import Check
from edgesight.bench.thresholds import outcome, pick
from edgesight.hls.package_reference import PackageReference
from edgesight.host.back_end import form_for
from edgesight.host.calibrate import LOSSES
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.kernel import Calibration
from edgesight.host.link.quality import ladder_of
from edgesight.host.observed import Observed
from edgesight.quant.gain import gain
from edgesight.sim.observe import observe_once

BACK_END = 0.86  # accuracy of the back end of photographs
MINUTES = 60.0  # that its training may take
WORSE = 0.04  # by which the back end of thumbnails is less accurate, at least
BELOW = 0.01  # by which the cascade may be less accurate than the data centre alone
WITHIN = 0.0  # by which the picked thresholds may be less accurate on the calibration pictures
HELD_BACK = 0.15  # of what they would answer then, which the edge does not answer
ON_EDGE = 0.15  # share of the pictures that the edge answers itself, at least
LOST = 0.005  # accuracy that 5 % of lost packets may cost
SEEDS = 10  # of lost packets
COMPARED = 100  # pictures whose logits are held against csim and the RTL
OVER_LINK = 100  # pictures that are asked over the emulated link


def back_ends(made: Made) -> Found:
    """The back ends as their model cards tell of them."""
    own, small = (card["networks"]["backend"] for card in (made.card, made.thumbnail))
    accuracy, other = (entry["test_accuracy"]["by_seed"][0] for entry in (own, small))
    slowest = max(max(entry["seconds"]) for entry in (own, small)) / 60
    unit = f"of {made.card['data_set']['images']['test']} images"
    form = own.get("input") or {}
    body = {
        "network": own.get("network", "shipped"),
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
    model = OnnxModel(package.path / "datacenter.onnx", form_for(package.kernel))
    stages, steps = PackageReference(package), ladder_of(calibration.ladder)
    losses = [loss for loss in LOSSES if loss <= LOSS]

    def observed(split: Any, seed: int) -> Observed:
        return observe_once(package, model, stages, split, losses, seed, steps, data.checksum)

    chosen = pick(observed(data.calibration, 0), WITHIN, held_back=HELD_BACK)
    seeds = [observed(data.test, seed) for seed in range(SEEDS)]
    whole = outcome(seeds[0], chosen.thresholds)
    lossy = [float(outcome(one, chosen.thresholds, len(losses) - 1).right.mean()) for one in seeds]
    cost = float(whole.right.mean() - np.mean(lossy))
    equal, compared = _equal(made, folder / "verify", stages, console)
    ends = back_ends(made)
    body = {
        "back_ends": ends.body,
        "test_images": len(data.test),
        "data_centre_only": float(whole.backend_right.mean()),
        "cascade": float(whole.right.mean()),
        "paired_difference": asdict(gain(whole.backend_right, whole.right)),
        "picked": asdict(chosen),
        "answered_on_edge": 1.0 - whole.offload,
        "at_loss": {"loss": LOSS, "by_seed": lossy, "mean": float(np.mean(lossy))},
        "ladder": [rung.model_dump() for rung in calibration.ladder],
        "guaranteed": _guaranteed(calibration),
        "over_link": _over_link(made, calibration, folder / "demo", console),
        "compared": compared,
    }
    unit = f"of {len(data.test)} images"
    checks = (
        Check("photograph: cascade below the data centre alone", whole.behind, BELOW, True, unit, "simulated"),
        Check("photograph: answered on the edge", 1.0 - whole.offload, ON_EDGE, False, unit, "simulated"),
        Check(f"photograph: cost of {LOSS:.0%} loss", cost, LOST, True, f"mean of {SEEDS} seeds", "simulated"),
        Check("photograph: images that differ", equal, 0, True, f"of {compared['images']}", "simulated"),
    )
    return Found(body, (*ends.checks, *checks))


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
