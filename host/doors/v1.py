"""KServe's version 1 of the protocol: `:predict` with `instances`, one for each element of a batch.

An instance is what the model's one input takes, or an object with one for each input by its name. Bytes are
{"b64": "..."} in Base64; where the model's own form is BYTES, a text will do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from edgesight.host.doors.bodies import parameters_of
from edgesight.host.doors.served import ModelMetadata, Request, Response, Tensor, TensorForm
from edgesight.host.doors.tensors import (
    BYTES,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    check_request_parameters,
    from_plain,
    invalid,
    shown,
    timeout_of,
    to_plain,
)

_B64 = "b64"


def read_request(model: str, found: Mapping[str, Any], metadata: ModelMetadata) -> Request:
    """The request in the JSON object of a `:predict`; Refused where it is none."""
    instances = found.get("instances")
    if not isinstance(instances, list) or not instances:
        raise invalid("instances must be a list of at least one")
    forms = {form.name: form for form in metadata.inputs}
    encoded = metadata.parameters.get("picture_input")  # takes bytes in the place of all others
    if isinstance(encoded, str):
        forms.setdefault(encoded, TensorForm(encoded, BYTES, (-1,)))
    columns = _columns(model, instances, metadata)
    tensors = []
    for name, column in columns.items():
        form = forms.get(name)
        if form is None:
            raise invalid(f"model {shown(model)} has no input {shown(name)}: it takes {', '.join(forms)}")
        tensors.append(_read_tensor(form, column, encoded if isinstance(encoded, str) else name))
    parameters = parameters_of(found, "the request")
    check_request_parameters(parameters)
    return Request(model, tensors, parameters=parameters, timeout=timeout_of(parameters))


def _columns(model: str, instances: list[Any], metadata: ModelMetadata) -> dict[str, list[Any]]:
    """What the instances have for each input, by its name."""
    if not _is_named(instances[0]):
        if len(metadata.inputs) != 1:
            needed = ", ".join(form.name for form in metadata.inputs)
            raise invalid(f"model {shown(model)} has several inputs: make each instance an object with {needed}")
        return {metadata.inputs[0].name: instances}
    names = list(instances[0])
    if not 0 < len(names) <= MAX_TENSORS:
        raise invalid(f"an instance has {len(names)} inputs: give 1 to {MAX_TENSORS}")
    for number, instance in enumerate(instances):
        if not _is_named(instance) or instance.keys() != instances[0].keys():
            raise invalid(f"instance {number} has not the inputs of instance 0: give each the same")
    return {name: [instance[name] for instance in instances] for name in names}


def _is_named(instance: object) -> bool:
    """The instance has inputs by their names, and is no bytes."""
    return isinstance(instance, dict) and set(instance) != {_B64}


def _read_tensor(form: TensorForm, values: list[Any], encoded: str) -> Tensor:
    """The input of that `form`; where bytes came for another than BYTES, that called `encoded`, of BYTES."""
    found: list[bytes] = []
    values = _decoded(values, found)
    name, datatype = (encoded, BYTES) if found and form.datatype != BYTES else (form.name, form.datatype)
    shape: list[int] = []
    level: object = values
    while isinstance(level, list):
        if len(shape) == MAX_DIMENSIONS:
            raise invalid(f"instances are nested deeper than {MAX_DIMENSIONS}")
        shape.append(len(level))
        level = level[0] if level else None
    if form.datatype == BYTES and len(shape) == 1:
        shape += [1] * (len(form.shape) - 1)  # one picture an instance, whatever the form's rank
    return from_plain(name, datatype, shape, values)


def _decoded(level: list[Any], found: list[bytes]) -> list[Any]:
    """The instances with bytes in place of Base64, which are also put into `found`; lists stay lists."""
    decoded: list[Any] = []
    for one in level:
        if isinstance(one, list):
            decoded.append(_decoded(one, found))
        elif isinstance(one, dict):
            text = one.get(_B64)
            if set(one) != {_B64} or not isinstance(text, str):
                raise invalid('an object in the place of a value must be {"b64": TEXT}')
            try:
                found.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                raise invalid("the text under b64 is no Base64") from None
            decoded.append(found[-1])
        else:
            decoded.append(one)
    return decoded


def write_response(response: Response) -> dict[str, Any]:
    """The predictions: rows of the one output, or of several an object for each row."""
    rows = {tensor.name: _nested(to_plain(tensor), tensor.values.shape) for tensor in response.outputs}
    if len(rows) == 1:
        return {"predictions": next(iter(rows.values()))}
    lengths = {len(output) if isinstance(output, list) else -1 for output in rows.values()}
    if len(lengths) != 1 or -1 in lengths:  # no batch that all outputs share
        return {"predictions": [rows]}
    return {"predictions": [{name: output[row] for name, output in rows.items()} for row in range(lengths.pop())]}


def _nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    for side in reversed(shape[1:]):
        if not side:
            return [[] for _ in range(shape[0])]
        flat = [flat[at : at + side] for at in range(0, len(flat), side)]
    return flat if shape else flat[0]
