"""One network's training: a float twin, then quantisation-aware; resumable and deterministic.

Words owned here: checkpoint."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from edgesight.quant import variants
from edgesight.quant.exponents import choose_exponents
from edgesight.quant.export import (
    write_atomically,
)
from edgesight.quant.recipe import Phase, Recipe, TrainingError, VariantName, recipe_for
from edgesight.quant.splits import DataSet, Split
from edgesight.quant.variants import (
    Exponents,
    Folded,
    Variant,
    as_input,
    infer,
    load_weights,
    settled_weights,
)


class Progressed(Protocol):
    """Who is told how far a training has come."""

    def begin(self, label: str, variant: str, phase: Phase, steps: int) -> None:
        """A phase begins, of which `steps` were done before."""

    def done(self, variant: str, phase: Phase) -> None:
        """A step was done."""


@dataclass(frozen=True)
class Course:
    """How trainings go, whatever the network.

    Attributes:
        folder: for checkpoints; one is written after every epoch, so an interruption loses at most one. Each data set
            has a folder of its own in it, by name and checksum, and each choice of settings a file.
            Default: below the current folder; the command line says the user's cache.
        quick: a fifth of the passes.
        epochs: passes in each phase, instead of the recipe's.
        resume: continue from a checkpoint of the very same training, or return its result if it was finished.
        console: where it is told what was done; none by default.
        ahead: what the training is a part of, to be told of every step.
    """

    folder: Path = Path("build/train")
    quick: bool = False
    epochs: int | None = None
    resume: bool = True
    console: Console | None = None
    ahead: Progressed | None = None


AS_USUAL: Final = Course()


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


def train(
    data: DataSet,
    variant_name: VariantName,
    seed: int = 0,
    teacher: NDArray[np.float32] | None = None,
    course: Course = AS_USUAL,
) -> Trained:
    """Train one network.

    Args:
        data: the data set; only its train split is learnt from.
        variant_name: which network.
        seed: of the initial weights, the order of images and their augmentation.
        teacher: the back end's logits, float32 `[2, N, classes]`, for the N train images as they are and mirrored; the
            networks learn from labels alone without it.
        course: where checkpoints are, how many passes there are, and who is told.

    Raises:
        TrainingError: an impossible argument, or a checkpoint that cannot be read or written.
        variants.VariantError: the data's images are too small for the network.
    """
    if variant_name not in variants.VARIANTS:
        raise TrainingError(f"variant: found {variant_name!r}, expected one of {', '.join(variants.VARIANTS)}")
    variant = variants.VARIANTS[variant_name]
    network = variants.fit(variant, data.shape, len(data.classes))
    with deterministic(seed):
        twin = variants.build_float(variant, network)
        recipe = recipe_for(variant, "float", data, course.quick, course.epochs)
        seconds = _fit(twin, data, recipe, teacher, "float", variant, seed, course)
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
        recipe = recipe_for(variant, "quantised", data, course.quick, course.epochs)
        seconds += _fit(quantised, data, recipe, teacher, "quantised", variant, seed, course)
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
def deterministic(seed: int) -> Iterator[None]:
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


def _fit(
    network: nn.Sequential,
    data: DataSet,
    recipe: Recipe,
    teacher: NDArray[np.float32] | None,
    phase: Phase,
    variant: Variant,
    seed: int,
    course: Course,
) -> float:
    """Train `network` in place by `recipe`; return the seconds spent, those before an interruption included."""
    optimiser = prepared(network, recipe)
    console, folder = course.console or Console(quiet=True), course.folder / f"{data.name}-{data.checksum[:12]}"
    taught = b"" if teacher is None else hashlib.sha256(teacher.tobytes()).digest()
    identity = repr((variant, recipe, data.checksum, seed, taught.hex(), torch.__version__, version("brevitas")))
    settings = hashlib.sha256(identity.encode()).hexdigest()[:12]
    checkpoint = folder / f"{variant.name}-seed{seed}-{settings}-{phase}.pt"
    label = f"{data.name}-{variant.name}-seed{seed}-{phase}"
    first, seconds = _restore(checkpoint, identity, network, optimiser) if course.resume else (0, 0.0)
    if first:
        done = "was finished before" if first == recipe.epochs else f"goes on after epoch {first}/{recipe.epochs}"
        console.print(f"{label}: {done}, from {checkpoint}", soft_wrap=True, markup=False, highlight=False)

    for half in folder.glob(f".{checkpoint.name}-*"):
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
            total += take_step(network, optimiser, images, labels, answers, chosen, recipe, data.mirrored)
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


def prepared(network: nn.Sequential, recipe: Recipe) -> torch.optim.Optimizer:
    """Lay `network` out for training; return its optimiser."""
    _by_channel(network)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), 0.0, 0.9, weight_decay=recipe.decay, nesterov=True)
    return torch.optim.AdamW(network.parameters(), 0.0, weight_decay=recipe.decay)


def take_step(
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


def accuracy(network: nn.Module, split: Split) -> float:
    """Return the share of a split that a network answers rightly, 0 to 1."""
    return float((infer(network, split.images).argmax(1) == split.labels).mean())


def teach(data: DataSet, folded: Folded) -> NDArray[np.float32]:
    """Compute what the back end teaches: float32 logits `[2, N, classes]`, train images as they are and mirrored."""
    backend = folded_backend(data, folded)
    with deterministic(0):
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
