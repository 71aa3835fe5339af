"""The edge's end of the link: keeps a connection to the data centre and offloads images over it.

How many requests are open at a time is bounded; an image is made as small as the path and the deadline ask for.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from edgesight.host.link.addresses import Found, addresses
from edgesight.host.link.bounds import KEY_PACKETS
from edgesight.host.link.datagrams import NO_QUIC, REQUEST_BITS, Cancel, LinkError, Reply, Status, parse
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import (
    EdgeKeys,
    KeysError,
    client_keys,
    load_certificate,
    new_key,
    public_bytes,
    request_certificate,
    save_edge,
)
from edgesight.host.link.offload import NoAnswer, Offloaded
from edgesight.host.link.parity import strips_for
from edgesight.host.link.quality import Room, fit, room
from edgesight.host.link.quic import IDLE_TIMEOUT, PROTOCOL, Hello, Peer, Welcome
from edgesight.host.link.repair import Progress
from edgesight.host.link.strips import QUALITY, Encoded, kind_of
from edgesight.host.link.telling import Sparing
from edgesight.host.link.tls import REFUSED, Untrusted, check_data_centre, check_edge, shown_chain, why_ended

try:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    raise LinkError(NO_QUIC) from error

_WELCOME_WITHIN = 5.0  # seconds from the first packet on; of a name with several addresses, shared among the silent
_RENEW_BY = datetime.timedelta(days=15)  # before the certificate ends it is renewed though requests are open
_PING_EVERY = 1.0  # seconds; keeps an idle connection from timing out
_PROBE_EVERY = 0.2  # seconds, while nothing comes back: QUIC's own probes come ever more seldom
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0  # seconds between attempts to connect
_REFUSED_BACKOFF, _LAST_REFUSED_BACKOFF = 1.0, 30.0  # where it turned this edge away; new keys end the wait
_LOOK_AT_KEYS = 0.5  # seconds; how soon keys that were written meanwhile are seen
_ASK_AGAIN = 3.0  # times the usual wait for a reply
_SOONEST_ASK = 0.1  # seconds; much more than the data centre waits for a strip that will not come
_MOST_REPAIRED = 0.02  # loss of a path up to which images may travel entire
_HARDLY_LOST = 0.003  # loss up to which they do on any path
_LONG_SENDING = 0.5  # round trips that sending takes from which on a second sending is no long wait
# Bytes a second from which on making and reading a progressive JPEG takes longer than sending what it saves. On a
# desktop's core they are 4 to 5 % of the bytes and 1.7 ms of 224 x 224 pixels, whose 15 kB then take 40 ms.
_QUICK = 4e5
_USUAL_BYTES = 0.3  # of a pixel in a JPEG, before any was made
_LAST_REQUESTS = 1 << 16  # request ids that are left when the connection is made anew

logger = logging.getLogger(__name__)


class ClientPeer(Peer):
    """The edge's end."""

    def __init__(self, quic: QuicConnection, keys: EdgeKeys, received: Callable[[bytes], None]) -> None:
        """Made by `OffloadClient`."""
        super().__init__(quic)
        self.renewal = new_key() if keys.renewal_due(keys.clock()) else None  # of the certificate that it asks for
        self._authority, self._clock = keys.authority, keys.clock
        self._received = received
        self._greeted_at = 0.0
        self.greeting = 0.0  # seconds from hello to welcome
        self.heard = False  # something came back
        self.refused = False  # the data centre does not let this edge in, for a reason that stays
        self.welcome: asyncio.Future[Welcome] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()  # why
        self.next_turn: Callable[[], None] = lambda: None

    def drained(self) -> None:
        """Let the next image be encoded: what it may take is known best when it is about to go."""
        self.next_turn()

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note that there is somebody, then go on."""
        self.heard = True
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Say hello once the data centre's certificate was found good, then take datagrams."""
        if isinstance(event, HandshakeCompleted):
            self._greet()
        elif isinstance(event, DatagramFrameReceived):
            self._received(event.data)
        elif isinstance(event, StreamData):
            self._take_welcome(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.refused = event.error_code == REFUSED
            self._end(why_ended(event, IDLE_TIMEOUT, known=self._greeted_at > 0.0))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens there: no use waiting for silence to time out."""
        if isinstance(exc, ConnectionRefusedError):
            self._end("nothing listens there")

    def withdraw(self, request: int) -> None:
        """Send no more of `request`, and cancel it."""
        self.followed.forget(request)
        self._queue.forget(request)
        self.send_copies([Cancel(request).pack()])

    def keep_alive(self) -> None:
        """Give the data centre something to acknowledge."""
        self._quic.send_ping(0)
        self.transmit()

    @property
    def silence(self) -> float:
        """Seconds since the data centre acknowledged anything; 0 while nothing is there to acknowledge."""
        if not self._quic._loss.bytes_in_flight:
            return 0.0
        return self._loop.time() - max(self.followed.heard_at, self._greeted_at)

    def probe(self) -> None:
        """Look whether the path is back, past a congestion window that is full of what got lost; no public way to it.

        One packet tells: what was sent before it and does not arrive is lost then, and can be sent again.
        """
        self._quic._loss._send_probe()
        self.transmit()

    def _greet(self) -> None:
        try:
            check_data_centre(shown_chain(self._quic)[0], self._authority, self._clock())
        except Untrusted as error:
            # Once the handshake's last packet is on its way: before it the data centre could not read the reason.
            self._loop.call_soon(self._turn_away, error)
            return
        self._greeted_at = self._loop.time()
        request = request_certificate(self.renewal) if self.renewal else None
        self.send_line(Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables(), request=request))

    def _turn_away(self, error: Untrusted) -> None:
        self.close(REFUSED, str(error))
        self._end(f"it cannot be trusted: {error}")

    def _take_welcome(self, data: bytes) -> None:
        if self.welcome.done():
            return
        line = self.first_line(data)
        if line is None:
            return
        try:
            self.welcome.set_result(Welcome.model_validate_json(line))
            self.greeting = self._loop.time() - self._greeted_at
            self._recount()
        except ValidationError:
            self._end("its welcome cannot be read: run the same version on both sides")

    def _recount(self) -> None:
        """Take off the bytes in flight what aioquic forgot there: the packet that a Retry answered."""
        spaces = self._quic._spaces.values()
        packets = [packet for space in spaces for packet in space.sent_packets.values()]
        self._quic._loss._cc.bytes_in_flight = sum(packet.sent_bytes for packet in packets if packet.in_flight)

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


def _unreachable(error: OSError | ValueError) -> str:
    return f"the address cannot be reached ({getattr(error, 'strerror', None) or error})"


def _file_of(keys: EdgeKeys) -> tuple[int, int, int] | None:
    """By what a file of keys that was written anew is told from the one before; None where there is none."""
    try:
        found = keys.path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _coarser(encoded: Encoded, image: npt.NDArray[np.uint8]) -> bool:
    """Whether `image` is packed smaller, or at a lower quality, than calibration saw images."""
    smaller = (encoded.height, encoded.width) != image.shape[:2]
    return smaller or (not encoded.kind.raw and encoded.quality < QUALITY)


@dataclass(frozen=True)
class _Link:
    """A connection and its socket."""

    peer: ClientPeer
    transport: asyncio.DatagramTransport

    def close(self) -> None:
        self.peer.close()
        self.transport.close()


def _give_up(opening: asyncio.Task[_Link | str]) -> None:
    """End an attempt to connect, and what it may have come to just now."""

    def close(done: asyncio.Task[_Link | str]) -> None:
        if not done.cancelled() and done.exception() is None and isinstance(link := done.result(), _Link):
            link.close()

    opening.add_done_callback(close)
    opening.cancel()


class OffloadClient:
    """Keeps a connection to the data centre and offloads images over it."""

    def __init__(
        self,
        host: str,
        port: int,
        keys: EdgeKeys,
        *,
        model_sha256: str | None = None,
        quality: int = QUALITY,
        max_open: int = 128,  # as many as the data centre puts together of one edge
    ) -> None:
        """`model_sha256` is the model that the calibration was made with (None takes any); `max_open` requests at once.

        `quality` is the JPEG quality of large images where the bandwidth is ample.
        """
        self.resent = 0  # requests whose strips went twice
        self.trouble: str | None = "not connected yet"  # why there is no connection; None while there is one
        self._address = (host, port)
        self._good: Found | None = None  # the one of its addresses that let this edge in last
        self._told = Sparing(logger)
        self._keys = keys
        self._keys_seen: tuple[int, int, int] | None = None  # the file of which they were read, once it was looked at
        self._refused = False  # the last attempt to connect
        self._model_sha256 = model_sha256
        self._quality = quality
        self._slots = asyncio.Semaphore(max_open)
        self._peer: ClientPeer | None = None
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._line: deque[tuple[float, asyncio.Future[None]]] = deque()  # deadlines of images to be encoded, and turns
        self._next = 0  # request id
        self._usual_wait = 0.1  # seconds from the last strip sent to the reply, smoothed
        self._usual_bytes = _USUAL_BYTES  # of a pixel in a JPEG as it is asked for, smoothed
        self._usual_service = 0.0  # seconds that a request spends at the data centre, smoothed
        self._attempted = asyncio.Event()  # the first attempt to connect is over
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background, again and again with growing pauses whenever the connection is lost."""
        jpeg_tables()  # takes a moment, once: better before there is a connection to wait for it
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def connect(self, timeout: float = 5.0) -> None:
        """Start, and wait for the first attempt; raises LinkError saying why it failed, and gives up then."""
        self.start()
        try:
            await asyncio.wait_for(self._attempted.wait(), timeout)
        except asyncio.TimeoutError:
            self.trouble = f"no answer within {timeout:g} s"
        if self.trouble is not None:
            trouble = self._no_data_centre()
            await self.close()
            raise trouble

    async def wait_connected(self, timeout: float) -> None:
        """Wait until there is a connection; raises LinkError saying what stands in the way after `timeout` seconds."""
        self.start()
        try:
            await asyncio.wait_for(self._ready.wait(), timeout)
        except asyncio.TimeoutError:
            raise self._no_data_centre() from None

    async def close(self) -> None:
        """End the connection and every open request."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def offload(self, image: npt.NDArray[np.uint8], within: float, accuracy: float = 0.0) -> Offloaded:
        """Label of `image`, uint8 [H, W, C], from the data centre `within` that many seconds.

        `accuracy` is the target, between 0 and 1, that the request is asked under. No answer waits for a
        retransmission; only when nothing at all came back in several times the usual wait, because the link was down,
        is the request asked once more. Cancelling this cancels the request at the data centre, too. Raises NoAnswer
        when there is no connection or the deadline passes, LinkError when the image cannot be sent at all.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        if self._peer is None:
            raise self._no_data_centre()
        await self._take_slot(deadline)
        request = self._next
        self._next += 1
        reply = self._open[request] = loop.create_future()
        try:
            return await self._exchange(image, request, reply, deadline, accuracy)
        except asyncio.CancelledError:
            self._cancel(request)
            raise
        finally:
            del self._open[request]
            if self._peer is not None:
                self._peer.followed.forget(request)
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
        if reply is None or self._peer is None:
            return
        self._peer.withdraw(request)
        if not reply.done():
            reply.set_exception(NoAnswer("the request was cancelled"))
            reply.exception()  # it may be that nobody awaits it any more

    async def _exchange(
        self, image: npt.NDArray[np.uint8], request: int, reply: asyncio.Future[Reply], deadline: float, accuracy: float
    ) -> Offloaded:
        loop = asyncio.get_running_loop()
        coarse, loss, first_sent = False, 0.0, 0.0
        encoded, entire, parity = None, False, 0
        quick: bool | None = None  # the path is, as of the first attempt: pieces of two JPEGs of one form would not fit
        for attempt in range(2):
            waited = await self._take_turn(reply, deadline)
            peer = self._peer
            if peer is None and not reply.done():
                raise self._no_data_centre(asked=waited or attempt > 0)
            left = deadline - loop.time()
            if reply.done() or peer is None:
                break
            if left <= peer.least_round_trip:
                if attempt == 0 and not waited:
                    raise NoAnswer("the data centre was not asked: no time was left for the way there", asked=False)
                break
            progress = peer.followed.follow(request)
            # Where anything of it came, the data centre has the request and its reply got lost: one strip reminds it.
            reminder = encoded is not None and progress.arrived > 0
            if encoded is None or not reminder:
                entire, within = self._entire(peer, image), self._room(peer, left)
                quick = (peer.rate or 0.0) >= _QUICK if quick is None else quick
                encoded, parity = fit(
                    image,
                    self._quality,
                    within,
                    peer.loss_meter.path_loss,
                    peer.largest_datagram,
                    entire,
                    progressive=not quick,
                )
                self._learn_bytes(encoded, image)
                exposed = not entire and parity < strips_for(len(encoded.payloads), peer.loss_meter.loss)
                coarse |= exposed or _coarser(encoded, image)
            messages = encoded.pack(
                request=request, left_ms=int(left * 1e3), attempt=attempt, accuracy=accuracy, parity=parity
            )
            if reminder:
                messages = messages[:1]
            self.resent += attempt
            # What leaves so late that nothing comes back in time need not leave.
            peer.send_before(deadline - peer.least_round_trip, messages, request, entire or reminder)
            self._next_turn()
            patience = math.inf if attempt else max(_SOONEST_ASK, _ASK_AGAIN * self._usual_wait)
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
        if not self._line and (self._peer is None or not self._peer.busy):
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
        if self._line and (self._peer is None or not self._peer.busy):
            _, turn = self._line[0]
            if not turn.done():
                turn.set_result(None)

    def _entire(self, peer: ClientPeer, image: npt.NDArray[np.uint8]) -> bool:
        """Whether `image` travels entire: few bytes, but what gets lost is sent again."""
        meter, rate = peer.loss_meter, peer.rate
        loss, tiny = meter.lone_loss, kind_of(image).raw
        if rate is None or loss > _MOST_REPAIRED:
            return False
        if loss <= _HARDLY_LOST and (tiny or meter.hardly_loses(_HARDLY_LOST) or meter.own_doing):
            return True
        size = image.size if tiny else self._usual_bytes * image.shape[0] * image.shape[1]
        return size > rate * _LONG_SENDING * peer.least_round_trip

    def _room(self, peer: ClientPeer, left: float) -> Room:
        """What an image may take that has `left` seconds, and others waiting behind it."""
        now = asyncio.get_running_loop().time()
        behind = [deadline - now for deadline, _ in self._line]
        return room(peer.rate, [left, *behind], peer.least_round_trip + self._usual_service, peer.ahead)

    def _learn_bytes(self, encoded: Encoded, image: npt.NDArray[np.uint8]) -> None:
        if not encoded.kind.raw and not _coarser(encoded, image):
            self._usual_bytes += (encoded.size / (encoded.height * encoded.width) - self._usual_bytes) / 8

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

    async def _stay_connected(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                reason = await self._connection()
            except Exception as error:  # whatever it is, trying goes on
                reason = f"a fault of this edge's own ({type(error).__name__}: {error})"
            if self._ready.is_set():
                self._ready.clear()
                backoff = _FIRST_BACKOFF
            if reason != self.trouble:
                self._told.warning(f"no data centre at {self._address[0]}:{self._address[1]}: {reason}")
            self.trouble = reason
            self._attempted.set()
            if self._refused:
                backoff = max(backoff, _REFUSED_BACKOFF)
            await self._pause(backoff * (0.5 + secrets.randbelow(1_000) / 1_000))
            backoff = min(2 * backoff, _LAST_REFUSED_BACKOFF if self._refused else _LAST_BACKOFF)

    async def _pause(self, seconds: float) -> None:
        """Wait `seconds`, or until there are other keys to try."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0.0 and _file_of(self._keys) == self._keys_seen:
            await asyncio.sleep(min(left, _LOOK_AT_KEYS))

    def _take_new_keys(self) -> None:
        """Use what is in the keys folder now: this edge may have been enrolled anew since its keys were read."""
        found = _file_of(self._keys)
        if found == self._keys_seen:
            return
        self._keys_seen = found
        keys = self._keys
        try:
            self._keys = client_keys(keys.path.parent, keys.configuration.idle_timeout, keys.clock)
        except KeysError as error:
            logger.warning("the keys that were read before are used on: %s", error)
            return
        if self._keys.certificate != keys.certificate:
            logger.info("%s holds other keys now, which are used from here on", keys.path)

    async def _connection(self) -> str:
        """Connect and stay so as long as it lasts; says why it ended."""
        link = await self._open_link()
        while isinstance(link, _Link):
            link = await self._keep(link)
        return link

    async def _open_link(self) -> _Link | str:
        """A new connection that let this edge in, at one address of the data centre or the next; or why there is none.

        The addresses share the time after which silence means that nobody is there.
        """
        self._take_new_keys()
        self._refused = False
        try:
            found = await addresses(*self._address)
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            return _unreachable(error)
        silence = min(self._keys.configuration.idle_timeout / 2, _WELCOME_WITHIN) / max(len(found), 1)
        link: _Link | str = "the address cannot be reached (it leads nowhere)"
        for address in sorted(found, key=lambda one: one != self._good):
            link, heard = await self._open_link_to(address, silence)
            if heard:
                break  # somebody is there: what it says counts
        return link

    async def _open_link_to(self, address: Found, silence: float) -> tuple[_Link | str, bool]:
        """The same at one address, where `silence` seconds at first mean nobody; says, too, whether anything came."""
        loop = asyncio.get_running_loop()
        try:
            transport, peer = await loop.create_datagram_endpoint(
                lambda: ClientPeer(QuicConnection(configuration=self._keys.configuration), self._keys, self._received),
                family=address[0],
                remote_addr=address[1],
            )
        except (OSError, ValueError) as error:
            return _unreachable(error), False
        link = _Link(peer, transport)
        try:
            peer.connect(transport.get_extra_info("peername"))
            first: list[asyncio.Future[Any]] = [peer.welcome, peer.ended]
            await asyncio.wait(first, timeout=silence, return_when=asyncio.FIRST_COMPLETED)
            if peer.heard:
                await asyncio.wait(first, timeout=_WELCOME_WITHIN - silence, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            link.close()
            raise
        if peer.ended.done():
            reason, self._refused = peer.ended.result(), peer.refused
        elif not peer.heard:
            reason = f"it was silent for {silence:g} s"
        elif not peer.welcome.done():
            reason = f"it did not let this edge in within {_WELCOME_WITHIN:g} s"
        elif self._model_sha256 not in (None, peer.welcome.result().model_sha256):
            reason = (
                f"it serves model {peer.welcome.result().model_sha256[:12]}, but this kernel was calibrated with "
                f"{str(self._model_sha256)[:12]}: serve that model, or calibrate again"
            )
        else:
            self._good = address
            return link, True
        link.close()
        return reason, peer.heard

    async def _keep(self, link: _Link) -> _Link | str:
        """Use `link` as long as it lasts; says why it ended, or what takes its place.

        When nothing comes back for half of the time after which QUIC gives a connection up, either the path is down for
        a while, and the connection is as good as before afterwards, or the data centre was started anew and does not
        know it any more. So a second one is tried beside it, and whichever works first goes on.
        """
        loop = asyncio.get_running_loop()
        peer, welcome = link.peer, link.peer.welcome.result()
        if welcome.certificate is not None and peer.renewal is not None:
            self._renew(peer.renewal, welcome.certificate)
        self._usual_wait = peer.greeting
        self._next = welcome.session << REQUEST_BITS
        peer.next_turn = self._next_turn
        self._peer, self.trouble = peer, None
        self._attempted.set()
        self._ready.set()
        logger.info("connected to the data centre at %s:%d", *self._address)
        pinged = loop.time()
        second: asyncio.Task[_Link | str] | None = None
        try:
            while not peer.ended.done():
                await asyncio.wait([peer.ended], timeout=_PROBE_EVERY)
                if peer.ended.done():
                    break
                if peer.silence > _PROBE_EVERY + peer.round_trip:
                    peer.probe()
                idle = self._keys.configuration.idle_timeout
                if peer.silence > 2 * idle:
                    # QUIC itself may wait for longer: for three of its probes, which come seldom after a long silence.
                    return f"it was silent for {2 * idle:g} s"
                if second is not None and second.done():
                    found, second = second.result(), None
                    if isinstance(found, _Link):
                        return found
                if second is None and peer.silence > idle / 2:
                    second = loop.create_task(self._open_link())
                elif second is not None and peer.silence <= idle / 2:
                    _give_up(second)
                    second = None
                if loop.time() < pinged + _PING_EVERY:
                    continue
                pinged = loop.time()
                urgent = self._keys.expires - self._keys.clock() < _RENEW_BY
                if peer.renewal is None and (urgent or not self._open) and self._keys.renewal_due(self._keys.clock()):
                    return "the connection is made anew to renew this edge's certificate"
                if self._next + _LAST_REQUESTS > welcome.session + 1 << REQUEST_BITS and not self._open:
                    return "the connection is made anew to count requests from 0 again"
                # Packets that come under the old keys are lost from then on, so rather while nobody waits for any.
                if peer.key_age > KEY_PACKETS * (1.5 if self._open else 1.0):
                    peer.request_key_update()
                peer.keep_alive()
            return peer.ended.result()
        finally:
            self._peer = None
            link.close()
            if second is not None:
                _give_up(second)
            lost = NoAnswer("the connection to the data centre was lost")
            for reply in self._open.values():
                if not reply.done():
                    reply.set_exception(lost)

    def _renew(self, key: ec.EllipticCurvePrivateKey, content: str) -> None:
        """Put the new certificate in the place of the old one; the next connection uses it."""
        keys = self._keys
        try:
            certificate = load_certificate(content.encode())
            check_edge(certificate, keys.authority, keys.clock())
            if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
                raise Untrusted("it is for another key")
            save_edge(keys.path.parent, key, certificate, keys.authority)
            self._keys = client_keys(keys.path.parent, keys.configuration.idle_timeout, keys.clock)
        except (ValueError, LinkError, OSError) as error:
            logger.warning("%s was not renewed (%s), it ends on %s", keys.path, error, f"{keys.expires:%Y-%m-%d}")
        else:
            logger.info("this edge's certificate was renewed, until %s", f"{self._keys.expires:%Y-%m-%d}")

    def _received(self, datagram: bytes) -> None:
        try:
            for reply in parse(datagram):
                if not isinstance(reply, Reply):
                    raise LinkError(f"a {type(reply).__name__.lower()} to the edge: only replies go there")
                waiting = self._open.get(reply.request)
                if waiting is not None and not waiting.done():  # else another copy came first, or the deadline did
                    waiting.set_result(reply)
        except LinkError as error:
            self._told.warning(f"a reply was ignored: {error}")

    def _no_data_centre(self, *, asked: bool = False) -> NoAnswer:
        return NoAnswer(f"no data centre at {self._address[0]}:{self._address[1]}: {self.trouble}", asked=asked)
