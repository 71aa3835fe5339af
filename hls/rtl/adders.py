"""Products with a constant matrix as a graph of additions, in which what several outputs need is made once.

Each weight is written in signed digits, no two of them neighbours, so that an output is a sum of shifted inputs with
signs. The two terms that save most where outputs have them in common, up to a shift and a sign, become a node of their
own, again and again (Hartley, IEEE TCAS-II 43(10), 1996). What is then left of an output is summed by twos, the
smallest terms first.
Words owned here: term, node, level.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from edgesight.hls.network import Integers

_Key = tuple[int, int, int, bool]  # nodes a and b, b's shift over a's, whether their signs differ


class Term(NamedTuple):
    """A node, shifted left, or the negative of that."""

    node: int
    shift: int
    negative: bool


class Graph:
    """Nodes 0 to inputs - 1 are the inputs, those behind them constants, then sums of two terms of earlier nodes.

    Attributes:
        adders: by node less the inputs and constants, its two terms; the first is not negative.
        outputs: by output, its term; None where it is 0.
        levels: by node, additions on the longest way to it.
        low, high: by node, what it can be.
    """

    def __init__(self, weights: Integers, offsets: Integers, low: int, high: int) -> None:
        """Of weights [outputs, inputs] and offsets [outputs], with inputs from `low` to `high`."""
        outputs, self.inputs = weights.shape
        self.constants = [int(offset) for offset in offsets if offset]
        self.adders: list[tuple[Term, Term]] = []
        self.levels = [0] * (self.inputs + len(self.constants))
        self.low = [low] * self.inputs + self.constants
        self.high = [high] * self.inputs + self.constants
        self._bounds = low, high
        # By node, what it has of each input, and its constant part.
        self._parts = [np.eye(self.inputs, dtype=np.int64)[i] for i in range(self.inputs)]
        self._parts += [np.zeros(self.inputs, np.int64) for _ in self.constants]
        self._rest = [0] * self.inputs + self.constants
        terms = _Shared(weights, self._add, self.bits)
        constant = iter(range(self.inputs, self.inputs + len(self.constants)))
        self.outputs: list[Term | None] = []
        for output, offset in zip(range(outputs), offsets, strict=True):
            extra = [Term(next(constant), 0, False)] if offset else []
            self.outputs.append(self._sum([*terms.of(output), *extra]))

    def _add(self, first: Term, second: Term) -> int:
        """A node that is the sum of two terms, of which the first is not negative."""
        self.adders.append((first, second))
        sign = -1 if second.negative else 1
        parts = (self._parts[first.node] << first.shift) + sign * (self._parts[second.node] << second.shift)
        rest = (self._rest[first.node] << first.shift) + sign * (self._rest[second.node] << second.shift)
        low, high = self._bounds
        self._parts.append(parts)
        self._rest.append(rest)
        self.low.append(int(np.where(parts < 0, parts * high, parts * low).sum()) + rest)
        self.high.append(int(np.where(parts < 0, parts * low, parts * high).sum()) + rest)
        self.levels.append(1 + max(self.levels[first.node], self.levels[second.node]))
        return len(self.levels) - 1

    def _sum(self, terms: Sequence[Term]) -> Term | None:
        """All terms together."""
        heap = [(self._top(term), self.levels[term.node], term) for term in terms]
        heapq.heapify(heap)
        while len(heap) > 1:
            one, other = (heapq.heappop(heap)[2] for _ in range(2))
            if one.negative and not other.negative:
                one, other = other, one
            shift = min(one.shift, other.shift)
            negative = one.negative  # then both are
            node = self._add(
                Term(one.node, one.shift - shift, False),
                Term(other.node, other.shift - shift, other.negative and not negative),
            )
            term = Term(node, shift, negative)
            heapq.heappush(heap, (self._top(term), self.levels[node], term))
        return heap[0][2] if heap else None

    def _top(self, term: Term) -> int:
        """The highest bit of a term."""
        return self.bits(term.node) + term.shift

    def bits(self, node: int) -> int:
        """Bits that tell a node's values apart."""
        return (self.high[node] - self.low[node]).bit_length()


