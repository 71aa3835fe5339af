"""Edgent, executed: a network with exits, cut anew as a link moves, beside every exit and cut that stays.

The device is a process that is held to a tenth of a core, the data centre the very program `edgesight datacenter`, and
between them a link in network namespaces whose rate moves. All runs have the same requests at the same moments of the
same link. A late answer is a wrong one.

The deadline is where a link that moves matters: under which, by the plan's profile and before any run, to choose anew
for each bandwidth gains most over the best exit and cut that stay, even where all times are off by a seventh
(`telling_deadline_ms`). Under a longer one the device alone does all that the data centre can, under a shorter one
nothing comes back from there.

Which exits and cuts that stay are run for real is chosen in hindsight, by what the plan's profile says of the very
link; the best of them by what came of it.

Words owned here: fixed (an exit and a cut that stay).
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.cluster import alexnet
from edgesight.bench.cluster.asked import Asked
from edgesight.bench.cluster.device import Job
from edgesight.bench.kept import ROOT, Found
from edgesight.bench.link.programs import die_with_parent
from edgesight.bench.report import Check, PlainTable
from edgesight.host.files import place_folder, sha256, write_atomically
from edgesight.host.limits import Limits
from edgesight.host.limits import missing as no_limits
from edgesight.host.split.pieces import PIECES, REPOSITORY
from edgesight.plan.profile import Link, Slo
from edgesight.plan.split.join import join
from edgesight.plan.split.measure import measure_onnx
from edgesight.plan.split.pieces import pieces
from edgesight.plan.split.plan import Choices, SplitProfile
from edgesight.quant import datasets
from edgesight.quant.splits import Split
from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, NamespaceLink
from edgesight.sim.link.namespaces import missing as no_namespaces
from edgesight.sim.link.options import ConstantRate, EmulationError, LinkOptions, Packets, RateTrace
from edgesight.sim.workers import progress

CORES: Final = 0.1  # of the device
SLOWEST, FASTEST = 0.5, 20.0  # Mbit/s
DELAY_S: Final = 0.01  # each way
SECONDS, PER_S = 240.0, 5.0  # of the requests, evenly
DEADLINE_OFF: Final = 0.15  # by which times may be off, so that the deadline still is a good one
MORE, LEAST_LOW = 0.01, 0.0  # accuracy of ours over the best fixed one, and the low end of its interval
PAYS_MBPS, LEAST_SAVED = 1.0, 0.0  # a link over which a cut inside is faster than either end, by so many ms
MOST_FIXED: Final = 5  # that are run
_STEPS: Final = 200  # of bandwidth
_STEP, _LONGEST = 0.01, 2.0  # of deadlines, to so many times what the last exit takes on the device
_MEAN_RUN_S: Final = 8.0  # between changes of the link
_WARM_S, _WARM_PER_S = 15.0, 2.0  # of the run by which the computers' own time is measured
_PORT: Final = 8_001
_BEGIN_S: Final = 20.0  # seconds from the link's beginning to the first request
_END_S: Final = 30.0
_AT_ONCE: Final = 3  # runs
_BLOCK, _RESAMPLES = 25, 2_000
_OPTIONS: Final[dict[str, Any]] = {
    "cwd": ROOT,
    "stdout": subprocess.PIPE,
    "text": True,
    "preexec_fn": die_with_parent,
}

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ran:
    """A run: of each request, whether its answer was right and in time, and what was told of it."""

    name: str
    right: npt.NDArray[np.bool_]
    answers: list[dict[str, Any]]
    processor_s: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """Late answers counted as wrong."""
        return float(self.right.mean())

    @property
    def late(self) -> float:
        """Share of the requests."""
        return float(np.mean([one["late"] for one in self.answers]))


def lacks(asked: Asked) -> str | None:
    """Why it cannot be run here; None: it can."""
    if asked.photographs is None:
        return "no photographs were given: name them with --photographs"
    for lacking in (no_namespaces(), no_limits(Limits(cores=CORES))):
        if lacking is not None:
            return lacking
    return None


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """On photographs. Raises EmulationError where a run fails."""
    assert asked.photographs is not None  # `lacks` says so
    folder.mkdir(parents=True, exist_ok=True)
    data = datasets.load(f"folder:{asked.photographs}", None, alexnet.SIDE, say=lambda line: None)
    network = _trained(data.train, len(data.classes), folder)
    accuracy = alexnet.accuracies(network, data.calibration.images, data.calibration.labels)
    profile = profiled(network, accuracy)
    link = moving_link(SECONDS, 0)
    at = tuple((np.arange(int(SECONDS * PER_S)) / PER_S).tolist())
    picture = tuple(np.random.default_rng(1).integers(0, len(data.test.labels), len(at)).tolist())
    images = folder / "test.npy"
    np.save(images, data.test.images)
    with tempfile.TemporaryDirectory() as name:
        bench = _Bench(Path(name), network, profile, images, data.test.labels, console)
        round_trip_ms = 2e3 * DELAY_S + bench.overhead_ms()
        deadline_ms = telling_deadline_ms(profile, round_trip_ms)
        fixed = in_hindsight(profile, link, deadline_ms, round_trip_ms)
        made = bench.made(deadline_ms, round_trip_ms, fixed)
        runs = bench.run([None, *fixed], made, link, at, picture)
    return found(runs, profile, accuracy, link, deadline_ms, round_trip_ms, console)


def _trained(split: Split, classes: int, folder: Path) -> Path:
    """The network with exits, trained where that was not done on these pictures."""
    path, told = folder / "alexnet.onnx", folder / "alexnet.json"
    code = Path(str(alexnet.__file__)).read_bytes()
    facts = {"of": sha256(split.images.tobytes() + split.labels.tobytes() + code)}
    if path.is_file() and told.is_file() and json.loads(told.read_text()) == facts:
        return path
    network = alexnet.train(split.images, split.labels, classes)
    alexnet.export(network, path)
    write_atomically(told, json.dumps(facts).encode())
    return path


def profiled(network: Path, accuracy: dict[str, float]) -> SplitProfile:
    """The data centre as measured here, the device so many times slower as it has less of a core: projected."""
    here, there = (measure_onnx(network, name, repeats=25) for name in ("device", "data-centre"))
    return join(here, there, accuracy, "measured", device_factor=1 / CORES)


def profile_ms(profile: SplitProfile) -> float:
    """What the last exit takes on the device alone."""
    return sum(layer.ms[profile.device.name] for layer in profile.chain(profile.exits[-1]))


def moving_link(seconds: float, seed: int) -> list[float]:
    """Mbit/s by the second: constant for a while, then anything between the slowest and the fastest, by ratio."""
    chance = np.random.default_rng([seed, 17])
    rates: list[float] = []
    while len(rates) < seconds:
        rate = float(np.exp(chance.uniform(np.log(SLOWEST), np.log(FASTEST))))
        rates += [round(rate, 3)] * int(1 + chance.exponential(_MEAN_RUN_S))
    return rates[: int(seconds)]


def saved_ms(profile: SplitProfile, round_trip_ms: float) -> float:
    """What the last exit is sooner there by the best cut inside, at PAYS_MBPS, than by either end; by the profile."""
    choices = Choices.of(profile, "neurosurgeon")
    latency = choices.latency_ms(Link(mbps=PAYS_MBPS, round_trip_ms=round_trip_ms))
    inside = choices.crossing & (choices.cuts > 0)
    return float(latency[~inside].min() - latency[inside].min())


def telling_deadline_ms(profile: SplitProfile, round_trip_ms: float) -> float:
    """The deadline under which choosing anew gains most over the best that stays, by the profile.

    Every bandwidth from the slowest to the fastest comes equally often, by ratio, and is known. What a deadline gains
    is the least of what those gain that are off by DEADLINE_OFF: one beside a cliff is no good one.
    """
    choices = Choices.of(profile)
    link = np.geomspace(SLOWEST, FASTEST, _STEPS)
    near = int(np.log1p(DEADLINE_OFF) / np.log1p(_STEP))
    count = int(np.log(_LONGEST * profile_ms(profile) / round_trip_ms) / np.log1p(_STEP))
    deadlines = round_trip_ms * (1.0 + _STEP) ** np.arange(-near, max(count, 1) + near)

    def gain(deadline_ms: float) -> float:
        accuracy = choices.accuracy * (link[:, None] >= choices.mbps_needed(deadline_ms, round_trip_ms)[None, :])
        return float(accuracy.max(axis=1).mean() - accuracy.mean(axis=0).max())

    gains = np.array([gain(deadline_ms) for deadline_ms in deadlines])
    least = np.lib.stride_tricks.sliding_window_view(gains, 2 * near + 1).min(axis=1)
    return float(deadlines[near + int(least.argmax())])


def in_hindsight(
    profile: SplitProfile, link: Sequence[float], deadline_ms: float, round_trip_ms: float
) -> list[tuple[str, int]]:
    """The exits and cuts with the highest mean accuracy over the link, as the profile has it; late counts nothing."""
    choices = Choices.of(profile)
    needed = choices.mbps_needed(deadline_ms, round_trip_ms)
    on_time = np.mean(np.asarray(link)[:, None] >= needed[None, :], axis=0)
    order = np.argsort(-choices.accuracy * on_time, kind="stable")[:MOST_FIXED]
    return [(profile.exits[int(choices.exits[index])].name, int(choices.cuts[index])) for index in order]


class _Bench:
    """Where runs are made."""

    def __init__(
        self,
        folder: Path,
        network: Path,
        profile: SplitProfile,
        images: Path,
        truth: npt.NDArray[np.int64],
        console: Console,
    ) -> None:
        self._folder, self._network, self._profile = folder, network, profile
        self._images, self._truth, self._console = images, truth, console

    def made(self, deadline_ms: float, round_trip_ms: float, besides: Sequence[tuple[str, int]]) -> Path:
        """A folder of pieces."""
        path = self._folder / f"pieces-{deadline_ms:.3f}-{round_trip_ms:.3f}"
        files = pieces(self._network, self._profile, Slo(latency_ms=deadline_ms), round_trip_ms, besides=besides)
        place_folder(path, files, PIECES)
        return path

    def overhead_ms(self) -> float:
        """What the computers at both ends take for a request beside the network's layers, over a fast link.

        Of the last exit, at the cut that is fastest over a middling link.
        """
        choices = Choices.of(self._profile)
        middling = Link(mbps=float(np.sqrt(SLOWEST * FASTEST)), round_trip_ms=2e3 * DELAY_S)
        away = np.where(
            choices.crossing & (choices.accuracy == choices.accuracy[0]), choices.latency_ms(middling), np.inf
        )
        index = int(away.argmin())
        choice = (self._profile.exits[int(choices.exits[index])].name, int(choices.cuts[index]))
        at = tuple((np.arange(int(_WARM_S * _WARM_PER_S)) / _WARM_PER_S).tolist())
        made = self.made(20 * profile_ms(self._profile), middling.round_trip_ms, [choice])
        (ran,) = self.run([choice], made, [FASTEST] * int(_WARM_S), at, tuple(range(len(at))))
        fast = middling.model_copy(update={"mbps": FASTEST})
        expected = float(choices.latency_ms(fast)[index])
        return max(1e3 * float(np.median([one["took_s"] for one in ran.answers])) - expected, 0.0)

    def run(
        self,
        choices: Sequence[tuple[str, int] | None],
        made: Path,
        link: Sequence[float],
        at: tuple[float, ...],
        picture: tuple[int, ...],
    ) -> list[Ran]:
        """Each choice, and the planner for None, over the same link."""

        def one(choice: tuple[str, int] | None) -> Ran:
            return self._one(choice, made, link, at, picture)

        with ThreadPoolExecutor(_AT_ONCE) as threads, progress() as bar:
            task = bar.add_task("runs over a moving link", total=len(choices))
            found = []
            for ran in threads.map(one, choices):
                found.append(ran)
                bar.advance(task)
        return found

    def _one(
        self,
        choice: tuple[str, int] | None,
        made: Path,
        link: Sequence[float],
        at: tuple[float, ...],
        picture: tuple[int, ...],
    ) -> Ran:
        # The link's own trace begins again at its end; what comes before the first request is its first rate.
        began = time.monotonic()
        rates = (*[link[0]] * int(_BEGIN_S), *link, *[link[-1]] * int(_END_S))
        up = LinkOptions(RateTrace(rates), DELAY_S, queue=Packets(200))
        down = LinkOptions(ConstantRate(FASTEST * 1e6), DELAY_S, queue=Packets(200))
        name = "as planned" if choice is None else f"{choice[0]} cut behind {choice[1]}"
        with NamespaceLink(up, down, seed=0, tcp="cubic", began=began) as there:
            words = ["datacenter", "serve", "--repository", str(made / REPOSITORY), "--grpc", f"0.0.0.0:{_PORT}"]
            program = [sys.executable, "-u", "-m", "edgesight"]
            server = there.run_datacenter([*program, *words, "--insecure"], **_OPTIONS)
            _wait_ready(server)
            job = self._folder / f"job-{os.getpid()}-{time.monotonic_ns()}"
            told = Job(
                made, choice, self._images, picture, at, began + _BEGIN_S, f"{DATACENTER_ADDRESS}:{_PORT}", CORES
            )
            job.write_bytes(pickle.dumps(told))
            device = there.run_edge([*program[:3], "edgesight.bench.cluster.device", str(job)], **_OPTIONS)
            try:
                said, _ = device.communicate(timeout=_BEGIN_S + at[-1] + _END_S)
            except subprocess.TimeoutExpired:
                raise EmulationError(
                    f"{name}: the device did not end: try again when this machine is less busy"
                ) from None
            if device.returncode:
                raise EmulationError(f"{name}: the device failed: see what it said above")
        answers = json.loads(said)
        right = [
            not one["late"] and one["label"] == self._truth[index]
            for one, index in zip(answers["answers"], picture, strict=True)
        ]
        return Ran(name, np.array(right), answers["answers"], answers["processor_s"], time.monotonic() - began)


def _wait_ready(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    heard, _, _ = select.select([server.stdout], [], [], _END_S)
    if not heard or not server.stdout.readline().startswith("data centre: "):
        raise EmulationError("the data centre did not begin: see what it said above")


def found(
    runs: Sequence[Ran],
    profile: SplitProfile,
    accuracy: dict[str, float],
    link: Sequence[float],
    deadline_ms: float,
    round_trip_ms: float,
    console: Console,
) -> Found:
    """What the runs come to; the first is the planned one."""
    ours, fixed = runs[0], runs[1:]
    best = max(fixed, key=lambda one: one.accuracy)
    more = difference(ours.right, best.right)
    saved = saved_ms(profile, round_trip_ms)
    inside = {(one["exit"], one["cut"]) for one in ours.answers if one["cut"] > 0 and one["by"] == "data centre"}
    console.print(_table(runs))
    body = {
        "cores": CORES,
        "deadline_ms": deadline_ms,
        "round_trip_ms": round_trip_ms,
        "accuracy_of_exits": accuracy,
        "requests": len(ours.right),
        "link_mbps": list(link),
        "device_ms_of_the_last_exit": profile_ms(profile),
        "saved_ms_by_a_cut_inside": saved,
        "runs": [
            {
                "name": one.name,
                "accuracy": one.accuracy,
                "late": one.late,
                "processor_s": one.processor_s,
                "seconds": one.seconds,
                "by": _counts([answer["by"] for answer in one.answers]),
                "cuts": _counts([f"{answer['exit']} {answer['cut']}" for answer in one.answers]),
                "p50_ms": 1e3 * float(np.percentile([answer["took_s"] for answer in one.answers], 50)),
                "p99_ms": 1e3 * float(np.percentile([answer["took_s"] for answer in one.answers], 99)),
            }
            for one in runs
        ],
        "best_fixed": best.name,
        "more": more,
    }
    checks = (
        Check(f"Edgent: accuracy in time above {best.name}, the best that stays", more[0], MORE, False, "share",
              "measured"),
        Check("Edgent: low end of its 95 % interval", more[1], LEAST_LOW, False, "share", "measured"),
        Check("Edgent: cuts inside the network that were used", len(inside), 1, False, "cuts", "measured"),
        Check(f"Edgent: what a cut inside saves the last exit at {PAYS_MBPS:g} Mbit/s", saved, LEAST_SAVED, False, "ms",
              "projected"),
    )  # fmt: skip
    return Found(body, checks)


def difference(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_], seed: int = 0) -> list[float]:
    """Of the mean accuracies on the same requests [N], with the 95 % interval of a paired block bootstrap."""
    gain = ours.astype(np.float64) - theirs
    blocks = len(gain) // _BLOCK
    by_block = gain[: blocks * _BLOCK].reshape(blocks, _BLOCK).mean(axis=1)
    chance = np.random.default_rng([seed, 23])
    resampled = by_block[chance.integers(0, blocks, (_RESAMPLES, blocks))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return [float(gain.mean()), float(low), float(high)]


def _counts(words: Sequence[str]) -> dict[str, int]:
    return {word: words.count(word) for word in dict.fromkeys(words)}


def _table(runs: Sequence[Ran]) -> PlainTable:
    table = PlainTable(
        "Accuracy over a moving link, late answers wrong (measured)",
        ["run", "accuracy, %", "late, %", "P50 ms", "P99 ms"],
        words=("run",),
    )
    for one in runs:
        took = [1e3 * answer["took_s"] for answer in one.answers]
        low, high = np.percentile(took, [50, 99])
        table.add_row(one.name, f"{100 * one.accuracy:.1f}", f"{100 * one.late:.1f}", f"{low:.0f}", f"{high:.0f}")
    return table
