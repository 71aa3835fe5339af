"""What a schedule of faults showed: all that was gathered, the checks of it, and all of it as plain JSON.

Words owned here: *wrong* (a sound answer whose label is not what the back end says of that image unharmed, or an edge's
own that is not the fabric's).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.link.programs import ALLOWANCE_S, Asked, Material
from edgesight.bench.report import Check
from edgesight.host.answer import Answer

RECOVER_WITHIN_S = 15.0  # the longest pause between two attempts to connect (7.5 s), a silence that ends one (3), twice
GROWTH_MB = 24.0  # resident memory that a process may gain over the schedule
_SAMPLES_OF_GROWTH = 8  # the fewest that a growth of memory is told from
_TOLD = 40  # bad answers of a kind that are told one by one


@dataclass
class Findings:
    """What is gathered while the schedule runs."""

    began: float = 0.0  # monotonic clock, seconds
    asked: list[Asked] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    memory_mb: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # by process: its id, and how much
    ended: list[str] = field(default_factory=list)  # processes that ended by themselves


def judge(
    findings: Findings, backend: npt.NDArray[np.int64], edge: npt.NDArray[np.int64], unhandled: int, faults: int
) -> list[Check]:
    """The checks of what was found; `backend` and `edge` are the right labels of the images by whoever answers."""
    asked = findings.asked
    answered = [(one, one.answer) for one in asked if one.answer is not None]
    late = [one for one in asked if one.late]
    sound = [(one, answer) for one, answer in answered if one.sound]
    wrong = [one for one, answer in sound if answer.label != backend[one.image]]
    stood_in = [(one, answer) for one, answer in answered if answer.stage != "datacenter"]
    unmarked = [one for one, answer in stood_in if not (answer.degraded and answer.reason)]
    other = [one for one, answer in stood_in if answer.label != edge[one.image]]
    recoveries = [fault["recovery_s"] - fault["kept_off_s"] for fault in findings.faults]
    growths = {name: _growth(memory) for name, memory in findings.memory_mb.items()}
    return [
        Check("faults gone through", len(findings.faults), faults, False, "faults", "measured"),
        Check(
            f"queries not answered by deadline + {ALLOWANCE_S:g} s (+ time off the CPU)",
            len(late),
            0,
            True,
            "queries",
            "measured",
        ),
        Check("wrong answers marked sound", len(wrong), 0, True, "answers", "measured"),
        Check("sound answers, to know that by", len(sound), faults, False, "answers", "measured"),
        Check("the edge's own answers not marked degraded", len(unmarked), 0, True, "answers", "measured"),
        Check("the edge's own answers that are not the fabric's", len(other), 0, True, "answers", "measured"),
        Check(
            "longest recovery (less time off the CPU)",
            max(recoveries, default=0.0),
            RECOVER_WITHIN_S,
            True,
            "s",
            "measured",
        ),
        Check("unhandled exceptions in both logs", unhandled, 0, True, "exceptions", "measured"),
        Check("processes that ended by themselves", len(findings.ended), 0, True, "processes", "measured"),
        *(
            Check(f"memory gained by the {name}", growth, GROWTH_MB, True, "MB", "measured")
            for name, growth in growths.items()
            if growth is not None
        ),
    ]


def told(findings: Findings, material: Material, seed: int, link: dict[str, Any]) -> dict[str, Any]:
    """All that was found with `seed`, as plain JSON; `link` is the link's report."""
    asked = findings.asked
    answered = [(one, one.answer) for one in asked if one.answer is not None]
    over = sorted(one.took_s - one.deadline_s for one, _ in answered)
    labels = Counter(material.backend.tolist())
    kinds = sorted({fault["kind"] for fault in findings.faults})
    recoveries = {
        kind: sorted(fault["recovery_s"] for fault in findings.faults if fault["kind"] == kind) for kind in kinds
    }
    return {
        "seed": seed,
        "queries": len(asked),
        "sound": sum(one.sound for one in asked),
        "degraded": sum(answer.degraded for _, answer in answered),
        "allowance_s": ALLOWANCE_S,
        "kept_off_s": {
            f"p{percent}": _at(sorted(one.kept_off_s for one in asked), percent) for percent in (50, 99, 100)
        },
        "beyond_deadline_s": {f"p{percent}": _at(over, percent) for percent in (50, 99, 100)},
        "late": _listed(findings, [one for one in asked if one.late], material),
        "wrong": _listed(
            findings, [one for one, answer in answered if answer.label != _right(one, material)], material
        ),
        "why_degraded": dict(Counter(_why(answer) for _, answer in answered if answer.degraded).most_common(20)),
        "why_unanswered": dict(Counter(one.error for one in asked if one.error is not None).most_common(10)),
        "images": len(material.images),
        # An answer that belongs to another image is seen as wrong but for this share.
        "pairs_of_images_of_one_label": round(sum(n**2 for n in labels.values()) / len(material.images) ** 2, 3),
        "recovery_s": {
            kind: {"faults": len(found), "median": _at(found, 50), "longest": found[-1]}
            for kind, found in recoveries.items()
        },
        "memory_mb": {
            name: {
                "first": memory[0][1],
                "last": memory[-1][1],
                "most": max(mb for _, mb in memory),
                "gained": _growth(memory),
            }
            for name, memory in findings.memory_mb.items()
        },
        "ended": findings.ended,
        "link": link,
        "faults": findings.faults,
    }


def _right(asked: Asked, material: Material) -> int:
    """The right label of whoever answered."""
    return int((material.backend if asked.sound else material.edge)[asked.image])


def _listed(findings: Findings, bad: list[Asked], material: Material) -> list[dict[str, Any]]:
    """Bad answers with the fault under which they were asked."""
    rows = []
    for one in bad[:_TOLD]:
        at = one.begun - findings.began
        before = [fault for fault in findings.faults if fault["begun_s"] <= at]
        rows.append(
            {
                "at_s": round(at, 3),
                "fault": before[-1]["kind"] if before else None,
                "into_it_s": round(at - before[-1]["begun_s"], 3) if before else None,
                "deadline_s": one.deadline_s,
                "took_s": round(one.took_s, 3),
                "kept_off_s": round(one.kept_off_s, 3),
                "label": one.answer.label if one.answer is not None else None,
                "right": _right(one, material),
                "reason": one.answer.reason if one.answer is not None else one.error,
            }
        )
    return rows


def _growth(memory: list[tuple[int, float]]) -> float | None:
    """MB that the longest-lived process gained from its samples' second quarter to the last; None with too few."""
    (pid, count), *_ = Counter(pid for pid, _ in memory).most_common(1)
    if count < _SAMPLES_OF_GROWTH:
        return None
    samples = [mb for owner, mb in memory if owner == pid]
    quarter = len(samples) // 4
    return round(float(np.median(samples[-quarter:]) - np.median(samples[quarter : 2 * quarter])), 2)


def _at(ascending: list[float], percent: int) -> float | None:
    return round(ascending[min(len(ascending) * percent // 100, len(ascending) - 1)], 4) if ascending else None


def _why(answer: Answer) -> str:
    return re.sub(r"\d+", "N", answer.reason or "not said")
