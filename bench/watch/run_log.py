"""The log of a run with faults, and what counters of its edge and of its data centre are to say by it.

Nothing of it comes from a counter, but for what a data centre's doors say of batches, which its link says, too.

Words owned here: said (an answer as it came), life (of a data centre, from its start to its end), hung (asked while the
model stood still, for less long than that), lost (asked of a data centre that was gone).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgesight.bench.watch.held import Expected, Range, exactly, series
from edgesight.host.answer import Answer
from edgesight.host.audits import Audit, audits_in, followed_in
from edgesight.host.kernel import Calibration
from edgesight.host.watches import checksum_of

Meant = Literal["", "hung", "lost"]
_PARTS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")  # of a request's time


@dataclass(frozen=True)
class Said:
    """An answer as whoever asked got it; `legs` are name, how obtained, seconds."""

    life: int  # of the data centre, in which it was asked
    meant: Meant
    target: str
    stage: str
    degraded: bool
    guaranteed: bool
    novelty: float | None
    hedged: bool
    reason: str
    legs: tuple[tuple[str, str, float], ...]

    @classmethod
    def of_answer(cls, answer: Answer, life: int, meant: Meant) -> Said:
        """As it came over the socket."""
        return cls(
            life,
            meant,
            f"{answer.accuracy_target:g}",
            answer.stage,
            answer.degraded,
            answer.guaranteed,
            answer.novelty,
            answer.hedged,
            answer.reason or "",
            tuple((leg.name, leg.obtained, leg.milliseconds / 1e3) for leg in answer.legs),
        )

    @classmethod
    def of_parameters(cls, told: Mapping[str, Any], life: int, meant: Meant) -> Said:
        """As it came over HTTP, alone in its request."""
        legs = [
            (name, told.get(f"{name}_obtained", "measured"), told[f"{name}_ms"] / 1e3)
            for name in ("fabric", "link", "service")
            if f"{name}_ms" in told
        ]
        return cls(
            life,
            meant,
            f"{told['accuracy_target']:g}",
            told["stage"],
            told["degraded"],
            told["guaranteed"],
            told.get("novelty"),
            told["hedged"],
            told.get("reason", ""),
            tuple(legs),
        )

    @property
    def needless(self) -> bool:
        """It was hedged, and the fabric's answer counts: its request was taken back, perhaps too late."""
        return self.hedged and self.offload is None

    @property
    def offload(self) -> str | None:
        """What became of its request to the data centre: as the metric has it; None where there was none."""
        if self.stage == "datacenter" or "came after the deadline" in self.reason:
            return "answered"
        if not self.degraded or "passed on the fabric" in self.reason:
            return None
        return "unanswered" if any(name == "link" for name, _, _ in self.legs) else "not_sent"


@dataclass
class Asked:
    """What a door was asked for a model, by the log of who asked."""

    succeeded: int = 0
    failed: int = 0
    rows: int = 0
    sizes: Counter[int] = field(default_factory=Counter)  # of those that succeeded

    def took(self, rows: int) -> None:
        """A request for so many was answered."""
        self.succeeded += 1
        self.rows += rows
        self.sizes[rows] += 1


@dataclass
class RunLog:
    """All that was done."""

    said: list[Said] = field(default_factory=list)
    taken_back: Counter[int] = field(default_factory=Counter)  # queries cancelled, by life
    edge_door: Asked = field(default_factory=Asked)
    doors: dict[int, dict[str, Asked]] = field(default_factory=dict)  # the data centre's, by life and model
    swaps: int = 0
    outages: list[tuple[float, float]] = field(default_factory=list)  # seconds since 1970
    began: dict[int, float] = field(default_factory=dict)  # lives, likewise


@dataclass(frozen=True)
class Relayed:
    """What the relay did on the edge's way to the data centre, since whatever is held against it began."""

    offered: int
    delivered: int
    lost: int


