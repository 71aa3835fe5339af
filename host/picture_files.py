"""What a picture's file says of itself, read before any decoder sees it.

A small file may claim a huge picture, and what surrounds pixels (EXIF, colour profiles, texts, further frames) may cost
more than they do. So each format's own structure is walked (`edgesight.host.picture_formats`), in bounded time and
memory: size, depth and orientation are read, checksums and lengths are checked, what is not read is refused by name;
and a decoder is then given a *bare* file, which holds nothing but what the first picture's pixels need.

Words owned here: outline, bare file.
"""

from __future__ import annotations

import re
import sys
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
        plain: whether it is a JPEG as cameras write them, grey or YCbCr in Huffman's code, which all decoders read.
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
    plain: bool = False


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


def cut_short() -> Unreadable:
    """What to raise of a file that ends early."""
    return Unreadable("is damaged: it ends early; copy it again")


def within(content: bytes, end: int) -> None:
    """Raise Unreadable unless the file reaches byte `end`."""
    if end > len(content):
        raise cut_short()


def check_parts(count: int) -> None:
    """Raise Unreadable where a file has had too many parts (segments, chunks, blocks) to be worth walking on."""
    if count > _MAX_PARTS:
        raise Unreadable(f"is cut into more than {_MAX_PARTS} parts: save it anew")
