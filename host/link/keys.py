"""Keys and certificates of the link: what they look like, and the one file that an edge keeps its own in.

The data centre is its own authority: it signs one certificate for itself and one for each edge that it enrolled, and
both sides trust that authority alone. An edge's private key is made on the edge and never leaves it. Its keys folder
holds `edge.pem`: private key, certificate and the authority's certificate, replaced as one when they are renewed.

Words owned here: authority, edge name, usage.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import remove_leftovers, write_atomically
from edgesight.host.link import congestion
from edgesight.host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.quic.configuration import QuicConfiguration
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    raise LinkError(NO_QUIC) from error

SERVER_NAME = "edgesight-datacenter"  # the name in the certificate; where the data centre stands may change
ALPN = "edgesight/1"  # a connection that works, between two that showed their certificates
ENROLL_ALPN = "edgesight-enroll/1"  # a connection that may do nothing but ask for a certificate
CLIENT_USAGE, SERVER_USAGE = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
# A client of the inference protocol's doors, and one that also manages models: beside clientAuth, which TLS itself
# wants. Below a UUID (ITU-T X.667), so that nobody had to be asked for the number.
_OURS = "2.25.183180700811517914709882514738763565171"
ASK_USAGE, MANAGE_USAGE = x509.ObjectIdentifier(f"{_OURS}.1"), x509.ObjectIdentifier(f"{_OURS}.2")
EDGE_FILE = "edge.pem"
_MAX_HOST = 253  # characters of a host's name (RFC 1035, 2.3.4, as text)
_EDGE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
WINDOW = 16_384  # bytes of flow control: a connection's one stream carries one line of at most 4,096 each way
_MAX_DATAGRAM_FRAME = 65_535  # announces that datagrams (RFC 9221) are welcome
_MAX_FILE = 1 << 20  # bytes that are read of a file; keys take 2 kB
_UNREADABLE = (  # but for ValueError
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    TypeError,
)
Clock = Callable[[], datetime.datetime]  # in UTC
_CLOCKS_DIFFER = datetime.timedelta(days=1)
_ASK_AGAIN = (
    "make a token at the data centre (`edgesight datacenter enroll NAME`) and give it to "
    "`edgesight edge --enroll FILE --keys FOLDER`"
)


class KeysError(EdgeSightError, ValueError):
    """Keys or a token that cannot be made or used: names the file and what to do."""


def now() -> datetime.datetime:
    """The time that certificates are held against."""
    return datetime.datetime.now(datetime.timezone.utc)


@dataclass(frozen=True)
class EdgeKeys:
    """An edge's keys, read and checked."""

    path: Path  # edge.pem
    configuration: QuicConfiguration
    authority: x509.Certificate
    certificate: x509.Certificate
    clock: Clock = now  # that certificates are held against

    @property
    def expires(self) -> datetime.datetime:
        """When the certificate ends."""
        return self.certificate.not_valid_after_utc

    def renewal_due(self, now: datetime.datetime) -> bool:
        """Whether less than a third of the certificate's life is left."""
        return now > self.expires - (self.expires - self.certificate.not_valid_before_utc) / 3


def configuration(*, is_client: bool, alpn: list[str], idle_timeout: float) -> QuicConfiguration:
    """What every connection of the link has; it ends after `idle_timeout` seconds of silence."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=alpn,
        idle_timeout=idle_timeout,
        max_datagram_frame_size=_MAX_DATAGRAM_FRAME,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        congestion_control_algorithm=congestion.NAME,
        server_name=SERVER_NAME if is_client else None,
    )


def client_keys(folder: Path, idle_timeout: float, clock: Clock = now) -> EdgeKeys:
    """Keys of the edge in `folder`; a connection ends after `idle_timeout` seconds of silence. Raises KeysError."""
    path = folder / EDGE_FILE
    private, begin, rest = read_private(path, _ASK_AGAIN).partition(b"-----BEGIN CERTIFICATE-----")
    try:
        key = load_key(private)
        certificate, authority = load_certificates(begin + rest)
        if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
            raise ValueError("key and certificate are not of a pair")
    except ValueError as error:
        raise KeysError(f"{path} cannot be used ({error}): {_ASK_AGAIN}") from error
    made = configuration(is_client=True, alpn=[ALPN], idle_timeout=idle_timeout)
    made.certificate, made.private_key = certificate, key
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=pem(authority))
    return EdgeKeys(path, made, authority, certificate, clock)


def save_edge(
    folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, authority: x509.Certificate
) -> None:
    """Write an edge's keys into `folder` (made with mode 0700 where it is not there), whole or not at all."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_leftovers(folder / EDGE_FILE)
    write_atomically(folder / EDGE_FILE, key_pem(key) + pem(certificate) + pem(authority), mode=0o600)


