"""The models of hls4ml's own QONNX tests (v1.3.0, test/pytest/test_qonnx.py), prepared as they are there.

They are no part of the project. EDGESIGHT_HLS4ML_MODELS names a folder of them: `onnx` of the repository
example-models, and TFC_2W2A.onnx, CNV_2W2A.onnx and qkeras_jettagging.onnx of QONNX_model_zoo.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import qonnx.core.onnx_exec as oxe
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

from edgesight.bench.coverage.simulate import traffic_of
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.network import emit_network
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.streams import simulate
from tests.hls.qonnx_writer import Writer

Reals = npt.NDArray[np.float64]
Prepare = Callable[[Any], Any]


def cleaned(model: Any) -> Any:
    return cleanup_model(model)


def with_matrices(model: Any) -> Any:
    return cleanup_model(cleanup_model(model).transform(GemmToMatMul()))


def channels_last(model: Any) -> Any:
    return cleanup_model(cleanup_model(model).transform(ConvertToChannelsLastAndClean(make_input_channels_last=True)))


def told_its_opset(model: Any) -> Any:
    """As it is, for us. qonnx 1.0 reads a domain without a version as ONNX's first, whose pooling has no ceil_mode."""
    model.set_opset_import(CHANNELS_LAST, model.get_opset_imports()[""])
    return model


def scaled(inputs: float, weights: float) -> Prepare:
    def prepare(model: Any) -> Any:
        model = with_matrices(model)
        for name, value in (("BipolarQuant_0_param0", inputs), ("BipolarQuant_1_param1", weights)):
            model.set_initializer(name, np.array([value], np.float32))
        return cleanup_model(model)

    return prepare


# File, how hls4ml's test prepares it, the precision that it asks for, its inputs' fraction bits, lowest input,
# and how near its answer has to be: the test's own bounds.
QUANTISED: dict[str, tuple[str, Prepare, str, int, float, dict[str, Any]]] = {
    "tfc_2w2a": ("TFC_2W2A", cleaned, "fixed<32,16>", 16, -1, {"atol": 1e-2, "rtol": 1}),
    "cnv_2w2a": ("CNV_2W2A", channels_last, "fixed<32,6>", 6, -1, {"atol": 1e-2, "rtol": 1}),
    "jettagging": ("qkeras_jettagging", cleaned, "fixed<32,16>", 16, -1, {"atol": 1e-2, "rtol": 1}),
    "sep_conv": ("separable_conv_model_ch_last", told_its_opset, "fixed<32,16>", 16, 0, {"atol": 1e-2, "rtol": 1}),
    "branched": ("branched_model_ch_last", told_its_opset, "fixed<32,16>", 16, 0, {"atol": 0, "rtol": 0}),
    "tiny_unet": ("tiny_unet_ch_last", told_its_opset, "fixed<32,16>", 16, 0, {"atol": 0, "rtol": 0}),
    "bnn": ("bnn_model_fc_1layer", with_matrices, "fixed<16,6>", 0, -1, {"atol": 0, "rtol": 0}),
    "bnn scaled by 0.5": ("bnn_model_fc_1layer", scaled(0.5, 0.5), "fixed<16,6>", 0, -1, {"atol": 0, "rtol": 0}),
    "bnn scaled by 2 and 4": ("bnn_model_fc_1layer", scaled(2, 4), "fixed<16,6>", 0, -1, {"atol": 0, "rtol": 0}),
}
# hls4ml's test of the third loads the first's file; its own is taken here.
FLOATS: dict[str, tuple[str, Prepare]] = {
    "two_layer_keras": ("two_layer_keras", cleaned),
    "three_layer_keras": ("three_layer_keras", cleaned),
    "two_layer_pytorch": ("two_layer_pytorch", with_matrices),
    "three_layer_pytorch": ("three_layer_pytorch", with_matrices),
    "conv1d_small_keras": ("conv1d_small_keras", lambda model: with_matrices(channels_last_as_is(model))),
    "conv2d_small_keras": ("conv2d_small_keras", lambda model: with_matrices(channels_last_as_is(model))),
    "conv2d_small_mp_keras": ("conv2d_small_mp_keras", lambda model: with_matrices(channels_last_as_is(model))),
}
LARGE = {"sep_conv": 4, "branched": 4, "tiny_unet": 4, "cnv_2w2a": 20}  # inputs; 200 elsewhere
SIMULATED = {"tfc_2w2a": 20, "jettagging": 200, "bnn": 200, "bnn scaled by 0.5": 200, "bnn scaled by 2 and 4": 200}


