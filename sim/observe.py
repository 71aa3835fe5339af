"""What a cascade says of images whose truth is known: the input of calibration, and of baselines.

The stages' answers are given by whoever calls, of a form that equals csim and the RTL bit for bit (`edgesight verify`
proves it). The back end is asked of the same pictures at its own size, as they arrive by the first rung of the ladder
(`edgesight.sim.ladder`), through the strips and their repair in several loss buckets. In each, strips are lost
independently at its upper end, while parity is what a client sends that has measured its lower end: no client in the
bucket fares worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.accuracy_targets import CalibrationError, Targets
from edgesight.host.calibrate import LOSSES, calibrate, fit_images, resplit_check
from edgesight.host.datacenter.models import Classifier, OnnxModel
from edgesight.host.fabric.base import Images
from edgesight.host.fabric.csim import Logits, decide
from edgesight.host.kernel import Calibration, Sample, calibration_split
from edgesight.host.link.concealment import Pixels
from edgesight.host.link.datagrams import LinkError
from edgesight.host.link.parity import strips_for
from edgesight.host.link.quality import LADDER, Step, ladder_of
from edgesight.host.link.strips import encode_at, through_loss
from edgesight.host.observed import Observed
from edgesight.host.package import Package
from edgesight.sim.kept import Arrays, kept, key_of
from edgesight.sim.ladder import measured_ladder
from edgesight.sim.photographs import Photographs, batches
from edgesight.sim.workers import progress

# Integer logits [N, classes] of every stage for images uint8 [N, H, W, C].
Stages = Callable[[Images], Sequence[Logits]]


class Labelled(Protocol):
    """Pictures whose classes are known."""

    @property
    def images(self) -> Images:
        """As the fabric takes them: uint8 [N, H, W, C]."""

    @property
    def photographs(self) -> Photographs:
        """As the back end takes them."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The class of each [N]."""

    @property
    def ids(self) -> tuple[str, ...]:
        """A name of each."""


def calibration_of(  # noqa: PLR0913 - what it rests on is its callers'
    package: Package,
    stages: Stages,
    split: Labelled,
    held_out: Labelled | None,
    targets: Targets,
    *,
    loss: float,
    seed: int = 0,
    resplits: int = 200,
    rests_on: Sample | None = None,
) -> Calibration:
    """Thresholds that keep `targets` at packet losses up to `loss`, chosen on the `split`.

    The split is that of `rests_on`; None: the calibration split of the package's data set. `stages` are the package's,
    such as those of a fabric. The promise is checked on as many re-splits of the split, together with what is
    `held_out`, which the same data set has. Raises CalibrationError, or KernelError for a package without a back end.
    """
    if not 0.0 <= loss < 1.0:
        raise CalibrationError(f"packet loss {loss:g}: expected a share, from 0 to below 1")
    losses = sorted({*LOSSES, loss})
    model = _back_end(package)
    rests_on = rests_on or calibration_split(package.kernel.dataset, package.kernel.dataset_sha256)
    source = rests_on.dataset_sha256
    fit = fit_images(len(split.labels), seed)
    facts = [source, split.ids, _form(package)]
    ladder = measured_ladder(model, split.photographs, split.labels, fit, facts)
    steps = ladder_of(ladder)
    observed = observe_once(package, model, stages, split, losses, seed, steps, source)
    calibration = calibrate(
        observed, targets, loss=loss, backend_sha256=model.sha256, rests_on=rests_on, ladder=ladder, seed=seed
    )
    if not resplits or not calibration.targets:
        return calibration
    pool = observed
    if held_out is not None:
        pool = pool.joined(observe_once(package, model, stages, held_out, losses, seed + 1, steps, source))
    check = resplit_check(pool, targets, loss=loss, count=resplits, seed=seed)
    return calibration.model_copy(update={"resplits": check})


