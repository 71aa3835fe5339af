"""Draws random networks as QONNX files: every layer that the compiler takes, precisions, windows, branches, foldings.

A network is drawn block by block, so that the first blocks alone are a network too: a failing one is shrunk so, and to
fewer channels. The first block is of a kind and precision that its number says; `KINDS` times `BITS` networks have each
once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from edgesight.bench.coverage.graphs import Graph
from edgesight.bench.coverage.random_blocks import KINDS
from edgesight.bench.coverage.random_build import Build, Layer
from edgesight.hls.folding import Folding

BITS = (1, 2, 4, 8)
CHANNELS = 10  # of a layer, at most
CYCLES = (1, 50, 200, 600, 2000)  # that a layer may take: as parallel as it goes, too slow to be of use, and between
_MOST_BLOCKS = 4
# The bits in which a kind of layer has no meaning, and why.
NO_MEANING: dict[str, tuple[tuple[int, ...], str]] = {
    "bipolar activation": ((2, 4, 8), "-1 and 1 are one bit"),
    "bipolar weights": ((2, 4, 8), "-1 and 1 are one bit"),
    "ternary weights": ((1, 4, 8), "-1, 0 and 1 are two bits"),
}


@dataclass(frozen=True)
class Drawn:
    """A random network: `draw(seed, index, blocks, channels)` draws it again."""

    seed: int
    index: int
    blocks: int
    channels: int  # of a layer, at most
    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    folding: Folding


def draw(seed: int, index: int, blocks: int = _MOST_BLOCKS, channels: int = CHANNELS) -> Drawn:
    """Network `index` of those that `seed` draws; its first `blocks` blocks where it has more of them."""
    rng = np.random.default_rng([seed, index])
    pairs = [(kind, bits) for bits in BITS for kind in KINDS if bits not in NO_MEANING.get(kind, ((),))[0]]
    kind, bits = pairs[index % len(pairs)]
    count = min(blocks, int(rng.integers(1, _MOST_BLOCKS, endpoint=True)))
    cycles = int(rng.choice(CYCLES))
    form = str(rng.choice(sorted(KINDS[kind].forms)))
    build = Build(rng, bits, channels, *_begun(rng, form, channels))
    build.enter(bits)
    for block in range(count):
        if block:
            build.bits = int(rng.integers(1, 8, endpoint=True))
            kind = str(rng.choice([name for name, each in KINDS.items() if build.form in each.forms]))
        KINDS[kind].block(build)
        if rng.random() < 0.15:
            build.left.append(build.tensor)
    build.end()
    outputs = list(dict.fromkeys([*build.left, build.tensor]))
    return Drawn(seed, index, count, channels, build.graph.model(outputs), tuple(build.layers), Folding(cycles, {}))


def _begun(rng: np.random.Generator, form: str, channels: int) -> tuple[Graph, tuple[int, ...]]:
    """The graph of a picture, a signal or a vector, and its shape."""
    few = int(rng.integers(1, min(4, channels), endpoint=True))
    shape: tuple[int, ...] = {
        "picture": (few, int(rng.integers(3, 9)), int(rng.integers(3, 9))),
        "signal": (few, int(rng.integers(6, 30))),
        "vector": (int(rng.integers(2, 2 + 2 * channels)),),
    }[form]
    return Graph(rng, shape), shape
