"""How a gRPC door closes, so that who asks is told either what came of it or that the server is gone: UNAVAILABLE.

The library's own way tells whoever has sent a call that nobody has begun with yet that the call was cancelled, which
clients take for their own doing and do not repeat. So calls that were begun are answered first, new ones are refused,
and then the connections end as they would with the program: what is still on its way finds nobody.

Words owned here: begun (a call that a handler has).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from typing import Any

from edgesight.host.doors.served import Code, Refused

_DESCRIPTORS = "/proc/self/fd"  # this process's, on Linux; elsewhere nothing is cut


class Calls:
    """Those that a door has begun and owes an answer, and whether it begins more."""

    def __init__(self) -> None:
        """Of a door that is open."""
        self.closing = asyncio.Event()
        self._begun: set[asyncio.Task[Any]] = set()

    def begin(self) -> None:
        """This task has a call, until its answer has gone; raises Refused where the door closes."""
        if self.closing.is_set():
            raise Refused(Code.UNAVAILABLE, "the server is closing: ask again, or another", 1.0)
        self.watch()

    def watch(self) -> None:
        """As `begin`, of a call that is answered at any time."""
        task = asyncio.current_task()
        assert task is not None
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def over(self, seconds: float) -> None:
        """Begin nothing more, and wait until what was begun has ended, for so many seconds at the most."""
        self.closing.set()
        if self._begun:
            await asyncio.wait(self._begun, timeout=seconds)


def cut(port: int) -> None:
    """End all connections that this process has accepted at a TCP port."""
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(_DESCRIPTORS):
            with contextlib.suppress(OSError):
                _cut(int(descriptor), port)


def _cut(descriptor: int, port: int) -> None:
    """End the connection of a descriptor, if it is one at that port; may raise OSError where it is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return
    with socket.socket(fileno=os.dup(descriptor)) as one:
        accepted = one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
        if accepted and one.getsockname()[1] == port:
            one.getpeername()  # what listens has no other end
            one.shutdown(socket.SHUT_RDWR)
