"""The protocol over HTTP: version 2 with Triton's extensions, and KServe's version 1.

Words owned here: endpoint.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from edgesight.host.doors import live, tracing, v1
from edgesight.host.doors.access import Access, Peer, Role, admit
from edgesight.host.doors.bodies import (
    read_json,
    read_load_parameters,
    read_raw_request,
    read_request,
    write_json,
    write_metadata,
    write_response,
    write_statistics,
)
from edgesight.host.doors.bounds import Room, beside, size_of
from edgesight.host.doors.compression import ENCODINGS, Damaged, TooLarge, chosen, pack, unpack
from edgesight.host.doors.configuration import as_plain, configuration
from edgesight.host.doors.metrics import CONTENT_TYPE, exposition
from edgesight.host.doors.openapi import document
from edgesight.host.doors.seldom import Seldom
from edgesight.host.doors.served import Caller, Code, Refused, Response, Served
from edgesight.host.doors.tensors import invalid, shown
from edgesight.host.doors.told import Gone, told

HEADER_LENGTH = "inference-header-content-length"
CERTIFICATE = "edgesight.certificate"  # where in ASGI's scope a client's certificate lies
BODY_WITHIN = 60.0  # seconds for a body to arrive
_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}
_JSON, _BYTES = "application/json", "application/octet-stream"
_FORM = "application/x-www-form-urlencoded"  # what `curl -d` says that it sends, and a web page's form
_HELD = "edgesight.held"  # where in ASGI's scope the bytes are counted that a request holds
_CLOSE = {"connection": "close"}
_THERE = "/openapi.json says what there is, and /live shows it"
_LIVE = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}

logger = logging.getLogger(__name__)

Endpoint = Callable[[HttpRequest, Caller], Awaitable[HttpResponse]]


def app(served: Served, access: Access, room: Room) -> Starlette:
    """The door to `served` as an ASGI application; `room` is for its requests' bodies."""
    door = _Door(served, access, room)
    ask, manage = Role.ASK, Role.MANAGE
    routes = [
        door.route("/v2/health/live", door.live),
        door.route("/v2/health/ready", door.ready),
        door.route("/openapi.json", door.openapi),
        door.route("/v2", door.server, role=ask),
        door.route("/v2/models/stats", door.all_statistics, role=ask),
        door.route("/v2/repository/index", door.index, "POST", ask),
        door.route("/v2/repository/models/{model}/load", door.load, "POST", manage),
        door.route("/v2/repository/models/{model}/unload", door.unload, "POST", manage),
        *(door.page(suffix) for suffix in live.FILES),
        door.route(f"{live.PATH}/state", door.state, role=ask),
        door.route(f"{live.PATH}/pictures/{{model:path}}/{{number}}", door.picture, role=manage),
        door.route("/", door.live_v1),
        door.route("/v1/models", door.models_v1, role=ask),
        door.route("/v1/models/{model}:predict", door.predict_v1, "POST", ask),
        door.route("/v1/models/{model}", door.model_v1, role=ask),
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            door.route(f"{model}/infer", door.infer, "POST", ask),
            door.route(model, door.metadata, role=ask),
            door.route(f"{model}/ready", door.model_ready, role=ask),
            door.route(f"{model}/config", door.configuration, role=ask),
            door.route(f"{model}/stats", door.statistics, role=ask),
        ]
    for what, paths in _UNSERVED.items():
        routes += [door.refusing(path, what) for path in paths]
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})


_UNSERVED = {
    "shared memory": ("/v2/systemsharedmemory/{rest:path}", "/v2/cudasharedmemory/{rest:path}"),
    "trace settings": ("/v2/trace/setting", "/v2/models/{model}/trace/setting"),
    "log settings": ("/v2/logging",),
    "explanation": ("/v1/models/{model}:explain",),
}


def health_app(served: Served) -> Starlette:
    """Liveness, readiness and metrics, for a port that asks nobody who they are."""

    async def live(request: HttpRequest) -> HttpResponse:
        return _health(served.live(), "live")

    async def ready(request: HttpRequest) -> HttpResponse:
        return _health(served.ready(), "ready")

    told = Seldom(lambda: exposition(served))

    async def metrics(request: HttpRequest) -> HttpResponse:
        return HttpResponse(told.get(), media_type=CONTENT_TYPE)

    routes = [
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/metrics", metrics),
    ]
    there = ", ".join(route.path for route in routes)
    return Starlette(routes=routes, exception_handlers={HTTPException: partial(_not_routed, there=f"ask for {there}")})


