"""What the benches of units that work channel by channel ask alike: equality, interval, reset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from edgesight.sim.rtl.stream import FULL_SPEED, PATTERNS, StreamBench


class VectorBench(StreamBench, ABC):
    """A unit that takes vectors in groups of channels, a group a beat, and gives them alike."""

    def __init__(self, dut: Any, groups: int, latency: int) -> None:
        """A vector has `groups` groups, and each is to come `latency` cycles after it was taken."""
        super().__init__(dut)
        self.groups, self.latency = groups, latency

    @abstractmethod
    def vectors(self, count: int) -> tuple[list[int], list[int]]:
        """The beats of random vectors, and the answers that belong to them."""

    async def equals_reference(self, pattern: str) -> None:
        """Random vectors equal the reference bit for bit, whatever the stalls."""
        count = max(40, 400 // self.groups)
        vectors, answers = self.vectors(count)
        assert (await self.transfer(vectors, len(answers), PATTERNS[pattern])).beats == answers

    async def keeps_its_interval(self) -> None:
        """At full speed a group comes every cycle, each with the stated latency."""
        beats = self.vectors(10)[0]
        passed = await self.transfer(beats, len(beats), FULL_SPEED)
        assert passed.intervals() == [1] * (len(beats) - 1)
        assert [out - taken for out, taken in zip(passed.cycles, passed.taken, strict=True)] == [self.latency] * len(
            beats
        )

    async def starts_clean(self) -> None:
        """Resets at random moments leave nothing behind."""
        for _ in range(6):
            cycles = self.random.randrange(1, 3 * self.groups + self.latency + 3)
            await self.interrupt(self.vectors(6)[0], cycles, (0.2, 0.4))
            vectors, answers = self.vectors(3)
            assert (await self.transfer(vectors, len(answers), FULL_SPEED)).beats == answers
