"""How soon a fall is found, and how often health gives an alarm, on streams of shifted pictures and of others.

Pictures of a data set's test split are shifted, and asked of the very kernel. Streams of audits are drawn, with
replacement, from what came of them, and followed by the very watches of an edge.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.watch.shifts import STRENGTHS, Pool, shifted, skewed
from edgesight.host.calibrate import calibrate
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.drift import Watch
from edgesight.host.kernel import Calibration, Target, calibration_split
from edgesight.host.link.quality import ladder_of
from edgesight.host.novelty import novelty_test
from edgesight.host.observed import Observed
from edgesight.host.package import Package
from edgesight.host.watches import LEVEL
from edgesight.quant.splits import Split
from edgesight.sim.observe import Stages, observe_once
from edgesight.sim.workers import progress

RUNS, HEALTHY_RUNS, HEALTHY_AUDITS = 100, 200, 20_000
MOST_ALARMS = 10  # of the healthy runs
FOUND: Final = 0.9  # share of the runs
AUDITS: Final = {0.04: 2_000, 0.02: 8_000}  # by how far agreement lies below its bound: within so many
LABELS, BELOW_TARGET = 8_000, 0.02
_SEED = 5

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Kernel:
    """What is watched.

    Attributes:
        package: a kernel whose calibration offers targets.
        stages: what its stages say of pictures.
        calibration: of the split that its targets are tested on.
        test: pictures that neither training nor calibration saw; their photographs are what the fabric takes.
        loss: that the targets hold up to.
    """

    package: Package
    stages: Stages
    calibration: Split
    test: Split
    loss: float


def measure(kernel: Kernel, console: Console) -> Found:
    """Follow streams of shifted pictures and of others. Raises KernelError, or CalibrationError."""
    made = _calibrated(kernel)
    plain = _pools(kernel, made, kernel.test, None)
    worse: dict[str, dict[float, Pool]] = {}
    for kind, strengths in STRENGTHS.items():
        for strength in strengths:
            console.print(f"pictures {kind} by {strength:g} ...", highlight=False, markup=False)
            worse[f"{kind} {strength:g}"] = _pools(kernel, made, kernel.test, (kind, strength))
    targets = {target.accuracy: target for target in made.targets if _bound_of(target) is not None}
    level = LEVEL / (2 * len(made.targets))
    checks: list[Check] = []
    with progress() as bar:
        healthy, alarms = _healthy(plain, targets, level, bar)
        checks.append(
            Check("runs of healthy pictures with an alarm", alarms, MOST_ALARMS, True, f"of {HEALTHY_RUNS}", "measured")
        )
        falls, fall_checks = _falls(plain, worse, targets, level, bar)
        labels, label_checks = _labels(plain, worse, targets, level, bar)
    unseen = [
        {"pictures": name, "target": accuracy, "accuracy": pool.accuracy, "agreement": pool.agreement}
        for name, pools in worse.items()
        for accuracy, pool in pools.items()
        if accuracy in targets and pool.accuracy < accuracy and pool.agreement >= _bound(targets[accuracy])
    ]
    body = {
        "targets": {f"{accuracy:g}": _told(target, plain[accuracy]) for accuracy, target in targets.items()},
        "healthy": healthy,
        "falls": falls,
        "labels": labels,
        "truth_falls_and_agreement_does_not": unseen,
    }
    return Found(body, (*checks, *fall_checks, *label_checks))


def _calibrated(kernel: Kernel) -> Calibration:
    """The package's targets, on its calibration split, with what audits are held against."""
    before = kernel.package.kernel.calibration
    assert before is not None
    observed = _observed(kernel, kernel.calibration, sorted({bucket.loss for bucket in before.buckets}))
    test = novelty_test(kernel.package)
    if test is not None:
        observed = observed.take(np.flatnonzero(~test.strange(kernel.calibration.photographs)))
    return calibrate(
        observed,
        [target.accuracy for target in before.targets],
        loss=kernel.loss,
        backend_sha256=before.backend_sha256,
        rests_on=calibration_split(kernel.package.kernel.dataset, kernel.package.kernel.dataset_sha256),
        ladder=before.ladder,
    )


def _pools(kernel: Kernel, made: Calibration, split: Split, shift: tuple[str, float] | None) -> dict[float, Pool]:
    """What comes of the pictures of a split, by target."""
    if shift is not None and shift[0] != "class-skewed":
        images = shifted(*shift, split.images, _SEED)
        split = dataclasses.replace(split, images=images, ids=tuple(f"{one} {shift}" for one in split.ids))
    observed = _observed(kernel, split, [0.0])
    test = novelty_test(kernel.package)
    covered = ~test.strange(split.photographs) if test is not None else np.ones(observed.count, np.bool_)
    pools = {}
    for target in made.targets:
        weights = np.full(observed.count, 1.0 / observed.count)
        if shift is not None and shift[0] == "class-skewed":
            weights = skewed(shift[1], observed.truth, observed.right[0])
        pools[target.accuracy] = Pool.of(observed, target, covered, weights)
    return pools


def _observed(kernel: Kernel, split: Split, losses: list[float]) -> Observed:
    package = kernel.package
    model = OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input)
    known = package.kernel.calibration
    steps = ladder_of(known.ladder if known is not None else [])
    return observe_once(package, model, kernel.stages, split, losses, _SEED, steps, package.kernel.dataset_sha256)


