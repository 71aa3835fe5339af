"""Measures what a split is planned from: the times of a network's layers on this machine, and the cycles of a kernel.

Each layer of an ONNX network (a part, see `edgesight.plan.split.parts`) runs by itself on ONNX Runtime with what the
layers before it really produced, and the median over repeats is its time. ONNX Runtime's own profile would time the
nodes that its optimiser makes of the file's, which need not end where the network can be cut. A network that Brevitas
exported (QONNX) is measured by its export, and what its quantisers quantise is counted in their bits when it is handed
over. A kernel's stages take the cycles that the simulated RTL takes.
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgesight.host.files import sha256
from edgesight.plan.profile import Device, PlanError, checked
from edgesight.plan.split.measured import MeasuredExit, MeasuredLayer, MeasuredNetwork
from edgesight.plan.split.parts import Graph, Part, Step, exit_chains, no_step, tensors_crossing

if TYPE_CHECKING:
    from edgesight.host.package import Package


def measure_onnx(  # noqa: PLR0913 - each is a fact of the measurement
    path: Path,
    device: str,
    *,
    repeats: int = 15,
    threads: int = 1,
    input_bits: int | None = None,
    tensor_bits: int | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    step: Step = no_step,
) -> MeasuredNetwork:
    """Layer times, one image at a time, of the ONNX or QONNX network at `path`, whose outputs are its exits.

    The medians of `repeats` runs with `threads` threads on this machine, which the result calls `device`: of one
    thread's processor time, or of the time that passes where there are more. `input_bits` and `tensor_bits` count the
    elements of the input, and of tensors that no quantiser gives bits, as sent in so many bits; by default they are
    counted as they lie in memory. What that does to accuracy is not measured here.

    `inputs` are run instead of random ones; `shapes` are those of random ones whose sizes the network leaves open. A
    batch that is left open is 1 otherwise; other sizes have to be given. Random integers that name rows of a table
    (`Gather`) are within it. `step` is called after each repeat.

    Layers run apart take longer than in one piece, where ONNX Runtime joins them: their times are scaled so that those
    to the last exit add up to what it takes whole.

    Raises PlanError for an input or a shape that the network does not take, for a file that is no network, that ONNX
    Runtime cannot run, or whose exits don't branch off one trunk; and for ONNX or ONNX Runtime missing.
    """
    machine = checked({"name": device}, Device, "device")
    _check_counts(path, repeats, threads)
    for name, bits in (("input_bits", input_bits), ("tensor_bits", tensor_bits)):
        if bits is not None and not 1 <= bits <= 64:
            raise PlanError(f"{path}: {name} is {bits}; give 1 to 64")
    graph = Graph(path, threads)
    chains = exit_chains(path, graph)
    last = next(reversed(chains.values()))
    given = graph.sample(inputs or {}, shapes or {})
    values, times, whole = graph.run(repeats, last, next(reversed(chains)), given, step)
    apart = math.fsum(times[part.name] for part in last)
    scale = whole / apart if apart > 0 else 1.0

    def size(tensors: Iterable[str]) -> int:
        total = 0
        for tensor in tensors:
            value = values[tensor]
            width = graph.bits.get(tensor) or (input_bits if tensor in graph.inputs else tensor_bits)
            total += math.ceil(value.size * (width or value.itemsize * 8) / 8)
        return total

    def layer(part: Part, crossing: int) -> MeasuredLayer:
        return MeasuredLayer(name=part.name, ms=times[part.name] * scale, output_bytes=crossing)

    outputs = list(chains)
    trunk = chains[outputs[-1]]
    crossing = [size(tensors) for tensors in tensors_crossing(trunk, graph.inputs, outputs[-1])]
    exits = []
    for output in outputs:
        chain = chains[output]
        after = next((at for at, part in enumerate(chain) if at >= len(trunk) or part is not trunk[at]), len(chain))
        own = [size(tensors) for tensors in tensors_crossing(chain, graph.inputs, output)]
        if own[: min(after, len(chain))] != crossing[: min(after, len(chain))]:
            raise PlanError(
                f"{path}: exit {output} takes tensors past its branch: cuts before it can't be counted once"
                "; leave this exit out"
            )
        branch = own[after] if after < len(chain) and own[after] != crossing[after] else None
        exits.append(
            MeasuredExit(
                name=output,
                after=after,
                layers=tuple(layer(part, own[after + at + 1]) for at, part in enumerate(chain[after:])),
                branch_bytes=branch,
                answer_bytes=values[output].nbytes,
            )
        )
    sent = [
        f"{what} counted in {bits} bits" for what, bits in (("input", input_bits), ("tensors", tensor_bits)) if bits
    ]
    return MeasuredNetwork(
        name=path.stem,
        sha256=graph.sha256,
        device=machine,
        obtained="measured",
        origin=", ".join(
            [
                f"{path.name}, each layer by itself, scaled to the run in one piece",
                f"median of {repeats} runs of one image",
                *_where(threads),
                *sent,
            ]
        ),
        whole_ms=whole,
        apart_ms=apart,
        input_bytes=size(graph.inputs),
        layers=[layer(part, crossing[at + 1]) for at, part in enumerate(trunk)],
        exits=exits,
    )


@dataclass(frozen=True)
class Whole:
    """A network as it runs in one piece, to all its outputs."""

    ms: float
    load_ms: float  # until ONNX Runtime had it ready
    memory_bytes: int  # of the machine, whoever uses them
    origin: str  # how and on what it was measured, in words


def measure_whole(
    path: Path,
    *,
    repeats: int = 15,
    threads: int = 1,
    inputs: Mapping[str, np.ndarray] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    step: Step = no_step,
) -> Whole:
    """Time of the ONNX or QONNX network at `path` in one piece: as `measure_onnx` measures, whatever its exits.

    Raises PlanError as `measure_onnx` does.
    """
    _check_counts(path, repeats, threads)
    graph = Graph(path, threads)
    ms, load_ms = graph.run_whole(repeats, graph.sample(inputs or {}, shapes or {}), step)
    origin = ", ".join([f"{path.name} in one piece", f"median of {repeats} runs", *_where(threads)])
    return Whole(ms, load_ms, memory_here(), origin)


def measure_shapes(
    path: Path,
    *,
    shapes: Sequence[Mapping[str, Sequence[int]]],
    repeats: int = 15,
    threads: int = 1,
    step: Step = no_step,
) -> list[Whole]:
    """As `measure_whole`, for each of these `shapes` of the inputs."""
    return [measure_whole(path, repeats=repeats, threads=threads, shapes=given, step=step) for given in shapes]


def memory_here() -> int:
    """Bytes of memory of this machine, whoever uses them."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_counts(path: Path, repeats: int, threads: int) -> None:
    for name, value in (("repeats", repeats), ("threads", threads)):
        if value < 1:
            raise PlanError(f"{path}: {name} is {value}; give at least 1")


