"""Fuzzing of both doors: what their schemas allow and what they forbid finds no fault."""

from __future__ import annotations

import zlib
from typing import Any

import grpc
import hypothesis
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route
from tritonclient.grpc import service_pb2 as pb

from edgesight.host.doors.access import Anyone
from edgesight.host.doors.bounds import Bounds, Room
from edgesight.host.doors.http import app
from edgesight.host.doors.openapi import document
from edgesight.host.doors.tensors import DATATYPES
from tests.host.doors.conftest import Doors
from tests.host.doors.small import MODELS, Small

BRIEFLY = hypothesis.settings(max_examples=25, derandomize=True, deadline=None, database=None)
ANSWERS = sorted(set(MODELS) - {"faulty", "slow"})  # of which one has a fault, and one waits
schema = schemathesis.openapi.from_asgi("/openapi.json", app(Small(), Anyone(), Room(Bounds())))


@schema.parametrize()
@BRIEFLY
def test_no_request_over_http_finds_a_fault(case: schemathesis.Case[Any]) -> None:
    drawn = zlib.crc32(repr((case.path_parameters, case.body)).encode())
    if "model" in case.path_parameters and drawn % 4:  # a model that there is: any other ends early
        case.path_parameters["model"] = ANSWERS[drawn % len(ANSWERS)]
        if "version" in case.path_parameters:
            case.path_parameters["version"] = "1"
    response = case.call_and_validate(
        checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )
    assert response.status_code != 500  # which the document does not know, either


def test_the_document_tells_of_routes_that_there_are() -> None:
    routes = {route.path for route in app(Small(), Anyone(), Room(Bounds())).routes if isinstance(route, Route)}
    assert set(document("a", "1")["paths"]) <= routes


PARAMETERS = st.dictionaries(
    st.sampled_from(["timeout", "priority", "deadline_ms", "sequence_id", "classification", "a"]),
    st.one_of(
        st.builds(pb.InferParameter),
        st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(pb.InferParameter, double_param=st.floats()),
        st.builds(pb.InferParameter, string_param=st.text(max_size=5)),
    ),
    max_size=3,
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
    bytes_contents=st.lists(st.binary(max_size=3), max_size=3),
)
TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["any", "text", "picture", "INPUT0", "INPUT1", ""]),
    datatype=st.sampled_from([*DATATYPES, "", "BF16"]),
    shape=st.lists(st.one_of(st.integers(0, 3), st.integers(-(2**63), 2**63 - 1)), max_size=3),
    parameters=PARAMETERS,
    contents=st.one_of(st.none(), CONTENTS),
)
REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from([*ANSWERS, "", "\0"]),
    model_version=st.sampled_from(["", "1", "x"]),
    id=st.text(max_size=3),
    parameters=PARAMETERS,
    inputs=st.lists(TENSORS, max_size=2),
    outputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from(["sum", "x"]), parameters=PARAMETERS
        ),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.one_of(st.binary(max_size=8), st.just(b"\1\0\0\0a")), max_size=2),
).map(lambda message: message.SerializeToString())
FAULTS = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
GOOD = pb.ModelInferRequest(model_name="sums", raw_input_contents=[b"a"])
GOOD.inputs.add(name="any", datatype="UINT8", shape=[1])


@hypothesis.given(sent=st.one_of(REQUESTS, st.binary(max_size=64)))
@hypothesis.settings(BRIEFLY, max_examples=300, suppress_health_check=list(hypothesis.HealthCheck))
def test_no_message_over_grpc_finds_a_fault(shared: Doors, sent: bytes) -> None:
    with grpc.insecure_channel(shared.grpc) as channel:
        for method in ("ModelInfer", "ModelMetadata"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}").future(sent, timeout=10)
            assert call.code() not in FAULTS, call.details()
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(GOOD.SerializeToString(), timeout=10)
