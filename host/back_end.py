"""A back end's ONNX file, held against the form in which a package says that it takes pictures.

Whoever reads the file, ONNX Runtime at the data centre or the compiler, tells its ports; here they are judged.

Words owned here: port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import sha256
from edgesight.host.kernel import BackEndInput, Kernel

LOGITS = "logits"  # the output that counts where a model has several


class FormError(EdgeSightError, ValueError):
    """A model that is not of the form that is stated for it: what both say, and what to do. It names no file."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a model, as its file declares it."""

    name: str
    element: str  # as numpy calls it
    sides: tuple[int | None, ...] | None  # None: free; of all of them: nothing is declared

    def __str__(self) -> str:
        """Name, element and sides, `*` for a free one."""
        if self.sides is None:
            return f"{self.name}, {self.element}"
        return f"{self.name}, {self.element} [{', '.join('*' if side is None else str(side) for side in self.sides)}]"


def check_form(
    form: BackEndInput, inputs: Sequence[Port], outputs: Sequence[Port], classes: int | None = None
) -> tuple[Port, Port]:
    """The input that takes the pictures and the output that gives the logits of a model of that `form`.

    `classes` is the package's count, where it is known. Raises FormError.
    """
    if len(inputs) != 1:
        raise FormError(f"it has {len(inputs)} inputs{_listed(inputs)}, expected one: give a model of pictures alone")
    taken, given = inputs[0], _logits_of(outputs)
    if taken.element != form.element:
        raise FormError(
            f"its input is {taken}, but {form.element} is stated as `element`: state {taken.element}, or give a model "
            f"that takes {form.element}"
        )
    wanted = sides_of(form)
    sides = taken.sides or (None,) * 4
    if len(sides) != 4 or any(side not in (None, own) for side, own in zip(sides[1:], wanted, strict=True)):
        raise FormError(
            f"its input is {taken}, but {form.layout} of {form.height} x {form.width} pixels and {form.channels} "
            f"channels is stated, [*, {', '.join(map(str, wanted))}]: mend `layout`, `height`, `width` or `channels`, "
            "or give a model of that shape"
        )
    if sides[0] not in (None, 1):
        raise FormError(f"its input is {taken}: export it for any count of pictures, or for 1")
    if given.element != "float32":
        raise FormError(f"its output is {given}, expected float32: give a model whose logits are float32")
    if given.sides is not None and len(given.sides) != 2:
        raise FormError(f"its output is {given}, expected [*, logits]: give a model with one row of logits a picture")
    check_outputs(form, given.sides[1] if given.sides is not None else None, classes)
    return taken, given


def check_outputs(form: BackEndInput, logits: int | None, classes: int | None = None) -> None:
    """Raise FormError where a model of so many `logits` cannot tell the classes apart; None: that is not known."""
    if form.outputs is not None:
        if classes not in (None, len(form.outputs)):
            raise FormError(
                f"`outputs` are {len(form.outputs)} of its logits, but there are {classes} classes: give one for each "
                "class, in the classes' order"
            )
        beyond = [index for index in form.outputs if logits is not None and index >= logits]
        if beyond:
            raise FormError(
                f"it has {logits} logits, 0 to {(logits or 0) - 1}, but {beyond[0]} is stated among `outputs`: give "
                "those that the classes are"
            )
    elif logits is not None and classes not in (None, logits):
        raise FormError(
            f"it has {logits} logits, but there are {classes} classes: state as `outputs` which of its logits each "
            "class is, or give a model of these classes"
        )


def form_for(kernel: Kernel) -> BackEndInput:
    """The form in which the kernel's back end takes pictures: the fabric's bytes where the package says nothing."""
    return kernel.backend_input or BackEndInput.same_as(kernel.input)


def form_sha256(form: BackEndInput) -> str:
    """Checksum, in hexadecimal, by which an edge and a data centre know whether they mean the same form."""
    return sha256(form.model_dump_json().encode())


def sides_of(form: BackEndInput) -> tuple[int, int, int]:
    """Sides of one picture as the model takes it, in its layout."""
    height, width, channels = form.shape
    return form.shape if form.layout == "NHWC" else (channels, height, width)


def _logits_of(outputs: Sequence[Port]) -> Port:
    if len(outputs) == 1:
        return outputs[0]
    named = [port for port in outputs if port.name == LOGITS]
    if len(named) != 1:
        raise FormError(
            f"it has {len(outputs)} outputs{_listed(outputs)}, none of them called {LOGITS}: call the one that counts "
            "so, or give a model with one"
        )
    return named[0]


def _listed(ports: Sequence[Port]) -> str:
    return f" ({'; '.join(map(str, ports))})" if ports else ""
