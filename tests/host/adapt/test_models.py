"""Frames that are really run: by ONNX Runtime, of models with input sizes of their own."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesight.host.adapt.models import OfRepository
from edgesight.host.adapt.planning import AdaptError, Model
from edgesight.host.adapt.service import Adapting
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.doors.served import Code, Refused, Response
from edgesight.host.pictures import read
from tests.host.adapt.adapting import LARGE, ME, SMALL, Still, frame, said
from tests.waiting import until

onnx = pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
BUDGET = 1 << 30


def save_model(folder: Path, model: Model, *, element: str = "UINT8") -> Path:
    """Sums pictures [N, side, side, 3], weighted by chance."""
    helper, side = onnx.helper, model.input_px
    weights = np.random.default_rng(side).normal(size=(side * side * 3, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        model.name,
        [helper.make_tensor_value_info("image", getattr(onnx.TensorProto, element), ["N", side, side, 3])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    path = folder / model.name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=90)
    return written.getvalue()


def alone(path: Path, side: int, content: bytes) -> np.ndarray[Any, Any]:
    """By ONNX Runtime, without anything of ours but how a picture is read."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    found: np.ndarray[Any, Any] = session.run(["scores"], {"image": read(content, side, side, 3).pixels[None]})[0]
    return found


def test_frames_are_run_by_the_planned_model_and_answers_are_onnx_runtimes(tmp_path: Path) -> None:
    paths = {model.name: save_model(tmp_path, model) for model in (LARGE, SMALL)}
    pictures = [picture(seed) for seed in range(3)]

    async def answered(planned: str) -> list[Response]:
        planner = Still(planned, batch=2)
        executor = OfRepository(tmp_path, planner.gpus, planner.models, BUDGET)
        async with Adapting(planner, executor) as served:
            with pytest.raises(Refused, match="there is no plan yet"):
                await served.infer(frame(said()), ME)
            await until(lambda: all(client.place is not None for client in served.clients))
            with pytest.raises(Refused) as error:
                await served.infer(frame(said(), b"no picture"), ME)
            assert error.value.code is Code.INVALID_ARGUMENT
            return list(await asyncio.gather(*(served.infer(frame(said(), one), ME) for one in pictures)))

    for model in (LARGE, SMALL):
        for content, response in zip(pictures, asyncio.run(answered(model.name)), strict=True):
            (output,) = response.outputs
            assert response.parameters["ran"] == model.name
            assert response.parameters["executor"] == "repository"
            assert output.name == "scores"
            assert output.values.shape == (1, 4)
            np.testing.assert_allclose(output.values, alone(paths[model.name], model.input_px, content), rtol=1e-5)


def test_what_cannot_be_served_says_why(tmp_path: Path) -> None:
    async def start(folder: Path, model: Model) -> None:
        await OfRepository(folder, ["gpu"], [model], BUDGET).start()

    save_model(tmp_path / "floats", LARGE, element="FLOAT")
    with pytest.raises(AdaptError, match=r"put form\.json into its folder"):
        asyncio.run(start(tmp_path / "floats", LARGE))
    save_model(tmp_path / "sizes", LARGE)
    other = Model("large", 48, 0.9, 3_000, (40.0,))
    with pytest.raises(AdaptError, match=r"not UINT8 \[N, 48, 48, 3\]"):
        asyncio.run(start(tmp_path / "sizes", other))
    with pytest.raises(AdaptError, match="is not in the repository"):
        asyncio.run(start(tmp_path / "sizes", SMALL))
    with pytest.raises(ModelError, match="is no folder"):
        asyncio.run(start(tmp_path / "absent", SMALL))
