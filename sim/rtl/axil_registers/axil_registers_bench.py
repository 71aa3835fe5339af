"""The registers, through another maker's AXI4-Lite master that pauses at random."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from edgesight.host.registers import (
    CONTROL_FLUSH,
    CONTROL_SOFT_RESET,
    INTERFACE_VERSION,
    KERNEL_ID,
    MAX_STAGES,
    OFFSETS,
    STATUS_BATCH_OPEN,
    STATUS_DRAINING,
    STATUS_FLUSHING,
    STATUS_RECEIVING,
    THRESHOLD_NEVER,
    THRESHOLD_SETS,
)
from edgesight.sim.rtl.runner import bench_parameters

STAGES, WORDS = (int(bench_parameters()[name]) for name in ("Stages", "WeightsWords"))
LOADING, BANK = 1, 1 << 5  # of the loader's status
DOWN = range(MAX_STAGES - 1, -1, -1)
COUNTERS = (
    *("frames", *(f"answered_stage{stage}" for stage in DOWN), "offloaded", "errors", "bad_headers"),
    *("input_stall_cycles", "output_stall_cycles", "last_cycles", *(f"interval{stage}" for stage in DOWN)),
)
SEEN = "s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid", "s_axil_bready", "s_axil_rready"


class Registers:
    """The device and its master."""

    def __init__(self, dut: Any) -> None:
        """Use `Registers.started`."""
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        dut._log.info("seed %s", cocotb.RANDOM_SEED)
        # The ports carry their direction at the end of their names, which the master's bus does not know.
        bus = AxiLiteBus.from_prefix(_Renamed(dut), "s_axil")
        self.master = AxiLiteMaster(bus, dut.clk_i)

    @classmethod
    async def started(cls, dut: Any, pause: float = 0.3) -> Registers:
        """Registers fresh from reset; `pause`: probability that a channel pauses in a cycle."""
        for name in ("set_i", "faults_i", "status_i", "counters_i", "weights_status_i", "weights_taken_i"):
            getattr(dut, name).value = 0
        dut.weights_ready_i.value = 1
        dut.weights_hash_i.value = 0x76543210
        for name in SEEN:
            getattr(dut, f"{name}_i").value = 0
        dut.rst_ni.value = 0
        cocotb.start_soon(Clock(dut.clk_i, 2, "ns").start())
        registers = cls(dut)
        write, read = registers.master.write_if, registers.master.read_if
        for interface in (write, read):
            interface.log.setLevel("WARNING")
        if pause:
            for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
                channel.set_pause_generator(iter(lambda: registers.random.random() < pause, None))
        for _ in range(3):
            await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        return registers

    async def read(self, name: str, index: int = 0) -> int:
        """Read a register by name."""
        return int(await self.master.read_dword(OFFSETS[name] + 4 * index))

    async def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register by name."""
        await self.master.write_dword(OFFSETS[name] + 4 * index, value)


