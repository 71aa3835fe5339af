"""A layer that is not folded at all as a module of its own: its constant weights as additions, with registers between.

The module is a pipeline that moves on with `advance_i`: what is made of `values_i` is at `results_o` `latency` such
cycles later. Words owned here: stage (what lies between two registers).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgesight.hls.dataflow.operators import Matrix, Scale, Stream
from edgesight.hls.rtl.adders import Graph, Term
from edgesight.hls.rtl.live_bits import Bit, LiveBits
from edgesight.hls.rtl.parts import ADDITIONS, Instances

# Additions one behind the other in a stage: about what a level of a folded layer's tree takes, and its product.
_ADDITIONS = 3


@dataclass(frozen=True)
class Unrolled:
    """Module `name`, its latency in cycles, the bits of what it takes and gives, and what it is made of."""

    name: str
    text: str
    latency: int
    taken_bits: int
    given_bits: int
    parts: Mapping[str, int]


def unrolled(name: str, operator: Matrix, scale: Scale | None, taken: Stream) -> Unrolled:
    """The module of a layer that takes whole windows of `taken`, with the scale that its own rounder computes."""
    weights = operator.weights.reshape(len(operator.weights), -1)
    given = operator.output if scale is None else scale.output
    offsets = np.zeros(len(weights), np.int64) if scale is None else scale.offset
    shift, mode = (0, 0) if scale is None else (scale.shift, scale.rounding)
    if shift and mode == 1:  # half of a step first, then down
        offsets, mode = offsets + (1 << (shift - 1)), 0
    held = weights.astype(np.int64).tobytes(), offsets.astype(np.int64).tobytes()
    graph = _graph(weights.shape, *held, taken.low, taken.high)
    writer = _Writer(graph, taken)
    end = max(map(writer.stage, range(len(graph.levels)))) + 1
    sums = [None if term is None else writer.sum_of(term, end) for term in graph.outputs]
    results = [
        f"{given.bits}'d0" if each is None else writer.fitted(f"r{k}", *each, shift, mode, given)
        for k, each in enumerate(sums)
    ]
    at = [f"      results_o[{k * given.bits}+:{given.bits}] <= {result};" for k, result in enumerate(results)]
    text = "\n".join(
        [
            f"// Generated. {len(offsets)} sums of {weights.shape[1]} products as {len(graph.adders)} additions.",
            f"module {name} (",
            "  input  logic clk_i,",
            "  input  logic advance_i,",
            f"  input  logic [{weights.shape[1] * taken.bits - 1}:0] values_i,",
            f"  output logic [{len(offsets) * given.bits - 1}:0] results_o",
            ");",
            *writer.lines(),
            "  always_ff @(posedge clk_i) begin",
            "    if (advance_i) begin",
            *at,
            "    end",
            "  end",
            "endmodule",
            "",
        ]
    )
    taken_bits, given_bits = weights.shape[1] * taken.bits, len(weights) * given.bits
    return Unrolled(name, text, end + 1, taken_bits, given_bits, writer.parts(end, shift, mode, given))


@functools.lru_cache(maxsize=64)
def _graph(shape: tuple[int, int], weights: bytes, offsets: bytes, low: int, high: int) -> Graph:
    """The graph of a layer, which takes seconds and which a solver asks for again and again."""
    return Graph(np.frombuffer(weights, np.int64).reshape(shape), np.frombuffer(offsets, np.int64), low, high)


def instantiate_unrolled(instances: Instances, place: int, made: Unrolled, source: str, stream: str) -> None:
    """Instantiate the module in a pipeline that takes the stream `source` and gives `stream`."""
    instances.body += [
        f"  logic {stream}_advance;",
        f"  logic [{made.taken_bits - 1}:0] {stream}_values;",
        f"  logic [{made.given_bits - 1}:0] {stream}_results;",
        f"  {made.name} u_{stream}_sums (",
        f"    .clk_i, .advance_i({stream}_advance), .values_i({stream}_values), .results_o({stream}_results)",
        "  );",
    ]
    parameters: dict[str, object] = {"Groups": 1, "InWidth": made.taken_bits, "OutWidth": made.given_bits}
    parameters["Latency"] = made.latency
    extra = [f".{port}({stream}_{port[:-2]})" for port in ("advance_o", "values_o", "results_i")]
    instances.add(place, "group_pipeline", stream, parameters, source, stream, [*extra, ".valid_o(), .group_o()"])
    instances.count(place, ADDITIONS, f"{stream}_sums", made.parts)


class _Writer:
    """Declares the nodes of a graph that are asked for, and registers for those that are asked for in later stages."""

    def __init__(self, graph: Graph, taken: Stream) -> None:
        self._graph, self._taken = graph, taken
        self._first = graph.inputs + len(graph.constants)  # node that is a sum
        self._late = [0] * len(graph.levels)  # registers behind each node
        self._rounds: list[str] = []
        cast = "signed'" if taken.signed else ""
        self._nodes = [
            f"  assign n{node} = {self._bits(node)}'({cast}(values_i[{node * taken.bits}+:{taken.bits}]));"
            for node in range(graph.inputs)
        ]
        self._nodes += [
            f"  assign n{graph.inputs + k} = {_literal(value, self._bits(graph.inputs + k))};"
            for k, value in enumerate(graph.constants)
        ]
        for node, terms in enumerate(graph.adders, self._first):
            bits = self._bits(node)
            one, other = (self._shifted(term, bits, self.stage(node)) for term in terms)
            self._nodes.append(f"  assign n{node} = {one} {'-' if terms[1].negative else '+'} {other};")

    def parts(self, end: int, shift: int, mode: int, given: Stream) -> dict[str, int]:
        """Bits that are added, to another or to a carry alone; in registers, shift registers; looked at to be fitted.

        Sums are there in stage `end`, and given as `fitted` says. What two outputs have in common counts once.
        """
        graph, asked = self._graph, list[Bit | None]()
        live = LiveBits(
            graph, self._taken, [*map(self._bits, range(len(self._late)))], [*map(self.stage, range(len(self._late)))]
        )
        fitted = looked = 0
        for term in {term for term in graph.outputs if term is not None}:
            low, high = (bound[term.node] << term.shift for bound in (graph.low, graph.high))
            low, high = (-high, -low) if term.negative else (low, high)
            bits, top = _signed_bits(low, high), given.bits - given.signed
            whole = term.negative or (shift and mode == 2)
            low, high = low >> shift, high >> shift
            plain = -(1 << top) <= low if given.signed else low >= 0
            clipped = not plain or high >= 1 << top
            last = bits if clipped or whole else min(bits, given.bits + shift)
            first = 0 if whole else shift
            sums = [live.of(term.node, at - term.shift, end + (not whole and not clipped)) for at in range(first, last)]
            asked += sums
            if whole or clipped:
                fitted += min(given.bits, max(bits - shift, 1)) if not clipped else given.bits
                looked += sum(bit is not None for bit in sums)
        counts = live.counted(bit for bit in asked if bit is not None)
        return {
            "AddedBits": counts.added,
            "CarriedBits": counts.carried,
            "KeptBits": counts.kept + fitted,
            "ShiftedBits": counts.shifted,
            "LookedBits": looked,
        }

    def stage(self, node: int) -> int:
        """The stage that makes a node."""
        return max(self._graph.levels[node] - 1, 0) // _ADDITIONS

    def sum_of(self, term: Term, stage: int) -> tuple[str, int, int]:
        """A term in a stage, with the least and the most that it can be."""
        low, high = (bound[term.node] << term.shift for bound in (self._graph.low, self._graph.high))
        low, high = (-high, -low) if term.negative else (low, high)
        value = self._shifted(term, _signed_bits(low, high), stage)
        return f"{'-' if term.negative else ''}{value}", low, high

    def fitted(self, name: str, value: str, low: int, high: int, shift: int, mode: int, given: Stream) -> str:
        """A sum as it is given; `name` is free for what it is on the way."""
        bits = max(_signed_bits(low, high), shift + 1) + 1  # one more for what rounding adds
        self._rounds += [
            f"  logic signed [{bits - 1}:0] {name}, {name}_shifted;",
            f"  assign {name} = {bits}'({value});",
        ]
        half, shifted = 1 << max(shift - 1, 0), name
        if shift and mode == 2:
            odd = f"({name}[{shift}] ? {_literal(half, bits)} : {_literal(half - 1, bits)})"
            shifted = f"({name} + {odd})"
        self._rounds.append(f"  assign {name}_shifted = {shifted} >>> {shift};")
        name = f"{name}_shifted"
        least, most = (low >> shift) - 1, (high >> shift) + 1
        kept = f"{name}[{given.bits - 1}:0]" if bits > given.bits else f"{given.bits}'({name})"
        sign, top = f"{name}[{bits - 1}]", given.bits - given.signed
        if given.signed:
            if bits <= given.bits or (least >= -(1 << top) and most < 1 << top):
                return kept
            over = f"{name}[{bits - 1}:{top}] != {{{bits - top}{{{sign}}}}}"
            return f"{over} ? {{{sign}, {{{top}{{!{sign}}}}}}} : {kept}" if top else kept
        result = f"|{name}[{bits - 2}:{top}] ? '1 : {kept}" if most >= 1 << top and bits - 2 >= top else kept
        return f"{sign} ? '0 : {result}" if least < 0 else result

    def lines(self) -> list[str]:
        """All that was asked for."""
        declared, registers = [], []
        for node, late in enumerate(self._late):
            names = [f"n{node}", *(f"n{node}_q{k}" for k in range(1, late + 1))]
            declared.append(f"  logic signed [{self._bits(node) - 1}:0] {', '.join(names)};")
            registers += [f"      {name} <= {before};" for before, name in itertools.pairwise(names)]
        clocked = ["  always_ff @(posedge clk_i) begin", "    if (advance_i) begin", *registers, "    end", "  end"]
        return [*declared, *self._nodes, *(clocked if registers else []), *self._rounds]

    def _bits(self, node: int) -> int:
        return _signed_bits(self._graph.low[node], self._graph.high[node])

    def _shifted(self, term: Term, bits: int, stage: int) -> str:
        """A term without its sign in a stage, in so many bits."""
        node = term.node
        late = 0 if self._graph.inputs <= node < self._first else stage - self.stage(node)
        self._late[node] = max(self._late[node], late)
        name = f"n{node}_q{late}" if late else f"n{node}"
        return f"({bits}'({name}) <<< {term.shift})" if term.shift else f"{bits}'({name})"


def _signed_bits(low: int, high: int) -> int:
    return max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length()) + 1


def _literal(value: int, bits: int) -> str:
    return f"{bits}'sh{value & ((1 << bits) - 1):x}"