def of_edge(
    log: RunLog,
    name: str,
    folder: Path,
    calibration: Calibration,
    level: float,
    stats: Sequence[Mapping[str, Any]],
    relayed: Relayed,
) -> Expected:
    """What the edge's metrics are to be.

    `folder` holds its audits, `level` is below what p-value pictures are strange, and `stats` are the doors'.
    """
    expected, own = Expected(), {"application": name}
    said = log.said
    for (target, stage), count in Counter((one.target, one.stage) for one in said).items():
        expected.add("answers_total", count, target=target, stage=stage, **own)
    for target in {one.target for one in said}:
        degraded = sum(one.degraded for one in said if one.target == target)
        expected.add("answers_degraded_total", degraded, target=target, **own)
    expected.add("answers_not_guaranteed_total", sum(not one.guaranteed for one in said), **own)
    strange = sum(one.novelty is not None and one.novelty < level for one in said)
    expected.add("answers_strange_total", strange, **own)
    expected.add("answers_hedged_total", sum(one.hedged for one in said), **own)
    expected.add("answers_failed_total", 0, **own)
    legs: dict[tuple[str, str], list[float]] = {}
    for leg, obtained, seconds in (leg for one in said for leg in one.legs):
        legs.setdefault((leg, obtained), []).append(seconds)
    for (leg, obtained), values in legs.items():
        expected.spread("leg_seconds", values, leg=leg, obtained=obtained, **own)
    looked = len(said) + log.taken_back.total()
    expected.add("fabric_run_pictures_sum", looked, **own)
    expected.add("fabric_run_pictures_count", Range(1, looked), **own)
    expected.add("swaps_total", log.swaps, **own)
    offloads, needless = Counter(one.offload for one in said), sum(one.needless for one in said)
    for outcome in ("answered", "unanswered", "not_sent"):
        expected.add("offloads_total", Range(offloads[outcome], offloads[outcome] + needless), outcome=outcome, **own)
    back = log.taken_back.total()
    expected.add("offloads_cancelled_total", Range(back, back + needless), **own)
    outcomes = {series("offloads_total", outcome=one, **own): 1.0 for one in ("answered", "unanswered", "not_sent")}
    every = {**outcomes, series("offloads_cancelled_total", **own): 1.0}
    asked_for = offloads.total() - offloads[None] + back + needless
    expected.sum("all that the edge asked, or was about to ask", every, asked_for)
    coarse = sum("more coarsely" in one.reason for one in said)
    hidden = sum("packets lost" in one.reason or "came after" in one.reason for one in said)
    expected.add("offloads_coarse_total", Range(coarse, coarse + hidden), **own)
    audits = list(audits_in(folder))
    asked = offloads["answered"] + offloads["unanswered"] + sum(one.stage != "datacenter" for one in audits)
    expected.add("offloads_resent_total", Range(0, asked), **own)
    # A packet takes the strips of several requests, and some carry nothing but what came: QUIC counts those not.
    expected.add("link_packets_total", Range(1, relayed.offered), outcome="sent", **own)
    # Those to a data centre that is gone are lost, too, though the relay delivers them.
    expected.add("link_packets_total", Range(0, relayed.offered), outcome="lost", **own)
    _audits(expected, audits, folder, calibration, own)
    _door(expected, name, log.edge_door, stats, log.taken_back.total())
    expected.add("ready", 1)
    expected.add("link_connected", 1, **own)
    expected.add("link_loss_bound", calibration.loss, **own)
    expected.add("waiting", 0, **own)
    return expected


def _audits(
    expected: Expected, audits: Iterable[Audit], folder: Path, calibration: Calibration, own: Mapping[str, str]
) -> None:
    """By the audits' own files, which say what both said, and by the edge's file, where it keeps the alarms."""
    current = [one for one in audits if one.calibration == checksum_of(calibration)]
    followed = followed_in(folder)["agreement"]
    for accuracy, one in followed.items():
        target = f"{accuracy:g}"
        of_target = [audit.agrees for audit in current if audit.accuracy_target == accuracy]
        expected.add("audits_total", of_target.count(True), target=target, agreed="yes", **own)
        expected.add("audits_total", of_target.count(False), target=target, agreed="no", **own)
        expected.add("audit_alarm", float(one.alarm is not None), target=target, **own)
    for known in calibration.targets:
        if known.agreement is not None and known.accuracy in followed:
            expected.add("audit_bound", known.agreement.lower_bound, target=f"{known.accuracy:g}", **own)
    unanswered = sum(one.backend_label is None and one.stage != "datacenter" for one in current)
    expected.add("audits_unanswered_total", unanswered, **own)