def peer_of(scope: Any) -> Peer:
    """Who is at the other end of an ASGI request."""
    client = scope.get("client")
    authorization = next((value for name, value in scope["headers"] if name == b"authorization"), None)
    return Peer(
        client[0] if client else "local",
        scope.get("state", {}).get(CERTIFICATE),
        authorization.decode("latin-1") if authorization is not None else None,
    )


async def _not_routed(request: HttpRequest, error: Exception, there: str = _THERE) -> HttpResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        said = f"{request.method} is not taken here: use {(error.headers or {}).get('Allow', 'another method')}"
    else:
        said = f"there is nothing at {shown(request.url.path)}: {there}"
    return _error(error.status_code, said, error.headers)


def _error(status: int, message: str, headers: Any = None) -> HttpResponse:
    return HttpResponse(write_json({"error": message}), status, headers, _JSON)


def _plain(value: object, status: int = 200) -> HttpResponse:
    return HttpResponse(write_json(value), status, media_type=_JSON)


def _health(good: bool, what: str) -> HttpResponse:
    said: dict[str, object] = {what: good}
    if not good:
        said["error"] = f"the server is not {what} now: ask again"
    return _plain(said, 200 if good else 503)


class _Refusal(Exception):
    """An answer that HTTP has a status for, and the protocol no code."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class _Door:
    """The endpoints."""

    def __init__(self, served: Served, access: Access, room: Room) -> None:
        self._served, self._access, self._room = served, access, room
        self._structure = room.bounds.structure
        self._thumbnails = live.Thumbnails(served)
        self._states = {
            everything: Seldom(partial(lambda all_: write_json(live.state_of(served, all_)), everything))
            for everything in (False, True)
        }
        self._document = write_json(document(served.name, served.version))

    def route(self, path: str, endpoint: Endpoint, method: str = "GET", role: Role | None = None) -> Route:
        """A route to an endpoint for those in `role`; None: for anyone."""

        async def run(request: HttpRequest) -> HttpResponse:
            try:
                with tracing.span(f"{method} {path}", request.headers.get(tracing.HEADER)) as trace:
                    peer = peer_of(request.scope)
                    name = peer.address if role is None else admit(self._access, peer, role)
                    answer = await endpoint(request, Caller(name, trace))
                    if trace is not None:
                        answer.headers[tracing.HEADER] = trace
                    return answer
            except Refused as error:
                return _refused(error)
            except _Refusal as error:
                return _error(error.status, str(error), error.headers)
            except Gone:
                return HttpResponse(status_code=499)  # nobody reads it
            except asyncio.CancelledError:  # the time of grace is over, and this is the request's own task
                return _error(503, "the server closed before there was an answer: ask again, or another")
            except Exception:
                logger.exception("%s %s failed", method, path)
                return _error(500, "the server has a fault here, which its log tells of")
            finally:
                self._room.give_back(request.scope.get(_HELD, 0))

        return Route(path, run, methods=[method])

    def page(self, suffix: str) -> Route:
        """A route to one of the page's files, for anyone."""
        content, (_, kind) = live.file(suffix), live.FILES[suffix]

        async def give(request: HttpRequest, caller: Caller) -> HttpResponse:
            return await _packed(request, HttpResponse(content, headers=live.HEADERS, media_type=kind))

        return self.route(live.PATH + suffix, give)

    def refusing(self, path: str, what: str) -> Route:
        """A route to what is not served."""

        async def refuse(request: HttpRequest) -> HttpResponse:
            return _refused(Refused(Code.UNIMPLEMENTED, f"{what}: not served here"))

        return Route(path, refuse, methods=["GET", "POST"])

    async def live(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _health(self._served.live(), "live")

    async def ready(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _health(self._served.ready(), "ready")

    async def openapi(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return HttpResponse(self._document, media_type=_JSON)

    async def state(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        try:
            admit(self._access, peer_of(request.scope), Role.MANAGE)
        except Refused:
            everything = False
        else:
            everything = True
        content = self._states[everything].get()
        return await _packed(request, HttpResponse(content, headers=_LIVE, media_type=_JSON))

    async def picture(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        of, number = request.path_params["model"], request.path_params["number"]
        content = await self._thumbnails.png(of, number)
        if content is None:
            return HttpResponse(status_code=204, headers=_LIVE)
        return HttpResponse(content, headers=_LIVE, media_type="image/png")

    async def server(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        served = self._served
        return _plain({"name": served.name, "version": served.version, "extensions": list(served.extensions)})

    async def metadata(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _plain(write_metadata(self._served.metadata(*_model(request))))

    async def model_ready(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        name, version = _model(request)
        self._served.metadata(name, version)  # an unknown one is refused
        if self._served.model_ready(name, version):
            return _plain({"name": name, "ready": True})
        return _plain({"name": name, "ready": False, "error": f"model {shown(name)} takes no requests now"}, 503)

    async def configuration(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _plain(as_plain(configuration(self._served.metadata(*_model(request)))))

    async def statistics(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        found = self._served.statistics(*_model(request))
        return _plain({"model_stats": [write_statistics(one) for one in found]})

    async def all_statistics(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _plain({"model_stats": [write_statistics(one) for one in self._served.statistics("", "")]})

    async def index(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        ready = read_json(await self._body(request, _FORM), self._structure, {}).get("ready", False)
        if not isinstance(ready, bool):
            raise invalid("ready must be true or false")
        entries = self._served.index(ready)
        return _plain(
            [{"name": one.name, "version": one.version, "state": one.state, "reason": one.reason} for one in entries]
        )

    async def load(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        parameters = read_load_parameters(await self._body(request), self._structure)
        await self._served.load(_model(request)[0], parameters, caller)
        return _plain({})

    async def unload(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        parameters = read_load_parameters(await self._body(request), self._structure)
        await self._served.unload(_model(request)[0], parameters, caller)
        return _plain({})

    async def infer(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        name, version = _model(request)
        header = _header_length(request)
        body = await self._body(request, _FORM)
        with told(name, caller):
            if header == 0 and body:
                asked = read_raw_request(name, version, body, self._served.metadata(name, version))
            else:
                asked = await beside(len(body), lambda: read_request(name, version, body, header, self._structure))
            response = await _unless_gone(request, self._served.infer(asked.request, caller))
            content, length = await beside(size_of(response), lambda: write_response(response, asked))
        answer = HttpResponse(content, media_type=_JSON if length is None else _BYTES)
        if length is not None:
            answer.headers[HEADER_LENGTH] = str(length)
        return await _packed(request, answer)

    async def live_v1(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """What KServe's clients of version 1 take for a sign of life; browsers are led to the page."""
        if "text/html" in request.headers.get("accept", ""):
            return HttpResponse(status_code=307, headers={"location": live.PATH, "vary": "accept"})
        if self._served.live():
            return _plain({"status": "alive"})
        return _plain({"status": "dead", "error": "the server is not live now: start it anew"}, 503)

    async def models_v1(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        return _plain({"models": sorted({entry.name for entry in self._served.index(False)})})

    async def model_v1(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        name, _ = _model(request)
        self._served.metadata(name, "")  # an unknown one is refused
        ready = self._served.model_ready(name, "")
        return _plain({"name": name, "ready": ready}, 200 if ready else 503)

    async def predict_v1(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        name, _ = _model(request)
        body = await self._body(request, _FORM)
        with told(name, caller):
            metadata = self._served.metadata(name, "")
            asked = await beside(len(body), lambda: v1.read_request(name, read_json(body, self._structure), metadata))
            response = await _unless_gone(request, self._served.infer(asked, caller))
            answer = await beside(size_of(response), lambda: _plain(v1.write_response(response)))
        return await _packed(request, answer)

    async def _body(self, request: HttpRequest, *kinds: str) -> bytes:
        """The request's whole body, unpacked, of one of the usual kinds or of `kinds`.

        Refused, _Refusal or Gone where it is not to be had.
        """
        encoding = _encoding(request, (_JSON, _BYTES, *kinds))
        chunks: list[bytes] = []
        most = self._room.bounds.message
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > most:
            raise _too_large(most)
        size = 0
        try:
            async for chunk in _timed(request):
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                self._hold(request, len(chunk))
                chunks.append(chunk)
        except asyncio.TimeoutError:
            raise _Refusal(408, f"the body did not come within {BODY_WITHIN:g} s", _CLOSE) from None
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if encoding is None:
            return body
        try:
            self._hold(request, most)  # until it is known how many it becomes
            body = await beside(len(body), lambda: unpack(body, encoding, most))
        except TooLarge:
            raise _too_large(most) from None
        except Damaged as error:
            raise invalid(f"the body cannot be unpacked as {encoding}: {error}") from None
        self._hold(request, len(body) - most)
        return body

    def _hold(self, request: HttpRequest, size: int) -> None:
        """Count `size` bytes as the request's until it is answered; Refused where all requests hold too many."""
        self._room.take(size)
        request.scope[_HELD] = request.scope.get(_HELD, 0) + size


async def _timed(request: HttpRequest) -> AsyncIterator[bytes]:
    """The chunks of a body; raises asyncio.TimeoutError where they do not come in time, and Gone."""
    loop = asyncio.get_running_loop()
    end = loop.time() + BODY_WITHIN
    more = True
    while more:
        message = await asyncio.wait_for(request.receive(), end - loop.time())
        if message["type"] == "http.disconnect":
            raise Gone
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]


async def _unless_gone(request: HttpRequest, answering: Coroutine[Any, Any, Response]) -> Response:
    """The answer; where the client goes away before it is there, answering is cancelled, and Gone raised."""
    loop = asyncio.get_running_loop()
    answer = loop.create_task(answering)
    gone = loop.create_task(_gone(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise Gone
    finally:
        gone.cancel()
        if not answer.done():
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _packed(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """The answer, compressed where the client takes that and it is worth it."""
    accepted = request.headers.get("accept-encoding")
    body = bytes(answer.body)
    encoding = chosen(accepted, len(body)) if accepted is not None else None
    if encoding is not None:
        answer.body = await beside(len(body), lambda: pack(body, encoding))
        answer.headers["content-encoding"] = encoding
        answer.headers["content-length"] = str(len(answer.body))
        answer.headers["vary"] = "accept-encoding"
    return answer


def _encoding(request: HttpRequest, kinds: Sequence[str]) -> str | None:
    """How the body is compressed; None: not at all. _Refusal where we cannot read it so."""
    kind = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if kind not in kinds:
        raise _Refusal(415, f"a body of type {shown(kind)} is not taken: send {_JSON}, or {_BYTES} with binary tensors")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ENCODINGS:
        taken = ", ".join(ENCODINGS)
        raise _Refusal(415, f"a body in {shown(encoding)} is not taken: use {taken}", {"accept-encoding": taken})
    return encoding


def _header_length(request: HttpRequest) -> int | None:
    """How much of the body is JSON; None: all. Refused where the header says nothing sensible."""
    length = request.headers.get(HEADER_LENGTH)
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal() and len(length) < 20):
        raise invalid(f"{HEADER_LENGTH} must be a whole number of bytes, not {shown(length)}")
    return int(length)


def _model(request: HttpRequest) -> tuple[str, str]:
    """The name and version that the path has; an empty version where it has none."""
    return request.path_params["model"], request.path_params.get("version", "")


def _too_large(most: int) -> _Refusal:
    # What is still to come of the body is not read.
    return _Refusal(413, f"the body is larger than {most} bytes, unpacked: send smaller batches", _CLOSE)


def _refused(error: Refused) -> HttpResponse:
    answer = _error(_STATUS[error.code], str(error))
    after = error.retry_after
    if after is None and error.code is Code.RESOURCE_EXHAUSTED:
        after = 1.0
    if after is not None:
        answer.headers["retry-after"] = str(max(1, math.ceil(after)))
    if error.code is Code.UNAUTHENTICATED:
        answer.headers["www-authenticate"] = "Bearer"
    return answer
