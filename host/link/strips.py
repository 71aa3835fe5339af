"""An image as strips that may get lost, and back again with the gaps repaired.

Nothing is sent twice for a lost strip: what is missing is made up from its surroundings, since a classifier minds a
blurred patch less than its user minds waiting.

Tiny images travel as raw bytes. Strip (i, j) holds every `spacing`-th pixel of every `spacing`-th row, so a lost strip
leaves no hole larger than one pixel. Large images travel as JPEG with a restart marker after every block (in JPEG's
words, every MCU: 8 x 8 pixels grey, 16 x 16 in colour). Such a block decodes without its neighbours; the blocks are
dealt out to the strips in turn. In the place of a lost one goes an empty one with its marker, so that the decoder stays
in step, and its pixels are then filled smoothly from the blocks around. Longer intervals would save 5 % of the bytes in
colour, but leave holes that are up to four blocks wide. The JPEG header is no part of any strip: both sides derive it
from size and quality by encoding a blank image, and compare checksums.

Words owned here: assembly, repair.
"""

from __future__ import annotations

import functools
import io
import math
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from host.link.datagrams import MAX_PAYLOAD, MAX_SIDE, MAX_STRIPS, Form, Kind, LinkError, Strip

QUALITY = 85
RAW_BELOW = 64  # pixels: an image with both sides below it travels raw
_FEWEST_STRIPS = 4  # so that one loss is never the whole image
_SUBSAMPLING = "4:2:0"
_LENGTH = struct.Struct("!H")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MARKER = re.compile(rb"\xff(?!\x00)", re.DOTALL)  # entropy-coded data holds 0xFF only as 0xFF00
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA

Pixels = npt.NDArray[np.uint8]  # [H, W, C]
Grid = npt.NDArray[np.float32]  # [h, w, C]
Known = npt.NDArray[np.bool_]  # [h, w]
_Cell = TypeVar("_Cell", np.float32, np.bool_)


