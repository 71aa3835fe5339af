"""Rows of the demo: what each target reached, and their tables."""

from __future__ import annotations

import datetime
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import binomtest

from edgesight.bench.multiplications import Multiplications, multiplications
from edgesight.bench.report import Check
from edgesight.host.answer import Answer
from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import OFFLOAD, Records
from edgesight.host.kernel import Kernel
from edgesight.host.package import Package

DEADLINE_S = 0.1  # an answer in time; a later one is degraded to the edge's
DELAY_S = 0.005  # of the emulated link, each way
LATE_TOLD = 0.05  # share of late answers from which on the reader is told why


class DemoError(EdgeSightError):
    """The demo cannot run: says what is missing and what to do."""


@dataclass(frozen=True)
class Row:
    """One way of answering all images: an accuracy target, or a baseline."""

    name: str
    target: float | None
    # Over the pictures that are not strange, which targets are about; of the data centre alone: over those of them that
    # it answered in time.
    accuracy: float
    low: float  # 95 % Clopper-Pearson interval
    high: float
    verdict: str  # yes: reached; in doubt: missed, but inside the 95 % interval; no; empty for a baseline
    stages: dict[str, float]  # share of answers by who answered
    offload: float  # share that was sent to the data centre
    in_time: float  # share whose answer, by whoever was asked last, came within the deadline
    degraded: float  # share that the edge answered in its stead
    guaranteed: float | None  # share of answers that the target covers; None for a baseline
    cycles: float | None  # mean cycles an image on the fabric, from header to record; None where no fabric took part
    multiplications: Multiplications | None  # on the fabric
    legs: dict[str, tuple[float, float]]  # leg -> median and P99 in ms, over the answers that took it
    total: tuple[float, float]  # median and P99 in ms of all legs together


def answerers(kernel: Kernel) -> list[str]:
    """Who can answer, in the order in which they are asked."""
    return [*(stage.name for stage in kernel.stages), "datacenter"]


def answered_row(
    name: str,
    target: float | None,
    answers: Sequence[Answer],
    truth: npt.NDArray[np.int64],
    records: Records,
    kernel: Kernel,
) -> Row:
    """The row of the `answers` to all images, whose classes are `truth` [N]; `records` are the fabric's."""
    counted = familiar(answers, kernel)
    right = int(np.sum((np.array([answer.label for answer in answers]) == truth)[counted]))
    legs: dict[str, list[float]] = {}
    for answer in answers:
        for leg in answer.legs:
            legs.setdefault(leg.name, []).append(leg.milliseconds)
    who: Counter[str] = Counter(answer.stage for answer in answers)
    low, high = _interval(right, int(counted.sum()))
    accuracy = right / float(counted.sum())
    return Row(
        name=name,
        target=target,
        accuracy=accuracy,
        low=low,
        high=high,
        verdict=_verdict(accuracy, high, target),
        stages={stage: who[stage] / len(answers) for stage in answerers(kernel)},
        offload=float(np.mean((records["stage"] & OFFLOAD) != 0)),
        in_time=1.0 - sum(answer.degraded for answer in answers) / len(answers),
        degraded=sum(answer.degraded for answer in answers) / len(answers),
        guaranteed=None if target is None else sum(answer.guaranteed for answer in answers) / len(answers),
        cycles=float(records["cycles"].mean()),
        multiplications=multiplications(kernel, records["stage"]),
        legs={leg: _spread(values) for leg, values in legs.items()},
        total=_spread([sum(leg.milliseconds for leg in answer.legs) for answer in answers]),
    )


def familiar(answers: Sequence[Answer], kernel: Kernel) -> npt.NDArray[np.bool_]:
    """Which of the pictures that were answered [N] are not strange to the kernel; raises DemoError where none is."""
    level = kernel.novelty.level if kernel.novelty is not None else 0.0
    found = np.array([answer.novelty is None or answer.novelty >= level for answer in answers])
    if not found.any():
        raise DemoError("every picture is strange to the kernel: calibrate it on pictures like these")
    return found


def data_centre_row(
    replies: list[tuple[int, float, float]],
    truth: npt.NDArray[np.int64],
    by: Sequence[str],
    counted: npt.NDArray[np.bool_] | None = None,
) -> Row:
    """The data centre's own accuracy, and how much of it comes in time; raises DemoError where nothing did.

    Accuracy is over those that are `counted` [N]; over all where that is None.
    """
    labels, link, service = (np.array(column) for column in zip(*replies, strict=True))
    came = labels >= 0
    answered = int(came.sum())
    if not answered:
        raise DemoError(
            f"the data centre answered no image within {DEADLINE_S * 1e3:g} ms, so that nothing can be measured: "
            "try again when this machine is less busy"
        )
    # What came late is not wrong: it tells of the link and of this machine, not of the model.
    judged = came if counted is None or not (came & counted).any() else came & counted
    right = int(np.sum(labels[judged] == truth[judged]))
    low, high = _interval(right, int(judged.sum()))
    return Row(
        name="data centre only",
        target=None,
        accuracy=right / int(judged.sum()),
        low=low,
        high=high,
        verdict="",
        stages={**dict.fromkeys(by, 0.0), "datacenter": answered / len(labels)},
        offload=1.0,
        in_time=answered / len(labels),
        degraded=0.0,
        guaranteed=None,
        cycles=None,
        multiplications=None,
        legs={"link": _spread(link), "service": _spread(service[came])},
        total=_spread(link + service),
    )


def _verdict(accuracy: float, high: float, target: float | None) -> str:
    if target is None:
        return ""
    return "yes" if accuracy >= target else "in doubt" if high >= target else "no"


