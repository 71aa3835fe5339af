"""What the log tells of requests."""

from __future__ import annotations

import asyncio
import json
import logging

import numpy as np
import pytest
import tritonclient.grpc as tritonclient

from edgesight.host.doors.served import Caller, Code, Refused
from edgesight.host.doors.told import told
from tests.host.doors.conftest import CLIENT, Doors

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ONE = {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1]}]}


def test_each_request_is_a_line_of_json_over_either_door(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "edgesight.host.doors.told")
    CLIENT.post(f"{doors.http}/v2/models/sums/infer", json=ONE, headers={"traceparent": TRACE})
    CLIENT.post(f"{doors.http}/v2/models/sums/infer", json={})
    CLIENT.post(f"{doors.http}/v1/models/busy:predict", json={"instances": [1]})
    picture = tritonclient.InferInput("any", [1], "UINT8")
    picture.set_data_from_numpy(np.ones(1, np.uint8))
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        client.infer("sums", [picture], headers={"traceparent": TRACE})
        with pytest.raises(tritonclient.InferenceServerException):
            client.infer("faulty", [picture])
    lines = [json.loads(record.message) for record in caplog.records if record.name.endswith(".told")]
    assert [(line["model"], line["code"]) for line in lines] == [
        ("sums", "OK"),
        ("sums", "INVALID_ARGUMENT"),
        ("busy", "RESOURCE_EXHAUSTED"),
        ("sums", "OK"),
        ("faulty", "INTERNAL"),
    ]
    assert [line["trace"] for line in lines] == [TRACE.split("-")[1], None, None, TRACE.split("-")[1], None]
    assert all(line["caller"] == "127.0.0.1" and line["milliseconds"] > 0 for line in lines)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(Code.NOT_FOUND, "no"), "NOT_FOUND"),
        (asyncio.CancelledError(), "CANCELLED"),
        (ValueError(), "INTERNAL"),
    ],
)
def test_a_line_tells_how_a_request_ended_and_stays_short(
    error: BaseException, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "edgesight.host.doors.told")
    with pytest.raises(type(error)), told('"\\\x1b\ud800' * 1_000, Caller("\U0001f600" * 1_000)):
        raise error
    (record,) = caplog.records
    assert json.loads(record.message)["code"] == code
    assert len(record.message) < 400


def test_nothing_is_told_unless_somebody_looks(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgesight.host.doors.told")
    assert CLIENT.post(f"{doors.http}/v2/models/sums/infer", json=ONE).status_code == 200
    assert not caplog.records
