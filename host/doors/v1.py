"""KServe's version 1 of the protocol: `:predict` with `instances`, one for each element of a batch.

The instances go to the model's first input. One of BYTES is a text, or {"b64": "..."} with its bytes in Base64.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from edgesight.host.doors.bodies import parameters_of
from edgesight.host.doors.served import ModelMetadata, Request, Response
from edgesight.host.doors.tensors import (
    BYTES,
    MAX_DIMENSIONS,
    check_request_parameters,
    from_plain,
    invalid,
    shown,
    timeout_of,
    to_plain,
)


def read_request(model: str, found: Mapping[str, Any], metadata: ModelMetadata) -> Request:
    """The request in the JSON object of a `:predict`; Refused where it is none."""
    instances = found.get("instances")
    if not isinstance(instances, list) or not instances:
        raise invalid("instances must be a list of at least one")
    if len(metadata.inputs) != 1:
        raise invalid(
            f"model {shown(model)} has {len(metadata.inputs)} inputs: version 1 asks only models of one, use 2"
        )
    (form,) = metadata.inputs
    if form.datatype == BYTES:
        instances = _decoded(instances)
    shape: list[int] = []
    level: object = instances
    while isinstance(level, list):
        if len(shape) == MAX_DIMENSIONS:
            raise invalid(f"instances are nested deeper than {MAX_DIMENSIONS}")
        shape.append(len(level))
        level = level[0] if level else None
    if form.datatype == BYTES and len(shape) == 1:
        shape += [1] * (len(form.shape) - 1)  # one picture an instance, whatever the form's rank
    parameters = parameters_of(found, "the request")
    check_request_parameters(parameters)
    tensor = from_plain(form.name, form.datatype, shape, instances)
    return Request(model, [tensor], parameters=parameters, timeout=timeout_of(parameters))


def _decoded(level: list[Any]) -> list[Any]:
    """The instances with bytes in place of Base64; lists stay lists."""
    decoded: list[Any] = []
    for one in level:
        if isinstance(one, list):
            decoded.append(_decoded(one))
        elif isinstance(one, dict):
            text = one.get("b64")
            if set(one) != {"b64"} or not isinstance(text, str):
                raise invalid('an instance of BYTES is a text, or {"b64": TEXT}')
            try:
                decoded.append(base64.b64decode(text, validate=True))
            except (binascii.Error, ValueError):
                raise invalid("the text under b64 is no Base64") from None
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
