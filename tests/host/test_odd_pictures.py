"""Odd pictures by the hundred: each gives the right pixels, or one true line; none is silently wrong.

Formats x modes x depths x EXIF x damage, made here from one picture that is known. Memory is measured in a process of
its own for each of the costliest.
"""

from __future__ import annotations

import io
import itertools
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight.host.images import ImageError, read_image
from edgesight.host.kernel import BackEndInput, Input
from edgesight.host.pictures import Picture

SEED = 20_261
WIDTH, HEIGHT = 48, 40
COLOUR = Input(height=HEIGHT, width=WIDTH, channels=3)
GREY = Input(height=HEIGHT, width=WIDTH, channels=1)
# What Pillow undoes to bring a picture upright, by EXIF orientation: here it is done, to make one that is not.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}

Levels = npt.NDArray[np.float64]  # [H, W, 3], 0 to 255


class Case(NamedTuple):
    name: str
    content: bytes
    truth: Levels | None  # None: it is to be refused
    tolerance: float  # mean difference in levels
    said: str = ""  # what the refusal or a warning says


def scene() -> Levels:
    """A smooth picture without symmetry that spans dark to light in each colour."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = 255 * columns / (WIDTH - 1), 255 * rows / (HEIGHT - 1)
    blue = 127.5 + 127.5 * np.sin(columns / 9.0 + rows / 5.0)
    return np.stack([red, green, blue], -1)


SCENE = scene()
RGB = Image.fromarray(SCENE.round().astype(np.uint8))
LUMA = Image.fromarray(np.asarray(RGB.convert("L")))
RAMP = np.broadcast_to(SCENE[..., :1], SCENE.shape)  # grey


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def stored(picture: Image.Image, orientation: int) -> Image.Image:
    turn = STORED_AS[orientation]
    return picture if turn is None else picture.transpose(turn)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(lines: npt.NDArray[Any], depth: int, colours: int, *before: bytes, interlaced: bool = False) -> bytes:
    """A PNG by hand: `lines` are the bytes of each row."""
    height = len(lines)
    width = lines.shape[1] * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours])
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    rows = b"".join(b"\0" + line.tobytes() for line in lines)
    parts = (chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(strip: bytes, order: str = "<", **tags: int | tuple[int, ...]) -> bytes:
    """A TIFF of one raw strip by hand; `t258=(8, 8, 8)` sets tag 258."""
    numbers: dict[int, tuple[int, ...]] = {
        256: (WIDTH,), 257: (HEIGHT,), 259: (1,), 262: (1,), 277: (1,), 273: (8,), 278: (HEIGHT,), 279: (len(strip),),
    }  # fmt: skip
    for tag, value in tags.items():
        numbers[int(tag[1:])] = value if isinstance(value, tuple) else (value,)
    strip += b"\0" * (len(strip) % 2)
    at = 8 + len(strip) + 2 + 12 * len(numbers) + 4
    entries, beside = b"", b""
    for number, values in sorted(numbers.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, beside = struct.pack(order + "I", at + len(beside)), beside + packed
        entries += struct.pack(order + "HHI", number, 4, len(values)) + packed
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(strip))
    return head + strip + struct.pack(order + "H", len(numbers)) + entries + b"\0\0\0\0" + beside


def wholes(orientations: range = range(1, 9)) -> Iterator[Case]:
    """Pictures that are read, in all formats and orientations."""
    for orientation in orientations:
        picture = stored(RGB, orientation)
        yield Case(f"jpeg-exif{orientation}", saved(picture, "JPEG", exif=exif(orientation), quality=95), SCENE, 3)
        yield Case(f"png-exif{orientation}", saved(picture, "PNG", exif=exif(orientation)), SCENE, 0.5)
        yield Case(f"webp-exif{orientation}", saved(picture, "WEBP", exif=exif(orientation), quality=95), SCENE, 4)
        yield Case(f"tiff-exif{orientation}", saved(picture, "TIFF", tiffinfo={274: orientation}), SCENE, 0.5)
        wide = stored(Image.fromarray((SCENE[..., 0] * 257).round().astype(np.uint16)), orientation)
        yield Case(f"png16-exif{orientation}", saved(wide, "PNG", exif=exif(orientation)), RAMP, 0.5)
        compressed = saved(stored(LUMA, orientation), "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw")
        yield Case(f"tiff-grey-exif{orientation}", compressed, luma_truth(), 0.5)
    for quality, subsampling, progressive in itertools.product((50, 75, 95), (0, 1, 2), (False, True)):
        name = f"jpeg-{quality}-{subsampling}-{progressive}"
        options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        yield Case(name, saved(RGB, "JPEG", **options), SCENE, 6)
        yield Case(f"{name}-grey", saved(LUMA, "JPEG", quality=quality, progressive=progressive), luma_truth(), 3)
    yield Case("jpeg-cmyk", saved(RGB.convert("CMYK"), "JPEG", quality=95), SCENE, 5)
    for quality in (60, 90):
        yield Case(f"webp-{quality}", saved(RGB, "WEBP", quality=quality), SCENE, 6)
    yield Case("webp-lossless", saved(RGB, "WEBP", lossless=True), SCENE, 0.5)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg"):
        for mode in ("RGB", "L", "CMYK"):
            if compression == "jpeg" and mode == "CMYK":
                continue
            truth = luma_truth() if mode == "L" else SCENE
            content = saved(RGB.convert(mode), "TIFF", compression=compression)
            yield Case(f"tiff-{mode}-{compression}", content, truth, 5 if compression == "jpeg" else 0.5)
    for kind in ("BMP", "PPM", "PNG", "TIFF"):
        yield Case(f"{kind}-rgb", saved(RGB, kind), SCENE, 0.5)
        yield Case(f"{kind}-grey", saved(LUMA, kind), luma_truth(), 0.5)
        if kind != "PPM":
            palette = RGB.quantize(64)
            yield Case(f"{kind}-palette", saved(palette, kind), as_truth(palette), 0.5)
    for kind in ("GIF", "BMP", "PPM", "PNG", "TIFF"):
        bits = LUMA.convert("1")
        yield Case(f"{kind}-1bit", saved(bits, kind), as_truth(bits), 0.5)
    gif = RGB.quantize(128)
    yield Case("gif", saved(gif, "GIF"), as_truth(gif), 0.5)
    yield Case("gif-interlaced", saved(gif, "GIF", interlace=1), as_truth(gif), 0.5)


def luma_truth() -> Levels:
    return as_truth(LUMA)


def as_truth(picture: Image.Image) -> Levels:
    return np.asarray(picture.convert("RGB"), np.float64)


def depths() -> Iterator[Case]:
    """Samples of 1 to 16 bits, each scaled from its own range; and those whose range is not known."""
    ramp = SCENE[..., 0] / 255
    for bits in (1, 2, 4):
        levels = (ramp * (2**bits - 1)).round().astype(np.uint8)
        lines = np.packbits(np.unpackbits(levels[..., None], axis=-1)[..., -bits:].reshape(HEIGHT, -1), axis=-1)
        truth = np.repeat(levels[..., None] * 255.0 / (2**bits - 1), 3, -1)
        yield Case(f"png-{bits}bit", png(lines, bits, 0), truth, 0.5)
        yield Case(f"tiff-{bits}bit", tiff(lines.tobytes(), t258=bits), truth, 0.5)
        yield Case(f"tiff-{bits}bit-inverted", tiff(lines.tobytes(), t258=bits, t262=0), 255 - truth, 0.5)
    for most in (200, 255, 1_023, 4_095, 65_535):
        kind = ">u2" if most > 255 else "u1"
        grey = (ramp * most).round().astype(kind).tobytes()
        yield Case(f"pgm-{most}", b"P5 # a remark\n%d %d\n%d\n" % (WIDTH, HEIGHT, most) + grey, RAMP, 1)
        colour = (SCENE / 255 * most).round().astype(kind).tobytes()
        yield Case(f"ppm-{most}", b"P6\n%d\n%d %d\n" % (WIDTH, HEIGHT, most) + colour, SCENE, 1)
    for order, name in (("<", "ii"), (">", "mm")):
        wide = (ramp * 65_535).round().astype(order + "u2")
        yield Case(f"tiff16-{name}", tiff(wide.tobytes(), order, t258=16), RAMP, 0.5)
        twelve = (ramp * 4_095).round().astype(order + "u2").tobytes()
        yield Case(f"tiff12in16-{name}", tiff(twelve, order, t258=16), None, 0, "as from a sensor of 12 bits")
        yield Case(f"tiff12in16-told-{name}", tiff(twelve, order, t258=16, t281=4_095), RAMP, 0.5)
        signed = tiff(twelve, order, t258=16, t339=2)
        yield Case(f"tiff-signed-{name}", signed, None, 0, "signed samples of 16 bits")
        for bits, format_, said in (
            (32, 3, "32-bit floating-point"),
            (64, 3, "64-bit floating-point"),
            (32, 1, "32 bits"),
        ):
            kind = f"{order}{'f' if format_ == 3 else 'u'}{bits // 8}"
            content = tiff(ramp.astype(kind).tobytes(), order, t258=bits, t339=format_)
            yield Case(f"tiff-{kind}-{name}", content, None, 0, said)
        colours = (SCENE * 257).round().astype(order + "u2").tobytes()
        yield Case(f"tiff-rgb16-{name}", tiff(colours, order, t258=(16, 16, 16), t262=2, t277=3), SCENE, 1)
        planes = SCENE.round().astype(np.uint8).transpose(2, 0, 1).tobytes()
        offsets = tuple(8 + WIDTH * HEIGHT * plane for plane in range(3))
        apart: dict[str, int | tuple[int, ...]] = {
            "t258": (8, 8, 8),
            "t262": 2,
            "t277": 3,
            "t284": 2,
            "t273": offsets,
            "t279": (WIDTH * HEIGHT,) * 3,
        }
        yield Case(f"tiff-planes-{name}", tiff(planes, order, **apart), SCENE, 0.5)
    inverted = ((1 - ramp) * 65_535).round().astype("<u2")
    yield Case("tiff16-inverted", tiff(inverted.tobytes(), t258=16, t262=0), RAMP, 0.5)
    for scale, said in ((4_095, "as from a sensor of 12 bits"), (1_023, "as from a sensor of 12 bits")):
        dark = (ramp * scale).round().astype(">u2").view(np.uint8).reshape(HEIGHT, -1)
        yield Case(f"png-{scale}in16", png(dark, 16, 0), None, 0, said)
    fourteen = (ramp * 16_383).round().astype(">u2").view(np.uint8).reshape(HEIGHT, -1)
    yield Case("png-14in16", png(fourteen, 16, 0), RAMP / 4, 1, "if they are those of a sensor of 14 bits")
    black = np.zeros((HEIGHT, WIDTH * 2), np.uint8)
    yield Case("png-black16", png(black, 16, 0), np.zeros_like(SCENE), 0)
    rgb16 = (SCENE * 257).round().astype(">u2").view(np.uint8).reshape(HEIGHT, -1)
    yield Case("png-rgb16", png(rgb16, 16, 2), SCENE, 1)
    yield Case("png-rgb16-transparent", png(rgb16, 16, 2, chunk(b"tRNS", bytes(6))), None, 0, "16-bit colours")
    for scale, tolerance, said in ((4_095, 0, "12 bits or fewer"), (255, 0, "12 bits or fewer"), (16_383, 1.5, "")):
        deep = (SCENE / 255 * scale).round()
        shown = SCENE / 4 if scale == 16_383 else None
        told = said or "if they are those of a sensor of 14 bits"
        opaque = np.full((HEIGHT, WIDTH, 1), scale)
        for name, samples, kind_of_colours in (
            ("rgb", deep, 2),
            ("rgba", np.dstack([deep, np.full_like(opaque, 65_535)]), 6),
            ("grey-alpha", np.dstack([deep[..., :1], np.full_like(opaque, 65_535)]), 4),
            ("all-dark-rgba", np.dstack([deep, opaque]), 6),
        ):
            if (shown is not None and name != "rgb") or (scale == 255 and name == "all-dark-rgba"):
                continue  # the last is transparent everywhere
            rows = samples.astype(">u2").reshape(HEIGHT, -1).view(np.uint8)
            yield Case(f"png-{name}-{scale}in16", png(rows, 16, kind_of_colours), shown, tolerance, told)
        for order in "<>":
            strip = deep.astype(order + "u2").tobytes()
            content = tiff(strip, order, t258=(16, 16, 16), t262=2, t277=3)
            yield Case(f"tiff-rgb-{scale}in16-{order}", content, shown, tolerance, told)
        content = b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes()
        yield Case(f"ppm-{scale}in16", content, shown, tolerance, told)
    black_ppm = b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + bytes(WIDTH * HEIGHT * 6)
    yield Case("ppm-black16", black_ppm, np.zeros_like(SCENE), 0)
    yield Case("pfm", b"Pf\n48 40\n-1.0\n" + ramp.astype("<f4").tobytes(), None, 0, "floating-point PFM")
    yield Case("pgm-plain", b"P2 2 2 255 0 0 0 0", None, 0, "plain-text PPM")


def colours_and_alpha() -> Iterator[Case]:
    """Transparency is laid on black and told; colours that are not read are named."""
    opacity = np.tile(np.linspace(255, 0, HEIGHT)[:, None], WIDTH).round().astype(np.uint8)
    white_beneath = Image.new("RGBA", RGB.size, (255, 255, 255, 0))
    white_beneath.paste(RGB, (0, 0), Image.fromarray(((opacity > 127) * 255).astype(np.uint8)))
    cut_out = SCENE * (opacity > 127)[..., None]
    told = "is transparent in part: it was laid on black"
    faded = RGB.copy()
    faded.putalpha(Image.fromarray(opacity))
    faded_truth = SCENE * (opacity / 255.0)[..., None]
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        yield Case(f"{kind}-cut-out", saved(white_beneath, kind, **options), cut_out, 0.5, told)
        yield Case(f"{kind}-faded", saved(faded, kind, **options), faded_truth, 1, told)
    grey = LUMA.copy()
    grey.putalpha(Image.fromarray(opacity))
    grey_truth = luma_truth() * (opacity / 255.0)[..., None]
    for kind in ("PNG", "TIFF"):
        yield Case(f"{kind}-grey-alpha", saved(grey, kind), grey_truth, 1, told)
    premultiplied = (np.dstack([faded_truth, opacity])).round().astype(np.uint8).tobytes()
    content = tiff(premultiplied, t258=(8, 8, 8, 8), t262=2, t277=4, t338=1)
    yield Case("tiff-premultiplied", content, faded_truth, 2, told)
    unspecified = np.dstack([SCENE, opacity]).round().astype(np.uint8).tobytes()
    yield Case("tiff-extra", tiff(unspecified, t258=(8, 8, 8, 8), t262=2, t277=4, t338=0), SCENE, 0.5)
    palette = RGB.quantize(32)
    index = np.asarray(palette)
    truth = as_truth(palette) * (index != 5)[..., None]
    for kind in ("PNG", "GIF"):
        yield Case(f"{kind}-palette-transparent", saved(palette, kind, transparency=5), truth, 0.5, told)
    steps = bytes(range(0, 256, 8))
    truth = as_truth(palette) * (np.frombuffer(steps, np.uint8)[index] / 255.0)[..., None]
    yield Case("png-palette-alpha", saved(palette, "PNG", transparency=steps), truth, 1, told)
    level = int(np.asarray(LUMA)[10, 10])
    truth = luma_truth() * (np.asarray(LUMA) != level)[..., None]
    yield Case("png-grey-transparent", saved(LUMA, "PNG", transparency=level), truth, 0.5, told)
    wide = (SCENE[..., 0] * 257).round().astype(">u2")
    one = int(wide[10, 10])
    lines = wide.view(np.uint8).reshape(HEIGHT, -1)
    truth = RAMP * (wide != one)[..., None]
    yield Case("png16-transparent", png(lines, 16, 0, chunk(b"tRNS", struct.pack(">H", one))), truth, 0.5, told)
    for bits in (1, 2, 4, 8):  # the transparent sample is one of the picture's own, not of the 8 bits it is scaled to
        most = 2**bits - 1
        levels = (SCENE[..., 0] / 255 * most).round().astype(np.uint8)
        lines = np.packbits(np.unpackbits(levels[..., None], axis=-1)[..., -bits:].reshape(HEIGHT, -1), axis=-1)
        one = most if bits > 1 else 0
        truth = np.repeat((levels * (levels != one))[..., None] * (255.0 / most), 3, -1)
        content = png(lines, bits, 0, chunk(b"tRNS", struct.pack(">H", one)))
        yield Case(f"png-{bits}bit-transparent", content, truth, 0.5, told)
    for kind in ("PNG", "WEBP"):
        nothing = saved(Image.new("RGBA", RGB.size), kind)
        yield Case(f"{kind}-nothing", nothing, None, 0, "is transparent everywhere")
    yield Case("tiff-lab", saved(RGB.convert("LAB"), "TIFF"), None, 0, r"its colours are LAB: convert it to RGB")
    raw = SCENE.round().astype(np.uint8).tobytes()
    for number, said in ((9, "LAB"), (32_844, "LogL"), (32_803, "mosaic"), (6, "YCbCr without JPEG")):
        yield Case(f"tiff-colours{number}", tiff(raw, t258=(8, 8, 8), t262=number, t277=3), None, 0, said)
    yield Case("tiff-zstd", tiff(raw, t258=(8, 8, 8), t262=2, t277=3, t259=50_000), None, 0, "compression 50000")
    small_palette = tuple(range(256)) * 3
    yield Case(
        "tiff-palette8", tiff(raw[: WIDTH * HEIGHT], t258=8, t262=3, t320=small_palette), None, 0, "8-bit colours"
    )


def frames_and_others() -> Iterator[Case]:
    """Of several frames the first is taken, and told; what is no picture of the list is refused by its name."""
    others = [RGB.transpose(Image.Transpose.ROTATE_180), RGB.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    told = "holds several frames or pages: the first was taken"
    for kind, tolerance in (("PNG", 0.5), ("TIFF", 0.5), ("WEBP", 6)):
        yield Case(f"{kind}-frames", saved(RGB, kind, save_all=True, append_images=others), SCENE, tolerance, told)
    gif = RGB.quantize(64)
    rest = [other.quantize(64) for other in others]
    yield Case("gif-frames", saved(gif, "GIF", save_all=True, append_images=rest), as_truth(gif), 0.5, told)
    mpo = saved(RGB, "MPO", save_all=True, append_images=others, quality=95)
    yield Case("mpo", mpo, SCENE, 3)
    for kind, said in (("ICO", "format ICO"), ("PDF", "format PDF"), ("JPEG2000", "format JPEG 2000"), ("EPS", "EPS")):
        yield Case(kind, saved(RGB, kind), None, 0, said)
    for kind in ("TGA", "PCX", "SGI", "DDS"):
        yield Case(kind, saved(RGB, kind), None, 0, "is no picture that is read")
    yield Case("eps-by-hand", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", None, 0, "format EPS")
    yield Case("psd", b"8BPS\0\1" + bytes(100), None, 0, "format PSD")
    yield Case("heic", b"\0\0\0\x18ftypheic" + bytes(100), None, 0, "format HEIC or AVIF")
    yield Case("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", None, 0, "format SVG")
    yield Case("bigtiff", b"II+\0\x08\0\0\0" + bytes(100), None, 0, "format BigTIFF")
    yield Case("empty", b"", None, 0, "is empty")
    yield Case("text", b"hello", None, 0, "is no picture that is read")
    for size in ((1, 1), (3, 40), (48, 2)):
        yield Case(f"{size}", saved(RGB.resize(size), "PNG"), None, 0, f"is {size[0]} x {size[1]} pixels, at least 4")
    small = RGB.resize((24, 20), Image.Resampling.BOX)
    truth = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR), np.float64)
    yield Case("small", saved(small, "PNG"), truth, 1, "is 24 x 20 pixels, fewer than the 48 x 40")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")
    yield Case("60000", content, None, 0, "is 60000 x 60000 pixels, at most 67108864 are read: make it smaller")
    yield Case("long", saved(Image.new("1", (70_000, 20)), "PNG"), None, 0, "at most 65535 on a side")


def odd_exif() -> Iterator[Case]:
    """EXIF that is cut, wrong or huge changes nothing."""
    whole = saved(RGB, "JPEG", quality=95)
    for name, block in {
        "empty": b"",
        "no-order": b"XX*\0\0\0\0\x08",
        "cut": b"II*\0\x08\0\0\0\5\0\x12\1",
        "far": b"II*\0\xff\xff\xff\x7f",
        "itself": b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\0",
        "orientation-0": b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\0\0\0\0\0\0\0\0",
        "orientation-9": b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0",
        "a-text": b"II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\x06\0\0\0\0\0\0\0",
        "zero-divisor": b"II*\0\x08\0\0\0\1\0\x1a\1\5\0\1\0\0\0\0\0\0\0\0\0\0\0",
    }.items():
        body = b"Exif\0\0" + block
        content = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + whole[2:]
        yield Case(f"jpeg-exif-{name}", content, SCENE, 3)
        start = saved(RGB, "PNG")
        yield Case(f"png-exif-{name}", start[:33] + chunk(b"eXIf", block) + start[33:], SCENE, 0.5)


def damaged(rng: random.Random) -> Iterator[Case]:
    """Cut anywhere before the pixels end, or changed where a checksum tells."""
    noise = np.random.default_rng(SEED).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    rough = Image.fromarray(noise)
    wholes_of = {
        "PNG": saved(rough, "PNG"),
        "JPEG": saved(rough, "JPEG", quality=90),
        "progressive": saved(rough, "JPEG", quality=90, progressive=True),
        "GIF": saved(rough.quantize(256), "GIF"),
        "BMP": saved(rough, "BMP"),
        "PPM": saved(rough, "PPM"),
        "TIFF": saved(rough, "TIFF"),
        "deflated": saved(rough, "TIFF", compression="tiff_adobe_deflate"),
        "lzw": saved(rough, "TIFF", compression="tiff_lzw"),
        "WEBP": saved(rough, "WEBP", quality=90),
        "lossless": saved(rough, "WEBP", lossless=True),
    }
    for name, content in wholes_of.items():
        for share in (0.1, 0.5, *(rng.uniform(0.02, 0.95) for _ in range(6))):
            yield Case(f"{name}-cut-{share:.3f}", content[: int(len(content) * share)], None, 0)
    for number in range(12):
        broken = bytearray(wholes_of["PNG"])
        broken[rng.randrange(33, len(broken))] ^= 1 << rng.randrange(8)
        yield Case(f"PNG-changed-{number}", bytes(broken), None, 0)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def interlaced(levels: npt.NDArray[np.uint8], passes: int = 7) -> bytes:
    """An interlaced PNG of 8-bit grey by hand, of which only the first `passes` are there."""
    rows = [
        b"\0" + line.tobytes()
        for left, top, across, down in ADAM7[:passes]
        for line in levels[top::down, left::across]
        if line.size
    ]
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 0, 0, 0, 1)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def lacking() -> Iterator[Case]:
    """What is whole by all its checksums, and yet lacks something: pixels, a palette, or colours of it."""
    grey = SCENE[..., 0].round().astype(np.uint8)
    fewer = "it holds fewer pixels than it claims"
    for rows in (0, 1, HEIGHT // 2, HEIGHT - 1):
        header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
        lines = b"".join(b"\0" + line.tobytes() for line in grey[:rows])
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
        yield Case(f"png-{rows}rows", b"\x89PNG\r\n\x1a\n" + b"".join(parts), None, 0, fewer)
    half = zlib.compress(b"".join(b"\0" + line.tobytes() for line in grey))[:-40]
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", half), chunk(b"IEND", b""))
    yield Case("png-half-a-stream", b"\x89PNG\r\n\x1a\n" + b"".join(parts), None, 0, "is damaged")
    for missing in range(7):
        yield Case(f"png-{missing}passes", interlaced(grey, missing), None, 0, fewer)
    yield Case("png-interlaced", interlaced(grey), RAMP, 0.5)
    for width, height in ((4, 4), (5, 9), (13, 6)):  # some passes have no pixel at all
        small = np.full((height, width), 200, np.uint8)
        said = f"is {width} x {height} pixels, fewer"
        yield Case(f"png-interlaced-{width}x{height}", interlaced(small), np.full_like(SCENE, 200), 0, said)
    split = saved(RGB, "PNG")
    at = split.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", split, at)
    body = split[at + 8 : at + 8 + length]
    pieces = b"".join(chunk(b"IDAT", body[begin : begin + 100]) for begin in range(0, length, 100))
    yield Case("png-pieces", split[:at] + pieces + split[at + 12 + length :], SCENE, 0.5)
    index = grey // 16
    colours = bytes(level for entry in range(16) for level in (entry * 17, 255 - entry * 17, 9))
    shown = np.frombuffer(colours, np.uint8).reshape(16, 3)[index].astype(np.float64)
    yield Case("png-16colours", png(index, 8, 3, chunk(b"PLTE", colours)), shown, 0.5)
    yield Case("png-no-palette", png(index, 8, 3), None, 0, "a palette, which is not there")
    beyond = "colours that its palette does not have"
    yield Case("png-beyond-palette", png(index, 8, 3, chunk(b"PLTE", colours[:-3])), None, 0, beyond)
    steps = chunk(b"tRNS", bytes(range(0, 160, 10)))
    yield Case("png-beyond-palette-alpha", png(index, 8, 3, chunk(b"PLTE", colours[:-3]), steps), None, 0, beyond)
    bmp = bytearray(saved(RGB.quantize(64), "BMP"))
    struct.pack_into("<I", bmp, 46, 8)
    yield Case("bmp-beyond-palette", bytes(bmp), None, 0, beyond)
    gif = saved(RGB.quantize(16), "GIF")
    fewer_colours = gif[:10] + bytes([gif[10] & 0xF8 | 1]) + gif[11 : 13 + 12] + gif[13 + 48 :]
    yield Case("gif-beyond-palette", fewer_colours, None, 0, beyond)
    five = grey // 52
    few = Image.new("P", five.shape[::-1])
    few.putdata(five.ravel().tolist())
    few.putpalette([level for entry in range(8) for level in (entry * 50 % 256, 90, 255 - entry * 30)])
    clear = saved(few, "GIF", transparency=4, optimize=False)
    size = 3 * (2 << (clear[10] & 7))
    unseen = clear[:10] + bytes([clear[10] & 0xF8 | 1]) + clear[11 : 13 + 12] + clear[13 + size :]
    truth = np.asarray(few.convert("RGB"), np.float64) * (five != 4)[..., None]
    yield Case("gif-unseen-colour", unseen, truth, 0.5, "is transparent in part")  # common: no colour that none sees
    bare = gif[:10] + bytes([gif[10] & 0x7F]) + gif[11:13] + gif[13 + 48 :]
    yield Case("gif-no-palette", bare, None, 0, "has no colours of its own")
    twice = split[:33] + split[8:33] + split[33:]
    yield Case("png-begins-twice", twice, None, 0, "it begins twice; copy it again")
    masks = struct.pack("<III", 0x00FFC000, 0x003FF000, 0x00000FFC)
    head = b"BM" + struct.pack("<IHHI", 66 + WIDTH * HEIGHT * 4, 0, 0, 66)
    head += struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 3, 0, 0, 0, 0, 0) + masks
    yield Case("bmp-masks", head + bytes(WIDTH * HEIGHT * 4), None, 0, "is a BMP of a kind that is not read")


def all_cases() -> list[Case]:
    rng = random.Random(SEED)
    made = (wholes(), depths(), colours_and_alpha(), frames_and_others(), odd_exif(), lacking(), damaged(rng))
    return list(itertools.chain(*made))


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    print(f"seed {SEED}")
    return all_cases()


def wrong(case: Case) -> str | None:
    """What is wrong about what a case gives; None where nothing is."""
    try:
        read: Picture = read_image(case.content, COLOUR, "x")
    except ImageError as error:
        message = str(error)
        if case.truth is not None:
            return f"refused: {message}"
        if not message.startswith("x ") or "\n" in message or ":" not in message:
            return f"no line with a remedy: {message}"
        return None if case.said in message else f"another reason: {message}"
    if case.truth is None:
        return f"read, with {read.warnings}"
    difference = float(np.abs(read.pixels - case.truth).mean())
    if difference > case.tolerance:
        return f"{difference:.2f} levels away"
    if (case.said in " ".join(read.warnings)) if case.said else not read.warnings:
        grey = read_image(case.content, GREY, "x").pixels
        luma = np.asarray(Image.fromarray(read.pixels).convert("L"))[..., None]
        return None if np.abs(grey.astype(int) - luma).max() <= 2 else "another picture in grey"
    return f"warnings {read.warnings}"


def test_every_odd_picture_is_read_right_or_refused_truly(cases: list[Case]) -> None:
    assert len(cases) >= 200
    found = {case.name: fault for case in cases if (fault := wrong(case)) is not None}
    assert not found, "\n".join(f"{name}: {fault}" for name, fault in found.items())


def test_the_cases_would_notice_a_wrong_picture(cases: list[Case]) -> None:
    turned = [case._replace(truth=case.truth[::-1, ::-1]) for case in cases if case.truth is not None]
    noticed = [wrong(case) for case in turned if "black16" not in case.name and "interlaced-" not in case.name]
    assert len(noticed) > 50
    assert all(noticed)


_MEASURE = r"""
import io, sys
from pathlib import Path
from PIL import Image
Image.init()
from edgesight.host.images import ImageError, give_back_memory, image_content, read_image
from edgesight.host.kernel import BackEndInput, Input

