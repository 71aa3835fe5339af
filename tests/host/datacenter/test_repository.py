"""A repository is read as Triton reads it, and what cannot be served is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.repository import Repository, check_same, parse
from edgesight.host.doors.served import TensorForm
from tests.host.datacenter.tiny import put

CONFIG = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 16
input [{ name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, -1, 224 ] }]
output [
  { name: "y" data_type: TYPE_STRING dims: [ 10 ] label_filename: "names.txt" },
  { name: "z" data_type: TYPE_BOOL dims: [ 1 ] }
]
instance_group [{ kind: KIND_GPU count: 2 }]
dynamic_batching { preferred_batch_size: [ 4, 8 ] priority_levels: 3 default_priority_level: 2 }
version_policy: { latest: { num_versions: 2 } }
parameters { key: "INTRA_OP_THREAD_COUNT" value: { string_value: "4" } }
"""


def test_a_configuration_is_read() -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    found = parse("m", CONFIG)
    assert (found.backend, found.platform, found.max_batch_size) == ("onnxruntime", "onnxruntime_onnx", 16)
    assert list(found.inputs) == [TensorForm("x", "FP32", (-1, 3, -1, 224))]
    assert list(found.outputs) == [TensorForm("y", "BYTES", (-1, 10)), TensorForm("z", "BOOL", (-1, 1))]
    assert (found.labels, found.labelled, found.latest, found.versions, found.level) == ("names.txt", "y", 2, None, 2)
    assert found.options == {"threads": "4", "device": "cuda"}
    assert parse("m", "").max_batch_size is None
    assert parse("m", "version_policy: { all: {} }").latest == 0
    assert parse("m", "version_policy: { specific: { versions: [ 2, 5 ] } }").versions == (2, 5)


