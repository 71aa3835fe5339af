"""The bench of `edgesight plan split`: against exhaustive search, on links that move, and against the clock.

On a moving link requests come at a steady pace. A planner sees what a device sees: the rate at which its own tensors
went out, or, when it answers without the link, how a probe fared meanwhile; a transfer that is not through
by its request's deadline is given up. Every answer scores its exit's accuracy, and 0 where it is late. Planners are
held against the best fixed exit and cut, chosen for each link and deadline by trying every one on that very link.

Words owned here: *cell* (one link with one deadline), *gain* (points of accuracy above the best fixed exit and cut of
the cell), *falling back* (the device goes on computing while it waits, and answers where the other one is late),
*oracle* (who knows the future, and picks for each request the best that will be on time).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.plan.split_links import Capacity, MovingLink, generated, steady, traces
from edgesight.bench.plan.split_resnet18 import PROFILE
from edgesight.bench.report import Check, PlainTable
from edgesight.plan.picture import save_picture
from edgesight.plan.profile import Device, Link, Slo, read
from edgesight.plan.split.bandwidth import STATES_MBPS, ConfigurationMap, MovingSplit
from edgesight.plan.split.plan import Choices, Exit, Layer, Method, SplitProfile, split

_Floats = npt.NDArray[np.float64]

SEED: Final = 2026
LINK_SEEDS: Final = (101, 102, 103, 104)  # the detector's defaults were chosen on others: 0, 1 and 2
DEADLINES_MS: Final = (150.0, 200.0, 250.0, 300.0, 400.0)
PERIOD_MS: Final = 500.0  # between requests
REQUESTS: Final = 1200  # ten minutes
# Sent in a period in which nothing else is. With less, most of the time is waiting for a bursty link's next turn, and
# the link looks slower than it is for a tensor.
PROBE_BYTES: Final = 18_000
GAIN: Final = 3.0  # points, on average
LOSS: Final = 1.0  # points, on no link more
DECISION_MS: Final = 1.0

OURS: Final = "change points, expected accuracy (ours)"
FALLING_BACK: Final = "the same, falling back on the device (ours)"
AUTHORS: Final = "change points, configuration map (Edgent)"


class Planner(Protocol):
    """Decides request after request, on what it has observed."""

    choices: Choices
    fallbacks: npt.NDArray[np.int64] | None  # choice that the device answers with instead of a late one; -1: none

    def choose(self) -> int | None:
        """Index into the choices; None gives the request up."""

    def observe(self, mbps: float) -> None:
        """One observed bandwidth in Mbit/s."""


@dataclass(frozen=True)
class Served:
    """What a planner made of a link's requests."""

    accuracy: float  # mean, late answers scored 0
    late: float  # share of requests
    offloaded: float  # share of requests
    interior: float  # share of the chosen cuts that leave layers on both sides
    sent_mb: float  # of tensors
    probed_mb: float


@dataclass(frozen=True)
class Cell:
    """One link with one deadline: the best fixed choice, the oracle, and every planner."""

    link: str
    family: str
    mean_mbps: float
    round_trip_ms: float
    deadline_ms: float
    fixed_exit: str
    fixed_cut: int
    fixed_layers: int
    fixed: float  # accuracy
    fixed_falling_back: float  # accuracy of the best fixed choice when the device answers where it is late
    oracle: float  # accuracy
    served: dict[str, Served]

    def gain(self, planner: str) -> float:
        """Points above the best fixed exit and cut."""
        return 100 * (self.served[planner].accuracy - self.fixed)