def _door(expected: Expected, name: str, asked: Asked, stats: Sequence[Mapping[str, Any]], taken_back: int = 0) -> None:
    """Of an application: pictures alone in their requests; whatever was taken back the fabric had looked at."""
    (told,) = stats
    key = {"model": name, "version": "1"}
    expected.add("requests_total", asked.succeeded, outcome="success", **key)
    expected.add("requests_total", asked.failed, outcome="fail", **key)
    expected.add("pictures_total", asked.rows, **key)
    _seconds(expected, told)
    looked = asked.rows + taken_back
    sizes = {int(one["batch_size"]) for one in told.get("batch_stats", ())}
    for size in sizes:
        expected.add("batches_total", Range(1, looked // size), size=str(size), **key)
    parts = {series("batches_total", size=str(size), **key): float(size) for size in sizes}
    expected.sum("pictures of the batches of the edge's doors", parts, looked)


def _seconds(expected: Expected, told: Mapping[str, Any]) -> None:
    """Times are as the doors' statistics have them."""
    key = {"model": told["name"], "version": told["version"]}
    for part in _PARTS:
        nanoseconds = int(told["inference_stats"].get(part, {}).get("ns", 0))
        expected.add("request_seconds_total", nanoseconds / 1e9, part=part, **key)


@dataclass(frozen=True)
class Life:
    """What is held against a life of the data centre besides the log.

    Attributes:
        number: of the life.
        seconds: that it lasted.
        back_end: the model's name that edges ask.
        before: the doors' statistics once edges could ask, and nobody had.
        stats: at its end.
        index: of the models, at its end.
        loads: of models, that whoever runs it caused.
        lost: workers that ended by themselves, by model, as its log tells.
        relayed: on the way to it.
    """

    number: int
    seconds: float
    back_end: str
    before: Sequence[Mapping[str, Any]]
    stats: Sequence[Mapping[str, Any]]
    index: Sequence[Mapping[str, Any]]
    loads: int
    lost: Mapping[str, int]
    relayed: Relayed


def of_data_centre(log: RunLog, audits_folder: Path, life: Life) -> Expected:
    """What the data centre's metrics are to be at the end of a life."""
    expected = Expected()
    asked, failed = _requests(expected, log, audits_folder, life)
    _batches(expected, log, life, asked, failed)
    lost, delivered = life.relayed.lost, life.relayed.delivered
    expected.add("link_strips_total", Range(asked.low, delivered), what="came")
    expected.add("link_strips_total", Range(0, delivered), what="repeated")
    for what in ("repaired", "concealed"):  # each for one that the relay lost
        expected.add("link_strips_total", Range(0, lost), what=what)
    for where in ("assembling", "decoding", "model"):
        expected.add("link_waiting", 0, where=where)
    away = sum(str(one.get("reason", "")).startswith("not in memory") for one in life.index)
    expected.add("loads_total", life.loads)
    expected.add("evictions_total", away)
    expected.add("ready", 1)
    expected.add("link_edges", 1)
    for one in life.stats:
        key = {"model": one["name"], "version": one["version"]}
        expected.add("model_workers_lost_total", life.lost.get(one["name"], 0), **key)
        expected.add("model_ready", 1, **key)
        expected.add("waiting", 0, **key)
    return expected


def _requests(expected: Expected, log: RunLog, audits_folder: Path, life: Life) -> tuple[Range, Range]:
    """What became of the edge's requests: how many there were, and how many failed."""
    said = [one for one in log.said if one.life == life.number and one.meant != "lost"]
    audits = [
        one
        for one in audits_in(audits_folder)
        if one.stage != "datacenter" and _life_of(log, one.at) == life.number and not _in_outage(log, one.at)
    ]
    answered = sum(one.offload == "answered" for one in said) + sum(one.backend_label is not None for one in audits)
    hung = sum(one.meant == "hung" and one.offload == "unanswered" for one in said)
    failed = sum("gave none: failed" in one.reason for one in said)
    refused = Counter(status for one in said for status in ("late", "busy") if f"gave none: {status}" in one.reason)
    unclear = sum(one.offload == "unanswered" for one in said) - hung - failed - refused.total()
    unclear += sum(one.backend_label is None for one in audits)
    needless = sum(one.needless for one in said)

    def outcome(name: str, count: int, more: int) -> None:
        expected.add("link_requests_total", Range(count, count + more), outcome=name)

    outcome("answered", answered, unclear + needless)
    outcome("late", hung + refused["late"], unclear)
    outcome("busy", refused["busy"], unclear)
    outcome("failed", failed, unclear)
    outcome("cancelled", log.taken_back[life.number], needless)
    known = answered + hung + failed + refused.total() + log.taken_back[life.number]
    total = Range(known, known + unclear + needless)
    outcomes = ("answered", "late", "busy", "failed", "cancelled")
    parts = {series("link_requests_total", outcome=one): 1.0 for one in outcomes}
    expected.sum("all that edges asked the data centre", parts, total)
    return total, Range(failed, failed + unclear)


def _batches(expected: Expected, log: RunLog, life: Life, asked: Range, failed_there: Range) -> None:
    """Runs of models: the back end's as its link says, and as its doors do, where edges' batches are requests, too."""
    before = {(one["name"], one["version"]): one for one in life.before}
    for one in life.stats:
        name, key = one["name"], {"model": one["name"], "version": one["version"]}
        by_clients = log.doors.get(life.number, {}).get(name, Asked())
        first = before.get((name, one["version"]), {})
        succeeded, failed = (_count(one, part) - _count(first, part) for part in ("success", "fail"))
        rows = int(one.get("inference_count", 0)) - int(first.get("inference_count", 0))
        _seconds(expected, one)
        sizes = {int(batch["batch_size"]): _batch_count(batch) for batch in one.get("batch_stats", ())}
        for size, count in sizes.items():
            expected.add("batches_total", count, size=str(size), **key)
        link = Asked(succeeded - by_clients.succeeded, failed - by_clients.failed, rows - by_clients.rows)
        if name == life.back_end:
            # Its own doors' counts are what the link's are held against.
            expected.add("requests_total", _count(one, "success"), outcome="success", **key)
            expected.add("requests_total", _count(one, "fail"), outcome="fail", **key)
            expected.add("pictures_total", int(one.get("inference_count", 0)), **key)
            runs = exactly(link.succeeded + link.failed)
            expected.add("link_batch_pictures_count", runs)
            expected.add("link_model_seconds_count", runs)
            ran = Range(link.rows + failed_there.low, link.rows + failed_there.high)
            expected.add("link_batch_pictures_sum", ran)
            expected.add("link_decode_seconds_count", Range(ran.low, asked.high))
            for spread in ("link_decode_seconds_sum", "link_model_seconds_sum"):
                expected.add(spread, Range(0.0, life.seconds))
        else:
            expected.add("requests_total", by_clients.succeeded, outcome="success", **key)
            expected.add("requests_total", by_clients.failed, outcome="fail", **key)
            expected.add("pictures_total", by_clients.rows, **key)
            for size, count in by_clients.sizes.items():
                expected.add("batches_total", count, size=str(size), **key)


def _count(told: Mapping[str, Any], part: str) -> int:
    return int(told.get("inference_stats", {}).get(part, {}).get("count", 0))


def _batch_count(batch: Mapping[str, Any]) -> int:
    return int(batch.get("compute_infer", {}).get("count", 0))


def _life_of(log: RunLog, at: float) -> int:
    return max((number for number, began in log.began.items() if began <= at), default=min(log.began, default=1))


def _in_outage(log: RunLog, at: float) -> bool:
    return any(begun <= at <= ended for begun, ended in log.outages)
