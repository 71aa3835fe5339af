"""Who gets in, and as what: certificates, tokens, and plain doors where nobody else reaches them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from edgesight.host.datacenter.authority import Authority
from edgesight.host.doors.access import Access, Anyone, ByToken, Client, DoorError, Peer, Role, check_plain
from edgesight.host.doors.certificates import by_certificate, door_tls, make_client
from edgesight.host.doors.serve import Addresses
from edgesight.host.doors.served import Code, Refused
from edgesight.host.doors.tokens import Tokens, make_token, read_tokens, revoke_token
from edgesight.host.link.keys import KeysError, load_certificate
from edgesight.host.link.tls import Untrusted, check_client, check_edge
from edgesight.sim.link.trust import Trust, make_trust
from tests.host.doors.small import PLAIN, Small, running

HOSTS = ("127.0.0.1", "inference.example")


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return make_trust(tmp_path)


@pytest.fixture
def authority(trust: Trust) -> Iterator[Authority]:
    with contextlib.closing(Authority(trust.datacenter)) as opened:
        yield opened


@contextlib.contextmanager
def guarded(access: Access, served: Small | None = None) -> Iterator[Addresses]:
    with running(served or Small(), dataclasses.replace(PLAIN, access=access)) as addresses:
        yield addresses


def channel(
    addresses: Addresses, authority: bytes, key: bytes | None = None, chain: bytes | None = None
) -> grpc.Channel:
    assert addresses.grpc is not None
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    return grpc.secure_channel(f"127.0.0.1:{addresses.grpc[1]}", credentials)


def files(folder: Path) -> tuple[bytes, bytes, bytes]:
    """The authority's certificate, a client's key and its certificate."""
    ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.crt", "client.key", "client.crt"))
    return ca, key, certificate


def refusal(channel_: grpc.Channel, name: str = "ServerMetadata", token: str | None = None) -> grpc.StatusCode | None:
    """How a call is refused; None: it is answered."""
    request = {
        "ServerMetadata": pb.ServerMetadataRequest(),
        "RepositoryModelUnload": pb.RepositoryModelUnloadRequest(model_name="sums"),
        "ServerLive": pb.ServerLiveRequest(),
    }[name]
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    try:
        getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel_), name)(request, timeout=10, metadata=metadata)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return None


def test_plain_doors_stand_on_loopback(caplog: pytest.LogCaptureFixture) -> None:
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        check_plain(host, False)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.com", ""):
        with pytest.raises(DoorError, match="unencrypted: give it keys"):
            check_plain(host, False)
        check_plain(host, True)
    with (
        pytest.raises(DoorError, match="unencrypted"),
        running(Small(), dataclasses.replace(PLAIN, http=("0.0.0.0", 0))),
    ):
        pass
    with running(Small(), dataclasses.replace(PLAIN, http=("0.0.0.0", 0), insecure=True)):
        pass
    assert "a door at 0.0.0.0 is plain, for all who reach this machine" in caplog.text
    assert Anyone().admit(Peer("127.0.0.1"), Role.MANAGE) == "127.0.0.1"


def test_certificates_let_clients_in_by_their_names(authority: Authority, tmp_path: Path) -> None:
    make_client(authority, "camera-shop", tmp_path / "ask")
    make_client(authority, "keeper", tmp_path / "manage", manages=True)
    ca, key, certificate = files(tmp_path / "ask")
    served = Small()
    with guarded(by_certificate(authority, HOSTS), served) as addresses:
        with channel(addresses, ca, key, certificate) as asks:
            assert refusal(asks) is None
            assert refusal(asks, "RepositoryModelUnload") is grpc.StatusCode.PERMISSION_DENIED
            one = pb.ModelInferRequest(model_name="sums", raw_input_contents=[b"a"])
            one.inputs.add(name="any", datatype="UINT8", shape=[1])
            service_pb2_grpc.GRPCInferenceServiceStub(asks).ModelInfer(one)
            assert served.asked[-1][1].name == "camera-shop"
        with channel(addresses, *files(tmp_path / "manage")) as manages:
            assert refusal(manages, "RepositoryModelUnload") is None
        with channel(addresses, ca) as nobody:
            assert refusal(nobody, "ServerLive") is grpc.StatusCode.UNAVAILABLE  # the handshake fails
        assert addresses.http is not None
        context = ssl.create_default_context(cadata=ca.decode())
        context.load_cert_chain(tmp_path / "ask" / "client.crt", tmp_path / "ask" / "client.key")
        url = f"https://127.0.0.1:{addresses.http[1]}"
        with httpx.Client(verify=context, base_url=url) as client:
            assert client.get("/v2").status_code == 200
            refused = client.post("/v2/repository/models/sums/unload")
            assert (refused.status_code, "neither load nor unload" in refused.json()["error"]) == (403, True)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{url}/v2/health/live", verify=ssl.create_default_context(cadata=ca.decode()))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{addresses.http[1]}/v2/health/live")
        assert addresses.health is not None  # asks nobody
        assert httpx.get(f"http://127.0.0.1:{addresses.health[1]}/v2/health/live").status_code == 200


def test_a_revoked_client_is_out_at_once(authority: Authority, trust: Trust, tmp_path: Path) -> None:
    make_client(authority, "camera-shop", tmp_path / "ask")
    with guarded(by_certificate(authority, HOSTS)) as addresses, channel(addresses, *files(tmp_path / "ask")) as asks:
        assert refusal(asks) is None
        with contextlib.closing(Authority(trust.datacenter)) as another:  # the command, beside the service
            another.revoke("camera-shop")
        assert refusal(asks) is grpc.StatusCode.UNAUTHENTICATED


def test_an_edge_is_no_client_and_a_client_no_edge(authority: Authority, trust: Trust, tmp_path: Path) -> None:
    make_client(authority, "camera-shop", tmp_path / "ask")
    ca, _, pem = files(tmp_path / "ask")
    client = load_certificate(pem)
    now = client.not_valid_before_utc + (client.not_valid_after_utc - client.not_valid_before_utc) / 2
    assert check_client(client, authority.certificate, now) is False
    with pytest.raises(Untrusted, match=r"is for an edge .* and a client of the inference protocol, not for an edge"):
        check_edge(client, authority.certificate, now)
    with pytest.raises(Untrusted, match="not for an edge"):
        authority.admit([client])
    key, begin, chain = (trust.edge / "edge.pem").read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(Untrusted, match=r"is for an edge .*, not for a client of the inference protocol"):
        check_client(load_certificate(begin + chain), authority.certificate, now)
    with guarded(by_certificate(authority, HOSTS)) as addresses, channel(addresses, ca, key, begin + chain) as edge:
        assert refusal(edge) is grpc.StatusCode.UNAUTHENTICATED
        assert refusal(edge, "ServerLive") is None  # it is known here, and health is nobody's secret


def test_a_name_is_one_party(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="somebody is enrolled as 'door' already"):
        make_client(authority, "door", tmp_path / "a")  # an edge's
    make_client(authority, "shop", tmp_path / "b")
    with pytest.raises(KeysError, match="cannot be made"):
        make_client(authority, "other", tmp_path / "b")
    with pytest.raises(KeysError, match="cannot be called"):
        make_client(authority, "Not A Name", tmp_path / "c")
    make_client(authority, "a-name", tmp_path / "c")  # what failed left nothing in its place
    with pytest.raises(Untrusted, match="cannot be used"):
        authority.enroll_client("third", "no request")
    with pytest.raises(KeysError, match="no host can be called"):
        authority.door_pem(["no host"])


def test_strangers_certificates_do_not_pass(authority: Authority, tmp_path: Path) -> None:
    other = make_trust(tmp_path / "other")
    with contextlib.closing(Authority(other.datacenter)) as stranger:
        make_client(stranger, "camera-shop", tmp_path / "stranger")
    make_client(authority, "camera-shop", tmp_path / "ask")
    ca = files(tmp_path / "ask")[0]
    _, key, certificate = files(tmp_path / "stranger")
    access = by_certificate(authority, HOSTS)
    with guarded(access) as addresses, channel(addresses, ca, key, certificate) as strange:
        assert refusal(strange, "ServerLive") is grpc.StatusCode.UNAVAILABLE
    for shown, said in (
        (None, "no certificate was shown"),
        (b"", "ask the data centre's owner"),
        (certificate, "not of"),
    ):
        with pytest.raises(Refused, match=said) as caught:
            access.admit(Peer("127.0.0.1", shown), Role.ASK)
        assert caught.value.code is Code.UNAUTHENTICATED


def test_tokens_over_tls(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    asks, manages = make_token(path, "camera-shop"), make_token(path, "keeper", manages=True)
    tls = door_tls(authority, HOSTS, clients=False)
    ca = authority_pem(authority)
    served = Small()
    with guarded(ByToken(Tokens(path).find, tls), served) as addresses:
        with channel(addresses, ca) as anyone:
            assert refusal(anyone) is grpc.StatusCode.UNAUTHENTICATED
            assert refusal(anyone, token="edgesight_0011223344556677_" + "a" * 43) is grpc.StatusCode.UNAUTHENTICATED
            assert refusal(anyone, token=asks) is None
            assert refusal(anyone, "RepositoryModelUnload", asks) is grpc.StatusCode.PERMISSION_DENIED
            assert refusal(anyone, "RepositoryModelUnload", manages) is None
            assert refusal(anyone, "ServerLive") is None
        assert addresses.http is not None
        context = ssl.create_default_context(cadata=ca.decode())
        with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{addresses.http[1]}") as client:
            refused = client.get("/v2")
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "send the header" in refused.json()["error"]
            for header in ("Bearer", "Basic abc", f"Basic {asks}", "bearer \xff", asks):
                headers = [(b"authorization", header.encode("latin-1"))]
                assert client.get("/v2", headers=headers).status_code == 401
            headers = [(b"authorization", f"bearer {asks}".encode())]
            assert client.get("/v2", headers=headers).status_code == 200
            body = {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1]}]}
            assert client.post("/v2/models/sums/infer", headers=headers, json=body).status_code == 200
            assert served.asked[-1][1].name == "camera-shop"
            revoke_token(path, "camera-shop")
            assert client.get("/v2", headers=headers).status_code == 401


def test_tokens_that_cannot_be_read_let_nobody_in_for_now(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = make_token(path, "camera-shop")
    whole = path.read_bytes()
    with guarded(ByToken(Tokens(path).find, None)) as addresses:
        assert addresses.http is not None
        assert addresses.grpc is not None
        with httpx.Client(base_url=f"http://127.0.0.1:{addresses.http[1]}", verify=False) as client:
            headers = {"authorization": f"Bearer {token}"}
            assert client.get("/v2", headers=headers).status_code == 200
            path.write_bytes(whole[:-9])
            refused = client.get("/v2", headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            with grpc.insecure_channel(f"127.0.0.1:{addresses.grpc[1]}") as anyone:
                assert refusal(anyone, token=token) is grpc.StatusCode.UNAVAILABLE
            path.write_bytes(whole)
            assert client.get("/v2", headers=headers).status_code == 200


def authority_pem(authority: Authority) -> bytes:
    tls = door_tls(authority, HOSTS, clients=True)
    assert tls.authority is not None
    return tls.authority


def test_tokens_are_kept_as_hashes_and_end(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = make_token(path, "camera-shop", life=100.0)
    assert token.rpartition("_")[2] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    now = time.time()
    assert Tokens(path, lambda: now).find(token) == Client("camera-shop", Role.ASK)
    assert Tokens(path, lambda: now + 101).find(token) is None
    tokens = Tokens(path)
    for wrong in ("", token[:-1], token + "a", token[:-1] + ("a" if token[-1] != "a" else "b"), "\0", "é" * 70):
        assert tokens.find(wrong) is None
    with pytest.raises(KeysError, match="has a token: revoke it"):
        make_token(path, "camera-shop")
    with pytest.raises(KeysError, match="no client 'nobody' has a token: name one that has: camera-shop"):
        revoke_token(path, "nobody")
    revoke_token(path, "camera-shop")
    assert tokens.find(token) is None
    assert read_tokens(path) == []


def test_a_tokens_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    assert Tokens(path).find("edgesight_0011223344556677_" + "a" * 43) is None  # no file: no tokens
    path.write_text("[{}]")
    path.chmod(0o600)
    with pytest.raises(KeysError, match="holds no tokens"):
        Tokens(path)
    written = {"id": "0011223344556677", "name": "a", "sha256": "no hash", "manages": False, "made": 0.0}
    path.write_text(json.dumps([written]))
    with pytest.raises(KeysError, match="holds no tokens"):
        Tokens(path)
    path.write_text("[]")
    path.chmod(0o644)
    with pytest.raises(KeysError, match="mode 0644"):
        Tokens(path)
    with pytest.raises(KeysError, match="cannot be written"):
        make_token(tmp_path / "nowhere" / "tokens.json", "camera-shop")


def test_a_client_gets_another_certificate_beside_its_own(tmp_path: Path) -> None:
    trust = make_trust(tmp_path)
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        with pytest.raises(KeysError, match="nobody is enrolled as 'shop' now: leave --renew out"):
            make_client(authority, "shop", tmp_path / "none", renew=True)
        make_client(authority, "shop", tmp_path / "first")
        with pytest.raises(KeysError, match="give --renew for another certificate of the same client"):
            make_client(authority, "shop", tmp_path / "other")
        make_client(authority, "shop", tmp_path / "second", renew=True)
        access = by_certificate(authority, ["localhost"])
        shown = [(tmp_path / folder / "client.crt").read_bytes() for folder in ("first", "second")]
        assert [access.admit(Peer("::1", one), Role.ASK) for one in shown] == ["shop", "shop"]
        authority.revoke("shop")
        for one in shown:
            with pytest.raises(Refused, match="was revoked or has expired"):
                access.admit(Peer("::1", one), Role.ASK)
