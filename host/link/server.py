"""The data centre's end of the link: lets edges in and hands their datagrams on.

A client is nobody until its address, its certificate and its hello were found good; meanwhile it costs little, and of
many such the oldest makes room.

Words owned here: half-open, gatekeeper.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from host.link.datagrams import NO_QUIC, SESSION_BITS, LinkError
from host.link.enrollment import Enroll, Enrolled
from host.link.keys import ENROLL_ALPN, KeysError
from host.link.quic import Hello, Peer, Served, Welcome
from host.link.strips import jpeg_tables
from host.link.tls import REFUSED, Untrusted, ask_for_certificate, shown_chain, why_left

try:
    from aioquic.asyncio.protocol import QuicStreamHandler
    from aioquic.asyncio.server import QuicServer
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
    from aioquic.quic.events import StreamDataReceived as StreamData
    from cryptography import x509
except ImportError as error:
    raise LinkError(NO_QUIC) from error

_HELLO_WITHIN = 5.0  # seconds for a client to prove itself
_MAX_HALF_OPEN = 128  # connections that have not proved themselves yet; the oldest makes room
_LOOK_AGAIN = 1.0  # seconds; how soon a revoked edge is cut off
_FULL = 0xE6  # application error code: too many connections

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admitted:
    """An edge that may talk."""

    name: str
    serial: str  # of its certificate, hexadecimal
    expires: datetime.datetime  # its certificate


class Gatekeeper(Protocol):
    """Knows who may talk. All of it may raise KeysError when it cannot look that up."""

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
        self._server = server
        self._source = ""  # IP address; QUIC's Retry has proved it
        self._enrolls = False
        self._trusted = False
        self._over = False  # refused or enrolled: nothing more is listened to
        self._patience = self._loop.call_later(_HELLO_WITHIN, self._lose_patience)

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note where the client is, then go on as aioquic does."""
        self._source = self._source or str(addr[0])
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Look at the certificate, take the first line, then datagrams."""
        if isinstance(event, ConnectionTerminated):
            self._patience.cancel()
            reason = None if self._trusted or self._over else why_left(event)
            if reason is not None:
                logger.warning("a client at %s was not let in: %s", self._source, reason)
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
        logger.warning("a client at %s was refused: %s", self._source, reason)
        self._over = True
        self.close(REFUSED, reason)

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
        if self.admitted is None and not self._enrolls:
            return
        line = self.first_line(data)
        if line is None:
            return
        try:
            if self._enrolls:
                self._enroll(Enroll.model_validate_json(line))
            else:
                self._greet(Hello.model_validate_json(line))
        except ValidationError:
            self.refuse("the first message cannot be read: run the same version on both sides")
        except (Untrusted, KeysError) as error:
            self._refuse_for(error)

    def _enroll(self, asked: Enroll) -> None:
        name, certificate = self._server.gatekeeper.enroll(asked, self._source)
        self._over = True  # the client closes when it has read this
        self.send_line(Enrolled(protocol=1, name=name, certificate=certificate))

    def _greet(self, hello: Hello) -> None:
        assert self.admitted is not None  # `_take` looked
        if hello.jpeg_tables != jpeg_tables():
            self.refuse("edge and data centre make JPEGs of different tables: install the same Pillow on both")
            return
        certificate = None
        if hello.request is not None:
            certificate = self._server.gatekeeper.renew(self.admitted, hello.request)
        if not self._server.let_in(self):
            logger.warning("edge %r was not let in: too many connections", self.admitted.name)
            self._over = True
            self.close(_FULL, "the data centre has too many connections")
            return
        self._trusted = True
        self._patience.cancel()
        served = self._server.served.model_dump()
        self.send_line(Welcome(protocol=3, session=self.session, certificate=certificate, **served))

    def _refuse_for(self, error: Untrusted | KeysError) -> None:
        if isinstance(error, KeysError):
            logger.error("%s", error)
            self.refuse("the data centre cannot look up who may talk: see its log")
        else:
            self.refuse(str(error))

    def _lose_patience(self) -> None:
        if self._over:
            self.close()
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
        max_peers: int = 64,
    ) -> None:
        """`received` gets each datagram of a client that was let in, `gone` each client whose connection ended."""
        self.gatekeeper = gatekeeper
        self.served = served
        self.received = received
        self._configuration = configuration
        self._gone = gone
        self._max_peers = max_peers
        self._half_open: dict[ServerPeer, None] = {}  # oldest first
        self._peers: set[ServerPeer] = set()  # let in
        self._quic: QuicServer | None = None
        self._look_again: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Open the UDP port (0 chooses one) and return the address; raises LinkError when it cannot be had."""
        loop = asyncio.get_running_loop()
        jpeg_tables()  # takes a moment, once: better before there is anybody to wait for it
        try:
            transport, self._quic = await loop.create_datagram_endpoint(
                # With `retry` a client's address is proved before any state is kept for it. Without handlers of session
                # tickets none is given out, so no session is resumed and none begins with early data.
                lambda: QuicServer(configuration=self._configuration, create_protocol=self._make_peer, retry=True),
                local_addr=(host, port),
            )
        except (OSError, ValueError) as error:  # ValueError: no host can be called so
            raise LinkError(
                f"UDP {host}:{port} cannot be opened ({getattr(error, 'strerror', None) or error}): choose another"
            ) from error
        self._look_again = loop.call_later(_LOOK_AGAIN, self._put_out)
        address = transport.get_extra_info("sockname")
        return str(address[0]), int(address[1])

    def close(self) -> None:
        """Tell every client and close the port."""
        if self._look_again is not None:
            self._look_again.cancel()
        for peer in [*self._peers, *self._half_open]:
            peer.close(reason_phrase="the data centre shuts down")
        if self._quic is not None:
            self._quic.close()
            self._quic = None

    def let_in(self, peer: ServerPeer) -> bool:
        """Count `peer` among those that proved themselves; False when there are too many."""
        if len(self._peers) >= self._max_peers:
            return False
        self._half_open.pop(peer, None)
        self._peers.add(peer)
        return True

    def gone(self, peer: ServerPeer) -> None:
        """Forget `peer`; called when its connection has ended."""
        self._half_open.pop(peer, None)
        self._peers.discard(peer)
        self._gone(peer)

    def _make_peer(self, quic: QuicConnection, stream_handler: QuicStreamHandler | None = None) -> ServerPeer:
        peer = ServerPeer(quic, self)
        self._half_open[peer] = None
        if len(self._half_open) > _MAX_HALF_OPEN:
            # Who is quick gets in, whatever a flood of slow ones does.
            oldest = next(iter(self._half_open))
            del self._half_open[oldest]
            oldest.close(_FULL, "the data centre has too many connections")
        return peer

    def _put_out(self) -> None:
        """Cut off who was revoked or whose certificate ended, again and again."""
        try:
            for peer in list(self._peers):
                reason = self.gatekeeper.refusal(peer.admitted) if peer.admitted is not None else None
                if reason is not None:
                    self._peers.discard(peer)
                    peer.refuse(reason)
        except KeysError as error:
            logger.error("who was revoked cannot be looked up: %s", error)
        self._look_again = asyncio.get_running_loop().call_later(_LOOK_AGAIN, self._put_out)
