"""Fitting the detector of strange pictures that a kernel carries: on the train split, against strangers made of it.

For small pictures a small network learns the classes and one more output, for what is no picture of the data set
(`quant.strangers`), and what its features are like within each class is measured on the pictures that it learnt from.
For photographs, textures are told apart by least squares. How the parts of a score are scaled is measured on a tenth
that is kept from all this. Neither the calibration split nor the test split is looked at, so that p-values against the
calibration split hold exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.detector import (
    Detector,
    NetworkDetector,
    TextureDetector,
    has_textures,
    reduced,
    reduced_bytes,
)
from edgesight.host.textures import textures
from edgesight.quant.learn import deterministic
from edgesight.quant.splits import DataSet, Photographs
from edgesight.quant.strangers import NOISES, PLAIN, enlarged, strangers

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
_MOST_FEATURES = 20_000  # pictures whose features are measured
_PART = 24  # photographs at a time
_MOST_TEXTURES, _TEXTURE_STRANGERS = 4_000, 900
_MIXTURES, _MIXED, _TEXTURE_RIDGE = 800, 2.0, 0.1
# How much farther from own pictures than inverted ones the other groups have to be: they lie far off, and the level's
# share of own pictures that are flagged is better spent on inverted ones.
_FARTHER = np.array([1.0, 1.3, 1.3, 1.3, 1.3, 1.3], np.float32)

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


def fit(
    data: DataSet, seed: int = 0, steps: int = STEPS, told: Callable[[float], None] = lambda share: None
) -> Detector:
    """A detector of pictures that are strange to `data`, fitted on its train split in the back end's form.

    Takes a minute or two; `told` is called with the share of the work that is done. The same data, seed and steps give
    the same detector on the same machine.
    """
    generator = np.random.default_rng(seed)
    if has_textures(_form(data.train.photographs)):
        return _fit_textures(data, generator, told)
    return _fit_network(data, generator, seed, steps, told)


def _fit_network(
    data: DataSet, generator: np.random.Generator, seed: int, steps: int, told: Callable[[float], None]
) -> NetworkDetector:
    """For small pictures: a network that is trained to tell strangers."""
    pictures, labels = data.train.photographs, data.train.labels
    order = generator.permutation(len(labels))
    held = max(min(_LEAST_HELD, len(order) // 2), round(_HELD_SHARE * len(order)))
    learnt = order[held:]
    own = np.concatenate([reduced_bytes(pictures[part]) for part in _parts(np.arange(len(order)))])
    others = strangers(own[learnt], _STRANGERS, generator)

    def pictures_and_strangers() -> tuple[Tensor, Tensor]:
        chosen = generator.choice(learnt, _BATCH)
        varied = _varied(own[chosen], data, generator)
        batch = np.concatenate([varied, others[generator.integers(0, len(others), _BATCH)]])
        return _as_input(batch), torch.from_numpy(labels[chosen])

    with deterministic(seed):
        network = _Network(_form(pictures), len(data.classes))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch types Tensor.to only
        _train(network, pictures_and_strangers, steps, lambda step: told(step / steps))
    return _measured(network, data, learnt, order[:held])


def _train(
    network: nn.Module, batch: Callable[[], tuple[Tensor, Tensor]], steps: int, told: Callable[[int], None]
) -> None:
    """Train on batches, each of own pictures, of which the labels are given, with as many strangers behind them."""
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps, pct_start=_WARM_UP)
    network.train()
    for step in range(steps):
        pictures, labels = batch()
        loss = _loss(network(pictures), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves Tensor.backward untyped
        optimiser.step()
        rates.step()
        told(step + 1)
    network.eval()


def _fit_textures(data: DataSet, generator: np.random.Generator, told: Callable[[float], None]) -> TextureDetector:
    """For photographs: one linear judge for each group of strangers, of textures and of random mixtures of them.

    The groups: inverted ones, the nearest of all; enlarged ones; noise; plain ones; and all kinds together.
    """
    pictures = data.train.photographs
    order = generator.permutation(pictures.shape[0])[:_MOST_TEXTURES]
    parts = _parts(order)
    calls = -(-_TEXTURE_STRANGERS // _PART)
    own: list[Floats] = []
    groups: list[list[Floats]] = [[], [], [], [], []]
    for done, part in enumerate(parts):
        some = pictures[part]
        own += [textures(one) for one in some]
        groups[0] += [textures(255 - one) for one in some]
        groups[1] += [textures(enlarged(one, generator)) for one in some[: -(-len(some) // 3)]]
        for _ in range(round((done + 1) * calls / len(parts)) - round(done * calls / len(parts))):
            groups[2] += [textures(one) for one in strangers(some, _PART // 3, generator, NOISES)]
            groups[3] += [textures(one) for one in strangers(some, _PART // 3, generator, PLAIN)]
            groups[4] += [textures(one) for one in strangers(some, _PART, generator)]
        told((done + 1) / len(parts))
    held = max(1, round(_HELD_SHARE * len(own)))
    mean, deviation = np.mean(own[held:], 0), np.std(own[held:], 0) + 1e-3
    mixing = generator.standard_normal((len(mean), _MIXTURES)) * (_MIXED / np.sqrt(len(mean)))
    bare = TextureDetector(
        _form(pictures),
        np.array([[0, 1]] * (len(groups) + 1), np.float32),
        mean=mean.astype(np.float32),
        deviation=deviation.astype(np.float32),
        mixing=(mixing.astype(np.float32), generator.uniform(-_MIXED, _MIXED, _MIXTURES).astype(np.float32)),
        judges=np.zeros((len(mean) + _MIXTURES, len(groups)), np.float32),
    )
    learnt = bare.mixed(np.array(own[held:])).astype(np.float64)
    # The held-back ones' inverted and enlarged forms are left in: only own pictures' scores are measured on these.
    judges = [_told_apart(learnt, bare.mixed(np.array(group)).astype(np.float64)) for group in groups]
    whole = dataclasses.replace(bare, judges=np.stack(judges, axis=1).astype(np.float32))
    scale = _scale(np.stack([whole.judged(one) for one in own[:held]]))
    scale[:, 1] *= _FARTHER
    return dataclasses.replace(whole, scale=scale)


def _told_apart(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [D] by which features [N, D] of own pictures and of others differ most: least squares, with a ridge."""
    middle = (own.mean(0) + others.mean(0)) / 2
    both = [(group - middle) / np.sqrt(len(group)) for group in (own, others)]
    squares = sum(group.T @ group for group in both) + _TEXTURE_RIDGE * np.eye(own.shape[1])
    return np.asarray(np.linalg.solve(squares, others.mean(0) - own.mean(0)))