def _healthy(
    plain: dict[float, Pool], targets: dict[float, Target], level: float, bar: Any
) -> tuple[dict[str, Any], int]:
    """Alarms over many runs of pictures that have not changed; each run follows all targets, and both shares."""
    task = bar.add_task("healthy pictures", total=HEALTHY_RUNS)
    alarmed: dict[str, int] = {}
    runs = 0
    for run in range(HEALTHY_RUNS):
        generator, any_alarm = np.random.default_rng([_SEED, run]), False
        for accuracy, target in targets.items():
            for what, bound, seen in (
                ("agreement", _bound(target), plain[accuracy].agreements(HEALTHY_AUDITS, generator)),
                ("accuracy", accuracy, plain[accuracy].answers(HEALTHY_AUDITS, generator)),
            ):
                if _until(bound, level, seen) is not None:
                    alarmed[f"{what} of {accuracy:g}"] = alarmed.get(f"{what} of {accuracy:g}", 0) + 1
                    any_alarm = True
        runs += any_alarm
        bar.advance(task)
    return {"runs": HEALTHY_RUNS, "audits": HEALTHY_AUDITS, "alarmed": runs, "by_watch": alarmed}, runs


def _falls(
    plain: dict[float, Pool],
    worse: dict[str, dict[float, Pool]],
    targets: dict[float, Target],
    level: float,
    bar: Any,
) -> tuple[list[dict[str, Any]], list[Check]]:
    """How soon a fall of agreement is found: of each shift as it is, and of a share of it that just meets the bar."""
    rows: list[dict[str, Any]] = []
    task = bar.add_task("falls of agreement", total=len(worse) * len(targets))
    for name, pools in worse.items():
        for accuracy, target in targets.items():
            bound, bad, good = _bound(target), pools[accuracy], plain[accuracy]
            row = {"pictures": name, "target": accuracy, "agreement": bad.agreement, "bound": bound, "share": 1.0}
            row |= {"accuracy": bad.accuracy, "answered": bad.answered}
            for fall, within in AUDITS.items():
                if bad.agreement <= bound - fall:
                    rows.append(row | _found_in(bad.agreements, None, 1.0, bound, level, within, fall))
                    share = _share(good.agreement, bad.agreement, bound - fall)
                    mixed = {"share": share, "agreement": bound - fall}
                    rows.append(
                        row | mixed | _found_in(bad.agreements, good.agreements, share, bound, level, within, fall)
                    )
            bar.advance(task)
    checks = []
    for fall, within in AUDITS.items():
        found = [row["found"] for row in rows if row["fall"] == fall]
        name = f"agreement {100 * fall:g} points below its bound, found within {within:,} audits: the worst of streams"
        checks.append(_worst(name, found))
    return rows, checks


def _labels(
    plain: dict[float, Pool],
    worse: dict[str, dict[float, Pool]],
    targets: dict[float, Target],
    level: float,
    bar: Any,
) -> tuple[list[dict[str, Any]], list[Check]]:
    """How soon labels tell that accuracy lies so far below a target, where a share of the pictures is shifted."""
    rows: list[dict[str, Any]] = []
    task = bar.add_task("falls of accuracy", total=len(worse) * len(targets))
    for name, pools in worse.items():
        for accuracy in targets:
            bad, good = pools[accuracy], plain[accuracy]
            if bad.accuracy <= accuracy - BELOW_TARGET < good.accuracy:
                share = _share(good.accuracy, bad.accuracy, accuracy - BELOW_TARGET)
                found = _found_in(bad.answers, good.answers, share, accuracy, level, LABELS, BELOW_TARGET)
                rows.append({"pictures": name, "target": accuracy, "share": share} | found)
            bar.advance(task)
    name = (
        f"accuracy {100 * BELOW_TARGET:g} points below a target, found within {LABELS:,} labels: the worst of streams"
    )
    return rows, [_worst(name, [row["found"] for row in rows])]


def _worst(name: str, found: Sequence[float]) -> Check:
    """The stream in which the fewest runs gave an alarm, of which there must be one."""
    if not found:
        return Check(name, 0, 1, False, "no shift is so strong", "measured")
    return Check(name, min(found), FOUND, False, f"of {len(found)} streams", "measured")


Draw = Callable[[int, np.random.Generator], Bools]


def _found_in(
    bad: Draw, good: Draw | None, share: float, bound: float, level: float, within: int, fall: float
) -> dict[str, Any]:
    """Of runs of a stream, a `share` of which is `bad`, those that give an alarm `within` so many, and how soon."""
    after = []
    for run in range(RUNS):
        generator = np.random.default_rng([_SEED, run])
        seen = bad(within, generator)
        if good is not None:
            seen = np.where(generator.random(within) < share, seen, good(within, generator))
        after.append(_until(bound, level, seen))
    soon = [count for count in after if count is not None]
    return {
        "fall": fall,
        "within": within,
        "found": len(soon) / RUNS,
        "median": float(np.median(soon)) if soon else None,
    }


def _until(bound: float, level: float, seen: Bools) -> int | None:
    """After how many observations a watch gives the alarm; None: it gives none."""
    watch = Watch(bound, level)
    return next((count for count, success in enumerate(seen.tolist(), 1) if watch.observe(success)), None)


def _share(good: float, bad: float, wanted: float) -> float:
    """The share of `bad` in a mixture that has the wanted share of successes."""
    return (good - wanted) / (good - bad)


def _bound_of(target: Target) -> float | None:
    return target.agreement.lower_bound if target.agreement is not None else None


def _bound(target: Target) -> float:
    assert target.agreement is not None
    return target.agreement.lower_bound


def _told(target: Target, pool: Pool) -> dict[str, Any]:
    assert target.agreement is not None
    return {
        **target.agreement.model_dump(),
        "agreement_of_the_test_split": pool.agreement,
        "accuracy_of_the_test_split": pool.accuracy,
        "answered_on_the_fabric": pool.answered,
    }
