"""An image as strips that may get lost, and back again: recovered where parity strips allow, else concealed.

Nothing is sent twice for a lost strip. With parity strips (`edgesight.host.link.parity`) a lost one comes back
exactly; beyond that its pixels are made up from their surroundings (`edgesight.host.link.concealment`), since a
classifier minds a blurred patch less than its user minds waiting.

Tiny images travel as raw bytes. Strip (i, j) holds every n-th pixel of every n-th row, so a lost strip leaves no hole
larger than one pixel. Large images travel as JPEG in blocks that decode without their neighbours
(`edgesight.host.link.block_line`). The JPEG header is no part of any strip (`edgesight.host.link.jpeg`).

All that makes an image bear losses costs bytes. Where the path loses next to nothing and is slow, an image travels
*entire* instead: raw pixels by deflate, or a JPEG without those markers, progressive where that is shorter, as one row
of bytes that is cut wherever a datagram is full. It is of use only when all of it has come, so what gets lost of it is
sent again.

Words owned here: assembly, encoded, entire.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgesight.host.link import parity as codes
from edgesight.host.link.block_line import (
    block_line,
    block_side,
    blocks_in_strips,
    blocks_of,
    check_blocks,
    unpack_blocks,
)
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
from edgesight.host.link.jpeg import END_OF_IMAGE, decode, decode_entire, encode_entire, header_of_blocks
from edgesight.host.link.jpeg import jpeg_tables as jpeg_tables  # two ends agree on strips where these are the same

QUALITY = 85
RAW_BELOW = 64  # pixels: an image with both sides below it travels raw
_LEAST_DATAGRAM = 128  # bytes
_DEFLATE = -15  # zlib's word for a bare deflate stream with the largest window
_DIFFERENCES = 4  # ways to take differences before deflating: none, down, across, both
_TRIED = 2  # of them; the others hardly ever save a byte more
LEAST_SHARE = 0.1  # of the image that must have come: making up more takes long, and no classifier is helped by it


class TooLittle(LinkError):
    """So little of an image has come that nothing is made up from it."""


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
        payloads = blocks_in_strips(image, quality, room)
    else:
        payloads = _pieces(
            _packed(image) if kind == Kind.PACKED else encode_entire(image, quality, progressive), room, quality
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


def encode_at(
    image: Pixels,
    quality: int,
    divisor: int,
    largest: int = MAX_DATAGRAM,
    entire: bool = False,
    progressive: bool = True,
) -> Encoded:
    """A photograph `image`, uint8 [H, W, C], each side divided and then packed and cut as a photograph of its own size.

    A tiny one travels raw, as it is, whatever is asked. The rest as `encode` has it.
    """
    kind = kind_of(image, entire)
    return encode(image if kind.raw else smaller(image, divisor), quality, largest, kind, progressive)


def check_image(image: Pixels) -> None:
    """Raise LinkError unless `image` is one that travels: uint8 [H, W, 1 or 3] within the size limit."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise LinkError(f"image is {image.dtype} {list(image.shape)}: expected uint8 [H, W, 1 or 3]")
    if max(image.shape) > MAX_SIDE:
        raise LinkError(f"image is {image.shape[1]} x {image.shape[0]} pixels: at most {MAX_SIDE} a side travel")


def check_taken(form: Form, shape: tuple[int, ...]) -> None:
    """Raise LinkError unless a model of input `shape` takes images of `form`, enlarged where they are smaller."""
    height, width, channels = shape
    if form.channels != channels or form.height > height or form.width > width:
        raise LinkError(
            f"image of {[form.height, form.width, form.channels]}: the model takes "
            f"{list(shape)}, or less height and width"
        )


