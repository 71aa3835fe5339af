"""The compiler: hls4ml lists its backend; what it makes is exact and reproducible; it refuses what cannot be exact."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesight.hls import emit, qonnx_graph
from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_alone, compile_package
from edgesight.hls.csim import build_library
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.folding import choose_fold, largest_reuse
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.graph.maps import real_outputs
from edgesight.hls.qonnx_graph import CompileError
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.package import LIBRARY, MANIFEST, Package
from edgesight.sim.rtl.runner import missing_tools, tools_on_path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "quant" / "zoo" / "digits"
FACTS = DataSetFacts("digits", "0" * 64, [str(digit) for digit in range(10)])


def compile_digits(out: Path, first: Folding, second: Folding) -> Package:
    networks = [Network("stage0", DIGITS / "stage0.onnx", first), Network("stage1", DIGITS / "stage1.onnx", second)]
    return compile_package("digits", networks, FACTS, None, out)


def test_hls4ml_lists_the_backend() -> None:
    from hls4ml.backends import get_available_backends

    assert "rtl" in get_available_backends()


def test_csim_equals_qonnx_and_known_answers(tmp_path: Path) -> None:
    package = compile_digits(tmp_path / "kernel", Folding(100, {}), Folding(1000, {}))
    build_library(package)
    fabric = CsimFabric(package)
    images = np.random.default_rng(5).integers(0, 256, (40, 8, 8, 1), np.uint8)
    for stage, logits in zip(package.kernel.stages, fabric.logits(images), strict=True):
        reference = qonnx_graph.execute(DIGITS / f"{stage.name}.onnx", images) / stage.logit_scale
        assert np.array_equal(logits, reference)
    with np.load(package.path / "vectors.npz") as vectors:
        for stage, logits in zip(package.kernel.stages, fabric.logits(vectors["images"]), strict=True):
            assert np.array_equal(logits, vectors[stage.name])


def test_a_kernel_buffers_as_many_frames_as_asked_for(tmp_path: Path) -> None:
    networks = [Network(name, DIGITS / f"{name}.onnx", Folding(1000, {})) for name in ("stage0", "stage1")]
    package = compile_package("digits", networks, FACTS, None, tmp_path / "kernel", 64)
    assert package.kernel.frame_slots == 64
    assert ".FrameSlots(64)" in package.read("rtl/kernel.sv").decode()
    with pytest.raises(CompileError, match="12 frames in the buffer: give a power of two from 4 to 256"):
        compile_package("digits", networks, FACTS, None, tmp_path / "other", 12)
    assert not (tmp_path / "other").exists()


def test_compiling_twice_gives_equal_bytes(tmp_path: Path) -> None:
    first = compile_digits(tmp_path / "first", Folding(100, {}), Folding(1000, {}))
    second = compile_digits(tmp_path / "second", Folding(100, {}), Folding(1000, {}))
    assert first.kernel == second.kernel


def test_each_layer_takes_its_own_reuse_factor(tmp_path: Path) -> None:
    package = compile_digits(tmp_path / "kernel", Folding(100, {"node_conv2d_1": 7}), Folding(1000, {}))
    layer = next(layer for layer in package.kernel.stages[0].layers if layer.name.endswith("node_conv2d_1"))
    # 7 does not divide 16 outputs x 144 inputs: the next fold that does is built, and both are reported.
    assert (layer.reuse_asked, layer.reuse_built) == (7, 8)
    assert layer.multipliers * layer.reuse_built == 16 * 144


def test_an_unknown_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=r"no layer Conv_9; name one of conv1 .node_conv2d., .*logits .node_linear."):
        compile_digits(tmp_path / "kernel", Folding(100, {"Conv_9": 7}), Folding(1000, {}))
    assert not (tmp_path / "kernel").exists()


@pytest.mark.parametrize(("reuse", "outputs", "lanes", "beats"), [(1, 16, 72, 1), (10, 8, 9, 4), (10**9, 10, 32, 9)])
def test_a_fold_takes_at_least_the_cycles_asked_where_there_are_any(
    reuse: int, outputs: int, lanes: int, beats: int
) -> None:
    fold = choose_fold(reuse, outputs, lanes, beats)
    assert fold.cycles * fold.pe * fold.simd == outputs * lanes * beats
    assert fold.cycles >= min(reuse, outputs * lanes * beats)


def test_the_largest_reuse_keeps_the_budget_and_none_larger_does() -> None:
    reuse = largest_reuse(cycles=1000, positions=9, outputs=32, lanes=144, beats=1)
    assert choose_fold(reuse, 32, 144, 1).cycles * 9 <= 1000
    assert choose_fold(reuse + 1, 32, 144, 1).cycles * 9 > 1000


def changed(tmp_path: Path, change: str) -> Path:
    """stage0 of digits with one thing spoilt."""
    model = onnx.load(DIGITS / "stage0.onnx")
    graph = model.graph
    quants = [node for node in graph.node if node.op_type == "Quant"]
    if change == "scale":
        set_constant(graph, quants[0].input[1], 0.3)
    elif change == "zero":
        set_constant(graph, quants[0].input[2], 1.0)
    elif change in ("weight", "bias"):
        layer = next(node for node in graph.node if node.op_type == "Conv")
        name = layer.input[1 if change == "weight" else 2]
        producer = next(node for node in graph.node if name in node.output)
        layer.input[1 if change == "weight" else 2] = producer.input[0]
    elif change == "erf":
        relu = next(node for node in graph.node if node.op_type == "Relu")
        relu.op_type = "Erf"
        relu.name = "squash"
    path = tmp_path / "stage0.onnx"
    onnx.save(model, path)
    return path


def set_constant(graph: onnx.GraphProto, name: str, value: float) -> None:
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [], [value])
    for node in graph.node:
        if name in node.output:
            node.attribute[0].t.CopyFrom(tensor)
            return
    for initializer in graph.initializer:
        if initializer.name == name:
            initializer.CopyFrom(tensor)
            return
    raise AssertionError(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weight", r"layer .*: its weights are floating point"),
        ("erf", r"layer squash: operator Erf is not supported"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name(tmp_path: Path, change: str, message: str) -> None:
    spoilt = changed(tmp_path, change)
    networks = [
        Network("stage0", spoilt, Folding(100, {})),
        Network("stage1", DIGITS / "stage1.onnx", Folding(1000, {})),
    ]
    with pytest.raises(CompileError, match=message):
        compile_package("digits", networks, FACTS, None, tmp_path / "kernel")
    assert [path.name for path in tmp_path.iterdir()] == ["stage0.onnx"]


@pytest.mark.parametrize("change", ["scale", "zero", "bias"])
def test_what_only_power_of_two_scales_could_not_say_is_exact(tmp_path: Path, change: str) -> None:
    """A float scale or a zero point at the input, and a float bias: the known answers are held against the file."""
    package = compile_alone("odd", Network("stage0", changed(tmp_path, change), Folding(100, {})), tmp_path / "kernel")
    stage = package.kernel.stages[0]
    with np.load(package.path / "vectors.npz") as vectors:
        scale = 0.3 if change == "scale" else 2.0**-8
        ends = integer_network(tmp_path / "stage0.onnx")[0].ends
        (wanted,) = real_outputs(onnx.load(tmp_path / "stage0.onnx"), vectors["images"] * scale, ends)
        wanted = wanted.reshape(len(wanted), -1)
        found = vectors["stage0"] * stage.logit_scale + stage.logit_offset
    assert np.abs(found - wanted).max() <= stage.logit_error + 1e-9 * np.abs(wanted).max()
    assert len(np.unique(found, axis=0)) > 10


def test_a_truncated_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stage0.onnx"
    path.write_bytes((DIGITS / "stage0.onnx").read_bytes()[:1000])
    with pytest.raises(CompileError, match="export it again"):
        qonnx_graph.load(path)


def shipped_kernels() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "bitstreams").glob(f"*/{MANIFEST}"))


@pytest.mark.parametrize("name", shipped_kernels())
def test_the_shipped_package_is_what_the_compiler_makes(name: str, tmp_path: Path) -> None:
    from edgesight.hls.zoo import compile_zoo, foldings_of, shipped

    (recipe,) = shipped([name])
    made = compile_zoo(ROOT / "quant" / "zoo" / name, tmp_path / name, foldings_of(recipe.cycles)).kernel
    kept = Package.load(ROOT / "bitstreams" / name).kernel
    # Bitstreams that were made into the package come and go, and its detector comes with calibration.
    detector = kept.novelty.file if kept.novelty is not None else None
    files = {file: digest for file, digest in kept.files.items() if not file.startswith("boards/") and file != detector}
    assert files == made.files
    assert kept.model_copy(update={"calibration": None, "novelty": None, "boards": {}, "files": files}) == made


def project(folder: Path, name: str, reuse: dict[str, int] | None = None) -> Any:
    """What an hls4ml user does with the shipped stage 0: the written ModelGraph, its project in `folder`."""
    import hls4ml

    graph = qonnx_graph.load(DIGITS / "stage0.onnx")
    config = hls4ml.utils.config_from_onnx_model(
        graph, granularity="name", backend="RTL", default_precision="fixed<32,16>"
    )
    for layer, factor in (reuse or {}).items():
        config["LayerName"][layer.split(" (")[-1].rstrip(")")]["ReuseFactor"] = factor
    model = hls4ml.converters.convert_from_onnx_model(
        graph, output_dir=str(folder), project_name=name, io_type="io_stream", backend="RTL", hls_config=config
    )
    model.write()
    return model


def test_an_hls4ml_project_of_the_rtl_backend_holds_systemverilog_and_what_it_uses(tmp_path: Path) -> None:
    project(tmp_path, "mine")
    written = {path.name for path in (tmp_path / "rtl").iterdir()}
    library = {"dot_products.sv", "max_pool.sv", "mvu.sv", "pipeline_output.sv", "sliding_window.sv", "stream_fifo.sv"}
    library |= {"group_pipeline.sv", "weight_memory.sv"}
    assert {name for name in written if not name.startswith("mine")} == library
    # hls4ml's factor is 1 where none is given: a layer of few weights is made of additions then.
    weights = {name for name in written - library if name.endswith("_weights.mem")}
    additions = {name for name in written - library if name.endswith("_sums.sv")}
    assert written - library == {"mine.sv", *weights, *additions}
    assert len(weights) + len(additions) == 4
    assert weights
    assert additions
    assert "module mine (" in (tmp_path / "rtl" / "mine.sv").read_text()
    assert (tmp_path / "firmware" / "mine.cpp").is_file()


@pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")
def test_the_library_modules_that_are_written_are_enough(tmp_path: Path) -> None:
    project(tmp_path, "mine")
    files = sorted((tmp_path / "rtl").glob("*.sv"))
    command = ["verilator", "--lint-only", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "mine"]

    def lint(given: list[Path]) -> str:
        with tools_on_path():
            done = subprocess.run([*command, *map(str, given)], capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    assert lint(files) == ""
    for path in files:
        if not path.name.startswith("mine"):
            assert f"Cannot find file containing module: '{path.stem}'" in lint([one for one in files if one != path])


def test_what_a_package_links_is_what_its_kernel_reaches() -> None:
    kernel = Package.load(ROOT / "bitstreams" / "digits").kernel
    # A cascade's modules, and the networks' that the digits need; only other networks' are missing.
    other = {
        "group_pipeline.sv",
        "rescale.sv",
        "stream_add.sv",
        "stream_concat.sv",
        "stream_fork.sv",
        "thresholding.sv",
    }
    other |= {
        "replay_buffer.sv",
        "stream_split.sv",
        "upsample.sv",
        "runtime_memory.sv",
        "feature_gate.sv",
    }  # the last hands features on
    assert set(kernel.library) == {path.name for path in LIBRARY.glob("*.sv")} - other
    with_words = {
        "top.sv": "// mvu #( in a comment\nlogic margin; assign mvu_q = slot_pool_valid; /* stream_fifo u ( */"
    }
    assert emit.library_of(with_words) == {}
    assert set(emit.library_of({"top.sv": "record_output #(.A(1)) u_out ();"})) >= {"record_output.sv"}


def test_an_hls4ml_user_and_a_package_get_the_same_bytes(tmp_path: Path) -> None:
    package = compile_digits(tmp_path / "kernel", Folding(100, {}), Folding(1000, {}))
    stage = package.kernel.stages[0]
    asked = {layer.name: layer.reuse_asked for layer in stage.layers if layer.multipliers}
    project(tmp_path / "project", "stage0", asked)
    written = {path.name: path.read_bytes() for path in (tmp_path / "project" / "rtl").iterdir()}
    packed = package.sources()
    assert {name for name in packed if name.startswith("stage0")} <= written.keys()
    assert written == {name: packed[name] for name in written}
    firmware = tmp_path / "project" / "firmware"
    of_package = {name for name in package.kernel.files if name.startswith("csim/stage0/")}
    assert len(of_package) > 10
    for name in of_package:
        ours = package.read(name)
        theirs = (firmware / name.removeprefix("csim/stage0/")).read_bytes()
        assert without_namespace(theirs) == without_namespace(ours), name


def without_namespace(source: bytes) -> bytes:
    """hls4ml's C++ but for its namespace and how it reads weights, which are the project's and not the network's."""
    kept = [line for line in source.splitlines() if not line.startswith((b"namespace ", b"}"))]
    return b"\n".join(line for line in kept if line.strip())


