"""A network small enough that its splits can be worked out by hand."""

from __future__ import annotations

from typing import Any

from edgesight.plan.profile import checked
from edgesight.plan.split.plan import SplitProfile


def layer(name: str, device: float | None, datacenter: float | None, size: int) -> dict[str, Any]:
    times = {"pi": device, "gpu": datacenter}
    return {"name": name, "ms": {k: v for k, v in times.items() if v is not None}, "output_bytes": size}


def content() -> dict[str, Any]:
    """Two layers and an exit behind each; the second exit has a layer of its own."""
    return {
        "name": "two",
        "device": {"name": "pi"},
        "datacenter": {"name": "gpu", "tier": 1},
        "obtained": {"pi": "quoted", "gpu": "quoted"},
        "accuracy_obtained": "quoted",
        "input_bytes": 10_000,
        "layers": [layer("a", 10.0, 1.0, 4_000), layer("b", 30.0, 2.0, 1_000)],
        "exits": [
            {"name": "early", "accuracy": 0.7, "after": 1, "answer_bytes": 100},
            {"name": "last", "accuracy": 0.9, "after": 2, "layers": [layer("c", 5.0, 0.5, 100)], "answer_bytes": 100},
        ],
    }


def profile() -> SplitProfile:
    return checked(content(), SplitProfile, "test")
