"""A small network with three exits, and its profile, for tests of splits and of what runs them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesight.plan.profile import Device
from edgesight.plan.split.join import join
from edgesight.plan.split.measure import measure_onnx
from edgesight.plan.split.plan import Layer, SplitProfile

SHAPE = (1, 3, 32, 32)
ACCURACY = {"first": 0.6, "second": 0.8, "third": 0.9}


def save_network(path: Path, seed: int = 0) -> Path:
    """Convolutions with batch normalisation, a shortcut, and an exit behind the first, the second and the last."""
    import onnx

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(seed)
    weights: dict[str, Any] = {"w1": rng.normal(size=(8, 3, 3, 3))}
    weights |= {f"w{number}": rng.normal(size=(8, 8, 3, 3)) / 8 for number in (2, 3)}
    nodes = []

    def node(kind: str, inputs: list[str], output: str, **options: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **options))
        return output

    def head(before: str, exit_: str) -> None:
        weights[f"{exit_}_d"] = rng.normal(size=(8, 5))
        pooled = node("GlobalAveragePool", [before], f"{exit_}_p")
        node("MatMul", [node("Flatten", [pooled], f"{exit_}_f"), f"{exit_}_d"], exit_)

    before = "x"
    for number, exit_ in enumerate(ACCURACY, 1):
        convolved = node(
            "Conv", [before, f"w{number}"], f"c{number}", pads=[1] * 4, strides=[4 if number == 2 else 1] * 2
        )
        weights |= {f"{name}{number}": rng.random(8) + 0.5 for name in ("scale", "bias", "mean", "var")}
        names = [f"{name}{number}" for name in ("scale", "bias", "mean", "var")]
        after = node("Relu", [node("BatchNormalization", [convolved, *names], f"n{number}")], f"r{number}")
        before = node("Add", [before, after], f"s{number}") if number == 3 else after
        head(before, exit_)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", floats, ["N", *SHAPE[1:]])],
        [helper.make_tensor_value_info(name, floats, ["N", 5]) for name in ACCURACY],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def profile_of(network: Path) -> SplitProfile:
    """Its layers and bytes as measured; times as stated, so that plans are the same everywhere."""
    measured = measure_onnx(network, "pi", repeats=1)
    accuracy = {one.name: ACCURACY[one.name] for one in measured.exits}
    profile = join(measured, measured.model_copy(update={"device": Device(name="server")}), accuracy, "projected")

    def timed(layers: Sequence[Layer]) -> list[Layer]:
        return [layer.model_copy(update={"ms": {"pi": 10.0, "server": 0.1}}) for layer in layers]

    exits = [one.model_copy(update={"layers": tuple(timed(one.layers))}) for one in profile.exits]
    return profile.model_copy(update={"layers": timed(profile.layers), "exits": exits})


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Inputs of the network."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=SHAPE).astype(np.float32) for _ in range(count)]
