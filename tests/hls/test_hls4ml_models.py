"""The models of hls4ml's own QONNX tests, prepared as they are there, and a small one of our own that is like them.

EDGESIGHT_HLS4ML_MODELS names a folder of the models, which `edgesight.bench.coverage.hls4ml_models` describes.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import qonnx.core.onnx_exec as oxe
from qonnx.core.modelwrapper import ModelWrapper

from edgesight.bench.coverage.hls4ml_models import (
    FLOATS,
    QUANTISED,
    Compared,
    channels_last,
    checks_of,
    compare,
    convert,
    inputs_of,
    model_of,
    refusal,
    told_its_opset,
)
from edgesight.hls.graph.signatures import CHANNELS_LAST
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import CompileError
from edgesight.sim.rtl.runner import missing_tools
from tests.hls.qonnx_writer import Writer


def models(file: str) -> Path:
    folder = os.environ.get("EDGESIGHT_HLS4ML_MODELS")
    if folder is None:
        pytest.skip("EDGESIGHT_HLS4ML_MODELS names no folder of the models that hls4ml's own QONNX tests use")
    try:
        model_of(Path(folder), file)
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    return Path(folder)


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_model_is_exact_and_as_near_as_hls4mls_test_asks(name: str, tmp_path: Path) -> None:
    found = compare(name, models(QUANTISED[name].file), tmp_path)
    assert [check.name for check in checks_of([found], {}) if not check.met] == []
    # Where products of 0.5 * 0.5 meet biases of 1 and more, no input changes a sign.
    assert found.distinct > 3 or name == "bnn scaled by 0.5"


@pytest.mark.parametrize("name", FLOATS)
def test_a_float_model_is_refused_with_the_remedy(name: str, tmp_path: Path) -> None:
    assert refusal(name, models(FLOATS[name][0]), tmp_path)


@pytest.mark.parametrize("strategy", ["Resource", "Latency"])
def test_both_strategies_are_taken_and_io_parallel_is_refused_at_once(strategy: str, tmp_path: Path) -> None:
    asked = QUANTISED["bnn"]
    model = asked.prepare(model_of(models(asked.file), asked.file))
    convert(model, tmp_path / "project", asked.precision, Strategy=strategy)
    with pytest.raises(CompileError, match="io_type: io_parallel; the hardware is a stream: use io_type='io_stream'"):
        convert(model, tmp_path / "project", asked.precision, "io_parallel", Strategy=strategy)


def test_what_differs_is_an_unmet_check() -> None:
    exact = Compared("net", 4, reference=0, csim=0, near=True, distinct=4, rtl_inputs=4, rtl="")
    assert all(check.met for check in checks_of([exact], {"float": "layer a: its weights are floating point"}))
    wrong = Compared("net", 4, reference=1, csim=1, near=False, distinct=4, rtl_inputs=4, rtl="a wrong beat")
    assert not any(check.met for check in checks_of([wrong], {"one": "refused", "other": ""}))


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
    converted = convert(model, tmp_path / "project", "fixed<16,6>")
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
