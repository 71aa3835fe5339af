"""An edge on csim and its data centre as processes, joined by the real link on this machine.

Words owned here: pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgesight.bench.link.programs import Program
from edgesight.hls.csim import build_library
from edgesight.host.answer import Answer
from edgesight.host.errors import EdgeSightError
from edgesight.host.link.addresses import host_and_port
from edgesight.host.package import Package
from edgesight.host.queries import query
from edgesight.sim.link.trust import make_trust

DEADLINE_MS = 5_000.0  # of a query: what a data centre that shares this machine's cores may take
_CONNECTED = "connected to the data centre"  # what an edge's log says
_CONNECTED_WITHIN_S = 60.0
_AT_ONCE = 4


class PairError(EdgeSightError):
    """An edge that does not get to its data centre: says where the logs are."""


@dataclass(frozen=True)
class Pair:
    """The two that run: the edge, its data centre, and the socket that the edge is asked at."""

    edge: Program
    datacenter: Program
    socket: Path

    async def ask(self, pictures: Sequence[Path], accuracy: float) -> list[Answer]:
        """The answers to pictures' files; raises what `edgesight.host.queries.query` does."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(_AT_ONCE, "asker") as threads:
            asked = [
                loop.run_in_executor(threads, query, self.socket, picture, accuracy, DEADLINE_MS)
                for picture in pictures
            ]
            return list(await asyncio.gather(*asked))


@contextlib.asynccontextmanager
async def pair(package: Package, folder: Path) -> AsyncIterator[Pair]:
    """Both of them, connected, with their logs in `folder`.

    Raises EmulationError where one does not start, or PairError where they do not get to each other.
    """
    build_library(package)
    folder.mkdir(parents=True, exist_ok=True)
    trust, socket = make_trust(folder / "trust"), folder / "edge.sock"
    serve = ["datacenter", "serve", str(package.path), "--keys", str(trust.datacenter), "--port", "0"]
    datacenter = Program("data centre", serve, "data centre:", folder / "datacenter.log")
    started: list[Program] = []
    try:
        _, port = host_and_port((await datacenter.start()).split()[-1])
        started.append(datacenter)
        ask = ["edge", str(package.path), "--fabric", "csim", "--socket", str(socket), "--keys", str(trust.edge)]
        edge = Program("edge", [*ask, "--datacenter", f"127.0.0.1:{port}"], "edge:", folder / "edge.log")
        await edge.start()
        started.append(edge)
        both = Pair(edge, datacenter, socket)
        await _connected(both)
        yield both
    finally:
        for program in reversed(started):
            if program.ended() is None:
                await program.end(signal.SIGTERM)


async def _connected(both: Pair) -> None:
    until = time.monotonic() + _CONNECTED_WITHIN_S
    while _CONNECTED not in both.edge.log.read_text(errors="replace"):
        if time.monotonic() > until:
            raise PairError(f"the edge does not get to its data centre: see {both.edge.log} and {both.datacenter.log}")
        await asyncio.sleep(0.05)
