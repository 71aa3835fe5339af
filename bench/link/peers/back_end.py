"""The back end that the other transports ask, and the reply that they carry."""

from __future__ import annotations

import asyncio
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from edgesight.bench.link.workload import Pixels, Unanswered, decode
from edgesight.host.datacenter.models import Classifier
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.errors import EdgeSightError

_REPLY = struct.Struct("!BH")  # whether there is an answer, label
CONNECT_WITHIN = 30.0  # seconds; a link may lose much


class TransportError(EdgeSightError):
    """A transport that cannot be measured: says what is missing or what broke."""


@dataclass
class _Waiting:
    image: Pixels
    deadline: float  # of the loop's clock
    label: asyncio.Future[int | None]


class BackEnd:
    """Batches images for an executor as `edgesight.host.datacenter.service` does."""

    def __init__(self, executor: Classifier, max_batch: int = MAX_BATCH) -> None:
        """Runs inside an asyncio loop; `run` does the work."""
        self._executor, self._max_batch = executor, max_batch
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    async def reply(self, payload: bytes, left_s: float) -> bytes:
        """The reply to an encoded image that is of use for `left_s` seconds more."""
        image = decode(payload, self._executor.input_shape)
        label: asyncio.Future[int | None] = self._loop.create_future()
        self._waiting.put_nowait(_Waiting(image, self._loop.time() + left_s, label))
        found = await label
        return _REPLY.pack(found is not None, found or 0)

    async def run(self) -> None:
        """Run the model on what waits, for ever."""
        with ThreadPoolExecutor(1, "model") as thread:
            while True:
                batch = [await self._waiting.get()]
                while len(batch) < self._max_batch and not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                at = self._loop.time()
                timely = [one for one in batch if one.deadline > at and not one.label.done()]
                for one in batch:
                    if one.deadline <= at and not one.label.done():
                        one.label.set_result(None)
                if not timely:
                    continue
                images = np.stack([one.image for one in timely])
                logits = await self._loop.run_in_executor(thread, self._executor.run, images)
                for one, label in zip(timely, np.argmax(logits, axis=1), strict=True):
                    if not one.label.done():
                        one.label.set_result(int(label))


def label_of(reply: bytes) -> int:
    """The label that a back end replied; raises Unanswered where it was too late to work on the image."""
    answered, label = _REPLY.unpack(reply)
    if not answered:
        raise Unanswered
    return int(label)
