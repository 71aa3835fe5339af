"""An edge's applications behind the doors of the Open Inference Protocol.

An application is a kernel package on a fabric of its own. A request names one, and how accurate its answer is to be;
which stage of which network answers is the edge's own affair, so no request can name these.

Words owned here: application.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from edgesight.host.answer import Answer
from edgesight.host.applications.asked import MAX_PICTURES, Asked, Given, read
from edgesight.host.applications.counts import Counts, Times
from edgesight.host.applications.told import (
    check_wanted,
    further_forms,
    input_form,
    output_form,
    outputs_of,
    parameters_of,
)
from edgesight.host.cascade import TargetRefused
from edgesight.host.doors.served import (
    Caller,
    Code,
    IndexEntry,
    ModelMetadata,
    ModelStatistics,
    Parameters,
    Refused,
    Request,
    Response,
    own_version,
)
from edgesight.host.doors.tensors import shown
from edgesight.host.edge import MAX_WAITING, Edge, EdgeError, EdgeFull, Look
from edgesight.host.fabric.base import FabricError
from edgesight.host.images import ImageError
from edgesight.host.kernel import KernelError
from edgesight.host.link.datagrams import LinkError
from edgesight.host.measures import Measure
from edgesight.host.recent import Seen
from edgesight.host.swap import SwapError

VERSION = "1"  # of every application: another calibration is no other version, it keeps the same promise
GIVEN_BYTES = 64 * 2**20  # of pictures as they came, of all requests that are not answered yet; one is always taken
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_GOES_ON = "the application goes on with the thresholds that it has"


@dataclass(frozen=True)
class Application:
    """An open edge, as it is asked.

    Attributes:
        edge: that answers.
        accuracy: that is meant where a request says none; None: its highest target.
        fabric: what it answers on, for people.
    """

    edge: Edge
    accuracy: float | None = None
    fabric: str = ""

    @property
    def default_accuracy(self) -> float:
        """What a request gets that says none."""
        if self.accuracy is not None:
            return self.accuracy
        return max((target.accuracy for target in self.edge.calibration.targets), default=1.0)

    @property
    def most(self) -> int:
        """Pictures that may be unanswered at a time."""
        return min(self.edge.most_held, MAX_WAITING)


@dataclass
class _State:
    """What goes on in an application."""

    unanswered: int = 0  # pictures
    counts: Counts = field(default_factory=Counts)


class Applications:
    """Several open edges as the doors see them: `edgesight.host.doors.served.Served`."""

    extensions: Sequence[str] = (
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "statistics",
    )

    def __init__(self, applications: Mapping[str, Application]) -> None:
        """By name; the edges stay their maker's to close.

        Raises EdgeError where a name cannot be one of a model, or TargetRefused where a default is not offered.
        """
        for name, application in applications.items():
            check_name(name)
            application.edge.target(application.default_accuracy)
        self.name, self.version = "edgesight", own_version()
        self._applications = dict(applications)
        self._states = {name: _State() for name in applications}
        self._given_bytes = 0
        self._draining = False

    def drain(self) -> None:
        """Be ready no more: the doors are about to close. What still comes is answered."""
        self._draining = True

    async def failed(self) -> None:
        """Return never, but raise what ends an edge's work: a fault of ours."""
        await asyncio.gather(*(application.edge.failed() for application in self._applications.values()))

    def live(self) -> bool:
        """No edge's work has ended."""
        return not any(application.edge.closed for application in self._applications.values())

    def ready(self) -> bool:
        """All applications answer."""
        return self.live() and not self._draining

    def model_ready(self, name: str, version: str) -> bool:
        """The application answers; one that is not there does not."""
        application = self._applications.get(name)
        return (
            application is not None and version in ("", VERSION) and not application.edge.closed and not self._draining
        )

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """Of an application. Of its inputs and outputs one each is in it, by which clients take it for a classifier;
        the others are in its parameters, in words. Raises Refused (NOT_FOUND)."""
        application = self._find(name, version)
        kernel, calibration = application.edge.kernel, application.edge.calibration
        targets = ", ".join(f"{target.accuracy:g}" for target in calibration.targets)
        return ModelMetadata(
            name=name,
            versions=(VERSION,),
            platform="edgesight",
            inputs=(input_form(kernel),),
            outputs=(output_form(),),
            max_batch_size=min(MAX_PICTURES, application.most),
            labels=tuple(kernel.classes),
            parameters={
                **further_forms(),
                "accuracy_targets": targets,
                "default_accuracy": application.default_accuracy,
                "calibrated_for": f"pictures like {calibration.rests_on.distribution}",
                **({"fabric": application.fabric} if application.fabric else {}),
            },
        )

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        """What the doors' requests came to, of an application, or of all; see `edgesight.host.applications.counts`."""
        if name:
            self._find(name, version)
        return [state.counts.told(one, VERSION) for one, state in self._states.items() if name in ("", one)]

    def measures(self) -> Sequence[Measure]:
        """Of all applications, each by its name."""
        merged: dict[str, Measure] = {}
        for name, application in self._applications.items():
            for one in application.edge.measures():
                before = merged.get(one.name)
                values = dict(before.values) if before is not None else {}
                values |= {(name, *key): value for key, value in one.values.items()}
                merged[one.name] = replace(one, labels=("application", *one.labels), values=values)
        return list(merged.values())

    def recent(self) -> Sequence[Seen]:
        """Of all applications, whoever asked."""
        seen = (replace(one, of=name) for name, found in self._applications.items() for one in found.edge.recent.all())
        return sorted(seen, key=lambda one: one.at)

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        """All applications, or those that answer."""
        entries = []
        for name in self._applications:
            if self.model_ready(name, ""):
                entries.append(IndexEntry(name, VERSION, "READY"))
            elif not ready:
                reason = "the edge is closing" if self._draining else "its edge is closed: see the edge's log"
                entries.append(IndexEntry(name, VERSION, "UNAVAILABLE", reason))
        return entries

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """Take over the calibration that the application's package holds now, as SIGHUP does.

        Raises Refused (FAILED_PRECONDITION) where it goes on with the one that it has.
        """
        application = self._find(name, "")
        if parameters:
            raise Refused(
                Code.UNIMPLEMENTED,
                "loading an application takes its package's thresholds over, and no parameters: calibrate the package",
            )
        try:
            await application.edge.reload()
        except (KernelError, SwapError, LinkError, FabricError) as error:
            raise Refused(Code.FAILED_PRECONDITION, f"{error}; {_GOES_ON}") from error

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        """Raises Refused: an application has its fabric as long as the edge runs."""
        self._find(name, "")
        raise Refused(
            Code.UNIMPLEMENTED,
            f"application {name} keeps its fabric as long as the edge runs: start the edge without it",
        )

    async def infer(self, request: Request, caller: Caller) -> Response:
        """Answers of all pictures, or Refused; cancelled, none of them goes further."""
        application = self._find(request.model, request.version)
        loop, state = asyncio.get_running_loop(), self._states[request.model]
        came = loop.time()
        try:
            asked = read(request)
            check_wanted(request.outputs)
            with self._admitted(application, state, asked):
                answering = self._answers(application, state.counts, asked, came, caller.trace)
                answers, times = await asyncio.wait_for(answering, asked.limit)
            answered = loop.time()
            outputs, parameters = outputs_of(answers, request.outputs), parameters_of(answers)
        except Exception as error:  # whatever it is: it counts
            state.counts.failed(loop.time() - came)
            refused = _refused(error, state)
            if refused is None:
                raise
            raise refused from error
        ended = loop.time()
        state.counts.succeeded(ended - came, times, ended - answered)
        return Response(request.model, VERSION, outputs, request.id, parameters)

    def _find(self, name: str, version: str) -> Application:
        """The application called so; raises Refused (NOT_FOUND)."""
        application = self._applications.get(name)
        if application is None:
            there = ", ".join(self._applications)
            raise Refused(
                Code.NOT_FOUND,
                f"there is no application {shown(name)}{self._part_of(name)}. Ask one of: {there}. A network is not "
                "chosen by its name but by the parameter accuracy",
            )
        if version not in ("", VERSION):
            raise Refused(
                Code.NOT_FOUND,
                f"application {name} has no version {shown(version)}: leave it out, or ask for {VERSION}",
            )
        return application

    def _part_of(self, name: str) -> str:
        """Of which applications `name` is a network or a stage, in words."""
        owners = []
        for owner, application in self._applications.items():
            stages = application.edge.kernel.stages
            if name in {"datacenter", *(stage.name for stage in stages), *(f"stage{k}" for k in range(len(stages)))}:
                owners.append(owner)
        return f": it is a part of {', '.join(owners)}" if owners else ""

    @contextlib.contextmanager
    def _admitted(self, application: Application, state: _State, asked: Asked) -> Iterator[None]:
        """Count the request's pictures as unanswered meanwhile; raises Refused where there is no room for them."""
        count, size, most = len(asked.pictures), asked.size, application.most
        if count > most:
            raise Refused(
                Code.INVALID_ARGUMENT, f"{count} pictures: the edge has memory for {most} at a time, send fewer at once"
            )
        if state.unanswered + count > most:
            raise EdgeFull(
                f"{state.unanswered} pictures wait for answers, of {most} that may, and {count} came: ask again later"
            )
        if self._given_bytes and self._given_bytes + size > GIVEN_BYTES:
            raise EdgeFull(
                f"others' pictures take {self._given_bytes} of {GIVEN_BYTES} bytes, and {size} came: ask again later"
            )
        state.unanswered += count
        self._given_bytes += size
        try:
            yield
        finally:
            state.unanswered -= count
            self._given_bytes -= size

    async def _answers(
        self, application: Application, counts: Counts, asked: Asked, came: float, trace: str | None
    ) -> tuple[list[Answer], list[Times]]:
        """Of each picture the answer, and when it was where. The first that fails ends all."""
        edge, loop = application.edge, asyncio.get_running_loop()
        accuracy = application.default_accuracy if asked.accuracy is None else asked.accuracy
        target = edge.target(accuracy)
        looks: dict[int, Look] = {}

        def looked(number: int, look: Look) -> None:
            looks[number] = look
            counts.look(look)

        async def one(number: int, given: Given) -> tuple[Answer, Times]:
            name = f"picture {number}"
            picture = await (edge.read(given, name) if isinstance(given, bytes) else edge.take(given, name))
            was_read = loop.time()
            deadline = asked.deadline_after(was_read - came)
            if deadline <= 0:
                raise _late()
            answer = await edge.ask(
                picture, target, deadline, priority=asked.priority, looked=partial(looked, number), trace=trace
            )
            warnings = tuple(f"{name} {warning}" for warning in picture.warnings)
            times = Times(came, was_read, looks[number].began, loop.time())
            return answer.model_copy(update={"warnings": warnings}), times

        tasks = [loop.create_task(one(number, given)) for number, given in enumerate(asked.pictures)]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return [answer for answer, _ in found], [times for _, times in found]


def check_name(name: str) -> None:
    """Raise EdgeError where no application can be called so."""
    if not _NAME.fullmatch(name):
        raise EdgeError(
            f"no application can be called {shown(name)}: give 1 to 64 letters, digits, dots, dashes and underscores, "
            "of which the first is a letter or a digit"
        )


def _late() -> Refused:
    return Refused(
        Code.DEADLINE_EXCEEDED,
        "the request's time was over before all of its pictures were answered: give it more, or fewer pictures",
    )


def _refused(error: Exception, state: _State) -> Refused | None:
    """What who asked is told; None where the error says it itself, or is a fault of ours."""
    if isinstance(error, asyncio.TimeoutError):
        return _late()
    if isinstance(error, (ImageError, TargetRefused)):
        return Refused(Code.INVALID_ARGUMENT, str(error))
    if isinstance(error, EdgeFull):
        return Refused(Code.RESOURCE_EXHAUSTED, str(error), state.counts.seconds_for(state.unanswered))
    if isinstance(error, (EdgeError, FabricError)):
        return Refused(Code.UNAVAILABLE, str(error))
    return None
