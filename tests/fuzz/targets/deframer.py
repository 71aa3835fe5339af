"""Any bytes on a serial line, in two pieces: packets are those that would come in one."""

from __future__ import annotations

from edgesight.host.fabric.serial import Deframer, enframe

MAX_LENGTH = 200


def seeds() -> list[bytes]:
    packets = [b"\x01\x02\x00\x10", b"\x7e\x7d\x7d\x7e", bytes(40)]
    return [bytes([9]) + b"".join(map(enframe, packets)), bytes([3]) + enframe(packets[1])[:-1]]


def consume(data: bytes) -> None:
    if not data:
        return
    position, line = data[0], data[1:]
    whole = Deframer().feed(line)
    split = Deframer()
    assert [*split.feed(line[:position]), *split.feed(line[position:])] == whole
    for packet in whole:
        assert Deframer().feed(enframe(packet)) == [packet]
    assert Deframer().feed(enframe(data)) == [data]
