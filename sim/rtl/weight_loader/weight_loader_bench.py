"""The loader against images, whole and spoilt, and swaps that wait for frames."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import zlib
from typing import Any

import cocotb

from edgesight.sim.rtl.steps import Steps

OLD, NEW = 0x01D, 0x2E3
LOADING, READY, DAMAGED, SWAPPING, REFUSED, BANK = (1 << bit for bit in range(6))
OUTPUTS = ("word_ready_o", "hold_o", "status_o", "taken_o", "hash_o", "bus_o")
IDLE = {"begin_i": 0, "cancel_i": 0, "swap_i": 0, "word_valid_i": 0}
SETTLE = 4
# Memory and words [words, steps], the uppermost step first.
MEMORIES = [(7, [[1], [2], [3]]), (300, [[10, 11, 12], [20, 21, 22]])]


def image() -> list[int]:
    """What is to be taken."""
    words = []
    for memory, content in MEMORIES:
        words += [len(content[0]) - 1 << 16 | memory, len(content) - 1, *(step for word in content for step in word)]
    return words


def crc(words: list[int]) -> int:
    """As the package states it."""
    return zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))


class Loader:
    """The device, and what it wrote: (bank, memory, address) -> steps."""

    def __init__(self, dut: Any) -> None:
        """Use `Loader.started`."""
        self.steps = Steps(dut, OUTPUTS)
        self.written: dict[tuple[int, int, int], list[int]] = {}
        self._word: list[int] = []

    @classmethod
    async def started(cls, dut: Any, stated: int | None = None) -> Loader:
        """Fresh from reset, with frames inside; `stated`: the checksum."""
        loader = cls(dut)
        given = crc(image()) if stated is None else stated
        await loader.steps.start(**IDLE, word_i=0, crc_i=given, new_hash_i=NEW, idle_i=0)
        return loader

    async def step(self, **inputs: int) -> dict[str, int]:
        """A cycle; what the bus says in it is kept."""
        seen = await self.steps.step(**{**IDLE, **inputs})
        bus = seen["bus_o"]
        bank, shift, store = (bus >> place & 1 for place in (70, 69, 68))
        if shift:
            self._word.append(bus & 0xFFFF_FFFF)
        if store:
            self.written[1 - bank, bus >> 52 & 0xFFFF, bus >> 32 & 0xF_FFFF] = self._word
            self._word = []
        return seen

    async def send(self, words: list[int]) -> None:
        """Give words, each as long as it must wait, with pauses."""
        for word in words:
            while not (await self.step(word_valid_i=1, word_i=word))["word_ready_o"]:
                pass
            while self.steps.chance(0.3):
                await self.step()
        for _ in range(6):
            await self.step()

    async def status(self) -> int:
        """What is so."""
        return (await self.step())["status_o"]


def must(bank: int) -> dict[tuple[int, int, int], list[int]]:
    """All that the image writes."""
    return {(bank, memory, at): word for memory, content in MEMORIES for at, word in enumerate(content)}


@cocotb.test()
async def an_image_is_written_into_the_other_bank_and_swapped_between_frames(dut: Any) -> None:
    """Three times; the swap waits for frames, keeps others out, and nothing changes before."""
    loader = await Loader.started(dut)
    bank, was = 0, OLD
    for turn in range(3):
        loader.written.clear()
        await loader.step(begin_i=1)
        await loader.send(image())
        assert loader.written == must(1 - bank)
        assert await loader.status() == LOADING | READY | BANK * bank
        await loader.step(swap_i=1, new_hash_i=NEW + turn, idle_i=0)
        for _ in range(20):
            seen = await loader.step()
            assert seen["hold_o"]
            assert seen["hash_o"] == was
            assert seen["status_o"] == LOADING | READY | SWAPPING | BANK * bank
        held = [(await loader.step(idle_i=1))["hold_o"] for _ in range(SETTLE + 3)]
        assert held == [1] * (SETTLE + 1) + [0] * 2
        bank, was = 1 - bank, NEW + turn
        seen = await loader.step(idle_i=0)
        assert (seen["hash_o"], seen["status_o"]) == (was, BANK * bank)


@cocotb.test()
async def a_damaged_image_is_never_swapped_in(dut: Any) -> None:
    """One bit off, wherever it is, or another checksum: the bank stays, and the next load is as good as ever."""
    loader = await Loader.started(dut)
    for place in range(len(image())):
        spoilt = image()
        spoilt[place] ^= 1 << loader.steps.random.randrange(32)
        await loader.step(begin_i=1)
        await loader.send(spoilt)
        assert await loader.status() == LOADING | DAMAGED
        await loader.step(swap_i=1, idle_i=1)
        await loader.step()
        assert await loader.status() == LOADING | DAMAGED | REFUSED
        assert (await loader.step())["hash_o"] == OLD
    await loader.step(begin_i=1)
    await loader.send(image())
    assert await loader.status() == LOADING | READY


@cocotb.test()
async def a_swap_without_a_whole_load_is_refused(dut: Any) -> None:
    """Before any load, with too few words, after a cancellation; words too many are dropped."""
    loader = await Loader.started(dut)

    async def refused() -> None:
        before = await loader.status()
        await loader.step(swap_i=1, idle_i=1)
        await loader.step()
        seen = await loader.step()
        assert seen["status_o"] == before | REFUSED
        assert (seen["hold_o"], seen["hash_o"]) == (0, OLD)

    await refused()
    for count in range(len(image())):
        await loader.step(begin_i=1)
        await loader.send(image()[:count])
        assert (await loader.step())["taken_o"] == count
        await refused()
    await loader.step(begin_i=1)
    await loader.send(image())
    await loader.step(cancel_i=1)
    assert await loader.status() == 0
    await refused()
    await loader.send(image())  # no load was begun
    assert (await loader.step())["taken_o"] == len(image())
    await loader.step(begin_i=1)
    await loader.send(image())
    loader.written.clear()
    await loader.send([5, 6, 7])
    assert loader.written == {}
    assert await loader.status() == LOADING | READY


@cocotb.test()
async def an_image_that_names_too_many_words_ends_nowhere(dut: Any) -> None:
    """Its length is right and so is its checksum, but its last memory is not whole."""
    spoilt = image()
    spoilt[6] += 1
    loader = await Loader.started(dut, crc(spoilt))
    await loader.step(begin_i=1)
    await loader.send(spoilt)
    assert await loader.status() == LOADING | DAMAGED


@cocotb.test()
async def nothing_disturbs_a_swap(dut: Any) -> None:
    """Commands and words that come while it waits have no effect."""
    loader = await Loader.started(dut)
    await loader.step(begin_i=1)
    await loader.send(image())
    await loader.step(swap_i=1)
    loader.written.clear()
    for command in ("begin_i", "cancel_i", "swap_i"):
        await loader.step(**{command: 1})
        assert await loader.status() == LOADING | READY | SWAPPING
    await loader.send([1, 2, 3])
    assert loader.written == {}
    for _ in range(SETTLE + 3):
        await loader.step(idle_i=1)
    seen = await loader.step()
    assert (seen["status_o"], seen["hash_o"]) == (BANK, NEW)
