"""The executor that runs models of a repository, in processes of this machine: the data centre's own, under its budget.

Each GPU of the plan has a process of each model. A frame is an encoded picture of any size; it is stretched to what the
model that runs it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.adapt.lanes import Outputs
from edgesight.host.adapt.planning import AdaptError, Model
from edgesight.host.datacenter.engine import Hosted
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.repository import Repository
from edgesight.host.datacenter.tensors import decoded
from edgesight.host.doors.served import Refused, TensorForm
from edgesight.host.kernel import BackEndInput

_CALLER: Final = "adaptation"  # all frames are one caller's: their clients were told apart before


@dataclass(frozen=True)
class _Loaded:
    hosted: Hosted
    form: BackEndInput
    port: TensorForm


class OfRepository:
    """The `edgesight.host.adapt.lanes.Executor` of models that are files; runs in the loop that makes it."""

    name = "repository"

    def __init__(self, folder: Path, gpus: Sequence[str], models: Sequence[Model], budget: int) -> None:
        """Each of `models` is in `folder` by its name; all may take `budget` bytes. Raises ModelError."""
        self._repository = Repository(folder)
        self._engine = Local(budget)
        self._wanted = [(gpu, model) for gpu in gpus for model in models]
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """As `Executor` says."""
        self._work = asyncio.create_task(self._engine.run())
        try:
            for gpu, model in self._wanted:
                version = (await asyncio.to_thread(self._repository.versions, model.name))[-1]
                hosted = self._engine.host(version)
                await hosted.begin()
                self._loaded[gpu, model.name] = _Loaded(hosted, *form_of(hosted, model))
        except (Refused, ModelError) as error:
            await self.end()
            raise AdaptError(str(error)) from error
        except BaseException:
            await self.end()
            raise

    async def run(self, gpu: str, model: Model, frames: Sequence[bytes]) -> Sequence[Outputs | Refused]:
        """As `Executor` says."""
        loaded = self._loaded[gpu, model.name]
        taken = await asyncio.to_thread(_pixels, frames, loaded)
        good = [one for one in taken if not isinstance(one, Refused)]
        rows: list[Outputs] = []
        at_once = max(loaded.hosted.max_batch_size, 1)
        for start in range(0, len(good), at_once):
            batch = np.concatenate(good[start : start + at_once])
            done = await loaded.hosted.ask(_CALLER, {loaded.port.name: batch})
            rows += [{name: array[row : row + 1] for name, array in done.outputs.items()} for row in range(len(batch))]
        answers = iter(rows)
        return [one if isinstance(one, Refused) else next(answers) for one in taken]

    async def end(self) -> None:
        """As `Executor` says."""
        await asyncio.gather(*(one.hosted.end(0.0) for one in self._loaded.values()))
        self._loaded.clear()
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)


def form_of(hosted: Hosted, model: Model) -> tuple[BackEndInput, TensorForm]:
    """How the model takes pictures: as its folder says, or the bytes as they are. Raises AdaptError."""
    version, side = hosted.version, model.input_px
    if len(hosted.inputs) != 1:
        raise AdaptError(f"model {model.name} takes {len(hosted.inputs)} inputs: give one that takes a picture alone")
    (port,) = hosted.inputs
    form = version.form
    if form is None:
        if port.datatype != "UINT8" or port.shape[1:] not in ((side, side, 1), (side, side, 3)):
            raise AdaptError(
                f"model {model.name} takes {port.datatype} {list(port.shape)}, not UINT8 [N, {side}, {side}, 3]: put "
                "form.json into its folder, which says how a picture becomes that"
            )
        channels: Any = port.shape[3]
        zeros, ones = [0.0] * channels, [1.0] * channels
        form = BackEndInput(
            height=side, width=side, channels=channels, layout="NHWC", element="uint8", mean=zeros, deviation=ones
        )
    if (form.height, form.width) != (side, side):
        raise AdaptError(
            f"model {model.name} takes pictures of {form.width} x {form.height}, and the profile says {side} px: mend "
            "the profile"
        )
    return form, port


def _pixels(frames: Sequence[bytes], loaded: _Loaded) -> list[npt.NDArray[Any] | Refused]:
    """Each frame as the model takes it, [1, ...], or why it cannot be read."""
    found: list[npt.NDArray[Any] | Refused] = []
    for content in frames:
        try:
            found.append(np.ascontiguousarray(decoded([content], loaded.form, loaded.port).values))
        except Refused as error:
            found.append(error)
    return found
