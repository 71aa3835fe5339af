"""A request's tensors, checked against what the model takes; and its outputs as the answer has them.

Words owned here: picture input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.batching import NO_LEVEL
from edgesight.host.datacenter.engine import Hosted
from edgesight.host.datacenter.executors.base import DATATYPES, DTYPES, PICTURE
from edgesight.host.datacenter.executors.device_pictures import is_for_device
from edgesight.host.datacenter.models import as_taken
from edgesight.host.doors.served import Request, Response, Tensor, TensorForm, Wanted, shape_of
from edgesight.host.doors.tensors import invalid
from edgesight.host.kernel import BackEndInput
from edgesight.host.picture_files import MAX_FILE_BYTES, Unreadable
from edgesight.host.picture_formats import outline
from edgesight.host.pictures import read

_OF_TEXTS = ("onnxruntime",)  # what takes BYTES as UTF-8 alone


def arrays_of(request: Request, hosted: Hosted) -> dict[str, npt.NDArray[Any]]:
    """The inputs, contiguous, by name; raises Refused where they are not what the model takes."""
    known = {port.name: port for port in hosted.inputs}
    found: dict[str, npt.NDArray[Any]] = {}
    for tensor in request.inputs:
        port = known.get(tensor.name)
        if port is None:
            raise invalid(f"model {request.model} has no input {tensor.name!r}: it takes {', '.join(known)}")
        if tensor.name in found:
            raise invalid(f"input {tensor.name!r} is there twice: send it once")
        _check(request, tensor, port, hosted.max_batch_size)
        if port.datatype == "BYTES" and hosted.version.recipe.kind in _OF_TEXTS:
            _check_texts(request, tensor)
        found[tensor.name] = np.asarray(tensor.values, order="C")  # `ascontiguousarray` has no scalars
    absent = [name for name in known if name not in found]
    if absent:
        raise invalid(f"model {request.model} also takes input {absent[0]!r}: send it")
    if hosted.max_batch_size and len({len(array) for array in found.values()}) > 1:
        raise invalid("inputs have different first dimensions, which is the batch: send as many rows of each")
    return found


def check_wanted(request: Request, hosted: Hosted) -> tuple[str, ...]:
    """Names of the outputs that are asked for, `()` for all; raises Refused where the model has no such."""
    known = {port.name: port for port in hosted.outputs}
    names: list[str] = []
    for wanted in request.outputs:
        port = known.get(wanted.name)
        if port is None:
            raise invalid(f"model {request.model} has no output {wanted.name!r}: it gives {', '.join(known)}")
        if wanted.name in names:
            raise invalid(f"output {wanted.name!r} is asked for twice: ask once")
        if wanted.classes < 0 or (wanted.classes and port.datatype == "BYTES"):
            raise invalid(f"output {wanted.name!r} has no {wanted.classes} best classes: ask for the tensor")
        names.append(wanted.name)
    return tuple(names)


def level_of(request: Request, default: int) -> int:
    """Its level among the caller's requests: the parameter `priority`, of which 1 is the most urgent."""
    told = request.parameters.get("priority", 0)
    if isinstance(told, bool) or not isinstance(told, int) or told < 0:
        raise invalid(f"priority is {told!r}: send a whole number, 1 for the most urgent, or none")
    return told or default or NO_LEVEL


def size_of(request: Request) -> int:
    """Bytes of its inputs."""
    return sum(
        sum(len(one) for one in tensor.values.ravel()) if tensor.values.dtype == object else tensor.values.nbytes
        for tensor in request.inputs
    )


def response_of(request: Request, hosted: Hosted, outputs: Mapping[str, npt.NDArray[Any]]) -> Response:
    """The answer with the outputs as they are asked for."""
    wanted = request.outputs or [Wanted(port.name) for port in hosted.outputs]
    tensors = [
        classes_of(one, outputs[one.name], hosted)
        if one.classes
        else Tensor(one.name, DATATYPES[outputs[one.name].dtype], outputs[one.name])
        for one in wanted
    ]
    return Response(request.model, hosted.version.number, tensors, request.id)


def classes_of(wanted: Wanted, values: npt.NDArray[Any], hosted: Hosted) -> Tensor:
    """The best classes of each row, "value:index:label", without the label where there is none."""
    settings = hosted.version.settings
    labelled = settings.labelled or (hosted.outputs[0].name if len(hosted.outputs) == 1 else "")
    labels = hosted.version.labels if wanted.name == labelled else ()
    rows = values.reshape(len(values), -1) if hosted.max_batch_size else values.reshape(1, -1)
    count = min(wanted.classes, rows.shape[1])
    found = np.empty((len(rows), count), object)
    for place, row in enumerate(rows):
        # What is no number goes last; of equal ones the first.
        best = np.argsort(-np.nan_to_num(row.astype(np.float64), nan=-np.inf), kind="stable")[:count]
        for at, index in enumerate(best):
            value = f"{row[index]:f}" if row.dtype.kind == "f" else str(int(row[index]))
            label = f":{labels[index]}" if index < len(labels) and labels[index] else ""
            found[place, at] = f"{value}:{index}{label}".encode()
    return Tensor(wanted.name, "BYTES", found if hosted.max_batch_size else found[0])


