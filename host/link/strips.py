"""An image as strips that may get lost, and back again: recovered where parity strips allow, else concealed.

Nothing is sent twice for a lost strip. With parity strips (`edgesight.host.link.parity`) a lost one comes back
exactly; beyond that its pixels are made up from their surroundings (`edgesight.host.link.concealment`), since a
classifier minds a blurred patch less than its user minds waiting.

Tiny images travel as raw bytes. Strip (i, j) holds every n-th pixel of every n-th row, so a lost strip leaves no hole
larger than one pixel. Large images travel as JPEG with a restart marker after every block (in JPEG's words, every MCU:
8 x 8 pixels grey, 16 x 16 in colour). Such a block decodes without its neighbours. The blocks are lined up so that
those next to each other in the line lie far apart in the picture, and the line is cut by bytes; a strip says where in
the line it begins, so that nobody need know the others' lengths. In the place of a lost block goes an empty one with
its marker, so that the decoder stays in step. Longer intervals would save 5 % of the bytes in colour, but leave holes
that are up to four blocks wide. The JPEG header is no part of any strip: both sides derive it from size and quality by
encoding a blank image, and agree once a session, by `jpeg_tables`, that they derive the same.

All that makes an image bear losses costs bytes. Where the path loses next to nothing and is slow, an image travels
*entire* instead: raw pixels by deflate, or a JPEG without those markers, progressive where that is shorter, as one row
of bytes that is cut wherever a datagram is full. It is of use only when all of it has come, so what gets lost of it is
sent again.

Words owned here: assembly, block line, encoded, entire.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import io
import itertools
import math
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image

from edgesight.host.link import parity as codes
from edgesight.host.link.concealment import Known, Pixels, conceal_blocks, fill
from edgesight.host.link.datagrams import (
    MAX_DATAGRAM,
    MAX_PARITY,
    MAX_SIDE,
    MAX_STRIPS,
    STRIP_HEADER,
    Form,
    Kind,
    LinkError,
    Strip,
)

QUALITY = 85
RAW_BELOW = 64  # pixels: an image with both sides below it travels raw
_LEAST_DATAGRAM = 128  # bytes
_FEWEST_STRIPS = 4  # so that one loss is never the whole image
_SUBSAMPLING = "4:2:0"
_FIRST = struct.Struct("!H")  # where in the block line a strip begins
_LONG = 0x80  # set in the first of two bytes of a block's length, which else is one byte
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MARKER = re.compile(rb"\xff(?!\x00)", re.DOTALL)  # entropy-coded data holds 0xFF only as 0xFF00
_FOREIGN = re.compile(rb"\xff(?![\x00\xc4\xda])", re.DOTALL)  # any marker but of Huffman tables and scans
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_FRAME, _START_OF_PROGRESSIVE, _START_OF_SCAN = 0xC0, 0xC2, 0xDA
_SIZE = struct.Struct("!HH")  # height and width, as a frame's head has them
_TO_SIZE = 5  # bytes of a frame's head before the size: marker, length, bits a sample
_BLANK = 16  # pixels a side of the image whose header all sizes share
_SCANS = {1: 6, 3: 10}  # by channels: what libjpeg's progressive images have, each of which takes a decoder time
_DEFLATE = -15  # zlib's word for a bare deflate stream with the largest window
_DIFFERENCES = 4  # ways to take differences before deflating: none, down, across, both
_TRIED = 2  # of them; the others hardly ever save a byte more
_APART = 16  # successive blocks of the line that should lie far apart: about a strip's
LEAST_SHARE = 0.1  # of the image that must have come: making up more takes long, and no classifier is helped by it
_LINES = 4_096  # sizes of which the block line's stride is remembered, an integer each

Ints = npt.NDArray[np.int64]


class TooLittle(LinkError):
    """So little of an image has come that nothing is made up from it."""


class _Layout(enum.Enum):
    """The JPEGs that travel; each has a header of its own."""

    BLOCKS = "a restart marker after every block"
    PLAIN = "entire"
    PROGRESSIVE = "entire, with Huffman tables of its own"


@dataclass(frozen=True)
class Encoded:
    """An image packed for the way, and cut: all of its strips' payloads but those of parity strips."""

    kind: Kind
    height: int
    width: int
    channels: int
    quality: int
    payloads: list[bytes]

    @property
    def size(self) -> int:
        """Bytes of all strips, with their headers."""
        return sum(STRIP_HEADER + len(payload) for payload in self.payloads)

    def pack(
        self, *, request: int, left_ms: int, attempt: int = 0, accuracy: float = 0.0, parity: int = 0
    ) -> list[bytes]:
        """A message a strip, in their order, `parity` parity strips last."""
        parity = min(parity, MAX_PARITY)
        form = Form(self.kind, self.height, self.width, self.channels, self.quality, len(self.payloads), parity)
        return [
            Strip(request, attempt, left_ms, form, index, payload, accuracy).pack()
            for index, payload in enumerate(self.payloads + codes.encode(self.payloads, parity))
        ]


