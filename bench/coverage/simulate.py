"""Builds random networks, several in a Verilator build, and holds what they give under stalls against the reference."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from edgesight.bench.coverage.csim import csim_answers, without_softmax
from edgesight.bench.coverage.random_build import Layer
from edgesight.bench.coverage.random_networks import CHANNELS, Drawn, draw
from edgesight.hls.cpp.statements import NotStated
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import CompileError, Integers, Reals
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import slowest
from edgesight.sim.streams import Passed, StreamsError, Traffic, simulate

TOGETHER = 12  # networks a build
TRUTHS = 16  # inputs of a network by truth, reference and csim
_ROUNDING = 1e-9  # share of the largest value by which two sums in double precision may differ
FRAMES, RUNS = 3, 5  # a network's frames, and how often they pass: once at full speed, then with stalls
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """How a network did. `draw(seed, index, blocks, channels)` draws it again; the fewest of both that fail, or all."""

    seed: int
    index: int
    blocks: int
    channels: int
    cycles: int  # asked of the folding
    layers: tuple[Layer, ...]
    frames: int
    runs: int
    error: (
        str  # what differed first: the compiler, the reference, csim, or a run of the RTL with its stalls; or nothing
    )
    csim: bool  # whether hls4ml's C++ was held against the reference
    bound: int = 0  # of the interval, in cycles
    interval: float = 0.0  # measured at full speed


def run_random(
    numbers: range, seed: int, folder: Path, progress: Progress = print, csim_every: int = 10
) -> list[Result]:
    """Draw these networks of a seed, build them in `folder` and run each; a failing one is shrunk and kept there.

    What is kept: its result as JSON, with the numbers that draw it again, and the QONNX file. Of every `csim_every`
    networks one is compiled as C++, too: the first that hls4ml can state. Raises StreamsError when a tool is missing
    or fails.
    """
    results: list[Result] = []
    for start in range(0, len(numbers), TOGETHER):
        began = time.monotonic()
        drawn = [draw(seed, index) for index in numbers[start : start + TOGETHER]]
        group = folder / f"networks-{seed}-{drawn[0].index}"
        wanted = -(-(start + len(drawn)) // csim_every) - sum(result.csim for result in results)
        for result in run_networks(drawn, group, wanted):
            results.append(_shrunk(result, folder) if result.error else result)
        shutil.rmtree(group, ignore_errors=True)
        wrong = sum(1 for result in results if result.error)
        progress(f"{len(results)} of {len(numbers)} networks, {wrong} wrong; {time.monotonic() - began:.0f} s")
    for result in results:
        if result.error:
            kept = folder / f"failed-{result.seed}-{result.index}"
            kept.with_suffix(".json").write_text(json.dumps(asdict(result), indent=1) + "\n")
            model = draw(result.seed, result.index, result.blocks, result.channels).model
            onnx.save(model, str(kept.with_suffix(".onnx")))
    return results


def run_networks(drawn: Sequence[Drawn], folder: Path, csim: int = 0) -> list[Result]:
    """Run networks in one build in `folder`, which is made anew; `csim` of them as C++, as far as it can state them."""
    shutil.rmtree(folder, ignore_errors=True)
    forms, results = {}, {}
    for each in drawn:
        try:
            network, _ = integer_network(each.model)
            error = _differs_from_truth(network, each)
            stated = csim > 0 and not error
            if stated:
                stated, error = _csim(network, each, folder.with_name(f"{folder.name}-csim"))
                csim -= stated
            results[each.index] = _result(each, error, stated)
            forms[each.index] = network, emit_network(f"n{each.index}", network, each.folding)
        except CompileError as refused:
            results[each.index] = _result(each, f"refused: {refused}", False)
    sources: dict[str, str] = {}
    traffic = []
    for each in drawn:
        if each.index in forms:
            network, one = forms[each.index]
            sources.update(one.project())
            traffic.append(traffic_of(one, network, inputs_of(network, FRAMES, [each.seed, each.index, 1])))
    passed = simulate(folder, sources, traffic, frames=FRAMES, seed=drawn[0].seed, runs=RUNS) if traffic else []
    for index, (network, one) in forms.items():
        results[index] = _ran(results[index], network, one, [run for run in passed if run.module == one.name])
    return list(results.values())


def _differs_from_truth(network: IntegerNetwork, drawn: Drawn) -> str:
    """What differs between the fast reference and the file's own execution in float64; empty where nothing does."""
    inputs = inputs_of(network, TRUTHS, [drawn.seed, drawn.index, 2])
    values: Reals = np.asarray(inputs * network.entry.scale, np.float64)
    sizes = [dim.dim_value for dim in drawn.model.graph.input[0].type.tensor_type.shape.dim][1:]
    truths = Truth(drawn.model)(values.transpose(0, 3, 1, 2).reshape(len(values), *sizes))
    for output, found, truth in zip(network.outputs, Reference(network)(values), truths, strict=True):
        wanted = np.moveaxis(truth.reshape(len(truth), -1, *truth.shape[2:]), 1, -1).reshape(len(truth), -1)
        made = found.reshape(len(found), -1)
        if wanted.shape != made.shape:  # the index of the largest is computed by the host
            made = made.reshape(len(made), -1, network.operators[output.source].output.shape.channels).argmax(-1)
            if not np.array_equal(made.ravel(), wanted.ravel()):
                return f"output {output.name}: another one is the largest than in the truth"
            continue
        limit = output.error + _ROUNDING * float(np.abs(wanted).max())
        worst = float(np.abs(made - wanted).max())
        if worst > limit:
            return f"output {output.name}: {worst:g} from the truth, {limit:g} are allowed"
    return ""