def observe_once(
    package: Package,
    model: Classifier,
    stages: Stages,
    split: Labelled,
    losses: Sequence[float],
    seed: int,
    steps: Sequence[Step],
    source: str,
) -> Observed:
    """What `observe` says of the `split`; where the very same was measured before, it is taken from the user's cache.

    `source` is the checksum of the data set that the split is of: with their names, it tells which photographs these
    are, which may be too many to read them all for that. The stages are known by the `package`'s networks, whose
    answers they are.
    """
    kernel = package.kernel
    networks = [[file, kernel.files.get(file)] for file in kernel.networks]
    facts: list[object] = [
        networks,
        kernel.weights_sha256,
        model.sha256,
        list(losses),
        seed,
        [(step.quality, step.divisor) for step in steps],
    ]
    facts += [source, split.ids, _form(package), list(split.photographs.shape)]
    key = key_of(facts, (split.images, split.labels))

    def measure() -> Arrays:
        observed = observe(model, stages(split.images), split.photographs, split.labels, losses, seed, steps)
        return {field.name: np.asarray(getattr(observed, field.name)) for field in fields(Observed)}

    arrays: dict[str, Any] = dict(kept(key, [field.name for field in fields(Observed)], measure))
    return Observed(**{**arrays, "losses": tuple(arrays["losses"].tolist())})


def observe(
    model: Classifier,
    logits: Sequence[Logits],
    photographs: Photographs,
    truth: npt.NDArray[np.int64],
    losses: Sequence[float],
    seed: int,
    steps: Sequence[Step] = LADDER,
) -> Observed:
    """What the stages' `logits` say of pictures of classes `truth` [N], and the back end of their `photographs`.

    These go by the first of the `steps` that they can be encoded at, as a client's do, at each of the `losses`, which
    rise. Where every strip of an image is lost, the last stage's label stands in, as it does for a user. Raises
    LinkError for one that cannot go at any step.
    """
    labels, margins = zip(*(decide(stage) for stage in logits), strict=True)
    backend = np.tile(labels[-1].astype(np.int64), (len(losses), 1))
    came = np.zeros((len(losses), len(truth)), np.bool_)
    told = [0.0, *losses]  # the loss that the client has measured: the bucket's lower end
    generators = [np.random.default_rng([seed, row]) for row in range(len(losses))]
    with progress() as bar:
        task = bar.add_task("back end through the lossy link", total=len(truth))
        for places in batches(photographs, len(truth)):
            on_way = {index: _way(one, steps) for index, one in zip(places.tolist(), photographs[places], strict=True)}
            whole = {index: way.seen(0.0, 0.0, generators[0]) for index, way in on_way.items()}
            unharmed = {index: image for index, image in whole.items() if image is not None}
            own = _labels(model, unharmed)
            for row, (loss, generator) in enumerate(zip(losses, generators, strict=True)):
                received = {index: way.seen(loss, told[row], generator) for index, way in on_way.items()}
                # What arrived exactly, or could be recovered, has the answer that is known.
                harmed = {
                    index: image
                    for index, image in received.items()
                    if image is not None and not np.array_equal(image, unharmed[index])
                }
                said = {**own, **_labels(model, harmed)}
                for index in (index for index, image in received.items() if image is not None):
                    backend[row, index], came[row, index] = said[index], True
            bar.advance(task, len(places))
    return Observed(np.stack(margins), np.stack(labels), backend, came, truth, tuple(losses))


@dataclass(frozen=True)
class _Way:
    """A photograph on its way at one step, in so many strips."""

    photograph: Pixels
    step: Step
    strips: int

    def seen(self, loss: float, told: float, generator: np.random.Generator) -> Pixels | None:
        """What the data centre sees at a `loss`, where the client was told another; None where too little came."""
        parity = strips_for(self.strips, told)
        return through_loss(self.photograph, loss, generator, self.step.quality, parity, self.step.divisor)


def _way(photograph: Pixels, steps: Sequence[Step]) -> _Way:
    """At the first of the steps that it can be encoded at; raises LinkError where there is none."""
    for step in steps:
        try:
            return _Way(photograph, step, len(encode_at(photograph, step.quality, step.divisor).payloads))
        except LinkError:  # such as a block that fits no datagram
            if step == steps[-1]:
                raise
    raise CalibrationError("no step to send a photograph at: give at least one")


def _back_end(package: Package) -> Classifier:
    package.read("datacenter.onnx")  # says so where the package has none
    return OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input)


def _form(package: Package) -> object:
    """How the back end takes photographs, which its file does not say."""
    form = package.kernel.backend_input
    return None if form is None else form.model_dump()


def _labels(model: Classifier, images: dict[int, Pixels]) -> dict[int, int]:
    """The model's answers by index."""
    if not images:
        return {}
    return dict(zip(images, model.run(np.stack(list(images.values()))).argmax(axis=1).tolist(), strict=True))
