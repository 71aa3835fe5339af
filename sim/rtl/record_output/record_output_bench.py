"""The record output: records in order, and TLAST exactly where a batch or a flush ends."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from collections import deque
from typing import Any

import cocotb

from edgesight.host.registers import CLOSING_TAG, Error
from edgesight.sim.rtl.steps import Steps

OUTPUTS = (
    *("s_ready_o", "m_axis_tdata_o", "m_axis_tkeep_o", "m_axis_tvalid_o", "m_axis_tlast_o"),
    *("outstanding_o", "flushing_o", "batch_open_o", "idle_o"),
)
CLOSING = Error.FLUSH << 56 | CLOSING_TAG
RARE = (0.05, 0.05, 0.3)  # so few headers that flushes find nothing outstanding


@cocotb.test()
@cocotb.parametrize(
    rates=[(0.3, 0.1, 0.0), (1.0, 0.05, 0.0), (0.5, 0.1, 0.6), RARE, (0.3, 0.0, 0.0)],
)
async def tlast_is_where_it_belongs(dut: Any, rates: tuple[float, float, float]) -> None:
    """Random headers, records, batch sizes, flushes and stalls, every decision checked in its cycle.

    `rates`: probability, in a cycle, of a header, of a flush, of a receiver that stands still.
    """
    steps = Steps(dut, OUTPUTS)
    await steps.start(s_valid_i=0, s_record_i=0, header_i=0, flush_i=0, batch_i=1, m_axis_tready_i=0)
    rng = steps.random
    unmade = 0  # headers whose record is still to come
    outstanding = 0
    offered: int | None = None
    given: deque[int] = deque()  # records taken, not yet sent
    first: int | None = None  # first beat of the record that is being sent
    count = 0  # records since the last TLAST
    ends = False  # whether the second beat that is being put on the bus must end the batch
    shown: tuple[int, int] | None = None  # beat on the bus, not taken yet
    before: dict[str, int] = {}
    batch, closings = 1, 0
    for cycle in range(6000):
        quiet = cycle > 5500  # let everything come out
        header = not quiet and outstanding < 40 and steps.chance(rates[0])
        flush = steps.chance(rates[1]) if not quiet else cycle == 5800
        if steps.chance(0.01):
            batch = rng.randrange(6)
        if offered is None and unmade and steps.chance(0.4):
            # A real record never has the closing one's error.
            offered = rng.getrandbits(128) & ~(0xFF << 56) | rng.randrange(7) << 56
            unmade -= 1
        ready = quiet or not steps.chance(rates[2])
        out = await steps.step(
            s_valid_i=offered is not None,
            s_record_i=offered or 0,
            header_i=header,
            flush_i=flush,
            batch_i=batch,
            m_axis_tready_i=ready,
        )
        assert out["outstanding_o"] == outstanding
        assert out["idle_o"] <= (outstanding == 0)
        if offered is not None and out["s_ready_o"]:
            given.append(offered)
            offered = None
        if out["m_axis_tvalid_o"]:
            beat = (out["m_axis_tdata_o"], out["m_axis_tlast_o"])
            assert out["m_axis_tkeep_o"] == 0xFF
            if shown is None and first is not None:
                # The second beat was put on the bus by the step before this one.
                closing = first == CLOSING
                at_end = bool(before["flushing_o"]) and (closing or before["outstanding_o"] == 1)
                limit = before["batch_i"]
                ends = at_end or (limit != 0 and count + 1 >= limit)
                assert beat[1] == ends, "TLAST"
                count = 0 if ends else count + 1
            assert shown in (None, beat), "the beat changed while it waited"
            shown = beat
            if ready:
                shown = None
                if first is None:
                    assert beat[1] == 0, "TLAST on a first beat"
                    first = beat[0]
                    if first == CLOSING:
                        closings += 1
                        assert count > 0, "a closing record without a batch"
                elif first == CLOSING:
                    assert beat == (0, 1)
                    first = None
                else:
                    assert first | beat[0] << 64 == given.popleft()
                    first = None
                    outstanding -= 1
        else:
            assert shown is None, "valid dropped while a beat waited"
        outstanding += header
        unmade += header
        before = {**out, "batch_i": batch}
    assert outstanding == 0
    assert not given
    assert out["idle_o"]
    assert not out["batch_open_o"], "the last flush left a batch open"
    if rates == RARE:
        assert closings, "no flush met an open batch with nothing outstanding"


@cocotb.test()
async def a_record_takes_two_cycles(dut: Any) -> None:
    """At full speed, and 2 cycles from the handshake to the first beat."""
    steps = Steps(dut, OUTPUTS)
    await steps.start(s_valid_i=0, s_record_i=0, header_i=0, flush_i=0, batch_i=1, m_axis_tready_i=1)
    for _ in range(20):
        await steps.step(header_i=1)
    taken: list[int] = []
    beats: list[int] = []
    for _ in range(60):
        out = await steps.step(header_i=0, s_valid_i=len(taken) < 20)
        if len(taken) < 20 and out["s_ready_o"]:
            taken.append(steps.cycle)
        if out["m_axis_tvalid_o"]:
            beats.append(steps.cycle)
    assert beats == list(range(taken[0] + 2, taken[0] + 42))