class _Shared:
    """The terms of outputs, with what they have in common made once.

    `add` makes a node of two terms; `bits` tells how many a node has.
    """

    def __init__(self, weights: Integers, add: Callable[[Term, Term], int], bits: Callable[[int], int]) -> None:
        self._bits = bits
        self._terms: list[dict[int, dict[int, bool]]] = [defaultdict(dict) for _ in weights]  # node -> shift -> sign
        self._counts: dict[_Key, int] = defaultdict(int)
        self._heap: list[tuple[int, int, _Key]] = []  # by what it saves: that, pairs, and which
        for output, row in enumerate(weights):
            for node, weight in enumerate(row.tolist()):
                for shift, negative in _digits(weight):
                    self._put(output, Term(node, shift, negative))
        self._share(add)

    def of(self, output: int) -> list[Term]:
        """What is left of an output."""
        return [
            Term(node, shift, negative)
            for node, shifts in self._terms[output].items()
            for shift, negative in shifts.items()
        ]

    def _offer(self, key: _Key) -> None:
        """Have a pair that outputs have in common wait for its turn: first comes what saves most bits of additions."""
        a, b, shift, _ = key
        # The bits of one term that lie beside those of the other.
        other = self._bits(b)
        both = max(min(self._bits(a), other + shift) - max(0, shift), 0)
        count = self._counts[key]
        heapq.heappush(self._heap, (-(count - 1) * (both + 1), count, key))

    def _share(self, add: Callable[[Term, Term], int]) -> None:
        while self._heap:
            _, count, key = heapq.heappop(self._heap)
            there = self._counts[key]
            if there < 2:
                continue
            if there != count:
                self._offer(key)
                continue
            found = self._occurrences(key)
            if len(found) < 2:  # they overlap
                self._counts[key] = 0
                continue
            a, b, shift, differ = key
            node = add(Term(a, max(0, -shift), False), Term(b, max(0, shift), differ))
            for output, at in found:
                negative = self._terms[output][a][at]
                self._take(output, Term(a, at, negative))
                self._take(output, Term(b, at + shift, negative ^ differ))
                self._put(output, Term(node, min(at, at + shift), negative))

    def _occurrences(self, key: _Key) -> list[tuple[int, int]]:
        """Outputs and shifts of the first node where both terms are, none of them counted twice."""
        a, b, shift, differ = key
        found = []
        for output, terms in enumerate(self._terms):
            if a not in terms or b not in terms:
                continue
            used: set[int] = set()
            for at, negative in terms[a].items():
                other = terms[b].get(at + shift)
                if other is None or other != (negative ^ differ) or (a == b and used & {at, at + shift}):
                    continue
                used |= {at, at + shift}
                found.append((output, at))
        return found

    def _keys(self, output: int, term: Term) -> list[_Key]:
        """The pairs of a term with each other one of the output."""
        keys = []
        for node, shifts in self._terms[output].items():
            for shift, negative in shifts.items():
                differ = negative != term.negative
                if (node, shift) > (term.node, term.shift):
                    keys.append((term.node, node, shift - term.shift, differ))
                else:
                    keys.append((node, term.node, term.shift - shift, differ))
        return keys

    def _put(self, output: int, term: Term) -> None:
        there = self._terms[output][term.node].get(term.shift)
        if there is not None:  # twice the same is one of the next digit; with both signs it is nothing
            self._take(output, Term(term.node, term.shift, there))
            if there == term.negative:
                self._put(output, Term(term.node, term.shift + 1, there))
            return
        for key in self._keys(output, term):
            self._counts[key] += 1
            if self._counts[key] > 1:
                self._offer(key)
        self._terms[output][term.node][term.shift] = term.negative

    def _take(self, output: int, term: Term) -> None:
        shifts = self._terms[output][term.node]
        del shifts[term.shift]
        if not shifts:
            del self._terms[output][term.node]
        for key in self._keys(output, term):
            self._counts[key] -= 1


def _digits(number: int) -> list[tuple[int, bool]]:
    """The signed digits of a number that are not 0, no two of them neighbours: shift, and whether it is -1."""
    found, shift = [], 0
    while number:
        if number & 1:
            digit = 2 - (number & 3)  # 1 or -1
            found.append((shift, digit < 0))
            number -= digit
        number >>= 1
        shift += 1
    return found