def bench(
    out: Path, console: Console, *, trace_folder: Path | None = None, count: int = 10_000, quick: bool = False
) -> tuple[list[Check], dict[str, Any]]:
    """Run all of it; returns the checks and what was found, and draws `out`/split.png.

    `trace_folder` holds capacity traces (see `edgesight.bench.plan.split_links.traces`); None tries generated links
    only, and says so.
    `count`: random instances held against exhaustive search. `quick`: a link of each family and fewer requests.
    """
    checks = []
    console.print(f"split: {count} random instances against exhaustive search ...")
    different, broken = exhaustive(count, SEED)
    checks.append(Check("split: equal to exhaustive search", count - different, count, False, "instances", "measured"))
    checks.append(Check("split: plans that break a constraint", broken, 0, True, "plans", "measured"))

    profile = read(PROFILE, SplitProfile)
    links = generated(LINK_SEEDS[:1] if quick else LINK_SEEDS)
    skipped = None
    if trace_folder is None:
        skipped = "no folder of traces was given: generated links only"
    else:
        links = traces(trace_folder) + links
    if skipped:
        console.print(f"split: skipped: {skipped}")
    requests = REQUESTS // 4 if quick else REQUESTS
    console.print(f"split: {len(links)} moving links at {len(DEADLINES_MS)} deadlines, {requests} requests each ...")
    cells = [try_link(profile, link, deadline, requests) for link in links for deadline in DEADLINES_MS]
    still = [try_link(profile, steady(mbps), deadline, requests) for mbps in (2.0, 20.0) for deadline in DEADLINES_MS]
    gains = [cell.gain(OURS) for cell in cells]
    checks.append(
        Check("split: mean gain over the best fixed exit and cut", _mean(gains), GAIN, False, "points", "simulated")
    )
    worst = min(cell.gain(OURS) for cell in [*cells, *still])
    checks.append(Check("split: gain on the worst link", worst, -LOSS, False, "points", "simulated"))

    console.print("split: time of a decision, 100 layers and 5 exits ...")
    times = decision_times(200 if quick else 2000)
    for form, found in times.items():
        checks.append(Check(f"split: {form} decision, median", found["median_ms"], DECISION_MS, True, "ms", "measured"))
        checks.append(
            Check(f"split: {form} decision, worst", found["worst_ms"], DECISION_MS, True, "ms of CPU", "measured")
        )

    planners = list(cells[0].served)
    intervals = {planner: _interval(cells, planner) for planner in planners}
    _print_gains(console, cells, intervals)
    draw(cells, intervals, profile, out / "split.png")
    body = {
        "profile": {"name": profile.name, "origin": profile.origin},
        "tie_rule": "accuracy, then latency, then fewer bytes sent, then the later cut, then the exit listed first",
        "instances": {"count": count, "seed": SEED},
        "requests": {"count": requests, "period_ms": PERIOD_MS, "probe_bytes": PROBE_BYTES},
        "links": {"seeds": LINK_SEEDS[:1] if quick else LINK_SEEDS, "skipped": skipped},
        "gain_points": {
            planner: {
                "mean": _mean([cell.gain(planner) for cell in cells]),
                "interval_95": intervals[planner],
                "worst": min(cell.gain(planner) for cell in cells),
            }
            for planner in planners
        },
        "fixed_falling_back_gain_points": _mean([100 * (cell.fixed_falling_back - cell.fixed) for cell in cells]),
        "oracle_gain_points": _mean([100 * (cell.oracle - cell.fixed) for cell in cells]),
        "interior_cuts": {
            planner: _mean([cell.served[planner].interior for cell in cells]) for planner in planners
        },  # shares of the chosen cuts, neither all on the device nor all at the data centre
        "cells": [asdict(cell) for cell in cells],
        "steady": [asdict(cell) for cell in still],
        "decisions": times,
    }
    return checks, body


# Against exhaustive search.


