"""How a command ends: with one line and a status, as text for people or JSON for machines, and soon after Ctrl-C.

The rule for every command: what is printed for a person goes to standard output, progress and logs to standard error;
with `--json`, standard output holds one JSON document (of a command that answers several pictures, one a line) and
nothing else, and an error is `{"error": "..."}`. An error
is one line on standard error and status 1 (2 where the command line itself is wrong); Ctrl-C is one line and 130.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from edgesight.host.errors import EdgeSightError

INTERRUPTED = 130  # what a shell reports of a process that SIGINT ended
_GRACE_S = 2.0  # for cleaning up after the first Ctrl-C


class ArgumentError(EdgeSightError, ValueError):
    """A value on the command line that cannot be: names the option and what would be right."""


def end() -> NoReturn:
    """Say that the program was stopped by Ctrl-C and end it, with the processes that it started."""
    _ending.acquire()  # never released: one thread ends the program
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for process in multiprocessing.active_children():
            process.kill()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print("\nstopped", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


_ending = threading.RLock()


def watch_interrupts() -> None:
    """See to it, from here on, that Ctrl-C ends the program in seconds whatever it does, at once at the second one.

    Python itself only looks at signals between two steps of the main thread, which may sit in a library's loop, wait
    for a worker, or clean up for long. For the main thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        while signal.SIGINT not in os.read(reader, 64):
            pass
        select.select([reader], [], [], _GRACE_S)
        end()

    threading.Thread(target=watch, daemon=True, name="interrupts").start()


@contextlib.contextmanager
def nothing_to_clean_up() -> Iterator[None]:
    """Meanwhile Ctrl-C ends the program on the spot: an exception that comes into torch's start makes it abort."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:  # a shell's, of a program in the background: it stays so
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: end())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def by_interrupt(error: BaseException | None) -> bool:
    """Whether an exception came of Ctrl-C: typer makes others of it, not the same ones in every version."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def print_json(found: Any) -> None:
    """Print a result for machines: plain values, or a pydantic model."""
    from pydantic import BaseModel  # here: before it is there, Ctrl-C must be watched for

    if isinstance(found, BaseModel):
        found = found.model_dump(mode="json")
    print(json.dumps(found, indent=1))


@contextlib.contextmanager
def shown(json_: bool) -> Iterator[None]:
    """Meanwhile what is printed for people goes to standard error if `json_`, to standard output otherwise."""
    if not json_:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def json_asked(arguments: list[str]) -> bool:
    """Whether a command line asks for JSON, be it otherwise right or wrong."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def fail(message: str, json_: bool, status: int = 1) -> NoReturn:
    """End with `message`: a line on standard error, and a document on standard output if `json_`."""
    if json_:
        print(json.dumps({"error": message}))  # on one line, as who reads answers line by line needs it
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
