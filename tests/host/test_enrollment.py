"""Who may talk: only an edge that was enrolled, to the one data centre that enrolled it; all others hear why not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import os
import shutil
import socket
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, HandshakeCompleted, QuicEvent
from aioquic.tls import SessionTicket
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from edgesight.host.datacenter import authority as authority_module
from edgesight.host.datacenter.authority import EDGE_LIFE, TOKEN_LIFE, Authority, make_authority
from edgesight.host.datacenter.service import Service
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.datagrams import REQUEST_BITS, LinkError
from edgesight.host.link.enrollment import Enroll, Token, enroll, enroll_with
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.keys import (
    ALPN,
    CLIENT_USAGE,
    ENROLL_ALPN,
    SERVER_NAME,
    SERVER_USAGE,
    KeysError,
    client_keys,
    configuration,
    load_key,
    make_certificate,
    new_key,
    now,
    request_certificate,
    save_edge,
)
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.quic import PROTOCOL, Hello
from edgesight.host.link.server import Admitted, Server
from edgesight.host.link.strips import cut
from edgesight.host.link.tls import Untrusted
from edgesight.sim.link.trust import Trust, add_edge, make_trust
from tests.host.by_hand import clear_images
from tests.host.dates import DAY, Calendar
from tests.host.offloading import IDLE, SumModel, expected
from tests.host.trust import YEAR, forge_edge, spoil
from tests.waiting import until

T = TypeVar("T")
HELLO = Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables()).model_dump_json().encode() + b"\n"


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return make_trust(tmp_path)


@dataclasses.dataclass
class DataCentre:
    """A data centre in this process, as the tests look at it."""

    authority: Authority
    server: Server
    model: SumModel
    calendar: Calendar
    host: str
    port: int

    def token(self, name: str = "window") -> Token:
        return self.authority.invite(name, self.host, self.port)

    def client(self, folder: Path) -> OffloadClient:
        return OffloadClient(self.host, self.port, client_keys(folder, IDLE, self.calendar))

    async def serves(self, folder: Path) -> None:
        """Fails unless the edge with the keys in `folder` gets an answer."""
        client = self.client(folder)
        await client.connect()
        image = clear_images(1)[0]
        assert (await client.offload(image, 5.0)).label == expected(image)
        await client.close()

    async def refuses(self, folder: Path, reason: str) -> None:
        """Fails unless the edge with the keys in `folder` is turned away for `reason`, and the model saw nothing."""
        worked = list(self.model.batches)
        with pytest.raises(NoAnswer, match=reason):
            await self.client(folder).connect()
        assert self.model.batches == worked


@contextlib.asynccontextmanager
async def serving(
    folder: Path,
    shown: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    started: datetime.timedelta = DAY * 0,
) -> AsyncIterator[DataCentre]:
    """A data centre with the keys in `folder`, that shows another certificate than its own if one is given.

    It begins so long from now as `started` says.
    """
    model = SumModel()
    service = Service(model)
    calendar = Calendar(started)
    authority = Authority(folder, calendar)
    made = authority.configuration(IDLE)
    if shown is not None:
        made.certificate, made.private_key = shown
    server = Server(made, authority, service.served, service.received, service.gone)
    address = await server.listen("127.0.0.1", 0)
    work = asyncio.get_running_loop().create_task(service.run())
    try:
        yield DataCentre(authority, server, model, calendar, *address)
    finally:
        server.close()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        authority.close()


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 30)

    return asyncio.run(limited())


class Stranger(QuicConnectionProtocol):
    """A client that does what no edge would: says what it likes, when it likes."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.met: asyncio.Future[None] = self._loop.create_future()
        self.got: list[bytes] = []

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.met.set_result(None)
        elif isinstance(event, DatagramFrameReceived):
            self.got.append(event.data)
        elif isinstance(event, ConnectionTerminated):
            self.ended.set_result(event.reason_phrase)

    def say(self, line: bytes, *datagrams: bytes) -> None:
        self._quic.send_stream_data(0, line)
        for datagram in datagrams:
            self._quic.send_datagram_frame(datagram)
        self.transmit()


@contextlib.asynccontextmanager
async def stranger(
    datacentre: DataCentre, made: QuicConfiguration, tickets: list[SessionTicket] | None = None
) -> AsyncIterator[Stranger]:
    handler = None if tickets is None else tickets.append
    transport, peer = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Stranger(QuicConnection(configuration=made, session_ticket_handler=handler)),
        remote_addr=(datacentre.host, datacentre.port),
    )
    try:
        peer.connect((datacentre.host, datacentre.port))
        yield peer
    finally:
        peer.close()
        transport.close()


def bare(alpn: str) -> QuicConfiguration:
    """A client's configuration without a certificate, that takes any data centre's."""
    made = configuration(is_client=True, alpn=[alpn], idle_timeout=IDLE)
    made.verify_mode = ssl.CERT_NONE
    return made


