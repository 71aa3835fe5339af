"""Fuzzing finds the faults that there are: it is shown a server with some, and messages of every kind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgesight.bench.service import fuzz
from edgesight.bench.service.fuzz_messages import Messages
from edgesight.host.doors.served import Caller, Request, Response
from tests.host.doors.small import Small, running

pytest.importorskip("schemathesis", reason="schemathesis is not installed: extra `dev`")
hypothesis: Any = pytest.importorskip("hypothesis", reason="hypothesis is not installed: extra `dev`")
pb: Any = pytest.importorskip("tritonclient.grpc").service_pb2

SECONDS = 6.0


class Faulty(Small):
    """Has a fault for whoever asks for the sum of nothing but ones."""

    async def infer(self, request: Request, caller: Caller) -> Response:
        response = await super().infer(request, caller)
        if request.inputs[0].values.size and (request.inputs[0].values == 1).all():
            raise RuntimeError("a fault of the test's")
        return response


@pytest.mark.parametrize("kind", ["HTTP", "gRPC"])
def test_a_fault_is_found_and_a_server_without_has_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"HTTP": fuzz.over_http, "gRPC": fuzz.over_grpc}[kind]
    monkeypatch.setattr(fuzz, "SPARE", "texts")
    for served, faults in ((Small(), False), (Faulty(), True)):
        with running(served) as addresses:
            at = addresses.http if kind == "HTTP" else addresses.grpc
            assert at is not None
            found = asked(f"{at[0]}:{at[1]}", ("sums",), SECONDS)
        assert found.total > 50
        assert bool(found.faults) is faults, found.faults[:3]


def test_many_messages_are_good_ones_and_calls_of_many_names_come() -> None:
    port = SimpleNamespace(name="x", datatype="FP32", shape=[-1, 4])
    messages = Messages({"double": ([port], [SimpleNamespace(name="y")])}, "spare")
    names, whole, loaded = set(), 0, set()

    def draw(drawn: tuple[str, list[bytes]]) -> None:
        nonlocal whole
        name, contents = drawn
        names.add(name)
        if name == "ModelInfer":
            try:
                message = pb.ModelInferRequest.FromString(contents[0])
            except Exception:
                return
            whole += message.model_name == "double" and [one.name for one in message.inputs] == ["x"]
        elif name in ("RepositoryModelLoad", "RepositoryModelUnload"):
            loaded.add(b"spare" in contents[0])

    settings = hypothesis.settings(
        max_examples=600,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    settings(hypothesis.given(messages.drawn())(draw))()
    assert len(names) > 12  # of 20
    assert whole > 50
    assert True in loaded
