"""The framer's output is what the host frames packets with, byte for byte."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.host.fabric.serial import enframe
from edgesight.sim.rtl.steps import Steps

OUTPUTS = ("s_ready_o", "m_valid_o", "m_data_o")


@cocotb.test()
@cocotb.parametrize(stalls=[(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
async def frames_as_the_host_does(dut: Any, stalls: tuple[float, float]) -> None:
    """Packets of 1 to 40 bytes, rich in flags and escapes; at full speed a beat a cycle."""
    steps = Steps(dut, OUTPUTS)
    await steps.start(s_valid_i=0, s_data_i=0, s_last_i=0, m_ready_i=0)
    rng = steps.random
    packets = [
        bytes(rng.choice([0x7E, 0x7D, rng.randrange(256)]) for _ in range(rng.randrange(1, 40))) for _ in range(40)
    ]
    expected = b"".join(map(enframe, packets))
    beats = [(byte, at == len(packet) - 1) for packet in packets for at, byte in enumerate(packet)]
    came = bytearray()
    offered = False
    waiting: int | None = None
    cycles = 0
    while len(came) < len(expected):
        offered = offered or (bool(beats) and not steps.chance(stalls[0]))
        ready = not steps.chance(stalls[1])
        data, last = beats[0] if beats else (0, False)
        out = await steps.step(s_valid_i=offered, s_data_i=data, s_last_i=last, m_ready_i=ready)
        cycles += 1
        if out["m_valid_o"]:
            assert waiting in (None, out["m_data_o"]), "the byte changed while it waited"
            waiting = None if ready else out["m_data_o"]
            if ready:
                came.append(out["m_data_o"])
        else:
            assert waiting is None, "valid dropped while a byte waited"
        if offered and out["s_ready_o"]:
            beats.pop(0)
            offered = False
        assert cycles < 20 * len(expected)
    assert bytes(came) == expected
    if stalls == (0.0, 0.0):
        assert cycles == len(expected)