@pytest.fixture
def guessed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Strips of an image by somebody who has guessed the number of the session."""
    monkeypatch.setattr("edgesight.host.link.server.secrets.randbits", lambda bits: 5)
    return cut(clear_images(1)[0], request=5 << REQUEST_BITS, left_ms=9_000)


def test_strips_that_look_so_are_worked_on_where_the_client_is_trusted(trust: Trust, guessed: list[bytes]) -> None:
    """Else the tests below would prove nothing."""

    async def test() -> None:
        made = client_keys(trust.edge, IDLE).configuration
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, made) as peer:
            await peer.met
            peer.say(HELLO)
            await peer.ping()
            assert datacentre.server._peers
            peer.say(b"", *guessed)
            await until(lambda: peer.got)
            assert datacentre.model.batches == [1]

    run(test())


def test_strips_before_the_hello_are_not_worked_on(trust: Trust, guessed: list[bytes]) -> None:
    async def test() -> None:
        made = client_keys(trust.edge, IDLE).configuration
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, made) as peer:
            await peer.met
            peer.say(b"", *guessed)
            await peer.ping()  # what was sent before it has arrived
            peer.say(HELLO)
            await peer.ping()
            assert datacentre.server._peers
            assert not datacentre.model.batches
            assert not peer.got

    run(test())


def test_a_token_makes_an_edge_that_may_talk(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "new"
        async with serving(trust.datacenter) as datacentre:
            text = datacentre.token("window").pack()
            assert await enroll_with(Token.parse(text), folder) == "window"
            assert (folder / "edge.pem").stat().st_mode & 0o777 == 0o600
            await datacentre.serves(folder)
            assert [edge.name for edge in datacentre.authority.edges()] == ["door", "window"]

    run(test())


def test_a_token_outlives_a_restart_of_the_data_centre(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
        async with serving(trust.datacenter) as datacentre:
            await enroll_with(dataclasses.replace(token, port=datacentre.port), tmp_path / "new")
            await datacentre.serves(tmp_path / "new")

    run(test())


async def refused(token: Token, folder: Path, reason: str) -> None:
    with pytest.raises(LinkError, match=f"did not enroll this edge: .*{reason}"):
        await enroll_with(token, folder)
    assert not (folder / "edge.pem").exists()


def test_an_expired_token_is_refused(trust: Trust, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            datacentre.calendar.later = datetime.timedelta(seconds=TOKEN_LIFE + 1.0)
            await refused(token, tmp_path / "new", "the token expired 1 s ago: make another")
            assert "was refused: the token expired" in caplog.text
            await datacentre.serves(trust.edge)

    run(test())


def test_a_used_token_is_refused(trust: Trust, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            await enroll_with(token, tmp_path / "first")
            await refused(token, tmp_path / "second", "the token was used already")
            assert "was refused: the token was used already" in caplog.text
            await datacentre.serves(tmp_path / "first")

    run(test())


def test_a_token_shown_twice_at_once_is_used_once(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            both = await asyncio.gather(
                *(enroll_with(token, tmp_path / str(number)) for number in range(4)), return_exceptions=True
            )
            assert sorted(isinstance(outcome, LinkError) for outcome in both) == [False, True, True, True]
            assert len(list(tmp_path.glob("*/edge.pem"))) == 2  # the winner's, and that of the fixture's edge

    run(test())


def test_a_revoked_edges_tokens_are_gone(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.authority.invite("door", datacentre.host, datacentre.port, replace=True)
            datacentre.authority.revoke("door")
            await refused(token, tmp_path / "new", "the token is not known here")

    run(test())


def test_with_a_wrong_fingerprint_nothing_is_sent(
    trust: Trust, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            wrong = dataclasses.replace(token, fingerprint=bytes(32))
            await refused(wrong, tmp_path / "new", "another fingerprint than the token's")
            await until(lambda: "turned this data centre away" in caplog.text)
            await enroll_with(token, tmp_path / "new")  # so it had not been used, nor seen

    run(test())


def impostors(trust: Trust, folder: Path) -> dict[str, tuple[x509.Certificate, ec.EllipticCurvePrivateKey]]:
    """Certificates that someone in between may show in front of the right authority's."""
    make_authority(folder / "theirs")

    def issuer(keys: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        return x509.load_pem_x509_certificate((keys / "ca.crt").read_bytes()), load_key((keys / "ca.key").read_bytes())

    def signed(keys: Path, life: datetime.timedelta, usage: x509.ObjectIdentifier, name: str = SERVER_NAME):  # type: ignore[no-untyped-def]
        key = new_key()
        return make_certificate(name, key.public_key(), issuer(keys), life, usage), key

    edge = client_keys(trust.edge, IDLE)
    return {
        "another authority's": signed(folder / "theirs", YEAR, SERVER_USAGE),
        "an edge's": (edge.certificate, edge.configuration.private_key),
        "an edge's with the data centre's name": signed(trust.datacenter, YEAR, CLIENT_USAGE),
        "another name's": signed(trust.datacenter, YEAR, SERVER_USAGE, "elsewhere"),
        "an expired": signed(trust.datacenter, -DAY / 2, SERVER_USAGE),
    }


def test_an_edge_tells_nothing_to_who_is_not_its_data_centre(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        for what, shown in impostors(trust, tmp_path).items():
            async with serving(trust.datacenter, shown) as impostor:
                token = impostor.token()
                with pytest.raises(LinkError, match="did not enroll this edge"):
                    await enroll_with(token, tmp_path / "new")
                with pytest.raises(NoAnswer, match=r"no data centre at .*certificate") as error:
                    await impostor.client(trust.edge).connect()
                print(what, "certificate:", error.value)
                assert not impostor.server._peers
            with sqlite3.connect(trust.datacenter / "edges.db") as index:
                assert index.execute("SELECT used FROM tokens WHERE name = 'window'").fetchall() == [(None,)]
                index.execute("DELETE FROM tokens WHERE name = 'window'")
        assert not (tmp_path / "new" / "edge.pem").exists()

    run(test())


def test_another_data_centre_is_never_trusted(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        make_authority(tmp_path / "theirs")
        async with serving(tmp_path / "theirs") as impostor:
            await impostor.refuses(trust.edge, "does not show a certificate of the authority that this edge trusts")
            with contextlib.closing(Authority(trust.datacenter)) as authority:
                token = authority.invite("window", impostor.host, impostor.port)
            await refused(token, tmp_path / "new", "another fingerprint")

    run(test())


def test_who_shows_no_certificate_never_reaches_the_model(
    trust: Trust, guessed: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, bare(ALPN)) as peer:
            await peer.met
            peer.say(HELLO, *guessed)
            assert (await peer.ended).startswith("no certificate was shown: enroll this edge")
            assert "was refused: no certificate was shown" in caplog.text
            assert not peer.got
            assert not datacentre.model.batches
            assert not datacentre.server._peers
            await datacentre.serves(trust.edge)

    run(test())


def test_an_edge_of_another_version_hears_so(trust: Trust) -> None:
    async def test() -> None:
        made = client_keys(trust.edge, IDLE).configuration
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, made) as peer:
            await peer.met
            hello = Hello(protocol=PROTOCOL - 1, jpeg_tables=jpeg_tables())
            peer.say(hello.model_dump_json().encode() + b"\n")
            said = f"the edge speaks version {PROTOCOL - 1} of the link, this data centre {PROTOCOL}: install the same"
            assert (await peer.ended).startswith(said)
            assert not datacentre.server._peers

    run(test())


def test_a_connection_for_enrolling_never_reaches_the_model(trust: Trust, guessed: list[bytes]) -> None:
    async def test() -> None:
        shown = client_keys(trust.edge, IDLE).configuration
        for made in (bare(ENROLL_ALPN), dataclasses.replace(shown, alpn_protocols=[ENROLL_ALPN])):
            async with serving(trust.datacenter) as datacentre, stranger(datacentre, made) as peer:
                await peer.met
                peer.say(b"", *guessed)
                await peer.ping()
                assert not datacentre.model.batches
                peer.say(HELLO, *guessed)
                assert (await peer.ended).startswith("the first message cannot be read")
                assert not peer.got
                assert not datacentre.model.batches

    run(test())


def test_a_protocol_that_is_not_spoken_here_is_refused(trust: Trust) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, bare("h3")) as peer:
            assert "ALPN" in await peer.ended
            await datacentre.serves(trust.edge)

    run(test())


def self_signed(trust: Trust, folder: Path) -> None:
    make_authority(folder / "own")
    forge_edge(trust.datacenter, folder, signed_by=folder / "own")


def expired(trust: Trust, folder: Path) -> None:
    forge_edge(trust.datacenter, folder, life=-DAY / 2)


def server_use(trust: Trust, folder: Path) -> None:
    forge_edge(trust.datacenter, folder, usage=SERVER_USAGE)


def any_use(trust: Trust, folder: Path) -> None:
    forge_edge(trust.datacenter, folder, usage=x509.ObjectIdentifier("2.5.29.37.0"))


def no_use(trust: Trust, folder: Path) -> None:
    forge_edge(trust.datacenter, folder, usage=None)


def not_in_the_index(trust: Trust, folder: Path) -> None:
    forge_edge(trust.datacenter, folder)


def revoked(trust: Trust, folder: Path) -> None:
    add_edge(trust.datacenter, "window", folder)
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        authority.revoke("window")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (self_signed, "the certificate is not of this data centre's authority"),
        (expired, r"the certificate expired on .* UTC"),
        (server_use, r"the certificate is for a data centre \(serverAuth\), not for an edge"),
        (any_use, r"the certificate is for 2\.5\.29\.37\.0, not for an edge"),
        (no_use, "the certificate is for nothing, not for an edge"),
        (not_in_the_index, "the certificate is not in the data centre's index"),
        (revoked, "edge 'window' was revoked"),
    ],
)
def test_a_certificate_that_will_not_do_is_refused_on_both_sides(
    trust: Trust,
    tmp_path: Path,
    guessed: list[bytes],
    make: Callable[[Trust, Path], None],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        folder = tmp_path / "theirs"
        make(trust, folder)
        async with serving(trust.datacenter) as datacentre:
            await datacentre.refuses(folder, reason + r".*: enroll this edge with a token \(`edgesight")
            assert [record for record in caplog.records if "was refused: " in record.message]
            shown = client_keys(folder, IDLE).configuration
            async with stranger(datacentre, shown) as peer:  # nor does it reach the model by not waiting
                await peer.met
                peer.say(HELLO, *guessed)
                await peer.ended
                assert not peer.got
                assert not datacentre.model.batches
            await datacentre.serves(trust.edge)

    run(test())


def test_a_certificate_of_a_strange_kind_is_refused_and_the_service_goes_on(trust: Trust) -> None:
    """aioquic looks at the client's certificate first, before this project does."""
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    async def test() -> None:
        name = x509.Name([])
        async with serving(trust.datacenter) as datacentre:
            for key in (ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65_537, 2_048)):
                made = bare(ALPN)
                made.private_key = key
                made.certificate = (
                    x509.CertificateBuilder(name, name, key.public_key(), 1, now() - DAY, now() + DAY)
                    .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\xff"), critical=True)
                    .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
                )
                async with stranger(datacentre, made) as peer:
                    assert "not of this data centre's authority" in await peer.ended
            await datacentre.serves(trust.edge)
            assert datacentre.model.batches == [1]

    run(test())


