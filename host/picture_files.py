"""What a picture's file says of itself, read before any decoder sees it.

A small file may claim a huge picture, and what surrounds pixels (EXIF, colour profiles, texts, further frames) may cost
more than they do. So each format's own structure is walked here, in bounded time and memory: size, depth and
orientation are read, checksums and lengths are checked, what is not read is refused by name; and a decoder is then
given a *bare* file, which holds nothing but what the first picture's pixels need.

Words owned here: outline, bare file.
"""

from __future__ import annotations

import re
import struct
import sys
import zlib
from dataclasses import dataclass

MAX_FILE_BYTES = 32 * 2**20
MAX_SIDE = 65_535  # pixels
MIN_SIDE = 4  # pixels: fewer show nothing
MAX_PIXELS = 64 * 2**20  # whatever the format; the memory that decoding takes may allow fewer
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
# 32-bit boards carry a Pillow of 2022, whose GIF and WEBP decoders have known faults.
FORMATS_32_BIT = ("JPEG", "PNG", "BMP", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp"})
_MAX_PARTS = 16_384  # segments, chunks or blocks of a file
_MAX_STRIPS = 65_536  # strips or tiles of a TIFF
_MAX_SCANS = 64  # of a progressive JPEG: each is a pass over all pixels


class Unreadable(ValueError):
    """A picture that is not read. The message is what follows the file's name: what was found, and what to do."""


@dataclass(frozen=True)
class Outline:
    """A picture's file before it is decoded.

    Attributes:
        kind: one of `FORMATS`.
        width: pixels, as stored.
        height: pixels, as stored.
        bare: the file that a decoder is given.
        bytes_a_pixel: most that decoding keeps for a pixel that it gives.
        kept_bytes: what it keeps beside that and grows with the picture: coefficients, strips.
        copied_bytes: copies of the file.
        orientation: EXIF's, 1 to 8; 1 is upright.
        several: whether further frames or pages follow the one that is read.
        full: the value of a 16-bit sample that is white; 0 where the decoder gives 8 bits or fewer.
        upper_byte: whether the decoder gives only the upper 8 bits of samples of 16: those of colours.
        palette: colours that the picture's indices choose from; 0 where samples are no indices.
        inverted: whether 16-bit samples count from white to black.
        halvable: whether the decoder can give a half, a quarter or an eighth of the size.
    """

    kind: str
    width: int
    height: int
    bare: bytes
    bytes_a_pixel: int
    kept_bytes: int
    copied_bytes: int
    orientation: int = 1
    several: bool = False
    full: int = 0
    upper_byte: bool = False
    palette: int = 0
    inverted: bool = False
    halvable: bool = False


def outline(content: bytes) -> Outline:
    """Outline of the picture in the file `content`; raises Unreadable."""
    if len(content) > MAX_FILE_BYTES:
        raise Unreadable(f"has {len(content)} bytes, at most {MAX_FILE_BYTES} are read: make it smaller")
    kind = kind_of(content)
    try:
        found = _WALKS[kind](content)
    except (struct.error, IndexError):  # a field beyond the file's end
        raise _cut_short() from None
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


def kind_of(content: bytes) -> str:
    """The format, one of those that this machine reads; raises Unreadable."""
    allowed = FORMATS if sys.maxsize > 2**32 else FORMATS_32_BIT
    listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
    if not content:
        raise Unreadable("is empty: give a picture")
    for kind, begin in _BEGINS:
        if begin.match(content):
            if kind not in FORMATS:
                raise Unreadable(f"is of the format {kind}, which is not read: save it as {listed}")
            if kind not in allowed:
                raise Unreadable(f"is of the format {kind}, which 32-bit boards do not read: save it as {listed}")
            return kind
    raise Unreadable(f"is no picture that is read: give a {listed} file, or .npy")


_BEGINS = [
    (kind, re.compile(begin, re.DOTALL))
    for kind, begin in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("GIF", rb"GIF8[79]a"),
        ("TIFF", rb"II\*\0|MM\0\*"),
        ("WEBP", rb"RIFF....WEBP"),
        ("PPM", rb"P[456]\s"),
        ("BMP", rb"BM"),
        ("plain-text PPM", rb"P[123]\s"),
        ("floating-point PFM", rb"P[fF]\s"),
        ("PAM", rb"P7\s"),
        ("BigTIFF", rb"II\+\0|MM\0\+"),
        ("EPS", rb"%!PS|\xc5\xd0\xd3\xc6"),
        ("PDF", rb"%PDF"),
        ("PSD", rb"8BPS"),
        ("ICO", rb"\0\0[\1\2]\0[^\0]"),
        ("HEIC or AVIF", rb"....ftyp"),
        ("JPEG 2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("SVG", rb"\s*<svg|\s*<\?xml"),
    )
]


def _cut_short() -> Unreadable:
    return Unreadable("is damaged: it ends early; copy it again")


def _within(content: bytes, end: int) -> None:
    if end > len(content):
        raise _cut_short()


def _parts(count: int) -> None:
    if count > _MAX_PARTS:
        raise Unreadable(f"is cut into more than {_MAX_PARTS} parts: save it anew")


# ------------------------------------------------------------------------------------------------------- JPEG

_JPEG_READ = {0xC0: False, 0xC1: False, 0xC2: True, 0xC9: False, 0xCA: True}  # frame's marker -> progressive?
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_KEPT = {0xC4, 0xCC, 0xDB, 0xDD, 0xE0, 0xEE}  # tables, restarts, and what names the colours: JFIF and Adobe


def _jpeg(content: bytes) -> Outline:
    kept = [content[:2]]
    frame: bytes | None = None
    progressive, orientation, at, count = False, 0, 2, 0
    while True:
        at = content.find(b"\xff", at)
        while at >= 0 and content[at] == 0xFF:
            at += 1
        if at < 0:
            raise _cut_short()
        marker = content[at]
        at += 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue
        if marker == 0xD9:
            raise Unreadable("is damaged: no picture comes before its end; copy it again")
        (length,) = struct.unpack_from(">H", content, at)
        body = content[at + 2 : at + max(length, 2)]
        count += 1
        _parts(count)
        if marker == 0xDA:
            break
        _within(content, at + length)
        if marker in _JPEG_FRAMES:
            if frame is not None:
                raise Unreadable("is damaged: it begins twice; copy it again")
            if marker not in _JPEG_READ:
                raise Unreadable("is a lossless or hierarchical JPEG, which is not read: save it as a common one")
            frame, progressive = body, _JPEG_READ[marker]
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = orientation or _exif_orientation(body[6:])
        if marker in _JPEG_KEPT or marker in _JPEG_FRAMES:
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
    )


