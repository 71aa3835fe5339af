"""A small workflow of two branches that meet, with networks for its operators, for tests of what runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgesight.plan.profile import checked
from edgesight.plan.workflow.plan import plan
from edgesight.plan.workflow.problem import Workflow, WorkflowPlan

SIDES = {"left": 4, "right": 3}
OUTPUTS = 5


def save_networks(folder: Path) -> Path:
    """OPERATOR/VARIANT.onnx: each branch multiplies its input by a matrix, the sink adds what both give."""
    import onnx

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    rng = np.random.default_rng(0)

    def info(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, floats, [1, size])

    def save(path: Path, nodes: Sequence[Any], taken: Sequence[Any], weights: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        constants = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
        graph = helper.make_graph(nodes, "net", taken, [info("y", OUTPUTS)], constants)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))

    for name, side in SIDES.items():
        for variant in ("small", "large"):
            weights = {"w": rng.normal(size=(side, OUTPUTS)).astype(np.float32)}
            save(
                folder / name / f"{variant}.onnx",
                [helper.make_node("MatMul", ["x", "w"], ["y"])],
                [info("x", side)],
                weights,
            )
    taken = [info(name, OUTPUTS) for name in SIDES]
    save(folder / "sum" / "only.onnx", [helper.make_node("Add", list(SIDES), ["y"])], taken, {})
    return folder


def workflow(rate: float = 30.0, **changes: Any) -> Workflow:
    """Three cheap workers, one of which is too slow for `left` alone."""
    content = {
        "obtained": "projected",
        "sources": [{"name": f"{name}-eye", "rate": rate} for name in SIDES],
        "operators": [
            *({"name": name, "variants": ["small", "large"]} for name in SIDES),
            {"name": "sum", "variants": ["only"]},
        ],
        "edges": [
            *({"source": f"{name}-eye", "target": name, "messages": [{"size_bytes": 16.0}]} for name in SIDES),
            *({"source": name, "target": "sum", "messages": [{"size_bytes": 20.0}]} for name in SIDES),
        ],
        "workers": [
            {
                "name": worker,
                "tier": 0,
                "dollars_per_hour": 0.1,
                "latency_ms": {
                    "left": {"large": 40.0, "small": 20.0},
                    "right": {"large": 20.0, "small": 9.0},
                    "sum": {"only": 5.0},
                },
            }
            for worker in ("a", "b", "c", "d", "e")
        ],
        "sink": "sum",
        "accuracies": [
            {
                "variants": {"left": left, "right": right},
                "accuracy": 0.6 + 0.1 * (left == "large") + 0.2 * (right == "large"),
            }
            for left in ("small", "large")
            for right in ("small", "large")
        ],
        "accuracy": 0.85,
    }
    return checked({**content, **changes}, Workflow, "workflow")


def planned(described: Workflow) -> WorkflowPlan:
    """The cheapest plan."""
    return plan(described, method="exact")


def expected(folder: Path, inputs: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """What the sink gives, by ONNX Runtime alone, with the large variants."""
    import onnxruntime

    def run(name: str, feed: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        found: np.ndarray[Any, Any] = session.run(["y"], feed)[0]
        return found

    parts = {name: run(f"{name}/large.onnx", {"x": inputs[f"{name}-eye"]}) for name in SIDES}
    return run("sum/only.onnx", parts)


def request(number: int) -> dict[str, np.ndarray[Any, Any]]:
    """What both sources bring."""
    rng = np.random.default_rng(number)
    return {f"{name}-eye": rng.normal(size=(1, side)).astype(np.float32) for name, side in SIDES.items()}
