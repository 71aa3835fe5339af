"""A PNG's chunks, and whether its pixels are all there."""

from __future__ import annotations

import struct
import zlib

from edgesight.host.picture_files import Outline, Unreadable, check_parts, within
from edgesight.host.picture_formats.exif import orientation_of

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the type of its colours
# A pass of an interlaced PNG: its first column and row, and how far the next are (PNG, 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 16_384  # bytes that are inflated at a time, to at most 16 times as many


def walk(content: bytes) -> Outline:
    """Outline of the PNG in the file `content`; raises Unreadable, struct.error or IndexError."""
    view = memoryview(content)
    kept: list[memoryview | bytes] = [content[:8]]
    header: bytes | None = None
    transparent = several = ended = False
    palette, orientation, at, count = 0, 0, 8, 0
    while not ended:
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        within(content, end)
        count += 1
        check_parts(count)
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
                kept[-1] = _chunk(kind, struct.pack(">H", (sample & most) * 255 // most))
        elif kind == b"acTL":
            several = content[at + 8 : at + 12] != b"\0\0\0\1"
        elif kind == b"eXIf":
            orientation = orientation or orientation_of(content[at + 8 : min(end - 4, at + 65_536)])
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


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def check_whole(found: Outline) -> None:
    """Raises Unreadable where a PNG's pixels are not all there, which its decoder would leave black without a word.

    They are inflated, piece by piece, and counted. Decoders of the other formats tell themselves, as far as they can.
    """
    if found.kind != "PNG":
        return
    needed = _inflated_bytes(found)
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


def _inflated_bytes(found: Outline) -> int:
    """Bytes that a PNG's pixels inflate to: a row has one more than its samples take, and a pass has its own rows."""
    depth, colours, _, _, interlaced = struct.unpack_from(">BBBBB", found.bare, 24)
    bits = depth * _SAMPLES.get(colours, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    count = 0
    for left, top, across, down in passes:
        columns, rows = -(-(found.width - left) // across), -(-(found.height - top) // down)
        count += rows * (1 + -(-columns * bits // 8)) if columns > 0 else 0
    return count
