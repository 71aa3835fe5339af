"""Section `set_folding`: the solver's foldings beside those of FINN's own rule, by look-up tables at equal interval.

FINN's rule is SetFolding of `finn-plus` 1.6.1 (`transformation/fpgadataflow/set_folding.py`), restated here: every
layer by itself gets the smallest SIMD, among divisors of its inputs, that keeps within the target, as long as a weight
word is at most 36 bits wide, then the smallest PE, among divisors of its outputs, that does; a depthwise layer gets PE
first.
Where a layer misses the target, all are folded again for what it reached. Both foldings are built of this compiler's
hardware, with products in look-up tables; the rule's weights are in block memories, which costs the fewest look-up
tables. The solver may also make a layer of additions alone, which has no weights. The look-up tables are predicted, and
for some networks counted by Yosys as well.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.interval import MULTIPLIERS, SLOWER, examples, fastest
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.budget import Room, Stage, meet
from edgesight.hls.cost.model import cost_model
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.folding import Choice, Fold, Folding, folds_of
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.rtl.joins import join_depths
from edgesight.hls.rtl.network import emit_network, parts_of
from edgesight.hls.rtl.units import beats_of, plan, signed_bits, slowest, steady
from edgesight.host.obtained import Obtained

WORD_BITS = 36  # the widest weight word of one output that SIMD makes
WORST, MEDIAN = 1.0, 0.9  # of our look-up tables over those of FINN's rule
SYNTHESISED = (("mobilenet_4", 4), ("lenet5", 4), ("autoencoder_4", 16))  # by Yosys in minutes
TOP = "network"
_LUTS_ALONE = Room({"LUT": 1e6, "FF": 1e12, "BRAM36": 1e12, "DSP": 1e12})


@dataclass(frozen=True)
class Compared:
    """A network at an interval: look-up tables by either folding."""

    network: str
    interval: int  # cycles a frame that the rule's folding takes
    ours: int
    rule: int

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return self.ours / self.rule


@dataclass(frozen=True)
class Foldings:
    """Both foldings of a network for an interval, in cycles a frame, that the rule's reaches."""

    interval: int
    ours: Folding
    rule: Folding


def lacks(_: Asked) -> str | None:
    """What is missing: nothing but Yosys, which says so itself."""
    return None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Fold every example by both, at several intervals; raises BoardError where Yosys fails."""
    folder = folder.resolve()
    predicted, measured = [], []
    for name, path in examples(folder):
        network, _notes = integer_network(path)
        # The rule stops at what its widest words reach.
        quickest = both(network, fastest(network, MULTIPLIERS)).interval
        for slower in SLOWER:
            foldings = both(network, quickest * slower)
            predicted.append(compare(name, network, foldings))
            if (name, slower) in SYNTHESISED:
                measured.append(synthesise(name, network, foldings, folder))
    console.print(_table("Look-up tables at equal interval, predicted", predicted))
    console.print(_table("Look-up tables at equal interval, by Yosys", measured))
    body: dict[str, Any] = {
        key: [{**asdict(each), "ratio": each.ratio} for each in some]
        for key, some in (("predicted", predicted), ("measured", measured))
    }
    return Found(body, tuple(checks_of(predicted, measured)))


def both(network: IntegerNetwork, target: int) -> Foldings:
    """Both foldings of a network, where FINN's rule aims at `target` cycles a frame."""
    theirs = by_rule(network, target)
    interval = steady(network, list(plan(network, theirs).values()))
    solved = meet([Stage("network", network, products_in=["logic"])], interval, _LUTS_ALONE, cost_model())
    return Foldings(interval, solved.foldings[0], theirs)


def compare(name: str, network: IntegerNetwork, foldings: Foldings) -> Compared:
    """What both foldings are predicted to take."""
    return Compared(name, foldings.interval, luts(network, foldings.ours), luts(network, foldings.rule))


