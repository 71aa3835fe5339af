"""One network's training: a float twin, then quantisation-aware; resumable and deterministic.

Words owned here: checkpoint."""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from edgesight.host.pixels import STEPS
from edgesight.quant import variants
from edgesight.quant.answers import as_input, exits_of, infer, infer_exits
from edgesight.quant.export import write_atomically
from edgesight.quant.networks import Network, Told
from edgesight.quant.recipe import Phase, Recipe, TrainingError, recipe_for
from edgesight.quant.splits import DataSet, Split
from edgesight.quant.variants import Folded


class Progressed(Protocol):
    """Who is told how far a training has come."""

    def begin(self, label: str, network: str, phase: Phase, steps: int) -> None:
        """A phase begins, of which `steps` were done before."""

    def done(self, network: str, phase: Phase) -> None:
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
    """One trained network. What is told by exit has one entry where a network has no exits.

    Attributes:
        network: what was trained.
        seed: the seed of its weights and of the order of images.
        module: it, in evaluation mode: quantised where it is to be. Of a back end with a form of its own, what is
            served.
        test_accuracy: share of the test split answered rightly by each exit, 0 to 1, as exported (quantised where
            quantised).
        calibration_right: which images of the calibration split each exit answers rightly, bool `[exits, N]`.
        float_test_accuracy: the float twin's, 0 to 1; None where there is no twin.
        seconds: wall time of training, all runs of a resumed training together.
        recipes: how each phase went: a dataclass for each.
    """

    network: Told
    seed: int
    module: Any
    test_accuracy: tuple[float, ...]
    calibration_right: NDArray[np.bool_]
    float_test_accuracy: tuple[float, ...] | None
    seconds: float
    recipes: Mapping[Phase, Any]


def checkpoints_of(course: Course, data: DataSet) -> Path:
    """The folder of a data set's checkpoints."""
    return course.folder / f"{data.name}-{data.checksum[:12]}"


def train(
    data: DataSet,
    network: Network,
    seed: int = 0,
    teacher: NDArray[np.float32] | None = None,
    course: Course = AS_USUAL,
) -> Trained:
    """Train one network.

    Args:
        data: the data set; only its train split is learnt from.
        network: which network.
        seed: of the initial weights, the order of images and their augmentation.
        teacher: the back end's logits, float32 `[2, N, classes]`, for the N train images as they are and mirrored; the
            networks learn from labels alone without it.
        course: where checkpoints are, how many passes there are, and who is told.

    Raises:
        TrainingError: an impossible argument, or a checkpoint that cannot be read or written.
        variants.VariantError: the data's images are too small for the network.
        own.OwnNetworkError: the network is the user's, and cannot be built.
    """
    shape, classes = data.shape, len(data.classes)
    recipes = {
        phase: recipe_for(
            network.name,
            phase,
            data,
            course.quick,
            network.passes.get(phase) if course.epochs is None else course.epochs,
        )
        for phase in network.phases
    }
    with deterministic(seed):
        twin = network.twin(shape, classes)
        seconds, float_test = 0.0, None
        if twin is not None:
            seconds = _fit(twin, data, teacher, "float", recipes["float"], network, seed, course)
            float_test = accuracies(twin.eval(), data.test)
        module = network.quantised(twin, shape, classes, data.train.images[:: max(1, len(data.train) // 1000)])
        if module is None:
            assert twin is not None
            module = twin
        else:
            for phase, recipe in recipes.items():
                if phase != "float":
                    seconds += _fit(module, data, teacher, phase, recipe, network, seed, course)
        module.eval()
        right = _right(module, data.calibration)
        return Trained(network, seed, module, accuracies(module, data.test), right, float_test, seconds, recipes)


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
    module: nn.Module,
    data: DataSet,
    teacher: NDArray[np.float32] | None,
    phase: Phase,
    recipe: Recipe,
    network: Network,
    seed: int,
    course: Course,
) -> float:
    """Train `module` in place for a phase; return the seconds spent, those before an interruption included."""
    optimiser = prepared(module, recipe)
    console, folder = course.console or Console(quiet=True), checkpoints_of(course, data)
    taught = b"" if teacher is None else hashlib.sha256(teacher.tobytes()).digest()
    tools = torch.__version__, version("brevitas")
    identity = repr((network.identity, recipe, data.checksum, seed, taught.hex(), *tools))
    settings = hashlib.sha256(identity.encode()).hexdigest()[:12]
    checkpoint = folder / f"{network.name}-seed{seed}-{settings}-{phase}.pt"
    label = f"{data.name}-{network.name}-seed{seed}-{phase}"
    first, seconds = restore(checkpoint, identity, module, optimiser) if course.resume else (0, 0.0)
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
        course.ahead.begin(label, network.name, phase, first * steps)
    for epoch in range(first, recipe.epochs):
        begun = time.perf_counter()
        # Seeded by the epoch, so that a resumed training sees the very images it would have seen.
        torch.manual_seed(1_000 * seed + epoch)
        module.train()
        order = torch.randperm(len(images))
        total = 0.0
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * one_cycle((epoch + step / steps) / recipe.epochs, recipe.warm_up)
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            total += take_step(module, optimiser, images, labels, answers, chosen, recipe, data.mirrored)
            if course.ahead is not None:
                course.ahead.done(network.name, phase)
        seconds += time.perf_counter() - begun
        save(checkpoint, identity, epoch + 1, seconds, module, optimiser)
        module.eval()
        measured = ", ".join(f"{share:.2%}" for share in accuracies(module, data.calibration))
        console.print(
            f"{label}: epoch {epoch + 1}/{recipe.epochs}, loss {total / steps:.4f}, "
            f"calibration accuracy {measured}, {seconds:.0f} s"
        )
    return seconds


def prepared(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Lay `network` out for training; return its optimiser."""
    _by_channel(network)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), 0.0, 0.9, weight_decay=recipe.decay, nesterov=True)
    return torch.optim.AdamW(network.parameters(), 0.0, weight_decay=recipe.decay)


def take_step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    answers: Tensor | None,
    chosen: Tensor,
    recipe: Recipe,
    mirror: bool,
) -> float:
    """Learn from the `chosen` images once; return the loss, which is the sum over all exits."""
    batch, mirrored = _augment(images[chosen], recipe, mirror)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
        exits = exits_of(network(batch))
    loss = torch.zeros(())
    for logits in exits:
        own = functional.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.smoothing)
        if answers is not None and recipe.teaching:
            lesson = _lesson(logits.float(), answers[mirrored.long(), chosen], recipe.temperature)
            own = (1 - recipe.teaching) * own + recipe.teaching * lesson
        loss = loss + own
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
    optimiser.step()
    return float(loss.detach())


def _by_channel(network: nn.Module) -> None:
    """Lay weights out channel last, in place: convolutions run up to twice as fast on a CPU."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types Tensor.to only


def one_cycle(done: float, warm_up: float) -> float:
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
    if recipe.turn or recipe.zoom:
        batch = _viewed(as_input(images), mirrored, recipe)
    else:
        columns = torch.arange(width).expand(count, width)
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        rows = torch.arange(height).expand(count, height)
        if recipe.shift:
            # Moved in a frame of repeated border pixels, which suits photographs and black grounds alike.
            moves = torch.randint(-recipe.shift, recipe.shift + 1, (2, count, 1))
            rows = (rows + moves[0]).clamp(0, height - 1)
            columns = (columns + moves[1]).clamp(0, width - 1)
        batch = as_input(images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]])
    if recipe.light:
        batch = _lit(batch, recipe.light)
    if recipe.erase:
        top = torch.randint(0, height - recipe.erase + 1, (count, 1))
        left = torch.randint(0, width - recipe.erase + 1, (count, 1))
        in_rows = (torch.arange(height) >= top) & (torch.arange(height) < top + recipe.erase)
        in_columns = (torch.arange(width) >= left) & (torch.arange(width) < left + recipe.erase)
        batch = batch.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)
    return batch, mirrored


