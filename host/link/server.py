"""The data centre's end of the link: lets edges in and hands their datagrams on.

A client is nobody until its address, its certificate and its hello were found good; meanwhile it costs little, and of
many such the oldest makes room. `port` sees to it that edges come before strangers, `bounds` that no connection is kept
much for, whoever has it.

Words owned here: half-open, gatekeeper.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib.metadata
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from edgesight.host.link.bounds import KEY_PACKETS
from edgesight.host.link.datagrams import NO_QUIC, SESSION_BITS, LinkError
from edgesight.host.link.enrollment import Enroll, Enrolled
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import ENROLL_ALPN, KeysError
from edgesight.host.link.port import Port, source_of
from edgesight.host.link.quic import PROTOCOL, Hello, Peer, Served, Welcome
from edgesight.host.link.telling import OF_KNOWN, Sparing, printable
from edgesight.host.link.tls import REFUSED, Untrusted, ask_for_certificate, shown_chain, why_left
from edgesight.host.measures import Measure, gauge

try:
    from aioquic.asyncio.protocol import QuicStreamHandler
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
    from cryptography import x509
except ImportError as error:
    raise LinkError(NO_QUIC) from error

_HELLO_WITHIN = 5.0  # seconds for a client to prove itself
_MAX_HALF_OPEN = 128  # connections that have not proved themselves yet; the oldest makes room
_HALF_OPEN_OF_ONE = 32  # of one source
MAX_EDGES = 64
_CONNECTIONS_OF_ONE = (
    2  # of an edge: the one that it lost without knowing and the one that it has; the oldest makes room
)
_LOOK_AGAIN = 1.0  # seconds; how soon a revoked edge is cut off
_BLIND_FOR = 60.0  # seconds without knowing who was revoked, after which all are cut off
_FULL = 0xE6  # application error code: too many connections
_SOUND = 1, 7  # the first aioquic without the faults that strangers' packets reach in it

logger = logging.getLogger(__name__)


def check_sound() -> None:
    """Raises LinkError where the aioquic that this Python has is one that should not meet strangers."""
    found = importlib.metadata.version("aioquic")
    if tuple(int(part) for part in found.split(".")[:2]) < _SOUND:
        raise LinkError(
            f"aioquic {found} has known faults that anybody can reach who can send a packet: serve with Python 3.11 or "
            "newer, which gets a newer one; edges may stay as they are"
        )


@dataclass(frozen=True)
class Admitted:
    """An edge that may talk."""

    name: str
    serial: str  # of its certificate, hexadecimal
    expires: datetime.datetime  # its certificate


class Gatekeeper(Protocol):
    """Knows who may talk. All of it may raise KeysError when it cannot look that up, or write it down.

    `admit` and `refusal` take no time. `enroll` and `renew` may wait for a disk: they are run by the clerk.
    """

    @property
    def clerk(self) -> Executor:
        """One thread, apart from the one that receives."""

    def admit(self, chain: list[x509.Certificate]) -> Admitted:
        """The edge that showed `chain`, its own certificate first; raises Untrusted unless it may talk."""

    def refusal(self, admitted: Admitted) -> str | None:
        """Why an edge that was let in may not talk any more; None while it may."""

    def enroll(self, asked: Enroll, source: str) -> tuple[str, str]:
        """Name and certificate in PEM for a token shown from IP address `source`; raises Untrusted."""

    def renew(self, admitted: Admitted, request: str) -> str | None:
        """A new certificate in PEM, None where it is not due; raises Untrusted."""


class ServerPeer(Peer):
    """The data centre's end: deaf until the client has proved itself."""

    def __init__(self, quic: QuicConnection, server: Server) -> None:
        """Made by `Server`."""
        super().__init__(quic)
        ask_for_certificate(quic)
        self.session = secrets.randbits(SESSION_BITS)
        self.admitted: Admitted | None = None
        self.address = ""  # IP address; QUIC's Retry has proved it
        self.source = ""  # that it belongs to
        self._from: tuple[str, int] = ("", 0)  # address and port; no other may be used before the edge is let in
        self._server = server
        self._enrolls = False
        self._trusted = self._came = False
        self._over = False  # refused or enrolled: nothing more is listened to
        self._asked: asyncio.Task[None] | None = None  # what the clerk does for it
        self._patience = self._loop.call_later(_HELLO_WITHIN, self._lose_patience)

    @property
    def trusted(self) -> bool:
        """Whether its edge was let in."""
        return self._trusted

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note where the client is, then go on."""
        if not self.source:
            self.address, self._from = str(addr[0]), addr[:2]
            self.source = source_of(self.address)
            self._server.met(self)
        elif not self._trusted and addr[:2] != self._from:
            return  # QUIC would send three times as much there, to an address that is not proved
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Look at the certificate, take the first line, then datagrams."""
        if isinstance(event, ConnectionTerminated):
            self._patience.cancel()
            if self._asked is not None:
                self._asked.cancel()
            left = None if self._trusted or self._over else why_left(event)
            if left is not None:
                self._server.told.warning(f"a client at {self.address} was not let in: {left}")
            elif self.cut_off is not None:
                self._server.told.warning(f"a client at {self.address} was cut off: {printable(self.cut_off)}")
            if self._came and self.admitted is not None:
                why = printable(event.reason_phrase, OF_KNOWN) or "it closed the connection"
                self._server.came.info(f"edge {self.admitted.name!r} is gone, from {self.address}: {why}")
            self._trusted = False
            self._server.gone(self)
        elif self._over:
            return
        elif isinstance(event, DatagramFrameReceived):
            if self._trusted:
                self._server.received(self, event.data)
        elif isinstance(event, HandshakeCompleted):
            self._meet(event)
        elif isinstance(event, StreamData) and not self._trusted:
            self._take(event.data)

    def refuse(self, reason: str) -> None:
        """Close the connection, saying why on both sides."""
        self._server.told.warning(f"a client at {self.address} was refused: {printable(reason, OF_KNOWN)}")
        self._dismiss(REFUSED, reason)

    def make_room(self, reason: str) -> None:
        """Close the connection for the sake of others."""
        self._dismiss(_FULL, reason)

    def _dismiss(self, code: int, reason: str) -> None:
        self._over, self._trusted = True, False
        self.close(code, printable(reason, OF_KNOWN))  # a longer one would not fit a packet, and never be sent

    def _meet(self, event: HandshakeCompleted) -> None:
        if event.session_resumed or event.early_data_accepted:
            self.refuse("a resumed session shows no certificate: connect anew")  # no ticket is given out: cannot be
        elif event.alpn_protocol == ENROLL_ALPN:
            self._enrolls = True
        else:
            try:
                self.admitted = self._server.gatekeeper.admit(shown_chain(self._quic))
            except (Untrusted, KeysError) as error:
                self._refuse_for(error)

    def _take(self, data: bytes) -> None:
        if self._asked is not None or (self.admitted is None and not self._enrolls):
            return
        line = self.first_line(data)
        if line is None:
            return
        try:
            if self._enrolls:
                self._asked = self._loop.create_task(self._enroll(Enroll.model_validate_json(line)))
            else:
                self._greet(Hello.model_validate_json(line))
        except ValidationError:
            self.refuse("the first message cannot be read: run the same version on both sides")
        except (Untrusted, KeysError) as error:
            self._refuse_for(error)

    async def _enroll(self, asked: Enroll) -> None:
        gatekeeper = self._server.gatekeeper
        try:
            name, certificate = await self._loop.run_in_executor(
                gatekeeper.clerk, gatekeeper.enroll, asked, self.address
            )
        except (Untrusted, KeysError) as error:
            self._refuse_for(error)
            return
        if not self._over:
            self._over = True  # the client closes when it has read this
            self.send_line(Enrolled(protocol=1, name=name, certificate=certificate))

    def _greet(self, hello: Hello) -> None:
        assert self.admitted is not None  # `_take` looked
        if hello.protocol != PROTOCOL:
            said = f"the edge speaks version {hello.protocol} of the link, this data centre {PROTOCOL}"
            self.refuse(f"{said}: install the same EdgeSight on both")
            return
        if hello.jpeg_tables != jpeg_tables():
            self.refuse("edge and data centre make JPEGs of different tables: install the same Pillow on both")
            return
        refusal = self._server.gatekeeper.refusal(self.admitted)  # it may have been revoked since the handshake
        if refusal is not None:
            raise Untrusted(refusal)
        if hello.request is None:
            self._welcome(self.admitted, None)
        else:
            self._asked = self._loop.create_task(self._renew(self.admitted, hello.request))

    async def _renew(self, admitted: Admitted, request: str) -> None:
        gatekeeper, certificate = self._server.gatekeeper, None
        try:
            certificate = await self._loop.run_in_executor(gatekeeper.clerk, gatekeeper.renew, admitted, request)
        except Untrusted as error:
            self._refuse_for(error)
            return
        except KeysError as error:  # the old one holds, and the edge asks again
            self._server.told.warning(f"the certificate of edge {admitted.name!r} is not renewed: {error}")
        if not self._over:
            self._welcome(admitted, certificate)

    def _welcome(self, admitted: Admitted, certificate: str | None) -> None:
        if not self._server.let_in(self):
            self._server.told.warning(f"edge {admitted.name!r} was not let in: too many edges (--max-edges)")
            self.make_room("the data centre has too many edges")
            return
        self._trusted = self._came = True
        self._server.came.info(f"edge {admitted.name!r} connected, from {self.address}")
        self._patience.cancel()
        served = self._server.served.model_dump()
        self.send_line(Welcome(protocol=PROTOCOL, session=self.session, certificate=certificate, **served))

    def _refuse_for(self, error: Untrusted | KeysError) -> None:
        if self._over:
            return
        if isinstance(error, KeysError):
            self._server.told.warning(str(error))
            if self._enrolls:
                self.refuse("the data centre cannot write down who may talk: see its log; the token is still good")
            else:
                self.refuse("the data centre cannot look up who may talk: see its log")
        else:
            self.refuse(str(error))

    def _lose_patience(self) -> None:
        if self._over:
            self.close()
        elif self._asked is not None:
            self.refuse("the data centre has not come to it: try again")
        else:
            self.refuse("no hello came in time")