def channels_last_as_is(model: Any) -> Any:
    return cleanup_model(model).transform(ConvertToChannelsLastAndClean())


def file_of(name: str) -> Path:
    folder = os.environ.get("EDGESIGHT_HLS4ML_MODELS")
    if folder is None:
        pytest.skip("EDGESIGHT_HLS4ML_MODELS names no folder of the models that hls4ml's own QONNX tests use")
    path = next((path for path in (Path(folder) / f"{name}.onnx", Path(folder) / "onnx" / f"{name}.onnx")
                 if path.is_file()), None)  # fmt: skip
    if path is None:
        pytest.skip(f"{folder} holds no {name}.onnx")
    return path


def door(model: Any, folder: Path, precision: str, io_type: str = "io_stream", **settings: str) -> Any:
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
    shape = tuple(model.get_tensor_shape(model.graph.input[0].name))
    if not fraction:  # of the binary layer: -1 and 1
        return np.random.default_rng(1).choice([-1.0, 1.0], (count, *shape[1:]))
    values = np.random.default_rng(1).uniform(least, 1, (count, *shape[1:]))
    return np.asarray(np.round(values * 2**fraction) / 2**fraction)


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_model_is_exact_and_as_near_as_hls4mls_test_asks(name: str, tmp_path: Path) -> None:
    """C++ = reference = truth at the logits; and C++ beside qonnx's float32, by the bounds of hls4ml's test."""
    file, prepare, precision, fraction, least, near = QUANTISED[name]
    path = file_of(file)
    model = prepare(ModelWrapper(str(path)))
    values = inputs_of(model, LARGE.get(name, 200), fraction, least)
    converted = door(model, tmp_path / "project", precision)
    network = converted.rtl_route.network
    output = network.outputs[0]
    shape = network.operators[output.source].output.shape
    truth = Truth(without_softmax(model.model))(values)[0].reshape(len(values), shape.height, shape.width, -1)
    given = values.transpose(0, 2, 3, 1) if values.ndim == 4 and values.shape[1] < values.shape[3] else values
    reference = Reference(network)
    taken = reference.quantised(given.reshape(len(given), *_sizes(network.entry.output.shape)))
    integers = reference.integers(taken)[0]
    assert output.error == 0
    assert np.array_equal(np.rint((truth - output.offset) / output.scale), integers)
    np.testing.assert_allclose(integers * output.scale + output.offset, truth, rtol=1e-9, atol=1e-12)
    # Where products of 0.5 * 0.5 meet biases of 1 and more, no input changes a sign.
    assert len(np.unique(integers.reshape(len(integers), -1), axis=0)) > 3 or name == "bnn scaled by 0.5"
    with contextlib.redirect_stdout(io.StringIO()):
        converted.compile()
        found = np.asarray(converted.predict(np.ascontiguousarray(values))).reshape(integers.shape)
    signs = output.name in converted.rtl_route.bipolar
    wanted = integers * output.scale + output.offset
    if signs:  # as hls4ml gives them
        found = 2 * found - 1
    if output.softmax:
        powers = np.exp(wanted - wanted.max(axis=-1, keepdims=True))
        wanted = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    for place in range(min(len(values), 4)):
        one = np.asarray(values[place : place + 1], np.float32)
        qonnx = oxe.execute_onnx(model, {model.graph.input[0].name: one})[model.graph.output[0].name]
        np.testing.assert_allclose(qonnx.ravel(), found[place].ravel(), **near)


