"""The executor that runs nothing: a batch takes the time that the profile declares, and answers say `declared`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from edgesight.host.adapt.lanes import Outputs
from edgesight.host.adapt.planning import Model
from edgesight.host.doors.served import Refused


class Declared:
    """The `edgesight.host.adapt.lanes.Executor` of a GPU that is not here."""

    name = "declared"

    async def start(self) -> None:
        """There is nothing to load."""

    async def run(self, gpu: str, model: Model, frames: Sequence[bytes]) -> Sequence[Outputs | Refused]:
        """No outputs, after the declared time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + 1e-3 * model.latency_ms[len(frames) - 1]
        while (left := until - loop.time()) > 0:  # timers have whole milliseconds
            await asyncio.sleep(left)
        return [{}] * len(frames)

    async def end(self) -> None:
        """There is nothing to give back."""
