"""Load on a data centre's gRPC door: requests at random times whatever becomes of them, or so many in flight.

A request's bytes are made once, and its answer's are counted unread, so that who asks takes little of the machine.

Words owned here: stream (requests of one model, by one client, at a rate), tally.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as tritonclient
from tritonclient.grpc import service_pb2

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_LEAST_S = 1e-3  # that a request is given, however late it is sent
UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass
class Tally:
    """What became of a stream's requests."""

    good: int = 0  # answered within the deadline, counted from when the request was due
    late: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # by status
    seconds: list[float] = field(default_factory=list)  # that the answered ones took, from when they were due

    @property
    def asked(self) -> int:
        """All of them."""
        return self.good + self.late + sum(self.failed.values())

    @property
    def share(self) -> float:
        """Of those asked, that were good; 1 where none was."""
        return self.good / self.asked if self.asked else 1.0


@dataclass(frozen=True)
class Stream:
    """Requests at random times, `rate` a second, with `deadline` seconds each."""

    ask: Call
    rate: float
    deadline: float
    seed: int


def request_bytes(model: str, name: str, array: npt.NDArray[np.generic]) -> bytes:
    """A request of `model` for all outputs of one input."""
    tensor = tritonclient.InferInput(name, list(array.shape), tritonclient_type(array))
    tensor.set_data_from_numpy(array)
    request = service_pb2.ModelInferRequest(model_name=model, inputs=[tensor._get_tensor()])
    request.raw_input_contents.append(array.tobytes())
    content: bytes = request.SerializeToString()
    return content


def tritonclient_type(array: npt.NDArray[np.generic]) -> str:
    """The protocol's name of an array's type."""
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(array.dtype))


class Call:
    """One request, that may be made again and again over a channel."""

    def __init__(self, channel: grpc.aio.Channel, content: bytes) -> None:
        """Of the request's bytes."""
        self._call = channel.unary_unary(_INFER)
        self._content = content

    async def __call__(self, deadline: float | None = None) -> bytes:
        """The answer's bytes; raises grpc.aio.AioRpcError."""
        answer: bytes = await self._call(self._content, timeout=deadline)
        return answer


async def offer(streams: Sequence[Stream], seconds: float) -> list[Tally]:
    """What became of each stream's requests that were due within so many seconds; all were sent, come what may."""
    return list(await asyncio.gather(*(_offer(stream, seconds) for stream in streams)))


async def _offer(stream: Stream, seconds: float) -> Tally:
    loop, chance, tally = asyncio.get_running_loop(), random.Random(stream.seed), Tally()
    open_: set[asyncio.Task[None]] = set()
    due = loop.time() + chance.expovariate(stream.rate)
    end = loop.time() + seconds
    while due < end:
        await asyncio.sleep(due - loop.time())
        task = loop.create_task(_one(stream, due, tally))
        open_.add(task)
        task.add_done_callback(open_.discard)
        due += chance.expovariate(stream.rate)
    await asyncio.gather(*open_)
    return tally


async def _one(stream: Stream, due: float, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    try:
        await stream.ask(max(due + stream.deadline - loop.time(), _LEAST_S))
    except grpc.aio.AioRpcError as error:
        tally.failed[error.code().name] += 1
        return
    took = loop.time() - due
    tally.seconds.append(took)
    if took <= stream.deadline:
        tally.good += 1
    else:
        tally.late += 1


async def saturate(choose: Callable[[], Call], in_flight: int, warm: float, seconds: float) -> float:
    """Answers a second with so many requests in flight, each of whatever `choose` gives, after `warm` seconds.

    Raises grpc.aio.AioRpcError where one fails.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time() + warm
    end = begin + seconds
    counted = 0

    async def ask() -> None:
        nonlocal counted
        while loop.time() < end:
            await choose()()
            counted += begin <= loop.time() < end

    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return counted / seconds


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds; empty where there is too little."""
    if len(seconds) < 2:
        return {}
    cut = statistics.quantiles(seconds, n=100)
    return {"p50_ms": 1e3 * cut[49], "p99_ms": 1e3 * cut[98]}
