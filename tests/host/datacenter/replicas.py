"""Data centres whose models run in Ray Serve's replicas, and who asks them without a pause."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.on_ray.engine import OnRay
from edgesight.host.datacenter.on_ray.hosted import HostedOnRay
from edgesight.host.datacenter.on_ray.place import Place
from edgesight.host.datacenter.repository import Repository
from edgesight.host.doors.served import Refused, Response
from tests.host.datacenter.tiny import ask

WIDTH = 256  # of what `wide` takes


@contextlib.asynccontextmanager
async def centre_on(place: Place, folder: Path, *names: str, **more: Any) -> AsyncIterator[DataCentre]:
    """A data centre over `folder` with the models `names` loaded in replicas, all without."""
    async with DataCentre(Repository(folder, **more), OnRay(place)) as made:
        await made.start(list(names) or None)
        yield made


def losses_of(made: DataCentre, model: str) -> int:
    """Calls that were lost and made again."""
    found = made._hosted(model, "")
    assert isinstance(found, HostedOnRay)
    return found.calls.losses


async def replicas_of(place: Place) -> list[dict[str, Any]]:
    """What each replica tells of itself, those that are just lost left out."""
    told = await place.handle.broadcast("told").results_async(timeout_s=30.0, return_exceptions=True)
    return [one for one in told if isinstance(one, dict)]


def wide(seed: int, layers: int = 4) -> bytes:
    """An ONNX model of `x` float32 [N, WIDTH] -> `y` [N, WIDTH], which takes milliseconds."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, weights, before = [], [], "x"
    for layer in range(layers):
        for name, shape in ((f"up{layer}", (WIDTH, 8 * WIDTH)), (f"down{layer}", (8 * WIDTH, WIDTH))):
            values = rng.normal(size=shape, scale=shape[0] ** -0.5).astype(np.float32)
            weights.append(numpy_helper.from_array(values, name))
            last = layer == layers - 1 and name.startswith("down")
            nodes.append(helper.make_node("MatMul", [before, name], ["y" if last else f"m{name}"]))
            before = f"m{name}"
    ports = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "wide", *ports, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


@dataclass
class Load:
    """Requests that are made one after the other by each of several, and what came of them."""

    made: DataCentre
    model: str
    rows: npt.NDArray[np.float32]
    check: Callable[[Response], bool]
    answered: list[float] = field(default_factory=list)  # when, by time.monotonic
    by_version: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    async def one(self, **more: Any) -> None:
        """Make one request, and note what comes of it."""
        try:
            response = await ask(self.made, self.model, self.rows, **more)
        except Refused as error:
            self.failed.append(f"{error.code.name}: {error}")
            return
        self.answered.append(time.monotonic())
        self.by_version[response.version] = self.by_version.get(response.version, 0) + 1
        if not self.check(response):
            self.failed.append(f"the answer is not version {response.version}'s")

    async def during(self, work: Awaitable[object], at_once: int = 8) -> None:
        """Ask, so many at once, until `work` is done."""
        over = asyncio.ensure_future(work)

        async def asks() -> None:
            while not over.done():
                await self.one()

        await asyncio.gather(over, *(asks() for _ in range(at_once)))
