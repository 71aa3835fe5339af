"""SECURITY.md tells the limits that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesight.host import queries
from edgesight.host.applications import applications, asked
from edgesight.host.datacenter import authority, index, service, shares
from edgesight.host.link import bounds, enrollment, jpeg, port, server, strips, telling
from edgesight.host.picture_files import MAX_FILE_BYTES

TEXT = " ".join((Path(__file__).resolve().parents[1] / "SECURITY.md").read_text().split())


def mebibytes(count: int) -> str:
    assert count % 2**20 == 0
    return f"{count >> 20} MiB"


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("certificate of an edge", f"{authority.EDGE_LIFE.days} days"),
        ("certificate of the data centre", f"{authority._SERVER_LIFE.days} days"),
        ("a token; it works once", f"{authority.TOKEN_LIFE:g} s, 256 bits of secret"),
        ("wrong tokens", f"{authority._GUESSES} in {authority._GUESSES_WITHIN:g} s"),
        ("edges at a time", f"{server.MAX_EDGES}"),
        ("connections of an edge", f"{server._CONNECTIONS_OF_ONE}"),
        ("connections that have not proved", f"{server._MAX_HALF_OPEN}, {server._HALF_OPEN_OF_ONE}"),
        ("bytes of UDP", f"{bounds.LARGEST_PACKET:,}, {bounds._HANDSHAKE:,}, {bounds._STREAM:,}"),
        ("bytes that a connection may have kept", f"{bounds._KEPT:,}, {bounds._PIECES}"),
        ("requests in assembly", f"{service.MAX_ASSEMBLING}"),
        ("requests that wait for the model", f"{service.MAX_READY}"),
        ("bytes of strips", f"{mebibytes(service.MAX_BYTES)}, {mebibytes(service.MAX_EDGE_BYTES)}"),
        ("bytes of decoded pictures", mebibytes(service._DECODED_BYTES)),
        ("the receiving thread's time", f"{100 * shares.LOOP_SHARE:g} %"),
        ("replies to one edge", f"{shares.REFUSALS_A_SECOND:g} a second, {shares._REFUSALS_AT_ONCE:g} at once"),
        ("a picture of which less has come", f"{100 * strips.LEAST_SHARE:g} %"),
        ("bytes that packed pixels", f"those of the picture; {jpeg._SCANS[1]}, {jpeg._SCANS[3]}"),
        ("events that the data centre remembers", f"{index.MAX_EVENTS:,}"),
        ("askers at an edge's socket", f"{queries.MAX_ASKERS}"),
        ("bytes of pictures' files", mebibytes(queries.PICTURE_BYTES)),
        ("pictures of one request of the Open Inference", f"{asked.MAX_PICTURES}"),
        ("bytes of pictures, as they came", mebibytes(applications.GIVEN_BYTES)),
        ("seconds in which a query", f"{queries._READ_WITHIN:g} s"),
    ],
)
def test_each_limit_is_the_codes(what: str, limit: str) -> None:
    assert re.search(rf"\| {re.escape(what)}[^|]*\| {re.escape(limit)} \|", TEXT), limit


def test_numbers_in_the_text_are_the_codes() -> None:
    assert f"in {telling.OF_STRANGERS} printable characters" in TEXT
    assert f"a file may have {mebibytes(MAX_FILE_BYTES)}" in TEXT
    assert "at most three tenths of the receiving thread's time" in TEXT
    assert port._SHARE == 3 / 10
    assert f"at least {service.FEWEST_READY} of each" in TEXT
    assert queries.PICTURE_BYTES >= MAX_FILE_BYTES
    secret = enrollment.Token(bytes(32), bytes(8), bytes(32), "h", 1).secret
    assert 8 * len(secret) == 256
