"""The cascade with stand-in stages: every field of every record, on a bus that stalls, breaks and is reset."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from edgesight.host.registers import (
    CLOSING_TAG,
    CONTROL_FLUSH,
    CONTROL_SOFT_RESET,
    FAULTS_CUT,
    FAULTS_DROPPED,
    INTERFACE_VERSION,
    KERNEL_ID,
    MAX_STAGES,
    STATUS_BATCH_OPEN,
    STATUS_DRAINING,
    STATUS_FLUSHING,
    STATUS_OUTSTANDING,
    STATUS_RECEIVING,
    THRESHOLD_SETS,
    Error,
)
from edgesight.sim.rtl.cascade.model import FAULTS, Frame, Record, decide, expected, logits
from edgesight.sim.rtl.cascade.testbench import (
    AT,
    FED,
    FRAME_SLOTS,
    FROM_TRUNK,
    LAST,
    NEVER,
    OFFLOADED,
    OFFLOADED_BY,
    RECORD_BEATS,
    SHAPE,
    STAGES,
    TB,
    TIGHT,
)


@cocotb.test()
async def registers_tell_what_was_built(dut: Any) -> None:
    """Identity, shape and reset values."""
    tb = await TB.started(dut)
    must = {
        "id": KERNEL_ID,
        "version": INTERFACE_VERSION,
        "build_hash": 0x5EED5EED,
        "weights_hash": 0x5EEDF00D,
        "classes": SHAPE.classes,
        "pixels": SHAPE.pixels,
        "channels": SHAPE.channels,
        "frame_slots": FRAME_SLOTS,
        "stages": STAGES,
        "record_beats": RECORD_BEATS,
        "batch": 1,
        "status": 0,
        "faults": 0,
        "frames": 0,
    }
    assert {name: await tb.read(name) for name in must} == must
    for set_index in range(THRESHOLD_SETS):
        assert [await tb.read(f"threshold{stage}", set_index) for stage in range(MAX_STAGES)] == [NEVER] * MAX_STAGES
    for stage in range(STAGES, MAX_STAGES):  # those that are not there take nothing
        await tb.write(f"threshold{stage}", 5, 3)
        assert await tb.read(f"threshold{stage}", 3) == NEVER


@cocotb.test()
async def one_frame_one_record(dut: Any) -> None:
    """An empty kernel: the record's cycles are exact."""
    tb = await TB.started(dut)
    for stage, row in enumerate(AT):
        await tb.set_row(stage, row)
    frames: list[Frame] = []
    for set_index in (*range(STAGES + 1), 0):  # no stage is sure under the row behind the last stage's
        frames.append(tb.frames.good(set_index))
        tb.send(frames[-1])
        record = (await tb.until(len(frames)))[-1]
        left = tb.out[-RECORD_BEATS][0]
        assert record.cycles == left - 2 - tb.headers[record.tag]
        assert await tb.read("last_cycles") == record.cycles
    for fault in FAULTS:
        frames.append(tb.frames.bad(fault))
        tb.send(frames[-1])
        await tb.until(sum(f.error is not None for f in frames))
    tb.check(frames)
    await tb.check_counters(frames)


