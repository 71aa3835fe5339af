"""A board on a serial line that answers registers as it should and frames with anything, in undamaged packets."""

from __future__ import annotations

import numpy as np

from edgesight.host.board_build import Serial
from edgesight.host.fabric.base import RECORD, FabricError
from edgesight.host.fabric.serial import Deframer, SerialFabric, enframe
from edgesight.host.fabric.serial_protocol import LINE_ID, LINE_ID_VALUE, Packet
from edgesight.host.registers import INTERFACE_VERSION, KERNEL_ID, OFFSETS
from tests.fuzz.package import small_package

MAX_LENGTH = 200
PACKAGE = small_package(registers=dict(OFFSETS))
LINE = Serial(baud=3_000_000, frames_in_flight=2)
IMAGES = np.arange(3 * PACKAGE.kernel.input.frame_bytes, dtype=np.uint8).reshape(3, *PACKAGE.kernel.input.shape)


class HostileBoard:
    """`BytePort` whose records are the fuzzer's."""

    name = "board"
    latency = 0.001

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._registers = {
            OFFSETS["id"]: KERNEL_ID,
            OFFSETS["version"]: INTERFACE_VERSION,
            OFFSETS["build_hash"]: int(PACKAGE.kernel.build_hash, 16),
            OFFSETS["weights_hash"]: int(PACKAGE.kernel.weights_sha256[:8], 16),
            LINE_ID: LINE_ID_VALUE,
        }
        self._heard = Deframer()
        self._line = b""
        self._time = 0.0

    def write(self, data: bytes) -> None:
        for packet in self._heard.feed(data):
            if packet[0] == Packet.READ:
                value = self._registers.get(int.from_bytes(packet[2:4], "little"), 0)
                self._line += enframe(bytes([Packet.READ_REPLY, packet[1]]) + value.to_bytes(4, "little"))
            elif packet[0] == Packet.WRITE:
                self._line += enframe(bytes([Packet.WRITE_REPLY, packet[1]]))
            elif packet[0] == Packet.FRAME and self._said:
                size, self._said = self._said[0] % 32, self._said[1:]
                said, self._said = self._said[:size], self._said[size:]
                self._line += enframe(said) if said else b"\x7e\x7d"

    def read(self, timeout: float) -> bytes:
        data, self._line = self._line, b""
        self._time += 1e-5 if data else timeout
        return data

    def now(self) -> float:
        return self._time

    def close(self) -> None:
        """Nothing is held."""


def seeds() -> list[bytes]:
    records = np.zeros(3, RECORD)
    records["tag"] = range(3)
    packets = [bytes([Packet.RECORD]) + record.tobytes() for record in records]
    return [b"".join(bytes([len(packet)]) + packet for packet in packets)]


def consume(data: bytes) -> None:
    fabric = SerialFabric(PACKAGE, HostileBoard(data), LINE)
    try:
        records = fabric.run(IMAGES, np.zeros(len(IMAGES), np.uint8))
    except FabricError:
        return
    assert records["tag"].tolist() == [0, 1, 2]
