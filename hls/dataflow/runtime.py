"""A network as hardware whose weights are loaded at run time: what it is hangs on shapes and types, not on values.

Every number of a layer that a training changes is then content of a memory: weights, biases, shifts, thresholds. The
streams carry whatever any such numbers make of any input, so that two trainings of one network, whose quantisers have
the same widths, are the same hardware. What it computes is what the network computed.

Words owned here: runtime layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgesight.hls.dataflow import operators
from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Operator,
    Pair,
    Scale,
    Stream,
    Threshold,
    Upsample,
)
from edgesight.hls.folding import Runtime
from edgesight.hls.network import CompileError, Integers, names_of, refuse

MAX_SHIFT_BITS = 4  # of a shift that is loaded: up to 15 places
_MAX_THRESHOLDS = 255  # a channel


def hardware_of(network: IntegerNetwork, runtime: Runtime | None, entry: Stream | None = None) -> IntegerNetwork:
    """The network as it is built: `network` itself where nothing is loaded at run time.

    `entry`: the stream that comes in, where a stage before has other bounds than the network says. Raises CompileError
    for a layer that cannot be loaded, naming the reason and a remedy, and for one that is not there.
    """
    if runtime is None:
        return network
    named = [each for each in network.operators if isinstance(each, Matrix) and each.declared is not None]
    there = {name: each.name for each in named for name in names_of(each.name)}
    unknown = sorted(set(runtime.layers or ()) - set(there))
    if unknown:
        names = ", ".join(each.name for each in named)
        raise CompileError(f"no layer {', '.join(unknown)} whose weights could be loaded; name one of {names}")
    everything = runtime.layers is None
    chosen = {each.name for each in named} if everything else {there[name] for name in runtime.layers or ()}
    return _Building(network, chosen, everything, runtime.held, entry).built()


def is_loaded(network: IntegerNetwork) -> bool:
    """Whether any number of a network's hardware is loaded at run time."""
    return any(isinstance(each, Matrix | Scale | Threshold) and each.runtime for each in network.operators)


def shift_bits(accumulator_bits: int) -> int:
    """Bits of a shift that is loaded at run time, by those of the sums that it shifts."""
    return min(MAX_SHIFT_BITS, (accumulator_bits - 1).bit_length())


