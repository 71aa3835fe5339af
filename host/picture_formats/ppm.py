"""A PPM's header. The format needs no decoder."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgesight.host.picture_files import MAX_PIXELS, Outline, Unreadable, within

_HEAD = re.compile(rb"P([456])" + 2 * rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})")
_MOST = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})")


@dataclass(frozen=True)
class Raster:
    """A PPM, which needs no decoder.

    Attributes:
        width: pixels.
        height: pixels.
        channels: 1 or 3.
        most: the value of a sample that is white; 1: samples are bits, and 1 is black.
        at: where samples begin in the file.
        line: bytes of a row.
    """

    width: int
    height: int
    channels: int
    most: int
    at: int
    line: int


def walk(content: bytes) -> Outline:
    """Outline of the PPM in the file `content`; raises Unreadable, struct.error or IndexError."""
    found = raster(content)
    width, height = found.width, found.height
    if width * height <= MAX_PIXELS:
        within(content, found.at + found.line * height)
    full = found.most if found.most > 255 and found.channels == 1 else 0
    return Outline("PPM", width, height, content, 8 if found.channels == 3 else 4, 0, len(content), full=full)


def raster(content: bytes) -> Raster:
    """How the samples of a PPM stand; raises Unreadable."""
    head = _HEAD.match(content, 0, 4_096)
    if head is None:
        raise Unreadable("is damaged: its size is not told; copy it again")
    width, height, at = int(head[2]), int(head[3]), head.end()
    if head[1] == b"4":
        return Raster(width, height, 1, 1, at + 1, -(-width // 8))
    said = _MOST.match(content, at, at + 4_096)
    if said is None or not 1 < int(said[1]) < 65_536:
        raise Unreadable("is not read: what is white has to be a number from 2 to 65535; save it with 255")
    most, channels = int(said[1]), 3 if head[1] == b"6" else 1
    return Raster(width, height, channels, most, said.end() + 1, width * channels * (2 if most > 255 else 1))
