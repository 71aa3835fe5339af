"""A JPEG's segments."""

from __future__ import annotations

import struct

from edgesight.host.picture_files import Outline, Unreadable, check_parts, cut_short, within
from edgesight.host.picture_formats.exif import orientation_of

_MAX_SCANS = 64  # of a progressive JPEG: each is a pass over all pixels
_READ = {0xC0: False, 0xC1: False, 0xC2: True, 0xC9: False, 0xCA: True}  # frame's marker -> progressive?
_ARITHMETIC = {0xC9, 0xCA}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_KEPT = {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}  # tables, restarts, and what names the colours: JFIF and Adobe


def walk(content: bytes) -> Outline:
    """Outline of the JPEG in the file `content`; raises Unreadable, struct.error or IndexError."""
    kept = [content[:2]]
    frame: bytes | None = None
    names_colours, plain = False, True
    progressive, orientation, at, count = False, 0, 2, 0
    while True:
        at = content.find(b"\xff", at)
        while at >= 0 and content[at] == 0xFF:
            at += 1
        if at < 0:
            raise cut_short()
        marker = content[at]
        at += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9:
            raise Unreadable("is damaged: no picture comes before its end; copy it again")
        (length,) = struct.unpack_from(">H", content, at)
        body = content[at + 2 : at + max(length, 2)]
        count += 1
        check_parts(count)
        if marker == 0xDA:
            break
        within(content, at + length)
        if marker in _FRAMES:
            if frame is not None:
                raise Unreadable("is damaged: it begins twice; copy it again")
            if marker not in _READ:
                raise Unreadable("is a lossless or hierarchical JPEG, which is not read: save it as a common one")
            frame, progressive, plain = body, _READ[marker], plain and marker not in _ARITHMETIC
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = orientation or orientation_of(body[6:])
        elif marker == 0xE0 and body.startswith(b"JFIF\0"):
            names_colours = True
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            names_colours, plain = True, plain and body[11] == 1  # YCbCr
        if marker in _KEPT or marker in _FRAMES:
            kept.append(b"\xff" + bytes([marker]) + content[at : at + length])
        at += length
    if frame is None:
        raise Unreadable("is damaged: its size is not told before its pixels; copy it again")
    precision, height, width, components = struct.unpack_from(">BHHB", frame)
    if precision != 8:
        raise Unreadable(f"has {precision} bits a sample, 8 are read of a JPEG: save it with 8, or as PNG")
    if components not in (1, 3, 4):
        raise Unreadable(f"has {components} colour channels, 1, 3 or 4 are read of a JPEG: save it as RGB")
    sampled = [(frame[7 + 3 * index] >> 4, frame[7 + 3 * index] & 15) for index in range(components)]
    if not all(1 <= factor <= 4 for pair in sampled for factor in pair):
        raise Unreadable(f"is damaged: its colours are sampled by {sampled}; copy it again")
    identifiers = bytes(frame[6 + 3 * index] for index in range(components))
    plain = plain and components != 4 and (names_colours or identifiers != b"RGB")
    coefficients = 0
    if progressive or body[0] < components:
        if content.count(b"\xff\xda", at) > _MAX_SCANS:
            raise Unreadable(f"has more than {_MAX_SCANS} scans: save it as a common JPEG")
        # Decoding in several passes keeps a 16-bit coefficient a sample, in whole blocks.
        across, down = max(h for h, _ in sampled), max(v for _, v in sampled)
        units = -(-width // (8 * across)) * -(-height // (8 * down))
        coefficients = units * sum(h * v for h, v in sampled) * 128
    kept.append(content[at - 2 :])
    return Outline(
        "JPEG",
        width,
        height,
        b"".join(kept),
        1 if components == 1 else 4,
        coefficients,
        2 * len(content),
        orientation=orientation or 1,
        halvable=True,
        plain=plain,
    )
