"""The cascade with stand-in stages: every field of every record, on a bus that stalls, breaks and is reset."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import random
from collections import Counter, deque
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from host.registers import (
    INTERFACE_VERSION,
    KERNEL_ID,
    OFFSETS,
    THRESHOLD_NEVER,
    THRESHOLD_SETS,
    Error,
)
from sim.bench import bench_parameters
from sim.cascade.model import FAULTS, Beat, Frame, Frames, Record, Shape, expected

PARAMETERS = {name: int(value) for name, value in bench_parameters().items()}
SHAPE = Shape(PARAMETERS["Pixels"], PARAMETERS["Channels"], 4, (8, 11))  # the rest as kernel.sv has it
FRAME_SLOTS, DELAY1 = 4, PARAMETERS["Delay1"]
ALWAYS, NEVER = 0, THRESHOLD_NEVER
AT_STAGE0, AT_STAGE1, OFFLOADED = (ALWAYS, ALWAYS), (NEVER, ALWAYS), (NEVER, NEVER)


class TB:
    """The kernel on its three buses."""

    def __init__(self, dut: Any) -> None:
        """Use `TB.started`."""
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        dut._log.info("seed %s", cocotb.RANDOM_SEED)
        self.frames = Frames(SHAPE, self.random)
        self.cycle = 0
        self.stalls = (0.0, 0.0)  # probability of standing still in a cycle: source, sink
        self.waiting: deque[tuple[Frame | None, Beat]] = deque()
        self.headers: dict[int, int] = {}  # cycle in which the header was accepted, by tag
        self.last_beats: dict[int, int] = {}  # the same of the frame's last beat
        self.out: list[tuple[int, Beat]] = []
        self.taps: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])  # cycle and tag, by stage
        self.thresholds: dict[int, tuple[int, int]] = {s: OFFLOADED for s in range(THRESHOLD_SETS)}
        self.latched: dict[int, tuple[int, int]] = {}  # a frame's thresholds, by tag
        self.registers: Any = None

    @classmethod
    async def started(cls, dut: Any) -> TB:
        """A kernel fresh from reset, its buses driven by this object."""
        tb = cls(dut)
        for name in ("s_axis_tvalid", "m_axis_tready", "s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid"):
            getattr(dut, name).value = 0
        for stage in (dut.u_stage0, dut.u_stage1):
            stage.block.value = 0
        dut.rst_ni.value = 0
        cocotb.start_soon(Clock(dut.clk_i, 2, "ns").start())
        tb.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk_i)
        for name in ("write_if", "read_if"):
            getattr(tb.registers, name).log.setLevel("WARNING")
        for _ in range(3):
            await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        cocotb.start_soon(tb._pump())
        return tb

    async def _pump(self) -> None:
        """Drive and watch both streams: inputs change at falling edges, handshakes are seen at rising ones."""
        dut, rng = self.dut, self.random
        current: tuple[Frame | None, Beat] | None = None
        held: Beat | None = None
        while True:
            await FallingEdge(dut.clk_i)
            if not self.waiting and current is not None and dut.rst_ni.value == 0:
                current = None
            if current is None and self.waiting and not (self.stalls[0] and rng.random() < self.stalls[0]):
                current = self.waiting.popleft()
                beat = current[1]
                dut.s_axis_tdata.value = beat.data
                dut.s_axis_tkeep.value = beat.keep
                dut.s_axis_tlast.value = beat.last
            dut.s_axis_tvalid.value = current is not None
            ready = not (self.stalls[1] and rng.random() < self.stalls[1])
            dut.m_axis_tready.value = ready
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            if dut.rst_ni.value == 0:
                held = None
                continue
            if current is not None and dut.s_axis_tready.value:
                frame, beat = current
                if frame is not None:
                    if beat is frame.beats[0]:
                        self.headers[frame.tag] = self.cycle
                        self.latched[frame.tag] = self.thresholds[frame.set_index % THRESHOLD_SETS]
                    if beat is frame.beats[-1]:
                        self.last_beats[frame.tag] = self.cycle
                current = None
            if dut.m_axis_tvalid.value:
                data = int(dut.m_axis_tdata.value)
                beat = Beat(data, int(dut.m_axis_tkeep.value), bool(dut.m_axis_tlast.value))
                assert held is None or held == beat, "the beat changed while it waited"
                held = None if ready else beat
                if ready:
                    self.out.append((self.cycle, beat))
            else:
                assert held is None, "valid dropped while a beat waited"
            for stage, (valid, tag) in enumerate(
                ((dut.tap0_valid_o, dut.tap0_tag_o), (dut.tap1_valid_o, dut.tap1_tag_o))
            ):
                if valid.value:
                    self.taps[stage].append((self.cycle, int(tag.value)))

    def send(self, *frames: Frame) -> None:
        """Put frames on the bus, behind those that still wait."""
        for frame in frames:
            self.waiting.extend((frame, beat) for beat in frame.beats)

    @property
    def records(self) -> list[Record]:
        """The records that came out so far."""
        beats = [beat for _, beat in self.out]
        assert all(beat.keep == 0xFF for beat in beats)
        assert not any(beat.last for beat in beats[::2]), "TLAST on a record's first beat"
        return [Record.of(low.data, high.data) for low, high in zip(beats[::2], beats[1::2], strict=False)]

    @property
    def batches(self) -> list[int]:
        """Records of every batch that TLAST closed."""
        lasts = [index for index, (_, beat) in enumerate(self.out[1::2]) if beat.last]
        return [end - start for start, end in zip([-1, *lasts[:-1]], lasts, strict=True)]

    async def cycles(self, count: int) -> None:
        """Let some cycles pass."""
        for _ in range(count):
            await FallingEdge(self.dut.clk_i)

    async def until(self, count: int, limit: int = 60_000) -> list[Record]:
        """Wait for `count` records altogether, and a little longer, so that one too many is seen."""
        deadline = self.cycle + limit
        while len(self.out) < 2 * count:
            assert self.cycle < deadline, f"stuck: {len(self.out) / 2} of {count} records"
            await FallingEdge(self.dut.clk_i)
        await self.cycles(3 * SHAPE.pixels + DELAY1 + 40)
        assert len(self.out) == 2 * count, f"{len(self.out) / 2} records instead of {count}"
        return self.records

    async def read(self, name: str, index: int = 0) -> int:
        """Read a register."""
        return int(await self.registers.read_dword(OFFSETS[name] + 4 * index))

    async def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register."""
        await self.registers.write_dword(OFFSETS[name] + 4 * index, value)

    async def set_row(self, set_index: int, thresholds: tuple[int, int]) -> None:
        """Write a row of the threshold table, which no frame on its way into the kernel may name."""
        for stage in (0, 1):
            await self.write(f"threshold{stage}", thresholds[stage], set_index)
        self.thresholds[set_index] = thresholds

    async def random_rows(self) -> None:
        """Fill the threshold table: always, never, and margins that decide either way."""
        rows = [AT_STAGE0, AT_STAGE1, OFFLOADED]
        rows += [(self.random.randrange(1, 120), self.random.randrange(1, 1000)) for _ in range(13)]
        for set_index, row in enumerate(rows):
            await self.set_row(set_index, row)

    def check(self, frames: list[Frame]) -> None:
        """Exactly one record for every valid header, each with every field as it must be."""
        records = self.records
        must = Counter(expected(f, self.latched[f.tag], SHAPE) for f in frames if f.error is not None)
        got = Counter(record.answer for record in records)
        assert got == must, f"too many: {got - must}, missing: {must - got}"
        # Cycles count from the header to the making; records are made one by one and leave in that order.
        made = [self.headers[r.tag] + r.cycles for r in records if r.error == Error.NONE]
        assert all(later > earlier for earlier, later in pairwise(made)), "cycles out of order"
        left = {record.tag: cycle for record, (cycle, _) in zip(records, self.out[::2], strict=True)}
        for record in records:
            assert self.headers[record.tag] + record.cycles <= left[record.tag] - 2

    async def check_counters(self, frames: list[Frame]) -> None:
        """The counters, from reset on."""
        records = self.records
        good = [r for r in records if r.error == Error.NONE]
        assert await self.read("frames") == sum(f.error is not None for f in frames)
        assert await self.read("answered_stage0") == sum(r.stage == 0 for r in good)
        assert await self.read("answered_stage1") == sum(r.stage == 1 for r in good)
        assert await self.read("offloaded") == sum(r.stage == 0x11 for r in good)
        assert await self.read("errors") == len(records) - len(good)
        assert await self.read("bad_headers") == sum(f.error is None for f in frames)
        if good:
            assert await self.read("last_cycles") == good[-1].cycles
        faults = {int(f.error or 0) for f in frames if f.fault is not None}
        assert await self.read("faults") == sum(1 << fault for fault in faults)


