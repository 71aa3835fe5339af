"""The closed forms that Jellyfish's simulations were made with, and the shipped profiles that they give.

Accuracy of an object detector and its latency by input side r, in px, as quoted by the authors; latency of a batch.
The first is negative up to r = 288, so that `jellyfish` begins at 320. `jellyfish-simulator` is the authors' own
simulator: it begins at 128 and runs a single frame in 0.75 of the latency that the form gives.

`python -m edgesight.plan.adapt.jellyfish` writes the files anew.
"""

from __future__ import annotations

import math
from pathlib import Path

from edgesight.plan import profile
from edgesight.plan.adapt.data import Model, ModelProfile, Network

BATCHES = range(1, 13)
LOAD_MS = 21.3  # 64 million weights of 4 bytes (YOLOv4) over 12 GB/s (PCIe 3.0 x16): projected
COMPRESSION = 8  # of 24 bits a pixel

_SOURCE = (
    "Closed forms quoted from Jellyfish (RTSS 2022) and its simulator, r = input side in px: accuracy "
    "0.988 - 4.469 exp(-r/200){clamped}; L = (0.08315 r^2 - 0.04463 r + 0.03757) / 1000 ms; batch b: "
    "L ({first:g} + 0.25 {count}); frame bytes 3 r^2 / 8. "
    "Loading is projected: 64 million weights of 4 bytes at 12 GB/s."
)


def accuracy(side: int) -> float:
    """Share of right detections at an input of `side` px; negative forms count as 0."""
    return max(0.0, 0.988 - 4.469 * math.exp(-side / 200))


def latency_ms(side: int) -> float:
    """Milliseconds of one frame of `side` px."""
    return (0.08315 * side**2 - 0.04463 * side + 0.03757) / 1e3


def frame_bytes(side: int) -> int:
    """Bytes of a compressed frame of `side` px."""
    return 3 * side**2 // COMPRESSION


def jellyfish(simulator: bool = False) -> ModelProfile:
    """The profile of the closed forms, or that of the authors' simulator."""
    sides = range(128 if simulator else 320, 641, 32)
    less = 1 if simulator else 0
    return ModelProfile(
        name="jellyfish-simulator" if simulator else "jellyfish",
        source=_SOURCE.format(
            clamped=", 0 where that is negative" if simulator else "", first=0.75, count="(b - 1)" if simulator else "b"
        ),
        models=tuple(
            Model(
                name=f"yolov4-{side}",
                accuracy=round(accuracy(side), 6),
                latency_ms={batch: round(latency_ms(side) * (0.75 + 0.25 * (batch - less)), 6) for batch in BATCHES},
                obtained="quoted",
                input_px=side,
            )
            for side in sides
        ),
        networks=tuple(Network(name=f"yolov4-{side}", load_ms=LOAD_MS, obtained="projected") for side in sides),
        frame_bytes={side: frame_bytes(side) for side in sides},
        frame_bytes_obtained="quoted",
    )


if __name__ == "__main__":
    for made in (jellyfish(), jellyfish(simulator=True)):
        profile.write(Path(__file__).parent / "profiles" / f"{made.name}.json", made)
