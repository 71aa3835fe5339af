"""The data sets that are served, each with its kernel package, the goals asked of it, and what they come to.

Fashion-MNIST's package is shipped. Those of the others are made by command line alone, of networks that are trained
where none are named, which takes long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from edgesight.bench.photograph.kernels import data_of, kept_kernel, trained
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.links import LOSS
from edgesight.bench.serve.material import Ints, Material, as_they_travel, back_end, latencies, material, profile_of
from edgesight.bench.serve.systems import Goal, goals_of
from edgesight.hls.package_reference import PackageReference
from edgesight.hls.zoo import shipped_folder
from edgesight.host.calibrate import LOSSES
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.kernel import Rung
from edgesight.host.link.quality import ladder_of
from edgesight.host.link.strips import QUALITY
from edgesight.host.package import Package
from edgesight.quant.splits import DataSet, Split
from edgesight.sim.ladder import CANDIDATES, measured_ladder
from edgesight.sim.observe import observe_once
from edgesight.sim.verilate import build_library

_PICTURES: Final = 2_000  # of the test split, at most
_PROFILED: Final = 16  # pictures that the back end's times are of
_COPIED: Final = 1 << 26  # bytes by which the bandwidth of memory is measured
_FINEST: Final = tuple(step for step in CANDIDATES if step.quality <= QUALITY)
_SIGNS_CYCLES: Final = "4000,20000"


@dataclass(frozen=True)
class Prepared:
    """A data set, ready to be served.

    Attributes:
        material: its test pictures.
        goals: what is asked of it.
        variant_bytes: that each stage alone takes in the device's memory: those of its network's file.
        bandwidth: bytes a second at which they get there.
    """

    material: Material
    goals: Sequence[Goal]
    variant_bytes: tuple[int, ...]
    bandwidth: float

    @property
    def load_s(self) -> float:
        """Seconds in which the largest variant is loaded."""
        return max(self.variant_bytes) / self.bandwidth


def digits(asked: Asked, folder: Path, console: Console) -> tuple[Package, DataSet]:
    """The shipped kernel, and its pictures, which come with a library."""
    package = Package.load(shipped_folder() / "digits")
    return package, data_of(package, "digits")


def fashion_mnist(asked: Asked, folder: Path, console: Console) -> tuple[Package, DataSet]:
    """The shipped kernel, and its pictures."""
    package = Package.load(shipped_folder() / "fashion-mnist")
    return package, data_of(package, "fashion-mnist", asked.fashion_mnist)


def signs(asked: Asked, folder: Path, console: Console) -> tuple[Package, DataSet]:
    """GTSRB's signs. Raises CommandError."""
    given = asked.signs
    assert given is not None  # the section says what it lacks
    zoo = trained(given.zoo, folder / "zoo", console, given.dataset, *given.options)
    package = Package.load(kept_kernel(zoo, folder, given.dataset, _SIGNS_CYCLES, console))
    return package, data_of(package, given.dataset)


def photographs(asked: Asked, folder: Path, console: Console) -> tuple[Package, DataSet]:
    """Photographs, which the back end takes whole. Raises CommandError."""
    given = asked.photographs
    assert given is not None  # the section says what it lacks
    zoo = trained(given.zoo, folder / "zoo", console, given.dataset, *given.options, *given.backend)
    package = Package.load(kept_kernel(zoo, folder, given.dataset, given.cycles, console))
    return package, data_of(package, given.dataset)


Opening = Callable[[Asked, Path, Console], tuple[Package, DataSet]]
_OPENING: Final[dict[str, Opening]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "signs": signs,
    "photographs": photographs,
}
GRIDS: Final = ("fashion-mnist", "signs", "photographs")  # data sets that have one


def lacks(name: str, asked: Asked) -> str | None:
    """Why a data set cannot be served; None where it can."""
    missing = {
        "fashion-mnist": asked.fashion_mnist is None and "Fashion-MNIST is not here: name its folder with --data-dir",
        "signs": asked.signs is None and "no traffic signs were given: name them with --signs",
        "photographs": asked.photographs is None and "no photographs were given: name them with --photographs",
    }
    return missing[name] or None


def prepared(name: str, asked: Asked, folder: Path, belows: Sequence[float], console: Console) -> Prepared:
    """What is served of a data set, `folder` having what is made for it, and goals so far below its back end alone.

    Networks are trained, compiled, calibrated and simulated where that was not done. Raises CommandError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    package, data = _OPENING[name](asked, folder, console)
    calibration = package.kernel.calibration
    assert calibration is not None  # as it is shipped, or calibrated here
    build_library(package)
    model = back_end(package)
    ladder = _ladder(package, model, data.calibration)
    observed = observe_once(
        package,
        model,
        PackageReference(package),
        data.calibration,
        sorted({*LOSSES, LOSS}),
        0,
        ladder_of(ladder),
        package.kernel.dataset_sha256,
    )
    curves, goals = goals_of(
        observed,
        belows,
        alone=_alone(model, data.calibration) if ladder else observed.backend[0],
        loss=LOSS,
        backend_sha256=model.sha256,
        rests_on=calibration.rests_on,
        ladder=ladder,
    )
    test = data.test.take(np.arange(min(_PICTURES, len(data.test))))
    profile = profile_of(model, np.asarray(test.photographs[np.arange(_PROFILED)]))
    served = material(name, package, curves, test, latencies(package, test.images), profile)
    networks = [package.kernel.network_of(stage)[0] for stage in range(len(package.kernel.stages))]
    sizes = tuple((package.path / network).stat().st_size for network in networks)
    return Prepared(served, goals, sizes, memory_bandwidth())


def _ladder(package: Package, model: OnnxModel, split: Split) -> list[Rung]:
    """How our photographs travel: none finer than everybody else's, as a finer one would only weigh more.

    Chosen on all pictures of the split, as the goals are, which promise nothing; `edgesight calibrate` takes a part.
    """
    kernel = package.kernel
    facts = [kernel.dataset_sha256, split.ids, kernel.backend_input and kernel.backend_input.model_dump()]
    every = np.arange(len(split.labels))
    return measured_ladder(model, split.photographs, split.labels, every, facts, _FINEST)


def _alone(model: OnnxModel, split: Split) -> Ints:
    """What the data centre says of photographs as everybody else sends them [N]."""
    return as_they_travel(model, np.asarray(split.photographs[np.arange(len(split.labels))]))


def memory_bandwidth() -> float:
    """Bytes a second at which this machine copies: a selecting server loads a variant no faster, and a board slower."""
    source = np.ones(_COPIED, np.uint8)
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        source.copy()
        times.append(time.perf_counter() - begin)
    return _COPIED / float(np.median(times))
