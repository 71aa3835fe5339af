"""Programs that the bench kills, ends and starts again, at addresses that stay the same; and what their logs tell.

Words owned here: life (from a start of the same program to its end).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.kept import ROOT
from edgesight.bench.link.programs import Program
from edgesight.bench.service.asked import READY
from edgesight.host.errors import EdgeSightError

HOST = "127.0.0.1"
_LOOK_EVERY_S = 0.01
_COMMAND_WITHIN_S = 120.0


class NotInTime(EdgeSightError):
    """What was waited for did not come: says what, and where to look."""


def wait_for(what: str, reached: Callable[[], bool], within: float) -> float:
    """Seconds until `reached` says so; raises NotInTime after so many."""
    begun = time.monotonic()
    while not reached():
        if time.monotonic() - begun > within:
            raise NotInTime(f"{what}: not within {within:g} s: look at the logs in the bench's folder")
        time.sleep(_LOOK_EVERY_S)
    return time.monotonic() - begun


def command(*words: object, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `edgesight` with the given words to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edgesight", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_COMMAND_WITHIN_S,
        check=False,
    )


class Service:
    """`edgesight datacenter serve` at ports that it keeps through all of its lives, with a log of all of them."""

    def __init__(self, log: Path, *words: object, link: bool = False, environment: Mapping[str, str] | None = None):
        """With the given words, and doors on loopback; `link`: edges are let in, too (by the --keys of the words)."""
        self.log = log
        with _free(socket.SOCK_STREAM) as grpc, _free(socket.SOCK_STREAM) as http, _free(socket.SOCK_DGRAM) as edges:
            self.grpc, self.http, self.link = grpc, http, edges
        opened = ["--grpc", self.grpc, "--http", self.http]
        if link:
            opened += ["--port", self.link.rpartition(":")[2]]
        arguments = ["datacenter", "serve", *map(str, words), *opened]
        self._program = Program("data centre", arguments, READY, log, environment)
        self._begins = 0  # where in the log this life begins

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._program.pid

    def start(self) -> None:
        """Begin a life. Raises EmulationError where it does not start."""
        self._begins = self.log.stat().st_size
        asyncio.run(self._program.start())

    def tell(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._program.signal(number)

    def wait(self, within: float) -> int:
        """Its exit status; raises NotInTime where it goes on."""
        wait_for("the end of the data centre", lambda: self._program.ended() is not None, within)
        status = self._program.ended()
        assert status is not None
        return status

    @property
    def runs(self) -> bool:
        """Whether it is alive."""
        return self._program.started and self._program.ended() is None

    def end(self) -> None:
        """End it for good, however."""
        if self.runs:
            self.tell(signal.SIGKILL)
            self.wait(_COMMAND_WITHIN_S)

    def workers(self) -> dict[int, float]:
        """Processes that it has started, and seconds of a processor that each has had."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return {int(child): cpu for child in children if (cpu := _cpu_s(int(child))) is not None}

    def memory_mb(self) -> float:
        """Resident memory of the service, without its workers."""
        return self._program.memory_mb()

    def said(self) -> str:
        """What its log tells of this life."""
        return self.log.read_bytes()[self._begins :].decode(errors="replace")

    def codes(self) -> Counter[str]:
        """How many inferences ended in which code in this life; told with EDGESIGHT_LOG=debug alone."""
        found: Counter[str] = Counter()
        for line in self.said().splitlines():
            with contextlib.suppress(ValueError):
                told: Any = json.loads(line[line.index("{") :])
                found[told["code"]] += 1
        return found

    def faults(self) -> int:
        """Exceptions that nobody handled, of all lives."""
        return self._program.unhandled()


@contextlib.contextmanager
def serving(
    log: Path, *words: object, link: bool = False, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """A service that was started; it is ended at the end."""
    service = Service(log, *words, link=link, environment=environment)
    try:
        service.start()
        yield service
    finally:
        service.end()


def client_of(service: Service) -> contextlib.closing[Any]:
    """tritonclient's gRPC client of a service."""
    import tritonclient.grpc as triton

    return contextlib.closing(triton.InferenceServerClient(service.grpc))


def asked(client: Any, model: str, name: str, values: npt.NDArray[Any], output: str = "y") -> tuple[Any, str]:
    """The `output` of the one input `name`; or None, and code and words of why there is none."""
    import tritonclient.grpc as triton
    from tritonclient.utils import np_to_triton_dtype

    taken = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    taken.set_data_from_numpy(values)
    try:
        return client.infer(model, [taken], client_timeout=_COMMAND_WITHIN_S).as_numpy(output), ""
    except triton.InferenceServerException as error:
        return None, f"{error.status()}: {error.message()}"


def doubles(client: Any, by: float = 2.0) -> bool:
    """Whether the model `double` multiplies by so much."""
    rows = np.array([[1, 2, 3, 4]], np.float32)
    found, _ = asked(client, "double", "x", rows)
    return found is not None and np.array_equal(found, by * rows)


@contextlib.contextmanager
def edge(log: Path, *words: object) -> Iterator[dict[str, str]]:
    """`edgesight edge` with the given words and doors on loopback meanwhile: HOST:PORT by kind, HTTP and gRPC."""
    doors = ("--http", f"{HOST}:0", "--grpc", f"{HOST}:0")
    program = Program("edge", ["edge", *map(str, words), *doors], "edge: HTTP at ", log)
    try:
        line = asyncio.run(program.start())
        yield dict(door.split(" at ") for door in line.removeprefix("edge: ").split(", "))
    finally:
        if program.started and program.ended() is None:
            asyncio.run(program.end(signal.SIGTERM))


@contextlib.contextmanager
def _free(kind: socket.SocketKind) -> Iterator[str]:
    """HOST:PORT that nobody has; it is kept free of others until this is left."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((HOST, 0))
        yield f"{HOST}:{taken.getsockname()[1]}"


def _cpu_s(pid: int) -> float | None:
    """Seconds of a processor that a process has had; None: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
