"""Executors are one to whoever asks: arrays in by name, arrays out by name, faults named."""

from __future__ import annotations

import asyncio
import errno
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edgesight.host.datacenter.blocks import new_block
from edgesight.host.datacenter.executors import ModelError, Recipe, make
from edgesight.host.datacenter.executors.onnx_runtime import OnnxExecutor, provider_options
from edgesight.host.doors.served import TensorForm
from tests.host.datacenter.tiny import recipe, scaled, values

ROWS = values([1, 2, 3, 4], [5, 6, 7, 8])


def test_an_onnx_model_is_told_of_and_run() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    executor = make(recipe(), scaled(2.0))
    assert (executor.inputs, executor.outputs, executor.max_batch_size) == (
        (TensorForm("x", "FP32", (-1, 4)),),
        (TensorForm("y", "FP32", (-1, 4)),),
        8,
    )
    assert np.array_equal(executor.run({"x": ROWS})["y"], ROWS * 2)
    assert make(recipe(), scaled(2.0, batch=1)).max_batch_size == 0
    with pytest.raises(ModelError, match="Got invalid dimensions"):
        executor.run({"x": np.zeros((1, 5), np.float32)})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another input": (
        {"inputs": (TensorForm("z", "FP32", (-1, 4)),)},
        "input 'z' is declared, but the file has x: mend",
    ),
    "another type": ({"outputs": (TensorForm("y", "FP16", (-1, 4)),)}, r"declared as FP16 \[-1, 4\], but the file has"),
    "another shape": ({"inputs": (TensorForm("x", "FP32", (-1, 5)),)}, r"declared as FP32 \[-1, 5\], but the file has"),
    "no number": ({"options": {"threads": "many"}}, "`threads` is 'many': state a whole number"),
    "no device": ({"options": {"device": "tpu"}}, "`device` is 'tpu': state one of cpu, cuda, tensorrt"),
    "a device that is not here": ({"options": {"device": "cuda"}}, "has no CUDAExecutionProvider here: install"),
    "no level": ({"options": {"graph_level": "3"}}, "optimization.graph.level is 3: state one of -1, 1, 2"),
    "no backend": ({"kind": "caffe"}, "its backend is 'caffe': state one of onnxruntime, pytorch, triton"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_the_file_gainsays_is_refused_with_both(wrong: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    if "CUDAExecutionProvider" in runtime.get_available_providers() and "not here" in wrong:
        pytest.skip("it is here")
    told, said = WRONG[wrong]
    fields: dict[str, Any] = {"kind": "onnxruntime", "name": "m", **told}
    with pytest.raises(ModelError, match=said):
        make(Recipe(**fields), scaled(2.0))


def test_a_graph_is_changed_as_far_as_its_configuration_says() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    levels = runtime.GraphOptimizationLevel
    for options, level in (({}, levels.ORT_ENABLE_ALL), ({"graph_level": "-1"}, levels.ORT_ENABLE_BASIC),
                           ({"graph_level": "2"}, levels.ORT_DISABLE_ALL)):  # fmt: skip
        executor = make(recipe(**options), scaled(2.0))
        assert isinstance(executor, OnnxExecutor)
        assert executor._session.get_session_options().graph_optimization_level == level


def test_bound_inputs_and_outputs_are_those_of_a_plain_run() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    executor = make(recipe(), scaled(2.0))
    assert isinstance(executor, OnnxExecutor)
    found = executor.run_bound({"x": ROWS}, ["y"], "cpu")
    assert list(found) == ["y"]
    assert np.array_equal(found["y"], executor.run({"x": ROWS})["y"])
    with pytest.raises(ModelError, match="Got invalid dimensions"):
        executor.run_bound({"x": np.zeros((1, 5), np.float32)}, ["y"], "cpu")


def test_tensorrt_is_told_of_all_sizes_of_a_batch_that_may_come() -> None:
    tensorrt = "TensorrtExecutionProvider"
    image = TensorForm("image", "UINT8", (-1, 224, 224, 3))
    assert provider_options(tensorrt, [image], 32) == {
        "trt_profile_min_shapes": "image:1x224x224x3",
        "trt_profile_opt_shapes": "image:32x224x224x3",
        "trt_profile_max_shapes": "image:32x224x224x3",
    }
    for other in (TensorForm("x", "FP32", (1, 4)), TensorForm("x", "FP32", (-1, -1))):
        assert provider_options(tensorrt, [other], 32) == {}
    assert provider_options("CPUExecutionProvider", [image], 32) == {}


@pytest.mark.parametrize("told", ["0", "-1", "99999999999", "9" * 5000, "\N{ARABIC-INDIC DIGIT FOUR}", "four"])
def test_threads_that_cannot_be_are_refused(told: str) -> None:
    with pytest.raises(ModelError, match=r"model: `threads` is '.{1,40}': state a whole number of 1 to 1024"):
        recipe(threads=told).threads()


def test_no_room_for_temporary_files_is_not_said_to_be_the_models_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(ModelError, match=r"no room for a temporary folder \(No space left"):
        make(recipe(), scaled(2.0))


def test_a_fixed_batch_is_no_batch_whatever_its_configuration_says() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    with pytest.raises(ModelError, match=r"max_batch_size is 4, but x has shape \[1, 4\]: export it"):
        make(Recipe("onnxruntime", "m", max_batch_size=4), scaled(2.0, batch=1))


def test_pytorch_models_of_both_kinds_are_run() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: extra `build`")

    class Double(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Any) -> Any:
            return x * 2.0

    with io.BytesIO() as file:
        program = torch.export.export(
            Double(), (torch.zeros(2, 4),), dynamic_shapes={"x": {0: torch.export.Dim("N", min=1, max=64)}}
        )
        torch.export.save(program, file)
        exported = file.getvalue()
    executor = make(Recipe("pytorch", "m"), exported)
    assert list(executor.inputs) == [TensorForm("x", "FP32", (-1, 4))]
    assert list(executor.outputs) == [TensorForm("OUTPUT__0", "FP32", (-1, 4))]
    assert executor.max_batch_size == 8
    assert np.array_equal(executor.run({"x": ROWS})["OUTPUT__0"], ROWS * 2)
    with io.BytesIO() as file:
        torch.jit.save(torch.jit.trace(Double(), torch.zeros(2, 4)), file)
        script = file.getvalue()
    with pytest.raises(ModelError, match=r"TorchScript, which does not tell its shapes: declare input and output"):
        make(Recipe("pytorch", "m"), script)
    ports = (TensorForm("INPUT__0", "FP32", (-1, 4)),), (TensorForm("y", "FP32", (-1, 4)),)
    executor = make(Recipe("pytorch", "m", *ports, max_batch_size=16), script)
    assert executor.max_batch_size == 16
    assert np.array_equal(executor.run({"INPUT__0": ROWS})["y"], ROWS * 2)
    with pytest.raises(ModelError, match="m is no model that PyTorch can load"):
        make(Recipe("pytorch", "m"), exported[:100])


@pytest.fixture
def remote() -> Iterator[str]:
    """A server of the protocol with one model, `x` float32 [N, 4] -> `y` = x * 2."""
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    service = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    pb2, pb2_grpc = service.service_pb2, service.service_pb2_grpc

    class Remote(pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[name-defined,misc]
        def ModelMetadata(self, request: Any, context: Any) -> Any:
            if request.name != "double":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
            told = pb2.ModelMetadataResponse(name="double", versions=["1"], platform="test")
            told.inputs.add(name="x", datatype="FP32", shape=[-1, 4])
            told.outputs.add(name="y", datatype="FP32", shape=[-1, 4])
            return told

        def ModelConfig(self, request: Any, context: Any) -> Any:
            return pb2.ModelConfigResponse(config={"max_batch_size": 4})

        def ModelInfer(self, request: Any, context: Any) -> Any:
            rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
            if rows[0, 0] < 0:
                context.abort(grpc.StatusCode.INTERNAL, "it does not like that row")
            given = pb2.ModelInferResponse(model_name="double", raw_output_contents=[(rows * 2).tobytes()])
            given.outputs.add(name="y", datatype="FP32", shape=request.inputs[0].shape)
            return given

    server = grpc.server(ThreadPoolExecutor(2))
    pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Remote(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_a_model_of_another_server_is_run_there(remote: str) -> None:
    executor = make(Recipe("triton", "here", options={"url": remote, "model": "double"}), b"")
    assert list(executor.inputs) == [TensorForm("x", "FP32", (-1, 4))]
    assert executor.max_batch_size == 4
    assert np.array_equal(executor.run({"x": ROWS})["y"], ROWS * 2)
    with pytest.raises(ModelError, match="it does not like that row"):
        executor.run({"x": -ROWS})
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:\d+ does not tell of model 'none'"):
        make(Recipe("triton", "none", options={"url": remote}), b"")
    with pytest.raises(ModelError, match="no `url` is stated"):
        make(Recipe("triton", "none"), b"")


def test_arrays_cross_a_block_as_they_are() -> None:
    block = new_block()
    texts = np.array([[b"", b"a"], [b"\x00\xff", b"long" * 9_000]], object)
    arrays: dict[str, list[Any]] = {
        "whole": [np.arange(6, dtype=np.int64).reshape(2, 3)],
        "parts": [np.full((rows, 2), rows, np.float16) for rows in (1, 3, 2)],
        "texts": [texts, texts[:1]],
        "one": [np.array(7, np.uint8)],
        "true": [np.array([True, False])],
        "large": [np.random.default_rng(1).random((3, 100_000))],
    }
    places = block.write(arrays)
    for copied in (False, True):
        found = block.read(places, copied)
        for name, parts in arrays.items():
            expected = np.concatenate(parts) if len(parts) > 1 else parts[0]
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected), name
    for wrong in (
        ["a", "FP32", [2, 2], 0, 15],
        ["a", "FP32", [-1], 0, 4],
        ["a", "FP32", [1], -4, 4],
        ["a", "X", [], 0, 0],
    ):
        with pytest.raises(ModelError):
            block.read([wrong], True)
    with pytest.raises(ModelError, match=r"arrays take .* bytes, more than"):
        block.read([["a", "UINT8", [1 << 31], 0, 1 << 31]], True)
    with pytest.raises(ModelError, match="is of complex128, which the protocol has no word for"):
        block.write({"a": [np.zeros(1, complex)]})
    block.close()


@pytest.mark.parametrize(("count", "less"), [(1, 0), (3, 0), (2, 1), (2, 9)])
def test_bytes_that_are_cut_off_or_too_many_are_seen(count: int, less: int) -> None:
    block = new_block()
    ((name, datatype, _, offset, size),) = block.write({"a": [np.array([b"a", b"b"], object)]})
    with pytest.raises(ModelError, match="report it"):
        block.read([(name, datatype, [count], offset, size - less)], True)
    block.close()


def test_boards_need_none_of_what_runs_models() -> None:
    """Importing what others import here imports no library."""
    code = (
        "import sys, edgesight.host.datacenter.application\n"
        "heavy = {'torch', 'onnxruntime', 'tritonclient', 'grpc', 'google.protobuf'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    async def test() -> int:
        import sys

        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
        return await process.wait()

    assert asyncio.run(test()) == 0
