"""Adaptation from its start to its end, behind doors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgesight.host.adapt.lanes import Executor
from edgesight.host.adapt.planning import Planner
from edgesight.host.adapt.service import Adapting
from edgesight.host.process import run_until_told

if TYPE_CHECKING:
    from edgesight.host.doors.serve import Options


def serve(
    planner: Planner,
    new_executor: Callable[[], Executor],
    options: Options,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends at once.

    The executor is made in the loop that it runs in. `announce` gets a line once frames are taken. Raises AdaptError,
    or DoorError where a door does not open.
    """
    from edgesight.host.doors.serve import new_event_loop, open_doors

    async def main(told: asyncio.Event) -> None:
        executor = new_executor()
        async with Adapting(planner, executor) as served, open_doors(served, options) as addresses:
            what = f"{len(planner.models)} models ({executor.name}) on {', '.join(planner.gpus)}"
            announce(f"adaptation: {addresses.told()}, {what}")
            await told.wait()
            served.close_to_new()

    run_until_told(main, new_event_loop)
