"""Waiting in tests: for what is to happen, never for a time within which it may have happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

WITHIN_S = 20.0  # seconds that something may take on a busy machine
_EVERY_S, _AT_ONCE = 0.001, 10  # between two looks, but for the first so many, which are each turn of the loop


async def until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Let the loop work until `condition` holds; fails where it does not `within_s` seconds of the loop's time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    looks = 0
    while not condition():
        assert loop.time() < end, f"what is waited for did not happen within {within_s:g} s"
        await asyncio.sleep(_EVERY_S if looks > _AT_ONCE else 0)  # sleeps: between two looks
        looks += 1


def wait_until(condition: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """The same outside a loop."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"what is waited for did not happen within {within_s:g} s"
        time.sleep(_EVERY_S)  # sleeps: between two looks