def said_of(
    hosted: Hosted, outputs: Mapping[str, npt.NDArray[Any]], seconds: float, caller: str
) -> Mapping[str, object]:
    """In plain values what a model says of a request's first picture: its best class, where it tells classes apart."""
    said: dict[str, object] = {"milliseconds": seconds * 1e3, "asked_by": caller}
    named = hosted.version.settings.labelled or (hosted.outputs[0].name if len(hosted.outputs) == 1 else "")
    values = outputs.get(named or hosted.outputs[0].name)
    if values is not None and values.dtype.kind in "fiu" and values.size and values.ndim:
        first = (values[0] if hosted.max_batch_size else values).ravel()
        index = int(np.argmax(np.nan_to_num(first, nan=-np.inf) if first.dtype.kind == "f" else first))
        labels = hosted.version.labels if named else ()
        said["class_name"] = labels[index] if index < len(labels) and labels[index] else f"class {index}"
    return said


def pictures_of(request: Request, hosted: Hosted) -> Sequence[bytes]:
    """The encoded pictures of a request; raises Refused where they are not alone, or too many or too large."""
    tensor, *more = request.inputs
    if more or tensor.datatype != "BYTES":
        raise invalid(f"input {PICTURE!r} goes alone and is BYTES, an element a picture: send it so")
    if len(hosted.inputs) != 1:
        raise invalid(f"model {request.model} takes {len(hosted.inputs)} inputs, not pictures alone: send tensors")
    files = list(tensor.values.ravel())
    if not 1 <= len(files) <= max(hosted.max_batch_size, 1):
        raise invalid(f"{len(files)} pictures: send 1 to {max(hosted.max_batch_size, 1)} at once")
    largest = max(map(len, files))
    if largest > MAX_FILE_BYTES:
        raise invalid(f"a picture has {largest} bytes, at most {MAX_FILE_BYTES} are read: make it smaller")
    return files


def are_for_device(files: Sequence[bytes]) -> bool:
    """Whether a worker is to decode the pictures itself; raises Refused for one whose header says that none will."""
    for place, content in enumerate(files):
        try:
            if not is_for_device(outline(content)):
                return False
        except Unreadable as error:
            raise invalid(f"picture {place} {error}") from error
    return True


def decoded(files: Sequence[bytes], form: BackEndInput, port: TensorForm) -> Tensor:
    """The pictures as the model takes them; raises Refused for one that cannot be read. In a thread of the pool."""
    images = np.empty((len(files), *form.shape), np.uint8)
    for place, content in enumerate(files):
        try:
            images[place] = read(content, *form.shape).pixels
        except Unreadable as error:
            raise invalid(f"picture {place} {error}") from error
    return Tensor(port.name, port.datatype, as_taken(images, form))


def _check(request: Request, tensor: Tensor, port: TensorForm, max_batch: int) -> None:
    """Raise Refused where `tensor` is not what `port` takes."""
    shape = shape_of(tensor)
    if tensor.datatype != port.datatype or tensor.values.dtype != DTYPES[port.datatype]:
        raise invalid(f"input {port.name!r} is {tensor.datatype}: model {request.model} takes {port.datatype}")
    agree = not port.shape or (
        len(shape) == len(port.shape) and all(one in (-1, own) for one, own in zip(port.shape, shape, strict=True))
    )
    if 0 in shape:
        raise invalid(f"input {port.name!r} has shape {list(shape)}, which holds nothing: send at least one element")
    if not agree:
        raise invalid(f"input {port.name!r} has shape {list(shape)}: model {request.model} takes {list(port.shape)}")
    if max_batch and shape[0] > max_batch:
        raise invalid(f"input {port.name!r} has {shape[0]} rows: model {request.model} takes {max_batch} at once")
    if port.datatype == "BYTES" and not all(isinstance(one, bytes) for one in tensor.values.ravel()):
        raise invalid(f"input {port.name!r} has elements that are no bytes")


def _check_texts(request: Request, tensor: Tensor) -> None:
    """Raise Refused where an element is no UTF-8: the model would fail, and all that are in its batch be run again."""
    for number, one in enumerate(tensor.values.ravel()):
        try:
            one.decode()
        except UnicodeDecodeError as error:
            said = f"input {tensor.name!r}, element {number}, is no UTF-8 ({error.reason})"
            raise invalid(f"{said}: model {request.model} takes text, send that") from None