def encode(
    image: Pixels,
    quality: int = QUALITY,
    largest: int = MAX_DATAGRAM,
    kind: Kind | None = None,
    progressive: bool = True,
) -> Encoded:
    """Pack and cut `image`, uint8 [H, W, C] with C 1 or 3, into strips that fit datagrams of `largest` bytes.

    `kind` is that of its size unless told. An entire JPEG is made progressive where that is shorter; without
    `progressive` it is not tried, which is five times as fast and takes 4 % more bytes. Raises LinkError on another
    shape or type, or when JPEG blocks are too large for a datagram at this `quality`.
    """
    check_image(image)
    if largest < _LEAST_DATAGRAM:
        raise LinkError(f"datagrams of at most {largest} bytes: images need {_LEAST_DATAGRAM}; take another path")
    room = min(largest, MAX_DATAGRAM) - STRIP_HEADER - codes.PREFIX
    height, width, channels = image.shape
    kind = kind or kind_of(image)
    if kind == Kind.RAW:
        payloads = _raw(image, room)
    elif kind == Kind.JPEG:
        payloads = _jpeg(image, quality, room)
    else:
        payloads = _pieces(
            _packed(image) if kind == Kind.PACKED else _whole(image, quality, progressive), room, quality
        )
    return Encoded(kind, height, width, channels, 0 if kind.raw else quality, payloads)


def kind_of(image: Pixels, entire: bool = False) -> Kind:
    """How an image of this size travels, entire or so that it bears losses."""
    if max(image.shape[:2]) < RAW_BELOW:
        return Kind.PACKED if entire else Kind.RAW
    return Kind.WHOLE if entire else Kind.JPEG


def cut(
    image: Pixels,
    *,
    request: int,
    left_ms: int,
    attempt: int = 0,
    quality: int = QUALITY,
    accuracy: float = 0.0,
    parity: int = 0,
    largest: int = MAX_DATAGRAM,
) -> list[bytes]:
    """Datagrams of `image`, a strip each: `encode` and `Encoded.pack` at once."""
    encoded = encode(image, quality, largest)
    return encoded.pack(request=request, left_ms=left_ms, attempt=attempt, accuracy=accuracy, parity=parity)


