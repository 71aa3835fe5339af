"""The demo that goes on: an edge on simulated hardware, a lossy link, a data centre, and pages that show both.

Test pictures are asked one after the other, under each accuracy target in turn. The edge runs in this process, the data
centre in one of its own, which may be ended and started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesight.bench.link.programs import Program
from edgesight.host.applications.applications import Application, Applications
from edgesight.host.audits import Auditing
from edgesight.host.doors.live import PATH
from edgesight.host.doors.serve import Options, open_doors
from edgesight.host.edge import Edge, EdgeError, open_edge
from edgesight.host.fabric.base import FabricError
from edgesight.host.files import OutputError
from edgesight.host.images import Picture
from edgesight.host.link.addresses import joined
from edgesight.host.package import Package
from edgesight.host.process import run_until_told
from edgesight.quant.splits import Split
from edgesight.sim.link.options import EmulationError, LinkOptions
from edgesight.sim.link.relay import RelayLink
from edgesight.sim.link.trust import make_trust

DEADLINE_S = 0.5
PICTURES_PER_S = 5.0
_HOST = "127.0.0.1"
_DELAY_S = 0.01  # of the emulated link, each way
_AUDIT_SHARE = 0.05  # more than an edge's, so that there is something to see soon
_AT_ONCE = 32  # pictures that are not answered yet, at most


@dataclass(frozen=True)
class Live:
    """What runs.

    Attributes:
        edge: address of the edge's page.
        datacenter: address of the data centre's.
        program: the data centre.
        application: the edge, as its door asks it.
    """

    edge: str
    datacenter: str
    program: Program
    application: Edge


@contextlib.asynccontextmanager
async def live(
    package: Package, out: Path, loss: float, http: tuple[str, int] = (_HOST, 0), fabric: str = "verilated"
) -> AsyncIterator[Live]:
    """All of it, with a log and audits in the folder `out`; `http` is where the edge's page is to be, on loopback.

    Raises OutputError where `out` can be no folder, EmulationError where the data centre does not start, and what
    `open_edge` and `open_doors` do.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: can be no folder ({error.strerror}): name another place with --out") from error
    with _free(socket.SOCK_DGRAM) as port, _free(socket.SOCK_STREAM) as page:
        pass  # the data centre has them through all of its lives
    async with contextlib.AsyncExitStack() as stack:
        trust = make_trust(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        words = ["--keys", str(trust.datacenter), "--port", str(port), "--http", joined(_HOST, page)]
        program = Program(
            "data centre",
            ["datacenter", "serve", str(package.path), *words],
            "data centre: HTTP",
            out / "datacenter.log",
        )
        stack.push_async_callback(_end, program)
        await program.start()
        link = await stack.enter_async_context(RelayLink((_HOST, port), LinkOptions(loss=loss, delay_s=_DELAY_S)))
        opening = open_edge(
            package.path,
            fabric,
            datacenter=(link.address[0], link.address[1]),
            keys_folder=trust.edge,
            audits=Auditing(out / "audits", _AUDIT_SHARE),
        )
        edge = await stack.enter_async_context(opening)
        served = Applications({package.kernel.name: Application(edge, fabric=fabric)})
        addresses = await stack.enter_async_context(open_doors(served, Options(grpc=None, http=http)))
        assert addresses.http is not None
        edge_page, page_there = (f"http://{joined(*at)}{PATH}" for at in (addresses.http, (_HOST, page)))
        yield Live(edge_page, page_there, program, edge)


async def show(edge: Edge, test: Split, per_second: float = PICTURES_PER_S) -> None:
    """Ask the pictures of `test` in turn, for ever; where the edge falls behind, fewer."""
    targets = itertools.cycle(edge.calibration.targets)
    asking: set[asyncio.Task[None]] = set()

    async def ask(index: int) -> None:
        photograph = None
        if test.larger is not None:
            photograph = (await asyncio.to_thread(test.photographs.__getitem__, np.array([index])))[0]
        with contextlib.suppress(EdgeError, FabricError):  # the page tells how many got no answer
            await edge.ask(Picture(test.images[index], (), photograph), next(targets), DEADLINE_S)

    for index in itertools.cycle(range(len(test))):
        if len(asking) < _AT_ONCE:
            task = asyncio.create_task(ask(index))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.sleep(1 / per_second)


def serve_demo(
    package: Package, test: Split, out: Path, loss: float, http: tuple[str, int], announce: Callable[[Live], None]
) -> None:
    """Show `test` until SIGINT or SIGTERM, be it before all runs; `announce` is told where the pages are.

    The rest as of `live`.
    """

    async def run() -> None:
        async with live(package, out, loss, http) as running:
            announce(running)
            await show(running.application, test)

    async def main(told: asyncio.Event) -> None:
        running, ending = asyncio.create_task(run()), asyncio.create_task(told.wait())
        await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        for task in (running, ending):
            task.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        # A terminal's Ctrl-C ends the data centre, too, be it while it starts.
        with contextlib.suppress(asyncio.CancelledError, *([EmulationError] if told.is_set() else [])):
            await running  # a fault of ours: let it be seen

    run_until_told(main)


async def _end(program: Program) -> None:
    if program.started and program.ended() is None:
        await program.end(signal.SIGTERM)


@contextlib.contextmanager
def _free(kind: socket.SocketKind) -> Iterator[int]:
    """A port that nobody has; it is kept free of others until this is left."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((_HOST, 0))
        yield taken.getsockname()[1]
