"""A BMP's header."""

from __future__ import annotations

import struct

from edgesight.host.picture_files import Outline, Unreadable


def walk(content: bytes) -> Outline:
    """Outline of the BMP in the file `content`; raises Unreadable, struct.error or IndexError."""
    (header,) = struct.unpack_from("<I", content, 14)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        packed = palette = 0
    else:
        width, height, _, bits, packed = struct.unpack_from("<iiHHI", content, 18)
        if packed in (4, 5):
            raise Unreadable("is a BMP around a JPEG or PNG, which is not read: save that")
        (palette,) = struct.unpack_from("<I", content, 46)
    palette = (palette or 2**bits) if bits <= 8 else 0
    kept = 5 if packed in (1, 2) else 1 if bits <= 8 else 4
    return Outline("BMP", width, abs(height), content, kept, 0, len(content), palette=palette)
