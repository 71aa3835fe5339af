"""A data centre in the test's own process, its model by hand, and edges that ask it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.models import Classifier
from edgesight.host.datacenter.service import Service
from edgesight.host.kernel import BackEndInput
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.keys import client_keys
from edgesight.host.link.server import Server
from edgesight.sim.link.trust import Trust
from tests.host.by_hand import CLASSES, SHAPE, sums

IDLE = 1.0  # seconds; a dead data centre is noticed sooner than in service
T = TypeVar("T")


class SumModel:
    """The back end by hand: the class with the smallest sum."""

    sha256 = "5" * 64
    input_shape = SHAPE
    classes = CLASSES

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.failing = False

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        if self.failing:
            raise ModelError("the model failed")
        return -sums(images, 1).astype(np.float32)


def expected(image: npt.NDArray[np.uint8]) -> int:
    return int(sums(image[None], 1).argmin())


@contextlib.asynccontextmanager
async def serving(
    keys: Trust,
    port: int = 0,
    model: Classifier | None = None,
    max_edges: int = 64,
    idle: float = IDLE,
    form: BackEndInput | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """A data centre in this process."""
    service = Service(model or SumModel(), form=form)
    authority = Authority(keys.datacenter)
    configuration = authority.configuration(idle)
    server = Server(configuration, authority, service.served, service.received, service.gone, max_edges)
    address = await server.listen("127.0.0.1", port)
    work = asyncio.get_running_loop().create_task(service.run())
    try:
        yield address
    finally:
        server.close()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        authority.close()


@contextlib.asynccontextmanager
async def connected(
    address: tuple[str, int], keys: Trust, idle: float = IDLE, **options: object
) -> AsyncIterator[OffloadClient]:
    client = OffloadClient(*address, client_keys(keys.edge, idle), **options)  # type: ignore[arg-type]
    try:
        await client.wait_connected(10)
        yield client
    finally:
        await client.close()


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 60)

    return asyncio.run(limited())
