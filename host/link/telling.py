"""What is said of the other end: its words cut short and made harmless, and no more lines of a log than people read.

Words owned here: stranger (who has not proved who it is).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

OF_STRANGERS = 100  # characters of what anybody may have said
OF_KNOWN = 400  # characters of what the other end said after it had proved who it is: its remedies are longer
_AT_ONCE = 5  # warnings that are written as they come
_EVERY = 60.0  # seconds from one line to the next beyond that


def printable(said: str, most: int = OF_STRANGERS) -> str:
    """What the other end said, fit for a log or a terminal: at most `most` characters, none that moves a cursor.

    What is not printable becomes a question mark, a line break too.
    """
    cut = said if len(said) <= most else said[: most - 3] + "..."
    return "".join(character if character.isprintable() else "?" for character in cut)


class Sparing:
    """Writes lines that others can cause: a few as they come, then one a minute that counts the others."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was written yet; `clock` tells seconds."""
        self._clock = clock
        self._logger = logger
        self._allowed = float(_AT_ONCE)
        self._at = clock()
        self._untold = 0
        self._last = ""
        self._level = logging.WARNING
        self._timer: asyncio.TimerHandle | None = None

    def warning(self, message: str) -> None:
        """Write `message` as a warning, or count it; inside an asyncio loop."""
        self._say(logging.WARNING, message)

    def info(self, message: str) -> None:
        """The same where nothing is wrong; not for who counts warnings, too."""
        self._say(logging.INFO, message)

    def _say(self, level: int, message: str) -> None:
        now = self._clock()
        self._allowed = min(self._allowed + (now - self._at) / _EVERY, float(_AT_ONCE))
        self._at = now
        if self._timer is None and self._allowed >= 1.0:
            self._allowed -= 1.0
            self._logger.log(level, "%s", message)
            return
        self._untold += 1
        self._level = level
        self._last = message
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.tell)

    def tell(self) -> None:
        """Write how many warnings were only counted so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._untold:
            what = "warnings" if self._level >= logging.WARNING else "lines"
            self._logger.log(
                self._level, "%d more %s like the last ones; the newest: %s", self._untold, what, self._last
            )
        self._untold = 0
