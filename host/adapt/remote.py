"""The server of adaptation as it is asked over gRPC, by the Open Inference Protocol."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np

from edgesight.host.adapt import asked
from edgesight.host.adapt.client import Reply, ServerError
from edgesight.host.adapt.planning import AdaptError
from edgesight.host.doors.served import Parameter

try:
    import grpc.aio
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    from edgesight.host.doors.grpc_door import ARRIVED
    from edgesight.host.doors.messages import read_parameters, write_parameters
    from edgesight.host.doors.tensors import from_raw
except ImportError as error:
    raise AdaptError(f"asking by the inference protocol needs more ({error}): pip install 'edgesight[oip]'") from error

_LARGEST: Final = 64 << 20
_SAID: Final = 300  # characters of what a server says


def _tell(metadata: Any, arrived: Callable[[], None]) -> None:
    if any(key == ARRIVED for key, _ in metadata or ()):
        arrived()


class GrpcServer:
    """A connection; to be used as an asynchronous context manager."""

    def __init__(self, address: str, authority: Path | None = None, token: str | None = None) -> None:
        """To `address`, HOST:PORT; encrypted with an `authority`, the PEM file of who signs the server's certificate.

        Raises AdaptError where that cannot be read.
        """
        self._address = address
        self._metadata = ((ARRIVED, "1"), *((("authorization", f"Bearer {token}"),) if token is not None else ()))
        options = [("grpc.max_receive_message_length", _LARGEST), ("grpc.use_local_subchannel_pool", 1)]
        if authority is None:
            self._channel = grpc.aio.insecure_channel(address, options)
        else:
            try:
                credentials = grpc.ssl_channel_credentials(authority.read_bytes())
            except OSError as error:
                raise AdaptError(f"{authority}: {error.strerror}: name the server's authority, in PEM") from error
            self._channel = grpc.aio.secure_channel(address, credentials, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        # One message comes back, as the protocol has it. But of a call that says so, this library hands the first
        # metadata over with the message, and not when they come.
        self._infer = self._channel.unary_stream(
            f"/{pb.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    async def __aenter__(self) -> GrpcServer:
        """Connects as soon as something is asked."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connection."""
        await self._channel.close()

    async def round_trip(self, within: float) -> float:
        """As `edgesight.host.adapt.client.Server` says."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._stub.ServerLive(pb.ServerLiveRequest(), timeout=within, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            raise self._fault(error) from error
        return loop.time() - begun

    async def ask(
        self, content: bytes, parameters: Mapping[str, Parameter], within: float, arrived: Callable[[], None]
    ) -> Reply:
        """As `edgesight.host.adapt.client.Server` says."""
        if within <= 0.0:
            raise ServerError("no time was left to ask the server: give more time")
        request = pb.ModelInferRequest(model_name=asked.APPLICATION)
        write_parameters(request.parameters, parameters)
        request.inputs.add(name=asked.PICTURE, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
        call = self._infer(request, timeout=within, metadata=self._metadata)
        try:
            _tell(await call.initial_metadata(), arrived)
            answer = await call.read()
        except grpc.aio.AioRpcError as error:
            _tell(error.initial_metadata(), arrived)  # a refusal may come with it
            raise self._fault(error) from error
        except asyncio.CancelledError:
            call.cancel()
            raise
        outputs: dict[str, Any] = {}
        for form, raw in zip(answer.outputs, answer.raw_output_contents, strict=False):
            outputs[form.name] = np.array(from_raw(form.name, form.datatype, list(form.shape), raw).values)
        return Reply(read_parameters(answer.parameters), outputs)

    def _fault(self, error: Any) -> ServerError:
        return ServerError(f"{self._address}: {(error.details() or '')[:_SAID]} ({error.code().name})")
