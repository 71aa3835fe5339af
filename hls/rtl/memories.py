"""Memories of a network's module; of thresholding.sv: a tree of thresholds a channel, a file a level of each lane.

And what mvu.sv is told where bias and rounding come from memories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import Scale, Stream, Threshold
from edgesight.hls.dataflow.runtime import shift_bits
from edgesight.hls.network import Integers
from edgesight.hls.rtl.parts import Instances, address_bits
from edgesight.hls.rtl.units import signed_bits


@dataclass(frozen=True)
class Trees:
    """Thresholds [channels, 2**levels - 1], ascending, and what a channel gives below its first one.

    Where there are `senses` [channels], those that are set count the thresholds above the value, which then descend.
    """

    thresholds: Integers
    first: Integers
    levels: int
    bits: int
    senses: Integers | None = None

    @property
    def word_bits(self) -> int:
        """Bits of a word of the memories: those of a threshold, and where there is one its sense."""
        return self.bits + (self.senses is not None)

    def words(self, level: int, channel: int, pe: int) -> Integers:
        """The memory of `level` for each `pe`-th channel from `channel` on: [words, 1], by channel, then by path."""
        width = 1 << (self.levels - level)
        picked = self.thresholds[channel::pe, width // 2 - 1 :: width]
        if self.senses is not None:
            picked = (picked & ((1 << self.bits) - 1)) | self.senses[channel::pe, None].astype(np.int64) << self.bits
        return picked.reshape(-1, 1)


def trees(operator: Threshold, source: Stream) -> Trees:
    """The thresholds as the hardware searches them, without those that every value or none reaches.

    Those that are loaded at run time have all of them, and channels that fall rise by a turned comparison.
    """
    if operator.runtime:
        return _loaded(operator, source)
    thresholds = np.clip(operator.thresholds, source.low, source.high + 1)
    always = (thresholds == source.low).sum(axis=1)
    undecided = (thresholds <= source.high).sum(axis=1) - always
    levels = max(int(undecided.max(initial=0)).bit_length(), 1)
    full = np.full((len(thresholds), (1 << levels) - 1), source.high + 1)
    for channel, (skipped, count) in enumerate(zip(always, undecided, strict=True)):
        full[channel, :count] = thresholds[channel, skipped : skipped + count]
    first = operator.first + operator.step * always
    return Trees(full, first, levels, signed_bits(int(full.min()), source.high + 1))


def _loaded(operator: Threshold, source: Stream) -> Trees:
    falls = operator.step < 0
    channels, count = operator.thresholds.shape
    levels = max(count.bit_length(), 1)
    # A falling channel gives its lowest, and a step more for each threshold that the value does not reach.
    full = np.where(falls[:, None], source.low, source.high + 1) + np.zeros((channels, (1 << levels) - 1), np.int64)
    full[:, :count] = np.where(falls[:, None], operator.thresholds[:, ::-1], operator.thresholds)
    first = np.full(channels, operator.output.low)
    return Trees(full, first, levels, signed_bits(source.low, source.high + 1), falls.astype(np.int64))


def loaded_rounding(scale: Scale, sums: Stream) -> dict[str, object]:
    """A matrix unit's parameters where its bias is loaded at run time, and unless it only adds it, its rounding."""
    bits = signed_bits(sums.low, sums.high)
    parameters: dict[str, object] = {
        "AccWidth": bits + 1,
        "BiasWidth": bits,
        "Runtime": 1,
        "OutWidth": scale.output.bits,
        "OutSigned": int(scale.output.signed),
        "Shift": 0,
        "Saturate": int(scale.reach is not None),
    }
    return parameters if scale.reach is None else {**parameters, "ShiftBits": shift_bits(bits + 1)}


class Memories:
    """Memories as they are written among `instances`: `files` make their texts.

    `loaded`: the files of those that are written at run time, in the order of their numbers.
    """

    def __init__(self, instances: Instances, module: str, first: int) -> None:
        """Of the module `module`; `first`: the number of the first one that is written at run time."""
        self.instances = instances
        self.files: dict[str, Callable[[], str]] = {}
        self.loaded: list[str] = []
        self._module, self._first = module, first

    def file(self, name: str, words: Callable[[], str]) -> str:
        """The file's name of a memory whose text `words` makes."""
        file = f"{self._module}_{name}.mem"
        self.files[file] = words
        return file

    def write(
        self,
        place: int,
        name: str,
        file: str,
        words: int,
        bits: int,
        style: str = "auto",
        *,
        loaded: bool,
        rising: bool = False,
    ) -> None:
        """A memory with its signals `name`_en, _addr and _data; `loaded`: written at run time, wherever it lies then.

        `rising`: its words rise, as thresholds do.
        """
        ports = ".clk_i, "
        counts: dict[str, object] = {"Width": bits, "Depth": words}
        if loaded:
            kind, more = "runtime_memory", f".Memory({self._first + len(self.loaded)}), "
            ports += ".bus_i(weights_q), "
            self.loaded.append(file)
        else:
            kind, more = "weight_memory", "" if style == "auto" else f'.Style("{style}"), '
            counts |= {"Style": style, "Sorted": int(rising)}
        self.instances.body += [
            f"  logic {name}_en;",
            f"  logic [{address_bits(words) - 1}:0] {name}_addr;",
            f"  logic [{bits - 1}:0] {name}_data;",
            f'  {kind} #(.Width({bits}), .Depth({words}), {more}.File("{file}")) u_{name} (',
            f"    {ports}.en_i({name}_en), .addr_i({name}_addr), .data_o({name}_data)",
            "  );",
        ]
        self.instances.count(place, kind, name, counts)