def random_instance(rng: np.random.Generator) -> tuple[SplitProfile, Link, Slo]:
    """A small profile, link and need; half of them on a coarse binary grid, where ties and exact deadlines abound."""
    coarse = bool(rng.random() < 0.5)
    lacking = "device" if rng.random() < 0.5 else "datacenter"  # which cannot run some layers; the other runs them all

    def ms(high: float) -> float:
        return float(rng.integers(0, 5)) / 4 if coarse else float(rng.uniform(0, high))

    def size() -> int:
        return int(rng.integers(0, 5)) * 256 if coarse else int(rng.integers(0, 200_000))

    def layer(name: str) -> Layer:
        times = {"device": ms(20.0), "datacenter": ms(2.0)}
        if rng.random() < 0.03:
            del times[lacking]
        return Layer(name=name, ms=times, output_bytes=size())

    trunk = [layer(f"layer{number}") for number in range(int(rng.integers(1, 13)))]
    exits = []
    for number in range(int(rng.integers(1, 6))):
        after = int(rng.integers(0, len(trunk) + 1))
        own = [layer(f"own{place}") for place in range(int(rng.integers(0 if after else 1, 4)))]
        exits.append(
            Exit(
                name=f"exit{number}",
                accuracy=float(rng.integers(5, 10)) / 10 if coarse else float(rng.uniform(0.3, 1.0)),
                after=after,
                layers=tuple(own),
                branch_bytes=size() if rng.random() < 0.2 else None,
                answer_bytes=int(rng.integers(0, 3)) * (256 if coarse else 1000),
            )
        )
    profile = SplitProfile(
        name="random",
        device=Device(name="device"),
        datacenter=Device(name="datacenter", tier=1),
        obtained={"device": "simulated", "datacenter": "simulated"},
        accuracy_obtained="simulated",
        input_bytes=size(),
        layers=trunk,
        exits=exits,
    )
    # On 0.512 Mbit/s a byte takes 1/64 ms: a number that binary fractions hold exactly.
    mbps = 0.512 * 2.0 ** int(rng.integers(-1, 4)) if coarse else float(np.exp(rng.uniform(np.log(0.1), np.log(100))))
    round_trip = float(rng.integers(0, 9)) / 2 if coarse else float(rng.uniform(0, 50))
    deadline = float(rng.integers(1, 60)) / 4 if coarse else float(rng.uniform(1, 250))
    accuracy = None if rng.random() < 0.7 else float(rng.integers(5, 10)) / 10
    return profile, Link(mbps=mbps, round_trip_ms=round_trip), Slo(latency_ms=deadline, accuracy=accuracy)


def search(profile: SplitProfile, link: Link, slo: Slo) -> tuple[str, int] | None:
    """The exit and cut that the tie rule names first, by trying every one in exact fractions; None where none meets."""
    byte_ms = Fraction(8) / Fraction(link.mbps * 1e3)
    best: tuple[tuple[Fraction, Fraction, int, int, int], tuple[str, int]] | None = None
    for number, exit_ in enumerate(profile.exits):
        layers = [*profile.layers[: exit_.after], *exit_.layers]
        for cut in range(len(layers) + 1):
            near, far = layers[:cut], layers[cut:]
            if any("device" not in layer.ms for layer in near) or any("datacenter" not in layer.ms for layer in far):
                continue
            latency = sum((Fraction(layer.ms["device"]) for layer in near), Fraction(0))
            latency += sum((Fraction(layer.ms["datacenter"]) for layer in far), Fraction(0))
            sent = 0
            if far:
                handed = profile.input_bytes if cut == 0 else layers[cut - 1].output_bytes
                if cut == exit_.after and exit_.branch_bytes is not None:
                    handed = exit_.branch_bytes
                sent = handed + exit_.answer_bytes
                latency += Fraction(link.round_trip_ms) + sent * byte_ms
            if latency > Fraction(slo.latency_ms or 0.0) or exit_.accuracy < (slo.accuracy or 0.0):
                continue
            order = (-Fraction(exit_.accuracy), latency, sent, -cut, number)
            if best is None or order < best[0]:
                best = order, (exit_.name, cut)
    return None if best is None else best[1]


def exhaustive(count: int, seed: int) -> tuple[int, int]:
    """Of `count` random instances: how many plans differ from exhaustive search, and how many break a constraint."""
    different = broken = 0
    for number in range(count):
        profile, link, slo = random_instance(np.random.default_rng([seed, number]))
        try:
            expected = search(profile, link, slo)
            plan = split(profile, link, slo)
        except Exception as error:
            raise RuntimeError(f"random instance {number} of seed {seed}") from error
        different += expected != (None if plan.choice is None else (plan.choice.exit, plan.choice.cut))
        if plan.choice is not None:
            parts = (plan.choice.device_ms, plan.choice.round_trip_ms, plan.choice.up_ms, plan.choice.datacenter_ms)
            took = math.fsum((*parts, plan.choice.down_ms))
            late = took > plan.deadline_ms * (1 + 1e-12)
            broken += late or plan.choice.accuracy < (slo.accuracy or 0.0)
    return different, broken


