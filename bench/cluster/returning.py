"""When answers come as often as before again, after something was lost.

Words owned here: back (answers come nearly as often as they are asked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

_SHARE: Final = 0.9  # of the rate that is asked
_WINDOW_S: Final = 3.0  # over which the rate is counted
_STEP_S: Final = 0.25


def back_s(answered: Sequence[float], lost_at: float, until: float, per_s: float) -> float:
    """Seconds from the loss to the beginning of the first window, of some seconds, in which `per_s` are answered again.

    `answered` are the moments of the answers, and `until` is when no more was asked. Infinite where there is none. A
    loss that nobody noticed gives 0.
    """
    at = np.sort(np.asarray(answered))
    for begin in np.arange(lost_at, until - _WINDOW_S, _STEP_S):
        came = np.searchsorted(at, begin + _WINDOW_S) - np.searchsorted(at, begin)
        if came >= _SHARE * per_s * _WINDOW_S:
            return float(begin - lost_at)
    return float("inf")
