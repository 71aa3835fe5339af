"""The hls4ml user's door: what `convert_from_onnx_model(..., backend="RTL")` is given is honoured or refused."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np
import onnx
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model

from edgesight.hls import qonnx_graph
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.layers import extract, matrices
from edgesight.hls.network import CompileError
from edgesight.sim.rtl.runner import missing_tools
from tests.hls import networks
from tests.hls.qonnx_writer import Writer

ROOT = Path(__file__).resolve().parents[2]
IMAGE = (3, 8, 8)
Edit = Callable[[dict[str, Any]], None]


def network(path: Path) -> Path:
    """Convolution, pooling, hidden and last dense layer; as qonnx names them Conv_0, MaxPool_0, MatMul_0, MatMul_1."""
    writer = Writer(IMAGE)
    features = writer.pool(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)), pads=[0] * 4)
    return writer.save(path, writer.dense(writer.relu(writer.dense(writer.flatten(features), 54, 8)), 8, 5))


def door(graph: Any, folder: Path, edit: Edit | None = None, granularity: str = "name", **arguments: Any) -> Any:
    """What an hls4ml user types."""
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config_from_onnx_model(
            graph, granularity=granularity, backend="RTL", default_precision="fixed<32,16>"
        )
        if edit is not None:
            edit(config)
        given = {"output_dir": str(folder), "project_name": "net", "io_type": "io_stream", **arguments}
        return hls4ml.converters.convert_from_onnx_model(graph, backend="RTL", hls_config=config, **given)


def reuse(model: Any) -> dict[str, int]:
    return {layer.name: layer.reuse_asked for layer in matrices(extract(model))}


@pytest.fixture
def graph(tmp_path: Path) -> Any:
    """With an entry for every layer in hls4ml's configuration of it."""
    return prepared_by_hand(renamed(network(tmp_path / "network.onnx")))


def prepared_by_hand(path: Path) -> Any:
    """As hls4ml's own documentation prepares a QONNX file."""
    graph = cleanup_model(ModelWrapper(str(path)))
    if len(graph.get_tensor_shape(graph.graph.input[0].name)) > 2:
        graph = graph.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
    return cleanup_model(graph.transform(GemmToMatMul()))


def layer(name: str, key: str, value: object) -> Edit:
    return lambda config: config["LayerName"][name].update({key: value})


def precision(name: str, key: str, value: object) -> Edit:
    return lambda config: config["LayerName"][name]["Precision"].update({key: value})


def top(key: str, value: object) -> Edit:
    return lambda config: config.update({key: value})


def whole(key: str, value: object) -> Edit:
    return lambda config: config["Model"].update({key: value})


@pytest.mark.parametrize("granularity", ["name", "type"])
def test_the_models_reuse_factor_reaches_every_layer(graph: Any, tmp_path: Path, granularity: str) -> None:
    model = door(graph, tmp_path, whole("ReuseFactor", 16), granularity)
    assert reuse(model) == {"Conv_0": 16, "MatMul_0": 16, "MatMul_1": 16}
    with contextlib.redirect_stdout(io.StringIO()):
        model.write()
    assert "ReuseFactor: 16" in (tmp_path / "hls4ml_config.yml").read_text()