# On moving links.


class _Moving:
    """Ours: the highest expected accuracy under the detector's prediction."""

    fall_back = False

    def __init__(self, choices: Choices, link: MovingLink, deadline_ms: float) -> None:
        self.choices = choices
        self.fallbacks = choices.fallbacks(deadline_ms) if self.fall_back else None
        slo = Slo(latency_ms=deadline_ms)
        self._moving = MovingSplit(choices, slo, link.round_trip_ms, fall_back=self.fall_back)

    def choose(self) -> int | None:
        return self._moving.choose()[0]

    def observe(self, mbps: float) -> None:
        self._moving.observe(mbps)


class _FallingBack(_Moving):
    """Ours, with the device's own answer where the other one is late."""

    fall_back = True


class _Mapped(_Moving):
    """The authors': the map's entry for what the bandwidth has been since it last changed."""

    def __init__(self, choices: Choices, link: MovingLink, deadline_ms: float) -> None:
        super().__init__(choices, link, deadline_ms)
        self._table = ConfigurationMap.of(choices, Slo(latency_ms=deadline_ms), link.round_trip_ms, STATES_MBPS)
        self._indices = {
            state.mbps: None if state.choice is None else choices.find(state.choice.exit, state.choice.cut)
            for state in self._table.states
        }

    def choose(self) -> int | None:
        return self._indices[self._table.at(self._moving.changes.run_mbps()).mbps]


class _LastSeen(_Moving):
    """The static search for the bandwidth that was observed last."""

    def __init__(self, choices: Choices, link: MovingLink, deadline_ms: float) -> None:
        super().__init__(choices, link, deadline_ms)
        self._round_trip_ms, self._deadline_ms = link.round_trip_ms, deadline_ms
        self._mbps = 0.01

    def choose(self) -> int | None:
        return self.choices.best(Link(mbps=self._mbps, round_trip_ms=self._round_trip_ms), self._deadline_ms)

    def observe(self, mbps: float) -> None:
        self._mbps = max(mbps, 0.01)


class _Mean(_LastSeen):
    """The static search for the link's mean bandwidth, which it is told in advance."""

    def __init__(self, choices: Choices, link: MovingLink, deadline_ms: float) -> None:
        super().__init__(choices, link, deadline_ms)
        self._mbps = link.capacity.mean_mbps

    def observe(self, mbps: float) -> None:
        pass


PLANNERS: Final[dict[str, tuple[Callable[[Choices, MovingLink, float], Planner], Method]]] = {
    OURS: (_Moving, "edgent"),
    FALLING_BACK: (_FallingBack, "edgent"),
    AUTHORS: (_Mapped, "edgent"),
    "last bandwidth, static search (Edgent)": (_LastSeen, "edgent"),
    "mean bandwidth known, static search (Edgent)": (_Mean, "edgent"),
    "change points, server first (Edgent's direction)": (_Mapped, "server-first"),
    "last bandwidth, cut only (Neurosurgeon)": (_LastSeen, "neurosurgeon"),
    "exit only (BranchyNet)": (_LastSeen, "exit-only"),
}


