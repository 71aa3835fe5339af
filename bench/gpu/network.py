"""EfficientNet-Lite0 as a repository of models, one for each executor, and the pictures that it is asked.

Words owned here: subject (one executor, as a model of the repository).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.executors.device_pictures import DevicePictures
from edgesight.host.kernel import BackEndInput
from edgesight.host.pictures import read
from edgesight.quant.efficientnet import SIDE, EfficientNetLite0, as_input, export, lacking, pretrained

FORM = BackEndInput(
    height=SIDE, width=SIDE, channels=3, layout="NHWC", element="uint8", mean=[0.0] * 3, deviation=[1.0] * 3
)
PICTURES = 16
_CROP = (500, 375)  # pixels across and down
_SEED = 0


@dataclass(frozen=True)
class Subject:
    """An executor.

    Attributes:
        name: of its model.
        title: for people.
        file: in its version's folder.
        options: of config.pbtxt.
    """

    name: str
    title: str
    file: str
    options: Mapping[str, str] = field(default_factory=dict)


def subjects(device: str, decodes: bool) -> list[Subject]:
    """The executors of the `device`, cpu or cuda, the most important first; of the CPU, those that load soon.

    `decodes`: PyTorch's take encoded pictures themselves.
    """
    own = {"device": device, **({"pictures": "device"} if decodes else {})}
    eager = Subject("eager", "PyTorch", "model.pt2", own)
    onnx = Subject("onnxruntime", f"ONNX Runtime ({device})", "model.onnx", {"device": device})
    if device == "cpu":
        return [eager, onnx]
    compiled = Subject("compiled", "torch.compile", "model.pt2", {**own, "compile": "true"})
    return [eager, compiled, onnx, Subject("tensorrt", "ONNX Runtime (TensorRT)", "model.onnx", {"device": "tensorrt"})]


class _Served(nn.Module):
    """The network from bytes to logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Logits `[N, 1000]` of pictures uint8 `[N, 224, 224, 3]`."""
        logits: Tensor = self.network(as_input(image))
        return logits


def make_repository(folder: Path, models: Sequence[Subject], most: int) -> str:
    """Write the models, each for at most `most` rows at once; whether their weights are pretrained or random."""
    torch.manual_seed(_SEED)
    network = EfficientNetLite0().eval()
    known = lacking() is None
    if known:
        network.load_state_dict({name: torch.from_numpy(values) for name, values in pretrained().items()})
    state = {name: values.detach().numpy() for name, values in network.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    sample = torch.zeros((2, SIDE, SIDE, 3), dtype=torch.uint8)
    rows = {"image": {0: torch.export.Dim("N", min=1, max=max(most, 2))}}
    torch.export.save(torch.export.export(_Served(network), (sample,), dynamic_shapes=rows), folder / "model.pt2")
    export(state, folder / "model.onnx")
    for subject in models:
        place = folder / subject.name / "1"
        place.mkdir(parents=True, exist_ok=True)
        (place / subject.file).unlink(missing_ok=True)
        os.link(folder / subject.file, place / subject.file)
        options = "".join(
            f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
            for key, value in subject.options.items()
        )
        (folder / subject.name / "config.pbtxt").write_text(f"max_batch_size: {most}\n{options}")
        (folder / subject.name / "form.json").write_text(FORM.model_dump_json())
    return "pretrained on ImageNet" if known else "random"


def beside_the_rule(files: Sequence[bytes], device: str) -> tuple[dict[str, Any] | None, str]:
    """By how much pixels, 0 to 255, that are made on the `device` differ from those by the rule; None, and why not."""
    try:
        pictures = DevicePictures("the bench", torch.device(device), FORM)
    except ModelError as error:
        return None, str(error)
    made = pictures.batch(files)[0].cpu().numpy().astype(np.int16)
    apart = np.abs(made - np.stack([read(file, *FORM.shape).pixels for file in files]))
    beside = {"largest": int(apart.max()), "mean": float(apart.mean()), "share_equal": float((apart == 0).mean())}
    return {"decoded_on_device": pictures.decodes, **beside}, ""


def photographs() -> list[bytes]:
    """JPEG files: parts of the two photographs that scikit-learn carries."""
    found = find_spec("sklearn")
    assert found is not None  # of the extra `build`, as is torch
    assert found.submodule_search_locations is not None
    images = Path(found.submodule_search_locations[0]) / "datasets" / "images"
    generator = np.random.default_rng(_SEED)
    files = []
    for number in range(PICTURES):
        with Image.open(images / ("china.jpg", "flower.jpg")[number % 2]) as picture, io.BytesIO() as file:
            left = int(generator.integers(picture.width - _CROP[0] + 1))
            top = int(generator.integers(picture.height - _CROP[1] + 1))
            picture.crop((left, top, left + _CROP[0], top + _CROP[1])).save(file, "JPEG", quality=90)
            files.append(file.getvalue())
    return files
