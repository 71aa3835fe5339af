"""What travels between edge and data centre, byte by byte: strips, cancels and traces there, replies back.

Every message describes itself, so that any datagram may be lost, repeated or overtaken; a datagram holds one message
or several, back to back. Parsing is total: any bytes give messages or a `LinkError`. Numbers are big-endian.

    strip   head 1 | request 6 | milliseconds left 2 | height 2 | width 2 | channels and attempt 1 | quality 1
            | accuracy target 2 | index 2 | count 2 | parity 1 | length 2 | payload       (24 bytes before the payload)
    cancel  head 1 | request 6
    reply   head 1 | request 6 | status 1 | label 2 | missing 2 | service microseconds 4 | queue 1
    trace   head 1 | request 6 | trace id 16 | span id 8 | flags 1      (before a strip, in the same datagram)

The head is the version in the upper four bits and the kind in the lower. A request id is its session's number in the
upper 16 bits and counts from 0 in the lower 32, so that nothing that was asked in one session is taken for a request
of another. What never changes in a session is not in a datagram but was agreed in hello and welcome: the JPEG tables,
the model and its input.

Words owned here: strip, form, parity strip, cancel, reply, trace of a request, attempt, request id.
"""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import TypeVar

from edgesight.host.errors import EdgeSightError

VERSION = 3
MAX_DATAGRAM = 1_124  # fits a QUIC packet of the smallest path (1,200 bytes) with its overhead
MAX_SIDE = 4_096  # pixels; the same limit that a back end's input has
MAX_STRIPS = 4_096
MAX_PARITY = 64
MAX_LEFT_MS = 0xFFFF
MAX_QUEUE_MS = 0xFF
MAX_CLASSES = 1 << 16  # that a reply's label tells apart
SESSION_BITS, REQUEST_BITS = 16, 32  # of a request id
_STRIP = struct.Struct("!BHIHHHBBHHHBH")
_CANCEL = struct.Struct("!BHI")
_REPLY = struct.Struct("!BHIBHHIB")
_TRACE = struct.Struct("!BHI16s8sB")
STRIP_HEADER = _STRIP.size
TRACE_BYTES = _TRACE.size
_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ACCURACY_STEPS = 10_000  # of the accuracy target between 0 and 1
_ATTEMPT_SHIFT = 2  # the lower two bits are the channels

# 32-bit ARM boards such as the PYNQ-Z2 find no wheels of aioquic, nor of a Pillow that cuts JPEGs into blocks.
NO_QUIC = (
    "aioquic is not installed, without which there is no way to a data centre: run the edge without one, or, on a "
    "32-bit ARM board, build it: apt-get install libssl-dev libffi-dev libjpeg-dev python3-dev gcc && "
    "pip install aioquic==1.3.0 'cryptography>=44,<46' 'pillow>=10.2'"
)


class LinkError(EdgeSightError):
    """A message or a connection that cannot be used: says what was found and what to do."""


class Kind(enum.IntEnum):
    """What a message is; of strips, how their pixels are packed."""

    RAW = 1
    JPEG = 2
    CANCEL = 3
    REPLY = 4
    PACKED = 5  # raw pixels made smaller without loss
    WHOLE = 6  # JPEG without blocks that stand alone
    TRACE = 7

    @property
    def entire(self) -> bool:
        """Whether such an image is of use only when all of it has come: its strips are cut from one row of bytes."""
        return self in (Kind.PACKED, Kind.WHOLE)

    @property
    def raw(self) -> bool:
        """Whether the pixels come exactly."""
        return self in (Kind.RAW, Kind.PACKED)


@dataclass(frozen=True)
class Form:
    """What all strips of one image have in common."""

    kind: Kind  # RAW, JPEG, PACKED or WHOLE
    height: int  # of the image that travels; the data centre enlarges a smaller one to its model's input
    width: int
    channels: int
    quality: int  # JPEG's quality setting; 0 for raw pixels
    count: int  # strips that hold the image
    parity: int = 0  # strips behind those, from which lost ones are recovered