def test_a_types_reuse_factor_reaches_its_layers(graph: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["LayerType"]["Conv"]["ReuseFactor"] = 6

    assert reuse(door(graph, tmp_path, edit, "type")) == {"Conv_0": 6, "MatMul_0": 1, "MatMul_1": 1}


def test_a_layers_own_reuse_factor_goes_before_the_models(graph: Any, tmp_path: Path) -> None:
    def every(config: dict[str, Any]) -> None:
        config["Model"]["ReuseFactor"] = 8
        for name, factor in (("Conv_0", 18), ("MatMul_0", 12), ("MatMul_1", 8)):
            config["LayerName"][name]["ReuseFactor"] = factor

    assert reuse(door(graph, tmp_path, every)) == {"Conv_0": 18, "MatMul_0": 12, "MatMul_1": 8}


def test_the_callers_configuration_is_left_alone(graph: Any, tmp_path: Path) -> None:
    kept: list[dict[str, Any]] = []

    def edit(config: dict[str, Any]) -> None:
        config["Model"]["ReuseFactor"] = 16
        kept.append(config)

    door(graph, tmp_path, edit)
    assert kept[0]["LayerName"]["Conv_0"]["ReuseFactor"] == 1
    assert "Conv2D_Conv_0" not in kept[0]["LayerName"]  # which hls4ml makes and would add
    again = door(graph, tmp_path, lambda config: config.update(kept[0]))
    assert reuse(again) == {"Conv_0": 16, "MatMul_0": 16, "MatMul_1": 16}


def test_a_reuse_factor_that_is_moved_is_told(graph: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"Conv_0 has ReuseFactor 9 instead of 7"):
        door(graph, tmp_path, layer("Conv_0", "ReuseFactor", 7))


def test_a_reuse_factor_beyond_the_slowest_fold_is_told(graph: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"has ReuseFactor \d+ instead of 100000, the slowest that it has"):
        door(graph, tmp_path, whole("ReuseFactor", 100_000))


def test_a_model_reuse_factor_that_reaches_no_layer_is_told(graph: Any, tmp_path: Path) -> None:
    def every(config: dict[str, Any]) -> None:
        config["Model"]["ReuseFactor"] = 16
        for name in ("Conv_0", "MatMul_0", "MatMul_1"):
            config["LayerName"][name]["ReuseFactor"] = 2

    with pytest.warns(UserWarning, match=r"Model.ReuseFactor: 16 reaches no layer"):
        door(graph, tmp_path, every)


def mixed_reuse(config: dict[str, Any]) -> None:
    config["Model"]["ReuseFactor"] = 16
    config["LayerName"]["Conv_0"]["ReuseFactor"] = 4


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (whole("Strategy", "nonsense"), r"Model.Strategy: 'nonsense' is no strategy of the RTL backend; use latency"),
        (whole("Strategy", "distributed_arithmetic"), r"Model.Strategy: 'distributed_arithmetic' is no strategy"),
        (layer("Conv_0", "Strategy", "Unrolled"), r"LayerName.Conv_0.Strategy: 'Unrolled' is no strategy"),
        (whole("ReuseFactor", 0), r"Model.ReuseFactor: 0 is no whole number of at least 1"),
        (layer("MatMul_0", "ReuseFactor", 2.5), r"LayerName.MatMul_0.ReuseFactor: 2.5 is no whole number"),
        (layer("MatMul_0", "ReuseFactor", True), r"LayerName.MatMul_0.ReuseFactor: True is no whole number"),
        (mixed_reuse, r"Model.ReuseFactor: 16, but 1 stands at LayerName.MatMul_0, LayerName.MatMul_1, and other"),
        (whole("ReuseFaktor", 4), r"Model.ReuseFaktor: 4 is not honoured by the RTL backend; leave it out"),
        (whole("BramFactor", 10), r"Model.BramFactor: 10 is not honoured .*; leave it at 1000000000"),
        (whole("Compression", True), r"Model.Compression: True is not honoured .*; leave it at False"),
        (whole("PipelineStyle", "dataflow"), r"Model.PipelineStyle: 'dataflow' is not honoured .*; leave it at 'auto'"),
        (whole("TargetCycles", 9), r"Model.TargetCycles: 9 is not honoured .*; leave it at None"),
        (layer("Conv_0", "ParallelizationFactor", 2), r"LayerName.Conv_0.ParallelizationFactor: 2 is not honoured"),
        (
            layer("Conv_0", "ConvImplementation", "Encoded"),
            r"ConvImplementation: 'Encoded' .*; leave it at 'LineBuffer'",
        ),
        (layer("Relu_0", "TableSize", 16), r"LayerName.Relu_0.TableSize: 16 is not honoured .*; leave it at 1024"),
        (layer("Conv_0", "StrideHeight", 2), r"LayerName.Conv_0.StrideHeight: 2 is not honoured .*; leave it out"),
        (layer("Conv_0", "Trace", "yes"), r"LayerName.Conv_0.Trace: 'yes' is neither True nor False"),
        (layer("Conv_0", "Precision", {"accum": "wide"}), r"LayerName.Conv_0.Precision.accum: 'wide' is no type of"),
        *(
            (
                layer(name, "Precision", {key: asked}),
                rf"LayerName.{name}.Precision.{key}: {re.escape(repr(asked))} is not honoured: the network's own",
            )
            for name, key, asked in (
                ("Conv_0", "accum", "fixed<8,2>"),
                ("Conv_0", "accum", "fixed<48,24>"),
                ("Conv_0", "result", "fixed<8,2>"),
                ("MatMul_1", "result", "fixed<8,4,RND_CONV,SAT>"),
            )
        ),
        (
            lambda config: config["LayerName"].update(CONV_0={"ReuseFactor": 3}),
            r"LayerName.CONV_0: the network has no such layer",
        ),
        (
            lambda config: config["LayerName"].update(Conv_9={}),
            r"LayerName.Conv_9: the network has no such layer; .*Conv_0",
        ),
        (lambda config: config.update(LayerType={"Konv": {}}), r"LayerType.Konv: hls4ml has no layer type"),
        # hls4ml would look for the type of "auto" for ever.
        (whole("Precision", "auto"), r"Model.Precision: 'auto' is for layers; give the model a type"),
        (whole("Precision", {"default": "Auto"}), r"Model.Precision.default: 'auto' is for layers; give the model"),
        (whole("Precision", {"default": "fixed<9,3>", "maximum": "auto"}), r"Model.Precision.maximum: 'auto' is for"),
        (whole("Precision", {}), r"Model.Precision: has no default, which hls4ml needs; give one, such as"),
        (whole("Precision", None), r"Model.Precision: None is no type of hls4ml"),
        (
            whole("Precision", {"default": "fixed<9,3>", "weight": "fixed<2,1>"}),
            r"Model.Precision.weight: 'fixed<2,1>' is not honoured for all layers; leave it out, or give it at a layer",
        ),
        # hls4ml drops these before a backend sees them.
        (
            top("ReuseFactor", 16),
            r"setting ReuseFactor: stands beside Model, .*; put it into one, as config\['Model'\]",
        ),
        (top("PipelineStyle", 1), r"setting PipelineStyle: stands beside Model, LayerType, LayerName"),
        (top("Bogus", {}), r"setting Bogus: stands beside Model, LayerType, LayerName, where nothing is read"),
        *(
            (
                precision(name, key, "fixed<2,1>"),
                rf"LayerName.{name}.Precision.{key}: 'fixed<2,1>' is not honoured: the",
            )
            for name, key in (
                ("Conv_0", "weight"),
                ("MatMul_1", "bias"),
                ("Conv_0", "acum"),
                ("Quant_0", "result"),
                ("Quant_0_param0", "result"),
                ("global_in", "result"),
                ("MaxPool_0", "accum"),
                ("Flatten_0", "result"),
                ("Relu_0", "table"),
            )
        ),
        (layer("Quant_4", "Precision", "fixed<2,1>"), r"LayerName.Quant_4.Precision: 'fixed<2,1>' is not honoured"),
        (
            top("LayerType", {"Quant": {"Precision": {"result": "fixed<2,1>"}}}),
            r"LayerType.Quant.Precision.result: 'fixed<2,1>' is not honoured",
        ),
        # hls4ml stumbles over these.
        (whole("Strategy", None), r"Model.Strategy: None is no strategy of the RTL backend"),
        (top("Model", 3), r"setting Model: 3 is no dictionary"),
        (top("LayerName", []), r"setting LayerName: \[\] is no dictionary; leave it out"),
        (top("LayerName", None), r"setting LayerName: None is no dictionary; leave it out"),
        (top("LayerName", {"Conv_0": None}), r"setting LayerName.Conv_0: None is no dictionary"),
        (top("LayerType", {"Conv": 1}), r"setting LayerType.Conv: 1 is no dictionary"),
        (lambda config: config.update(Flows=["vitis:ip"]), r"setting Flows: own flows would go past the checks"),
        (lambda config: config.update(SkipOptimizers=["rtl:check"]), r"setting SkipOptimizers: own flows"),
    ],
)
def test_a_setting_that_is_not_honoured_is_refused_by_its_key(
    graph: Any, tmp_path: Path, edit: Edit, message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        door(graph, tmp_path / "project", edit)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"io_type": "io_parallel"},
            r"argument io_type: io_parallel; the hardware is a stream: use io_type='io_stream'",
        ),
        ({"clok_period": 5}, r"argument clok_period: the RTL backend does not read it; leave it out"),
        ({"board": "zcu104"}, r"argument board: the RTL backend does not read it"),
        ({"clock_period": 0}, r"setting ClockPeriod \(clock_period\): 0 are no nanoseconds; give a number above 0"),
        ({"clock_period": -5}, r"\(clock_period\): -5 are no nanoseconds"),
        ({"clock_period": "x"}, r"\(clock_period\): 'x' are no nanoseconds"),
        ({"clock_period": float("inf")}, r"\(clock_period\): inf are no nanoseconds"),
        ({"clock_uncertainty": "900%"}, r"\(clock_uncertainty\): '900%' is no share, such as '12.5%'"),
        ({"clock_uncertainty": "much"}, r"\(clock_uncertainty\): 'much' is no share"),
        ({"namespace": "a b"}, r"setting Namespace \(namespace\): 'a b' is no identifier of C\+\+"),
        ({"namespace": "class"}, r"\(namespace\): 'class' is no identifier of C\+\+"),
        ({"part": "a b"}, r"setting Part \(part\): 'a b' is no device's name"),
        ({"tb_output_stream": "x"}, r"\(tb_output_stream\): 'x' is none of both, file and stdout"),
        ({"project_name": "mvu"}, r"project name 'mvu': a module of the kernel's library has this name; use another"),
        ({"project_name": "input"}, r"project name 'input': a keyword of SystemVerilog"),
        ({"project_name": "3net"}, r"project name '3net': no SystemVerilog identifier"),
    ],
)
def test_an_argument_that_is_not_honoured_is_refused(
    graph: Any, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        door(graph, tmp_path / "project", **arguments)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize("given", [[], "Model", 3])
def test_a_configuration_that_is_no_dictionary_is_refused(graph: Any, tmp_path: Path, given: Any) -> None:
    with pytest.raises(CompileError, match=r"hls_config: .* is no dictionary; begin with hls4ml.utils.config_from"):
        hls4ml.converters.convert_from_onnx_model(
            graph, backend="RTL", hls_config=given, output_dir=str(tmp_path / "p")
        )


def test_hls4mls_own_configuration_of_a_file_is_checked_as_well(graph: Any, tmp_path: Path) -> None:
    """`convert_from_config` hands all of it on; what hls4ml does not know comes through."""
    hls = {"Model": {"Precision": "fixed<32,16>", "ReuseFactor": 1}, "Pipeline": 1}
    config = {
        "OutputDir": str(tmp_path / "p"), "ProjectName": "net", "Backend": "RTL", "IOType": "io_stream", "Part": "any",
        "ClockPeriod": 5, "ClockUncertainty": "27%", "OnnxModel": graph, "HLSConfig": hls,
    }  # fmt: skip
    with (
        contextlib.redirect_stdout(io.StringIO()),
        pytest.raises(CompileError, match="setting Pipeline: stands beside"),
    ):
        hls4ml.converters.convert_from_config(config)


def test_settings_that_change_no_hardware_are_taken(graph: Any, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["Model"].update(Strategy="Resource", TraceOutput=True)
        config["LayerName"]["Conv_0"].update(Strategy="latency", Trace=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = door(graph, tmp_path, edit)
    pixels = networks.images(IMAGE)
    wanted = qonnx_graph.execute(tmp_path / "network.onnx", pixels)
    assert np.array_equal(networks.run_reference(extract(model), pixels), wanted)
    with contextlib.redirect_stdout(io.StringIO()):
        _, traced = model.trace(pixels / 256)
    assert "Conv_0" in traced


def test_a_graph_is_read_once(graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def counted(*given: Any, **named: Any) -> Any:
        seen.append(given)
        return integer_network(*given, **named)

    monkeypatch.setattr("edgesight.hls.backend.integer_network", counted)
    door(graph, tmp_path)
    assert len(seen) == 1


def test_the_documentations_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(ROOT / "docs" / "examples" / "hls4ml_to_rtl.py"))
    assert "module net (" in (tmp_path / "out" / "rtl" / "net.sv").read_text()


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize("prepare", [lambda path: prepared_by_hand(renamed(path)), qonnx_graph.load])
def test_a_graph_is_exact_whoever_prepared_it(tmp_path: Path, prepare: Callable[[Path], Any]) -> None:
    path = network(tmp_path / "network.onnx")
    model = door(prepare(path), tmp_path / "project")
    pixels = networks.images(IMAGE)
    wanted = networks.truth(path, pixels)
    assert np.array_equal(networks.run_reference(extract(model), pixels), wanted)
    assert np.array_equal(networks.run_csim(model, first(pixels) if prepare is qonnx_graph.load else pixels), wanted)
    assert not networks.rtl_errors(extract(model), tmp_path / "rtl", pixels, runs=2)


def first(pixels: Any) -> Any:
    """Channels first, as the user's own graph takes them."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def test_the_layers_of_a_loaded_graph_have_the_users_names(tmp_path: Path) -> None:
    path = network(tmp_path / "network.onnx")
    names = [node.name for node in onnx.load(path).graph.node if node.op_type in ("Conv", "MatMul")]
    graph = qonnx_graph.load(path)

    def by_name(config: dict[str, Any]) -> None:
        config["Model"]["ReuseFactor"] = 4
        config["LayerName"][names[0]]["ReuseFactor"] = 6

    assert reuse(door(graph, tmp_path, by_name)) == {names[0]: 6, names[1]: 4, names[2]: 4}
    kinds = {"Conv": {"ReuseFactor": 18}}
    found = reuse(door(graph, tmp_path, lambda config: config.update(LayerType=kinds), "type"))
    assert found == {names[0]: 18, names[1]: 1, names[2]: 1}


def renamed(path: Path) -> Path:
    """A copy of a network whose tensors qonnx's own clean-up does not mix up with those that it makes."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.input[:] = [tensor.replace("tensor_", "t") for tensor in node.input]
        node.output[:] = [tensor.replace("tensor_", "t") for tensor in node.output]
    for output in model.graph.output:
        output.name = output.name.replace("tensor_", "t")
    copy = path.with_name("renamed.onnx")
    onnx.save(model, copy)
    return copy


def test_what_hls4ml_has_no_layer_for_is_refused_at_its_door(tmp_path: Path) -> None:
    """hls4ml's own reading of the graph loses the dilation, and pools other pixels."""
    writer = Writer(IMAGE)
    attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0] * 4, "dilations": [2, 2]}
    pooled = writer.node("MaxPool", [writer.relu(writer.conv(writer.pixels(), 3, 6, 3))], **attributes)
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.flatten(pooled), 96, 5))
    message = (
        "not stated by hls4ml: layer MaxPool_0: dilated max pooling; compile it without .*, by `edgesight compile`"
    )
    with pytest.raises(CompileError, match=message):
        door(prepared_by_hand(renamed(path)), tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_what_hls4mls_parser_loses_is_exact(tmp_path: Path) -> None:
    """hls4ml makes 2x2 of a map that ONNX makes 3x3 of, where windows hang over its edge."""
    writer = Writer(IMAGE)
    attributes: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0] * 4, "ceil_mode": 1}
    pooled = writer.node("MaxPool", [writer.relu(writer.conv(writer.pixels(), 3, 6, 3))], **attributes)
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.flatten(pooled), 54, 5))
    model, pixels = door(prepared_by_hand(renamed(path)), tmp_path / "project"), networks.images(IMAGE)
    assert np.array_equal(networks.run_csim(model, pixels), networks.truth(path, pixels))


