"""What each transport did on a link over all seeds, and whether ours did well enough against the others.

Agreement is the share of requests answered, in time, as the model answers the unharmed image: what `encode` makes of
it, decoded. An answer that never came, or came from the edge, does not agree.

Words owned here: row (the cells of all seeds together), agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.link.cases import LinkCase
from edgesight.bench.link.compare import OURS, TRANSPORTS, Cell
from edgesight.bench.link.workload import Outcomes
from edgesight.bench.report import Check

GATED_REQUESTS, GATED_SEEDS = 1_000, 3  # at least, in a row that a gate looks at


@dataclass(frozen=True)
class Row:
    """What one transport did on one link with one data set, over all seeds.

    Times are milliseconds from arrival; a request without an answer counts as having taken the deadline.
    """

    link: str
    transport: str
    seeds: int
    requests: int
    p50_ms: float
    p99_ms: float
    p99_ms_of_seeds: tuple[float, ...]
    answered: float  # share in time
    goodput_per_s: float  # answers in time
    agreement: float
    accuracy: float | None  # share answered with the true label
    sent_bytes: float  # of the edge, a request
    client_late_ms: float  # P99 of how late the client itself turned to a request
    link_late_ms: float  # by which the emulator handed over the latest packet but one in a hundred; worst seed
    link_missed: int  # packets that the emulator was too slow to take
    load: float  # the machine's load average before a cell, worst seed

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better."""
        return self.p99_ms, self.p50_ms


def make_rows(cells: Sequence[Cell]) -> list[Row]:
    """A row for each link and transport, from the cells that were measured."""
    groups: dict[tuple[str, str], list[tuple[Cell, dict[str, Any]]]] = {}
    for cell in cells:
        measured = cell.read()
        if measured is not None:
            groups.setdefault((cell.link.name, cell.transport.name), []).append((cell, measured))
    return [_row(link, transport, group) for (link, transport), group in groups.items()]


def _row(link: str, transport: str, group: list[tuple[Cell, dict[str, Any]]]) -> Row:
    data, plan = group[0][0].data, group[0][0].plan
    runs = [Outcomes.from_json(measured["outcomes"]) for _, measured in group]
    reports = [measured["link"] for _, measured in group]
    took = np.concatenate([run.took_s for run in runs]) * 1e3
    images, label = np.concatenate([run.image for run in runs]), np.concatenate([run.label for run in runs])
    answered = float(np.mean(label >= 0))
    ways = [report[way] for report in reports for way in ("up", "down")]
    return Row(
        link=link,
        transport=transport,
        seeds=len(runs),
        requests=len(took),
        p50_ms=_percentile(took, 50),
        p99_ms=_percentile(took, 99),
        p99_ms_of_seeds=tuple(_percentile(np.array(run.took_s) * 1e3, 99) for run in runs),
        answered=answered,
        goodput_per_s=answered * plan.per_second,
        agreement=float(np.mean(label == data.reference[images])),
        accuracy=None if data.labels is None else float(np.mean(label == data.labels[images])),
        sent_bytes=sum(run.sent_bytes for run in runs) / len(took),
        client_late_ms=_percentile(np.concatenate([run.late_s for run in runs]) * 1e3, 99),
        link_late_ms=max(way["late_ms"]["p99"] for way in ways if way["late_ms"]),
        link_missed=sum(way["missed"] for way in ways),
        load=max(measured["load"] for _, measured in group),
    )


def _percentile(values: npt.NDArray[np.float64], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3)


def best_reliable(rows: Sequence[Row], link: str) -> Row | None:
    """The reliable transport whose P99 is least on `link`: so also the better of TCP's congestion controls."""
    names = {transport.name for transport in TRANSPORTS if transport.reliable}
    there = [row for row in rows if row.link == link and row.transport in names]
    return min(there, key=lambda row: row.rank, default=None)


def better_grpc(rows: Sequence[Row], link: str) -> Row | None:
    """gRPC on `link` with the congestion control whose P99 is less."""
    there = [row for row in rows if row.link == link and row.transport.startswith("grpc-")]
    return min(there, key=lambda row: row.rank, default=None)


def gate_checks(rows: Sequence[Row], links: Sequence[LinkCase], data: str) -> list[Check]:
    """Our transport's rows held against the gates of their links."""
    return list(_gate_checks(rows, links, data))


def _gate_checks(rows: Sequence[Row], links: Sequence[LinkCase], data: str) -> Iterator[Check]:
    for link in links:
        ours = next((row for row in rows if row.link == link.name and row.transport == OURS.name), None)
        best = best_reliable(rows, link.name)
        if link.gate is None or ours is None or best is None:
            continue
        where = f"{data}, {link.name}"
        ratio = ours.p99_ms / best.p99_ms
        yield Check(f"{where}: P99 over the best reliable one's", ratio, link.gate.p99_ratio, True, "", "measured")
        yield Check(f"{where}: agreement", ours.agreement, link.gate.agreement, False, "", "measured")
        requests, seeds = min(ours.requests, best.requests), min(ours.seeds, best.seeds)
        yield Check(f"{where}: requests", requests, GATED_REQUESTS, False, "", "measured")
        yield Check(f"{where}: seeds of loss", seeds, GATED_SEEDS, False, "", "measured")


SLOW_REQUESTS = 600
LEAST_ANSWERED, MOST_P99, LEAST_AGREEMENT = 0.01, 1.1, 0.005  # below the best, times the best, below the best


def slow_checks(rows: Sequence[Row], per_second: float, data: str) -> list[Check]:
    """Our transport's rows held against the best of the reliable ones in each figure, which need not be the same."""
    checks = []
    names = {transport.name for transport in TRANSPORTS if transport.reliable}
    for ours in (row for row in rows if row.transport == OURS.name):
        others = [row for row in rows if row.link == ours.link and row.transport in names]
        if not others:
            continue
        where = f"{data}, {ours.link}, {per_second:g}/s"
        answered = max(row.answered for row in others) - LEAST_ANSWERED
        agreed = max(row.agreement for row in others) - LEAST_AGREEMENT
        checks.append(Check(f"{where}: in time", ours.answered, answered, False, "", "measured"))
        checks.append(Check(f"{where}: agreement", ours.agreement, agreed, False, "", "measured"))
        whole = [row.p99_ms for row in others if row.answered == 1.0]
        if whole:
            ratio = ours.p99_ms / min(whole)
            checks.append(Check(f"{where}: P99 over the best reliable one's", ratio, MOST_P99, True, "", "measured"))
        requests = min(row.requests for row in (ours, *others))
        checks.append(Check(f"{where}: requests", requests, SLOW_REQUESTS, False, "", "measured"))
    return checks
