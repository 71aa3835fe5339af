"""Tiny ONNX models made on the spot, a data centre over a repository of them, and who asks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgesight.bench.service.tiny import gather as gather
from edgesight.bench.service.tiny import looping as looping
from edgesight.bench.service.tiny import put as put
from edgesight.bench.service.tiny import scaled as scaled
from edgesight.bench.service.tiny import texts as texts
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.batching import Limits
from edgesight.host.datacenter.executors import Recipe
from edgesight.host.datacenter.hosted import Hosted
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.memory import Memory
from edgesight.host.datacenter.repository import BackEnd, Repository
from edgesight.host.doors.served import Caller, Request, Response, Tensor, Wanted

ME = Caller("me")
PLENTY = 8 << 30  # bytes
T = TypeVar("T")


@contextlib.asynccontextmanager
async def centre(
    folder: Path,
    *names: str,
    budget: int = PLENTY,
    limits: Limits | None = None,
    back_end: BackEnd | None = None,
    **more: Any,
) -> AsyncIterator[DataCentre]:
    """A data centre over `folder` with the models `names` loaded, all without."""
    async with DataCentre(Repository(folder, back_end), Local(budget, limits), **more) as made:
        await made.start(list(names) or None)
        yield made


def memory_of(made: DataCentre) -> Memory:
    """Of the models on this machine."""
    assert isinstance(made.engine, Local)
    return made.engine.memory


def hosted_in(made: DataCentre, model: str) -> Hosted:
    """The newest version of a model, on this machine."""
    found = made._hosted(model, "")
    assert isinstance(found, Hosted)
    return found


def values(*rows: Sequence[float]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32)


async def ask(
    made: DataCentre,
    model: str,
    rows: npt.NDArray[Any],
    *,
    classes: int = 0,
    name: str = "x",
    datatype: str = "FP32",
    caller: Caller = ME,
    **more: Any,
) -> Response:
    wanted = [Wanted("y", classes)] if classes else []
    return await made.infer(Request(model, [Tensor(name, datatype, rows)], outputs=wanted, **more), caller)


def run(test: Awaitable[T], within: float = 60.0) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, within)

    return asyncio.run(limited())


def recipe(name: str = "model", **options: str) -> Recipe:
    return Recipe("onnxruntime", name, options=options)
