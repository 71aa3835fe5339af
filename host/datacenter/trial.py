"""A model that was loaded is tried on zeros before it is asked, and what it gives is held against what it says.

Words owned here: trial, ports (inputs, outputs and how many rows go at once, as an executor tells them).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors.base import DATATYPES, DTYPES, ModelError
from edgesight.host.datacenter.workers import WorkerLost
from edgesight.host.doors.served import TensorForm

Outputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Ports:
    """What a model takes and gives; `max_batch_size` 0: the first dimension is no batch."""

    inputs: Sequence[TensorForm]
    outputs: Sequence[TensorForm]
    max_batch_size: int

    def zeros(self, rows: int) -> dict[str, npt.NDArray[Any]] | None:
        """Inputs of zeros; None where a length other than the batch's is free."""
        found = {}
        for port in self.inputs:
            shape = (rows, *port.shape[1:]) if self.max_batch_size else port.shape
            if -1 in shape or not shape or port.datatype == "BYTES":
                return None
            found[port.name] = np.zeros(shape, DTYPES[port.datatype])
        return found

    def check(self, outputs: Outputs, rows: int) -> None:
        """Raise ModelError where `outputs` of so many rows are not what the model says that it gives."""
        known = {port.name: port for port in self.outputs}
        for name, array in outputs.items():
            port = known.get(name)
            if port is None:
                raise ModelError(f"it gave an output {name!r} that it does not have: mend the model")
            shape = (rows, *port.shape[1:]) if self.max_batch_size else port.shape
            agree = not port.shape or (
                len(shape) == array.ndim and all(one in (-1, own) for one, own in zip(shape, array.shape, strict=True))
            )
            if self.max_batch_size and array.shape[:1] != (rows,):
                agree = False
            if not agree or DATATYPES[array.dtype] != port.datatype:
                raise ModelError(
                    f"its output {name} is {DATATYPES[array.dtype]} {list(array.shape)}, and {port.datatype} "
                    f"{list(shape)} is what it says: mend one of them"
                )


async def try_on_zeros(
    name: str, ports: Ports, run: Callable[[dict[str, npt.NDArray[Any]], int], Awaitable[Outputs]]
) -> None:
    """Have `run` give outputs for zeros, one row and two where it takes more. Raises ModelError, or WorkerLost."""
    for rows in (1, 2) if ports.max_batch_size > 1 else (1,):
        zeros = ports.zeros(rows)
        if zeros is None:
            break  # which lengths would do is not known
        try:
            ports.check(await run(zeros, rows), rows)
        except WorkerLost:
            raise
        except ModelError as error:
            raise ModelError(f"model {name} fails on zeros, {rows} at once ({error}): export it anew") from error
