"""The memory in two banks against a model of both."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import os
from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

P: dict[str, Any] = bench_parameters()
WIDTH, DEPTH, MEMORY = P["Width"], P["Depth"], P["Memory"]
WORDS = [int(word) for word in os.environ["EDGESIGHT_WORDS"].split()]
STEPS = -(-WIDTH // 32)


def bus(bank: int, shift: int = 0, store: int = 0, memory: int = MEMORY, address: int = 0, data: int = 0) -> int:
    """A cycle of the bus, as weights_pkg.sv packs it."""
    return ((((bank << 1 | shift) << 1 | store) << 16 | memory) << 20 | address) << 32 | data


async def written(steps: Steps, bank: int, address: int, word: int, memory: int = MEMORY) -> None:
    """Write a word into the bank that is not read, reading on at random."""
    for step in reversed(range(STEPS)):
        await steps.step(bus_i=bus(bank, shift=1, memory=memory, data=word >> 32 * step & 0xFFFF_FFFF))
        if steps.chance(0.3):
            await steps.step(bus_i=bus(bank))
    await steps.step(bus_i=bus(bank, store=1, memory=memory, address=address))
    await steps.step(bus_i=bus(bank))


async def read(steps: Steps, bank: int, address: int) -> int:
    """The word at an address of the bank that is read."""
    await steps.step(bus_i=bus(bank), en_i=1, addr_i=address)
    return (await steps.step(en_i=0))["data_o"]


@cocotb.test()
async def what_is_written_is_read_after_the_swap_and_not_before(dut: Any) -> None:
    """Six versions, one after the other; each answers whole until the next one is swapped in."""
    steps = Steps(dut, ("data_o",))
    await steps.start(bus_i=bus(0), en_i=0, addr_i=0)
    now, bank = list(WORDS), 0
    for _ in range(6):
        new = [steps.random.getrandbits(WIDTH) for _ in range(DEPTH)]
        for address in steps.random.sample(range(DEPTH), DEPTH):
            await written(steps, bank, address, new[address])
            await written(steps, bank, address, steps.random.getrandbits(WIDTH), memory=MEMORY + 1)  # of another one
            at = steps.random.randrange(DEPTH)
            assert await read(steps, bank, at) == now[at]
        assert [await read(steps, bank, at) for at in range(DEPTH)] == now
        now, bank = new, 1 - bank
        assert [await read(steps, bank, at) for at in range(DEPTH)] == now


@cocotb.test()
async def a_word_is_read_one_cycle_later_and_held(dut: Any) -> None:
    """While the other bank is written and nobody reads, the last word stays."""
    steps = Steps(dut, ("data_o",))
    await steps.start(bus_i=bus(0), en_i=0, addr_i=0)
    shown = await read(steps, 0, 0)
    for address in range(DEPTH):
        await written(steps, 0, address, 0)
        assert (await steps.step())["data_o"] == shown
