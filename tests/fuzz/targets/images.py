"""Anything as a picture's file: pixels of the kernel's shape, or an `ImageError`."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from host.images import ImageError, read_image
from host.kernel import Input

MAX_LENGTH = 4_096
INPUTS = [Input(height=28, width=28, channels=1), Input(height=16, width=20, channels=3)]


def seeds() -> list[bytes]:
    """A small picture of each usual kind, and arrays."""
    ramp = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX", "SGI", "DDS"):
        buffer = io.BytesIO()
        Image.fromarray(ramp).save(buffer, kind)
        found.append(buffer.getvalue())
    wide = io.BytesIO()
    Image.fromarray(ramp[..., 0].astype(np.uint16) * 256).save(wide, "PNG")
    found.append(wide.getvalue())
    array = io.BytesIO()
    np.save(array, np.zeros((28, 28, 1), np.uint8))
    found.append(array.getvalue())
    return found


def consume(data: bytes) -> None:
    for expected in INPUTS:
        try:
            pixels = read_image(data, expected, "picture")
        except ImageError as error:
            str(error).encode()
            continue
        assert pixels.shape == expected.shape
        assert pixels.dtype == np.uint8
