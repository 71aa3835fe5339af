"""Builds random networks, several in a Verilator build, and holds what they give under stalls against the reference."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgesight.bench.coverage.random_networks import Drawn, draw
from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Operator,
    Scale,
    Stream,
    Threshold,
    Upsample,
)
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.network import Integers
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import is_dense, is_pointwise, slowest
from edgesight.sim.streams import Passed, StreamsError, Traffic, simulate

TOGETHER = 12  # networks a build
FRAMES, RUNS = 3, 5  # a network's frames, and how often they pass: once at full speed, then with stalls
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Layer:
    """One operator of a network, for the table of what is covered; `bits` of weights where it has them, else 0."""

    kind: str
    weight_bits: int
    input_bits: int
    output_bits: int


@dataclass(frozen=True)
class Result:
    """How a network did. `draw(seed, index, blocks)` draws it again; `blocks` are the fewest that fail, or all."""

    seed: int
    index: int
    blocks: int
    cycles: int  # asked of the folding
    layers: tuple[Layer, ...]
    frames: int
    runs: int
    error: str  # of the first run that failed, with its stalls; empty where all were exact
    bound: int  # of the interval, in cycles
    interval: float  # measured at full speed


def run_random(count: int, seed: int, folder: Path, progress: Progress = print) -> list[Result]:
    """Draw `count` networks, build them in `folder` and run each; a failing one is shrunk and kept there as JSON.

    Raises StreamsError when a tool is missing or fails.
    """
    results: list[Result] = []
    for start in range(0, count, TOGETHER):
        began = time.monotonic()
        drawn = [draw(seed, index) for index in range(start, min(start + TOGETHER, count))]
        group = folder / f"networks-{seed}-{start}"
        for result in run_networks(drawn, group):
            results.append(_shrunk(result, folder) if result.error else result)
        shutil.rmtree(group)
        wrong = sum(1 for result in results if result.error)
        progress(f"{len(results)} of {count} networks, {wrong} wrong; {time.monotonic() - began:.0f} s")
    for result in results:
        if result.error:
            kept = folder / f"failed-{result.seed}-{result.index}.json"
            kept.write_text(json.dumps(asdict(result), indent=1) + "\n")
    return results


def run_networks(drawn: Sequence[Drawn], folder: Path) -> list[Result]:
    """Run networks in one build in `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    emitted = [emit_network(f"n{each.index}", each.network, each.folding) for each in drawn]
    sources: dict[str, str] = {}
    for one in emitted:
        sources.update(one.project())
    traffic = [
        traffic_of(one, each.network, inputs_of(each.network, [each.seed, each.index, 1]))
        for one, each in zip(emitted, drawn, strict=True)
    ]
    passed = simulate(folder, sources, traffic, frames=FRAMES, seed=drawn[0].seed, runs=RUNS)
    results = []
    for each, one in zip(drawn, emitted, strict=True):
        results.append(_result(each, one, [run for run in passed if run.module == one.name]))
    return results


def traffic_of(emitted: EmittedNetwork, network: IntegerNetwork, inputs: Integers) -> Traffic:
    """The beats of `inputs` [N, H, W, C], and of what the reference makes of them."""
    entry = network.entry.output
    given = Reference(network).integers(inputs)
    streams = [network.operators[output.source].output for output in network.outputs]
    return Traffic(
        module=emitted.name,
        taken=inputs.reshape(-1, entry.shape.channels),
        taken_bits=entry.bits,
        given=[values.reshape(-1, stream.shape.channels) for values, stream in zip(given, streams, strict=True)],
        given_bits=[stream.bits for stream in streams],
        latency=sum(unit.cycles for unit in emitted.units),
    )


def inputs_of(network: IntegerNetwork, seed: Sequence[int]) -> Integers:
    """Random frames for a network, every fourth value at a bound."""
    rng, entry = np.random.default_rng(seed), network.entry.output
    shape = (FRAMES, entry.shape.height, entry.shape.width, entry.shape.channels)
    inputs: Integers = rng.integers(entry.low, entry.high, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.25, rng.choice([entry.low, entry.high], shape), inputs)


def layers_of(network: IntegerNetwork) -> Iterator[Layer]:
    """What a network consists of, its entry left out."""
    for operator in network.operators[1:]:
        source = network.sources_of(operator)[0].output
        bits = 0
        if isinstance(operator, Matrix):
            values = set(np.unique(operator.weights).tolist())
            bits = 1 if values <= {-1, 1} else Stream(source.shape, min(values), max(values)).bits
        yield Layer(_kind(operator, source), bits, source.bits, operator.output.bits)


def _kind(operator: Operator, source: Stream) -> str:
    match operator:
        case Matrix():
            if (operator.weights == 1).all() and operator.groups == source.shape.channels > 1:
                return "average"
            if is_dense(operator, source.shape) and operator.groups == 1:
                return "dense"
            if operator.groups > 1:
                return "depthwise" if operator.groups == source.shape.channels else "grouped"
            if is_pointwise(operator.window):
                return "pointwise"
            return "conv" if source.shape.height > 1 else "conv1d"
        case MaxPool():
            return "max_pool"
        case Upsample():
            return "upsample"
        case Add():
            return "add"
        case Concat():
            return "concat"
        case Threshold():
            return "threshold"
        case Scale():
            return "scale"
    raise TypeError(f"{type(operator).__name__} is not known here")


def _result(drawn: Drawn, emitted: EmittedNetwork, passed: Sequence[Passed]) -> Result:
    wrong = next((run for run in passed if run.error), None)
    return Result(
        seed=drawn.seed,
        index=drawn.index,
        blocks=drawn.blocks,
        cycles=drawn.folding.cycles,
        layers=tuple(layers_of(drawn.network)),
        frames=FRAMES,
        runs=len(passed),
        error="" if wrong is None else f"run {wrong.run} ({wrong.stalls}): {wrong.error}",
        bound=slowest(drawn.network, emitted.units)[0],
        interval=passed[0].interval,
    )


def _shrunk(result: Result, folder: Path) -> Result:
    """The same with as few blocks as fail."""
    for blocks in range(1, result.blocks):
        try:
            again = run_networks([draw(result.seed, result.index, blocks)], folder / "shrinking")[0]
        except StreamsError:
            continue
        if again.error:
            return again
    return result
