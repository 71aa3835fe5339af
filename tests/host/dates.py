"""A calendar that a test turns, for whatever holds certificates against the date."""

from __future__ import annotations

import datetime

from edgesight.host.link.keys import now

DAY = datetime.timedelta(days=1)


class Calendar:
    """Today, and `later`."""

    def __init__(self, later: datetime.timedelta = DAY * 0) -> None:
        self.later = later

    def __call__(self) -> datetime.datetime:
        return now() + self.later