class _Building:
    """The operators as they are built, one after the other; `places` are theirs by those of the network."""

    def __init__(
        self,
        network: IntegerNetwork,
        chosen: set[str],
        everything: bool,
        held: Mapping[str, Pair],
        entry: Stream | None,
    ) -> None:
        self.network, self.chosen, self.everything, self.held = network, chosen, everything, held
        first = network.entry
        self.operators: list[Operator] = [first if entry is None else replace(first, output=entry)]
        self.places = {0: 0}
        self.problems: list[str] = []

    def built(self) -> IntegerNetwork:
        network = self.network
        for place, operator in enumerate(network.operators[1:], 1):
            self._put(self._built(operator))
            self.places[place] = len(self.operators) - 1
            if isinstance(operator, Matrix) and self._bare(place):
                self._put(self._unbiased(operator))
                self.places[place] = len(self.operators) - 1
        refuse(self.problems)
        outputs = tuple(replace(each, source=self.places[each.source]) for each in network.outputs)
        return IntegerNetwork(tuple(self.operators), outputs)

    def _put(self, operator: Operator) -> None:
        self.operators.append(operator)

    def _sources(self, operator: Operator) -> tuple[list[int], list[Stream]]:
        places = [self.places[source] for source in operator.sources]
        return places, [self.operators[place].output for place in places]

    def _built(self, operator: Operator) -> Operator:
        places, streams = self._sources(operator)
        name, place, stream = operator.name, places[0], streams[0]
        match operator:
            case Matrix():
                if operator.name in self.chosen:
                    return self._loaded(operator, place, stream)
                made = operators.matrix(name, place, stream, operator.window, operator.groups, operator.weights)
                return replace(made, declared=operator.declared)
            case MaxPool():
                return operators.max_pool(name, place, stream, operator.window)
            case Upsample():
                return operators.upsample(name, place, stream, operator.factor)
            case Add():
                return operators.add(name, places, streams)
            case Concat():
                return operators.concat(name, places, streams)
            case Threshold():
                if self._is_loaded(operator) or (self.everything and operator.reach is not None):
                    return self._thresholds(operator, place, stream, _of_threshold(operator))
                made_of = operators.threshold(name, place, stream, operator.thresholds, operator.first, operator.step)
                return replace(made_of, reach=operator.reach)
            case Scale():
                return self._scale(operator, place, stream)
        raise TypeError(f"{type(operator).__name__} is not known here")

    def _loaded(self, operator: Matrix, place: int, stream: Stream) -> Matrix:
        """A layer whose weights may be any of their type."""
        assert operator.declared is not None  # what is chosen has weights of its own
        declared = operator.declared
        if operator.name in self.held:
            held = self.held[operator.name]
            if declared[0] < held[0] or declared[1] > held[1]:
                self.problems.append(
                    f"layer {operator.name}: its weights are of a type that holds {declared[0]} to {declared[1]}, the "
                    f"hardware's are {held[0]} to {held[1]}: quantise them to fewer bits"
                )
            declared = held
        ends = [
            operators.sum_bounds(stream, operator.window, operator.groups, np.full_like(operator.weights, bound))
            for bound in declared
        ]
        low = int(min(each[0].min() for each in ends))
        high = int(max(each[1].max() for each in ends))
        return replace(
            operator,
            sources=(place,),
            output=replace(operator.output, low=low, high=high),
            declared=declared,
            runtime=True,
        )

    def _behind(self, operator: Operator) -> Matrix | None:
        """The runtime layer right before, if nobody else takes what it makes."""
        source = operator.sources[0]
        before = self.network.operators[source]
        alone = len(self.network.users_of(source)) == 1 and all(o.source != source for o in self.network.outputs)
        return before if isinstance(before, Matrix) and before.name in self.chosen and alone else None

    def _is_loaded(self, operator: Operator) -> bool:
        """Whether what comes in changes with a runtime layer before it."""
        before = [self.network.operators[source] for source in operator.sources]
        return any(
            each.name in self.chosen
            if isinstance(each, Matrix) and each.declared is not None
            else not _is_quantiser(each) and self._is_loaded(each)
            for each in before
        )

    def _bare(self, place: int) -> bool:
        """Whether a runtime layer's sums leave the network as they are: another training may add a bias to them."""
        operator = self.network.operators[place]
        return (
            operator.name in self.chosen
            and not self.network.users_of(place)
            and any(output.source == place for output in self.network.outputs)
        )

    def _unbiased(self, operator: Matrix) -> Operator:
        """The bias that these sums could have."""
        channels = operator.output.shape.channels
        zero = np.zeros(channels, np.int64)
        scale = Scale(f"{operator.name}_2", (0,), operator.output, zero + 1, zero, 0, 0)
        return self._biased(scale, self.places_of_last(), self.operators[-1].output)

    def places_of_last(self) -> int:
        """Of the operator that was put last."""
        return len(self.operators) - 1

    def _scale(self, operator: Scale, place: int, stream: Stream) -> Operator:
        made = operators.scale(
            operator.name, place, stream, operator.multiplier, operator.offset, operator.shift, operator.rounding,
            operator.reach or (-(1 << 62), 1 << 62),
        )  # fmt: skip
        made = replace(made, reach=operator.reach)
        if not self._is_loaded(operator):
            return self._clipped_as(operator, made)
        plain = bool((operator.multiplier == 1).all())
        reach, behind = operator.reach, self._behind(operator) is not None
        if reach is None and plain and behind and operator.shift == 0:
            return self._biased(operator, place, stream)
        if reach is None:
            if operator.offset.any():
                self.problems.append(
                    f"layer {operator.name}: numbers of it are constants of the hardware, and another training changes "
                    "them: put a quantiser behind the layer before it, or leave that layer out of --runtime-weights"
                )
            return self._clipped_as(operator, made)
        if plain and behind and _is_type(reach):
            return self._rounded(operator, place, stream, reach)
        return self._thresholds(operator, place, stream, _of_scale(operator))

    def _clipped_as(self, operator: Scale, made: Scale) -> Scale:
        """A scale of constants, which clips to what the network clips to."""
        before = self.network.operators[operator.sources[0]].output
        low, high = _reached(operator, before)
        # What the network clips, the hardware clips; where it clips nothing, nothing is.
        limits = (
            operator.output.low if operator.output.low > low else -(1 << 62),
            operator.output.high if operator.output.high < high else 1 << 62,
        )
        return operators.scale(
            operator.name, made.sources[0], self.operators[made.sources[0]].output, operator.multiplier,
            operator.offset, operator.shift, operator.rounding, operator.reach or limits,
        )  # fmt: skip

    def _biased(self, operator: Scale, place: int, stream: Stream) -> Scale:
        """Sums with a bias that is loaded, and nothing else: one bit more than the sums."""
        bits = _bits(stream)
        self._check_bias(operator, bits)
        most = 1 << bits
        out = Stream(stream.shape, -most, most - 1)
        return replace(operator, sources=(place,), output=out, shift=0, rounding=0, runtime=True)

    def _rounded(self, operator: Scale, place: int, stream: Stream, reach: Pair) -> Scale:
        """Sums with a bias and a shift that are loaded."""
        bits = _bits(stream)
        self._check_bias(operator, bits)
        most = (1 << shift_bits(bits + 1)) - 1
        if operator.shift > most:
            self.problems.append(
                f"layer {operator.name}: shifts its sums by {operator.shift}; what is loaded at run time shifts by up "
                f"to {most}: use a finer output scale, or leave the layer before it out of --runtime-weights"
            )
        return replace(operator, sources=(place,), output=Stream(stream.shape, *reach), runtime=True)

    def _check_bias(self, operator: Scale, bits: int) -> None:
        low, high = int(operator.offset.min()), int(operator.offset.max())
        if low < -(1 << (bits - 1)) or high >= 1 << (bits - 1):
            self.problems.append(
                f"layer {operator.name}: adds {low} to {high} to its sums; what is loaded at run time has {bits} bits, "
                "as the sums have: use a smaller bias, or leave the layer before it out of --runtime-weights"
            )

    def _thresholds(self, operator: Scale | Threshold, place: int, stream: Stream, counted: _Counted) -> Operator:
        """All the thresholds that a quantiser of its reach can have, whatever the sums."""
        if operator.reach is None:
            self.problems.append(
                f"layer {operator.name}: neither only rises nor only falls for all that can be known of it: use "
                "another activation, or leave the layer before it out of --runtime-weights"
            )
            return operator
        low, high = operator.reach
        count = max((high - low) // counted.unit, 1)
        if count > _MAX_THRESHOLDS:
            self.problems.append(
                f"layer {operator.name}: {count} thresholds for each channel; up to {_MAX_THRESHOLDS} can be loaded at "
                "run time: quantise to fewer bits"
            )
            return operator
        wanted = low + counted.unit * (1 + np.arange(count))
        found = np.stack([counted.level(int(level), stream) for level in wanted], axis=1)  # [channels, count]
        found = np.clip(np.where(counted.falls[:, None], found[:, ::-1], found), stream.low, stream.high + 1)
        first = np.where(counted.falls, low + counted.unit * count, low)
        step = np.where(counted.falls, -counted.unit, counted.unit)
        out = Stream(stream.shape, low, low + counted.unit * count)
        return Threshold(operator.name, (place,), out, found, first, step, operator.reach, True)


@dataclass(frozen=True)
class _Counted:
    """A quantiser by where it reaches each of its integers, which are `unit` apart.

    `edges` [channels, n] are the smallest integers at which a channel has `levels` [channels, n] or more; of one that
    falls, at which it has less. Below all of them a channel that rises has at least, and one that falls at most
    `first`.
    """

    unit: int
    falls: npt.NDArray[np.bool_]  # [channels]
    edges: Integers
    first: Integers

    def level(self, wanted: int, stream: Stream) -> Integers:
        """Where each channel begins to have `wanted` or more; of one that falls, to have less."""
        count = self.edges.shape[1]
        steps = (wanted - self.first) // self.unit  # above the first; a level at or below it: 0 and less
        rises = np.where(steps <= 0, -1, np.where(steps > count, count, steps - 1))
        falls = np.where(steps > 0, -1, np.where(-steps >= count, count, -steps))
        edges = np.concatenate(
            [self.edges, np.full((len(self.first), 1), stream.high + 1), np.full((len(self.first), 1), stream.low)],
            axis=1,
        )
        return np.take_along_axis(edges, np.where(self.falls, falls, rises)[:, None], 1)[:, 0]


def _of_threshold(operator: Threshold) -> _Counted:
    unit = int(np.abs(operator.step).max())
    return _Counted(unit, operator.step < 0, operator.thresholds, operator.first)


def _of_scale(operator: Scale) -> _Counted:
    """A linear quantiser's edges: where x * multiplier + offset reaches each integer's rounding edge."""
    assert operator.reach is not None  # asked before
    low, high = operator.reach
    levels = np.arange(low + 1, high + 1)
    begins = levels << operator.shift
    if operator.shift and operator.rounding:
        begins = begins - (1 << (operator.shift - 1)) + (levels & 1 if operator.rounding == 2 else 0)
    factor, falls = np.abs(operator.multiplier)[:, None], operator.multiplier < 0
    needed = begins[None, :] - operator.offset[:, None]
    rising = -(-needed // np.maximum(factor, 1))  # ceil
    edges = np.where(falls[:, None], 1 - rising, rising)  # -x >= rising as long as x < 1 - rising
    edges = np.where(falls[:, None], edges[:, ::-1], edges)
    return _Counted(1, falls, edges, np.where(falls, high, low))


def _reached(operator: Scale, source: Stream) -> Pair:
    ends = np.stack(
        [source.low * operator.multiplier + operator.offset, source.high * operator.multiplier + operator.offset]
    )
    room = 1 if operator.shift and operator.rounding else 0
    return int(ends.min()) >> operator.shift, (int(ends.max()) >> operator.shift) + room


def _bits(stream: Stream) -> int:
    """Bits of two's complement that a stream's integers fit in."""
    return stream.bits if stream.signed else stream.bits + 1


def _is_quantiser(operator: Operator) -> bool:
    return isinstance(operator, Threshold) or (isinstance(operator, Scale) and operator.reach is not None)


def _is_type(reach: Pair) -> bool:
    """Whether the bounds are those of a type, at which mvu.sv saturates."""
    low, high = reach
    return high + 1 == (1 << high.bit_length()) and low in (0, -high - 1) and high > 0
