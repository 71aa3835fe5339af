"""Fitting the detector of strange photographs: by textures, by mixtures of them, and by a small network.

Inverted photographs are the nearest strangers: a hidden layer over the textures and a convolutional network over the
photograph, made smaller, learn to tell them from own ones, each by itself, and what both say is added up. Each sees
what the other does not. All other groups of strangers are told apart by least squares, from the textures and from what
the hidden layer makes of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.detector import PhotographDetector, deviations
from edgesight.host.textures import smaller, textures
from edgesight.quant.detecting import (
    PART,
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
from edgesight.quant.strangers import NOISES, PLAIN, enlarged, strangers

STEPS: Final = 3_200
"""Of the network's training."""
_MOST, _STRANGERS = 4_000, 900
_FORMS = 4  # of each photograph whose textures the hidden layer learns from
_MIXTURES, _MIXTURES_BATCH = 384, 256
_MIXTURES_RATE, _MIXTURES_DECAY, _MIXTURES_DROPPED = 3e-3, 0.3, 0.6
_MIXTURES_STEPS = 0.2  # share of the network's
_VIEWS, _NEAREST, _MOST_TURNED = 8, 0.7, np.deg2rad(10)  # of each photograph that the network learns from
_WIDTHS = (32, 48, 64, 96)  # channels of the convolutions
_BATCH = 64  # of own photographs, and as many inverted
_RATE, _DECAY, _DROPPED = 4e-3, 0.02, 0.3
_CLASSES_WEIGH = 0.5
_RIDGE = 0.1
# How much farther from own photographs than inverted ones the other groups have to be: they lie far off, and the
# level's share of own photographs that are flagged is better spent on inverted ones.
_FARTHER = np.array([1.0, 1.7, 2.0, 2.0, 2.0, 2.0], np.float32)
# Shares of the work: what is looked at, the hidden layer, the network.
_LOOKED, _MIXED = 0.1, 0.12

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Random = np.random.Generator


@dataclass
class _Looked:
    """What is kept of N photographs.

    Attributes:
        own: textures [_FORMS, T] of each: as it is first, then varied.
        inverted: textures of the same, inverted.
        views: each as the network may see it: [_VIEWS, h, w, C].
        groups: textures [T] of strangers, but for inverted ones: enlarged ones, noise, plain ones, and all kinds.
    """

    own: list[Floats] = field(default_factory=list)
    inverted: list[Floats] = field(default_factory=list)
    views: list[Pixels] = field(default_factory=list)
    groups: list[list[Floats]] = field(default_factory=lambda: [[], [], [], []])


