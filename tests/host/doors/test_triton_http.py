"""Triton's own HTTP client, unmodified."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.host.doors.conftest import Doors

pytest.importorskip("gevent", reason="tritonclient's HTTP client needs the extra `http`")
import tritonclient.http as tritonclient
import tritonclient.http.aio as tritonclient_aio

ROW = np.arange(16, dtype=np.int32).reshape(1, 16)


def inputs(binary: bool) -> list[tritonclient.InferInput]:
    found = [tritonclient.InferInput(name, ROW.shape, "INT32") for name in ("INPUT0", "INPUT1")]
    for tensor in found:
        tensor.set_data_from_numpy(ROW, binary_data=binary)
    return found


def test_what_a_client_asks_of_the_server(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.http.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("adder", "1")
        assert client.get_server_metadata()["name"] == "small"
        assert client.get_model_metadata("adder")["platform"] == "numpy"
        assert client.get_model_config("classes")["max_batch_size"] == 8
        assert client.get_inference_statistics("adder")["model_stats"][0]["name"] == "adder"
        assert len(client.get_inference_statistics()["model_stats"]) == 7
        client.unload_model("adder")
        assert not client.is_model_ready("adder")
        client.load_model("adder")
        assert {entry["state"] for entry in client.get_model_repository_index()} == {"READY"}
        with pytest.raises(tritonclient.InferenceServerException, match="shared memory: not served here"):
            client.get_system_shared_memory_status()
        with pytest.raises(tritonclient.InferenceServerException, match="no model 'nothing'"):
            client.get_model_metadata("nothing")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_infer(doors: Doors, binary: bool, compression: str | None) -> None:
    with tritonclient.InferenceServerClient(doors.http.removeprefix("http://")) as client:
        found = client.infer(
            "adder",
            inputs(binary),
            request_id="7",
            outputs=[tritonclient.InferRequestedOutput("OUTPUT0", binary_data=binary)],
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        assert found.as_numpy("OUTPUT0").tolist() == (2 * ROW).tolist()
        assert found.get_response()["id"] == "7"
        later = client.async_infer("adder", inputs(binary))
        assert later.get_result().as_numpy("OUTPUT1").tolist() == [[0] * 16]


def test_texts_half_precision_and_classes(doors: Doors) -> None:
    with tritonclient.InferenceServerClient(doors.http.removeprefix("http://")) as client:
        text = tritonclient.InferInput("text", [2], "BYTES")
        text.set_data_from_numpy(np.array([b"abc", b"\xff\x00"], object))
        assert client.infer("texts", [text]).as_numpy("turned").tolist() == [b"cba", b"\x00\xff"]
        scores = tritonclient.InferInput("picture", [1, 4], "FP32")
        scores.set_data_from_numpy(np.array([[1, 4, 3, 2]], np.float32))
        wanted = tritonclient.InferRequestedOutput("scores", class_count=2)
        assert client.infer("classes", [scores], outputs=[wanted]).as_numpy("scores").tolist() == [
            [b"4.000000:1:car", b"3.000000:2:house"]
        ]


def test_the_client_for_asyncio(doors: Doors) -> None:
    async def ask() -> list[list[int]]:
        async with tritonclient_aio.InferenceServerClient(doors.http.removeprefix("http://")) as client:
            found = await client.infer("adder", inputs(True))
            values: list[list[int]] = found.as_numpy("OUTPUT0").tolist()
            return values

    assert asyncio.run(ask()) == (2 * ROW).tolist()
