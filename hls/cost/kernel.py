"""What stands around the networks of a kernel: the cascade's frames, queues, records and registers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import Features, half_blocks, in_blocks
from edgesight.hls.cost.model import CostModel
from edgesight.hls.dataflow.operators import IntegerNetwork

FRAME_SLOTS = 8
KERNEL = "kernel"  # the name of its prices
_WORD_BITS = 64  # of the frame buffer, whose words hold pixels of whole bytes


def kernel_features(networks: Sequence[IntegerNetwork]) -> Features:
    """What costs look-up tables and flip-flops around the networks: mostly how many there are."""
    return {
        "one": 1,
        "stages": len(networks),
        "words": len(networks) * _words(networks[0]).bit_length(),
    }


def around(networks: Sequence[IntegerNetwork], model: CostModel) -> Cells:
    """What a kernel takes beside its networks."""
    features, prices = kernel_features(networks), model.prices[KERNEL]
    luts, flip_flops = (
        round(sum(count * prices[of].get(name, 0.0) for name, count in features.items()))
        for of in ("luts", "flip_flops")
    )
    # Every stage that begins at the pixels reads a copy of the frames.
    copies = sum(network.entry.output.shape == networks[0].entry.output.shape for network in networks)
    words = _words(networks[0])
    deep = FRAME_SLOTS * words
    blocks = copies * half_blocks(deep, _WORD_BITS) if in_blocks(deep, _WORD_BITS) else 0
    # A slot's first word is a product of its number, which Yosys gives to DSPs.
    return Cells(luts, flip_flops, blocks, 0 if words & (words - 1) == 0 else len(networks) + 1)


def _pixel_bits(network: IntegerNetwork) -> int:
    source = network.entry.output
    return source.shape.channels * 8 * math.ceil(source.bits / 8)


def _words(network: IntegerNetwork) -> int:
    """Words of a frame in the buffer."""
    return math.ceil(network.entry.output.shape.pixels * _pixel_bits(network) / _WORD_BITS)
