"""What tests of adaptation share: two models, a planner that says what it is told, and requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgesight.host.adapt import asked
from edgesight.host.adapt.planning import Model, Place, Round, Wants, Work
from edgesight.host.doors.served import Caller, Parameter, Request, Tensor

LARGE = Model("large", 64, 0.9, 3_000, (40.0, 60.0, 80.0, 100.0))
SMALL = Model("small", 32, 0.6, 1_000, (4.0, 6.0, 8.0, 10.0))
MODELS = {model.name: model for model in (LARGE, SMALL)}
ME = Caller("me")


class Still:
    """A planner that gives everybody one model on one GPU, and remembers who was there."""

    def __init__(self, model: str = "large", batch: int = 2, held: tuple[str, ...] = ("large", "small")) -> None:
        self.models: Sequence[Model] = (LARGE, SMALL)
        self.gpus: Sequence[str] = ("gpu",)
        self.first: Mapping[str, Work] = {}
        self.overhead_ms = 0.0
        self.model, self.batch, self.held = model, batch, held
        self.asked: list[dict[str, Wants]] = []

    def round(self, now_s: float, clients: Mapping[str, Wants]) -> Round:
        self.asked.append(dict(clients))
        places = {name: Place("gpu", self.model) for name in clients}
        return Round(places, {"gpu": Work(self.model, self.batch, now_s, self.held)})


def said(client: str = "camera", **other: Any) -> dict[str, Parameter]:
    """The parameters of a frame; None leaves one out."""
    found: dict[str, Any] = {
        asked.CLIENT: client,
        asked.SLO_MS: 10_000.0,
        asked.RATE: 100.0,
        asked.MBPS: 20.0,
        asked.ROUND_TRIP_MS: 0.0,
        asked.SIZED_FOR: "large",
        **other,
    }
    return {name: value for name, value in found.items() if value is not None}


def frame(parameters: Mapping[str, Parameter], content: bytes = b"frame", timeout: float | None = None) -> Request:
    values = np.empty(1, object)
    values[0] = content
    return Request(asked.APPLICATION, [Tensor(asked.PICTURE, "BYTES", values)], parameters=parameters, timeout=timeout)