def small_unet(folder: Path) -> Any:
    """The tiny U-Net in small, prepared by qonnx, without the version of the domain as older exports are."""
    writer = Writer((3, 8, 8), seed=3)

    def activation(tensor: str) -> str:
        return writer.quant(writer.node("LeakyRelu", [tensor], alpha=0.1015625), -3, 4, 1)

    def separable(tensor: str, inputs: int, outputs: int) -> str:
        deep = writer.quant(writer.conv(tensor, inputs, inputs, 3, group=inputs, pads=[1] * 4), -4, 4, 1)
        return activation(writer.conv(deep, inputs, outputs, 1))

    def down(tensor: str) -> str:
        return writer.quant(writer.pool(tensor, pads=[0] * 4, ceil_mode=0), -3, 4, 1)

    scales = [writer.constant(np.zeros(0, np.float32)), writer.constant(np.array([1, 1, 2, 2], np.float32))]
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    first = separable(writer.quant("image", -4, 4, 1), 3, 4)
    second = separable(down(first), 4, 5)
    up = writer.quant(writer.node("Resize", [separable(down(second), 5, 5), *scales], **nearest), -3, 4, 1)
    joined = writer.quant(writer.node("Concat", [up, second], axis=1), -3, 4, 1)
    up = writer.quant(writer.node("Resize", [separable(joined, 10, 4), *scales], **nearest), -3, 4, 1)
    joined = writer.quant(writer.node("Concat", [up, first], axis=1), -3, 4, 1)
    last = writer.conv(separable(joined, 8, 4), 4, 2, 1)
    model = writer.model(last)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, [1, 2, 8, 8]))
    for node in model.graph.node:  # qonnx mixes up names like its own
        node.input[:] = [tensor.replace("tensor_", "t") for tensor in node.input]
        node.output[:] = [tensor.replace("tensor_", "t") for tensor in node.output]
    model.graph.output[0].name = last.replace("tensor_", "t")
    onnx.save(model, folder / "unet.onnx")
    made = channels_last(ModelWrapper(str(folder / "unet.onnx")))
    kept = [entry for entry in made.model.opset_import if entry.domain != CHANNELS_LAST]
    del made.model.opset_import[:]
    made.model.opset_import.extend(kept)
    return made


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")
def test_a_small_unet_goes_through_hls4mls_own_functions(tmp_path: Path) -> None:
    """Channels last, pooling with ceil_mode, resizing, joins: as hls4ml's parser is given them, exact."""
    model = small_unet(tmp_path)
    assert {"MaxPool", "Resize", "Concat", "LeakyRelu"} <= {node.op_type for node in model.graph.node}
    assert any(attribute.name == "ceil_mode" for node in model.graph.node for attribute in node.attribute)
    converted = door(model, tmp_path / "project", "fixed<16,6>")
    values = inputs_of(model, 50, 10, -1)
    wanted = Truth(model.model)(values)[0]
    with contextlib.redirect_stdout(io.StringIO()):
        converted.compile()
        found = np.asarray(converted.predict(np.ascontiguousarray(values)))
    assert np.array_equal(found.reshape(wanted.shape), wanted)
    assert len(np.unique(wanted.reshape(50, -1), axis=0)) == 50
    told_its_opset(model)
    qonnx = oxe.execute_onnx(model, {model.graph.input[0].name: values[:1].astype(np.float32)})
    assert np.array_equal(qonnx[model.graph.output[0].name].ravel(), wanted[0].ravel())


def _sizes(shape: Any) -> tuple[int, int, int]:
    return shape.height, shape.width, shape.channels


def without_softmax(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that ends at the logits."""
    logits = onnx.ModelProto()
    logits.CopyFrom(model)
    last = [node for node in logits.graph.node if node.output[0] == logits.graph.output[0].name]
    if last[0].op_type == "Softmax":
        logits.graph.output[0].name = last[0].input[0]
        logits.graph.node.remove(last[0])
    return logits


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("name", SIMULATED)
def test_the_hardware_of_a_quantised_model_is_exact_under_stalls(name: str, tmp_path: Path) -> None:
    file, prepare, precision, fraction, least, _ = QUANTISED[name]
    model = prepare(ModelWrapper(str(file_of(file))))
    network = door(model, tmp_path / "project", precision).rtl_route.network
    count = SIMULATED[name]
    values = inputs_of(model, count, fraction, least).reshape(count, *_sizes(network.entry.output.shape))
    emitted = emit_network("dut", network, Folding(1000, {}))
    traffic = traffic_of(emitted, network, Reference(network).quantised(values))
    for run in simulate(tmp_path / "rtl", emitted.project(), [traffic], frames=count, seed=1, runs=2):
        assert not run.error


@pytest.mark.parametrize("strategy", ["Resource", "Latency"])
def test_both_strategies_are_taken_and_io_parallel_is_refused_at_once(strategy: str, tmp_path: Path) -> None:
    file, prepare, precision, *_ = QUANTISED["bnn"]
    model = prepare(ModelWrapper(str(file_of(file))))
    door(model, tmp_path / "project", precision, Strategy=strategy)
    with pytest.raises(CompileError, match="io_type: io_parallel; the hardware is a stream: use io_type='io_stream'"):
        door(model, tmp_path / "project", precision, "io_parallel", Strategy=strategy)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("name", FLOATS)
def test_a_float_model_is_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    file, prepare = FLOATS[name]
    model = prepare(ModelWrapper(str(file_of(file))))
    with pytest.raises(CompileError, match=r"layer \S+.*: its weights are floating point; give the layer a weight"):
        door(model, tmp_path / "project", "fixed<16,6>")
    assert not (tmp_path / "project").exists()
