"""The protocol's tensors: from bytes and plain values to arrays, and back.

All that a stranger can send comes through here, so every size is checked before memory is taken for it. What stands in
a message is told in bytes, elements and shape; where these disagree, the message says all of them.

Words owned here: datatype, raw (a tensor's bytes: row-major, little-endian, without padding).
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.doors.served import Code, Parameter, Parameters, Refused, Tensor

MAX_MESSAGE = 64 << 20  # bytes of a message, after decompression
MAX_ELEMENTS = MAX_MESSAGE
MAX_STRINGS = 1 << 20  # elements of BYTES: each becomes an object, which takes more memory than its message
MAX_DIMENSIONS = 32  # numpy's own limit before 2.0
MAX_TENSORS = 256  # of one message
MAX_PARAMETERS = 64  # of one message or tensor
_SHOWN = 64  # characters of a stranger's text in a message

BYTES = "BYTES"
DATATYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype(np.object_),
}
_LENGTH = struct.Struct("<I")
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_SHARED_MEMORY = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")


def shown(text: object) -> str:
    """A stranger's text for a message: quoted, printable, short."""
    said = ascii(text)
    return said if len(said) <= _SHOWN else f"{said[:_SHOWN]}..."


def invalid(message: str) -> Refused:
    """A refusal of what was asked."""
    return Refused(Code.INVALID_ARGUMENT, message)


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """The numpy type of `datatype`; Refused where the protocol has none such, or we do not take it."""
    found = DATATYPES.get(datatype)
    if found is None:
        raise invalid(f"tensor {shown(name)}: datatype {shown(datatype)} is none of {', '.join(DATATYPES)}")
    return found


def checked_shape(name: str, datatype: str, shape: Sequence[Any]) -> tuple[tuple[int, ...], int]:
    """`shape` as a tuple, and the number of its elements; Refused where it is none, or too large for a message."""
    if len(shape) > MAX_DIMENSIONS:
        raise invalid(f"tensor {shown(name)}: {len(shape)} dimensions; at most {MAX_DIMENSIONS} are taken")
    for side in shape:
        if type(side) is not int or side < 0:
            raise invalid(f"tensor {shown(name)}: shape {shown(list(shape))} must hold integers of at least 0")
    # Sides of 0 left out: numpy multiplies the others, too.
    most, per = (MAX_STRINGS, 0) if datatype == BYTES else (MAX_ELEMENTS, dtype_of(name, datatype).itemsize)
    room = math.prod(side for side in shape if side)
    if room > most or room * per > MAX_MESSAGE:
        raise invalid(
            f"tensor {shown(name)}: shape {shown(list(shape))} has {room} elements of {datatype}, more than a message "
            f"may hold ({MAX_MESSAGE} bytes, {MAX_STRINGS} elements of BYTES)"
        )
    return tuple(shape), room if 0 not in shape else 0


def from_raw(
    name: str, datatype: str, shape: Sequence[Any], raw: bytes | memoryview, parameters: Parameters | None = None
) -> Tensor:
    """The tensor whose raw form is `raw`, without copying it (but for BYTES); Refused where sizes disagree."""
    dtype = dtype_of(name, datatype)
    sides, count = checked_shape(name, datatype, shape)
    values: npt.NDArray[Any]
    if datatype == BYTES:
        values = parse_strings(name, count, raw)
    else:
        if len(raw) != count * dtype.itemsize:
            raise invalid(
                f"tensor {shown(name)}: {len(raw)} bytes came, but shape {list(sides)} of {datatype} takes "
                f"{count * dtype.itemsize}"
            )
        if datatype == "BOOL" and count and np.frombuffer(raw, np.uint8).max() > 1:
            raise invalid(f"tensor {shown(name)}: a byte of BOOL must be 0 or 1")
        values = np.frombuffer(raw, dtype)
    return Tensor(name, datatype, values.reshape(sides), parameters or {})


