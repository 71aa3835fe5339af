"""Drives and watches a module with one valid-ready stream in and one out, in the cocotb benches.

A *pattern* says how the two sides stall: the probability of standing still in a cycle. The output is also held to the
two promises of every stream: valid does not drop, and the payload does not change, while a beat waits.

Inputs change at the falling edge and all ports are read once they have settled behind it, so that no race with the
module's registers, which move at the rising edge, is possible.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time

PERIOD_NS = 2

# How often the source and the sink stand still.
PATTERNS: dict[str, tuple[float, float]] = {
    "full speed": (0.0, 0.0),
    "slow source": (0.7, 0.0),
    "slow sink": (0.0, 0.7),
    "ragged": (0.3, 0.3),
    "both slow": (0.8, 0.8),
}
FULL_SPEED = PATTERNS["full speed"]


@dataclass
class Transfer:
    """The beats that passed at the output, and the cycles of the handshakes at both sides."""

    beats: list[Any] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)

    def intervals(self, per: int = 1) -> list[int]:
        """Cycles from every `per`-th output beat to the one `per` beats later."""
        picked = self.cycles[per - 1 :: per]
        return [later - earlier for earlier, later in itertools.pairwise(picked)]


class StreamBench:
    """A module with the ports clk_i, rst_ni, s_valid_i, s_ready_o, s_data_i, m_valid_o, m_ready_i and a payload."""

    def __init__(self, dut: Any, payload: Sequence[str] = ("m_data_o",)) -> None:
        """`payload`: the payload ports of the output; with several, a beat is a tuple."""
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        self._payload = [getattr(dut, name) for name in payload]
        self._edge = FallingEdge(dut.clk_i)
        self._settled = ReadOnly()

    async def start(self) -> None:
        """Start the clock and reset."""
        self._idle()
        cocotb.start_soon(Clock(self.dut.clk_i, PERIOD_NS, "ns").start())
        await self.reset()

    async def reset(self) -> None:
        """Reset for two cycles."""
        await self._edge
        self.dut.rst_ni.value = 0
        self._idle()
        for _ in range(2):
            await self._edge
        assert not self.dut.m_valid_o.value, "valid in reset"
        self.dut.rst_ni.value = 1

    async def transfer(self, beats: Sequence[int], expected: int, stalls: tuple[float, float]) -> Transfer:
        """Send `beats` and collect `expected` ones; an error if that takes absurdly long or if more come out."""
        patience = 500 * (len(beats) + expected) + 20_000
        passed = await self._run(beats, stalls, patience, expected)
        assert len(passed.taken) == len(beats), f"only {len(passed.taken)} of {len(beats)} beats taken"
        assert len(passed.beats) == expected, f"only {len(passed.beats)} of {expected} beats came out"
        return passed

    async def interrupt(self, beats: Sequence[int], cycles: int, stalls: tuple[float, float]) -> None:
        """Send `beats` for some cycles only, then reset in the middle of it."""
        await self._run(beats, stalls, cycles, None)
        await self.reset()

    async def transfer_paced(self, beats: Sequence[int], expected: int, pace: int) -> Transfer:
        """Like `transfer`, from a source at full speed into a sink that takes a beat in `pace` cycles at most."""
        return await self._run(beats, FULL_SPEED, 2000 + (expected + 10) * pace * 4, expected, pace)

    async def block(self, beats: Sequence[int], cycles: int) -> Transfer:
        """Send `beats` for some cycles against a blocked output."""
        return await self._run(beats, (0.0, 1.0), cycles, None)

    def drive(self) -> None:
        """For modules with more ports: called behind the falling edge, may write."""

    def observe(self) -> None:
        """For modules with more ports: called when all has settled, may read."""

    async def _run(
        self, beats: Sequence[int], stalls: tuple[float, float], limit: int, expected: int | None, pace: int = 1
    ) -> Transfer:
        dut, chance = self.dut, self.random.random
        s_valid, s_ready, s_data = dut.s_valid_i, dut.s_ready_o, dut.s_data_i
        m_valid, m_ready = dut.m_valid_o, dut.m_ready_i
        passed = Transfer()
        cycle = int(get_sim_time("ns")) // PERIOD_NS
        sent, offered = 0, False
        waiting: Any = None
        rested = pace  # cycles since the sink took a beat
        grace = 8  # cycles in which nothing more may come out
        for _ in range(limit):
            if not offered and sent < len(beats) and not (stalls[0] and chance() < stalls[0]):
                offered = True
                s_data.value = beats[sent]
            take = rested >= pace and not (stalls[1] and chance() < stalls[1])
            s_valid.value = offered
            m_ready.value = take
            self.drive()
            await self._settled
            cycle += 1
            rested += 1
            if offered and s_ready.value:
                offered = False
                sent += 1
                passed.taken.append(cycle)
            if m_valid.value:
                beat = tuple(int(port.value) for port in self._payload)
                assert waiting is None or beat == waiting, "the payload changed while it waited"
                waiting = None if take else beat
                if take:
                    rested = 1
                    passed.beats.append(beat[0] if len(beat) == 1 else beat)
                    passed.cycles.append(cycle)
            else:
                assert waiting is None, "valid dropped while a beat waited"
            self.observe()
            await self._edge
            if expected is not None and sent == len(beats) and len(passed.beats) >= expected:
                grace -= 1
                if not grace:
                    break
        assert expected is None or len(passed.beats) <= expected, f"{len(passed.beats)} beats instead of {expected}"
        self._idle()
        self.drive()
        return passed

    def _idle(self) -> None:
        self.dut.s_valid_i.value = 0
        self.dut.m_ready_i.value = 0
