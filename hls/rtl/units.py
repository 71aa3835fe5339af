"""The units of a network: how each operator is folded, and the lower bound of its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    Entry,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Operator,
    Scale,
    Stream,
    Threshold,
    Upsample,
    Window,
    sum_bounds,
)
from edgesight.hls.folding import (
    Fold,
    Folding,
    ProductsIn,
    WeightsIn,
    choose_fold,
    folds_of,
    largest_reuse,
    smallest_pe,
)
from edgesight.hls.network import CompileError, Integers, Shape, refuse
from edgesight.hls.rtl.bipolar import Coding
from edgesight.hls.rtl.windows import WindowMemory, grid, replays, walked_cycles, window_memory

MAX_THRESHOLDS = (1 << 16) - 1  # a channel, as thresholding.sv counts
# Weights of a layer that is not folded, up to which it is made of additions: to find these takes seconds, and more for
# more weights.
_UNROLLED = 1 << 13
WAITED = 100  # one of so many cycles a unit may wait for pixels
_WIDEST = 62  # bits of a number between rescale.sv's multiplication and its clipping


@dataclass(frozen=True)
class Unit:
    """The hardware of one operator, or of a matrix and the scale behind it.

    `cycles` is the lower bound of its interval for a frame; the network's is the largest, or the entry's pixels.
    `steady_cycles` is the interval itself, which is larger where windows in registers hold up the pixels behind them.
    """

    place: int  # of the operator in the network
    name: str
    kind: str
    cycles: int
    pe: int
    steady_cycles: int
    simd: int = 1
    multipliers: int = 0
    parameters: int = 0  # weights, thresholds, factors and offsets
    weight_bits: int = 0
    accumulator_bits: int = 0
    reuse_asked: int = 1
    reuse_built: int = 1
    fused: int | None = None  # the place of the Scale that this matrix's own rounder computes
    memory: WindowMemory | None = None  # from which this matrix reads its windows
    replays: bool = False  # this matrix, on single pixels, reads their parts again and again
    unrolled: bool = False  # this matrix is not folded, and its weights are no memory but additions
    weights_in: WeightsIn = "auto"
    products_in: ProductsIn = "auto"

    @property
    def fold(self) -> Fold:
        """How a matrix is folded."""
        return Fold(self.pe, self.simd, self.reuse_built)


def signed_bits(low: int, high: int) -> int:
    """Bits of two's complement that hold everything from `low` to `high`."""
    return max((~low if low < 0 else low).bit_length(), (~high if high < 0 else high).bit_length()) + 1