@dataclass(frozen=True)
class Strip:
    """A part of an image, or with an index of `form.count` or more a parity strip."""

    request: int
    attempt: int  # 0, or 1 when nothing had come back
    left_ms: int  # until the deadline, when it was sent
    form: Form
    index: int
    payload: bytes
    accuracy: float = 0.0  # the target of the request, between 0 and 1

    def pack(self) -> bytes:
        """The message; raises LinkError when it would be too large for any datagram."""
        form = self.form
        if STRIP_HEADER + len(self.payload) > MAX_DATAGRAM:
            raise LinkError(
                f"strip of {len(self.payload)} bytes: at most {MAX_DATAGRAM - STRIP_HEADER} travel; cut the image finer"
            )
        return (
            _STRIP.pack(
                _head(form.kind),
                *_halves(self.request),
                min(max(self.left_ms, 0), MAX_LEFT_MS),
                form.height,
                form.width,
                form.channels | self.attempt << _ATTEMPT_SHIFT,
                form.quality,
                round(self.accuracy * _ACCURACY_STEPS),
                self.index,
                form.count,
                form.parity,
                len(self.payload),
            )
            + self.payload
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Strip:
        """The only message of `datagram`, a strip; raises LinkError. The payload is looked at on assembly."""
        return _only(datagram, cls)

    @classmethod
    def _first(cls, data: bytes) -> tuple[Strip, int]:
        if len(data) < STRIP_HEADER:
            raise LinkError(f"strip of {len(data)} bytes: expected at least {STRIP_HEADER}")
        head, session, number, left, height, width, flags, quality, accuracy, index, count, parity, length = (
            _STRIP.unpack_from(data)
        )
        kind = Kind(head & 0xF)
        channels, attempt = flags & (1 << _ATTEMPT_SHIFT) - 1, flags >> _ATTEMPT_SHIFT
        for name, value, allowed in (
            ("attempt", attempt, range(2)),
            ("height", height, range(1, MAX_SIDE + 1)),
            ("width", width, range(1, MAX_SIDE + 1)),
            ("channels", channels, (1, 3)),
            ("quality", quality, (0,) if kind.raw else range(1, 96)),
            ("accuracy target", accuracy, range(_ACCURACY_STEPS + 1)),
            ("count", count, range(1, MAX_STRIPS + 1)),
            ("parity", parity, range(MAX_PARITY + 1)),
            ("index", index, range(count + parity)),
            ("length", length, range(len(data) - STRIP_HEADER + 1)),
        ):
            if value not in allowed:
                raise LinkError(f"strip with {name} {value}: both sides must run the same version")
        form = Form(kind, height, width, channels, quality, count, parity)
        end = STRIP_HEADER + length
        request = session << REQUEST_BITS | number
        return cls(request, attempt, left, form, index, data[STRIP_HEADER:end], accuracy / _ACCURACY_STEPS), end


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for a request any more: no work on it, no reply."""

    request: int

    def pack(self) -> bytes:
        """The message."""
        return _CANCEL.pack(_head(Kind.CANCEL), *_halves(self.request))

    @classmethod
    def parse(cls, datagram: bytes) -> Cancel:
        """The only message of `datagram`, a cancel; raises LinkError."""
        return _only(datagram, cls)

    @classmethod
    def _first(cls, data: bytes) -> tuple[Cancel, int]:
        if len(data) < _CANCEL.size:
            raise LinkError(f"cancel of {len(data)} bytes: expected {_CANCEL.size}")
        _, session, number = _CANCEL.unpack_from(data)
        return cls(session << REQUEST_BITS | number), _CANCEL.size


class Status(enum.IntEnum):
    """What became of a request."""

    ANSWERED = 0
    LATE = 1  # the deadline passed before the model ran
    BUSY = 2  # more requests were open than the service holds
    FAILED = 3  # the model could not run


@dataclass(frozen=True)
class Reply:
    """The data centre's answer to one request."""

    request: int
    status: Status
    label: int = 0
    missing: int = 0  # strips whose pixels were made up: they neither came nor could be recovered
    service_us: int = 0  # last strip received to reply sent, waiting for others included
    queue_ms: int = 0  # how long a request that comes now would wait for the model; MAX_QUEUE_MS is that or more

    def pack(self) -> bytes:
        """The message."""
        return _REPLY.pack(
            _head(Kind.REPLY),
            *_halves(self.request),
            self.status,
            self.label,
            self.missing,
            min(max(self.service_us, 0), 0xFFFF_FFFF),
            min(max(self.queue_ms, 0), MAX_QUEUE_MS),
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Reply:
        """The only message of `datagram`, a reply; raises LinkError."""
        return _only(datagram, cls)

    @classmethod
    def _first(cls, data: bytes) -> tuple[Reply, int]:
        if len(data) < _REPLY.size:
            raise LinkError(f"reply of {len(data)} bytes: expected {_REPLY.size}")
        _, session, number, status, *rest = _REPLY.unpack_from(data)
        label, missing, service_us, queue_ms = rest
        if status not in tuple(Status):
            raise LinkError(f"reply with status {status}: both sides must run the same version")
        if missing > MAX_STRIPS:
            raise LinkError(f"reply with missing {missing}: both sides must run the same version")
        request = session << REQUEST_BITS | number
        return cls(request, Status(status), label, missing, service_us, queue_ms), _REPLY.size


@dataclass(frozen=True)
class Trace:
    """The trace that a request belongs to, as its W3C `traceparent` of version 00 says it."""

    request: int
    traceparent: str

    def pack(self) -> bytes:
        """The message; raises LinkError where it is no such `traceparent`."""
        found = _TRACEPARENT.fullmatch(self.traceparent)
        if found is None:
            raise LinkError(f"{self.traceparent[:60]!r} is no traceparent of version 00: send none")
        trace, span, flags = map(bytes.fromhex, found.groups())
        return _TRACE.pack(_head(Kind.TRACE), *_halves(self.request), trace, span, flags[0])

    @classmethod
    def _first(cls, data: bytes) -> tuple[Trace, int]:
        if len(data) < _TRACE.size:
            raise LinkError(f"trace of {len(data)} bytes: expected {_TRACE.size}")
        _, session, number, trace, span, flags = _TRACE.unpack_from(data)
        if not any(trace) or not any(span):
            raise LinkError("trace with an id of zeros: send none")
        traceparent = f"00-{trace.hex()}-{span.hex()}-{flags:02x}"
        return cls(session << REQUEST_BITS | number, traceparent), _TRACE.size


Message = Strip | Cancel | Reply | Trace
_Wanted = TypeVar("_Wanted", Strip, Cancel, Reply)
_TYPES: dict[Kind, type[Strip] | type[Cancel] | type[Reply] | type[Trace]] = {
    Kind.RAW: Strip,
    Kind.JPEG: Strip,
    Kind.PACKED: Strip,
    Kind.WHOLE: Strip,
    Kind.CANCEL: Cancel,
    Kind.REPLY: Reply,
    Kind.TRACE: Trace,
}


def parse(datagram: bytes) -> list[Message]:
    """The messages of `datagram`, at least one; raises LinkError naming the field that is wrong."""
    if not 0 < len(datagram) <= MAX_DATAGRAM:
        raise LinkError(f"datagram of {len(datagram)} bytes: expected 1 to {MAX_DATAGRAM}")
    messages: list[Message] = []
    position = 0
    while position < len(datagram):
        version, kind = divmod(datagram[position], 16)
        if version != VERSION:
            raise LinkError(f"message of version {version}: this side speaks {VERSION}; install the same on both")
        if kind not in tuple(Kind):
            raise LinkError(f"message of kind {kind}: both sides must run the same version")
        message, size = _TYPES[Kind(kind)]._first(datagram[position:])
        messages.append(message)
        position += size
    return messages


def _only(datagram: bytes, wanted: type[_Wanted]) -> _Wanted:
    messages = parse(datagram)
    if len(messages) != 1 or not isinstance(messages[0], wanted):
        found = ", ".join(type(message).__name__.lower() for message in messages)
        raise LinkError(f"datagram of {found}: expected one {wanted.__name__.lower()}")
    return messages[0]


def _head(kind: Kind) -> int:
    return VERSION << 4 | kind


def _halves(request: int) -> tuple[int, int]:
    """Session and number of a request id."""
    return request >> REQUEST_BITS, request & (1 << REQUEST_BITS) - 1
