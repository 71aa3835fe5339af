"""Networks of a few layers that a seed draws, each with a folding: what the cost model is fitted to and held against.

Words owned here: drawn network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Matrix,
    Operator,
    Output,
    Stream,
    Window,
    add,
    concat,
    entry,
    matrix,
    max_pool,
    scale,
    threshold,
    upsample,
)
from edgesight.hls.folding import Choice, Folding, ProductsIn, WeightsIn, folds_of
from edgesight.hls.network import Shape
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import beats_of

# Of a drawn network, so that a synthesis takes seconds.
_MULTIPLIERS, _WINDOW_BITS, _CYCLES, _PIXEL_BITS, _WEIGHTS, _ADDITIONS = 64, 3_000, 40_000, 320, 20_000, 600
_PARTS = 80
_RARE = (
    "window_memory", "replay_buffer", "additions", "thresholding", "stream_concat", "rescale", "upsample", "stream_add",
)  # fmt: skip
_CHANNELS = (1, 3, 4, 8, 12, 16, 24, 32, 48, 64)
_OUTPUTS = (4, 8, 10, 16, 24, 32, 48, 64)


@dataclass(frozen=True)
class Drawn:
    """A network with its folding, as module `name`."""

    name: str
    network: IntegerNetwork
    folding: Folding

    def emitted(self) -> EmittedNetwork:
        """As the compiler makes it."""
        return emit_network(self.name, self.network, self.folding)


def drawn(seed: int, number: int) -> Drawn:
    """The network of that number among those of a seed; every few have each of the rarer modules."""
    wanted = _RARE[number % len(_RARE)]
    draw = _Draw(np.random.default_rng([seed, number]), wanted == "stream_concat")
    while True:
        while not draw.layers():
            pass
        last = draw.operators[-1].output.shape.channels
        output = Output("output", len(draw.operators) - 1, np.ones(last), np.zeros(last), 0.0, False)
        network = IntegerNetwork(tuple(draw.operators), (output,))
        made = Drawn(f"drawn{seed}_{number}", network, Folding(_CYCLES, {}, choices=draw.choices))
        modules = [part.module for part in made.emitted().parts]
        if wanted in modules and len(modules) <= _PARTS:
            return made


class _Draw:
    """A network as it grows; `concats`: whether what is joined lies side by side, in place of being added."""

    def __init__(self, chance: np.random.Generator, concats: bool) -> None:
        self.chance, self.concats = chance, concats
        self.operators: list[Operator] = []
        self.choices: dict[str, Choice] = {}

    def layers(self) -> bool:
        """Draw a map, perhaps a pooling, a layer, its quantiser, and perhaps a join; whether they are small enough."""
        chance = self.chance
        self.operators, self.choices = [], {}
        dense = chance.random() < 0.25
        size = int(chance.integers(1, 5)) if dense else int(chance.integers(4, 29))
        # Of few bits, so that products are counted, a third.
        bits = int(chance.integers(1, 3) if chance.random() < 0.33 else chance.integers(1, 9))
        signed = bool(chance.random() < 0.25)
        high = (1 << bits) - 1
        low = -(1 << (bits - 1)) if signed else 0
        source = Stream(Shape(size, size, int(chance.choice(_CHANNELS))), low, low + high)
        if source.shape.channels * source.bits > _PIXEL_BITS:
            return False
        self.operators.append(entry("input", source, 1.0))
        if not dense and size >= 8 and chance.random() < 0.3:
            self.operators.append(max_pool("pool", 0, source, Window((2, 2), (2, 2))))
        return self._layer(dense, "layer") and self._quantiser("quantiser") and self._more()

    def _layer(self, dense: bool, name: str) -> bool:
        chance, place = self.chance, len(self.operators) - 1
        source = self.operators[place].output
        channels = source.shape.channels
        outputs, groups = int(chance.choice(_OUTPUTS)), 1
        if dense:
            window = Window((source.shape.height, source.shape.width))
        else:
            kernel = int(chance.choice((1, 1, 3) if place else (1, 3, 3, 3, 5)))
            stride = int(chance.choice((1, 1, 2)))
            window = Window((kernel, kernel), (stride, stride), pads=(kernel // 2 * int(chance.integers(2)),) * 4)
            if channels > 1 and chance.random() < 0.15:
                groups = outputs = channels
        if min(window.positions(source.shape)) < 1:
            return False
        bits = int(chance.integers(2, 4) if source.bits <= 2 else chance.integers(2, 9))
        most = (1 << (bits - 1)) - 1
        shape = (outputs, *window.kernel, channels // groups)
        if np.prod(shape) > _WEIGHTS:
            return False
        operator = matrix(name, place, source, window, groups, chance.integers(-most, most, shape, endpoint=True))
        choice = self._choice(operator, source)
        if choice is None:
            return False
        self.operators.append(operator)
        self.choices[name] = choice
        return True

    def _choice(self, operator: Matrix, source: Stream) -> Choice | None:
        outputs, beats, lanes = beats_of(operator, source.shape).shape
        window = operator.window.kernel[0] * operator.window.kernel[1] * source.shape.channels * source.bits
        folds = [
            fold
            for fold in folds_of(outputs, lanes, beats, operator.groups)
            if fold.pe * fold.simd <= _MULTIPLIERS and fold.cycles * operator.output.shape.pixels <= _CYCLES
        ]
        if not folds or (beats == 1 and window > _WINDOW_BITS):
            return None
        unfolded = beats == operator.groups == 1 and operator.weights.size <= _ADDITIONS
        if unfolded and self.chance.random() < 0.4:
            return Choice(outputs, lanes)  # additions
        # Small folds are as frequent as large ones.
        sizes = sorted({fold.pe * fold.simd for fold in folds})
        size = int(self.chance.choice(sizes))
        fold = [fold for fold in folds if fold.pe * fold.simd == size][int(self.chance.integers(10**6)) % sum(
            fold.pe * fold.simd == size for fold in folds
        )]  # fmt: skip
        weights_in: WeightsIn = "block" if self.chance.random() < 0.4 else "distributed"
        products_in: ProductsIn = "dsp" if self.chance.random() < 0.25 else "logic"
        words = beats * (outputs // fold.pe) * (lanes // fold.simd)
        if weights_in == "distributed" and words * fold.pe * fold.simd * 4 > 40_000:
            weights_in = "block"
        return Choice(fold.pe, fold.simd, weights_in, products_in)

    def _quantiser(self, name: str) -> bool:
        """Thresholds, a scale that the layer's own rounder computes, one of its own, or nothing."""
        chance, place = self.chance, len(self.operators) - 1
        sums, kind = self.operators[place].output, int(chance.integers(4))
        channels, bits = sums.shape.channels, int(chance.integers(1, 7))
        most = (1 << bits) - 1
        spread = max((sums.high - sums.low) / 8, 2.0)
        if kind == 0 and bits <= 5:
            steps = np.sort(chance.normal(0, spread, (channels, most)).round().astype(np.int64), axis=1)
            steps += np.arange(most)
            ones = np.ones(channels, np.int64)
            self.operators.append(threshold(name, place, sums, steps, 0 * ones, ones))
        elif kind in (1, 2):
            multiplier = np.ones(channels, np.int64) if kind == 1 else chance.integers(1, 256, channels)
            shift = max(int(spread).bit_length() + (0 if kind == 1 else 8) - bits, 0)
            offset = chance.integers(-int(spread), int(spread), channels, endpoint=True)
            rounding = int(chance.integers(3))
            self.operators.append(
                scale(name, place, sums, multiplier, offset, shift, rounding, (0, most))  # type: ignore[arg-type]
            )
        return sums.shape.channels * sums.bits <= 3 * _PIXEL_BITS

    def _more(self) -> bool:
        """Perhaps a pooling, an upsampling, a join with a layer by channels, or a layer that takes pixels in parts."""
        chance, place = self.chance, len(self.operators) - 1
        source = self.operators[place].output
        kind = chance.random()
        if source.shape.channels * source.bits > _PIXEL_BITS or source.shape.width < 4:
            return True
        if kind < 0.15:
            self.operators.append(max_pool("pool2", place, source, Window((2, 2), (2, 2))))
        elif kind < 0.25:
            self.operators.append(upsample("larger", place, source, (2, 2)))
        elif kind < 0.4:
            weights = chance.integers(-3, 3, (source.shape.channels, 3, 3, 1), endpoint=True)
            window = Window((3, 3), pads=(1, 1, 1, 1))
            if 9 * source.shape.channels * source.bits > _WINDOW_BITS:
                return True
            branch = matrix("branch", place, source, window, source.shape.channels, weights)
            folds = [
                fold
                for fold in folds_of(source.shape.channels, 9, 1, source.shape.channels)
                if fold.pe * fold.simd <= _MULTIPLIERS and fold.cycles * source.shape.pixels <= _CYCLES
            ]
            if not folds:
                return True
            fold = folds[int(chance.integers(len(folds)))]
            self.choices["branch"] = Choice(fold.pe, fold.simd, "distributed", "logic")
            self.operators.append(branch)
            join = concat if self.concats else add
            self.operators.append(join("join", (place, place + 1), (source, branch.output)))
        elif kind < 0.85:
            return self._layer(False, "second") and self._quantiser("second_quantiser")
        return True
