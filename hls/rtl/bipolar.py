"""Streams of 1 and -1 as single bits, and their products with weights of 1 and -1 as bits that agree.

A bit of 1 stands for 1, of 0 for -1. Of n products of such, as many are 1 as bits of both factors agree: their sum is
twice that count less n, and reaches a threshold t where the count reaches (t + n) / 2. So a matrix whose sums a
quantiser alone takes gives counts instead, and the quantiser has thresholds for these. Everyone else who takes such a
stream gets the numbers that its bits stand for, by wires alone. Words owned here: coded, agreeing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix, MaxPool, Operator, Stream, Threshold, Upsample


class Coding:
    """Which streams of a network go as bits, and which matrices count agreeing ones; by places."""

    def __init__(self, network: IntegerNetwork) -> None:
        """Of `network`."""
        self._network = network

    @cached_property
    def coded(self) -> frozenset[int]:
        """Where streams of 1 and -1 are made, and where they are passed on."""
        found: set[int] = set()
        for place, operator in enumerate(self._network.operators):
            passed = isinstance(operator, MaxPool | Upsample) and operator.sources[0] in found
            if passed or (isinstance(operator, Threshold) and _is_bipolar(operator)):
                found.add(place)
        return frozenset(found)

    @cached_property
    def agreeing(self) -> frozenset[int]:
        """Where matrices are that count agreeing bits. Padding is 0, which no bit stands for."""
        return frozenset(
            place
            for place, operator in enumerate(self._network.operators)
            if isinstance(operator, Matrix)
            and not operator.runtime
            and operator.sources[0] in self.coded
            and not any(operator.window.pads)
            and bool((abs(operator.weights) == 1).all())
            and self._network.has_one_user(place)
            and _is_fixed_threshold(self._network.operators[self._network.users_of(place)[0]])
        )

    def given(self, place: int) -> Stream:
        """The stream that the hardware of the operator there gives."""
        operator = self._network.operators[place]
        shape = operator.output.shape
        if place in self.coded:
            return Stream(shape, 0, 1)
        if isinstance(operator, Matrix) and place in self.agreeing:
            return Stream(shape, 0, operator.weights[0].size)
        return operator.output

    def takes_bits(self, place: int) -> bool:
        """Whether the hardware of the operator there takes a coded stream as it is."""
        operator = self._network.operators[place]
        passes = isinstance(operator, MaxPool | Upsample) and operator.sources[0] in self.coded
        return passes or place in self.agreeing

    def taken(self, place: int, which: int = 0) -> Stream:
        """The stream that the hardware of the operator there takes from a source."""
        source = self._network.operators[place].sources[which]
        made = self._network.operators[source].output
        return made if source in self.coded and not self.takes_bits(place) else self.given(source)

    def quantiser(self, place: int) -> Threshold:
        """The quantiser there as the hardware has it: for counts of agreeing bits, and to bits, where it is so."""
        operator = self._network.operators[place]
        assert isinstance(operator, Threshold)  # which is what is asked for
        source = operator.sources[0]
        if source in self.agreeing:
            lanes = self.given(source).high
            operator = replace(operator, thresholds=-(-(operator.thresholds + lanes) // 2))
        if place in self.coded:
            shape = operator.output.shape
            first, step = (operator.first + 1) // 2, operator.step // 2
            operator = replace(operator, output=Stream(shape, 0, 1), first=first, step=step)
        return operator


def _is_fixed_threshold(operator: Operator) -> bool:
    return isinstance(operator, Threshold) and not operator.runtime


def _is_bipolar(operator: Threshold) -> bool:
    """Whether it gives 1 and -1 alone, whatever is loaded at run time."""
    if operator.runtime:
        return False
    steps = operator.thresholds.shape[1] == 1 and np.array_equal(operator.step, -2 * operator.first)
    return steps and bool((abs(operator.first) == 1).all())