def test_weights_that_are_changed_after_the_conversion_are_seen(tmp_path: Path) -> None:
    model = project(tmp_path, "mine")
    layer = next(node for node in model.get_layers() if node.class_name == "Dense")
    layer.weights["weight"].data = -layer.weights["weight"].data
    with pytest.raises(CompileError, match=r"layer .*linear.*: its weights or its ReuseFactor were changed after"):
        model.write()


def test_each_stage_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(model: Any, *more: Any, **named: Any) -> tuple[IntegerNetwork, list[str]]:
        seen.append(Path(model).name)
        return integer_network(model, *more, **named)

    for module in ("compile", "backend", "qonnx_graph"):
        monkeypatch.setattr(f"edgesight.hls.{module}.integer_network", counted)
    compile_digits(tmp_path / "kernel", Folding(100, {}), Folding(1000, {}))
    assert seen == ["stage0.onnx", "stage1.onnx"]


def test_other_weights_leave_the_structure_as_it_is(tmp_path: Path) -> None:
    """Two weights of one output that change places leave every bound of its sums: the same hardware, other contents."""
    model = onnx.load(DIGITS / "stage0.onnx")
    names = [node.input[0] for node in model.graph.node if node.op_type == "Quant"]
    kernel = next(one for one in model.graph.initializer if one.name in names and len(one.dims) == 4)
    values = numpy_helper.to_array(kernel).copy()
    values[0, 0, 0, [0, 1]] = values[0, 0, 0, [1, 0]]
    assert not np.array_equal(values, numpy_helper.to_array(kernel))
    kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    onnx.save(model, tmp_path / "stage0.onnx")
    second = Network("stage1", DIGITS / "stage1.onnx", Folding(1000, {}))
    given, made = (
        compile_package("digits", [Network("stage0", path, Folding(100, {})), second], FACTS, None, tmp_path / name)
        for name, path in (("given", DIGITS / "stage0.onnx"), ("made", tmp_path / "stage0.onnx"))
    )
    assert made.kernel.build_hash == given.kernel.build_hash
    assert made.kernel.weights_sha256 != given.kernel.weights_sha256
    assert Package.load(made.path).kernel == made.kernel