@cocotb.test(skip=TIGHT)
async def stage_0_takes_a_pixel_a_cycle(dut: Any) -> None:
    """No bubble between frames: the interval is that of the pixels."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    frames = [tb.frames.good() for _ in range(30)]
    tb.send(*frames)
    await tb.until(len(frames))
    tb.check(frames)
    stamps = [cycle for cycle, _ in tb.taps[0]]
    intervals = [later - earlier for earlier, later in pairwise(stamps[5:])]
    assert set(intervals) == {FED}, intervals
    assert await tb.read("interval0") == FED
    assert [await tb.read(f"interval{stage}") for stage in range(1, MAX_STAGES)] == [0] * (MAX_STAGES - 1)


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
    assert all(stages[stage] for stage in (*range(STAGES), OFFLOADED_BY)), "the draw lacks a stage: choose another seed"


@cocotb.test(timeout_time=200, timeout_unit="us")  # the sink would wait for ever
async def other_bus_models_agree(dut: Any) -> None:
    """The same traffic through another maker's models of the streams, pausing at random."""
    tb = await TB.started(dut, streams=False)
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk_i, dut.rst_ni, reset_active_level=False)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk_i, dut.rst_ni, reset_active_level=False)
    source.log.setLevel("WARNING")
    sink.log.setLevel("WARNING")
    source.set_pause_generator(iter(lambda: tb.random.random() < 0.3, None))
    sink.set_pause_generator(iter(lambda: tb.random.random() < 0.5, None))
    await tb.random_rows()
    await tb.write("batch", 4)
    frames = [tb.frames.good(n % THRESHOLD_SETS) for n in range(40)]
    for frame in frames:
        await source.send(AxiStreamFrame(frame.beats[0].data.to_bytes(8, "little") + frame.payload))
    records: list[Record] = []
    for _ in range(10):
        batch = bytes((await sink.recv()).tdata)
        assert len(batch) == 4 * 8 * RECORD_BEATS
        words = [int.from_bytes(batch[start : start + 8], "little") for start in range(0, len(batch), 8)]
        records += [
            Record.of(low, high) for low, high in zip(words[::RECORD_BEATS], words[1::RECORD_BEATS], strict=True)
        ]
    must = Counter(expected(frame, tb.thresholds[frame.set_index], SHAPE) for frame in frames)
    assert Counter(record.answer for record in records) == must


@cocotb.test()
async def thresholds_are_latched_at_entry(dut: Any) -> None:
    """A row that is written while its frames are inside holds for the next ones only."""
    tb = await TB.started(dut)
    await tb.set_row(7, AT[0])
    tb.block(0, True)
    early = [tb.frames.good(7) for _ in range(3)]
    tb.send(*early)
    await tb.accepted()
    await tb.set_row(7, OFFLOADED)
    late = [tb.frames.good(7) for _ in range(3)]
    tb.send(*late)
    await tb.cycles(100)
    assert not tb.out
    tb.block(0, False)
    await tb.until(6)
    tb.check([*early, *late])
    assert sorted(tb.answers) == [(f.tag, 0) for f in early] + [(f.tag, OFFLOADED_BY) for f in late]


@cocotb.test()
async def a_threshold_is_met_by_an_equal_margin(dut: Any) -> None:
    """At the very margin, one below and one above it, at every stage."""
    tb = await TB.started(dut)
    payload = tb.random.randbytes(SHAPE.payload_bytes)
    margins = [decide(logits(payload, stage, SHAPE))[1] for stage in range(STAGES)]
    # Every stage before the one looked at is one short; that one is met, met by one more, or one short, too.
    steps = [((1,) * stage + (step,), stage) for stage in range(STAGES) for step in (0, -1)]
    steps.append(((1,) * STAGES, OFFLOADED_BY))
    frames = []
    for step, (beyond, _) in enumerate(steps):
        await tb.set_row(step, tuple(m + b for m, b in zip(margins, [*beyond, *[1] * STAGES], strict=False)))
        frames.append(tb.frames.good(step, payload))
        tb.send(frames[-1])
        await tb.until(step + 1)
    tb.check(frames)
    assert [stage for _, stage in tb.answers] == [stage for _, stage in steps]


