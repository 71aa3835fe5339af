"""An edge's answers in the protocol's words: an output for each thing that an `Answer` says, and parameters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgesight.host.answer import Answer
from edgesight.host.applications.asked import MAX_PICTURES, PICTURE
from edgesight.host.doors.served import Parameter, Tensor, TensorForm, Wanted
from edgesight.host.doors.tensors import DATATYPES, invalid, shown
from edgesight.host.images import photograph_shape
from edgesight.host.kernel import Kernel

CONFIDENCE = "confidence"


def _leg(name: str) -> Callable[[Answer], float]:
    """Milliseconds of the leg called so; NaN where an answer has none."""
    return lambda answer: next((leg.milliseconds for leg in answer.legs if leg.name == name), math.nan)


# Output, datatype, and what it holds of an answer: NaN or an empty text where that has no such thing.
_OUTPUTS: tuple[tuple[str, str, Callable[[Answer], Any]], ...] = (
    ("label", "INT64", lambda answer: answer.label),
    ("class_name", "BYTES", lambda answer: answer.class_name.encode()),
    (CONFIDENCE, "FP32", lambda answer: answer.confidence),
    ("stage", "BYTES", lambda answer: answer.stage.encode()),
    ("accuracy_target", "FP64", lambda answer: answer.accuracy_target),
    ("degraded", "BOOL", lambda answer: answer.degraded),
    ("guaranteed", "BOOL", lambda answer: answer.guaranteed),
    ("reason", "BYTES", lambda answer: (answer.reason or "").encode()),
    ("hedged", "BOOL", lambda answer: answer.hedged),
    ("novelty", "FP64", lambda answer: math.nan if answer.novelty is None else answer.novelty),
    ("energy_joules", "FP64", lambda answer: math.nan if answer.energy_joules is None else answer.energy_joules),
    ("milliseconds", "FP64", lambda answer: answer.milliseconds),
    ("fabric_ms", "FP64", _leg("fabric")),
    ("link_ms", "FP64", _leg("link")),
    ("service_ms", "FP64", _leg("service")),
    ("warnings", "BYTES", lambda answer: "; ".join(answer.warnings).encode()),
)
_BY_NAME = {name: (datatype, told) for name, datatype, told in _OUTPUTS}


def input_form(kernel: Kernel) -> TensorForm:
    """Pixels as the data centre sees the picture, or else the fabric."""
    shape = photograph_shape(kernel.input, kernel.backend_input) or kernel.input.shape
    return TensorForm(PICTURE, "UINT8", (-1, *shape))


def output_form() -> TensorForm:
    """The output by which clients take an application for a classifier."""
    return TensorForm(CONFIDENCE, "FP32", (-1,))


def further_forms() -> dict[str, str]:
    """In words what is taken and given besides, for the model's configuration: its forms have one each."""
    others = ", ".join(f"{name} {datatype} [N]" for name, datatype, _ in _OUTPUTS if name != CONFIDENCE)
    taken = f"{PICTURE} BYTES [N] or [N, 1]: encoded files, of any size; N at most {MAX_PICTURES}"
    return {"further_inputs": taken, "further_outputs": others}


def check_wanted(outputs: Sequence[Wanted]) -> None:
    """Refused (INVALID_ARGUMENT) where an edge has no such output."""
    for wanted in outputs:
        if wanted.name not in _BY_NAME:
            raise invalid(f"there is no output {shown(wanted.name)}: ask for {', '.join(_BY_NAME)}")
        if wanted.classes and wanted.name != CONFIDENCE:
            raise invalid(f"output {wanted.name} is no classification: ask for that of {CONFIDENCE}")


def outputs_of(answers: Sequence[Answer], outputs: Sequence[Wanted]) -> list[Tensor]:
    """The `outputs` of some answers, [N] each; all where none is named."""
    if not outputs:
        return [_column(name, answers) for name in _BY_NAME]
    return [_classes(answers) if wanted.classes else _column(wanted.name, answers) for wanted in outputs]


def _column(name: str, answers: Sequence[Answer]) -> Tensor:
    datatype, told = _BY_NAME[name]
    values = np.empty(len(answers), DATATYPES[datatype])
    values[:] = [told(answer) for answer in answers]
    return Tensor(name, datatype, values)


def _classes(answers: Sequence[Answer]) -> Tensor:
    """The classification extension, [N, 1]: a cascade says how sure it is of its answer, and of no other class."""
    values = np.empty((len(answers), 1), np.object_)
    values[:, 0] = [f"{answer.confidence:f}:{answer.label}:{answer.class_name}".encode() for answer in answers]
    return Tensor(CONFIDENCE, "BYTES", values)


def parameters_of(answers: Sequence[Answer]) -> dict[str, Parameter]:
    """About a single answer all that it says; about several how many were of which kind."""
    (first, *others) = answers
    obtained = {f"{leg.name}_obtained": leg.obtained for leg in first.legs if leg.name == "fabric"}
    if others:
        stages = Counter(answer.stage for answer in answers)
        return {
            "pictures": len(answers),
            **{f"{stage}_count": count for stage, count in sorted(stages.items())},
            **{
                f"{name}_count": sum(bool(getattr(answer, name)) for answer in answers)
                for name in ("degraded", "guaranteed", "hedged", "warnings")
            },
            "accuracy_target": min(answer.accuracy_target for answer in answers),
            **obtained,
        }
    said: dict[str, Parameter | None] = {
        **first.model_dump(exclude={"legs", "warnings", "label"}),
        "milliseconds": first.milliseconds,
        **{f"{leg.name}_ms": leg.milliseconds for leg in first.legs},
        **obtained,
        "warnings": "; ".join(first.warnings) or None,
    }
    return {name: value for name, value in said.items() if value is not None}
