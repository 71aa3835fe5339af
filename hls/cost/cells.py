"""Cells of a part, and how Yosys' types of them count.

Words owned here: cells, cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

# What counts and what does not: the price of a DSP and of half a block memory in look-up tables.
DSP_COST, HALF_BLOCK_COST = 60, 100
_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "LUT6_2": 1, "INV": 1, "SRL16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM32X1D": 2, "RAM64X1D": 2,
    "RAM128X1S": 2, "RAM128X1D": 4, "RAM256X1S": 4, "RAM32M": 4, "RAM64M": 4,
}  # fmt: skip
_FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
_HALF_BLOCKS = {"RAMB18E1": 1, "RAMB36E1": 2}
_FREE = ("CARRY4", "MUXF7", "MUXF8")


@dataclass(frozen=True)
class Cells:
    """What a module takes of a 7-series part, before placement."""

    luts: int
    flip_flops: int
    half_blocks: int
    dsps: int

    def __add__(self, other: Cells) -> Cells:
        """Both together."""
        return Cells(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def cost(self) -> int:
        """In look-up tables."""
        return self.luts + DSP_COST * self.dsps + HALF_BLOCK_COST * self.half_blocks

    def __str__(self) -> str:
        """In words."""
        return f"{self.luts} LUT, {self.flip_flops} FF, {self.half_blocks} RAMB18, {self.dsps} DSP"


def cells_of(counts: Mapping[str, int]) -> Cells:
    """What cells take, counted by Yosys's types; raises ValueError for a type that is not known."""
    known = {*_LUTS, *_FLIP_FLOPS, *_HALF_BLOCKS, *_FREE, "DSP48E1"}
    unknown = sorted(set(counts) - known)
    if unknown:
        raise ValueError(f"Yosys gave cells that have no price here: {', '.join(unknown)}: add them")
    return Cells(
        sum(count * _LUTS.get(cell, 0) for cell, count in counts.items()),
        sum(counts.get(cell, 0) for cell in _FLIP_FLOPS),
        sum(count * _HALF_BLOCKS.get(cell, 0) for cell, count in counts.items()),
        counts.get("DSP48E1", 0),
    )
