"""How an edge gets its certificate: with a one-time token, over a connection whose other end is checked first.

A token is text that the data centre makes and a person carries to the edge. It holds the address, the SHA-256 of the
authority's certificate, and a secret. The edge connects, finds the authority with that fingerprint among the
certificates shown, checks the data centre's certificate against it, and only then sends secret and request. So nothing
is trusted for being met first: with a wrong fingerprint nobody learns the secret.

    token  version 1 | SHA-256 of the authority's certificate 32 | id 8 | secret 32 | port 2 | host | check 4

in URL-safe Base64, where `check` is the beginning of the SHA-256 of what stands before it.

Words owned here: token, enroll.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import getpass
import hashlib
import os
import ssl
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.link.addresses import Found, addresses
from edgesight.host.link.bounds import BoundedProtocol
from edgesight.host.link.datagrams import NO_QUIC, LinkError
from edgesight.host.link.keys import (
    EDGE_FILE,
    ENROLL_ALPN,
    KeysError,
    check_private,
    configuration,
    load_certificate,
    new_key,
    now,
    public_bytes,
    request_certificate,
    save_edge,
)
from edgesight.host.link.tls import (
    REFUSED,
    Untrusted,
    check_data_centre,
    check_edge,
    fingerprint,
    shown_chain,
    why_ended,
)

try:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, QuicEvent, StreamDataReceived
    from cryptography import x509
except ImportError as error:
    raise LinkError(NO_QUIC) from error

WITHIN = 10.0  # seconds for the whole enrollment
MAX_LINE = 4_096  # bytes of a message; a request for a certificate is about 400
_HEAD = struct.Struct("!B32s8s32sH")
_VERSION = 1
_CHECK = 4  # bytes
_TRIAL = 8_192  # bytes that are written to see whether keys will find room; they take 2 kB
_MAX_TOKEN = 4_096  # characters that are read

Request = Annotated[str, Field(max_length=2_048)]  # a certificate signing request in PEM


class Enroll(BaseModel):
    """What an edge with a token sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]  # id
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    request: Request


