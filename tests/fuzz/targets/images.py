"""Anything as a picture's file: pixels of the kernel's shape, or an `ImageError`."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from edgesight.host.images import ImageError, read_image
from edgesight.host.kernel import BackEndInput, Input

MAX_LENGTH = 4_096
COLOUR = Input(height=16, width=20, channels=3)
INPUTS = [(Input(height=28, width=28, channels=1), BackEndInput.same_as(COLOUR)), (COLOUR, None)]


def seeds() -> list[bytes]:
    """A small picture of each usual kind, and arrays."""
    ramp = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    found = []
    colours = Image.fromarray(ramp)
    clear = colours.copy()
    clear.putalpha(Image.fromarray(ramp[..., 0]))
    wide = Image.fromarray(ramp[..., 0].astype(np.uint16) * 256)
    palette = colours.quantize(16)
    turned = Image.Exif()
    turned[0x0112] = 6

    def save(picture: Image.Image, kind: str, **options: Any) -> None:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())

    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"):
        save(colours, kind)
    for kind in ("PNG", "TIFF", "WEBP"):
        save(clear, kind)
    for kind in ("PNG", "JPEG", "WEBP"):
        save(colours, kind, exif=turned)
    for kind in ("PNG", "GIF"):
        save(palette, kind, transparency=3, save_all=True, append_images=[palette.rotate(90, expand=True)])
    for kind in ("PNG", "TIFF", "PPM"):
        save(wide, kind)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        save(colours, "TIFF", compression=compression)
    save(colours, "JPEG", progressive=True, subsampling=0)
    save(colours.convert("CMYK"), "JPEG")
    save(colours, "WEBP", lossless=True)
    save(palette, "BMP")
    save(colours.convert("1"), "PPM")
    array = io.BytesIO()
    np.save(array, np.zeros((28, 28, 1), np.uint8))
    found.append(array.getvalue())
    return found


def consume(data: bytes) -> None:
    for expected, backend in INPUTS:
        try:
            picture = read_image(data, expected, "picture", backend)
        except ImageError as error:
            message = str(error)
            message.encode()
            assert message.isprintable(), message  # one line
            continue
        assert picture.pixels.shape == expected.shape
        assert picture.pixels.dtype == np.uint8
        assert picture.for_back_end.shape == (backend or expected).shape
