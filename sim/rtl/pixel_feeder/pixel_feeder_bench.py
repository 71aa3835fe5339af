"""The pixel feeder on a frame buffer in Python."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

PARAMETERS = {name: int(value) for name, value in bench_parameters().items()}
PIXELS, CHANNELS, SLOTS = PARAMETERS["Pixels"], PARAMETERS["Channels"], PARAMETERS["Slots"]
SIZE = PIXELS * CHANNELS
WORDS = -(-SIZE // 8)
OUTPUTS = ("s_ready_o", "read_en_o", "read_addr_o", "fetched_o", "fetched_slot_o", "m_valid_o", "m_data_o")


class Feed:
    """Offers slots whose contents change as soon as they were fetched, and collects pixels."""

    def __init__(self, dut: Any, stalls: tuple[float, float]) -> None:
        """`stalls`: probability of standing still in a cycle, of slots and of the pixels' receiver."""
        self.steps = Steps(dut, OUTPUTS)
        self.stalls = stalls
        self.memory: dict[int, int] = {}
        self.pixels: list[int] = []
        self.cycles: list[int] = []
        self.taken: list[int] = []  # cycle of every slot's handshake

    async def run(self, frames: int) -> None:
        """Feed frames of random bytes, in order, and compare their pixels."""
        steps = self.steps
        await steps.start(s_valid_i=0, s_slot_i=0, read_data_i=0, m_ready_i=0)
        expected: list[int] = []
        inside: list[int] = []  # slots taken and not yet fetched
        offered: int | None = None
        held: int | None = None
        data = 0
        while len(self.pixels) < frames * PIXELS:
            assert steps.cycle < 500 + 20 * frames * PIXELS, f"stuck at pixel {len(self.pixels)}"
            if offered is None and len(self.taken) < frames and not steps.chance(self.stalls[0]):
                offered = steps.random.choice([slot for slot in range(SLOTS) if slot not in inside])
                payload = steps.random.randbytes(SIZE)
                padded = payload + steps.random.randbytes(8 * WORDS - SIZE)
                for n in range(WORDS):
                    self.memory[offered * WORDS + n] = int.from_bytes(padded[8 * n : 8 * n + 8], "little")
                starts = range(0, SIZE, CHANNELS)
                expected += [int.from_bytes(payload[start : start + CHANNELS], "little") for start in starts]
            ready = not steps.chance(self.stalls[1])
            out = await steps.step(
                s_valid_i=offered is not None, s_slot_i=offered or 0, m_ready_i=ready, read_data_i=data
            )
            if out["read_en_o"]:
                data = self.memory[out["read_addr_o"]]
            if out["fetched_o"]:
                slot = inside.pop(0)
                assert out["fetched_slot_o"] == slot
                for n in range(WORDS):
                    self.memory[slot * WORDS + n] = steps.random.getrandbits(64)
            if offered is not None and out["s_ready_o"]:
                self.taken.append(steps.cycle)
                inside.append(offered)
                offered = None
            if held is not None:
                assert out["m_valid_o"], "valid dropped while a pixel waited"
                assert out["m_data_o"] == held, "the pixel changed while it waited"
            held = None
            if out["m_valid_o"]:
                if ready:
                    self.pixels.append(out["m_data_o"])
                    self.cycles.append(steps.cycle)
                else:
                    held = out["m_data_o"]
        assert self.pixels == expected
        assert not inside


@cocotb.test()
@cocotb.parametrize(stalls=[(0.0, 0.0), (0.7, 0.0), (0.0, 0.6), (0.4, 0.4), (0.9, 0.9)])
async def pixels_are_the_frames_bytes(dut: Any, stalls: tuple[float, float]) -> None:
    """Whatever the stalls, and though a slot is overwritten right after it was fetched."""
    await Feed(dut, stalls).run(40)


@cocotb.test()
async def no_bubble_between_frames(dut: Any) -> None:
    """At full speed a pixel a cycle from the first to the last, and the first after 4 cycles."""
    feed = Feed(dut, (0.0, 0.0))
    await feed.run(30)
    assert feed.cycles[0] - feed.taken[0] == 4
    assert feed.cycles == list(range(feed.cycles[0], feed.cycles[0] + 30 * PIXELS))
