"""Training the detector of strange pictures that a kernel carries: on the train split, against strangers made of it.

A small network learns the classes and one more output, for what is no picture of the data set (`quant.strangers`).
What its features are like within each class is measured on the pictures that it learnt from; how both parts of a score
are scaled, on a tenth that is kept from it. Neither the calibration split nor the test split is looked at, so that
p-values against the calibration split hold exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.novelty import Detector, reduced, reduced_bytes
from edgesight.quant.learn import deterministic
from edgesight.quant.splits import DataSet
from edgesight.quant.strangers import strangers

STEPS: Final = 1_200
_WIDTHS: Final = (24, 48, 64, 64)  # channels of the convolutions
_SMALLEST = 4  # pixels: no convolution follows once the sides are no longer than that
_HIDDEN = 64
_BATCH = 64  # of own pictures, and of strangers
_STRANGERS = 24_000
_RATE, _DECAY, _DROPPED = 4e-3, 1e-3, 0.3
_WARM_UP = 0.25  # share of the steps
_CLASSES_WEIGH = 0.5
_HELD_SHARE, _LEAST_HELD = 0.1, 50
_RIDGE = 1e-3  # of the features' mean variance
_MOST_SHIFT = 1 / 16  # of a photograph's side

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class _Network(nn.Module):
    """Classes and one output more; what `Detector` computes, but for the way to write it."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        height, width, channels = reduced(shape)
        layers: list[nn.Module] = []
        for outputs in _WIDTHS:
            if layers and max(height, width) <= _SMALLEST:
                break
            layers += [nn.Conv2d(channels, outputs, 3, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
            height, width, channels = (height + 1) // 2, (width + 1) // 2, outputs
        self.trunk = nn.Sequential(*layers)
        self.dropped = nn.Dropout(_DROPPED)
        self.hidden = nn.Linear(height * width * channels, _HIDDEN)
        self.normal = nn.BatchNorm1d(_HIDDEN)
        self.head = nn.Linear(_HIDDEN, classes + 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, classes + 1] of pictures [N, C, H, W] from -1 to 1."""
        seen = self.trunk(pictures).permute(0, 2, 3, 1).flatten(1)
        logits: Tensor = self.head(functional.relu(self.normal(self.hidden(self.dropped(seen)))))
        return logits


def fit(data: DataSet, seed: int = 0, steps: int = STEPS, done: Callable[[], None] | None = None) -> Detector:
    """A detector of pictures that are strange to `data`, fitted on its train split; `done` is called after each step.

    Takes a minute or two. The same data, seed and steps give the same detector on the same machine.
    """
    generator = np.random.default_rng(seed)
    own, labels = reduced_bytes(data.train.images), data.train.labels
    order = generator.permutation(len(own))
    held = max(min(_LEAST_HELD, len(own) // 2), round(_HELD_SHARE * len(own)))
    learnt = order[held:]
    others = strangers(own[learnt], _STRANGERS, generator)
    with deterministic(seed):
        network = _Network(data.shape, len(data.classes))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch types Tensor.to only
        optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps, pct_start=_WARM_UP)
        network.train()
        for _ in range(steps):
            chosen = generator.choice(learnt, _BATCH)
            pictures = _varied(own[chosen], data, generator)
            batch = np.concatenate([pictures, others[generator.integers(0, len(others), _BATCH)]])
            loss = _loss(network(_as_input(batch)), torch.from_numpy(labels[chosen]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves Tensor.backward untyped
            optimiser.step()
            rates.step()
            if done is not None:
                done()
        network.eval()
    return _measured(network, data, learnt, order[:held])


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Of own pictures, of the classes `labels`, and behind them as many strangers."""
    count = len(labels)
    own = torch.logsumexp(logits[:, :-1], 1) - logits[:, -1]
    told = functional.softplus(-own[:count]).mean() + functional.softplus(own[count:]).mean()
    return told + _CLASSES_WEIGH * functional.cross_entropy(logits[:count, :-1], labels)


def _varied(pictures: Pixels, data: DataSet, generator: np.random.Generator) -> Pixels:
    """As they are, but half of all batches mirrored where that keeps the class, and photographs a little shifted."""
    if data.mirrored and generator.random() < 0.5:
        pictures = pictures[:, :, ::-1]
    if not data.photographs:
        return pictures
    height, width = pictures.shape[1:3]
    most = max(1, round(max(height, width) * _MOST_SHIFT))
    y, x = generator.integers(0, 2 * most + 1, 2)
    around = np.pad(pictures, ((0, 0), (most, most), (most, most), (0, 0)), "reflect")
    return around[:, y : y + height, x : x + width]


def _as_input(pictures: Pixels) -> Tensor:
    scaled = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return torch.from_numpy(scaled).contiguous(memory_format=torch.channels_last)


def _measured(network: _Network, data: DataSet, learnt: NDArray[np.int64], held: NDArray[np.int64]) -> Detector:
    """The detector of a trained `network`: its features within the classes, and the scale of its scores."""
    layers = list(network.trunk)
    convolutions = tuple(
        _folded(layers[index].weight.permute(2, 3, 1, 0).flatten(0, 2), layers[index].bias, layers[index + 1])  # type: ignore[operator, union-attr, arg-type]
        for index in range(0, len(layers), 3)
    )
    hidden = _folded(network.hidden.weight.T, network.hidden.bias, network.normal)
    head = _array(network.head.weight.T), _array(network.head.bias)
    classes = len(data.classes)
    both = convolutions[-1][1].size + _HIDDEN
    bare = Detector(
        data.shape,
        convolutions,
        hidden,
        head,
        whitening=np.eye(both, dtype=np.float32),
        centres=np.zeros((classes, both), np.float32),
        scale=np.array([[0, 1], [0, 1]], np.float32),
    )
    features = np.stack([bare.features(data.train.images[index]) for index in learnt[: 20_000]]).astype(np.float64)
    labels = data.train.labels[learnt[: len(features)]]
    centres = np.stack(
        [features[labels == one].mean(0) if (labels == one).any() else features.mean(0) for one in range(classes)]
    )
    within = np.cov((features - centres[labels]).T) + _RIDGE * features.var() * np.eye(both)
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values)
    whole = Detector(
        data.shape,
        convolutions,
        hidden,
        head,
        whitening=whitening.astype(np.float32),
        centres=(centres @ whitening).astype(np.float32),
        scale=bare.scale,
    )
    parts = np.stack([whole.parts(data.train.images[index]) for index in held])
    middle, outer = np.quantile(parts, (0.5, 0.99), axis=0)
    scale = np.stack([middle, np.maximum(outer - middle, 1e-3)], axis=1).astype(np.float32)
    return Detector(data.shape, convolutions, hidden, head, whole.whitening, whole.centres, scale)


def _folded(weights: Tensor, bias: Tensor, normal: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Floats, Floats]:
    """Weights [inputs, outputs] and biases [outputs] with the normalisation that follows in them."""
    assert normal.running_var is not None and normal.running_mean is not None
    factor = normal.weight / torch.sqrt(normal.running_var + normal.eps)
    return _array(weights * factor), _array((bias - normal.running_mean) * factor + normal.bias)


def _array(values: Tensor) -> Floats:
    return np.ascontiguousarray(values.detach().numpy(), np.float32)