def parse_strings(name: str, count: int, raw: bytes | memoryview) -> npt.NDArray[Any]:
    """`count` byte strings [count], each behind its length in 4 bytes; Refused where `raw` is something else."""
    size = len(raw)
    if size < count * _LENGTH.size:
        raise invalid(f"tensor {shown(name)}: {size} bytes came, too few for the lengths of {count} elements of BYTES")
    values = np.empty(count, np.object_)
    at = 0
    for index in range(count):
        if size - at < _LENGTH.size:
            raise invalid(f"tensor {shown(name)}: its bytes end after {index} of {count} elements")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if length > size - at:
            raise invalid(
                f"tensor {shown(name)}: element {index} says that it has {length} bytes, and {size - at} are left"
            )
        values[index] = bytes(raw[at : at + length])
        at += length
    if at != size:
        raise invalid(f"tensor {shown(name)}: {size - at} bytes are left after its {count} elements")
    return values


def to_raw(tensor: Tensor) -> bytes:
    """The raw form of a tensor."""
    if tensor.datatype != BYTES:
        return np.ascontiguousarray(tensor.values, DATATYPES[tensor.datatype]).tobytes()
    return pack_strings(tensor.values)


def pack_strings(values: npt.NDArray[Any]) -> bytes:
    """What `parse_strings` takes, of elements of type `bytes`."""
    parts: list[bytes] = []
    for element in values.ravel().tolist():
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def from_plain(
    name: str, datatype: str, shape: Sequence[Any], data: object, parameters: Parameters | None = None
) -> Tensor:
    """The tensor of plain `data`: a flat list in row-major order, or lists nested as `shape` says.

    Numbers stand for numbers, booleans for BOOL, text (as UTF-8) or bytes for BYTES. Refused where the values do not
    fit the datatype, or their number the shape.
    """
    dtype = dtype_of(name, datatype)
    sides, count = checked_shape(name, datatype, shape)
    flat = _flattened(name, sides, count, data)
    values: npt.NDArray[Any]
    if datatype == BYTES:
        values = np.empty(count, np.object_)
        values[:] = [_as_bytes(name, element) for element in flat]
    else:
        _check_kinds(name, datatype, flat)
        if dtype.kind in "ui" and flat:
            limits = np.iinfo(dtype)
            lowest, highest = min(flat), max(flat)
            if lowest < limits.min or highest > limits.max:
                wrong = lowest if lowest < limits.min else highest
                raise invalid(f"tensor {shown(name)}: {shown(wrong)} does not fit into {datatype}")
        try:
            with np.errstate(over="ignore"):
                values = np.array(flat, dtype)
        except OverflowError:
            raise invalid(f"tensor {shown(name)}: a number does not fit into {datatype}") from None
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise invalid(f"tensor {shown(name)}: a number does not fit into {datatype}")
    return Tensor(name, datatype, values.reshape(sides), parameters or {})


def _flattened(name: str, shape: tuple[int, ...], count: int, data: object) -> list[Any]:
    """`data`'s elements in row-major order, `count` of them; Refused where it is not nested so."""
    if not isinstance(data, list):
        if shape == ():
            return [data]
        raise invalid(f"tensor {shown(name)}: its data must be a list, not {shown(data)}")
    level = data
    for depth in range(len(shape)):
        nested = [type(element) is list for element in level]
        if not any(nested):
            if depth == 0 or len(shape) == 1:
                break  # flat
            raise invalid(f"tensor {shown(name)}: its data is nested {depth + 1} deep, its shape is {list(shape)}")
        if depth == len(shape) - 1 or not all(nested) or len(level) != math.prod(shape[: depth + 1]):
            raise invalid(f"tensor {shown(name)}: its data is not nested as its shape {list(shape)} says")
        below = shape[depth + 1]
        if any(len(element) != below for element in level):
            raise invalid(f"tensor {shown(name)}: not every list at depth {depth + 2} of its data has {below} elements")
        level = list(itertools.chain.from_iterable(level))
        if depth + 2 == len(shape):
            break
    if len(level) != count:
        raise invalid(f"tensor {shown(name)}: {len(level)} values came, its shape {list(shape)} has {count}")
    return level


def _check_kinds(name: str, datatype: str, flat: list[Any]) -> None:
    kinds = set(map(type, flat))
    if datatype == "BOOL":
        good: set[type] = {bool}
    else:
        good = {int, float} if datatype.startswith("FP") else {int}
    if not kinds <= good:
        found = ", ".join(sorted(kind.__name__ for kind in kinds - good))
        raise invalid(
            f"tensor {shown(name)}: {datatype} takes {' or '.join(sorted(kind.__name__ for kind in good))}, not {found}"
        )