def _exif_orientation(exif: bytes) -> int:
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


# -------------------------------------------------------------------------------------------------------- PNG

_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the type of its colours
# A pass of an interlaced PNG: its first column and row, and how far the next are (PNG, 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 16_384  # bytes that are inflated at a time, to at most 16 times as many


def _png(content: bytes) -> Outline:
    view = memoryview(content)
    kept: list[memoryview | bytes] = [content[:8]]
    header: bytes | None = None
    transparent = several = ended = False
    palette, orientation, at, count = 0, 0, 8, 0
    while not ended:
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        _within(content, end)
        count += 1
        _parts(count)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            (stated,) = struct.unpack_from(">I", content, end - 4)
            if zlib.crc32(view[at + 4 : end - 4]) != stated:
                raise Unreadable(f"is damaged: the checksum of its {kind.decode()} chunk is wrong; copy it again")
            kept.append(view[at:end])
        if header is None:
            if kind != b"IHDR":
                raise Unreadable("is damaged: its size is not told at its beginning; copy it again")
            header = content[at + 8 : end - 4]
            width, height, depth, colours = struct.unpack_from(">IIBB", header)
        elif kind == b"IHDR":
            raise Unreadable("is damaged: it begins twice; copy it again")
        elif kind == b"PLTE":
            palette = length // 3
        elif kind == b"tRNS":
            transparent = True
            if colours == 0 and depth in (2, 4):
                # The decoder scales samples to 8 bits, but not the one that is transparent.
                (sample,) = struct.unpack_from(">H", content, at + 8)
                most = 2**depth - 1
                kept[-1] = _png_chunk(kind, struct.pack(">H", (sample & most) * 255 // most))
        elif kind == b"acTL":
            several = content[at + 8 : at + 12] != b"\0\0\0\1"
        elif kind == b"eXIf":
            orientation = orientation or _exif_orientation(content[at + 8 : min(end - 4, at + 65_536)])
        ended = kind == b"IEND"
        at = end
    if header is None:
        raise Unreadable("is damaged: its size is not told; copy it again")
    if colours == 3 and not palette:
        raise Unreadable("is damaged: its pixels name colours of a palette, which is not there; copy it again")
    if depth == 16 and colours == 2 and transparent:
        raise Unreadable("has 16-bit colours with a transparent one, which is not read: save it with 8 bits")
    grey_16 = depth == 16 and colours == 0
    return Outline(
        "PNG",
        width,
        height,
        b"".join(kept),
        1 if colours == 3 or (colours == 0 and depth <= 8) else 4,
        0,
        2 * len(content),
        orientation=orientation or 1,
        several=several,
        full=65_535 if grey_16 else 0,
        upper_byte=depth == 16 and not grey_16,
        palette=palette if colours == 3 else 0,
    )


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def check_whole(found: Outline) -> None:
    """Raises Unreadable where a PNG's pixels are not all there, which its decoder would leave black without a word.

    They are inflated, piece by piece, and counted. Decoders of the other formats tell themselves, as far as they can.
    """
    if found.kind != "PNG":
        return
    needed = _png_bytes(found)
    inflated, at = zlib.decompressobj(), 8
    bare = memoryview(found.bare)
    while needed > 0:
        length, kind = struct.unpack_from(">I4s", bare, at)
        if kind == b"IEND" or inflated.eof:
            raise Unreadable("is damaged: it holds fewer pixels than it claims; copy it again")
        if kind == b"IDAT":
            for begin in range(at + 8, at + 8 + length, _PIECE):
                piece: memoryview | bytes = bare[begin : min(begin + _PIECE, at + 8 + length)]
                while piece and needed > 0:
                    needed -= len(inflated.decompress(piece, 16 * _PIECE))
                    piece = inflated.unconsumed_tail
        at += 12 + length


def _png_bytes(found: Outline) -> int:
    """Bytes that a PNG's pixels inflate to: a row has one more than its samples take, and a pass has its own rows."""
    depth, colours, _, _, interlaced = struct.unpack_from(">BBBBB", found.bare, 24)
    bits = depth * _PNG_SAMPLES.get(colours, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    count = 0
    for left, top, across, down in passes:
        columns, rows = -(-(found.width - left) // across), -(-(found.height - top) // down)
        count += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    return count


# -------------------------------------------------------------------------------------------------------- GIF


def _gif(content: bytes) -> Outline:
    """The first frame, with its graphic control."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept = [content[:at]]
    palette = 2 << (flags & 7) if flags & 0x80 else 0
    control, count = b"", 0
    while True:
        begin, kind = at, content[at]
        if kind == 0x21:  # an extension
            at = _gif_blocks(content, at + 2)
            if content[begin + 1] == 0xF9:
                control = content[begin:at]
        elif kind == 0x2C:
            left, top, wide, high, local = struct.unpack_from("<HHHHB", content, at + 1)
            at = _gif_blocks(content, at + 11 + (3 << (local & 7) + 1 if local & 0x80 else 0))
            kept += [control, content[begin:at], b";"]
            palette = 2 << (local & 7) if local & 0x80 else palette
            break
        elif kind == 0x3B:
            raise Unreadable("holds no picture: give another")
        else:
            raise Unreadable("is damaged: something else stands where a frame should; copy it again")
        count += 1
        _parts(count)
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


def _gif_blocks(content: bytes, at: int) -> int:
    """Where what follows the sub-blocks from `at` on begins."""
    while content[at]:
        at += content[at] + 1
    return at + 1


# ------------------------------------------------------------------------------------------------------- TIFF

_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # of a value, by its type
# What pixels need: sizes, samples, compression and its tables, strips and tiles, palette.
_TIFF_KEPT = frozenset((256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320))
_TIFF_KEPT |= frozenset((322, 323, 324, 325, 338, 339, 347, 530, 532))
_TIFF_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 7, 8, 32_773, 32_946))
_TIFF_COLOURS = {
    8: "LAB",
    9: "LAB",
    10: "LAB",
    32_803: "a camera's raw mosaic",
    32_844: "LogL",
    32_845: "LogLuv",
    34_892: "a camera's raw",
}
_RAW, _TIFF_JPEG = 1, 7


class _Directory:
    """The first directory of a TIFF."""

    def __init__(self, content: bytes) -> None:
        self.order = "<" if content[:2] == b"II" else ">"
        (at,) = struct.unpack_from(self.order + "I", content, 4)
        (count,) = struct.unpack_from(self.order + "H", content, at)
        _within(content, at + 2 + 12 * count)
        self.next = any(content[at + 2 + 12 * count : at + 6 + 12 * count])  # a further directory
        self._content = content
        self.entries: dict[int, tuple[int, int, bytes]] = {}  # tag -> type, count, the four bytes of value or place
        for index in range(count):
            tag, kind, values, value = struct.unpack_from(self.order + "HHI4s", content, at + 2 + 12 * index)
            if tag in _TIFF_KEPT or tag in (274, 281):
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
        size = count * _TIFF_BYTES[kind]
        if size <= 4:
            return struct.unpack_from(f"{self.order}{count}{letter}", value)
        (at,) = struct.unpack(self.order + "I", value)
        return struct.unpack_from(f"{self.order}{count}{letter}", self._content, at)

    def one(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return self.values(tag, (default,))[0]

    def bare(self) -> bytes:
        """The file with a new directory at its end, which names nothing but the pixels of this one."""
        kept = sorted((tag, *entry) for tag, entry in self.entries.items() if tag in _TIFF_KEPT)
        beside = 0
        for tag, kind, count, _ in kept:
            if kind not in _TIFF_BYTES:
                raise Unreadable(f"is damaged: its tag {tag} has type {kind}; copy it again")
            beside += count * _TIFF_BYTES[kind]
        if beside > 2**20:
            raise Unreadable(f"describes itself in {beside} bytes: save it anew")
        pad = b"\0" * (len(self._content) % 2)
        place = struct.pack(self.order + "I", len(self._content) + len(pad))
        packed = b"".join(struct.pack(self.order + "HHI4s", *entry) for entry in kept)
        head = self._content[:4] + place
        return b"".join(
            (head, memoryview(self._content)[8:], pad, struct.pack(self.order + "H", len(kept)), packed, b"\0\0\0\0")
        )


def _tiff(content: bytes) -> Outline:
    directory = _Directory(content)
    width, height = directory.one(256, 0), directory.one(257, 0)
    compression, colours = directory.one(259, _RAW), directory.one(262, 0)
    samples, planar = directory.one(277, 1), directory.one(284, 1)
    bits, sample_format = directory.values(258, (1,)), directory.values(339, (1,))
    if compression not in _TIFF_COMPRESSIONS:
        raise Unreadable(f"is a TIFF of compression {compression}, which is not read: save it with LZW or Deflate")
    if colours in _TIFF_COLOURS:
        raise Unreadable(f"is not read, as its colours are {_TIFF_COLOURS[colours]}: convert it to RGB")
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
    if samples > 6 or (colours == 6 and (compression, samples) != (_TIFF_JPEG, 3)):
        raise Unreadable(f"is a TIFF of {samples} channels and colours {colours}, which is not read: save it as RGB")
    if planar != 1 and (bits[0] != 8 or colours == 6):
        raise Unreadable("is a TIFF of separate planes, which is read with 8-bit RGB alone: save it as PNG")
    if colours == 3:
        palette = directory.values(320, (65_535,))
        if 0 < max(palette) < 256:
            raise Unreadable("has a palette of 8-bit colours where TIFF wants 16: save it as PNG")
    segment = _tiff_segments(content, directory, width, height, samples, bits[0])
    wide = bits[0] > 8 and samples == 1
    full = 2 ** bits[0] - 1 if wide else 0
    if wide and bits[0] == 16:
        most = directory.one(281, 65_535)  # what is white, where that is the most of fewer bits
        if most > 255 and most & (most + 1) == 0:
            full = most
    if compression == _RAW:
        kept = 0
    elif compression == _TIFF_JPEG:
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


def _tiff_segments(content: bytes, directory: _Directory, width: int, height: int, samples: int, bits: int) -> int:
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
        _within(content, place + length)
    if directory.one(259, _RAW) == _RAW:
        line = -(-across * bits * (samples if planes == 1 else 1) // 8)
        for index, place in enumerate(offsets[:needed]):
            rows = down if tiled else min(down, height - index % -(-height // down) * down)
            _within(content, place + line * rows)
    return across * down


# ------------------------------------------------------------------------------------------------ WEBP, BMP, PPM


def _webp(content: bytes) -> Outline:
    (size,) = struct.unpack_from("<I", content, 4)
    _within(content, 8 + size)
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
            _parts(count)
            if name == b"EXIF":
                exif = content[at + 8 : at + 8 + min(length, 65_536)]
                orientation = orientation or _exif_orientation(exif.removeprefix(b"Exif\0\0"))
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


def _bmp(content: bytes) -> Outline:
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


_PPM_HEAD = re.compile(rb"P([456])" + 2 * rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})")
_PPM_MOST = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})")


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


def _ppm(content: bytes) -> Outline:
    found = raster(content)
    width, height = found.width, found.height
    if width * height <= MAX_PIXELS:
        _within(content, found.at + found.line * height)
    full = found.most if found.most > 255 and found.channels == 1 else 0
    return Outline("PPM", width, height, content, 8 if found.channels == 3 else 4, 0, len(content), full=full)


def raster(content: bytes) -> Raster:
    """How the samples of a PPM stand; raises Unreadable."""
    head = _PPM_HEAD.match(content, 0, 4_096)
    if head is None:
        raise Unreadable("is damaged: its size is not told; copy it again")
    width, height, at = int(head[2]), int(head[3]), head.end()
    if head[1] == b"4":
        return Raster(width, height, 1, 1, at + 1, -(-width // 8))
    said = _PPM_MOST.match(content, at, at + 4_096)
    if said is None or not 1 < int(said[1]) < 65_536:
        raise Unreadable("is not read: what is white has to be a number from 2 to 65535; save it with 255")
    most, channels = int(said[1]), 3 if head[1] == b"6" else 1
    return Raster(width, height, channels, most, said.end() + 1, width * channels * (2 if most > 255 else 1))


_WALKS = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "TIFF": _tiff,
    "WEBP": _webp,
    "PPM": _ppm,
    "BMP": _bmp,
}