def _scale(parts: Floats) -> Floats:
    """[parts, 2]: median, and distance of the 99th percentile from it, of held-back pictures' `parts` [N, parts]."""
    middle, outer = np.quantile(parts, (0.5, 0.99), axis=0)
    return np.stack([middle, np.maximum(outer - middle, 1e-3)], axis=1).astype(np.float32)


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


def _measured(
    network: _Network,
    data: DataSet,
    learnt: NDArray[np.int64],
    held: NDArray[np.int64],
) -> NetworkDetector:
    """The detector of a trained `network`: its features within the classes, and the scale of its scores."""
    pictures = data.train.photographs
    layers = list(network.trunk)
    convolutions = tuple(
        _folded(layers[index].weight.permute(2, 3, 1, 0).flatten(0, 2), layers[index].bias, layers[index + 1])  # type: ignore[operator, arg-type]
        for index in range(0, len(layers), 3)
    )
    classes, both = len(data.classes), convolutions[-1][1].size + _HIDDEN
    bare = NetworkDetector(
        _form(pictures),
        np.array([[0, 1]] * 2, np.float32),
        convolutions=convolutions,
        hidden=_folded(network.hidden.weight.T, network.hidden.bias, network.normal),
        head=(_array(network.head.weight.T), _array(network.head.bias)),
        whitening=np.eye(both, dtype=np.float32),
        centres=np.zeros((classes, both), np.float32),
    )
    chosen = learnt[:_MOST_FEATURES]
    features = np.stack([bare.features(one) for part in _parts(chosen) for one in pictures[part]]).astype(np.float64)
    labels = data.train.labels[chosen]
    centres = np.stack([features[labels == one if (labels == one).any() else ...].mean(0) for one in range(classes)])
    within = np.cov((features - centres[labels]).T)
    whitening = _whitening(within + _RIDGE * features.var() * np.eye(both))
    whole = dataclasses.replace(bare, whitening=whitening, centres=(centres @ whitening).astype(np.float32))
    parts = np.stack([whole.parts(one) for part in _parts(held) for one in pictures[part]])
    return dataclasses.replace(whole, scale=_scale(parts))


def _whitening(covariance: NDArray[np.float64]) -> Floats:
    """What makes features of a `covariance` [D, D] vary alike and independently: [D, D]."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors / np.sqrt(values), np.float32)


def _form(pictures: Photographs) -> tuple[int, int, int]:
    height, width, channels = pictures.shape[1:]
    return height, width, channels


def _parts(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Few at a time, since photographs are made on demand."""
    return [indices[start : start + _PART] for start in range(0, len(indices), _PART)]


def _folded(weights: Tensor, bias: Tensor, normal: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Floats, Floats]:
    """Weights [inputs, outputs] and biases [outputs] with the normalisation that follows in them."""
    assert normal.running_var is not None
    assert normal.running_mean is not None
    factor = normal.weight / torch.sqrt(normal.running_var + normal.eps)
    return _array(weights * factor), _array((bias - normal.running_mean) * factor + normal.bias)


def _array(values: Tensor) -> Floats:
    return np.ascontiguousarray(values.detach().numpy(), np.float32)
