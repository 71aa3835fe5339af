"""New thresholds for an edge that runs: whether they are for its kernel, and where in its threshold table they go.

A calibration may be made anew without touching the networks: for another site's pictures, say. An edge takes it over
between two batches. What was asked before stays under the former calibration, whose rows of the threshold table are
left alone until the fabric has looked at all of it; what is asked from then on is under the new one.

Words owned here: swap, terms.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import Calibration, Kernel, Target, check_thresholds
from edgesight.host.novelty import NoveltyTest, novelty_test
from edgesight.host.package import Package


class SwapError(EdgeSightError):
    """New thresholds that a running edge cannot take over: says why. It goes on with those that it has."""


@runtime_checkable
class Recalibrated(Protocol):
    """A way to the data centre that depends on the calibration, as those that stand in for one in a test need not."""

    async def recalibrate(self, calibration: Calibration) -> None:
        """Carry requests under `calibration` from now on.

        Raises LinkError, everything being as before, where no data centre that serves its back end can be reached.
        """


@dataclass(frozen=True, eq=False)
class Terms:
    """What requests are answered under.

    Attributes:
        calibration: its targets and curves.
        rows: of the threshold table, one a target of `calibration`, in their order.
        novelty: what tells strange pictures, which the targets do not cover; None where nothing does.
        waiting: requests under them that the fabric has not looked at yet: until then the rows stay as they are.
    """

    calibration: Calibration
    rows: tuple[int, ...]
    novelty: NoveltyTest | None = None
    waiting: set[object] = field(default_factory=set)

    def row(self, target: Target) -> int:
        """Of one of the calibration's targets."""
        return self.rows[self.calibration.targets.index(target)]

    @property
    def table(self) -> dict[int, list[int]]:
        """Thresholds, one a stage, by row."""
        return {row: target.thresholds for row, target in zip(self.rows, self.calibration.targets, strict=True)}

    @property
    def guaranteed_for(self) -> str:
        """What a guarantee holds for, in words."""
        return f"pictures like {self.calibration.rests_on.distribution}"


def placed(calibration: Calibration, kept: Iterable[Terms], rows: int) -> tuple[int, ...] | None:
    """A row for each target of `calibration` in a table of `rows`, besides those of the `kept` terms.

    Rows with the same thresholds are shared, and a target gets the row that it names where that is free. None where
    there are too few.
    """
    taken = {row: tuple(thresholds) for terms in kept for row, thresholds in terms.table.items()}
    found = []
    for target in calibration.targets:
        thresholds = tuple(target.thresholds)
        same = [row for row, there in taken.items() if there == thresholds]
        free = [row for row in (target.set_index, *range(rows)) if row < rows and row not in taken]
        if not (same or free):
            return None
        found.append((same or free)[0])
        taken[found[-1]] = thresholds
    return tuple(found)


def check_calibration(calibration: Calibration, kernel: Kernel) -> None:
    """Raise SwapError unless `calibration` can be one of `kernel`."""
    if not calibration.targets:
        raise SwapError("the new calibration offers no accuracy target: calibrate with others")
    try:
        check_thresholds(calibration, kernel.stages, kernel.threshold_sets)
    except ValueError as error:
        raise SwapError(f"the new calibration is of another kernel ({error}): calibrate this one") from error


@dataclass(frozen=True)
class Successor:
    """What the folder of a package that runs says now: its calibration, and weights where it has others."""

    calibration: Calibration
    novelty: NoveltyTest | None
    package: Package | None = None  # whose weights are to be loaded; None: they are the same


def successor_of(package: Package) -> Successor:
    """What the folder of `package`, which runs, says now.

    Raises KernelError where the folder is damaged, SwapError where it holds another kernel, other weights though they
    are not loaded at run time, or none that is calibrated.
    """
    now_there = Package.load(package.path)
    found, runs = now_there.kernel, package.kernel
    fixed = found.runtime_weights is None
    for what, now, before in (
        ("build hash", found.build_hash, runs.build_hash),
        *([("weights", found.weights_sha256[:12], runs.weights_sha256[:12])] if fixed else []),
        ("classes", found.classes, runs.classes),
        ("picture for the fabric", found.input, runs.input),
        ("picture for the back end", found.backend_input, runs.backend_input),
    ):
        if now != before:
            raise SwapError(
                f"{package.path}: holds another kernel than the one that runs (its {what} is {now}, not {before}): "
                "start the edge anew"
            )
    if found.calibration is None:
        raise SwapError(f"{package.path}: is not calibrated any more: run `edgesight calibrate`")
    same = found.weights_sha256 == runs.weights_sha256
    return Successor(found.calibration, novelty_test(now_there), None if same else now_there)
