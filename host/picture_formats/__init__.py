"""A picture's file, walked by its own format: one format a module.

Each walk gives the outline, and a bare file for the decoder; what it does not read it refuses by name.
"""

from __future__ import annotations

import struct

from edgesight.host.picture_files import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    Outline,
    Unreadable,
    cut_short,
    kind_of,
)
from edgesight.host.picture_formats import bmp, gif, jpeg, png, ppm, tiff, webp

_WALKS = {
    "JPEG": jpeg.walk,
    "PNG": png.walk,
    "GIF": gif.walk,
    "TIFF": tiff.walk,
    "WEBP": webp.walk,
    "PPM": ppm.walk,
    "BMP": bmp.walk,
}


def outline(content: bytes) -> Outline:
    """Outline of the picture in the file `content`; raises Unreadable."""
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(f"has {len(content)} bytes, at most {MAX_FILE_BYTES} are read: make it smaller")
    kind = kind_of(content)
    try:
        found = _WALKS[kind](content)
    except (struct.error, IndexError):  # a field beyond the file's end
        raise cut_short() from None
    if min(found.width, found.height) < 1:
        raise Unreadable(f"is damaged: it claims {found.width} x {found.height} pixels; copy it again")
    size = f"{found.width} x {found.height} pixels"
    if min(found.width, found.height) < MIN_SIDE:
        raise Unreadable(f"is {size}, at least {MIN_SIDE} x {MIN_SIDE} are needed to show anything: give a larger one")
    if found.width * found.height > MAX_PIXELS:
        raise Unreadable(f"is {size}, at most {MAX_PIXELS} are read: make it smaller")
    if max(found.width, found.height) > MAX_SIDE:
        raise Unreadable(f"is {size}, at most {MAX_SIDE} on a side are read: make it smaller")
    return found
