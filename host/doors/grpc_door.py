"""The protocol over gRPC, with the standard's health and reflection services.

Words owned here: call (one of gRPC's, with what its metadata say).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from tritonclient.grpc import service_pb2 as pb

from edgesight.host.doors import tracing
from edgesight.host.doors.access import Access, DoorError, Peer, Role, Tls, admit
from edgesight.host.doors.bodies import MAX_TEXT
from edgesight.host.doors.bounds import Room, beside, size_of
from edgesight.host.doors.closing import Calls
from edgesight.host.doors.messages import (
    read_load_parameters,
    read_message,
    read_request,
    write_configuration,
    write_metadata,
    write_response,
    write_statistics,
)
from edgesight.host.doors.served import Caller, Code, Refused, Served
from edgesight.host.doors.tensors import invalid
from edgesight.host.doors.told import told

ARRIVED = (
    "edgesight-arrived"  # metadata of a call whose client wants to know when its message arrived, and of the reply
)
MESSAGE_WITHIN = 60.0  # seconds for a call's message to arrive
GREETED_WITHIN_MS = 20_000  # for a connection's handshakes
_IDLE_MS = 300_000  # after which a connection without calls is closed; clients open another by themselves
_MAX_METADATA = 16 << 10  # bytes
_AHEAD = 16  # requests of a stream that are worked on at a time
_SAID = 1_024  # characters of a message; metadata has no room for more
_HEALTH_EVERY = 0.5  # seconds between looks whether a watched health has changed
_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_STATUS = {status.value[0]: status for status in grpc.StatusCode}
_UNSERVED = {
    "SystemSharedMemoryStatus": "shared memory",
    "SystemSharedMemoryRegister": "shared memory",
    "SystemSharedMemoryUnregister": "shared memory",
    "CudaSharedMemoryStatus": "shared memory",
    "CudaSharedMemoryRegister": "shared memory",
    "CudaSharedMemoryUnregister": "shared memory",
    "TraceSetting": "trace settings",
    "LogSettings": "log settings",
}
_UNREAD = ("ServerLive", "ServerReady")  # anyone is answered, and nothing of what he sends is looked at
_MANAGING = ("RepositoryModelLoad", "RepositoryModelUnload")

logger = logging.getLogger(__name__)

Context: TypeAlias = Any  # a grpc.aio.ServicerContext; the library carries no types


def make_server(served: Served, access: Access, room: Room, calls: Calls) -> grpc.aio.Server:
    """The door to `served`, yet without address; `room` is for its messages. Streams end once it is told to close."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", room.bounds.message),
            ("grpc.max_send_message_length", room.bounds.message),
            ("grpc.max_metadata_size", _MAX_METADATA),
            ("grpc.server_handshake_timeout_ms", GREETED_WITHIN_MS),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.so_reuseport", 0),  # two servers at one port would share its clients unnoticed
        ],
        maximum_concurrent_rpcs=room.bounds.calls,
    )
    server.add_generic_rpc_handlers((_handler(_Door(served, access, room, calls), room.bounds.structure),))
    lasting = _Lasting(max(room.bounds.calls // 4, 1))
    health_pb2_grpc.add_HealthServicer_to_server(_Health(served, calls, lasting), server)
    reflecting = _Reflection([_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], lasting)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, server)
    return server


def listen(server: grpc.aio.Server, host: str, port: int, tls: Tls | None) -> int:
    """Give the server an address, and return its port (0 chooses one); raises DoorError where it cannot have it."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if tls is None:
            return int(server.add_insecure_port(address))
        credentials = grpc.ssl_server_credentials(
            [(tls.key, tls.chain)], tls.authority, require_client_auth=tls.authority is not None
        )
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise DoorError(
            f"no door can be opened at {address}: another program may have it; name another port"
        ) from error


def _handler(door: _Door, most: int) -> grpc.GenericRpcHandler:
    """The calls of `door`.

    To the library all of them take streams, though of one message but for one of them: so who asks is known before a
    message is read, and one that is none is no fault of ours. `most` bytes of a message may be no raw tensors.
    """
    handlers = {}
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        name = method.name
        streams = name == "ModelStreamInfer"
        make = grpc.stream_stream_rpc_method_handler if streams else grpc.stream_unary_rpc_method_handler
        handlers[name] = make(
            door.ModelStreamInfer if streams else door.call(name),
            request_deserializer=_reader(getattr(pb, method.input_type.name), most),
            response_serializer=getattr(pb, method.output_type.name).SerializeToString,
        )
    return grpc.method_handlers_generic_handler(_SERVICE, handlers)


@dataclass(frozen=True)
class _Message:
    """What came: a message or why it cannot be taken, and how many bytes."""

    content: Any
    size: int


def _reader(kind: Any, most: int) -> Callable[[bytes], _Message]:
    """Reads a message of that `kind`, of which `most` bytes may be no raw tensors."""

    def read(content: bytes) -> _Message:
        try:
            return _Message(read_message(kind, content, most), len(content))
        except Refused as error:
            return _Message(error, len(content))

    return read


def peer_of(context: Context, authorization: str | None, *, secure: bool) -> Peer:
    """Who is at the other end of a call with that `authorization`; `secure`: the door speaks TLS."""
    shown = context.auth_context().get("x509_pem_cert") if secure else None
    return Peer(_address(context.peer()), shown[0] if shown else None, authorization)


def _address(peer: str) -> str:
    """The address in what gRPC says of a peer, as `ipv4:127.0.0.1:4433` or `ipv6:%5B::1%5D:4433`."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return "local"
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")


async def _abort(context: Context, error: Refused) -> NoReturn:
    trailing: list[tuple[str, str]] = []
    if error.retry_after is not None:
        trailing.append(("grpc-retry-pushback-ms", str(max(0, round(error.retry_after * 1_000)))))
    await context.abort(_STATUS[error.code.value], str(error)[:_SAID], tuple(trailing))
    raise AssertionError("abort raises")


class _Lasting:
    """Calls that last for as long as who asks likes: a few of each caller, so that others' always find room."""

    def __init__(self, most: int) -> None:
        """At most so many of each."""
        self._most = most
        self._open: Counter[str] = Counter()

    @contextlib.contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Meanwhile `caller` has one more; raises Refused (RESOURCE_EXHAUSTED)."""
        if self._open[caller] >= self._most:
            said = f"{self._most} such calls are open, the most that may: end one, or ask again later"
            raise Refused(Code.RESOURCE_EXHAUSTED, said, 1.0)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


_STRANGERS = "strangers"  # who asks for health and reflection: all together, since nobody asks who they are


class _Door:
    """The calls. Their names are the protocol's."""

    def __init__(self, served: Served, access: Access, room: Room, calls: Calls) -> None:
        self._served, self._access, self._room, self._calls = served, access, room, calls
        self._streams = _Lasting(max(room.bounds.calls // 2, 1))

    def call(self, name: str) -> Callable[[AsyncIterator[_Message], Context], Awaitable[Any]]:
        """What answers calls of that `name`."""
        if name in _UNSERVED:
            return _refusing(name, _UNSERVED[name])
        if name in _UNREAD:
            return getattr(self, name)  # type: ignore[no-any-return]
        role = Role.MANAGE if name in _MANAGING else Role.ASK
        answer = getattr(self, name)

        async def run(requests: AsyncIterator[_Message], context: Context) -> Any:
            async def work(caller: Caller) -> Any:
                message = await _read(requests)
                if _wants_arrival(name, context):
                    await context.send_initial_metadata(((ARRIVED, "1"), *_traced(caller)))
                with self._room.holding(message.size):
                    return await answer(message.content, context, caller)

            return await self._call(name, context, role, work)

        return run

    async def _call(self, name: str, context: Context, role: Role, work: Callable[[Caller], Awaitable[Any]]) -> Any:
        """What `work` gives for a caller in that role, with errors as gRPC has them."""
        try:
            self._calls.begin()
            traceparent = authorization = None
            for key, value in context.invocation_metadata() or ():
                if key == tracing.HEADER:
                    traceparent = value
                elif key == "authorization":
                    authorization = value
            with tracing.span(f"{_SERVICE}/{name}", traceparent) as trace:
                peer = peer_of(context, authorization, secure=self._access.tls is not None)
                caller = Caller(admit(self._access, peer, role), trace)
                if trace is not None and not _wants_arrival(name, context):
                    await context.send_initial_metadata(_traced(caller))
                return await work(caller)
        except Refused as error:
            await _abort(context, error)
        except Exception:
            logger.exception("%s failed", name)
            await _abort(context, _fault())

    async def ServerLive(self, requests: AsyncIterator[_Message], context: Context) -> Any:
        return pb.ServerLiveResponse(live=self._served.live())

    async def ServerReady(self, requests: AsyncIterator[_Message], context: Context) -> Any:
        return pb.ServerReadyResponse(ready=self._served.ready())

    async def ModelReady(self, request: Any, context: Context, caller: Caller) -> Any:
        return pb.ModelReadyResponse(ready=self._served.model_ready(request.name, request.version))

    async def ServerMetadata(self, request: Any, context: Context, caller: Caller) -> Any:
        served = self._served
        return pb.ServerMetadataResponse(name=served.name, version=served.version, extensions=list(served.extensions))

    async def ModelMetadata(self, request: Any, context: Context, caller: Caller) -> Any:
        return write_metadata(self._served.metadata(request.name, request.version))

    async def ModelConfig(self, request: Any, context: Context, caller: Caller) -> Any:
        return write_configuration(self._served.metadata(request.name, request.version))

    async def ModelStatistics(self, request: Any, context: Context, caller: Caller) -> Any:
        found = self._served.statistics(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[write_statistics(one) for one in found])

    async def RepositoryIndex(self, request: Any, context: Context, caller: Caller) -> Any:
        message = pb.RepositoryIndexResponse()
        for one in self._served.index(request.ready):
            message.models.add(name=one.name, version=one.version, state=one.state, reason=one.reason)
        return message

    async def RepositoryModelLoad(self, request: Any, context: Context, caller: Caller) -> Any:
        await self._served.load(request.model_name, read_load_parameters(request.parameters), caller)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Context, caller: Caller) -> Any:
        await self._served.unload(request.model_name, read_load_parameters(request.parameters), caller)
        return pb.RepositoryModelUnloadResponse()

    async def ModelInfer(self, request: Any, context: Context, caller: Caller) -> Any:
        with told(request.model_name, caller):
            return await self._inferred(request, context, caller)

    async def _inferred(self, request: Any, context: Context, caller: Caller) -> Any:
        remaining = _remaining(context)
        asked = await beside(request.ByteSize(), lambda: read_request(request, remaining))
        response = await self._served.infer(asked, caller)
        return await beside(size_of(response), lambda: write_response(response))

    async def ModelStreamInfer(self, requests: AsyncIterator[_Message], context: Context) -> None:
        """Answers in the order of the requests, some of which are worked on at a time; one that fails ends nothing."""

        async def work(caller: Caller) -> None:
            with self._streams.one(caller.name):
                await answered(caller)

        async def answered(caller: Caller) -> None:
            working: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_AHEAD)

            async def read() -> None:
                try:
                    async for message in requests:
                        task = asyncio.create_task(self._streamed(message, context, caller))
                        try:
                            await working.put(task)
                        except asyncio.CancelledError:
                            task.cancel()  # nobody will look for its answer
                            raise
                finally:
                    await working.put(None)

            async def end() -> None:
                await self._calls.closing.wait()
                reading.cancel()

            reading, ending = asyncio.create_task(read()), asyncio.create_task(end())
            try:
                while (task := await working.get()) is not None:
                    await context.write(await task)
                if self._calls.closing.is_set():
                    raise Refused(Code.UNAVAILABLE, "the server is closing: what was asked is answered; ask another")
                await reading
            finally:
                reading.cancel()
                ending.cancel()
                while not working.empty():
                    left = working.get_nowait()
                    if left is not None:
                        left.cancel()

        await self._call("ModelStreamInfer", context, Role.ASK, work)

    async def _streamed(self, message: _Message, context: Context, caller: Caller) -> Any:
        """The answer to one request of a stream, or why there is none."""
        request = message.content
        if isinstance(request, Refused):
            return pb.ModelStreamInferResponse(error_message=str(request))
        try:
            with told(request.model_name, caller), self._room.holding(message.size):
                answer = await self._inferred(request, context, caller)
        except Exception as error:
            if not isinstance(error, Refused):
                logger.exception("ModelStreamInfer failed")
                error = _fault()
            empty = pb.ModelInferResponse(
                model_name=request.model_name[:MAX_TEXT],
                model_version=request.model_version[:MAX_TEXT],
                id=request.id[:MAX_TEXT],
            )
            return pb.ModelStreamInferResponse(error_message=str(error)[:_SAID], infer_response=empty)
        answer.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)