def grouped(path: Path) -> Path:
    """A network whose second convolution stops hls4ml's parser: it has 2 groups over 4 channels."""
    writer = Writer(IMAGE)
    first = writer.relu(writer.conv(writer.pixels(), 3, 4, 1))
    return writer.save(path, writer.dense(writer.flatten(writer.relu(writer.conv(first, 4, 6, 3, group=2))), 216, 5))


def test_what_stops_hls4mls_parser_is_refused_with_the_way_past_it(tmp_path: Path) -> None:
    path = grouped(tmp_path / "network.onnx")
    graph = prepared_by_hand(renamed(path))
    graph.save(str(tmp_path / "prepared.onnx"))
    stops = r"hls4ml's parser stops at this network \(Depth multiplier must be an integer\); give hls4ml what .*load"
    for given in (graph, str(tmp_path / "prepared.onnx")):
        with pytest.raises(CompileError, match=stops):
            hls4ml.converters.convert_from_onnx_model(given, backend="RTL", output_dir=str(tmp_path / "project"))
    assert not (tmp_path / "project").exists()
    layers, pixels = extract(door(qonnx_graph.load(path), tmp_path / "project")), networks.images(IMAGE)
    assert np.array_equal(networks.run_reference(layers, pixels), networks.truth(path, pixels))


