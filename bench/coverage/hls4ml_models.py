"""The models of hls4ml's own QONNX tests (v1.3.0, test/pytest/test_qonnx.py), through hls4ml's own functions.

They are prepared as they are there. They are no part of this project: a folder of them holds `onnx` of the repository
example-models, and TFC_2W2A.onnx, CNV_2W2A.onnx and qkeras_jettagging.onnx of QONNX_model_zoo.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import onnx
import qonnx.core.onnx_exec
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

from edgesight.bench.coverage.simulate import traffic_of
from edgesight.bench.report import Check
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import CompileError, Integers, Reals
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.streams import simulate

Prepare = Callable[[Any], Any]
_OWN_INPUTS = 4  # whose answers are held against qonnx's in single precision, which takes seconds each
_CYCLES = 1000
_ROUNDING = 1e-12


def cleaned(model: Any) -> Any:
    """As most of hls4ml's tests prepare a model."""
    return cleanup_model(model)


def with_matrices(model: Any) -> Any:
    """With its Gemm nodes as matrix multiplications."""
    return cleanup_model(cleanup_model(model).transform(GemmToMatMul()))


def channels_last(model: Any) -> Any:
    """With its maps channels last, the input's, too."""
    return cleanup_model(cleanup_model(model).transform(ConvertToChannelsLastAndClean(make_input_channels_last=True)))


def told_its_opset(model: Any) -> Any:
    """As it is, for us. qonnx 1.0 reads a domain without a version as ONNX's first, whose pooling has no ceil_mode."""
    model.set_opset_import(CHANNELS_LAST, model.get_opset_imports()[""])
    return model


def _float_map(model: Any) -> Any:
    return with_matrices(cleanup_model(model).transform(ConvertToChannelsLastAndClean()))


def _scaled(inputs: float, weights: float) -> Prepare:
    def prepare(model: Any) -> Any:
        model = with_matrices(model)
        for name, value in (("BipolarQuant_0_param0", inputs), ("BipolarQuant_1_param1", weights)):
            model.set_initializer(name, np.array([value], np.float32))
        return cleanup_model(model)

    return prepare


@dataclass(frozen=True)
class Quantised:
    """A model, how hls4ml's test prepares it, the precision that it asks for and how near its answer has to be.

    Inputs are drawn from `least` to 1 in steps of 2**-`fraction`; of the binary layer, whose `fraction` is 0, from -1
    and 1. `simulated`: inputs whose RTL is run.
    """

    file: str
    prepare: Prepare
    precision: str
    fraction: int
    least: float
    near: Mapping[str, Any]
    inputs: int = 200
    simulated: int = 200


_NEAR, _SAME = {"atol": 1e-2, "rtol": 1}, {"atol": 0, "rtol": 0}
QUANTISED: Mapping[str, Quantised] = {
    "tfc_2w2a": Quantised("TFC_2W2A", cleaned, "fixed<32,16>", 16, -1, _NEAR, simulated=20),
    "cnv_2w2a": Quantised("CNV_2W2A", channels_last, "fixed<32,6>", 6, -1, _NEAR, inputs=20, simulated=0),
    "jettagging": Quantised("qkeras_jettagging", cleaned, "fixed<32,16>", 16, -1, _NEAR),
    "sep_conv": Quantised("separable_conv_model_ch_last", told_its_opset, "fixed<32,16>", 16, 0, _NEAR, 4, 4),
    "branched": Quantised("branched_model_ch_last", told_its_opset, "fixed<32,16>", 16, 0, _SAME, 4, 4),
    "tiny_unet": Quantised("tiny_unet_ch_last", told_its_opset, "fixed<32,16>", 16, 0, _SAME, 4, 0),
    "bnn": Quantised("bnn_model_fc_1layer", with_matrices, "fixed<16,6>", 0, -1, _SAME),
    "bnn scaled by 0.5": Quantised("bnn_model_fc_1layer", _scaled(0.5, 0.5), "fixed<16,6>", 0, -1, _SAME),
    "bnn scaled by 2 and 4": Quantised("bnn_model_fc_1layer", _scaled(2, 4), "fixed<16,6>", 0, -1, _SAME),
}
# hls4ml's test of the third loads the first's file; its own is taken here.
FLOATS: Mapping[str, tuple[str, Prepare]] = {
    "two_layer_keras": ("two_layer_keras", cleaned),
    "three_layer_keras": ("three_layer_keras", cleaned),
    "two_layer_pytorch": ("two_layer_pytorch", with_matrices),
    "three_layer_pytorch": ("three_layer_pytorch", with_matrices),
    "conv1d_small_keras": ("conv1d_small_keras", _float_map),
    "conv2d_small_keras": ("conv2d_small_keras", _float_map),
    "conv2d_small_mp_keras": ("conv2d_small_mp_keras", _float_map),
}
_REFUSED = re.compile(r"layer \S+.*: its weights are floating point; give the layer a weight")


