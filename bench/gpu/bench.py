"""The GPU bench: every executor that is there, with pixels and with JPEGs, at several batches, within eight minutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.gpu.cells import LOAD, ME, Length, batch_seconds, idle, measure_cell
from edgesight.bench.gpu.device import Meter, lacking, told
from edgesight.bench.report import Check, PlainTable, print_checks, write_report
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.batching import Limits
from edgesight.host.datacenter.executors.base import PICTURE
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.repository import Repository
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.doors.served import Refused, Request, Tensor

REPORT = "gpu.json"
_ANSWERED = 0.999  # of the requests at four fifths of the capacity
_MEMORY = 64 << 30  # bytes that workers may take of the machine's; only one is loaded at a time
_WAITING = 4_096  # requests


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long that may take.

    Attributes:
        batches: rows at most.
        length: of each cell.
        runs: of each size of batch, whose seconds are kept one by one.
        begin_within: seconds, of all, after which no cell is begun.
        end_within: seconds after which the one that goes on is given up.
    """

    batches: Sequence[int]
    length: Length
    runs: int
    begin_within: float
    end_within: float


FULL = Plan((1, 8, 32, 128), Length(2.0, 4.0, 2.0), 30, 400.0, 435.0)  # ending a data centre may take half a minute
SHORT = Plan((2,), Length(0.3, 0.3, 0.0), 1, 240.0, 270.0)  # on a CPU, to see that it works


def bench_gpu(out: Path, console: Console, device: str = "cuda") -> bool:
    """Measure on the `device`, cuda or cpu (then shortly); whether all was answered. Writes `out`/gpu.json.

    Without a GPU nothing is measured: the report says why, and no bar is missed.
    """
    reason = lacking() if device == "cuda" else None
    if reason is not None:
        console.print(f"No GPU is measured: {reason}", highlight=False, soft_wrap=True, markup=False)
        write_report(out / REPORT, {"skipped": reason, "measured": []}, [])
        return True
    return asyncio.run(_Bench(out, console, device, FULL if device == "cuda" else SHORT).run())


