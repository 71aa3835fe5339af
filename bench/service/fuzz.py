"""Both doors of a running data centre under requests that nobody would send: none may be a fault, or end anything.

HTTP's are drawn by schemathesis from the OpenAPI document that the server itself gives, as the document allows and as
it forbids. gRPC's are drawn by hypothesis from the protocol's own messages: every call, any field, and inferences that
name real models and inputs in most cases; besides, good messages with some bytes changed, and bytes that are none. The
models are real: two back ends of kernel packages, of which one takes encoded pictures, and tiny ones for other types.

What a request of JSON is answered is held against the document, too: status, type of content, and form.

Words owned here: fault (an answer that a server may not give: 500, INTERNAL, UNKNOWN, or none in time).
"""

from __future__ import annotations

import json
import random
import shutil
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.kept import ROOT, Found
from edgesight.bench.service.asked import Asked
from edgesight.bench.service.fuzz_messages import Messages
from edgesight.bench.service.outcome import Outcome
from edgesight.bench.service.program import Service, asked, client_of, doubles, serving
from edgesight.bench.service.tiny import put, scaled, texts
from edgesight.host.errors import EdgeSightError

SECONDS = 50.0  # of each door
SEED = 1
SPARE = "spare"  # the one model that is loaded and unloaded
_EXAMPLES = 20  # of an operation, or of messages, between looks at the clock
_WITHIN_S = 30.0  # for an answer
_PACKAGES = ROOT / "bitstreams"
_GRACE_MB = 300.0  # that the service may hold more than before: what allocators keep


