"""Section `window`: what the window of a wide layer takes, as the compiler makes it today.

The window with its line buffers and what chooses the lanes of a step is the layer less its products: a layer on as many
channels as the products take side by side, which has the same multipliers, sums and outputs and nothing to choose from.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from edgesight.bench.folding import ours
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.layers import Layer
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.hls.cost.cells import Cells
from edgesight.sim.workers import progress

# 3 x 3 of 256 channels of 8 bits, on a map 32 wide.
WIDE = Layer(32, 256, 64, 3, 1, 1, 8, 8, 8, pe=1, simd=32, rounded=True)
_WINDOW = {"LUT": 1_200, "FF": 2_000, "BRAM36": 8}
_WHOLE = {"LUT": 3_000, "FF": 4_000, "DSP": 32}


def lacks(_: Asked) -> str | None:
    """What is missing: nothing but Yosys, which says so itself."""
    return None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Synthesise the layer and its products; raises BoardError."""
    folder = folder.resolve()
    with progress() as bar:
        task = bar.add_task("wide layer", total=2)
        whole = taken(WIDE, folder)
        bar.advance(task)
        products = taken(products_alone(WIDE), folder)
        bar.advance(task)
    console.print(f"the layer: {whole}; its products alone: {products}", highlight=False)
    fold = ours.products(ours.emitted(WIDE)).fold
    body = {
        "layer": {**asdict(WIDE), "title": WIDE.title},
        "fold": [fold.pe, fold.simd],
        "whole": asdict(whole),
        "products": asdict(products),
    }
    return Found(body, tuple(checks_of(whole, products)))


def products_alone(layer: Layer) -> Layer:
    """The layer on the channels of one step: every pixel is a window, and a step takes all of it."""
    return replace(layer, channels=layer.simd, kernel=1, pad=0, stride=1)


def taken(layer: Layer, folder: Path) -> Cells:
    """What the layer takes, its products as DSPs."""
    return synthesised(ours.without_weights(ours.emitted(layer).project()), ours.TOP, folder)


def checks_of(whole: Cells, products: Cells) -> list[Check]:
    """The layer and its window against their bars."""
    window = {
        "LUT": whole.luts - products.luts,
        "FF": whole.flip_flops - products.flip_flops,
        "BRAM36": (whole.half_blocks - products.half_blocks) / 2,
    }
    layer = {"LUT": whole.luts, "FF": whole.flip_flops, "DSP": whole.dsps}
    what = f"{WIDE.title}, {WIDE.in_bits} bits, {WIDE.simd} lanes"
    return [
        *(Check(f"window of {what}", window[of], bar, True, of, "measured") for of, bar in _WINDOW.items()),
        *(Check(f"whole layer of {what}", layer[of], bar, True, of, "measured") for of, bar in _WHOLE.items()),
    ]
