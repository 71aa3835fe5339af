"""What waits for the congestion window: messages with deadlines, packed into datagrams when they may go.

Messages of several requests that wait at once share datagrams, so that a lost packet hurts several images a little
rather than one badly; two strips of one image share none. Nothing waits for a datagram to fill.

Words owned here: send queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

_MOST = 4_096  # messages
_LOOK_AHEAD = 256  # messages that are tried for the room left in a datagram


class Waiting(NamedTuple):
    """A message."""

    deadline: float  # of the loop's clock
    request: int
    message: bytes
    again: bool  # whether it goes once more when it got lost


class SendQueue:
    """Messages in the order in which they go, at most `_MOST`: the oldest make room."""

    def __init__(self) -> None:
        """Nothing waits."""
        self.dropped = 0  # messages that became late, or made room
        self.bytes = 0  # of the messages that wait
        self._waiting: deque[Waiting] = deque()

    def __len__(self) -> int:
        """Count of messages that wait."""
        return len(self._waiting)

    def add(self, deadline: float, request: int, messages: Iterable[bytes], again: bool = False) -> None:
        """Let `messages` of `request` wait until the loop's time passes `deadline`; lost ones may go `again`."""
        for message in messages:
            self._waiting.append(Waiting(deadline, request, message, again))
            self.bytes += len(message)
        while len(self._waiting) > _MOST:
            self._take()
            self.dropped += 1

    def add_again(self, lost: Iterable[Waiting]) -> None:
        """Let messages that got lost go before all others."""
        for waiting in lost:
            self._waiting.appendleft(waiting)
            self.bytes += len(waiting.message)

    def forget(self, request: int) -> None:
        """Take out what waits of `request`."""
        kept = [waiting for waiting in self._waiting if waiting.request != request]
        self.bytes = sum(len(waiting.message) for waiting in kept)
        self._waiting = deque(kept)

    def waits(self, request: int) -> bool:
        """Whether anything of `request` waits."""
        return any(waiting.request == request for waiting in self._waiting)

    def next(self, now: float, largest: int) -> list[Waiting]:
        """What shares the datagram that goes now, of at most `largest` bytes unless a message has more; may be none."""
        while self._waiting and self._waiting[0].deadline <= now:
            self._take()
            self.dropped += 1
        if not self._waiting:
            return []
        taken = [self._take()]
        room = largest - len(taken[0].message)
        requests = {taken[0].request}
        passed: list[Waiting] = []
        smallest = len(taken[0].message) // 2  # another of half the size is worth looking for
        while self._waiting and len(passed) < _LOOK_AHEAD and room >= max(smallest, 1):
            waiting = self._take()
            if waiting.deadline <= now:
                self.dropped += 1
            elif waiting.request in requests or len(waiting.message) > room:
                requests.add(waiting.request)  # none overtakes it
                passed.append(waiting)
                self.bytes += len(waiting.message)
            else:
                taken.append(waiting)
                requests.add(waiting.request)
                room -= len(waiting.message)
        self._waiting.extendleft(reversed(passed))
        return taken

    def _take(self) -> Waiting:
        waiting = self._waiting.popleft()
        self.bytes -= len(waiting.message)
        return waiting
