"""The data centre's service: strips in, labels out, whatever else comes in.

A request is worked on when its strips are enough or its time is up, whichever is first. They are enough when all have
come, or can be recovered from parity strips. Its time is up
- `OVERTAKEN_AFTER` after the last strip, when the very last of them has come: strips leave in order, so those before it
  hardly come any more;
- else after a silence of a good round trip, at least `SILENT_AFTER`: the sender's congestion window may have cut the
  request in two;
- at the latest when the model, as long as it usually takes, and the way back leave no more time until the deadline.
Then it is decoded, what is missing concealed. An image that travels entire is waited for until that last moment: what
got lost of it is sent again. What is ready while the model runs makes up the next batch. Replies go out in several
copies, as many as the measured loss asks for, since they are tiny and nobody waits for a retransmission. Requests are
idempotent: a repeated one gets the reply that it already had, and one that was cancelled, of another session, or so old
that its reply was forgotten, gets none. A cancelled one leaves its place to others at once.

Decoding, with recovering, and the model have a thread each, so that the loop, which all edges share, never stands still
for an image. While the model has nothing to do, its thread decodes an image that comes alone, which then need not go by
two threads, each of which has to be woken. Edges share both fairly (`edgesight.host.datacenter.shares`). What requests
hold is bounded in bytes, and how many may wait, an edge and in all; what is beyond is refused before anything is kept
or worked out for it. An image is of the form that the package's back end takes, or smaller and enlarged to that.

Words owned here: batch.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import numpy as np

from edgesight.host.back_end import form_sha256
from edgesight.host.datacenter.durations import Durations
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.link_counts import LinkCounts
from edgesight.host.datacenter.models import Classifier, Logits, logits_of
from edgesight.host.datacenter.requests import Client, Image, Incoming, Ready, See, Settled, unseen
from edgesight.host.datacenter.shares import REPLY_EFFORTS, Budget, Effort, Share, Shares
from edgesight.host.kernel import BackEndInput
from edgesight.host.link.datagrams import REQUEST_BITS, Cancel, LinkError, Reply, Status, Strip, Trace, parse
from edgesight.host.link.quic import Served
from edgesight.host.link.server import ServerPeer
from edgesight.host.link.strips import Assembly, check_taken, resize
from edgesight.host.measures import Measure

OVERTAKEN_AFTER = 0.003  # seconds without a further strip, the last one being there
SILENT_AFTER = 0.015  # seconds without a further strip, at least
SILENT_ROUND_TRIPS = 1.25
BEGIN_BEFORE = 0.015  # seconds that are left to begin in when strips are not waited for any longer
MAX_BATCH = 8
MAX_ASSEMBLING = 128  # requests of one client
MAX_READY = 512  # requests of all edges waiting for the model, in equal parts
FEWEST_READY = 2 * MAX_BATCH  # of an edge, however many there are
MAX_BYTES, MAX_EDGE_BYTES = 64 << 20, 16 << 20  # that requests hold of strips: of all edges, and of one
_REQUEST_BYTES, _STRIP_BYTES = 2_048, 256  # that a request, and each of its strips, holds besides
_DECODED_BYTES = 64 << 20  # that decoded images hold which the model has not begun with, and those of one batch
_DECODE_S = 0.010  # seconds of decoding after which those that are through go on to the model

logger = logging.getLogger(__name__)


class Service:
    """Assembles requests, batches them and answers with `executor`."""

    def __init__(
        self, executor: Classifier, max_batch: int = MAX_BATCH, form: BackEndInput | None = None, seen: See = unseen
    ) -> None:
        """Runs inside an asyncio loop; `run` does the work. Edges are told in which `form` it takes pictures."""
        self._seen = seen
        self._form = form
        self._executor = executor
        self._most_decoded = max(_DECODED_BYTES // math.prod(executor.input_shape), 1)
        self._max_batch = min(max_batch, self._most_decoded)
        self._clients: dict[ServerPeer, Client] = {}
        self._shares: Shares[Ready] = Shares()
        self._ready: dict[tuple[ServerPeer, int], Ready] = {}  # in order of coming
        self._order = itertools.count()
        self._bytes = 0  # that all requests hold
        self._effort = Effort()
        self._to_decode, self._to_answer = asyncio.Event(), asyncio.Event()  # there may be something
        self._counts = LinkCounts()
        self._idle = False  # the model has nothing to do
        self._loop = asyncio.get_running_loop()
        self._usual = Durations(self._loop.time())
        self._lines = Budget(1.0, 1.0)  # about a model that fails

    @property
    def served(self) -> Served:
        """What a client is told of the model."""
        one, form = self._executor, form_sha256(self._form) if self._form is not None else None
        return Served(model_sha256=one.sha256, form_sha256=form, input_shape=one.input_shape, classes=one.classes)

    @property
    def open_requests(self) -> int:
        """Requests that take up memory: in assembly, waiting for the model or with it."""
        return sum(len(client.assembling) + len(client.pending) for client in self._clients.values())

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself."""
        waiting = {
            "assembling": sum(len(client.assembling) for client in self._clients.values()),
            "decoding": sum(len(share.waiting) for share in self._shares),
            "model": sum(len(share.decoded) for share in self._shares),
        }
        return self._counts.measures(waiting)

    def received(self, peer: ServerPeer, datagram: bytes) -> None:
        """Take in a datagram of a trusted client; whatever it holds, no error comes of it."""
        client = self._clients.get(peer) or self._meet(peer)
        share, now = client.share, self._loop.time()
        share.seen = now
        self._effort.measure(now, self._shares)
        if share.loop.left(now, self._effort.active) <= 0.0 and self._effort.active > 1:
            self._effort.make(1)  # to receive and drop it
            self._say(share, "it takes more than its part of the data centre's time: datagrams are dropped")
            return
        try:
            messages = parse(datagram)
            share.loop.spend(self._effort.make(len(messages)))
            for message in messages:
                if isinstance(message, Strip):
                    self._take(peer, client, message)
                elif isinstance(message, Cancel):
                    self._cancel(peer, client, message.request)
                elif isinstance(message, Trace):
                    client.trace(message)
                else:
                    raise LinkError("a reply to the data centre: only edges get replies")
        except LinkError as error:
            self._say(share, f"a datagram was ignored: {error}")

    def gone(self, peer: ServerPeer) -> None:
        """Forget a client whose connection has ended."""
        client = self._clients.pop(peer, None)
        if client is None:
            return
        client.share.clients -= 1
        for request in client.assembling.values():
            request.stop()
            self._release(client.share, request)
        for number in client.pending:
            self._withdraw(peer, number)

    async def run(self) -> None:
        """Decode what has come and run the model on it, for ever."""
        tasks = [self._loop.create_task(work()) for work in (self._decode_all, self._answer_all)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _meet(self, peer: ServerPeer) -> Client:
        admitted = getattr(peer, "admitted", None)
        client = self._clients[peer] = Client(self._shares.of(admitted.name if admitted is not None else ""))
        client.share.clients += 1
        return client

    def _say(self, share: Share[Ready], what: str) -> None:
        """Write a line about an edge, unless one was written of late: a flood of lines is an attack on the log."""
        if share.lines.take(self._loop.time()):
            logger.warning("edge %r: %s (at most one such line a minute)", share.name, what)

    # ------------------------------------------------------------------------------------------------- in assembly

    def _take(self, peer: ServerPeer, client: Client, strip: Strip) -> None:
        check_taken(strip.form, self._executor.input_shape)
        number = strip.request
        if number >> REQUEST_BITS != peer.session:
            raise LinkError("a request of another session: it is not worked on")
        settled = client.settled.get(number)
        if settled is not None:
            self._counts.strip(again=True)
            if settled.reply is not None and strip.attempt > settled.attempt:  # asked again: all copies got lost
                settled.attempt = strip.attempt
                self._send(peer, client, settled.reply)
            return
        if number in client.pending:
            self._counts.strip(again=True)
            return
        request = client.assembling.get(number)
        if request is None:
            if number <= client.forgotten:
                raise LinkError("a request that was answered long ago: it is not worked on again")
            now = self._loop.time()
            request = Incoming(Assembly(strip.form), strip.attempt, now + strip.left_ms / 1e3, now)
            if not self._room(client, strip):
                self._refuse(peer, client, number, request, Status.BUSY)
                return
            request.assembly.add(strip)
            self._counts.strip(again=False)
            client.assembling[number] = request
            held = _REQUEST_BYTES
        elif not self._room(client, strip):
            self._drop(peer, client, number)
            return
        elif not request.assembly.add(strip):
            self._counts.strip(again=True)
            return  # a repeated strip puts nothing off
        else:
            self._counts.strip(again=False)
            held = 0
        # What a parity strip recovers is no larger than itself.
        copies = 1 if strip.index < strip.form.count else 2
        self._hold(client.share, request, held + _STRIP_BYTES + copies * len(strip.payload))
        if number not in client.assembling:
            return  # it made room
        request.last = self._loop.time()
        request.attempt = max(request.attempt, strip.attempt)
        request.stop()
        if request.assembly.missing:
            silent = max(SILENT_AFTER, SILENT_ROUND_TRIPS * peer.round_trip)
            wait = OVERTAKEN_AFTER if request.assembly.overtaken else silent
            # Since the deadline was told, the way here has taken half a round trip, and the way back takes another.
            latest = (
                request.deadline - self._usual.decode_s - self._usual.model_s - peer.least_round_trip - BEGIN_BEFORE
            )
            at = latest if request.assembly.entire else min(self._loop.time() + wait, latest)
            request.timer = self._loop.call_at(at, self._assembled, peer, client, number)
        else:
            self._assembled(peer, client, number)

    def _room(self, client: Client, strip: Strip) -> bool:
        """Whether `strip` may be taken in; with one of a request in assembly only its bytes count."""
        share = client.share
        if share.bytes + _REQUEST_BYTES + _STRIP_BYTES + 2 * len(strip.payload) > MAX_EDGE_BYTES:
            return False
        if strip.request in client.assembling:
            return True
        most = max(MAX_READY // max(self._shares.connected, 1), FEWEST_READY)
        return len(client.assembling) < MAX_ASSEMBLING and share.queued < most

    def _hold(self, share: Share[Ready], request: Incoming, count: int) -> None:
        """Count bytes that `request` holds; where all requests hold too many, who holds the most makes room."""
        request.bytes += count
        share.bytes += count
        self._bytes += count
        while self._bytes > MAX_BYTES:
            fullest = max(
                ((peer, client) for peer, client in self._clients.items() if client.assembling or client.share.waiting),
                key=lambda one: (one[1].share.bytes, len(one[1].assembling)),
                default=None,
            )
            if fullest is None:
                return  # all of it is decoded, and soon gone
            peer, client = fullest
            if client.assembling:
                self._drop(peer, client, next(reversed(client.assembling)))
            else:
                self._settle(client.share.waiting.last(), Status.BUSY)

    def _release(self, share: Share[Ready], request: Incoming) -> None:
        share.bytes -= request.bytes
        self._bytes -= request.bytes
        request.bytes = 0

    def _drop(self, peer: ServerPeer, client: Client, number: int) -> None:
        """Give up a request in assembly for want of room."""
        request = client.assembling.pop(number)
        request.stop()
        self._release(client.share, request)
        self._refuse(peer, client, number, request, Status.BUSY)

    def _cancel(self, peer: ServerPeer, client: Client, number: int) -> None:
        if number >> REQUEST_BITS != peer.session or number in client.settled or number <= client.forgotten:
            return
        request = client.assembling.pop(number, None)
        if request is not None:
            request.stop()
            self._release(client.share, request)
        client.pending.discard(number)
        self._withdraw(peer, number)  # what the model already has is thrown away when it is done
        client.settle(number, Settled(1, None))
        self._counts.cancelled()

    def _withdraw(self, peer: ServerPeer, number: int) -> None:
        """Let a request wait for the model no more, if it does."""
        ready = self._ready.pop((peer, number), None)
        if ready is not None:
            self._release(ready.share, ready.request)
            for line in (ready.share.waiting, ready.share.decoded):
                line.remove(ready.request.deadline, ready.order)

    def _assembled(self, peer: ServerPeer, client: Client, number: int) -> None:
        request = client.assembling.pop(number)
        if request.assembly.entire and request.assembly.missing:
            self._usual.doubt(request.deadline - peer.least_round_trip, self._loop.time())
            self._release(client.share, request)
            self._refuse(peer, client, number, request, Status.LATE)
            return
        ready = Ready(peer, number, next(self._order), request, client.share)
        client.pending.add(number)
        self._ready[peer, number] = ready
        self._shares.wait(client.share, request.deadline, ready.order, ready)
        (self._to_answer if self._idle else self._to_decode).set()

    # ---------------------------------------------------------------------------------------------------- decoding

    async def _decode_all(self) -> None:
        while True:
            self._to_decode.clear()
            room = self._most_decoded - sum(len(share.decoded) for share in self._shares)
            group = self._shares.take(
                _waiting, lambda share: self._max_batch - len(share.decoded), min(room, self._max_batch)
            )
            taken, group = bool(group), self._timely(group)
            if group:
                begin = self._loop.time()
                outcomes = await self._loop.run_in_executor(None, self._decode, group)
                self._usual.decoded(self._loop.time() - begin)
                for ready in self._decoded(group, outcomes):
                    ready.share.decoded.add(ready.request.deadline, ready.order, ready)
                    self._to_answer.set()
            elif not taken:  # else more may wait behind what came too late
                await self._to_decode.wait()

    def _decode(self, group: list[Ready]) -> list[tuple[Image | str, float]]:
        """Image, or why there is none, and seconds that it took, of the first of `group`; in a thread."""
        begun = self._loop.time()
        outcomes: list[tuple[Image | str, float]] = []
        for ready in group:
            at = time.thread_time()
            outcome: Image | str
            try:
                outcome = resize(ready.request.assembly.image(), self._executor.input_shape)
            except LinkError as error:
                outcome = str(error)
            except Exception as error:  # whatever it is: one edge's image ends nobody else's service
                outcome = f"{type(error).__name__}: {error}"
            outcomes.append((outcome, time.thread_time() - at))
            if self._loop.time() - begun > _DECODE_S:
                break
        return outcomes

    def _decoded(self, group: list[Ready], outcomes: list[tuple[Image | str, float]]) -> list[Ready]:
        """Take in what came of decoding `group`; those beyond its outcomes wait again. Those that have an image now."""
        decoded = []
        for ready, (outcome, took) in zip(group, outcomes, strict=False):
            ready.share.used += took
            self._counts.decoded(ready.request.assembly, took, isinstance(outcome, str))
            if (ready.peer, ready.number) not in self._ready:
                continue  # it was cancelled meanwhile
            if isinstance(outcome, str):
                self._say(ready.share, f"a request cannot be decoded: {outcome}")
                self._settle(ready, Status.FAILED)
                continue
            ready.image = outcome
            decoded.append(ready)
        for ready in group[len(outcomes) :]:
            if (ready.peer, ready.number) in self._ready:
                ready.share.waiting.add(ready.request.deadline, ready.order, ready)
        return decoded

    # --------------------------------------------------------------------------------------------------- the model

    async def _answer_all(self) -> None:
        thread = ThreadPoolExecutor(1, "model")
        try:
            while True:
                self._to_answer.clear()
                taken = self._shares.take(_decoded, lambda share: self._max_batch, self._usual.batch(self._max_batch))
                # What waits together is decoded first, to be one batch.
                waiting = sum(len(share.waiting) for share in self._shares)
                lone = self._shares.take(_waiting, lambda share: 1, 1) if waiting == 1 and not taken else []
                if taken or waiting > len(lone):
                    self._to_decode.set()  # there is room again, or something to do
                batch, alone = self._timely(taken), self._timely(lone)
                if batch:
                    await self._answer(batch, thread)
                elif alone:
                    await self._decode_and_answer(alone[0], thread)
                elif not taken and not lone:  # else more may wait behind what came too late
                    self._idle = True
                    await self._to_answer.wait()
                    self._idle = False
        finally:
            thread.shutdown(wait=False)  # the loop goes on: a second signal ends the process while the model is at work

    def _timely(self, taken: list[Ready]) -> list[Ready]:
        """Those of `taken` that can still be in time.

        What would come too late is not begun: under overload nothing but that would else be worked on.
        """
        now = self._loop.time()
        timely = []
        for ready in taken:
            # By the least round trip: after the path was down for a while, the usual one says nothing.
            latest = ready.request.deadline - ready.peer.least_round_trip
            if latest - self._usual.model_s <= now:
                self._usual.doubt(latest, now)
            if latest - self._usual.model_s <= now:
                self._settle(ready, Status.LATE)
            else:
                timely.append(ready)
        return timely

    async def _answer(self, batch: list[Ready], thread: ThreadPoolExecutor) -> None:
        begin = self._loop.time()
        for ready in batch:
            self._withdraw(ready.peer, ready.number)
        images = [ready.image for ready in batch]
        logits = await self._loop.run_in_executor(thread, logits_of, self._executor, images)
        self._answered(batch, logits, self._loop.time() - begin)

    async def _decode_and_answer(self, ready: Ready, thread: ThreadPoolExecutor) -> None:
        begin = self._loop.time()
        outcomes, decode_s, logits = await self._loop.run_in_executor(thread, self._decode_and_run, ready)
        model_s = self._loop.time() - begin - decode_s
        self._usual.decoded(decode_s)
        decoded = not isinstance(outcomes[0][0], str)
        self._decoded([ready], outcomes)
        if decoded:
            self._answered([ready], logits, model_s)

    def _answered(self, batch: list[Ready], logits: Logits | ModelError, took: float) -> None:
        """Reply to `batch`, for which the model took so many seconds."""
        self._counts.ran(len(batch), took)
        for ready in batch:
            ready.share.used += took / len(batch)
        if isinstance(logits, ModelError):
            if self._lines.take(self._loop.time()):
                logger.error("%s (at most one such line a second)", logits)
            for ready in batch:
                self._settle(ready, Status.FAILED)
            return
        self._usual.answered(len(batch), took, self._loop.time())
        for ready, row in zip(batch, logits, strict=True):
            label = int(np.argmax(row))
            if np.isnan(row[label]):  # where any of them is, `argmax` says the first
                self._say(ready.share, "the model's logits of an image are no numbers")
                self._settle(ready, Status.FAILED)
            else:
                self._settle(ready, Status.ANSWERED, label)
                if ready.image.size:  # else it was cancelled before it was decoded
                    self._seen(ready.image, ready.share.name, label, self._loop.time() - ready.request.last)

    def _decode_and_run(self, ready: Ready) -> tuple[list[tuple[Image | str, float]], float, Logits | ModelError]:
        """What `_decode` gives of one, with its seconds, and what the model says of it; in the model's thread."""
        begun = self._loop.time()
        outcomes = self._decode([ready])
        decode_s = self._loop.time() - begun
        image = outcomes[0][0]
        logits = logits_of(self._executor, [image]) if not isinstance(image, str) else np.empty((0, 0), np.float32)
        return outcomes, decode_s, logits

    # ------------------------------------------------------------------------------------------------------ replies

    def _settle(self, ready: Ready, status: Status, label: int = 0) -> None:
        """Say what became of a request that waited for the model, or was with it."""
        self._withdraw(ready.peer, ready.number)
        client = self._clients.get(ready.peer)
        if client is None or ready.number not in client.pending:
            return  # it went away meanwhile, or cancelled the request
        client.pending.discard(ready.number)
        if status == Status.ANSWERED:
            self._reply(ready.peer, client, ready.number, ready.request, status, label)
        else:
            self._refuse(ready.peer, client, ready.number, ready.request, status)

    def _refuse(self, peer: ServerPeer, client: Client, number: int, request: Incoming, status: Status) -> None:
        """Reply that there is no answer; beyond so many a second nothing is said."""
        if client.share.refusals.take(self._loop.time()):
            self._reply(peer, client, number, request, status)
        else:
            client.settle(number, Settled(1, None))
            self._counts.ended(status)

    def _reply(
        self, peer: ServerPeer, client: Client, number: int, request: Incoming, status: Status, label: int = 0
    ) -> None:
        assembly = request.assembly
        # Of each edge as many go before a further one of this edge as this edge itself has waiting.
        ahead = sum(min(share.queued, client.share.queued) for share in self._shares)
        reply = Reply(
            number,
            status,
            label,
            assembly.missing,
            round((self._loop.time() - request.last) * 1e6),
            math.ceil(ahead / self._max_batch * self._usual.model_s * 1e3),
        ).pack()
        client.settle(number, Settled(request.attempt, reply))
        client.tell(number, self._executor.sha256, status)
        self._counts.ended(status)
        self._send(peer, client, reply)

    def _send(self, peer: ServerPeer, client: Client, reply: bytes) -> None:
        client.share.loop.spend(self._effort.make(REPLY_EFFORTS))
        peer.send_copies([reply])


_decoded, _waiting = attrgetter("decoded"), attrgetter("waiting")  # lines of a share
