"""Folding: from a layer's reuse factor to PE and SIMD, and the lower bound of its interval.

hls4ml's ReuseFactor is the count of times each multiplier is used for one output position; here it is the cycles an
output position takes. Words owned here: positions, beats, lanes, blocks, fold, choice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

# Where a layer's weights lie and what its products are computed by. `auto`: as the synthesis chooses. `packed`: by the
# part's multipliers, each of which makes the products of several outputs' weights with one input.
WeightsIn = Literal["auto", "distributed", "block"]
ProductsIn = Literal["auto", "logic", "dsp", "packed"]


@dataclass(frozen=True)
class Runtime:
    """Which of a network's layers have weights that are loaded at run time.

    `layers`: their names; None: all. `held`: what weights of a layer, by its whole name, are to be between, where that
    is not what their own type holds.
    """

    layers: Collection[str] | None = None
    held: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """The fold of a layer, where its weights lie and what computes its products."""

    pe: int
    simd: int
    weights_in: WeightsIn = "auto"
    products_in: ProductsIn = "auto"


@dataclass(frozen=True)
class Folding:
    """How fast a network is to be: a budget of cycles a frame for every layer, or reuse factors by layer name.

    A layer that `choices` names is made so; else one that `reuse` names takes that factor; every other one the largest
    that keeps it within `cycles`. `runtime`: what is loaded at run time; None: all weights are fixed.
    """

    cycles: int
    reuse: Mapping[str, int]
    runtime: Runtime | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """How many multipliers a layer gets: `pe` outputs times `simd` inputs side by side."""

    pe: int
    simd: int
    cycles: int  # an output position


def choose_fold(reuse: int, outputs: int, lanes: int, beats: int, blocks: int = 1) -> Fold:
    """The fold with the fewest cycles that are at least `reuse`, or the slowest one there is.

    A layer makes `outputs` values from `beats` beats, in beats * outputs/pe * lanes/simd cycles. The groups of a
    convolution are `blocks`: each makes an equal share of the outputs from `lanes` inputs of its own. Of equally fast
    folds the one with fewer output units wins: an output unit costs an accumulator and a rounder.
    """
    folds = list(folds_of(outputs, lanes, beats, blocks))
    slowest = max(fold.cycles for fold in folds)
    wanted = min(max(reuse, 1), slowest)
    return min((fold for fold in folds if fold.cycles >= wanted), key=lambda fold: (fold.cycles, fold.pe))


def largest_reuse(cycles: int, positions: int, outputs: int, lanes: int, beats: int, blocks: int = 1) -> int:
    """The largest reuse factor that a fold meets exactly with `positions` output positions in at most `cycles`."""
    reachable = {fold.cycles for fold in folds_of(outputs, lanes, beats, blocks)}
    return max((reuse for reuse in reachable if reuse * positions <= cycles), default=min(reachable))


def smallest_pe(cycles: int, positions: int, channels: int) -> int:
    """The fewest channels side by side with which `positions` vectors pass in `cycles`, or all where none does."""
    fitting = (pe for pe in _divisors(channels) if positions * (channels // pe) <= cycles)
    return next(fitting, channels)


def folds_of(outputs: int, lanes: int, beats: int, blocks: int) -> Iterator[Fold]:
    """All folds; the outputs side by side belong to one block or are all those of several."""
    share = outputs // blocks
    for pe in _divisors(outputs):
        if share % pe == 0 or pe % share == 0:
            for simd in _divisors(lanes):
                yield Fold(pe, simd, beats * (outputs // pe) * (lanes // simd))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