def _viewed(batch: Tensor, mirrored: Tensor, recipe: Recipe) -> Tensor:
    """Each of `[N, C, H, W]` seen from elsewhere: turned, zoomed, moved and, where so `mirrored`, its mirror image."""
    count, _, height, width = batch.shape
    angle = _spread(count, math.radians(recipe.turn))
    size = 1 + _spread(count, recipe.zoom)
    across = torch.where(mirrored, -1.0, 1.0)
    # Rows of an affine map from places in the new image to places in the old one, both -1 to 1 from edge to edge.
    aspect = height / width
    maps = torch.stack(
        [
            torch.stack(
                [across * size * angle.cos(), -size * angle.sin() * aspect, _spread(count, 2 * recipe.shift / width)], 1
            ),
            torch.stack(
                [across * size * angle.sin() / aspect, size * angle.cos(), _spread(count, 2 * recipe.shift / height)], 1
            ),
        ],
        1,
    )
    places = functional.affine_grid(maps, list(batch.shape), align_corners=False)
    seen = functional.grid_sample(batch, places, mode="bilinear", padding_mode="border", align_corners=False)
    return seen.contiguous(memory_format=torch.channels_last)


def _lit(batch: Tensor, light: float) -> Tensor:
    """Each of `[N, C, H, W]` in another light: its contrast and brightness changed, as far as pixels reach."""
    contrast, brightness = (_spread(len(batch), light).exp()[:, None, None, None] for _ in range(2))
    mean = batch.mean((1, 2, 3), keepdim=True)
    return ((batch - mean) * contrast + mean).mul_(brightness).clamp_(0, (STEPS - 1) / STEPS)


def _spread(count: int, most: float) -> Tensor:
    """`count` numbers drawn evenly from -most to most."""
    return (2 * torch.rand(count) - 1) * most


def _right(network: nn.Module, split: Split) -> NDArray[np.bool_]:
    """Which images of a split each exit answers rightly, bool `[exits, N]`."""
    found: NDArray[np.bool_] = infer_exits(network, split.images).argmax(2) == split.labels
    return found


def accuracies(network: nn.Module, split: Split) -> tuple[float, ...]:
    """The share of a split that each exit of a network answers rightly, 0 to 1."""
    return tuple(float(right.mean()) for right in _right(network, split))


def teach(data: DataSet, trained: Trained) -> NDArray[np.float32]:
    """Compute what the back end teaches: float32 logits `[2, N, classes]`, train images as they are and mirrored."""
    assert isinstance(trained.module, nn.Sequential)
    backend = folded_backend(data, variants.fold(trained.module))
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


def save(
    path: Path, identity: str, epochs: int, seconds: float, network: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint, whole or not at all; TrainingError where it cannot be."""
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


def restore(path: Path, identity: str, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
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
