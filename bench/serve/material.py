"""What is served in a cell: pictures whose truth is known, what each stage and the back end say of them, and how long
the back end takes.

Words owned here: material, profile (of a model: seconds of a run by the size of its batch, as measured here).
"""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from edgesight.bench.link.workload import decode, encode
from edgesight.bench.serve.replay import Replayed
from edgesight.hls.package_reference import PackageReference
from edgesight.host.datacenter.models import Classifier, OnnxModel
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.host.fabric.base import NEVER, OFFLOAD, RECORD, Images, Records
from edgesight.host.fabric.csim import decide
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.kernel import Calibration
from edgesight.host.package import Package
from edgesight.quant.splits import Split
from edgesight.sim.link.virtual import VirtualLoop
from edgesight.sim.workers import progress

_RUNS: Final = 30  # of each batch size, that are timed
_WARM: Final = 3
_LATENCY_FRAMES: Final = 24  # that the fabric's latency is measured on

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """Seconds of a model's runs, by batch size from 1 on; each size has all that were measured."""

    seconds: tuple[tuple[float, ...], ...]

    def sample(self, batch: int, chance: np.random.Generator) -> float:
        """Of one run."""
        return float(chance.choice(self.seconds[batch - 1]))

    def usual(self, batch: int) -> float:
        """The median."""
        return float(np.median(self.seconds[batch - 1]))

    @property
    def capacity(self) -> float:
        """Pictures a second in full batches, in the long run: by the mean, since slow runs count, too."""
        return max((size + 1) / float(np.mean(times)) for size, times in enumerate(self.seconds))


@dataclass(frozen=True)
class Material:
    """What is served.

    Attributes:
        name: of the data set.
        package: the kernel, calibrated for the targets.
        calibration: its thresholds for the cell's targets.
        images: as the fabric takes them, uint8 [N, H, W, C].
        photographs: as the back end does, uint8 [N, H, W, C].
        truth: classes [N].
        labels: what each stage says [stages, N].
        margins: and how sure it is [stages, N].
        backend: what the back end says of each unharmed picture, as it travels [N].
        profile: its times.
        latency_s: of a picture that each stage answers; simulated, at the package's clock.
    """

    name: str
    package: Package
    calibration: Calibration
    images: Images
    photographs: Images
    truth: Ints
    labels: Ints
    margins: Ints
    backend: Ints
    profile: Profile
    latency_s: tuple[float, ...]

    def alone_s(self, stage: int) -> float:
        """Seconds of a picture that a stage answers which is there alone: what it adds to those before it."""
        return self.latency_s[stage] - (self.latency_s[stage - 1] if stage else 0.0)

    def interval_s(self, stage: int) -> float:
        """Seconds after which a stage that is there alone takes the next picture."""
        kernel = self.package.kernel
        return min(kernel.stages[stage].bound_cycles / (kernel.clock_mhz * 1e6), self.alone_s(stage))

    @property
    def model(self) -> Classifier:
        """The back end, which each process loads once."""
        return back_end(self.package)

    def records(self, thresholds: Sequence[int]) -> Records:
        """What the fabric says of all pictures under a row of thresholds [N]."""
        found = np.zeros(len(self.truth), RECORD)
        reached = np.ones(len(self.truth), bool)
        for stage, threshold in enumerate(thresholds):
            last = stage == len(thresholds) - 1
            sure = reached & (self.margins[stage] >= threshold) & (threshold != NEVER)
            answers = reached if last else sure
            found["label"][answers] = self.labels[stage][answers]
            found["margin"][answers] = self.margins[stage][answers]
            found["stage"][answers] = stage
            found["cycles"][answers] = round(self.latency_s[stage] * self.package.kernel.clock_mhz * 1e6)
            if last:
                found["stage"][reached & ~sure] |= OFFLOAD
            reached &= ~sure
        return found


