"""What transports are compared on: links, with the gates that some have, and data sets with the model that answers.

Words owned here: case (a link, or a data set, that is compared on).
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.bench.link.photos import make_network, read_photos
from edgesight.bench.link.workload import decode, encode
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.files import write_atomically
from edgesight.host.link.strips import QUALITY
from edgesight.sim.link.options import (
    BandwidthDelayProducts,
    ConstantRate,
    EmulationError,
    LinkOptions,
    MahimahiTrace,
    Packets,
    Rate,
    RateTrace,
)

RATE = 20.0  # Mbit/s
DELAY_S = 0.02  # each way
QUEUE = 1.0  # bandwidth-delay products
LOSSES = (0.0, 0.01, 0.05, 0.1, 0.2)  # each way
FASHION_IMAGES = 1_000  # the first ones of the test split
SLOW_RATES = (0.2, 0.4, 0.8)  # Mbit/s each way
SLOW_QUEUE = 20  # packets: a bandwidth-delay product of such a link is less than a few of them
BEGIN_S = 8.0  # seconds that a trace has run when requests begin: all transports meet the same part of it


@dataclass(frozen=True)
class Gate:
    """What our transport must reach."""

    p99_ratio: float  # at most, of the best reliable transport's P99
    agreement: float  # at least


GATES = {0.0: Gate(1.05, 1.0), 0.05: Gate(0.6, 0.95), 0.1: Gate(0.5, 0.9)}


@dataclass(frozen=True)
class LinkCase:
    """A link that is compared on; the one without a gate is only reported."""

    name: str
    up: LinkOptions
    down: LinkOptions
    gate: Gate | None = None

    @property
    def begin_s(self) -> float:
        """Seconds from the link's begin to the first request, at least."""
        return 0.0 if isinstance(self.up.rate, ConstantRate) else BEGIN_S


@dataclass(frozen=True)
class DataCase:
    """Images that are compared with, and the model that answers.

    Attributes:
        name: of the data set.
        model: ONNX file.
        images: .npy file, uint8 [N, H, W, C].
        reference: int64 [N], the model's labels of the unharmed images.
        labels: int64 [N], the true ones, None where they are not known.
        identity: checksums of model and images, and JPEG's quality.
        work_s: seconds that a request takes one core, about.
    """

    name: str
    model: Path
    images: Path
    reference: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    identity: str
    work_s: float

    @property
    def accuracy(self) -> float | None:
        """Of the model on the unharmed images."""
        return None if self.labels is None else float(np.mean(self.reference == self.labels))

    @functools.cached_property
    def mean_bytes(self) -> float:
        """Of an image as the other transports carry it, without what they add."""
        return float(np.mean([len(encode(image)) for image in np.load(self.images, mmap_mode="r")]))


def loss_cases(losses: Sequence[float] = LOSSES) -> list[LinkCase]:
    """The same link with random loss each way."""
    cases = []
    for loss in losses:
        options = LinkOptions(ConstantRate(RATE * 1e6), DELAY_S, loss=loss, queue=BandwidthDelayProducts(QUEUE))
        cases.append(LinkCase(f"loss {loss:.0%}", options, options, GATES.get(loss)))
    return cases


def trace_cases(folder: Path) -> list[LinkCase]:
    """A link for each trace in `folder`: `NAME.up` with `NAME.down` (Mahimahi), `NAME.txt` (Mbit/s by the second).

    The latter holds for the way up; the way down, which carries answers, then has the constant rate. Nothing is lost
    but what the queue cannot take. Raises EmulationError where there is no trace.
    """

    def options(rate: Rate) -> LinkOptions:
        return LinkOptions(rate, DELAY_S, queue=BandwidthDelayProducts(QUEUE))

    cases = []
    for up in sorted(folder.glob("*.up")):
        down = up.with_suffix(".down")
        cases.append(LinkCase(up.stem, options(MahimahiTrace.read(up)), options(MahimahiTrace.read(down))))
    for trace in sorted(folder.glob("*.txt")):
        cases.append(LinkCase(trace.stem, options(RateTrace.read(trace)), options(ConstantRate(RATE * 1e6))))
    if not cases:
        raise EmulationError(f"{folder}: no trace is in it: expected NAME.up with NAME.down, or NAME.txt")
    return cases


def slow_cases() -> list[LinkCase]:
    """Links of a constant rate at which one photograph takes from a sixth to most of a second; they lose nothing."""
    cases = []
    for rate in SLOW_RATES:
        options = LinkOptions(ConstantRate(rate * 1e6), DELAY_S, queue=Packets(SLOW_QUEUE))
        cases.append(LinkCase(f"{rate:g} Mbit/s", options, options))
    return cases


def photo_case(photos: Path, labels: Path | None, cache: Path) -> DataCase:
    """Photographs in a folder or zip and what is on them, with EfficientNet-Lite0; raises PhotoError."""
    found = read_photos(photos, labels)
    return _data_case("photos", make_network(network_file(cache)), found.images, found.labels, cache, 0.035)


def network_file(cache: Path) -> Path:
    """Where the network for photographs is kept."""
    return cache / "efficientnet-lite0.onnx"


def fashion_case(model: Path, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], cache: Path) -> DataCase:
    """The first of Fashion-MNIST's test `images` uint8 [N, H, W, C] with `labels` [N], with the back end `model`."""
    return _data_case("fashion-mnist", model, images[:FASHION_IMAGES], labels[:FASHION_IMAGES], cache, 0.004)


def _data_case(
    name: str,
    model: Path,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64] | None,
    cache: Path,
    work_s: float,
) -> DataCase:
    executor = OnnxModel(model)
    checksum = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    identity = f"{executor.sha256[:12]}-{checksum[:12]}-q{QUALITY}"
    cache.mkdir(parents=True, exist_ok=True)
    images_file, reference_file = cache / f"{name}-{checksum[:12]}.npy", cache / f"{name}-{identity}-reference.npy"
    if not images_file.exists():
        write_atomically(images_file, _npy(images))
    unharmed = (decode(encode(image), executor.input_shape) for image in images)
    if not reference_file.exists():
        # One by one, so that no label depends on its neighbours.
        found = [int(np.argmax(executor.run(image[None])[0])) for image in unharmed]
        write_atomically(reference_file, _npy(np.array(found, np.int64)))
    return DataCase(name, model, images_file, np.load(reference_file), labels, identity, work_s)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


SLOW_LOAD = 0.8  # of what a link would just carry of the images' bytes alone
# Requests a second that one machine's ends and models carry of each data set, where a link would carry more.
MOST_PER_SECOND = {"photos": 25.0, "fashion-mnist": 100.0}


def slow_rate(link: LinkCase, data: DataCase) -> float:
    """Requests a second at SLOW_LOAD of what `link` carries of `data`, as far as a machine carries them."""
    assert link.up.rate is not None
    return round(min(SLOW_LOAD * link.up.rate.mean_bit_per_s / 8 / data.mean_bytes, MOST_PER_SECOND[data.name]), 2)
