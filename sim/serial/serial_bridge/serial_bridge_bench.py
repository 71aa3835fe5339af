"""The serial bridge at its pins: packets, whatever noise stands between them, against a kernel made of coroutines."""

# mypy: allow-untyped-decorators
# (cocotb's are read as untyped)

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteRam

from edgesight.host.fabric.serial import enframe
from edgesight.host.fabric.serial_protocol import DAMAGED, LINE_ID, LINE_ID_VALUE, MALFORMED, OVERRUNS, PACKETS, Packet
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.uart import Receiver, Transmitter

P: dict[str, Any] = bench_parameters()
PERIOD_PS = 10_000
BIT_PS = 10**12 // P["Baud"]


class Bench:
    """The bridge, the line's other end, and a kernel that takes frames and gives records."""

    def __init__(self, dut: Any) -> None:
        """Use `Bench.started`."""
        self.dut = dut
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.frames: list[bytes] = []
        self.accept = 0.5  # probability, in a cycle, that the kernel takes a beat
        self.transmitter = Transmitter(dut.rx_i, BIT_PS)
        self.receiver = Receiver(dut.tx_o, BIT_PS)
        self.registers = AxiLiteRam(AxiLiteBus.from_prefix(dut, "m_axil"), dut.clk_i, size=4096)
        self._sequence = 0

    @classmethod
    async def started(cls, dut: Any) -> Bench:
        """A bridge fresh from reset."""
        dut.rst_ni.value = 0
        dut.rx_i.value = 1
        dut.s_axis_tvalid.value = 0
        dut.m_axis_tready.value = 0
        cocotb.start_soon(Clock(dut.clk_i, PERIOD_PS, "ps").start())
        for _ in range(4):
            await FallingEdge(dut.clk_i)
        dut.rst_ni.value = 1
        bench = cls(dut)
        bench.receiver.start()
        cocotb.start_soon(bench._take_frames())
        return bench

    async def _take_frames(self) -> None:
        dut, frame = self.dut, bytearray()
        waiting = None
        while True:
            await FallingEdge(dut.clk_i)
            take = self.random.random() < self.accept
            dut.m_axis_tready.value = take
            await RisingEdge(dut.clk_i)
            if not int(dut.m_axis_tvalid.value):
                assert waiting is None, "valid dropped while a beat waited"
                continue
            beat = int(dut.m_axis_tdata.value), int(dut.m_axis_tkeep.value), int(dut.m_axis_tlast.value)
            assert waiting in (None, beat), "the beat changed while it waited"
            waiting = None if take else beat
            if take:
                data, keep, last = beat
                count = keep.bit_count()
                assert keep == (1 << count) - 1
                assert last or count == 8, "a hole in a frame"
                frame += data.to_bytes(8, "little")[:count]
                if last:
                    self.frames.append(bytes(frame))
                    frame.clear()

    async def give_record(self, record: bytes) -> None:
        """Offer the beats of a record until they are taken."""
        dut = self.dut
        for start in range(0, len(record), 8):
            await FallingEdge(dut.clk_i)
            dut.s_axis_tdata.value = int.from_bytes(record[start : start + 8], "little")
            dut.s_axis_tvalid.value = 1
            await RisingEdge(dut.clk_i)
            while not int(dut.s_axis_tready.value):
                await RisingEdge(dut.clk_i)
        await FallingEdge(dut.clk_i)
        dut.s_axis_tvalid.value = 0

    async def request(self, kind: int, body: bytes) -> bytes:
        """Send a request and return what answers it."""
        self._sequence = (self._sequence + 1) % 256
        await self.transmitter.send(enframe(bytes([kind, self._sequence]) + body))
        answer = await self.receiver.packet()
        assert answer[1] == self._sequence
        return answer[:1] + answer[2:]

    async def read(self, address: int) -> int:
        """Read a register."""
        answer = await self.request(Packet.READ, address.to_bytes(2, "little"))
        assert answer[0] == Packet.READ_REPLY
        assert len(answer) == 5
        return int.from_bytes(answer[1:], "little")

    def frame(self, size: int) -> bytes:
        """A frame of `size` bytes, rich in flags and escapes."""
        return bytes(self.random.choice([0x7E, 0x7D, self.random.randrange(256)]) for _ in range(size))

    def noise(self) -> bytes:
        """Some bytes that are no packet."""
        return self.random.randbytes(self.random.randrange(1, 12))


@cocotb.test()
async def reads_and_writes_reach_the_registers(dut: Any) -> None:
    """Every write is answered and lands; every read returns the word that lies there."""
    bench = await Bench.started(dut)
    expected: dict[int, int] = {}
    for _ in range(30):
        address, value = 4 * bench.random.randrange(1024), bench.random.getrandbits(32)
        answer = await bench.request(Packet.WRITE, address.to_bytes(2, "little") + value.to_bytes(4, "little"))
        assert answer == bytes([Packet.WRITE_REPLY])
        expected[address] = value
    for address, value in expected.items():
        assert await bench.read(address) == value
    assert await bench.read(LINE_ID) == LINE_ID_VALUE


