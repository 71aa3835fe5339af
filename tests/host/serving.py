"""A data centre's service without a link: connections that keep what is sent, models of a given size and slowness."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.service import Service
from edgesight.host.link.datagrams import Reply, Status
from edgesight.host.link.server import ServerPeer
from edgesight.host.link.strips import cut
from tests.waiting import until


@dataclasses.dataclass(frozen=True)
class Named:
    name: str


class FakePeer:
    """A connection of edge `name` under the service; keeps what is sent, and when."""

    session = 0
    round_trip = least_round_trip = 0.0

    def __init__(self, name: str) -> None:
        self.admitted = Named(name)
        self.replies: list[Reply] = []
        self.at: list[float] = []

    def send_copies(self, messages: list[bytes]) -> None:
        for message in messages:
            self.replies.append(Reply.parse(message))
            self.at.append(asyncio.get_running_loop().time())

    def came(self, status: Status) -> list[int]:
        return [reply.request for reply in self.replies if reply.status == status]


class SizedModel:
    """A back end for images of a size, that takes its time for each."""

    sha256 = "5" * 64
    classes = 3

    def __init__(self, side: int, channels: int = 1, seconds: float = 0.0) -> None:
        self.input_shape = (side, side, channels)
        self.seconds = seconds
        self.batches: list[int] = []

    def run(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.batches.append(len(images))
        time.sleep(self.seconds * len(images))  # sleeps: what this model takes
        return np.zeros((len(images), 3), np.float32)


@contextlib.asynccontextmanager
async def working(model: Any) -> AsyncIterator[Service]:
    service = Service(model)
    work = asyncio.get_running_loop().create_task(service.run())
    try:
        yield service
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


def say(service: Service, peer: FakePeer, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        service.received(cast(ServerPeer, peer), datagram)


async def all_is_settled(service: Service) -> None:
    await until(lambda: not service.open_requests)


def tiny(number: int, left_ms: int = 60_000) -> list[bytes]:
    return cut(np.zeros((28, 28, 1), np.uint8), request=number, left_ms=left_ms)