def check_image(image: Pixels) -> None:
    """Raise LinkError unless `image` is one that travels: uint8 [H, W, 1 or 3] within the size limit."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise LinkError(f"image is {image.dtype} {list(image.shape)}: expected uint8 [H, W, 1 or 3]")
    if max(image.shape) > MAX_SIDE:
        raise LinkError(f"image is {image.shape[1]} x {image.shape[0]} pixels: at most {MAX_SIDE} a side travel")


def resize(image: Pixels, shape: tuple[int, ...]) -> Pixels:
    """`image` [H, W, C] at another `shape` of as many channels: averaged where smaller, smooth where larger."""
    height, width, channels = shape
    if image.shape == (height, width, channels):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    smaller = height * width < image.shape[0] * image.shape[1]
    resized = picture.resize((width, height), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


class Assembly:
    """The strips of one image that have come so far. Holds at most the bytes of `MAX_STRIPS` datagrams, twice.

    `add` takes little time, for whoever receives. What takes long is left to `image`: recovering and decoding.
    """

    def __init__(self, form: Form) -> None:
        """Begin an image of `form`; raises LinkError when no image has it."""
        self.form = form
        self._payloads: dict[int, bytes] = {}
        self._coded: dict[int, bytes] = {}
        self._came: set[int] = set()  # indices
        self._enough = False  # what has not come can be recovered
        if form.count + form.parity > MAX_STRIPS:
            raise LinkError(f"{form.count} and {form.parity} parity strips: at most {MAX_STRIPS} travel")
        if form.kind not in (Kind.RAW, Kind.JPEG, Kind.PACKED, Kind.WHOLE):
            raise LinkError(f"a message of kind {form.kind}: no image has it")
        if form.kind.raw and max(form.height, form.width) >= RAW_BELOW:  # concealing it pixel by pixel takes long
            raise LinkError(f"a raw image of {form.width} x {form.height}: at most {RAW_BELOW - 1} a side travel so")
        if form.kind == Kind.RAW and form.count != math.isqrt(form.count) ** 2:
            raise LinkError(f"{form.count} raw strips: expected a square number")
        if not form.kind.raw and form.count > math.prod(_blocks(form)):
            raise LinkError(f"{form.count} JPEG strips for {math.prod(_blocks(form))} blocks")

    def add(self, strip: Strip) -> bool:
        """Take in `strip`; False for one that is already there. Raises LinkError on what does not fit."""
        if strip.form != self.form:
            raise LinkError(f"strip {strip.index} has form {strip.form}, but its image has {self.form}")
        count = self.form.count
        if strip.index in self._came:
            return False
        if strip.index < count:
            self._check(strip.index, strip.payload)
            self._payloads[strip.index] = strip.payload
        else:
            self._coded[strip.index - count] = strip.payload
        self._came.add(strip.index)
        if self._coded and not self._enough:
            self._enough = codes.enough(self._payloads, self._coded, count)
        return True

    @property
    def missing(self) -> int:
        """Count of strips that hold the image, have not come, and cannot be recovered."""
        return 0 if self._enough else self.form.count - len(self._payloads)

    @property
    def entire(self) -> bool:
        """Whether the image is of no use as long as anything is missing."""
        return self.form.kind.entire

    @property
    def overtaken(self) -> bool:
        """Whether the very last strip has come: what is missing then is lost, or was overtaken on the way."""
        return self.form.count + self.form.parity - 1 in self._came

    def image(self) -> Pixels:
        """The image uint8 [H, W, C]: recovered from parity strips, else concealed where strips are missing.

        Parity strips that contradict the others are of no use, as if they had not come.

        Raises TooLittle when less than `LEAST_SHARE` of it has come, or not all of one that travels entire, LinkError
        when it cannot be decoded.
        """
        if self._enough and len(self._payloads) < self.form.count:
            self._recover()
        if not self._payloads:
            raise TooLittle("no strip of the image has come")
        if self.entire:
            if self.missing:
                raise TooLittle(
                    f"{self.missing} of {self.form.count} strips are missing of an image that travels entire"
                )
            body = b"".join(self._payloads[index] for index in range(self.form.count))
            return _unpacked(self.form, body) if self.form.kind == Kind.PACKED else _decoded_whole(self.form, body)
        return self._raw_image() if self.form.kind == Kind.RAW else self._jpeg_image()

    def _check(self, index: int, payload: bytes) -> None:
        if self.form.kind == Kind.RAW:
            expected = math.prod(_phase_shape(self.form, index))
            if len(payload) != expected:
                raise LinkError(f"raw strip {index} of {len(payload)} bytes: expected {expected}")
        elif self.form.kind == Kind.JPEG:
            _unpack_blocks(self.form, index, payload)

    def _recover(self) -> None:
        try:
            recovered = codes.recover(self._payloads, self._coded, self.form.count)
            for index, payload in recovered.items():
                self._check(index, payload)
        except LinkError:
            self._coded.clear()
            self._enough = False
        else:
            self._payloads.update(recovered)

    def _raw_image(self) -> Pixels:
        form = self.form
        image = np.zeros((form.height, form.width, form.channels), np.uint8)
        known = np.zeros((form.height, form.width), np.bool_)
        spacing = math.isqrt(form.count)
        for index, payload in self._payloads.items():
            row, column = divmod(index, spacing)
            where = (slice(row, None, spacing), slice(column, None, spacing))
            image[where] = np.frombuffer(payload, np.uint8).reshape(_phase_shape(form, index))
            known[where] = True
        _check_share(known)
        if known.all():
            return image
        filled = fill(image.astype(np.float32), known)
        return np.rint(filled).astype(np.uint8)

    def _jpeg_image(self) -> Pixels:
        form = self.form
        rows, columns = _blocks(form)
        in_line: list[bytes | None] = [None] * (rows * columns)
        for index, payload in self._payloads.items():
            first, held = _unpack_blocks(form, index, payload)
            in_line[first : first + len(held)] = held
        came = np.array([block is not None for block in in_line])
        _check_share(came)
        line = _block_line(rows, columns)
        known = np.zeros(len(line), np.bool_)
        known[line] = came
        blocks = [b""] * len(line)
        for place, block in zip(line.tolist(), in_line, strict=True):
            blocks[place] = block or b""
        markers = [bytes([0xFF, 0xD0 + number % 8]) for number in range(len(blocks) - 1)] + [_END_OF_IMAGE]
        header = _jpeg_header(form.height, form.width, form.channels, form.quality)
        scan = b"".join(block + marker for block, marker in zip(blocks, markers, strict=True))
        image = _decoded(form, header + scan)
        if known.all():
            return image
        return conceal_blocks(image, known.reshape(rows, columns), _block_side(form))


def through_loss(
    image: Pixels, loss: float, generator: np.random.Generator, quality: int = QUALITY, parity: int = 0
) -> Pixels | None:
    """What the data centre sees of `image` when each strip is lost independently with probability `loss`.

    None where nothing arrives, or too little. Calibration measures the back end through this.
    """
    strips = [Strip.parse(datagram) for datagram in cut(image, request=0, left_ms=0, quality=quality, parity=parity)]
    kept = [strip for strip in strips if generator.random() >= loss]
    try:
        return assemble(kept).image()
    except TooLittle:
        return None


def assemble(strips: Iterable[Strip]) -> Assembly:
    """An assembly of at least one strip; raises LinkError as `Assembly` does."""
    assembly: Assembly | None = None
    for strip in strips:
        assembly = assembly or Assembly(strip.form)
        assembly.add(strip)
    if assembly is None:
        raise TooLittle("no strip of the image has come")
    return assembly


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


def _raw(image: Pixels, room: int) -> list[bytes]:
    height, width, channels = image.shape
    spacing = 2
    while math.ceil(height / spacing) * math.ceil(width / spacing) * channels > room:
        spacing += 1
    phases = [image[row::spacing, column::spacing] for row in range(spacing) for column in range(spacing)]
    return [phase.tobytes() for phase in phases]


def _phase_shape(form: Form, index: int) -> tuple[int, int, int]:
    spacing = math.isqrt(form.count)
    row, column = divmod(index, spacing)
    return len(range(row, form.height, spacing)), len(range(column, form.width, spacing)), form.channels


def _jpeg(image: Pixels, quality: int, room: int) -> list[bytes]:
    """The blocks of `image` in their line, cut into payloads of about equal size and at most `room` bytes."""
    height, width, channels = image.shape
    form = Form(Kind.JPEG, height, width, channels, quality, 1)
    header = _jpeg_header(height, width, channels, quality)
    blocks = _RESTART.split(_to_jpeg(image, quality)[len(header) : -len(_END_OF_IMAGE)])
    if len(blocks) != math.prod(_blocks(form)):
        raise LinkError(f"Pillow {PIL.__version__} cuts no JPEG into blocks: install pillow>=10.2")
    line = [_with_length(blocks[place]) for place in _block_line(*_blocks(form)).tolist()]
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


def _packed(image: Pixels) -> bytes:
    """The pixels without loss: which differences were taken before, and what deflate makes of these."""
    bodies = []
    for way in range(_TRIED):
        pixels = image
        for axis in _axes(way):
            # Unsigned, so modulo 256: it comes back by summing up likewise.
            pixels = np.diff(pixels, axis=axis, prepend=np.uint8(0))
        deflate = zlib.compressobj(9, zlib.DEFLATED, _DEFLATE)
        bodies.append(bytes([way]) + deflate.compress(pixels.tobytes()) + deflate.flush())
    return min(bodies, key=len)


def _unpacked(form: Form, body: bytes) -> Pixels:
    """The image that `_packed` made `body` of."""
    size = form.height * form.width * form.channels
    inflate = zlib.decompressobj(_DEFLATE)
    try:
        pixels = inflate.decompress(body[1:], size + 1)  # whatever else it would become
    except zlib.error as error:
        raise LinkError(f"packed pixels cannot be unpacked ({error}): the sender is faulty") from error
    if not body or body[0] >= _DIFFERENCES or len(pixels) != size or not inflate.eof or inflate.unused_data:
        raise LinkError(f"packed pixels do not give an image of {size} bytes: the sender is faulty")
    image = np.frombuffer(pixels, np.uint8).reshape(form.height, form.width, form.channels)
    for axis in _axes(body[0]):
        image = np.cumsum(image, axis=axis, dtype=np.uint8)
    return image


def _axes(way: int) -> list[int]:
    return [axis for axis in (0, 1) if way >> axis & 1]


def _whole(image: Pixels, quality: int, try_progressive: bool) -> bytes:
    """A JPEG of `image` behind the header that both sides derive: the shorter of two kinds, which the first byte tells.

    A progressive one has Huffman tables of its own, which a small image does not make up for.
    """
    height, width, channels = image.shape
    bodies = []
    for progressive in (False, True) if try_progressive else (False,):
        header = _entire_header(height, width, channels, quality, progressive)
        bodies.append(bytes([progressive]) + _to_entire(image, quality, progressive)[len(header) : -len(_END_OF_IMAGE)])
    return min(bodies, key=len)


def _decoded_whole(form: Form, body: bytes) -> Pixels:
    """The image that `_whole` made `body` of."""
    progressive, content = body[:1] == b"\1", body[1:]
    scans = content.count(bytes([0xFF, _START_OF_SCAN])) if progressive else 1
    if body[:1] not in (b"\0", b"\1") or (_FOREIGN if progressive else _MARKER).search(content):
        raise LinkError("a JPEG with a marker that it should not have: the sender is faulty")
    if progressive and scans != _SCANS[form.channels]:
        raise LinkError(f"a JPEG of {scans} scans: expected {_SCANS[form.channels]}; the sender is faulty")
    header = _entire_header(form.height, form.width, form.channels, form.quality, progressive)
    return _decoded(form, header + content + _END_OF_IMAGE)


def _decoded(form: Form, jpeg: bytes) -> Pixels:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as decoded:
            return np.array(decoded, dtype=np.uint8).reshape(form.height, form.width, form.channels)
    except (OSError, ValueError, SyntaxError) as error:
        raise LinkError(f"the JPEG cannot be decoded ({error}): the sender is faulty") from error


def _pieces(body: bytes, room: int, quality: int) -> list[bytes]:
    """`body` cut into payloads of about equal size and at most `room` bytes."""
    count = math.ceil(len(body) / room)
    if count > MAX_STRIPS - MAX_PARITY:
        raise LinkError(f"the image needs {count} strips at quality {quality}: lower the quality")
    ends = [len(body) * number // count for number in range(count + 1)]
    return [body[begin:end] for begin, end in itertools.pairwise(ends)]


def _with_length(block: bytes) -> bytes:
    length = len(block)
    return (bytes([length]) if length < _LONG else bytes([_LONG | length >> 8, length & 0xFF])) + block


def _unpack_blocks(form: Form, index: int, payload: bytes) -> tuple[int, list[bytes]]:
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
        if _MARKER.search(data):
            raise LinkError(f"JPEG strip {index} holds a marker inside a block: the sender is faulty")
        blocks.append(data)
    if first + len(blocks) > math.prod(_blocks(form)):
        raise LinkError(f"JPEG strip {index} holds blocks {first} to {first + len(blocks) - 1}: the image has fewer")
    return first, blocks


def _block_line(rows: int, columns: int) -> Ints:
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


def _to_jpeg(image: Pixels, quality: int) -> bytes:
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


def _jpeg_header(height: int, width: int, channels: int, quality: int) -> bytes:
    """Everything up to the entropy-coded data: the same for every image of this size and quality."""
    return _header(height, width, channels, quality, _Layout.BLOCKS)


def _entire_header(height: int, width: int, channels: int, quality: int, progressive: bool) -> bytes:
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
    jpeg = _to_jpeg(blank, quality) if layout == _Layout.BLOCKS else _to_entire(blank, quality, progressive)
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


def _check_share(known: Known) -> None:
    """Raise TooLittle unless enough of the image is `known` to make up the rest."""
    share = float(np.mean(known))
    if share < LEAST_SHARE:
        raise TooLittle(f"{100 * share:.2g} % of the image has come: at least {100 * LEAST_SHARE:g} % must")


def _block_side(form: Form) -> int:
    """Pixels that one coded block covers: 8, or 16 where two chroma samples share it (4:2:0)."""
    return 8 if form.channels == 1 else 16


def _blocks(form: Form) -> tuple[int, int]:
    side = _block_side(form)
    return math.ceil(form.height / side), math.ceil(form.width / side)
