"""The back end for photographs: the pretrained EfficientNet-Lite0, fine-tuned to a data set.

First the frozen blocks see every photograph in several views, and what they make of it is kept; then a linear head is
fitted to what the whole trunk makes of the views; then the last blocks and the head are trained together on what was
kept. So a photograph goes through the costly first blocks once a view, and not once an epoch. No choice is made by an
accuracy on calibration or test.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.kernel import BackEndInput
from edgesight.quant import efficientnet
from edgesight.quant.backends import Answers, BackEnd, Served, answer_steps, parameters_of, seconds_a_batch
from edgesight.quant.efficientnet import SIDE, EfficientNetLite0
from edgesight.quant.facts import Facts
from edgesight.quant.learn import Course, Trained, checkpoints_of, deterministic, one_cycle, restore, save
from edgesight.quant.networks import Shape
from edgesight.quant.recipe import Phase, TrainingError
from edgesight.quant.splits import DataSet
from edgesight.quant.views import BATCH, SEED, FineTuning, Frozen, View, tuning_for

WORD: Final = "efficientnet-lite0"
"""What the command line calls it."""


@dataclass(frozen=True)
class FineTuned(BackEnd):
    """EfficientNet-Lite0, fine-tuned.

    Attributes:
        side: pixels of each side of the photograph that it takes. Smaller ones are enlarged to 224 inside it.
    """

    side: int = SIDE

    def __post_init__(self) -> None:
        """TrainingError unless the side can be enlarged to what the network takes."""
        if not 8 <= self.side <= SIDE:
            raise TrainingError(f"--backend-size: found {self.side}, expected 8 to {SIDE} pixels for {WORD}")

    @property
    def origin(self) -> str:
        """The pretrained network's name."""
        return WORD

    @property
    def form(self) -> BackEndInput:
        """Bytes in colour: normalisation is part of the model."""
        return BackEndInput(
            height=self.side,
            width=self.side,
            channels=3,
            layout="NHWC",
            element="uint8",
            mean=[0.0] * 3,
            deviation=[1.0] * 3,
        )

    @property
    def options(self) -> tuple[str, ...]:
        """Name and, where it is another, size."""
        return ("--backend", WORD, *(() if self.side == SIDE else ("--backend-size", str(self.side))))

    def check(self, data: DataSet, console: Console) -> None:
        """PretrainedError where the weights are absent."""
        missing = efficientnet.lacking()
        if missing is not None:
            raise efficientnet.PretrainedError(missing)

    def ahead(self, data: DataSet, quick: bool) -> Mapping[Phase, tuple[int, float]]:
        """Timed on a batch of photographs each."""
        tuning = tuning_for(data, quick)
        with deterministic(0):
            network = _network(len(data.classes))
            photographs = data.train.photographs
            rows = np.arange(min(BATCH, len(data.train)))
            frozen = Frozen(network, photographs, tuning)
            seen = _timed(lambda: frozen.seen(rows, min(1, tuning.views - 1)))
            values, _ = frozen.seen(rows, 0)
            labels = torch.from_numpy(data.train.labels[rows].copy())
            optimiser = _optimiser(network, tuning)
            step = _timed(lambda: _step(network, optimiser, values.float(), labels, tuning))
            served = Served(_exported(network, self.side), self.form)
            answered = seconds_a_batch(data, served)
        return {
            "features": (tuning.views * _batches(len(data.train)), seen),
            "blocks": (tuning.epochs * (len(data.train) // tuning.batch), step * tuning.batch / len(rows)),
            "answers": (answer_steps(data), answered),
        }

    def train(self, data: DataSet, seed: int, course: Course) -> Trained:
        """As the module says."""
        tuning = tuning_for(data, course.quick, course.epochs)
        identity = repr((self._identity(data, tuning), tuning, seed))
        settings = hashlib.sha256(identity.encode()).hexdigest()[:12]
        checkpoint = checkpoints_of(course, data) / f"backend-seed{seed}-{settings}-blocks.pt"
        with deterministic(seed):
            network = _network(len(data.classes))
            optimiser = _optimiser(network, tuning)
            first, seconds = restore(checkpoint, identity, network, optimiser) if course.resume else (0, 0.0)
            if not first:
                self._foretell(network, data, tuning, course.console or Console(quiet=True))
            if first < tuning.epochs:
                seconds += self._see(network, data, tuning, course)
            elif course.ahead is not None:
                course.ahead.begin(
                    f"{data.name}-backend", "backend", "features", tuning.views * _batches(len(data.train))
                )
            if not first:
                seconds += _fit_head(network, self._kept(data, tuning, course), data, tuning)
            going = _Going(checkpoint, identity, network, optimiser, first, seconds)
            seconds = self._fit_blocks(going, data, tuning, seed, course)
            served = Served(_exported(network.eval(), self.side), self.form)
        answers = Answers(data, served, course)
        right, test = answers.right("calibration"), answers.right("test")
        return Trained(self, seed, served, (float(test.mean()),), right, None, seconds, {"blocks": tuning})

    def facts(self, module: Any, shape: Shape, classes: int) -> Facts:
        """As built."""
        assert isinstance(module, Served)
        layers = [{"name": WORD, "kind": "EfficientNetLite0", "output_shape": [classes]}]
        return Facts(parameters_of(module.content), efficientnet.multiplications(classes), layers, None, None)

    def tidy(self, data: DataSet, course: Course) -> None:
        """Remove what the frozen blocks made."""
        for path in self._folder(data, tuning_for(data, course.quick, course.epochs), course).glob("*.npy"):
            path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------- features

    def _identity(self, data: DataSet, tuning: FineTuning) -> str:
        """What the frozen blocks' values are a function of."""
        seen = tuning.block, tuning.least, tuning.stretch, tuning.light, tuning.mirror, SEED
        return repr((WORD, self.side, seen, data.checksum, torch.__version__))

    def _folder(self, data: DataSet, tuning: FineTuning, course: Course) -> Path:
        settings = hashlib.sha256(self._identity(data, tuning).encode()).hexdigest()[:12]
        return checkpoints_of(course, data) / f"backend-{settings}-views"

    def _kept(self, data: DataSet, tuning: FineTuning, course: Course) -> list[View]:
        folder = self._folder(data, tuning, course)
        return [View(folder / f"{view}.npy", folder / f"{view}-trunk.npy") for view in range(tuning.views)]

    def _see(self, network: EfficientNetLite0, data: DataSet, tuning: FineTuning, course: Course) -> float:
        """Let the frozen blocks see each view that was not seen yet; return the seconds spent on all."""
        label, ahead = f"{data.name}-backend: what the frozen blocks see", course.ahead
        count = len(data.train)
        kept = self._kept(data, tuning, course)
        done = [view for view in kept if course.resume and view.complete(count)]
        if ahead is not None:
            ahead.begin(label, "backend", "features", len(done) * _batches(count))
        frozen = Frozen(network, data.train.photographs, tuning)
        begun = time.perf_counter()
        for index, view in enumerate(kept):
            if view in done:
                continue
            trunk = np.empty((count, efficientnet.FEATURES), np.float32)

            def write(temporary: Path, index: int = index, trunk: NDArray[np.float32] = trunk) -> None:
                held: Any = None
                for start in range(0, count, BATCH):
                    rows = np.arange(start, min(start + BATCH, count))
                    values, features = frozen.seen(rows, index)
                    if held is None:
                        shape = (count, *values.shape[1:])
                        held = np.lib.format.open_memmap(temporary, "w+", np.int16, shape)
                    held[rows] = values.view(torch.int16).numpy()
                    trunk[rows] = features.numpy()
                    if ahead is not None:
                        ahead.done("backend", "features")
                held.flush()

            view.write(write, trunk)
        return time.perf_counter() - begun

    def _foretell(self, network: EfficientNetLite0, data: DataSet, tuning: FineTuning, console: Console) -> None:
        """Say what accuracy to expect, by a head fitted to some photographs and tried on others of the train split."""
        fitted, tried = _probed(data.train.labels)
        if not len(fitted) or not len(tried):
            return
        frozen = Frozen(network, data.train.photographs, tuning)
        labels = torch.from_numpy(data.train.labels.copy())
        seen = [torch.cat([frozen.seen(part, 0)[1] for part in _parts(rows)]) for rows in (fitted, tried)]
        head = _head(seen[0], labels[fitted], len(data.classes), tuning)
        right = int((head(seen[1]).argmax(1) == labels[tried]).sum())
        found = binomtest(right, len(tried)).proportion_ci(0.95)
        console.print(
            f"{data.name}-backend: a linear head, fitted to {len(fitted):,} train pictures, answers "
            f"{right / len(tried):.1%} of {len(tried):,} others rightly (95 % confidence: {found.low:.1%} to "
            f"{found.high:.1%}); expect about that, and mostly some points more, of the fine-tuned network.",
            soft_wrap=True,
            markup=False,
            highlight=False,
        )

    # --------------------------------------------------------------------------------------------------- blocks

    def _fit_blocks(self, going: _Going, data: DataSet, tuning: FineTuning, seed: int, course: Course) -> float:
        """Train the last blocks in place; return the seconds spent on all, those before an interruption included."""
        network, optimiser, first, seconds = going.network, going.optimiser, going.epochs, going.seconds
        label, console = f"{data.name}-backend-seed{seed}-blocks", course.console or Console(quiet=True)
        if first:
            done = "was finished before" if first == tuning.epochs else f"goes on after epoch {first}/{tuning.epochs}"
            console.print(f"{label}: {done}, from {going.checkpoint}", soft_wrap=True, markup=False, highlight=False)
        views = [view.values() for view in self._kept(data, tuning, course)] if first < tuning.epochs else []
        labels = torch.from_numpy(data.train.labels.copy())
        steps = len(labels) // tuning.batch
        if course.ahead is not None:
            course.ahead.begin(label, "backend", "blocks", first * steps)
        for epoch in range(first, tuning.epochs):
            begun = time.perf_counter()
            torch.manual_seed(1_000 * seed + epoch)
            order = torch.randperm(len(labels))
            total = 0.0
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = tuning.rate * one_cycle((epoch + step / steps) / tuning.epochs, tuning.warm_up)
                chosen = order[step * tuning.batch : (step + 1) * tuning.batch]
                drawn = torch.randint(len(views), (len(chosen),))
                values = np.stack([views[view][row] for view, row in zip(drawn, chosen, strict=True)])
                total += _step(network, optimiser, _as_values(values), labels[chosen], tuning)
                if course.ahead is not None:
                    course.ahead.done("backend", "blocks")
            seconds += time.perf_counter() - begun
            save(going.checkpoint, going.identity, epoch + 1, seconds, network, optimiser)
            console.print(f"{label}: epoch {epoch + 1}/{tuning.epochs}, loss {total / steps:.4f}, {seconds:.0f} s")
        return seconds


@dataclass(frozen=True)
class _Going:
    """A training of the last blocks, as far as its checkpoint says that it has come."""

    checkpoint: Path
    identity: str
    network: EfficientNetLite0
    optimiser: torch.optim.Optimizer
    epochs: int
    seconds: float


def _network(classes: int) -> EfficientNetLite0:
    """The pretrained network with an empty head for so many classes."""
    network = EfficientNetLite0(classes)
    state = {name: torch.from_numpy(values) for name, values in efficientnet.pretrained().items()}
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(classes, efficientnet.FEATURES), torch.zeros(classes)
    network.load_state_dict(state)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types Tensor.to only
    return network


def _fit_head(network: EfficientNetLite0, views: list[View], data: DataSet, tuning: FineTuning) -> float:
    """Fit the head to what the trunk made of all views; return the seconds spent."""
    begun = time.perf_counter()
    features = torch.from_numpy(np.concatenate([np.load(view.trunk) for view in views]))
    labels = torch.from_numpy(data.train.labels.copy()).repeat(len(views))
    network._fc.load_state_dict(_head(features, labels, len(data.classes), tuning).state_dict())
    return time.perf_counter() - begun


def _head(features: Tensor, labels: Tensor, classes: int, tuning: FineTuning) -> nn.Linear:
    """The linear layer that tells classes best from features `[n, 1280]`, by softmax regression."""
    head = nn.Linear(efficientnet.FEATURES, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        fit = functional.cross_entropy(head(features), labels, label_smoothing=tuning.smoothing)
        whole = fit + tuning.penalty * head.weight.square().sum()
        whole.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
        return whole

    solver.step(loss)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return head


_ITERATIONS: Final = 100


def _optimiser(network: EfficientNetLite0, tuning: FineTuning) -> torch.optim.Optimizer:
    network.requires_grad_(False)
    trained = [*network.above(tuning.block), network._fc]
    for layer in trained:
        layer.requires_grad_(True)
    return torch.optim.AdamW(
        [parameter for layer in trained for parameter in layer.parameters()], 0.0, weight_decay=tuning.decay
    )


def _step(
    network: EfficientNetLite0, optimiser: torch.optim.Optimizer, values: Tensor, labels: Tensor, tuning: FineTuning
) -> float:
    """Learn once from what goes into the first block that is trained, float `[n, H, W, C]`; return the loss."""
    optimiser.zero_grad()
    logits = network.head(network.features(values.permute(0, 3, 1, 2), tuning.block))
    loss = functional.cross_entropy(logits, labels, label_smoothing=tuning.smoothing)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
    optimiser.step()
    return float(loss.detach())


def _as_values(kept: NDArray[np.int16]) -> Tensor:
    return torch.from_numpy(kept).view(torch.bfloat16).float()


def _exported(network: EfficientNetLite0, side: int) -> bytes:
    state = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        efficientnet.export(state, path, side)
        return path.read_bytes()


_PROBED: Final = 1_000  # train photographs for the forecast of accuracy


def _probed(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit a probe to and rows to try it on, of each class so many that the shares are the split's.

    Names are in order within a class, and those that are tried come last: frames of one track seldom are in both.
    """
    share = min(1.0, _PROBED / len(labels))
    fitted, tried = [], []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        cut = len(rows) - len(rows) // 4
        fitted.append(_spread(rows[:cut], share))
        tried.append(_spread(rows[cut:], share))
    return np.concatenate(fitted), np.concatenate(tried)


def _spread(rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """A share of `rows`, evenly from all over."""
    return rows[np.linspace(0, len(rows) - 1, math.ceil(share * len(rows))).round().astype(np.int64)]


def _parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _batches(count: int) -> int:
    return -(-count // BATCH)


def _timed(work: Callable[[], object]) -> float:
    """Median seconds of a few runs, the first one aside."""
    times = []
    for _ in range(_TIMINGS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return float(np.median(times[1:]))


_TIMINGS: Final = 4