class _Mixtures(nn.Module):
    """A hidden layer over textures, and what tells inverted photographs from it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.dropped = nn.Dropout(_MIXTURES_DROPPED / 2)
        self.hidden = nn.Linear(inputs, _MIXTURES)
        self.normal = nn.BatchNorm1d(_MIXTURES)
        self.dropped_again = nn.Dropout(_MIXTURES_DROPPED)
        self.head = nn.Linear(_MIXTURES, 1)

    def forward(self, scaled: Tensor) -> Tensor:
        """Logits [N] of textures [N, T]."""
        mixed = functional.relu(self.normal(self.hidden(self.dropped(scaled))))
        logits: Tensor = self.head(self.dropped_again(mixed))[:, 0]
        return logits


class _Sight(nn.Module):
    """What sees in a photograph, made smaller, whether it is inverted; and, to see better, of which class it is."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.trunk, (_, _, channels) = trunk(shape, _WIDTHS)
        self.dropped = nn.Dropout(_DROPPED)
        self.head = nn.Linear(channels, 1 + classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits [N, 1 + classes] of pictures [N, C, h, w] from -1 to 1."""
        logits: Tensor = self.head(self.dropped(self.trunk(pictures).mean((2, 3))))
        return logits


def fit(data: DataSet, generator: Random, seed: int, steps: int, told: Callable[[float], None]) -> PhotographDetector:
    """A detector of pictures that are strange to the photographs of `data`, in the back end's form."""
    order = generator.permutation(len(data.train))[:_MOST]
    held = held_back(len(order))
    looked = _looked(data, order, generator, lambda share: told(share * _LOOKED))
    plain = np.array([forms[0] for forms in looked.own])
    mean, deviation = plain[held:].mean(0), plain[held:].std(0) + np.float32(1e-2)
    own, inverted = (deviations(np.array(forms[held:]), mean, deviation) for forms in (looked.own, looked.inverted))
    views, labels = np.array(looked.views[held:]), data.train.labels[order[held:]]
    with deterministic(seed):
        mixtures = _Mixtures(len(mean))
        _learn_mixtures(
            mixtures,
            own,
            inverted,
            max(1, round(_MIXTURES_STEPS * steps)),
            generator,
            lambda share: told(_LOOKED + share * (_MIXED - _LOOKED)),
        )
        sight = _Sight(views.shape[2:], len(data.classes))
        sight.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch types Tensor.to only
        _learn_sight(
            sight, views, labels, steps, data.mirrored, generator, lambda share: told(_MIXED + share * (1 - _MIXED))
        )
    bare = PhotographDetector(
        form_of(data.train.photographs),
        np.array([[0, 1]] * (len(looked.groups) + 2), np.float32),
        mean=mean,
        deviation=deviation,
        mixing=folded(mixtures.hidden.weight.T, mixtures.hidden.bias, mixtures.normal),
        judges=np.zeros((len(mean) + _MIXTURES, len(looked.groups) + 1), np.float32),
        convolutions=convolutions_of(sight.trunk),
        head=array(sight.head.weight[0]),
    )
    kept = (one for part in in_parts(order[:held]) for one in data.train.photographs[part])
    return _judging(bare, array(mixtures.head.weight[0]), looked, plain, kept)


def _looked(data: DataSet, order: Indices, generator: Random, told: Callable[[float], None]) -> _Looked:
    """Look at the photographs `order` [N], once."""
    looked = _Looked()
    parts = in_parts(order)
    calls = -(-_STRANGERS // PART)
    for done, part in enumerate(parts):
        some = data.train.photographs[part]
        forms = [some, *(varied(some, data, generator) for _ in range(_FORMS - 1))]
        looked.own += list(_textures_of(forms))
        looked.inverted += list(_textures_of([255 - form for form in forms]))
        looked.views += [_views(one, data.photographs, generator) for one in some]
        groups = looked.groups
        groups[0] += [_textures(enlarged(one, generator)) for one in some[: -(-len(some) // 3)]]
        for _ in range(round((done + 1) * calls / len(parts)) - round(done * calls / len(parts))):
            groups[1] += [_textures(one) for one in strangers(some, PART // 3, generator, NOISES)]
            groups[2] += [_textures(one) for one in strangers(some, PART // 3, generator, PLAIN)]
            groups[3] += [_textures(one) for one in strangers(some, PART, generator)]
        told((done + 1) / len(parts))
    return looked


def _textures(picture: Pixels) -> Floats:
    return textures(picture, smaller(picture))


def _textures_of(forms: list[Pixels]) -> Floats:
    """Of forms [n, H, W, C] of the same n pictures: [n, forms, T]."""
    return np.array([[_textures(one) for one in form] for form in forms]).transpose(1, 0, 2)


def _views(picture: Pixels, free: bool, generator: Random) -> Pixels:
    """`picture` uint8 [H, W, C] `smaller`: parts of it, a little turned, where views are `free`: [_VIEWS, h, w, C]."""
    if not free:
        return np.repeat(_as_bytes(smaller(picture))[None], _VIEWS, axis=0)
    height, width, channels = picture.shape
    there = Image.fromarray(picture[..., 0] if channels == 1 else picture)
    views = []
    for _ in range(_VIEWS):
        across = generator.uniform(_NEAREST, 1)
        down = min(1.0, across * generator.uniform(0.9, 1 / 0.9))
        # No corner of a part that is turned by so much, at most, lies outside.
        room = min(height, width) / max(height, width) * (1 / max(across, down) - 1)
        turn = min(_MOST_TURNED, room) * generator.uniform(-1, 1)
        cosine, sine = np.cos(turn), np.sin(turn)
        matrix = np.array([[across * cosine, -down * sine], [across * sine, down * cosine]])
        size = np.array([width, height])
        left = np.maximum(size - np.abs(matrix) @ size, 0) / 2
        middle = size / 2 + generator.uniform(-1, 1, 2) * left - matrix @ size / 2
        numbers = (*matrix[0], middle[0], *matrix[1], middle[1])
        turned = there.transform((width, height), Image.Transform.AFFINE, numbers, Image.Resampling.NEAREST)
        views.append(_as_bytes(smaller(np.asarray(turned, np.uint8).reshape(picture.shape))))
    return np.array(views)


def _as_bytes(small: Floats) -> Pixels:
    return np.rint(small).astype(np.uint8)


def _learn_mixtures(
    network: _Mixtures, own: Floats, inverted: Floats, steps: int, generator: Random, told: Callable[[float], None]
) -> None:
    """Tell inverted photographs by textures [N, _FORMS, T]."""
    both = [torch.from_numpy(textures) for textures in (own, inverted)]

    def loss() -> Tensor:
        chosen, form = generator.integers(0, own.shape[0], _MIXTURES_BATCH), generator.integers(0, _FORMS)
        return _loss(network(torch.cat([textures[chosen, form] for textures in both])))

    train(network, loss, steps, told, _MIXTURES_RATE, _MIXTURES_DECAY)


def _learn_sight(
    network: _Sight,
    views: Pixels,
    labels: Indices,
    steps: int,
    mirrored: bool,
    generator: Random,
    told: Callable[[float], None],
) -> None:
    """Tell inverted photographs, and classes, by views [N, _VIEWS, h, w, C]."""

    def loss() -> Tensor:
        chosen = generator.choice(len(views), _BATCH)
        some = views[chosen, generator.integers(0, _VIEWS, _BATCH)]
        if mirrored:
            turned = generator.random(_BATCH) < 0.5
            some[turned] = some[turned, :, ::-1]
        logits = network(as_input(np.concatenate([some, 255 - some])))
        classes = torch.from_numpy(np.tile(labels[chosen], 2))
        return _loss(logits[:, 0]) + _CLASSES_WEIGH * functional.cross_entropy(logits[:, 1:], classes)

    train(network, loss, steps, told, _RATE, _DECAY)


def _loss(logits: Tensor) -> Tensor:
    """Of own ones, and behind them as many inverted ones."""
    inverted = torch.arange(len(logits)) >= len(logits) // 2
    return functional.binary_cross_entropy_with_logits(logits, inverted.to(logits.dtype))


def _judging(
    bare: PhotographDetector, head: Floats, looked: _Looked, own: Floats, held: Iterable[Pixels]
) -> PhotographDetector:
    """`bare` with judges, of which the `head` of the mixtures is the first, scaled by the photographs `held` back.

    The textures `own` [N, T] begin with those of these.
    """
    seen = np.array([bare.seen(smaller(one)) for one in held], np.float32)
    learnt = bare.mixed(own[len(seen) :]).astype(np.float64)
    # The held-back ones' inverted and enlarged forms are left in: only own pictures' scores are measured on these.
    others = [_told_apart(learnt, bare.mixed(np.array(group)).astype(np.float64)) for group in looked.groups]
    first = np.concatenate([np.zeros(own.shape[1]), head])
    judges = np.stack([first, *others], axis=1).astype(np.float32)
    # What the mixtures and the network say of inverted ones is added up, each by its own scale.
    both = np.stack([bare.mixed(own[: len(seen)]) @ judges[:, 0], seen], axis=1)
    mixtures, network = scale_of(both)[:, 1]
    judges[:, 0] /= mixtures
    whole = dataclasses.replace(bare, judges=judges, head=bare.head / network)
    parts = np.stack([whole.judged(one) for one in own[: len(seen)]])
    parts[:, 0] += seen / network
    scale = scale_of(parts)
    scale[:, 1] *= _FARTHER
    return dataclasses.replace(whole, scale=scale)


def _told_apart(own: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights [D] by which features [N, D] of own pictures and of others differ most: least squares, with a ridge."""
    middle = (own.mean(0) + others.mean(0)) / 2
    both = [(group - middle) / np.sqrt(len(group)) for group in (own, others)]
    squares = sum(group.T @ group for group in both) + _RIDGE * np.eye(own.shape[1])
    return np.asarray(np.linalg.solve(squares, others.mean(0) - own.mean(0)))