def check_edge_name(name: str) -> None:
    """Raises KeysError when an edge cannot be called `name`."""
    if _EDGE_NAME.fullmatch(name) is None or name == SERVER_NAME:
        raise KeysError(
            f"an edge cannot be called {name!r}: use at most 63 small letters, digits and hyphens, such as kv260-door, "
            f"and not {SERVER_NAME}"
        )


def check_host(host: str) -> None:
    """Raises KeysError when no edge could find a host called so."""
    try:
        host.encode("idna")  # as looking it up does
        good = 0 < len(host) <= _MAX_HOST and host.isprintable() and " " not in host
    except UnicodeError:
        good = False
    if not good:
        raise KeysError(
            f"no host can be called {host[:40]!r}: give the name or the IP address, at most {_MAX_HOST} characters, at "
            "which the edge reaches this data centre"
        )


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key of the one kind that the link uses: P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def request_certificate(key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate signing request (PKCS 10) in PEM; the authority sets the name, so it carries none."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def make_certificate(
    name: str,
    public_key: ec.EllipticCurvePublicKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | ec.EllipticCurvePrivateKey,
    life: datetime.timedelta,
    usage: x509.ObjectIdentifier | None,
    clock: Clock = now,
    also: Sequence[x509.ObjectIdentifier] = (),
    hosts: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate for `name`, valid from a day ago (clocks differ) for `life` from now, as `clock` has it.

    `issuer` is the authority's certificate and key, or for the authority itself its own key; `usage` is the
    extended key usage (clientAuth of an edge, serverAuth of the data centre), None for the authority; `also` are
    others beside it, and `hosts` names and IP addresses of a server beside its own name. Extensions as RFC 5280 asks
    for.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = clock()
    authority, signing_key = issuer if isinstance(issuer, tuple) else (None, issuer)
    signer = x509.SubjectKeyIdentifier.from_public_key(signing_key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority is not None else subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _CLOCKS_DIFFER)
        .not_valid_after(begin + life)
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=0 if usage is None else None), critical=True)
        .add_extension(_key_usage(signs_certificates=usage is None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer),
            critical=False,
        )
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage, *also]), critical=False).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), *map(_general_name, hosts)]), critical=False
        )
    return builder.sign(signing_key, hashes.SHA256())


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Meanwhile what `cryptography` cannot read in a key, certificate or request is a ValueError, whatever it raises.

    It reads a part only when asked for it, so this belongs around that, too.
    """
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def load_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    """The private key in PEM `content`; raises ValueError when there is none of the link's kind."""
    with reading():
        key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the key is not of P-256")
    return key


def load_certificates(content: bytes) -> list[x509.Certificate]:
    """The certificates in PEM `content`, one at least; raises ValueError unless all that is asked of them can be read.

    The one place where certificates of the link come from text, be it of a file or of the other end.
    """
    with reading():
        certificates = x509.load_pem_x509_certificates(content)
        for certificate in certificates:
            public_bytes(certificate.public_key())
            _ = certificate.extensions, certificate.signature_hash_algorithm
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return certificates


def load_certificate(content: bytes) -> x509.Certificate:
    """The first certificate in PEM `content`; raises ValueError as `load_certificates` does."""
    return load_certificates(content)[0]


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """`key` as an unencrypted PEM block."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    """`certificate` as a PEM block."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def public_bytes(key: object) -> bytes:
    """A public key's encoding, to compare keys by; raises ValueError when it is not of the link's kind."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("the key is not of an elliptic curve")
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def read_private(path: Path, remedy: str) -> bytes:
    """Content of a private file.

    Raises KeysError where others than its owner and root may read it, or put another in its place, as ssh does: it may
    be known already, or be theirs.
    """
    try:
        with path.open("rb") as file:
            found, content = os.fstat(file.fileno()), file.read(_MAX_FILE)
        folder = path.parent.stat()
    except OSError as error:
        raise KeysError(f"{path} cannot be read ({error.strerror}): {remedy}") from error
    check_private(path, found, folder)
    return content


def check_private(path: Path, found: os.stat_result, folder: os.stat_result) -> None:
    """Raises KeysError where others may read the file at `path`, or put another in its place.

    `found` is what the file's status is, `folder` that of the folder that it is in.
    """
    for what, status in ((path, found), (path.parent, folder)):
        if status.st_uid not in (0, os.geteuid()):
            raise KeysError(
                f"{what} is owned by user {status.st_uid}, who may change it: make new keys, or `chown` it to whom "
                "this program runs as"
            )
    if found.st_mode & 0o077:
        mode = found.st_mode & 0o777
        raise KeysError(f"{path} has mode {mode:04o}, so others may know it: make new keys, or `chmod 600` it")
    if folder.st_mode & 0o022:
        mode = folder.st_mode & 0o777
        raise KeysError(
            f"{path.parent} has mode {mode:04o}, so others may put their own keys there: `chmod 700` it, and make new "
            "keys unless you know that these are yours"
        )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
