"""Section `weights`: what it costs that weights are loaded at run time, and a second network that comes under traffic.

The price is that of the demo cascade's kernel with every layer loaded over the same kernel with fixed weights, all
memories of weights in block memory in both: so nothing is won or lost by where they lie. The second network stands in
for another training of the same shape: every layer has its weights and biases in another order, and another scale.

Words owned here: second training, roll-out.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from rich.console import Console

from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.kept import ROOT, Found
from edgesight.bench.report import Check
from edgesight.hls.cost.cells import Cells
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Runtime
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.onto import Base
from edgesight.hls.zoo import compile_zoo, foldings_of, names_of, shipped
from edgesight.host.fabric.base import Images, Records
from edgesight.host.fabric.csim import Logits
from edgesight.host.fabric.verilated import RollOut, VerilatedFabric
from edgesight.host.images import random_images
from edgesight.host.selftest import expected_records
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import build_library

_LUTS_MORE = 1.10  # times the look-up tables of fixed weights
_MS = 10.0  # that a roll-out may take
_MEMORIES = ("weight_memory.sv", "runtime_memory.sv")
_WORDS = "  logic [Width-1:0] words["
_COST, _TRAFFIC = "fashion-mnist", "digits"  # the shipped cascades: what one costs, and one that is soon simulated
_IMAGES, _TIMES, _AFTER = 100, 30, 100
_FIELDS = ("label", "margin", "stage", "error")
_QUANTILES = ((0.5, 0.3), (0.9, 0.5), (0.0, 0.0))  # by threshold set: shares of margins that a stage is unsure of
_SEED = 4


@dataclass(frozen=True)
class Traffic:
    """What became of the frames of a roll-out, each held against both versions."""

    frames: int
    lost: int
    wrong: int  # as neither version has it
    mixed: int  # of the old version behind one of the new
    old: int  # that the old version alone gives, and the new one
    new: int
    load_cycles: int
    exact_after: bool  # a run behind it is the second network's


def lacks(_: Asked) -> str | None:
    """What is missing, in words."""
    absent = missing_tools()
    return f"{', '.join(absent)} not found: install the simulation's tools" if absent else None


def section(_: Asked, folder: Path, console: Console) -> Found:
    """Simulate a roll-out and synthesise both kernels; raises BoardError or FabricError."""
    folder = folder.resolve()
    traffic, clock_mhz = rolled_out(folder / _TRAFFIC)
    milliseconds = traffic.load_cycles / (clock_mhz * 1e3)
    console.print(
        f"{traffic.frames} frames: {traffic.old} of the old version alone, then {traffic.new} of the new; loaded in "
        f"{milliseconds:.2f} ms at {clock_mhz:g} MHz (simulated)",
        highlight=False,
    )
    fixed, loaded = (taken(folder, runtime) for runtime in (None, Runtime()))
    console.print(f"fixed weights: {fixed}; at run time: {loaded}", highlight=False)
    body = {
        "traffic": asdict(traffic),
        "load_ms": milliseconds,
        "cost": {"kernel": _COST, "memories": "block", "fixed": asdict(fixed), "runtime": asdict(loaded)},
    }
    return Found(body, tuple(checks_of(traffic, milliseconds, fixed, loaded)))


def checks_of(traffic: Traffic, milliseconds: float, fixed: Cells, loaded: Cells) -> list[Check]:
    """All of it against its bars."""
    what = f"second network under traffic, {_TRAFFIC}"
    return [
        Check(f"{what}: frames lost", traffic.lost, 0, True, "frames", "simulated"),
        Check(f"{what}: frames of mixed version", traffic.mixed, 0, True, "frames", "simulated"),
        Check(f"{what}: frames that neither version gives", traffic.wrong, 0, True, "frames", "simulated"),
        Check(f"{what}: frames of the old one alone", traffic.old, 1, False, "frames", "simulated"),
        Check(f"{what}: frames of the new one alone", traffic.new, 1, False, "frames", "simulated"),
        Check(f"{what}: exact behind it", float(traffic.exact_after), 1, False, "of 1", "simulated"),
        Check(f"{what}: load", milliseconds, _MS, True, "ms", "simulated"),
        Check(f"weights at run time, {_COST}", loaded.luts / fixed.luts, _LUTS_MORE, True, "x LUT", "measured"),
    ]


def taken(folder: Path, runtime: Runtime | None) -> Cells:
    """What the kernel takes, its memories of weights as block memory."""
    recipe = shipped([_COST])[0]
    name = "fixed" if runtime is None else "runtime"
    foldings = foldings_of(recipe.cycles, runtime=dict.fromkeys(names_of(len(recipe.cycles)), runtime))
    package = compile_zoo(ROOT / "quant" / "zoo" / _COST, folder / name, foldings)
    sources = {file: content.decode() for file, content in package.sources().items()}
    for file in _MEMORIES:
        if file in sources:
            sources[file] = sources[file].replace(_WORDS, f'  (* ram_style = "block" *)\n{_WORDS}')
    return synthesised(sources, "kernel", folder, dsps=False)


def rolled_out(folder: Path) -> tuple[Traffic, float]:
    """A roll-out of a second training over the shipped one, and the kernel's clock in MHz."""
    recipe = shipped([_TRAFFIC])[0]
    zoo, second = ROOT / "quant" / "zoo" / _TRAFFIC, folder / "second"
    stages = names_of(len(recipe.cycles))
    foldings = foldings_of(recipe.cycles, runtime=dict.fromkeys(stages, Runtime()))
    first = compile_zoo(zoo, folder / "package", foldings)
    second.mkdir(parents=True, exist_ok=True)
    shutil.copy(zoo / "card.json", second)
    for stage in stages:
        onnx.save(second_training(onnx.load(str(zoo / f"{stage}.onnx"))), second / f"{stage}.onnx")
    base = Base.of(first.path, alone=False)
    other = base.put(folder / "other", lambda out: compile_zoo(second, out, base.foldings))
    build_library(first)
    images = random_images(first.kernel.input, _IMAGES, _SEED)
    sets = (np.arange(_IMAGES) % len(_QUANTILES)).astype(np.uint8)
    networks = [[path / f"{stage}.onnx" for stage in stages] for path in (zoo, second)]
    logits = [_logits(files, images) for files in networks]
    tables = [_table(each) for each in logits]
    wanted = [
        expected_records(each, np.array([table[int(row)] for row in sets], np.uint32))
        for each, table in zip(logits, tables, strict=True)
    ]
    fabric = VerilatedFabric(first)
    try:
        for row, thresholds in tables[0].items():
            fabric.set_thresholds(row, thresholds)
        frames = np.tile(images, (_TIMES, 1, 1, 1))
        done = fabric.roll_out(frames, np.tile(sets, _TIMES), other, tables[1], _AFTER)
        after = fabric.run(images, sets)
    finally:
        fabric.close()
    return _told(done, wanted, after), first.kernel.clock_mhz