def plan(network: IntegerNetwork, folding: Folding, beat: int | None = None) -> dict[int, Unit]:
    """The unit of each operator but the entry and scales that a matrix's unit computes, by the operator's place.

    `beat`: channels of the entry that come at a time, where not all of a pixel do.

    Raises CompileError naming what the hardware cannot compute, and reuse factors for layers that are not there.
    """
    named = [operator.name for operator in network.operators if isinstance(operator, Matrix)]
    unknown = sorted({*folding.reuse, *folding.choices} - set(named))
    if unknown:
        raise CompileError(f"no layer {', '.join(unknown)} to give a reuse factor to; name one of {', '.join(named)}")
    refuse(_impossible(network))
    units: dict[int, Unit] = {}
    coding = Coding(network)
    for place, operator in enumerate(network.operators):
        if isinstance(operator, Matrix):
            in_parts = beat is not None if operator.sources == (0,) else _in_parts(network, place)
            unit = _matrix(place, operator, coding.taken(place), folding, _fusable(network, place), in_parts)
            if place in coding.agreeing:
                unit = replace(unit, weight_bits=1, accumulator_bits=coding.given(place).bits, unrolled=False)
            users = [network.operators[user] for user in network.users_of(place)]
            if operator.runtime or any(isinstance(user, Scale) and user.runtime for user in users):
                unit = replace(unit, unrolled=False)  # additions are of weights that stay
            units[place] = unit
    fused = {unit.fused for unit in units.values()}
    # Nothing needs to be faster than the slowest matrix: so the matrices' factors alone say what hardware it is.
    slowest_of_all = max((unit.cycles for unit in units.values()), default=folding.cycles)
    if folding.choices:
        slowest_of_all = folding.cycles
    for place, operator in enumerate(network.operators):
        if isinstance(operator, Entry | Matrix) or place in fused:
            continue
        before = units.get(operator.sources[0])
        behind = before if before is not None and before.multipliers else None
        budget = slowest_of_all if behind is None else behind.cycles
        unit = _other(place, operator, network.sources_of(operator)[0].output, budget)
        if behind is not None and isinstance(operator, Threshold | Scale) and network.has_one_user(behind.place):
            pe = _reading_pe(behind, network)
            cycles = operator.output.shape.pixels * (operator.output.shape.channels // pe)
            unit = replace(unit, pe=pe, cycles=cycles, steady_cycles=cycles)
        units[place] = replace(unit, weights_in="distributed") if folding.choices else unit
    return dict(sorted(units.items()))


def slowest(network: IntegerNetwork, units: Sequence[Unit]) -> tuple[int, str]:
    """The lower bound of a network's interval in cycles a frame, and which unit it comes from (`input`: its pixels)."""
    pixels = network.entry.output.shape.pixels
    last = max(units, key=lambda unit: unit.cycles, default=None)
    return (pixels, "input") if last is None or last.cycles < pixels else (last.cycles, last.name)


def steady(network: IntegerNetwork, units: Sequence[Unit]) -> int:
    """The interval of a network in cycles a frame, where no buffer is too small."""
    return max([network.entry.output.shape.pixels, *(unit.steady_cycles for unit in units)])


def _impossible(network: IntegerNetwork) -> list[str]:
    problems = []
    for place, operator in enumerate(network.operators):
        if not network.users_of(place) and all(output.source != place for output in network.outputs):
            problems.append(f"layer {operator.name}: nothing takes what it makes; remove it")
        source = network.sources_of(operator)[0].output if operator.sources else operator.output
        if isinstance(operator, MaxPool) and _only_padding(operator.window, source.shape):
            problems.append(f"layer {operator.name}: a window of its pooling lies in the padding alone; pad less")
        if isinstance(operator, Threshold) and operator.thresholds.shape[1] > MAX_THRESHOLDS:
            problems.append(
                f"layer {operator.name}: {operator.thresholds.shape[1]} thresholds a channel; up to {MAX_THRESHOLDS} "
                "are supported: use a quantiser of fewer bits"
            )
        if isinstance(operator, Scale) and max(_scale_bits(operator, source), operator.shift) > _WIDEST:
            problems.append(
                f"layer {operator.name}: its numbers reach {max(_scale_bits(operator, source), operator.shift)} bits; "
                f"up to {_WIDEST} are supported: use a smaller multiplier, offset or shift"
            )
    return problems


def _reading_pe(unit: Unit, network: IntegerNetwork) -> int:
    """The fewest channels side by side that take a group of a matrix's sums before its next one comes."""
    matrix, source = network.operators[unit.place], network.sources_of(network.operators[unit.place])[0].output
    assert isinstance(matrix, Matrix)  # as its unit has multipliers
    slices = beats_of(matrix, source.shape).shape[2] // unit.simd
    return next(pe for pe in range(1, unit.pe + 1) if unit.pe % pe == 0 and unit.pe // pe <= slices)


def _only_padding(window: Window, shape: Shape) -> bool:
    """Whether some window has no tap on the map."""
    for axis, size in enumerate((shape.height, shape.width)):
        positions = np.arange(window.positions(shape)[axis])[:, None] * window.stride[axis] - window.pads[axis]
        taps = positions + np.arange(window.kernel[axis]) * window.dilation[axis]
        if not ((taps >= 0) & (taps < size)).any(axis=1).all():
            return True
    return False


def _scale_bits(operator: Scale, source: Stream) -> int:
    product = source.bits + signed_bits(int(operator.multiplier.min()), int(operator.multiplier.max()))
    return max(product, signed_bits(int(operator.offset.min()), int(operator.offset.max()))) + 2


def is_dense(operator: Matrix, source: Shape) -> bool:
    """Whether its only window is the whole map, so that it takes the map pixel by pixel and needs no window."""
    return operator.window.reach == operator.window.kernel == (source.height, source.width) and not any(
        operator.window.pads
    )


def is_pointwise(window: Window) -> bool:
    """Whether every pixel is a window, so that none has to be made."""
    return window.kernel == window.stride == (1, 1) and not any(window.pads)


def beats_of(operator: Matrix, source: Shape) -> Integers:
    """The weights as mvu.sv has them: [outputs, beats, lanes of a block]."""
    beats = source.pixels if is_dense(operator, source) else 1
    return operator.weights.reshape(len(operator.weights), beats, -1)


def _fusable(network: IntegerNetwork, place: int) -> int | None:
    """The place of the Scale that the rounder of the matrix at `place` computes; None where there is none."""
    if not network.has_one_user(place):
        return None
    users = network.users_of(place)
    matrix, scale = network.operators[place], network.operators[users[0]]
    if not isinstance(matrix, Matrix) or not isinstance(scale, Scale):
        return None
    if scale.runtime:
        return users[0]
    if (scale.multiplier != 1).any():
        return None
    source = network.sources_of(matrix)[0].output
    least_sums, most_sums = sum_bounds(source, matrix.window, matrix.groups, matrix.weights)
    # The rounder saturates to what the type holds: that must be the same as clipping, wherever a sum can be.
    low = int((least_sums + scale.offset).min()) >> scale.shift
    high = -(-int((most_sums + scale.offset).max()) >> scale.shift)
    bits, signed = scale.output.bits, scale.output.signed
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    same = (scale.output.low == least or low >= scale.output.low) and (
        scale.output.high == most or high <= scale.output.high
    )
    return users[0] if same else None


def _in_parts(network: IntegerNetwork, place: int) -> bool:
    """Whether what the operator at `place` takes comes in parts of a pixel, from a folded unit to it alone."""
    source = network.operators[place].sources[0]
    return isinstance(network.operators[source], Matrix | Threshold | Scale) and network.has_one_user(source)


def _matrix(place: int, operator: Matrix, source: Stream, folding: Folding, scale: int | None, in_parts: bool) -> Unit:
    weights = beats_of(operator, source.shape)
    outputs, beats, lanes = weights.shape
    dense = is_dense(operator, source.shape)
    choice = folding.choices.get(operator.name)
    if choice is None:
        reuse = folding.reuse.get(operator.name) or _largest_reuse(operator, source, folding.cycles)
        fold = choose_fold(reuse, outputs, lanes, beats, operator.groups)
    else:
        folds = folds_of(outputs, lanes, beats, operator.groups)
        fold = next(fold for fold in folds if (fold.pe, fold.simd) == (choice.pe, choice.simd))
        reuse = folding.reuse.get(operator.name) or fold.cycles
    automatic = choice is None or (choice.weights_in, choice.products_in) == ("auto", "auto")
    single = dense or is_pointwise(operator.window)
    memory, cycles, steady = timing(
        operator, source, fold, _about(folding.cycles) if choice is None else folding.cycles
    )
    return Unit(
        place=place,
        name=operator.name,
        kind="dense" if dense else "conv",
        cycles=cycles,
        pe=fold.pe,
        steady_cycles=steady,
        simd=fold.simd,
        multipliers=fold.pe * fold.simd,
        parameters=operator.weights.size + (0 if scale is None else outputs),
        weight_bits=signed_bits(*_weight_bounds(operator)),
        accumulator_bits=operator.output.bits,
        reuse_asked=reuse,
        reuse_built=fold.cycles,
        fused=scale,
        memory=memory,
        # Who says where weights lie or what multiplies wants a memory and multipliers.
        unrolled=automatic and fold.cycles == 1 and operator.groups == 1 and operator.weights.size <= _UNROLLED,
        replays=memory is None and in_parts and beats == 1 and single and replays(operator, source, fold),
        weights_in="auto" if choice is None else choice.weights_in,
        products_in="auto" if choice is None else choice.products_in,
    )


class Timing(NamedTuple):
    """The memory of a matrix' windows, where it has one; the bound of its cycles for a frame, and these."""

    memory: WindowMemory | None
    cycles: int
    steady_cycles: int


def timing(operator: Matrix, source: Stream, fold: Fold, limit: int) -> Timing:
    """How a matrix folded so gets its windows, and how long it takes.

    `limit`: cycles that it should not exceed, if a memory helps.
    """
    cycles = max(operator.output.shape.pixels * fold.cycles, source.shape.pixels)
    if is_dense(operator, source.shape) or is_pointwise(operator.window):
        return Timing(None, cycles, cycles)
    height, width = grid(operator.window, source.shape)
    walked = max(cycles, height * width)
    memory = window_memory(operator, source, fold, walked, max(walked, limit))
    if memory is None:
        return Timing(None, walked, walked_cycles(operator.window, source.shape, fold.cycles))
    cycles = max(cycles, source.shape.pixels * memory.words)
    return Timing(memory, cycles, cycles)


def _about(cycles: int) -> int:
    """Cycles and as many more as a unit may wait for pixels where a budget is no promise."""
    return cycles + cycles // WAITED


def _largest_reuse(operator: Matrix, source: Stream, cycles: int) -> int:
    """The largest reuse factor that a fold meets exactly within `cycles` for a frame, or the fastest there is."""
    outputs, beats, lanes = beats_of(operator, source.shape).shape
    positions = operator.output.shape.pixels

    def within(budget: int) -> tuple[int, int]:
        reuse = largest_reuse(budget, positions, outputs, lanes, beats, operator.groups)
        fold = choose_fold(reuse, outputs, lanes, beats, operator.groups)
        return reuse, timing(operator, source, fold, _about(cycles)).steady_cycles

    fastest, least = within(0)
    reuse, steady = within(cycles)
    while steady > max(_about(cycles), least) and reuse > fastest:
        reuse, steady = within(reuse * positions - 1)
    return reuse


def _weight_bounds(operator: Matrix) -> tuple[int, int]:
    """Between which the weights lie that the hardware can hold."""
    if operator.runtime and operator.declared is not None:
        return operator.declared
    return operator.weight_low, operator.weight_high


def _other(place: int, operator: Operator, source: Stream, budget: int) -> Unit:
    """The unit of an operator that is no matrix; `budget`: cycles that it may take for a frame."""
    shape = operator.output.shape
    kind, pe, cycles, parameters = "", shape.channels, shape.pixels, 0
    match operator:
        case MaxPool():
            kind, cycles = "max_pool", math.prod(grid(operator.window, source.shape))
        case Upsample():
            kind = "upsample"
        case Add():
            kind = "add"
        case Concat():
            kind = "concat"
        case Threshold() | Scale():
            pe = smallest_pe(budget, shape.pixels, shape.channels)
            cycles = shape.pixels * (shape.channels // pe)
            if isinstance(operator, Threshold):
                kind, parameters = "threshold", operator.thresholds.size
            else:
                kind, parameters = "scale", 2 * shape.channels
        case _:
            raise TypeError(f"{type(operator).__name__} is not known here")
    bits = operator.output.bits
    return Unit(place, operator.name, kind, cycles, pe, cycles, parameters=parameters, accumulator_bits=bits)
