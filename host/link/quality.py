"""How finely an image is encoded: as finely as the bandwidth carries before the deadline.

Where bandwidth is ample an image goes at the quality asked for, always the same. Where it is not, steps of a ladder
of qualities, and below those of smaller sizes, are taken until the image fits; the data centre enlarges a smaller one.
Tiny images, which travel raw, stay as they are: there is little to be saved, and much of them to be lost. The ladder is
ordered by what a classifier still makes of the image (`python -m edgesight.bench.link.protection` measures it), not
by how it looks.

Words owned here: ladder, room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import MAX_DATAGRAM
from edgesight.host.link.parity import strips_for
from edgesight.host.link.strips import Encoded, encode, kind_of, resize

PACKET = 48  # bytes that a strip's packet has beside it, on a way where they count
# Of the time left, what sending an image may take, as it is asked for and coarser. The latter leaves more time for what
# cannot be foreseen.
_SHARE, _SHARE_COARSE = 0.85, 0.6


@dataclass(frozen=True)
class Step:
    """How an image may be encoded: JPEG's quality, and by how much each side is divided before."""

    quality: int
    divisor: int


# On photographs EfficientNet-Lite0 agrees with itself 94 % of the time in 10.7 kB at the first step, 90 % in 5.7 kB at
# the third and 75 % in 3.0 kB at the fifth, where quality 15 at full size would take 3.7 kB for as much.
LADDER = (
    *(Step(quality, 1) for quality in (70, 50, 30, 20)),
    *(Step(quality, 2) for quality in (70, 50, 30, 15)),
    *(Step(quality, 4) for quality in (70, 50, 30)),
)


@dataclass(frozen=True)
class Room:
    """Bytes that an image may take, packets' own included."""

    whole: float = float("inf")  # as it is asked for
    coarse: float = float("inf")  # as a step of the ladder


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


def fit(
    image: Pixels,
    quality: int,
    within: Room,
    loss: float,
    largest: int = MAX_DATAGRAM,
    entire: bool = False,
    progressive: bool = True,
) -> tuple[Encoded, int]:
    """`image`, uint8 [H, W, C], encoded in what it may take, and how many parity strips go along at this `loss`.

    At `quality` where that fits, else at the first step of the ladder that does; at the last step when none does.
    A tiny image always goes as it is. `entire` ones have no parity; without `progressive` one at `quality` goes in
    the JPEG that is made and read fastest. Raises LinkError as `encode` does.
    """
    kind = kind_of(image, entire)

    def at(step: Step, progressive: bool = True) -> tuple[Encoded, int, float]:
        encoded = encode(smaller(image, step.divisor), step.quality, largest, kind, progressive)
        count = len(encoded.payloads)
        parity = 0 if entire else strips_for(count, loss)
        return encoded, parity, (encoded.size / count + PACKET) * (count + parity)

    encoded, parity, size = at(Step(quality, 1), progressive)
    if size <= within.whole or kind.raw:
        return encoded, parity
    steps = [step for step in LADDER if step.divisor > 1 or step.quality < quality]
    first, last = 0, len(steps) - 1  # the step looked for is one of these
    while True:
        middle = (first + last) // 2
        encoded, parity, size = at(steps[middle])
        if first == last:
            return encoded, parity
        if size <= within.coarse:
            last = middle
        else:
            first = middle + 1


def smaller(image: Pixels, divisor: int) -> Pixels:
    """`image` [H, W, C] with each side divided, rounded up."""
    height, width, channels = image.shape
    return image if divisor == 1 else resize(image, (-(-height // divisor), -(-width // divisor), channels))
