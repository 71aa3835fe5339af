"""A block of memory that two processes share, and arrays in it.

It has no name, so that nothing of it is left however the two end, and it never becomes smaller: a process that is wrong
can give the other wrong numbers, but cannot take the memory from under it.

Words owned here: block, place (where in a block an array lies, and what it is).
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors.base import DATATYPES, DTYPES, ModelError
from edgesight.host.doors.served import Refused
from edgesight.host.doors.tensors import pack_strings, parse_strings

MOST_BYTES = 1 << 30  # of a block
_ALIGNED = 64  # bytes: where an array may begin
_SEAL, _NO_SHRINKING = 1033, 0x2  # F_ADD_SEALS, F_SEAL_SHRINK: not all of Python's `fcntl` name them

Place = Sequence[Any]  # name, datatype, shape, offset, bytes: as JSON has it


class Block:
    """Shared memory of a file descriptor that both processes have."""

    def __init__(self, descriptor: int) -> None:
        """Take over the descriptor of `new_block`, or one that was inherited."""
        self.descriptor = descriptor  # -1 once it is closed
        self._lock = threading.Lock()  # a thread may write while another closes
        self._memory: mmap.mmap | None = None

    def write(self, arrays: Mapping[str, Sequence[npt.NDArray[Any]]]) -> list[Place]:
        """Put the arrays in, by name, those of one name joined along their first dimension; where they lie.

        The block grows where it has to. Raises ModelError for more than a block may hold.
        """
        with self._lock:
            return self._written(arrays)

    def _written(self, arrays: Mapping[str, Sequence[npt.NDArray[Any]]]) -> list[Place]:
        places: list[Place] = []
        texts: dict[str, bytes] = {}
        end = 0
        for name, parts in arrays.items():
            first = parts[0]
            datatype = DATATYPES.get(first.dtype)
            if datatype is None:
                raise ModelError(
                    f"{name!r} is of {first.dtype}, which the protocol has no word for: take a model without it"
                )
            shape = list(first.shape)
            if len(parts) > 1:
                shape[0] = sum(len(part) for part in parts)
            if datatype == "BYTES":
                texts[name] = b"".join(map(pack_strings, parts))
            size = len(texts[name]) if datatype == "BYTES" else math.prod(shape) * first.dtype.itemsize
            places.append((name, datatype, shape, end, size))
            end += -(-size // _ALIGNED) * _ALIGNED
        memory = self._grown(end)
        for name, datatype, shape, offset, size in places:
            if datatype == "BYTES":
                memory[offset : offset + size] = texts[name]
                continue
            target = np.frombuffer(memory, DTYPES[datatype], math.prod(shape), offset).reshape(shape)
            if len(arrays[name]) == 1:
                target[...] = arrays[name][0]
            else:
                np.concatenate(arrays[name], out=target)
        return places

    def read(self, places: Sequence[Place], copied: bool) -> dict[str, npt.NDArray[Any]]:
        """The arrays at `places`: copies, or the memory itself. Raises ModelError for places that cannot be."""
        found = {}
        for name, datatype, shape, offset, size in places:
            dtype, count = DTYPES.get(datatype), math.prod(shape)
            if dtype is None or min([offset, size, *shape]) < 0:
                raise ModelError(f"{name!r} is no array: report it")
            memory = self._grown(offset + size)
            if datatype == "BYTES":
                try:
                    found[name] = parse_strings(name, count, memory[offset : offset + size]).reshape(shape)
                except Refused as error:
                    raise ModelError(f"{error}: report it") from error
                continue
            if size != count * dtype.itemsize:
                raise ModelError(f"{name!r} has {size} bytes, but shape {list(shape)}: report it")
            array = np.frombuffer(memory, dtype, count, offset).reshape(shape)
            found[name] = array.copy() if copied else array
        return found

    def close(self) -> None:
        """Give it back; views of it that are left keep their memory."""
        with self._lock:
            descriptor, self.descriptor = self.descriptor, -1
            self._memory = None
            if descriptor >= 0:
                os.close(descriptor)

    def _grown(self, size: int) -> mmap.mmap:
        """The memory, of at least `size` bytes."""
        if self.descriptor < 0:
            raise ModelError("the memory for its arrays was given back: load it again")
        if self._memory is None or len(self._memory) < size:
            if size > MOST_BYTES:
                raise ModelError(f"arrays take {size} bytes, more than {MOST_BYTES}: ask for less at once")
            length = max(os.fstat(self.descriptor).st_size, mmap.PAGESIZE)
            while length < size:
                length *= 2
            try:
                os.posix_fallocate(self.descriptor, 0, length)  # now, not by a signal once it is written to
            except OSError as error:
                raise ModelError(
                    f"there is no memory for {size} bytes of arrays ({error.strerror}): ask for less at once"
                ) from error
            self._memory = mmap.mmap(self.descriptor, length)
        return self._memory


def bytes_of(array: npt.NDArray[Any]) -> int:
    """Bytes that an array holds, those of its BYTES included."""
    if array.dtype == object:
        return sum(map(len, array.ravel())) + 8 * array.size
    return array.nbytes


def new_block() -> Block:
    """An empty block."""
    descriptor = os.memfd_create("edgesight", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(descriptor, _SEAL, _NO_SHRINKING)
    return Block(descriptor)
