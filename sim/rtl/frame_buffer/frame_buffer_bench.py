"""The frame buffer against a dictionary."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

WORDS = int(bench_parameters()["Words"])


@cocotb.test()
async def reads_give_what_was_written_and_hold_it(dut: Any) -> None:
    """Both ports read on their own, one cycle later, and hold their value while they do not read."""
    steps = Steps(dut, ("read_data0_o", "read_data1_o"))
    await steps.start(
        write_en_i=0, write_addr_i=0, write_data_i=0, read_en0_i=0, read_addr0_i=0, read_en1_i=0, read_addr1_i=0
    )
    memory: dict[int, int] = {}
    shown: list[int | None] = [None, None]
    for _ in range(3000):
        write, address, data = steps.chance(0.5), steps.random.randrange(WORDS), steps.random.getrandbits(64)
        # What is written in this cycle can be read from the next one on.
        readable = [word for word in memory if not (write and word == address)]
        reads = [steps.random.choice(readable) if readable and steps.chance(0.5) else None for _ in range(2)]
        out = await steps.step(
            write_en_i=write,
            write_addr_i=address,
            write_data_i=data,
            read_en0_i=reads[0] is not None,
            read_addr0_i=reads[0] or 0,
            read_en1_i=reads[1] is not None,
            read_addr1_i=reads[1] or 0,
        )
        for port in range(2):
            assert shown[port] is None or out[f"read_data{port}_o"] == shown[port]
            read = reads[port]
            if read is not None:
                shown[port] = memory[read]
        if write:
            memory[address] = data
    assert len(memory) == WORDS
