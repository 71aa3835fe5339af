"""The window of CUBIC (RFC 9438), which Linux's TCP uses."""

from __future__ import annotations

_C, _BETA = 0.4, 0.7  # datagrams / s^3, and the share of the window that is left; RFC 9438
_RENO_ALPHA = 3 * (1 - _BETA) / (1 + _BETA)  # RFC 8312, 4.2; Linux doesn't go on to 1 as RFC 9438 does


class CubicWindow:
    """How many bytes CUBIC would have in flight."""

    def __init__(self, size: int, least: int) -> None:
        """In datagrams of `size` bytes, never fewer than `least` of them."""
        self.least = float(least * size)  # bytes
        self.window = 0.0  # bytes
        self._size = size
        self._most = 0.0  # bytes
        self._reno = 0.0
        self._epoch: float | None = None
        self._k = 0.0

    def begin(self, window: float) -> None:
        """Go on from `window` bytes, as after slow start."""
        self.window = self._most = max(window, self.least)
        self._epoch = None

    def grow(self, now: float, acked: int, round_trip: float) -> None:
        """Growth in congestion avoidance (RFC 9438, 4.2 to 4.5), by `acked` bytes; `round_trip` is the smoothed one."""
        window, most = self.window / self._size, self._most / self._size
        if self._epoch is None:
            self._epoch = now
            self._k = (max(most - window, 0.0) / _C) ** (1 / 3)
            self._reno = window
        share = acked / self._size / window  # of the window
        self._reno += _RENO_ALPHA * share
        target = _C * (now - self._epoch + round_trip - self._k) ** 3 + most
        window += (min(max(target, window), 1.5 * window) - window) * share
        self.window = max(window, self._reno) * self._size

    def shrink(self) -> None:
        """The answer to congestion, with fast convergence (RFC 9438, 4.6 and 4.7)."""
        converging = self.window < self._most
        self._most = self.window * ((1 + _BETA) / 2 if converging else 1.0)
        self.window = max(self.window * _BETA, self.least)
        self._epoch = None
