"""The edge's end of the link: offloads images to the data centre over a connection that is kept.

How many requests are open at a time is bounded; an image is made as small as the path and the deadline ask for.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesight.host.kernel import Calibration
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.connection import Connection, Wanted
from edgesight.host.link.datagrams import LinkError, Reply, Status, Trace, parse
from edgesight.host.link.keys import EdgeKeys
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.link.parity import strips_for
from edgesight.host.link.quality import LADDER, Fitted, Room, Step, fit, ladder_of, room
from edgesight.host.link.repair import Progress
from edgesight.host.link.strips import kind_of
from edgesight.host.link.telling import Sparing
from edgesight.host.measures import Measure, plain

ASK_AGAIN = 3.0  # times the usual wait for a reply
SOONEST_ASK = 0.1  # seconds; much more than the data centre waits for a strip that will not come
MOST_REPAIRED = 0.02  # loss of a path up to which images may travel entire
HARDLY_LOST = 0.003  # loss up to which they do on any path
_OTHER_MODEL_WITHIN = 10.0  # seconds for a data centre that serves another model to be found
_LONG_SENDING = 0.5  # round trips that sending takes from which on a second sending is no long wait
# Bytes a second from which on making and reading a progressive JPEG takes longer than sending what it saves. On a
# desktop's core they are 4 to 5 % of the bytes and 1.7 ms of 224 x 224 pixels, whose 15 kB then take 40 ms.
_QUICK = 4e5
_USUAL_BYTES = 0.3  # of a pixel in a JPEG, before any was made

logger = logging.getLogger(__name__)


class OffloadClient:
    """Keeps a connection to the data centre and offloads images over it."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: EdgeKeys,
        *,
        model_sha256: str | None = None,
        form_sha256: str | None = None,
        ladder: Sequence[Step] = LADDER,
        max_open: int = 128,  # as many as the data centre puts together of one edge
    ) -> None:
        """The model, and the form in which it gets pictures, are those that the calibration was made with; None: any.

        `max_open` requests go at once.

        Large images go at the first step of the `ladder`, which the calibration was made at, where the bandwidth is
        ample.
        """
        self.ladder = ladder  # another may take its place: for requests that are not encoded yet
        self.resent = 0  # requests whose strips went twice
        self._told = Sparing(logger)
        self._connection = Connection((host, port), keys, Wanted(model_sha256, form_sha256), self, self._told)
        self._slots = asyncio.Semaphore(max_open)
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()  # deadlines of images to be encoded, and turns
        self._usual_wait = 0.1  # seconds from the last strip sent to the reply, smoothed
        self._usual_bytes = _USUAL_BYTES / ladder[0].divisor ** 2  # of a pixel in a JPEG at the first step, smoothed
        self._usual_service = 0.0  # seconds that a request spends at the data centre, smoothed

    @property
    def trouble(self) -> str | None:
        """Why there is no connection; None while there is one."""
        return self._connection.trouble

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself."""
        return (
            *self._connection.measures(),
            plain("offloads_resent", "Requests that were sent once more, as nothing came back.", self.resent),
        )

    def start(self) -> None:
        """Connect in the background, again and again with growing pauses whenever the connection is lost."""
        self._connection.start()

    async def connect(self, timeout: float = 5.0) -> None:
        """Start, and wait for the first attempt; raises LinkError saying why it failed, and gives up then."""
        await self._connection.attempted(timeout)

    async def wait_connected(self, timeout: float) -> None:
        """Wait until there is a connection; raises LinkError saying what stands in the way after `timeout` seconds."""
        await self._connection.ready(timeout)

    async def recalibrate(self, calibration: Calibration) -> None:
        """Go to a data centre that serves the back end of `calibration` from now on.

        Images that are not encoded yet then go by its ladder. Raises NoAnswer, everything being as before, where the
        data centre serves another, or is not to be reached within some seconds.
        """
        before, wanted = self._connection.model_sha256, calibration.backend_sha256
        if before in (None, wanted):
            self.ladder = ladder_of(calibration.ladder)
            return
        peer = self._connection.peer
        if peer is not None and (served := peer.welcome.result().model_sha256) != wanted:
            raise NoAnswer(
                f"the data centre serves model {served[:12]}, but the new calibration was made with {wanted[:12]}: "
                "serve that model first"
            )
        self._connection.expect(wanted)
        try:
            await self._connection.ready(_OTHER_MODEL_WITHIN)
        except BaseException:
            self._connection.expect(before)
            raise
        self.ladder = ladder_of(calibration.ladder)

    async def close(self) -> None:
        """End the connection and every open request."""
        await self._connection.close()

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float = 0.0, trace: str | None = None
    ) -> Offloaded:
        """Label of `image`, uint8 [H, W, C], from the data centre `within` that many seconds.

        `accuracy` is the target, between 0 and 1, that the request is asked under, and `trace` a W3C `traceparent` that
        it belongs to. No answer waits for a
        retransmission; only when nothing at all came back in several times the usual wait, because the link was down,
        is the request asked once more. Cancelling this cancels the request at the data centre, too. Raises NoAnswer
        when there is no connection or the deadline passes, LinkError when the image cannot be sent at all.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        if self._connection.peer is None:
            raise self._connection.no_data_centre()
        await self._take_slot(deadline)
        request = self._connection.number()
        reply = self._open[request] = loop.create_future()
        try:
            return await self._exchange(image, request, reply, deadline, accuracy, trace)
        except asyncio.CancelledError:
            self._cancel(request)
            raise
        finally:
            del self._open[request]
            if self._connection.peer is not None:
                self._connection.peer.followed.forget(request)
            self._slots.release()
            self._next_turn()

    async def _take_slot(self, deadline: float) -> None:
        """Wait for one of the slots; raises NoAnswer when there is none before the loop's time `deadline`.

        Before Python 3.12 `asyncio.wait_for` may swallow a cancel that comes with the slot; `asyncio.wait` does not.
        """
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(self._slots.acquire())
        try:
            await asyncio.wait([waiting], timeout=max(deadline - loop.time(), 0.0))
            if not waiting.done() or loop.time() >= deadline:
                raise NoAnswer("the deadline passed while other requests were on the way")
        except (asyncio.CancelledError, NoAnswer):
            if not waiting.cancel():
                self._slots.release()
            raise

    def _cancel(self, request: int) -> None:
        """Stop the data centre's work on `request`; who awaits it gets NoAnswer. Nothing happens when it is over."""
        reply = self._open.get(request)
        if reply is None or self._connection.peer is None:
            return
        self._connection.peer.withdraw(request)
        if not reply.done():
            reply.set_exception(NoAnswer("the request was cancelled"))
            reply.exception()  # it may be that nobody awaits it any more

    async def _exchange(
        self,
        image: npt.NDArray[np.uint8],
        request: int,
        reply: asyncio.Future[Reply],
        deadline: float,
        accuracy: float,
        trace: str | None,
    ) -> Offloaded:
        loop = asyncio.get_running_loop()
        traced = Trace(request, trace).pack() if trace is not None else b""
        coarse, loss, first_sent = False, 0.0, 0.0
        fitted, entire = None, False
        quick: bool | None = None  # the path is, as of the first attempt: pieces of two JPEGs of one form would not fit
        for attempt in range(2):
            waited = await self._take_turn(reply, deadline)
            peer = self._connection.peer
            if peer is None and not reply.done():
                raise self._connection.no_data_centre(asked=waited or attempt > 0)
            left = deadline - loop.time()
            if reply.done() or peer is None:
                break
            if left <= peer.least_round_trip:
                if attempt == 0 and not waited:
                    raise NoAnswer("the data centre was not asked: no time was left for the way there", asked=False)
                break
            progress = peer.followed.follow(request)
            # Where anything of it came, the data centre has the request and its reply got lost: one strip reminds it.
            reminder = fitted is not None and progress.arrived > 0
            if fitted is None or not reminder:
                entire, within = self._entire(peer, image), self._room(peer, left)
                quick = (peer.rate or 0.0) >= _QUICK if quick is None else quick
                fitted = fit(
                    image,
                    self.ladder,
                    within,
                    peer.loss_meter.path_loss,
                    peer.largest_datagram - len(traced),
                    entire,
                    progressive=not quick,
                )
                self._learn_bytes(fitted, image)
                strips = len(fitted.encoded.payloads)
                exposed = not entire and fitted.parity < strips_for(strips, peer.loss_meter.loss)
                coarse |= exposed or fitted.coarse
            messages = fitted.encoded.pack(
                request=request, left_ms=int(left * 1e3), attempt=attempt, accuracy=accuracy, parity=fitted.parity
            )
            messages[0] = traced + messages[0]
            if reminder:
                messages = messages[:1]
            self.resent += attempt
            # What leaves so late that nothing comes back in time need not leave.
            peer.send_before(deadline - peer.least_round_trip, messages, request, entire or reminder)
            self._next_turn()
            patience = math.inf if attempt else max(SOONEST_ASK, ASK_AGAIN * self._usual_wait)
            await self._reply_or_silence(peer, request, reply, progress, deadline, patience, entire)
            loss = peer.loss_meter.loss
            first_sent = first_sent or progress.last_sent
            if reply.done():
                break
        if first_sent:
            # From the first sending on, so that a guess that was too short grows.
            self._usual_wait += (loop.time() - first_sent - self._usual_wait) / 8
        if not reply.done():
            raise NoAnswer("the deadline passed before the data centre's answer came")
        answer = reply.result()
        self._usual_service += (answer.service_us / 1e6 - self._usual_service) / 8
        if answer.status != Status.ANSWERED:
            raise NoAnswer(f"the data centre gave none: {answer.status.name.lower()}")
        return Offloaded(**vars(answer), loss=loss, coarse=coarse)

    async def _take_turn(self, reply: asyncio.Future[Reply], deadline: float) -> bool:
        """Wait until the images before are encoded and nearly sent; or until `reply` or the loop's time `deadline`.

        Returns whether there was anything to wait for.
        """
        if not self._line and (self._connection.peer is None or not self._connection.peer.busy):
            return False
        loop = asyncio.get_running_loop()
        place = deadline, loop.create_future()
        self._line.append(place)
        try:
            left = max(deadline - loop.time(), 0.0)
            await asyncio.wait([place[1], reply], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._line.remove(place)
        return True

    def _next_turn(self) -> None:
        """Let the image that waits longest be encoded, unless enough waits to be sent."""
        if self._line and (self._connection.peer is None or not self._connection.peer.busy):
            _, turn = self._line[0]
            if not turn.done():
                turn.set_result(None)

    def _entire(self, peer: ClientPeer, image: npt.NDArray[np.uint8]) -> bool:
        """Whether `image` travels entire: few bytes, but what gets lost is sent again."""
        meter, rate = peer.loss_meter, peer.rate
        loss, tiny = meter.message_loss, kind_of(image).raw
        if rate is None or loss > MOST_REPAIRED:
            return False
        if loss <= HARDLY_LOST and (tiny or meter.hardly_loses(HARDLY_LOST) or meter.own_doing):
            return True
        size = image.size if tiny else self._usual_bytes * image.shape[0] * image.shape[1]
        return size > rate * _LONG_SENDING * peer.least_round_trip

    def _room(self, peer: ClientPeer, left: float) -> Room:
        """What an image may take that has `left` seconds, and others waiting behind it."""
        now = asyncio.get_running_loop().time()
        behind = [deadline - now for deadline, _ in self._line]
        return room(peer.rate, [left, *behind], peer.least_round_trip + self._usual_service, peer.ahead)

    def _learn_bytes(self, fitted: Fitted, image: npt.NDArray[np.uint8]) -> None:
        if not fitted.encoded.kind.raw and not fitted.coarse:
            self._usual_bytes += (fitted.encoded.size / (image.shape[0] * image.shape[1]) - self._usual_bytes) / 8

    async def _reply_or_silence(
        self,
        peer: ClientPeer,
        request: int,
        reply: asyncio.Future[Reply],
        progress: Progress,
        deadline: float,
        patience: float,
        entire: bool,
    ) -> None:
        """Wait for `reply` until `deadline`, or until all of `request` was sent `patience` seconds ago.

        As long as something of an image that travels `entire` is on the way it either arrives or is sent again.
        """
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            going = peer.waits(request) or (entire and progress.under_way > 0)
            until = min((now if going else progress.last_sent) + patience, deadline)
            if until <= now:
                return
            done, _ = await asyncio.wait([reply], timeout=until - now)
            if done:
                return

    @property
    def waits(self) -> bool:
        """Whether a reply is waited for."""
        return bool(self._open)

    def connected(self, peer: ClientPeer) -> None:
        """Go on over `peer`, a new connection."""
        self._usual_wait = peer.greeting
        peer.next_turn = self._next_turn

    def lost(self) -> None:
        """The connection ended: who waits for a reply gets none."""
        lost = NoAnswer("the connection to the data centre was lost")
        for reply in self._open.values():
            if not reply.done():
                reply.set_exception(lost)

    def received(self, datagram: bytes) -> None:
        """Hand replies to who waits for them."""
        try:
            for reply in parse(datagram):
                if not isinstance(reply, Reply):
                    raise LinkError(f"a {type(reply).__name__.lower()} to the edge: only replies go there")
                waiting = self._open.get(reply.request)
                if waiting is not None and not waiting.done():  # else another copy came first, or the deadline did
                    waiting.set_result(reply)
        except LinkError as error:
            self._told.warning(f"a reply was ignored: {error}")
