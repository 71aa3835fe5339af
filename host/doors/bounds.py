"""How much of a machine strangers may take through its doors.

What takes long on a large message is done beside the loop: meanwhile others are answered.

HTTP's bodies are counted as they come. gRPC's library hands a message over once it is there, so what is still coming is
bounded by the number of calls, each of which may bring one of the largest.

Words owned here: room.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from edgesight.host.doors.served import Code, Refused, Response
from edgesight.host.doors.tensors import MAX_MESSAGE

_BESIDE = 1 << 18  # bytes from which reading or writing a message is done beside the loop
T = TypeVar("T")


async def beside(size: int, work: Callable[[], T]) -> T:
    """What `work` on a message of `size` bytes gives, in a thread where that takes long."""
    return work() if size < _BESIDE else await asyncio.to_thread(work)


def size_of(response: Response) -> int:
    """Bytes of an answer's arrays, where BYTES count as pointers."""
    return sum(tensor.values.nbytes for tensor in response.outputs)


@dataclass(frozen=True)
class Bounds:
    """Bounds of all doors that are opened together; as they are, a data centre's.

    Attributes:
        message: bytes of a message, after decompression; at most `MAX_MESSAGE`.
        held: bytes of all messages that are here and not answered yet, over HTTP and gRPC.
        calls: of gRPC at a time, streams and health's among them.
        connections: of HTTP at a time, at each of its ports.
        structure: bytes of a message that may be others than tensors' raw ones: read, they take some 40 times as much.
    """

    message: int = MAX_MESSAGE
    held: int = 1 << 30
    calls: int = 256
    connections: int = 512
    structure: int = MAX_MESSAGE // 4

    @property
    def worst(self) -> int:
        """Bytes of messages, as they come, that may be in memory at a time: each call is bringing the largest."""
        return self.held + self.calls * self.message


# In all 256 MiB at worst: half of the memory of the smallest board that is supported.
SMALL_BOARD = Bounds(message=16 << 20, held=64 << 20, calls=12, connections=64, structure=4 << 20)
# In all 896 MiB at worst, of 3 GiB or more.
BOARD = Bounds(message=MAX_MESSAGE, held=128 << 20, calls=12, connections=64, structure=4 << 20)
_LEAST_MEMORY = 3 << 30  # bytes, for `BOARD`


def of_board(memory: int) -> Bounds:
    """An edge's on a machine with so many bytes of memory."""
    return BOARD if memory >= _LEAST_MEMORY else SMALL_BOARD


class Room:
    """What is held of the bytes that may be."""

    def __init__(self, bounds: Bounds) -> None:
        """All is free."""
        self.bounds = bounds
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes more until they are given back; Refused (RESOURCE_EXHAUSTED) where there is no room."""
        if self._held + size > self.bounds.held:
            raise Refused(Code.RESOURCE_EXHAUSTED, f"requests of {self._held} bytes are being answered: ask again", 1.0)
        self._held += size

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        self._held -= size

    @contextlib.contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold `size` bytes meanwhile; raises as `take`."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)