class Enrolled(BaseModel):
    """What it gets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal[1]
    name: str
    certificate: str  # PEM


@dataclass(frozen=True)
class Token:
    """A one-time permission to get a certificate. Its text is a secret."""

    fingerprint: bytes  # SHA-256 of the authority's certificate
    id: bytes
    secret: bytes
    host: str
    port: int

    def pack(self) -> str:
        """The text that a person carries to the edge."""
        content = _HEAD.pack(_VERSION, self.fingerprint, self.id, self.secret, self.port) + self.host.encode()
        return base64.urlsafe_b64encode(content + hashlib.sha256(content).digest()[:_CHECK]).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Token:
        """Read a token; raises KeysError when it is none, or not whole."""
        text = "".join(text.split())
        try:
            content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise KeysError(_NO_TOKEN) from None
        if base64.urlsafe_b64encode(content).decode().rstrip("=") != text.rstrip("="):
            raise KeysError(_NO_TOKEN)  # the last character has bits that no byte takes
        content, check = content[:-_CHECK], content[-_CHECK:]
        if len(content) <= _HEAD.size or hashlib.sha256(content).digest()[:_CHECK] != check:
            raise KeysError(_NO_TOKEN)
        version, authority, token, secret, port = _HEAD.unpack_from(content)
        if version != _VERSION:
            raise KeysError(f"the token is of version {version}, this side reads {_VERSION}: install the same on both")
        try:
            host = content[_HEAD.size :].decode()
        except UnicodeDecodeError:
            raise KeysError(_NO_TOKEN) from None
        return cls(authority, token, secret, host, port)


_NO_TOKEN = (
    "this is no whole token, it was cut or changed on the way: copy all of what `edgesight datacenter enroll` printed"
)


_TOLD = (
    "every user of this machine can read a token on the command line: it was not used. Make another, and give it by a "
    "file or by standard input: --enroll FILE, or --enroll -"
)


def read_token(source: str) -> str:
    """The text of a token: from standard input where `source` is `-`, else from the file of that name.

    Not from the command line: there every user of the machine could read it. Raises KeysError.
    """
    if source == "-":
        if sys.stdin.isatty():
            return getpass.getpass("token: ")
        return sys.stdin.read(_MAX_TOKEN)
    try:
        with Path(source).open(errors="replace") as file:
            return file.read(_MAX_TOKEN)
    except (OSError, ValueError) as error:
        if _is_token(source):
            raise KeysError(_TOLD) from None
        raise KeysError(
            f"{source[:40]} cannot be read ({getattr(error, 'strerror', None) or error}): give the file that the token "
            "is in, or - and the token by standard input"
        ) from error


def _is_token(text: str) -> bool:
    try:
        Token.parse(text)
    except KeysError:
        return False
    return True


def enroll(token: str, folder: Path) -> str:
    """Get this edge a certificate for `token` and write its keys into `folder`; returns the edge's name.

    Raises KeysError when it is no token, LinkError when the data centre cannot be reached, is not the one that made the
    token, or refuses. Then no keys are written.
    """
    parsed = Token.parse(token)
    path = folder / EDGE_FILE
    try:
        # A token is gone once it was used: find out before. A full disk still makes a file, but takes no content.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(bytes(_TRIAL))
            trial.flush()
            os.fsync(trial.fileno())
            check_private(path, os.fstat(trial.fileno()), folder.stat())  # else the edge would not take the keys
        if path.is_dir():
            raise KeysError(f"{path} is a folder, and keys are a file: move it away, or name another folder")
    except KeysError as error:
        raise KeysError(f"{error}; the token is still good") from error
    except OSError as error:
        raise KeysError(
            f"{folder} cannot be a keys folder ({error.strerror}): make room there, or name another; the token is "
            "still good"
        ) from error
    return asyncio.run(enroll_with(parsed, folder))


async def enroll_with(token: Token, folder: Path) -> str:
    """`enroll` inside an asyncio loop, with a token that was read."""
    where = f"the data centre at {token.host}:{token.port}"
    try:
        found = await addresses(token.host, token.port)
    except (OSError, ValueError) as error:  # ValueError: no host can be called so
        raise LinkError(
            f"{where} cannot be reached ({getattr(error, 'strerror', None) or error})"
            ": give a token with an address that this machine reaches"
        ) from error
    applicant, enrolled, authority, certificate = await _first_to_answer(token, where, found)
    try:
        save_edge(folder, applicant.key, certificate, authority)
    except OSError as error:
        raise KeysError(
            f"{folder}: the keys cannot be written ({error.strerror or error}); the token is used up: make room, then "
            "enroll with another"
        ) from error
    return enrolled.name


_Outcome = tuple["_Applicant", "Enrolled", x509.Certificate, x509.Certificate]


async def _first_to_answer(token: Token, where: str, found: list[Found]) -> _Outcome:
    """What comes of asking at one address after the other until somebody is there; raises LinkError."""
    for address in found[:-1]:
        try:
            return await _ask_at(address, token, where, WITHIN / len(found))
        except _NobodyThere:
            continue
    return await _ask_at(found[-1], token, where, WITHIN / len(found))


class _NobodyThere(LinkError):
    """Nothing came back from an address."""


async def _ask_at(address: Found, token: Token, where: str, within: float) -> _Outcome:
    """Who asked at `address`, what it got, its authority, and the certificate made out for it; raises LinkError."""
    loop = asyncio.get_running_loop()
    made = configuration(is_client=True, alpn=[ENROLL_ALPN], idle_timeout=WITHIN)
    made.verify_mode = ssl.CERT_NONE  # the authority is not known yet, its fingerprint is: `_Applicant` checks
    try:
        transport, applicant = await loop.create_datagram_endpoint(
            lambda: _Applicant(QuicConnection(configuration=made), token), family=address[0], remote_addr=address[1]
        )
    except (OSError, ValueError) as error:
        raise _NobodyThere(
            f"{where} cannot be reached ({getattr(error, 'strerror', None) or error})"
            ": give a token with an address that this machine reaches"
        ) from error
    try:
        applicant.connect(transport.get_extra_info("peername"))
        authority, enrolled = await asyncio.wait_for(applicant.outcome, within)
        certificate = load_certificate(enrolled.certificate.encode())
        if public_bytes(certificate.public_key()) != public_bytes(applicant.key.public_key()):
            raise Untrusted("the certificate that it gave is for another key: try again with another token")
        check_edge(certificate, authority, now())
    except asyncio.TimeoutError:
        said = f"{where} did not answer within {within:g} s: is it running, and the way open?"
        raise (LinkError if applicant.heard else _NobodyThere)(said) from None
    except (LinkError, ValueError) as error:
        said = f"{where} did not enroll this edge: {error}"
        raise (LinkError if applicant.heard else _NobodyThere)(said) from error
    finally:
        applicant.close()
        transport.close()
    return applicant, enrolled, authority, certificate


class _Applicant(BoundedProtocol):
    """The edge's end of an enrollment."""

    def __init__(self, quic: QuicConnection, token: Token) -> None:
        super().__init__(quic)
        self.key = new_key()
        self.outcome: asyncio.Future[tuple[x509.Certificate, Enrolled]] = self._loop.create_future()
        self.heard = False  # something came back
        self._token = token
        self._authority: x509.Certificate | None = None
        self._line = b""

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        """Note that there is somebody, then go on."""
        self.heard = True
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Check who answers, then ask."""
        if self.outcome.done():
            return
        if isinstance(event, HandshakeCompleted):
            try:
                self._authority = self._check()
            except Untrusted as error:
                # Once the handshake's last packet is on its way: before it the data centre could not read the reason.
                self._loop.call_soon(self._turn_away, error)
            else:
                self._ask()
        elif isinstance(event, StreamDataReceived):
            self._take(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.outcome.set_exception(LinkError(why_ended(event, WITHIN, known=self._authority is not None)))

    def error_received(self, exc: Exception) -> None:
        """The kernel says that nobody listens there: no use waiting."""
        if isinstance(exc, ConnectionRefusedError) and not self.outcome.done():
            self.outcome.set_exception(
                LinkError("nothing listens there: start the data centre, or look whether the token names its port")
            )

    def _turn_away(self, error: Untrusted) -> None:
        self.close(REFUSED, str(error))
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def _check(self) -> x509.Certificate:
        """The authority whose fingerprint the token carries; raises Untrusted when this is not its data centre."""
        chain = shown_chain(self._quic)
        for authority in chain[1:]:
            if fingerprint(authority) == self._token.fingerprint:
                check_data_centre(chain[0], authority, now())
                return authority
        raise Untrusted(
            "its authority has another fingerprint than the token's: it is another data centre, one with new keys, or "
            "someone in between; nothing was sent. Make a token where the data centre runs"
        )

    def _ask(self) -> None:
        token = self._token
        message = Enroll(
            protocol=1, token=token.id.hex(), secret=token.secret.hex(), request=request_certificate(self.key)
        )
        self._quic.send_stream_data(0, message.model_dump_json().encode() + b"\n")
        self.transmit()

    def _take(self, data: bytes) -> None:
        self._line += data
        line, newline, _ = self._line.partition(b"\n")
        if self._authority is None or (not newline and len(self._line) <= MAX_LINE):
            return
        try:
            self.outcome.set_result((self._authority, Enrolled.model_validate_json(line)))
        except ValidationError:
            self.outcome.set_exception(LinkError("its answer cannot be read: run the same version on both sides"))