class _Renamed:
    """A device whose AXI4-Lite ports are found without `_i` and `_o`."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._name = dut._name

    def __getattr__(self, name: str) -> Any:
        for suffix in ("", "_i", "_o"):
            if hasattr(self._dut, name + suffix):
                return getattr(self._dut, name + suffix)
        raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return [name.removesuffix("_i").removesuffix("_o") for name in dir(self._dut)]


@cocotb.test()
async def reset_values_and_parameters(dut: Any) -> None:
    """What the register map says, and 0 where no register is."""
    registers = await Registers.started(dut)
    must = {
        "id": KERNEL_ID,
        "version": INTERFACE_VERSION,
        "build_hash": 0x89ABCDEF,
        "weights_hash": 0x76543210,
        "control": 0,
        "status": 0,
        "batch": 1,
        "faults": 0,
        "classes": 12,
        "pixels": 77,
        "channels": 3,
        "frame_slots": 16,
        "stages": STAGES,
        "record_beats": 7,
        "weights_control": 0,
        "weights_data": 0,
        "weights_crc": 0,
        "weights_new_hash": 0,
        "weights_status": 0,
        "weights_words": WORDS,
        "weights_taken": 0,
    }
    assert {name: await registers.read(name) for name in must} == must
    for set_index in range(THRESHOLD_SETS):
        for stage in range(MAX_STAGES):
            assert await registers.read(f"threshold{stage}", set_index) == THRESHOLD_NEVER
    known = {offset + 4 * n for name, offset in OFFSETS.items() for n in range(16 if "threshold" in name else 1)}
    for address in range(0, 0x280, 4):
        if address not in known:
            await registers.master.write_dword(address, 0xFFFF_FFFF)
            assert await registers.master.read_dword(address) == 0
    absent = f"threshold{STAGES}"
    if absent in OFFSETS:  # of a stage that is not there
        await registers.write(absent, 1, 2)
        assert await registers.read(absent, 2) == THRESHOLD_NEVER
    assert {name: await registers.read(name) for name in must} == must


@cocotb.test()
async def thresholds_are_a_memory(dut: Any) -> None:
    """Writes of any bytes, reads, and the row that the cascade sees."""
    registers = await Registers.started(dut)
    rng = registers.random
    start, row_bytes = OFFSETS["threshold0"], 4 * THRESHOLD_SETS
    size = STAGES * row_bytes
    assert [OFFSETS[f"threshold{stage}"] - start for stage in range(MAX_STAGES)] == [
        row_bytes * stage for stage in range(MAX_STAGES)
    ]
    memory = bytearray(b"\xff" * size)
    for _ in range(150):
        first = rng.randrange(size)
        data = rng.randbytes(rng.randrange(1, min(9, size - first) + 1))
        await registers.master.write(start + first, data)
        memory[first : first + len(data)] = data
        first = rng.randrange(size - 8)
        found = await registers.master.read(start + first, 8)
        assert bytes(found.data) == memory[first : first + 8]
        row = rng.randrange(THRESHOLD_SETS)
        dut.set_i.value = row
        await RisingEdge(dut.clk_i)
        seen = int(dut.thresholds_o.value)
        for stage in range(MAX_STAGES):
            at = row_bytes * stage + 4 * row
            must = int.from_bytes(memory[at : at + 4], "little") if stage < STAGES else THRESHOLD_NEVER
            assert seen >> 32 * stage & 0xFFFF_FFFF == must


@cocotb.test()
async def a_reset_forgets_all_thresholds_at_once(dut: Any) -> None:
    """Frames see no row of before it, though rows are overwritten one by one, and no write is lost meanwhile."""
    registers = await Registers.started(dut, pause=0.0)
    for row in range(THRESHOLD_SETS):
        await registers.write("threshold0", row, row)
    dut.rst_ni.value = 0
    for _ in range(2):
        await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    first = cocotb.start_soon(registers.write("threshold0", 77, 5))
    for cycle in range(2 * THRESHOLD_SETS):
        if not first.done():
            dut.set_i.value = cycle % THRESHOLD_SETS
            await RisingEdge(dut.clk_i)
            seen = int(dut.thresholds_o.value) & 0xFFFF_FFFF
            assert seen == THRESHOLD_NEVER or (seen == 77 and cycle >= THRESHOLD_SETS)
    assert first.done()
    assert [await registers.read("threshold0", row) for row in range(THRESHOLD_SETS)] == [
        77 if row == 5 else THRESHOLD_NEVER for row in range(THRESHOLD_SETS)
    ]


@cocotb.test()
async def commands_last_one_cycle(dut: Any) -> None:
    """Each written command is one pulse, and only the written one."""
    registers = await Registers.started(dut)
    pulses = [0, 0]

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk_i)
            pulses[0] += int(dut.soft_reset_o.value)
            pulses[1] += int(dut.flush_o.value)

    cocotb.start_soon(watch())
    must = [0, 0]
    for _ in range(40):
        command = registers.random.randrange(4)
        await registers.write("control", command)
        must[0] += bool(command & CONTROL_SOFT_RESET)
        must[1] += bool(command & CONTROL_FLUSH)
        assert await registers.read("control") == 0
        assert pulses == must
    await registers.master.write(OFFSETS["control"] + 1, b"\xff")
    assert pulses == must, "a strobe that was not set gave a command"


@cocotb.test()
async def faults_stick_until_cleared(dut: Any) -> None:
    """A pulse sets a bit; writing 1 clears it and leaves the others; a pulse in the same cycle wins."""
    registers = await Registers.started(dut, pause=0.0)
    dut.faults_i.value = 0xA5
    await FallingEdge(dut.clk_i)
    dut.faults_i.value = 0
    assert await registers.read("faults") == 0xA5
    await registers.write("faults", 0x21)
    assert await registers.read("faults") == 0x84
    dut.faults_i.value = 0x80
    await registers.write("faults", 0xFF)
    assert await registers.read("faults") == 0x80
    dut.faults_i.value = 0
    await registers.write("faults", 0x80)
    assert await registers.read("faults") == 0


@cocotb.test()
async def counters_and_status_have_their_places(dut: Any) -> None:
    """Every field of the cascade's state at its own address and bit; the batch goes out as written."""
    registers = await Registers.started(dut)
    values = [registers.random.getrandbits(32) for _ in COUNTERS]
    dut.counters_i.value = sum(value << 32 * n for n, value in enumerate(reversed(values)))
    assert [await registers.read(name) for name in COUNTERS] == values
    fields = (STATUS_FLUSHING, STATUS_BATCH_OPEN, STATUS_RECEIVING, STATUS_DRAINING)
    for n, field in enumerate(fields):
        dut.status_i.value = 0xBEEF << 4 | 8 >> n
        assert await registers.read("status") == 0xBEEF << 16 | field
    await registers.write("batch", 0x1234_5678)
    assert await registers.read("batch") == 0x5678
    assert int(dut.batch_o.value) == 0x5678