def resize(image: Pixels, shape: tuple[int, ...]) -> Pixels:
    """`image` [H, W, C] at another `shape` of as many channels: averaged where smaller, smooth where larger."""
    height, width, channels = shape
    if image.shape == (height, width, channels):
        return image
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    smaller = height * width < image.shape[0] * image.shape[1]
    resized = picture.resize((width, height), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def smaller(image: Pixels, divisor: int) -> Pixels:
    """`image` [H, W, C] with each side divided, rounded up."""
    height, width, channels = image.shape
    return image if divisor == 1 else resize(image, (-(-height // divisor), -(-width // divisor), channels))


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
        self.repaired = 0  # strips that were recovered
        if form.count + form.parity > MAX_STRIPS:
            raise LinkError(f"{form.count} and {form.parity} parity strips: at most {MAX_STRIPS} travel")
        if form.kind not in (Kind.RAW, Kind.JPEG, Kind.PACKED, Kind.WHOLE):
            raise LinkError(f"a message of kind {form.kind}: no image has it")
        if form.kind.raw and max(form.height, form.width) >= RAW_BELOW:  # concealing it pixel by pixel takes long
            raise LinkError(f"a raw image of {form.width} x {form.height}: at most {RAW_BELOW - 1} a side travel so")
        if form.kind == Kind.RAW and form.count != math.isqrt(form.count) ** 2:
            raise LinkError(f"{form.count} raw strips: expected a square number")
        if form.kind == Kind.JPEG:
            check_blocks(form)
        if not form.kind.raw and form.count > math.prod(blocks_of(form)):
            raise LinkError(f"{form.count} JPEG strips for {math.prod(blocks_of(form))} blocks")

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
            return _unpacked(self.form, body) if self.form.kind == Kind.PACKED else decode_entire(self.form, body)
        return self._raw_image() if self.form.kind == Kind.RAW else self._jpeg_image()

    def _check(self, index: int, payload: bytes) -> None:
        if self.form.kind == Kind.RAW:
            expected = math.prod(_phase_shape(self.form, index))
            if len(payload) != expected:
                raise LinkError(f"raw strip {index} of {len(payload)} bytes: expected {expected}")
        elif self.form.kind == Kind.JPEG:
            unpack_blocks(self.form, index, payload)

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
            self.repaired = len(recovered)

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
        rows, columns = blocks_of(form)
        in_line: list[bytes | None] = [None] * (rows * columns)
        for index, payload in self._payloads.items():
            first, held = unpack_blocks(form, index, payload)
            in_line[first : first + len(held)] = held
        came = np.array([block is not None for block in in_line])
        _check_share(came)
        line = block_line(rows, columns)
        known = np.zeros(len(line), np.bool_)
        known[line] = came
        blocks = [b""] * len(line)
        for place, block in zip(line.tolist(), in_line, strict=True):
            blocks[place] = block or b""
        markers = [bytes([0xFF, 0xD0 + number % 8]) for number in range(len(blocks) - 1)] + [END_OF_IMAGE]
        header = header_of_blocks(form.height, form.width, form.channels, form.quality)
        scan = b"".join(block + marker for block, marker in zip(blocks, markers, strict=True))
        image = decode(form, header + scan)
        if known.all():
            return image
        return conceal_blocks(image, known.reshape(rows, columns), block_side(form))


def through_loss(
    image: Pixels,
    loss: float,
    generator: np.random.Generator,
    quality: int = QUALITY,
    parity: int = 0,
    divisor: int = 1,
) -> Pixels | None:
    """What the data centre sees of the photograph `image` when each strip is lost independently with chance `loss`.

    It is divided and encoded as `encode_at` does, and comes enlarged to its own shape, as the back end gets it. None
    where nothing arrives, or too little. Calibration measures the back end through this.
    """
    messages = encode_at(image, quality, divisor).pack(request=0, left_ms=0, parity=parity)
    kept = [strip for strip in map(Strip.parse, messages) if generator.random() >= loss]
    try:
        return resize(assemble(kept).image(), image.shape)
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


def _pieces(body: bytes, room: int, quality: int) -> list[bytes]:
    """`body` cut into payloads of about equal size and at most `room` bytes."""
    count = math.ceil(len(body) / room)
    if count > MAX_STRIPS - MAX_PARITY:
        raise LinkError(f"the image needs {count} strips at quality {quality}: lower the quality")
    ends = [len(body) * number // count for number in range(count + 1)]
    return [body[begin:end] for begin, end in itertools.pairwise(ends)]


def _check_share(known: Known) -> None:
    """Raise TooLittle unless enough of the image is `known` to make up the rest."""
    share = float(np.mean(known))
    if share < LEAST_SHARE:
        raise TooLittle(f"{100 * share:.2g} % of the image has come: at least {100 * LEAST_SHARE:g} % must")
