"""What a cascade says of images whose truth is known: the input of calibration, and of baselines.

The stages' answers are given by whoever calls, of a form that equals csim and the RTL bit for bit (`edgesight verify`
proves it). The back end's go through the strips and their repair in several loss buckets. In each, strips are lost
independently at its upper end, while parity is what a client sends that has measured its lower end: no client in the
bucket fares worse.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.cache import cache_folder, prune
from edgesight.host.calibrate import LOSSES, CalibrationError, Observed, calibrate, resplit_check
from edgesight.host.datacenter.models import Executor, OnnxModel
from edgesight.host.fabric.base import Images
from edgesight.host.fabric.csim import Logits, decide
from edgesight.host.files import sha256, write_atomically
from edgesight.host.kernel import Calibration, calibration_split
from edgesight.host.link.concealment import Pixels
from edgesight.host.link.parity import strips_for
from edgesight.host.link.strips import encode, through_loss
from edgesight.host.novelty import NoveltyTest
from edgesight.host.package import Package
from edgesight.sim.workers import progress

_BATCH = 64
_MOST_KEPT = 32  # measurements, of some 100 kB each
_ROOT = Path(__file__).resolve().parent.parent
# What a measurement's outcome hangs on beside its inputs.
_CODE = [Path(__file__), *(_ROOT / "host" / name for name in ("fabric/csim.py", "datacenter/models.py"))]
# Integer logits [N, classes] of every stage for images uint8 [N, H, W, C].
Stages = Callable[[Images], Sequence[Logits]]


class Labelled(Protocol):
    """Images whose classes are known."""

    @property
    def images(self) -> Images:
        """Uint8 [N, H, W, C]."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each [N]."""


def calibration_of(  # noqa: PLR0913 - what a calibration hangs on
    package: Package,
    stages: Stages,
    split: Labelled,
    held_out: Labelled,
    targets: Sequence[float],
    *,
    loss: float,
    seed: int = 0,
    resplits: int = 200,
    novelty: NoveltyTest | None = None,
) -> Calibration:
    """Thresholds that keep `targets` at packet losses up to `loss`, chosen on the calibration `split` of its data set.

    `stages` are the package's, such as those of a fabric. The promise is checked on as many re-splits of the split
    together with `held_out`. It is made for pictures that `novelty`, whose reference is the split, does not call
    strange: those that it does are left out of both. Raises CalibrationError, or KernelError for a package without a
    back end.
    """
    if not 0.0 <= loss < 1.0:
        raise CalibrationError(f"packet loss {loss:g}: expected a share, from 0 to below 1")
    losses = sorted({*LOSSES, loss})
    package.read("datacenter.onnx")  # says so where the package has none
    model = OnnxModel(package.path / "datacenter.onnx")
    observed = _familiar(
        observe_once(model, stages(split.images), split.images, split.labels, losses, seed), split, novelty
    )
    rests_on = calibration_split(package.kernel.dataset, package.kernel.dataset_sha256)
    calibration = calibrate(observed, targets, loss=loss, backend_sha256=model.sha256, rests_on=rests_on, seed=seed)
    if not resplits or not calibration.targets:
        return calibration
    others = observe_once(model, stages(held_out.images), held_out.images, held_out.labels, losses, seed + 1)
    others = _familiar(others, held_out, novelty)
    check = resplit_check(observed.joined(others), targets, loss=loss, count=resplits, seed=seed)
    return calibration.model_copy(update={"resplits": check})


def _familiar(observed: Observed, split: Labelled, novelty: NoveltyTest | None) -> Observed:
    """What was observed of the pictures of `split` that are not strange."""
    return observed if novelty is None else observed.take(np.flatnonzero(~novelty.strange(split.photographs)))


def observe_once(
    model: Executor,
    logits: Sequence[Logits],
    images: Images,
    truth: npt.NDArray[np.int64],
    losses: Sequence[float],
    seed: int,
) -> Observed:
    """What `observe` says; where the very same was measured before, it is taken from the user's cache."""
    folder = cache_folder() / "observed"
    path = folder / f"{_key(model, logits, images, truth, losses, seed)}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:
            arrays = {field.name: kept[field.name] for field in fields(Observed)}
        observed = Observed(**{**arrays, "losses": tuple(arrays["losses"].tolist())})
        path.touch()
        return observed
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, CalibrationError):
        pass  # absent or damaged
    observed = observe(model, logits, images, truth, losses, seed)
    packed = io.BytesIO()
    arrays = {field.name: np.asarray(getattr(observed, field.name)) for field in fields(Observed)}
    np.savez_compressed(packed, **arrays)
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, packed.getvalue())
    prune(folder, _MOST_KEPT, path)
    return observed


def _key(
    model: Executor,
    logits: Sequence[Logits],
    images: Images,
    truth: npt.NDArray[np.int64],
    losses: Sequence[float],
    seed: int,
) -> str:
    """A checksum over all that a measurement hangs on."""
    code = [sha256(path.read_bytes()) for path in (*_CODE, *sorted((_ROOT / "host" / "link").glob("*.py")))]
    facts = [model.sha256, images.shape, list(losses), seed, code]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in (images, truth, *logits):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def observe(
    model: Executor,
    logits: Sequence[Logits],
    images: Images,
    truth: npt.NDArray[np.int64],
    losses: Sequence[float],
    seed: int,
) -> Observed:
    """What the stages' `logits` say of images uint8 [N, H, W, C] of classes `truth` [N], and the back end at each loss.

    `losses` rise. Where every strip of an image is lost, the last stage's label stands in, as it does for a user.
    """
    labels, margins = zip(*(decide(stage) for stage in logits), strict=True)
    backend = np.tile(labels[-1].astype(np.int64), (len(losses), 1))
    came = np.zeros((len(losses), len(images)), np.bool_)
    told = [0.0, *losses]  # the loss that the client has measured: the bucket's lower end
    generators = [np.random.default_rng([seed, row]) for row in range(len(losses))]
    with progress() as bar:
        task = bar.add_task("back end through the lossy link", total=len(images))
        for start in range(0, len(images), _BATCH):
            batch = range(start, min(start + _BATCH, len(images)))
            strips = {index: len(encode(images[index]).payloads) for index in batch}
            unharmed = _came(images, dict.fromkeys(batch, 0), 0.0, generators[0])
            own = _labels(model, unharmed)
            for row, (loss, generator) in enumerate(zip(losses, generators, strict=True)):
                parity = {index: strips_for(count, told[row]) for index, count in strips.items()}
                received = _came(images, parity, loss, generator)
                # What arrived exactly, or could be recovered, has the answer that is known.
                harmed = {i: image for i, image in received.items() if not np.array_equal(image, unharmed[i])}
                said = {**own, **_labels(model, harmed)}
                for index in received:
                    backend[row, index], came[row, index] = said[index], True
            bar.advance(task, len(batch))
    return Observed(np.stack(margins), np.stack(labels), backend, came, truth, tuple(losses))


def _came(images: Images, parity: dict[int, int], loss: float, generator: np.random.Generator) -> dict[int, Pixels]:
    """What the data centre sees of the images that `parity` strips by index are for, those left out that never came."""
    seen = {index: through_loss(images[index], loss, generator, parity=count) for index, count in parity.items()}
    return {index: image for index, image in seen.items() if image is not None}


def _labels(model: Executor, images: dict[int, Pixels]) -> dict[int, int]:
    """The model's answers by index."""
    if not images:
        return {}
    return dict(zip(images, model.run(np.stack(list(images.values()))).argmax(axis=1).tolist(), strict=True))
