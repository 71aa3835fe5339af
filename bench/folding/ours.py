"""A layer as our compiler emits it: its sources without the weights' memory, and its own simulation."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgesight.bench.coverage.simulate import inputs_of, traffic_of
from edgesight.bench.folding.cache import found
from edgesight.bench.folding.layers import NAME, Layer, network_of
from edgesight.bench.folding.synthesis import synthesised
from edgesight.hls.cost.cells import Cells
from edgesight.hls.folding import Folding
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import Unit
from edgesight.sim.streams import Traffic, simulate

TOP = "ours"
FRAMES = 3  # of a simulation
WORK = "simulation"  # the folder that it is built in, whose name is in the sources that read a memory by its path
# A memory of weights with the signals to it, as hls/rtl/network.py writes them.
_MEMORY = re.compile(
    r"  logic (?P<name>\w+_weight)_en;\n  logic (?P<address>\[\d+:0\]) \w+_addr;\n"
    r"  logic (?P<data>\[\d+:0\]) \w+_data;\n"
    r"  weight_memory #\([^;]*;\n"
)
_SEED = 5


@dataclass(frozen=True)
class Simulated:
    """Frames through a module: cycles to the end of the first, and from one to the next; what was wrong, if so."""

    latency: int
    interval: float
    error: str


def emitted(layer: Layer) -> EmittedNetwork:
    """The layer as the compiler makes it where it is asked for as many cycles an output pixel.

    Its pixels come in beats of as many channels as the other side's, as they do behind a folded layer.
    """
    beat = layer.beat if layer.beat < layer.channels else None
    return emit_network(TOP, network_of(layer), Folding(layer.cycles, {NAME: layer.reuse}), beat)


def products(network: EmittedNetwork) -> Unit:
    """The unit of the layer's products."""
    return next(unit for unit in network.units if unit.multipliers)


def without_weights(sources: Mapping[str, str]) -> dict[str, str]:
    """The same with the memory of the weights left outside, at ports; raises CompileError where it is not found."""
    text = sources[f"{TOP}.sv"]
    found = list(_MEMORY.finditer(text))
    if len(found) != 1:
        raise CompileError(f"the emitted layer has {len(found)} memories of weights: mend how they are found")
    name, address, data = found[0].group("name", "address", "data")
    signals = (("output", "en_o", ""), ("output", "addr_o", address), ("input", "data_i", data))
    ports = "".join(f"  {way} logic {bits} {name}_{port},\n" for way, port, bits in signals)
    wires = "".join(f"  logic {bits} {name}_{port[:-2]};\n" for _, port, bits in signals)
    wires += f"  assign {name}_en_o = {name}_en;\n  assign {name}_addr_o = {name}_addr;\n"
    wires += f"  assign {name}_data = {name}_data_i;\n"
    text = text[: found[0].start()] + wires + text[found[0].end() :]
    text = text.replace("  input  logic clk_i,\n", f"  input  logic clk_i,\n{ports}", 1)
    kept = {file: made for file, made in sources.items() if not file.endswith("_weights.mem")}
    return {**kept, f"{TOP}.sv": text}


def taken(layer: Layer, folder: Path) -> Cells:
    """What the layer takes, its weights outside."""
    return cheaper(without_weights(emitted(layer).project()), folder)


def cheaper(sources: Mapping[str, str], folder: Path) -> Cells:
    """What module TOP takes: the cheaper one of letting Yosys make DSPs of products and forbidding it."""
    free = synthesised(sources, TOP, folder)
    if not free.dsps:
        return free
    return min(free, synthesised(sources, TOP, folder, dsps=False), key=lambda cells: cells.cost)


def traffic(layer: Layer) -> Traffic:
    """Random frames of the layer in whole pixels, and what comes of them."""
    network = network_of(layer)
    return traffic_of(emitted(layer), network, inputs_of(network, FRAMES, [_SEED, layer.lanes]))


def simulated(layer: Layer, folder: Path) -> Simulated:
    """The layer's RTL in `folder`, with frames through it."""
    frames = traffic(layer)
    in_beats = replace(frames, taken=frames.taken.reshape(-1, layer.beat))
    return passed(folder, emitted(layer).project(), in_beats)


def passed(folder: Path, sources: Mapping[str, str], frames: Traffic) -> Simulated:
    """The frames through a module, at full speed and under stalls; found before, it stands."""
    beats = [frames.taken, *frames.given]
    traffic = "".join(hashlib.sha256(values.tobytes()).hexdigest() for values in beats)

    def measured(_: str) -> dict[str, Any]:
        work = folder / WORK
        shutil.rmtree(work, ignore_errors=True)
        runs = simulate(work, sources, [frames], frames=FRAMES, seed=_SEED, runs=2, optimise=True)
        shutil.rmtree(work, ignore_errors=True)
        wrong = next((f"run {run.run} ({run.stalls}): {run.error}" for run in runs if run.error), "")
        full = runs[0]
        return asdict(Simulated(round(full.cycles - (FRAMES - 1) * full.interval) + 1, full.interval, wrong))

    return Simulated(**found(folder, "verilator", {**sources, "traffic": f"{frames.module} {traffic}"}, measured))
