"""Training: a float twin first, batch normalisation folded, then quantisation-aware; resumable and deterministic.

This module owns the words *recipe*, *checkpoint*, *zoo* and *model card*. The back end teaches: the two stages learn
from its logits beside the labels. Weights shipped in the zoo are always seed 0's; further seeds only show in the card
how far an accuracy depends on luck. No epoch and no weight is chosen by an accuracy on calibration or test: the last
epoch's network is the one that counts, and accuracies are only measured.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import pickle
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from edgesight.quant import datasets, variants
from edgesight.quant.datasets import AS_NAMED, DataSet, FolderReading
from edgesight.quant.export import (
    ExportError,
    StoredStage,
    export_backend,
    export_qonnx,
    qonnx_logits,
    save_stage,
    write_atomically,
)
from edgesight.quant.variants import (
    Conv,
    Dense,
    Exponents,
    Folded,
    MaxPool,
    Placed,
    Variant,
    as_input,
    infer,
    load_weights,
    settled_weights,
)

VariantName: TypeAlias = Literal["stage0", "stage1", "backend"]
Phase: TypeAlias = Literal["float", "quantised"]

WORK_FOLDER: Final = Path("build/train")
"""Where checkpoints are kept where nobody says, below the current folder; the command line says the user's cache."""

ZOO_FOLDER: Final = Path(__file__).parent / "zoo"
"""Where trained networks are shipped, a folder a data set."""


class TrainingError(ValueError):
    """Training that cannot start or go on; the message names the argument or file, what was found and the remedy."""


@dataclass(frozen=True)
class Recipe:
    """How one phase of a training goes.

    Attributes:
        epochs: passes over the train split.
        batch: images a step.
        rate: the one-cycle schedule's highest learning rate.
        warm_up: share of all steps that the rate rises for, before it falls along a cosine to nothing.
        optimiser: Nesterov momentum (`sgd`) or `adamw`.
        decay: weight decay.
        smoothing: label smoothing.
        shift: images are moved by up to so many pixels each way.
        erase: side of a square blanked at a random place, in pixels; 0 for none.
        teaching: weight of the teacher's answer against the label's in the loss, 0 to 1.
        temperature: softens the teacher's answer and the student's.
        bfloat16: whether layers compute in bfloat16; never so in the quantised phase, which must be exact.
    """

    epochs: int
    batch: int
    rate: float
    warm_up: float
    optimiser: Literal["sgd", "adamw"]
    decay: float
    smoothing: float = 0.0
    shift: int = 0
    erase: int = 0
    teaching: float = 0.0
    temperature: float = 1.0
    bfloat16: bool = True


_STAGE_FLOAT: Final = Recipe(
    epochs=10, batch=128, rate=4e-3, warm_up=0.25, optimiser="adamw", decay=1e-2, teaching=0.7, temperature=2.0
)
# A higher rate only makes few-bit weights flicker between neighbours: 2e-3 cost stage 0 most of a point.
_STAGE_QUANTISED: Final = Recipe(
    epochs=12,
    batch=128,
    rate=7e-4,
    warm_up=0.1,
    optimiser="adamw",
    decay=0.0,
    teaching=0.7,
    temperature=2.0,
    bfloat16=False,
)
RECIPES: Final[dict[str, dict[Phase, Recipe]]] = {
    "stage0": {"float": _STAGE_FLOAT, "quantised": _STAGE_QUANTISED},
    "stage1": {"float": _STAGE_FLOAT, "quantised": _STAGE_QUANTISED},
    "backend": {
        "float": Recipe(
            epochs=24,
            batch=128,
            rate=0.15,
            warm_up=0.2,
            optimiser="sgd",
            decay=5e-4,
            smoothing=0.05,
            shift=1,
        )
    },
}