def material(
    name: str, package: Package, calibration: Calibration, test: Split, latency_s: Sequence[float], profile: Profile
) -> Material:
    """Of a data set's `test` split."""
    decided = [decide(logits) for logits in PackageReference(package)(test.images)]
    photographs = np.asarray(test.photographs[np.arange(len(test))])
    return Material(
        name,
        package,
        calibration,
        test.images,
        photographs,
        test.labels,
        np.array([labels for labels, _ in decided], np.int64),
        np.array([margins for _, margins in decided], np.int64),
        as_they_travel(back_end(package), photographs),
        profile,
        tuple(latency_s),
    )


def back_end(package: Package) -> OnnxModel:
    """The model that the package's data centre serves."""
    return _loaded(package.path)


@functools.cache
def _loaded(path: Path) -> OnnxModel:
    return OnnxModel(path / "datacenter.onnx", Package.load(path).kernel.backend_input)


def latencies(package: Package, images: Images) -> list[float]:
    """Seconds from header to record of a picture that each stage answers, at the package's clock; simulated."""
    fabric = VerilatedFabric(package)
    try:
        found = fabric.measure_intervals(images[:_LATENCY_FRAMES])
    finally:
        fabric.close()
    return [one.latency_cycles / (package.kernel.clock_mhz * 1e6) for one in found]


def profile_of(model: Classifier, photographs: Images) -> Profile:
    """Measured here and now, batch sizes in turn, so that all meet the machine in much the same state."""
    times: list[list[float]] = [[] for _ in range(MAX_BATCH)]
    for run in range(_WARM + _RUNS):
        for size in range(1, MAX_BATCH + 1):
            batch = photographs[np.arange(size) % len(photographs)]
            begin = time.perf_counter()
            model.run(batch)
            if run >= _WARM:
                times[size - 1].append(time.perf_counter() - begin)
    return Profile(tuple(map(tuple, times)))


class Processor:
    """What models run on in virtual time: one run after the other, whoever comes first."""

    def __init__(self) -> None:
        """Free."""
        self._free_at = 0.0

    def takes(self, now: float, seconds: float) -> float:
        """Seconds from `now` until a run is done that takes so many by itself."""
        self._free_at = max(self._free_at, now) + seconds
        return self._free_at - now


class TimedModel:
    """The back end in virtual time: what it says is remembered by what it is shown, and it takes what it took here."""

    def __init__(
        self,
        material: Material,
        loop: VirtualLoop,
        seed: int,
        known: dict[bytes, npt.NDArray[np.float32]],
        processor: Processor | None = None,
        replayed: Replayed | None = None,
    ) -> None:
        """The `known` logits, by the checksum of a picture, are those of all runs, and grow.

        A `processor` is shared with other models; None: it has one of its own. What is `replayed` goes before the
        profile.
        """
        model = material.model
        self.sha256, self.input_shape, self.classes = model.sha256, model.input_shape, model.classes
        self._model, self._profile, self._loop, self._known = model, material.profile, loop, known
        self._runs = {size: iter(runs) for size, runs in replayed.runs.items()} if replayed is not None else {}
        self._chance = np.random.default_rng([seed, 7])
        self._processor = processor or Processor()
        self.busy_s, self.ran = 0.0, 0

    def run(self, images: Images) -> npt.NDArray[np.float32]:
        """Logits float32 [N, classes] of uint8 images [N, H, W, C]."""
        if images.any():  # the package's model is tried on nothing before the loop runs
            took = next(self._runs.get(len(images), iter(())), None)
            if took is None:
                took = self._profile.sample(len(images), self._chance)
            self.busy_s += took
            self.ran += len(images)
            self._loop.takes(self._processor.takes(self._loop.time(), took))
        return np.stack([self._of(image) for image in images])

    def _of(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._model.run(image[None])[0]
        return self._known[key]


def as_they_travel(model: Classifier, photographs: Images) -> Ints:
    """Labels of unharmed pictures, one by one, so that none depends on its neighbours."""
    found = np.empty(len(photographs), np.int64)
    with progress() as bar:
        task = bar.add_task("back end", total=len(photographs))
        for place, picture in enumerate(photographs):
            found[place] = int(np.argmax(model.run(decode(encode(picture), model.input_shape)[None])[0]))
            bar.advance(task)
    return found