def memory(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))

give_back_memory()
idle = memory("VmRSS")
backend = BackEndInput.model_validate_json(sys.argv[1]) if sys.argv[1] else None
for path in map(Path, sys.argv[2:]):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the high-water mark starts anew
    try:
        read_image(image_content(path), Input(height=224, width=224, channels=3), "x", backend)
    except ImageError as error:
        sys.exit(f"{path.name} {error}")
    print(path.name, (memory("VmHWM") - idle) // 1024, (memory("VmRSS") - idle) // 1024)
"""


def flat(kind: str, mode: str, side: int, **options: Any) -> bytes:
    """A square picture of one colour, of about the most pixels that are read of its kind."""
    colours: dict[str, Any] = {"RGBA": (9, 9, 9, 99), "I;16": 40_000, "CMYK": (9, 9, 9, 9), "RGB": (9, 9, 9)}
    picture = Image.new(mode, (side, side), colours.get(mode, 9))
    if mode == "P":
        picture.putpalette(range(48))
    return saved(picture, kind, **options)


def amplifying_exif() -> bytes:
    """Many tags that all name the same 20 MB."""
    count = 20_000
    tags = b"".join(struct.pack("<HHII", tag, 7, 20 * 2**20, 8) for tag in range(count))
    block = b"II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4 + 21 * 2**20)
    start = saved(RGB, "PNG")
    return start[:33] + chunk(b"eXIf", block) + start[33:]


def bombs() -> dict[str, bytes]:
    """The costliest files that are read, by what costs: pixels, coefficients, strips, canvases, or what surrounds."""
    noise = Image.frombytes("RGB", (3_200, 3_200), random.Random(1).randbytes(30_720_000))
    return {
        "png-rgba": flat("PNG", "RGBA", 7_200, compress_level=1),
        "png-grey16": flat("PNG", "I;16", 7_200, compress_level=1),
        "png-noise": saved(noise, "PNG", compress_level=0),
        "png-exif": amplifying_exif(),
        "jpeg": flat("JPEG", "RGB", 7_500),
        "jpeg-progressive": flat("JPEG", "RGB", 6_000, progressive=True, subsampling=0),
        "jpeg-cmyk": flat("JPEG", "CMYK", 5_200, progressive=True),
        "webp": flat("WEBP", "RGBA", 3_600, lossless=True, quality=0, method=0),
        "tiff": flat("TIFF", "RGBA", 7_200, compression="tiff_lzw"),
        "tiff-one-strip": flat("TIFF", "RGB", 5_600, compression="tiff_lzw", strip_size=2**30),
        "tiff-jpeg": flat("TIFF", "RGB", 7_200, compression="jpeg"),
        "gif": flat("GIF", "P", 8_192),
    }


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells what a process has used")
def test_no_picture_costs_more_than_256_mib_and_little_is_kept(tmp_path: Path) -> None:
    costs = costs_of(bombs(), tmp_path, None)
    assert max(peak for peak, _ in costs.values()) <= 256
    assert max(after for _, after in costs.values()) <= 32
    assert costs["png-rgba"][0] > 100  # it does measure


def costs_of(pictures: dict[str, bytes], folder: Path, backend: BackEndInput | None) -> dict[str, tuple[int, int]]:
    """MiB that reading each of `pictures` takes at its peak, and afterwards."""
    for name, content in pictures.items():
        assert len(content) <= 32 * 2**20
        (folder / name).write_bytes(content)
    form = "" if backend is None else backend.model_dump_json()
    command = [sys.executable, "-c", _MEASURE, form, *sorted(map(str, folder.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    costs = {name: (int(peak), int(after)) for name, peak, after in map(str.split, done.stdout.splitlines())}
    print(costs)
    return costs


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells what a process has used")
def test_the_largest_photograph_is_made_within_256_mib_too(tmp_path: Path) -> None:
    form = BackEndInput.same_as(Input(height=1, width=1, channels=3)).model_copy(update={"height": 4096, "width": 4096})
    pictures = {
        "png": flat("PNG", "RGB", 3_300),
        "tiff": flat("TIFF", "RGB", 3_300, compression="tiff_lzw"),
        "gif": flat("GIF", "P", 4_000),
        "jpeg": flat("JPEG", "RGB", 7_500),
        "jpeg-progressive": flat("JPEG", "RGB", 2_900, progressive=True, subsampling=0),
    }
    costs = costs_of(pictures, tmp_path, form)
    assert max(peak for peak, _ in costs.values()) <= 256
    assert max(after for _, after in costs.values()) <= 32
    assert costs["png"][0] > 150  # it is made
