"""The protocol's protobuf messages to plain types and back. They are tritonclient's: KServe's, and more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from edgesight.host.doors.bodies import MAX_TEXT
from edgesight.host.doors.configuration import configuration
from edgesight.host.doors.served import (
    Code,
    Duration,
    ModelMetadata,
    ModelStatistics,
    Parameter,
    Parameters,
    Refused,
    Request,
    Response,
    Tensor,
    Wanted,
    shape_of,
)
from edgesight.host.doors.tensors import (
    BYTES,
    check_names,
    check_request_parameters,
    check_tensor_parameters,
    checked_shape,
    classes_of,
    dtype_of,
    from_plain,
    from_raw,
    invalid,
    shown,
    timeout_of,
    to_raw,
)

_UINT, _INT = ("uint_contents", np.uint32), ("int_contents", np.int32)
# Where a datatype's elements stand in a message that is not raw, and as what; FP16 has no place there.
_CONTENTS: Mapping[str, tuple[str, type[Any]]] = {
    "BOOL": ("bool_contents", np.bool_),
    "UINT8": _UINT,
    "UINT16": _UINT,
    "UINT32": _UINT,
    "UINT64": ("uint64_contents", np.uint64),
    "INT8": _INT,
    "INT16": _INT,
    "INT32": _INT,
    "INT64": ("int64_contents", np.int64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    BYTES: ("bytes_contents", np.object_),
}
MAX_FIELDS = 1_024  # of a message; those of what is in it count there
_RAW = pb.ModelInferRequest.DESCRIPTOR.fields_by_name["raw_input_contents"].number


def read_message(kind: Any, content: bytes, most: int) -> Any:
    """The message of that `kind` in `content`; Refused where it is none, or more than `most` bytes of it are no raw
    tensors.

    What is no raw tensor takes up to 44 times as much memory once it is read, so it is looked at before.
    """
    size = len(content)
    at = fields = beside = 0
    try:
        while at < size:
            key, at = _varint(content, at)
            begins = at
            wire = key & 7
            if wire == 0:
                at = _varint(content, at)[1]
            elif wire == 2:
                length, at = _varint(content, at)
                at += length
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise DecodeError
            if at > size:
                raise DecodeError
            fields += 1
            beside += at - begins if key >> 3 != _RAW else 0
            if fields > MAX_FIELDS or beside > most:
                raise invalid(
                    f"the message has more than {MAX_FIELDS} fields, or {most} bytes of others than raw tensors: send "
                    "tensors as raw_input_contents"
                )
        return kind.FromString(content)
    except (DecodeError, IndexError):
        raise invalid("the message cannot be read as this call's: use the protocol's own definition of it") from None


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise DecodeError


def check_text(what: str, text: str) -> str:
    """The text; Refused where it is too long for a name or an id."""
    if len(text) > MAX_TEXT:
        raise invalid(f"{what} must be a text of at most {MAX_TEXT} characters")
    return text


def read_parameters(found: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a message; Refused where one has no value."""
    parameters: dict[str, Parameter] = {}
    for name, value in found.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f"parameter {shown(name)} has no value")
        parameters[name] = getattr(value, choice)
    return parameters


def write_parameters(into: Mapping[str, Any], parameters: Parameters) -> None:
    """Put `parameters` into a message's."""
    for name, value in parameters.items():
        if isinstance(value, bool):
            into[name].bool_param = value
        elif isinstance(value, str):
            into[name].string_param = value
        elif isinstance(value, float):
            into[name].double_param = value
        elif value < 2**63:
            into[name].int64_param = value
        else:
            into[name].uint64_param = value


def read_request(message: Any, remaining: float | None) -> Request:
    """The request in a ModelInferRequest whose call ends in `remaining` seconds, if ever; Refused where it is none."""
    parameters = read_parameters(message.parameters) if message.parameters else {}
    check_request_parameters(parameters)
    limits = [limit for limit in (timeout_of(parameters), remaining) if limit is not None]
    if not message.inputs:
        raise invalid("the request has no input")
    check_names("input", [tensor.name for tensor in message.inputs])
    check_names("output", [wanted.name for wanted in message.outputs])
    for tensor in (*message.inputs, *message.outputs):
        check_text("a tensor's name", tensor.name)
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid(f"{len(message.inputs)} inputs came with {len(raw)} raw_input_contents: give one for each")
    inputs = [_read_tensor(tensor, raw[index] if raw else None) for index, tensor in enumerate(message.inputs)]
    outputs = [_read_wanted(wanted) for wanted in message.outputs]
    return Request(
        check_text("model_name", message.model_name),
        inputs,
        check_text("model_version", message.model_version),
        check_text("id", message.id),
        parameters,
        outputs,
        min(limits, default=None),
    )


