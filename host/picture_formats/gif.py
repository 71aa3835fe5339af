"""A GIF's blocks."""

from __future__ import annotations

import struct

from edgesight.host.picture_files import Outline, Unreadable, check_parts


def walk(content: bytes) -> Outline:
    """Outline of the GIF in the file `content`: of its first frame, with its graphic control.

    Raises Unreadable, struct.error or IndexError.
    """
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept = [content[:at]]
    palette = 2 << (flags & 7) if flags & 0x80 else 0
    control, count = b"", 0
    while True:
        begin, kind = at, content[at]
        if kind == 0x21:  # an extension
            at = _behind_blocks(content, at + 2)
            if content[begin + 1] == 0xF9:
                control = content[begin:at]
        elif kind == 0x2C:
            left, top, wide, high, local = struct.unpack_from("<HHHHB", content, at + 1)
            at = _behind_blocks(content, at + 11 + (3 << (local & 7) + 1 if local & 0x80 else 0))
            kept += [control, content[begin:at], b";"]
            palette = 2 << (local & 7) if local & 0x80 else palette
            break
        elif kind == 0x3B:
            raise Unreadable("holds no picture: give another")
        else:
            raise Unreadable("is damaged: something else stands where a frame should; copy it again")
        count += 1
        check_parts(count)
    if not palette:
        raise Unreadable("has no colours of its own: save it as PNG")
    return Outline(
        "GIF",
        max(width, left + wide),
        max(height, top + high),
        b"".join(kept),
        3,
        0,
        2 * len(content),
        several=content[at : at + 1] != b";" and content.find(b"\x2c", at) >= 0,
        palette=palette,
    )


def _behind_blocks(content: bytes, at: int) -> int:
    """Where what follows the sub-blocks from `at` on begins."""
    while content[at]:
        at += content[at] + 1
    return at + 1
