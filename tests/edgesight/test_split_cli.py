"""A network is cut, served and asked, by commands alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.split.pieces import MANIFEST, REPOSITORY, Manifest
from edgesight.plan.profile import write
from tests.datacenter_program import started
from tests.edgesight.commands import edgesight, fails, succeeds
from tests.split_network import SHAPE, pictures, profile_of, save_network

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")

COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its profile, inputs and pieces for a deadline that a busy machine keeps."""
    folder = tmp_path_factory.mktemp("split")
    network = save_network(folder / "net.onnx")
    profile = profile_of(network)
    slower = [one.model_copy(update={"ms": {"pi": 1_000.0, "server": 0.1}}) for one in profile.layers]
    write(folder / "profile.json", profile.model_copy(update={"layers": slower}))
    np.save(folder / "x.npy", np.concatenate(pictures(COUNT)))
    needs = ("--deadline-ms", "4500", "--round-trip-ms", "1", "--fall-back")
    told = succeeds("plan", "pieces", network, folder / "profile.json", *needs, "--out", folder / "pieces")
    assert f"edgesight datacenter serve --repository {folder / 'pieces' / REPOSITORY}" in told
    return folder


def test_a_cut_network_answers_between_two_programs_and_here_alone_when_one_is_gone(made: Path) -> None:
    import onnxruntime

    whole = onnxruntime.InferenceSession(str(made / "net.onnx"), providers=["CPUExecutionProvider"])
    given = ("--input", f"x={made / 'x.npy'}", "--json")
    with started("serve", "--repository", made / "pieces" / REPOSITORY, "--grpc", "127.0.0.1:0") as program:
        address = program.at["gRPC"]
        done = edgesight("split", made / "pieces", "--datacenter", address, *given)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["request"] for one in answers] == list(range(COUNT))
    assert f"{COUNT} requests: {COUNT} by the data centre; 0 late" in done.stderr
    for answer, x in zip(answers, pictures(COUNT), strict=True):
        assert (answer["exit"], answer["by"], answer["fault"]) == ("third", "data centre", None)
        assert np.array(answer["output"]) == pytest.approx(whole.run(["third"], {"x": x})[0], rel=1e-4, abs=1e-5)
        assert answer["sent_bytes"] > 0
    done = edgesight("split", made / "pieces", "--datacenter", address, *given)
    assert done.returncode == 0, done.stderr
    alone = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["by"] for one in alone} <= {"device", "rest"}
    assert all(one["output"] is not None and one["exit"] != "third" for one in alone)


def test_a_plan_that_was_made_is_run_as_it_is(made: Path, tmp_path: Path) -> None:
    asked = (made / "profile.json", "--deadline-ms", "4500", "--round-trip-ms", "1")
    succeeds(
        "plan", "split", *asked, "--mbps", "1000", "--exit", "second", "--cut", "1", "--out", tmp_path / "plan.json"
    )
    chosen = ("--plan", tmp_path / "plan.json")
    succeeds("plan", "pieces", made / "net.onnx", *asked, *chosen, "--out", tmp_path / "pieces")
    given = ("--input", f"x={made / 'x.npy'}", "--json", *chosen)
    with started("serve", "--repository", tmp_path / "pieces" / REPOSITORY, "--grpc", "127.0.0.1:0") as program:
        done = edgesight("split", tmp_path / "pieces", "--datacenter", program.at["gRPC"], *given)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["exit"], one["cut"], one["by"]) for one in answers} == {("second", 1, "data centre")}
    fails("has no pieces for exit second cut behind 1 layers", "split", made / "pieces", "--datacenter", "a:1", *given)


def test_an_output_that_is_no_number_is_null(made: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full(SHAPE, np.nan, np.float32))
    given = ("--input", f"x={tmp_path / 'x.npy'}", "--json")
    done = edgesight("split", made / "pieces", "--datacenter", "127.0.0.1:9", *given)
    assert "NaN" not in done.stdout  # which is no JSON
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert set(answer["output"][0]) == {None}


def test_what_is_given_wrongly_is_refused(made: Path, tmp_path: Path) -> None:
    asked = ("split", made / "pieces", "--datacenter", "127.0.0.1:9")
    np.save(tmp_path / "small.npy", np.zeros((2, 3, 8, 8), np.float32))
    fails("--input names y: give one for each of x", *asked, "--input", f"y={tmp_path / 'small.npy'}")
    fails(f"--input x: is [2, 3, 8, 8]; give {list(SHAPE)}, or a row", *asked, "--input", f"x={tmp_path / 'small.npy'}")
    fails("expected HOST:PORT", "split", made / "pieces", "--datacenter", "nobody", "--input", "x=none.npy")
    fails("name a folder of `edgesight plan pieces`", "split", tmp_path, "--datacenter", "a:1", "--input", "x=none.npy")
    fails("client.key: is not there", *asked, "--input", f"x={made / 'x.npy'}", "--keys", tmp_path)


def test_the_pieces_as_json_are_what_the_folder_says(made: Path, tmp_path: Path) -> None:
    arguments = ("plan", "pieces", made / "net.onnx", made / "profile.json", "--deadline-ms", "4500")
    told = succeeds(*arguments, "--out", tmp_path / "pieces", "--json")
    assert Manifest.model_validate_json(told) == Manifest.model_validate_json(
        (tmp_path / "pieces" / MANIFEST).read_bytes()
    )
