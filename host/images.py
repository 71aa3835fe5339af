"""From a picture's file to the pixels that a kernel takes, by one rule.

Pictures (whatever Pillow reads): turned upright by their EXIF orientation, 16-bit and float grey scaled to 8 bits,
converted to grey or RGB, stretched to the kernel's height and width with Pillow's antialiased bilinear filter. Nothing
is cropped or padded. Data sets are read by the same rule, so that a network meets what it was trained on.

Arrays (`.npy`): taken as they are; they must already have the kernel's shape.
"""

from __future__ import annotations

import io
import tokenize
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from host.kernel import Input

MAX_FILE_BYTES = 32 * 2**20
MAX_PIXELS = 64 * 2**20  # a small file may unpack to far more than the board has memory
_NPY = b"\x93NUMPY"
_BILINEAR = 2  # Image.Resampling.BILINEAR, which the Pillow 9.0 of PYNQ's 32-bit image has not got

Pixels = npt.NDArray[np.uint8]  # [H, W, C]


class ImageError(ValueError):
    """A picture that cannot be used: names it, what was found and what would be right."""


def read_image(content: bytes, expected: Input, name: str) -> Pixels:
    """Pixels uint8 [H, W, C] of the file `content`, as `expected` by the kernel; `name` is for errors.

    Raises ImageError.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"{name} has {len(content)} bytes, at most {MAX_FILE_BYTES} are read: make it smaller")
    return _array(content, expected, name) if content.startswith(_NPY) else _picture(content, expected, name)


def fit(picture: Image.Image, expected: Input) -> Pixels:
    """Pixels uint8 [H, W, C] of any Pillow `picture`, by the rule of this module."""
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        # Pillow clips 16-bit grey to 255 on conversion: scale it instead.
        wide = np.asarray(upright, dtype=np.float64)
        upright = Image.fromarray(np.clip(wide / 257.0 + 0.5, 0, 255).astype(np.uint8))
    plain = upright.convert("L" if expected.channels == 1 else "RGB")
    if plain.size != (expected.width, expected.height):
        plain = plain.resize((expected.width, expected.height), _BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(expected.shape)


def _picture(content: bytes, expected: Input, name: str) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is stricter
            picture = Image.open(io.BytesIO(content))
        with picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ImageError(
                    f"{name} is {picture.width} x {picture.height} pixels, at most {MAX_PIXELS} are read: "
                    "make it smaller"
                )
            picture.load()
            return fit(picture, expected)
    except UnidentifiedImageError:
        raise ImageError(f"{name} is no picture that Pillow knows: give a JPEG, PNG or the like, or .npy") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name} is damaged ({error}): it cannot be decoded; copy it again") from error


def _array(content: bytes, expected: Input, name: str) -> Pixels:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, tokenize.TokenError) as error:
        raise ImageError(f"{name} is damaged ({error}): it cannot be read as an array; write it again") from error
    if array.dtype != np.uint8 or array.shape != expected.shape:
        raise ImageError(
            f"{name} holds {array.dtype} {list(array.shape)}, but the kernel takes uint8 {list(expected.shape)} "
            "(height, width, channels): reshape it, or give a picture, which is resized"
        )
    return np.asarray(array, np.uint8)
