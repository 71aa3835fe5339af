"""What instances of the library's modules will take of a part: their features at fitted prices.

Block memories and multipliers follow from rules alone, as does the look-up tables' share of a product, which is
measured for every pair of widths, and that of a comparison.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import (
    BY_MODULE,
    Features,
    dsps,
    half_blocks,
    in_blocks,
    is_counted,
    prefers_blocks,
    replays_in_block,
)
from edgesight.hls.rtl.parts import Part

Series = Literal["xc7"]
MEASURED_BITS = 8  # of a product's factors
COMPARED_BITS = 16  # of values that the largest is taken of
# Of modules that no synthesis was fitted to: about what their text has.
_ROUGH: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "runtime_memory": {"luts": {"one": 8.0, "ram": 1.0, "ram_pick": 0.35}, "flip_flops": {"width": 2.0}},
}


@dataclass(frozen=True)
class CostModel:
    """Prices by module, by resource (`luts`, `flip_flops`) and feature; look-up tables of products by their widths.

    `products` is [signed, input bits - 1, weight bits - 1]; `largest` of four is [bits - 1].
    """

    prices: Mapping[str, Mapping[str, Mapping[str, float]]]
    products: Sequence[Sequence[Sequence[int]]]
    largest: Sequence[int]

    def part(self, part: Part) -> Cells:
        """What an instance takes."""
        features = self.features(part)
        prices = self._prices(part.module)
        luts, flip_flops = (
            round(sum(count * prices[of].get(name, 0.0) for name, count in features.items()))
            for of in ("luts", "flip_flops")
        )
        return Cells(luts, flip_flops, blocks(part), dsps(part))

    def is_rough(self, part: Part) -> bool:
        """Whether what an instance takes is no more than a guess: no synthesis of its like was fitted to."""
        return (
            part.module in _ROUGH or bool(part.parameters.get("Runtime")) or not any(self._prices(part.module).values())
        )

    def _prices(self, module: str) -> Mapping[str, Mapping[str, float]]:
        return _ROUGH.get(module) or self.prices.get(module, {"luts": {}, "flip_flops": {}})

    def parts(self, parts: Iterable[Part]) -> Cells:
        """What instances take together."""
        return sum((self.part(part) for part in parts), Cells(0, 0, 0, 0))

    def features(self, part: Part) -> Features:
        """What an instance has that costs look-up tables and flip-flops."""
        features = BY_MODULE[part.module](part)
        if part.module == "mvu" and not dsps(part) and not is_counted(part["InWidth"], part["WeightWidth"]):
            table = self.products[part["InSigned"]]
            features["product_luts"] = part["Pe"] * part["Simd"] * _of(table, part["InWidth"], part["WeightWidth"])
        if part.module == "max_pool":
            width = part["Width"]
            each = self.largest[min(width, COMPARED_BITS) - 1] * max(1, width / COMPARED_BITS) / 3
            features["compare_luts"] = features.pop("compares") * each
        return features


def blocks(part: Part) -> int:
    """Halves of block memories that an instance takes."""
    if part.module == "weight_memory" and part.parameters["Style"] == "block":
        # Of few words, many bits are the same in all, and are not kept.
        return half_blocks(part["Depth"], math.ceil(part["Width"] * (1 - 2.0 ** (1 - part["Depth"]))))
    if part.module == "stream_fifo":
        return half_blocks(part["Depth"], part["Width"]) if prefers_blocks(part["Depth"], part["Width"]) else 0
    if part.module == "replay_buffer":
        return half_blocks(part["Words"], part["Width"]) if replays_in_block(part) else 0
    if part.module == "runtime_memory":
        depth = 2 * part["Depth"]
        return half_blocks(depth, part["Width"]) if in_blocks(depth, part["Width"]) else 0
    if part.module == "window_memory":
        side = part["SideBlocks"] * part["Simd"]
        depth, word = part["Pixels"] * part["Channels"] // side, side * part["Width"]
        return half_blocks(depth, word) if in_blocks(depth, word) else 0
    return 0


def _of(table: Sequence[Sequence[int]], bits: int, weight: int) -> float:
    """Look-up tables of a product; beyond what is measured, as much more a bit as before."""
    if bits <= MEASURED_BITS:
        return table[bits - 1][weight - 1]
    last, before = (table[at][weight - 1] for at in (-1, -2))
    return last + (bits - MEASURED_BITS) * (last - before)


@functools.cache
def cost_model(series: Series = "xc7") -> CostModel:
    """The model of a series of parts, as it was fitted last."""
    held: dict[str, Any] = json.loads((Path(__file__).parent / f"{series}.json").read_text())
    return CostModel(held["prices"], held["products"], held["largest"])
