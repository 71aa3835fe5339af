"""Drives a module that joins several streams in the cocotb benches: each source stalls by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgesight.sim.rtl.steps import Steps


class JoinBench(Steps):
    """A module with ports s_valid_i, s_ready_o [sources], s_data_i (side by side), m_valid_o, m_ready_i, m_data_o."""

    def __init__(self, dut: Any, beat_bits: Sequence[int]) -> None:
        """`beat_bits`: bits of a beat of each source."""
        super().__init__(dut, ("s_ready_o", "m_valid_o", "m_data_o"))
        self.beat_bits = beat_bits

    async def begin(self) -> None:
        """Start the clock and reset."""
        await self.start(s_valid_i=0, s_data_i=0, m_ready_i=0)

    async def join(self, beats: Sequence[Sequence[int]], chances: Sequence[float], sink: float) -> list[int]:
        """What comes out of the sources' `beats`, each offered with its chance; what waits must stay as it is."""
        count, given = len(beats[0]), []
        sent, offered = [0] * len(beats), [False] * len(beats)
        waiting: int | None = None
        for _ in range(200 * count):
            data = 0
            for k, own in enumerate(beats):
                offered[k] = offered[k] or (sent[k] < count and self.chance(chances[k]))
                # Nobody may read a beat that is not on offer.
                value = own[sent[k]] if offered[k] else self.random.getrandbits(self.beat_bits[k])
                data |= value << sum(self.beat_bits[:k])
            ready = self.chance(sink)
            valid = sum(each << k for k, each in enumerate(offered))
            out = await self.step(s_valid_i=valid, s_data_i=data, m_ready_i=ready)
            for k in range(len(beats)):
                if offered[k] and out["s_ready_o"] >> k & 1:
                    sent[k], offered[k] = sent[k] + 1, False
            assert waiting is None or (out["m_valid_o"] and out["m_data_o"] == waiting), "a waiting beat changed"
            waiting = out["m_data_o"] if out["m_valid_o"] and not ready else None
            if out["m_valid_o"] and ready:
                given.append(out["m_data_o"])
            if len(given) == count:
                break
        return given

    def draw(self, count: int) -> list[list[int]]:
        """Random beats of each source."""
        return [[self.random.getrandbits(bits) for _ in range(count)] for bits in self.beat_bits]
