"""The gRPC door as Triton's client, and any other, sees it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as tritonclient
import tritonclient.grpc.aio as tritonclient_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from edgesight.host.doors import grpc_door
from edgesight.host.doors.access import ByToken
from edgesight.host.doors.bounds import Bounds
from edgesight.host.doors.messages import read_message
from edgesight.host.doors.served import Refused
from edgesight.host.doors.tensors import MAX_MESSAGE
from tests.host.doors.conftest import Doors
from tests.host.doors.small import PLAIN, Small, running
from tests.waiting import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROW = np.arange(16, dtype=np.int32).reshape(1, 16)


def inputs() -> list[tritonclient.InferInput]:
    found = [tritonclient.InferInput(name, ROW.shape, "INT32") for name in ("INPUT0", "INPUT1")]
    for tensor in found:
        tensor.set_data_from_numpy(ROW)
    return found


def one_byte() -> tritonclient.InferInput:
    tensor = tritonclient.InferInput("any", [1], "UINT8")
    tensor.set_data_from_numpy(np.ones(1, np.uint8))
    return tensor


def stub(doors: Doors) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(doors.grpc))


def test_what_a_client_asks_of_the_server(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("adder", "1")
        assert not client.is_model_ready("adder", "2")
        assert client.get_server_metadata().name == "small"
        assert list(client.get_model_metadata("adder").inputs[0].shape) == [-1, 16]
        assert client.get_model_config("classes").config.max_batch_size == 8
        (statistics,) = client.get_inference_statistics("adder").model_stats
        assert (statistics.inference_stats.success.ns, statistics.batch_stats[1].batch_size) == (3_000, 4)
        client.unload_model("adder")
        assert not client.is_model_ready("adder")
        states = {model.name: model.state for model in client.get_model_repository_index().models}
        assert (states["adder"], states["sums"]) == ("UNAVAILABLE", "READY")
        client.load_model("adder")
        with pytest.raises(tritonclient.InferenceServerException, match="from the server's repository"):
            client.load_model("adder", config="{}", files={"file:1/model.onnx": b"a"})
        with pytest.raises(tritonclient.InferenceServerException, match=r"NOT_FOUND.*no model 'nothing'"):
            client.get_model_metadata("nothing")
        doors.served.is_ready = False
        assert client.is_server_live()
        assert not client.is_server_ready()


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_infer(doors: Doors, compression: str | None) -> None:
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        found = client.infer(
            "adder",
            inputs(),
            request_id="7",
            outputs=[tritonclient.InferRequestedOutput("OUTPUT0")],
            priority=2,
            timeout=3_000_000,
            compression_algorithm=compression,
            headers={"traceparent": TRACE},
            parameters={"accuracy": 0.95, "site": "door"},
        )
        assert found.as_numpy("OUTPUT0").tolist() == (2 * ROW).tolist()
        assert found.as_numpy("OUTPUT1") is None
        assert found.get_response().id == "7"
        assert found.get_response().parameters["confidence"].double_param == 0.5
    request, caller = doors.served.asked[-1]
    assert dict(request.parameters) == {"accuracy": 0.95, "site": "door", "priority": 2, "timeout": 3_000_000}
    assert (request.timeout, caller.name, caller.trace) == (3.0, "127.0.0.1", TRACE)


def test_texts_half_precision_and_classes(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        text = tritonclient.InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array([b"abc", b"\xff\x00"], object))
        assert client.infer("texts", [text]).as_numpy("turned").tolist() == [b"cba", b"\x00\xff"]
        scores = tritonclient.InferInput("picture", [1, 4], "FP32")
        scores.set_data_from_numpy(np.array([[1, 4, 3, 2]], np.float32))
        wanted = tritonclient.InferRequestedOutput("scores", class_count=2)
        assert client.infer("classes", [scores], outputs=[wanted]).as_numpy("scores").tolist() == [
            [b"4.000000:1:car", b"3.000000:2:house"]
        ]
        half = tritonclient.InferInput("picture", [1, 4], "FP16")
        half.set_data_from_numpy(np.ones((1, 4), np.float16))
        with pytest.raises(tritonclient.InferenceServerException, match="no input"):
            client.infer("classes", [half])
        assert doors.served.asked[-1][0].inputs[0].values.dtype == np.float16


def test_typed_contents_of_other_clients(doors: Doors) -> None:
    message = pb.ModelInferRequest(model_name="adder")
    for name in ("INPUT0", "INPUT1"):
        tensor = message.inputs.add(name=name, datatype="INT32", shape=[1, 16])
        tensor.contents.int_contents.extend(range(16))
    answer = stub(doors).ModelInfer(message)
    assert np.frombuffer(answer.raw_output_contents[0], np.int32).tolist() == (2 * ROW)[0].tolist()
    texts = pb.ModelInferRequest(model_name="texts")
    texts.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"abc")
    assert stub(doors).ModelInfer(texts).raw_output_contents[0] == b"\3\0\0\0cba"


def test_the_client_for_asyncio(doors: Doors) -> None:
    async def ask() -> list[Any]:
        async with tritonclient_aio.InferenceServerClient(doors.grpc) as client:
            found = await asyncio.gather(*(client.infer("adder", inputs()) for _ in range(20)))
            return [one.as_numpy("OUTPUT0").tolist() for one in found]

    assert asyncio.run(ask()) == [(2 * ROW).tolist()] * 20


def test_a_stream_answers_in_order_and_outlives_what_fails(doors: Doors) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(40):
            client.async_stream_infer("nothing" if number == 5 else "adder", inputs(), request_id=str(number))
        for number in range(40):
            result, error = answers.get(timeout=10)
            if number == 5:
                assert "no model 'nothing'" in str(error)
            else:
                assert (error, result.get_response().id) == (None, str(number))
                assert result.get_response().parameters["triton_final_response"].bool_param is True
        client.stop_stream()


def test_a_stream_that_is_cut_off_cancels_what_it_asked(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        client.start_stream(lambda result, error: None)
        client.async_stream_infer("slow", [one_byte()])
        assert doors.served.began.wait(5)
        client.stop_stream(cancel_requests=True)
        assert doors.served.cancelled.wait(5)


def test_a_cancelled_call_and_a_deadline_cancel_the_request(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.grpc) as client:
        context = client.async_infer("slow", [one_byte()], lambda result, error: None)
        assert doors.served.began.wait(5)
        context.cancel()
        assert doors.served.cancelled.wait(5)
        doors.served.cancelled.clear()
        with pytest.raises(tritonclient.InferenceServerException, match="DEADLINE_EXCEEDED"):
            client.infer("slow", [one_byte()], timeout=60_000_000, client_timeout=0.4)
        assert doors.served.cancelled.wait(5)
        timeout = doors.served.asked[-1][0].timeout
        assert timeout is not None
        assert 0 < timeout < 0.5  # the call's own is the nearer


def test_refusals_have_their_status(doors: Doors) -> None:
    client = stub(doors)
    one = pb.ModelInferRequest(model_name="busy", raw_input_contents=[b"a"])
    one.inputs.add(name="any", datatype="UINT8", shape=[1])
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(one)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "2500"
    one.model_name = "faulty"
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(one)
    assert (caught.value.code(), "the model's" in caught.value.details()) == (grpc.StatusCode.INTERNAL, False)
    one.model_name = "sums"
    one.parameters["sequence_id"].int64_param = 3
    with pytest.raises(grpc.RpcError, match="sequence_id") as caught:
        client.ModelInfer(one)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    for name, request in (
        ("SystemSharedMemoryStatus", pb.SystemSharedMemoryStatusRequest()),
        ("SystemSharedMemoryRegister", pb.SystemSharedMemoryRegisterRequest()),
        ("SystemSharedMemoryUnregister", pb.SystemSharedMemoryUnregisterRequest()),
        ("CudaSharedMemoryStatus", pb.CudaSharedMemoryStatusRequest()),
        ("CudaSharedMemoryRegister", pb.CudaSharedMemoryRegisterRequest()),
        ("CudaSharedMemoryUnregister", pb.CudaSharedMemoryUnregisterRequest()),
        ("TraceSetting", pb.TraceSettingRequest()),
        ("LogSettings", pb.LogSettingsRequest()),
    ):
        with pytest.raises(grpc.RpcError, match=f"{name}: .* not served here") as caught:
            getattr(client, name)(request)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def message(**more: Any) -> Any:
    """A good request for a sum, but for what is told."""
    told = {"name": "any", "datatype": "UINT8", "shape": [1], **more}
    raw = told.pop("raw", [b"a"])
    return pb.ModelInferRequest(model_name="sums", inputs=[told], raw_input_contents=raw)


def named(**texts: str) -> Any:
    asked = message()
    for name, text in texts.items():
        setattr(asked, name, text)
    return asked


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pb.ModelInferRequest(), "no input"),
        (message(datatype="NOTHING"), "is none of"),
        (message(shape=[-1]), "integers of at least 0"),
        (message(shape=[2**62, 2**62]), "more than a message may hold"),
        (message(shape=[0, 2**62]), "more than a message may hold"),
        (message(shape=[5]), "1 bytes came, but shape [5]"),
        (message(shape=[1] * 1_000), "1000 dimensions"),
        (message(datatype="BYTES"), "too few for the lengths"),
        (message(datatype="BYTES", raw=[b"\xff\xff\xff\xff"]), "says that it has 4294967295 bytes"),
        (message(raw=[b"a", b"b"]), "1 inputs came with 2 raw_input_contents"),
        (message(raw=[]), "0 values came in uint_contents"),
        (message(raw=[], datatype="FP16"), "raw_input_contents alone"),
        (message(raw=[], contents={"uint_contents": [256]}), "does not fit into UINT8"),
        (message(raw=[], contents={"int_contents": [1]}), "0 values came in uint_contents"),
        (message(contents={"uint_contents": [1]}), "contents beside raw_input_contents"),
        (message(name=""), "no name"),
        (message(name="x" * 2_000), "at most 1024 characters"),
        (named(id="x" * 2_000), "id must be a text of at most"),
        (named(model_name="x" * 2_000), "model_name must be a text of at most"),
        (message(parameters={"a": {}}), "parameter 'a' has no value"),
        (pb.ModelInferRequest(inputs=[{"name": str(k)} for k in range(300)]), "300 inputs"),
        (
            pb.ModelInferRequest(model_name="sums", inputs=[{"name": "any", "datatype": "UINT8", "shape": [1]}] * 2),
            "comes twice",
        ),
    ],
)
def test_what_lies_is_an_invalid_argument(shared: Doors, request_: Any, said: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub(shared).ModelInfer(request_)
    assert (caught.value.code(), said in caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True), caught


def test_what_is_no_message(shared: Doors) -> None:
    channel = grpc.insecure_channel(shared.grpc, options=[("grpc.max_send_message_length", -1)])
    for name in ("ModelInfer", "ModelMetadata", "RepositoryIndex"):
        call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
        for sent in (b"\xff" * 10, b"\x0a\xff\xff\xff\xff\x7f", b"\x07"):
            with pytest.raises(grpc.RpcError) as caught:
                call(sent)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (answer,) = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")(iter([b"\xff"]))
    assert b"cannot be read" in answer
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(bytes(MAX_MESSAGE + 1))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert stub(shared).ModelInfer(message()).model_name == "sums"


def test_a_bomb_is_put_out(shared: Doors) -> None:
    channel = grpc.insecure_channel(
        shared.grpc, options=[("grpc.max_send_message_length", -1)], compression=grpc.Compression.Gzip
    )
    with pytest.raises(grpc.RpcError, match="larger than max") as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(bytes(2 * MAX_MESSAGE))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_health_and_reflection(doors: Doors) -> None:
    channel = grpc.insecure_channel(doors.grpc)
    health = health_pb2_grpc.HealthStub(channel)
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    for service in ("", "inference.GRPCInferenceService"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == serving
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nothing"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watching = health.Watch(health_pb2.HealthCheckRequest())
    assert next(watching).status == serving
    threading.Timer(0.1, lambda: setattr(doors.served, "is_ready", False)).start()
    assert next(watching).status == not_serving
    watching.cancel()
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    (answer,) = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in answer.list_services_response.service}
    assert names == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_calls_that_never_end_leave_room_for_others() -> None:
    bounds = Bounds(calls=8)
    with running(Small(), dataclasses.replace(PLAIN, bounds=bounds)) as addresses, contextlib.ExitStack() as opened:
        assert addresses.grpc is not None
        channel = opened.enter_context(grpc.insecure_channel(f"127.0.0.1:{addresses.grpc[1]}"))
        health, calls = health_pb2_grpc.HealthStub(channel), service_pb2_grpc.GRPCInferenceServiceStub(channel)
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        silent = threading.Event()
        opened.callback(silent.set)

        def saying(*said: Any) -> Iterator[Any]:
            yield from said
            silent.wait()

        watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(bounds.calls // 4)]
        for watch in watching:
            next(watch)
        for further in (health.Watch(health_pb2.HealthCheckRequest()), reflection.ServerReflectionInfo(saying(asked))):
            assert refused(functools.partial(next, further))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams = [calls.ModelStreamInfer(saying(message())) for _ in range(bounds.calls // 2)]
        for stream in streams:
            assert not next(stream).error_message
        code, said = refused(functools.partial(next, calls.ModelStreamInfer(saying(message()))))
        assert (code, said[:25]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "4 such calls are open, th")
        assert calls.ModelInfer(message()).model_name
        watching[0].cancel()

        def let_in() -> bool:
            with contextlib.suppress(grpc.RpcError):
                return bool(next(health.Watch(health_pb2.HealthCheckRequest())).status)
            return False

        wait_until(let_in, 20.0)


def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_calls_and_what_they_bring_are_bounded() -> None:
    served = Small()
    bounds = Bounds(message=10_000, held=15_000, calls=4, structure=2_500)
    assert bounds.worst == 55_000
    with running(served, dataclasses.replace(PLAIN, bounds=bounds)) as addresses:
        assert addresses.grpc is not None
        target = f"127.0.0.1:{addresses.grpc[1]}"
        channel = grpc.insecure_channel(target)
        calls = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        large = message(shape=[9_000], raw=[bytes(9_000)])
        assert calls.ModelInfer(large).model_name == "sums"
        code, said = refused(lambda: calls.ModelInfer(message(shape=[10_000], raw=[bytes(10_000)])))
        assert (code, "larger than max" in said) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        large.model_name = "slow"
        held = calls.ModelInfer.future(large)
        assert served.began.wait(10)
        code, said = refused(lambda: calls.ModelInfer(large))
        assert (code, said) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"requests of {large.ByteSize()} bytes are being answered: ask again",
        )
        (answer,) = calls.ModelStreamInfer(iter([large]))
        assert "bytes are being answered" in answer.error_message
        # Streams that bring nothing are calls, too, and so is who watches.
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        streams = [watch, *(calls.ModelStreamInfer(endless()) for _ in range(2))]
        wait_until(lambda: not is_live(calls))
        for stream in streams:
            stream.cancel()
        wait_until(lambda: is_live(calls))
        served.go_on.set()
        assert held.result().model_name == "slow"
        large.model_name = "sums"
        assert calls.ModelInfer(large).model_name == "sums"
        channel.close()


def endless() -> Iterator[Any]:
    threading.Event().wait(10)
    yield from ()


def is_live(calls: Any) -> bool:
    try:
        return bool(calls.ServerLive(pb.ServerLiveRequest()).live)
    except grpc.RpcError:
        return False


def test_a_message_that_does_not_come_is_given_up(shared: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_door, "MESSAGE_WITHIN", 0.3)
    with grpc.insecure_channel(shared.grpc) as channel:
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelMetadata")
        code, said = refused(lambda: call(endless()))
        assert (code, "did not come within 0.3 s" in said) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
        code, said = refused(lambda: call(iter(())))
        assert (code, "brought no message" in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_who_may_not_ask_is_refused_before_his_message_is_read() -> None:
    with running(Small(), dataclasses.replace(PLAIN, access=ByToken(lambda token: None, None))) as addresses:
        assert addresses.grpc is not None
        with grpc.insecure_channel(f"127.0.0.1:{addresses.grpc[1]}") as channel:
            for name in ("ModelInfer", "RepositoryModelLoad", "ModelStreamInfer"):
                call = channel.stream_stream(f"/inference.GRPCInferenceService/{name}")
                code, _ = refused(lambda call=call: list(call(endless())))
                assert code is grpc.StatusCode.UNAUTHENTICATED


def test_metadata_are_bounded(shared: Doors) -> None:
    for metadata in ([("x", "a" * 100_000)], [(f"x{k}", "a" * 100) for k in range(1_000)]):
        code, _ = refused(lambda metadata=metadata: stub(shared).ModelInfer(message(), metadata=metadata))
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    assert stub(shared).ModelInfer(message(), metadata=[("authorization", "x"), ("traceparent", "y")] * 5)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x2a\x00" * (1 << 20),  # inputs of nothing: read, each takes 40 times as much memory
        b"\x32\x00" * (1 << 20),
        b"\x3a\x00" * (1 << 20),
        b"\x78\x01" * (1 << 20),  # a field that the protocol does not have
        message(raw=[], shape=[4 << 20], contents={"fp32_contents": [1.0] * ((4 << 20) + 1)}).SerializeToString(),
    ],
)
def test_what_grows_in_memory_is_refused_before_it_is_read(shared: Doors, sent: bytes) -> None:
    with grpc.insecure_channel(shared.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        code, said = refused(lambda: channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(sent))
        assert (code, "send tensors as raw_input_contents" in said) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        (answer,) = stream(iter([sent]))
        assert b"send tensors as raw_input_contents" in answer


@pytest.mark.parametrize(
    "sent", [b"\x80" * 20, b"\x0b", b"\x0a\x80", b"\x0a\x05a", b"\x09a", b"\x0a" + b"\xff" * 9 + b"\x01"]
)
def test_broken_messages_are_none(sent: bytes) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_message(pb.ModelInferRequest, sent, 1_000)


def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_door, "GREETED_WITHIN_MS", 500)
    with running(Small()) as addresses:
        assert addresses.grpc is not None
        with socket.create_connection(addresses.grpc, timeout=10) as connection:
            while connection.recv(65_536):  # the server's own greeting
                pass


def test_who_asks_is_told_that_its_message_arrived_before_the_answer(doors: Doors) -> None:
    request = pb.ModelInferRequest(model_name="slow", raw_input_contents=[b"\x01"])
    request.inputs.add(name="any", datatype="UINT8", shape=[1])
    with grpc.insecure_channel(doors.grpc) as channel:
        # As a stream: of one message that comes back, this library hands the first metadata over with it.
        infer = channel.unary_stream(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        call = infer(request, timeout=60, metadata=((grpc_door.ARRIVED, "1"), ("traceparent", TRACE)))
        told = dict(call.initial_metadata())
        assert told[grpc_door.ARRIVED] == "1"
        assert told["traceparent"].split("-")[1] == TRACE.split("-")[1]
        assert doors.served.began.wait(20)
        assert not doors.served.go_on.is_set()
        doors.served.go_on.set()
        assert [answer.model_name for answer in call] == ["slow"]
        # Who does not ask for it is told nothing.
        plain = infer(pb.ModelInferRequest(model_name="slow", inputs=request.inputs, raw_input_contents=[b"\x01"]))
        assert grpc_door.ARRIVED not in dict(plain.initial_metadata())
        assert len(list(plain)) == 1