def _as_bytes(name: str, element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        try:
            return element.encode()
        except UnicodeEncodeError:
            raise invalid(f"tensor {shown(name)}: a text holds half of a surrogate pair") from None
    raise invalid(f"tensor {shown(name)}: BYTES takes texts, not {type(element).__name__}")


def to_plain(tensor: Tensor) -> list[Any]:
    """The tensor's elements in row-major order; Refused where BYTES is no text."""
    flat: list[Any] = tensor.values.ravel().tolist()
    if tensor.datatype != BYTES:
        return flat
    try:
        return [element.decode() for element in flat]
    except UnicodeDecodeError:
        raise invalid(
            f"output {shown(tensor.name)} holds bytes that are no text: ask for it with binary_data, or over gRPC"
        ) from None


def check_request_parameters(parameters: Mapping[str, Parameter]) -> None:
    """Refused where they ask for sequences, which no model here keeps, or are too many."""
    _check_number(parameters)
    for name in _SEQUENCE:
        if parameters.get(name):
            raise Refused(
                Code.UNIMPLEMENTED,
                f"sequences are not served (parameter {name}): no model here keeps a state between requests",
            )


def check_tensor_parameters(name: str, parameters: Mapping[str, Parameter]) -> None:
    """Refused where they point to shared memory, or are too many."""
    _check_number(parameters)
    for key in _SHARED_MEMORY:
        if key in parameters:
            raise Refused(
                Code.UNIMPLEMENTED,
                f"tensor {shown(name)}: shared memory is not served (parameter {key}): send its data in the message",
            )


def _check_number(parameters: Mapping[str, Parameter]) -> None:
    if len(parameters) > MAX_PARAMETERS:
        raise invalid(f"{len(parameters)} parameters in one place; at most {MAX_PARAMETERS} are taken")


def check_names(kind: str, names: Sequence[str]) -> None:
    """Refused where there are too many tensors of a `kind`, or one comes twice, or has no name."""
    if len(names) > MAX_TENSORS:
        raise invalid(f"{len(names)} {kind}s in one request; at most {MAX_TENSORS} are taken")
    if "" in names:
        raise invalid(f"an {kind} has no name")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise invalid(f"{kind} {shown(twice)} comes twice")


def number_of(parameters: Mapping[str, Parameter], name: str) -> float | None:
    """A parameter that is a finite number, or the text of one; None where there is none. Refused where it is neither.

    Some clients have no parameters with a fraction: KServe's over gRPC send whole numbers and texts alone.
    """
    value = parameters.get(name)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise invalid(f"parameter {name} must be a number, or a text that is one, not {shown(value)}")
    return number


def timeout_of(parameters: Mapping[str, Parameter]) -> float | None:
    """Seconds within which an answer is of use: the nearer of `timeout` (microseconds) and `deadline_ms`; 0 is none.

    Also checks `priority`, an integer of at least 0. What they mean beyond that is for what stands behind the door.
    """
    timeout = parameters.get("timeout", 0)
    if type(timeout) is not int or not 0 <= timeout < 2**63:
        raise invalid(f"parameter timeout must be a whole number of microseconds of at least 0, not {shown(timeout)}")
    deadline_ms = number_of(parameters, "deadline_ms") or 0.0
    if not 0 <= deadline_ms < 2**63:
        raise invalid(f"parameter deadline_ms must be a number of milliseconds of at least 0, not {deadline_ms:g}")
    priority = parameters.get("priority", 0)
    if type(priority) is not int or not 0 <= priority < 2**64:
        raise invalid(f"parameter priority must be a whole number of at least 0, not {shown(priority)}")
    return min((limit for limit in (timeout * 1e-6, deadline_ms * 1e-3) if limit), default=None)


def classes_of(name: str, parameters: Mapping[str, Parameter]) -> int:
    """How many classes an output is asked for by `classification`; 0: the tensor itself."""
    classes = parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 2**31:
        raise invalid(
            f"output {shown(name)}: classification must be a whole number of at least 0, not {shown(classes)}"
        )
    return classes
