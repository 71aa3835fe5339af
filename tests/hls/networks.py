"""What the compiler's tests share: truth, csim and RTL of one network without a cascade around it."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgesight.bench.coverage.simulate import traffic_of
from edgesight.hls import emit, qonnx_graph
from edgesight.hls.compile import Folding, convert
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.truth import Truth
from edgesight.hls.layers import Layer
from edgesight.sim.streams import Traffic, simulate

Pixels = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]


def images(shape: tuple[int, ...], count: int = 8, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random images uint8 [N, H, W, C] for a network's input shape (C, H, W) or (F,)."""
    height, width, channels = (*shape[1:], shape[0]) if len(shape) == 3 else (1, 1, shape[0])
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def compile_alone(path: Path, folder: Path, module: str = "net", cycles: int = 500) -> tuple[list[Layer], Any]:
    """Hardware layers and ModelGraph of one QONNX file; nothing is written to `folder` yet."""
    return convert(qonnx_graph.load(path), module, Folding(cycles, {}), folder)


def truth(path: Path, pixels: Pixels) -> Reals:
    """Outputs [N, values] of the unmodified file in double precision, of an output map channels first."""
    model = onnx.load(path)
    sizes = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    values = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), *sizes) / 256
    return np.asarray(Truth(model)(values)[0], np.float64).reshape(len(pixels), -1)


def run_reference(layers: list[Layer], pixels: Pixels) -> Reals:
    """Outputs [N, values] of the integer network that the layers are of: what RTL and csim are to compute."""
    network = layers[0].network
    shape = network.entry.output.shape
    values = pixels.reshape(len(pixels), shape.height, shape.width, shape.channels) / 256
    return Reference(network)(values)[0].transpose(0, 3, 1, 2).reshape(len(pixels), -1)


def off(layers: list[Layer], found: Reals, wanted: Reals) -> float:
    """How far outputs are off, 0 where they are the same as far as the network says that they are.

    A scale of no power of two is rounded in every product.
    """
    output = layers[0].network.outputs[0]
    distance = float(np.abs(found - wanted).max(initial=0.0))
    return 0.0 if distance <= output.error + 1e-12 * float(np.abs(wanted).max(initial=0.0)) else distance


def rtl_errors(layers: list[Layer], folder: Path, pixels: Pixels, runs: int = 3) -> list[str]:
    """What of the RTL differs from `run_reference`, at full speed, then under stalls; nothing where it is equal."""
    network, module = layers[0].network, "net"
    emitted = emit.emit_stage(module, layers)
    shape = network.entry.output.shape
    taken = Reference(network).quantised(
        pixels.reshape(len(pixels), shape.height, shape.width, shape.channels) / 256
    )  # fmt: skip
    traffic = [traffic_of(emitted, network, taken)]
    passed = simulate(folder, emitted.project(), traffic, frames=len(pixels), seed=len(pixels), runs=runs)
    assert len(passed) == runs
    return [run.error for run in passed if run.error]


def integer_traffic(module: str, net: IntegerNetwork, frames: int, beat: int | None = None) -> Traffic:
    """Random frames for the network emitted as `module`, and what comes out. `beat`: channels that come at a time."""
    stream = net.entry.output
    size = stream.shape
    inputs = np.random.default_rng(3).integers(
        stream.low, stream.high + 1, (frames, size.height, size.width, size.channels)
    )
    given = Reference(net).integers(inputs)
    outputs = [net.operators[output.source].output for output in net.outputs]
    return Traffic(
        module,
        inputs.reshape(-1, beat or size.channels),
        stream.bits,
        [values.reshape(-1, values.shape[-1]) for values in given],
        [output.bits for output in outputs],
    )


def run_csim(model: Any, pixels: Pixels) -> Reals:
    """Outputs [N, values] of hls4ml's own C++ of a converted model."""
    model.config.writer_config["Namespace"] = (
        None  # hls4ml's own bridge cannot have the project's name as its namespace
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model.compile()
        values = np.ascontiguousarray(pixels.astype(np.float32) / 256)
        values = values.reshape(len(pixels), *map(int, model.get_input_variables()[0].shape))
        return np.asarray(model.predict(values), np.float64).reshape(len(pixels), -1)
