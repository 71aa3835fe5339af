"""A back end of the user's own: any ONNX classifier, with what it takes of a picture stated in a small TOML file.

Nothing of it is trained: it is measured, teaches the stages, and is copied into the zoo folder. Whether the file says
the truth about the model is checked: on calibration pictures it must answer better than who guesses.

Words owned here: statement (the TOML file), usual mistake.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest

from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.files import from_home, read_regular
from edgesight.host.kernel import BackEndInput
from edgesight.quant.backends import Answers, BackEnd, Served, answer_steps, parameters_of, seconds_a_batch
from edgesight.quant.facts import Facts
from edgesight.quant.gain import gain
from edgesight.quant.learn import Course, Trained
from edgesight.quant.networks import Shape
from edgesight.quant.recipe import Phase
from edgesight.quant.splits import DataSet
from edgesight.quant.statement import BackEndError, read_statement

_TRIED: Final = 256  # calibration pictures that the check looks at
_CHANCE: Final = 0.01  # probability that who guesses does as well, above which a model is taken for guessing


@dataclass(frozen=True)
class Foreign(BackEnd):
    """A model of the user's own.

    Attributes:
        path: its ONNX file.
        content: the file's bytes.
        stated: what its statement says of a picture; which outputs the classes are is known with the data alone.
        statement: the TOML file.
        named: which outputs the classes are, as the file says it.
        classes: the data's, once they are known.
    """

    path: Path
    content: bytes = field(repr=False)
    stated: BackEndInput = field(hash=False)
    statement: Path
    named: Mapping[str, int] | Sequence[str] | None = field(default=None, hash=False)
    classes: tuple[str, ...] | None = None

    @property
    def origin(self) -> str:
        """The file's name, without its folder."""
        return self.path.name

    @cached_property
    def form(self) -> BackEndInput:
        """As stated; with the outputs that the classes are, once these are known."""
        if self.classes is None or self.named is None:
            return self.stated
        return self.stated.model_copy(update={"outputs": self._outputs(self.classes)})

    @property
    def options(self) -> tuple[str, ...]:
        """Both files, whose place is left to the reader."""
        return "--backend", f"PATH/{self.path.name}", "--backend-input", f"PATH/{self.statement.name}"

    def of(self, data: DataSet) -> Foreign:
        """It, knowing the classes; raises BackEndError where its statement does not name them."""
        return dataclasses.replace(self, classes=data.classes)

    @cached_property
    def served(self) -> Served:
        """It, as it is served."""
        return Served(self.content, self.form)

    def check(self, data: DataSet, console: Console) -> None:
        """BackEndError unless it runs, and answers calibration pictures better than chance; say what does better."""
        known = self.of(data)
        try:
            classes = known.served.model.classes
        except ModelError as error:
            raise BackEndError(f"{self.path} with {self.statement}: {_without_place(str(error))}") from error
        if classes != len(data.classes):
            raise BackEndError(
                f"{self.path}: has {classes} outputs, and the data {len(data.classes)} classes: say in "
                f"{self.statement} which of them each class is, by a table [outputs] of lines such as "
                f'"{data.classes[0]}" = 0, or by a list of the names of all outputs'
            )
        rows = np.linspace(0, len(data.calibration) - 1, min(_TRIED, len(data.calibration))).astype(np.int64)
        labels = data.calibration.labels[rows]
        photographs = np.ascontiguousarray(data.calibration.photographs[rows])
        logits = known.served.logits(photographs, np.arange(len(rows)), lambda: None)
        right = logits.argmax(1) == labels
        share = max(np.bincount(labels, minlength=len(data.classes)).max() / len(labels), 1 / len(data.classes))
        guessed = binomtest(int(right.sum()), len(rows), float(share), alternative="greater").pvalue
        # Those that explain about as much stay in their order, in which the simpler ones are first.
        explained = sorted(known._better(photographs, labels, right), key=lambda one: -round(one[1] / _ALIKE))
        told = "; ".join(f"{what} it is {accuracy:.1%}" for what, accuracy in explained[:_NAMED])
        measured = (
            f"{self.path} answers {right.mean():.1%} of {len(rows)} calibration pictures rightly with what "
            f"{self.statement} says"
        )
        if guessed > _CHANCE:
            raise BackEndError(
                f"{measured}, and who always says the most frequent class {share:.1%}: its preprocessing or the order "
                f"of its classes is probably another. {told[:1].upper() + told[1:] or _NONE_HELPS}"
            )
        if told:
            console.print(f"warning: {measured}; {told}", soft_wrap=True, markup=False, highlight=False)

    def _better(
        self, photographs: NDArray[np.uint8], labels: NDArray[np.int64], right: NDArray[np.bool_]
    ) -> Iterator[tuple[str, float]]:
        """Which usual mistakes would explain more than is `right` as stated, and the accuracy without them."""
        for what, answers in self._other_ways(photographs, labels):
            found, accuracy = gain(answers, right), float(answers.mean())
            if found.proved and found.difference >= _WORTH:
                yield what, accuracy

    def _other_ways(
        self, photographs: NDArray[np.uint8], labels: NDArray[np.int64]
    ) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """What usual mistakes would explain, and which photographs would be answered rightly then."""
        rows = np.arange(len(photographs))

        def answered(served: Served, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
            return served.logits(pictures, rows, lambda: None)

        forms = {"as stated": self.form}
        for what, mean, deviation in _USUAL if self.form.element == "float32" else ():
            three = self.form.channels
            form = self.form.model_copy(update={"mean": list(mean[:three]), "deviation": list(deviation[:three])})
            if form not in forms.values():
                forms[what] = form
        found: dict[str, NDArray[np.float32]] = {}
        for what, form in forms.items():
            found[what] = answered(dataclasses.replace(self.served, form=form), photographs)
            if what != "as stated":
                yield f"with {what}", found[what].argmax(1) == labels
        yield from self._other_orders(found["as stated"], labels)
        turned = np.ascontiguousarray(photographs[..., ::-1])
        for what, form in forms.items() if self.form.channels == 3 else ():
            also = "" if what == "as stated" else f"{what} and "
            yield (
                f"with {also}blue before red (which a statement cannot say: let the model turn them)",
                answered(dataclasses.replace(self.served, form=form), turned).argmax(1) == labels,
            )

    def _other_orders(
        self, logits: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """The order of classes that explains half of the answers best, held against the other half."""
        fitted, tried = np.arange(len(labels)) % 2 == 0, np.arange(len(labels)) % 2 == 1
        classes = logits.shape[1]
        counts = np.zeros((classes, classes))
        np.add.at(counts, (labels[fitted], logits[fitted].argmax(1)), 1)
        _, order = linear_sum_assignment(-counts)
        if (order == np.arange(classes)).all():
            return
        right = logits[:, order].argmax(1) == labels
        # Half of the answers chose the order: they count as the other half does.
        share = right[tried].mean() if tried.any() else 0.0
        honest = right & tried
        honest[fitted] = np.arange(int(fitted.sum())) < share * fitted.sum()
        yield f"with the classes in another order ({', '.join(map(str, order))} of its outputs)", honest

    def _outputs(self, classes: tuple[str, ...]) -> list[int]:
        """Which output each class is; BackEndError where the statement does not tell."""
        assert self.named is not None
        places = (
            dict(self.named) if isinstance(self.named, Mapping) else {name: at for at, name in enumerate(self.named)}
        )
        lacking = [name for name in classes if name not in places]
        if lacking:
            raise BackEndError(
                f"{self.statement}: outputs: has no class {lacking[0]!r}"
                + (f" and {len(lacking) - 1} more" if len(lacking) > 1 else "")
                + ": name each class of the data, as its folder is called"
            )
        if isinstance(self.named, Mapping) and (unknown := [name for name in places if name not in classes]):
            raise BackEndError(
                f"{self.statement}: outputs: the data has no class {unknown[0]!r}: remove it, or name one of "
                f"{', '.join(classes)}"
            )
        chosen = [places[name] for name in classes]
        if len(set(chosen)) != len(chosen):
            twice = next(name for at, name in enumerate(classes) if chosen.index(chosen[at]) < at)
            raise BackEndError(
                f"{self.statement}: outputs: {twice!r} is an output that another class is, too: give each its own"
            )
        return chosen

    def ahead(self, data: DataSet, quick: bool) -> Mapping[Phase, tuple[int, float]]:
        """It is asked for its answers, and no more."""
        return {"answers": (answer_steps(data), seconds_a_batch(data, self.of(data).served))}

    def train(self, data: DataSet, seed: int, course: Course) -> Trained:
        """Measured as it is: no seed changes it."""
        known = self.of(data)
        answers = Answers(data, known.served, course)
        right, test = answers.right("calibration"), answers.right("test")
        return Trained(known, seed, known.served, (float(test.mean()),), right, None, 0.0, {})

    def facts(self, module: Any, shape: Shape, classes: int) -> Facts:
        """Counted in the file; multiplications are not."""
        assert isinstance(module, Served)
        return Facts(parameters_of(module.content), None, [], None, None)


_USUAL: Final = (
    # Mean and deviation by channel, red first, in units of a byte.
    ("bytes as they are (mean 0, deviation 1)", (0.0,) * 3, (1.0,) * 3),
    ("0 to 1 (mean 0, deviation 255)", (0.0,) * 3, (255.0,) * 3),
    ("-1 to 1 (mean 127.5, deviation 127.5)", (127.5,) * 3, (127.5,) * 3),
    (
        "ImageNet's (mean 123.675, 116.28, 103.53, deviation 58.395, 57.12, 57.375)",
        (123.675, 116.28, 103.53),
        (58.395, 57.12, 57.375),
    ),
    ("ImageNet's mean alone (123.675, 116.28, 103.53, deviation 1)", (123.675, 116.28, 103.53), (1.0,) * 3),
)
_NAMED: Final = 4  # usual mistakes that are told of at once
_WORTH: Final = 0.03  # of accuracy, which a remark is worth
_ALIKE: Final = 0.02  # of accuracy, which some hundred pictures do not tell apart
_NONE_HELPS: Final = (
    "None of the usual mistakes explains it (0 to 1, -1 to 1, ImageNet's mean and deviation, blue before red, another "
    "order of classes): look up how it was trained"
)


def load(path: Path, statement: Path) -> Foreign:
    """The back end in the ONNX file `path`, of which the TOML file `statement` says what it takes.

    Raises BackEndError where a file cannot be read, or the statement does not say all that it must.
    """
    path, statement = from_home(str(path)), from_home(str(statement))
    stated, outputs = read_statement(statement)
    try:
        content = read_regular(path)
    except OSError as error:
        raise BackEndError(f"{path}: cannot be read ({error.strerror}): give an ONNX classifier") from error
    return Foreign(path, content, stated, statement, outputs)


def _without_place(told: str) -> str:
    """A refusal without the temporary file that the model lay in."""
    return told.partition("backend.onnx")[2].lstrip(":, ") or told
