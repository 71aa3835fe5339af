"""A process that runs until it is told to stop, and then stops cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable


def run_until_told(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `serve` with an event that SIGINT or SIGTERM sets; a second signal ends the process at once.

    `serve` is expected to clean up and return soon after the event is set.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()

        def stop(number: int) -> None:
            if told.is_set():
                os._exit(128 + number)  # what a shell reports of a process that a signal ended
            told.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        await serve(told)

    asyncio.run(main())
