"""One network with exits becomes the stages of a cascade: each goes on from features that the one before leaves.

Stage 0 is what the first output needs; each further stage is what its output needs beside that, and begins at the one
stream of the stage before that it takes. A stage is an integer network of its own: the first of its outputs are the
logits, the second, of all but the last stage, the features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import numpy as np

from edgesight.hls.dataflow.operators import Entry, IntegerNetwork, Matrix, Output
from edgesight.hls.network import refuse

_INT32 = 1 << 31  # features are handed on as int32


def cut(network: IntegerNetwork) -> list[IntegerNetwork]:
    """The stages of a network with exits, in its outputs' order.

    The integers of the stages' first outputs are those of the network's outputs. Raises CompileError naming the layer
    where an exit does not go on from one stream of the stage before.
    """
    parts, left, problems = [], [], []
    earlier: dict[int, int] = {}  # operator -> the stage that it is part of
    costs = [multiplications(network, needed(network, [output.source])) for output in network.outputs]
    for stage, output in enumerate(network.outputs):
        own = [place for place in needed(network, [output.source]) if place not in earlier]
        taken = sorted({source for place in own for source in network.operators[place].sources} & set(earlier))
        if stage:
            found = list(_problems(network, stage, own, taken, earlier))
            if not found and costs[stage] < costs[stage - 1]:
                found.append(
                    f"output {output.name}: takes {costs[stage]} multiplications from the input, and output "
                    f"{network.outputs[stage - 1].name}, which comes before it, {costs[stage - 1]}; give the outputs "
                    "in the order of their exits, the cheapest first"
                )
            problems += found
            left.append(taken[0] if taken else 0)
        parts.append(own)
        earlier |= dict.fromkeys(own, stage)
    refuse(problems)
    stages = []
    for stage, (own, output) in enumerate(zip(parts, network.outputs, strict=True)):
        leaves = left[stage] if stage < len(left) else None
        stages.append(_part(network, own, left[stage - 1] if stage else None, output, leaves))
    return stages


def needed(network: IntegerNetwork, places: Iterable[int]) -> list[int]:
    """The places of all operators that the streams made at `places` need, these included, in order."""
    found, stack = set[int](), list(places)
    while stack:
        place = stack.pop()
        if place not in found:
            found.add(place)
            stack += network.operators[place].sources
    return sorted(found)


def multiplications(network: IntegerNetwork, places: Collection[int] | None = None) -> int:
    """How often a frame takes a product of a weight, in the operators at `places` (None: in all).

    An average pooling's weights are all 1: it only adds.
    """
    return sum(
        operator.weights.size * operator.output.shape.pixels
        for place, operator in enumerate(network.operators)
        if isinstance(operator, Matrix) and (places is None or place in places) and not (operator.weights == 1).all()
    )


def _problems(
    network: IntegerNetwork, stage: int, own: list[int], taken: list[int], earlier: dict[int, int]
) -> Iterator[str]:
    """Why the output of `stage` cannot be computed from one stream that the stage before leaves."""
    name, before = network.outputs[stage].name, network.outputs[stage - 1].name
    if not own:
        yield (
            f"output {name}: earlier outputs need all that it is computed of, so that nothing is left for its stage; "
            "give the outputs in the order in which the exits follow each other"
        )
        return
    for place in taken:
        operator = network.operators[place]
        takes = next(network.operators[user].name for user in network.users_of(place) if user in own)
        if isinstance(operator, Entry):
            yield (
                f"output {name}: layer {takes} takes the network's input again, which is gone by then; let the exit go "
                f"on from what output {before} is computed of, or export it as a network of its own"
            )
        elif earlier[place] != stage - 1:
            yield (
                f"output {name}: layer {takes} goes on from layer {operator.name}, which is left behind before output "
                f"{before}; let it go on from a layer that output {before} brings"
            )
        elif not -_INT32 <= operator.output.low <= operator.output.high < _INT32:
            yield (
                f"output {name}: layer {takes} goes on from layer {operator.name}, whose integers are wider than 32 "
                "bits; quantise them before the exits part"
            )
    if len(taken) > 1:
        names = ", ".join(network.operators[place].name for place in taken)
        yield (
            f"output {name}: it goes on from {len(taken)} layers ({names}) of earlier outputs, and a stage leaves the "
            "features of one behind; let the exits part at one layer"
        )


def _part(
    network: IntegerNetwork, own: list[int], entered: int | None, output: Output, leaves: int | None
) -> IntegerNetwork:
    """The operators `own` as a network that begins at the stream made at `entered`."""
    operators = [network.operators[place] for place in own]
    places = {place: at for at, place in enumerate(own)}
    if entered is not None:
        features = network.operators[entered]
        operators.insert(0, Entry(features.name, (), features.output, 1.0))
        places = {place: at + 1 for place, at in places.items()} | {entered: 0}
    moved = tuple(
        replace(operator, sources=tuple(places[source] for source in operator.sources)) for operator in operators
    )
    outputs = [replace(output, source=places[output.source])]
    if leaves is not None:
        channels = network.operators[leaves].output.shape.channels
        ones, zeros = np.ones(channels), np.zeros(channels)
        outputs.append(Output(network.operators[leaves].name, places[leaves], ones, zeros, 0.0, False))
    return IntegerNetwork(moved, tuple(outputs))