def try_link(profile: SplitProfile, link: MovingLink, deadline_ms: float, requests: int) -> Cell:
    """All planners, every fixed choice and the oracle on the same requests of one link."""
    choices = Choices.of(profile)
    starts = np.arange(requests, dtype=np.float64) * PERIOD_MS
    taken = np.array([_answered(choices, index, link, starts) - starts for index in range(len(choices.cuts))])
    scores = np.where(taken <= deadline_ms, choices.accuracy[:, None], 0.0)
    fixed = scores.mean(axis=1)
    best = int(fixed.argmax())
    fallbacks = choices.fallbacks(deadline_ms)
    instead = np.where(fallbacks < 0, 0.0, choices.accuracy[fallbacks])
    falling_back = np.where(taken <= deadline_ms, choices.accuracy[:, None], instead[:, None]).mean(axis=1).max()
    exit_ = profile.exits[int(choices.exits[best])]
    return Cell(
        link=link.name,
        family=link.family,
        mean_mbps=link.capacity.mean_mbps,
        round_trip_ms=link.round_trip_ms,
        deadline_ms=deadline_ms,
        fixed_exit=exit_.name,
        fixed_cut=int(choices.cuts[best]),
        fixed_layers=len(profile.chain(exit_)),
        fixed=float(fixed[best]),
        fixed_falling_back=float(falling_back),
        oracle=float(scores.max(axis=0).mean()),
        served={
            name: serve(make(Choices.of(profile, method), link, deadline_ms), link, deadline_ms, requests)
            for name, (make, method) in PLANNERS.items()
        },
    )


def _answered(choices: Choices, index: int, link: MovingLink, starts: _Floats) -> _Floats:
    """When the answers of one choice are there, in ms, for requests that start at `starts`, each alone on the link."""
    device, datacenter = choices.device_ms[index], choices.datacenter_ms[index]
    if not choices.crossing[index]:
        return np.asarray(starts + device)
    sent = link.capacity.sent(starts + (0.0 if choices.server_first else device), float(choices.up_bytes[index]))
    back = link.capacity.sent(sent + link.round_trip_ms + datacenter, float(choices.down_bytes[index]))
    return np.asarray(back + (device if choices.server_first else 0.0))


def serve(planner: Planner, link: MovingLink, deadline_ms: float, requests: int) -> Served:
    """Let a planner decide request after request; each is over before the next begins."""
    choices, capacity = planner.choices, link.capacity
    layers = np.array([len(choices.profile.chain(exit_)) for exit_ in choices.profile.exits])[choices.exits]
    inside = (choices.cuts > 0) & (choices.cuts < layers)
    score = sent = probed = 0.0
    late = offloaded = chosen = interior = 0
    for number in range(requests):
        start = number * PERIOD_MS
        index = planner.choose()
        if index is not None:
            chosen += 1
            interior += bool(inside[index])
        if index is None or not choices.crossing[index]:
            on_time = index is not None and choices.device_ms[index] <= deadline_ms
            probed += _probe(planner, capacity, start)
        else:
            offloaded += 1
            device, datacenter = float(choices.device_ms[index]), float(choices.datacenter_ms[index])
            begun, end = start + (0.0 if choices.server_first else device), start + deadline_ms
            on_time = False
            if begun < end:
                done, passed = capacity.transfer(begun, float(choices.up_bytes[index]), end)
                sent += passed
                planner.observe(_mbps(passed, done - begun))
                answered = done + link.round_trip_ms + datacenter
                if answered < end:
                    answered, back = capacity.transfer(answered, float(choices.down_bytes[index]), end)
                    answered += device if choices.server_first else 0.0
                    on_time = back == choices.down_bytes[index] and answered <= end
        if not on_time and index is not None and planner.fallbacks is not None and planner.fallbacks[index] >= 0:
            index, on_time = int(planner.fallbacks[index]), True
        late += not on_time
        score += float(choices.accuracy[index]) if on_time and index is not None else 0.0
    return Served(
        accuracy=score / requests,
        late=late / requests,
        offloaded=offloaded / requests,
        interior=interior / max(chosen, 1),
        sent_mb=sent / 1e6,
        probed_mb=probed / 1e6,
    )


def _probe(planner: Planner, capacity: Capacity, start: float) -> float:
    """Send a probe, and tell the planner its rate; returns the bytes that came through within a period."""
    done, passed = capacity.transfer(start, PROBE_BYTES, start + PERIOD_MS)
    planner.observe(_mbps(passed, done - start))
    return passed


def _mbps(passed: float, ms: float) -> float:
    """The rate that a device sees, whose clock does not tell times below a tenth of a millisecond apart."""
    return passed * 8e-3 / max(ms, 0.1)


