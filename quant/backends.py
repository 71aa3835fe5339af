"""A data centre's model that takes the photograph: as who trains asks for it, and as it is served.

The shipped back end, which takes the fabric's bytes, is one of `edgesight.quant.networks`; those here have a form of
the picture of their own, and are ONNX once they are trained: that file is measured, teaches and is written.

Words owned here: served model, answers.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from rich.console import Console

from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.files import sha256
from edgesight.host.kernel import BackEndInput
from edgesight.quant.export import write_atomically
from edgesight.quant.facts import Facts
from edgesight.quant.learn import Course, Trained, checkpoints_of
from edgesight.quant.networks import SHIPPED, Network, Shape
from edgesight.quant.recipe import Phase, TrainingError
from edgesight.quant.splits import DataSet, Photographs

FILE: Final = "backend.onnx"
_BATCH: Final = 16  # photographs: more do not fit a core's cache
_TIMED: Final = 8  # photographs, to guess by how long others take


@dataclass(frozen=True)
class Served:
    """A model as the data centre serves it.

    Attributes:
        content: the ONNX file.
        form: what it takes of a picture, and which of its outputs the classes are.
    """

    content: bytes
    form: BackEndInput

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the file."""
        return sha256(self.content)

    @cached_property
    def model(self) -> OnnxModel:
        """It, running on one thread; raises ModelError where it cannot."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / FILE
            path.write_bytes(self.content)
            return OnnxModel(path, form=self.form)

    def logits(
        self, photographs: Photographs, rows: NDArray[np.int64], done: Callable[[], None], mirrored: bool = False
    ) -> NDArray[np.float32]:
        """Logits float32 `[n, classes]` of the photographs at `rows` `[n]`; `done` is called after each batch."""
        found = []
        for start in range(0, len(rows), _BATCH):
            pictures = photographs[rows[start : start + _BATCH]]
            found.append(self.model.run(np.ascontiguousarray(pictures[:, :, ::-1]) if mirrored else pictures))
            done()
        return np.concatenate(found)


class BackEnd(ABC):
    """A model for the data centre with a form of its own.

    Attributes:
        name: `backend`, its place in the cascade.
        origin: where it comes from, for a reader.
        form: what it takes of a picture.
    """

    name: Final = "backend"
    exact: Final = False

    @property
    @abstractmethod
    def origin(self) -> str: ...  # noqa: D102
    @property
    @abstractmethod
    def form(self) -> BackEndInput: ...  # noqa: D102
    @property
    @abstractmethod
    def options(self) -> tuple[str, ...]:
        """The words of the command line that name it; a file's place is left to the reader."""

    @abstractmethod
    def check(self, data: DataSet, console: Console) -> None:
        """Raise an EdgeSightError, before anything is trained, if it cannot serve `data`; say what is odd."""

    @abstractmethod
    def ahead(self, data: DataSet, quick: bool) -> Mapping[Phase, tuple[int, float]]:
        """What lies before a training, by phase: steps, and how many seconds one takes by a few that were timed."""

    @abstractmethod
    def train(self, data: DataSet, seed: int, course: Course) -> Trained:
        """Train it, or take up where a training stopped; its `module` is a `Served`. Raises TrainingError."""

    @abstractmethod
    def facts(self, module: Any, shape: Shape, classes: int) -> Facts:
        """What to tell of the trained `module`."""

    def write(self, module: Any, shape: Shape, classes: int, folder: Path) -> tuple[tuple[str, ...], Any]:
        """Write its ONNX; return the files' names and what they hold."""
        assert isinstance(module, Served)
        (folder / FILE).write_bytes(module.content)
        return (FILE,), module

    def tidy(self, data: DataSet, course: Course) -> None:  # noqa: B027 - most leave nothing behind
        """Remove what only helped to train it, once no training is to follow."""

    def teach(self, data: DataSet, trained: Trained, course: Course) -> NDArray[np.float32]:
        """Compute what it teaches: float32 logits `[2, N, classes]`, train images as they are and mirrored."""
        answers = Answers(data, trained.module, course)
        plain = answers.of("train")
        return np.stack([plain, answers.of("train", mirrored=True) if data.mirrored else plain])


