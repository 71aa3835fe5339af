"""The data centre's service: strips in, labels out, whatever else comes in.

A request is worked on when all its strips have come, or when none came for a while: then it is repaired. Strips leave
in order, so when the last one is there, those before it hardly come any more and the wait is `OVERTAKEN_AFTER`; else
the sender's congestion window may have cut the request in two and the wait is `REPAIR_AFTER`. What is ready while the
model runs makes up the next batch. Each reply goes out twice, since it is tiny and nobody waits for a retransmission;
requests are idempotent, so a repeated one gets the reply that it already had, and one of another session, or so old
that its reply was forgotten, gets none.

Words owned here: request in assembly, batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from host.datacenter.authority import Authority
from host.datacenter.models import Executor, ModelError, OnnxModel
from host.link.datagrams import REQUEST_BITS, LinkError, Reply, Status, Strip
from host.link.quic import IDLE_TIMEOUT, Served, Server, ServerPeer
from host.link.strips import Assembly
from host.process import run_until_told

OVERTAKEN_AFTER = 0.003  # seconds without a further strip, the last one being there
REPAIR_AFTER = 0.015  # seconds without a further strip
TWIN_AFTER = 0.004  # seconds between the two copies of a reply: a burst of losses should not take both
MAX_BATCH = 8
_MAX_ASSEMBLING = 128  # requests of one client
_MAX_READY = 512  # requests of all clients waiting for the model
_REMEMBERED = 1_024  # replies of one client

logger = logging.getLogger(__name__)


@dataclass
class _Request:
    """A request in assembly."""

    assembly: Assembly
    attempt: int
    deadline: float  # of the loop's clock
    begun: float
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class _Ready:
    """A request that the model can run on."""

    peer: ServerPeer
    number: int
    request: _Request
    image: npt.NDArray[np.uint8]  # [H, W, C]


@dataclass
class _Answered:
    """What was said of a request, and to which of its attempts."""

    attempt: int
    reply: bytes


class _Client:
    """What is known of one client: requests in assembly and replies given, both bounded."""

    def __init__(self) -> None:
        self.assembling: dict[int, _Request] = {}
        self.pending: dict[int, _Request] = {}  # waiting for the model
        self.answered: OrderedDict[int, _Answered] = OrderedDict()
        self.forgotten = -1  # highest request id whose reply is not remembered any more
        self.refused = 0  # datagrams that were no strip


class Service:
    """Assembles requests, batches them and answers with `executor`."""

    def __init__(self, executor: Executor, max_batch: int = MAX_BATCH) -> None:
        """Runs inside an asyncio loop; `run` does the work."""
        self._executor = executor
        self._max_batch = max_batch
        self._clients: dict[ServerPeer, _Client] = {}
        self._ready: asyncio.Queue[_Ready] = asyncio.Queue(_MAX_READY)
        self._loop = asyncio.get_running_loop()

    @property
    def served(self) -> Served:
        """What a client is told of the model."""
        executor = self._executor
        return Served(model_sha256=executor.sha256, input_shape=executor.input_shape, classes=executor.classes)

    def received(self, peer: ServerPeer, datagram: bytes) -> None:
        """Take in a datagram of a trusted client; whatever it holds, no error comes of it."""
        client = self._clients.setdefault(peer, _Client())
        try:
            self._take(peer, client, Strip.parse(datagram))
        except LinkError as error:
            client.refused += 1
            if client.refused == 1:  # once is a hint, a flood of lines is an attack on the log
                logger.warning("a datagram was ignored, as further ones of this client will be: %s", error)

    def gone(self, peer: ServerPeer) -> None:
        """Forget a client whose connection has ended."""
        client = self._clients.pop(peer, _Client())
        for request in client.assembling.values():
            if request.timer is not None:
                request.timer.cancel()

    async def run(self) -> None:
        """Run the model on what is ready, for ever."""
        with ThreadPoolExecutor(1, "model") as thread:
            while True:
                batch = [await self._ready.get()]
                while len(batch) < self._max_batch and not self._ready.empty():
                    batch.append(self._ready.get_nowait())
                await self._answer(batch, thread)

    def _take(self, peer: ServerPeer, client: _Client, strip: Strip) -> None:
        form = strip.form
        if (form.height, form.width, form.channels) != self._executor.input_shape:
            raise LinkError(
                f"image of {[form.height, form.width, form.channels]}: the model takes "
                f"{list(self._executor.input_shape)}"
            )
        number = strip.request
        if number >> REQUEST_BITS != peer.session:
            raise LinkError("a request of another session: it is not worked on")
        answered = client.answered.get(number)
        if answered is not None:
            if strip.attempt > answered.attempt:  # the client asks again: both replies got lost
                answered.attempt = strip.attempt
                self._send(peer, answered.reply)
            return
        if number in client.pending:
            return
        request = client.assembling.get(number)
        if request is None and number <= client.forgotten:
            raise LinkError("a request that was answered long ago: it is not worked on again")
        if request is None:
            now = self._loop.time()
            request = _Request(Assembly(form), strip.attempt, now + strip.left_ms / 1e3, now)
            request.assembly.add(strip)
            if len(client.assembling) >= _MAX_ASSEMBLING:
                self._reply(peer, client, number, request, Status.BUSY)
                return
            client.assembling[number] = request
        else:
            missing = request.assembly.missing
            request.assembly.add(strip)
            request.attempt = max(request.attempt, strip.attempt)
            if request.assembly.missing == missing:
                return  # a repeated strip does not put the repair off
        if request.timer is not None:
            request.timer.cancel()
        if request.assembly.missing:
            wait = OVERTAKEN_AFTER if request.assembly.overtaken else REPAIR_AFTER
            request.timer = self._loop.call_later(wait, self._assembled, peer, client, number)
        else:
            self._assembled(peer, client, number)

    def _assembled(self, peer: ServerPeer, client: _Client, number: int) -> None:
        request = client.assembling.pop(number)
        try:
            image = request.assembly.image()
        except LinkError as error:
            logger.warning("a request cannot be decoded: %s", error)
            self._reply(peer, client, number, request, Status.FAILED)
            return
        try:
            self._ready.put_nowait(_Ready(peer, number, request, image))
        except asyncio.QueueFull:
            self._reply(peer, client, number, request, Status.BUSY)
        else:
            client.pending[number] = request

    async def _answer(self, batch: list[_Ready], thread: ThreadPoolExecutor) -> None:
        now = self._loop.time()
        timely = []
        for ready in batch:
            if ready.request.deadline <= now:
                self._settle(ready, Status.LATE)
            else:
                timely.append(ready)
        if not timely:
            return
        images = np.stack([ready.image for ready in timely])
        try:
            logits = await self._loop.run_in_executor(thread, self._executor.run, images)
        except ModelError as error:
            logger.error("%s", error)
            for ready in timely:
                self._settle(ready, Status.FAILED)
            return
        for ready, label in zip(timely, np.argmax(logits, axis=1), strict=True):
            self._settle(ready, Status.ANSWERED, int(label))

    def _settle(self, ready: _Ready, status: Status, label: int = 0) -> None:
        client = self._clients.get(ready.peer)
        if client is None:
            return  # it went away meanwhile
        client.pending.pop(ready.number, None)
        self._reply(ready.peer, client, ready.number, ready.request, status, label)

    def _reply(
        self, peer: ServerPeer, client: _Client, number: int, request: _Request, status: Status, label: int = 0
    ) -> None:
        service_us = round((self._loop.time() - request.begun) * 1e6)
        reply = Reply(number, status, label, request.assembly.missing, service_us).pack()
        client.answered[number] = _Answered(request.attempt, reply)
        if len(client.answered) > _REMEMBERED:
            client.forgotten = max(client.forgotten, client.answered.popitem(last=False)[0])
        self._send(peer, reply)

    def _send(self, peer: ServerPeer, reply: bytes) -> None:
        # A reply that the window holds back longer than the longest silence has nobody waiting for it.
        peer.send_before(self._loop.time() + IDLE_TIMEOUT, [reply])
        self._loop.call_later(TWIN_AFTER, peer.send_before, self._loop.time() + IDLE_TIMEOUT, [reply])


def serve(
    model: Path,
    keys_folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 4433,
    expected_sha256: str | None = None,
    threads: int = 1,
    max_batch: int = MAX_BATCH,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the ONNX `model` on UDP `host`:`port` (0 chooses one) until SIGINT or SIGTERM; a second one ends at once.

    `announce` gets one line, with the address, once requests are taken. `expected_sha256` is the calibration's
    `backend_sha256`. Raises KeysError, ModelError or LinkError before anything is served.
    """
    authority = Authority(keys_folder)
    configuration = authority.configuration(IDLE_TIMEOUT)
    executor = OnnxModel(model, expected_sha256, threads)

    async def main(told: asyncio.Event) -> None:
        service = Service(executor, max_batch)
        server = Server(configuration, authority, service.served, service.received, service.gone)
        address = await server.listen(host, port)
        work = asyncio.get_running_loop().create_task(service.run())
        announce(f"data centre: model {executor.sha256[:12]} on {address[0]}:{address[1]}")
        stopping = asyncio.get_running_loop().create_task(told.wait())
        try:
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()  # a fault of ours: let it be seen
        finally:
            server.close()
            for task in (work, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    with contextlib.closing(authority):
        run_until_told(main)
