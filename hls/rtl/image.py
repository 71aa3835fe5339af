"""The image of a kernel's weights: what weight_loader.sv takes, word by word.

For each memory, in the order of their numbers: a word {steps - 1 [31:16], memory [15:0]}, a word with its words - 1,
and its words, each in `steps` words of 32 bits, the uppermost first. In bytes, each word's lowest comes first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
