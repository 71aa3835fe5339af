"""A network in the manner of AlexNet (Krizhevsky et al., 2012) with two early exits, as Edgent's authors cut.

What crosses a cut is small: behind the first and the second block a convolution of one by one leaves few channels, and
they are handed over in 8 bits. Most of the work is in the second block, so that on a slow device it takes longer than a
link's round trip: only then is a cut before it worth anything. The trained network takes pixels as they are.

Training goes from small pictures to those of full size, which cost most and are needed least.

Words owned here: exit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgesight.bench.cluster.device import as_input
from edgesight.sim.workers import progress

SIDE: Final = 192  # pixels
EXITS: Final = ("early", "middle", "final")
_BATCH, _RATE = 64, 2e-3
_EPOCHS: Final = ((96, 9), (128, 4), (SIDE, 3))  # sides in pixels, and how often all pictures are seen at each
_CROPPED: Final = 18  # pixels by which a picture is moved at most while it is trained on
_QUANTILE: Final = 0.9995  # of a tensor's values, that 8 bits cover
_OPSET: Final = 17

Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def _convolved(taken: int, given: int, side: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(taken, given, side, stride, side // 2, bias=False),
        nn.BatchNorm2d(given),
        nn.ReLU(inplace=True),
    ]


def _exit(taken: int, width: int, classes: int) -> nn.Sequential:
    layers = [*_convolved(taken, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


class Handed(nn.Module):
    """What is handed over in 8 bits: rounded and clipped as it will be, once its scale is known."""

    scale: Tensor

    def __init__(self) -> None:
        """Not yet."""
        super().__init__()
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, values: Tensor) -> Tensor:
        """The values that arrive."""
        if not self.scale:
            return values
        return torch.fake_quantize_per_tensor_affine(values, float(self.scale), 0, 0, 255)


class AlexNet(nn.Module):
    """Logits of the three exits, for float pixels [N, 3, SIDE, SIDE] from 0 to 255."""

    def __init__(self, classes: int) -> None:
        """Untrained."""
        super().__init__()
        pool = nn.MaxPool2d(3, 2, 1)
        self.first = nn.Sequential(*_convolved(3, 64, 11, 4), pool, *_convolved(64, 8, 1))
        self.early = nn.Sequential(*_convolved(8, 64, 3), pool, *_exit(64, 128, classes))
        self.second = nn.Sequential(
            *_convolved(8, 256, 5), *_convolved(256, 256, 3), *_convolved(256, 256, 3), *_convolved(256, 256, 3), pool,
            *_convolved(256, 16, 1),
        )  # fmt: skip
        self.middle = _exit(16, 96, classes)
        self.third = nn.Sequential(
            *_convolved(16, 256, 3), *_convolved(256, 256, 3), pool, nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Dropout(0.4), nn.Linear(256 * 4, 512), nn.ReLU(inplace=True), nn.Dropout(0.4),
        )  # fmt: skip
        self.final = nn.Linear(512, classes)
        self.handed = nn.ModuleList([Handed(), Handed()])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """By exit."""
        one = self.handed[0](self.first((pixels - 127.5) / 64.0))
        two = self.handed[1](self.second(one))
        return self.early(one), self.middle(two), self.final(self.third(two))


def train(images: Images, labels: Ints, classes: int, seed: int = 0) -> AlexNet:
    """On uint8 images [N, SIDE, SIDE, 3]; all exits together, each with the same weight."""
    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)
    network = AlexNet(classes)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.02)
    batches = len(images) // _BATCH
    sides = [side for side, epochs in _EPOCHS for _ in range(epochs)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, len(sides) * batches)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    short = bool(torch.cpu.get_capabilities().get("avx512_bf16"))  # elsewhere it would be slower
    network.train()
    with progress() as bar:
        task = bar.add_task("network with exits", total=len(sides) * batches)
        for side in sides:
            order = chance.permutation(len(images))[: batches * _BATCH].reshape(batches, _BATCH)
            for chosen in order:
                optimiser.zero_grad()
                pixels = nn.functional.interpolate(_varied(images[chosen], chance), side, mode="area")
                with torch.autocast("cpu", torch.bfloat16, enabled=short):
                    outputs = network(pixels)
                truth = torch.from_numpy(labels[chosen])
                loss: Tensor = torch.stack([loss_of(one.float(), truth) for one in outputs]).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                bar.advance(task)
    network.eval()
    _set_scales(network, images[:512])
    return network


def _varied(images: Images, chance: np.random.Generator) -> Tensor:
    """Moved, mirrored, and brighter or darker by chance."""
    moved = np.pad(images, ((0, 0), (_CROPPED, _CROPPED), (_CROPPED, _CROPPED), (0, 0)), "edge")
    cut = []
    for image, (top, left) in zip(moved, chance.integers(0, 2 * _CROPPED + 1, (len(images), 2)), strict=True):
        one = image[top : top + SIDE, left : left + SIDE]
        cut.append(one[:, ::-1] if chance.random() < 0.5 else one)
    pixels = np.stack(cut).astype(np.float32) * chance.uniform(0.7, 1.3, (len(images), 1, 1, 1)).astype(np.float32)
    return torch.from_numpy(np.clip(pixels, 0.0, 255.0).transpose(0, 3, 1, 2).copy())


def _set_scales(network: AlexNet, images: Images) -> None:
    with torch.no_grad():
        values = (torch.from_numpy(images.astype(np.float32).transpose(0, 3, 1, 2)) - 127.5) / 64.0
        for block, handed in zip((network.first, network.second), network.handed, strict=True):
            values = torch.cat([block(values[at : at + _BATCH]) for at in range(0, len(values), _BATCH)])
            assert isinstance(handed, Handed)
            handed.scale.fill_(float(np.quantile(values.numpy(), _QUANTILE)) / 255.0)
            values = handed(values)


def export(network: AlexNet, path: Path) -> None:
    """As ONNX: pixels uint8 [1, 3, SIDE, SIDE]; its outputs are the exits."""

    class OnPixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return self.network(pixels.float())  # type: ignore[no-any-return]

    pixels = torch.zeros((1, 3, SIDE, SIDE), dtype=torch.uint8)
    torch.onnx.export(
        OnPixels().eval(),
        (pixels,),
        str(path),
        input_names=["pixels"],
        output_names=list(EXITS),
        opset_version=_OPSET,
        dynamo=False,
    )


def accuracies(path: Path, images: Images, labels: Ints) -> dict[str, float]:
    """Of each exit of the exported network, on uint8 images [N, SIDE, SIDE, 3]."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    right = np.zeros(len(EXITS))
    with progress() as bar:
        task = bar.add_task("accuracy of the exits", total=len(images))
        for image, label in zip(images, labels, strict=True):
            outputs = session.run(list(EXITS), {"pixels": as_input(image)})
            right += [int(output.argmax()) == label for output in outputs]
            bar.advance(task)
    return dict(zip(EXITS, (right / len(images)).tolist(), strict=True))
