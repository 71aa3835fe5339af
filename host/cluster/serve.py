"""A network over a cluster from its file to its end, behind doors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgesight.host.cluster.served import ClusterModel, Newest
from edgesight.host.process import run_until_told

if TYPE_CHECKING:
    from edgesight.host.doors.serve import Options


def serve(library: Any, newest: Newest, options: Options, announce: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends at once. `announce` gets a line once requests are taken.

    Raises EdgeSightError where the network does not run on the cluster that Ray's `library` has joined, or a door does
    not open.
    """
    from edgesight.host.doors.serve import open_doors

    async def main(told: asyncio.Event) -> None:
        model = ClusterModel(library, newest)
        async with open_doors(model, options) as addresses:
            starting, ending = asyncio.ensure_future(model.start()), asyncio.ensure_future(told.wait())
            try:
                await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    announce(f"cluster: {addresses.told()}, network {newest.name}")
                    await told.wait()
            finally:
                for task in (starting, ending):
                    task.cancel()
                await asyncio.gather(starting, ending, return_exceptions=True)
                await model.drain()

    run_until_told(main)
