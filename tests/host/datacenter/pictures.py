"""A PyTorch model that gives its pixels back, and pictures for it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight.host.kernel import BackEndInput
from tests.host.photographs import picture

FORM = BackEndInput(
    height=12,
    width=16,
    channels=3,
    layout="NCHW",
    element="float32",
    mean=[120.0, 110.0, 100.0],
    deviation=[60.0, 50.0, 40.0],
)
CONFIG = """
max_batch_size: 4
parameters { key: "pictures" value { string_value: "device" } }
input { name: "x" data_type: TYPE_FP32 dims: [3, 12, 16] }
output { name: "y" data_type: TYPE_FP32 dims: [3, 12, 16] }
"""


def echo(form: BackEndInput = FORM) -> bytes:
    """A .pt2 of what takes pictures in the `form`, `x`, and gives them as they are."""
    torch = pytest.importorskip("torch", reason="torch is not installed: extra `build`")

    class Echo(torch.nn.Module):  # type: ignore[name-defined,misc]
        def forward(self, x: Any) -> Any:
            return x * 1

    shape = form.shape if form.layout == "NHWC" else (form.channels, form.height, form.width)
    sample = torch.zeros((2, *shape), dtype=getattr(torch, form.element))
    with io.BytesIO() as file:
        dynamic = {"x": {0: torch.export.Dim("N", min=1, max=64)}}
        torch.export.save(torch.export.export(Echo(), (sample,), dynamic_shapes=dynamic), file)
        return file.getvalue()


def encoded(
    kind: str = "JPEG", shape: tuple[int, int, int] = (30, 40, 3), seed: int = 0, orientation: int = 1, **options: Any
) -> bytes:
    """The file of a drawn photograph."""
    pixels = picture(shape, seed)
    made = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with io.BytesIO() as file:
        made.save(file, kind, exif=exif, **options)
        return file.getvalue()


def spoilt(jpeg: bytes) -> bytes:
    """A JPEG whose code tables cannot be, which its headers do not show."""
    at = jpeg.index(b"\xff\xc4") + 5
    return jpeg[:at] + b"\xff" * 16 + jpeg[at + 16 :]


def objects(files: Sequence[bytes]) -> npt.NDArray[Any]:
    """As the protocol's BYTES."""
    found = np.empty(len(files), object)
    found[:] = files
    return found


def repository(folder: Path, config: str = CONFIG) -> Path:
    """A folder with the model `echo`, which takes encoded pictures in its worker."""
    (folder / "echo" / "1").mkdir(parents=True)
    (folder / "echo" / "1" / "model.pt2").write_bytes(echo())
    (folder / "echo" / "config.pbtxt").write_text(config)
    (folder / "echo" / "form.json").write_text(FORM.model_dump_json())
    return folder
