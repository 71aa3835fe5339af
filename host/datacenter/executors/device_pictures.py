"""Encoded pictures made a batch on a device: JPEGs are decoded, turned, stretched, normalised and laid out there.

Every header is walked first by the rules of `edgesight.host.picture_formats`, so that no decoder sees a file that
claims more than is read. What torchvision does not decode on the device, `edgesight.host.pictures` reads on the CPU.

The rule is that of `edgesight.host.pictures`, but not its bits: the device filters in floats and rounds once, where
Pillow rounds after each direction, and a GPU decodes by nvJPEG, whose rounding and colours differ a little.

Words owned here: device pictures.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from edgesight.host.back_end import sides_of
from edgesight.host.datacenter.executors.base import DATATYPES, ModelError, first_line
from edgesight.host.doors.served import TensorForm
from edgesight.host.kernel import BackEndInput
from edgesight.host.picture_files import Outline, Unreadable
from edgesight.host.picture_formats import outline
from edgesight.host.pictures import read

# Of pictures that are on the device at once: 96 MiB as bytes, four times that as floats. Larger ones go by the CPU.
_MOST_PIXELS = 32 * 2**20
_END = b"\xff\xd9"  # of a JPEG: a decoder of a GPU makes up what is cut off
# By EXIF's orientation, of which those from 5 on are transposed first.
_FLIPPED = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-1,), 7: (-2, -1), 8: (-2,)}
_FAULT_CHARACTERS = 200


class DevicePictures:
    """Makes batches of encoded pictures in a package's form of them."""

    def __init__(self, name: str, device: Any, form: BackEndInput) -> None:
        """On the torch `device`, for the model `name`; raises ModelError where a GPU cannot decode here."""
        import torch

        self._torch, self._name, self._device, self._form = torch, name, device, form
        self._mean = torch.tensor(form.mean, device=device).reshape(-1, 1, 1)
        self._deviation = torch.tensor(form.deviation, device=device).reshape(-1, 1, 1)
        self._decode: Any = None  # none: all are read on the CPU
        try:
            vision = importlib.import_module("torchvision.io")
            self._mode = vision.ImageReadMode.GRAY if form.channels == 1 else vision.ImageReadMode.RGB
            self._decode = vision.decode_jpeg
            self._decoded([_sample()])
        except Exception as error:  # torchvision raises any, where it was built for another torch
            if device.type != "cpu":
                raise ModelError(
                    f"{name}: pictures cannot be decoded on {device} ({first_line(error)}): "
                    "`pip install 'edgesight[gpu]'`, or leave `pictures` out"
                ) from error
            self._decode = None

    @property
    def decodes(self) -> bool:
        """Whether JPEGs are decoded on the device, or all pictures on the CPU since torchvision is not there."""
        return self._decode is not None

    def check(self, inputs: Sequence[TensorForm]) -> None:
        """Raise ModelError unless a model of these `inputs` takes what `batch` gives."""
        wanted = TensorForm("", DATATYPES[np.dtype(self._form.element)], (-1, *sides_of(self._form)))
        found = [(port.datatype, tuple(port.shape[1:])) for port in inputs]
        if found != [(wanted.datatype, wanted.shape[1:])]:
            told = "; ".join(f"{port.datatype} {list(port.shape)}" for port in inputs)
            raise ModelError(
                f"{self._name} takes {told}, but form.json states {wanted.datatype} {list(wanted.shape)}: mend one of "
                "them"
            )

    def batch(self, files: Sequence[bytes]) -> tuple[Any, dict[int, str]]:
        """A tensor on the device in the form, a picture a row; and what is wrong with those that cannot be read.

        Their rows are of zeros. Each message follows the words "picture 3".
        """
        form, torch = self._form, self._torch
        made = torch.zeros((len(files), form.channels, form.height, form.width), device=self._device)
        faults: dict[int, str] = {}
        on_device: list[tuple[int, Outline]] = []
        held = 0
        for place, content in enumerate(files):
            try:
                found = outline(content)
                pixels = found.width * found.height
                if not self.decodes or pixels > _MOST_PIXELS or not is_for_device(found):
                    made[place] = self._read(content)
                    continue
            except Unreadable as error:
                faults[place] = str(error)[:_FAULT_CHARACTERS]
                continue
            if held + pixels > _MOST_PIXELS:
                self._put(on_device, files, made, faults)
                on_device, held = [], 0
            on_device.append((place, found))
            held += pixels
        self._put(on_device, files, made, faults)
        made = made.to(torch.uint8) if form.element == "uint8" else (made - self._mean) / self._deviation
        return (made.permute(0, 2, 3, 1).contiguous() if form.layout == "NHWC" else made), faults

    def _put(
        self, pictures: Sequence[tuple[int, Outline]], files: Sequence[bytes], made: Any, faults: dict[int, str]
    ) -> None:
        """Decode and stretch the `pictures` into their places of `made`, those of one size together."""
        if not pictures:
            return
        alike: dict[tuple[int, ...], list[tuple[int, Any]]] = {}
        for (place, found), image in zip(pictures, self._decoded_each([one.bare for _, one in pictures]), strict=True):
            if image is None or tuple(image.shape[1:]) != (found.height, found.width):
                self._read_into(place, files[place], made, faults)
            else:
                alike.setdefault((*image.shape[1:], found.orientation), []).append((place, image))
        for (*_, orientation), group in alike.items():
            places = [place for place, _ in group]
            try:
                images = self._torch.stack([image for _, image in group])
                made[places] = stretched(images, orientation, self._form.height, self._form.width)
            except RuntimeError:  # a size that the device's filter does not take
                for place in places:
                    self._read_into(place, files[place], made, faults)

    def _decoded_each(self, bares: Sequence[bytes]) -> Sequence[Any]:
        """Of each file its pixels uint8 `[C, H, W]` on the device; None where the device cannot decode it."""
        try:
            return self._decoded(bares)
        except RuntimeError:
            if len(bares) == 1:
                return [None]
            return [image for bare in bares for image in self._decoded_each([bare])]  # which one it is, it does not say

    def _decoded(self, bares: Sequence[bytes]) -> Sequence[Any]:
        # Decoders of a GPU read headers on the CPU, and copy the compressed pixels to it themselves.
        torch = self._torch
        packed = [torch.frombuffer(bytearray(bare), dtype=torch.uint8) for bare in bares]
        images: Sequence[Any] = self._decode(packed, mode=self._mode, device=self._device)
        return images

    def _read(self, content: bytes) -> Any:
        """One picture by the CPU's rule, as bytes `[C, H, W]` on the device; raises Unreadable."""
        pixels = read(content, *self._form.shape).pixels
        return self._torch.tensor(pixels, device=self._device).permute(2, 0, 1)

    def _read_into(self, place: int, content: bytes, made: Any, faults: dict[int, str]) -> None:
        try:
            made[place] = self._read(content)
        except Unreadable as error:
            faults[place] = str(error)[:_FAULT_CHARACTERS]


def is_for_device(found: Outline) -> bool:
    """Whether the picture is one that a device's decoder reads as the CPU's does: a plain JPEG that is whole."""
    return found.plain and found.bare.rstrip(b"\0").endswith(_END)


def stretched(images: Any, orientation: int, height: int, width: int) -> Any:
    """Tensors uint8 `[N, C, H, W]` of one EXIF `orientation` upright and of another size, in whole floats 0 to 255."""
    from torch.nn import functional

    if orientation >= 5:
        images = images.transpose(-2, -1)
    if orientation in _FLIPPED:
        images = images.flip(_FLIPPED[orientation])
    values = images.float()
    if tuple(values.shape[-2:]) == (height, width):
        return values
    # The antialiased filter is Pillow's: a triangle as wide as the picture is made smaller.
    values = functional.interpolate(values, (height, width), mode="bilinear", antialias=True)
    return values.round_().clamp_(0.0, 255.0)


def _sample() -> bytes:
    """A small JPEG, by which a decoder is tried."""
    with io.BytesIO() as file:
        Image.new("RGB", (16, 16)).save(file, "JPEG")
        return file.getvalue()
