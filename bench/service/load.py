"""Clients that ask all the time, each request with an answer of its own to come, and what becomes of every one.

They ask a model that doubles (`edgesight.bench.service.tiny.scaled`), by gRPC call by call, by a stream of gRPC's, and
by HTTP. A request is *answered* rightly or wrongly, *refused* so that it can be asked again (UNAVAILABLE, 503, no
connection), or *lost*: any other end. HTTP has no word for a connection that is closed with a request on its way which
nobody has read; this is *cut*, and whether it was read the service's log has to say. An answer of which something has
come and the rest has not is *torn*: a service that stops in order owes the rest, one that is killed can't pay.

Words owned here: attempt, answered, refused, cut, torn, lost.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import queue
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

MODEL = "double"
ANSWERED, WRONG, REFUSED, CUT, TORN, LOST = "answered", "wrong", "refused", "cut", "torn", "lost"
_PATIENCE_S = 30.0  # of an attempt; longer, and it counts as lost
_PAUSE_S = 0.05  # before a request is asked again
_IN_FLIGHT = 4  # of a stream
_UNAVAILABLE = "StatusCode.UNAVAILABLE"
_AGAIN = "ask again"  # what a refusal on a stream, which has no code of its own, tells to do


@dataclass
class Load:
    """What became of all attempts.

    Attributes:
        attempts: by how they ended.
        lost: what was said of those that were lost, torn or wrong, some of them.
        unanswered: requests that never got an answer, of clients that ask again.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    unanswered: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ended(self, how: str, said: object = "") -> str:
        """Count an attempt."""
        with self._lock:
            self.attempts[how] += 1
            if how in (LOST, TORN, WRONG) and len(self.lost) < 10:
                self.lost.append(f"{type(said).__name__}: {said}"[:200])
        return how

    def gave_up(self) -> None:
        """Count a request that was never answered."""
        with self._lock:
            self.unanswered += 1

    @property
    def total(self) -> int:
        """Attempts that have ended."""
        return sum(self.attempts.values())


@contextlib.contextmanager
def asking(
    grpc: str, http: str, *, calls: int, streams: int, posts: int, again: bool, until: float = 60.0
) -> Iterator[Load]:
    """So many clients of each kind ask meanwhile; at the end each gets the answer that it waits for, or gives up.

    `again`: a client repeats its request until it is answered, for `until` seconds at the most.
    """
    load, told = Load(), threading.Event()
    numbers = itertools.count(1)
    clients: list[Callable[[], None]] = [
        *(partial(_repeating, _Call, grpc, load, told, numbers, until if again else 0.0) for _ in range(calls)),
        *(partial(_repeating, _Post, http, load, told, numbers, until if again else 0.0) for _ in range(posts)),
        *(partial(_streaming, grpc, load, told, numbers) for _ in range(streams)),
    ]
    threads = [threading.Thread(target=client, name="client", daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        told.set()
        for thread in threads:
            thread.join(until + 2 * _PATIENCE_S)
            if thread.is_alive():
                load.ended(LOST, TimeoutError("a client waits for ever"))


def _repeating(kind: Any, at: str, load: Load, told: threading.Event, numbers: Iterator[int], until: float) -> None:
    """One request after the other, each again and again while it is refused and `until` seconds are not over."""
    with contextlib.closing(kind(at)) as client:
        while not told.is_set():
            number, begun = float(next(numbers)), time.monotonic()
            while load.ended(*client.attempt(number)) != ANSWERED:
                time.sleep(_PAUSE_S)
                if time.monotonic() - begun > until:
                    if until:
                        load.gave_up()
                    break


def _judged(number: float, rows: Any) -> tuple[str, object]:
    right = np.array_equal(rows, [[2 * number, 2, 4, 6]])
    return (ANSWERED, "") if right else (WRONG, ValueError(f"of {number}: {rows}"))


class _Call:
    """A gRPC client."""

    def __init__(self, at: str) -> None:
        import tritonclient.grpc as triton

        self._triton: Any = triton
        self._client: Any = triton.InferenceServerClient(at)

    def attempt(self, number: float) -> tuple[str, object]:
        try:
            found = self._client.infer(MODEL, [taken(self._triton, number)], client_timeout=_PATIENCE_S)
        except self._triton.InferenceServerException as error:
            return REFUSED if error.status() == _UNAVAILABLE else LOST, error
        return _judged(number, found.as_numpy("y"))

    def close(self) -> None:
        self._client.close()


class _Post:
    """An HTTP client that keeps its connection."""

    def __init__(self, at: str) -> None:
        self._connection = http.client.HTTPConnection(at, timeout=_PATIENCE_S)

    def attempt(self, number: float) -> tuple[str, object]:
        kept = self._connection.sock
        if kept is not None and select.select([kept], [], [], 0.0)[0]:
            self._connection.close()  # the server has; clients with a pool look before they take one, too
        one = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [number, 1, 2, 3]}
        try:
            self._connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps({"inputs": [one]}))
        except OSError as error:
            self._connection.close()
            return (REFUSED if isinstance(error, ConnectionRefusedError) else CUT), error
        try:
            answer = self._connection.getresponse()
            body = answer.read()
        except TimeoutError as error:
            self._connection.close()
            return LOST, error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return (TORN if isinstance(error, http.client.IncompleteRead) else CUT), error
        if answer.status != 200:
            return (REFUSED if answer.status == 503 else LOST), RuntimeError(f"{answer.status} {body[:100]!r}")
        return _judged(number, [json.loads(body)["outputs"][0]["data"]])

    def close(self) -> None:
        self._connection.close()


def _streaming(at: str, load: Load, told: threading.Event, numbers: Iterator[int]) -> None:
    """One stream, with some requests in flight, until it is told to end or the stream ends; it asks nothing again."""
    import tritonclient.grpc as triton

    came: queue.Queue[tuple[Any, Any]] = queue.Queue()
    waiting: dict[str, float] = {}
    with contextlib.closing(triton.InferenceServerClient(at)) as client:
        client.start_stream(lambda result, error: came.put((result, error)))
        try:
            while waiting or not told.is_set():
                while len(waiting) < _IN_FLIGHT and not told.is_set():
                    number = next(numbers)
                    waiting[str(number)] = float(number)
                    client.async_stream_infer(MODEL, [taken(triton, number)], request_id=str(number))
                result, error = came.get(timeout=_PATIENCE_S)
                if error is not None and error.status() is not None:  # the stream's end, and that of all in flight
                    for _ in waiting:
                        load.ended(REFUSED if error.status() == _UNAVAILABLE else LOST, error)
                    return
                if error is not None:  # of the request that was asked first: answers keep their order
                    waiting.pop(next(iter(waiting)))
                    load.ended(REFUSED if _AGAIN in str(error) else LOST, error)
                    continue
                load.ended(*_judged(waiting.pop(result.get_response().id), result.as_numpy("y")))
        except queue.Empty:
            for _ in waiting:
                load.ended(LOST, TimeoutError("a stream gives no answer"))
        except triton.InferenceServerException as error:  # the stream was closed as a request was given to it
            for _ in waiting:
                load.ended(REFUSED, error)


def taken(library: Any, number: float) -> Any:
    """The input of the model, of tritonclient's `library`: a row of which the first value is the request's own."""
    one = library.InferInput("x", [1, 4], "FP32")
    one.set_data_from_numpy(np.array([[number, 1, 2, 3]], np.float32))
    return one
