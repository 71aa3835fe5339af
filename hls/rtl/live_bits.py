"""Which bits of additions are hardware: not those that are constant, the same as others, or asked for by nobody.

A synthesis finds as much; here it is known beforehand, so that what the additions cost is counted. Words owned here:
live bit.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from edgesight.hls.dataflow.operators import Stream
from edgesight.hls.rtl.adders import Graph, Term

_SHIFTED = 3  # registers in a row that Yosys makes a shift register of
_ANY = 1 << 16  # more bits than a number has


class Bit(NamedTuple):
    """A bit of a node, so many registers behind where it is made."""

    node: int
    at: int
    late: int


@dataclass(frozen=True)
class Counts:
    """Bits of sums of two numbers; of those to which only a carry is added; in registers; in shift registers."""

    added: int
    carried: int
    kept: int
    shifted: int


class LiveBits:
    """The bits of a graph's nodes whose inputs are of `taken`; `stages`: by node, the stage that makes it."""

    def __init__(self, graph: Graph, taken: Stream, widths: list[int], stages: list[int]) -> None:
        """`widths`: by node, the bits that it has in two's complement."""
        self._graph, self._taken, self._widths, self._stages = graph, taken, widths, stages
        self._first: int = graph.inputs + len(graph.constants)
        self._magnitudes: list[int] = []
        self._carries = [0] * self._first  # by node, the lowest bit that has a carry or makes one
        for node in range(len(stages)):
            self._magnitudes.append(self._magnitude(node))
            if node >= self._first:
                whole = range(widths[node])
                self._carries.append(next((at for at in whole if self._passed(node, at) is None), widths[node]))

    def of(self, node: int, at: int, stage: int) -> Bit | None:
        """What bit `at` of a node is in a stage; None where it is constant."""
        graph, late = self._graph, stage
        while True:
            at = min(at, self._widths[node] - 1)
            if at < 0 or graph.inputs <= node < self._first or at >= self._magnitudes[node]:
                return None
            if node < graph.inputs:
                return Bit(node, min(at, self._taken.bits - 1), late)
            same = self._same(node, at)
            if same is None:
                return Bit(node, at, late - self._stages[node])
            # Registers behind the node are registers behind what it passes on.
            node, at = same.node, at - same.shift

    def _same(self, node: int, at: int) -> Term | None:
        """The term whose bit is passed on as bit `at` of a sum, since below the other one has nothing to add."""
        if at >= self._carries[node]:
            return None
        return self._passed(node, at)

    def _passed(self, node: int, at: int) -> Term | None:
        """The only one of a sum's terms that may be set at `at`, if it is passed on where no carry comes."""
        one, other = self._graph.adders[node - self._first]
        if self._is_zero(other, at):
            return one
        if not other.negative and self._is_zero(one, at):
            return other
        return None

    def _is_zero(self, term: Term, at: int) -> bool:
        constant, at = term.node - self._graph.inputs, at - term.shift
        if 0 <= constant < len(self._graph.constants):
            return at < 0 or not self._graph.constants[constant] >> at & 1
        return at < 0 or at >= self._magnitudes[term.node]

    def _magnitude(self, node: int) -> int:
        """Bits of a node that is seen to be never negative; else more than any has."""
        graph = self._graph
        if node < graph.inputs:
            return _ANY if self._taken.signed else self._taken.bits
        if node < self._first:
            value = graph.constants[node - graph.inputs]
            return _ANY if value < 0 else value.bit_length()
        one, other = graph.adders[node - self._first]
        most = max(self._magnitudes[term.node] + term.shift for term in (one, other))
        return _ANY if other.negative or most >= _ANY else most + 1

    def counted(self, asked: Iterable[Bit]) -> Counts:
        """What is made for those that are asked for."""
        late: dict[tuple[int, int], set[int]] = defaultdict(set)  # by bit, behind how many registers it is asked for
        tops = [-1] * len(self._stages)  # by node, the highest bit that is made

        def ask(bit: Bit | None) -> bool:
            if bit is None:
                return False
            late[bit.node, bit.at].add(bit.late)
            tops[bit.node] = max(tops[bit.node], bit.at)
            return True

        for bit in asked:
            ask(bit)
        added = carried = 0
        for node in range(len(tops) - 1, self._first - 1, -1):
            one, other = self._graph.adders[node - self._first]
            for at in range(tops[node] + 1):  # a carry needs all bits below
                if self._same(node, at) is None:
                    stage = self._stages[node]
                    both = [ask(self.of(term.node, at - term.shift, stage)) for term in (one, other)]
                    added += all(both)
                    carried += not all(both)
        # What passes through several registers and is not asked for between them is one shift register.
        runs = [after - before for each in late.values() for before, after in itertools.pairwise(sorted({0, *each}))]
        shifted = [run for run in runs if run >= _SHIFTED]
        return Counts(added, carried, sum(runs) - sum(shifted), len(shifted))
