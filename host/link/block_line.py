"""The blocks of a JPEG in a line that is cut into strips, each of which decodes without the others.

A block is what JPEG calls an MCU: 8 x 8 pixels grey, 16 x 16 in colour. With a restart marker behind it it decodes
without its neighbours. The blocks are lined up so that those next to each other in the line lie far apart in the
picture, and the line is cut by bytes; a strip says where in the line it begins, so that nobody need know the others'
lengths. In the place of a lost block goes an empty one with its marker, so that the decoder stays in step. Longer
intervals would save 5 % of the bytes in colour, but leave holes that are up to four blocks wide.

Words owned here: block line.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import struct

import numpy as np
import numpy.typing as npt
import PIL

from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import MAX_PARITY, MAX_STRIPS, Form, Kind, LinkError
from edgesight.host.link.jpeg import END_OF_IMAGE, MARKER, encode_blocks, header_of_blocks

_FEWEST_STRIPS = 4  # so that one loss is never the whole image
_FIRST = struct.Struct("!H")  # where in the block line a strip begins
MAX_BLOCKS = 1 << 8 * _FIRST.size  # that such a number tells apart
_LONG = 0x80  # set in the first of two bytes of a block's length, which else is one byte
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_APART = 16  # successive blocks of the line that should lie far apart: about a strip's
_LINES = 4_096  # sizes of which the block line's stride is remembered, an integer each

Ints = npt.NDArray[np.int64]


def blocks_in_strips(image: Pixels, quality: int, room: int) -> list[bytes]:
    """The blocks of `image` in their line, cut into payloads of about equal size and at most `room` bytes."""
    height, width, channels = image.shape
    form = Form(Kind.JPEG, height, width, channels, quality, 1)
    check_blocks(form)
    header = header_of_blocks(height, width, channels, quality)
    blocks = _RESTART.split(encode_blocks(image, quality)[len(header) : -len(END_OF_IMAGE)])
    if len(blocks) != math.prod(blocks_of(form)):
        raise LinkError(f"Pillow {PIL.__version__} cuts no JPEG into blocks: install pillow>=10.2")
    line = [_with_length(blocks[place]) for place in block_line(*blocks_of(form)).tolist()]
    sizes = np.array([len(block) for block in line])
    if sizes.max() + _FIRST.size > room:
        raise LinkError(f"a JPEG block takes {sizes.max()} bytes at quality {quality}: lower the quality")
    middles = np.cumsum(sizes) - sizes / 2
    total = int(sizes.sum())
    count = min(max(_FEWEST_STRIPS, math.ceil(total / (room - _FIRST.size))), len(line))
    while True:
        if count > MAX_STRIPS - MAX_PARITY:
            raise LinkError(f"the image needs {count} strips at quality {quality}: lower the quality")
        # Each block goes to the strip into whose share of the bytes its middle falls.
        strip = (middles * count / total).astype(np.int64)
        if np.bincount(strip, weights=sizes).max() + _FIRST.size <= room:
            break
        count += 1
    starts = [*np.searchsorted(strip, np.arange(count)).tolist(), len(line)]
    return [_FIRST.pack(begin) + b"".join(line[begin:end]) for begin, end in itertools.pairwise(starts)]


def _with_length(block: bytes) -> bytes:
    length = len(block)
    return (bytes([length]) if length < _LONG else bytes([_LONG | length >> 8, length & 0xFF])) + block


def unpack_blocks(form: Form, index: int, payload: bytes) -> tuple[int, list[bytes]]:
    """Where in the line the blocks of a strip begin, and the blocks."""
    if len(payload) < _FIRST.size:
        raise LinkError(f"JPEG strip {index} has {len(payload)} bytes: it was cut short")
    (first,) = _FIRST.unpack_from(payload)
    position = _FIRST.size
    blocks = []
    while position < len(payload):
        length = payload[position]
        position += 1
        if length & _LONG:
            if position == len(payload):
                raise LinkError(f"JPEG strip {index} ends in a length: it was cut short")
            length = (length & ~_LONG) << 8 | payload[position]
            position += 1
        data = payload[position : position + length]
        position += length
        if position > len(payload):
            raise LinkError(f"JPEG strip {index} ends in a block: it was cut short")
        if MARKER.search(data):
            raise LinkError(f"JPEG strip {index} holds a marker inside a block: the sender is faulty")
        blocks.append(data)
    if first + len(blocks) > math.prod(blocks_of(form)):
        raise LinkError(f"JPEG strip {index} holds blocks {first} to {first + len(blocks) - 1}: the image has fewer")
    return first, blocks


def block_line(rows: int, columns: int) -> Ints:
    """Places in the picture, counted row by row, of the blocks in their line, which steps by a fixed stride."""
    count = rows * columns
    return np.arange(count) * _stride(rows, columns) % count


@functools.lru_cache(maxsize=_LINES)
def _stride(rows: int, columns: int) -> int:
    """The stride that keeps any block farthest from the next ones of the line, by the larger of both distances.

    Where several do, the one that keeps them farthest on average.
    """
    count = rows * columns
    strides = np.array([stride for stride in range(1, count + 1) if math.gcd(stride, count) == 1])
    offsets = strides[:, None] * np.arange(1, min(_APART, count - 1) + 1)[None] % count
    # A step over the end of a row lands a row further down and that many columns back.
    distances = np.full(offsets.shape, count)
    for way in (offsets, count - offsets):
        down, right = np.divmod(way, columns)
        wrapped = np.minimum(np.maximum(down, right), np.maximum(down + 1, columns - right))
        distances = np.minimum(distances, wrapped)
    nearest, average = distances.min(axis=1, initial=count), distances.mean(axis=1) if count > 1 else np.zeros(1)
    return int(strides[np.lexsort((average, nearest))[-1]])


def check_blocks(form: Form) -> None:
    """Raise LinkError where an image of `form` has more blocks than a strip can say where it begins."""
    count = math.prod(blocks_of(form))
    if count > MAX_BLOCKS:
        raise LinkError(
            f"an image of {form.width} x {form.height} pixels has {count} JPEG blocks: at most {MAX_BLOCKS} travel so; "
            "make it smaller"
        )


def block_side(form: Form) -> int:
    """Pixels that one coded block covers: 8, or 16 where two chroma samples share it (4:2:0)."""
    return 8 if form.channels == 1 else 16


def blocks_of(form: Form) -> tuple[int, int]:
    """Rows and columns of blocks."""
    side = block_side(form)
    return math.ceil(form.height / side), math.ceil(form.width / side)
