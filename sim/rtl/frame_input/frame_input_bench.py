"""The frame input: one outcome for every header, and every outcome whole."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import cocotb

from edgesight.host.registers import MAX_STAGES, Error
from edgesight.sim.rtl.cascade.model import FAULTS, Beat, Frame, Frames, Shape
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

PARAMETERS = {name: int(value) for name, value in bench_parameters().items()}
SIZE, SLOTS = PARAMETERS["PayloadBytes"], PARAMETERS["Slots"]
SHAPE = Shape(SIZE, 1, 2, (8, 8))
ROW_BITS = 32 * MAX_STAGES  # of the thresholds of a set
WORD = 0xFFFF_FFFF
OUTPUTS = (
    *("s_axis_tready_o", "set_o", "write_en_o", "write_addr_o", "write_data_o", "frame_valid_o", "frame_slot_o"),
    *("frame_o", "error_valid_o", "error_o", "header_o", "bad_header_o", "receiving_o"),
)


@dataclass
class Outcome:
    """What became of one frame with a valid header."""

    tag: int
    error: int
    payload: bytes | None
    thresholds: int | None
    since_header: int  # `start` of a good frame, `cycles` of an error record, as cycles since the header


class Input:
    """Sends frames, keeps the frame buffer, collects outcomes."""

    def __init__(self, dut: Any, stalls: tuple[float, float, float]) -> None:
        """`stalls`: probability, in a cycle, of no beat, of no free slot, of no room for an error record."""
        self.steps = Steps(dut, OUTPUTS)
        self.frames = Frames(SHAPE, self.steps.random)
        self.stalls = stalls
        self.outcomes: list[Outcome] = []
        self.bad_headers = 0
        self.headers: dict[int, int] = {}
        self.thresholds: dict[int, int] = {}
        self.cut: set[int] = set()

    async def run(self, frames: list[Frame], cuts: float = 0.0) -> None:
        """Send the frames; in a cycle of a frame, with probability `cuts`, a soft reset comes."""
        steps, rng = self.steps, self.steps.random
        await steps.start(
            accept_i=1,
            now_i=0,
            s_axis_tdata_i=0,
            s_axis_tkeep_i=0,
            s_axis_tvalid_i=0,
            s_axis_tlast_i=0,
            thresholds_i=0,
            slot_free_i=0,
            slot_i=0,
            error_ready_i=0,
        )
        memory: dict[int, int] = {}
        words = SHAPE.words
        waiting = deque((frame, n) for frame in frames for n in range(len(frame.beats)))
        offered: tuple[Frame, int] | None = None
        slot = 0
        idle = 0
        held = 0
        while waiting or offered or idle < 20:
            assert steps.cycle < 20_000, "stuck"
            idle = 0 if waiting or offered else idle + 1
            if offered is None and waiting and not steps.chance(self.stalls[0]):
                offered = waiting.popleft()
            beat = offered[0].beats[offered[1]] if offered else Beat(0, 0, False)
            free = not steps.chance(self.stalls[1])
            room = not steps.chance(self.stalls[2])
            accept = not steps.chance(cuts)
            thresholds = rng.getrandbits(ROW_BITS)
            out = await steps.step(
                accept_i=accept,
                now_i=steps.cycle,
                s_axis_tdata_i=beat.data,
                s_axis_tkeep_i=beat.keep,
                s_axis_tvalid_i=offered is not None,
                s_axis_tlast_i=beat.last,
                thresholds_i=thresholds,
                slot_free_i=free,
                slot_i=slot,
                error_ready_i=room,
            )
            now = steps.cycle - 1
            taken = offered is not None and bool(out["s_axis_tready_o"])
            assert not (taken and not accept), "a beat was accepted while it must not be"
            self.bad_headers += out["bad_header_o"]
            if out["header_o"]:
                assert taken
                assert free, "a header was accepted without a slot"
                assert out["set_o"] == beat.data >> 40 & 0xF
                self.headers[beat.data & WORD] = now
                self.thresholds[beat.data & WORD] = thresholds
            if out["write_en_o"]:
                memory[out["write_addr_o"]] = out["write_data_o"]
            if out["frame_valid_o"]:
                assert taken
                assert beat.last
                start = out["frame_slot_o"] * words
                raw = b"".join(memory[start + n].to_bytes(8, "little") for n in range(words))
                tag, begun = out["frame_o"] >> ROW_BITS + 32, out["frame_o"] >> ROW_BITS & WORD
                row = out["frame_o"] & (1 << ROW_BITS) - 1
                self.outcomes.append(Outcome(tag, 0, raw[:SIZE], row, begun - self.headers[tag]))
                slot = rng.choice([other for other in range(SLOTS) if other != out["frame_slot_o"]])
            if out["error_valid_o"]:
                assert held in (0, out["error_o"]), "the error record changed while it waited"
                held = 0 if room else out["error_o"]
                if room:
                    tag, error, cycles = out["error_o"] & WORD, out["error_o"] >> 56 & 0xFF, out["error_o"] >> 96
                    assert out["error_o"] >> 32 & 0xFF_FFFF == 0
                    assert out["error_o"] >> 64 & WORD == 0
                    self.outcomes.append(Outcome(tag, error, None, None, cycles))
            else:
                assert not held, "the error record dropped"
            if taken:
                offered = None
            elif not accept and out["receiving_o"]:
                frame = offered[0] if offered is not None else waiting[0][0]
                # The sender is reset, too: it gives up the frame. The rest of a bad one is discarded as ever.
                if frame.fault is None:
                    offered = None
                    while waiting and waiting[0][0] is frame:
                        waiting.popleft()
                    self.cut.add(frame.tag)


@cocotb.test()
@cocotb.parametrize(stalls=[(0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.7, 0.0), (0.0, 0.0, 0.8), (0.4, 0.4, 0.4)])
async def every_header_has_one_outcome(dut: Any, stalls: tuple[float, float, float]) -> None:
    """In order, good frames whole in their slot, bad ones with the error of their fault."""
    bench = Input(dut, stalls)
    make = bench.frames
    for fault in FAULTS:
        for _ in range(5):
            make.bad(fault, 3)
            make.good(bench.steps.random.randrange(16))
    frames = make.made
    bench.steps.random.shuffle(frames)
    await bench.run(frames)
    valid = [frame for frame in frames if frame.error is not None]
    assert [(o.tag, o.error) for o in bench.outcomes] == [(f.tag, int(f.error or 0)) for f in valid]
    assert bench.bad_headers == len(frames) - len(valid)
    for outcome, frame in zip(bench.outcomes, valid, strict=True):
        if frame.fault is None:
            assert outcome.payload == frame.payload
            assert outcome.thresholds == bench.thresholds[frame.tag]
            assert outcome.since_header == 0
        elif frame.fault in ("header alone", "header keep", "set", "flags"):
            assert outcome.since_header == 0, "found in the header"
        elif stalls == (0.0, 0.0, 0.0) and frame.fault in ("long", "wrong rest"):
            assert outcome.since_header == SHAPE.words, "found in the last word"


@cocotb.test()
async def a_soft_reset_cuts_the_frame_that_is_coming_in(dut: Any) -> None:
    """Its record says so; frames whose rest was being discarded keep their error; the next ones are taken as ever."""
    bench = Input(dut, (0.3, 0.1, 0.1))
    for _ in range(150):
        bench.frames.good(1)
        bench.frames.bad("flags")
    frames = list(bench.frames.made)
    await bench.run(frames, cuts=0.03)
    errors = {outcome.tag: outcome.error for outcome in bench.outcomes}
    assert len(errors) == len(bench.outcomes) == len(frames)
    for frame in frames:
        good = Error.CUT if frame.tag in bench.cut else Error.NONE
        assert errors[frame.tag] == (good if frame.fault is None else Error.FLAGS)
    assert bench.cut
