"""Folding to a budget: each layer's fold, and where its weights lie and its products are made, for a rate on a part.

An integer linear program chooses one candidate for every layer. A stage of a cascade must keep up with the share of the
frames that reach it. Words owned here: demand, candidate, share (of a part), bound by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from edgesight.hls.cost.cells import Cells
from edgesight.hls.cost.features import dsps
from edgesight.hls.cost.model import CostModel
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.folding import Choice, Fold, Folding, ProductsIn, WeightsIn, choose_fold, folds_of
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.joins import join_depths
from edgesight.hls.rtl.network import parts_of
from edgesight.hls.rtl.parts import Part
from edgesight.hls.rtl.units import Unit, beats_of, plan, slowest, steady, timing

RESOURCES = ("LUT", "FF", "BRAM36", "DSP")
# Of the part's cells that a design may take: what is fuller rarely routes at the clock that the board asks for.
_USABLE = {"LUT": 0.8, "FF": 0.8, "BRAM36": 1.0, "DSP": 1.0}
_REST = 1e-3  # how much the sum of all shares counts beside the largest of them
_SLOWEST = 1 << 30  # cycles; more than any fold of any layer takes
_WEIGHTS_IN: tuple[WeightsIn, ...] = ("distributed", "block")
_DSP = 2  # mvu.sv's number
_PRODUCTS_IN: Mapping[ProductsIn, int] = {"logic": 1, "dsp": _DSP}
_CLOSE = 1.005  # two intervals that are as good as equal
UNROLLED = "the slowest layer, even unrolled"  # what bounds a rate that no more cells would raise
_HALF = 0.5  # a number that is 0 or 1 but for rounding
_TURNS = 4  # of the program, until what it chose fits as a whole
_WORTH = 8  # weights that take no more as additions than a multiplier, at most
_GAP = 1e-4  # of the program's optimum, which is then proved


@dataclass(frozen=True)
class Stage:
    """A stage's network. `share`: of the frames that reach it; `reuse`: factors that are given, by whole layer name.

    `products_in`: what may compute products.
    """

    name: str
    network: IntegerNetwork
    share: float = 1.0
    reuse: Mapping[str, int] = field(default_factory=dict)
    products_in: Sequence[ProductsIn] = ("logic", "dsp")


@dataclass(frozen=True)
class Room:
    """What there is to build with: cells by resource, of which those of `fixed` are taken already."""

    capacity: Mapping[str, float]
    fixed: Cells = field(default_factory=lambda: Cells(0, 0, 0, 0))

    @classmethod
    def of_part(cls, capacity: Mapping[str, int], max_luts: int | None = None, fixed: Cells | None = None) -> Room:
        """The usable share of a part, and at most so many look-up tables."""
        room = {name: _USABLE[name] * capacity[name] for name in RESOURCES}
        if max_luts is not None:
            room["LUT"] = min(room["LUT"], max_luts)
        return cls(room, fixed or Cells(0, 0, 0, 0))


@dataclass(frozen=True)
class Solved:
    """Foldings of the stages, with predicted `cells` of all and by layer of each, and the fullest resource."""

    foldings: tuple[Folding, ...]
    cells: Cells
    layers: tuple[Mapping[str, Cells], ...]
    interval: float  # cycles from a frame to the next, by the slowest stage and the shares
    bound_by: str


@dataclass(frozen=True)
class _Candidate:
    """One way to build a layer, with the units that hang on it."""

    choice: Choice
    cells: Cells


@dataclass(frozen=True)
class _Layer:
    stage: int
    name: str
    candidates: tuple[_Candidate, ...]


class OutOfReach(CompileError):
    """An interval that no folding reaches in its room: `why`, and the `best` that fits."""

    def __init__(self, why: str, best: Solved) -> None:
        """Said in cycles; who knows the clock says it in images."""
        super().__init__(
            f"{why}; {best.interval:.0f} cycles are the best that fits: ask for no fewer, or give more room"
        )
        self.why, self.best = why, best


def meet(stages: Sequence[Stage], interval: float, room: Room, model: CostModel) -> Solved:
    """The foldings that take a frame every `interval` cycles with the least of what the room is short of.

    Raises OutOfReach where there is too little of something, and CompileError where not even the slowest folding fits.
    """
    solved = _solve(stages, max(interval, 1.0), room, model)  # below a cycle nothing is
    if isinstance(solved, Solved):
        return solved
    raise OutOfReach(solved, fastest(stages, room, model))


def fastest(stages: Sequence[Stage], room: Room, model: CostModel) -> Solved:
    """The foldings with the shortest interval that fits the room; CompileError where not even the slowest does."""
    least = max(stage.share * _floor(stage.network) for stage in stages)
    most = max(stage.share * _ceiling(stage) for stage in stages)
    slowest_of_all = _solve(stages, most, room, model)
    if not isinstance(slowest_of_all, Solved):
        raise CompileError(
            f"not even the slowest folding fits: {slowest_of_all}; take a larger part or a smaller network"
        )
    low, high, best = least / _CLOSE, most, slowest_of_all
    while high > low * _CLOSE:
        middle = math.sqrt(low * high)
        found = _solve(stages, middle, room, model)
        if isinstance(found, Solved):
            high, best = min(middle, found.interval), found
        else:
            low = middle
    return replace(best, bound_by=UNROLLED) if best.interval <= least * _CLOSE else best


def _floor(network: IntegerNetwork) -> int:
    """The fewest cycles a frame that any folding takes."""
    units = plan(network, Folding(1, {}))
    return slowest(network, list(units.values()))[0]


def _ceiling(stage: Stage) -> int:
    units = plan(stage.network, Folding(_SLOWEST, stage.reuse))
    return slowest(stage.network, list(units.values()))[0]


def _solve(stages: Sequence[Stage], interval: float, room: Room, model: CostModel) -> Solved | str:
    """The least foldings, or what is in their way."""
    layers: list[_Layer] = []
    fixed = room.fixed
    for at, stage in enumerate(stages):
        cycles = math.floor(interval / stage.share)
        found = _Options(stage, cycles, model)
        if found.hindrance:
            return found.hindrance
        layers += [_Layer(at, name, candidates) for name, candidates in found.candidates.items()]
        fixed = sum(found.rest.values(), fixed)
    # What stands between two layers hangs on the folds of both, and a candidate knows one alone: so what those that are
    # chosen take together is counted anew, and where it is more than there is, the program is told of it.
    more = Cells(0, 0, 0, 0)
    for _ in range(_TURNS):
        chosen = _program(layers, fixed + more, room)
        if isinstance(chosen, str):
            return chosen
        solved = _together(stages, interval, layers, chosen, room, model)
        if not (short := _short(solved.cells, room)):
            return solved
        expected = sum((each.cells for each in chosen), fixed)
        more += Cells(*(max(a - b, 0) for a, b in zip(astuple(solved.cells), astuple(expected + more), strict=True)))
    return short


def _together(
    stages: Sequence[Stage],
    interval: float,
    layers: Sequence[_Layer],
    chosen: Sequence[_Candidate],
    room: Room,
    model: CostModel,
) -> Solved:
    """The foldings that are chosen, with what they take as a whole."""
    choices: list[dict[str, Choice]] = [{} for _ in stages]
    for layer, candidate in zip(layers, chosen, strict=True):
        choices[layer.stage][layer.name] = candidate.choice
    foldings, by_layer, reached = [], [], 0.0
    for stage, own in zip(stages, choices, strict=True):
        folding = Folding(math.floor(interval / stage.share), stage.reuse, choices=own)
        units = plan(stage.network, folding)
        parts = parts_of(stage.network, units, folding.cycles, join_depths(stage.network))
        grouped = _by_unit(stage.network, units, parts)
        named = {place: units[place].name if place in units else stage.network.entry.name for place in grouped}
        foldings.append(folding)
        by_layer.append({named[place]: model.parts(some) for place, some in grouped.items()})
        reached = max(reached, stage.share * steady(stage.network, list(units.values())))
    total = sum((cells for each in by_layer for cells in each.values()), room.fixed)
    shares = _shares(total, room)
    return Solved(tuple(foldings), total, tuple(by_layer), reached, max(shares, key=lambda name: shares[name]))


def amounts(cells: Cells) -> dict[str, float]:
    """Cells by resource."""
    return {"LUT": cells.luts, "FF": cells.flip_flops, "BRAM36": cells.half_blocks / 2, "DSP": cells.dsps}


def _shares(cells: Cells, room: Room) -> dict[str, float]:
    return {name: amount / room.capacity[name] for name, amount in amounts(cells).items()}


def _program(layers: Sequence[_Layer], fixed: Cells, room: Room) -> list[_Candidate] | str:
    """One candidate of each layer, so that the fullest resource is as empty as can be; or which one does not do."""
    candidates = [candidate for layer in layers for candidate in layer.candidates]
    count = len(candidates)
    owners = np.repeat(np.arange(len(layers)), [len(layer.candidates) for layer in layers])
    one_each = np.zeros((len(layers), count + 1))
    one_each[owners, np.arange(count)] = 1
    used = np.array([[_shares(each.cells, room)[name] for each in candidates] for name in RESOURCES])
    taken = np.array([_shares(fixed, room)[name] for name in RESOURCES])
    result = milp(
        np.append(_REST * used.sum(axis=0), 1.0),  # the last variable is the fullest share
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(np.hstack([used, -np.ones((len(RESOURCES), 1))]), -np.inf, -taken),
        ],
        integrality=np.append(np.ones(count), 0),
        bounds=Bounds(np.zeros(count + 1), np.append(np.ones(count), np.inf)),
        options={"mip_rel_gap": _GAP},
    )
    if result.x is None:  # there is always a solution: the fullest share has no bound
        raise CompileError(f"the solver ended without a folding ({result.message}): report the network")
    chosen = [candidates[at] for at in np.flatnonzero(result.x[:count] > _HALF)]
    total = sum((each.cells for each in chosen), fixed)
    return _short(total, room) or chosen


def _short(total: Cells, room: Room) -> str:
    """Of what there is too little; empty where all fits."""
    shares = _shares(total, room)
    fullest = max(RESOURCES, key=lambda name: shares[name])
    if shares[fullest] <= 1:
        return ""
    return f"it takes {amounts(total)[fullest]:.0f} {fullest}, and {room.capacity[fullest]:.0f} may be used"


def _by_unit(network: IntegerNetwork, units: Mapping[int, Unit], parts: Sequence[Part]) -> dict[int, list[Part]]:
    """Instances by the unit with whose fold they change: a quantiser behind a layer is folded as that is."""
    owner = {unit.fused: place for place, unit in units.items() if unit.fused is not None}
    for place, unit in units.items():
        before = network.operators[place].sources[0]
        behind = unit.kind in ("threshold", "scale") and before in units and units[before].multipliers
        owner[place] = before if behind else place
    grouped: dict[int, list[Part]] = {}
    for part in parts:
        grouped.setdefault(owner.get(part.place, part.place), []).append(part)
    return grouped


class _Options:
    """The candidates of each layer of a stage that takes at most `cycles` a frame, and what no choice changes."""

    def __init__(self, stage: Stage, cycles: int, model: CostModel) -> None:
        self._model, self._products_in = model, stage.products_in
        self.candidates: dict[str, tuple[_Candidate, ...]] = {}
        self.rest: dict[str, Cells] = {}
        self.hindrance = ""
        network = stage.network
        folds = {}
        for place, operator in enumerate(network.operators):
            if isinstance(operator, Matrix):
                folds[operator.name] = _folds(network, place, cycles, stage.reuse.get(operator.name))
        depths = join_depths(network)
        found: dict[str, list[_Candidate]] = {name: [] for name in folds}
        added = {} if stage.reuse else _added(network, folds)
        for turn in range(-bool(added), max(map(len, folds.values()), default=1)):
            at = {name: each[min(max(turn, 0), len(each) - 1)] for name, each in folds.items()}
            choices = {name: Choice(fold.pe, fold.simd, "distributed", "logic") for name, fold in at.items()}
            choices |= added if turn < 0 else {}
            units = plan(network, Folding(cycles, {}, choices=choices))
            by_unit = _by_unit(network, units, parts_of(network, units, cycles, depths))
            for unit in units.values():
                name = unit.name
                if turn < 0:
                    if unit.unrolled and unit.steady_cycles <= cycles:
                        found[name].append(_Candidate(choices[name], model.parts(by_unit[unit.place])))
                elif unit.multipliers:
                    if turn < len(folds[name]) and unit.steady_cycles <= cycles:
                        found[name] += self._variants(unit, by_unit[unit.place])
                elif unit.cycles > cycles:
                    self.hindrance = f"layer {name} takes {unit.cycles} cycles a frame at its fastest"
                elif unit.place in by_unit:
                    self.rest[name] = model.parts(by_unit[unit.place])
            if 0 in by_unit:
                self.rest[network.entry.name] = model.parts(by_unit[0])
        pixels = network.entry.output.shape.pixels
        if pixels > cycles:
            self.hindrance = f"{stage.name}'s {pixels} pixels come in one a cycle"
        for name, each in found.items():
            self.candidates[name] = tuple(_best(each))
            if not each and not self.hindrance:
                self.hindrance = f"layer {name} takes more cycles a frame even unrolled, or as its reuse factor says"

    def _variants(self, unit: Unit, parts: Sequence[Part]) -> Iterator[_Candidate]:
        """The layer with its weights and its products in either."""
        weights = next(part for part in parts if part.module == "weight_memory" and part.place == unit.place)
        products = next(part for part in parts if part.module == "mvu")
        others = self._model.parts(part for part in parts if part is not weights and part is not products)
        for weights_in in _WEIGHTS_IN:
            memory = self._model.part(replace(weights, parameters={**weights.parameters, "Style": weights_in}))
            for products_in in self._products_in:
                number = _PRODUCTS_IN[products_in]
                part = replace(products, parameters={**products.parameters, "Multipliers": number})
                if number == _DSP and not dsps(part):
                    continue
                choice = Choice(unit.pe, unit.simd, weights_in, products_in)
                yield _Candidate(choice, others + memory + self._model.part(part))


def _folds(network: IntegerNetwork, place: int, cycles: int, reuse: int | None) -> list[Fold]:
    """The folds of a layer that keep within `cycles` and have no multiplier too many, or the one that is given."""
    operator = network.operators[place]
    assert isinstance(operator, Matrix)
    source = network.sources_of(operator)[0].output
    outputs, beats, lanes = beats_of(operator, source.shape).shape
    if reuse is not None:
        return [choose_fold(reuse, outputs, lanes, beats, operator.groups)]
    folds = folds_of(outputs, lanes, beats, operator.groups)
    fitting = [fold for fold in folds if timing(operator, source, fold, cycles).steady_cycles <= cycles] or [
        Fold(outputs, lanes, beats)
    ]
    channels = operator.weights.shape[-1]
    kept = []
    for pe in sorted({fold.pe for fold in fitting}):
        narrow = [fold for fold in fitting if fold.pe == pe]
        kept.append(min(narrow, key=lambda fold: fold.simd))
        # A window's memory gives as many channels of one tap as there are lanes.
        whole = [fold for fold in narrow if channels % fold.simd == 0]
        kept += [fold for fold in [min(whole, key=lambda fold: fold.simd, default=kept[-1])] if fold not in kept]
    return kept


def _added(network: IntegerNetwork, folds: Mapping[str, Sequence[Fold]]) -> dict[str, Choice]:
    """The layers that may be cheaper as additions than in the `folds` that keep within the cycles."""
    found = {}
    for operator in network.operators:
        if isinstance(operator, Matrix):
            outputs, beats, lanes = beats_of(operator, network.sources_of(operator)[0].output.shape).shape
            fewest = min(fold.pe * fold.simd for fold in folds[operator.name])
            if beats == 1 and outputs * lanes <= _WORTH * fewest:
                found[operator.name] = Choice(outputs, lanes)  # `plan` knows which of them can be made so
    return found


def _best(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those than which none is better in every resource."""
    kept: list[_Candidate] = []
    for each in sorted(candidates, key=lambda candidate: astuple(candidate.cells)):
        cells = astuple(each.cells)
        if not any(all(a <= b for a, b in zip(astuple(other.cells), cells, strict=True)) for other in kept):
            kept.append(each)
    return kept
