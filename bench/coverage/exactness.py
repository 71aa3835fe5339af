"""One example in all its forms: truth, fast reference, hls4ml's C++ and RTL under stalls, on the same inputs."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from edgesight.bench.coverage.csim import csim_answers, without_softmax
from edgesight.bench.coverage.float32 import float32
from edgesight.bench.coverage.simulate import traffic_of
from edgesight.hls.cpp.statements import NotStated
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.graph.maps import as_taken, real_outputs
from edgesight.hls.network import Integers, Reals
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan, slowest
from edgesight.sim.streams import Passed, simulate

INPUTS = 200
BATCH = 256  # of the fast reference, when it is timed
CYCLES = 4_000  # a frame that each layer may take; doubled until there are few multipliers
_MULTIPLIERS = 1_500  # of one network: Verilator takes minutes for more
_ROUNDING = 1e-9  # share of the largest value by which two sums in double precision may differ
_RUNS = 2  # of the RTL: at full speed, then with stalls


@dataclass(frozen=True)
class Exactness:
    """How the forms of one example compare, in inputs that differ; `stated`: why hls4ml has no C++ of it, or nothing.

    `single`: how the file in single precision compares (`float32.Float32`). `csim_ms` and `reference_ms` are of one
    input, on one thread. `error` is how far from the truth its logits may lie.
    `seconds`: what each step took.
    """

    name: str
    operators: dict[str, int]
    inputs: int
    rtl_inputs: int
    distinct: int
    top1: int
    truth: int
    csim: int
    rtl: int
    rtl_said: str
    not_stated: str
    error: float
    csim_ms: float
    reference_ms: float
    interval_cycles: float
    bound_cycles: int
    single: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def exactness(name: str, path: Path, folder: Path, rtl_inputs: int, entry: Format | None = None) -> Exactness:
    """Compile the QONNX file at `path` and compare its forms; what is built lies in `folder`, which is removed.

    Raises CompileError where it cannot be compiled, StreamsError where its RTL cannot be simulated.
    """
    clock = _Clock()
    network, notes = integer_network(path, entry)
    clock("compile")
    inputs = _draw(network)
    reference = Reference(network)
    values: Reals = np.asarray(inputs * network.entry.scale, np.float64)
    found = reference(values)
    given = reference.integers(inputs)
    clock("reference")
    model = onnx.load(str(path))
    truth = real_outputs(model, values, network.ends)
    wrong = _beyond(found, truth, network)
    clock("truth")
    single = float32(model, as_taken(model, values))
    clock("float32")
    not_stated, csim, csim_ms = "", 0, 0.0
    try:
        bare = without_softmax(network)
        answers, csim_ms = csim_answers(bare, values, folder / "csim")
        wanted = Reference(bare)(values)
        differ = [
            np.any(a.reshape(len(b), -1) != b.reshape(len(b), -1), axis=1) for a, b in zip(answers, wanted, strict=True)
        ]
        csim = int(np.any(differ, axis=0).sum())
    except NotStated as reason:
        not_stated = str(reason)
    clock("csim")
    reference_ms = _reference_ms(reference, inputs)
    clock("timing")
    passed, bound = _rtl(network, inputs[:rtl_inputs], folder / "rtl")
    clock("rtl")
    broken = [run for run in passed if run.error]
    shutil.rmtree(folder, ignore_errors=True)
    return Exactness(
        name=name,
        operators=dict(Counter(type(operator).__name__ for operator in network.operators[1:])),
        inputs=len(inputs),
        rtl_inputs=rtl_inputs,
        distinct=len(np.unique(np.concatenate([values.reshape(len(values), -1) for values in given], axis=1), axis=0)),
        top1=sum(int((a.reshape(len(a), -1).argmax(1) != b.reshape(len(b), -1).argmax(1)).sum())
                 for a, b in zip(found, truth, strict=True)),
        truth=wrong,
        csim=csim,
        rtl=len(broken),
        rtl_said=broken[0].error if broken else "",
        not_stated=not_stated,
        error=max(output.error for output in network.outputs),
        csim_ms=csim_ms,
        reference_ms=reference_ms,
        interval_cycles=passed[0].interval,
        bound_cycles=bound,
        single=asdict(single),
        seconds=clock.seconds,
        notes=notes,
    )  # fmt: skip


class _Clock:
    """Says what took how long: each call ends the step of that name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def __call__(self, step: str) -> None:
        now = time.monotonic()
        self.seconds[step], self._since = round(now - self._since, 1), now


def _draw(network: IntegerNetwork) -> Integers:
    """Inputs [N, H, W, C]: noise, and noise that changes slowly over the map, so that layers see more than averages."""
    rng, stream = np.random.default_rng(0), network.entry.output
    shape = (INPUTS, stream.shape.height, stream.shape.width, stream.shape.channels)
    noise = rng.random(shape)
    coarse = rng.random((INPUTS, -(-shape[1] // 4), -(-shape[2] // 4), shape[3]))
    slow = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, : shape[1], : shape[2]]
    mixed = np.where(np.arange(INPUTS)[:, None, None, None] % 2 == 0, noise, 0.7 * slow + 0.3 * noise)
    span = stream.high - stream.low + 1
    return np.asarray(np.minimum(stream.low + np.floor(mixed * span), stream.high), np.int64)


def _beyond(found: list[Reals], truth: list[Reals], network: IntegerNetwork) -> int:
    """Inputs of which an output lies further from the truth than its bound says."""
    wrong = np.zeros(len(found[0]), bool)
    for values, wanted, output in zip(found, truth, network.outputs, strict=True):
        flat, sought = values.reshape(len(values), -1), wanted.reshape(len(wanted), -1)
        limit = output.error + _ROUNDING * float(np.abs(sought).max())
        wrong |= (np.abs(flat - sought) > limit).any(axis=1)
    return int(wrong.sum())


def _reference_ms(reference: Reference, inputs: Integers) -> float:
    batch = inputs[np.arange(BATCH) % len(inputs)]
    with threadpool_limits(1):
        reference.integers(batch)
        spent = []
        for _ in range(3):
            began = time.perf_counter()
            reference.integers(batch)
            spent.append(time.perf_counter() - began)
    return float(np.median(spent)) * 1e3 / BATCH


def _rtl(network: IntegerNetwork, inputs: Integers, folder: Path) -> tuple[list[Passed], int]:
    cycles = CYCLES
    while sum(unit.multipliers for unit in plan(network, Folding(cycles, {})).values()) > _MULTIPLIERS:
        cycles *= 2
    emitted = emit_network("dut", network, Folding(cycles, {}))
    shutil.rmtree(folder, ignore_errors=True)
    traffic = traffic_of(emitted, network, inputs)
    passed = simulate(folder, emitted.project(), [traffic], frames=len(inputs), seed=1, runs=_RUNS, optimise=True)
    return passed, slowest(network, emitted.units)[0]
