"""The data centre's service: strips in, labels out, whatever else comes in.

A request is worked on when its strips are enough or its time is up, whichever is first. They are enough when all have
come, or can be recovered from parity strips. Its time is up
- `OVERTAKEN_AFTER` after the last strip, when the very last of them has come: strips leave in order, so those before it
  hardly come any more;
- else after a silence of a good round trip, at least `SILENT_AFTER`: the sender's congestion window may have cut the
  request in two;
- at the latest when the model, as long as it usually takes, and the way back leave no more time until the deadline.
Then it is concealed. An image that travels entire is waited for until that last moment: what got lost of it is sent
again. What is ready while the model runs makes up the next batch. Replies go out in several copies, as
many as the measured loss asks for, since they are tiny and nobody waits for a retransmission. Requests are idempotent:
a repeated one gets the reply that it already had, and one that was cancelled, of another session, or so old that its
reply was forgotten, gets none. A cancelled one leaves its place to others at once.

Words owned here: request in assembly, batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from host.datacenter.authority import Authority
from host.datacenter.models import Executor, ModelError, OnnxModel
from host.link.datagrams import REQUEST_BITS, Cancel, LinkError, Reply, Status, Strip, parse
from host.link.quic import IDLE_TIMEOUT, Served
from host.link.server import Server, ServerPeer
from host.link.strips import Assembly, resize
from host.process import run_until_told

OVERTAKEN_AFTER = 0.003  # seconds without a further strip, the last one being there
SILENT_AFTER = 0.015  # seconds without a further strip, at least
_SILENT_ROUND_TRIPS = 1.25
_BEGIN_BEFORE = 0.010  # seconds that are left to begin in when strips are not waited for any longer
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
    last: float  # when the last strip came
    timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


@dataclass(frozen=True)
class _Ready:
    """A request that the model can run on."""

    peer: ServerPeer
    number: int
    request: _Request
    image: npt.NDArray[np.uint8]  # [H, W, C]


@dataclass
class _Settled:
    """What was said of a request, and to which of its attempts; None when it was cancelled."""

    attempt: int
    reply: bytes | None


class _Client:
    """What is known of one client: requests in assembly and what became of others, both bounded."""

    def __init__(self) -> None:
        self.assembling: dict[int, _Request] = {}
        self.pending: set[int] = set()  # with the model or waiting for it
        self.settled: OrderedDict[int, _Settled] = OrderedDict()
        self.forgotten = -1  # highest request id of which nothing is remembered any more
        self.refused = 0  # datagrams that were no strip

    def settle(self, number: int, settled: _Settled) -> None:
        self.settled[number] = settled
        if len(self.settled) > _REMEMBERED:
            self.forgotten = max(self.forgotten, self.settled.popitem(last=False)[0])


class Service:
    """Assembles requests, batches them and answers with `executor`."""

    def __init__(self, executor: Executor, max_batch: int = MAX_BATCH) -> None:
        """Runs inside an asyncio loop; `run` does the work."""
        self._executor = executor
        self._max_batch = max_batch
        self._clients: dict[ServerPeer, _Client] = {}
        self._ready: dict[tuple[ServerPeer, int], _Ready] = {}  # in order of coming
        self._work = asyncio.Event()  # something is ready
        self._model_s = 0.0  # seconds that the model takes for a batch, smoothed
        self._loop = asyncio.get_running_loop()

    @property
    def served(self) -> Served:
        """What a client is told of the model."""
        executor = self._executor
        return Served(model_sha256=executor.sha256, input_shape=executor.input_shape, classes=executor.classes)

    @property
    def open_requests(self) -> int:
        """Requests that take up memory: in assembly, waiting for the model or with it."""
        return sum(len(client.assembling) + len(client.pending) for client in self._clients.values())

    def received(self, peer: ServerPeer, datagram: bytes) -> None:
        """Take in a datagram of a trusted client; whatever it holds, no error comes of it."""
        client = self._clients.setdefault(peer, _Client())
        try:
            for message in parse(datagram):
                if isinstance(message, Strip):
                    self._take(peer, client, message)
                elif isinstance(message, Cancel):
                    self._cancel(peer, client, message.request)
                else:
                    raise LinkError("a reply to the data centre: only edges get replies")
        except LinkError as error:
            client.refused += 1
            if client.refused == 1:  # once is a hint, a flood of lines is an attack on the log
                logger.warning("a datagram was ignored, as further ones of this client will be: %s", error)

    def gone(self, peer: ServerPeer) -> None:
        """Forget a client whose connection has ended."""
        client = self._clients.pop(peer, _Client())
        for request in client.assembling.values():
            request.stop()
        for number in client.pending:
            self._ready.pop((peer, number), None)

    async def run(self) -> None:
        """Run the model on what is ready, for ever."""
        with ThreadPoolExecutor(1, "model") as thread:
            while True:
                await self._work.wait()
                keys = list(self._ready)[: self._max_batch]
                batch = [self._ready.pop(key) for key in keys]
                if not self._ready:
                    self._work.clear()
                await self._answer(batch, thread)

    def _take(self, peer: ServerPeer, client: _Client, strip: Strip) -> None:
        self._check(strip)
        number = strip.request
        if number >> REQUEST_BITS != peer.session:
            raise LinkError("a request of another session: it is not worked on")
        settled = client.settled.get(number)
        if settled is not None:
            if settled.reply is not None and strip.attempt > settled.attempt:  # asked again: all copies got lost
                settled.attempt = strip.attempt
                peer.send_copies([settled.reply])
            return
        if number in client.pending:
            return
        request = client.assembling.get(number)
        if request is None and number <= client.forgotten:
            raise LinkError("a request that was answered long ago: it is not worked on again")
        if request is None:
            now = self._loop.time()
            request = _Request(Assembly(strip.form), strip.attempt, now + strip.left_ms / 1e3, now)
            request.assembly.add(strip)
            if len(client.assembling) >= _MAX_ASSEMBLING:
                self._reply(peer, client, number, request, Status.BUSY)
                return
            client.assembling[number] = request
        elif not request.assembly.add(strip):
            return  # a repeated strip puts nothing off
        request.last = self._loop.time()
        request.attempt = max(request.attempt, strip.attempt)
        request.stop()
        if request.assembly.missing:
            silent = max(SILENT_AFTER, _SILENT_ROUND_TRIPS * peer.round_trip)
            wait = OVERTAKEN_AFTER if request.assembly.overtaken else silent
            # Since the deadline was told, the way here has taken half a round trip, and the way back takes another.
            latest = request.deadline - self._model_s - peer.least_round_trip - _BEGIN_BEFORE
            at = latest if request.assembly.entire else min(self._loop.time() + wait, latest)
            request.timer = self._loop.call_at(at, self._assembled, peer, client, number)
        else:
            self._assembled(peer, client, number)

    def _check(self, strip: Strip) -> None:
        """Raise LinkError unless the model takes the image of `strip`, enlarged where it is smaller."""
        form = strip.form
        height, width, channels = self._executor.input_shape
        if form.channels != channels or form.height > height or form.width > width:
            raise LinkError(
                f"image of {[form.height, form.width, form.channels]}: the model takes "
                f"{list(self._executor.input_shape)}, or less height and width"
            )

    def _cancel(self, peer: ServerPeer, client: _Client, number: int) -> None:
        if number >> REQUEST_BITS != peer.session or number in client.settled or number <= client.forgotten:
            return
        request = client.assembling.pop(number, None)
        if request is not None:
            request.stop()
        client.pending.discard(number)
        self._ready.pop((peer, number), None)  # what the model already has is thrown away when it is done
        client.settle(number, _Settled(1, None))

    def _assembled(self, peer: ServerPeer, client: _Client, number: int) -> None:
        request = client.assembling.pop(number)
        if request.assembly.entire and request.assembly.missing:
            self._reply(peer, client, number, request, Status.LATE)
            return
        try:
            image = resize(request.assembly.image(), self._executor.input_shape)
        except LinkError as error:
            logger.warning("a request cannot be decoded: %s", error)
            self._reply(peer, client, number, request, Status.FAILED)
            return
        if len(self._ready) >= _MAX_READY:
            self._reply(peer, client, number, request, Status.BUSY)
            return
        client.pending.add(number)
        self._ready[peer, number] = _Ready(peer, number, request, image)
        self._work.set()

    async def _answer(self, batch: list[_Ready], thread: ThreadPoolExecutor) -> None:
        begin = self._loop.time()
        timely = []
        for ready in batch:
            # What would come too late is not begun: under overload the model would else be busy with nothing but that.
            # By the least round trip: after the path was down for a while, the usual one says nothing.
            if ready.request.deadline - self._model_s - ready.peer.least_round_trip <= begin:
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
        took = self._loop.time() - begin
        self._model_s = took if self._model_s == 0.0 else self._model_s + (took - self._model_s) / 8
        for ready, label in zip(timely, np.argmax(logits, axis=1), strict=True):
            self._settle(ready, Status.ANSWERED, int(label))

    def _settle(self, ready: _Ready, status: Status, label: int = 0) -> None:
        client = self._clients.get(ready.peer)
        if client is None or ready.number not in client.pending:
            return  # it went away meanwhile, or cancelled the request
        client.pending.discard(ready.number)
        self._reply(ready.peer, client, ready.number, ready.request, status, label)

    def _reply(
        self, peer: ServerPeer, client: _Client, number: int, request: _Request, status: Status, label: int = 0
    ) -> None:
        assembly = request.assembly
        reply = Reply(
            number,
            status,
            label,
            assembly.missing,
            round((self._loop.time() - request.last) * 1e6),
            math.ceil(len(self._ready) / self._max_batch * self._model_s * 1e3),
        ).pack()
        client.settle(number, _Settled(request.attempt, reply))
        peer.send_copies([reply])


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
