"""Work that ends when its time is over, whatever it calls: a child process, which is killed then.

A solver looks at its clock where its authors thought of it, and may pass its limit many times over in between. What the
work has reported by then is what counts.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def best_within(
    until: float, work: Callable[[Callable[[Result], None]], None], *, small: bool = False
) -> Result | None:
    """What `work` reported last before the moment `until` (of `time.monotonic`), or before it was done; None: nothing.

    `work` is given the function to report with, each time with something better. What it raises is raised here.
    Work that is too `small` to be late runs in this process; so does all of it where none can be forked, and in such a
    child itself.
    """
    if small or "fork" not in multiprocessing.get_all_start_methods() or multiprocessing.current_process().daemon:
        found: list[Result] = []
        work(found.append)
        return found[-1] if found else None
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def run() -> None:
        try:
            work(lambda result: theirs.send((result, None)))
        except Exception as error:
            theirs.send((None, error))
        finally:
            theirs.close()

    child = context.Process(target=run, daemon=True)
    child.start()
    theirs.close()
    best: Result | None = None
    try:
        while ours.poll(max(0.0, until - time.monotonic())):
            result, error = ours.recv()
            if error is not None:
                raise error
            best = result
    except EOFError:  # it is done
        pass
    finally:
        child.kill()
        child.join()
        ours.close()
    return best
