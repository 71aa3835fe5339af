"""The image of a kernel's weights: what weight_loader.sv takes, word by word.

For each memory, in the order of their numbers: a word {steps - 1 [31:16], memory [15:0]}, a word with its words - 1,
and its words, each in `steps` words of 32 bits, the uppermost first. In bytes, each word's lowest comes first.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.host.kernel import RuntimeWeights

WEIGHTS = "weights.bin"  # in a package
_DIGITS = 8  # hexadecimal, of a word of the image


def weights_image(memories: Sequence[str]) -> bytes:
    """The image of memories whose files' texts are `memories`, by number."""
    parts = []
    for number, text in enumerate(memories):
        words = text.split()
        steps = -(-len(words[0]) // _DIGITS)
        digits = "".join(word.zfill(steps * _DIGITS) for word in words)
        numbers = [int(digits[at : at + _DIGITS], 16) for at in range(0, len(digits), _DIGITS)]
        parts.append(np.array([(steps - 1) << 16 | number, len(words) - 1, *numbers], "<u4"))
    return b"".join(part.tobytes() for part in parts)


def told_of(
    memories: Sequence[str], stages: Sequence[tuple[str, IntegerNetwork]], whole: Sequence[str]
) -> RuntimeWeights | None:
    """What a package says of the image of `memories`; None where there are none.

    `stages` are its stages' names and networks as they are built, `whole` those of which every layer is loaded.
    """
    if not memories:
        return None
    image = weights_image(memories)
    layers = {
        f"{stage}.{operator.name}": operator.declared
        for stage, network in stages
        for operator in network.operators
        if isinstance(operator, Matrix) and operator.runtime and operator.declared is not None
    }
    return RuntimeWeights(
        file=WEIGHTS, words=len(image) // 4, crc32=zlib.crc32(image), layers=layers, whole=list(whole)
    )  # fmt: skip
