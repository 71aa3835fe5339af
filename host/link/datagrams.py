"""What travels between edge and data centre, byte by byte: strips there, replies back.

Every datagram describes itself, so that any of them may be lost, repeated or overtaken. Parsing is total: any bytes
give a message or a `LinkError`. Numbers are big-endian.

    strip  version 1 | kind 1 | request 8 | attempt 1 | milliseconds left 2 | height 2 | width 2 | channels 1
           | spacing 1 | quality 1 | tables 4 | index 2 | count 2 | payload
    reply  version 1 | kind 1 | request 8 | status 1 | label 2 | strips missing 2 | service microseconds 4

A request id is its session's number in the upper 24 bits and counts from 0 in the lower 40, so that nothing that was
asked in one session is taken for a request of another.

Words owned here: strip, form, reply, attempt, request id.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

VERSION = 1
MAX_DATAGRAM = 1_100  # fits a QUIC packet of the smallest path (1,200 bytes) with its overhead
MAX_SIDE = 1_024  # pixels; the same limit that a kernel's input has
MAX_STRIPS = 4_096
MAX_LEFT_MS = 0xFFFF
SESSION_BITS, REQUEST_BITS = 24, 40  # of a request id
_STRIP = struct.Struct("!BBQBHHHBBBIHH")
_REPLY = struct.Struct("!BBQBHHI")
MAX_PAYLOAD = MAX_DATAGRAM - _STRIP.size
_REPLY_KIND = 0x61


# 32-bit ARM boards such as the PYNQ-Z2 find no wheels of aioquic, nor of a Pillow that cuts JPEGs into blocks.
NO_QUIC = (
    "aioquic is not installed, without which there is no way to a data centre: run the edge without one, or, on a "
    "32-bit ARM board, build it: apt-get install libssl-dev libffi-dev libjpeg-dev python3-dev gcc && "
    "pip install aioquic==1.3.0 'cryptography>=44,<46' 'pillow>=10.2'"
)


class LinkError(RuntimeError):
    """A message or a connection that cannot be used: says what was found and what to do."""


class Kind(enum.IntEnum):
    """How the pixels of a strip are packed."""

    RAW = 0x51
    JPEG = 0x52


@dataclass(frozen=True)
class Form:
    """What all strips of one image have in common."""

    kind: Kind
    height: int
    width: int
    channels: int
    spacing: int  # raw: pixels from one of a strip to its next, in each direction; 1 for JPEG
    quality: int  # JPEG's quality setting; 0 for raw
    tables: int  # CRC-32 of the JPEG header that both sides derive from the rest; 0 for raw
    count: int  # strips of the image


@dataclass(frozen=True)
class Strip:
    """A part of an image."""

    request: int
    attempt: int  # 0, or 1 when nothing had come back
    left_ms: int  # until the deadline, when it was sent
    form: Form
    index: int
    payload: bytes

    def pack(self) -> bytes:
        """The datagram; raises LinkError when it would be too large for the way."""
        form = self.form
        if len(self.payload) > MAX_PAYLOAD:
            raise LinkError(f"strip of {len(self.payload)} bytes: at most {MAX_PAYLOAD} travel; cut the image finer")
        return (
            _STRIP.pack(
                VERSION,
                form.kind,
                self.request,
                self.attempt,
                min(max(self.left_ms, 0), MAX_LEFT_MS),
                form.height,
                form.width,
                form.channels,
                form.spacing,
                form.quality,
                form.tables,
                self.index,
                form.count,
            )
            + self.payload
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Strip:
        """Read a strip; raises LinkError naming the field that is wrong. The payload is looked at on assembly."""
        if not _STRIP.size <= len(datagram) <= MAX_DATAGRAM:
            raise LinkError(f"strip of {len(datagram)} bytes: expected {_STRIP.size} to {MAX_DATAGRAM}")
        version, kind, request, attempt, left, height, width, channels, spacing, quality, tables, index, count = (
            _STRIP.unpack_from(datagram)
        )
        _check_version(version)
        for name, value, allowed in (
            ("kind", kind, tuple(Kind)),
            ("attempt", attempt, (0, 1)),
            ("height", height, range(1, MAX_SIDE + 1)),
            ("width", width, range(1, MAX_SIDE + 1)),
            ("channels", channels, (1, 3)),
            ("spacing", spacing, range(1, 256) if kind == Kind.RAW else (1,)),
            ("quality", quality, (0,) if kind == Kind.RAW else range(1, 96)),
            ("count", count, range(1, MAX_STRIPS + 1)),
            ("index", index, range(count)),
        ):
            if value not in allowed:
                raise LinkError(f"strip with {name} {value}: both sides must run the same version")
        form = Form(Kind(kind), height, width, channels, spacing, quality, tables, count)
        return cls(request, attempt, left, form, index, datagram[_STRIP.size :])


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
    label: int
    missing: int  # strips that were repaired
    service_us: int  # first strip received to reply sent, waiting included

    def pack(self) -> bytes:
        """The datagram."""
        return _REPLY.pack(
            VERSION,
            _REPLY_KIND,
            self.request,
            self.status,
            self.label,
            self.missing,
            min(max(self.service_us, 0), 0xFFFF_FFFF),
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Reply:
        """Read a reply; raises LinkError naming the field that is wrong."""
        if len(datagram) != _REPLY.size:
            raise LinkError(f"reply of {len(datagram)} bytes: expected {_REPLY.size}")
        version, kind, request, status, label, missing, service_us = _REPLY.unpack(datagram)
        _check_version(version)
        if kind != _REPLY_KIND or status not in tuple(Status):
            raise LinkError(f"reply of kind {kind} with status {status}: both sides must run the same version")
        return cls(request, Status(status), label, missing, service_us)


def _check_version(version: int) -> None:
    if version != VERSION:
        raise LinkError(f"datagram of version {version}: this side speaks {VERSION}; install the same on both")
