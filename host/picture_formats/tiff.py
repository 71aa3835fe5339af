"""A TIFF's first directory."""

from __future__ import annotations

import struct

from edgesight.host.picture_files import MAX_PIXELS, Outline, Unreadable, within

_MAX_STRIPS = 65_536  # strips or tiles of a TIFF
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of a value, by its type
# What pixels need: sizes, samples, compression and its tables, strips and tiles, palette.
_KEPT = frozenset((256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320))
_KEPT |= frozenset((322, 323, 324, 325, 338, 339, 347, 530, 532))
_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 7, 8, 32_773, 32_946))
_COLOURS = {
    8: "LAB",
    9: "LAB",
    10: "LAB",
    32_803: "a camera's raw mosaic",
    32_844: "LogL",
    32_845: "LogLuv",
    34_892: "a camera's raw",
}
_RAW, _JPEG = 1, 7


class _Directory:
    """The first directory of a TIFF."""

    def __init__(self, content: bytes) -> None:
        self.order = "<" if content[:2] == b"II" else ">"
        (at,) = struct.unpack_from(self.order + "I", content, 4)
        (count,) = struct.unpack_from(self.order + "H", content, at)
        within(content, at + 2 + 12 * count)
        self.next = any(content[at + 2 + 12 * count : at + 6 + 12 * count])  # a further directory
        self._content = content
        self.entries: dict[int, tuple[int, int, bytes]] = {}  # tag -> type, count, the four bytes of value or place
        for index in range(count):
            tag, kind, values, value = struct.unpack_from(self.order + "HHI4s", content, at + 2 + 12 * index)
            if tag in _KEPT or tag in (274, 281):
                self.entries[tag] = kind, values, value

    def values(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Whole numbers of a tag, `default` where it is not there."""
        if tag not in self.entries:
            return default
        kind, count, value = self.entries[tag]
        letter = {1: "B", 3: "H", 4: "I"}.get(kind)
        if letter is None or count < 1:
            raise Unreadable(f"is damaged: its tag {tag} holds no whole number; copy it again")
        if count > _MAX_STRIPS:
            raise Unreadable(f"is cut into {count} strips or tiles, at most {_MAX_STRIPS} are read: save it anew")
        size = count * _BYTES[kind]
        if size <= 4:
            return struct.unpack_from(f"{self.order}{count}{letter}", value)
        (at,) = struct.unpack(self.order + "I", value)
        return struct.unpack_from(f"{self.order}{count}{letter}", self._content, at)

    def one(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return self.values(tag, (default,))[0]

    def bare(self) -> bytes:
        """The file with a new directory at its end, which names nothing but the pixels of this one."""
        kept = sorted((tag, *entry) for tag, entry in self.entries.items() if tag in _KEPT)
        beside = 0
        for tag, kind, count, _ in kept:
            if kind not in _BYTES:
                raise Unreadable(f"is damaged: its tag {tag} has type {kind}; copy it again")
            beside += count * _BYTES[kind]
        if beside > 2**20:
            raise Unreadable(f"describes itself in {beside} bytes: save it anew")
        pad = b"\0" * (len(self._content) % 2)
        place = struct.pack(self.order + "I", len(self._content) + len(pad))
        packed = b"".join(struct.pack(self.order + "HHI4s", *entry) for entry in kept)
        head = self._content[:4] + place
        return b"".join(
            (head, memoryview(self._content)[8:], pad, struct.pack(self.order + "H", len(kept)), packed, b"\0\0\0\0")
        )


def walk(content: bytes) -> Outline:
    """Outline of the TIFF in the file `content`; raises Unreadable, struct.error or IndexError."""
    directory = _Directory(content)
    width, height = directory.one(256, 0), directory.one(257, 0)
    compression, colours = directory.one(259, _RAW), directory.one(262, 0)
    samples, planar = directory.one(277, 1), directory.one(284, 1)
    bits, sample_format = directory.values(258, (1,)), directory.values(339, (1,))
    if compression not in _COMPRESSIONS:
        raise Unreadable(f"is a TIFF of compression {compression}, which is not read: save it with LZW or Deflate")
    if colours in _COLOURS:
        raise Unreadable(f"is not read, as its colours are {_COLOURS[colours]}: convert it to RGB")
    if 3 in sample_format:
        raise Unreadable(
            f"has {bits[0]}-bit floating-point pixels, and what is white is not said: "
            "scale them to 0 to 255, and save it with 8 bits"
        )
    if set(sample_format) != {1} or len(set(bits)) != 1 or bits[0] not in (1, 2, 4, 8, 12, 16):
        signed = "signed " if 2 in sample_format else ""
        raise Unreadable(
            f"has {signed}samples of {'/'.join(map(str, bits[:8]))} bits, and what is white is not said: "
            "scale them to 0 to 255, and save it with 8 bits"
        )
    if colours == 6 and (compression, samples) != (_JPEG, 3):
        raise Unreadable("is a TIFF whose colours are YCbCr without JPEG, which is not read: save it as RGB")
    if samples > 6:
        raise Unreadable(f"is a TIFF of {samples} channels, of which at most 6 are read: save it as RGB")
    if planar != 1 and (bits[0] != 8 or colours == 6):
        raise Unreadable("is a TIFF of separate planes, which is read with 8-bit RGB alone: save it as PNG")
    if colours == 3:
        palette = directory.values(320, (65_535,))
        if 0 < max(palette) < 256:
            raise Unreadable("has a palette of 8-bit colours where TIFF wants 16: save it as PNG")
    segment = _segments(content, directory, width, height, samples, bits[0])
    wide = bits[0] > 8 and samples == 1
    full = 2 ** bits[0] - 1 if wide else 0
    if wide and bits[0] == 16:
        most = directory.one(281, 65_535)  # what is white, where that is the most of fewer bits
        if most > 255 and most & (most + 1) == 0:
            full = most
    if compression == _RAW:
        kept = 0
    elif compression == _JPEG:
        kept = segment * 12  # samples, and coefficients in case of several passes
    else:
        kept = segment * bits[0] * samples // 8
    orientation = directory.one(274, 1)
    return Outline(
        "TIFF",
        width,
        height,
        directory.bare(),
        4 if samples > 1 else 2 if wide else 1,
        kept,
        3 * len(content),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        several=directory.next,
        full=full,
        upper_byte=bits[0] == 16 and samples > 1,
        palette=2 ** bits[0] if colours == 3 else 0,
        inverted=wide and colours == 0,
    )


def _segments(content: bytes, directory: _Directory, width: int, height: int, samples: int, bits: int) -> int:
    """Pixels of the largest strip or tile; refuses those that are not all there."""
    tiled = 322 in directory.entries
    across = directory.one(322, width) if tiled else width
    down = directory.one(323, height) if tiled else min(directory.one(278, height), height)
    if not 1 <= across * down <= MAX_PIXELS:
        raise Unreadable(f"is cut into tiles of {across} x {down} pixels, at most {MAX_PIXELS} are read: save it anew")
    offsets, lengths = directory.values(324 if tiled else 273, ()), directory.values(325 if tiled else 279, ())
    if not offsets:
        raise Unreadable("is damaged: where its pixels stand is not told; copy it again")
    planes = samples if directory.one(284, 1) != 1 else 1
    needed = -(-width // across) * -(-height // down) * planes
    if len(offsets) < needed or (lengths and len(lengths) < needed):
        raise Unreadable("is damaged: it tells of too few strips; copy it again")
    for place, length in zip(offsets, lengths, strict=False):
        within(content, place + length)
    if directory.one(259, _RAW) == _RAW:
        line = -(-across * bits * (samples if planes == 1 else 1) // 8)
        for index, place in enumerate(offsets[:needed]):
            rows = down if tiled else min(down, height - index % -(-height // down) * down)
            within(content, place + line * rows)
    return across * down
