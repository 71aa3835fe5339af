"""Fitting the detector of strange pictures that a kernel carries: on the train split, against strangers made of it.

For small pictures a small network learns the classes and one more output, for what is no picture of the data set
(`quant.strangers`), and what its features are like within each class is measured on the pictures that it learnt from.
Photographs have a fit of their own (`quant.strange_photographs`). How the parts of a score are scaled is measured on a
tenth that is kept from all this. Neither the calibration split nor the test split is looked at, so that p-values
against the calibration split hold exactly.
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

from edgesight.host.detector import Detector, NetworkDetector, has_textures, reduced, reduced_bytes
from edgesight.quant import strange_photographs
from edgesight.quant.detecting import (
    array,
    as_input,
    convolutions_of,
    folded,
    form_of,
    held_back,
    in_parts,
    scale_of,
    train,
    trunk,
    varied,
)
from edgesight.quant.learn import deterministic
from edgesight.quant.splits import DataSet
from edgesight.quant.strangers import strangers

STEPS: Final = 1_200
_WIDTHS: Final = (24, 48, 64, 64)  # channels of the convolutions
_HIDDEN = 64
_BATCH = 64  # of own pictures, and of strangers
_STRANGERS = 24_000
_RATE, _DECAY, _DROPPED = 4e-3, 1e-3, 0.3
_CLASSES_WEIGH = 0.5
_RIDGE = 1e-3  # of the features' mean variance
_MOST_FEATURES = 20_000  # pictures whose features are measured

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class _Network(nn.Module):
    """Classes and one output more; what `Detector` computes, but for the way to write it."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.trunk, (height, width, channels) = trunk(reduced(shape), _WIDTHS)
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
    data: DataSet, seed: int = 0, steps: int | None = None, told: Callable[[float], None] = lambda share: None
) -> Detector:
    """A detector of pictures that are strange to `data`, fitted on its train split in the back end's form.

    Takes a minute or two, of photographs some eight; `told` is called with the share of the work that is done. `steps`
    are those of the network's training, by default as many as it needs. The same data, seed and steps give the same
    detector on the same machine.
    """
    generator = np.random.default_rng(seed)
    if has_textures(form_of(data.train.photographs)):
        return strange_photographs.fit(data, generator, seed, steps or strange_photographs.STEPS, told)
    return _fit_network(data, generator, seed, steps or STEPS, told)


def _fit_network(
    data: DataSet, generator: np.random.Generator, seed: int, steps: int, told: Callable[[float], None]
) -> NetworkDetector:
    """For small pictures: a network that is trained to tell strangers."""
    pictures, labels = data.train.photographs, data.train.labels
    order = generator.permutation(len(labels))
    held = held_back(len(order))
    learnt = order[held:]
    own = np.concatenate([reduced_bytes(pictures[part]) for part in in_parts(np.arange(len(order)))])
    others = strangers(own[learnt], _STRANGERS, generator)

    def loss() -> Tensor:
        chosen = generator.choice(learnt, _BATCH)
        some = varied(own[chosen], data, generator)
        batch = np.concatenate([some, others[generator.integers(0, len(others), _BATCH)]])
        return _loss(network(as_input(batch)), torch.from_numpy(labels[chosen]))

    with deterministic(seed):
        network = _Network(form_of(pictures), len(data.classes))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch types Tensor.to only
        train(network, loss, steps, told, _RATE, _DECAY)
    return _measured(network, data, learnt, order[:held])


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Of own pictures, of the classes `labels`, and behind them as many strangers."""
    count = len(labels)
    own = torch.logsumexp(logits[:, :-1], 1) - logits[:, -1]
    told = functional.softplus(-own[:count]).mean() + functional.softplus(own[count:]).mean()
    return told + _CLASSES_WEIGH * functional.cross_entropy(logits[:count, :-1], labels)


def _measured(
    network: _Network,
    data: DataSet,
    learnt: NDArray[np.int64],
    held: NDArray[np.int64],
) -> NetworkDetector:
    """The detector of a trained `network`: its features within the classes, and the scale of its scores."""
    pictures = data.train.photographs
    convolutions = convolutions_of(network.trunk)
    classes, both = len(data.classes), convolutions[-1][1].size + _HIDDEN
    bare = NetworkDetector(
        form_of(pictures),
        np.array([[0, 1]] * 2, np.float32),
        convolutions=convolutions,
        hidden=folded(network.hidden.weight.T, network.hidden.bias, network.normal),
        head=(array(network.head.weight.T), array(network.head.bias)),
        whitening=np.eye(both, dtype=np.float32),
        centres=np.zeros((classes, both), np.float32),
    )
    chosen = learnt[:_MOST_FEATURES]
    features = np.stack([bare.features(one) for part in in_parts(chosen) for one in pictures[part]]).astype(np.float64)
    labels = data.train.labels[chosen]
    centres = np.stack([features[labels == one if (labels == one).any() else ...].mean(0) for one in range(classes)])
    within = np.cov((features - centres[labels]).T)
    whitening = _whitening(within + _RIDGE * features.var() * np.eye(both))
    whole = dataclasses.replace(bare, whitening=whitening, centres=(centres @ whitening).astype(np.float32))
    parts = np.stack([whole.parts(one) for part in in_parts(held) for one in pictures[part]])
    return dataclasses.replace(whole, scale=scale_of(parts))


def _whitening(covariance: NDArray[np.float64]) -> Floats:
    """What makes features of a `covariance` [D, D] vary alike and independently: [D, D]."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors / np.sqrt(values), np.float32)
