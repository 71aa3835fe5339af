"""Doors open and close: what was let in is answered, nobody else is let in, and it ends within its time of grace."""

from __future__ import annotations

import dataclasses
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as tritonclient
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from edgesight.host.doors.access import DoorError
from edgesight.host.doors.serve import Addresses
from tests.host.doors.small import PLAIN, Small, running
from tests.waiting import wait_until

ONE = {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1]}]}


def ask_both(addresses: Addresses, model: str) -> list[Any]:
    """Statuses of a request over HTTP and one over gRPC, asked at the same time; filled when they are answered."""
    assert addresses.grpc is not None
    assert addresses.http is not None
    url, target = f"http://127.0.0.1:{addresses.http[1]}/v2/models/{model}/infer", f"127.0.0.1:{addresses.grpc[1]}"
    answers: list[Any] = []

    def over_http() -> None:
        try:
            answers.append(httpx.post(url, json=ONE, timeout=20).status_code)
        except httpx.TransportError as error:
            answers.append(type(error))

    def over_grpc() -> None:
        message = pb.ModelInferRequest(model_name=model, raw_input_contents=[b"a"])
        message.inputs.add(name="any", datatype="UINT8", shape=[1])
        with grpc.insecure_channel(target) as channel:
            try:
                service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=20)
                answers.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                answers.append(error.code())

    for one in (over_http, over_grpc):
        threading.Thread(target=one, name="asks").start()
    return answers


def test_what_was_let_in_is_answered_while_doors_close() -> None:
    served = Small()
    with running(served) as addresses:
        answers = ask_both(addresses, "slow")
        wait_until(lambda: len(served.asked) == 2)
        threading.Timer(0.5, served.go_on.set).start()
        began = time.monotonic()
    assert 0.3 < time.monotonic() - began < 4
    wait_until(lambda: len(answers) == 2)
    assert set(answers) == {200, grpc.StatusCode.OK}
    assert addresses.http is not None
    with pytest.raises(ConnectionError):
        socket.create_connection(addresses.http, timeout=2)


def test_closing_ends_within_its_grace() -> None:
    served = Small()
    with running(served, dataclasses.replace(PLAIN, grace=0.3)) as addresses:
        answers = ask_both(addresses, "slow")
        wait_until(lambda: len(served.asked) == 2)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    assert served.cancelled.is_set()
    wait_until(lambda: len(answers) == 2)
    assert set(answers) & {503, httpx.RemoteProtocolError, httpx.ReadError}
    assert set(answers) & {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_streams_that_stay_open_end_when_doors_close() -> None:
    served = Small()
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with running(served, dataclasses.replace(PLAIN, grace=20.0)) as addresses:
        assert addresses.grpc is not None
        target = f"127.0.0.1:{addresses.grpc[1]}"
        client = tritonclient.InferenceServerClient(target)
        client.start_stream(lambda result, error: answers.put((result, error)))
        one = tritonclient.InferInput("any", [1], "UINT8")
        one.set_data_from_numpy(np.ones(1, np.uint8))
        client.async_stream_infer("slow", [one], request_id="7")
        assert served.began.wait(5)
        channel = grpc.insecure_channel(target)
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        threading.Timer(0.3, served.go_on.set).start()
        began = time.monotonic()
    assert time.monotonic() - began < 10
    result, error = answers.get(timeout=5)
    assert (result.get_response().id, error) == ("7", None)  # what was asked is answered
    assert "the server is closing" in str(answers.get(timeout=5)[1])
    assert [one.status for one in watching] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    client.close()
    channel.close()


def test_doors_that_nobody_wants_stay_shut_and_taken_ports_are_told() -> None:
    with running(Small(), dataclasses.replace(PLAIN, grpc=None, health=None)) as addresses:
        assert (addresses.grpc, addresses.health) == (None, None)
        assert addresses.http is not None
        with (
            pytest.raises(DoorError, match="name another"),
            running(Small(), dataclasses.replace(PLAIN, http=addresses.http)),
        ):
            pass
        with (
            pytest.raises(DoorError, match="name another"),
            running(Small(), dataclasses.replace(PLAIN, grpc=addresses.http)),
        ):
            pass
        assert httpx.get(f"http://127.0.0.1:{addresses.http[1]}/v2/health/live").status_code == 200


def test_two_sets_of_doors_stand_side_by_side() -> None:
    first, second = Small("first"), Small("second")
    with running(first) as one, running(second) as two:
        for served, addresses in ((first, one), (second, two)):
            assert addresses.http is not None
            assert httpx.get(f"http://127.0.0.1:{addresses.http[1]}/v2").json()["name"] == served.name


def test_without_the_extra_the_message_names_it() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "import edgesight.host.doors.served, edgesight.host.doors.tensors, edgesight.host.doors.access\n"
        "try:\n    import edgesight.host.doors.serve\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("DoorError ")
    assert "pip install 'edgesight[oip]'" in said


def test_what_needs_no_extra_imports_none() -> None:
    code = (
        "import sys, json\n"
        "import edgesight.host.doors.served, edgesight.host.doors.tensors, edgesight.host.doors.access\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not {"grpc", "starlette", "uvicorn", "tritonclient", "opentelemetry", "google"} & set(loaded)


_CANCELLED = 4  # of 48 calls at any moment
_CLOSED = 6  # times, at most


def test_calls_that_nobody_has_begun_are_told_that_the_server_is_gone() -> None:
    """With many who ask all the time some calls have come and are not begun at any moment, also at the last.

    The library now and then tells those that have just come that they were cancelled: hardly any where the machine is
    quiet. Without our closing it is dozens, each time.
    """
    cancelled: list[int] = []
    while len(cancelled) < _CLOSED and min(cancelled, default=_CANCELLED + 1) > _CANCELLED:
        codes = closed_under_load()
        cancelled.append(codes.pop(grpc.StatusCode.CANCELLED, 0))
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert min(cancelled) <= _CANCELLED, cancelled


def closed_under_load() -> Counter[grpc.StatusCode]:
    """What those are told who ask all the time while a server closes."""
    served, codes, over = Small(), Counter[grpc.StatusCode](), threading.Event()

    def ask(target: str) -> None:
        message = pb.ModelInferRequest(model_name="sums", raw_input_contents=[b"a"])
        message.inputs.add(name="any", datatype="UINT8", shape=[1])
        with grpc.insecure_channel(target) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not over.is_set():
                calls = [stub.ModelInfer.future(message, timeout=20) for _ in range(8)]
                codes.update(call.code() for call in calls)

    with running(served) as addresses:
        assert addresses.grpc is not None
        threads = [threading.Thread(target=ask, args=(f"127.0.0.1:{addresses.grpc[1]}",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(served.asked) > 100)
    over.set()
    for thread in threads:
        thread.join()
    return codes


def test_closing_leaves_no_descriptor_open() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def stand_open() -> None:
        with running(Small()) as addresses:
            answers = ask_both(addresses, "sums")
            wait_until(lambda: len(answers) == 2)

    stand_open()
    before = descriptors()
    for _ in range(3):
        stand_open()
    wait_until(lambda: descriptors() <= before)