# Against the clock.


def decision_times(count: int) -> dict[str, dict[str, float]]:
    """Times of a decision in ms, static and moving, on 100 layers and 5 exits.

    The median is of the time that passed. The worst is of processor time, since on a shared machine another program's
    turn takes longer than any decision; the worst that passed is given beside it.
    """
    profile = _large()
    slo = Slo(latency_ms=120.0)
    rng = np.random.default_rng(SEED)
    rates = np.exp(rng.uniform(np.log(0.5), np.log(50.0), count))
    choices = Choices.of(profile)
    moving = MovingSplit(choices, slo, 20.0, fall_back=True)  # weighs more choices than without

    def static(mbps: float) -> None:
        split(choices, Link(mbps=mbps, round_trip_ms=20.0), slo)

    def live(mbps: float) -> None:
        moving.observe(mbps)
        moving.choose()

    found = {}
    for form, decide in (("static", static), ("moving", live)):
        for mbps in rates[:100]:  # until the detector holds as many runs as it ever will
            decide(float(mbps))
        passed, worked = [], []
        for mbps in rates:
            begun, busy = time.perf_counter(), time.thread_time()
            decide(float(mbps))
            worked.append(1e3 * (time.thread_time() - busy))
            passed.append(1e3 * (time.perf_counter() - begun))
        found[form] = {
            "count": count,
            "choices": len(choices.cuts),
            "median_ms": float(np.median(passed)),
            "p99_ms": float(np.percentile(passed, 99)),
            "worst_ms": max(worked),
            "worst_passed_ms": max(passed),
        }
    begun = time.perf_counter()
    Choices.of(profile)
    found["static"]["layout_ms"] = 1e3 * (time.perf_counter() - begun)  # once a profile
    return found


def _large() -> SplitProfile:
    """100 layers to the last of 5 exits, each with 5 layers of its own."""
    rng = np.random.default_rng(SEED)

    def layer(name: str) -> Layer:
        ms = float(rng.uniform(0.5, 2.0))
        size = int(rng.integers(5_000, 100_000))
        return Layer(name=name, ms={"device": ms, "datacenter": ms / 20}, output_bytes=size)

    return SplitProfile(
        name="100 layers",
        device=Device(name="device"),
        datacenter=Device(name="datacenter", tier=1),
        obtained={"device": "simulated", "datacenter": "simulated"},
        accuracy_obtained="simulated",
        input_bytes=150_528,
        layers=[layer(f"layer{number}") for number in range(95)],
        exits=[
            Exit(
                name=f"exit{number}",
                accuracy=0.5 + number / 10,
                after=15 + 20 * number,
                layers=tuple(layer(f"exit{number}.layer{place}") for place in range(5)),
                answer_bytes=16,
            )
            for number in range(5)
        ],
    )


