"""Proof by equality: Brevitas = QONNX = csim = Verilated RTL, on logits and on decisions.

Single precision computes the shipped networks exactly, whose scales are powers of two. What a file with other scales
says is computed in double precision (`edgesight.hls.graph.truth`), and counts as the integers that it is the bound of.

The integer logits of all go to `logits.npz`, the cascade's records of both fabrics to `records.npz`, so that every
number of `report.json` can be derived anew from what was compared (`recount`).
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.multiplications import multiplications
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.fabric.base import Images
from edgesight.host.fabric.csim import decide
from edgesight.host.files import write_atomically
from edgesight.host.kernel import Stage
from edgesight.host.package import Package
from edgesight.host.registers import THRESHOLD_SETS
from edgesight.host.selftest import ways_through
from edgesight.sim.workers import Workers, progress

# Computes float logits [N, classes] of a named stage for images uint8 [N, H, W, C].
Reference = Callable[[str, Images], npt.NDArray[Any]]
_BATCH = 50
_OFF_GRID = 0.05  # of a step, what single precision may be off
_ROUNDING = 1e-9  # share of the largest logit by which two sums in double precision may differ
FABRICS = ("csim", "rtl")
_MAKERS = {"csim": "csim", "rtl": "verilated"}
_RECORD_FIELDS = ("label", "stage", "error", "margin")  # csim counts no cycles, tags are the run's own


def references_of(package: Package, zoo: Path | None) -> dict[str, Reference]:
    """What the trained networks in the zoo folder say, and their QONNX exports in the package.

    Brevitas says nothing of networks of the user's own, whose layers only their author's file knows: their QONNX, which
    `train` held against Brevitas, is what counts.
    """
    from edgesight.hls.zoo import read_card

    networks = {} if zoo is None else read_card(zoo).get("networks") or {}
    if zoo is None or any(
        networks.get(stage.name, {"network": None}).get("network", "shipped") != "shipped"
        for stage in package.kernel.stages
    ):
        return {"qonnx": functools.partial(_truth, package)}
    from edgesight.hls import qonnx_graph  # here, since they take torch and qonnx
    from edgesight.quant.export import brevitas_logits

    def brevitas(stage: str, images: Images) -> npt.NDArray[Any]:
        return brevitas_logits(zoo, stage, images)

    def qonnx(stage: str, images: Images) -> npt.NDArray[Any]:
        return qonnx_graph.execute(package.path / "networks" / f"{stage}.onnx", images)

    return {"brevitas": brevitas, "qonnx": qonnx}


def _truth(package: Package, name: str, images: Images) -> npt.NDArray[Any]:
    """A stage's logits by the arithmetic of its QONNX file, in double precision.

    Those of the whole network that the file was read as, where they are no further off than the kernel says.
    """
    import onnx

    from edgesight.hls.dataflow.reference import Reference as FastReference
    from edgesight.hls.dataflow.reference import real_values
    from edgesight.hls.graph.integer_network import integer_network
    from edgesight.hls.graph.maps import real_outputs

    index = [stage.name for stage in package.kernel.stages].index(name)
    stage = package.kernel.stages[index]
    file, exit_ = package.kernel.network_of(index)
    path = package.path / file
    network, _ = integer_network(path)
    taken = images.astype(np.float64) * network.entry.scale
    wanted = real_outputs(onnx.load(str(path)), taken, network.ends)[exit_].reshape(len(images), -1)
    found = FastReference(network).integers(images.astype(np.int64))[exit_]
    made = real_values(network.outputs[exit_], found).reshape(len(images), -1)
    near = np.abs(made - wanted) <= stage.logit_error + _ROUNDING * np.abs(wanted).max()
    logits = found.reshape(len(images), -1) * stage.logit_scale + stage.logit_offset  # before a softmax
    return np.where(near, logits, wanted)


def verify(package: Package, images: Images, references: Mapping[str, Reference], out: Path, console: Console) -> bool:
    """Compare all sources on images uint8 [N, H, W, C]; write `out`/report.json; returns whether all are equal."""
    kernel = package.kernel
    logits: dict[str, npt.NDArray[np.int64]] = {}
    for name, reference in references.items():
        for stage in kernel.stages:
            values = _in_batches(reference, stage.name, images, f"{stage.name} ({name})")
            logits[f"{name}_{stage.name}"] = integers(values, stage)
    rows = threshold_rows(package)
    sets = (np.arange(len(images)) % len(rows)).astype(np.uint8)  # rows of all targets mixed in the pipeline
    records: dict[str, npt.NDArray[Any]] = {}
    for name in FABRICS:
        with Workers(package, _MAKERS[name]) as workers:
            for stage, found in zip(kernel.stages, workers.logits(images, f"all stages ({name})"), strict=True):
                logits[f"{name}_{stage.name}"] = found.astype(np.int64)
            made = workers.records(images, rows, sets, f"cascade ({name})")
            records[name] = np.stack([made[field].astype(np.int64) for field in _RECORD_FIELDS], axis=1)
    out.mkdir(parents=True, exist_ok=True)
    _save(out / "logits.npz", logits)
    _save(out / "records.npz", records)
    counted = recount(logits, records)
    checks = [
        Check(f"mismatches {pair}", mismatches, 0, True, "images", "simulated") for pair, mismatches in counted.items()
    ]
    checks.append(Check("images compared", len(images), 1, False, "images", "simulated"))
    body = {
        "kernel": kernel.name,
        "build_hash": kernel.build_hash,
        "images": len(images),
        "thresholds": rows,
        "mismatches": counted,
        "multiplications": [  # by row of thresholds
            asdict(multiplications(kernel, records["rtl"][sets == row, _RECORD_FIELDS.index("stage")]))
            for row in range(min(len(rows), len(images)))
        ],
    }
    write_report(out / "report.json", body, checks)
    return print_checks(console, checks)


def recount(logits: Mapping[str, npt.NDArray[Any]], records: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """Images that differ, by pair: logits and decisions of each stage, and the cascade's records."""
    counted: dict[str, int] = {}
    sources = list(dict.fromkeys(key.rsplit("_", 1)[0] for key in logits))
    stages = list(dict.fromkeys(key.rsplit("_", 1)[1] for key in logits))
    for stage, (first, second) in itertools.product(stages, itertools.combinations(sources, 2)):
        one, other = logits[f"{first}_{stage}"], logits[f"{second}_{stage}"]
        counted[f"{stage} logits {first}={second}"] = int(np.any(one != other, axis=1).sum())
        decided = np.any(np.stack(decide(one)) != np.stack(decide(other)), axis=0)
        counted[f"{stage} decisions {first}={second}"] = int(decided.sum())
    differing = np.any(records["csim"] != records["rtl"], axis=1)
    counted["cascade records csim=rtl"] = int(differing.sum())
    return counted


