"""The data centre's authority: who may talk to it, since when and until when.

A keys folder at the data centre holds `ca.key` and `ca.crt` (they never leave it), `server.pem` (key and certificate
that the service shows) and `edges.db`, an SQLite file (`edgesight.host.datacenter.index`) with the one-time tokens
that were made and the certificates that were given for them. A certificate alone lets nobody in: it must be in that
index and not revoked. The service and the commands `enroll`, `revoke` and `edges` may have the folder open at the same
time; SQLite's transactions keep a token from being used twice, and what they wrote survives a restart. What was done
for whom is written down there, too: the last of it.

Who may talk is looked up by a connection of its own, which never waits: it sees what was written to the end and nothing
else. What writes may wait, for the disk and for other programs, and has a thread in the service, the clerk.

One name is one edge. Another is enrolled under it only when that was asked for, and takes the first one's place.

Words owned here: authority, clerk, revoked.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import logging
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from edgesight.host.datacenter.index import AGAIN, Edge, Event, Index, make_tables
from edgesight.host.files import remove_leftovers, sync_folder, write_atomically
from edgesight.host.link.enrollment import Enroll, Token
from edgesight.host.link.keys import (
    ALPN,
    ASK_USAGE,
    CLIENT_USAGE,
    ENROLL_ALPN,
    MANAGE_USAGE,
    SERVER_NAME,
    SERVER_USAGE,
    Clock,
    KeysError,
    check_edge_name,
    check_host,
    configuration,
    key_pem,
    load_certificate,
    load_key,
    make_certificate,
    new_key,
    now,
    pem,
    public_bytes,
    read_private,
)
from edgesight.host.link.port import source_of
from edgesight.host.link.server import Admitted
from edgesight.host.link.tls import Untrusted, check_data_centre, check_edge, fingerprint, requested_key

TOKEN_LIFE = 600.0  # seconds
EDGE_LIFE = datetime.timedelta(days=90)  # edges renew theirs over the link when a third of it is left
_AUTHORITY_LIFE = datetime.timedelta(days=3_650)
_SERVER_LIFE = datetime.timedelta(days=730)  # a service with less than half of it left makes a new one
_RENEWED_AGAIN = 3_600.0  # seconds after which an edge whose new certificate did not come may ask for another
_KEPT = 86_400.0  # seconds that a token which can't be used any more is remembered, to say why
_GUESSES, _GUESSES_WITHIN = 5, 60.0  # wrong tokens of one network, and seconds until they are forgotten
_GUESSERS = 1_024  # networks that are remembered
_REFUSED_AGAIN = 3_600.0  # seconds in which an edge is written down as refused once
_REFUSED = 1_024  # edges of which that is remembered
_WAIT = 1.0  # seconds for another program that has the index locked, where waiting does no harm
_STILL_KNOWN = 2.0  # seconds for which what was read last will do while the index is being written
_KEY, _CERTIFICATE, _SERVER, _INDEX = "ca.key", "ca.crt", "server.pem", "edges.db"

logger = logging.getLogger(__name__)


def make_authority(folder: Path, clock: Clock = now) -> None:
    """Make a data centre's keys folder (mode 0700, files 0600), whole or not at all; `clock` dates what is in it.

    Raises KeysError when `folder` is already there: overwriting keys would lock out every edge that is enrolled.
    """
    if folder.exists():
        raise KeysError(f"{folder} already exists: remove it to make new keys, then enroll every edge again")
    key = new_key()
    certificate = make_certificate("EdgeSight authority", key.public_key(), key, _AUTHORITY_LIFE, None, clock)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))  # mode 0700
    except OSError as error:
        raise KeysError(f"{folder} cannot be made ({error.strerror or error}): name another") from error
    try:
        write_atomically(building / _KEY, key_pem(key), mode=0o600)
        write_atomically(building / _CERTIFICATE, pem(certificate), mode=0o600)
        write_atomically(building / _SERVER, _server_pem(certificate, key, clock), mode=0o600)
        os.close(os.open(building / _INDEX, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        make_tables(building / _INDEX)
        os.rename(building, folder)
        sync_folder(folder.parent)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise KeysError(f"{folder} cannot be made ({why}): make room on the disk, or name another") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)  # gone where it was renamed


class Authority:
    """An open keys folder of a data centre."""

    def __init__(self, folder: Path, clock: Clock = now) -> None:
        """Open `folder`; raises KeysError naming what cannot be used. To be closed. Certificates end by `clock`.

        `admit` and `refusal` are for one thread; `enroll` and `renew`, which write, for the clerk's where another must
        not wait.
        """
        self._folder, self._now = folder, clock
        key, content = read_private(folder / _KEY, AGAIN), read_private(folder / _CERTIFICATE, AGAIN)
        try:
            self._key = load_key(key)
            self.certificate = load_certificate(content)
            if public_bytes(self.certificate.public_key()) != public_bytes(self._key.public_key()):
                raise ValueError("they are not of a pair")
            _check_whole(self.certificate)
        except (ValueError, TypeError) as error:
            raise KeysError(f"{folder}: {_KEY} and {_CERTIFICATE} cannot be used ({error}): {AGAIN}") from error
        ends = self.certificate.not_valid_after_utc
        if self._now() > ends:
            raise KeysError(f"{folder}: the authority expired on {ends:%Y-%m-%d}: {AGAIN}")
        self._guesses: OrderedDict[str, deque[float]] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()  # when an edge was last written down as refused
        self.clerk = ThreadPoolExecutor(1, "clerk")  # its thread begins with the first work
        self._lock = threading.RLock()  # who has it works with `_index`
        self._index, self._reading = Index(folder / _INDEX, _WAIT), Index(folder / _INDEX, 0.0)
        self._read: object = None  # opening and version that `_certificates` are of
        with self._held():
            self._certificates = self._index.known()
        self._known_at = time.monotonic()

    def close(self) -> None:
        """Let the clerk end what it has begun, then close the index."""
        self.clerk.shutdown(cancel_futures=True)
        self._index.close()
        self._reading.close()

    def configuration(self, idle_timeout: float) -> QuicConfiguration:
        """What the service listens with; a connection ends after `idle_timeout` seconds of silence.

        Makes a new server certificate when the old one is past half of its life, or none that edges would take: of
        another authority, say. Raises KeysError.
        """
        path = self._folder / _SERVER
        remove_leftovers(path)
        key, certificate = self._read_server(path)
        unfit = self._unfit(key, certificate)
        if unfit is not None:
            logger.warning("%s is of no use (%s): another is made", path, unfit)
        if unfit is not None or self._now() + _SERVER_LIFE / 2 > certificate.not_valid_after_utc:
            try:
                write_atomically(path, _server_pem(self.certificate, self._key, self._now), mode=0o600)
            except OSError as error:
                ends = certificate.not_valid_after_utc
                raise KeysError(
                    f"{path} cannot be renewed ({error.strerror}) and ends on {ends:%Y-%m-%d}: make room, or see who "
                    "owns the folder"
                ) from error
            key, certificate = self._read_server(path)
            logger.info("the data centre's certificate was renewed, until %s", certificate.not_valid_after_utc)
        made = configuration(is_client=False, alpn=[ALPN, ENROLL_ALPN], idle_timeout=idle_timeout)
        made.certificate, made.private_key = certificate, key
        made.certificate_chain = [self.certificate]  # an edge that enrolls looks for the token's fingerprint
        return made

    def renew_own(self, made: QuicConfiguration) -> None:
        """Put a new certificate of the data centre into `made` when the old one is past half of its life."""
        try:
            fresh = self.configuration(made.idle_timeout)
        except KeysError as error:
            logger.error("%s", error)  # the old one is shown as long as it lasts
            return
        made.certificate, made.private_key = fresh.certificate, fresh.private_key

    def invite(self, name: str, host: str, port: int, *, replace: bool = False) -> Token:
        """A one-time token with which an edge gets a certificate for `name`, from the service at `host`:`port`.

        With `replace` it takes the place of the edge that is called so now, whose certificates are then revoked.
        Raises KeysError when an edge cannot be called so, or one is and is not to be replaced.
        """
        check_edge_name(name)
        check_host(host)
        token = Token(fingerprint(self.certificate), secrets.token_bytes(8), secrets.token_bytes(32), host, port)
        at = self._now().timestamp()
        with self._transaction():
            if not replace and self._live(name):
                raise KeysError(
                    f"an edge {name!r} may already talk to this data centre: choose another name, or give --replace "
                    "where a new device, or one with new keys, takes its place"
                )
            self._index.forget_tokens(at - _KEPT)
            secret_sha256 = hashlib.sha256(token.secret).digest()
            self._index.add_token(token.id.hex(), secret_sha256, name, at + TOKEN_LIFE, replace)
            self._note(name, "a token was made" + (", to replace the edge of this name" if replace else ""))
        return token

    def enroll(self, asked: Enroll, source: str) -> tuple[str, str]:
        """Name and certificate in PEM for the token that the edge at IP address `source` shows; uses the token up.

        Raises Untrusted saying what is wrong with the token or the request.
        """
        at = self._now().timestamp()
        # Looked up first, outside any transaction: who has no token can neither lock the index nor make work.
        self._check_token(asked, source)
        public_key = requested_key(asked.request)
        with self._transaction():
            name, replaces = self._check_token(asked, source)
            if replaces:
                self._index.revoke(name, at)
            elif self._live(name):
                raise Untrusted(f"an edge is already enrolled as {name!r}: {_OTHER_TOKEN}, for another name")
            self._index.use_token(asked.token, at)
            certificate = self._issue(name, public_key)
            self._note(name, f"enrolled from {source}" + (", in the place of the former one" if replaces else ""))
        logger.info("edge %r was enrolled from %s", name, source)
        return name, pem(certificate).decode()

    def enroll_client(self, name: str, request: str, *, manages: bool = False, renew: bool = False) -> str:
        """A certificate in PEM for the inference protocol's client `name`, which is one with edges' names.

        `renew`: beside those that it has, which stay good until they end. Raises KeysError where somebody else is
        called so now, and Untrusted where the request cannot be read.
        """
        check_edge_name(name)
        public_key = requested_key(request)
        with self._transaction():
            if renew != self._live(name):
                raise KeysError(
                    f"nobody is enrolled as {name!r} now: leave --renew out"
                    if renew
                    else f"somebody is enrolled as {name!r} already: choose another name, revoke that one, or give "
                    "--renew for another certificate of the same client"
                )
            certificate = self._issue(name, public_key, (ASK_USAGE, MANAGE_USAGE) if manages else (ASK_USAGE,))
            self._note(
                name, ("renewed" if renew else "enrolled") + " as a client" + (", which manages models" * manages)
            )
        return pem(certificate).decode()

    def door_pem(self, hosts: Sequence[str]) -> bytes:
        """A new key and certificate in PEM for a door that clients find by those names or IP addresses."""
        for host in hosts:
            check_host(host)
        return _server_pem(self.certificate, self._key, self._now, hosts)

    def admit(self, chain: list[x509.Certificate]) -> Admitted:
        """The edge whose certificates were shown; raises Untrusted unless it may talk now."""
        if not chain:
            raise Untrusted(f"no certificate was shown: {_ENROLL}")
        shown = chain[0]
        try:
            check_edge(shown, self.certificate, self._now())
        except Untrusted as error:
            raise Untrusted(f"{error}: {_ENROLL}") from error
        serial = _serial(shown)
        fresh = self._refresh()
        if serial not in self._certificates:
            if not fresh:
                raise KeysError(f"{self._folder / _INDEX} is being written: try again")
            raise Untrusted(f"the certificate is not in the data centre's index: {_ENROLL}")
        admitted = Admitted(self._certificates[serial][0], serial, shown.not_valid_after_utc)
        refusal = self.refusal(admitted)
        if refusal is not None:
            self._note_refused(admitted.name, refusal)
            raise Untrusted(refusal)
        return admitted

    def refusal(self, admitted: Admitted) -> str | None:
        """Why an edge that was let in may not talk any more; None while it may."""
        self._refresh()
        if self._certificates.get(admitted.serial, (admitted.name, 0.0))[1] is not None:
            return f"edge {admitted.name!r} was revoked: {_ENROLL}"
        if self._now() > admitted.expires:
            return f"the certificate expired on {admitted.expires:%Y-%m-%d %H:%M} UTC: {_ENROLL}"
        return None

    def renew(self, admitted: Admitted, request: str) -> str | None:
        """A new certificate in PEM for an edge that was let in; None in the first half of the old one's life.

        None, too, where it had one within the hour: asking again and again fills no index.

        Raises Untrusted when the request cannot be read, or the old certificate does not hold any more: it may have
        been revoked since the edge was let in.
        """
        if admitted.expires - self._now() > EDGE_LIFE / 2:
            return None
        public_key = requested_key(request)
        with self._transaction():
            held = self._index.certificate(admitted.serial, admitted.name)
            if held is None:
                raise Untrusted(f"the certificate is not in the data centre's index: {_ENROLL}")
            if held.revoked is not None:
                raise Untrusted(f"edge {admitted.name!r} was revoked: {_ENROLL}")
            if self._now() > admitted.expires:
                raise Untrusted(f"the certificate expired on {admitted.expires:%Y-%m-%d %H:%M} UTC: {_ENROLL}")
            newest = self._index.newest(admitted.name) or held
            at = self._now().timestamp()
            # One issued in the future was made while this machine's clock was wrong.
            if 0 <= at - newest.issued < _RENEWED_AGAIN and newest.expires - at > (EDGE_LIFE / 2).total_seconds():
                return None
            certificate = self._issue(admitted.name, public_key)
            self._note(admitted.name, "renewed")
        logger.info("the certificate of edge %r was renewed", admitted.name)
        return pem(certificate).decode()

    def revoke(self, name: str) -> None:
        """Take back every certificate and every unused token of `name`; raises KeysError when there is none.

        A running service cuts the edge off, or the client, within seconds.
        """
        check_edge_name(name)
        at = self._now().timestamp()
        with self._transaction():
            revoked = self._index.revoke(name, at) + self._index.withdraw_tokens(name)
            if revoked:
                self._note(name, "revoked")
        if not revoked:
            names = ", ".join(edge.name for edge in self.edges() if edge.revoked is None) or "none"
            raise KeysError(f"nobody called {name!r} may talk to this data centre: name one of those that may: {names}")
        logger.info("%r was revoked", name)

    def edges(self) -> list[Edge]:
        """Every edge's newest certificate, by name."""
        return list({edge.name: edge for edge in self.certificates()}.values())

    def certificates(self) -> list[Edge]:
        """Every certificate that was given, by name, the oldest first."""
        with self._held():
            return self._index.certificates()

    def events(self) -> list[Event]:
        """What was done of late, the oldest first."""
        with self._held():
            return self._index.events()

    def _note(self, name: str, what: str) -> None:
        """Write an event down; inside a transaction."""
        self._index.note(Event(self._now().timestamp(), name, what))

    def _note_refused(self, name: str, why: str) -> None:
        """Write down that an edge with a certificate of ours was refused, unless that was done within the hour."""
        at = time.monotonic()
        if at - self._refused.get(name, -_REFUSED_AGAIN) < _REFUSED_AGAIN:
            return
        self._refused[name] = at
        self._refused.move_to_end(name)
        if len(self._refused) > _REFUSED:
            self._refused.popitem(last=False)
        self.clerk.submit(self._write_down, name, f"refused: {why.partition(': ')[0]}")

    def _write_down(self, name: str, what: str) -> None:
        with contextlib.suppress(KeysError), self._transaction():  # it is so whether or not that is written down
            self._note(name, what)

    def _live(self, name: str) -> bool:
        """Whether an edge called `name` may talk now."""
        return self._index.live(name, self._now().timestamp())

    def _check_token(self, asked: Enroll, source: str) -> tuple[str, bool]:
        """Name that the token shown is for, and whether it replaces who is called so; raises Untrusted."""
        with self._held():
            found = self._index.token(asked.token)
        known, name, expires, used, replaces = found if found is not None else (bytes(32), "", 0.0, None, 0)
        shown = hashlib.sha256(bytes.fromhex(asked.secret)).digest()
        # Whether the id or the secret is wrong is not told, nor by the time that it takes.
        if not hmac.compare_digest(known, shown) or found is None:
            self._count_guess(source_of(source))
            raise Untrusted(f"the token is not known here: {_OTHER_TOKEN}")
        if used is not None:
            raise Untrusted(f"the token was used already: {_OTHER_TOKEN}; if it was not you, revoke {name!r}")
        late = self._now().timestamp() - expires
        if late > 0:
            raise Untrusted(f"the token expired {late:.0f} s ago: {_OTHER_TOKEN}")
        return str(name), bool(replaces)

    def _issue(
        self, name: str, public_key: ec.EllipticCurvePublicKey, also: Sequence[x509.ObjectIdentifier] = ()
    ) -> x509.Certificate:
        """Sign a certificate and enter it in the index; inside a transaction."""
        certificate = make_certificate(
            name, public_key, (self.certificate, self._key), EDGE_LIFE, CLIENT_USAGE, self._now, also
        )
        at, expires = self._now().timestamp(), certificate.not_valid_after_utc.timestamp()
        self._index.add_certificate(Edge(name, at, expires, None, _serial(certificate)))
        return certificate

    def _read_server(self, path: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        private, begin, rest = read_private(path, AGAIN).partition(b"-----BEGIN CERTIFICATE-----")
        try:
            return load_key(private), load_certificate(begin + rest)
        except (ValueError, TypeError) as error:
            raise KeysError(f"{path} cannot be used ({error}): remove the folder and {AGAIN}") from error

    def _unfit(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> str | None:
        """Why edges would not take the data centre's `certificate`; None if they would."""
        if public_bytes(certificate.public_key()) != public_bytes(key.public_key()):
            return "key and certificate are not of a pair"
        try:
            check_data_centre(certificate, self.certificate, self._now())
        except Untrusted as error:
            return str(error)
        return None

    def _refresh(self) -> bool:
        """Read the index again if anybody wrote to it, or put another in its place; whether it could be read."""
        with self._reading.faults():
            try:
                self._reading.follow()
                version = self._reading.version()
                if version != self._read:
                    self._certificates = self._reading.known()
                    self._read = version
            except sqlite3.OperationalError as error:
                # Whoever writes is soon done. Waiting would be for all edges, and so would be refusing.
                if "locked" not in str(error) or time.monotonic() - self._known_at > _STILL_KNOWN:
                    raise
                return False
        self._known_at = time.monotonic()
        return True

    def _count_guess(self, network: str) -> None:
        """Count a wrong token of `network`; raises Untrusted when there were too many.

        A right one always passes: guessing 256 bits needs no brake, and neighbours of who guesses are not to blame.
        """
        guesses = self._guesses.setdefault(network, deque(maxlen=_GUESSES))
        self._guesses.move_to_end(network)
        if len(self._guesses) > _GUESSERS:
            self._guesses.popitem(last=False)
        at = time.monotonic()
        while guesses and guesses[0] < at - _GUESSES_WITHIN:
            guesses.popleft()
        if len(guesses) >= _GUESSES:
            raise Untrusted(f"too many wrong tokens came from {network}: {_OTHER_TOKEN}")
        guesses.append(at)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Meanwhile `_index` is this thread's alone, and the file that is there now."""
        with self._lock, self._index.faults():
            self._index.follow()
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._held(), self._index.transaction():
            yield


_ENROLL = (
    "enroll this edge with a token (`edgesight datacenter enroll NAME` there, `edgesight edge --enroll FILE` here)"
)
_OTHER_TOKEN = "make another with `edgesight datacenter enroll NAME`"


def _check_whole(authority: x509.Certificate) -> None:
    """Raises ValueError or TypeError when the authority's certificate is not as it was signed."""
    try:
        authority.verify_directly_issued_by(authority)
    except InvalidSignature as error:
        raise ValueError("the certificate is damaged: its signature is wrong") from error


def _server_pem(
    authority: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock, hosts: Sequence[str] = ()
) -> bytes:
    own, issuer = new_key(), (authority, key)
    certificate = make_certificate(
        SERVER_NAME, own.public_key(), issuer, _SERVER_LIFE, SERVER_USAGE, clock, hosts=hosts
    )
    return key_pem(own) + pem(certificate)


def _serial(certificate: x509.Certificate) -> str:
    return f"{certificate.serial_number:x}"
