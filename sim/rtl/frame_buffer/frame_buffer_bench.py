"""The frame buffer against a dictionary."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

WORDS, READERS = (int(bench_parameters()[name]) for name in ("Words", "Readers"))
ADDRESS_BITS = (WORDS - 1).bit_length()


@cocotb.test()
async def reads_give_what_was_written_and_hold_it(dut: Any) -> None:
    """All ports read on their own, one cycle later, and hold their value while they do not read."""
    steps = Steps(dut, ("read_data_o",))
    await steps.start(write_en_i=0, write_addr_i=0, write_data_i=0, read_en_i=0, read_addr_i=0)
    memory: dict[int, int] = {}
    shown: list[int | None] = [None] * READERS
    for _ in range(3000):
        write, address, data = steps.chance(0.5), steps.random.randrange(WORDS), steps.random.getrandbits(64)
        # What is written in this cycle can be read from the next one on.
        readable = [word for word in memory if not (write and word == address)]
        reads = [steps.random.choice(readable) if readable and steps.chance(0.5) else None for _ in range(READERS)]
        out = await steps.step(
            write_en_i=write,
            write_addr_i=address,
            write_data_i=data,
            read_en_i=sum((read is not None) << port for port, read in enumerate(reads)),
            read_addr_i=sum((read or 0) << port * ADDRESS_BITS for port, read in enumerate(reads)),
        )
        for port, read in enumerate(reads):
            seen = out["read_data_o"] >> 64 * port & (1 << 64) - 1
            assert shown[port] is None or seen == shown[port]
            if read is not None:
                shown[port] = memory[read]
        if write:
            memory[address] = data
    assert len(memory) == WORDS
