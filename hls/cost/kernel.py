"""What stands around the networks of a kernel: the cascade's frames, queues, records and registers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesight.hls.checks import FRAME_SLOTS
from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import Features, half_blocks, in_blocks
from edgesight.hls.cost.model import CostModel
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.rtl.parts import Part

KERNEL = "kernel"  # the name of its prices
_WORD_BITS = 64  # of the frame buffer, whose words hold pixels of whole bytes
_FRAME_BITS = 192  # of cascade_pkg::frame_t
_QUEUES = 2  # of frames at each stage, as deep as there are slots
_DEEPEST = 64  # queue of look-up tables; block memories are cheaper then
_SLOT_LUTS = 10  # in the pool of free slots, which looks for the first one


def kernel_features(networks: Sequence[IntegerNetwork]) -> Features:
    """What costs look-up tables and flip-flops around the networks: mostly how many there are."""
    return {
        "one": 1,
        "stages": len(networks),
        "words": len(networks) * _words(networks[0]).bit_length(),
    }


def around(networks: Sequence[IntegerNetwork], model: CostModel, slots: int = FRAME_SLOTS) -> Cells:
    """What a kernel takes beside its networks, with room for so many frames."""
    features, prices = kernel_features(networks), model.prices[KERNEL]
    luts, flip_flops = (
        round(sum(count * prices[of].get(name, 0.0) for name, count in features.items()))
        for of in ("luts", "flip_flops")
    )
    # Every stage that begins at the pixels reads a copy of the frames.
    copies = sum(network.entry.output.shape == networks[0].entry.output.shape for network in networks)
    words = _words(networks[0])
    deep = slots * words
    blocks = copies * half_blocks(deep, _WORD_BITS) if in_blocks(deep, _WORD_BITS) else 0
    # A slot's first word is a product of its number, which Yosys gives to DSPs.
    taken = Cells(luts, flip_flops, blocks, 0 if words & (words - 1) == 0 else len(networks) + 1)
    return taken if slots == FRAME_SLOTS else taken + _deeper(len(networks), slots, model)


def _deeper(stages: int, slots: int, model: CostModel) -> Cells:
    """What the stages' queues take more, or less, than those that the prices were fitted to."""
    asked, fitted = (
        model.part(Part(0, "stream_fifo", "u_queue", {"Width": _FRAME_BITS + (depth - 1).bit_length(), "Depth": depth}))
        for depth in (min(slots, _DEEPEST), FRAME_SLOTS)
    )
    count, more = stages * _QUEUES, slots - FRAME_SLOTS
    luts = count * (asked.luts - fitted.luts) + more * _SLOT_LUTS
    return Cells(luts, count * (asked.flip_flops - fitted.flip_flops) + more, 0, 0)


def _pixel_bits(network: IntegerNetwork) -> int:
    source = network.entry.output
    return source.shape.channels * 8 * math.ceil(source.bits / 8)


def _words(network: IntegerNetwork) -> int:
    """Words of a frame in the buffer."""
    return math.ceil(network.entry.output.shape.pixels * _pixel_bits(network) / _WORD_BITS)
