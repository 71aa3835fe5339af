"""A process that runs until it is told to stop, and then stops cleanly; and what it writes meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

_ROOM = __name__.rpartition(".")[0]  # the loggers of all modules beside this one are below it
_LONGEST = 500  # characters of a line


def machine_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def write_log() -> None:
    """Write what this program has to say to standard error, a line each with its time; of libraries errors only.

    Where the environment says EDGESIGHT_LOG=debug, also what is for whoever looks for a fault.

    Python's own warnings are the libraries', and would go there without a time: a packet can cause some. So can a
    stranger some of gRPC's, which goes by its environment when it is imported first.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logging.captureWarnings(True)
    debugging = os.environ.get("EDGESIGHT_LOG", "").lower() == "debug"
    logging.getLogger(_ROOM).setLevel(logging.DEBUG if debugging else logging.INFO)


class _OneLine(logging.Formatter):
    """Whoever's words a line quotes, it stays one line, and moves no terminal's cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, cut at `_LONGEST` characters."""
        line = super().formatMessage(record)[:_LONGEST]
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def run_until_told(
    serve: Callable[[asyncio.Event], Awaitable[None]],
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run `serve` with an event that SIGINT or SIGTERM sets; a second signal ends the process at once.

    It is expected to clean up and return soon after the event is set. `new_loop` makes another loop than Python's own,
    which takes Python 3.11.
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

    if new_loop is None:
        asyncio.run(main())
        return
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