@cocotb.test()
async def batches_end_after_their_count(dut: Any) -> None:
    """TLAST on every N-th record, N counted from the last TLAST, also while N changes."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.write("batch", 3)
    tb.stalls = (0.0, 0.5)
    frames = [tb.frames.good() for _ in range(8)]
    tb.send(*frames)
    await tb.until(8)
    assert tb.batches == [3, 3]
    assert await tb.read("status") == STATUS_BATCH_OPEN
    await tb.write("batch", 1)
    frames += [tb.frames.good() for _ in range(2)]
    tb.send(*frames[8:])
    await tb.until(10)
    assert tb.batches == [3, 3, 3, 1]
    assert await tb.read("status") == 0
    tb.check(frames)


@cocotb.test()
async def a_flush_closes_the_batch(dut: Any) -> None:
    """With records outstanding, with none but an open batch, and with nothing to close."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.write("batch", 0)
    await tb.write("control", CONTROL_FLUSH)
    await tb.cycles(50)
    assert not tb.out, "a flush without a batch sent something"
    # Outstanding records: TLAST comes on the last one.
    tb.block(0, True)
    frames = [tb.frames.good() for _ in range(3)]
    tb.send(*frames)
    await tb.accepted()
    await tb.write("control", CONTROL_FLUSH)
    status = await tb.read("status")
    assert status & STATUS_FLUSHING
    assert status & STATUS_OUTSTANDING == 3 * (STATUS_OUTSTANDING & -STATUS_OUTSTANDING)
    tb.block(0, False)
    await tb.until(3)
    assert tb.batches == [3]
    # Nothing outstanding, batch open: a closing record.
    frames += [tb.frames.good(), tb.frames.bad("flags")]
    tb.send(*frames[3:])
    await tb.until(5)
    assert tb.batches == [3]
    await tb.write("control", CONTROL_FLUSH)
    await tb.until(6)
    assert tb.batches == [3, 3]
    assert tb.records[-1] == Record(CLOSING_TAG, 0, 0, Error.FLUSH, 0, 0)
    # No batch open: nothing.
    await tb.write("control", CONTROL_FLUSH)
    await tb.until(6)
    assert await tb.read("status") == 0
    tb.check(frames)
    assert await tb.read("errors") == 1, "a closing record is no error"


@cocotb.test()
async def a_flush_in_any_cycle_closes_exactly_once(dut: Any) -> None:
    """Flushes that fall between the beats of records, on a slow receiver: every batch ends, no record is lost."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.write("batch", 0)
    tb.stalls = (0.0, 0.5)
    frames: list[Frame] = []
    step = 2 + RECORD_BEATS // 2  # so that the longest waits are longer than two records take on their way
    for wait in range(0, 20 * step, step):
        frames += [tb.frames.good(), tb.frames.good()]
        tb.send(*frames[-2:])
        await tb.accepted()
        await tb.cycles(wait)
        await tb.write("control", CONTROL_FLUSH)
        await tb.settled()
        await tb.cycles(40)  # the last beat may still be on offer to a receiver that stalls every other cycle
        closing = [record for record in tb.records if record.error == Error.FLUSH]
        assert len(tb.records) == len(frames) + len(closing)
        assert sum(tb.batches) == len(tb.records), "a batch stayed open"
    tb.check(frames)
    assert 0 < len([r for r in tb.records if r.error == Error.FLUSH]) < 20, "the flushes met one situation only"


@cocotb.test(skip=STAGES == 1 or FROM_TRUNK > 0)
async def stage_0_goes_on_while_the_last_one_is_stuck(dut: Any) -> None:
    """Answers overtake as long as a slot is left; then the input waits, and nothing is lost."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.set_row(1, AT[LAST])
    tb.block(LAST, True)
    stuck, quick = [tb.frames.good(1) for _ in range(2)], [tb.frames.good(0) for _ in range(20)]
    tb.send(*stuck, *quick)
    await tb.until(len(quick))
    assert tb.answers == [(frame.tag, 0) for frame in quick]
    # Now every frame needs the last stage, which takes some inside and none after that.
    more = [tb.frames.good(1) for _ in range(12)]
    tb.send(*more)
    await tb.cycles(3000)
    assert tb.count == len(quick)
    assert tb.offering
    assert dut.s_axis_tready.value == 0, "the input does not wait"
    before = await tb.read("input_stall_cycles")
    assert FRAME_SLOTS <= sum(frame.tag in tb.headers for frame in [*stuck, *more]) <= FRAME_SLOTS + 3
    assert await tb.read("input_stall_cycles") > before
    tb.block(LAST, False)
    frames = [*stuck, *quick, *more]
    await tb.until(len(frames))
    tb.check(frames)
    await tb.check_counters(frames)