def test_a_revoked_edge_is_cut_off_and_may_be_enrolled_again(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.link.server._LOOK_AGAIN", 0.02)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            client = datacentre.client(trust.edge)
            await client.connect()
            image = clear_images(1)[0]
            await client.offload(image, 5.0)
            with contextlib.closing(Authority(trust.datacenter)) as another_process:
                another_process.revoke("door")
            await until(lambda: "edge 'door' was revoked" in str(client.trouble))
            await client.close()
            assert datacentre.authority.edges()[0].revoked is not None
            await enroll_with(datacentre.token("door"), tmp_path / "again")
            await datacentre.serves(tmp_path / "again")
            await datacentre.refuses(trust.edge, "edge 'door' was revoked")
            with pytest.raises(KeysError, match=r"nobody called 'dor' may talk .*: door"):
                datacentre.authority.revoke("dor")

    run(test())


def test_an_edge_is_cut_off_when_its_certificate_ends(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.server._LOOK_AGAIN", 0.02)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            client = datacentre.client(trust.edge)
            await client.connect()
            datacentre.calendar.later = 200 * DAY
            await until(lambda: "the certificate expired on" in str(client.trouble))
            await client.close()

    run(test())


def add_edge_that_is_due(trust: Trust, folder: Path) -> Path:
    """Enroll `window`, whose certificate ends so soon that it asks for another."""
    add_edge(trust.datacenter, "window", folder, Calendar(-EDGE_LIFE + datetime.timedelta(minutes=9)))
    return folder


def test_a_certificate_that_ends_soon_is_renewed_over_the_link(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        folder = add_edge_that_is_due(trust, tmp_path / "soon")
        old = client_keys(folder, IDLE)
        assert old.renewal_due(now())
        assert not client_keys(trust.edge, IDLE).renewal_due(now())
        before = (trust.edge / "edge.pem").read_bytes()
        async with serving(trust.datacenter) as datacentre:
            await datacentre.serves(folder)
            new = client_keys(folder, IDLE)
            assert new.expires - now() > 89 * DAY
            assert new.certificate.public_key() != old.certificate.public_key()
            assert (folder / "edge.pem").stat().st_mode & 0o777 == 0o600
            await datacentre.serves(folder)
            await datacentre.serves(trust.edge)
            assert (trust.edge / "edge.pem").read_bytes() == before  # not due
            datacentre.authority.revoke("window")
            await datacentre.refuses(folder, "edge 'window' was revoked")

    run(test())


@pytest.mark.parametrize("what", ["version", "curve", "signature", "extension"])
def test_a_certificate_that_cannot_be_read_ends_no_edge(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async def test() -> None:
        folder = add_edge_that_is_due(trust, tmp_path / "soon")
        before = (folder / "edge.pem").read_bytes()
        monkeypatch.setattr(
            authority_module,
            "pem",
            lambda certificate: spoil(certificate.public_bytes(serialization.Encoding.PEM), what),
        )
        async with serving(trust.datacenter) as datacentre:
            await datacentre.serves(folder)
            assert "edge.pem was not renewed (" in caplog.text
            assert (folder / "edge.pem").read_bytes() == before
            with pytest.raises(LinkError, match="did not enroll this edge: "):
                await enroll_with(datacentre.token("new"), tmp_path / "new")
            assert not (tmp_path / "new" / "edge.pem").exists()

    run(test())


@pytest.mark.parametrize(("days", "busy"), [(70, False), (85, True)])
def test_a_connection_that_lasts_is_made_anew_to_renew(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, busy: bool
) -> None:
    monkeypatch.setattr("edgesight.host.link.connection.PING_EVERY", 0.02)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            client = datacentre.client(trust.edge)
            await client.connect()
            datacentre.calendar.later = days * DAY
            old = (trust.edge / "edge.pem").read_bytes()
            if busy:  # never without a request
                client._open[-1] = asyncio.get_running_loop().create_future()
            await until(lambda: (trust.edge / "edge.pem").read_bytes() != old)
            await client.wait_connected(5.0)
            image = clear_images(1)[0]
            assert (await client.offload(image, 5.0)).label == expected(image)
            await client.close()

    run(test())


def test_the_data_centre_renews_its_own_certificate_when_it_starts(trust: Trust) -> None:
    before, calendar = (trust.datacenter / "server.pem").read_bytes(), Calendar()
    with contextlib.closing(Authority(trust.datacenter, calendar)) as authority:
        authority.configuration(IDLE)
        assert (trust.datacenter / "server.pem").read_bytes() == before
        calendar.later = 400 * DAY
        made = authority.configuration(IDLE)
    assert (trust.datacenter / "server.pem").read_bytes() != before
    assert (trust.datacenter / "server.pem").stat().st_mode & 0o777 == 0o600
    assert made.certificate == x509.load_pem_x509_certificate(
        b"-----BEGIN CERT" + (trust.datacenter / "server.pem").read_bytes().split(b"-----BEGIN CERT")[1]
    )


def guess(token: Token, source: str, authority: Authority) -> None:
    asked = Enroll(protocol=1, token=token.id.hex(), secret=token.secret.hex(), request=request_certificate(new_key()))
    authority.enroll(asked, source)


def test_guessing_is_counted_by_network_and_a_right_token_always_passes(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            other_id, other_secret = (
                dataclasses.replace(token, id=bytes(8)),
                dataclasses.replace(token, secret=bytes(32)),
            )
            for wrong in (other_id, other_secret, other_secret, other_id, other_secret):
                await refused(wrong, tmp_path / "new", "the token is not known here")
            await refused(other_id, tmp_path / "new", r"too many wrong tokens came from 127\.0\.0\.1")
            for number in range(5):
                with pytest.raises(Untrusted, match="not known"):
                    guess(dataclasses.replace(token, secret=bytes(32)), f"2001:db8::{number}", datacentre.authority)
            with pytest.raises(Untrusted, match=r"from 2001:db8::/64"):
                guess(other_secret, "2001:db8::77", datacentre.authority)
            await enroll_with(token, tmp_path / "new")  # a neighbour behind the same NAT
            monkeypatch.setattr(authority_module, "_GUESSES_WITHIN", 0.0)
            await refused(other_id, tmp_path / "other", "the token is not known here")

    run(test())


def test_a_request_that_is_none_does_not_use_up_the_token(trust: Trust, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP384R1())
    good = request_certificate(new_key())
    requests = ["", "no pem", good[:200], good.replace("M", "N", 1), request_certificate(other)]
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        token = authority.invite("window", "127.0.0.1", 1)
        for request in requests:
            asked = Enroll(protocol=1, token=token.id.hex(), secret=token.secret.hex(), request=request)
            with pytest.raises(Untrusted, match="the request for a certificate cannot be used"):
                authority.enroll(asked, "127.0.0.1")
        guess(token, "127.0.0.1", authority)


def test_no_data_centre_to_enroll_at_is_said(trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.enrollment.WITHIN", 0.2)

    async def test() -> None:
        with contextlib.closing(Authority(trust.datacenter)) as authority:
            token = authority.invite("window", "127.0.0.1", 9)
        await refused(token, tmp_path / "new", "nothing listens there")
        with pytest.raises(LinkError, match="cannot be reached"):
            await enroll_with(dataclasses.replace(token, host="no-such-host.invalid"), tmp_path / "new")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind(("127.0.0.1", 0))
            silent = dataclasses.replace(token, port=mute.getsockname()[1])
            with pytest.raises(LinkError, match=r"did not answer within 0\.2 s"):
                await enroll_with(silent, tmp_path / "new")

    run(test())


def test_a_failing_index_lets_nobody_in_and_is_said(trust: Trust, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            with sqlite3.connect(trust.datacenter / "edges.db") as index:
                index.execute("ALTER TABLE certificates RENAME TO away")
            await datacentre.refuses(trust.edge, "the data centre cannot look up who may talk")
            assert "edges.db cannot be used" in caplog.text
            with sqlite3.connect(trust.datacenter / "edges.db") as index:
                index.execute("ALTER TABLE away RENAME TO certificates")
            await datacentre.serves(trust.edge)

    run(test())


def test_no_session_can_be_resumed_and_none_begins_early(trust: Trust) -> None:
    async def test() -> None:
        tickets: list[SessionTicket] = []
        made = client_keys(trust.edge, IDLE).configuration
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, made, tickets) as peer:
            await peer.met
            await peer.ping()  # a ticket would have come with the end of the handshake
            assert not tickets
            assert not peer._quic.tls.early_data_accepted

    run(test())


def test_no_state_is_kept_for_an_address_that_is_not_proved(trust: Trust) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with serving(trust.datacenter) as datacentre:
            quic = QuicConnection(configuration=bare(ALPN))
            address = (datacentre.host, datacentre.port)
            quic.connect(address, now=loop.time())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
                plain.setblocking(False)
                plain.bind(("127.0.0.1", 0))
                for packet, _ in quic.datagrams_to_send(now=loop.time()):
                    plain.sendto(packet, address)
                answer = await loop.sock_recv(plain, 2_000)
            assert answer[0] & 0xF0 == 0xF0  # a Retry packet: long header, type 3 (RFC 9000, 17.2.5)
            assert not datacentre.server._half_open

    run(test())


def test_a_flood_of_half_open_connections_keeps_no_edge_out(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.server._MAX_HALF_OPEN", 4)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre, contextlib.AsyncExitStack() as flood:
            made = client_keys(trust.edge, IDLE).configuration
            peers = [await flood.enter_async_context(stranger(datacentre, made)) for _ in range(12)]
            for peer in peers:
                either: list[asyncio.Future[Any]] = [peer.met, peer.ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            assert len(datacentre.server._half_open) <= 4
            await datacentre.serves(trust.edge)
            assert await peers[0].ended == "the data centre has too many connections"

    run(test())


TOKEN = Token(bytes(range(32)), b"8 bytes.", bytes(range(32, 64)), "edge.example", 4433)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(1, 65_535))
def test_tokens_come_back_as_they_were(fingerprint: bytes, secret: bytes, port: int) -> None:
    token = Token(fingerprint, b"8 bytes.", secret, "::1", port)
    text = token.pack()
    assert Token.parse(f"  {text[:20]}\n{text[20:]}\n") == token


@given(st.integers(0, len(TOKEN.pack()) - 1), st.characters(max_codepoint=127), st.booleans())
@example(len(TOKEN.pack()) - 1, chr(ord(TOKEN.pack()[-1]) + 1), False)  # differs in bits that no byte takes
def test_a_token_that_was_changed_or_cut_is_refused(position: int, character: str, cut_there: bool) -> None:
    text = TOKEN.pack()
    changed = text[:position] + ("" if cut_there else character + text[position + 1 :])
    if "".join(changed.split()) != text:
        with pytest.raises(KeysError, match="no whole token"):
            Token.parse(changed)


@given(st.text(max_size=300))
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(KeysError, match="no whole token"):
        Token.parse(text)


def test_the_edges_key_never_leaves_the_edge(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            await enroll_with(datacentre.token(), tmp_path / "new")
        key = client_keys(tmp_path / "new", IDLE).configuration.private_key
        number = key.private_numbers().private_value.to_bytes(32, "big")
        der = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for path in trust.datacenter.iterdir():
            content = path.read_bytes()
            assert number not in content
            assert der not in content

    run(test())


def test_a_locked_index_is_said_and_serves_again_when_it_is_free(trust: Trust) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        with contextlib.closing(sqlite3.connect(trust.datacenter / "edges.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM certificates").fetchall()  # a reader keeps a writer from ending
            with pytest.raises(KeysError, match=r"another program has it.*try again"):
                authority.invite("window", "127.0.0.1", 1)
            other.execute("COMMIT")
        assert authority.invite("window", "127.0.0.1", 1).host == "127.0.0.1"


@contextlib.contextmanager
def locked(trust: Trust, how: str = "BEGIN EXCLUSIVE") -> Iterator[sqlite3.Connection]:
    """Another program that has the index locked, until it commits; a reader keeps a writer from ending."""
    with contextlib.closing(sqlite3.connect(trust.datacenter / "edges.db", isolation_level=None)) as other:
        other.execute(how)
        other.execute("SELECT * FROM certificates").fetchall()
        yield other


def test_a_revocation_is_noticed_in_an_index_that_took_the_place_of_another(trust: Trust) -> None:
    path, copy = trust.datacenter / "edges.db", trust.datacenter / "copy"
    chain = [client_keys(trust.edge, IDLE).certificate]
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        admitted = authority.admit(chain)
        shutil.copy(path, copy)
        copy.replace(path)
        assert authority.refusal(admitted) is None
        with contextlib.closing(Authority(trust.datacenter)) as another_process:
            another_process.revoke("door")
        assert "was revoked" in str(authority.refusal(admitted))
        with pytest.raises(Untrusted, match="was revoked"):
            authority.admit(chain)
        token = authority.invite("window", "127.0.0.1", 1)
        with contextlib.closing(Authority(trust.datacenter)) as another_process:
            guess(token, "127.0.0.1", another_process)  # so it was written to the file that is there


def test_an_index_that_is_gone_or_may_be_anybodys_lets_nobody_in(trust: Trust) -> None:
    path, away = trust.datacenter / "edges.db", trust.datacenter / "away"
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        admitted = authority.admit([client_keys(trust.edge, IDLE).certificate])
        path.rename(away)
        for look in (lambda: authority.refusal(admitted), lambda: authority.revoke("door"), authority.edges):
            with pytest.raises(KeysError, match=r"edges\.db cannot be read \(No such file or directory\): restore it"):
                look()
        assert not path.exists()
        shutil.copy(away, path)
        path.chmod(0o644)
        with pytest.raises(KeysError, match=r"edges\.db has mode 0644"):
            authority.refusal(admitted)
        away.replace(path)
        assert authority.refusal(admitted) is None


def test_what_was_rolled_back_cuts_nobody_off(trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "_WAIT", 0.05)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.authority.invite("door", datacentre.host, datacentre.port, replace=True)
            with locked(trust, "BEGIN"):
                await refused(token, tmp_path / "new", "cannot write down who may talk.*the token is still good")
                await datacentre.serves(trust.edge)
                with pytest.raises(KeysError, match="another program has it"):
                    datacentre.authority.revoke("door")
                await datacentre.serves(trust.edge)
            await datacentre.serves(trust.edge)
            await enroll_with(token, tmp_path / "new")
            await datacentre.serves(tmp_path / "new")
            await datacentre.refuses(trust.edge, "edge 'door' was revoked")

    run(test())


def test_a_locked_index_holds_up_no_edge(trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority_module, "_WAIT", 20.0)

    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            with locked(trust) as other:
                enrolling = loop.create_task(enroll_with(token, tmp_path / "new"))
                begun = loop.time()
                await datacentre.serves(trust.edge)  # who it is was known a moment before
                datacentre.server._put_out()
                assert not datacentre.server._blind
                assert loop.time() - begun < 2.0
                assert not enrolling.done()
                other.execute("COMMIT")  # by the thread that would wait for this, were it the same
            assert await enrolling == "window"
            await datacentre.serves(tmp_path / "new")

    run(test())


def test_a_locked_index_is_trusted_from_memory_for_a_moment(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        keys = client_keys(trust.edge, IDLE)
        admitted = authority.admit([keys.certificate])
        new = add_edge_of(trust, "window")
        with locked(trust):
            assert authority.refusal(admitted) is None
            with pytest.raises(KeysError, match="is being written: try again"):
                authority.admit([new])
            monkeypatch.setattr(authority_module, "_STILL_KNOWN", 0.0)
            with pytest.raises(KeysError, match="another program has it"):
                authority.refusal(admitted)
        assert authority.admit([new]).name == "window"


def add_edge_of(trust: Trust, name: str) -> x509.Certificate:
    folder = trust.edge.parent / name
    add_edge(trust.datacenter, name, folder)
    return client_keys(folder, IDLE).certificate


def test_a_renewal_waits_for_the_index_and_no_edge_does(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(authority_module, "_WAIT", 20.0)
    folder = add_edge_that_is_due(trust, tmp_path / "soon")
    before = (folder / "edge.pem").read_bytes()

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            datacentre.authority._index.execute("PRAGMA query_only = 1")
            await datacentre.serves(folder)  # its old certificate holds
            assert (folder / "edge.pem").read_bytes() == before
            assert "the certificate of edge 'window' is not renewed: " in caplog.text
            datacentre.authority._index.execute("PRAGMA query_only = 0")
            with locked(trust, "BEGIN IMMEDIATE") as other:
                renewing = asyncio.get_running_loop().create_task(datacentre.serves(folder))
                await datacentre.serves(trust.edge)
                assert not renewing.done()
                other.execute("COMMIT")
            await renewing
            assert (folder / "edge.pem").read_bytes() != before

    run(test())


def test_asking_for_renewal_again_and_again_fills_no_index(trust: Trust) -> None:
    with contextlib.closing(Authority(trust.datacenter, Calendar(70 * DAY))) as authority:
        (edge,) = authority.edges()
        expires = datetime.datetime.fromtimestamp(edge.expires, datetime.timezone.utc)
        admitted, request = Admitted(edge.name, edge.serial, expires), request_certificate(new_key())
        assert authority.renew(admitted, request) is not None
        assert authority.renew(admitted, request) is None
        assert len(authority.certificates()) == 2


def test_keys_that_cannot_be_written_are_said_with_the_token_gone(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesight.host.link.enrollment.save_edge", full)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            token = datacentre.token()
            with pytest.raises(KeysError, match=r"No space left on device.*enroll with another"):
                await enroll_with(token, tmp_path)

    run(test())


def test_a_revoked_edge_that_was_let_in_gets_no_new_certificate(trust: Trust, tmp_path: Path) -> None:
    add_edge(trust.datacenter, "thief", tmp_path / "thief", Calendar(-50 * DAY))

    async def test() -> None:
        made = client_keys(tmp_path / "thief", IDLE).configuration
        async with serving(trust.datacenter) as datacentre, stranger(datacentre, made) as peer:
            await peer.met
            await peer.ping()  # it was admitted
            with contextlib.closing(Authority(trust.datacenter)) as another_process:
                another_process.revoke("thief")
            hello = Hello(protocol=PROTOCOL, jpeg_tables=jpeg_tables(), request=request_certificate(new_key()))
            peer.say(hello.model_dump_json().encode() + b"\n")
            assert "edge 'thief' was revoked" in await peer.ended
            (thief,) = (edge for edge in datacentre.authority.certificates() if edge.name == "thief")
            assert thief.revoked

    run(test())


@pytest.mark.parametrize(
    ("serial", "after", "why"),
    [("00", DAY * 0, "not in the data centre's index"), (None, DAY * 91, "expired"), (None, DAY * 0, "was revoked")],
)
def test_only_a_certificate_that_holds_is_renewed(
    trust: Trust, serial: str | None, after: datetime.timedelta, why: str
) -> None:
    calendar = Calendar()
    with contextlib.closing(Authority(trust.datacenter, calendar)) as authority:
        (edge,) = authority.edges()
        expires = datetime.datetime.fromtimestamp(edge.expires, datetime.timezone.utc)
        if why == "was revoked":
            authority.revoke("door")
        calendar.later = after or 70 * DAY
        with pytest.raises(Untrusted, match=why):
            authority.renew(Admitted(edge.name, serial or edge.serial, expires), request_certificate(new_key()))
        assert len(authority.certificates()) == 1


def test_one_name_is_one_edge(trust: Trust, tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            with pytest.raises(KeysError, match=r"'door' may already talk .* give --replace"):
                datacentre.token("door")
            first, second = datacentre.token("window"), datacentre.token("window")
            await enroll_with(first, tmp_path / "first")
            await refused(second, tmp_path / "second", "an edge is already enrolled as 'window'")
            await datacentre.serves(tmp_path / "first")
            other = datacentre.authority.invite("window", datacentre.host, datacentre.port, replace=True)
            await datacentre.serves(tmp_path / "first")  # until the other one is there
            await enroll_with(other, tmp_path / "other")
            await datacentre.serves(tmp_path / "other")
            await datacentre.refuses(tmp_path / "first", "edge 'window' was revoked")

    run(test())


def test_what_was_done_is_written_down_and_bounded(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.datacenter.index.MAX_EVENTS", 5)

    async def test() -> None:
        async with serving(trust.datacenter) as datacentre:
            authority = datacentre.authority
            assert [event.what for event in authority.events()] == ["a token was made", "enrolled from 127.0.0.1"]
            authority.revoke("door")
            for _ in range(3):  # noted once
                await datacentre.refuses(trust.edge, "edge 'door' was revoked")
            assert [event.what for event in authority.events()][2:] == ["revoked", "refused: edge 'door' was revoked"]
            for number in range(10):
                datacentre.token(f"window-{number}")
            assert [event.name for event in authority.events()] == [f"window-{number}" for number in range(5, 10)]

    run(test())


def test_an_index_of_the_first_version_is_brought_up_to_date(trust: Trust, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(trust.datacenter / "edges.db")) as index:
        index.executescript("DROP TABLE events; ALTER TABLE tokens DROP COLUMN replaces; PRAGMA user_version = 1;")
    with contextlib.closing(Authority(trust.datacenter)) as first, contextlib.closing(Authority(trust.datacenter)):
        assert [edge.name for edge in first.edges()] == ["door"]
        assert not first.events()
    add_edge(trust.datacenter, "window", tmp_path / "window")


def test_an_index_of_a_later_version_is_left_alone(trust: Trust) -> None:
    with contextlib.closing(sqlite3.connect(trust.datacenter / "edges.db")) as index:
        index.execute("PRAGMA user_version = 3")
    with pytest.raises(KeysError, match=r"edges\.db is of version 3, this program reads 2: install"):
        Authority(trust.datacenter)


@pytest.mark.parametrize(
    "change",
    [
        "certificates SET expires = 'soon'",
        "certificates SET revoked = 'yes'",
        "certificates SET issued = 9e999",
        "certificates SET name = x'ff'",
        "tokens SET expires = 'soon'",
        "tokens SET secret_sha256 = 'text'",
        "events SET at = 'then'",
    ],
)
def test_an_index_with_values_that_are_none_is_told_as_damaged(trust: Trust, change: str) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        admitted = authority.admit([client_keys(trust.edge, IDLE).certificate])
        with contextlib.closing(sqlite3.connect(trust.datacenter / "edges.db", isolation_level=None)) as index:
            index.execute(f"UPDATE {change}")
        with pytest.raises(KeysError, match=r"it is damaged: restore the folder from a backup"):
            authority.refusal(admitted)
    with pytest.raises(KeysError, match=r"it is damaged: restore the folder from a backup"):
        Authority(trust.datacenter)


@pytest.mark.parametrize("host", ["", "h" * 64, "h." * 127 + "hh", "h\udcff", "a b", "a\n", "a..b"])
def test_a_token_is_made_only_for_a_host_that_can_be_found(trust: Trust, host: str) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        with pytest.raises(KeysError, match="no host can be called"):
            authority.invite("window", host, 1)
        for good in ("::1", "fe80::1%eth0", "10.0.0.2", "gpu.example.org", "bücher.example"):
            assert Token.parse(authority.invite("window", good, 1).pack()).host == good


def test_only_what_can_be_an_edges_name_is_revoked(trust: Trust) -> None:
    with (
        contextlib.closing(Authority(trust.datacenter)) as authority,
        pytest.raises(KeysError, match="an edge cannot be called"),
    ):
        authority.revoke("z\udcff")


def test_a_full_disk_is_told_as_such_and_costs_no_token(trust: Trust) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        token = authority.invite("window", "127.0.0.1", 1)
        pages = authority._index.execute("PRAGMA page_count").fetchone()[0]
        authority._index.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite then says is "disk is full"

        def fill() -> None:
            for number in range(1_000):
                authority.invite(f"window-{number}", "127.0.0.1", 1)

        with pytest.raises(KeysError, match=r"\(database or disk is full\): the disk is full: make room") as full:
            fill()
        assert "keys make" not in str(full.value)
        authority._index.execute(f"PRAGMA max_page_count = {2 * pages}")
        guess(token, "127.0.0.1", authority)


def test_a_read_only_index_is_told_as_such(trust: Trust) -> None:
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        authority._index.execute("PRAGMA query_only = 1")
        with pytest.raises(KeysError, match=r"readonly database.*it may not be written"):
            authority.invite("window", "127.0.0.1", 1)


def test_the_data_centre_renews_its_own_certificate_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_authority(tmp_path / "keys", Calendar(-400 * DAY))
    add_edge(tmp_path / "keys", "door", tmp_path / "edge-keys")

    async def test() -> None:
        async with serving(tmp_path / "keys", started=-400 * DAY) as datacentre:
            made = datacentre.server._configuration
            before = made.certificate
            datacentre.authority.renew_own(made)
            assert made.certificate == before
            datacentre.calendar.later = 0 * DAY
            with monkeypatch.context() as full_disk:
                full_disk.setattr(authority_module, "write_atomically", _full)
                datacentre.authority.renew_own(made)
                assert "server.pem cannot be renewed (No space left on device)" in caplog.text
                assert made.certificate == before
            datacentre.authority.renew_own(made)
            assert made.certificate != before
            await datacentre.serves(tmp_path / "edge-keys")

    run(test())


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_without_room_is_found_out_before_the_token_is_used(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgesight.host.link.enrollment.os.fsync", _full)
    with pytest.raises(KeysError, match=r"No space left on device.*the token is still good"):
        enroll(TOKEN.pack(), tmp_path / "new")


def test_a_folder_that_the_edge_would_refuse_is_found_out_before_the_token_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(KeysError, match=r"new has mode 0777, .*; the token is still good"):
        enroll(TOKEN.pack(), folder)
    folder.chmod(0o700)
    (folder / "edge.pem").mkdir()
    with pytest.raises(KeysError, match=r"edge\.pem is a folder, .*; the token is still good"):
        enroll(TOKEN.pack(), folder)
    (folder / "edge.pem").rmdir()
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if mine == 0:
        os.chown(folder, 65_534, -1)
    with pytest.raises(KeysError, match=r"is owned by user \d+, .*; the token is still good"):
        enroll(TOKEN.pack(), folder)
    assert not list(folder.iterdir())


def test_what_a_killed_process_left_of_keys_is_removed(trust: Trust) -> None:
    leftover, fresh = trust.edge / ".edge.pem.abc", trust.edge / ".edge.pem.def"
    for path in (leftover, fresh):
        path.write_text("a key")
    os.utime(leftover, (0, 0))
    keys = client_keys(trust.edge, IDLE)
    save_edge(trust.edge, keys.configuration.private_key, keys.certificate, keys.authority)
    assert [path.name for path in sorted(trust.edge.iterdir())] == [".edge.pem.def", "edge.pem"]
