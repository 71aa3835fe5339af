"""What a run of the bench is given, what a section tells beside its checks, and how a data centre is started.

Words owned here: figure (a number that is told without a bar).
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesight.bench.link.programs import Program
from edgesight.host.obtained import Obtained

READY = "data centre: "  # begins the line that says which doors are open


@dataclass(frozen=True)
class Asked:
    """What there is to measure with.

    Attributes:
        image_client: tritonclient's `image_client.py`; None: the same calls are made through its library.
        peers: whether other servers are installed, each in an environment of its own, and measured beside.
    """

    image_client: Path | None = None
    peers: bool = True


@dataclass(frozen=True)
class Figure:
    """A number that is told beside the checks. A section gives its own in its body, as `told`."""

    name: str
    value: float
    unit: str
    obtained: Obtained


@dataclass(frozen=True)
class Centre:
    """A data centre that runs as a program; its doors as HOST:PORT, by kind: gRPC, HTTP, health."""

    program: Program
    doors: Mapping[str, str]

    @property
    def grpc(self) -> str:
        """HOST:PORT."""
        return self.doors["gRPC"]

    @property
    def http(self) -> str:
        """HOST:PORT."""
        return self.doors["HTTP"]

    def workers(self) -> list[int]:
        """Processes that it has started: one a model that is in memory."""
        pid = self.program.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.asynccontextmanager
async def data_centre(log: Path, *arguments: object, module: Sequence[str] = ("edgesight",)) -> AsyncIterator[Centre]:
    """`edgesight datacenter serve` with the given words and every door on loopback, until this is left.

    `module` is what Python runs in the place of `edgesight`, and its own first words. Raises EmulationError where the
    program does not start.
    """
    words = [str(argument) for argument in arguments]
    for kind in ("--http", "--grpc", "--health"):
        words += [kind, "127.0.0.1:0"]
    words = [*module[1:], "datacenter", "serve", *words]
    program = Program("data centre", words, READY, log, module=module[0])
    try:
        line = await program.start()
        doors = line.removeprefix(READY).partition(", models ")[0]
        yield Centre(program, dict(door.split(" at ") for door in doors.split(", ")))
    finally:
        if program.started and program.ended() is None:
            await program.end(signal.SIGTERM)


def told(*figures: Figure) -> list[dict[str, Any]]:
    """Figures as a section's body carries them."""
    return [{"name": one.name, "value": one.value, "unit": one.unit, "obtained": one.obtained} for one in figures]