@cocotb.test(skip=not FROM_TRUNK)
async def stage_0_waits_for_features_that_are_stuck_and_loses_nothing(dut: Any) -> None:
    """The worst for a gate that holds one frame: the stage behind it stuck, then slow, and the sink slow, too."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.set_row(1, AT[LAST])
    tb.block(LAST, True)
    frames = [tb.frames.good(n % 3 != 0) for n in range(24)]
    tb.send(*frames)
    await tb.cycles(3000)
    assert tb.count < len(frames), "a stage that is stuck holds nobody up"
    assert tb.offering
    assert dut.s_axis_tready.value == 0, "the input does not wait"
    for _ in range(200):
        tb.stalls = (0.0, tb.random.choice([0.0, 0.9]))
        tb.block(LAST, tb.random.random() < 0.8)
        await tb.cycles(tb.random.randrange(1, 60))
    tb.block(LAST, False)
    await tb.until(len(frames))
    tb.check(frames)
    await tb.check_counters(frames)


@cocotb.test()
async def a_hard_reset_in_the_middle_leaves_nothing_behind(dut: Any) -> None:
    """Reset with a frame half in, frames in both stages and a record half out."""
    tb = await TB.started(dut)
    for attempt in range(6):
        await tb.random_rows()
        tb.send(*[tb.frames.good(n % 4) for n in range(6)])
        await tb.cycles(40 + 37 * attempt)
        await FallingEdge(dut.clk_i)
        tb.waiting.clear()
        dut.rst_ni.value = 0
        await tb.cycles(1 + attempt % 2)
        tb.out.clear()
        dut.rst_ni.value = 1
        await tb.cycles(200)
        assert not tb.out, "a record of before the reset"
        assert [await tb.read(name) for name in ("status", "frames", "faults", "interval0")] == [0, 0, 0, 0]
        assert await tb.read("threshold0", 5) == NEVER
        tb.thresholds = {s: OFFLOADED for s in range(THRESHOLD_SETS)}
        await tb.set_row(1, AT[0])
        frames = [tb.frames.good(n % 2) for n in range(4)]
        tb.send(*frames)
        await tb.until(4)
        tb.check(frames)
        await tb.check_counters(frames)
        tb.out.clear()
        dut.rst_ni.value = 0
        await tb.cycles(1)
        dut.rst_ni.value = 1


@cocotb.test()
@cocotb.parametrize(part=[0, 1, 2, 3])
async def a_soft_reset_drains(dut: Any, part: int) -> None:
    """All records come, a frame half in is cut, the batch is closed; thresholds and faults stay."""
    part = min(part, SHAPE.words)  # beats of the last frame that come in
    tb = await TB.started(dut)
    await tb.random_rows()
    await tb.write("batch", 0)
    tb.block(LAST, True)
    frames = [tb.frames.good(1), tb.frames.good(0), tb.frames.good(2)]
    tb.send(*frames)
    await tb.accepted()
    if part:
        frames.append(await tb.send_part(tb.frames.good(3), part))
    assert bool(await tb.read("status") & STATUS_RECEIVING) == bool(part)
    await tb.write("control", CONTROL_SOFT_RESET)
    after = [tb.frames.good(n % 16) for n in range(6)]
    tb.send(*after)
    await tb.cycles(300)
    assert await tb.read("status") & STATUS_DRAINING
    assert not any(frame.tag in tb.headers for frame in after), "a beat was accepted while draining"
    assert tb.count == (STAGES > 1) + bool(part)  # stage 0 answers one of them, unless it is the blocked one
    tb.block(LAST, False)
    await tb.settled(STATUS_DRAINING)
    await tb.until(len(frames) + len(after))
    tb.check([*frames, *after])
    assert tb.batches == [len(frames)], "the batch was not closed by the last record"
    assert await tb.read("frames") == len(after), "counters start again"
    assert await tb.read("faults") == (FAULTS_CUT if part else 0)
    assert await tb.read("threshold0", 5) == tb.thresholds[5][0]
    await tb.write("faults", FAULTS_CUT)
    assert await tb.read("faults") == 0


@cocotb.test()
async def a_soft_reset_of_an_idle_kernel_closes_the_batch(dut: Any) -> None:
    """Nothing is outstanding: a closing record if a batch is open, else nothing; half a bad frame is forgotten."""
    tb = await TB.started(dut)
    await tb.set_row(0, AT[0])
    await tb.write("batch", 0)
    frames = [tb.frames.good()]
    tb.send(*frames)
    await tb.until(1)
    await tb.write("control", CONTROL_SOFT_RESET)
    await tb.until(2)
    assert tb.batches == [2]
    assert tb.records[-1].error == Error.FLUSH
    await tb.write("control", CONTROL_SOFT_RESET)
    await tb.until(2)
    bad = tb.frames.bad("flags")
    await tb.send_part(bad, 2)
    frames.append(bad)
    await tb.until(3)
    assert await tb.read("status") & STATUS_RECEIVING
    await tb.write("control", CONTROL_SOFT_RESET)
    await tb.until(4)
    assert await tb.read("status") == 0
    frames.append(tb.frames.good())
    tb.send(frames[-1])
    await tb.until(5)
    tb.check(frames)


@cocotb.test()
async def a_forced_soft_reset_drops_what_hangs(dut: Any) -> None:
    """A stage that never answers: the second command resets at once, and everything works again."""
    tb = await TB.started(dut)
    await tb.random_rows()
    tb.block(LAST, True)
    tb.send(*[tb.frames.good(1) for _ in range(3)])
    await tb.accepted()
    cut = await tb.send_part(tb.frames.good(0), 2)
    await tb.write("control", CONTROL_SOFT_RESET)
    await tb.until(1)
    assert tb.records[0].answer == (cut.tag, 0, 0, Error.CUT, 0)
    assert await tb.read("status") & STATUS_DRAINING
    await tb.write("control", CONTROL_SOFT_RESET)
    await tb.cycles(10)
    assert await tb.read("status") == 0
    assert await tb.read("faults") == FAULTS_CUT | FAULTS_DROPPED
    tb.block(LAST, False)
    await tb.cycles(300)
    assert tb.count == 1, "a record of before the reset"
    tb.out.clear()
    frames = [tb.frames.good(n) for n in range(THRESHOLD_SETS)]
    tb.send(*frames)
    await tb.until(len(frames))
    tb.check(frames)


@cocotb.test()
async def everything_at_once(dut: Any) -> None:
    """Faults, stalls, a stage that gets stuck at times, rows rewritten, batches of all sizes and flushes between."""
    tb = await TB.started(dut)
    await tb.random_rows()
    frames: list[Frame] = []
    for _ in range(25):
        tb.stalls = (tb.random.choice([0.0, 0.3, 0.8]), tb.random.choice([0.0, 0.3, 0.8]))
        await tb.write("batch", tb.random.randrange(5))
        burst = [tb.frames.good(tb.random.randrange(THRESHOLD_SETS)) for _ in range(8)]
        burst += [tb.frames.bad(tb.random.choice(list(FAULTS)), 3) for _ in range(4)]
        tb.random.shuffle(burst)
        tb.send(*burst)
        frames += burst
        tb.block(LAST, tb.random.random() < 0.4)
        await tb.cycles(tb.random.randrange(300))
        await tb.write("control", CONTROL_FLUSH)
        tb.block(LAST, False)
        if tb.random.random() < 0.5:
            await tb.accepted()
            await tb.set_row(tb.random.randrange(THRESHOLD_SETS), tb.random_row())
    await tb.accepted()
    await tb.write("control", CONTROL_FLUSH)
    await tb.settled()
    await tb.cycles(40)  # a closing record is outstanding for nobody
    tb.check(frames)
    assert sum(tb.batches) == len(tb.records), "a batch stayed open"
