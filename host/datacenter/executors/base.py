"""The small interface that every executor has, and the words of its arrays.

Words owned here: executor, recipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

from edgesight.host.doors import tensors
from edgesight.host.doors.served import TensorForm
from edgesight.host.errors import EdgeSightError

Arrays = Mapping[str, npt.NDArray[Any]]
DTYPES = tensors.DATATYPES  # numpy's, by the protocol's
DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}
PICTURE = "picture"  # the input that takes encoded pictures: BYTES, an element a picture
GRAPH_LEVEL = "graph_level"  # the option that says how far ONNX Runtime changes a model's graph, in Triton's numbers
MOST_THREADS = 1_024
DEFAULT_BATCH = 8  # of a model that takes any count, where nothing says how many are good


class ModelError(EdgeSightError):
    """A model that cannot be served: names the file, what was found and what to do."""


@dataclass(frozen=True)
class Recipe:
    """How a model is to be run.

    Attributes:
        kind: `onnxruntime`, `pytorch` or `triton`.
        name: of the model or its file, for messages.
        inputs, outputs: as its configuration declares them, with the batch; empty: the file says it.
        max_batch_size: of the configuration; None: the file says it.
        options: of the kind, as `threads`, `device` (cpu, cuda, tensorrt), `graph_level`, `compile`,
            `url`.
        form: a package's `backend_input` as JSON where the executor is to take encoded pictures itself; else empty.
    """

    kind: str
    name: str
    inputs: Sequence[TensorForm] = ()
    outputs: Sequence[TensorForm] = ()
    max_batch_size: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    form: str = ""

    def pack(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Of what `pack` gave."""
        fields = json.loads(text)
        for ports in ("inputs", "outputs"):
            fields[ports] = forms(fields[ports])
        return cls(**fields)

    def threads(self) -> int:
        """Threads that one run may take; raises ModelError."""
        return self.number("threads", 1, MOST_THREADS)

    def number(self, option: str, default: int, most: int = 1 << 31) -> int:
        """A whole number of 1 to `most` among the options; raises ModelError."""
        told = self.options.get(option, str(default))
        if not (told.isascii() and told.isdecimal() and len(told) < 20 and 1 <= int(told) <= most):
            raise ModelError(f"{self.name}: `{option}` is {told[:40]!r}: state a whole number of 1 to {most}")
        return int(told)


class RunPictures(Protocol):
    """Runs a model on encoded pictures."""

    def __call__(
        self, files: Sequence[bytes], wanted: Sequence[str] = ()
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[int, str]]:
        """As `Executor.run`, of a picture a row; and what is wrong with those that cannot be read, by place.

        Their rows mean nothing.
        """


class Executor(Protocol):
    """Runs one model.

    Attributes:
        inputs, outputs: -1 where any length will do; `()` where nothing is known of a shape.
        max_batch_size: rows along the first dimension at once; 0: the first dimension is no batch.
        run_pictures: None where it takes no encoded pictures.
    """

    inputs: Sequence[TensorForm]
    outputs: Sequence[TensorForm]
    max_batch_size: int
    run_pictures: RunPictures | None

    def run(self, arrays: Arrays, wanted: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
        """The outputs `wanted`, all where none is named, of contiguous inputs; from one thread at a time.

        The inputs are valid until it returns. Raises ModelError.
        """


def forms(entries: Sequence[Mapping[str, Any]]) -> tuple[TensorForm, ...]:
    """Of plain JSON."""
    return tuple(TensorForm(entry["name"], entry["datatype"], tuple(entry["shape"])) for entry in entries)


def batch_of(
    recipe: Recipe, inputs: Sequence[TensorForm], outputs: Sequence[TensorForm], same_symbol: bool = True
) -> int:
    """How many rows at once: what the configuration says, else many where every first dimension is free.

    `same_symbol` says whether all these first dimensions are known to be one and the same. Raises ModelError where the
    file gainsays the configuration.
    """
    ports = [*inputs, *outputs]
    free = bool(inputs) and all(port.shape[:1] == (-1,) for port in ports)
    if recipe.max_batch_size is None:
        return DEFAULT_BATCH if free and same_symbol else 0
    fixed = [port for port in ports if port.shape and port.shape[0] != -1]
    if recipe.max_batch_size > 0 and fixed:
        raise ModelError(
            f"{recipe.name}: max_batch_size is {recipe.max_batch_size}, but {fixed[0].name} has shape "
            f"{list(fixed[0].shape)}: export it with a free first dimension, or state max_batch_size: 0"
        )
    return recipe.max_batch_size


def check_declared(recipe: Recipe, kind: str, declared: Sequence[TensorForm], found: Sequence[TensorForm]) -> None:
    """Raise ModelError where the configuration declares inputs or outputs that the file has not so."""
    known = {port.name: port for port in found}
    for port in declared:
        other = known.get(port.name)
        if other is None:
            raise ModelError(
                f"{recipe.name}: {kind} {port.name!r} is declared, but the file has {', '.join(known)}: mend "
                "config.pbtxt"
            )
        agree = len(port.shape) == len(other.shape) and all(
            -1 in (own, theirs) or own == theirs for own, theirs in zip(port.shape, other.shape, strict=True)
        )
        if port.datatype != other.datatype or (other.shape and not agree):
            raise ModelError(
                f"{recipe.name}: {kind} {port.name!r} is declared as {port.datatype} {list(port.shape)}, but the file "
                f"has {other.datatype} {list(other.shape)}: mend config.pbtxt"
            )


def first_line(error: BaseException) -> str:
    """What an exception says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