@cocotb.test()
async def traffic_both_ways_at_once(dut: Any) -> None:
    """Reads and writes under way together do not disturb each other."""
    registers = await Registers.started(dut)

    async def write() -> None:
        for n in range(60):
            await registers.write(f"threshold{STAGES - 1}", n, n % THRESHOLD_SETS)

    writing = cocotb.start_soon(write())
    while not writing.done():
        assert await registers.read("id") == KERNEL_ID
    last = [await registers.read(f"threshold{STAGES - 1}", set_index) for set_index in range(THRESHOLD_SETS)]
    assert last == [n + 48 if n < 12 else n + 32 for n in range(THRESHOLD_SETS)]


@cocotb.test()
async def commands_and_words_of_weights_go_to_the_loader(dut: Any) -> None:
    """One pulse a command, each word once, as late as there is room; a kernel with fixed weights gives none of it."""
    registers = await Registers.started(dut)
    seen: list[tuple[str, int]] = []

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk_i)
            for name in ("begin", "swap", "cancel"):
                if dut[f"weights_{name}_o"].value:
                    seen.append((name, 0))
            if dut.weights_valid_o.value and dut.weights_ready_i.value:
                seen.append(("word", int(dut.weights_word_o.value)))

    async def pause() -> None:
        while True:
            await FallingEdge(dut.clk_i)
            dut.weights_ready_i.value = registers.random.random() < 0.3

    cocotb.start_soon(watch())
    cocotb.start_soon(pause())
    names = ("begin", "swap", "cancel")
    must: list[tuple[str, int]] = []
    for _ in range(40):
        if registers.random.random() < 0.5:
            place = registers.random.randrange(3)
            await registers.write("weights_control", 1 << place)
            must += [(names[place], 0)] if WORDS else []
        else:
            word = registers.random.getrandbits(32)
            await registers.write("weights_data", word)
            must.append(("word", word))
    assert seen == must
    for name in ("crc", "new_hash"):
        await registers.write(f"weights_{name}", 0xBEEF_0123)
        assert await registers.read(f"weights_{name}") == (0xBEEF_0123 if WORDS else 0)
        assert int(dut[f"weights_{name}_o"].value) == (0xBEEF_0123 if WORDS else 0)
    dut.weights_taken_i.value = 77
    assert await registers.read("weights_taken") == 77
    for bit in range(6):
        dut.weights_status_i.value = 1 << bit
        assert await registers.read("weights_status") == 1 << bit


@cocotb.test(skip=not WORDS)
async def a_load_has_a_threshold_table_of_its_own(dut: Any) -> None:
    """Frames see the table of the bank in use; the bus the new one from `begin` to the swap or the cancellation."""
    registers = await Registers.started(dut)

    async def seen_by_frames(row: int) -> int:
        dut.set_i.value = row
        await RisingEdge(dut.clk_i)
        return int(dut.thresholds_o.value) & 0xFFFF_FFFF

    await registers.write("threshold0", 11, 3)
    for bank, (old, new) in enumerate(((11, 22), (22, 33))):
        dut.weights_status_i.value = bank * BANK
        await registers.write("weights_control", 1)
        dut.weights_status_i.value = bank * BANK | LOADING
        for _ in range(THRESHOLD_SETS + 1):  # while the new table is emptied
            assert await seen_by_frames(3) == old
        # What a load before it left in this table is forgotten.
        assert await registers.read("threshold0", 3) == THRESHOLD_NEVER
        await registers.write("threshold0", new, 3)
        assert await registers.read("threshold0", 3) == new
        assert await seen_by_frames(3) == old
        dut.weights_status_i.value = bank * BANK  # cancelled
        assert await registers.read("threshold0", 3) == old
        dut.weights_status_i.value = (1 - bank) * BANK  # swapped in
        assert await registers.read("threshold0", 3) == new
        assert await seen_by_frames(3) == new
