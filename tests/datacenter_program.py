"""`edgesight datacenter` as its users start it, in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_ENDS_S = 120.0


class Program:
    """A data centre that was started by its command."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-u", "-m", "edgesight", "datacenter", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.lines: list[str] = []
        while not (self.lines and ", models " in self.lines[-1]):
            line = self.process.stdout.readline()
            if not line:
                assert self.process.stderr is not None
                raise AssertionError(self.process.stderr.read())
            self.lines.append(line.strip())
        doors, _, self.models = self.lines[-1].removeprefix("data centre: ").partition(", models ")
        self.at = dict(door.split(" at ") for door in doors.split(", "))

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=_ENDS_S)
        return self.process.returncode

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[Program]:
    program = Program(*arguments)
    try:
        yield program
    finally:
        program.process.kill()
        program.process.communicate()
