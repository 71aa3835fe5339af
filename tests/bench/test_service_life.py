"""The bench's clients that ask all the time, and its programs that live several times."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgesight.bench.service import load
from edgesight.bench.service.outcome import Outcome, of_parts
from edgesight.bench.service.program import NotInTime, Service, client_of, doubles, serving, wait_for
from edgesight.bench.service.tiny import put, scaled
from edgesight.host.errors import EdgeSightError

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")


def test_who_asks_again_gets_all_answers_through_a_kill_and_a_start(tmp_path: Path) -> None:
    put(tmp_path / "models", load.MODEL, scaled(2.0))
    debug = {"EDGESIGHT_LOG": "debug"}
    with serving(tmp_path / "log", "--repository", tmp_path / "models", environment=debug) as service:
        with load.asking(service.grpc, service.http, calls=3, streams=1, posts=2, again=True) as asked:
            wait_for("answers", lambda: asked.attempts[load.ANSWERED] > 20, 60.0)
            first = service.pid
            service.tell(signal.SIGKILL)
            assert service.wait(60.0) == -signal.SIGKILL
            service.start()
            assert service.pid != first
            before = asked.attempts[load.ANSWERED]
            wait_for("answers of the second life", lambda: asked.attempts[load.ANSWERED] > before + 20, 60.0)
        assert asked.unanswered == 0
        assert asked.attempts[load.WRONG] == asked.attempts[load.LOST] == 0, asked.lost
        assert 20 < service.codes()["OK"] < asked.attempts[load.ANSWERED]  # of this life alone
        assert len(service.workers()) == 1
        with client_of(service) as client:
            assert doubles(client)
            assert not doubles(client, 3.0)
        assert service.faults() == 0


def test_wrong_answers_and_refusals_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([load.REFUSED, load.WRONG, load.ANSWERED])

    class Client:
        def __init__(self, at: str) -> None:
            pass

        def attempt(self, number: float) -> tuple[str, object]:
            how = next(ends, load.ANSWERED)
            return how, ValueError("of the test")

        def close(self) -> None:
            pass

    monkeypatch.setattr(load, "_Call", Client)
    with load.asking("", "", calls=1, streams=0, posts=0, again=True) as asked:
        wait_for("answers", lambda: asked.attempts[load.ANSWERED] > 2, 10.0)
    assert (asked.attempts[load.REFUSED], asked.attempts[load.WRONG]) == (1, 1)
    assert asked.lost == ["ValueError: of the test"]


def test_an_answer_that_ends_early_is_torn() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def tears() -> None:
            connection, _ = server.accept()
            with connection:
                asked = b""
                while not asked.endswith(b"}"):  # what is closed unread is reset
                    asked += connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 126\r\n\r\n{")

        threading.Thread(target=tears, daemon=True).start()
        with contextlib.closing(load._Post(f"127.0.0.1:{server.getsockname()[1]}")) as client:
            how, said = client.attempt(1.0)
    assert (how, type(said)) == (load.TORN, http.client.IncompleteRead)


def test_a_part_that_cannot_be_done_is_unmet_and_the_next_is_done(tmp_path: Path) -> None:
    def fails(place: Path, outcome: Outcome) -> None:
        wait_for("what never comes", lambda: False, 0.01)

    def works(place: Path, outcome: Outcome) -> None:
        assert place.is_dir()
        outcome.at_most("figure", 1, 2, "s")

    outcome = of_parts({"one": fails, "two": works}, tmp_path, Console(quiet=True))
    assert [(check.name, check.met) for check in outcome.checks] == [("one: done", False), ("two: figure", True)]
    assert "what never comes: not within 0.01 s" in outcome.found().body["said"]["one: done"]
    with pytest.raises(NotInTime):
        wait_for("what never comes", lambda: False, 0.0)


def test_a_service_that_does_not_start_says_why(tmp_path: Path) -> None:
    service: Any = Service(tmp_path / "log", "--repository", tmp_path / "none")
    with pytest.raises(EdgeSightError, match="none is no folder"):
        service.start()
    service.end()
