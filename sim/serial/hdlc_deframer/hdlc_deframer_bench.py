"""The deframer against packets in a stream of noise; what it must find is what the host's own finds."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

from typing import Any

import cocotb

from edgesight.host.fabric.serial import Deframer, enframe
from edgesight.sim.rtl.steps import Steps

OUTPUTS = ("m_valid_o", "m_data_o", "m_last_o", "drop_o")


async def _found(steps: Steps, line: bytes, lost: frozenset[int] = frozenset()) -> tuple[list[bytes], int]:
    """Packets that came out of `line`, with pauses, and how many were dropped; bytes at `lost` are line errors."""
    packets: list[bytes] = []
    packet = bytearray()
    dropped = 0
    for position, byte in enumerate([*line, None, None]):
        is_lost = position in lost
        for valid in (False, True) if steps.chance(0.3) else (True,):
            out = await steps.step(
                s_valid_i=valid and byte is not None and not is_lost,
                s_data_i=byte or 0,
                s_error_i=valid and is_lost,
            )
            if out["m_valid_o"]:
                packet.append(out["m_data_o"])
                if out["m_last_o"]:
                    packets.append(bytes(packet))
                    packet.clear()
            if out["drop_o"]:
                assert not out["m_valid_o"]
                packet.clear()
                dropped += 1
    return packets, dropped


async def _started(dut: Any) -> Steps:
    steps = Steps(dut, OUTPUTS)
    await steps.start(s_valid_i=0, s_data_i=0, s_error_i=0)
    return steps


def _packet(steps: Steps) -> bytes:
    """1 to 40 bytes, rich in flags and escapes."""
    rng = steps.random
    return bytes(rng.choice([0x7E, 0x7D, 0x5E, rng.randrange(256)]) for _ in range(rng.randrange(1, 40)))


@cocotb.test()
async def whole_packets_come_out(dut: Any) -> None:
    """All of them, and no drop, whether they share a flag or not."""
    steps = await _started(dut)
    packets = [_packet(steps) for _ in range(60)]
    line = b"".join(enframe(packet)[: steps.random.choice([None, -1])] for packet in packets) + b"\x7e"
    assert await _found(steps, line) == (packets, 0)


@cocotb.test()
async def damaged_packets_do_not(dut: Any) -> None:
    """With bytes flipped, taken out and put in, it finds and drops exactly what the host's deframer does."""
    steps = await _started(dut)
    rng = steps.random
    line = bytearray()
    for _ in range(150):
        piece = bytearray(enframe(_packet(steps)))
        for _ in range(rng.choice([0, 0, 1, 2])):
            position = rng.randrange(len(piece))
            change = rng.randrange(3)
            if change == 0:
                piece[position] ^= 1 << rng.randrange(8)
            elif change == 1:
                del piece[position]
            else:
                piece.insert(position, rng.choice([0x7E, 0x7D, rng.randrange(256)]))
        line += piece
    line += b"\x7e"
    model = Deframer()
    packets = model.feed(bytes(line))
    assert len(packets) > 40
    assert model.damaged > 40
    assert await _found(steps, bytes(line)) == (packets, model.damaged)


@cocotb.test()
async def a_lost_byte_spoils_its_packet(dut: Any) -> None:
    """A line error drops the packet in which it lies, be it behind its last byte, and no other."""
    steps = await _started(dut)
    first, second, third = (_packet(steps) for _ in range(3))
    start = len(enframe(first))
    for position in range(start + 1, start + len(enframe(second)) - 1):
        # An extra byte that is lost: the rest of the packet is whole.
        line = bytearray(enframe(first) + enframe(second) + enframe(third))
        line.insert(position, 0)
        assert await _found(steps, bytes(line), frozenset([position])) == ([first, third], 1)
