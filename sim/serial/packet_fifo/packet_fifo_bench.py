"""The packet buffer gives out whole, good packets, and counts those that found no room."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

P: dict[str, Any] = bench_parameters()
DEPTH = P["Depth"]
OUTPUTS = ("overrun_o", "m_valid_o", "m_data_o", "m_last_o")
IDLE = {"s_valid_i": 0, "s_data_i": 0, "s_last_i": 0, "drop_i": 0}


class Sink:
    """Takes packets at the output."""

    def __init__(self, steps: Steps) -> None:
        """Nothing has come yet."""
        self.steps = steps
        self.packets: list[bytes] = []
        self.overruns = 0
        self._packet = bytearray()
        self._waiting: tuple[int, int] | None = None

    async def step(self, ready: bool, **inputs: int) -> bool:
        """One cycle; whether a byte was taken."""
        out = await self.steps.step(m_ready_i=ready, **{**IDLE, **inputs})
        self.overruns += out["overrun_o"]
        if not out["m_valid_o"]:
            assert self._waiting is None, "valid dropped while a byte waited"
            return False
        beat = out["m_data_o"], out["m_last_o"]
        assert self._waiting in (None, beat), "the byte changed while it waited"
        self._waiting = None if ready else beat
        if ready:
            self._packet.append(beat[0])
            if beat[1]:
                self.packets.append(bytes(self._packet))
                self._packet.clear()
        return ready


async def _started(dut: Any) -> Sink:
    steps = Steps(dut, OUTPUTS)
    await steps.start(m_ready_i=0, **IDLE)
    return Sink(steps)


@cocotb.test()
@cocotb.parametrize(rates=[(0.0, 0.0), (0.5, 0.0), (0.3, 0.6)])
async def good_packets_come_out_in_order(dut: Any, rates: tuple[float, float]) -> None:
    """And dropped ones don't, whatever the stalls; never so much under way that it is full."""
    sink = await _started(dut)
    rng = sink.steps.random
    expected: list[bytes] = []
    for _ in range(120):
        packet, drop = rng.randbytes(rng.randrange(1, DEPTH // 2)), rng.random() < 0.3
        while sum(map(len, expected[len(sink.packets) :])) > DEPTH // 2:
            await sink.step(not sink.steps.chance(rates[1]))
        for position, byte in enumerate(packet):
            while sink.steps.chance(rates[0]):
                await sink.step(not sink.steps.chance(rates[1]))
            last = position == len(packet) - 1 and not drop
            await sink.step(not sink.steps.chance(rates[1]), s_valid_i=1, s_data_i=byte, s_last_i=last)
        if drop:
            await sink.step(not sink.steps.chance(rates[1]), drop_i=1)
        else:
            expected.append(packet)
    for _ in range(20 * DEPTH):
        await sink.step(True)
    assert sink.packets == expected
    assert sink.overruns == 0


@cocotb.test()
async def what_finds_no_room_overruns_whole(dut: Any) -> None:
    """Packets of every size against a blocked output: those that fit stay, all others are counted and vanish."""
    sink = await _started(dut)
    rng = sink.steps.random
    for _ in range(40):
        del sink.packets[:]
        sink.overruns = 0
        kept: list[bytes] = []
        # Two bytes leave the memory for the registers behind it, when they are there.
        room = DEPTH
        lost = 0
        for _ in range(6):
            packet, drop = rng.randbytes(rng.randrange(1, DEPTH + 3)), rng.random() < 0.2
            fits = len(packet) <= room
            for position, byte in enumerate(packet):
                last = position == len(packet) - 1 and not drop
                await sink.step(False, s_valid_i=1, s_data_i=byte, s_last_i=last)
            if drop:
                await sink.step(False, drop_i=1)
            for _ in range(4):
                await sink.step(False)
            if not fits:
                lost += 1
            elif not drop:
                kept.append(packet)
                room = DEPTH + min(2, sum(map(len, kept))) - sum(map(len, kept))
        for _ in range(2 * DEPTH):
            await sink.step(True)
        assert sink.packets == kept
        assert sink.overruns == lost


@cocotb.test()
async def a_byte_a_cycle(dut: Any) -> None:
    """A packet leaves without a bubble, 3 cycles after its last byte came."""
    sink = await _started(dut)
    packet = sink.steps.random.randbytes(DEPTH // 2)
    for position, byte in enumerate(packet):
        assert not await sink.step(True, s_valid_i=1, s_data_i=byte, s_last_i=position == len(packet) - 1)
    taken = [await sink.step(True) for _ in range(len(packet) + 4)]
    assert taken == [False] * 2 + [True] * len(packet) + [False] * 2
