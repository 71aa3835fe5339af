"""A data centre that is asked for tails by the Open Inference Protocol over gRPC: ours, Triton's, KServe's."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.split.pieces import SplitError
from edgesight.host.split.run import RemoteError, Tensors

_KEY, _CERTIFICATE, _AUTHORITY = "client.key", "client.crt", "ca.crt"


class GrpcRemote:
    """A connection to a server; to be used as an asynchronous context manager."""

    def __init__(self, address: str, keys: Path | None = None) -> None:
        """To `address`, HOST:PORT. With `keys`, a folder of `edgesight datacenter client`, it is encrypted.

        Raises SplitError where a key is missing, or tritonclient.
        """
        try:
            import tritonclient.grpc.aio as client
            from tritonclient.utils import InferenceServerException
        except ImportError as error:
            raise SplitError("tritonclient is not installed: `pip install 'edgesight[oip]'`") from error
        self._client_of, self._fault = client, InferenceServerException
        options: dict[str, Any] = {}
        if keys is not None:
            for name in (_KEY, _CERTIFICATE, _AUTHORITY):
                if not (keys / name).is_file():
                    raise SplitError(f"{keys / name}: is not there: make keys by `edgesight datacenter client`")
            options = {
                "ssl": True,
                "root_certificates": str(keys / _AUTHORITY),
                "private_key": str(keys / _KEY),
                "certificate_chain": str(keys / _CERTIFICATE),
            }
        self._address, self._options = address, options
        self._client: Any = None

    async def __aenter__(self) -> GrpcRemote:
        """Connect, as soon as something is asked."""
        self._client = self._client_of.InferenceServerClient(self._address, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connection."""
        await self._client.close()

    async def infer(self, model: str, tensors: Tensors, output: str, within: float) -> npt.NDArray[Any]:
        """As `edgesight.host.split.run.Remote` says."""
        if within <= 0.0:
            raise RemoteError("no time was left to ask the data centre: give more time")
        taken = []
        for name, value in tensors.items():
            one = self._client_of.InferInput(name, list(value.shape), _datatype(value.dtype))
            one.set_data_from_numpy(np.ascontiguousarray(value))
            taken.append(one)
        try:
            answer = await self._client.infer(
                model, taken, outputs=[self._client_of.InferRequestedOutput(output)], client_timeout=within
            )
        except self._fault as error:
            raise RemoteError(f"{self._address}: {model}: {error.message()} ({error.status()})") from error
        found = answer.as_numpy(output)
        if found is None:
            raise RemoteError(f"{self._address}: {model}: its answer has no {output}: serve the pieces' own repository")
        return np.asarray(found)


def _datatype(dtype: np.dtype[Any]) -> str:
    from tritonclient.utils import np_to_triton_dtype

    return str(np_to_triton_dtype(dtype.type))
