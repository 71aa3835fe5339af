"""Who is at the other end: certificates asked for, read and checked.

The one file that touches what aioquic keeps private of TLS.

The aioquic that is pinned can ask a client for its certificate, but only by a switch kept for its own tests; it checks
that the client holds the certificate's key, and nothing else: no chain, no validity, no usage, and it goes on where no
certificate is shown. Of the data centre's certificate it checks chain, validity and name, but not the usage. What is
missing is done here, by `cryptography`'s path validation (RFC 5280), before anything is said or worked on. Should the
switch ever vanish, no client shows a certificate any more and all are turned away.
"""

from __future__ import annotations

import datetime
import functools
import hashlib

from edgesight.host.link.datagrams import NO_QUIC, LinkError
from edgesight.host.link.keys import (
    ASK_USAGE,
    CLIENT_USAGE,
    MANAGE_USAGE,
    SERVER_NAME,
    SERVER_USAGE,
    reading,
)
from edgesight.host.link.telling import OF_KNOWN, OF_STRANGERS, printable

try:
    from aioquic.quic.connection import QuicConnection
    from aioquic.quic.events import ConnectionTerminated
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
except ImportError as error:
    raise LinkError(NO_QUIC) from error

REFUSED = 0xE5  # application error code: not let in; the reason phrase says why
_TLS_ALERTS = range(0x100, 0x200)  # QUIC error codes of TLS alerts (RFC 9001, 4.8)
_CERTIFICATE_EXPIRED = 0x100 + 45  # RFC 8446, 6
_USAGES = {
    CLIENT_USAGE: "an edge (clientAuth)",
    SERVER_USAGE: "a data centre (serverAuth)",
    ASK_USAGE: "a client of the inference protocol",
    MANAGE_USAGE: "who manages models",
}


class Untrusted(LinkError):
    """Who is at the other end may not talk: says why, in words for that end."""


def ask_for_certificate(connection: QuicConnection) -> None:
    """Make a server's `connection` ask its client for a certificate; to be called before it has received anything."""
    initialize = connection._initialize

    @functools.wraps(initialize)
    def initialize_asking(peer_cid: bytes) -> None:
        initialize(peer_cid)
        connection.tls._request_client_certificate = True

    connection._initialize = initialize_asking  # type: ignore[method-assign]


def shown_chain(connection: QuicConnection) -> list[x509.Certificate]:
    """The certificates that the other end showed, its own first; none if it showed none.

    After the handshake: then it has proved that it holds the first one's key.
    """
    shown = connection.tls._peer_certificate
    return [] if shown is None else [shown, *connection.tls._peer_certificate_chain]


def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's DER form: 32 bytes."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def check_edge(shown: x509.Certificate, authority: x509.Certificate, at: datetime.datetime) -> None:
    """Raises Untrusted unless `authority` signed `shown` for an edge's use and it is valid at `at`."""
    usages = _checked_usages(shown, authority, at)
    # Path validation lets a certificate without any usage pass, and knows nothing of ours.
    if CLIENT_USAGE not in usages or ASK_USAGE in usages or MANAGE_USAGE in usages:
        raise Untrusted(_wrong_usage(shown, CLIENT_USAGE))


def check_client(shown: x509.Certificate, authority: x509.Certificate, at: datetime.datetime) -> bool:
    """Whether the client whose certificate was `shown` also manages models.

    Raises Untrusted unless `authority` signed it for a client of the inference protocol, and it is valid at `at`.
    """
    usages = _checked_usages(shown, authority, at)
    if CLIENT_USAGE not in usages or ASK_USAGE not in usages:
        raise Untrusted(_wrong_usage(shown, ASK_USAGE))
    return MANAGE_USAGE in usages


def _checked_usages(
    shown: x509.Certificate, authority: x509.Certificate, at: datetime.datetime
) -> list[x509.ObjectIdentifier]:
    """The extended key usages of a valid certificate of a TLS client; raises Untrusted."""
    try:
        _builder(authority, at).build_client_verifier().verify(shown, [])
    except (VerificationError, ValueError) as error:
        raise Untrusted(_why(shown, authority, at, CLIENT_USAGE) or str(error)) from error
    return _usages(shown)


def check_data_centre(shown: x509.Certificate, authority: x509.Certificate, at: datetime.datetime) -> None:
    """Raises Untrusted unless `authority` signed `shown` for the data centre's use and it is valid at `at`."""
    try:
        _builder(authority, at).build_server_verifier(x509.DNSName(SERVER_NAME)).verify(shown, [])
    except (VerificationError, ValueError) as error:
        raise Untrusted(_why(shown, authority, at, SERVER_USAGE) or str(error)) from error
    if SERVER_USAGE not in _usages(shown):
        raise Untrusted(_wrong_usage(shown, SERVER_USAGE))


def requested_key(request: str) -> ec.EllipticCurvePublicKey:
    """The public key in a certificate signing request whose sender holds the private one; raises Untrusted."""
    try:
        with reading():
            loaded = x509.load_pem_x509_csr(request.encode())
            key = loaded.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
                raise ValueError("its key is not of P-256")
            if not loaded.is_signature_valid:
                raise ValueError("its signature is wrong")
    except ValueError as error:
        raise Untrusted(
            f"the request for a certificate cannot be used ({error})"
            ": enroll again, with one version of EdgeSight on both sides"
        ) from error
    return key


def why_ended(event: ConnectionTerminated, idle_timeout: float, known: bool) -> str:
    """What ended a client's connection, for people; `known` says whether the data centre had proved who it is."""
    said = printable(event.reason_phrase, OF_KNOWN if known else OF_STRANGERS)
    if event.error_code == _CERTIFICATE_EXPIRED:
        return f"its certificate is not valid now ({said}): look at both clocks; a restart of the data centre renews it"
    if event.error_code in _TLS_ALERTS:
        return (
            f"it does not show a certificate of the authority that this edge trusts "
            f"({said or hex(event.error_code)}): look at the address, or enroll this edge there with a token"
        )
    if said == "Idle timeout":
        return f"it was silent for {idle_timeout:g} s"
    return said or f"it closed the connection (code {event.error_code})"


def why_left(event: ConnectionTerminated) -> str | None:
    """What made a client leave before it was let in, for the data centre's log; None when it just went away."""
    said = printable(event.reason_phrase)
    if event.error_code in _TLS_ALERTS:
        return f"the handshake failed ({said or hex(event.error_code)})"
    if event.error_code == REFUSED:
        return f"it turned this data centre away: {said}"
    return None


def _builder(authority: x509.Certificate, at: datetime.datetime) -> PolicyBuilder:
    return PolicyBuilder().store(Store([authority])).time(at)


def _why(
    shown: x509.Certificate, authority: x509.Certificate, at: datetime.datetime, usage: x509.ObjectIdentifier
) -> str | None:
    """Why path validation refused `shown`, where one of the usual reasons is found."""
    try:
        shown.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return "the certificate is not of this data centre's authority"
    if at > shown.not_valid_after_utc:
        return f"the certificate expired on {shown.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    if at < shown.not_valid_before_utc:
        return f"the certificate is valid from {shown.not_valid_before_utc:%Y-%m-%d} on only: look at both clocks"
    if usage not in _usages(shown):
        return _wrong_usage(shown, usage)
    return None


def _usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _wrong_usage(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> str:
    found = " and ".join(_USAGES.get(found, found.dotted_string) for found in _usages(certificate)) or "nothing"
    return f"the certificate is for {found}, not for {_USAGES[usage]}"
