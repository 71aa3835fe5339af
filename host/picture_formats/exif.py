"""What EXIF says of how a picture is held."""

from __future__ import annotations

import struct


def orientation_of(exif: bytes) -> int:
    """Orientation, 1 to 8, of a block of EXIF; 0 where it tells none that can be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 0
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for index in range(min(count, 256)):
            tag, kind, values, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * index)
            if tag == 0x0112:
                return value if kind == 3 and values == 1 and 1 <= value <= 8 else 0
    except struct.error:
        pass  # EXIF is cut: pixels may still be whole
    return 0
