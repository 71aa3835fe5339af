"""The process that one model runs in: what it does is said to it over a socket, arrays go through shared memory.

It is started by `edgesight.host.datacenter.workers`, reads a recipe, loads the model and answers one call after the
other. It ends when its service ends, however that does. Nothing that a model does here can hurt the service.

Words owned here: worker, call.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgesight.host.datacenter.blocks import Block
from edgesight.host.datacenter.executors import Executor, ModelError, Recipe, make
from edgesight.host.datacenter.executors.base import PICTURE, first_line
from edgesight.host.files import read_regular, sha256

MESSAGE_BYTES = 1 << 16  # of a message on the socket
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PAGE = os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str]) -> None:
    """Serve: descriptors of the socket, of both blocks and of the file (-1: none), and the parent's process id."""
    line, taken, given, file, parent = map(int, arguments)
    # A terminal's Ctrl-C, and the SIGTERM of what runs services, reach all processes of one; it still needs its workers
    # for what it has let in, and says itself when they end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        return  # it ended before it could be asked for
    # A service that was killed leaves answers unread, which resets the line: then that is the end of it.
    with socket.socket(fileno=line) as opened, contextlib.suppress(ConnectionError):
        _Worker(opened, Block(taken), Block(given)).serve(file)


class _Worker:
    """A model, and the line to the service."""

    def __init__(self, line: socket.socket, taken: Block, given: Block) -> None:
        self._line, self._taken, self._given = line, taken, given
        self._name = ""  # of the model

    def serve(self, file: int) -> None:
        """Load what the first message says, then answer until the line ends."""
        recipe = Recipe.parse(self._line.recv(MESSAGE_BYTES).decode())
        self._name = recipe.name
        begun = time.perf_counter()
        try:
            # By its own name, so that it is read from its beginning however often.
            content = read_regular(Path(f"/proc/self/fd/{file}")) if file >= 0 else b""
            checksum = sha256(content)
            executor = make(recipe, content)
            del content
        except ModelError as error:
            self._say({"fault": str(error)})
            return
        except (OSError, MemoryError) as error:
            self._say({"fault": f"{recipe.name} cannot be loaded ({type(error).__name__}: {first_line(error)})"})
            return
        self._say(
            {
                "inputs": [asdict(port) for port in executor.inputs],
                "outputs": [asdict(port) for port in executor.outputs],
                "max_batch_size": executor.max_batch_size,
                "takes_pictures": executor.run_pictures is not None,
                "sha256": checksum,
                "seconds": time.perf_counter() - begun,
                "rss": rss(),
            }
        )
        while message := self._line.recv(MESSAGE_BYTES):
            self._say(self._answer(executor, json.loads(message)))

    def _answer(self, executor: Executor, call: Mapping[str, Any]) -> dict[str, Any]:
        """Run the model once: where its outputs lie, or what is wrong."""
        begun = time.perf_counter()
        try:
            arrays = self._taken.read(call["places"], copied=False)
            at_model = time.perf_counter()
            faults: dict[int, str] = {}
            if executor.run_pictures is not None and PICTURE in arrays and arrays[PICTURE].dtype == object:
                outputs, faults = executor.run_pictures(list(arrays[PICTURE].ravel()), call["wanted"])
            else:
                outputs = executor.run(arrays, call["wanted"])
            ended = time.perf_counter()
            del arrays
            answer: dict[str, Any] = {"places": self._given.write({name: [one] for name, one in outputs.items()})}
            if faults:
                answer["faults"] = faults
        except Exception as error:  # whatever a model raises: it is told, and the next call is answered
            return {"fault": first_line(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"}
        answer["seconds"] = at_model - begun, ended - at_model, time.perf_counter() - ended
        if call["measure"]:
            answer["rss"] = rss()
        return answer

    def _say(self, message: Mapping[str, Any]) -> None:
        packed = json.dumps(message).encode()
        if len(packed) > MESSAGE_BYTES:
            said = f"what it says of itself takes {len(packed)} bytes, at most {MESSAGE_BYTES} are taken"
            fault = f"model {self._name}: {said}: give it fewer inputs and outputs"
            packed = json.dumps({"fault": fault}).encode()
        self._line.sendall(packed)


def rss() -> int:
    """Bytes that this process holds in memory."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


if __name__ == "__main__":
    main(sys.argv[1:])
