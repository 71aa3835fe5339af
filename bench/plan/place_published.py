"""SEIFER's published simulation, as its authors weigh it, and the mean bottlenecks that they report.

Parthasarathy and Krishnamachari's programs (github.com/ANRGUSC/SEIFER, `test/`, of arXiv 2210.12219) weigh otherwise
than ours:

- A layer takes its number of parameters (not their bytes) and 4 bytes for each element of its output; every layer
  counts at once, not only those that are alive together, and a normalisation, an activation and a padding are layers.
- A piece leaves out its first atom. Its memory must be below the node's, in MiB.
- A cut sends its elements times 8 / 1.44 bytes to each layer that reads them.
- Nodes lie at random in a square of 149 x 149; bandwidths are Mbit/s of 2^20 bits.
- A cluster on which their method finds no plan counts as a bottleneck of 0 in the mean.

The networks are those of Keras 2, which their programs load: the stride is in a block's first convolution, which has a
bias.

Words owned here: *published cell* (a network, a memory and a number of nodes that they report a mean for).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgesight.plan.place.authors import joint, kpath
from edgesight.plan.place.graph import INPUT, Layer, Model
from edgesight.plan.place.problem import Array, Cluster, Node, Problem
from edgesight.plan.place.search import search

CLASSES = 20  # of transfers
TRIALS = 100  # clusters of ours for each cell; theirs are 50
SEARCHED = 5  # of these, on which our search is held against their joint baseline
_THEIR_TRIALS = 50
_SIDE, _NEAREST, _GAIN = 149.0, 1.0, 283230.0
_MIB = 2**20
_COMPRESSED = 8 / 1.44  # bytes an element

# Mean seconds of 50 trials with 20 classes by k-path matching, and by their joint baseline: quoted from their files
# `Bottleneck based on different factors - K-Path Matching.csv` and `... - Joint Optimization.csv`.
PUBLISHED: dict[tuple[str, int, int], tuple[float, float]] = {  # by network, MiB and nodes
    ("MobileNetV2", 64, 5): (0.0577431988, 0.05864750469),
    ("MobileNetV2", 64, 10): (0.04781455221, 0.04607788815),
    ("MobileNetV2", 64, 20): (0.03924908419, 0.0389520765),
    ("MobileNetV2", 64, 50): (0.03255456973, 0.03312876314),
    ("ResNet50", 64, 5): (2.404474896, 2.448549372),
    ("ResNet50", 64, 10): (1.888291732, 1.908844993),
    ("ResNet50", 64, 20): (1.534759775, 1.54998821),
    ("ResNet50", 64, 50): (1.307423284, 1.312702818),
    ("ResNet50", 128, 5): (0.9702769472, 0.9435636199),
    ("ResNet50", 128, 10): (0.7636338324, 0.7376608606),
    ("ResNet50", 128, 20): (0.6302821537, 0.6248515098),
    ("ResNet50", 128, 50): (0.5319345624, 0.5362959227),
}


@dataclass(frozen=True)
class PublishedCell:
    """What they report for one cell, and what comes out here."""

    network: str
    memory_mib: int
    nodes: int
    quoted_s: float  # k-path, the mean of theirs
    mean_s: float  # k-path, the mean of ours
    z: float  # how many standard errors apart
    quoted_joint_s: float
    joint_s: float
    joint_z: float
    search_over_joint: float  # beta of our search over that of their joint baseline, the worst cluster's


class PublishedProblem(Problem):
    """The problem with memory as the authors count it; everything else is the model's and the cluster's."""

    @cached_property
    def memory(self) -> Array:
        """Bytes [m+1, m+1] of each piece without its first atom; infinite where it would be empty."""
        weighed = [float(sum(layer.parameter_bytes + layer.working_bytes for layer in atom)) for atom in self.atoms]
        summed = np.concatenate([[0.0], np.cumsum(weighed)])
        memory = np.full((self.end + 1, self.end + 1), np.inf)
        for begin in range(self.end):
            memory[begin, begin + 1 :] = summed[begin + 1 :] - summed[begin + 1]
        return memory


class _Keras:
    """Layers one after the other as Keras names and counts them."""

    def __init__(self) -> None:
        self.edges: list[tuple[str, tuple[str, ...]]] = []
        self.shape: dict[str, tuple[int, int]] = {}  # channels, side
        self.parameters: dict[str, int] = {}
        self._add((INPUT,), (3, 224), 0)

    def _add(self, reads: tuple[str, ...], shape: tuple[int, int], parameters: int) -> str:
        name = f"layer{len(self.edges)}"
        self.edges.append((name, reads))
        self.shape[name], self.parameters[name] = shape, parameters
        return name

    @property
    def last(self) -> str:
        return self.edges[-1][0]

    def same(self, source: str, parameters: int = 0) -> str:
        """An activation, or with parameters a normalisation."""
        return self._add((source,), self.shape[source], parameters)

    def normal(self, source: str) -> str:
        return self.same(source, 4 * self.shape[source][0])

    def pad(self, source: str, more: int) -> str:
        channels, side = self.shape[source]
        return self._add((source,), (channels, side + more), 0)

    def convolve(
        self, source: str, outputs: int, kernel: int, stride: int = 1, *, valid: bool = False, bias: bool = True
    ) -> str:
        channels, side = self.shape[source]
        side = (side - kernel) // stride + 1 if valid else -(-side // stride)
        return self._add((source,), (outputs, side), channels * outputs * kernel**2 + outputs * bias)

    def depthwise(self, source: str, stride: int) -> str:
        channels, side = self.shape[source]
        side = (side - 3) // stride + 1 if stride > 1 else side
        return self._add((source,), (channels, side), 9 * channels)

    def pool(self, source: str, side: int) -> str:
        return self._add((source,), (self.shape[source][0], side), 0)

    def add(self, first: str, second: str) -> str:
        return self._add((first, second), self.shape[first], 0)

    def dense(self, source: str, outputs: int) -> str:
        return self._add((source,), (outputs, 1), (self.shape[source][0] + 1) * outputs)

    def model(self, name: str) -> Model:
        elements = {layer: channels * side**2 for layer, (channels, side) in self.shape.items()}
        readers = {layer: sum(layer in reads for _, reads in self.edges) for layer in elements}
        return Model(
            name=name,
            layers=tuple(
                Layer(
                    name=layer,
                    inputs=reads,
                    output_bytes=math.ceil(elements[layer] * _COMPRESSED * readers[layer]),
                    parameter_bytes=self.parameters[layer],
                    working_bytes=4 * elements[layer],
                )
                for layer, reads in self.edges
            ),
        )


def resnet50() -> Model:
    """ResNet50 of Keras: 25,636,712 parameters."""
    net = _Keras()
    last = net.convolve(net.pad(net.last, 6), 64, 7, 2, valid=True)
    last = net.pool(net.pad(net.same(net.normal(last)), 2), 56)
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            shortcut = last
            if not block:
                shortcut = net.normal(net.convolve(last, 4 * width, 1, stride))
            inner = net.same(net.normal(net.convolve(last, width, 1, stride)))
            inner = net.same(net.normal(net.convolve(inner, width, 3)))
            inner = net.normal(net.convolve(inner, 4 * width, 1))
            last = net.same(net.add(shortcut, inner))
    net.dense(net.pool(last, 1), 1000)
    return net.model("ResNet50")


def mobilenet_v2() -> Model:
    """MobileNetV2 of Keras, width 1: 3,538,984 parameters."""
    net = _Keras()
    last = net.same(net.normal(net.convolve(net.last, 32, 3, 2, bias=False)))
    first = True
    for expansion, width, depth, first_stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(depth):
            stride, begun = (1 if block else first_stride), last
            if not first:
                last = net.same(net.normal(net.convolve(last, expansion * net.shape[last][0], 1, bias=False)))
            first = False
            if stride == 2:
                last = net.pad(last, 1)
            last = net.same(net.normal(net.depthwise(last, stride)))
            last = net.normal(net.convolve(last, width, 1, bias=False))
            if net.shape[begun] == net.shape[last] and stride == 1:
                last = net.add(begun, last)
    last = net.same(net.normal(net.convolve(last, 1280, 1, bias=False)))
    net.dense(net.pool(last, 1), 1000)
    return net.model("MobileNetV2")


NETWORKS: dict[str, Callable[[], Model]] = {"MobileNetV2": mobilenet_v2, "ResNet50": resnet50}


def cluster(rng: np.random.Generator, nodes: int, memory_mib: int) -> Cluster:
    """A random cluster of theirs; a piece must take less than a node has, which is why a byte is missing."""
    places = _NEAREST + rng.random((nodes, 2)) * _SIDE
    squared = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    mbps = np.log2(1 + _GAIN / (squared + np.eye(nodes))) * _MIB / 1e6
    np.fill_diagonal(mbps, 0.0)
    return Cluster(
        name=f"{nodes} nodes",
        nodes=tuple(Node(name=f"n{place}", memory_bytes=memory_mib * _MIB - 1) for place in range(nodes)),
        mbps=tuple(tuple(row) for row in mbps.tolist()),
    )


def run(trials: int = TRIALS, seed: int = 0, searched: int = SEARCHED) -> list[PublishedCell]:
    """Every published cell again, on `trials` clusters."""
    cells = []
    for (network, memory, nodes), (quoted, quoted_joint) in PUBLISHED.items():
        model = NETWORKS[network]()
        rng = np.random.default_rng([seed, nodes, memory, *network.encode()])
        seconds: list[float] = []
        joint_seconds: list[float] = []
        worst = 0.0
        for trial in range(trials):
            problem = PublishedProblem(model, cluster(rng, nodes, memory))
            found = kpath(problem, [CLASSES], trial).get(CLASSES)
            seconds.append(0.0 if found is None else problem.beta(found) / 1e3)
            walked = joint(problem)
            assert walked is not None  # every node is linked to every other
            joint_seconds.append(problem.beta(walked) / 1e3)
            if trial < searched:
                ours, _ = search(problem, trial)
                worst = max(worst, math.inf if ours is None else problem.beta(ours) / problem.beta(walked))
        cells.append(
            PublishedCell(
                network=network,
                memory_mib=memory,
                nodes=nodes,
                quoted_s=quoted,
                mean_s=statistics.fmean(seconds),
                z=_apart(seconds, quoted),
                quoted_joint_s=quoted_joint,
                joint_s=statistics.fmean(joint_seconds),
                joint_z=_apart(joint_seconds, quoted_joint),
                search_over_joint=worst,
            )
        )
    return cells


def _apart(values: Sequence[float], quoted: float) -> float:
    """Standard errors between the mean of `values` and a mean of as widely spread ones that is quoted."""
    error = statistics.stdev(values) * math.sqrt(1 / len(values) + 1 / _THEIR_TRIALS)
    return (statistics.fmean(values) - quoted) / error


def describe(cells: Sequence[PublishedCell]) -> dict[str, Any]:
    """For the report."""
    return {
        "source": "github.com/ANRGUSC/SEIFER, test/Bottleneck based on different factors - *.csv, of arXiv 2210.12219",
        "classes": CLASSES,
        "trials": TRIALS,
        "their_trials": _THEIR_TRIALS,
        "cells": [asdict(cell) for cell in cells],
    }
