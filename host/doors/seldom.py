"""What takes time to make and is asked for by whoever likes: made at most so often that little of the time goes to it.

Words owned here: seldom.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

_SHARE = 0.1  # of the time, that making takes at most

T = TypeVar("T")


class Seldom(Generic[T]):
    """Gives what was made last, as long as making it anew would take too much of the time."""

    def __init__(self, make: Callable[[], T]) -> None:
        """By `make`."""
        self._make = make
        self._made: T | None = None
        self._again = 0.0  # monotonic clock, seconds

    def get(self) -> T:
        """It."""
        begun = time.monotonic()
        if self._made is None or begun >= self._again:
            self._made = self._make()
            ended = time.monotonic()
            self._again = ended + (ended - begun) / _SHARE
        return self._made
