"""The instances of the library's modules that a network is made of, and where its memories lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_FEW_WORDS, _FEW_BITS = 128, 4096  # of a memory in look-up tables, as window_memory.sv counts


@dataclass(frozen=True)
class Part:
    """An instance of a module of the library, made for the operator at `place`."""

    place: int
    module: str
    instance: str
    parameters: Mapping[str, object]

    def __getitem__(self, parameter: str) -> int:
        """A parameter that is a number."""
        return int(str(self.parameters[parameter]))


def style_of(words: int, bits: int) -> str:
    """Where a memory of thresholds lies: few words, or few bits of them, are cheaper in look-up tables."""
    return "block" if words > _FEW_WORDS and words * bits > _FEW_BITS else "distributed"


def address_bits(words: int) -> int:
    """Bits of the address of a memory."""
    return max(1, (words - 1).bit_length())
