"""How much one caller may ask for, whatever the others do.

Words owned here: quota.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from edgesight.host.datacenter.shares import Budget
from edgesight.host.doors.served import Code, Refused

_BURST_S = 2.0  # seconds' worth that may come at once
_REMEMBERED = 4_096  # callers


@dataclass(frozen=True)
class Quota:
    """Of one caller; None: as much as there is."""

    requests_per_s: float | None = None
    bytes_per_s: float | None = None


class Quotas:
    """All callers'."""

    def __init__(self, everyone: Quota | None = None, of: Mapping[str, Quota] | None = None) -> None:
        """What `everyone` may who is not named in `of`."""
        self._everyone, self._of = everyone or Quota(), of or {}
        self._budgets: OrderedDict[str, tuple[Budget | None, Budget | None]] = OrderedDict()

    def spend(self, caller: str, size: int, now: float) -> None:
        """Count a request of `size` bytes at `now`, seconds of any clock; raises Refused where it is one too many."""
        quota = self._of.get(caller, self._everyone)
        if quota == Quota():
            return
        budgets = self._budgets.get(caller)
        if budgets is None:
            budgets = self._budgets[caller] = _budget(quota.requests_per_s), _budget(quota.bytes_per_s)
            if len(self._budgets) > _REMEMBERED:  # who was away longest has a full one again
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(caller)
        for budget, rate, needed, unit in (
            (budgets[0], quota.requests_per_s, 1.0, "requests"),
            (budgets[1], quota.bytes_per_s, 1.0, "bytes"),
        ):
            if budget is not None and rate is not None and (left := budget.left(now)) < needed:
                raise Refused(
                    Code.RESOURCE_EXHAUSTED,
                    f"{caller} may ask for {rate:g} {unit} a second, and asked for more: ask later",
                    (needed - left) / rate,
                )
        if budgets[0] is not None:
            budgets[0].spend(1.0)
        if budgets[1] is not None:
            budgets[1].spend(size)


def _budget(rate: float | None) -> Budget | None:
    return Budget(rate, max(rate * _BURST_S, 1.0)) if rate is not None else None
