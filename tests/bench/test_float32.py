"""Where a network in single precision falls on the other side of a quantiser's boundary is found and measured."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgesight.bench.coverage.float32 import float32
from tests.hls.graph.graphs import Graph

SIXTH = np.float32(1 / 6)  # a bit more than a sixth: times 3 it is above a half, but not by a step of single precision


def written(factor: np.float32, mode: str = "ROUND") -> onnx.ModelProto:
    """A file whose network takes a value times `factor` to the next integer."""
    graph = Graph((2,), 0)
    scaled = graph.node("Mul", ["image", graph.constant(np.full(2, factor, np.float32))])
    return graph.graph(graph.quantise(scaled, 4, scale=np.float32(1), mode=mode))


def test_a_value_that_rounds_the_other_way_is_told_with_its_distance() -> None:
    found = float32(written(SIXTH), np.array([[0.0, 3.0], [6.0, 6.0], [3.0, 3.0]]))
    assert found.inputs == 2
    assert found.top1 == 1
    (boundary,) = found.boundaries
    assert boundary.values == 3
    assert boundary.distance == pytest.approx(3 * float(SIXTH) - 0.5, rel=1e-9)
    assert not found.skipped


def test_what_agrees_is_told_as_such() -> None:
    found = float32(written(np.float32(0.25)), np.array([[3.0, 0.0], [2.0, 6.0]]))
    assert (found.inputs, found.top1, found.boundaries, found.skipped) == (0, 0, (), "")


def test_what_onnx_has_no_operator_for_is_skipped_by_name() -> None:
    path = written(SIXTH, mode="HALF_DOWN")
    assert "a Quant that ONNX has no operators for" in float32(path, np.zeros((1, 2))).skipped