@dataclass(frozen=True)
class Compared:
    """How a quantised model did, in inputs that differ from the truth; `near`: whether hls4ml's own assertion holds."""

    name: str
    inputs: int
    reference: int
    csim: int
    near: bool
    distinct: int
    rtl_inputs: int
    rtl: str  # what the hardware did otherwise; empty where nothing


def model_of(folder: Path, file: str) -> Any:
    """The model from a folder of them; FileNotFoundError where it holds none."""
    path = next((path for path in (folder / f"{file}.onnx", folder / "onnx" / f"{file}.onnx") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder} holds no {file}.onnx")
    return ModelWrapper(str(path))


def convert(model: Any, folder: Path, precision: str, io_type: str = "io_stream", **settings: str) -> Any:
    """As hls4ml's test converts a model; `settings` are those of the whole model."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = hls4ml.utils.config_from_onnx_model(
            model, granularity="name", backend="RTL", default_precision=precision
        )
        config["Model"].update(settings)
        return hls4ml.converters.convert_from_onnx_model(
            model, output_dir=str(folder), io_type=io_type, backend="RTL", hls_config=config
        )


def inputs_of(model: Any, count: int, fraction: int, least: float) -> Reals:
    """`count` inputs in the model's own layout, drawn as `Quantised` says."""
    shape = tuple(model.get_tensor_shape(model.graph.input[0].name))
    if not fraction:
        return np.random.default_rng(1).choice([-1.0, 1.0], (count, *shape[1:]))
    values = np.random.default_rng(1).uniform(least, 1, (count, *shape[1:]))
    return np.asarray(np.round(values * 2**fraction) / 2**fraction)


def compare(name: str, models: Path, folder: Path) -> Compared:
    """C++ = reference = truth at the logits, RTL = reference; and C++ beside qonnx's float32, by hls4ml's bounds.

    What is built lies in `folder`. Raises FileNotFoundError where `models` does not hold the model.
    """
    asked = QUANTISED[name]
    model = asked.prepare(model_of(models, asked.file))
    values = inputs_of(model, asked.inputs, asked.fraction, asked.least)
    converted = convert(model, folder / "project", asked.precision)
    network = converted.rtl_route.network
    output, taken = network.outputs[0], _taken(network, values)
    integers = Reference(network).integers(taken)[0].reshape(len(values), -1)
    channels = network.operators[output.source].output.shape.channels
    scale, offset = (np.resize(values, channels) for values in (output.scale, output.offset))
    wanted = integers.reshape(-1, channels) * scale + offset
    truth = Truth(_without_softmax(model.model))(values)[0].reshape(wanted.shape)
    off = np.rint((truth - offset) / scale) != integers.reshape(wanted.shape)
    off |= np.abs(truth - wanted) > _ROUNDING + 1e3 * _ROUNDING * np.abs(truth)
    if output.softmax:
        powers = np.exp(wanted - wanted.max(axis=-1, keepdims=True))
        wanted = powers / powers.sum(axis=-1, keepdims=True)
    with contextlib.redirect_stdout(io.StringIO()):
        converted.compile()
        found = np.asarray(converted.predict(np.ascontiguousarray(values)), np.float64).reshape(wanted.shape)
    if output.name in converted.rtl_route.bipolar:  # as hls4ml gives them
        found = 2 * found - 1
    near = True
    for place in range(min(len(values), _OWN_INPUTS)):
        one = {model.graph.input[0].name: np.asarray(values[place : place + 1], np.float32)}
        single = qonnx.core.onnx_exec.execute_onnx(model, one)[model.graph.output[0].name]
        near &= np.allclose(found.reshape(len(values), -1)[place], single.ravel(), **asked.near)
    return Compared(
        name=name,
        inputs=len(values),
        reference=_inputs_with(off, len(values)) + (output.error != 0) * len(values),
        csim=_inputs_with(np.abs(found - wanted) > _ROUNDING * np.abs(wanted), len(values)),
        near=near,
        distinct=len(np.unique(integers, axis=0)),
        rtl_inputs=asked.simulated,
        rtl=_simulated(network, taken[: asked.simulated], folder / "rtl") if asked.simulated else "",
    )


def refusal(name: str, models: Path, folder: Path) -> str:
    """What a float model is refused with, by the layer's name and with the remedy; empty where it is not.

    Nothing is written into `folder` then. Raises FileNotFoundError where `models` does not hold the model.
    """
    file, prepare = FLOATS[name]
    try:
        convert(prepare(model_of(models, file)), folder / "project", "fixed<16,6>")
    except CompileError as refused:
        return str(refused) if _REFUSED.search(str(refused)) and not (folder / "project").exists() else ""
    return ""


def checks_of(found: list[Compared], refused: Mapping[str, str]) -> list[Check]:
    """The models held against what is promised of them; `refused`: why, by name of a float one."""
    checks = []
    for each in found:
        name, of_inputs = f"hls4ml's {each.name}", f"of {each.inputs} inputs"
        checks += [
            Check(f"{name}: reference differs from the truth", each.reference, 0, True, of_inputs, "simulated"),
            Check(f"{name}: csim differs", each.csim, 0, True, of_inputs, "simulated"),
            Check(f"{name}: its own assertion", float(each.near), 1, False, "yes or no", "simulated"),
        ]
        if each.rtl_inputs:
            wrong, of_inputs = float(bool(each.rtl)), f"of {each.rtl_inputs} inputs"
            checks.append(Check(f"{name}: RTL differs", wrong, 0, True, of_inputs, "simulated"))
    if refused:
        count = sum(bool(reason) for reason in refused.values())
        checks.append(Check("hls4ml's float models refused", count, len(refused), False, "models", "measured"))
    return checks


def _taken(network: IntegerNetwork, values: Reals) -> Integers:
    """The inputs as integers [N, H, W, C] of the network's entry."""
    shape = network.entry.output.shape
    given = values.transpose(0, 2, 3, 1) if values.ndim == 4 and values.shape[1] < values.shape[3] else values
    return Reference(network).quantised(given.reshape(len(given), shape.height, shape.width, shape.channels))


def _without_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that ends at the logits."""
    logits = onnx.ModelProto()
    logits.CopyFrom(model)
    last = [node for node in logits.graph.node if node.output[0] == logits.graph.output[0].name]
    if last[0].op_type == "Softmax":
        logits.graph.output[0].name = last[0].input[0]
        logits.graph.node.remove(last[0])
    return logits


def _inputs_with(wrong: Any, count: int) -> int:
    return int(wrong.reshape(count, -1).any(axis=1).sum())


def _simulated(network: IntegerNetwork, taken: Integers, folder: Path) -> str:
    emitted = emit_network("dut", network, Folding(_CYCLES, {}))
    shutil.rmtree(folder, ignore_errors=True)
    traffic = traffic_of(emitted, network, taken)
    runs = simulate(folder, emitted.project(), [traffic], frames=len(taken), seed=1, runs=2, optimise=True)
    return next((run.error for run in runs if run.error), "")
