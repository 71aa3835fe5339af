"""Who may come in, and as what: by certificate, by token, or anyone where nobody else can reach the door.

A plain door stands on loopback, or where its owner said that it is insecure. Any other one speaks TLS, and asks either
for a client's certificate of the data centre's authority or for a bearer token. A client's certificate is marked so by
an extended key usage of its own, which an edge's has not: neither passes for the other.

Words owned here: access, role, peer.
"""

from __future__ import annotations

import enum
import ipaddress
import logging
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgesight.host.doors.served import Code, Refused
from edgesight.host.errors import EdgeSightError

_REMEMBERED = 1_024  # certificates that need not be checked from the beginning

logger = logging.getLogger(__name__)


class DoorError(EdgeSightError, ValueError):
    """A door that cannot be opened as asked: says why, and what to do."""


class Role(enum.IntEnum):
    """What somebody may do; each may do what those before may."""

    ASK = 1  # for answers, and what models there are
    MANAGE = 2  # load and unload models


@dataclass(frozen=True)
class Peer:
    """What is known of the other end. `address` has no port; `certificate` is PEM, proved by the handshake."""

    address: str
    certificate: bytes | None = None
    authorization: str | None = None  # the header of that name


@dataclass(frozen=True)
class Tls:
    """What a door shows: private key and certificates in PEM. `authority`: of clients that must show theirs, too."""

    key: bytes
    chain: bytes
    authority: bytes | None = None

    def context(self) -> ssl.SSLContext:
        """For a server of the standard library; raises DoorError where key and certificates are of no use."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            with tempfile.TemporaryDirectory() as folder:  # mode 0700; OpenSSL reads keys from files alone
                path = Path(folder) / "door.pem"
                path.touch(mode=0o600)
                path.write_bytes(self.key + self.chain)
                context.load_cert_chain(path)
            if self.authority is not None:
                context.load_verify_locations(cadata=self.authority.decode())
                context.verify_mode = ssl.CERT_REQUIRED
        except (ssl.SSLError, OSError, UnicodeDecodeError) as error:
            raise DoorError(f"the door's key and certificate cannot be used ({error}): make others") from error
        return context


class Access(Protocol):
    """Decides who may come in."""

    tls: Tls | None  # None: the door is plain

    def admit(self, peer: Peer, role: Role) -> str:
        """The caller's name; Refused (UNAUTHENTICATED, PERMISSION_DENIED) where it may not act in that role."""


def admit(access: Access, peer: Peer, role: Role) -> str:
    """The caller's name, as `Access.admit` has it; Refused (UNAVAILABLE), too, where keys or tokens cannot be read."""
    try:
        return access.admit(peer, role)
    except Refused:
        raise
    except EdgeSightError as error:
        logger.error("nobody can be let in: %s", error)
        said = "who may come in cannot be looked up now: ask again, or tell the server's owner"
        raise Refused(Code.UNAVAILABLE, said, 1.0) from error


class Anyone:
    """Everybody may do everything: for a door on loopback."""

    tls: Tls | None = None

    def admit(self, peer: Peer, role: Role) -> str:
        """The peer's address."""
        return peer.address


@dataclass(frozen=True)
class Client:
    """A client as its certificate or token has it."""

    name: str
    role: Role


@dataclass(frozen=True)
class Shown:
    """A certificate that was checked: whose it is, and why it does not hold any more (None: it does)."""

    client: Client
    refusal: Callable[[], str | None]


class ByCertificate:
    """Clients with a certificate of the authority."""

    def __init__(self, tls: Tls, check: Callable[[bytes], Shown]) -> None:
        """`check` reads a certificate in PEM, whole and once, and may raise Refused.

        Raises DoorError where `tls` does not ask for certificates.
        """
        if tls.authority is None:
            raise DoorError("clients are to show certificates: name the authority that signs them")
        self.tls: Tls | None = tls
        self._check = check
        self._known: OrderedDict[bytes, Shown] = OrderedDict()

    def admit(self, peer: Peer, role: Role) -> str:
        """The name in the certificate."""
        shown = peer.certificate
        if shown is None:
            raise Refused(Code.UNAUTHENTICATED, "no certificate was shown: ask the server's owner for a client's")
        known = self._known.get(shown)
        if known is None:
            known = self._known[shown] = self._check(shown)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        refusal = known.refusal()
        if refusal is not None:
            raise Refused(Code.UNAUTHENTICATED, refusal)
        return _checked(known.client, role)


class ByToken:
    """Clients with a bearer token; over TLS, but where the door stands on loopback."""

    def __init__(self, find: Callable[[str], Client | None], tls: Tls | None) -> None:
        """`find` has the client of a token, None for an unknown one."""
        if tls is not None and tls.authority is not None:
            raise DoorError("a door asks for certificates or for tokens, not both: open another for the others")
        self.tls = tls
        self._find = find

    def admit(self, peer: Peer, role: Role) -> str:
        """The token's name."""
        kind, _, token = (peer.authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Refused(Code.UNAUTHENTICATED, "no token was shown: send the header `authorization: Bearer TOKEN`")
        client = self._find(token.strip())
        if client is None:
            raise Refused(Code.UNAUTHENTICATED, "the token is not known here, or not any more: ask for another")
        return _checked(client, role)


def _checked(client: Client, role: Role) -> str:
    if client.role < role:
        raise Refused(
            Code.PERMISSION_DENIED,
            f"client {client.name!r} may ask, but neither load nor unload: ask who manages models",
        )
    return client.name


def is_loopback(host: str) -> bool:
    """The host, an IP address or a name, can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_plain(host: str, insecure: bool) -> None:
    """Raises DoorError where a plain door at `host`, an IP address, would be open to others than this machine."""
    if not is_loopback(host) and not insecure:
        raise DoorError(
            f"a door at {host} would be open to whoever reaches this machine, unencrypted: give it keys, put it on "
            "127.0.0.1, or say --insecure"
        )