@cocotb.test()
async def registers_tell_what_was_built(dut: Any) -> None:
    """Identity, shape and reset values."""
    tb = await TB.started(dut)
    must = {
        "id": KERNEL_ID,
        "version": INTERFACE_VERSION,
        "build_hash": 0x5EED5EED,
        "classes": SHAPE.classes,
        "pixels": SHAPE.pixels,
        "channels": SHAPE.channels,
        "frame_slots": FRAME_SLOTS,
        "batch": 1,
        "status": 0,
        "faults": 0,
        "frames": 0,
    }
    assert {name: await tb.read(name) for name in must} == must
    for set_index in range(THRESHOLD_SETS):
        assert await tb.read("threshold0", set_index) == await tb.read("threshold1", set_index) == NEVER


@cocotb.test()
async def one_frame_one_record(dut: Any) -> None:
    """An empty kernel: the record's cycles are exact."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT_STAGE0)
    await tb.set_row(1, AT_STAGE1)
    frames: list[Frame] = []
    for set_index in (0, 1, 2, 0):
        frames.append(tb.frames.good(set_index))
        tb.send(frames[-1])
        record = (await tb.until(len(frames)))[-1]
        left = tb.out[-2][0]
        assert record.cycles == left - 2 - tb.headers[record.tag]
        assert await tb.read("last_cycles") == record.cycles
    for fault in FAULTS:
        frames.append(tb.frames.bad(fault))
        tb.send(frames[-1])
        await tb.until(sum(f.error is not None for f in frames))
    tb.check(frames)
    await tb.check_counters(frames)


@cocotb.test()
async def stage_0_takes_a_pixel_a_cycle(dut: Any) -> None:
    """No bubble between frames: the interval is Pixels."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT_STAGE0)
    frames = [tb.frames.good() for _ in range(30)]
    tb.send(*frames)
    await tb.until(len(frames))
    tb.check(frames)
    stamps = [cycle for cycle, _ in tb.taps[0]]
    intervals = [later - earlier for earlier, later in pairwise(stamps[5:])]
    assert set(intervals) == {SHAPE.pixels}, intervals
    assert await tb.read("interval0") == SHAPE.pixels
    assert await tb.read("interval1") == 0


@cocotb.test()
@cocotb.parametrize(stalls=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.8), (0.4, 0.6), (0.0, 0.97)])
async def random_traffic(dut: Any, stalls: tuple[float, float]) -> None:
    """Good and bad frames under 16 threshold sets, both sides stalling."""
    tb = await TB.started(dut)
    await tb.random_rows()
    tb.stalls = stalls
    frames = [tb.frames.good(tb.random.randrange(THRESHOLD_SETS)) for _ in range(120)]
    frames += [tb.frames.bad(fault, tb.random.randrange(THRESHOLD_SETS)) for fault in FAULTS for _ in range(6)]
    tb.random.shuffle(frames)
    tb.send(*frames)
    await tb.until(sum(f.error is not None for f in frames))
    tb.check(frames)
    await tb.check_counters(frames)
    stages = Counter(record.stage for record in tb.records)
    assert all(stages[stage] for stage in (0, 1, 0x11)), "the draw lacks a stage: choose another seed"
