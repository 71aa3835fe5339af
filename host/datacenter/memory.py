"""Which models are in memory: more are served than its budget holds, and what is asked for most stays.

A model that is not there waits for its turn while requests for it wait. One load goes on at a time. Where there is no
room, a model is loaded in the place of others only if that answers clearly more requests than it costs: those that wait
and will still be in time, and those that come while it stays at least, against those that come for the others until
these are back and cannot wait for that. So a model that is seldom asked for pushes out no busy one, and two that are
asked for alike take turns, each answering in one go what came while it was away. Of several that could go, those go
first whose requests, by what their loads cost, are worth least a byte.

Words owned here: tenant, budget of memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterable
from typing import Protocol

from edgesight.host.doors.served import Code, Refused

_REMEMBERS = 30.0  # seconds over which the rate of requests is taken
_LOOK_EVERY = 0.02  # seconds, while something waits to be loaded
_BETTER = 1.5  # times what it costs, that a change is to bring: what is expected is uncertain, and loads take work
_STAYS = 0.5  # times its load's, that a model stays at least, when a change is weighed


class Rate:
    """Requests a second of late: counted, and forgotten by and by."""

    def __init__(self, now: float) -> None:
        """None yet; `now` is in seconds of the clock that all calls are of."""
        self._begun = self._at = now
        self._count = 0.0

    def add(self, now: float) -> None:
        """A request came."""
        self._fade(now)
        self._count += 1.0

    def at(self, now: float) -> float:
        """The rate."""
        self._fade(now)
        seen = _REMEMBERS * -math.expm1(-(now - self._begun + 1.0) / _REMEMBERS)  # what is remembered of that time
        return self._count / seen

    def _fade(self, now: float) -> None:
        self._count *= math.exp(-(now - self._at) / _REMEMBERS)
        self._at = now


class Tenant(Protocol):
    """A model that takes memory, or would."""

    name: str
    bytes: int  # that it takes: measured, else estimated
    load_s: float  # seconds that a load takes
    rate: Rate

    def in_time(self, at: float) -> int:
        """Requests that wait and would be in time if it could begin at `at`."""

    def patience(self) -> float:
        """Seconds that its requests of late had; infinite: they wait as long as it takes."""

    async def bring(self) -> None:
        """Load it. Raises Refused where that fails."""

    async def drop(self) -> None:
        """Let it end what it has in work, and give its memory back."""


class Memory:
    """What of the budget is whose; runs in the loop that makes it."""

    def __init__(self, budget: int) -> None:
        """A `budget` in bytes. `run` loads what waits."""
        self.budget = budget
        self._loop = asyncio.get_running_loop()
        self._residents: set[Tenant] = set()
        self._wanted: dict[Tenant, asyncio.Future[None]] = {}
        self._loading: Tenant | None = None
        self._loaded_at = 0.0  # when the load that goes on is expected to end
        self._one = asyncio.Lock()  # of loads
        self._look = asyncio.Event()
        self.evictions = self.loads = 0

    @property
    def used(self) -> int:
        """Bytes that the models in memory take, and the one that is loaded."""
        loading = self._loading.bytes if self._loading is not None else 0
        return sum(tenant.bytes for tenant in self._residents) + loading

    def holds(self, tenant: Tenant) -> bool:
        """Whether it is in memory."""
        return tenant in self._residents

    def delay(self, tenant: Tenant) -> float:
        """Seconds until `tenant` could be in memory, if it is loaded next; 0.0: it is there."""
        if tenant in self._residents:
            return 0.0
        left = max(self._loaded_at - self._loop.time(), 0.0) if self._loading is not None else 0.0
        return max(left, 1e-3) if tenant is self._loading else left + tenant.load_s

    async def admit(self, tenant: Tenant) -> None:
        """Wait until `tenant` is in memory; those that wait for one share its load. Raises Refused where that fails."""
        if tenant in self._residents:
            return
        if tenant not in self._wanted:
            self._wanted[tenant] = self._loop.create_future()
        self._look.set()
        waiting = self._wanted[tenant]
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if self._wanted.get(tenant) is waiting and tenant is not self._loading:
                del self._wanted[tenant]
            raise

    async def make(self, tenant: Tenant, beside: Tenant | None = None) -> None:
        """Load `tenant` now, since somebody in charge says so: whatever is worth least goes for it.

        `beside` is the one whose place it takes: it counts no more then, and the budget may be overdrawn by it until it
        is gone. Raises Refused.
        """
        async with self._one:
            if tenant in self._residents:
                return
            spare = beside.bytes if beside is not None and beside in self._residents else 0
            self._check_size(tenant)
            victims = self._victims(
                tenant, self._residents - {beside} if beside is not None else self._residents, spare
            )
            if victims is None:
                raise self._no_room(tenant)
            await self._load(tenant, victims)
            if beside is not None:
                self._residents.discard(beside)  # it ends what it has, and goes

    def stays(self, tenant: Tenant) -> None:
        """Count `tenant`, whose place another was to take, again."""
        self._residents.add(tenant)
        self._look.set()

    async def leave(self, tenant: Tenant) -> None:
        """Take `tenant` out for good."""
        waiting = self._wanted.pop(tenant, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(Refused(Code.UNAVAILABLE, f"model {tenant.name} is unloaded: load it again"))
            waiting.exception()  # whether or not anybody still waits
        async with self._one:  # it may be loaded just now
            if tenant in self._residents:
                await tenant.drop()
                self._residents.discard(tenant)
                self._look.set()

    def measured(self) -> None:
        """Some tenant's bytes were measured anew: what is too much goes."""
        self._look.set()

    async def run(self) -> None:
        """Load what waits, as far as it is worth it, for ever."""
        while True:
            await self._look.wait()
            self._look.clear()
            while self._wanted or self.used > self.budget:
                async with self._one:
                    await self._shrink()
                    worked = await self._serve()
                if not worked:
                    if not self._wanted:
                        break
                    with contextlib.suppress(asyncio.TimeoutError):  # something comes, or time passes
                        await asyncio.wait_for(self._look.wait(), _LOOK_EVERY)
                    self._look.clear()

    # ------------------------------------------------------------------------------------------------------ choices

    async def _serve(self) -> bool:
        """Load the one that is worth most, if any is."""
        best: tuple[float, Tenant, list[Tenant]] | None = None
        for tenant in list(self._wanted):
            if tenant in self._residents:
                self._settle(tenant, None)
                continue
            try:
                self._check_size(tenant)
            except Refused as error:
                self._settle(tenant, error)
                continue
            victims = self._victims(tenant, self._residents, 0)
            if victims is None:
                continue
            gain = self._gain(tenant)
            worth = gain / max(tenant.load_s, 1e-3)
            if victims and gain <= _BETTER * sum(self._loss(victim, tenant) for victim in victims):
                continue
            if gain > 0.0 and (best is None or worth > best[0]):
                best = worth, tenant, victims
        if best is None:
            return False
        _, tenant, victims = best
        try:
            await self._load(tenant, victims)
        except Refused as error:
            self._settle(tenant, error)
        else:
            self._settle(tenant, None)
        return True

    def _gain(self, tenant: Tenant) -> float:
        """Requests that loading it now answers."""
        now = self._loop.time()
        return tenant.in_time(now + tenant.load_s) + tenant.rate.at(now) * _STAYS * tenant.load_s

    def _loss(self, victim: Tenant, tenant: Tenant) -> float:
        """Requests of `victim` that loading `tenant` in its place costs."""
        now = self._loop.time()
        away = (1.0 + _STAYS) * tenant.load_s + victim.load_s
        return victim.in_time(now) + victim.rate.at(now) * max(away - victim.patience(), 0.0)

    def _victims(self, tenant: Tenant, among: Iterable[Tenant], spare: int) -> list[Tenant] | None:
        """Who goes, the least valuable first, so that there is room for `tenant`; None: there is none to be had."""
        lacking = self.used + tenant.bytes - self.budget - spare
        victims: list[Tenant] = []
        for victim in sorted(among, key=self._value):
            if lacking <= 0:
                break
            victims.append(victim)
            lacking -= victim.bytes
        # What was taken before it turned out that a larger one has to go may stay.
        for victim in list(victims):
            if lacking + victim.bytes <= 0:
                victims.remove(victim)
                lacking += victim.bytes
        return victims if lacking <= 0 else None

    def _value(self, tenant: Tenant) -> float:
        """Of its staying: its requests, as far as they would wait for a load, a byte."""
        now = self._loop.time()
        return (tenant.rate.at(now) * tenant.load_s + tenant.in_time(now)) / max(tenant.bytes, 1)

    async def _shrink(self) -> None:
        """What turned out to take more than was thought makes others go, or itself where it is alone."""
        while self.used > self.budget and self._residents:
            await self._evict(min(self._residents, key=self._value))

    # -------------------------------------------------------------------------------------------------------- deeds

    async def _load(self, tenant: Tenant, victims: list[Tenant]) -> None:
        self._loading, self._loaded_at = tenant, self._loop.time() + tenant.load_s
        try:
            for victim in victims:
                await self._evict(victim)
            begun = self._loop.time()
            self._loaded_at = begun + tenant.load_s
            await tenant.bring()
            if tenant.bytes > self.budget:  # as only a load tells
                await tenant.drop()
                raise self._no_room(tenant)
            self.loads += 1
            self._residents.add(tenant)
        finally:
            self._loading = None
            self._look.set()

    async def _evict(self, victim: Tenant) -> None:
        self._residents.discard(victim)
        await victim.drop()
        self.evictions += 1

    def _settle(self, tenant: Tenant, error: Refused | None) -> None:
        waiting = self._wanted.pop(tenant, None)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            waiting.exception()  # whether or not anybody still waits

    def _check_size(self, tenant: Tenant) -> None:
        if tenant.bytes > self.budget:
            raise self._no_room(tenant)

    def _no_room(self, tenant: Tenant) -> Refused:
        return Refused(
            Code.RESOURCE_EXHAUSTED,
            f"model {tenant.name} takes {tenant.bytes / 2**20:.0f} MiB, and the budget of {self.budget / 2**20:.0f} "
            "MiB has no room for it: give a larger one, or unload others",
        )
