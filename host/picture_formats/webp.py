"""A WEBP's chunks."""

from __future__ import annotations

import struct

from edgesight.host.picture_files import Outline, Unreadable, check_parts, within
from edgesight.host.picture_formats.exif import orientation_of


def walk(content: bytes) -> Outline:
    """Outline of the WEBP in the file `content`; raises Unreadable, struct.error or IndexError."""
    (size,) = struct.unpack_from("<I", content, 4)
    within(content, 8 + size)
    kind = content[12:16]
    orientation, animated = 0, False
    if kind == b"VP8X":
        animated = bool(content[20] & 2)
        width = int.from_bytes(content[24:27], "little") + 1
        height = int.from_bytes(content[27:30], "little") + 1
        at, count = 12, 0
        while at + 8 <= 8 + size:
            name, length = struct.unpack_from("<4sI", content, at)
            count += 1
            check_parts(count)
            if name == b"EXIF":
                exif = content[at + 8 : at + 8 + min(length, 65_536)]
                orientation = orientation or orientation_of(exif.removeprefix(b"Exif\0\0"))
            at += 8 + length + length % 2
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", content, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        raise Unreadable("is damaged: it is a WEBP without a picture; copy it again")
    return Outline(
        "WEBP",
        width,
        height,
        content,
        17,  # two canvases, the frame's copy and Pillow's own, four bytes each
        0,
        4 * len(content),
        orientation=orientation or 1,
        several=animated,
    )
