"""Damaged, doubled, foreign and missing strips of one image: each is refused or taken, what was taken is an image."""

from __future__ import annotations

import numpy as np

from edgesight.host.link.datagrams import MAX_DATAGRAM, Kind, LinkError, Strip
from edgesight.host.link.strips import Assembly, encode

MAX_LENGTH = 600
_MOST_PIXELS = 128 * 128  # of an image that is put together here; a service takes but its model's own size


def _picture(height: int, width: int, channels: int, parity: int = 0, kind: Kind | None = None) -> list[bytes]:
    ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3)[..., None] + np.arange(channels) * 40
    encoded = encode((ramp % 256).astype(np.uint8), kind=kind, largest=MAX_DATAGRAM if kind is None else 300)
    return encoded.pack(request=7, left_ms=50, parity=parity)


PICTURES = [
    _picture(8, 8, 1),
    _picture(28, 28, 1, 2),
    _picture(33, 20, 3),
    _picture(72, 65, 1, 1),
    _picture(64, 96, 3, 3),
    _picture(28, 28, 1, kind=Kind.PACKED),
    _picture(64, 72, 3, kind=Kind.WHOLE),
]


def seeds() -> list[bytes]:
    """Whole pictures, and one with a damaged strip. A step is strip, what happens to it, and where."""
    return [
        *(bytes([number]) + b"".join(bytes([index, 0, 0, 0]) for index in range(4)) for number in range(len(PICTURES))),
        *(bytes([number]) + b"".join(bytes([index, 0, 0, 0]) for index in (1, 3, 4, 5)) for number in (1, 3, 4)),
        b"\x03" + b"\x00\x00\x00\x00" + b"\x01\x01\x40\x55" + b"\x02\x02\x80\x00" + b"\x03\x03\x30\x04abcd",
    ]


def consume(data: bytes) -> None:
    picture = PICTURES[data[0] % len(PICTURES)] if data else PICTURES[0]
    assembly: Assembly | None = None
    rest = data[1:]
    while len(rest) >= 4:
        index, damage, where, value = rest[:4]
        rest = rest[4:]
        datagram = bytearray(picture[index % len(picture)])
        position = where * len(datagram) // 256
        if damage % 4 == 1:
            datagram[position] ^= value
        elif damage % 4 == 2:
            del datagram[position:]
        elif damage % 4 == 3:
            datagram[position : position + value], rest = rest[:value], rest[value:]
        try:
            strip = Strip.parse(bytes(datagram))
            if assembly is None:
                if strip.form.height * strip.form.width > _MOST_PIXELS:
                    continue
                assembly = Assembly(strip.form)
            assembly.add(strip)
        except LinkError:
            continue
    if assembly is not None:
        form = assembly.form
        try:
            image = assembly.image()
        except LinkError:
            return
        assert image.shape == (form.height, form.width, form.channels)
        assert image.dtype == np.uint8
