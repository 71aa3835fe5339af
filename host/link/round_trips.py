"""Round trips lately: the least, the longest, and whether a queue stands.

Words owned here: standing (a round trip: what is left of several when what each has to itself is taken off).
"""

from __future__ import annotations

from collections import deque

QUEUE = 1 / 8  # least round trips of delay that are a queue
LEAST_QUEUE = 0.002  # seconds of delay that are one; less may be the ends' clocks and schedulers
_BIN = 10.0  # seconds of one minimum and maximum
_BINS_OF_LEAST = 6  # bins that the least round trip is remembered: a path that became longer is known in a minute
_BINS_OF_MOST = 2
_STALE = 1.1  # the least round trip wants to be seen again every bin, to within this factor
_FULL_QUEUE = 0.5  # share of the longest queue delay lately from which on the queue may be full


class RoundTrips:
    """What round trips were like lately.

    `least` and `most` are of the last minute and of about the last 15 s. `standing` is the least of the last half round
    trip (Copa, section 2.1): what a packet's neighbours share is the queue, what it has to itself is an end that was
    busy or a radio. `most` is of standing ones.
    """

    def __init__(self) -> None:
        """None was measured yet."""
        self.smoothed = self.least = self.most = self.standing = 0.0
        self._latest: deque[tuple[float, float]] = deque()  # time and round trip, both rising
        self._bins: deque[tuple[int, float, float]] = deque(maxlen=_BINS_OF_LEAST)

    def add(self, now: float, rtt: float) -> None:
        """Take in one of `rtt` seconds, measured at `now`."""
        self.smoothed = rtt if self.smoothed == 0.0 else self.smoothed + (rtt - self.smoothed) / 8
        latest = self._latest
        while latest and latest[-1][1] >= rtt:
            latest.pop()
        latest.append((now, rtt))
        while latest[0][0] < now - self.smoothed / 2:
            latest.popleft()
        self.standing = standing = latest[0][1]
        number = int(now / _BIN)
        if self._bins and self._bins[-1][0] == number:
            _, least, most = self._bins[-1]
            if least <= rtt and standing <= most:
                return
            self._bins[-1] = (number, min(least, rtt), max(most, standing))
        else:
            self._bins.append((number, rtt, standing))
        self.least = min(least for _, least, _ in self._bins)
        self.most = max(most for _, _, most in list(self._bins)[-_BINS_OF_MOST:])

    @property
    def stale(self) -> bool:
        """Whether nothing near the least was seen lately."""
        return min(least for _, least, _ in list(self._bins)[-_BINS_OF_MOST:]) > _STALE * self.least

    @property
    def full(self) -> bool:
        """Whether the queue is about as long as any lately."""
        return self.standing - self.least >= _FULL_QUEUE * (self.most - self.least)
