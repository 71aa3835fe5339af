"""Requests that come when they come, whatever became of those before them, and what became of each.

The arrivals are *open-loop*: a slow answer delays no arrival. A request's time to answer counts from its arrival, so
that encoding, queueing at either end, the link, decoding and the model are all in it. One that has no answer by its
deadline is lost, and counts as having taken the deadline.

Words owned here: plan (when requests come, and which image each carries), outcomes.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesight.host.link.strips import QUALITY, RAW_BELOW

Pixels = npt.NDArray[np.uint8]  # [H, W, C]
Ask = Callable[[Pixels, float], Awaitable[int]]  # image and seconds left, to a label; raises Unanswered
Spacing = Literal["fixed", "poisson"]

UNANSWERED = -1  # as a label
_SUBSAMPLING = "4:2:0"  # as the strips of a large image have
_LEAD = 0.1  # seconds before the first arrival
_DEVICES = Path("/proc/self/net/dev")  # of this process's network namespace; proc_pid_net(5)
_SENT = 8  # which of a device's numbers counts the bytes it sent


class Unanswered(Exception):
    """A request without an answer in time."""


@dataclass(frozen=True)
class Plan:
    """When requests come.

    Attributes:
        requests: how many count.
        warm_up: requests before them, in each turn, that don't: they open windows and fill estimates.
        per_second: arrivals a second on average.
        spacing: all the same ("fixed", a camera), or exponential ("poisson", many users).
        deadline_s: seconds from arrival within which an answer is of use.
        seed: decides what is left to chance: which image a request carries, when it comes.
        turns: in how many parts they come, one behind the other.
        pause_s: seconds between two turns, in which others have theirs.
    """

    requests: int = 1_000
    warm_up: int = 40
    per_second: float = 20.0
    spacing: Spacing = "fixed"
    deadline_s: float = 1.0
    seed: int = 0
    turns: int = 1
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no workload can be."""
        if self.requests < 1 or self.warm_up < 0 or self.per_second <= 0.0 or self.deadline_s <= 0.0:
            raise ValueError(f"{self}: expected at least one request, and a rate and a deadline above 0")
        if not 1 <= self.turns <= self.requests or self.pause_s < 0.0:
            raise ValueError(f"{self}: expected at least one request in each turn")
        if self.spacing not in get_args(Spacing):
            raise ValueError(f"spacing {self.spacing!r}: expected one of {', '.join(get_args(Spacing))}")

    @property
    def turn_s(self) -> float:
        """How long a turn takes until its last answer is no longer of use."""
        return (self.warm_up + math.ceil(self.requests / self.turns)) / self.per_second + self.deadline_s

    @property
    def seconds(self) -> float:
        """How long it takes, about."""
        return _LEAD + self.turns * self.turn_s + (self.turns - 1) * self.pause_s

    def _of_turns(self) -> list[int]:
        """Requests that count, of each turn."""
        return [len(turn) for turn in np.array_split(np.arange(self.requests), self.turns)]

    def counts(self) -> npt.NDArray[np.bool_]:
        """Which of all requests, warm-up included, count."""
        return np.concatenate([np.repeat([False, True], [self.warm_up, count]) for count in self._of_turns()])

    def arrivals_s(self) -> npt.NDArray[np.float64]:
        """Of all requests, warm-up included, rising from 0."""
        generator = np.random.default_rng([self.seed, 1])
        turns = []
        for number, count in enumerate(self._of_turns()):
            if self.spacing == "fixed":
                arrivals = np.arange(self.warm_up + count) / self.per_second
            else:
                gaps = generator.exponential(1.0 / self.per_second, self.warm_up + count - 1)
                arrivals = np.concatenate([[0.0], np.cumsum(gaps)])
            turns.append(number * (self.turn_s + self.pause_s) + arrivals)
        return np.concatenate(turns)

    def images(self, count: int) -> npt.NDArray[np.int64]:
        """Which of `count` images each request carries, warm-up included: all of them equally often, in random order.

        The requests that count begin with a new round of all images.
        """
        generator = np.random.default_rng([self.seed, 0])

        def rounds(requests: int) -> npt.NDArray[np.int64]:
            return np.concatenate([generator.permutation(count) for _ in range(-(-requests // count))])[:requests]

        counts = self.counts()
        chosen = np.empty(len(counts), np.int64)
        chosen[counts] = rounds(self.requests)
        if self.warm_up:
            chosen[~counts] = rounds(self.turns * self.warm_up)
        return chosen

    def to_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Outcomes:
    """What became of the requests that count, in order of arrival.

    Attributes:
        image: which one it carried.
        label: the answer, or UNANSWERED.
        took_s: seconds from arrival to answer; the deadline where there was none.
        late_s: seconds from arrival until the client turned to it: what a busy client adds.
        sent_bytes: what all network devices of the edge sent from the first of these arrivals on, without later turns'
            warm-up, packets' headers included.
    """

    image: list[int]
    label: list[int]
    took_s: list[float]
    late_s: list[float]
    sent_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, parsed: dict[str, Any]) -> Outcomes:
        """What `to_json` made."""
        return cls(**{field.name: parsed[field.name] for field in fields(cls)})


async def drive(ask: Ask, images: npt.NDArray[np.uint8], plan: Plan, begin: float = 0.0) -> Outcomes:
    """Send `images` [N, H, W, C] as `plan` says; what `ask` raises other than Unanswered ends it all.

    The first request comes at `begin` of the loop's clock, or as soon as possible.
    """
    loop = asyncio.get_running_loop()
    began = max(loop.time() + _LEAD, begin)
    chosen = plan.images(len(images))
    count = len(chosen)
    labels, took, late = [UNANSWERED] * count, [plan.deadline_s] * count, [0.0] * count

    async def request(number: int, arrival: float) -> None:
        turned_to = loop.time()
        late[number] = turned_to - arrival
        try:
            label = await ask(images[chosen[number]], arrival + plan.deadline_s - turned_to)
        except Unanswered:
            return
        seconds = loop.time() - arrival
        if seconds <= plan.deadline_s:
            labels[number], took[number] = label, seconds

    counts = plan.counts().tolist()
    requests, sent, counting = [], 0, False
    for number, offset in enumerate(plan.arrivals_s().tolist()):
        wait = began + offset - loop.time()
        if wait > 0.0:
            await asyncio.sleep(wait)
        if counts[number] != counting:
            counting = counts[number]
            sent += -_sent_bytes() if counting else _sent_bytes()
        requests.append(loop.create_task(request(number, began + offset)))
    await asyncio.gather(*requests)
    sent += _sent_bytes()
    kept = np.flatnonzero(counts).tolist()
    return Outcomes(
        image=chosen[kept].tolist(),
        label=[labels[number] for number in kept],
        took_s=[took[number] for number in kept],
        late_s=[late[number] for number in kept],
        sent_bytes=sent,
    )


def encode(image: Pixels, quality: int = QUALITY) -> bytes:
    """What a transport without strips carries of `image`: the plain JPEG, or, where our strips are raw, raw pixels."""
    if max(image.shape[:2]) < RAW_BELOW:
        return image.tobytes()
    buffer = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    picture.save(buffer, "JPEG", quality=quality, subsampling=_SUBSAMPLING)
    return buffer.getvalue()


def decode(payload: bytes, shape: tuple[int, int, int]) -> Pixels:
    """The image of `shape` [H, W, C] that `encode` made `payload` of."""
    if max(shape[:2]) < RAW_BELOW:
        return np.frombuffer(payload, np.uint8).reshape(shape)
    with Image.open(io.BytesIO(payload), formats=["JPEG"]) as picture:
        return np.array(picture, dtype=np.uint8).reshape(shape)


def _sent_bytes() -> int:
    """Bytes that all network devices but the loopback have sent so far."""
    lines = (line.partition(":") for line in _DEVICES.read_text().splitlines()[2:])
    return sum(int(numbers.split()[_SENT]) for name, _, numbers in lines if name.strip() != "lo")
