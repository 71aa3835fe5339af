"""What a door's log tells of requests: at the level DEBUG a line for each inference, in JSON.

So that a trace can be followed from an asker to an edge and a data centre by their logs alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Iterator

from edgesight.host.doors.served import Caller, Refused

_LONGEST = 64  # characters of a stranger's text; so the line stays whole, and JSON

logger = logging.getLogger(__name__)


class Gone(Exception):
    """The client went away."""


def _printable(text: str) -> str:
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text[:_LONGEST])


@contextlib.contextmanager
def told(model: str, caller: Caller) -> Iterator[None]:
    """Tell of the request for `model` that is answered meanwhile.

    `code` is gRPC's, by which HTTP's statuses go; `trace` the W3C trace id, null without one.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        yield
        return
    began, code = time.perf_counter(), "OK"
    try:
        yield
    except Refused as error:
        code = error.code.name
        raise
    except (Gone, asyncio.CancelledError):
        code = "CANCELLED"
        raise
    except BaseException:
        code = "INTERNAL"
        raise
    finally:
        line = {
            "trace": caller.trace.split("-")[1] if caller.trace is not None else None,
            "model": _printable(model),
            "caller": _printable(caller.name),
            "code": code,
            "milliseconds": round((time.perf_counter() - began) * 1e3, 3),
        }
        logger.debug("%s", json.dumps(line))
