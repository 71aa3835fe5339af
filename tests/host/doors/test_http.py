"""The HTTP door as clients see it."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from typing import Any

import httpx
import numpy as np
import pytest

from edgesight.host.doors import v1
from edgesight.host.doors.served import ModelMetadata, TensorForm
from tests.host.doors.conftest import CLIENT, Doors

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ROW = list(range(16))
ADD = {
    "id": "q1",
    "inputs": [
        {"name": "INPUT0", "datatype": "INT32", "shape": [1, 16], "data": [ROW]},
        {"name": "INPUT1", "datatype": "INT32", "shape": [1, 16], "data": ROW},
    ],
}


def binary(inputs: list[tuple[str, str, list[int], bytes]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with binary tensors."""
    told = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in inputs
    ]
    header = json.dumps({"inputs": told, **more}).encode()
    return header + b"".join(raw for *_, raw in inputs), {"Inference-Header-Content-Length": str(len(header))}


def test_health_and_metadata(doors: Doors) -> None:
    with httpx.Client(verify=False, base_url=doors.http) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/").json() == {"status": "alive"}  # what KServe's clients of version 1 look at
        assert client.get("/v2").json()["name"] == "small"
        metadata = client.get("/v2/models/adder").json()
        assert metadata["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
        assert client.get("/v2/models/adder/versions/1").json() == metadata
        assert client.get("/v2/models/adder/ready").json() == {"name": "adder", "ready": True}
        config = client.get("/v2/models/adder/config").json()
        assert config["max_batch_size"] == 8
        assert config["input"][0] == {
            "name": "INPUT0",
            "data_type": "TYPE_INT32",
            "format": "FORMAT_NONE",
            "dims": [16],
        }
        (statistics,) = client.get("/v2/models/adder/versions/1/stats").json()["model_stats"]
        assert statistics["inference_stats"]["success"] == {"count": 2, "ns": 3_000}
        assert [batch["batch_size"] for batch in statistics["batch_stats"]] == [1, 4]
        assert len(client.get("/v2/models/stats").json()["model_stats"]) == 7
        doors.served.is_ready = False
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/health/live").status_code == 200
    assert CLIENT.get(f"{doors.health}/v2/health/live").status_code == 200
    assert CLIENT.get(f"{doors.health}/v2/health/ready").status_code == 503
    assert CLIENT.get(f"{doors.health}/v2").status_code == 404


def test_the_repository(doors: Doors) -> None:
    with httpx.Client(verify=False, base_url=doors.http) as client:
        assert client.post("/v2/repository/models/adder/unload").json() == {}
        assert client.get("/v2/models/adder/ready").status_code == 503
        entries = {entry["name"]: entry for entry in client.post("/v2/repository/index").json()}
        assert entries["adder"] == {"name": "adder", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        assert len(client.post("/v2/repository/index", json={"ready": True}).json()) == len(entries) - 1
        assert client.post("/v2/repository/models/adder/load", json={"parameters": {"a": 1}}).json() == {}
        assert client.get("/v2/models/adder/ready").status_code == 200
        file = client.post("/v2/repository/models/adder/load", json={"parameters": {"file:1/model.onnx": "AAAA"}})
        assert (file.status_code, "from the server's repository" in file.json()["error"]) == (501, True)
        assert client.post("/v2/repository/models/nothing/load").status_code == 404


def test_json_in_and_out(doors: Doors) -> None:
    answer = CLIENT.post(f"{doors.http}/v2/models/adder/infer", json=ADD)
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("q1", "adder", "1")
    assert found["parameters"] == {"stage": 1, "confidence": 0.5}
    assert found["outputs"][0] == {
        "name": "OUTPUT0",
        "datatype": "INT32",
        "shape": [1, 16],
        "data": [2 * value for value in ROW],
    }
    chosen = CLIENT.post(f"{doors.http}/v2/models/adder/infer", json={**ADD, "outputs": [{"name": "OUTPUT1"}]}).json()
    assert [output["name"] for output in chosen["outputs"]] == ["OUTPUT1"]


def test_binary_in_and_out_in_each_mixture(doors: Doors) -> None:
    values = np.arange(16, dtype="<i4")
    inputs = [(name, "INT32", [1, 16], values.tobytes()) for name in ("INPUT0", "INPUT1")]
    outputs = [{"name": "OUTPUT1"}, {"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    body, headers = binary(inputs, outputs=outputs)
    answer = CLIENT.post(f"{doors.http}/v2/models/adder/infer", content=body, headers=headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.content[:length])
    assert head["outputs"][0]["data"] == [0] * 16
    assert head["outputs"][1]["parameters"] == {"binary_data_size": 64}
    assert np.frombuffer(answer.content[length:], "<i4").tolist() == [2 * value for value in ROW]
    body, headers = binary(inputs, parameters={"binary_data_output": True})
    answer = CLIENT.post(f"{doors.http}/v2/models/adder/infer", content=body, headers=headers)
    assert len(answer.content) == int(answer.headers["inference-header-content-length"]) + 128
    body, headers = binary(
        inputs,
        parameters={"binary_data_output": True},
        outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": False}}],
    )
    answer = CLIENT.post(f"{doors.http}/v2/models/adder/infer", content=body, headers=headers)
    assert "inference-header-content-length" not in answer.headers


def test_half_precision_comes_as_binary(doors: Doors) -> None:
    body, headers = binary([("picture", "FP16", [1, 4], bytes(8))])
    answer = CLIENT.post(f"{doors.http}/v2/models/classes/infer", content=body, headers=headers)
    assert (answer.status_code, "no input" in answer.json()["error"]) == (400, True)  # of the model: it takes FP32
    assert doors.served.asked[-1][0].inputs[0].values.dtype == np.float16


def test_a_body_that_is_all_tensor(doors: Doors) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    answer = CLIENT.post(f"{doors.http}/v2/models/texts/infer", content=b"\xff\xd8picture", headers=headers)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.content[length:] == b"\x09\0\0\0erutcip\xd8\xff"
    scores = np.array([1, 2, 3, 4], "<f4").tobytes()
    answer = CLIENT.post(f"{doors.http}/v2/models/classes/infer", content=scores, headers=headers)
    assert answer.content.endswith(scores)
    two = CLIENT.post(f"{doors.http}/v2/models/adder/infer", content=scores, headers=headers)
    assert (two.status_code, "has 2 inputs" in two.json()["error"]) == (400, True)


def test_classification(doors: Doors) -> None:
    asked = {
        "inputs": [{"name": "picture", "datatype": "FP32", "shape": [2, 4], "data": [1, 4, 3, 2, 9, 0, 0, 8]}],
        "outputs": [{"name": "scores", "parameters": {"classification": 2}}],
    }
    (output,) = CLIENT.post(f"{doors.http}/v2/models/classes/infer", json=asked).json()["outputs"]
    assert output["datatype"] == "BYTES"
    assert output["data"] == ["4.000000:1:car", "3.000000:2:house", "9.000000:0:boat", "8.000000:3:tree"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compression_both_ways(doors: Doors, encoding: str) -> None:
    texts = ["long " * 1_000]
    asked = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": texts}]}).encode()
    body = gzip.compress(asked) if encoding == "gzip" else zlib.compress(asked)
    answer = CLIENT.post(
        f"{doors.http}/v2/models/texts/infer",
        content=body,
        headers={"content-encoding": encoding, "accept-encoding": encoding},
    )
    assert answer.headers["content-encoding"] == encoding
    assert int(answer.headers["content-length"]) < 500
    assert answer.json()["outputs"][0]["data"] == [texts[0][::-1]]
    plain = CLIENT.post(
        f"{doors.http}/v2/models/texts/infer", content=asked, headers={"accept-encoding": "gzip;q=0, deflate;q=0, br"}
    )
    assert "content-encoding" not in plain.headers


def test_time_priority_and_trace_reach_what_is_behind(doors: Doors) -> None:
    parameters = {"timeout": 250_000, "priority": 3, "accuracy": "high"}
    answer = CLIENT.post(
        f"{doors.http}/v2/models/adder/versions/1/infer",
        json={**ADD, "parameters": parameters},
        headers={"traceparent": TRACE},
    )
    assert answer.headers["traceparent"] == TRACE  # nobody here records, so the client's own is handed on
    request, caller = doors.served.asked[-1]
    assert (request.timeout, request.version, dict(request.parameters)) == (0.25, "1", parameters)
    assert (caller.name, caller.trace) == ("127.0.0.1", TRACE)
    CLIENT.post(f"{doors.http}/v2/models/adder/infer", json=ADD, headers={"traceparent": "00-garbage"})
    assert doors.served.asked[-1][1].trace is None


def test_version_1_of_the_protocol(doors: Doors) -> None:
    with httpx.Client(verify=False, base_url=doors.http) as client:
        assert "adder" in client.get("/v1/models").json()["models"]
        assert client.get("/v1/models/adder").json() == {"name": "adder", "ready": True}
        rows = client.post("/v1/models/classes:predict", json={"instances": [[1, 2, 3, 4], [5, 6, 7, 8.5]]})
        assert rows.json() == {"predictions": [[1, 2, 3, 4], [5, 6, 7, 8.5]]}
        texts = client.post("/v1/models/texts:predict", json={"instances": ["abc", {"b64": "eHl6"}]})
        assert texts.json() == {"predictions": ["cba", "zyx"]}
        for wrong, said in (
            ({}, "instances must be"),
            ({"instances": []}, "instances must be"),
            ({"instances": "abc"}, "instances must be"),
            ({"instances": [[1, 2], [3]]}, "not every list at depth 2"),
            ({"instances": [{"b64": "!"}]}, "no Base64"),
            ({"instances": [{"b64": "eHl6"}, [1, 2, 3, 4]]}, "is not nested as its shape [2]"),
            ({"instances": [{"nothing": [1]}]}, "has no input 'nothing': it takes picture"),
            ({"instances": [{}]}, "an instance has 0 inputs"),
            ({"instances": [{"picture": [1, 2, 3, 4]}, [1, 2, 3, 4]]}, "instance 1 has not the inputs of instance 0"),
            ({"instances": [{"picture": [{"b65": "eHl6"}]}]}, 'must be {"b64": TEXT}'),
        ):
            refused = client.post("/v1/models/classes:predict", json=wrong)
            assert (refused.status_code, said in refused.json()["error"]) == (400, True), refused.text
        assert "no Base64" in client.post("/v1/models/texts:predict", json={"instances": [{"b64": "!"}]}).text
        several = client.post("/v1/models/adder:predict", json={"instances": [1]})
        assert "an object with INPUT0, INPUT1" in several.json()["error"]
        assert client.post("/v1/models/nothing:predict", json={"instances": [1]}).status_code == 404
        assert client.post("/v1/models/texts:explain", json={}).status_code == 501
        assert client.get("/v1/models/nothing").status_code == 404


def test_version_1_asks_models_of_several_inputs_by_name(doors: Doors) -> None:
    rows = [{"INPUT0": [k] * 16, "INPUT1": [1] * 16} for k in (5, 7)]
    answer = CLIENT.post(f"{doors.http}/v1/models/adder:predict", json={"instances": rows})
    assert answer.json() == {"predictions": [{"OUTPUT0": [k + 1] * 16, "OUTPUT1": [k - 1] * 16} for k in (5, 7)]}
    named = CLIENT.post(f"{doors.http}/v1/models/classes:predict", json={"instances": [{"picture": [1, 2, 3, 4]}]})
    assert named.json() == {"predictions": [[1, 2, 3, 4]]}


@pytest.mark.parametrize(("parameters", "name"), [({}, "pixels"), ({"picture_input": "picture"}, "picture")])
@pytest.mark.parametrize("instance", [{"b64": "eHl6"}, {"pixels": {"b64": "eHl6"}}])
def test_version_1_sends_files_to_models_of_pixels(parameters: dict[str, str], name: str, instance: Any) -> None:
    form = TensorForm("pixels", "UINT8", (-1, 1, 2, 1))
    metadata = ModelMetadata("m", ("1",), "numpy", (form,), (), 8, parameters=parameters)
    (tensor,) = v1.read_request("m", {"instances": [instance] * 2}, metadata).inputs
    assert (tensor.name, tensor.datatype, tensor.values.tolist()) == (name, "BYTES", [b"xyz", b"xyz"])
    (tensor,) = v1.read_request("m", {"instances": [[[[1], [2]]]]}, metadata).inputs
    assert (tensor.name, tensor.datatype, tensor.values.tolist()) == ("pixels", "UINT8", [[[[1], [2]]]])


def test_refusals_have_their_status(doors: Doors) -> None:
    one = {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1]}]}
    with httpx.Client(verify=False, base_url=doors.http) as client:
        busy = client.post("/v2/models/busy/infer", json=one)
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "3")
        assert busy.json() == {"error": "too many ask at a time"}
        fault = client.post("/v2/models/faulty/infer", json=one)
        assert (fault.status_code, "a fault of the model's" in fault.text) == (500, False)
        assert client.get("/v2/models/nothing").status_code == 404
        assert client.get("/nothing").json()["error"].startswith("there is nothing at '/nothing'")
        wrong = client.get("/v2/models/adder/infer")
        assert (wrong.status_code, wrong.json()["error"]) == (405, "GET is not taken here: use POST")
        assert client.post("/v2/models/adder/infer", json={**ADD, "parameters": {"sequence_id": 5}}).status_code == 501
        for path in ("systemsharedmemory/status", "cudasharedmemory/region/a/register", "trace/setting", "logging"):
            refused = client.post(f"/v2/{path}")
            assert (refused.status_code, "not served here" in refused.json()["error"]) == (501, True)


def test_a_client_that_goes_away_cancels_its_request(doors: Doors) -> None:
    one = {"inputs": [{"name": "any", "datatype": "UINT8", "shape": [1], "data": [1]}]}
    with pytest.raises(httpx.ReadTimeout):
        CLIENT.post(f"{doors.http}/v2/models/slow/infer", json=one, timeout=0.3)
    assert doors.served.cancelled.wait(5)


def test_a_connection_is_kept_and_pipelines(doors: Doors) -> None:
    with httpx.Client(verify=False, base_url=doors.http) as client:
        began = time.perf_counter()
        for _ in range(20):
            assert client.post("/v2/models/adder/infer", json=ADD).status_code == 200
        assert time.perf_counter() - began < 20 * 0.04  # no answer waits for an acknowledgement (40 ms)


def test_many_ask_at_once(doors: Doors) -> None:
    found: list[int] = []

    def ask() -> None:
        found.append(CLIENT.post(f"{doors.http}/v2/models/adder/infer", json=ADD, timeout=20).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 20
