"""Folding: from a layer's reuse factor to PE and SIMD, and the lower bound of its interval.

hls4ml's ReuseFactor is the count of times each multiplier is used for one output position; here it is the cycles an
output position takes. Words owned here: positions, beats, lanes, fold.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fold:
    """How many multipliers a layer gets: `pe` outputs times `simd` inputs side by side."""

    pe: int
    simd: int
    cycles: int  # an output position


def choose_fold(reuse: int, outputs: int, lanes: int, beats: int) -> Fold:
    """The fold with the fewest cycles that are at least `reuse`, or the slowest one there is.

    A layer makes `outputs` values from `beats` beats of `lanes` inputs, in beats * outputs/pe * lanes/simd cycles. Of
    equally fast folds the one with fewer output units wins: an output unit costs an accumulator and a rounder.
    """
    folds = [
        Fold(pe, simd, beats * (outputs // pe) * (lanes // simd))
        for pe in _divisors(outputs)
        for simd in _divisors(lanes)
    ]
    slowest = max(fold.cycles for fold in folds)
    wanted = min(max(reuse, 1), slowest)
    return min((fold for fold in folds if fold.cycles >= wanted), key=lambda fold: (fold.cycles, fold.pe))


def largest_reuse(cycles: int, positions: int, outputs: int, lanes: int, beats: int) -> int:
    """The largest reuse factor that a fold meets exactly with `positions` output positions in at most `cycles`."""
    reachable = {beats * (outputs // pe) * (lanes // simd) for pe in _divisors(outputs) for simd in _divisors(lanes)}
    return max((reuse for reuse in reachable if reuse * positions <= cycles), default=min(reachable))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