def synthesise(name: str, network: IntegerNetwork, foldings: Foldings, folder: Path) -> Compared:
    """What both foldings take by Yosys, module by module; raises BoardError."""
    ours, rule = (
        synthesised(emit_network(TOP, network, folding).project(), TOP, folder, dsps=False, by_modules=True).luts
        for folding in (foldings.ours, foldings.rule)
    )
    return Compared(name, foldings.interval, ours, rule)


def luts(network: IntegerNetwork, folding: Folding) -> int:
    """Look-up tables that a folded network is predicted to take."""
    units = plan(network, folding)
    interval = slowest(network, list(units.values()))[0]
    return cost_model().parts(parts_of(network, units, interval, join_depths(network))).luts


def by_rule(network: IntegerNetwork, target: int) -> Folding:
    """FINN's folding for a target of cycles a frame, with its second pass."""
    folds = dict(_folds(network, target))
    reached = max(fold.cycles * _pixels(network, name) for name, fold in folds.items())
    if reached > target:
        folds = dict(_folds(network, reached))
    choices = {name: Choice(fold.pe, fold.simd, "block", "logic") for name, fold in folds.items()}
    return Folding(max(target, reached), {}, choices=choices)


def _pixels(network: IntegerNetwork, name: str) -> int:
    return next(operator.output.shape.pixels for operator in network.operators if operator.name == name)


def _folds(network: IntegerNetwork, target: int) -> Iterator[tuple[str, Fold]]:
    for operator in network.operators:
        if isinstance(operator, Matrix):
            outputs, beats, lanes = beats_of(operator, network.sources_of(operator)[0].output.shape).shape
            folds = list(folds_of(outputs, lanes, beats, operator.groups))
            enough = target // operator.output.shape.pixels  # cycles an output position
            if operator.groups > 1:
                fold = _first([fold for fold in folds if fold.simd == 1], enough, lambda fold: fold.pe)
                by_simd = [each for each in folds if each.pe == fold.pe]
                yield operator.name, _first(by_simd, enough, lambda fold: fold.simd)
                continue
            bits = signed_bits(operator.weight_low, operator.weight_high)
            fold = _first([fold for fold in folds if fold.pe == 1], enough, lambda fold: fold.simd, WORD_BITS // bits)
            by_pe = [each for each in folds if each.simd == fold.simd]
            yield operator.name, _first(by_pe, enough, lambda fold: fold.pe)


def _first(folds: Sequence[Fold], enough: int, of: Callable[[Fold], int], most: int | None = None) -> Fold:
    """The first fold, by what grows, that takes few enough cycles; else the last, at `most` so wide."""
    ordered = sorted(folds, key=of)
    last = ordered[0]
    for fold in ordered:
        if fold.cycles <= enough:
            return fold
        if most is not None and of(fold) > most:
            return last
        last = fold
    return last


def checks_of(predicted: Sequence[Compared], measured: Sequence[Compared]) -> list[Check]:
    """The worst and the median of all, and the worst of those that Yosys counted."""
    median = statistics.median(each.ratio for each in predicted)
    what = "look-up tables over those of FINN's rule"
    return [
        _worst(what, predicted, "projected"),
        Check(f"{what}, median", median, MEDIAN, True, "ratio", "projected"),
        _worst(f"{what}, by Yosys", measured, "measured"),
    ]


def _worst(what: str, compared: Sequence[Compared], how: Obtained) -> Check:
    worst = max(compared, key=lambda each: each.ratio)
    return Check(f"{what}, {worst.network} at {worst.interval} cycles", worst.ratio, WORST, True, "ratio", how)


def _table(title: str, compared: Sequence[Compared]) -> PlainTable:
    columns = ("network", "cycles", "our LUTs", "by FINN's rule", "ratio")
    table = PlainTable(title, columns, words=("network",))
    for each in compared:
        table.add_row(each.network, str(each.interval), str(each.ours), str(each.rule), f"{each.ratio:.3f}")
    return table
