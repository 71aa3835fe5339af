"""JPEGs that travel without their header, which both sides derive from size and quality by encoding a blank image.

That they derive the same they make sure of once a session, by `jpeg_tables`. Such a JPEG has a restart marker after
every block, or travels entire, progressive where that is shorter.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import io
import re
import struct

import numpy as np
from PIL import Image

from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import Form, LinkError

_SUBSAMPLING = "4:2:0"
MARKER = re.compile(rb"\xff(?!\x00)", re.DOTALL)  # entropy-coded data holds 0xFF only as 0xFF00
_FOREIGN = re.compile(rb"\xff(?![\x00\xc4\xda])", re.DOTALL)  # any marker but of Huffman tables and scans
END_OF_IMAGE = b"\xff\xd9"
_START_OF_FRAME, _START_OF_PROGRESSIVE, _START_OF_SCAN = 0xC0, 0xC2, 0xDA
_SIZE = struct.Struct("!HH")  # height and width, as a frame's head has them
_TO_SIZE = 5  # bytes of a frame's head before the size: marker, length, bits a sample
_BLANK = 16  # pixels a side of the image whose header all sizes share
_SCANS = {1: 6, 3: 10}  # by channels: what libjpeg's progressive images have, each of which takes a decoder time


class _Layout(enum.Enum):
    """The JPEGs that travel; each has a header of its own."""

    BLOCKS = "a restart marker after every block"
    PLAIN = "entire"
    PROGRESSIVE = "entire, with Huffman tables of its own"


@functools.lru_cache(maxsize=1)
def jpeg_tables() -> str:
    """Checksum, in hexadecimal, of the JPEG headers that this side derives, at every quality, grey and in colour."""
    headers = (
        _blank_header.__wrapped__(channels, quality, layout)[0]
        for layout in _Layout
        for channels in (1, 3)
        for quality in range(1, 96)
    )
    return hashlib.sha256(b"".join(headers)).hexdigest()


def encode_entire(image: Pixels, quality: int, try_progressive: bool) -> bytes:
    """A JPEG of `image` behind the header that both sides derive: the shorter of two kinds, which the first byte tells.

    A progressive one has Huffman tables of its own, which a small image does not make up for.
    """
    height, width, channels = image.shape
    bodies = []
    for progressive in (False, True) if try_progressive else (False,):
        header = _header_of_entire(height, width, channels, quality, progressive)
        bodies.append(bytes([progressive]) + _to_entire(image, quality, progressive)[len(header) : -len(END_OF_IMAGE)])
    return min(bodies, key=len)


def decode_entire(form: Form, body: bytes) -> Pixels:
    """The image that `encode_entire` made `body` of."""
    progressive, content = body[:1] == b"\1", body[1:]
    scans = content.count(bytes([0xFF, _START_OF_SCAN])) if progressive else 1
    if body[:1] not in (b"\0", b"\1") or (_FOREIGN if progressive else MARKER).search(content):
        raise LinkError("a JPEG with a marker that it should not have: the sender is faulty")
    if progressive and scans != _SCANS[form.channels]:
        raise LinkError(f"a JPEG of {scans} scans: expected {_SCANS[form.channels]}; the sender is faulty")
    header = _header_of_entire(form.height, form.width, form.channels, form.quality, progressive)
    return decode(form, header + content + END_OF_IMAGE)


def decode(form: Form, jpeg: bytes) -> Pixels:
    """The image of `form` that a whole `jpeg`, header and all, holds; raises LinkError."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as decoded:
            return np.array(decoded, dtype=np.uint8).reshape(form.height, form.width, form.channels)
    except (OSError, ValueError, SyntaxError) as error:
        raise LinkError(f"the JPEG cannot be decoded ({error}): the sender is faulty") from error


def encode_blocks(image: Pixels, quality: int) -> bytes:
    """A JPEG of `image` with a restart marker after every block."""
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=_SUBSAMPLING, restart_marker_blocks=1)
    return buffer.getvalue()


def _to_entire(image: Pixels, quality: int, progressive: bool) -> bytes:
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    options = {"progressive": True, "optimize": True} if progressive else {}
    picture.save(buffer, "JPEG", quality=quality, subsampling=_SUBSAMPLING, **options)
    return buffer.getvalue()


def header_of_blocks(height: int, width: int, channels: int, quality: int) -> bytes:
    """Everything up to the entropy-coded data: the same for every image of this size and quality."""
    return _header(height, width, channels, quality, _Layout.BLOCKS)


def _header_of_entire(height: int, width: int, channels: int, quality: int, progressive: bool) -> bytes:
    """Everything up to what is each image's own: the entropy-coded data, or the Huffman tables where `progressive`."""
    return _header(height, width, channels, quality, _Layout.PROGRESSIVE if progressive else _Layout.PLAIN)


def _header(height: int, width: int, channels: int, quality: int, layout: _Layout) -> bytes:
    blank, size_at = _blank_header(channels, quality, layout)
    return blank[:size_at] + _SIZE.pack(height, width) + blank[size_at + _SIZE.size :]


@functools.lru_cache(maxsize=3 * 2 * 95)  # all that there are: nobody's size drives out another's
def _blank_header(channels: int, quality: int, layout: _Layout) -> tuple[bytes, int]:
    """The header of a blank image, and where in it the size stands."""
    blank = np.zeros((_BLANK, _BLANK, channels), np.uint8)
    progressive = layout == _Layout.PROGRESSIVE
    jpeg = encode_blocks(blank, quality) if layout == _Layout.BLOCKS else _to_entire(blank, quality, progressive)
    frame = _START_OF_PROGRESSIVE if progressive else _START_OF_FRAME
    last = frame if progressive else _START_OF_SCAN
    position = 2  # behind the start-of-image marker
    size_at = 0
    while True:
        marker = jpeg[position + 1]
        if marker == frame:
            size_at = position + _TO_SIZE
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        if marker == last:
            return jpeg[:position], size_at
