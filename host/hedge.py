"""Whether to ask the data centre before the fabric has answered.

Sequential is the rule: the fabric answers first, and only an unsure image goes on. A hedged image goes to the data
centre at the same time as to the fabric; a sure answer of the fabric cancels the request, which frees its place there.
Either way the same answer counts, the fabric's where it is sure and else the data centre's, since that is what was
calibrated: hedging changes when an answer comes, not which.

An image is hedged when all of this holds:
- Its deadline leaves too little time for both, one after the other: the sum of the fabric's leg and of an offload, each
  as slow as 99 % of those of late are not exceeded, does not fit, while an offload alone usually does.
- The fabric will more likely than not be unsure of it (`LIKELY`). Nobody knows its margin yet, so the margins of others
  predict it: the share of images under the same target that were unsure of late (each weighs `_NEWEST` of what is left
  by newer ones), and before there were any, the share on the calibration split. Scenes that are hard stay so for a
  while; in a stream without such spells the share itself is all that can be known.
- The budget allows it. A request that the fabric's answer makes needless is an extra one. Of all requests that go to
  the data centre at most the share `budget` may be extra, so its load grows by no more than a factor of
  1 / (1 - budget): a bucket earns that share of a token with each request, a hedge takes a whole one and gets it back
  when the fabric turns out to be unsure.
- The data centre is not pressed: its replies say how long a new request would wait for the model, and that, smoothed,
  is no more than `PRESSED` of what an offload usually takes. A request without an answer, though it was given enough
  time, counts as one that waited for all of that. One that was asked too late tells nothing, and each makes the
  pressure a little less likely: where only hedges come in time, nothing else would ever say that it is over.

Source of hedging and of its budget: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56 (2013).

Words owned here: sequential, hedge, extra request, budget, pressure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import Target

BUDGET = 0.1  # share of the requests to the data centre that may be extra
LIKELY = 0.5  # the least predicted probability that the fabric is unsure
PRESSED = 0.4  # of an offload's usual time: a longer wait for the model is pressure
_NEWEST = 1 / 8  # weight of the newest of a smoothed value
_DOUBT = 1 / 64  # of the pressure that each request takes off which was asked too late to tell of any
_BURST = 10.0  # tokens that can be saved up
_WINDOW = 128  # durations of late
_FEWEST = 8  # durations before anything is said of them
_SLOW = 0.99  # quantile


class HedgeError(EdgeSightError):
    """A hedge budget that cannot be: says what was found and what would be right."""


class Hedging:
    """Decides, for one edge, and learns from what becomes of its images. Durations are in seconds."""

    def __init__(self, budget: float = BUDGET) -> None:
        """`budget` is a share, from 0, with which none is ever hedged, to below 1; raises HedgeError."""
        if not 0.0 <= budget < 1.0:
            raise HedgeError(f"hedge budget {budget:g}: expected a share of requests, from 0 to below 1")
        self.budget = budget
        self.requests = 0  # that went to the data centre
        self.hedges = 0  # of those, before the fabric had answered
        self.extra = 0  # of those, that the fabric's answer made needless
        self._tokens = 0.0
        self._fabric = _Durations()
        self._offload = _Durations()
        self._unsure: dict[tuple[int, ...], float] = {}  # probability by thresholds
        self._wait = 0.0  # for the model

    def hedge(self, target: Target, deadline: float) -> bool:
        """Whether to hedge an image of `target`, `deadline` away; the answer yes takes a token."""
        if self._tokens < 1.0 or not self._fabric.known or not self._offload.known:
            return False
        if self._fabric.slow + self._offload.slow <= deadline or self._offload.usual > deadline:
            return False
        if self.predicted(target) < LIKELY or self.pressed:
            return False
        self._tokens -= 1.0
        self.hedges += 1
        return True

    def predicted(self, target: Target) -> float:
        """Probability that the fabric will be unsure of the next image of `target`."""
        return self._unsure.get(tuple(target.thresholds), target.calibration_offload)

    def swapped(self, targets: Sequence[Target]) -> None:
        """From now on images are of these `targets`: of others nothing is kept."""
        kept = {tuple(target.thresholds) for target in targets}
        self._unsure = {row: unsure for row, unsure in self._unsure.items() if row in kept}

    @property
    def pressed(self) -> bool:
        """Whether more work for the data centre would make others wait."""
        return self._wait > PRESSED * self._offload.usual

    def requested(self) -> None:
        """A request goes to the data centre, hedged or not."""
        self.requests += 1
        self._tokens = min(self._tokens + self.budget, _BURST)

    def looked(self, target: Target, took: float, unsure: bool, hedged: bool) -> None:
        """The fabric answered an image of `target`, waiting for it included, after so long."""
        self._fabric.add(took)
        before = self.predicted(target)
        self._unsure[tuple(target.thresholds)] = before + (unsure - before) * _NEWEST
        if hedged and unsure:
            self._tokens = min(self._tokens + 1.0, _BURST)
        elif hedged:
            self.extra += 1

    def failed_to_look(self, hedged: bool) -> None:
        """The fabric gave no answer."""
        self.extra += hedged

    def replied(self, took: float, wait: float) -> None:
        """The data centre answered after so long; a request that comes to it now would `wait` for the model."""
        self._offload.add(took)
        self._wait += (wait - self._wait) * _NEWEST

    def unanswered(self, took: float, within: float) -> None:
        """The data centre gave no answer in the time `took`, of the time `within` that it had."""
        if within >= self._offload.slow:  # else it was asked too late, which says nothing of it
            if took > within / 2:  # else there was no way to it, which says nothing of how long an offload takes
                self._offload.add(took)
            self._wait += (within - self._wait) * _NEWEST
        else:
            self._wait -= self._wait * _DOUBT


class _Durations:
    """How long something took of late."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=_WINDOW)

    @property
    def known(self) -> bool:
        return len(self._latest) >= _FEWEST

    @property
    def usual(self) -> float:
        return self._quantile(0.5)

    @property
    def slow(self) -> float:
        return self._quantile(_SLOW)

    def add(self, took: float) -> None:
        self._latest.append(took)

    def _quantile(self, share: float) -> float:
        return sorted(self._latest)[math.ceil(share * len(self._latest)) - 1] if self._latest else 0.0
