"""How finely an image is encoded: as finely as the bandwidth carries before the deadline.

Where bandwidth is ample an image goes at the first step of a ladder, which the accuracy targets were measured at. Where
it is not, later steps, of lower quality or smaller size, are taken until the image fits; the data centre enlarges a
smaller one. Tiny images, which travel raw, stay as they are: there is little to be saved, and much of them to be lost.
The ladder is ordered by what a classifier still makes of the image, not by how it looks: a calibration measures its own
back end's, and the usual one comes from `python -m edgesight.bench.link.protection`.

Words owned here: ladder, room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesight.host.kernel import Rung
from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import MAX_DATAGRAM, LinkError
from edgesight.host.link.parity import strips_for
from edgesight.host.link.strips import QUALITY, Encoded, encode_at

PACKET = 48  # bytes that a strip's packet has beside it, on a way where they count
# Of the time left, what sending an image may take, at the first step and coarser. The latter leaves more time for what
# cannot be foreseen.
_SHARE, _SHARE_COARSE = 0.85, 0.6


@dataclass(frozen=True)
class Step:
    """How an image may be encoded: JPEG's quality, and by how much each side is divided before."""

    quality: int
    divisor: int


# Where no calibration says better. On photographs EfficientNet-Lite0 agrees with itself 94 % of the time in 10.7 kB at
# the second step, 90 % in 5.7 kB at the fourth and 75 % in 3.0 kB at the sixth, where quality 15 at full size would
# take 3.7 kB for as much.
LADDER = (
    *(Step(quality, 1) for quality in (QUALITY, 70, 50, 30, 20)),
    *(Step(quality, 2) for quality in (70, 50, 30, 15)),
    *(Step(quality, 4) for quality in (70, 50, 30)),
)


def ladder_of(rungs: Sequence[Rung]) -> tuple[Step, ...]:
    """The ladder that a calibration measured, or the usual one where it measured none."""
    return tuple(Step(rung.quality, rung.divisor) for rung in rungs) or LADDER


@dataclass(frozen=True)
class Room:
    """Bytes that an image may take, packets' own included."""

    whole: float = float("inf")  # at the ladder's first step
    coarse: float = float("inf")  # at another


def room(rate: float | None, left: Sequence[float], elsewhere: float, ahead: int) -> Room:
    """What an image may take; all there is while the `rate` (bytes a second) is not known.

    Of the seconds `left` until the deadline, those `elsewhere` are spent on the bare way there and back and at the data
    centre, and `ahead` bytes go before. `left` has one number for each further image that waits behind, too: none may
    take so much that the others, each with as many bytes, come late.
    """
    if rate is None:
        return Room()

    def most(share: float) -> float:
        return min((share * rate * max(one - elsewhere, 0.0) - ahead) / (before + 1) for before, one in enumerate(left))

    return Room(most(_SHARE), most(_SHARE_COARSE))


@dataclass(frozen=True)
class Fitted:
    """An image as it goes: encoded, and how many parity strips go along."""

    encoded: Encoded
    parity: int
    coarse: bool  # at another step than the ladder's first


def fit(
    image: Pixels,
    ladder: Sequence[Step],
    within: Room,
    loss: float,
    largest: int = MAX_DATAGRAM,
    entire: bool = False,
    progressive: bool = True,
) -> Fitted:
    """`image`, uint8 [H, W, C], encoded in what it may take, with parity strips for this `loss`.

    At the ladder's first step where that fits, else at the first of the others that does; at the last when none does.
    A tiny image always goes as it is. `entire` ones have no parity; without `progressive` one at the first step goes in
    the JPEG that is made and read fastest. Raises LinkError as `encode` does, where no step can be encoded.
    """

    def at(step: Step, progressive: bool = True) -> tuple[Encoded, int, float]:
        encoded = encode_at(image, step.quality, step.divisor, largest, entire, progressive)
        count = len(encoded.payloads)
        parity = 0 if entire else strips_for(count, loss)
        return encoded, parity, (encoded.size / count + PACKET) * (count + parity)

    try:
        encoded, parity, size = at(ladder[0], progressive)
    except LinkError:  # such as a block that fits no datagram
        if len(ladder) == 1:
            raise
    else:
        if size <= within.whole or encoded.kind.raw or len(ladder) == 1:
            return Fitted(encoded, parity, coarse=False)
    first, last = 1, len(ladder) - 1  # the step looked for is one of these
    while True:
        middle = (first + last) // 2
        try:
            encoded, parity, size = at(ladder[middle])
        except LinkError:
            if first == last:
                raise
            first = middle + 1
            continue
        if first == last:
            return Fitted(encoded, parity, coarse=True)
        if size <= within.coarse:
            last = middle
        else:
            first = middle + 1
