"""The systems that are held against each other: what people use today, ours, and ours without its parts.

A selecting server is in the manner of INFaaS (Romero et al., USENIX ATC 2021): it knows each variant's accuracy, takes
the cheapest that meets the target, and loads it where it is not in the device's memory, in place of another. Here the
variants are each stage alone, on the device, and the back end at the data centre.

Words owned here: system, variant, swap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edgesight.bench.serve.links import Links
from edgesight.bench.serve.material import Material
from edgesight.bench.serve.replay import Host, Replayed
from edgesight.bench.serve.virtual import (
    WARM_UP,
    Known,
    Outcomes,
    Way,
    grpc,
    our_link,
    quic_streams,
    run_data_centre,
    run_edge,
)
from edgesight.bench.thresholds import keep, pick
from edgesight.host.calibrate import calibrate
from edgesight.host.edge import LOOK_AT_MOST
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.kernel import Calibration, Rung, Sample, Target
from edgesight.host.observed import Observed
from edgesight.sim.workload import Workload

Ints = npt.NDArray[np.int64]

HELD_BACK: Final = 0.15  # as for the photographs: see `edgesight.bench.thresholds.pick`
_ANY_TARGET: Final = 0.5  # of the calibration that the curves are taken from


@dataclass(frozen=True)
class Goal:
    """An accuracy that is asked for, and what each kind of system needs to know to reach it.

    Attributes:
        below: points below the data centre alone, as a share.
        accuracy: on the calibration split.
        cascade: thresholds of all stages.
        two_stage: thresholds of the first stage alone before the data centre.
        variant: the selecting server's choice; the number of stages means the back end.
    """

    below: float
    accuracy: float
    cascade: Target
    two_stage: Target
    variant: int


def goals_of(
    observed: Observed,
    belows: Sequence[float],
    *,
    alone: Ints,
    loss: float,
    backend_sha256: str,
    rests_on: Sample,
    ladder: Sequence[Rung],
) -> tuple[Calibration, list[Goal]]:
    """The goals that lie so far below the data centre alone, and the calibration that their curves come from.

    `alone` is what the data centre says of the pictures where they travel unharmed [N], as over streams they do. All is
    picked on the `observed` pictures alone, without a promise (`edgesight.bench.thresholds`), at the bucket of
    that `loss`. Raises CalibrationError.
    """
    bucket = max(place for place, one in enumerate(observed.losses) if one <= loss)
    first = dataclasses.replace(
        observed,
        margins=observed.margins[:1],
        labels=observed.labels[:1],
        backend=np.broadcast_to(alone, observed.backend.shape),
        came=np.ones_like(observed.came),
    )

    def curves(of: Observed) -> Calibration:
        return calibrate(of, [_ANY_TARGET], loss=loss, backend_sha256=backend_sha256, rests_on=rests_on, ladder=ladder)

    whole, two = curves(observed), curves(first)
    backend = float((alone == observed.truth).mean())
    accuracies = [*(observed.labels == observed.truth).mean(axis=1), backend]
    goals = []
    for place, below in enumerate(belows):
        accuracy = backend - below
        variant = next(number for number, one in enumerate(accuracies) if one >= accuracy - 1e-9)
        cascade, two_stage = (
            _target(of, curves, backend, accuracy, bucket, place, len(observed.labels))
            for of, curves in ((observed, whole), (first, two))
        )
        goals.append(Goal(below, accuracy, cascade, two_stage, variant))
    return whole, goals


def _target(
    observed: Observed,
    curves: Calibration,
    unharmed: float,
    accuracy: float,
    bucket: int,
    place: int,
    stages: int,
) -> Target:
    """Thresholds that reach that accuracy with the least offloaded; none is where the fabric alone reaches it.

    Where harmed pictures come out better than `unharmed` ones, that is taken for chance, which other pictures lack.
    """
    alone = (observed.labels == observed.truth).mean(axis=1) >= accuracy
    if alone[0]:
        row, offload = [ALWAYS] * len(alone), 0.0
    elif alone[-1]:
        row, offload = keep(observed, accuracy, HELD_BACK), 0.0
    else:
        within = min(float(observed.backend_right[bucket].mean()), unharmed) - accuracy
        picked = pick(observed, max(within, 0.0), bucket, HELD_BACK)
        row, offload = picked.thresholds, picked.offload
    row = [*row, *[NEVER] * (stages - len(row))]
    changed = {"accuracy": accuracy, "thresholds": row, "calibration_offload": offload, "set_index": place}
    return curves.targets[0].model_copy(update=changed)


@dataclass(frozen=True)
class System:
    """A way to answer requests.

    Attributes:
        name: in reports.
        title: for people.
        today: it is what people use today.
        ours: it is held against those.
    """

    name: str
    title: str
    today: bool = False
    ours: bool = False


EDGE = System("edge", "always the edge", today=True)
DATA_CENTRE = System("data-centre", "always the data centre, over gRPC", today=True)
SELECTING = System("selecting", "a model-selecting server", today=True)
TWO_STAGE = System("two-stage", "two stages over QUIC streams", today=True)
STREAMS = System("streams", "ours, over QUIC streams")
SEQUENTIAL = System("sequential", "ours, one after the other")
HEDGED = System("hedged", "ours", ours=True)
SYSTEMS: Final = (EDGE, DATA_CENTRE, SELECTING, TWO_STAGE, STREAMS, SEQUENTIAL, HEDGED)


@dataclass(frozen=True)
class Served:
    """What a system did, and how often it put another model in a model's place on the device."""

    outcomes: Outcomes
    swaps: int = 0