def _read_tensor(tensor: Any, raw: bytes | None) -> Tensor:
    name, datatype = tensor.name, tensor.datatype
    parameters = read_parameters(tensor.parameters) if tensor.parameters else {}
    check_tensor_parameters(name, parameters)
    shape = list(tensor.shape)
    if raw is not None:
        if tensor.HasField("contents"):
            raise invalid(f"tensor {shown(name)} has contents beside raw_input_contents: give one of them")
        return from_raw(name, datatype, shape, raw, parameters)
    dtype = dtype_of(name, datatype)
    if datatype not in _CONTENTS:
        raise invalid(f"tensor {shown(name)}: {datatype} comes in raw_input_contents alone")
    place, held = _CONTENTS[datatype]
    contents = getattr(tensor.contents, place)
    if datatype == BYTES:
        return from_plain(name, datatype, shape, list(contents), parameters)
    sides, count = checked_shape(name, datatype, shape)
    if len(contents) != count:
        raise invalid(f"tensor {shown(name)}: {len(contents)} values came in {place}, its shape {shape} has {count}")
    values = np.fromiter(contents, held, count)
    if dtype.kind in "ui" and count:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise invalid(f"tensor {shown(name)}: a value in {place} does not fit into {datatype}")
    return Tensor(name, datatype, values.astype(dtype).reshape(sides), parameters)


def _read_wanted(wanted: Any) -> Wanted:
    parameters = read_parameters(wanted.parameters) if wanted.parameters else {}
    check_tensor_parameters(wanted.name, parameters)
    return Wanted(wanted.name, classes_of(wanted.name, parameters))


def write_response(response: Response) -> Any:
    """A ModelInferResponse, its tensors raw."""
    message = pb.ModelInferResponse(model_name=response.model, model_version=response.version, id=response.id)
    write_parameters(message.parameters, response.parameters)
    for tensor in response.outputs:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape_of(tensor))
        if tensor.parameters:
            write_parameters(output.parameters, tensor.parameters)
        message.raw_output_contents.append(to_raw(tensor))
    return message


def write_metadata(metadata: ModelMetadata) -> Any:
    """A ModelMetadataResponse."""
    message = pb.ModelMetadataResponse(name=metadata.name, versions=list(metadata.versions), platform=metadata.platform)
    for forms, place in ((metadata.inputs, message.inputs), (metadata.outputs, message.outputs)):
        for form in forms:
            place.add(name=form.name, datatype=form.datatype, shape=form.shape)
    return message


def write_configuration(metadata: ModelMetadata) -> Any:
    """A ModelConfigResponse."""
    return pb.ModelConfigResponse(config=configuration(metadata))


def write_statistics(statistics: ModelStatistics) -> Any:
    """A ModelStatistics message."""
    message = pb.ModelStatistics(
        name=statistics.name,
        version=statistics.version,
        last_inference=statistics.last_inference_ms,
        inference_count=statistics.inference_count,
        execution_count=statistics.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(statistics.success),
            fail=_duration(statistics.fail),
            queue=_duration(statistics.queue),
            compute_input=_duration(statistics.compute_input),
            compute_infer=_duration(statistics.compute_infer),
            compute_output=_duration(statistics.compute_output),
        ),
    )
    for size, duration in sorted(statistics.batches.items()):
        message.batch_stats.add(batch_size=size, compute_infer=_duration(duration))
    return message


def _duration(duration: Duration) -> Any:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)


def read_load_parameters(found: Mapping[str, Any]) -> dict[str, Parameter]:
    """Parameters of a load or unload; Refused where they carry a model's files."""
    parameters: dict[str, Parameter] = {}
    for name, value in found.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise invalid(f"parameter {shown(name)} has no value")
        if choice == "bytes_param":
            raise Refused(
                Code.UNIMPLEMENTED,
                f"parameter {shown(name)}: models are loaded from the server's repository, never from a message",
            )
        parameters[name] = getattr(value, choice)
    return parameters
