"""A lane with its stage in Python: each frame's verdict, in order, whatever stalls."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import cocotb

from edgesight.host.registers import MAX_STAGES, THRESHOLD_NEVER
from edgesight.sim.rtl.cascade.model import decide
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

PARAMETERS = {name: int(value) for name, value in bench_parameters().items()}
STAGE, PIXELS, CLASSES, WIDTH = (PARAMETERS[name] for name in ("Stage", "Pixels", "Classes", "LogitWidth"))
SLOTS, WORDS = PARAMETERS["Slots"], -(-PIXELS // 8)
OUTPUTS = (
    *("s_ready_o", "read_en_o", "read_addr_o", "fetched_o", "fetched_slot_o", "pixel_valid_o", "pixel_data_o"),
    *("logits_ready_o", "tap_valid_o", "tap_tag_o"),
    *("m_valid_o", "m_slot_o", "m_frame_o", "m_label_o", "m_margin_o", "m_sure_o"),
)


class Lane:
    """Frames in, verdicts out, and between them a stage that answers with random logits after `delay` cycles."""

    def __init__(self, dut: Any, stalls: float, delay: int) -> None:
        """`stalls`: probability that any one side stands still in a cycle."""
        self.steps = Steps(dut, OUTPUTS)
        self.stalls, self.delay = stalls, delay
        self.taps: list[int] = []  # cycles

    async def run(self, count: int) -> None:
        """Send frames and check every verdict."""
        steps, rng = self.steps, self.steps.random
        await steps.start(
            s_valid_i=0,
            s_slot_i=0,
            s_frame_i=0,
            read_data_i=0,
            pixel_ready_i=0,
            logits_valid_i=0,
            logits_data_i=0,
            m_ready_i=0,
        )
        offered: tuple[int, int] | None = None  # slot, frame
        inside: deque[tuple[int, int]] = deque()  # frames in the stage
        judged: deque[tuple[int, int, list[int]]] = deque()
        answers: deque[tuple[int, list[int]]] = deque()  # cycle from which the stage offers its logits
        sent = pixels = data = verdicts = 0
        holding = False  # logits are on offer
        while verdicts < count:
            assert steps.cycle < 1000 + 200 * count, f"stuck at verdict {verdicts}"
            if offered is None and sent < count and not steps.chance(self.stalls):
                thresholds = [rng.choice([0, 1, 5, 12, 30, THRESHOLD_NEVER]) for _ in range(MAX_STAGES)]
                frame = rng.getrandbits(64)
                for threshold in reversed(thresholds):
                    frame = frame << 32 | threshold
                offered = rng.randrange(SLOTS), frame
                sent += 1
            take_pixel, take_verdict = not steps.chance(self.stalls), not steps.chance(self.stalls)
            holding = holding or (bool(answers) and answers[0][0] <= steps.cycle and not steps.chance(self.stalls))
            logits = answers[0][1] if holding else []
            out = await steps.step(
                s_valid_i=offered is not None,
                s_slot_i=offered[0] if offered else 0,
                s_frame_i=offered[1] if offered else 0,
                read_data_i=data,
                pixel_ready_i=take_pixel,
                logits_valid_i=holding,
                logits_data_i=sum((logit & (1 << WIDTH) - 1) << WIDTH * n for n, logit in enumerate(logits)),
                m_ready_i=take_verdict,
            )
            if out["read_en_o"]:
                data = rng.getrandbits(64)
            if offered is not None and out["s_ready_o"]:
                inside.append(offered)
                offered = None
            if out["pixel_valid_o"] and take_pixel:
                pixels += 1
                if pixels % PIXELS == 0:
                    values = [rng.choice([-32, 31, rng.randrange(-32, 32)]) for _ in range(CLASSES)]
                    answers.append((steps.cycle + self.delay, values))
            if out["tap_valid_o"]:
                assert holding
                assert out["logits_ready_o"]
                slot, frame = inside.popleft()
                assert out["tap_tag_o"] == frame >> 32 * (MAX_STAGES + 1)
                judged.append((slot, frame, logits))
                answers.popleft()
                holding = False
                self.taps.append(steps.cycle)
            else:
                assert not (holding and out["logits_ready_o"])
            if out["m_valid_o"] and take_verdict:
                slot, frame, logits = judged.popleft()
                label, margin = decide(logits)
                assert (out["m_slot_o"], out["m_frame_o"]) == (slot, frame)
                assert (out["m_label_o"], out["m_margin_o"]) == (label, margin)
                assert out["m_sure_o"] == (margin >= (frame >> 32 * STAGE & 0xFFFF_FFFF))
                verdicts += 1
        assert not inside
        assert not judged


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3, 0.8], delay=[0, 100])
async def verdicts_are_their_frames(dut: Any, stalls: float, delay: int) -> None:
    """Label, margin, sure, slot and frame go together, in order, also with several frames inside the stage."""
    await Lane(dut, stalls, delay).run(80)


@cocotb.test()
async def the_interval_is_the_slower_of_pixels_and_classes(dut: Any) -> None:
    """With a stage that answers at once and a receiver that never waits."""
    lane = Lane(dut, 0.0, 0)
    await lane.run(30)
    assert {later - earlier for earlier, later in pairwise(lane.taps[3:])} == {max(PIXELS, CLASSES)}
