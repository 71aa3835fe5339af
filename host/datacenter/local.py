"""Models in processes of this machine, under a budget of memory: the engine that needs nothing else.

Words owned here: local engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgesight.host.datacenter import engine
from edgesight.host.datacenter.batching import Limits
from edgesight.host.datacenter.hosted import Hosted
from edgesight.host.datacenter.memory import Memory
from edgesight.host.datacenter.repository import Version
from edgesight.host.measures import Kind, Measure, gauge, plain


class Local:
    """The `Engine` of one machine; runs in the loop that makes it."""

    def __init__(self, budget: int, limits: Limits | None = None) -> None:
        """Models may take `budget` bytes together; of what waits for each, `limits`."""
        self.memory = Memory(budget)
        self._limits = limits or Limits()

    def host(self, version: Version) -> Hosted:
        """As `Engine` says."""
        return Hosted(version, self.memory, self._limits)

    async def run(self) -> None:
        """As `Engine` says."""
        await self.memory.run()

    def stays(self, hosted: engine.Hosted) -> None:
        """As `Engine` says."""
        assert isinstance(hosted, Hosted)
        if hosted.in_memory:
            self.memory.stays(hosted)

    def measures(self, hosted: Mapping[tuple[str, str], engine.Hosted]) -> Sequence[Measure]:
        """As `Engine` says."""
        own = {key: one for key, one in hosted.items() if isinstance(one, Hosted)}

        def of_each(name: str, told: str, kind: Kind, value: Callable[[Hosted], float]) -> Measure:
            return Measure(name, told, kind, ("model", "version"), {key: value(one) for key, one in own.items()})

        memory = self.memory
        return (
            gauge("memory_bytes", "Memory that models take.", memory.used),
            gauge("memory_budget_bytes", "Memory that models may take.", memory.budget),
            plain("loads", "Models brought into memory.", memory.loads),
            plain("evictions", "Models that made room for others.", memory.evictions),
            of_each("model_in_memory", "Whether it is in memory now.", "gauge", memory.holds),
            of_each("model_workers_lost", "Workers that ended by themselves.", "counter", lambda one: one.lost),
        )
