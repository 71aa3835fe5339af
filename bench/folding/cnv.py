"""Section `cnv`: whole CNV networks at FINN's published foldings: cycles, answers and cells.

The networks are Brevitas' own, with the weights that a seed draws. Cells are those of all that the kernel takes,
weights and FIFOs with it; modules are synthesised one by one, as they stand in its hierarchy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from edgesight.bench.coverage.simulate import inputs_of, traffic_of
from edgesight.bench.folding import ours
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.layers import CNV_LARGE, CNV_SMALL, Layer
from edgesight.bench.folding.ours import FRAMES, Simulated
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.hls.compile import Network, compile_alone
from edgesight.hls.cost.cells import Cells
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.folding import Folding
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.workers import progress

BINARY, TERNARY = "cnv_1w1a", "cnv_2w2a"
_INTERVAL, _LATENCY = 32_768, 151_000  # cycles of CNV-W1A1
_BINARY = {"LUT": 29_500, "FF": 31_500, "BRAM36": 100}
_ZYNQ_7020 = {"LUT": 53_200, "BRAM36": 140}
_SEED = 6


def lacks(_: Asked) -> str | None:
    """What is missing, in words."""
    absent = missing_tools()
    return f"{', '.join(absent)} not found" if absent else None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Simulate and synthesise both; raises BoardError, CompileError, StreamsError."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with progress() as bar:
        task = bar.add_task("CNV", total=4)
        binary, ternary = (_example(name, folder) for name in (BINARY, TERNARY))
        fast = folded(binary, CNV_LARGE)
        cells = synthesised(fast.project(), ours.TOP, folder, dsps=False, by_modules=True)
        bar.advance(task)
        small = foldings(ternary, CNV_SMALL)
        path = _path(TERNARY, folder)
        kernel = compile_alone("cnv", Network("cnv", path, small), folder / "kernel")
        texts = {name: text.decode() for name, text in kernel.sources().items()}
        whole = synthesised(texts, "kernel", folder, dsps=False, by_modules=True)
        bar.advance(task)
        run = _simulated(binary, fast, folder)
        bar.advance(task)
        other = _simulated(ternary, folded(ternary, CNV_SMALL), folder)
        bar.advance(task)
    console.print(
        f"CNV-W1A1, large folding: {cells}; interval {run.interval:.0f}, latency {run.latency}", highlight=False
    )
    console.print(f"CNV-W2A2, small folding, with its cascade: {whole}; {other.interval:.0f} cycles", highlight=False)
    body = {
        BINARY: {"cells": asdict(cells), "run": asdict(run)},
        TERNARY: {"cells": asdict(whole), "run": asdict(other)},
    }
    return Found(body, tuple(checks_of(cells, run, whole, other)))


def checks_of(cells: Cells, run: Simulated, whole: Cells, other: Simulated) -> list[Check]:
    """Both networks against their bars."""
    large, small = "CNV-W1A1, large folding", "CNV-W2A2, small folding, with its cascade"
    checks = [
        Check(f"{large}: interval", run.interval, _INTERVAL, True, "cycles", "simulated"),
        Check(f"{large}: latency", run.latency, _LATENCY, True, "cycles", "simulated"),
        Check(
            "CNV: networks that answered wrongly", bool(run.error) + bool(other.error), 0, True, "networks", "simulated"
        ),
    ]
    for what, taken, bars in ((large, cells, _BINARY), (small, whole, _ZYNQ_7020)):
        found = {"LUT": taken.luts, "FF": taken.flip_flops, "BRAM36": taken.half_blocks / 2}
        checks += [Check(what, found[of], bar, True, of, "measured") for of, bar in bars.items()]
    return checks


def foldings(network: IntegerNetwork, layers: Mapping[str, Layer]) -> Folding:
    """What the layers' foldings ask of the network, whose matrices are in the same order."""
    matrices = [operator for operator in network.operators if isinstance(operator, Matrix)]
    reuse = {each.name: layer.reuse for each, layer in zip(matrices, layers.values(), strict=True)}
    return Folding(max(layer.cycles for layer in layers.values()), reuse)


def folded(network: IntegerNetwork, layers: Mapping[str, Layer]) -> EmittedNetwork:
    """The network as the compiler makes it so."""
    return emit_network(ours.TOP, network, foldings(network, layers))


def _simulated(network: IntegerNetwork, emitted: EmittedNetwork, folder: Path) -> Simulated:
    frames = traffic_of(emitted, network, inputs_of(network, FRAMES, [_SEED]))
    return ours.passed(folder, emitted.project(), frames)


def _path(name: str, folder: Path) -> Path:
    """The network's file, written anew."""
    from edgesight.bench.coverage.examples import EXAMPLES  # torch, which takes seconds

    path = folder / f"{name}.onnx"
    if not path.is_file():
        EXAMPLES[name].export(path)
    return path


def _example(name: str, folder: Path) -> IntegerNetwork:
    return integer_network(_path(name, folder))[0]