WRONG = {
    "max_batch_size: [": "cannot be read",
    'name: "other"': "calls it 'other': name its folder so",
    'backend: "python"': "its backend is 'python': state one of onnxruntime",
    "sequence_batching { }": "has sequence_batching, which is not supported",
    "ensemble_scheduling { }": "has ensemble_scheduling, which is not supported",
    'input { name: "x" data_type: TYPE_BF16 dims: 1 }': "x is of TYPE_BF16, which is not taken",
    'input { name: "x" data_type: TYPE_FP32 dims: 4 reshape { shape: [ 2, 2 ] } }': "has input.reshape, which is not",
    'input { name: "x" data_type: TYPE_FP32 dims: 4 optional: true }': "has input.optional, which is not supported",
    'output { name: "y" data_type: TYPE_FP32 dims: 4 reshape { shape: [ 4 ] } }': "has output.reshape, which is not",
    "model_transaction_policy { decoupled: true }": "has model_transaction_policy.decoupled, which is not supported",
    'default_model_filename: "best.onnx"': "default_model_filename is 'best.onnx': call the file model.onnx or",
    "max_batch_size: -1": "max_batch_size is -1: state 0 to 65536",
    "max_batch_size: 2000000000": "max_batch_size is 2000000000: state 0 to 65536",
    "version_policy { specific { } }": "its version_policy is `specific`, and names no version: name some",
    'output [{ name: "y" data_type: TYPE_FP32 dims: 4 label_filename: "a" },'
    ' { name: "z" data_type: TYPE_FP32 dims: 4 label_filename: "b" }]': "2 outputs have a label_filename: leave it",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_a_configuration_cannot_say_is_named(text: str) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    with pytest.raises(ModelError, match=WRONG[text]):
        parse("m", text)


def test_what_is_not_read_and_changes_no_answer_is_said(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    parse(
        "m", CONFIG + 'optimization { cuda { graphs: true } } parameters { key: "thread" value { string_value: "4" } }'
    )
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "model m: config.pbtxt has input.format, instance_group.count, dynamic_batching.preferred_batch_size, "
        "dynamic_batching.priority_levels, optimization.cuda, the parameter thread: not read, and left as they are"
    )
    parse("m", 'name: "m" max_batch_size: 4 model_transaction_policy { decoupled: false }')
    assert len(caplog.records) == 1


def test_the_level_of_graph_optimisation_is_onnx_runtimes(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    told = "optimization { graph { level: -1 } }"
    put(tmp_path, "m", b"model", config=told)
    (version,) = Repository(tmp_path).versions("m")
    assert version.recipe.options == {"graph_level": "-1"}
    (tmp_path / "m" / "1" / "model.onnx").rename(tmp_path / "m" / "1" / "model.pt")
    with pytest.raises(ModelError, match=r"graph.level is ONNX Runtime's, and pytorch has none: leave it out"):
        Repository(tmp_path).versions("m")


def test_a_file_that_is_named_is_the_one_that_is_served(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    put(tmp_path, "m", b"model", config='default_model_filename: "model.pt"')
    (tmp_path / "m" / "1" / "model.pt").write_bytes(b"other")
    (version,) = Repository(tmp_path).versions("m")
    assert version.path == tmp_path / "m" / "1" / "model.pt"


@pytest.mark.parametrize("file", ["config.pbtxt", "labels.txt", "form.json", "1/model.onnx"])
def test_a_pipe_in_a_files_place_keeps_nobody_waiting(tmp_path: Path, file: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "m" / file)
    if file != "1/model.onnx":
        put(tmp_path, "m", b"model")
    with pytest.raises(ModelError, match=r"is a pipe|is no file"):
        Repository(tmp_path).versions("m")


def test_a_version_is_there_once_whatever_its_policy_and_folders_say(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    put(tmp_path, "m", b"model", config="version_policy: { specific: { versions: [ 1, 1 ] } }")
    for other in ("01", "\N{ARABIC-INDIC DIGIT ONE}", "9" * 30):
        (tmp_path / "m" / other).mkdir()
    (version,) = Repository(tmp_path).versions("m")
    assert version.number == "1"
    put(tmp_path, "m", b"model", config="version_policy: { all: { } }")
    assert [one.number for one in Repository(tmp_path).versions("m")] == ["1"]


def test_versions_are_found(tmp_path: Path) -> None:
    for version in (1, 2, 10):
        put(tmp_path, "m", b"model", version)
    (tmp_path / "m" / "drafts").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README").write_text("models")
    repository = Repository(tmp_path)
    assert repository.names() == ["m"]
    (newest,) = repository.versions("m")
    assert (newest.number, newest.recipe.kind, newest.bytes) == ("10", "onnxruntime", 5)
    assert repository.versions("m") == [newest]
    check_same(newest)
    put(tmp_path, "m", b"other", 10)
    assert repository.versions("m") != [newest]
    with pytest.raises(ModelError, match="was written to while it was loaded"):
        check_same(newest)


@pytest.mark.parametrize("name", ["..", "m/1", "", "none", "a" * 200, "m\n"])
def test_names_that_lead_elsewhere_are_no_models(tmp_path: Path, name: str) -> None:
    put(tmp_path / "models", "m", b"model")
    with pytest.raises(ModelError, match="is not in the repository"):
        Repository(tmp_path / "models").versions(name)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    repository = Repository(tmp_path)
    (tmp_path / "m").mkdir()
    with pytest.raises(ModelError, match="m has no version: put its file into m/1/"):
        repository.versions("m")
    (tmp_path / "m" / "1").mkdir()
    with pytest.raises(ModelError, match=r"holds no model\.onnx or model\.pt2 or model\.pt: put it there"):
        repository.versions("m")
    put(tmp_path, "m", b"model", config='output { name: "y" data_type: TYPE_FP32 dims: 2 label_filename: "../up" }')
    with pytest.raises(ModelError, match="name a file in the model's own folder"):
        repository.versions("m")
    put(tmp_path, "m", b"model", config="version_policy: { specific: { versions: [ 7 ] } }")
    with pytest.raises(ModelError, match="has no version 7, which its version_policy names"):
        repository.versions("m")
    put(tmp_path, "m", b"model", config='backend: "pytorch"')
    with pytest.raises(ModelError, match=r"holds no model\.pt2 or model\.pt: put it there"):
        repository.versions("m")
    (tmp_path / "m" / "form.json").write_text("{}")
    with pytest.raises(ModelError, match=r"form\.json is no package's `backend_input`"):
        repository.versions("m")
    with pytest.raises(ModelError, match="is no folder"):
        Repository(tmp_path / "none")
