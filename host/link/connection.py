"""The edge's connection to the data centre: made, kept as long as it lasts, and made anew whenever it is lost.

A data centre with several addresses is tried at one after the other. Keys that are written meanwhile are used from the
next attempt on, and a certificate that ends before long is renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgesight.host.link.addresses import Found, addresses
from edgesight.host.link.bounds import KEY_PACKETS
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.datagrams import NO_QUIC, REQUEST_BITS, LinkError
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import EdgeKeys, KeysError, client_keys, load_certificate, public_bytes, save_edge
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.telling import Sparing
from edgesight.host.link.tls import Untrusted, check_edge
from edgesight.host.measures import Labels, Measure, gauge

try:
    from aioquic.quic.connection import QuicConnection
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    raise LinkError(NO_QUIC) from error

WELCOME_WITHIN = 5.0  # seconds from the first packet on; of a name with several addresses, shared among the silent
_RENEW_BY = datetime.timedelta(days=15)  # before the certificate ends it is renewed though requests are open
PING_EVERY = 1.0  # seconds; keeps an idle connection from timing out
PROBE_EVERY = 0.2  # seconds, while nothing comes back: QUIC's own probes come ever more seldom
# Seconds between attempts to connect, each by half longer or shorter. An attempt that nothing comes of says its last
# hello 1.6 s before it ends, so that a path that is back is found in less than 5 s, however long it was down.
FIRST_BACKOFF, LAST_BACKOFF = 0.1, 1.5
_REFUSED_BACKOFF, _LAST_REFUSED_BACKOFF = 1.0, 30.0  # where it turned this edge away; new keys end the wait
_LOOK_AT_KEYS = 0.5  # seconds; how soon keys that were written meanwhile are seen
_LAST_REQUESTS = 1 << 16  # request ids that are left when the connection is made anew

logger = logging.getLogger(__name__)


class User(Protocol):
    """Who sends requests over a connection."""

    @property
    def waits(self) -> bool:
        """Whether it waits for a reply: then what can be put off is."""

    def received(self, datagram: bytes) -> None:
        """Take in a datagram."""

    def connected(self, peer: ClientPeer) -> None:
        """From now on requests may go over `peer`."""

    def lost(self) -> None:
        """Nothing more comes of what was sent."""


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


@dataclass(frozen=True)
class Wanted:
    """What an edge was calibrated with, and so must be served; None takes any."""

    model_sha256: str | None = None
    form_sha256: str | None = None  # of the form in which the model gets pictures


class Connection:
    """Keeps a connection to the data centre."""

    def __init__(self, address: tuple[str, int], keys: EdgeKeys, wanted: Wanted, user: User, told: Sparing) -> None:
        """To a data centre at `address`, host and port, that serves the model that is `wanted`.

        `told` gets what goes wrong.
        """
        self.trouble: str | None = "not connected yet"  # why there is no connection; None while there is one
        self.peer: ClientPeer | None = None
        self._address = address
        self._good: Found | None = None  # the one of its addresses that let this edge in last
        self._keys = keys
        self._keys_seen: tuple[int, int, int] | None = None  # the file of which they were read, once it was looked at
        self._wanted = wanted
        self._expected = asyncio.Event()  # another model than when it was last tried
        self._user = user
        self._told = told
        self._refused = False  # the last attempt to connect
        self._next = 0  # request id
        self._packets = self._lost = 0  # of connections that have ended
        self._attempted = asyncio.Event()  # the first attempt to connect is over
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect in the background, again and again with growing pauses whenever the connection is lost."""
        jpeg_tables()  # takes a moment, once: better before there is a connection to wait for it
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    async def attempted(self, timeout: float) -> None:
        """Start, and wait for the first attempt; raises NoAnswer saying why it failed, and gives up then."""
        self.start()
        try:
            await asyncio.wait_for(self._attempted.wait(), timeout)
        except asyncio.TimeoutError:
            self.trouble = f"no answer within {timeout:g} s"
        if self.trouble is not None:
            trouble = self.no_data_centre()
            await self.close()
            raise trouble

    async def ready(self, timeout: float) -> None:
        """Wait until there is a connection; raises NoAnswer saying what stands in the way after `timeout` seconds."""
        self.start()
        try:
            await asyncio.wait_for(self._ready.wait(), timeout)
        except asyncio.TimeoutError:
            raise self.no_data_centre() from None

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def model_sha256(self) -> str | None:
        """The model that a data centre has to serve; None takes any."""
        return self._wanted.model_sha256

    def expect(self, model_sha256: str | None) -> None:
        """From now on only a data centre counts that serves this model; with any other the connection ends."""
        self._wanted = dataclasses.replace(self._wanted, model_sha256=model_sha256)
        self._expected.set()

    def number(self) -> int:
        """The id of the next request."""
        self._next += 1
        return self._next - 1

    def measures(self) -> Sequence[Measure]:
        """What became of packets, and what the path is like."""
        peer = self.peer
        meter = peer.loss_meter if peer is not None else None
        packets: dict[Labels, int] = {
            ("sent",): self._packets + (meter.packets if meter is not None else 0),
            ("lost",): self._lost + (meter.lost if meter is not None else 0),
        }
        round_trip = peer.round_trip or None if peer is not None else None
        rate = peer.measured_rate if peer is not None else None
        return (
            gauge("link_connected", "Whether there is a connection to the data centre.", float(peer is not None)),
            gauge("link_round_trip_seconds", "There and back, smoothed.", round_trip),
            gauge("link_bytes_per_second", "What the path carries.", rate),
            Measure("link_packets", "Packets to the data centre.", "counter", ("outcome",), packets),
        )

    def no_data_centre(self, *, asked: bool = False) -> NoAnswer:
        """What to raise while there is none; `asked` as `NoAnswer` has it."""
        return NoAnswer(f"no data centre at {self._address[0]}:{self._address[1]}: {self.trouble}", asked=asked)

    async def _stay_connected(self) -> None:
        backoff = FIRST_BACKOFF
        while True:
            try:
                reason = await self._connection()
            except Exception as error:  # whatever it is, trying goes on
                reason = f"a fault of this edge's own ({type(error).__name__}: {error})"
            if self._ready.is_set():
                self._ready.clear()
                backoff = FIRST_BACKOFF
            if reason != self.trouble:
                self._told.warning(f"no data centre at {self._address[0]}:{self._address[1]}: {reason}")
            self.trouble = reason
            self._attempted.set()
            if self._refused:
                backoff = max(backoff, _REFUSED_BACKOFF)
            await self._pause(backoff * (0.5 + secrets.randbelow(1_000) / 1_000))
            backoff = min(2 * backoff, _LAST_REFUSED_BACKOFF if self._refused else LAST_BACKOFF)

    async def _pause(self, seconds: float) -> None:
        """Wait `seconds`, or until there are other keys to try, or another model is expected."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0.0 and _file_of(self._keys) == self._keys_seen:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._expected.wait(), min(left, _LOOK_AT_KEYS))
                return

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
        self._expected.clear()
        self._refused = False
        try:
            found = await addresses(*self._address)
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            return _unreachable(error)
        silence = min(self._keys.configuration.idle_timeout / 2, WELCOME_WITHIN) / max(len(found), 1)
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
                lambda: ClientPeer(
                    QuicConnection(configuration=self._keys.configuration), self._keys, self._user.received
                ),
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
                await asyncio.wait(first, timeout=WELCOME_WITHIN - silence, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            link.close()
            raise
        if peer.ended.done():
            reason, self._refused = peer.ended.result(), peer.refused
        elif not peer.heard:
            reason = f"it was silent for {silence:g} s"
        elif not peer.welcome.done():
            reason = f"it did not let this edge in within {WELCOME_WITHIN:g} s"
        elif (other := self.other_model(peer)) is not None:
            reason = other
        else:
            self._good = address
            return link, True
        link.close()
        return reason, peer.heard

    def other_model(self, peer: ClientPeer) -> str | None:
        """What is wrong about the model that is served at the other end of `peer`; None where it is the right one."""
        served = peer.welcome.result()
        if self._wanted.model_sha256 not in (None, served.model_sha256):
            return (
                f"it serves model {served.model_sha256[:12]}, but this kernel was calibrated with "
                f"{str(self._wanted.model_sha256)[:12]}: serve that model, or calibrate again"
            )
        if self._wanted.form_sha256 not in (None, served.form_sha256):
            return (
                "it serves the model that this kernel was calibrated with, but gives it pictures in another form, or "
                "takes other outputs of it: serve this edge's kernel package there"
            )
        return None

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
        self._next = welcome.session << REQUEST_BITS
        self._user.connected(peer)
        self.peer, self.trouble = peer, None
        self._attempted.set()
        self._ready.set()
        logger.info("connected to the data centre at %s:%d", *self._address)
        pinged = loop.time()
        second: asyncio.Task[_Link | str] | None = None
        try:
            while not peer.ended.done():
                await asyncio.wait([peer.ended], timeout=PROBE_EVERY)
                if peer.ended.done():
                    break
                if (other := self.other_model(peer)) is not None:
                    return other
                if peer.silence > PROBE_EVERY + peer.round_trip:
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
                if loop.time() < pinged + PING_EVERY:
                    continue
                pinged = loop.time()
                waited, today = self._user.waits, self._keys.clock()
                urgent = self._keys.expires - today < _RENEW_BY
                if peer.renewal is None and (urgent or not waited) and self._keys.renewal_due(today):
                    return "the connection is made anew to renew this edge's certificate"
                if self._next + _LAST_REQUESTS > welcome.session + 1 << REQUEST_BITS and not waited:
                    return "the connection is made anew to count requests from 0 again"
                # Packets that come under the old keys are lost from then on, so rather while nobody waits for any.
                if peer.key_age > KEY_PACKETS * (1.5 if waited else 1.0):
                    peer.request_key_update()
                peer.keep_alive()
            return peer.ended.result()
        finally:
            self.peer = None
            self._packets += peer.loss_meter.packets
            self._lost += peer.loss_meter.lost
            link.close()
            if second is not None:
                _give_up(second)
            self._user.lost()

    def _renew(self, key: ec.EllipticCurvePrivateKey, content: str) -> None:
        """Put the new certificate in the place of the old one; the next connection uses it."""
        keys = self._keys
        try:
            certificate = load_certificate(content.encode())
            check_edge(certificate, keys.authority, keys.clock())
            if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
                raise Untrusted("it is for another key: renewing is tried again")
            save_edge(keys.path.parent, key, certificate, keys.authority)
            self._keys = client_keys(keys.path.parent, keys.configuration.idle_timeout, keys.clock)
        except (ValueError, LinkError, OSError) as error:
            logger.warning("%s was not renewed (%s), it ends on %s", keys.path, error, f"{keys.expires:%Y-%m-%d}")
        else:
            logger.info("this edge's certificate was renewed, until %s", f"{self._keys.expires:%Y-%m-%d}")


def _unreachable(error: OSError | ValueError) -> str:
    return f"the address cannot be reached ({getattr(error, 'strerror', None) or error})"


def _file_of(keys: EdgeKeys) -> tuple[int, int, int] | None:
    """By what a file of keys that was written anew is told from the one before; None where there is none."""
    try:
        found = keys.path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
