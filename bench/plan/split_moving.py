"""Splits on links that move: what each planner makes of the same requests.

On a moving link requests come at a steady pace. A planner sees what a device sees: the rate at which its own tensors
went out, or, when it answers without the link, how a probe fared meanwhile; a transfer that is not through
by its request's deadline is given up. Every answer scores its exit's accuracy, and 0 where it is late. Planners are
held against the best fixed exit and cut, chosen for each link and deadline by trying every one on that very link.

Words owned here: *cell* (one link with one deadline), *gain* (points of accuracy above the best fixed exit and cut of
the cell), *falling back* (the device goes on computing while it waits, and answers where the other one is late),
*oracle* (who knows the future, and picks for each request the best that will be on time).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.bench.plan.split_links import Capacity, MovingLink
from edgesight.plan.profile import Link, Slo
from edgesight.plan.split.bandwidth import STATES_MBPS, ConfigurationMap, MovingSplit
from edgesight.plan.split.plan import Choices, Method, SplitProfile

_Floats = npt.NDArray[np.float64]
PERIOD_MS: Final = 500.0  # between requests
# Sent in a period in which nothing else is. With less, most of the time is waiting for a bursty link's next turn, and
# the link looks slower than it is for a tensor.
PROBE_BYTES: Final = 18_000
GAIN: Final = 3.0  # points, on average over the cells: what ours must reach
LOSS: Final = 1.0  # points, on no link more

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
