"""The protocol's HTTP bodies to plain types and back: a JSON object, and behind it raw tensors (the binary extension).

Words owned here: header (the JSON object's length, where bytes come behind it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from edgesight.host.doors.served import (
    Code,
    Duration,
    ModelMetadata,
    ModelStatistics,
    Parameter,
    Refused,
    Request,
    Response,
    Tensor,
    TensorForm,
    Wanted,
    shape_of,
)
from edgesight.host.doors.tensors import (
    BYTES,
    check_names,
    check_request_parameters,
    check_tensor_parameters,
    classes_of,
    from_plain,
    from_raw,
    invalid,
    shown,
    timeout_of,
    to_plain,
    to_raw,
)

MAX_TEXT = 1_024  # characters of a name or an id


@dataclass(frozen=True)
class Asked:
    """A request, and which of its outputs are to come raw: those named, `binary` the rest."""

    request: Request
    named: Mapping[str, bool]
    binary: bool


def read_json(content: bytes | memoryview, most: int, empty: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON object in `content`; `empty` where there is none. Refused where it is none, too large or too deep.

    `most` bytes are taken: a list of its values takes up to 24 times as much memory.
    """
    if not len(content) and empty is not None:
        return empty
    if len(content) > most:
        raise invalid(
            f"{len(content)} bytes of JSON; at most {most} are taken: send tensors as binary data, or over gRPC"
        )
    try:
        found = from_json(bytes(content), allow_inf_nan=False)
    except ValueError as error:
        raise invalid(f"the body is no JSON that is taken here: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise invalid("the body must be a JSON object")
    return found


def write_json(value: object) -> bytes:
    """JSON; infinities and NaN, which it has no words for, become null."""
    return bytes(to_json(value, inf_nan_mode="null"))


def text_of(found: Mapping[str, Any], key: str, what: str, default: str | None = None) -> str:
    """The text under `key` of `what`; Refused where it is none, or too long."""
    value = found.get(key, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise invalid(f"{what}: {key} must be a text of at most {MAX_TEXT} characters")
    return value


def list_of(found: Mapping[str, Any], key: str, what: str) -> list[Any]:
    """The list under `key` of `what`, empty where there is none; Refused where it is another thing."""
    value = found.get(key, [])
    if not isinstance(value, list):
        raise invalid(f"{what}: {key} must be a list")
    return value


def parameters_of(found: Mapping[str, Any], what: str) -> dict[str, Parameter]:
    """The parameters of `what`; Refused where one is no boolean, number or text."""
    parameters = found.get("parameters", {})
    if not isinstance(parameters, dict):
        raise invalid(f"{what}: parameters must be an object")
    for name, value in parameters.items():
        # JSON's 1e999 is read as infinity, of which no parameter can make sense.
        if not isinstance(value, (bool, int, float, str)) or (
            isinstance(value, (int, float)) and not -(2**63) <= value < 2**64
        ):
            raise invalid(f"{what}: parameter {shown(name)} must be a boolean, a text or a number of 64 bits")
    return parameters


def read_request(model: str, version: str, body: bytes, header: int | None, most: int) -> Asked:
    """The request in an infer `body`, of whose bytes the first `header` are JSON (None: all). Raises Refused.

    `most` is as for `read_json`.
    """
    if header is not None and header > len(body):
        raise invalid(f"the header's length is {header}, and the whole body has {len(body)} bytes")
    view = memoryview(body)
    found = read_json(view if header is None else view[:header], most)
    behind = view[len(body) if header is None else header :]
    parameters = parameters_of(found, "the request")
    check_request_parameters(parameters)
    timeout = timeout_of(parameters)
    asked = list_of(found, "inputs", "the request")
    if not asked:
        raise invalid("the request has no input")
    named, outputs = _read_outputs(list_of(found, "outputs", "the request"))
    tensors = _objects(asked, "input")
    check_names("input", [text_of(tensor, "name", "an input") for tensor in tensors])
    inputs = []
    for tensor in tensors:
        read, behind = _read_tensor(tensor, behind)
        inputs.append(read)
    if len(behind):
        raise invalid(f"{len(behind)} bytes stand behind the inputs' binary data: no binary_data_size tells of them")
    return Asked(
        Request(
            model,
            inputs,
            version,
            text_of(found, "id", "the request", ""),
            parameters,
            outputs,
            timeout,
        ),
        named,
        _flag(parameters, "binary_data_output", "the request"),
    )


def _objects(found: list[Any], kind: str) -> list[dict[str, Any]]:
    if any(not isinstance(one, dict) for one in found):
        raise invalid(f"each {kind} must be an object")
    return found


def _flag(parameters: Mapping[str, Parameter], name: str, what: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"{what}: parameter {name} must be true or false")
    return value


def _read_tensor(found: Mapping[str, Any], behind: memoryview) -> tuple[Tensor, memoryview]:
    """An input, and what of the bytes `behind` the JSON is left for others."""
    name = text_of(found, "name", "an input")
    what = f"input {shown(name)}"
    datatype, shape = text_of(found, "datatype", what), list_of(found, "shape", what)
    if "shape" not in found:
        raise invalid(f"{what} has no shape")
    parameters = parameters_of(found, what)
    check_tensor_parameters(name, parameters)
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in found:
            raise invalid(f"{what} has neither data nor binary_data_size")
        return from_plain(name, datatype, shape, found["data"], parameters), behind
    if "data" in found:
        raise invalid(f"{what} has data and binary_data_size: give one of them")
    if type(size) is not int or size < 0:
        raise invalid(f"{what}: binary_data_size must be a whole number of bytes, not {shown(size)}")
    if size > len(behind):
        raise invalid(f"{what}: binary_data_size is {size}, and {len(behind)} bytes are left behind the JSON object")
    return from_raw(name, datatype, shape, behind[:size], parameters), behind[size:]


def _read_outputs(found: list[Any]) -> tuple[dict[str, bool], list[Wanted]]:
    named: dict[str, bool] = {}
    outputs = []
    for output in _objects(found, "output"):
        name = text_of(output, "name", "an output")
        what = f"output {shown(name)}"
        parameters = parameters_of(output, what)
        check_tensor_parameters(name, parameters)
        if "binary_data" in parameters:
            named[name] = _flag(parameters, "binary_data", what)
        outputs.append(Wanted(name, classes_of(name, parameters)))
    check_names("output", [output.name for output in outputs])
    return named, outputs


def read_raw_request(model: str, version: str, body: bytes, metadata: ModelMetadata) -> Asked:
    """The request in a `body` that is all raw tensor: of the one input of a model that takes one, its batch of one."""
    if len(metadata.inputs) != 1:
        raise invalid(
            f"model {shown(model)} has {len(metadata.inputs)} inputs: only of a single one may the body be all"
        )
    (form,) = metadata.inputs
    shape = [1 if side == -1 and index == 0 else side for index, side in enumerate(form.shape)]
    if form.datatype == BYTES:
        if any(side not in (-1, 1) for side in shape):
            raise invalid(f"input {shown(form.name)} takes more than one element: tell their lengths, and use JSON")
        tensor = from_plain(form.name, BYTES, [1] * len(shape), [body])
    elif -1 in shape:
        raise invalid(f"input {shown(form.name)} has the shape {list(form.shape)}: tell yours in a JSON header")
    else:
        tensor = from_raw(form.name, form.datatype, shape, body)
    return Asked(Request(model, [tensor], version), {}, True)


def write_response(response: Response, asked: Asked) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where raw tensors come behind. Raises Refused."""
    outputs, behind = [], []
    for tensor in response.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape_of(tensor)}
        parameters = dict(tensor.parameters)
        if asked.named.get(tensor.name, asked.binary):
            behind.append(to_raw(tensor))
            parameters["binary_data_size"] = len(behind[-1])
        else:
            output["data"] = to_plain(tensor)
        if parameters:
            output["parameters"] = parameters
        outputs.append(output)
    told: dict[str, Any] = {"model_name": response.model, "model_version": response.version}
    if response.id:
        told["id"] = response.id
    if response.parameters:
        told["parameters"] = dict(response.parameters)
    content = write_json({**told, "outputs": outputs})
    return (b"".join([content, *behind]), len(content)) if behind else (content, None)


def write_metadata(metadata: ModelMetadata) -> dict[str, Any]:
    """A model's metadata as JSON has it."""
    return {
        "name": metadata.name,
        "versions": list(metadata.versions),
        "platform": metadata.platform,
        "inputs": [_write_form(form) for form in metadata.inputs],
        "outputs": [_write_form(form) for form in metadata.outputs],
    }


def _write_form(form: TensorForm) -> dict[str, Any]:
    return {"name": form.name, "datatype": form.datatype, "shape": list(form.shape)}


def write_statistics(statistics: ModelStatistics) -> dict[str, Any]:
    """A model's statistics as JSON has them."""
    return {
        "name": statistics.name,
        "version": statistics.version,
        "last_inference": statistics.last_inference_ms,
        "inference_count": statistics.inference_count,
        "execution_count": statistics.execution_count,
        "inference_stats": {
            "success": _duration(statistics.success),
            "fail": _duration(statistics.fail),
            "queue": _duration(statistics.queue),
            "compute_input": _duration(statistics.compute_input),
            "compute_infer": _duration(statistics.compute_infer),
            "compute_output": _duration(statistics.compute_output),
        },
        "batch_stats": [
            {"batch_size": size, "compute_infer": _duration(duration)}
            for size, duration in sorted(statistics.batches.items())
        ],
    }


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}


def read_load_parameters(body: bytes, most: int) -> dict[str, Parameter]:
    """Parameters of a load or unload; Refused where they carry a model's files."""
    parameters = parameters_of(read_json(body, most, {}), "the request")
    for name in parameters:
        if name.startswith("file:"):
            raise Refused(
                Code.UNIMPLEMENTED,
                f"parameter {shown(name)}: models are loaded from the server's repository, never from a message",
            )
    return parameters
