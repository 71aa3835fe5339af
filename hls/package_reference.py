"""A package's stages on integer tensors: the logits of csim and RTL, for whole data sets in seconds."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.graph.integer_network import integer_network
from edgesight.hls.network import CompileError
from edgesight.host.package import Package

_BATCH = 256


class PackageReference:
    """The networks that a cascade's package was compiled from, made ready to be computed over and over."""

    def __init__(self, package: Package) -> None:
        """Raises CompileError where the networks do not give the package's known answers."""
        kernel = package.kernel
        self._classes = kernel.outputs
        read = {file: Reference(integer_network(package.path / file)[0]) for file in kernel.networks}
        # By network, which of its outputs is which stage's.
        self._stages = [(read[file], output) for file, output in map(kernel.network_of, range(len(kernel.stages)))]
        with np.load(io.BytesIO(package.read("vectors.npz")), allow_pickle=False) as vectors:
            found = self(vectors["images"])
            for stage, logits in zip(kernel.stages, found, strict=True):
                if not np.array_equal(logits, vectors[stage.name]):
                    raise CompileError(
                        f"{package.path}: the network of {stage.name} gives other logits than the package's known "
                        "answers; compile the package anew"
                    )

    def __call__(self, images: npt.NDArray[Any]) -> list[npt.NDArray[np.int32]]:
        """Integer logits [N, classes] of every stage for images [N, H, W, C]."""
        parts: list[list[npt.NDArray[np.int32]]] = [[] for _ in self._stages]
        for start in range(0, max(len(images), 1), _BATCH):
            batch = np.asarray(images[start : start + _BATCH], np.int64)
            computed = {id(reference): reference.integers(batch) for reference, _ in self._stages}
            for stage, (reference, output) in enumerate(self._stages):
                logits = computed[id(reference)][output].reshape(len(batch), self._classes)
                parts[stage].append(logits.astype(np.int32))
        return [np.concatenate(part) for part in parts]
