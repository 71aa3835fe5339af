"""What lies before a call of `train_all`, and how long it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from edgesight.quant.backends import BackEnd
from edgesight.quant.learn import deterministic, prepared, take_step
from edgesight.quant.networks import Network
from edgesight.quant.recipe import Phase, recipe_for
from edgesight.quant.splits import DataSet


class Ahead:
    """What lies before a call of `train_all`: every phase of every training, how long each takes, and one bar over all.

    Seconds are guessed from a few steps of each network, taken before the first training.
    """

    def __init__(self, data: DataSet, trainings: Sequence[Network | BackEnd], quick: bool, console: Console) -> None:
        """Measure, and say what lies ahead; `trainings` in their order, a variant as often as it is trained."""
        self._steps: dict[tuple[str, Phase], int] = {}
        self._seconds: dict[tuple[str, Phase], float] = {}  # a step takes
        for network in dict.fromkeys(trainings):
            if isinstance(network, BackEnd):
                for phase, (steps, seconds) in network.ahead(data, quick).items():
                    self._steps[network.name, phase], self._seconds[network.name, phase] = steps, seconds
            else:
                self._measure(data, network, quick)
        times = Counter(network.name for network in trainings)
        self._total = sum(self._seconds[key] * steps * times[key[0]] for key, steps in self._steps.items())
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=self._total)
        parts = ", ".join(
            f"{times[name]} x {name} ({phase}, {steps:,} steps)" for (name, phase), steps in self._steps.items()
        )
        console.print(
            f"Ahead: {parts}: about {_duration(self._total)} by a few timed steps on this machine, less what "
            "checkpoints hold already. Ctrl-C stops it; the same command goes on from the last epoch.",
            soft_wrap=True,
            highlight=False,
        )

    def __enter__(self) -> Ahead:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def begin(self, label: str, network: str, phase: Phase, steps: int) -> None:
        """A phase begins, of which `steps` were done before."""
        self._bar.update(self._task, description=label)
        self._bar.advance(self._task, steps * self._seconds[network, phase])

    def done(self, network: str, phase: Phase) -> None:
        """A step was done."""
        self._bar.advance(self._task, self._seconds[network, phase])

    def _measure(self, data: DataSet, network: Network, quick: bool) -> None:
        """Time some steps of each phase of a network."""
        shape, classes = data.shape, len(data.classes)
        images = torch.from_numpy(data.train.images[:_PROBED_IMAGES].copy())
        labels = torch.from_numpy(data.train.labels[:_PROBED_IMAGES].copy())
        with deterministic(0):
            twin = network.twin(shape, classes)
            made = network.quantised(
                None if twin is None else twin.eval(), shape, classes, data.train.images[:_PROBED_IMAGES]
            )
            for phase in network.phases:
                module = twin if phase == "float" else made
                assert module is not None
                recipe = recipe_for(network.name, phase, data, quick, network.passes.get(phase))
                optimiser = prepared(module.train(), recipe)
                chosen = torch.arange(min(recipe.batch, len(images)))
                times = []
                for _ in range(_PROBES):
                    begun = time.perf_counter()
                    take_step(module, optimiser, images, labels, None, chosen, recipe, data.mirrored)
                    times.append(time.perf_counter() - begun)
                self._steps[network.name, phase] = recipe.epochs * (len(data.train) // recipe.batch)
                self._seconds[network.name, phase] = float(np.median(times[1:]))  # the first one sets up


_PROBES: Final = 6


_PROBED_IMAGES: Final = 256


def _duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
