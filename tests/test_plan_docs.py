"""docs/plan.md: every command in it runs, in order, on the examples that are printed and on a network."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import edgesight.cli.app  # noqa: F401 # registers every planner's commands
from edgesight.cli.plan import group

onnx = pytest.importorskip("onnx", reason="onnx is not installed: a network is measured with the extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: it comes with the extra `build`")
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "plan.md"


def network(path: Path) -> None:
    """A convolution with an early exit, and another one with the final exit."""
    helper = onnx.helper
    weights = {"w1": (4, 3, 3, 3), "w2": (8, 4, 3, 3), "e": (4 * 30 * 30, 10), "f": (8 * 28 * 28, 10)}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="conv1"),
        helper.make_node("Flatten", ["c1"], ["flat1"], name="flat1"),
        helper.make_node("MatMul", ["flat1", "e"], ["early"], name="early"),
        helper.make_node("Conv", ["c1", "w2"], ["c2"], name="conv2"),
        helper.make_node("Flatten", ["c2"], ["flat2"], name="flat2"),
        helper.make_node("MatMul", ["flat2", "f"], ["final"], name="final"),
    ]
    save(path, nodes, weights, [1, 3, 32, 32], ["early", "final"])


def pictures(path: Path) -> None:
    """A network that takes batches of pictures of any size, for models by size."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv", strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["flat"], name="flat"),
        helper.make_node("MatMul", ["flat", "d"], ["final"], name="final"),
    ]
    save(path, nodes, {"w": (4, 3, 3, 3), "d": (4, 10)}, ["N", 3, "S", "S"], ["final"])


def save(path: Path, nodes: list[Any], weights: dict[str, tuple[int, ...]], shape: list[Any], out: list[str]) -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(name, kind, [shape[0], 10]) for name in out],
        [onnx.numpy_helper.from_array(np.ones(size, np.float32), name) for name, size in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_the_documents_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy", reason="scipy is not installed: workflows are planned with the extra `plan`")
    text = DOCUMENT.read_text()
    assert "```json" not in text  # of each example there is one copy, which is printed
    network(tmp_path / "net.onnx")
    pictures(tmp_path / "small.onnx")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert {command.split()[2] for command in commands} == set(typer.main.get_command(group).commands)  # type: ignore[attr-defined]
    for command in commands:
        line, _, file = command.partition(" > ")
        program, group_name, *arguments = shlex.split(line)
        assert (program, group_name) == ("edgesight", "plan")
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"
        if file:
            (tmp_path / file).write_text(result.stdout)
