"""Quantisers as instances: thresholding.sv with its memories, and rescale.sv."""

from __future__ import annotations

from functools import partial

from edgesight.hls.dataflow.operators import Scale, Stream, Threshold
from edgesight.hls.rtl.memories import Memories, Trees, trees
from edgesight.hls.rtl.parts import Instances, address_bits, style_of
from edgesight.hls.rtl.units import Unit, signed_bits
from edgesight.hls.verilog import memory_file, packed


def write_thresholds(
    memories: Memories, unit: Unit, operator: Threshold, taken: Stream, source: str, stream: str
) -> None:
    """A quantiser of thresholds with their memories: from the stream `source`, which has `taken`, to `stream`."""
    out, tree = operator.output, trees(operator, taken)
    groups = out.shape.channels // unit.pe
    address = address_bits(groups << (tree.levels - 1))
    lanes = tree.levels * unit.pe
    ports = f"{stream}_threshold"
    memories.instances.body += [
        f"  logic [{tree.levels - 1}:0] {ports}_en;",
        f"  logic [{lanes * address - 1}:0] {ports}_addr;",
        f"  logic [{lanes * tree.word_bits - 1}:0] {ports}_data;",
    ]
    for level in range(tree.levels):
        words = groups << level
        for p in range(unit.pe):
            lane, memory = level * unit.pe + p, f"{stream}_level{level}_{p}"
            file = memories.file(memory, partial(_level, tree, level, p, unit.pe))
            style = unit.weights_in if unit.weights_in == "auto" else style_of(words, tree.word_bits)
            memories.write(unit.place, memory, file, words, tree.word_bits, style, loaded=operator.runtime, rising=True)
            memories.instances.body += [
                f"  assign {memory}_en = {ports}_en[{level}];",
                f"  assign {memory}_addr = {ports}_addr[{lane * address}+:{address_bits(words)}];",
                f"  assign {ports}_data[{lane * tree.word_bits}+:{tree.word_bits}] = {memory}_data;",
            ]
    parameters: dict[str, object] = {
        "Channels": out.shape.channels,
        "Pe": unit.pe,
        "InWidth": taken.bits,
        "InSigned": int(taken.signed),
        "Levels": tree.levels,
        "ThresholdWidth": tree.bits,
        **({} if tree.senses is None else {"Senses": 1}),
        "OutWidth": out.bits,
        "First": packed(tree.first, out.bits),
        "Step": packed(operator.step if tree.senses is None else abs(operator.step), out.bits),
    }
    extra = [f".threshold_{port}({ports}_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
    memories.instances.add(unit.place, "thresholding", stream, parameters, source, stream, extra)


def write_scale(instances: Instances, unit: Unit, operator: Scale, taken: Stream, source: str, stream: str) -> None:
    """A linear quantiser, from the stream `source`, which has `taken`, to `stream`."""
    out = operator.output
    multiplier = signed_bits(int(operator.multiplier.min()), int(operator.multiplier.max()))
    offset = signed_bits(int(operator.offset.min()), int(operator.offset.max()))
    parameters: dict[str, object] = {
        "Channels": out.shape.channels,
        "Pe": unit.pe,
        "InWidth": taken.bits,
        "InSigned": int(taken.signed),
        "MultiplierWidth": multiplier,
        "Multiplier": packed(operator.multiplier, multiplier),
        "OffsetWidth": offset,
        "Offset": packed(operator.offset, offset),
        "Shift": operator.shift,
        "Round": operator.rounding,
        "OutWidth": out.bits,
        "Low": f"64'sh{out.low & (1 << 64) - 1:x}",
        "High": f"64'sh{out.high & (1 << 64) - 1:x}",
    }
    instances.add(unit.place, "rescale", stream, parameters, source, stream)


def _level(tree: Trees, level: int, channel: int, pe: int) -> str:
    return memory_file(tree.words(level, channel, pe), tree.word_bits)
