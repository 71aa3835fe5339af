"""The cascade with stand-in stages on its three buses: drives both streams, and checks every field of every record."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from edgesight.host.registers import (
    MAX_STAGES,
    OFFSETS,
    RECORD_STAGE_OFFLOAD,
    THRESHOLD_NEVER,
    THRESHOLD_SETS,
    Error,
)
from edgesight.sim.rtl.cascade.model import CUT, WORD, Beat, Frame, Frames, Record, Shape, expected, logits
from edgesight.sim.rtl.runner import bench_parameters

PARAMETERS = {name: int(value) for name, value in bench_parameters().items()}
STAGES = PARAMETERS["Stages"]
CLASSES, FROM_TRUNK = PARAMETERS["Classes"], PARAMETERS["FromTrunk"]
SHAPE = Shape(
    PARAMETERS["Pixels"], PARAMETERS["Channels"], CLASSES, (8, 11, 9, 14)[:STAGES], FROM_TRUNK
)  # widths as in kernel.sv
LOGITS = bool(PARAMETERS["LogitsInRecord"])
# Gates that hold fewer frames than are on their way to a verdict hold the stage before them up.
TIGHT = FROM_TRUNK > 0 and PARAMETERS["FeatureDepth"] < 4 * SHAPE.pixels
RECORD_BEATS = 2 + -(-CLASSES // 2) if LOGITS else 2
# Cycles that the pixels of a frame take: a wide one comes in the fewest equal parts of at most 8 bytes.
FED = SHAPE.payload_bytes // max(part for part in range(1, 9) if SHAPE.channels % part == 0)
FRAME_SLOTS, DELAYS = 4, STAGES**2 * PARAMETERS["DelayLater"]  # delays: more than all stages take together
ALWAYS, NEVER = 0, THRESHOLD_NEVER
AT: list[tuple[int, ...]] = [(NEVER,) * stage + (ALWAYS,) * (STAGES - stage) for stage in range(STAGES)]  # answered at
OFFLOADED: tuple[int, ...] = (NEVER,) * STAGES
LAST = STAGES - 1
OFFLOADED_BY = LAST | RECORD_STAGE_OFFLOAD  # stage byte of an offloaded frame's record
MARGINS = (120, 1000, 240, 8000)  # thresholds by stage that decide either way lie below


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
        self.offering = False  # a beat is on the bus
        self.headers: dict[int, int] = {}  # cycle in which the header was accepted, by tag
        self.last_beats: dict[int, int] = {}  # the same of the frame's last beat
        self.out: list[tuple[int, Beat]] = []
        self.taps: list[list[tuple[int, int]]] = [[] for _ in range(STAGES)]  # cycle and tag, by stage
        self.thresholds: dict[int, tuple[int, ...]] = {s: OFFLOADED for s in range(THRESHOLD_SETS)}
        self.latched: dict[int, tuple[int, ...]] = {}  # a frame's thresholds, by tag
        self.stalled = [0, 0]  # cycles in which a beat waited: in, out
        self.registers: Any = None

    @classmethod
    async def started(cls, dut: Any, *, streams: bool = True) -> TB:
        """A kernel fresh from reset, its registers and, with `streams`, its streams driven by this object."""
        tb = cls(dut)
        for name in ("s_axis_tvalid", "m_axis_tready", "s_axil_awvalid", "s_axil_wvalid", "s_axil_arvalid"):
            getattr(dut, name).value = 0
        for stage in range(STAGES):
            tb.block(stage, False)
        dut.rst_ni.value = 0
        cocotb.start_soon(Clock(dut.clk_i, 2, "ns").start())
        tb.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk_i)
        for name in ("write_if", "read_if"):
            getattr(tb.registers, name).log.setLevel("WARNING")
        for _ in range(3):
            await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        if streams:
            cocotb.start_soon(tb._pump())
        return tb

    async def _pump(self) -> None:
        """Drive and watch both streams: inputs change at falling edges, handshakes are seen at rising ones."""
        dut, rng = self.dut, self.random
        current: tuple[Frame | None, Beat] | None = None
        held: Beat | None = None
        while True:
            await FallingEdge(dut.clk_i)
            if dut.rst_ni.value == 0:
                current = None
            if current is None and self.waiting and not (self.stalls[0] and rng.random() < self.stalls[0]):
                current = self.waiting.popleft()
                beat = current[1]
                dut.s_axis_tdata.value = beat.data
                dut.s_axis_tkeep.value = beat.keep
                dut.s_axis_tlast.value = beat.last
            self.offering = current is not None
            dut.s_axis_tvalid.value = self.offering
            ready = not (self.stalls[1] and rng.random() < self.stalls[1])
            dut.m_axis_tready.value = ready
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            if dut.rst_ni.value == 0:
                held = None
                self.stalled = [0, 0]
                continue
            self.stalled[0] += current is not None and not dut.s_axis_tready.value
            self.stalled[1] += bool(dut.m_axis_tvalid.value) and not ready
            if current is not None and dut.s_axis_tready.value:
                frame, beat = current
                if frame is not None:
                    if beat is frame.beats[0]:
                        self.headers[frame.tag] = self.cycle
                        self.latched[frame.tag] = self.thresholds[frame.set_index % THRESHOLD_SETS]
                    if beat is frame.beats[-1]:
                        self.last_beats[frame.tag] = self.cycle
                current = None
                self.offering = False
            if dut.m_axis_tvalid.value:
                data = int(dut.m_axis_tdata.value)
                beat = Beat(data, int(dut.m_axis_tkeep.value), bool(dut.m_axis_tlast.value))
                assert held is None or held == beat, "the beat changed while it waited"
                held = None if ready else beat
                if ready:
                    self.out.append((self.cycle, beat))
            else:
                assert held is None, "valid dropped while a beat waited"
            if taken := int(dut.tap_valid_o.value):
                tags = int(dut.tap_tag_o.value)
                for stage in range(STAGES):
                    if taken >> stage & 1:
                        self.taps[stage].append((self.cycle, tags >> 32 * stage & 0xFFFF_FFFF))

    def block(self, stage: int, blocked: bool) -> None:
        """Let a stage give no answer, or let it go on."""
        self.dut.gen_stage[stage].u_stage.block.value = blocked

    def send(self, *frames: Frame) -> None:
        """Put frames on the bus, behind those that still wait."""
        for frame in frames:
            self.waiting.extend((frame, beat) for beat in frame.beats)

    async def send_part(self, frame: Frame, count: int) -> Frame:
        """Put only the first `count` beats of a frame on the bus, wait until they are in; returns it as one cut off."""
        self.waiting.extend((frame, beat) for beat in frame.beats[:count])
        await self.accepted()
        return replace(frame, fault=CUT)

    async def accepted(self, limit: int = 20_000) -> None:
        """Wait until every beat was accepted."""
        deadline = self.cycle + limit
        while self.waiting or self.offering:
            assert self.cycle < deadline, f"stuck: {len(self.waiting)} beats still wait"
            await FallingEdge(self.dut.clk_i)

    @property
    def records(self) -> list[Record]:
        """The records that came out so far."""
        return [Record.of(beats[0].data, beats[1].data) for beats in self.beats]

    @property
    def beats(self) -> list[list[Beat]]:
        """The beats of every whole record so far."""
        beats = [beat for _, beat in self.out]
        assert all(beat.keep == 0xFF for beat in beats)
        ends = range(RECORD_BEATS, len(beats) + 1, RECORD_BEATS)
        records = [beats[end - RECORD_BEATS : end] for end in ends]
        assert not any(beat.last for record in records for beat in record[:-1]), "TLAST within a record"
        return records

    @property
    def count(self) -> float:
        """Records that came out so far."""
        return len(self.out) / RECORD_BEATS

    @property
    def batches(self) -> list[int]:
        """Records of every batch that TLAST closed."""
        lasts = [index for index, (_, beat) in enumerate(self.out[RECORD_BEATS - 1 :: RECORD_BEATS]) if beat.last]
        return [end - start for start, end in zip([-1, *lasts[:-1]], lasts, strict=True)]

    @property
    def answers(self) -> list[tuple[int, int]]:
        """Tag and stage byte of the records so far."""
        return [(record.tag, record.stage) for record in self.records]

    async def cycles(self, count: int) -> None:
        """Let some cycles pass."""
        for _ in range(count):
            await FallingEdge(self.dut.clk_i)

    async def until(self, count: int, limit: int = 60_000) -> list[Record]:
        """Wait for `count` records altogether, and a little longer, so that one too many is seen."""
        deadline = self.cycle + limit
        while self.count < count:
            assert self.cycle < deadline, f"stuck: {self.count} of {count} records"
            await FallingEdge(self.dut.clk_i)
        await self.cycles(3 * FED + DELAYS + 40)
        assert self.count == count, f"{self.count} records instead of {count}"
        return self.records

    async def read(self, name: str, index: int = 0) -> int:
        """Read a register."""
        return int(await self.registers.read_dword(OFFSETS[name] + 4 * index))

    async def settled(self, mask: int = 0xFFFF_FFFF, limit: int = 20_000) -> None:
        """Wait until the status register's bits of `mask` are 0."""
        deadline = self.cycle + limit
        while status := await self.read("status") & mask:
            assert self.cycle < deadline, f"stuck: status {status:#x}"

    async def write(self, name: str, value: int, index: int = 0) -> None:
        """Write a register."""
        await self.registers.write_dword(OFFSETS[name] + 4 * index, value)

    async def set_row(self, set_index: int, thresholds: tuple[int, ...]) -> None:
        """Write a row of the threshold table, which no frame on its way into the kernel may name."""
        for stage, threshold in enumerate(thresholds):
            await self.write(f"threshold{stage}", threshold, set_index)
        self.thresholds[set_index] = thresholds

    def random_row(self) -> tuple[int, ...]:
        """Thresholds that decide either way."""
        return tuple(self.random.randrange(1, most) for most in MARGINS[:STAGES])

    async def random_rows(self) -> None:
        """Fill the threshold table: always, never, and margins that decide either way."""
        rows = [AT[0], AT[LAST], OFFLOADED]
        rows += [self.random_row() for _ in range(13)]
        for set_index, row in enumerate(rows):
            await self.set_row(set_index, row)

    def check(self, frames: list[Frame]) -> None:
        """Exactly one record for every valid header, each with every field as it must be; closing records aside."""
        records = [record for record in self.records if record.error != Error.FLUSH]
        must = Counter(expected(f, self.latched[f.tag], SHAPE) for f in frames if f.error is not None)
        got = Counter(record.answer for record in records)
        assert got == must, f"too many: {got - must}, missing: {must - got}"
        # Cycles count from the header to the making; records are made one by one and leave in that order.
        made = [self.headers[r.tag] + r.cycles for r in records if r.error == Error.NONE]
        assert all(later > earlier for earlier, later in pairwise(made)), "cycles out of order"
        left = {record.tag: cycle for record, (cycle, _) in zip(self.records, self.out[::RECORD_BEATS], strict=True)}
        for record in records:
            assert self.headers[record.tag] + record.cycles <= left[record.tag] - 2
        if LOGITS:
            payloads = {frame.tag: frame.payload for frame in frames}
            for beats, record in zip(self.beats, self.records, strict=True):
                answered = record.error == Error.NONE
                must_say = logits(payloads[record.tag], 0, SHAPE) if answered else [0] * CLASSES
                found = [
                    half - (half >> 31 << 32) for beat in beats[2:] for half in (beat.data & WORD, beat.data >> 32)
                ]
                assert found == [*must_say, *[0] * (CLASSES % 2)]

    async def check_counters(self, frames: list[Frame]) -> None:
        """The counters, from reset on."""
        records = self.records
        good = [r for r in records if r.error == Error.NONE]
        assert await self.read("frames") == sum(f.error is not None for f in frames)
        for stage in range(MAX_STAGES):
            assert await self.read(f"answered_stage{stage}") == sum(r.stage == stage for r in good)
        assert await self.read("offloaded") == sum(r.stage == OFFLOADED_BY for r in good)
        assert await self.read("errors") == len(records) - len(good)
        assert await self.read("bad_headers") == sum(f.error is None for f in frames)
        if good:
            assert await self.read("last_cycles") == good[-1].cycles
        assert await self.read("input_stall_cycles") == self.stalled[0]
        assert await self.read("output_stall_cycles") == self.stalled[1]
        faults = {int(f.error or 0) for f in frames if f.fault is not None}
        assert await self.read("faults") == sum(1 << fault for fault in faults)