def _wants_arrival(name: str, context: Context) -> bool:
    """Whether the client asks to be told, by the first metadata, that its message has arrived."""
    return name == "ModelInfer" and any(key == ARRIVED for key, _ in context.invocation_metadata() or ())


def _traced(caller: Caller) -> tuple[tuple[str, str], ...]:
    return () if caller.trace is None else ((tracing.HEADER, caller.trace),)


async def _read(requests: AsyncIterator[_Message]) -> _Message:
    """The one message of a call; Refused where there is none, or none in time."""
    try:
        message = await asyncio.wait_for(requests.__anext__(), MESSAGE_WITHIN)
    except StopAsyncIteration:
        raise invalid("the call brought no message: send one") from None
    except asyncio.TimeoutError:
        said = f"the call's message did not come within {MESSAGE_WITHIN:g} s: ask again"
        raise Refused(Code.DEADLINE_EXCEEDED, said) from None
    if isinstance(message.content, Refused):
        raise message.content
    return message


def _refusing(name: str, what: str) -> Callable[[AsyncIterator[_Message], Context], Awaitable[Any]]:
    async def refuse(requests: AsyncIterator[_Message], context: Context) -> Any:
        await _abort(context, Refused(Code.UNIMPLEMENTED, f"{name}: {what}: not served here"))

    return refuse


