"""The edge as a program: its applications, opened together, and their doors until it is told to stop.

The Unix socket asks the first application. The Open Inference Protocol's doors, where any are opened, ask all.

Words owned here: setup.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from edgesight.host.applications.applications import Application, Applications, check_name
from edgesight.host.audits import Auditing
from edgesight.host.doors.bounds import of_board
from edgesight.host.edge import HELD_BYTES, Edge, EdgeError, open_edge, picture_decoder
from edgesight.host.errors import EdgeSightError
from edgesight.host.images import give_back_memory
from edgesight.host.link.addresses import joined
from edgesight.host.process import machine_memory, run_until_told
from edgesight.host.queries import Door

if TYPE_CHECKING:
    from edgesight.host.doors.serve import Options

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """An application that is to be opened.

    Attributes:
        package: its kernel package's folder.
        fabric: as `edgesight.host.edge.open_edge` takes it.
        name: by which it is asked; None: its kernel's.
        accuracy: that is meant where a request says none; None: its highest target.
        datacenter: host and port; None: it answers alone.
        keys_folder: of the edge's keys for that data centre.
    """

    package: Path
    fabric: str
    name: str | None = None
    accuracy: float | None = None
    datacenter: tuple[str, int] | None = None
    keys_folder: Path | None = None


def run_edge(
    setups: Sequence[Setup],
    socket_path: Path,
    *,
    power: str | None = None,
    hedge_budget: float | None = None,
    audits: Auditing | None = None,
    doors: Options | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Answer until SIGINT or SIGTERM; a second one ends at once.

    `announce` gets a line for each application and one for the doors, once queries are taken. Of several applications
    each has a folder of its own, called as it, below that of the `audits`. All else, and what it raises, is as for
    `open_edge`; EdgeError, too, where the setups cannot be opened together, and DoorError where a door cannot be.
    """
    _check_together(setups, power)
    give_back_memory()
    if doors is not None:
        doors = dataclasses.replace(doors, bounds=doors.bounds or of_board(machine_memory()))
    decoder = picture_decoder()
    opened = [
        open_edge(
            setup.package,
            setup.fabric,
            datacenter=setup.datacenter,
            keys_folder=setup.keys_folder,
            power=power,
            hedge_budget=hedge_budget,
            audits=_audits_of(setup, setups, audits),
            decoder=decoder,
            held_bytes=HELD_BYTES // len(setups),
        )
        for setup in setups
    ]

    async def main(told: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            edges = [await stack.enter_async_context(one) for one in opened]
            named = _named(setups, edges)
            served = Applications(named)
            _reload_when_told(named)
            lines = _ready(named, setups, socket_path)
            if doors is not None:
                from edgesight.host.doors.serve import open_doors  # needs what an edge without doors does not

                addresses = await stack.enter_async_context(open_doors(served, doors))
                lines.append(f"edge: {addresses.told()}")
            failing = asyncio.get_running_loop().create_task(served.failed())
            failing.add_done_callback(lambda _: told.set())
            try:
                await Door(edges[0]).serve(socket_path, told, lambda: announce("\n".join(lines)))
                if failing.done():
                    failing.result()  # a fault of ours: let it be seen
            finally:
                served.drain()
                failing.cancel()
                await asyncio.gather(failing, return_exceptions=True)

    try:
        run_until_told(main)
    finally:
        decoder.shutdown(wait=False, cancel_futures=True)


def _audits_of(setup: Setup, setups: Sequence[Setup], audits: Auditing | None) -> Auditing | None:
    """Where a setup's audits are kept: in the folder itself, or below it where there are several."""
    if audits is None or len(setups) == 1:
        return audits
    return dataclasses.replace(audits, folder=audits.folder / (setup.name or setup.package.resolve().name))


def _check_together(setups: Sequence[Setup], power: str | None) -> None:
    """Raise EdgeError where these cannot be opened by one program."""
    for setup in setups:
        if setup.name is not None:
            check_name(setup.name)
    if power is not None and len(setups) > 1:
        raise EdgeError(
            "a sensor cannot tell several applications' energy apart: start an edge for each, or leave it out"
        )
    keys = [setup.keys_folder.resolve() for setup in setups if setup.datacenter and setup.keys_folder]
    for folder in keys:
        if keys.count(folder) > 1:
            raise EdgeError(
                f"several applications share the keys in {folder}, by which a data centre takes them for one edge: "
                "enroll one for each, and say keys=FOLDER of each"
            )


def _named(setups: Sequence[Setup], edges: Sequence[Edge]) -> dict[str, Application]:
    """The applications by name; raises EdgeError where two have one."""
    named: dict[str, Application] = {}
    for setup, edge in zip(setups, edges, strict=True):
        name = setup.name or edge.kernel.name
        if name in named:
            raise EdgeError(f"two applications are called {name}: name them by --application NAME=PACKAGE")
        named[name] = Application(edge, setup.accuracy, setup.fabric)
    return named


def _ready(names: Iterable[str], setups: Sequence[Setup], socket_path: Path) -> list[str]:
    """A line for each application; the first is asked at the socket."""
    lines = []
    for name, setup, at in zip(names, setups, chain([f" at {socket_path}"], repeat("")), strict=False):
        where = joined(*setup.datacenter) if setup.datacenter is not None else "none"
        lines.append(f"edge: {name} on {setup.fabric}{at}, data centre {where}")
    return lines


def _reload_when_told(applications: Mapping[str, Application]) -> None:
    """Reload the calibrations on SIGHUP. Not at a terminal: there it ends the edge, as the terminal is gone."""
    if sys.stderr.isatty():
        return
    reloading: set[asyncio.Task[None]] = set()

    async def reload_them() -> None:
        for name, application in applications.items():
            try:
                made = await application.edge.reload()
            except EdgeSightError as error:
                logger.warning("%s goes on with the thresholds that it has: %s", name, error)
            else:
                logger.info("%s took thresholds over that rest on pictures like %s", name, made.rests_on.distribution)

    def begin() -> None:
        reloading.add(task := asyncio.get_running_loop().create_task(reload_them()))
        task.add_done_callback(reloading.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)
