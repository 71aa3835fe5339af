"""The memories of thresholding.sv: a tree of thresholds for each channel, a file for each level of each lane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import Stream, Threshold
from edgesight.hls.network import Integers
from edgesight.hls.rtl.units import signed_bits


@dataclass(frozen=True)
class Trees:
    """Thresholds [channels, 2**levels - 1], ascending, and what a channel gives below its first one."""

    thresholds: Integers
    first: Integers
    levels: int
    bits: int

    def words(self, level: int, channel: int, pe: int) -> Integers:
        """The memory of `level` for each `pe`-th channel from `channel` on: [words, 1], by channel, then by path."""
        width = 1 << (self.levels - level)
        return self.thresholds[channel::pe, width // 2 - 1 :: width].reshape(-1, 1)


def trees(operator: Threshold, source: Stream) -> Trees:
    """The thresholds as the hardware searches them, without those that every value or none reaches."""
    thresholds = np.clip(operator.thresholds, source.low, source.high + 1)
    always = (thresholds == source.low).sum(axis=1)
    undecided = (thresholds <= source.high).sum(axis=1) - always
    levels = max(int(undecided.max(initial=0)).bit_length(), 1)
    full = np.full((len(thresholds), (1 << levels) - 1), source.high + 1)
    for channel, (skipped, count) in enumerate(zip(always, undecided, strict=True)):
        full[channel, :count] = thresholds[channel, skipped : skipped + count]
    first = operator.first + operator.step * always
    return Trees(full, first, levels, signed_bits(int(full.min()), source.high + 1))