def _csim(network: IntegerNetwork, drawn: Drawn, folder: Path) -> tuple[bool, str]:
    """Whether hls4ml can state the network, and what its C++ answers otherwise than the reference."""
    inputs = inputs_of(network, TRUTHS, [drawn.seed, drawn.index, 3])
    values: Reals = np.asarray(inputs * network.entry.scale, np.float64)
    bare = without_softmax(network)
    try:
        answers, _ = csim_answers(bare, values, folder)
    except NotStated:
        return False, ""
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for output, made, wanted in zip(bare.outputs, answers, Reference(bare)(values), strict=True):
        if not np.array_equal(made.reshape(len(made), -1), wanted.reshape(len(wanted), -1)):
            return True, f"csim: output {output.name} differs from the reference"
    return True, ""


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


def inputs_of(network: IntegerNetwork, count: int, seed: Sequence[int]) -> Integers:
    """`count` random frames for a network, every fourth value at a bound."""
    rng, entry = np.random.default_rng(seed), network.entry.output
    shape = (count, entry.shape.height, entry.shape.width, entry.shape.channels)
    inputs: Integers = rng.integers(entry.low, entry.high, shape, endpoint=True)
    return np.where(rng.random(shape) < 0.25, rng.choice([entry.low, entry.high], shape), inputs)


def _result(drawn: Drawn, error: str, csim: bool) -> Result:
    where = {"seed": drawn.seed, "index": drawn.index, "blocks": drawn.blocks, "channels": drawn.channels}
    return Result(**where, cycles=drawn.folding.cycles, layers=drawn.layers, frames=0, runs=0, error=error, csim=csim)


def _ran(result: Result, network: IntegerNetwork, emitted: EmittedNetwork, passed: Sequence[Passed]) -> Result:
    """With what the RTL's runs say."""
    wrong = next((run for run in passed if run.error), None)
    return replace(
        result,
        frames=FRAMES,
        runs=len(passed),
        error=result.error or ("" if wrong is None else f"run {wrong.run} ({wrong.stalls}): {wrong.error}"),
        bound=slowest(network, emitted.units)[0],
        interval=passed[0].interval,
    )


def _shrunk(result: Result, folder: Path) -> Result:
    """The same with as few blocks, and then as few channels, as fail."""
    smallest = result
    for blocks, channels in [(b, c) for b in range(1, result.blocks + 1) for c in (2, 4, CHANNELS)]:
        try:
            again = run_networks([draw(result.seed, result.index, blocks, channels)], folder / "shrinking", 1)[0]
        except StreamsError:
            continue
        if again.error:
            smallest = again
            break
    shutil.rmtree(folder / "shrinking", ignore_errors=True)
    return smallest
