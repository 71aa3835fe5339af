"""Batches, models and requests that are too large: told, and in nobody else's way."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.host.datacenter.tiny import ask, centre, hosted_in, memory_of, put, run, scaled, values
from tests.waiting import until

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")


def filled() -> bytes:
    """An ONNX model of `n` int64 [1] -> `y` float32 [n]: it takes the memory that it is told to."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["n"], ["y"])],
        "filled",
        [helper.make_tensor_value_info("n", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_a_large_batch_that_is_allowed_keeps_nobody_waiting(tmp_path: Path) -> None:
    put(tmp_path, "double", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path) as made:
            double = hosted_in(made, "double")
            assert double.scheduler is not None
            double.scheduler.max_batch = double.max_batch_size = 1 << 28
            begun = time.monotonic()
            await ask(made, "double", values([1, 2, 3, 4]))
            assert time.monotonic() - begun < 10.0

    run(test())


def test_what_a_load_shows_to_be_too_large_is_told_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgesight.host.datacenter.hosted._PROCESS_BYTES", 0
    )  # so that it is thought to take nearly nothing
    put(tmp_path, "large", scaled(2.0))

    async def test() -> None:
        async with centre(tmp_path, budget=10 << 20) as made:
            (entry,) = made.index(False)
            assert entry.state == "UNAVAILABLE"
            assert "MiB, and the budget of 10 MiB has no room for it: give a larger one" in entry.reason
            assert memory_of(made).used == 0

    run(test())


def test_a_request_that_took_too_much_keeps_the_model_from_nobody(tmp_path: Path) -> None:
    put(tmp_path, "filled", filled())

    async def test() -> None:
        async with centre(tmp_path, budget=200 << 20) as made:
            few, many = np.array([3]), np.array([100 << 18])  # of 4 bytes
            await ask(made, "filled", few, name="n", datatype="INT64")
            await ask(made, "filled", many, name="n", datatype="INT64")
            await until(lambda: memory_of(made).evictions > 0, 20.0)
            await ask(made, "filled", few, name="n", datatype="INT64")

    run(test())