@dataclass
class Tally:
    """What came of the requests: how many, how they ended, and the first faults."""

    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Requests."""
        return sum(self.ended.values())

    def add(self, how: str, fault: str = "") -> None:
        """Count one."""
        self.ended[how] += 1
        if fault:
            self.faults.append(fault[:400])


def measure(given: Asked, folder: Path, console: Console, seconds: float = SECONDS) -> Found:
    """Both doors, for so many seconds each."""
    outcome = Outcome()
    models = folder / "models"
    shutil.rmtree(models, ignore_errors=True)
    put(models, "double", scaled(2.0))
    put(models, SPARE, scaled(3.0))
    put(models, "texts", texts())
    put(models, "fashion", (_PACKAGES / "fashion-mnist" / "datacenter.onnx").read_bytes())
    with serving(folder / "log", _PACKAGES / "digits", "--repository", models) as service:
        before, workers = service.memory_mb(), set(service.workers())
        for name, fuzz in (("HTTP", over_http), ("gRPC", over_grpc)):
            console.print(f"{name}: requests drawn from seed {SEED} for {seconds:g} s ...", highlight=False)
            outcome.part = name
            at = service.http if name == "HTTP" else service.grpc
            tally = fuzz(at, ("digits", "double", "fashion", "texts"), seconds)
            outcome.at_most("answers that are faults", len(tally.faults), 0, f"of {tally.total} requests")
            outcome.tell("requests", tally.total, "requests")
            outcome.said[name] = {"ended": dict(tally.ended), "faults": tally.faults[:5], "seed": SEED}
        outcome.part = "after all of it"
        _look(service, workers, before, outcome)
    return outcome.found()


def _look(service: Service, workers: set[int], before: float, outcome: Outcome) -> None:
    """Whether everything is as it was."""
    outcome.holds("the service runs", service.runs, service.said()[-500:])
    if not service.runs:
        return
    with client_of(service) as client:
        outcome.holds("a model answers rightly", doubles(client), "double does not")
        picture = np.zeros((1, 28, 28, 1), np.uint8)
        _, why = asked(client, "fashion", _input_of(client, "fashion"), picture, _output_of(client, "fashion"))
        outcome.holds("a back end answers", not why, why)
    gone = [pid for pid in workers if pid not in service.workers()]
    lost = service.said().count("its worker was started anew")
    # The spare model's worker goes and comes as it is told.
    outcome.at_most("workers that crashed", lost + max(len(gone) - 1, 0), 0, "workers")
    outcome.at_most("exceptions that nobody handled", service.faults(), 0, "exceptions")
    outcome.at_most("memory of the service beyond what it held before", service.memory_mb() - before, _GRACE_MB, "MB")


def _input_of(client: Any, model: str) -> str:
    return str(client.get_model_metadata(model).inputs[0].name)


def _output_of(client: Any, model: str) -> str:
    return str(client.get_model_metadata(model).outputs[0].name)


# ----------------------------------------------------------------------------------------------------------------- HTTP


def over_http(at: str, models: Sequence[str], seconds: float) -> Tally:
    """Requests of every operation of the server's own document."""
    import hypothesis
    import schemathesis
    from schemathesis.core.failures import Failure, FailureGroup
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    forms = _forms_over_http(at, models)
    schema = schemathesis.openapi.from_url(f"http://{at}/openapi.json")
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    chance, tally, ends = random.Random(SEED), Tally(), time.monotonic() + seconds

    def send(case: Any) -> None:
        if time.monotonic() > ends:
            return
        _make_likely(case, forms, chance)
        try:
            answer = case.call(timeout=_WITHIN_S)
        except Exception as error:
            tally.add("no answer", f"{case.method} {case.formatted_path}: {type(error).__name__}: {error}")
            return
        fault = ""
        if answer.status_code in (500, 502):
            fault = f"{answer.status_code}: {answer.text}"
        else:
            try:
                case.validate_response(answer, checks=checks)
            except (Failure, FailureGroup) as error:
                fault = str(error)
        tally.add(str(answer.status_code), f"{case.method} {case.formatted_path}: {fault}" if fault else "")

    asking = [one for one in operations if one.path.endswith(("/infer", ":predict"))]
    modes = list(schemathesis.GenerationMode)
    turn = 0
    while time.monotonic() < ends:
        from_all, number = turn % 2 == 0, turn // 2  # every other time what the server is for
        chosen = operations if from_all else asking
        strategy = chosen[number % len(chosen)].as_strategy(modes[number // len(chosen) % len(modes)])
        _draw(strategy, send, turn, hypothesis)
        turn += 1
    return tally


def _forms_over_http(at: str, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The first input of each model, as its metadata tell it."""
    found = {}
    for name in models:
        with urllib.request.urlopen(f"http://{at}/v2/models/{name}", timeout=_WITHIN_S) as answer:
            found[name] = json.load(answer)["inputs"][0]
    return found


def _make_likely(case: Any, forms: Mapping[str, dict[str, Any]], chance: random.Random) -> None:
    """In three of four cases a model that there is, since any other ends early; and often what it takes."""
    parts: dict[str, Any] = case.path_parameters or {}
    if "model" not in parts or chance.random() < 0.25:
        return
    managed = case.operation.path.endswith("load")
    name = parts["model"] = SPARE if managed else chance.choice(sorted(forms))
    if "version" in parts:
        parts["version"] = "1"
    body = case.body
    if managed or not isinstance(body, dict) or chance.random() < 0.25:
        return
    form = forms[name]
    shape = [chance.choice((1, 2, 3)), *form["shape"][1:]]
    one: Any = chance.choice(("a", "ä", "") if form["datatype"] == "BYTES" else (0, 1, 255))
    if chance.random() < 0.25:
        one = chance.choice((-1, 1.5, 1e300, None, True, "x", [], {}))
    count = int(np.prod(shape))
    for part in ("outputs", "parameters", "id"):  # any of which may be refused, and the rest not looked at
        if chance.random() < 0.75:
            body.pop(part, None)
    if isinstance(body.get("inputs"), list):
        drawn = body["inputs"][0] if chance.random() < 0.25 and body["inputs"] else {}
        given = {"name": form["name"], "datatype": form["datatype"], "shape": shape, "data": [one] * count}
        body["inputs"] = [{**(drawn if isinstance(drawn, dict) else {}), **given}]
    if isinstance(body.get("instances"), list):
        body["instances"] = _nested([one] * count, shape)


def _nested(flat: list[Any], shape: Sequence[int]) -> list[Any]:
    for side in reversed(shape[1:]):
        flat = [flat[at : at + side] for at in range(0, len(flat), side)]
    return flat


def _draw(strategy: Any, send: Callable[[Any], None], turn: int, hypothesis: Any) -> None:
    """Send some of what `strategy` draws."""
    settings = hypothesis.settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    try:
        hypothesis.seed(SEED + turn)(settings(hypothesis.given(strategy)(send)))()
    except hypothesis.errors.Unsatisfiable:
        return  # of what the document allows everything, say, nothing can be drawn that it forbids


# ----------------------------------------------------------------------------------------------------------------- gRPC


def over_grpc(at: str, models: Sequence[str], seconds: float) -> Tally:
    """Messages of every call, and what is none."""
    import grpc
    import hypothesis

    faults = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED)
    tally, ends = Tally(), time.monotonic() + seconds
    with grpc.insecure_channel(at) as channel:
        messages = Messages(_forms(at, models), SPARE)

        def send(drawn: tuple[str, list[bytes]]) -> None:
            if time.monotonic() > ends:
                return
            method, contents = drawn
            path = f"/inference.GRPCInferenceService/{method}"
            try:
                if method == "ModelStreamInfer":
                    answers = list(channel.stream_stream(path)(iter(contents), timeout=_WITHIN_S))
                    code, said = grpc.StatusCode.OK, f"{len(answers)} answers to {len(contents)}"
                    short = len(answers) < len(contents)
                    told = b"".join(answers)
                    fault = said if short else "a fault on a stream" if b"which its log tells of" in told else ""
                    tally.add(f"{method} {code.name}", f"{method}: {fault}: {contents!r}" if fault else "")
                    return
                call = channel.unary_unary(path).future(contents[0], timeout=_WITHIN_S)
                code, said = call.code(), str(call.details())
            except grpc.RpcError as error:
                code, said = error.code(), str(error.details())
            fault = f"{method}: {code.name}: {said}: {contents[:1]!r}" if code in faults else ""
            tally.add(f"{method} {code.name}", fault)

        turn = 0
        while time.monotonic() < ends:
            _draw(messages.drawn(), send, turn, hypothesis)
            turn += 1
    return tally


def _forms(at: str, models: Sequence[str]) -> Mapping[str, tuple[Sequence[Any], Sequence[Any]]]:
    """Inputs and outputs of each model."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(at) as client:
        told = {name: client.get_model_metadata(name) for name in models}
    if not told:
        raise EdgeSightError("no model is served: name some")
    return {name: (list(one.inputs), list(one.outputs)) for name, one in told.items()}
