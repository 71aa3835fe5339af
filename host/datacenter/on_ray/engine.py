"""Models in Ray Serve's replicas: the engine for what is beyond one machine.

Words owned here: engine on Ray.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Mapping, Sequence

from edgesight.host.datacenter import engine
from edgesight.host.datacenter.batching import Limits
from edgesight.host.datacenter.on_ray.hosted import HostedOnRay
from edgesight.host.datacenter.on_ray.place import Place
from edgesight.host.datacenter.repository import Version
from edgesight.host.measures import Measure, Spread, gauge

_LOOK_EVERY_S = 5.0  # at the replicas

logger = logging.getLogger(__name__)


class OnRay:
    """The `Engine` of a cluster; runs in the loop that makes it."""

    def __init__(self, place: Place, limits: Limits | None = None) -> None:
        """Models run at `place`; of what waits for each, `limits`."""
        self.place = place
        self._limits = limits or Limits()
        self._replicas = 0
        self._hosted: weakref.WeakSet[HostedOnRay] = weakref.WeakSet()

    def host(self, version: Version) -> HostedOnRay:
        """As `Engine` says."""
        there = sum(one.state is engine.State.READY for one in self._hosted)
        hosted = HostedOnRay(version, self.place, self._limits, there < self.place.settings.models)
        self._hosted.add(hosted)
        return hosted

    async def run(self) -> None:
        """As `Engine` says."""
        while True:
            try:
                self._replicas = await asyncio.to_thread(self.place.replicas)
            except Exception as error:  # Ray's share no base class; the head may be gone
                logger.warning("the replicas cannot be looked at (%s)", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    def stays(self, hosted: engine.Hosted) -> None:
        """As `Engine` says: none had to go for another."""

    def measures(self, hosted: Mapping[tuple[str, str], engine.Hosted]) -> Sequence[Measure]:
        """As `Engine` says."""
        losses: dict[tuple[str, ...], float | Spread] = {
            key: float(one.calls.losses) for key, one in hosted.items() if isinstance(one, HostedOnRay)
        }
        return (
            gauge("replicas", "Replicas that run.", self._replicas),
            Measure(
                "model_calls_lost",
                "Calls that were lost with a replica or a node, and made again.",
                "counter",
                ("model", "version"),
                losses,
            ),
        )
