"""The event counters against Python's integers."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.host.registers import MAX_STAGES
from edgesight.sim.rtl.steps import Steps

STAGES = range(MAX_STAGES - 1, -1, -1)
ANSWERED = [f"answered{stage}" for stage in STAGES]
# Fields of cascade_pkg's events_t and counters_t, most significant first.
EVENTS = (
    *("header", "bad_header", *ANSWERED, "offloaded", "error"),
    *(*(f"logits{stage}" for stage in STAGES), "input_stall", "output_stall"),
)
COUNTERS = (
    *("frames", *ANSWERED, "offloaded", "errors", "bad_headers"),
    *("input_stall_cycles", "output_stall_cycles", "last_cycles", *(f"interval{stage}" for stage in STAGES)),
)
COUNTED = {
    "header": "frames",
    "bad_header": "bad_headers",
    **{name: name for name in ANSWERED},
    "offloaded": "offloaded",
    "error": "errors",
    "input_stall": "input_stall_cycles",
    "output_stall": "output_stall_cycles",
}


def unpack(word: int) -> dict[str, int]:
    """counters_t by name."""
    count = len(COUNTERS)
    return {name: word >> (32 * (count - 1 - n)) & 0xFFFF_FFFF for n, name in enumerate(COUNTERS)}


@cocotb.test()
async def events_are_counted_and_intervals_measured(dut: Any) -> None:
    """Random events, several in a cycle; an event shows one cycle later."""
    steps = Steps(dut, ("now_o", "counters_o"))
    await steps.start(events_i=0, cycles_i=0)
    model = dict.fromkeys(COUNTERS, 0)
    last: dict[str, int] = {}
    for now in range(2000):
        events = [name for name in EVENTS if steps.chance(0.2)]
        cycles = steps.random.getrandbits(32)
        word = sum(1 << (len(EVENTS) - 1 - EVENTS.index(name)) for name in events)
        out = await steps.step(events_i=word, cycles_i=cycles)
        assert out["now_o"] == now
        assert unpack(out["counters_o"]) == model
        for event in events:
            if event in COUNTED:
                model[COUNTED[event]] += 1
            else:
                stage = event[-1]
                model[f"interval{stage}"] = now - last[event] if event in last else 0
                last[event] = now
        if {*ANSWERED, "offloaded"} & set(events):
            model["last_cycles"] = cycles
