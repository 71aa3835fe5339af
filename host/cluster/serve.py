"""A network over a cluster from its file to its end, behind doors; a newer file in its place takes over."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesight.host.cluster.engine import InPieces, Read
from edgesight.host.cluster.pipeline import PipelineError
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.repository import BackEnd, Repository, Settings, Version
from edgesight.host.doors.served import Caller, Refused
from edgesight.host.process import run_until_told

if TYPE_CHECKING:
    from edgesight.host.doors.serve import Options

LOOK_S: Final = 1.0  # between looks whether there is a newer file
_OWN: Final = Caller("its file")

logger = logging.getLogger(__name__)


class OneNetwork(Repository):
    """A repository of one network, whose versions are what its file holds, counted from 1 on."""

    def __init__(self, path: Path) -> None:
        """Of the ONNX file at `path`, which is called as it is."""
        super().__init__(None, BackEnd(path.stem, path))
        self._seen: list[tuple[int, ...]] = []  # files, by what tells them apart
        self._last: tuple[int, ...] = ()  # the one of them that was read last

    def versions(self, name: str, settings: Settings | None = None) -> list[Version]:
        """As `Repository` says: the file as it is now."""
        if settings is not None:
            raise ModelError(f"model {name}: its file says all that there is to say: leave `config` out")
        (found,) = super().versions(name)
        if found.identity not in self._seen:
            self._seen.append(found.identity)
        self._last = found.identity
        return [dataclasses.replace(found, number=str(self._seen.index(found.identity) + 1))]

    def changed(self) -> bool:
        """Whether the file is another than was read last; one that was there before may be back."""
        (name,) = self.names()
        try:
            (found,) = super().versions(name)
        except ModelError:  # it is being replaced
            return False
        return found.identity != self._last


def serve(library: Any, path: Path, read: Read, options: Options, announce: Callable[[str], None] = print) -> None:
    """Serve the network at `path` until SIGINT or SIGTERM; a second one ends at once.

    It runs on the cluster that Ray's `library` has joined. `announce` gets a line once requests are taken. Raises
    EdgeSightError where the network does not run there, or a door does not open.
    """
    from edgesight.host.doors.serve import open_doors

    async def main(told: asyncio.Event) -> None:
        repository = OneNetwork(path)
        async with (
            DataCentre(repository, InPieces(library, read)) as centre,
            open_doors(centre, options) as addresses,
        ):
            starting, ending = asyncio.ensure_future(centre.start()), asyncio.ensure_future(told.wait())
            try:
                await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    (entry,) = centre.index(False)
                    if entry.state != "READY":
                        raise PipelineError(entry.reason)
                    announce(f"cluster: {addresses.told()}, network {entry.name}")
                    await _replace_until(told, repository, centre)
            finally:
                centre.close_to_new()
                for task in (starting, ending):
                    task.cancel()
                await asyncio.gather(starting, ending, return_exceptions=True)

    run_until_told(main)


async def _replace_until(told: asyncio.Event, repository: OneNetwork, centre: DataCentre) -> None:
    """Go over to each newer file, until it is `told` that all ends."""
    (name,) = repository.names()
    while not told.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(told.wait(), LOOK_S)
        if not told.is_set() and await asyncio.to_thread(repository.changed):
            try:
                await centre.load(name, {}, _OWN)
            except Refused as error:
                logger.error("%s: the version before stays", error)