def cut(image: Pixels, *, request: int, left_ms: int, attempt: int = 0, quality: int = QUALITY) -> list[bytes]:
    """Datagrams of `image`, uint8 [H, W, C] with C 1 or 3, in strip order.

    Raises LinkError on another shape or type, or when JPEG blocks are too large for a datagram at this `quality`.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise LinkError(f"image is {image.dtype} {list(image.shape)}: expected uint8 [H, W, 1 or 3]")
    if max(image.shape) > MAX_SIDE:
        raise LinkError(f"image is {image.shape[1]} x {image.shape[0]} pixels: at most {MAX_SIDE} a side travel")
    form, payloads = _raw(image) if max(image.shape[:2]) < RAW_BELOW else _jpeg(image, quality)
    return [Strip(request, attempt, left_ms, form, index, payload).pack() for index, payload in enumerate(payloads)]


class Assembly:
    """The strips of one image that have come so far. Holds at most the bytes of `MAX_STRIPS` datagrams."""

    def __init__(self, form: Form) -> None:
        """Begin an image of `form`; raises LinkError when no image has it."""
        self.form = form
        self._payloads: dict[int, bytes] = {}
        if form.kind == Kind.RAW:
            if form.count != form.spacing**2:
                raise LinkError(f"{form.count} raw strips with spacing {form.spacing}: expected {form.spacing**2}")
        else:
            if form.count > math.prod(_blocks(form)):
                raise LinkError(f"{form.count} JPEG strips for {math.prod(_blocks(form))} blocks")
            if form.tables != zlib.crc32(_jpeg_header(form.height, form.width, form.channels, form.quality)):
                raise LinkError("the JPEG tables differ: install the same Pillow on both sides")

    def add(self, strip: Strip) -> None:
        """Take in `strip`; one that is already there changes nothing. Raises LinkError on what does not fit."""
        if strip.form != self.form:
            raise LinkError(f"strip {strip.index} has form {strip.form}, but its image has {self.form}")
        if strip.index in self._payloads:
            return
        if self.form.kind == Kind.RAW:
            expected = math.prod(_phase_shape(self.form, strip.index))
            if len(strip.payload) != expected:
                raise LinkError(f"raw strip {strip.index} of {len(strip.payload)} bytes: expected {expected}")
        else:
            _unpack_blocks(self.form, strip.index, strip.payload)
        self._payloads[strip.index] = strip.payload

    @property
    def missing(self) -> int:
        """Count of strips that have not come."""
        return self.form.count - len(self._payloads)

    @property
    def overtaken(self) -> bool:
        """Whether the last strip has come: what is missing then is lost, or was overtaken on the way."""
        return self.form.count - 1 in self._payloads

    def image(self) -> Pixels:
        """The image uint8 [H, W, C], repaired where strips are missing.

        Raises LinkError when none has come or the JPEG cannot be decoded.
        """
        if not self._payloads:
            raise LinkError("no strip of the image has come")
        return self._raw_image() if self.form.kind == Kind.RAW else self._jpeg_image()

    def _raw_image(self) -> Pixels:
        form = self.form
        image = np.zeros((form.height, form.width, form.channels), np.uint8)
        known = np.zeros((form.height, form.width), np.bool_)
        for index, payload in self._payloads.items():
            row, column = divmod(index, form.spacing)
            where = (slice(row, None, form.spacing), slice(column, None, form.spacing))
            image[where] = np.frombuffer(payload, np.uint8).reshape(_phase_shape(form, index))
            known[where] = True
        if known.all() or not known.any():
            return image
        filled = fill(image.astype(np.float32), known)
        return np.rint(filled).astype(np.uint8)

    def _jpeg_image(self) -> Pixels:
        form = self.form
        blocks = [b""] * math.prod(_blocks(form))
        known = np.zeros(len(blocks), np.bool_)
        for index, payload in self._payloads.items():
            blocks[index :: form.count] = _unpack_blocks(form, index, payload)
            known[index :: form.count] = True
        markers = [bytes([0xFF, 0xD0 + number % 8]) for number in range(len(blocks) - 1)] + [_END_OF_IMAGE]
        header = _jpeg_header(form.height, form.width, form.channels, form.quality)
        scan = b"".join(block + marker for block, marker in zip(blocks, markers, strict=True))
        try:
            with Image.open(io.BytesIO(header + scan), formats=["JPEG"]) as decoded:
                image = np.array(decoded, dtype=np.uint8).reshape(form.height, form.width, form.channels)
        except (OSError, ValueError, SyntaxError) as error:
            raise LinkError(f"the JPEG blocks cannot be decoded ({error}): the sender is faulty") from error
        if not known.all():
            _conceal(image, known.reshape(_blocks(form)), _block_side(form))
        return image


def through_loss(image: Pixels, loss: float, generator: np.random.Generator, quality: int = QUALITY) -> Pixels | None:
    """What the data centre sees of `image` when each strip is lost independently with probability `loss`.

    None where nothing arrives. Calibration measures the back end through this.
    """
    strips = [Strip.parse(datagram) for datagram in cut(image, request=0, left_ms=0, quality=quality)]
    kept = [strip for strip in strips if generator.random() >= loss]
    return assemble(kept).image() if kept else None


def assemble(strips: Iterable[Strip]) -> Assembly:
    """An assembly of at least one strip; raises LinkError as `Assembly` does."""
    assembly: Assembly | None = None
    for strip in strips:
        assembly = assembly or Assembly(strip.form)
        assembly.add(strip)
    if assembly is None:
        raise LinkError("no strip of the image has come")
    return assembly


def fill(grid: Grid, known: Known) -> Grid:
    """Give every unknown cell of `grid` [h, w, C] a value from its known neighbours; at least one cell must be known.

    A cell between four known sides gets the mean of the two pairs, the pair that differs less weighing more: so an edge
    goes on through the cell and is not blurred. Others get the mean of their known neighbours, ring by ring inwards,
    sides weighing twice as much as corners. A constant grid stays constant.
    """
    above, below, left, right = _sides(grid)
    between = np.logical_and.reduce(_sides(known)) & ~known
    vertical, horizontal = np.abs(above - below) + 1, np.abs(left - right) + 1  # one grey level keeps it finite
    directed = ((above + below) * horizontal + (left + right) * vertical) / (2 * (vertical + horizontal))
    grid = np.where(between[..., None], directed, grid).astype(np.float32)
    known = known | between
    while not known.all():
        values, counts = np.where(known[..., None], grid, 0), known.astype(np.float32)[..., None]
        total, weight = _blurred(values), _blurred(counts)[..., 0]
        reached = ~known & (weight > 0)
        grid[reached] = total[reached] / weight[reached, None]
        known = known | reached
    return grid


def _sides(cells: npt.NDArray[_Cell]) -> list[npt.NDArray[_Cell]]:
    """For each of `cells` [h, w, ...] the one above, below, left and right; zero beyond the border."""
    padded = np.pad(cells, [(1, 1), (1, 1)] + [(0, 0)] * (cells.ndim - 2))
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def _blurred(grid: Grid) -> Grid:
    """Sum of the neighbours of each cell of `grid` [h, w, C]: the kernel 1 2 1, 2 4 2, 1 2 1, which is separable."""
    rows = np.pad(grid, ((1, 1), (0, 0), (0, 0)))
    rows = rows[:-2] + 2 * rows[1:-1] + rows[2:]
    columns = np.pad(rows, ((0, 0), (1, 1), (0, 0)))
    return columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]


def _raw(image: Pixels) -> tuple[Form, list[bytes]]:
    height, width, channels = image.shape
    spacing = 2
    while math.ceil(height / spacing) * math.ceil(width / spacing) * channels > MAX_PAYLOAD:
        spacing += 1
    form = Form(Kind.RAW, height, width, channels, spacing, 0, 0, spacing**2)
    phases = [image[row::spacing, column::spacing] for row in range(spacing) for column in range(spacing)]
    return form, [phase.tobytes() for phase in phases]


def _phase_shape(form: Form, index: int) -> tuple[int, int, int]:
    row, column = divmod(index, form.spacing)
    return (
        len(range(row, form.height, form.spacing)),
        len(range(column, form.width, form.spacing)),
        form.channels,
    )


def _jpeg(image: Pixels, quality: int) -> tuple[Form, list[bytes]]:
    height, width, channels = image.shape
    header = _jpeg_header(height, width, channels, quality)
    blocks = _RESTART.split(_encode(image, quality)[len(header) : -len(_END_OF_IMAGE)])
    form = Form(Kind.JPEG, height, width, channels, 1, quality, zlib.crc32(header), 1)
    if len(blocks) != math.prod(_blocks(form)):
        raise LinkError(f"Pillow {PIL.__version__} cuts no JPEG into blocks: install pillow>=10.2")
    sizes = np.array([len(block) + _LENGTH.size for block in blocks])
    if sizes.max() > MAX_PAYLOAD:
        raise LinkError(f"a JPEG block takes {sizes.max()} bytes at quality {quality}: lower the quality")
    count = min(max(_FEWEST_STRIPS, math.ceil(sizes.sum() / MAX_PAYLOAD)), len(blocks))
    while max(int(sizes[index::count].sum()) for index in range(count)) > MAX_PAYLOAD:
        count += 1
    if count > MAX_STRIPS:
        raise LinkError(f"the image needs {count} strips at quality {quality}, {MAX_STRIPS} travel: lower the quality")
    return replace(form, count=count), [
        b"".join(_LENGTH.pack(len(block)) + block for block in blocks[index::count]) for index in range(count)
    ]


def _unpack_blocks(form: Form, index: int, payload: bytes) -> list[bytes]:
    blocks = []
    position = 0
    for _ in range(index, math.prod(_blocks(form)), form.count):
        end = position + _LENGTH.size
        if end > len(payload):
            raise LinkError(f"JPEG strip {index} ends in a length: it was cut short")
        (length,) = _LENGTH.unpack_from(payload, position)
        position, data = end + length, payload[end : end + length]
        if position > len(payload):
            raise LinkError(f"JPEG strip {index} ends in a block: it was cut short")
        if _MARKER.search(data):
            raise LinkError(f"JPEG strip {index} holds a marker inside a block: the sender is faulty")
        blocks.append(data)
    if position != len(payload):
        raise LinkError(f"JPEG strip {index} has {len(payload) - position} bytes too many")
    return blocks


def _encode(image: Pixels, quality: int) -> bytes:
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, subsampling=_SUBSAMPLING, restart_marker_blocks=1)
    return buffer.getvalue()


@functools.lru_cache(maxsize=16)
def _jpeg_header(height: int, width: int, channels: int, quality: int) -> bytes:
    """Everything up to the entropy-coded data: the same for every image of this size and quality."""
    encoded = _encode(np.zeros((height, width, channels), np.uint8), quality)
    position = 2  # behind the start-of-image marker
    while True:
        marker = encoded[position + 1]
        position += 2 + int.from_bytes(encoded[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN:
            return encoded[:position]


def _block_side(form: Form) -> int:
    """Pixels that one coded block covers: 8, or 16 where two chroma samples share it (4:2:0)."""
    return 8 if form.channels == 1 else 16


def _blocks(form: Form) -> tuple[int, int]:
    side = _block_side(form)
    return math.ceil(form.height / side), math.ceil(form.width / side)


def _conceal(image: Pixels, known: Known, side: int) -> None:
    """Fill the blocks of `image` that are not `known` [h, w] with a smooth surface through the means of the others."""
    height, width, channels = image.shape
    rows, columns = known.shape
    padded = np.pad(image, ((0, rows * side - height), (0, columns * side - width), (0, 0)), mode="edge")
    means = padded.reshape(rows, side, columns, side, channels).mean(axis=(1, 3), dtype=np.float32)
    means = fill(means, known)
    layers = [
        np.asarray(
            Image.fromarray(means[..., channel]).resize((columns * side, rows * side), Image.Resampling.BILINEAR)
        )
        for channel in range(channels)
    ]
    surface = np.clip(np.rint(np.stack(layers, axis=-1)), 0, 255).astype(np.uint8)[:height, :width]
    lost = np.repeat(np.repeat(~known, side, axis=0), side, axis=1)[:height, :width]
    image[lost] = surface[lost]
