"""The data centre's model that a package takes along: how it takes pictures, and whether its file bears that out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from edgesight.hls.network import CompileError
from edgesight.host.back_end import FormError, Port, check_form
from edgesight.host.kernel import BackEndInput, Input


@dataclass(frozen=True)
class BackEnd:
    """The data centre's ONNX model, and the form in which it takes pictures; None: the fabric's bytes, as they are."""

    model: bytes
    form: BackEndInput | None = None


def form_of(backend: BackEnd, fabric: Input, classes: int) -> BackEndInput:
    """The form in which the back end takes pictures; raises CompileError where its model or `classes` gainsay it."""
    form = backend.form or BackEndInput.same_as(fabric)
    try:
        graph = onnx.load_model_from_string(backend.model).graph
    except DecodeError as error:
        raise CompileError(f"the back end is no readable ONNX file ({error}): train or export it again") from error
    weights = {one.name for one in graph.initializer}  # older files list them among the inputs, too
    inputs = [_port(one) for one in graph.input if one.name not in weights]
    try:
        check_form(form, inputs, [_port(one) for one in graph.output], classes)
    except FormError as error:
        where = "the model card's networks.backend.input" if backend.form is not None else "the fabric's picture"
        raise CompileError(f"the back end does not take {where}: {error}") from error
    return form


def _port(declared: Any) -> Port:
    """A graph's input or output as the file declares it."""
    tensor = declared.type.tensor_type
    try:
        element = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        element = "of no element"
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim)
    return Port(declared.name, element, sides if tensor.HasField("shape") else None)
