"""A folder of pictures as a camera's frames: of the size that a model takes, as JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from edgesight.host.adapt.planning import AdaptError, Model
from edgesight.host.images import image_content, listed
from edgesight.host.picture_files import SUFFIXES, Unreadable
from edgesight.host.pictures import read


class Frames:
    """Pictures, by name, from the first on and over again."""

    def __init__(self, folder: Path, quality: int) -> None:
        """JPEGs of that `quality`; raises ImageError or AdaptError where there is no picture."""
        self._quality = quality
        self._files = [path for path in listed(folder) if path.suffix.lower() in SUFFIXES]
        if not self._files:
            raise AdaptError(f"{folder} holds no picture: give a folder of JPEG or PNG files")

    def maker(self, number: int) -> Callable[[Model], bytes]:
        """Of the frame of that number; what it gives may raise ImageError or AdaptError."""
        return partial(self._made, self._files[number % len(self._files)])

    def _made(self, path: Path, model: Model) -> bytes:
        try:
            pixels = read(image_content(path), model.input_px, model.input_px, 3).pixels
        except Unreadable as error:
            raise AdaptError(f"{path} {error}: leave it out") from error
        written = io.BytesIO()
        Image.fromarray(pixels).save(written, "JPEG", quality=self._quality)
        return written.getvalue()
