"""Coroutines of stream_fork's bench: every user gets every beat once, in order."""

# mypy: disallow-untyped-decorators=False
# (cocotb's decorators are not typed.)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.steps import Steps

P: dict[str, Any] = bench_parameters()
USERS = P["Users"]
BEATS = 200


async def _passed(steps: Steps, beats: list[int], source: float, sinks: list[float]) -> list[list[int]]:
    """What each user takes of `beats`, where the source offers and the sinks take with these chances."""
    taken: list[list[int]] = [[] for _ in sinks]
    sent, offered = 0, False
    for _ in range(200 * len(beats)):
        offered = offered or (sent < len(beats) and steps.chance(source))
        ready = sum(steps.chance(sink) << user for user, sink in enumerate(sinks))
        out = await steps.step(s_valid_i=offered, s_data_i=beats[sent] if offered else 0, m_ready_i=ready)
        for user in range(USERS):
            if out["m_valid_o"] >> user & ready >> user & 1:
                taken[user].append(out["m_data_o"])
        if offered and out["s_ready_o"]:
            sent, offered = sent + 1, False
        if all(len(each) == len(beats) for each in taken) and sent == len(beats):
            break
    return taken


async def _started(dut: Any) -> Steps:
    steps = Steps(dut, ("s_ready_o", "m_valid_o", "m_data_o"))
    await steps.start(s_valid_i=0, s_data_i=0, m_ready_i=0)
    return steps


@cocotb.test()
async def every_user_gets_every_beat(dut: Any) -> None:
    """Whatever the stalls of each."""
    steps = await _started(dut)
    for _ in range(6):
        beats = [steps.random.getrandbits(P["Width"]) for _ in range(BEATS)]
        sinks = [steps.random.choice([0.1, 0.5, 1.0]) for _ in range(USERS)]
        assert await _passed(steps, beats, steps.random.choice([0.3, 1.0]), sinks) == [beats] * USERS


@cocotb.test()
async def a_beat_a_cycle(dut: Any) -> None:
    """At full speed a beat passes to all users in every cycle."""
    steps = await _started(dut)
    beats = [steps.random.getrandbits(P["Width"]) for _ in range(50)]
    before = steps.cycle
    assert await _passed(steps, beats, 1.0, [1.0] * USERS) == [beats] * USERS
    assert steps.cycle - before == len(beats)


@cocotb.test()
async def one_that_waits_holds_the_next_beat_only(dut: Any) -> None:
    """The others have the beat on offer, and not the one behind it."""
    steps = await _started(dut)
    for user in range(USERS):
        waits = (1 << USERS) - 1 & ~(1 << user)
        beat = steps.random.getrandbits(P["Width"])
        out = await steps.step(s_valid_i=1, s_data_i=beat, m_ready_i=waits)
        assert out["m_valid_o"] == (1 << USERS) - 1
        for _ in range(3):
            out = await steps.step(m_ready_i=waits)
            assert (out["m_valid_o"], out["s_ready_o"]) == (1 << user, 0)
        out = await steps.step(m_ready_i=1 << user)
        assert (out["m_valid_o"], out["s_ready_o"], out["m_data_o"]) == (1 << user, 1, beat)
