"""How finely an image is encoded: as finely as the bandwidth carries before the deadline.

Where bandwidth is ample an image goes at the quality asked for, always the same. Where it is not, steps of a ladder
of qualities, and below those of smaller sizes, are taken until the image fits; the data centre enlarges a smaller one.
Tiny images, which travel raw, stay as they are: there is little to be saved, and much of them to be lost. The ladder is
ordered by what a classifier still makes of the image (`python -m sim.link.repair` measures it), not by how it looks.

Words owned here: ladder, room.
"""

from __future__ import annotations

from dataclasses import dataclass

from host.link.concealment import Pixels
from host.link.datagrams import MAX_DATAGRAM, Kind
from host.link.parity import strips_for
from host.link.strips import Encoded, encode, kind_of, resize

_SHARE = 0.5  # of the time left that sending may take: the rest is for what cannot be foreseen


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


def room(rate: float | None, left: float, round_trip: float, service: float, waiting: int) -> float:
    """Bytes that an image may take; infinite while the `rate` (bytes a second) is not known.

    Of the seconds `left` until the deadline, a `round_trip` and the usual `service` are spent otherwise, and `waiting`
    bytes go before.
    """
    if rate is None:
        return float("inf")
    return _SHARE * rate * max(left - round_trip - service, 0.0) - waiting


def fit(image: Pixels, quality: int, within: float, loss: float, largest: int = MAX_DATAGRAM) -> tuple[Encoded, int]:
    """`image`, uint8 [H, W, C], encoded in at most `within` bytes, and how many parity strips go along at this `loss`.

    At `quality` where that fits, else at the first step of the ladder that does; at the last step when none does.
    A tiny image always goes as it is. Raises LinkError as `encode` does.
    """
    kind = kind_of(image)
    coarser = () if kind == Kind.RAW else LADDER
    for step in (Step(quality, 1), *(step for step in coarser if step.divisor > 1 or step.quality < quality)):
        encoded = encode(smaller(image, step.divisor), step.quality, largest, kind)
        count = len(encoded.payloads)
        parity = strips_for(count, loss)
        if encoded.size * (count + parity) / count <= within:
            break
    return encoded, parity


def smaller(image: Pixels, divisor: int) -> Pixels:
    """`image` [H, W, C] with each side divided, rounded up."""
    height, width, channels = image.shape
    return image if divisor == 1 else resize(image, (-(-height // divisor), -(-width // divisor), channels))