def test_an_operator_that_nothing_knows_is_refused_by_name(tmp_path: Path) -> None:
    writer = Writer(IMAGE)
    features = writer.flatten(writer.relu(writer.conv(writer.pixels(), 3, 6, 3)))
    path = writer.save(tmp_path / "network.onnx", writer.dense(writer.node("Erf", [features]), 216, 5))
    graph = prepared_by_hand(renamed(path))
    with pytest.raises(CompileError, match="layer Erf_0: operator Erf is not supported"):
        hls4ml.converters.convert_from_onnx_model(graph, backend="RTL", output_dir=str(tmp_path / "project"))
    assert not (tmp_path / "project").exists()


def test_hls4mls_own_functions_are_as_hls4ml_has_them() -> None:
    for function in (hls4ml.utils.config_from_onnx_model, hls4ml.converters.convert_from_onnx_model):
        assert function.__module__.startswith("hls4ml.")
        assert function.__code__.co_filename.startswith(str(Path(hls4ml.__file__).parent))


def test_other_backends_are_configured_as_before(tmp_path: Path) -> None:
    graph = prepared_by_hand(renamed(grouped(tmp_path / "network.onnx")))
    with contextlib.redirect_stdout(io.StringIO()):
        for backend in (None, "Vitis"):
            with pytest.raises(ValueError, match="Depth multiplier"):  # hls4ml's own word
                hls4ml.utils.config_from_onnx_model(graph, backend=backend)


