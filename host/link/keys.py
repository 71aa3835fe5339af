"""Keys of the link, made by one explicit command and never by the way.

A keys folder holds `server.key` and `server.crt` (self-signed; the data centre shows it, the edge trusts this one and
no other) and `secret` (the edge proves itself with it). The data centre needs all three; an edge needs `server.crt` and
`secret`, copied over a way that is already trusted. Whoever has `secret` may use the data centre.
"""

from __future__ import annotations

import datetime
import os
import secrets
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from host.link import congestion
from host.link.datagrams import NO_QUIC, LinkError

try:
    from aioquic.quic.configuration import QuicConfiguration
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    raise LinkError(NO_QUIC) from error

SERVER_NAME = "edgesight-datacenter"  # the name in the certificate; where the data centre stands may change
ALPN = "edgesight/1"
_KEY, _CERTIFICATE, _SECRET = "server.key", "server.crt", "secret"
_VALID_DAYS = 3_650
_SECRET_BYTES = 32
_MAX_DATAGRAM_FRAME = 65_535  # announces that datagrams (RFC 9221) are welcome


class KeysError(ValueError):
    """Keys that cannot be made or used: names the file and what to do."""


@dataclass(frozen=True)
class LinkKeys:
    """One side's keys, read and checked."""

    configuration: QuicConfiguration
    secret: str  # 64 hexadecimal digits


def make_keys(folder: Path) -> None:
    """Make a keys folder (mode 0700, files 0600), whole or not at all.

    Raises KeysError when `folder` is already there: overwriting keys would lock out every edge that has the old ones.
    """
    if folder.exists():
        raise KeysError(f"{folder} already exists: remove it to make new keys, then copy them to every edge again")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    contents = {
        _KEY: key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        _CERTIFICATE: certificate.public_bytes(serialization.Encoding.PEM),
        _SECRET: secrets.token_hex(_SECRET_BYTES).encode() + b"\n",
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))  # mode 0700
    try:
        for file_name, content in contents.items():
            descriptor = os.open(building / file_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        os.rename(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def server_keys(folder: Path, idle_timeout: float) -> LinkKeys:
    """Keys of the data centre's side; a connection ends after `idle_timeout` seconds of silence. Raises KeysError."""
    configuration = _configuration(is_client=False, idle_timeout=idle_timeout)
    _check_private(folder / _KEY)
    for name in (_CERTIFICATE, _KEY):
        _read(folder / name)
    try:
        configuration.load_cert_chain(folder / _CERTIFICATE, folder / _KEY)
    except (ValueError, TypeError, IndexError) as error:
        raise KeysError(f"{folder}: {_CERTIFICATE} and {_KEY} cannot be used ({error}): {_AGAIN}") from error
    return LinkKeys(configuration, _read_secret(folder))


def client_keys(folder: Path, idle_timeout: float) -> LinkKeys:
    """Keys of the edge's side; a connection ends after `idle_timeout` seconds of silence. Raises KeysError."""
    configuration = _configuration(is_client=True, idle_timeout=idle_timeout)
    content = _read(folder / _CERTIFICATE)
    try:
        x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise KeysError(f"{folder / _CERTIFICATE} is no certificate ({error}): {_AGAIN}") from error
    configuration.server_name = SERVER_NAME
    configuration.verify_mode = ssl.CERT_REQUIRED
    configuration.load_verify_locations(cadata=content)
    return LinkKeys(configuration, _read_secret(folder))


_AGAIN = "make the keys with `edgesight keys make` at the data centre, or copy them again"


def _configuration(*, is_client: bool, idle_timeout: float) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        idle_timeout=idle_timeout,
        max_datagram_frame_size=_MAX_DATAGRAM_FRAME,
        congestion_control_algorithm=congestion.NAME,
    )


def _read_secret(folder: Path) -> str:
    path = folder / _SECRET
    _check_private(path)
    secret = _read(path).strip().decode("ascii", "replace")
    if len(secret) != 2 * _SECRET_BYTES or not set(secret) <= set("0123456789abcdef"):
        raise KeysError(f"{path} holds no secret of {2 * _SECRET_BYTES} hexadecimal digits: {_AGAIN}")
    return secret


def _check_private(path: Path) -> None:
    """Refuse a private file that others may read, as ssh does: it may already be known."""
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise KeysError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error
    if mode & 0o077:
        raise KeysError(f"{path} has mode {mode:04o}, so others may know it: make new keys, or `chmod 600` it")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeysError(f"{path} cannot be read ({error.strerror}): {_AGAIN}") from error
