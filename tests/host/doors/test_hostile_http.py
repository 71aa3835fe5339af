"""What a stranger can send to the HTTP door: each gets a 4xx that says why, and the server goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import socket
import threading
import time
import zlib
from contextlib import AbstractContextManager
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as tritonclient

from edgesight.host.doors import connections, grpc_door, http, v1
from edgesight.host.doors.bounds import Bounds, of_board
from edgesight.host.doors.compression import Damaged, TooLarge, chosen, pack, unpack
from edgesight.host.doors.serve import Addresses
from edgesight.host.doors.tensors import MAX_MESSAGE
from tests.host.doors.conftest import CLIENT, Doors
from tests.host.doors.small import PLAIN, Small, running
from tests.waiting import wait_until

INFER = "/v2/models/sums/infer"


def tensor(**more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1], **more}]}


def one(**input_: Any) -> dict[str, Any]:
    return {"inputs": [input_]}


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ([], 400, "must be a JSON object"),
        ("text", 400, "must be a JSON object"),
        ({}, 400, "no input"),
        ({"inputs": {}}, 400, "inputs must be a list"),
        ({"inputs": [1]}, 400, "each input must be an object"),
        (one(name=1), 400, "name must be a text"),
        (one(name="x" * 2_000), 400, "at most 1024 characters"),
        (one(name="any", datatype="UINT8", data=[1]), 400, "has no shape"),
        (one(name="any", datatype="UINT8", shape=[1]), 400, "neither data nor binary_data_size"),
        (tensor(datatype="COMPLEX64"), 400, "is none of"),
        (tensor(datatype=5), 400, "datatype must be a text"),
        (tensor(shape=[2**63]), 400, "more than a message may hold"),
        (tensor(shape=[2**70, 0]), 400, "more than a message may hold"),
        (tensor(shape=[-1]), 400, "integers of at least 0"),
        (tensor(shape="1"), 400, "shape must be a list"),
        (tensor(shape=[1] * 100), 400, "100 dimensions"),
        (tensor(data=None), 400, "must be a list"),
        (tensor(data=[{}]), 400, "not dict"),
        (tensor(parameters={"binary_data_size": 1}), 400, "data and binary_data_size"),
        (tensor(parameters={"a": [1]}), 400, "must be a boolean, a text or a number"),
        (tensor(parameters={"a": 10**30}), 400, "must be a boolean, a text or a number"),
        (tensor(parameters=5), 400, "parameters must be an object"),
        (tensor(parameters={str(k): 1 for k in range(100)}), 400, "100 parameters"),
        (tensor(parameters={"shared_memory_region": "r"}), 501, "shared memory is not served"),
        ({**tensor(), "outputs": [{"name": "sum", "parameters": {"classification": -1}}]}, 400, "classification"),
        ({**tensor(), "outputs": [{"name": "sum", "parameters": {"binary_data": 1}}]}, 400, "must be true or false"),
        ({**tensor(), "outputs": [{"name": "sum"}, {"name": "sum"}]}, 400, "comes twice"),
        ({**tensor(), "id": 5}, 400, "id must be a text"),
        ({**tensor(), "parameters": {"timeout": -5}}, 400, "timeout"),
        ({**tensor(), "parameters": {"binary_data_output": "yes"}}, 400, "must be true or false"),
        ({"inputs": tensor()["inputs"] * 2}, 400, "comes twice"),
        ({"inputs": [{**tensor()["inputs"][0], "name": str(k)} for k in range(300)]}, 400, "300 inputs"),
    ],
)
def test_requests_that_are_none(shared: Doors, asked: Any, status: int, said: str) -> None:
    answer = CLIENT.post(shared.http + INFER, json=asked)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    assert len(answer.content) < 1_000
    assert CLIENT.post(shared.http + INFER, json=tensor()).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"inputs": NaN}',
        b'{"inputs": [{"name": "any", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
        b'{"inputs": [{"name": "any", "datatype": "FP32", "shape": [1], "data": [1e999]}]}',
        b'{"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [' + b"9" * 5_000 + b"]}]}",
        b'{"inputs": [{"name": "\\ud800", "datatype": "UINT8", "shape": [1], "data": [1]}]}',
        b'{"inputs": "\xff"}',
        b'{"parameters": {"timeout": 1e999}, "inputs": [1]}',
        b"\x00" * 100,
    ],
)
def test_bodies_that_are_no_json(shared: Doors, body: bytes) -> None:
    answer = CLIENT.post(shared.http + INFER, content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999999", "5000", "abc", "", "１２"])
def test_header_lengths_that_lie(shared: Doors, length: str) -> None:
    body = json.dumps(tensor()).encode()
    answer = CLIENT.post(
        shared.http + INFER,
        content=body,
        headers=[(b"inference-header-content-length", length.encode())],
    )
    assert answer.status_code == 400, answer.text


def test_binary_sizes_that_lie(shared: Doors) -> None:
    for size, behind, said in (
        (5, b"abc", "binary_data_size is 5, and 3 bytes are left"),
        (2**62, b"abc", "are left"),
        (1, b"abc", "2 bytes stand behind"),
        (3, b"abc", "3 bytes came, but shape [1]"),
        (-1, b"", "whole number of bytes"),
        (1.0, b"a", "whole number of bytes"),
        (True, b"a", "whole number of bytes"),
    ):
        told = one(name="any", datatype="UINT8", shape=[1], parameters={"binary_data_size": size})
        header = json.dumps(told).encode()
        headers = {"inference-header-content-length": str(len(header))}
        answer = CLIENT.post(shared.http + INFER, content=header + behind, headers=headers)
        assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text


def test_bodies_that_are_too_large(shared: Doors) -> None:
    at_once = raw(shared, f"POST {INFER} HTTP/1.1\r\ncontent-length: {MAX_MESSAGE + 1}\r\n\r\n".encode())
    assert at_once.startswith(b"HTTP/1.1 413 ")
    assert b"larger than" in at_once

    def chunks() -> Any:
        for _ in range(66):
            yield bytes(1 << 20)

    with contextlib.suppress(httpx.WriteError):  # the server may have closed before all was sent
        assert CLIENT.post(shared.http + INFER, content=chunks(), timeout=30).status_code == 413
    json_ = CLIENT.post(shared.http + INFER, content=b" " * (17 << 20), timeout=30)
    assert (json_.status_code, "send tensors as binary data" in json_.json()["error"]) == (400, True)
    assert CLIENT.post(shared.http + INFER, json=tensor()).status_code == 200


def test_a_bomb_is_put_out(shared: Doors) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    began = time.monotonic()
    answer = CLIENT.post(shared.http + INFER, content=bomb, headers={"content-encoding": "gzip"}, timeout=30)
    assert (answer.status_code, time.monotonic() - began < 10) == (413, True)
    for body, encoding, status in (
        (bomb[:-5], "gzip", 413),
        (gzip.compress(b"{}")[:-3], "gzip", 400),
        (gzip.compress(b"{}") * 2, "gzip", 400),
        (b"{}", "gzip", 400),
        (gzip.compress(b"{}"), "deflate", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ):
        answer = CLIENT.post(shared.http + INFER, content=body, headers={"content-encoding": encoding}, timeout=30)
        assert answer.status_code == status, answer.text
    answer = CLIENT.post(shared.http + INFER, content=b"a=1", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 415


def test_unpacking_is_bounded_and_whole() -> None:
    for encoding in ("gzip", "deflate"):
        assert unpack(pack(b"content", encoding), encoding, 7) == b"content"
        with pytest.raises(TooLarge):
            unpack(pack(bytes(8), encoding), encoding, 7)
    with pytest.raises(Damaged, match="too early"):
        unpack(b"", "gzip", 7)
    with pytest.raises(Damaged, match="behind"):
        unpack(zlib.compress(b"a") + b"b", "deflate", 7)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("br", None),
        ("", None),
        ("gzip;q=x", None),
        (",,;;q=,", None),
        ("GZIP", "gzip"),
    ],
)
def test_the_encoding_of_an_answer(accepted: str, encoding: str | None) -> None:
    assert chosen(accepted, 10_000) == encoding
    assert chosen(accepted, 10) is None


def raw(shared: Doors, sent: bytes) -> bytes:
    """What comes from the HTTP door until it closes."""
    host, port = shared.http.removeprefix("http://").split(":")
    return exchange((host, int(port)), sent)


def exchange(at: tuple[str, int], sent: bytes, within: float = 10.0) -> bytes:
    """What comes until the server closes."""
    with socket.create_connection(at, timeout=within) as connection:
        answer = b""
        try:
            connection.sendall(sent)
            while chunk := connection.recv(65_536):
                answer += chunk
        except ConnectionError:
            return answer
        return answer


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST /v2 HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v2/models/sums/infer HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v2 HTTP/1.1\r\nx: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 1_000_000,
    ],
)
def test_what_is_no_http(shared: Doors, sent: bytes) -> None:
    answer = raw(shared, sent)
    assert not answer or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")), answer
    assert CLIENT.get(f"{shared.http}/v2/health/live").status_code == 200


def test_trailers_are_no_headers(shared: Doors) -> None:
    body = json.dumps(tensor()).encode()
    head = (
        b"POST "
        + INFER.encode()
        + b" HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
    )
    trailers = b"host: evil.example\r\norigin: http://evil.example\r\ncontent-type: text/plain\r\n"
    sent = head + b"\r\n%x\r\n%s\r\n0\r\n" % (len(body), body) + trailers + b"\r\n"
    assert raw(shared, sent).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_never_ends_is_cut_off(shared: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN", 0.3)
    for sent in (b"", b"GET /v2 HTTP/1.1\r\nx"):
        began = time.monotonic()
        assert raw(shared, sent) == b""
        assert time.monotonic() - began < 5


def test_a_body_that_never_ends_is_given_up(shared: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_WITHIN", 0.3)
    answer = raw(shared, b"POST /v2/models/sums/infer HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")


def tight(**bounds: int) -> AbstractContextManager[Addresses]:
    """Doors with those bounds."""
    return running(Small(), dataclasses.replace(PLAIN, bounds=Bounds(**bounds)))


def test_bodies_that_are_held_are_bounded() -> None:
    with tight(held=1_000) as addresses:
        assert addresses.http is not None
        url = f"http://127.0.0.1:{addresses.http[1]}{INFER}"
        for _ in range(3):  # what a refused one held is given back
            answer = CLIENT.post(url, content=b" " * 2_000)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        for _ in range(30):
            assert CLIENT.post(url, json=tensor()).status_code == 200
    with tight(message=1_000) as addresses:
        assert addresses.http is not None
        url = f"http://127.0.0.1:{addresses.http[1]}{INFER}"
        unpacked = gzip.compress(b" " * 2_000)
        assert CLIENT.post(url, content=b" " * 2_000).status_code == 413
        assert CLIENT.post(url, content=unpacked, headers={"content-encoding": "gzip"}).status_code == 413
        assert CLIENT.post(url, json=tensor()).status_code == 200


def test_a_large_request_is_read_beside_the_loop_over_http_and_grpc(
    shared: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_by: list[threading.Thread] = []

    def noted(read: Any) -> Any:
        def run(*arguments: Any) -> Any:
            read_by.append(threading.current_thread())
            return read(*arguments)

        return run

    for door in (http, grpc_door):
        monkeypatch.setattr(door, "read_request", noted(door.read_request))
    monkeypatch.setattr(v1, "read_request", noted(v1.read_request))
    few, many = [1], [1] * 200_000
    for data in (few, many):
        assert CLIENT.post(shared.http + INFER, json=tensor(shape=[len(data)], data=data)).status_code == 200
        assert CLIENT.post(f"{shared.http}/v1/models/sums:predict", json={"instances": data}).status_code == 200
    with tritonclient.InferenceServerClient(shared.grpc) as client:
        for data in (few, many * 2):
            taken = tritonclient.InferInput("any", [len(data)], "UINT8")
            taken.set_data_from_numpy(np.array(data, np.uint8))
            assert client.infer("sums", [taken]).as_numpy("sum") == len(data)
    loops = {read_by[place] for place in (0, 1, 4)}
    assert loops.isdisjoint({read_by[place] for place in (2, 3, 5)})


def test_connections_are_bounded() -> None:
    asked = b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n\r\n"
    with tight(connections=2) as addresses:
        assert addresses.http is not None
        at = addresses.http
        kept = [socket.create_connection(at) for _ in range(2)]
        wait_until(lambda: exchange(at, asked) == b"")
        for connection in kept:
            connection.close()
        wait_until(lambda: exchange(at, asked) != b"")


def test_connections_of_one_address_leave_room_for_others() -> None:
    asked = b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n\r\n"
    with tight(connections=8) as addresses, contextlib.ExitStack() as kept:
        assert addresses.http is not None
        at = addresses.http
        for _ in range(6):
            kept.enter_context(socket.create_connection(at)).sendall(b"GET")
        wait_until(lambda: exchange(at, asked) == b"")
        other = kept.enter_context(socket.create_connection(at, source_address=("127.0.0.2", 0)))
        other.sendall(asked)
        assert other.recv(100).startswith(b"HTTP/1.1 200")


def test_a_board_has_memory_for_all_that_strangers_may_send() -> None:
    for memory, part in ((512 << 20, 2), (3 << 30, 3)):
        bounds = of_board(memory)
        assert bounds.worst <= memory // part
        assert bounds.structure <= bounds.message <= bounds.held


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (None, None, 200),
        ("127.0.0.1:{port}", None, 200),
        ("localhost:{port}", None, 200),
        ("LOCALHOST", None, 200),
        ("localhost.:1", None, 200),
        ("[::1]:{port}", None, 200),
        ("192.0.2.7", None, 200),  # no name leads there, so no page has it
        ("evil.example", None, 421),
        ("evil.example:{port}", "http://evil.example:{port}", 421),
        ("127.0.0.1.evil.example", None, 421),
        ("localhost@evil.example", None, 421),
        ("", None, 421),
        ("[::1", None, 421),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 200),
        ("localhost:{port}", "http://localhost:{port}", 200),
        ("localhost:{port}", "https://localhost:{port}", 403),
        ("localhost:{port}", "http://localhost:3000", 403),
        ("localhost:{port}", "http://localhost", 403),
        ("127.0.0.1:{port}", "http://evil.example", 403),
        ("127.0.0.1:{port}", "null", 403),
        ("127.0.0.1:{port}", "", 403),
        (None, "http://evil.example", 403),
    ],
)
def test_web_pages_and_other_hosts_are_refused(
    shared: Doors, host: str | None, origin: str | None, status: int
) -> None:
    for door in (shared.http, shared.health):
        port = door.rpartition(":")[2]
        head = b"GET /v2/health/live HTTP/1.1\r\nconnection: close\r\n"
        for name, value in (("host", host), ("origin", origin)):
            if value is not None:
                head += f"{name}: {value.format(port=port)}\r\n".encode()
        answer = exchange(("127.0.0.1", int(port)), head + b"\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
        assert status == 200 or b'{"error":"' in answer


def test_a_second_host_or_origin_hides_behind_none(shared: Doors) -> None:
    for lines, status in (
        (b"host: localhost\r\nhost: evil.example\r\n", b"421"),
        (b"host: localhost\r\norigin: http://localhost\r\norigin: http://evil.example\r\n", b"403"),
    ):
        answer = raw(shared, b"GET /v2 HTTP/1.1\r\n" + lines + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 " + status), answer


@pytest.mark.parametrize("kind", ["text/plain;charset=UTF-8", "multipart/form-data; boundary=a", "application/xml"])
def test_bodies_that_a_page_sends_unasked_are_refused(shared: Doors, kind: str) -> None:
    for path in (INFER, "/v2/repository/models/sums/load", "/v1/models/sums:predict", "/v2/repository/index"):
        assert CLIENT.post(shared.http + path, content=b"{}", headers={"content-type": kind}).status_code == 415


def test_curls_form_asks_and_does_not_manage(shared: Doors) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert CLIENT.post(shared.http + INFER, content=json.dumps(tensor()), headers=form).status_code == 200
    for action in ("load", "unload"):
        path = f"{shared.http}/v2/repository/models/sums/{action}"
        assert CLIENT.post(path, content=b"{}", headers=form).status_code == 415
    assert CLIENT.post(f"{shared.http}/v2/repository/models/sums/load", content=b"{}").status_code == 200


def test_a_door_elsewhere_is_called_as_its_owner_likes() -> None:
    options = dataclasses.replace(PLAIN, http=("0.0.0.0", 0), insecure=True)
    with running(Small(), options) as addresses:
        assert addresses.http is not None
        at = ("127.0.0.1", addresses.http[1])
        asked = b"GET /v2 HTTP/1.1\r\nconnection: close\r\nhost: edge.example\r\n"
        assert exchange(at, asked + b"\r\n").startswith(b"HTTP/1.1 200 ")
        assert exchange(at, asked + b"origin: http://evil.example\r\n\r\n").startswith(b"HTTP/1.1 403 ")
