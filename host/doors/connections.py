"""An HTTP connection as uvicorn has it, a stranger's means bounded, and with the client's certificate."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edgesight.host.doors.bounds import Bounds
from edgesight.host.doors.http import CERTIFICATE

HEAD_WITHIN = (
    20.0  # seconds for a request's head to arrive, from its first byte; the first one's from the connection's begin
)
MAX_HEAD = 64 << 10  # bytes of a request's head


def most_of_one(connections: int) -> int:
    """Of so many connections, those that one address may have: the others' always find some room."""
    return connections - connections // 4


class Connection(HttpToolsProtocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None
    _head_is_coming = True
    _received = 0  # bytes of the request that is coming

    def __init__(self, *arguments: Any, bounds: Bounds, **named: Any) -> None:
        """As uvicorn has it, within `bounds`."""
        super().__init__(*arguments, **named)
        self._connections = bounds.connections
        self._most = 2 * bounds.message + MAX_HEAD  # chunks come with as much around them, at the very worst

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Turn away one too many, in all or of one address; keep what certificate was shown for all requests."""
        address = (transport.get_extra_info("peername") or ("",))[0]
        others = (one for one in self.connections if isinstance(one, HttpToolsProtocol))
        own = sum(one.client is not None and one.client[0] == address for one in others)
        if len(self.connections) >= self._connections or own >= most_of_one(self._connections):
            transport.abort()
            self.transport = transport
            return
        super().connection_made(transport)
        shown: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        der = shown.getpeercert(binary_form=True) if shown is not None else None
        if der:
            self.app_state = {**self.app_state, CERTIFICATE: ssl.DER_cert_to_PEM_cert(der).encode()}
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Close the connection where a request goes on and on."""
        if self.transport.is_closing():
            return
        self._received += len(data)
        limit = MAX_HEAD if self._head_is_coming else self._most
        if self._received - len(data) > limit:
            self.send_400_response("The request is too long.")
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        self._received = 0
        self._await_head()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One line of the head; trailers, which may come behind a body in chunks, are none."""
        if self._head_is_coming:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._head_is_coming = False
        self._stop_timer()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_is_coming = True
        self._stop_timer()
        self._timer = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
