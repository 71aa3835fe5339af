"""Section `interval`: the steady-state interval of whole networks over their folding bound, at three foldings.

Cascades are measured as kernels, with all that stands around their stages; networks of one output alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.coverage.simulate import inputs_of, traffic_of
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.cache import found
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.folding import Folding
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan, slowest
from edgesight.hls.zoo import compile_zoo, foldings_of, read_card, stages_in
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import random_images
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate
from edgesight.sim.verilate import build_library
from edgesight.sim.workers import progress

BAR = 1.02  # interval over bound
MULTIPLIERS = 1_500  # of a network at its fastest: Verilator takes minutes for more
SLOWER = (1, 4, 16)  # times, the foldings
KERNEL_FRAMES = 24
# Frames of a network: as many as take so many cycles, within bounds.
_CYCLES, _LEAST, _MOST = 600_000, 4, 24
_SEED = 0
# Networks as people have them, of `edgesight bench coverage`.
EXAMPLES = ("lenet5", "ecg", "jets", "autoencoder_4", "ds_cnn_4", "mobilenet_4", "resnet8_4", "cnv_2w2a")
# Of trained networks that have no quantiser at their input: the type that hls4ml's users give it.
_ENTRIES = {"qkeras_jettagging": Format(-(1 << 15), (1 << 15) - 1, 2.0**-10)}


@dataclass(frozen=True)
class Measured:
    """A network, or a stage of a cascade, at a folding. `latency`: cycles of the first frame, from its first pixel."""

    network: str
    slower: int  # than the fastest folding, times
    multipliers: int
    bound_cycles: int
    bound_layer: str
    interval_cycles: float
    latency_cycles: int
    error: str = ""

    @property
    def ratio(self) -> float:
        """Interval over bound."""
        return self.interval_cycles / self.bound_cycles


def lacks(asked: Asked) -> str | None:
    """What is missing, in words."""
    absent = missing_tools()
    return f"{', '.join(absent)} not found" if absent else None


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Measure every network; raises EdgeSightError where one cannot be compiled or simulated."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [*((path.name, path) for path in asked.zoos), *_files(asked, folder)]
    measured: list[Measured] = []
    with progress() as bar:
        task = bar.add_task("networks", total=len(jobs))
        for name, path in jobs:
            measured += cascade(name, path, folder) if path.is_dir() else network(name, path, folder)
            bar.advance(task)
    console.print(_table(measured))
    body: dict[str, Any] = {
        "seed": _SEED,
        "multipliers_at_most": MULTIPLIERS,
        "measured": [asdict(m) for m in measured],
    }
    if asked.trained is None:
        body["skipped"] = {"trained networks": "no folder of QONNX files was given"}
    return Found(body, tuple(checks_of(measured)))


def checks_of(measured: Sequence[Measured]) -> list[Check]:
    """The worst folding of each network against the bar, and whether any gave a wrong answer."""
    checks = []
    for name in dict.fromkeys(each.network for each in measured):
        worst = max((each for each in measured if each.network == name), key=lambda each: each.ratio)
        where = f"{name}, {worst.slower} x slower" if worst.slower > 1 else f"{name}, fastest"
        checks.append(Check(f"interval over bound, {where}", worst.ratio, BAR, True, "ratio", "simulated"))
    wrong = sum(bool(each.error) for each in measured)
    return [*checks, Check("networks that answered wrongly", wrong, 0, True, "foldings", "simulated")]


def fastest(network: IntegerNetwork, multipliers: int = MULTIPLIERS) -> int:
    """The fewest cycles a frame that a network reaches with so many multipliers: its bound there."""
    cycles = network.entry.output.shape.pixels
    while True:
        units = list(plan(network, Folding(cycles, {})).values())
        if sum(unit.multipliers for unit in units) <= multipliers:
            return slowest(network, units)[0]
        cycles = cycles * 5 // 4 + 1


def network(name: str, path: Path, folder: Path) -> list[Measured]:
    """A network of a QONNX file by itself, at each folding."""
    whole, _ = integer_network(path, _ENTRIES.get(name))
    quickest = fastest(whole)
    return [_network_at(name, whole, quickest, slower, folder) for slower in SLOWER]


def _network_at(name: str, whole: IntegerNetwork, quickest: int, slower: int, folder: Path) -> Measured:
    emitted = emit_network("dut", whole, Folding(quickest * slower, {}))
    bound, layer = slowest(whole, emitted.units)
    frames = min(max(_CYCLES // bound, _LEAST), _MOST)

    def measure(key: str) -> dict[str, Any]:
        work = folder / key
        shutil.rmtree(work, ignore_errors=True)
        traffic = traffic_of(emitted, whole, inputs_of(whole, frames, [_SEED]))
        passed = simulate(work, emitted.project(), [traffic], frames=frames, seed=_SEED, runs=1, optimise=True)[0]
        shutil.rmtree(work, ignore_errors=True)
        latency = round(passed.cycles - (frames - 1) * passed.interval) + 1
        return asdict(
            Measured(
                name, slower, sum(unit.multipliers for unit in emitted.units), bound, layer, passed.interval, latency,
                passed.error,
            )
        )  # fmt: skip

    return Measured(**found(folder, "verilator", {**emitted.project(), "run": f"{name} {slower} {frames}"}, measure))


def cascade(name: str, zoo: Path, folder: Path) -> list[Measured]:
    """Each stage of a zoo folder's cascade in its kernel, at each folding."""
    stages = stages_in(zoo, read_card(zoo))
    files = [zoo / f"stage{k}.onnx" for k in range(stages)]
    if not files or not all(file.is_file() for file in files):
        raise CompileError(f"{zoo}: has no stage0.onnx and those after it: give a cascade of networks of their own")
    quickest = [fastest(integer_network(file)[0]) for file in files]
    measured: list[Measured] = []
    for slower in SLOWER:
        package = compile_zoo(
            zoo, folder / "packages" / name / str(slower), foldings_of([q * slower for q in quickest])
        )
        measured += _kernel_at(name, package, slower, folder)
    return measured