def serve(  # noqa: PLR0913 - all that a cell is
    system: System,
    material: Material,
    goals: Sequence[Goal],
    workload: Workload,
    links: Links,
    known: Known,
    *,
    load_s: float,
    seed: int = 0,
    replayed: Replayed | None = None,
    warm_up: int = WARM_UP,
) -> Served:
    """Put a `system` under a workload whose targets are the `goals`, by place.

    `load_s` is the time that a selecting server takes to load a variant on the device. With what is `replayed` of a
    real run, that is said again.
    """
    if system is EDGE:
        variants = np.full(len(workload), len(material.labels) - 1)
        return Served(_on_device(material, workload, variants, 0.0, replayed, warm_up)[0])
    if system is DATA_CENTRE:
        return Served(
            run_data_centre(material, workload, links, grpc, known, seed=seed, warm_up=warm_up, replayed=replayed)
        )
    if system is SELECTING:
        if all(goal.variant == len(material.labels) for goal in goals):  # it never has anything else to select
            return serve(DATA_CENTRE, material, goals, workload, links, known, load_s=load_s, seed=seed,
                         replayed=replayed, warm_up=warm_up)  # fmt: skip
        return _selected(material, goals, workload, links, known, load_s, seed, replayed, warm_up)
    ways: dict[System, Way] = {TWO_STAGE: quic_streams, STREAMS: quic_streams}
    targets = [goal.two_stage if system is TWO_STAGE else goal.cascade for goal in goals]
    way = ways.get(system, our_link)
    stages = 1 if system is TWO_STAGE else len(material.labels)
    return Served(
        run_edge(
            material,
            targets,
            workload,
            links,
            way,
            known,
            stages,
            hedged=system is HEDGED,
            seed=seed,
            warm_up=warm_up,
            replayed=replayed,
        )
    )


def _selected(  # noqa: PLR0913 - all that a cell is
    material: Material,
    goals: Sequence[Goal],
    workload: Workload,
    links: Links,
    known: Known,
    load_s: float,
    seed: int,
    replayed: Replayed | None,
    warm_up: int,
) -> Served:
    """Each request at the variant of its goal."""
    variants = np.array([goal.variant for goal in goals])[workload.target]
    away = variants == len(material.labels)
    here, swaps = _on_device(material, workload, variants, load_s, replayed, 0)
    label, took, late, stage = here.label.copy(), here.took_s.copy(), here.late.copy(), here.stage.copy()
    sent, busy, ran = 0, 0.0, 0
    if away.any():
        part = workload.take(np.flatnonzero(away))
        there = run_data_centre(material, part, links, grpc, known, seed=seed, warm_up=0, replayed=replayed)
        label[away], took[away], late[away], stage[away] = there.label, there.took_s, there.late, there.stage
        sent, busy, ran = there.bytes, there.busy_s, there.ran
    counted = slice(warm_up, None)
    return Served(Outcomes(label[counted], took[counted], late[counted], stage[counted], sent, busy, ran), swaps)


class LoneStages:
    """A device that holds one stage at a time, and loads another where that is asked for.

    Attributes:
        swaps: how often it did.
    """

    def __init__(self, material: Material, load_s: float) -> None:
        """Nothing is loaded yet; another stage takes `load_s`, the first none."""
        self._material, self._load_s = material, load_s
        self._resident: int | None = None
        self.swaps = 0

    def seconds(self, stages: Sequence[int]) -> float:
        """Of a run that these stages answer in turn: one picture follows another as soon as its stage takes it."""
        took, before = 0.0, None
        for stage in stages:
            if self._resident not in (None, stage):
                self.swaps += 1
                took += self._load_s
            self._resident = stage
            took += self._material.interval_s(stage) if stage == before else self._material.alone_s(stage)
            before = stage
        return took


def _on_device(
    material: Material,
    workload: Workload,
    variants: np.ndarray,
    load_s: float,
    replayed: Replayed | None,
    warm_up: int,
) -> tuple[Outcomes, int]:
    """First come, first served, by the stages `variants` alone; those of the data centre take no part. And swaps.

    As an edge does it, what waits when the device is free is one run of it, all of which is answered at its end.
    """
    stages = len(material.labels)
    label = np.zeros(len(workload), np.int64)
    took = workload.deadline_s.copy()
    free, device = 0.0, LoneStages(material, load_s)
    host = Host.of(replayed)
    here = np.flatnonzero(variants < stages)
    ready = workload.at[here] + np.array([host.takes() for _ in here])
    first = 0
    while first < len(here):
        begins = max(free, float(ready[first]))
        behind = first + 1
        while behind < len(here) and behind < first + LOOK_AT_MOST and ready[behind] <= begins:
            behind += 1
        run = here[first:behind]
        free, first = begins + device.seconds(variants[run].tolist()), behind
        took[run] = free - workload.at[run]
        label[run] = material.labels[variants[run], workload.picture[run]]
    late = took >= workload.deadline_s
    counted = slice(warm_up, None)
    return Outcomes(label[counted], took[counted], late[counted], variants[counted], 0, 0.0, 0), device.swaps
