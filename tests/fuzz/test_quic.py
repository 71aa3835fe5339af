"""Structured QUIC packets: some in every run of the tests, and proof that the fuzzer sees what is wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from edgesight.host.link import bounds
from tests.fuzz.quic import Wrong, fuzz


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_some_hundred_structured_packets_leave_nothing_behind() -> None:
    outcome = fuzz(600, seed=2)
    assert outcome.packets == 600
    assert outcome.attacks > 30
    assert outcome.honest > 0
    assert outcome.cut_off


def test_an_exception_that_gets_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("of the library")

    def let_through(peer: bounds.BoundedProtocol, error: Exception) -> None:
        raise error

    monkeypatch.setattr(QuicConnection, "_handle_ping_frame", fail)
    assert fuzz(200, seed=3).caught["KeyError"] > 0
    monkeypatch.setattr(bounds.BoundedProtocol, "_give_up", let_through)
    with pytest.raises(Wrong, match=r"seed 3, attack \d+: .*KeyError"):
        fuzz(200, seed=3)


def test_too_much_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_excess", lambda quic, unusual: None)
    monkeypatch.setattr(bounds, "_KEPT", 4_096)
    with pytest.raises(Wrong, match=r"seed 4, attack \d+: .*bytes are kept"):
        fuzz(3_000, seed=4)


def test_a_connection_that_stays_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesight.host.link.port.Port._connection_terminated", lambda port, protocol: None)
    with pytest.raises(Wrong, match="a connection is still there"):
        fuzz(200, seed=5)
