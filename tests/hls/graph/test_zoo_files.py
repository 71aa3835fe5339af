"""Trained QONNX files of others, each exact. They are not part of the project: the tests skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgesight.hls.graph.integer_network import Format
from tests.hls.graph.graphs import exact

ZOO = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "qonnx-zoo"
JETS = Format(-(1 << 15), (1 << 15) - 1, 2.0**-10)


@pytest.mark.parametrize(("name", "entry"), [("TFC_1W1A", None), ("kwsmlp_w3a3", None), ("qkeras_jettagging", JETS)])
def test_a_trained_file_is_exact(name: str, entry: Format | None) -> None:
    path = ZOO / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    model = onnx.load(path)
    network, _ = exact(model, entry)
    assert network.outputs[0].error == 0
