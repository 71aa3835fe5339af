"""How photographs go to the data centre: which qualities and sizes, by what the back end still makes of them.

Candidates of JPEG quality and size (`CANDIDATES`) are measured on photographs whose classes are known, with nothing
lost: their mean bytes, and how many the back end answers rightly. The finest is the one of the most bytes. Another is
*as good* where, on the pictures that only one of the two gets right,

- it gets right at most half a point (`MOST_LOST`) of all pictures fewer than the finest, net, and
- the sample does not show that it is worse: the exact one-sided sign test does not reject at 5 % (`LEVEL`).

In a small sample the first rules, since the second shows little there; in a large one the second. Fewer than
`LEAST_IMAGES` show nothing, and the finest goes. What is harmed more
can be as good only by chance, so a candidate counts as good only where every finer one does, of at least its quality
and at least its size. Of those the ladder's first rung is the one of the fewest bytes. Below it come the candidates of
fewer bytes and less accuracy than any rung before; what another beats in both is left out.

**Why this breaks no promise.** The ladder is chosen on the very images that fit the confidence curves
(`edgesight.host.calibrate.fit_images`). The images that test a target have no part in it. From the choice on, the first
rung is as fixed as the curves: the sequence of tests is of one cascade, which was not chosen by the images tested. The
check by re-splits takes the first rung as it is, fixed, and chooses none anew.

Sources: the sign test on paired answers: McNemar, Psychometrika 12 (1947), in its exact form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from edgesight.host.accuracy_targets import CalibrationError
from edgesight.host.datacenter.models import Classifier
from edgesight.host.kernel import Rung
from edgesight.host.link.datagrams import LinkError
from edgesight.host.link.quality import Step
from edgesight.host.link.strips import encode_at, kind_of, through_loss
from edgesight.sim.kept import kept, key_of
from edgesight.sim.photographs import Photographs, batches
from edgesight.sim.workers import progress

CANDIDATES: Final = tuple(Step(quality, divisor) for divisor in (1, 2, 4) for quality in (92, 85, 70, 50, 30, 15))
MOST_LOST: Final = 0.005
LEVEL: Final = 0.05
LEAST_IMAGES: Final = 30
MOST_IMAGES: Final = 1_000  # more take long, and half a point of these is five pictures

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def travels_raw(photographs: Photographs) -> bool:
    """Whether the photographs are so small that they go as they are, so that there is nothing to choose."""
    return kind_of(photographs[np.zeros(1, np.int64)][0]).raw


def measured_ladder(
    model: Classifier,
    photographs: Photographs,
    truth: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    facts: object,
    candidates: Sequence[Step] = CANDIDATES,
) -> list[Rung]:
    """The ladder for the photographs at the indices `chosen`, of classes `truth` [N]; none where they travel raw.

    Its rungs are some of the `candidates`. `facts` say which pictures these are: what was measured of the very same is
    kept. Raises CalibrationError where a photograph cannot be sent in any of the ways.
    """
    if travels_raw(photographs):
        return []
    used = chosen[:MOST_IMAGES]
    steps = [[step.quality, step.divisor] for step in candidates]
    key = key_of(["ladder", model.sha256, list(photographs.shape), steps, facts], (truth, used))
    found = kept(
        key,
        ("sizes", "right"),
        lambda: dict(zip(("sizes", "right"), measure(model, photographs, truth, used, candidates), strict=True)),
    )
    return rungs(candidates, found["sizes"], found["right"])


def measure(
    model: Classifier,
    photographs: Photographs,
    truth: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
    candidates: Sequence[Step] = CANDIDATES,
) -> tuple[Floats, Bools]:
    """Mean bytes [candidates], infinite where one cannot be sent; whether each was answered rightly [.., chosen]."""
    sizes, right = np.zeros((len(candidates), len(chosen))), np.zeros((len(candidates), len(chosen)), np.bool_)
    nothing_lost = np.random.default_rng(0)
    with progress() as bar:
        task = bar.add_task("back end by quality and size", total=len(chosen))
        for places in batches(photographs, len(chosen)):
            taken = photographs[chosen[places]]
            for row, step in enumerate(candidates):
                if not np.isfinite(sizes[row, 0]):
                    continue
                try:
                    sizes[row, places] = [encode_at(one, step.quality, step.divisor).size for one in taken]
                except LinkError:  # too large for its datagrams, or for its count of strips
                    sizes[row] = np.inf
                    continue
                came = [through_loss(one, 0.0, nothing_lost, step.quality, divisor=step.divisor) for one in taken]
                arrived = np.stack([image for image in came if image is not None])  # which is all of them
                right[row, places] = model.run(arrived).argmax(axis=1) == truth[chosen[places]]
            bar.advance(task, len(places))
    return sizes.mean(axis=1), right


def rungs(steps: Sequence[Step], sizes: Floats, right: Bools) -> list[Rung]:
    """The ladder of the candidates: mean bytes `sizes` [candidates], and which pictures each got `right` [..., N].

    Raises CalibrationError where none could be sent.
    """
    could = np.flatnonzero(np.isfinite(sizes))
    if not could.size:
        raise CalibrationError(
            "the back end's photographs are too large for the link at any quality: give a back end that takes smaller "
            "ones"
        )
    finest = could[np.argmax(sizes[could])]
    enough = right.shape[1] >= LEAST_IMAGES
    good = {row: row == finest or (enough and as_good(right[row], right[finest])) for row in could.tolist()}
    firm = [row for row in good if all(good[other] for other in good if _finer(steps[other], steps[row]))]
    accuracies = right.mean(axis=1)
    first = min(firm or [int(finest)], key=lambda row: float(sizes[row]))
    # From the fewest bytes up, each that is more accurate than all before.
    ladder: list[int] = []
    for row in sorted(good, key=lambda row: (float(sizes[row]), -float(accuracies[row]))):
        most = accuracies[ladder[-1]] if ladder else -1.0
        if sizes[row] < sizes[first] and most < accuracies[row] < accuracies[first]:
            ladder.append(row)
    return [
        Rung(
            quality=steps[row].quality,
            divisor=steps[row].divisor,
            bytes=float(sizes[row]),
            accuracy=float(accuracies[row]),
        )
        for row in [first, *reversed(ladder)]
    ]


def as_good(right: Bools, finest: Bools) -> bool:
    """Whether what got these pictures `right` [N] is as good as the `finest`, by the rule above."""
    lost, won = int(np.sum(finest & ~right)), int(np.sum(~finest & right))
    # The probability that at least as many of those that differ are lost, where either is as likely.
    chance = float(betainc(lost, won + 1, 0.5)) if lost else 1.0
    return lost - won <= MOST_LOST * right.size and chance > LEVEL


def _finer(one: Step, other: Step) -> bool:
    """Whether `one` harms a picture no more than the `other`."""
    return one.quality >= other.quality and one.divisor <= other.divisor