def recipe_for(variant: Variant, phase: Phase, data: DataSet, quick: bool, epochs: int | None) -> Recipe:
    """Return the recipe of a phase for a data set.

    Sets below 20,000 images get more passes in proportion, at most 10 times the recipe's. `quick` cuts passes to a
    fifth, for a look or a test; `epochs` overrides both. On images below 16 pixels nothing is shifted by more than one
    pixel or erased.

    Raises:
        TrainingError: `epochs` below 1.
    """
    recipe = RECIPES[variant.name][phase]
    if epochs is not None and epochs < 1:
        raise TrainingError(f"epochs: found {epochs}, expected at least 1")
    passes = recipe.epochs
    if len(data.train) < 20_000:
        passes = min(10 * passes, math.ceil(passes * 20_000 / len(data.train)))
    recipe = dataclasses.replace(recipe, epochs=epochs or (max(2, passes // 5) if quick else passes))
    # Small sets need more than a few steps a pass, and batch normalisation two images a step.
    recipe = dataclasses.replace(recipe, batch=max(2, min(recipe.batch, len(data.train) // 8)))
    if min(data.shape[:2]) < 16:
        recipe = dataclasses.replace(recipe, shift=min(recipe.shift, 1), erase=0)
    return recipe


@dataclass(frozen=True)
class Trained:
    """One trained network.

    Attributes:
        variant: its variant's name.
        seed: the seed of its weights and of the order of images.
        folded: weights and biases by layer; of a quantised network exactly on their quantisers' grid.
        exponents: powers of two by layer; empty for the back end.
        test_accuracy: share of the test split answered rightly, 0 to 1, as exported (quantised where quantised).
        calibration_accuracy: the same on the calibration split.
        float_test_accuracy: the float twin's, 0 to 1.
        seconds: wall time of training, all runs of a resumed training together.
    """

    variant: str
    seed: int
    folded: Folded
    exponents: dict[str, Exponents]
    test_accuracy: float
    calibration_accuracy: float
    float_test_accuracy: float
    seconds: float


# ---------------------------------------------------------------------------------------------------- training


def train(
    data: DataSet,
    variant_name: VariantName,
    out_dir: Path = WORK_FOLDER,
    seed: int = 0,
    epochs: int | None = None,
    quick: bool = False,
    resume: bool = True,
    teacher: NDArray[np.float32] | None = None,
    console: Console | None = None,
    ahead: _Ahead | None = None,
) -> Trained:
    """Train one network.

    Args:
        data: the data set; only its train split is learnt from.
        variant_name: which network.
        out_dir: folder for checkpoints; one is written after every epoch, so an interruption loses at most one. Each
            data set has a folder of its own in it, by name and checksum, and each choice of settings a file.
        seed: of the initial weights, the order of images and their augmentation.
        epochs: passes in each phase, instead of the recipe's.
        quick: a fifth of the passes.
        resume: continue from a checkpoint of the very same training, or return its result if it was finished.
        teacher: the back end's logits, float32 `[2, N, classes]`, for the N train images as they are and mirrored; the
            networks learn from labels alone without it.
        console: where it is told what was done; none by default.
        ahead: what this training is a part of, to be told of every step.

    Raises:
        TrainingError: an impossible argument, or a checkpoint that cannot be read or written.
        variants.VariantError: the data's images are too small for the network.
    """
    if variant_name not in variants.VARIANTS:
        raise TrainingError(f"variant: found {variant_name!r}, expected one of {', '.join(variants.VARIANTS)}")
    variant = variants.VARIANTS[variant_name]
    network = variants.fit(variant, data.shape, len(data.classes))
    shown = console or Console(quiet=True)
    course = _Course(variant, seed, out_dir / f"{data.name}-{data.checksum[:12]}", resume, shown, ahead)
    with _deterministic(seed):
        twin = variants.build_float(variant, network)
        recipe = recipe_for(variant, "float", data, quick, epochs)
        seconds = _fit(twin, data, recipe, teacher, "float", course)
        folded = variants.fold(twin)
        twin.eval()
        float_test = accuracy(twin, data.test)
        if not variant.quantised:
            return Trained(
                variant_name, seed, folded, {}, float_test, accuracy(twin, data.calibration), float_test, seconds
            )

        exponents = choose_exponents(variant, network, folded, data.train.images[:: max(1, len(data.train) // 1000)])
        quantised = variants.build_quantised(variant, network, exponents)
        load_weights(quantised, folded)
        recipe = recipe_for(variant, "quantised", data, quick, epochs)
        seconds += _fit(quantised, data, recipe, teacher, "quantised", course)
        quantised.eval()
        return Trained(
            variant=variant_name,
            seed=seed,
            folded=settled_weights(quantised),
            exponents=exponents,
            test_accuracy=accuracy(quantised, data.test),
            calibration_accuracy=accuracy(quantised, data.calibration),
            float_test_accuracy=float_test,
            seconds=seconds,
        )


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Fix seed, algorithms and thread count, and put back what was there."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    state = torch.random.get_rng_state()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
        torch.random.set_rng_state(state)


@dataclass(frozen=True)
class _Course:
    """What the phases of one training have in common."""

    variant: Variant
    seed: int
    folder: Path  # of checkpoints
    resume: bool
    console: Console
    ahead: _Ahead | None


def _fit(
    network: nn.Sequential,
    data: DataSet,
    recipe: Recipe,
    teacher: NDArray[np.float32] | None,
    phase: Phase,
    course: _Course,
) -> float:
    """Train `network` in place by `recipe`; return the seconds spent, those before an interruption included."""
    optimiser = _prepared(network, recipe)
    variant, seed, console = course.variant, course.seed, course.console
    taught = b"" if teacher is None else hashlib.sha256(teacher.tobytes()).digest()
    identity = repr((variant, recipe, data.checksum, seed, taught.hex(), torch.__version__, version("brevitas")))
    settings = hashlib.sha256(identity.encode()).hexdigest()[:12]
    checkpoint = course.folder / f"{variant.name}-seed{seed}-{settings}-{phase}.pt"
    label = f"{data.name}-{variant.name}-seed{seed}-{phase}"
    first, seconds = _restore(checkpoint, identity, network, optimiser) if course.resume else (0, 0.0)
    if first:
        done = "was finished before" if first == recipe.epochs else f"goes on after epoch {first}/{recipe.epochs}"
        console.print(f"{label}: {done}, from {checkpoint}", soft_wrap=True, markup=False, highlight=False)

    for half in course.folder.glob(f".{checkpoint.name}-*"):
        half.unlink(missing_ok=True)  # left by an end in the midst of writing

    # Copies, since torch warns of arrays that may not be written.
    images = torch.from_numpy(data.train.images.copy())
    labels = torch.from_numpy(data.train.labels.copy())
    answers = None if teacher is None else torch.from_numpy(teacher)
    steps = len(images) // recipe.batch
    if course.ahead is not None:
        course.ahead.begin(label, variant.name, phase, first * steps)
    for epoch in range(first, recipe.epochs):
        begun = time.perf_counter()
        # Seeded by the epoch, so that a resumed training sees the very images it would have seen.
        torch.manual_seed(1_000 * seed + epoch)
        network.train()
        order = torch.randperm(len(images))
        total = 0.0
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * _one_cycle((epoch + step / steps) / recipe.epochs, recipe.warm_up)
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += _step(network, optimiser, images, labels, answers, chosen, recipe, data.mirrored)
            if course.ahead is not None:
                course.ahead.done(variant.name, phase)
        seconds += time.perf_counter() - begun
        _save(checkpoint, identity, epoch + 1, seconds, network, optimiser)
        network.eval()
        measured = accuracy(network, data.calibration)
        console.print(
            f"{label}: epoch {epoch + 1}/{recipe.epochs}, loss {total / steps:.4f}, "
            f"calibration accuracy {measured:.2%}, {seconds:.0f} s"
        )
    return seconds


def _prepared(network: nn.Sequential, recipe: Recipe) -> torch.optim.Optimizer:
    """Lay `network` out for training; return its optimiser."""
    _by_channel(network)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), 0.0, 0.9, weight_decay=recipe.decay, nesterov=True)
    return torch.optim.AdamW(network.parameters(), 0.0, weight_decay=recipe.decay)


def _step(
    network: nn.Sequential,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    answers: Tensor | None,
    chosen: Tensor,
    recipe: Recipe,
    mirror: bool,
) -> float:
    """Learn from the `chosen` images once; return the loss."""
    batch, mirrored = _augment(images[chosen], recipe, mirror)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        logits = network(batch)
    loss = functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.smoothing)
    if answers is not None and recipe.teaching:
        lesson = _lesson(logits.float(), answers[mirrored.long(), chosen], recipe.temperature)
        loss = (1 - recipe.teaching) * loss + recipe.teaching * lesson
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
    optimiser.step()
    return float(loss.detach())


def _by_channel(network: nn.Module) -> None:
    """Lay weights out channel last, in place: convolutions run up to twice as fast on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types Tensor.to only


def _one_cycle(done: float, warm_up: float) -> float:
    """Return the learning rate as a share of its highest, `done` in 0 to 1 of the training being over."""
    if done < warm_up:
        return done / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (done - warm_up) / (1 - warm_up))


def _lesson(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return the divergence of the student's answer from the teacher's, both softened (Hinton et al. 2015)."""
    student = functional.log_softmax(logits / temperature, dim=1)
    goal = functional.log_softmax(taught / temperature, dim=1)
    return functional.kl_div(student, goal, reduction="batchmean", log_target=True) * temperature**2


def _augment(images: Tensor, recipe: Recipe, mirror: bool) -> tuple[Tensor, Tensor]:
    """Vary a batch of uint8 `[N, H, W, C]`; return float `[N, C, H, W]`, pixel / 256, and which were mirrored."""
    count, height, width, _ = images.shape
    mirrored = torch.rand(count) < 0.5 if mirror else torch.zeros(count, dtype=torch.bool)
    columns = torch.arange(width).expand(count, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = torch.arange(height).expand(count, height)
    if recipe.shift:
        # Moved in a frame of repeated border pixels, which suits photographs and black grounds alike.
        moves = torch.randint(-recipe.shift, recipe.shift + 1, (2, count, 1))
        rows = (rows + moves[0]).clamp(0, height - 1)
        columns = (columns + moves[1]).clamp(0, width - 1)
    varied = images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    batch = as_input(varied)
    if recipe.erase:
        top = torch.randint(0, height - recipe.erase + 1, (count, 1))
        left = torch.randint(0, width - recipe.erase + 1, (count, 1))
        in_rows = (torch.arange(height) >= top) & (torch.arange(height) < top + recipe.erase)
        in_columns = (torch.arange(width) >= left) & (torch.arange(width) < left + recipe.erase)
        batch = batch.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)
    return batch, mirrored


def accuracy(network: nn.Module, split: datasets.Split) -> float:
    """Return the share of a split that a network answers rightly, 0 to 1."""
    return float((infer(network, split.images).argmax(1) == split.labels).mean())


def teach(data: DataSet, folded: Folded) -> NDArray[np.float32]:
    """Compute what the back end teaches: float32 logits `[2, N, classes]`, train images as they are and mirrored."""
    backend = folded_backend(data, folded)
    with _deterministic(0):
        plain = infer(backend, data.train.images)
        return np.stack([plain, infer(backend, data.train.images[:, :, ::-1]) if data.mirrored else plain])


def folded_backend(data: DataSet, folded: Folded) -> nn.Sequential:
    """Build the back end from folded weights, ready to run: batch normalisation is there and changes nothing."""
    variant = variants.VARIANTS["backend"]
    network = variants.build_float(variant, variants.fit(variant, data.shape, len(data.classes)))
    for name, (weight, bias) in folded.items():
        part = network.get_submodule(name)
        block = part.block if isinstance(part, variants.ResidualAdd) else part
        core = block[0] if isinstance(block, nn.Sequential) else block
        assert isinstance(core, nn.Conv2d | nn.Linear)
        assert core.bias is not None
        core.weight.data.copy_(weight)
        core.bias.data.copy_(bias)
        if isinstance(block, nn.Sequential):
            block[1] = nn.Identity()
    _by_channel(network)
    return network.eval()


# ------------------------------------------------------------------------------------------------- checkpoints


def _save(
    path: Path, identity: str, epochs: int, seconds: float, network: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    held = {
        "identity": identity,
        "epochs": epochs,
        "seconds": seconds,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    packed = io.BytesIO()  # torch itself has no word for a full disk
    torch.save(held, packed)
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(packed.getvalue()))
    except OSError as error:
        raise TrainingError(
            f"{path}: the checkpoint cannot be written ({error.strerror or error}): make room or free the way; the "
            "same command then goes on from the last one"
        ) from error


def _restore(path: Path, identity: str, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up a checkpoint of the very same training; return its epochs and seconds, or zeros where there is none.

    Raises:
        TrainingError: the file cannot be read.
    """
    if not path.is_file():
        return 0, 0.0
    try:
        # Tensors and plain values only: a checkpoint never runs code.
        held = torch.load(path, weights_only=True)
        if held["identity"] != identity:
            return 0, 0.0
        network.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        return int(held["epochs"]), float(held["seconds"])
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path}: not a readable checkpoint ({error}); remove it to train from the start"
        ) from error


# ------------------------------------------------------------------------------------------------------- ahead


class _Ahead:
    """What lies before a call of `train_all`: every phase of every training, how long each takes, and one bar over all.

    Seconds are guessed from a few steps of each network, taken before the first training.
    """

    def __init__(self, data: DataSet, trainings: Sequence[VariantName], quick: bool, console: Console) -> None:
        """Measure, and say what lies ahead; `trainings` in their order, a variant as often as it is trained."""
        self._steps: dict[tuple[str, Phase], int] = {}
        self._seconds: dict[tuple[str, Phase], float] = {}  # a step takes
        for name in dict.fromkeys(trainings):
            self._measure(data, variants.VARIANTS[name], quick)
        self._total = sum(
            self._seconds[key] * steps * trainings.count(cast(VariantName, key[0]))
            for key, steps in self._steps.items()
        )
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=self._total)
        parts = ", ".join(
            f"{trainings.count(cast(VariantName, name))} x {name} ({phase}, {steps:,} steps)"
            for (name, phase), steps in self._steps.items()
        )
        console.print(
            f"Ahead: {parts}: about {_duration(self._total)} by a few timed steps on this machine, less what "
            "checkpoints hold already. Ctrl-C stops it; the same command goes on from the last epoch.",
            soft_wrap=True,
            highlight=False,
        )

    def __enter__(self) -> _Ahead:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def begin(self, label: str, variant: str, phase: Phase, steps: int) -> None:
        """A phase begins, of which `steps` were done before."""
        self._bar.update(self._task, description=label)
        self._bar.advance(self._task, steps * self._seconds[variant, phase])

    def done(self, variant: str, phase: Phase) -> None:
        """A step was done."""
        self._bar.advance(self._task, self._seconds[variant, phase])

    def _measure(self, data: DataSet, variant: Variant, quick: bool) -> None:
        """Time some steps of each phase of a variant."""
        placed = variants.fit(variant, data.shape, len(data.classes))
        images = torch.from_numpy(data.train.images[:_PROBED_IMAGES].copy())
        labels = torch.from_numpy(data.train.labels[:_PROBED_IMAGES].copy())
        with _deterministic(0):
            twin = variants.build_float(variant, placed)
            networks: dict[Phase, nn.Sequential] = {"float": twin}
            if variant.quantised:
                folded = variants.fold(twin.eval())
                exponents = choose_exponents(variant, placed, folded, data.train.images[:_PROBED_IMAGES])
                networks["quantised"] = variants.build_quantised(variant, placed, exponents)
            for phase, network in networks.items():
                recipe = recipe_for(variant, phase, data, quick, None)
                optimiser = _prepared(network.train(), recipe)
                chosen = torch.arange(min(recipe.batch, len(images)))
                times = []
                for _ in range(_PROBES):
                    begun = time.perf_counter()
                    _step(network, optimiser, images, labels, None, chosen, recipe, data.mirrored)
                    times.append(time.perf_counter() - begun)
                self._steps[variant.name, phase] = recipe.epochs * (len(data.train) // recipe.batch)
                self._seconds[variant.name, phase] = float(np.median(times[1:]))  # the first one sets up


_PROBES: Final = 6
_PROBED_IMAGES: Final = 256


def _duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def remarks(data: DataSet, data_set: str) -> list[str]:
    """What is odd about a data set, and what its size lets one expect: a line each, for before the hours.

    `data_set` is the name that it was loaded by; of a folder, empty folders are named, too.
    """
    said = []
    root = Path(data_set.removeprefix("folder:")).expanduser()
    if data_set.startswith("folder:") and root.is_dir():
        folders = [path for path in root.rglob("*") if path.is_dir()]
        empty = sorted(str(path.relative_to(root)) for path in folders if not any(path.iterdir()))
        if empty:
            said.append(f"{_listed(empty)}: an empty folder is no class; what is to be told apart needs pictures")
    splits = {"train": data.train, "calibration": data.calibration, "test": data.test}
    counts = {name: np.bincount(split.labels, minlength=len(data.classes)) for name, split in splits.items()}
    of_class = np.sum(list(counts.values()), axis=0)
    few = [
        f"{name} ({of_class[index]}: " + ", ".join(f"{counts[split][index]} {split}" for split in splits) + ")"
        for index, name in enumerate(data.classes)
        if of_class[index] < _FEW_OF_A_CLASS
    ]
    if few:
        said.append(
            f"few pictures of {_listed(few)}: some hundred of a class can be learnt from and measured, these hardly"
        )
    images = len(data.calibration)
    if images < _ENOUGH:
        # The distance of a one-sided 95 % bound from a measured share of 90 %, by the normal approximation.
        below = 100 * 1.64 * math.sqrt(0.9 * 0.1 / max(1, images * _TESTED))
        pictures = math.ceil(_ENOUGH / max(1, images) * sum(map(len, splits.values())) / 1_000) * 1_000
        said.append(
            f"{images} calibration images: at an accuracy of 90 % a target will lie about {below:.1f} points below it, "
            f"since so few images prove no more; one point takes about {_ENOUGH:,} of them, here about {pictures:,} "
            "pictures in all"
        )
    return said


_FEW_OF_A_CLASS: Final = 50
_ENOUGH: Final = 3_500  # calibration images, for a target one point below an accuracy of 90 %
_TESTED: Final = 0.7  # share of them that a target is tested on; the others fit the confidence curves


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# ------------------------------------------------------------------------------------------- from float to integer


def _integers(values: Tensor, exponent: int, least: int, greatest: int) -> Tensor:
    return torch.clamp(torch.round(values * 2.0**-exponent), least, greatest)


def _best_exponent(values: Tensor, least: int, greatest: int) -> int:
    """Return the power of two whose grid of integers `least` to `greatest` leaves the smallest squared error."""
    highest = float(values.abs().max())
    if highest == 0.0:
        return 0
    widest = math.ceil(math.log2(highest / greatest))

    def error(exponent: int) -> float:
        kept = _integers(values, exponent, least, greatest) * 2.0**exponent
        return float((kept - values).square().mean())

    return min(range(widest, widest - 4, -1), key=error)


def choose_exponents(
    variant: Variant, network: tuple[Placed, ...], folded: Folded, images: NDArray[np.uint8]
) -> dict[str, Exponents]:
    """Choose every layer's powers of two by least squared error, from the image on, over quantised inputs.

    Args:
        variant: a quantised variant.
        network: the variant fitted.
        folded: the float twin's weights and biases.
        images: some train images, uint8 `[N, H, W, C]`.
    """
    assert variant.activation_bits is not None
    weighted = [placed.name for placed in network if isinstance(placed.layer, Conv | Dense)]
    greatest_activation = 2**variant.activation_bits - 1
    exponents: dict[str, Exponents] = {}
    values = as_input(torch.from_numpy(images.copy()))
    with torch.inference_mode():
        for placed in network:
            name, layer = placed.name, placed.layer
            if isinstance(layer, MaxPool):
                values = functional.max_pool2d(values, layer.size)
                continue
            weight, bias = folded[name]
            greatest = 2 ** (variants.weight_bits(variant, name, weighted) - 1) - 1
            chosen = _best_exponent(weight, -greatest, greatest)
            kept = _integers(weight, chosen, -greatest, greatest) * 2.0**chosen
            if isinstance(layer, Conv):
                padding = layer.kernel // 2 if layer.padding == "same" else 0
                values = functional.conv2d(values, kept, bias, layer.stride, padding)
            else:
                values = functional.linear(values.flatten(1), kept, bias)
            if not placed.relu:
                exponents[name] = Exponents(chosen, None)
                continue
            values = values.relu()
            activation = _best_exponent(values, 0, greatest_activation)
            values = _integers(values, activation, 0, greatest_activation) * 2.0**activation
            exponents[name] = Exponents(chosen, activation)
    return exponents


# --------------------------------------------------------------------------------------------------------- zoo


@dataclass(frozen=True)
class NetworkReport:
    """What training one variant over several seeds gave; accuracies are shares, 0 to 1, one a seed.

    Attributes:
        variant: its name.
        test_accuracy: of the network as exported, on the test split.
        calibration_accuracy: the same on the calibration split.
        float_test_accuracy: of the float twin, on the test split.
        seconds: wall time of each training.
        parameters: weights and biases.
        macs: multiply-accumulates an image.
        files: what was written for seed 0.
    """

    variant: str
    test_accuracy: tuple[float, ...]
    calibration_accuracy: tuple[float, ...]
    float_test_accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    parameters: int
    macs: int
    files: tuple[Path, ...]


@dataclass(frozen=True)
class TrainingReport:
    """What `train_all` did: the data set's name, the zoo folder and a report for each network."""

    data_set: str
    folder: Path
    networks: tuple[NetworkReport, ...]


# The back end comes first, since it teaches.
_TRAINING_ORDER: Final[tuple[VariantName, ...]] = ("backend", "stage1", "stage0")
_PROVED_IMAGES: Final = 32


def train_all(
    data_set: str,
    variant: VariantName | Literal["all"] = "all",
    seeds: int = 3,
    out: Path | None = None,
    quick: bool = False,
    data_dir: Path | None = None,
    size: int | None = None,
    work_dir: Path = WORK_FOLDER,
    resume: bool = True,
    console: Console | None = None,
    reading: FolderReading = AS_NAMED,
) -> TrainingReport:
    """Train networks for a data set, write the zoo folder with its model card, and print a table.

    Seed 0 of every network comes first, and its files are written at once; further seeds add only accuracies to the
    card. Interrupted, the same call goes on from the last finished epoch.

    Args:
        data_set: a name that `datasets.load` knows.
        variant: one network, or `all`. A stage needs its teacher, so the back end is trained too where no finished
            checkpoint of it is in `work_dir`; its files are only written when asked for.
        seeds: how many seeds to train, from 0.
        out: the zoo folder; default `quant/zoo/<data set>`.
        quick: a fifth of the passes, for a look; the card says so.
        data_dir: as in `datasets.load`.
        size: as in `datasets.load`.
        work_dir: where checkpoints are kept, see `train`.
        resume: take up checkpoints of the very same training.
        console: where progress and the table go; default the terminal.
        reading: as in `datasets.load`.

    Raises:
        TrainingError: an unknown variant, no seeds, a zoo folder of other data, a full disk.
        datasets.DataSetError: the data cannot be loaded.
        export.ExportError: an export differs from its network.
    """
    if variant != "all" and variant not in variants.VARIANTS:
        raise TrainingError(f"variant: found {variant!r}, expected all, {', '.join(variants.VARIANTS)}")
    if seeds < 1:
        raise TrainingError(f"seeds: found {seeds}, expected at least 1")
    shown = console or Console(stderr=True)
    data = datasets.load(data_set, data_dir, size, reading=reading)
    folder = out or ZOO_FOLDER / data.name
    _check_zoo(folder, data, quick)
    for line in remarks(data, data_set):
        shown.print(f"warning: {line}", soft_wrap=True, markup=False, highlight=False)
    wanted: tuple[VariantName, ...] = _TRAINING_ORDER if variant == "all" else (variant,)

    trained: dict[str, list[Trained]] = {name: [] for name in wanted}
    written: dict[str, tuple[Path, ...]] = {}
    teacher: NDArray[np.float32] | None = None
    taught = any(name != "backend" for name in wanted)
    trainings = [*(["backend"] if taught and "backend" not in wanted else []), *(wanted * seeds)]
    with _Ahead(data, cast(list[VariantName], trainings), quick, shown) as ahead:
        shown.print(f"Checkpoints go into {work_dir}.", soft_wrap=True, markup=False, highlight=False)
        for seed in range(seeds):
            for name in wanted:
                if name != "backend" and teacher is None:
                    # One teacher for all seeds: then their spread is the stage's own.
                    first = (
                        trained["backend"][0]
                        if "backend" in trained
                        else train(data, "backend", work_dir, 0, quick=quick, resume=resume, console=shown, ahead=ahead)
                    )
                    teacher = teach(data, first.folded)
                lesson = None if name == "backend" else teacher
                result = train(
                    data,
                    name,
                    work_dir,
                    seed,
                    quick=quick,
                    resume=resume,
                    teacher=lesson,
                    console=shown,
                    ahead=ahead,
                )
                trained[name].append(result)
                if seed == 0:
                    written[name] = write_network(data, result, folder)
                    shown.print(f"{name}: wrote {', '.join(path.name for path in written[name])} into {folder}")
                reports = tuple(_report(data, trained[name], written[name]) for name in wanted if trained[name])
                command = _command(data, data_set, variant, len(trained[wanted[0]]), size, quick, reading)
                _write_card(data, reports, command, quick, folder)
    (console or Console()).print(_table(data, reports))
    return TrainingReport(data.name, folder, reports)


def _check_zoo(folder: Path, data: DataSet, quick: bool) -> None:
    """TrainingError where the zoo folder holds networks of other data, or ones that a look must not replace."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        name, checksum = card["data_set"]["name"], card["data_set"]["checksum"]
        full = [network for network, entry in card["networks"].items() if not entry["command"].endswith("--quick")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no zoo is there, or none that anything could be lost of
    if checksum != data.checksum:
        raise TrainingError(
            f"{folder}: holds networks of other data ({name}, {str(checksum)[:12]}...; this is {data.name}, "
            f"{data.checksum[:12]}...): name another --out, or remove it"
        )
    if quick and full:
        raise TrainingError(
            f"{folder}: holds fully trained networks ({', '.join(full)}): name another --out for a look"
        )


def write_network(data: DataSet, trained: Trained, folder: Path) -> tuple[Path, ...]:
    """Write a trained network's files into a zoo folder.

    A stage becomes `<stage>.npz` (integers) and `<stage>.onnx` (QONNX), which is executed on some test images and
    must agree with Brevitas in every bit; the back end becomes `backend.onnx`.

    Raises:
        export.ExportError: the export cannot be exact, or differs from its network.
    """
    variant = variants.VARIANTS[trained.variant]
    path = folder / f"{variant.name}.onnx"
    if not variant.quantised:
        export_backend(variants.fit(variant, data.shape, len(data.classes)), trained.folded, path)
        return (path,)
    stage = StoredStage(variant, data.shape, len(data.classes), trained.exponents, trained.folded)
    weights = folder / f"{variant.name}.npz"
    save_stage(stage, weights)
    network = stage.build()
    export_qonnx(network, data.shape, path)
    images = data.test.images[:_PROVED_IMAGES]
    differing = int((qonnx_logits(path, images) != infer(network, images)).any(axis=1).sum())
    if differing:
        raise ExportError(f"{path}: answers differently from Brevitas on {differing} of {len(images)} test images")
    return weights, path


def _report(data: DataSet, trained: Sequence[Trained], files: tuple[Path, ...]) -> NetworkReport:
    network = variants.fit(variants.VARIANTS[trained[0].variant], data.shape, len(data.classes))
    return NetworkReport(
        variant=trained[0].variant,
        test_accuracy=tuple(result.test_accuracy for result in trained),
        calibration_accuracy=tuple(result.calibration_accuracy for result in trained),
        float_test_accuracy=tuple(result.float_test_accuracy for result in trained),
        seconds=tuple(result.seconds for result in trained),
        parameters=variants.parameter_count(network),
        macs=variants.mac_count(network),
        files=files,
    )


def _table(data: DataSet, reports: Sequence[NetworkReport]) -> Table:
    table = Table(title=f"{data.name}: accuracy on {len(data.test):,} test images")
    for heading in ("network", "seed 0", "mean", "least", "most", "float twin", "parameters", "MACs", "seconds"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for report in reports:
        shares = report.test_accuracy
        table.add_row(
            report.variant,
            f"{shares[0]:.2%}",
            f"{np.mean(shares):.2%}",
            f"{min(shares):.2%}",
            f"{max(shares):.2%}",
            f"{report.float_test_accuracy[0]:.2%}",
            f"{report.parameters:,}",
            f"{report.macs:,}",
            f"{sum(report.seconds):.0f}",
        )
    return table


# -------------------------------------------------------------------------------------------------- model card

CARD_SCHEMA: Final = 2
Card: TypeAlias = dict[str, Any]


def _command(
    data: DataSet, data_set: str, variant: str, seeds: int, size: int | None, quick: bool, reading: FolderReading
) -> str:
    """Return the command line that trains the same networks; a folder's place is left to the reader."""
    words = ["edgesight train", f"folder:PATH/{data.name}" if data_set.startswith("folder:") else data.name]
    words += [] if variant == "all" else ["--variant", variant]
    words += ["--seeds", str(seeds)]
    words += [] if size is None else ["--size", str(size)]
    words += [] if reading.groups == "name" else ["--groups", reading.groups]
    words += ["--skip-damaged"] if reading.skip_damaged else []
    return " ".join([*words, "--quick"] if quick else words)


def _write_card(data: DataSet, reports: Sequence[NetworkReport], command: str, quick: bool, folder: Path) -> None:
    """Write `card.json` and `README.md`; networks of an older card stay if they saw the very same data."""
    path = folder / "card.json"
    networks: Card = {}
    if path.is_file():
        # A card that cannot be read has nothing to keep: this one replaces it.
        with suppress(ValueError, KeyError, TypeError):
            older = json.loads(path.read_text(encoding="utf-8"))
            if older["schema"] == CARD_SCHEMA and older["data_set"]["checksum"] == data.checksum:
                networks = dict(older["networks"])
    for report in reports:
        networks[report.variant] = _network_entry(data, report, command, quick)
    card: Card = {
        "schema": CARD_SCHEMA,
        "data_set": {
            "name": data.name,
            "note": data.note,
            "checksum": data.checksum,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "images": {"train": len(data.train), "calibration": len(data.calibration), "test": len(data.test)},
            "split_seed": data.seed,
        },
        "networks": {name: networks[name] for name in variants.VARIANTS if name in networks},
    }
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8"))
    page = model_card(card)
    write_atomically(folder / "README.md", lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _network_entry(data: DataSet, report: NetworkReport, command: str, quick: bool) -> Card:
    variant = variants.VARIANTS[report.variant]
    phases: tuple[Phase, ...] = ("float", "quantised") if variant.quantised else ("float",)
    return {
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{_processor()}, 1 thread",
        "tools": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "brevitas", "qonnx", "onnx", "numpy")},
        "layers": [
            {"name": placed.name, "output_shape": list(placed.output_shape), **_described(placed)}
            for placed in variants.fit(variant, data.shape, len(data.classes))
        ],
        "weight_bits": variant.weight_bits,
        "activation_bits": variant.activation_bits,
        "parameters": report.parameters,
        "macs": report.macs,
        "recipes": {phase: dataclasses.asdict(recipe_for(variant, phase, data, quick, None)) for phase in phases},
        "seeds": list(range(len(report.test_accuracy))),
        "shipped_seed": 0,
        "test_accuracy": _spread(report.test_accuracy),
        "calibration_accuracy": _spread(report.calibration_accuracy),
        "float_test_accuracy": _spread(report.float_test_accuracy),
        "seconds": [round(seconds, 1) for seconds in report.seconds],
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in report.files
        },
    }


def _described(placed: Placed) -> Card:
    fields = dataclasses.asdict(placed.layer)
    return {"kind": type(placed.layer).__name__, **fields}


def _spread(shares: Sequence[float]) -> Card:
    return {
        "by_seed": [round(share, 6) for share in shares],
        "mean": round(float(np.mean(shares)), 6),
        "min": round(min(shares), 6),
        "max": round(max(shares), 6),
    }


def _processor() -> str:
    """Name the processor as Linux does, else as Python knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # No such file but on Linux.
    return platform.processor() or platform.machine()


def model_card(card: Card) -> str:
    """Return a model card's Markdown page; every number in it is the card's."""
    data = card["data_set"]
    height, width, channels = data["shape"]
    counts = data["images"]
    lines = [
        f"# Networks for {data['name']}",
        "",
        f"{data['note']} Images are {height} x {width} x {channels}, {len(data['classes'])} classes; "
        f"{counts['train']:,} train, {counts['calibration']:,} calibration and {counts['test']:,} test images.",
        "",
        *_origins(card),
        "This page and `card.json`, which has layers, recipes and checksums, are written by the same command.",
        "",
        "| network | bits (weights, activations) | parameters | MACs an image | shipped (seed 0) | mean | least | most "
        "| seeds | float twin (seed 0) | training, s |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, entry in card["networks"].items():
        test = entry["test_accuracy"]
        bits = f"{entry['weight_bits']}, {entry['activation_bits']}" if entry["weight_bits"] else "float"
        lines.append(
            f"| {name} | {bits} | {entry['parameters']:,} | {entry['macs']:,} | {test['by_seed'][0]:.2%} "
            f"| {test['mean']:.2%} | {test['min']:.2%} | {test['max']:.2%} | {len(entry['seeds'])} "
            f"| {entry['float_test_accuracy']['by_seed'][0]:.2%} | {sum(entry['seconds']):.0f} |"
        )
    lines += [
        "",
        "Accuracy is the share of the test split that the network answers rightly, measured on the quantised network "
        "where there is one. The test split was never trained on, and no epoch or weight was chosen by it. The stages "
        "learn from seed 0's back end beside the labels, whatever their own seed. Seconds are wall time, so they hang "
        "on what else the machine did.",
        "",
        "| file | holds | bytes | sha256 |",
        "|---|---|--:|---|",
    ]
    for name, entry in card["networks"].items():
        for file, facts in entry["files"].items():
            holds = (
                "integer weights and exponents" if file.endswith(".npz") else "QONNX" if name != "backend" else "ONNX"
            )
            lines.append(f"| `{file}` | {holds} | {facts['bytes']:,} | `{facts['sha256']}` |")
    lines += ["", f"Data checksum: `{data['checksum']}`.", ""]
    return "\n".join(lines)


def _origins(card: Card) -> Iterator[str]:
    """Tell by which command, when and with what each network was made, those of one making in one line."""
    made: dict[str, list[str]] = {}
    for name, entry in card["networks"].items():
        tools = ", ".join(f"{tool} {release}" for tool, release in entry["tools"].items())
        made.setdefault(f"`{entry['command']}` on {entry['date']} ({entry['machine']}; {tools})", []).append(name)
    for origin, names in made.items():
        yield f"{', '.join(names)}: made by {origin}."
