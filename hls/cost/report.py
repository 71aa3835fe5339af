"""What a compiled network takes, layer by layer: as rows for a table and for JSON.

Words owned here: cost row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import levels
from edgesight.hls.cost.model import CostModel
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.folding import Folding
from edgesight.hls.rtl.joins import join_depths
from edgesight.hls.rtl.network import parts_of
from edgesight.hls.rtl.parts import Part
from edgesight.hls.rtl.units import Unit, plan, slowest


@dataclass(frozen=True)
class CostRow:
    """A unit of the hardware. Cycles and cells are the bound and the prediction; a FIFO belongs to whom it feeds.

    `interval_cycles` is for a frame, `latency_cycles` from the last value that an output needs to the output.
    """

    layer: str
    kind: str
    multiplications: int  # of a frame
    multipliers: int
    multipliers_in: str  # logic, dsp, or as the synthesis chooses; additions where there are none
    weights_in: str
    interval_cycles: int
    latency_cycles: int
    memory_bits: int  # of weights, thresholds, windows and FIFOs
    predicted: Cells
    rough: bool = False  # the prediction is partly a guess: the model was not fitted to all that the layer is made of


def cost_rows(network: IntegerNetwork, folding: Folding, model: CostModel) -> list[CostRow]:
    """The rows of a network, in the order of its units."""
    units = plan(network, folding)
    interval = slowest(network, list(units.values()))[0]
    parts = parts_of(network, units, interval, join_depths(network))
    return [_row(network, unit, [part for part in parts if part.place in (unit.place, unit.fused)], model) for unit in
            units.values()]  # fmt: skip


def as_json(stages: Sequence[Sequence[CostRow]]) -> dict[str, Any]:
    """The rows of a kernel's stages, for a file; the sums have the keys of hls4ml's own report."""
    total = sum((row.predicted for rows in stages for row in rows), Cells(0, 0, 0, 0))
    return {
        "EstimatedResources": {
            "LUT": total.luts,
            "FF": total.flip_flops,
            "BRAM_18K": total.half_blocks,
            "DSP": total.dsps,
        },
        "stages": [[asdict(row) for row in rows] for rows in stages],
    }


def _row(network: IntegerNetwork, unit: Unit, parts: Sequence[Part], model: CostModel) -> CostRow:
    operator = network.operators[unit.place]
    multiplications = 0
    if isinstance(operator, Matrix):
        multiplications = operator.weights.size * operator.output.shape.pixels
    return CostRow(
        layer=unit.name,
        kind=unit.kind,
        multiplications=multiplications,
        multipliers=unit.multipliers,
        multipliers_in="additions" if unit.unrolled else unit.products_in if unit.multipliers else "",
        weights_in=unit.weights_in if unit.parameters and not unit.unrolled else "",
        interval_cycles=unit.cycles,
        latency_cycles=sum(_latency(part) for part in parts),
        memory_bits=sum(_bits(part) for part in parts),
        predicted=model.parts(parts),
        rough=any(map(model.is_rough, parts)),
    )


def _latency(part: Part) -> int:
    """Cycles of an instance from the last value that an output needs, as its module's header says."""
    match part.module:
        case "mvu":
            groups, slices = part["Outputs"] // part["Pe"], part["InLanes"] // part["Blocks"] // part["Simd"]
            plain = not part["Shift"] and not part["Saturate"]
            return groups * slices + levels(part) + (3 if plain else 5)
        case "thresholding":
            return part["Channels"] // part["Pe"] + 2 * part["Levels"] + 2
        case "rescale":
            return part["Channels"] // part["Pe"] + 6
        case "group_pipeline":
            return part["Latency"] + 2
        case "window_memory":
            return 3
        case "max_pool":
            return 2
        case "stream_fork" | "weight_memory" | "runtime_memory" | "stream_split" | "replay_buffer" | "additions":
            return 0
    return 1


def _bits(part: Part) -> int:
    match part.module:
        case "weight_memory" | "stream_fifo":
            return part["Width"] * part["Depth"]
        case "runtime_memory":
            return 2 * part["Width"] * part["Depth"]
        case "replay_buffer":
            return part["Width"] * part["Words"]
        case "window_memory":
            return part["Pixels"] * part["Channels"] * part["Width"]
        case "sliding_window" | "max_pool":
            columns = part["PadLeft"] + part["ImgW"] + part["PadRight"]
            lines = (part["KernelH"] - 1) * part["DilationH"]
            return math.prod((columns, lines, part["Channels"], part["Width"]))
        case "upsample":
            return part["Width"] * part["ImgW"]
    return 0