def _interval(right: int, count: int) -> tuple[float, float]:
    """Two-sided 95 % Clopper-Pearson interval."""
    found = binomtest(right, count).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def _spread(values: Sequence[float] | npt.NDArray[Any]) -> tuple[float, float]:
    """Median and P99."""
    return float(np.median(values)), float(np.percentile(values, 99))


def who_answered(by: Sequence[str]) -> list[str]:
    """Headings of the shares of answers by who gave them."""
    return ["data centre" if name == "datacenter" else f"stage {name.removeprefix('stage')}" for name in by]


def _columns(package: Package) -> list[str]:
    return [
        *("asked for", "reached", "95 % interval", "met"),
        *who_answered(answerers(package.kernel)),
        *("in time", "guaranteed", "cycles", "fabric ms*", "link ms", "service ms", "all ms"),
    ]


def _cells(row: Row) -> list[str]:
    """A row's text by column."""
    return [
        row.name,
        f"{row.accuracy:.1%}",
        f"{row.low:.1%} to {row.high:.1%}",
        row.verdict,
        *(f"{share:.1%}" for share in row.stages.values()),
        f"{row.in_time:.1%}",
        "" if row.guaranteed is None else f"{row.guaranteed:.1%}",
        "" if row.cycles is None else f"{row.cycles:,.0f}",
        *(_milliseconds(row.legs.get(leg)) for leg in ("fabric", "link", "service")),
        _milliseconds(row.total),
    ]


def _footnote(package: Package) -> str:
    clock = f"{package.kernel.clock_mhz:g} MHz"
    return (
        f"* simulated: cycles of the RTL at {clock}, from header to record, frames sent as fast as they are taken. "
        f"In time: within {DEADLINE_S * 1e3:g} ms, the fabric's time included. Where the data centre's answer did not "
        "come in time, the edge's counts; of the data centre alone, none. Accuracy is over the pictures that are not "
        "strange to the kernel: targets are about those."
    )


def lateness(rows: Sequence[Row], loss: float, calibrated_loss: float) -> str | None:
    """What to know where many of the data centre's answers came late; None where hardly any did."""
    shares = {row.name: (1.0 - row.in_time) / row.offload for row in rows if row.offload > 0.0}
    if not shares:
        return None
    name, share = max(shares.items(), key=lambda one: one[1])
    if share < LATE_TOLD:
        return None
    said = (
        f"Late: up to {share:.0%} of the answers that were asked of the data centre ({name}) did not come within "
        f"{DEADLINE_S * 1e3:g} ms. The edge's answers count in their place, so that accuracies are lower, and more is "
        "offloaded for the same, than where they come in time."
    )
    if loss > calibrated_loss:
        return f"{said} The link loses {loss:.0%}, more than the {calibrated_loss:.0%} of calibration: lower --loss."
    return (
        f"{said} The link and the data centre run on this machine, which was too slow or too busy: run the demo again "
        "when nothing else runs."
    )


def multiplied(rows: Sequence[Row], kernel: Kernel) -> str | None:
    """What going on from features saves, by row; None of a cascade whose stages all begin at the pixels."""
    if all(stage.trunk is None for stage in kernel.stages):
        return None
    told = [
        f"{row.name}: {row.multiplications.an_image:,.0f} instead of {row.multiplications.from_pixels:,.0f}"
        for row in rows
        if row.multiplications is not None
    ]
    return f"Multiplications an image, instead of those of the same networks from the pixels: {'; '.join(told)}."


def tables(rows: Sequence[Row], package: Package) -> list[Table]:
    """The columns in tables that a terminal of 80 characters holds: how accurately, by whom, how soon."""
    name = package.kernel.name
    tables = []
    for title, columns in (
        (f"{name}: how accurately", ("reached", "95 % interval", "met", "guaranteed")),
        ("who answered", (*who_answered(answerers(package.kernel)), "in time")),
        ("how soon (milliseconds: median / P99)", ("cycles", "fabric ms*", "link ms", "service ms", "all ms")),
    ):
        table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
        table.add_column(_columns(package)[0])
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows:
            cells = dict(zip(_columns(package), _cells(row), strict=True))
            style = {"no": "red", "in doubt": "yellow"}.get(row.verdict)
            table.add_row(row.name, *(cells[column] for column in columns), style=style)
        tables.append(table)
    tables[-1].caption = _footnote(package)
    return tables


def markdown(
    rows: Sequence[Row],
    checks: Sequence[Check],
    package: Package,
    images: int,
    loss: float,
    note: str,
    late: str | None,
) -> str:
    """The report as a page: what was run, where and when, the table, the checks."""
    columns, saved = _columns(package), multiplied(rows, package.kernel)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    lines = [
        f"# The demo on {package.kernel.name}",
        "",
        f"Written by `edgesight demo` on {datetime.date.today().isoformat()} ({machine}). {note} {images} test images; "
        f"the link lost {loss:.0%} of packets each way and delayed them by {DELAY_S * 1e3:g} ms. Milliseconds are "
        "median / P99.",
        "",
        "| " + " | ".join(columns).replace("ms*", "ms\\*") + " |",
        "|---" + "|--:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(_cells(row)) + " |" for row in rows),
        "",
        _footnote(package).replace("*", "\\*"),
        "",
        *([saved, ""] if saved is not None else []),
        *([late, ""] if late is not None else []),
        "| check | value | bar | met | obtained |",
        "|---|--:|--:|---|---|",
        *(
            f"| {check.name} | {check.value:.6g} {check.unit} | {'at most' if check.at_most else 'at least'} "
            f"{check.bar:.6g} | {'yes' if check.met else 'NO'} | {check.obtained} |"
            for check in checks
        ),
        "",
    ]
    return "\n".join(lines)


def _milliseconds(spread: tuple[float, float] | None) -> str:
    return "" if spread is None else f"{spread[0]:.2f} / {spread[1]:.2f}"