class _Bench:
    """What was measured so far."""

    def __init__(self, out: Path, console: Console, device: str, plan: Plan) -> None:
        self._out, self._console, self._device, self._plan = out, console, device, plan
        self._begun = time.perf_counter()
        self._measured: list[dict[str, Any]] = []
        self._models: list[dict[str, Any]] = []
        self._lacking: list[dict[str, Any]] = []

    async def run(self) -> bool:
        from edgesight.bench.gpu.network import beside_the_rule, make_repository, photographs, subjects

        files = photographs()
        decoded, reason = beside_the_rule(files, self._device)
        models = subjects(self._device, decoded is not None)
        body: dict[str, Any] = {"skipped": None, **told(self._device), "load": LOAD, "plan": asdict(self._plan)}
        self._say(f"{body['device']}: exporting EfficientNet-Lite0 ...")
        folder = self._out / "gpu" / "repository"
        body["weights"] = make_repository(folder, models, max(*self._plan.batches, MAX_BATCH))
        body["pictures"] = {"count": len(files), "bytes": sum(map(len, files)) // len(files), "kind": "JPEG, 500 x 375"}
        body["pixels_beside_the_rule"] = decoded
        if reason:
            self._lack("JPEGs on the device", reason)
        meter = Meter(self._device)
        body["power"] = {"sensor": meter.name, "lacking": meter.lacking}
        for subject in models:
            left = self._plan.end_within - self._seconds()
            try:
                await asyncio.wait_for(self._measure(folder, subject, files, meter), max(left, 0.0))
            except asyncio.TimeoutError:
                self._lack(subject.title, "the time was up while it was measured")
            except Refused as error:
                self._lack(subject.title, str(error))
        body |= {"models": self._models, "measured": self._measured, "not_measured": self._lacking}
        body["seconds"] = self._seconds()
        worst = min((cell["answered"] / cell["requests"] for cell in self._measured), default=0.0)
        name = f"requests answered at {LOAD:.0%} of the capacity, the worst of {len(self._measured)} cells"
        checks = [Check(name, worst, _ANSWERED, False, "share", "measured")]
        write_report(self._out / REPORT, body, checks)
        self._print()
        return print_checks(self._console, checks)

    async def _measure(self, folder: Path, subject: Any, files: Sequence[bytes], meter: Meter) -> None:
        if self._seconds() > self._plan.begin_within:
            self._lack(subject.title, "the time was up before it was begun")
            return
        self._say(f"{subject.title}: loading ...")
        limits = Limits(jobs=_WAITING, bytes=1 << 30, caller_bytes=1 << 30)
        async with DataCentre(Repository(folder), Local(_MEMORY, limits)) as centre:
            await centre.start([])
            begun = time.perf_counter()
            await centre.load(subject.name, {}, ME)
            loaded = time.perf_counter() - begun
            _, idle_watts = await meter.over(idle(self._plan.length.idle))
            by_rule, encoded = _tensors(files)
            pooled = "pictures" not in subject.options
            model = {"executor": subject.title, "load_seconds": loaded, "idle_watts": idle_watts}
            model["jpegs_decoded_by"] = "the data centre's CPUs" if pooled else "the worker"
            if not pooled:
                model["jpegs_beside_the_rule"] = await _difference(centre, subject.name, by_rule, encoded)
            self._say(f"{subject.title}: seconds by size of the batch ...")
            model["batch_seconds"] = await batch_seconds(centre, subject.name, by_rule, MAX_BATCH, self._plan.runs)
            self._models.append(model)
            for kind, tensors in (("pixels", by_rule), ("JPEG", encoded)):
                for rows in self._plan.batches:
                    what = f"{subject.title}, {kind}, batches of {rows}"
                    if self._seconds() > self._plan.begin_within:
                        self._lack(what, "the time was up before it was begun")
                        continue
                    self._say(f"{what} ...")
                    through = pooled and kind == "JPEG"
                    try:
                        cell = await measure_cell(
                            centre, subject.name, tensors, rows, self._plan.length, meter, through
                        )
                    except Refused as error:
                        self._lack(what, str(error))
                        continue
                    above = None
                    if cell["joules_per_request"] is not None and idle_watts is not None:
                        above = cell["joules_per_request"] * (1.0 - idle_watts / cell["watts"])
                    cell["joules_per_request_above_idle"] = above
                    self._measured.append({"executor": subject.title, "input": kind, **cell})

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun

    def _say(self, what: str) -> None:
        self._console.print(f"{self._seconds():5.0f} s  {what}", highlight=False, markup=False)

    def _lack(self, what: str, reason: str) -> None:
        self._lacking.append({"what": what, "reason": reason})
        self._say(f"{what}: not measured: {reason}")

    def _print(self) -> None:
        columns = ("executor", "input", "batch", "requests/s", "P50 ms", "P99 ms", "J a request")
        table = PlainTable(f"At {LOAD:.0%} of the capacity", columns, words=("executor", "input"))
        for cell in self._measured:
            figures = (cell["requests_per_second"], cell["p50_ms"], cell["p99_ms"], cell["joules_per_request"])
            shown = ["-" if figure is None else f"{figure:.4g}" for figure in figures]
            table.add_row(cell["executor"], cell["input"], str(cell["rows_at_most"]), *shown)
        self._console.print(table)


def _tensors(files: Sequence[bytes]) -> tuple[list[Tensor], list[Tensor]]:
    """Each picture as pixels by the rule, and as its file."""
    from edgesight.bench.gpu.network import FORM
    from edgesight.host.pictures import read

    pixels = [Tensor("image", "UINT8", read(file, *FORM.shape).pixels[None]) for file in files]
    encoded = []
    for file in files:
        values: npt.NDArray[Any] = np.empty(1, object)
        values[0] = file
        encoded.append(Tensor(PICTURE, "BYTES", values))
    return pixels, encoded


async def _difference(
    centre: DataCentre, model: str, by_rule: Sequence[Tensor], encoded: Sequence[Tensor]
) -> dict[str, float]:
    """How logits of pictures that the worker decoded differ from those of the pixels by the rule."""
    logits = []
    for tensors in (by_rule, encoded):
        answers = [await centre.infer(Request(model, [tensor]), ME) for tensor in tensors]
        logits.append(np.concatenate([answer.outputs[0].values for answer in answers]))
    apart = np.abs(logits[0] - logits[1])
    return {
        "largest": float(apart.max()),
        "mean": float(apart.mean()),
        "spread_of_logits": float(logits[0].std()),
        "same_best_class": float((logits[0].argmax(1) == logits[1].argmax(1)).mean()),
    }