def threshold_rows(package: Package) -> list[list[int]]:
    """The threshold rows to compare the cascade under: for every way through it, and every offered target's."""
    calibration = package.kernel.calibration
    targets = calibration.targets if calibration is not None else []
    rows = [*ways_through(len(package.kernel.stages)), *(target.thresholds for target in targets)]
    return rows[:THRESHOLD_SETS]


def integers(values: npt.NDArray[Any], stage: Stage) -> npt.NDArray[np.int64]:
    """A stage's logits as integers of its grid; ValueError where one lies off the grid by more than rounding errors."""
    steps = (values.astype(np.float64) - stage.logit_offset) / stage.logit_scale
    rounded = np.rint(steps).astype(np.int64)
    off = float(np.abs(steps - rounded).max(initial=0.0))
    # A power of two changes no digit of a logit; any other scale is rounded, as single precision rounds it.
    exact = math.frexp(stage.logit_scale)[0] == 0.5 and stage.logit_offset == 0 and stage.logit_error == 0
    if off > (0.0 if exact else stage.logit_error / stage.logit_scale + _OFF_GRID):
        raise ValueError(
            f"logits of {stage.name} off the grid {stage.logit_scale:.6g} by {off:.3g} steps: the network is not what "
            "the kernel was made from"
        )
    return rounded


def load(folder: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[Any]]]:
    """Report, logits and records of an earlier `verify` into `folder`."""
    with np.load(folder / "logits.npz") as logits, np.load(folder / "records.npz") as records:
        return json.loads((folder / "report.json").read_text()), dict(logits), dict(records)


def _in_batches(reference: Reference, stage: str, images: Images, what: str) -> npt.NDArray[Any]:
    with progress() as bar:
        task = bar.add_task(what, total=len(images))
        parts = []
        for start in range(0, len(images), _BATCH):
            parts.append(reference(stage, images[start : start + _BATCH]))
            bar.advance(task, len(parts[-1]))
    return np.concatenate(parts)


def _save(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type] # its stub takes a keyword for an array
    write_atomically(path, packed.getvalue())