@cocotb.test()
async def frames_arrive_whole_and_in_order(dut: Any) -> None:
    """Frames of all lengths up to half the buffer, against a kernel that stalls."""
    bench = await Bench.started(dut)
    sizes = [1, 7, 8, 9, 16, P["BufferBytes"] // 2 - 1] + [bench.random.randrange(1, 60) for _ in range(12)]
    frames = [bench.frame(size) for size in sizes]
    for frame in frames:
        await bench.transmitter.send(enframe(bytes([Packet.FRAME]) + frame))
    assert await bench.read(PACKETS) == len(frames) + 1
    assert bench.frames == frames


@cocotb.test()
async def records_and_replies_share_the_line(dut: Any) -> None:
    """Every record comes out once, in order, and every request among them is answered."""
    bench = await Bench.started(dut)
    records = [bench.random.randbytes(8 * P["RecordBeats"]) for _ in range(15)]

    async def give() -> None:
        for record in records:
            await bench.give_record(record)

    giving = cocotb.start_soon(give())
    for sequence in range(20):
        await bench.transmitter.send(enframe(bytes([Packet.READ, sequence]) + LINE_ID.to_bytes(2, "little")))
    await giving
    packets = [await bench.receiver.packet() for _ in range(len(records) + 20)]
    assert [packet[1:] for packet in packets if packet[0] == Packet.RECORD] == records
    replies = [packet for packet in packets if packet[0] == Packet.READ_REPLY]
    assert [packet[1] for packet in replies] == list(range(20))
    assert not bench.receiver.damaged


@cocotb.test()
async def damaged_packets_never_reach_the_kernel(dut: Any) -> None:
    """Noise, flipped bits, lost bytes and cut packets: only whole packets come through, and all others are counted."""
    bench = await Bench.started(dut)
    sent: list[bytes] = []
    damaged = 0
    for _ in range(40):
        frame = bench.frame(bench.random.randrange(9, 40))
        line = bytearray(enframe(bytes([Packet.FRAME]) + frame))
        fate = bench.random.choice(["whole", "flipped", "lost", "cut", "noise", "break"])
        if fate == "flipped":
            position = bench.random.randrange(1, len(line) - 1)
            line[position] ^= 1 << bench.random.randrange(8)
        elif fate == "lost":
            del line[bench.random.randrange(1, len(line) - 1)]
        elif fate == "cut":
            del line[bench.random.randrange(2, len(line) - 1) :]
        elif fate == "noise":
            await bench.transmitter.send(bench.noise())
        elif fate == "break":
            await bench.transmitter.hold_low(15)
        await bench.transmitter.send(bytes(line))
        if fate in ("whole", "noise", "break"):
            sent.append(frame)
        else:
            damaged += 1
    await bench.transmitter.send(b"\x7e")
    assert await bench.read(PACKETS) == len(sent) + 1
    assert bench.frames == sent
    assert await bench.read(DAMAGED) >= damaged
    assert await bench.read(OVERRUNS) == 0


@cocotb.test()
async def what_does_not_fit_is_dropped_whole(dut: Any) -> None:
    """With a kernel that takes nothing, packets overrun, are counted, and all goes on when it takes again."""
    bench = await Bench.started(dut)
    bench.accept = 0.0
    frames = [bench.frame(P["BufferBytes"] // 4) for _ in range(7)]
    for frame in frames:
        await bench.transmitter.send(enframe(bytes([Packet.FRAME]) + frame))
    bench.accept = 1.0
    await Timer(P["BufferBytes"] * 4 * PERIOD_PS, "ps")
    too_long = bench.frame(P["BufferBytes"] + 1)
    await bench.transmitter.send(enframe(bytes([Packet.FRAME]) + too_long))
    await bench.transmitter.send(enframe(bytes([Packet.FRAME]) + frames[0]))
    # What lay in the pipe beside the buffer has room for a few bytes more.
    overruns = await bench.read(OVERRUNS)
    assert 4 <= overruns <= 5
    assert bench.frames == [*frames[: 8 - overruns], frames[0]]


@cocotb.test()
async def malformed_packets_are_counted_and_passed_over(dut: Any) -> None:
    """Unknown types and requests of a wrong length have no effect, and no answer."""
    bench = await Bench.started(dut)
    malformed = [
        bytes([Packet.READ]),
        bytes([Packet.READ, 1, 2]),
        bytes([Packet.READ, 1, 2, 3, 4]),
        bytes([Packet.WRITE, 1, 0, 0, 1, 2, 3]),
    ]
    malformed += [
        bytes([Packet.WRITE, 1, 0, 0, 1, 2, 3, 4, 5]),
        bytes([0]),
        bytes([0xFF, *range(20)]),
        bytes([Packet.FRAME]),
    ]
    for packet in malformed:
        await bench.transmitter.send(enframe(packet))
    assert await bench.read(0) == 0
    assert await bench.read(MALFORMED) == len(malformed)
    assert bench.frames == []
