"""A package's back end as one of the data centre's models, whose process edges and the doors' clients share.

The link's service (`edgesight.host.datacenter.service`) batches what edges ask, each with its own share. Such a batch
is one request here, and all edges together are one caller.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.models import PackageModel
from edgesight.host.datacenter.repository import BackEnd
from edgesight.host.doors.served import Refused, TensorForm

EDGES = "edges (the link)"  # the caller: no client's certificate, token or address is called so


async def in_worker(centre: DataCentre, back_end: BackEnd) -> PackageModel:
    """The package's back end, which `centre` has loaded. Raises ModelError where it does not fit the package."""
    try:
        told = centre.metadata(back_end.name, "")
        sha256 = centre.sha256(back_end.name)
    except Refused as error:
        raise ModelError(str(error)) from error
    loop = asyncio.get_running_loop()

    def run(inputs: Mapping[str, npt.NDArray[Any]], wanted: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
        asked = asyncio.run_coroutine_threadsafe(centre.run(back_end.name, EDGES, inputs, wanted), loop)
        try:
            found, outputs = asked.result()
        except Refused as error:
            raise ModelError(str(error)) from error
        except concurrent.futures.CancelledError as error:
            raise ModelError("the data centre ends: ask again, or another") from error
        if found != sha256:
            raise ModelError(
                f"model {back_end.name} was replaced since edges were told of it: start the data centre anew"
            )
        return outputs

    ports: tuple[Sequence[TensorForm], Sequence[TensorForm]] = (told.inputs, told.outputs)
    return await asyncio.to_thread(
        PackageModel, back_end.path, sha256, ports, run, back_end.form, back_end.expected_sha256
    )