def second_training(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights and biases in another order, and the first activation's scale halved."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    halved = False
    for node in model.graph.node:
        if node.op_type != "Quant":
            continue
        found = constants.get(node.input[0])
        if found is not None:
            values = numpy_helper.to_array(found)
            turned = np.ascontiguousarray(values[::-1] if values.ndim == 1 else values[:, ::-1][::-1])
            found.CopyFrom(numpy_helper.from_array(turned, found.name))
        elif not halved and node.input[0] not in [entry.name for entry in model.graph.input]:
            scale = numpy_helper.to_array(constants[node.input[1]]) / np.float32(2)
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(scale), "second_scale"))
            node.input[1] = "second_scale"
            halved = True
    return model


def _logits(files: list[Path], images: Images) -> list[Logits]:
    found = []
    for file in files:
        integers = Reference(integer_network(file)[0]).integers(images.astype(np.int64))[0]
        found.append(integers.reshape(len(images), -1).astype(np.int32))
    return found


def _table(logits: list[Logits]) -> dict[int, list[int]]:
    """Thresholds that leave every stage some frames, by row."""
    margins = [np.diff(np.sort(each.astype(np.int64), axis=1)[:, -2:], axis=1) for each in logits]
    return {
        row: [int(np.quantile(each, share)) for each, share in zip(margins, shares, strict=True)]
        for row, shares in enumerate(_QUANTILES)
    }


def _told(done: RollOut, wanted: list[Records], after: Records) -> Traffic:
    records = done.records
    old, new = (_same(records, each[records["tag"] % _IMAGES]) for each in wanted)
    only_old, only_new = np.flatnonzero(old & ~new), np.flatnonzero(new & ~old)
    begins = int(only_new[0]) if len(only_new) else len(records)
    return Traffic(
        frames=len(records),
        lost=len(records) - len(np.unique(records["tag"])),
        wrong=int((~(old | new)).sum()),
        mixed=int((only_old > begins).sum()),
        old=len(only_old),
        new=len(only_new),
        load_cycles=done.load_cycles,
        exact_after=bool(_same(after, wanted[1]).all()),
    )


def _same(records: Records, wanted: Records) -> np.ndarray:
    return np.asarray(np.all([records[name] == wanted[name] for name in _FIELDS], axis=0))