def test_a_network_that_is_no_qonnx_is_refused(tmp_path: Path) -> None:
    model_graph = hls4ml.model.ModelGraph
    config = {
        "OutputDir": str(tmp_path), "ProjectName": "net", "Backend": "RTL", "IOType": "io_stream",
        "HLSConfig": {"Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1}},
    }  # fmt: skip
    layers = [{"name": "image", "class_name": "InputLayer", "input_shape": [16]}]
    with pytest.raises(CompileError, match="the RTL backend compiles QONNX networks only: use convert_from_onnx_model"):
        model_graph.from_layer_list(config, layers)


def test_layer_names_that_would_break_files_are_written_in_letters_that_do_not(tmp_path: Path, graph: Any) -> None:
    dense = [node for node in graph.graph.node if node.op_type == "MatMul"]
    dense[0].name, dense[1].name = "couche é/1", "COUCHE é/1"
    model, pixels = door(graph, tmp_path), networks.images(IMAGE)
    with contextlib.redirect_stdout(io.StringIO()):
        model.write()
    assert all(re.fullmatch(r"[\w.]+", path.name, re.ASCII) for path in (tmp_path / "rtl").iterdir())
    names = [node.name.lower() for node in model.get_layers()]
    assert len(set(names)) == len(names)
    assert np.array_equal(networks.run_csim(model, pixels), networks.run_reference(extract(model), pixels))

    def both(config: dict[str, Any]) -> None:
        config["LayerName"]["couche é/1"]["ReuseFactor"] = 4

    with pytest.raises(CompileError, match="of couche é/1 and COUCHE é/1: hls4ml tells no case apart; rename one"):
        door(graph, tmp_path / "other", both)