def _where(threads: int) -> list[str]:
    import onnxruntime

    clock = "processor time of one thread" if threads == 1 else f"{threads} threads"
    return [clock, _processor(), f"ONNX Runtime {onnxruntime.__version__}", time.strftime("%Y-%m-%d")]


def measure_package(package: Package, device: str = "fabric", *, images: int = 8, seed: int = 0) -> MeasuredNetwork:
    """The stages of a kernel package as layers, each with the cycles that the simulated RTL takes, over its clock.

    A stage runs whole, so that it is one layer, and the next stage takes the frame again: the frame is what is handed
    over. Needs the Verilated library; raises FabricError, naming the command that builds it, where there is none.
    """
    from edgesight.host.fabric.verilated import VerilatedFabric

    machine = checked({"name": device}, Device, "device")
    kernel = package.kernel
    fabric = VerilatedFabric(package)
    try:
        frames = np.random.default_rng(seed).integers(0, 256, (images, *kernel.input.shape), np.uint8)
        reached = [interval.latency_cycles for interval in fabric.measure_intervals(frames)]
    finally:
        fabric.close()
    cycles = [reached[0], *(late - early for early, late in itertools.pairwise(reached))]
    layers = [
        MeasuredLayer(name=stage.name, ms=count / (kernel.clock_mhz * 1e3), output_bytes=kernel.input.frame_bytes)
        for stage, count in zip(kernel.stages, cycles, strict=True)
    ]
    return MeasuredNetwork(
        name=kernel.name,
        sha256=sha256(kernel.model_dump_json().encode()),
        device=machine,
        obtained="simulated",
        origin=(
            f"kernel package {kernel.name}, build {kernel.build_hash}: cycles of its RTL at {kernel.clock_mhz:g} MHz"
        ),
        input_bytes=kernel.input.frame_bytes,
        layers=layers,
        exits=[
            MeasuredExit(name=stage.name, after=number + 1, answer_bytes=8)
            for number, stage in enumerate(kernel.stages)
        ],
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
