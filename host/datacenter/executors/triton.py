"""A model that another server runs, Triton or any other of the Open Inference Protocol, asked through gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors.base import DTYPES, Arrays, ModelError, Recipe, RunPictures, first_line
from edgesight.host.doors.served import TensorForm

_WAIT = 30.0  # seconds for an answer


class TritonExecutor:
    """A remote model; its options are `url` (host:port), `model` (else its own name), `version` and `timeout` (s)."""

    run_pictures: RunPictures | None = None

    def __init__(self, recipe: Recipe) -> None:
        """Ask the server for the model's metadata; raises ModelError."""
        try:
            import tritonclient.grpc as client
        except ImportError as error:
            raise ModelError(
                f"{recipe.name}: tritonclient is not installed: `pip install 'tritonclient[grpc]'`"
            ) from error
        self._client = client
        url = recipe.options.get("url", "")
        if not url:
            raise ModelError(f"{recipe.name}: no `url` is stated: give host:port of the server as a parameter")
        self._model = recipe.options.get("model", recipe.name)
        self._version = recipe.options.get("version", "")
        self._wait = float(recipe.number("timeout", round(_WAIT)))
        try:
            self._server = client.InferenceServerClient(url)
            told = self._server.get_model_metadata(self._model, self._version, client_timeout=self._wait)
            batch = recipe.max_batch_size
            if batch is None:
                known = self._server.get_model_config(self._model, self._version, client_timeout=self._wait)
                batch = known.config.max_batch_size
        except client.InferenceServerException as error:
            raise ModelError(
                f"{recipe.name}: {url} does not tell of model {self._model!r} ({first_line(error)}): look whether it "
                "is loaded there"
            ) from error
        self.max_batch_size = batch
        self.inputs: Sequence[TensorForm] = _forms(recipe, told.inputs)
        self.outputs: Sequence[TensorForm] = _forms(recipe, told.outputs)

    def run(self, arrays: Arrays, wanted: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
        """As `Executor` says."""
        client = self._client
        inputs = []
        for port in self.inputs:
            one = client.InferInput(port.name, list(arrays[port.name].shape), port.datatype)
            one.set_data_from_numpy(arrays[port.name])
            inputs.append(one)
        names = list(wanted) or [port.name for port in self.outputs]
        try:
            given = self._server.infer(
                self._model,
                inputs,
                self._version,
                [client.InferRequestedOutput(name) for name in names],
                client_timeout=self._wait,
            )
        except client.InferenceServerException as error:
            raise ModelError(first_line(error)) from error
        found = {name: given.as_numpy(name) for name in names}
        absent = [name for name, array in found.items() if array is None]
        if absent:
            raise ModelError(f"the server gave no output {absent[0]!r}")
        return {name: np.ascontiguousarray(array) for name, array in found.items()}


def _forms(recipe: Recipe, told: Sequence[Any]) -> tuple[TensorForm, ...]:
    for one in told:
        if one.datatype not in DTYPES:
            raise ModelError(f"{recipe.name}: {one.name} is of {one.datatype}, which is not taken: serve another")
    return tuple(TensorForm(one.name, one.datatype, tuple(one.shape)) for one in told)