def _fault() -> Refused:
    return Refused(Code.INTERNAL, "the server has a fault here, which its log tells of")


def _remaining(context: Context) -> float | None:
    """Seconds until the call's deadline."""
    remaining = context.time_remaining()
    return None if remaining is None else max(0.0, float(remaining))


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """gRPC's own health: of the server as a whole, and of the one service, which are the same."""

    def __init__(self, served: Served, calls: Calls, lasting: _Lasting) -> None:
        self._served, self._calls, self._lasting = served, calls, lasting

    def _status(self, service: str) -> Any:
        if service not in ("", _SERVICE):
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if self._served.ready() and not self._calls.closing.is_set():
            return health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse.NOT_SERVING

    async def Check(self, request: Any, context: Context) -> Any:
        status = self._status(request.service)
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no such service: ask for {_SERVICE}")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(self, request: Any, context: Context) -> None:
        try:
            with self._lasting.one(_STRANGERS):
                await self._watch(request, context)
        except Refused as error:
            await _abort(context, error)

    async def _watch(self, request: Any, context: Context) -> None:
        self._calls.watch()
        told = None
        while True:
            closing = self._calls.closing.is_set()
            status = self._status(request.service)
            if status != told:
                told = status
                await context.write(health_pb2.HealthCheckResponse(status=status))
            if closing:
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._calls.closing.wait(), _HEALTH_EVERY)


class _Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """gRPC's own reflection, to a few at a time."""

    def __init__(self, names: list[str], lasting: _Lasting) -> None:
        super().__init__(names)
        self._lasting = lasting

    async def ServerReflectionInfo(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            with self._lasting.one(_STRANGERS):
                async for answer in super().ServerReflectionInfo(requests, context):
                    yield answer
        except Refused as error:
            await _abort(context, error)