def _kernel_at(name: str, package: Package, slower: int, folder: Path) -> Iterator[Measured]:
    def measure(_: str) -> dict[str, Any]:
        build_library(package)
        fabric = VerilatedFabric(package)
        try:
            intervals = fabric.measure_intervals(random_images(package.kernel.input, KERNEL_FRAMES, _SEED))
        finally:
            fabric.close()
        return {"intervals": [(each.interval_cycles, each.latency_cycles) for each in intervals]}

    rtl = {file: (package.path / file).read_text() for file in package.kernel.files if file.startswith("rtl/")}
    result = found(folder, "verilator", rtl, measure)
    for stage, (interval, latency) in zip(package.kernel.stages, result["intervals"], strict=True):
        multipliers = sum(layer.multipliers for layer in stage.layers)
        bound = stage.bound_cycles, stage.bound_layer
        yield Measured(f"{name} {stage.name}", slower, multipliers, *bound, interval, latency)


def examples(folder: Path) -> Iterator[tuple[str, Path]]:
    """QONNX files of the examples by name, written anew where they are not in `folder`."""
    from edgesight.bench.coverage.examples import EXAMPLES as KNOWN  # torch, which takes seconds

    folder.mkdir(parents=True, exist_ok=True)
    for name in EXAMPLES:
        path = folder / f"{name}.onnx"
        if not path.is_file():
            KNOWN[name].export(path)
        yield name, path


def _files(asked: Asked, folder: Path) -> Iterator[tuple[str, Path]]:
    """QONNX files by name: examples, which are written anew, and trained ones."""
    yield from examples(folder)
    if asked.trained is not None:
        files = sorted(asked.trained.glob("*.onnx"))
        if not files:
            raise CompileError(f"{asked.trained}: holds no QONNX files: name the folder of some")
        yield from ((path.stem, path) for path in files)


def _table(measured: Sequence[Measured]) -> PlainTable:
    columns = ("network", "slower", "multipliers", "bound", "by layer", "interval", "ratio", "one frame")
    table = PlainTable("Cycles a frame", columns, words=("network", "by layer"))
    for each in measured:
        table.add_row(
            each.network, str(each.slower), str(each.multipliers), str(each.bound_cycles), each.bound_layer,
            f"{each.interval_cycles:.0f}", f"{each.ratio:.3f}", str(each.latency_cycles),
        )  # fmt: skip
    return table