class Server:
    """Listens for edges and hands their datagrams on."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        gatekeeper: Gatekeeper,
        served: Served,
        received: Callable[[ServerPeer, bytes], None],
        gone: Callable[[ServerPeer], None],
        max_edges: int = MAX_EDGES,
    ) -> None:
        """`received` gets each datagram of a client that was let in, `gone` each client whose connection ended.

        `max_edges` may be connected at a time. Made inside an asyncio loop.
        """
        self.gatekeeper = gatekeeper
        self.served = served
        self.received = received
        self._configuration = configuration
        self._gone = gone
        self._max_edges = max_edges
        self.told, self.came = Sparing(logger), Sparing(logger)  # of strangers; of edges that come and go
        self._half_open: dict[ServerPeer, None] = {}  # oldest first
        self._peers: dict[ServerPeer, None] = {}  # let in, oldest first
        self._quic: Port | None = None
        self._seen_at = 0.0  # when it was last known who was revoked
        self._blind = False  # it is not known
        self._look_again: asyncio.TimerHandle | None = None

    def measures(self) -> Sequence[Measure]:
        """How many edges are let in now."""
        names = {peer.admitted.name for peer in self._peers if peer.admitted is not None}
        return (gauge("link_edges", "Edges that are connected.", len(names)),)

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the UDP port (0 chooses one) and return the address; raises LinkError when it cannot be had."""
        loop = asyncio.get_running_loop()
        jpeg_tables()  # takes a moment, once: better before there is anybody to wait for it
        try:
            transport, self._quic = await loop.create_datagram_endpoint(
                lambda: Port(self._configuration, self._make_peer, self._failed), local_addr=(host, port)
            )
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            raise LinkError(
                f"UDP {host}:{port} cannot be opened ({getattr(error, 'strerror', None) or error}): "
                "name another by --port, or --host"
            ) from error
        self._seen_at = loop.time()
        self._look_again = loop.call_later(_LOOK_AGAIN, self._put_out)
        address = transport.get_extra_info("sockname")
        return str(address[0]), int(address[1])

    def close(self) -> None:
        """Tell every client and close the port."""
        if self._look_again is not None:
            self._look_again.cancel()
        self.told.tell()
        self.came.tell()
        for peer in [*self._peers, *self._half_open]:
            peer.close(reason_phrase="the data centre shuts down")
        if self._quic is not None:
            self._quic.close()
            self._quic = None

    def met(self, peer: ServerPeer) -> None:
        """Count `peer` among those that have not proved themselves; its address is known now."""
        self._half_open[peer] = None
        # Who is quick gets in, whatever a flood of slow ones does.
        sources = Counter(other.source for other in self._half_open)
        if sources[peer.source] > _HALF_OPEN_OF_ONE:
            slow = peer.source
        elif len(self._half_open) > _MAX_HALF_OPEN:
            slow = sources.most_common(1)[0][0]
        else:
            return
        oldest = next(other for other in self._half_open if other.source == slow)
        del self._half_open[oldest]
        oldest.make_room("the data centre has too many connections")

    def let_in(self, peer: ServerPeer) -> bool:
        """Count `peer` among those that proved themselves; False when there are too many edges."""
        assert peer.admitted is not None
        name = peer.admitted.name
        same = [other for other in self._peers if other.admitted is not None and other.admitted.name == name]
        names = {other.admitted.name for other in self._peers if other.admitted is not None}
        if not same and len(names) >= self._max_edges:
            return False
        for oldest in same[: len(same) + 1 - _CONNECTIONS_OF_ONE]:
            del self._peers[oldest]
            oldest.make_room("this edge has another connection, and may have two")
        self._half_open.pop(peer, None)
        self._peers[peer] = None
        return True

    def gone(self, peer: ServerPeer) -> None:
        """Forget `peer`; called when its connection has ended."""
        self._half_open.pop(peer, None)
        self._peers.pop(peer, None)
        self._gone(peer)

    def _make_peer(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> ServerPeer:
        return ServerPeer(quic, self)

    def _failed(self, source: str, error: Exception) -> None:
        self.told.warning(f"a first packet from {source} cannot be handled ({type(error).__name__})")

    def _put_out(self) -> None:
        """Cut off who was revoked or whose certificate ended, again and again; and see to keys that are used up."""
        loop = asyncio.get_running_loop()
        self._look_again = loop.call_later(_LOOK_AGAIN, self._put_out)
        try:
            reasons = {
                peer: self.gatekeeper.refusal(peer.admitted)
                for peer in [*self._peers, *self._half_open]
                if peer.admitted is not None
            }
        except Exception as error:  # whatever it is, looking goes on
            self._cannot_look(error)
            return
        if self._blind:
            logger.info("who was revoked can be looked up again")
        self._seen_at, self._blind = loop.time(), False
        for peer, reason in reasons.items():
            if reason is not None:
                self._put_away(peer, reason)
        for peer in self._peers:
            if peer.key_age > 2 * KEY_PACKETS:  # its edge should have asked long before
                peer.request_key_update()

    def _cannot_look(self, error: Exception) -> None:
        """Say so; after a while trust nobody any more, since whoever was revoked would stay."""
        if not self._blind:
            said = str(error) if isinstance(error, KeysError) else f"{type(error).__name__}: {error}"
            logger.error("who was revoked cannot be looked up, all edges are cut off in %g s: %s", _BLIND_FOR, said)
        self._blind = True
        if asyncio.get_running_loop().time() - self._seen_at > _BLIND_FOR:
            for peer in [*self._peers, *self._half_open]:
                self._put_away(peer, "the data centre cannot look up who may talk: see its log")

    def _put_away(self, peer: ServerPeer, reason: str) -> None:
        self._half_open.pop(peer, None)
        self._peers.pop(peer, None)
        peer.refuse(reason)
