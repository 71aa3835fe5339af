"""Where to cut one network between a device and a data centre, and at which of its exits to stop.

For an exit whose chain has N layers and a cut behind p of them, Edgent (arXiv 1806.07840, 1910.05316) predicts

    T = device times of layers 1..p + round trip + D_p / B + data-centre times of layers p+1..N + answer / B

D_0 is the input; p = N stays on the device and pays no link. Of all exits and cuts with T within the deadline the plan
is the one of highest accuracy; ties go to the lower T, then to fewer bytes sent, then to the later cut, then to the
exit listed first. A decision is one pass over arrays that are laid out once a profile.

Words owned here: *exit* (where a network can stop and answer), *cut* (how many of an exit's layers come before the hand
over), *choice* (an exit and a cut), *nearest* (the choice that misses by least, where none meets the needs).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import (
    Bytes,
    Device,
    Link,
    Milliseconds,
    Name,
    NotNegative,
    Plain,
    Plan,
    PlanError,
    Positive,
    Share,
    Slo,
)

Method = Literal["edgent", "neurosurgeon", "exit-only", "server-first"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

_Cut = Annotated[int, Field(strict=True, ge=0)]
_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]


class Layer(Plain):
    """One layer: its time on each device, and what has to be handed over when the network is cut behind it."""

    name: Name
    ms: dict[Name, Milliseconds]  # by device; one that is not named can't run it
    output_bytes: Bytes  # all tensors that later layers still need, as they would be sent


class Exit(Plain):
    """A place where the network can stop: some layers of the trunk, then layers of its own."""

    name: Name
    accuracy: Share
    after: Annotated[int, Field(strict=True, ge=0)]  # trunk layers that it builds on
    layers: tuple[Layer, ...] = ()  # of its own, behind those
    branch_bytes: Bytes | None = None  # handed over at the branch; None: what the trunk's layer there says
    answer_bytes: Bytes = 0


class SplitProfile(Plain):
    """A network with exits, measured on the two devices that share it."""

    name: Name
    origin: str = ""  # where the numbers come from, in words
    device: Device
    datacenter: Device
    obtained: dict[Name, Obtained]  # of the layer times, by device
    accuracy_obtained: Obtained
    input_bytes: Bytes
    layers: Annotated[list[Layer], Field(min_length=1)]  # the trunk
    exits: Annotated[list[Exit], Field(min_length=1)]  # the last one is the network's end

    @model_validator(mode="before")
    @classmethod
    def _of_two_devices(cls, content: Any) -> Any:
        if isinstance(content, dict) and "sha256" in content and "datacenter" not in content:
            raise ValueError(
                "is what `edgesight plan profile` measured on one machine; join it with another machine's by "
                "`edgesight plan profile-join DEVICE DATACENTER --accuracy EXIT=SHARE --out FILE`, and give that file"
            )
        return content

    @model_validator(mode="after")
    def _fits_together(self) -> SplitProfile:
        devices = (self.device.name, self.datacenter.name)
        if devices[0] == devices[1]:
            raise ValueError(f"device and datacenter are both called {devices[0]!r}: give them names of their own")
        for device in devices:
            if device not in self.obtained:
                raise ValueError(f"obtained: does not say how the times of {device!r} were obtained")
        placed = [(f"layers.{place}", layer) for place, layer in enumerate(self.layers)]
        for number, exit_ in enumerate(self.exits):
            placed += [(f"exits.{number}.layers.{place}", layer) for place, layer in enumerate(exit_.layers)]
            if exit_.after > len(self.layers):
                raise ValueError(f"exits.{number}.after: is {exit_.after}, but the trunk has {len(self.layers)} layers")
            if exit_.after + len(exit_.layers) == 0:
                raise ValueError(f"exits.{number}: has no layer, neither of the trunk nor of its own")
        for place, layer in placed:
            if not any(device in layer.ms for device in devices):
                raise ValueError(f"{place}.ms: layer {layer.name!r} has no time on {' or '.join(map(repr, devices))}")
        for name, times in Counter(exit_.name for exit_ in self.exits).items():
            if times > 1:
                raise ValueError(f"exits: two are called {name!r}")
        return self

    def exit(self, name: str) -> Exit:
        """The exit of that name; PlanError, naming those that there are, where there is none."""
        for exit_ in self.exits:
            if exit_.name == name:
                return exit_
        raise PlanError(
            f"profile {self.name}: field exits: none is called {name!r} ({', '.join(self.exit_names)})"
            "; choose one of these"
        )

    @property
    def exit_names(self) -> list[str]:
        """Names of the exits, in order."""
        return [exit_.name for exit_ in self.exits]

    def chain(self, exit_: Exit) -> list[Layer]:
        """All layers that an answer at `exit_` runs through."""
        return [*self.layers[: exit_.after], *exit_.layers]

    def handed_over(self, exit_: Exit) -> list[int]:
        """Bytes that cross each cut 0..N-1 of `exit_`; a cut behind its last layer hands nothing over."""
        crossing = [self.input_bytes, *(layer.output_bytes for layer in self.chain(exit_)[:-1])]
        if exit_.branch_bytes is not None and exit_.after < len(crossing):
            crossing[exit_.after] = exit_.branch_bytes
        return crossing


class Choice(Plain):
    """An exit and a cut, and what they are predicted to take."""

    exit: Name
    cut: _Cut  # layers before the hand over
    layers: _Cut  # of the exit, in all
    cut_behind: Name | None  # the last layer before the hand over; None: the input is handed over
    accuracy: Share
    latency_ms: NotNegative
    device_ms: NotNegative
    round_trip_ms: NotNegative
    up_ms: NotNegative
    datacenter_ms: NotNegative
    down_ms: NotNegative
    up_bytes: Bytes
    down_bytes: Bytes


class SplitPlan(Plan):
    """What to do with one request, or why nothing meets its needs."""

    planner: Literal["split"] = "split"
    profile: Name
    mbps: Positive  # the bandwidth that the latency is predicted for
    round_trip_ms: NotNegative
    deadline_ms: Positive
    accuracy_needed: Share | None = None
    choice: Choice | None = None  # None where none meets the needs
    nearest: Choice | None = None  # only where none does; of `fixed` the one that was asked about
    proven: bool = True  # that no exit and cut is better; without, some were left out for lack of time

    @model_validator(mode="after")
    def _says_one_thing(self) -> SplitPlan:
        if self.feasible != (self.choice is not None) or self.feasible == (self.reason is not None):
            raise ValueError("a feasible plan has a choice and no reason; another has a reason and no choice")
        return self


@dataclass(frozen=True)
class Choices:
    """Every exit and cut of a profile as arrays [choices], laid out once.

    They lie in the order of the tie rule but for latency: by falling accuracy, then by rising bytes sent, then by
    falling cut, then by exit; the first of equally fast choices of one accuracy is therefore the right one.
    """

    profile: SplitProfile
    exits: _Ints  # index of the exit
    cuts: _Ints
    accuracy: _Floats
    device_ms: _Floats
    datacenter_ms: _Floats
    up_bytes: _Ints
    down_bytes: _Ints
    crossing: npt.NDArray[np.bool_]  # whether the link is used
    server_first: bool  # whether the layers before the cut are the data centre's
    whole: bool = True  # whether no exit was left out

    @classmethod
    def of(cls, profile: SplitProfile, method: Method = "edgent", until: float = math.inf) -> Choices:
        """All choices that `method` may make.

        Exits are laid out by falling accuracy, and after the moment `until` (of `time.monotonic`) no more of them: what
        is left out is no more accurate than what is there (`whole` says whether that is all).

        `edgent`: every exit and cut, the device first; `neurosurgeon`: the last exit alone; `exit-only`: no cut, all on
        the device; `server-first`: every exit and cut, the first layers at the data centre, which the input is always
        sent to, and the last ones on the device: the direction that Edgent's authors describe.
        """
        if method not in METHODS:
            raise PlanError(f"method {method!r}: choose one of {', '.join(METHODS)}")
        rows: list[tuple[Any, ...]] = []
        whole = True
        for number, exit_ in sorted(enumerate(profile.exits), key=lambda entry: -entry[1].accuracy):
            if rows and time.monotonic() >= until:
                whole = False
                break
            if method == "neurosurgeon" and number != len(profile.exits) - 1:
                continue
            chain = profile.chain(exit_)
            count = len(chain)
            near = [layer.ms.get(profile.device.name, math.inf) for layer in chain]
            far = [layer.ms.get(profile.datacenter.name, math.inf) for layer in chain]
            device, datacenter = _before(near), _before(far)
            device_after, datacenter_after = _before(near[::-1])[::-1], _before(far[::-1])[::-1]
            crossing = profile.handed_over(exit_)
            for cut in range(count + 1):
                if method == "server-first":
                    up = profile.input_bytes if cut else 0
                    down = 0 if not cut else exit_.answer_bytes if cut == count else crossing[cut]
                    row = (device_after[cut], datacenter[cut], up, down, cut > 0)
                elif cut < count:
                    row = (device[cut], datacenter_after[cut], crossing[cut], exit_.answer_bytes, True)
                else:
                    row = (device[cut], 0.0, 0, 0, False)
                if row[0] + row[1] < math.inf and (method != "exit-only" or not row[4]):
                    rows.append((-exit_.accuracy, row[2] + row[3], -cut, number, *row))
        if not rows:
            raise PlanError(
                f"profile {profile.name}: method {method}: no exit has layers that its devices can run"
                "; add times of layers, or choose another method"
            )
        rows.sort()
        columns = list(zip(*rows, strict=True))
        return cls(
            profile,
            exits=np.array(columns[3], np.int64),
            cuts=-np.array(columns[2], np.int64),
            accuracy=-np.array(columns[0], np.float64),
            device_ms=np.array(columns[4], np.float64),
            datacenter_ms=np.array(columns[5], np.float64),
            up_bytes=np.array(columns[6], np.int64),
            down_bytes=np.array(columns[7], np.int64),
            crossing=np.array(columns[8], np.bool_),
            server_first=method == "server-first",
            whole=whole,
        )

    def fixed_ms(self, round_trip_ms: float) -> _Floats:
        """What each choice takes whatever the bandwidth, in ms [choices]."""
        return self.device_ms + self.datacenter_ms + round_trip_ms * self.crossing

    def latency_ms(self, link: Link) -> _Floats:
        """Predicted latency of each choice, in ms [choices]."""
        return self.fixed_ms(link.round_trip_ms) + link.transfer_ms(1.0) * (self.up_bytes + self.down_bytes)

    def mbps_needed(self, deadline_ms: float, round_trip_ms: float) -> _Floats:
        """Least bandwidth at which each choice is on time [choices]: 0 without a link, infinity where none suffices."""
        left = deadline_ms - self.fixed_ms(round_trip_ms)
        sent = (self.up_bytes + self.down_bytes) * 8e-3
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left < 0, np.inf, np.where(sent == 0, 0.0, sent / left))

    def fallbacks(self, deadline_ms: float) -> _Ints:
        """For each choice that uses the link, the one without it that the device can still finish meanwhile [choices].

        The device goes on computing once it has handed over, from the last layer that both ways share, and has that
        answer when the other one does not come. -1 where none is done within the deadline.
        """
        trunk = _before([layer.ms.get(self.profile.device.name, math.inf) for layer in self.profile.layers])
        found = np.full(len(self.cuts), -1, np.int64)
        alone = [int(index) for index in np.flatnonzero(~self.crossing)]  # by falling accuracy
        for index in np.flatnonzero(self.crossing) if not self.server_first else ():
            branch = self.profile.exits[int(self.exits[index])].after
            for other in alone:
                if self.exits[other] == self.exits[index]:
                    took = self.device_ms[other]
                else:
                    shared = min(int(self.cuts[index]), branch, self.profile.exits[int(self.exits[other])].after)
                    took = self.device_ms[index] + self.device_ms[other] - trunk[shared]
                if took <= deadline_ms:
                    found[index] = other
                    break
        return found

    def find(self, exit_: str, cut: int) -> int:
        """Index of the choice of that exit and cut; PlanError where there is none."""
        number = self.profile.exits.index(self.profile.exit(exit_))
        (found,) = np.nonzero((self.exits == number) & (self.cuts == cut))
        if not len(found):
            layers = len(self.profile.chain(self.profile.exits[number]))
            raise PlanError(
                f"cut {cut}: exit {exit_} of profile {self.profile.name} can't be cut there (0 to {layers})"
                "; choose another cut"
            )
        return int(found[0])

    def choice(self, index: int, link: Link) -> Choice:
        """The choice at `index`, predicted for `link`."""
        exit_ = self.profile.exits[int(self.exits[index])]
        chain = self.profile.chain(exit_)
        cut, crosses = int(self.cuts[index]), bool(self.crossing[index])
        return Choice(
            exit=exit_.name,
            cut=cut,
            layers=len(chain),
            cut_behind=chain[cut - 1].name if cut else None,
            accuracy=exit_.accuracy,
            latency_ms=float(self.latency_ms(link)[index]),
            device_ms=float(self.device_ms[index]),
            round_trip_ms=link.round_trip_ms if crosses else 0.0,
            up_ms=link.transfer_ms(int(self.up_bytes[index])),
            datacenter_ms=float(self.datacenter_ms[index]),
            down_ms=link.transfer_ms(int(self.down_bytes[index])),
            up_bytes=int(self.up_bytes[index]),
            down_bytes=int(self.down_bytes[index]),
        )

    def best(self, link: Link, deadline_ms: float, accuracy: float | None = None) -> int | None:
        """Index of the choice that the tie rule puts first among those that meet the needs; None where none does."""
        latency = self.latency_ms(link)
        meets = latency <= deadline_ms
        first = int(meets.argmax())
        if not meets[first] or (accuracy is not None and self.accuracy[first] < accuracy):
            return None
        return self._fastest(latency, self.accuracy == self.accuracy[first])

    def nearest(self, link: Link, accuracy: float | None = None) -> int:
        """Index of the fastest choice that is accurate enough; of the fastest of the most accurate where none is."""
        enough = self.accuracy >= min(accuracy or 0.0, self.accuracy[0])
        return self._fastest(self.latency_ms(link), enough)

    @staticmethod
    def _fastest(latency: _Floats, among: npt.NDArray[np.bool_]) -> int:
        return int(np.where(among, latency, np.inf).argmin())


def deadline_of(slo: Slo) -> float:
    """The deadline in ms that `slo` states; PlanError where it states none, or a need that no split can weigh."""
    if slo.latency_ms is None:
        raise PlanError("SLO: field latency_ms: is not given, but a split is planned for a deadline; give it")
    if slo.rate is not None:
        raise PlanError("SLO: field rate: a split is planned for one request at a time; leave the rate out")
    return slo.latency_ms


def split(profile: SplitProfile | Choices, link: Link, slo: Slo, method: Method = "edgent") -> SplitPlan:
    """The exit and cut for one request over `link`, within `slo.latency_ms` and, if given, at least `slo.accuracy`.

    `neurosurgeon` knows no deadline: it takes its fastest cut, and the plan says whether that is on time. Where none
    meets the needs the plan says why, and which choice is nearest. Raises PlanError for needs that can't be weighed.
    """
    choices = profile if isinstance(profile, Choices) else Choices.of(profile, method)
    found = choices.best(link, deadline_of(slo), slo.accuracy)
    if found is not None:
        return _made(choices, link, slo, found, method, None)
    nearest = choices.nearest(link, slo.accuracy)
    return _made(choices, link, slo, nearest, method, _why(choices, link, slo, nearest))


def fixed(profile: SplitProfile, link: Link, slo: Slo, exit_: str, cut: int) -> SplitPlan:
    """The plan of one exit and cut, whatever the link: on time or not. Raises PlanError where there is no such cut."""
    choices = Choices.of(profile)
    index = choices.find(exit_, cut)
    return _made(choices, link, slo, index, "fixed", _why_not(choices, link, slo, index))


def _made(choices: Choices, link: Link, slo: Slo, index: int, method: str, reason: str | None) -> SplitPlan:
    """The plan that says the choice at `index`, or for what `reason` not even that meets the needs."""
    said = choices.choice(index, link)
    return SplitPlan(
        method=method,
        feasible=reason is None,
        reason=reason,
        profile=choices.profile.name,
        mbps=link.mbps,
        round_trip_ms=link.round_trip_ms,
        deadline_ms=deadline_of(slo),
        accuracy_needed=slo.accuracy,
        choice=said if reason is None else None,
        nearest=None if reason is None else said,
        proven=choices.whole or reason is None,
    )


def _why_not(choices: Choices, link: Link, slo: Slo, index: int) -> str | None:
    """Why the choice at `index` does not meet the needs, whatever others do; None where it does."""
    deadline, asked = deadline_of(slo), choices.choice(index, link)
    faults = []
    if asked.latency_ms > deadline:
        needed = float(choices.mbps_needed(deadline, link.round_trip_ms)[index])
        remedy = f"on time from {needed:.4g} Mbit/s on" if np.isfinite(needed) else "late at any bandwidth"
        faults.append(f"takes {asked.latency_ms:.6g} of {deadline:g} ms at {link.mbps:.4g} Mbit/s ({remedy})")
    if slo.accuracy is not None and asked.accuracy < slo.accuracy:
        faults.append(f"has accuracy {asked.accuracy:g}, and {slo.accuracy:g} is needed")
    if not faults:
        return None
    return f"exit {asked.exit} cut behind {asked.cut} of {asked.layers} layers {'; it '.join(faults)}"


def _why(choices: Choices, link: Link, slo: Slo, nearest: int) -> str:
    """Why no choice meets the needs, of which the one at `nearest` misses by least."""
    miss = choices.choice(nearest, link)
    if slo.accuracy is not None and miss.accuracy < slo.accuracy:
        return f"no exit reaches accuracy {slo.accuracy:g}: the best is {miss.exit} with {miss.accuracy:g}"
    deadline = deadline_of(slo)
    fastest = f"exit {miss.exit} cut behind {miss.cut} of {miss.layers} layers takes {miss.latency_ms:.4g} ms"
    within = "" if slo.accuracy is None else f" with accuracy {slo.accuracy:g} or more"
    needed = float(choices.mbps_needed(deadline, link.round_trip_ms)[choices.accuracy >= (slo.accuracy or 0.0)].min())
    remedy = f"; from {needed:.4g} Mbit/s on one would" if np.isfinite(needed) else "; no bandwidth would do"
    return f"nothing{within} meets {deadline:g} ms at {link.mbps:.4g} Mbit/s: the fastest, {fastest}{remedy}"


def _before(values: Sequence[float]) -> list[float]:
    """Sums of the first 0, 1, ..., N values."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    return sums