# What was found.


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _interval(cells: Sequence[Cell], planner: str) -> tuple[float, float]:
    """95 % interval of a planner's mean gain: bootstrap over links, a link's deadlines staying together."""
    by_link: dict[str, list[float]] = {}
    for cell in cells:
        by_link.setdefault(cell.link, []).append(cell.gain(planner))
    means = np.array([np.mean(gains) for gains in by_link.values()])
    drawn = np.random.default_rng(SEED).choice(means, (4000, len(means))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _print_gains(console: Console, cells: Sequence[Cell], intervals: dict[str, tuple[float, float]]) -> None:
    families = list(dict.fromkeys(cell.family for cell in cells))
    title = (
        "Points of accuracy above the best fixed exit and cut of each link (late answers count 0; exits' accuracies "
        "quoted from memory)"
    )
    table = PlainTable(title, ("planner", "mean", "95 %", "worst", "late", *families), words=("planner",))
    for planner in cells[0].served:
        gains = [cell.gain(planner) for cell in cells]
        low, high = intervals[planner]
        table.add_row(
            planner,
            f"{_mean(gains):+.2f}",
            f"{low:+.2f} to {high:+.2f}",
            f"{min(gains):+.2f}",
            f"{_mean([cell.served[planner].late for cell in cells]):.1%}",
            *(f"{_mean([cell.gain(planner) for cell in cells if cell.family == f]):+.2f}" for f in families),
        )
    fixed = [100 * (cell.fixed_falling_back - cell.fixed) for cell in cells]
    of = [[gain for gain, cell in zip(fixed, cells, strict=True) if cell.family == family] for family in families]
    table.add_row(
        "best fixed exit and cut, falling back", f"{_mean(fixed):+.2f}", "", f"{min(fixed):+.2f}", "",
        *(f"{_mean(gains):+.2f}" for gains in of),
    )  # fmt: skip
    oracle = [100 * (cell.oracle - cell.fixed) for cell in cells]
    by_family = [[100 * (cell.oracle - cell.fixed) for cell in cells if cell.family == family] for family in families]
    table.add_row(
        "knows the future",
        f"{_mean(oracle):+.2f}",
        "",
        f"{min(oracle):+.2f}",
        "",
        *(f"{_mean(g):+.2f}" for g in by_family),
    )
    console.print(table)


def draw(cells: Sequence[Cell], intervals: dict[str, tuple[float, float]], profile: SplitProfile, path: Path) -> None:
    """Draw the planners' mean gains, and ours cell by cell beside the oracle's, as PNG."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, (means, each) = pyplot.subplots(1, 2, figsize=(15, 5.6), width_ratios=(1, 1.25), layout="constrained")
    planners = list(cells[0].served)
    for place, planner in enumerate(planners):
        gain, (low, high) = _mean([cell.gain(planner) for cell in cells]), intervals[planner]
        colour = "#2a9d8f" if planner in (OURS, FALLING_BACK) else "#8d99ae"
        means.barh(place, gain, color=colour, xerr=[[gain - low], [high - gain]], capsize=4)
    means.set_yticks(range(len(planners)), [planner.replace(" (", "\n(") for planner in planners], fontsize=9)
    means.invert_yaxis()
    means.axvline(0.0, color="black", linewidth=1)
    means.axvline(GAIN, color="#e76f51", linestyle="--", label=f"bar: {GAIN:g} points")
    means.set_xlabel("points above the best fixed exit and cut in hindsight, with 95 % interval")
    means.set_title("Mean over links and deadlines")
    means.legend(loc="lower left", frameon=False)

    order = sorted(cells, key=lambda cell: (cell.deadline_ms, cell.oracle - cell.fixed))
    each.bar(
        range(len(order)), [100 * (cell.oracle - cell.fixed) for cell in order], width=1.0, color="#dfe3ea",
        label="who knows the future",
    )  # fmt: skip
    families = list(dict.fromkeys(cell.family for cell in cells))
    for number, family in enumerate(families):
        places = [place for place, cell in enumerate(order) if cell.family == family]
        each.scatter(
            places, [order[place].gain(OURS) for place in places], s=18, color=f"C{number}", label=family, zorder=3
        )
    for deadline in dict.fromkeys(cell.deadline_ms for cell in order):
        places = [place for place, cell in enumerate(order) if cell.deadline_ms == deadline]
        each.axvline(places[0] - 0.5, color="#8d99ae", linewidth=0.8)
        each.annotate(f"{deadline:g} ms", (places[0], 1.0), xycoords=("data", "axes fraction"), xytext=(2, -12),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    each.axhline(0.0, color="black", linewidth=1)
    each.axhline(-LOSS, color="#e76f51", linestyle="--", label=f"bar: {-LOSS:g} point")
    each.set_xticks([])
    each.set_xlabel("links, by deadline and by what there is to gain")
    each.set_ylabel("points above the best fixed exit and cut")
    each.set_title("Our planner on each link")
    each.legend(loc="upper right", ncols=2, frameon=False, fontsize=8, bbox_to_anchor=(1.0, 0.95))
    for axis in (means, each):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Where to cut {profile.name} and where to stop, on links that move (simulated; times projected, "
        "accuracies from memory)"
    )
    save_picture(figure, path)