def answer_steps(data: DataSet) -> int:
    """Batches of photographs that a served model is asked for, to be measured and to teach."""
    parts = [data.calibration, data.test, data.train, *([data.train] if data.mirrored else [])]
    return sum(-(-len(part) // _BATCH) for part in parts)


def seconds_a_batch(data: DataSet, served: Served) -> float:
    """How long a served model takes for a batch of photographs, with their reading."""
    rows = np.arange(min(_TIMED, len(data.train)))
    served.logits(data.train.photographs, rows[:1], lambda: None)
    begun = time.perf_counter()
    served.logits(data.train.photographs, rows, lambda: None)
    return (time.perf_counter() - begun) * _BATCH / len(rows)


@dataclass(frozen=True)
class Answers:
    """What a served model answers on a data set, kept beside the checkpoints, so that it is asked once."""

    data: DataSet
    served: Served
    course: Course

    def of(self, split: str, *, mirrored: bool = False) -> NDArray[np.float32]:
        """Logits float32 `[N, classes]` of a split, `train`, `calibration` or `test`; raises TrainingError."""
        part = getattr(self.data, split)
        identity = repr((self.served.checksum, self.served.form, self.data.checksum, onnxruntime.__version__))
        settings = hashlib.sha256(identity.encode()).hexdigest()[:12]
        path = checkpoints_of(self.course, self.data) / (
            f"backend-{settings}-answers-{split}{'-mirrored' if mirrored else ''}.npy"
        )
        steps, shape = -(-len(part) // _BATCH), (len(part), len(self.data.classes))
        kept = _kept(path, shape) if self.course.resume else None
        ahead = self.course.ahead
        if ahead is not None:
            label = f"{self.data.name}-backend: its answers on {split}"
            ahead.begin(label, "backend", "answers", 0 if kept is None else steps)
        if kept is not None:
            return kept
        step = (lambda: None) if ahead is None else (lambda: ahead.done("backend", "answers"))
        found = self.served.logits(part.photographs, np.arange(len(part)), step, mirrored)
        keep(path, found)
        return found

    def right(self, split: str) -> NDArray[np.bool_]:
        """Which pictures of a split it answers rightly, bool `[1, N]`."""
        found: NDArray[np.bool_] = self.of(split).argmax(1)[None] == getattr(self.data, split).labels
        return found


def _kept(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """What was kept; None where nothing was."""
    try:
        found: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({error}); remove it to measure again") from error
    return found if found.shape == shape else None


def keep(path: Path, values: NDArray[Any]) -> None:
    """Write `values` beside the checkpoints, whole or not at all; TrainingError where there is no room."""
    try:
        write_atomically(path, lambda temporary: np.save(temporary, values))
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror or error}): make room or free the way; the same command then "
            "goes on from there"
        ) from error


def parameters_of(content: bytes) -> int:
    """Weights and biases in an ONNX file."""
    model = onnx.load_model_from_string(content)
    return sum(int(np.prod(one.dims)) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)


@dataclass(frozen=True)
class Wanted:
    """What to train.

    Attributes:
        stages: the cascade's, from `stage0` on; or the one network whose exits are its stages.
        only: one of them or `backend`; `all`, all of them and the back end.
        backend: the data centre's model, which teaches.
    """

    stages: tuple[Network, ...] = (SHIPPED["stage0"], SHIPPED["stage1"])
    only: str = "all"
    backend: Network | BackEnd = SHIPPED["backend"]

    def networks(self) -> tuple[Network | BackEnd, ...]:
        """Which they are, the back end first, since it teaches; TrainingError where there is none of the name."""
        known: dict[str, Network | BackEnd] = {"backend": self.backend}
        known |= {network.name: network for network in reversed(self.stages)}
        if self.only != "all" and self.only not in known:
            raise TrainingError(f"variant: found {self.only!r}, expected all, {', '.join(sorted(known, reverse=True))}")
        return tuple(known.values()) if self.only == "all" else (known[self.only],)

    @property
    def form(self) -> BackEndInput | None:
        """What the back end takes of a picture; None where that is what the fabric does."""
        return self.backend.form if isinstance(self.backend, BackEnd) else None

    def options(self) -> list[str]:
        """The words of the command line that say so."""
        words: list[str] = []
        if self.stages != Wanted().stages:
            words += [word for network in self.stages for word in (f"--{network.name}", network.origin)]
        words += self.backend.options if isinstance(self.backend, BackEnd) else ()
        return words + ([] if self.only == "all" else ["--variant", self.only])
