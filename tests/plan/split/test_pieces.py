"""Pieces: together they compute what the network does, and a folder of them says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.files import place_folder
from edgesight.host.split.pieces import MANIFEST, PIECES, REPOSITORY, Pieces, SplitError
from edgesight.plan.profile import PlanError, Slo
from edgesight.plan.split.pieces import _Cutter, pieces
from edgesight.plan.split.plan import SplitProfile
from edgesight.sim.rtl.runner import ROOT
from tests.split_network import ACCURACY, pictures, profile_of, save_network

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
onnxruntime: Any = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")

ZOO = ROOT / "quant" / "zoo" / "digits"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("network") / "net.onnx")


@pytest.fixture(scope="module")
def profile(network: Path) -> SplitProfile:
    return profile_of(network)


def as_it_is(content: bytes) -> Any:
    """Without further optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def test_every_cut_of_every_exit_equals_the_network_in_one_piece(network: Path, profile: SplitProfile) -> None:
    cutter = _Cutter(network, profile, {})
    every = [(exit_, cut) for exit_, chain in cutter.chains.items() for cut in range(len(chain))]
    cutter.optimise(every)
    taken = list(cutter.graph.inputs)
    whole = as_it_is(cutter._piece(taken, list(ACCURACY)))
    plain = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    given = pictures(3)
    for x in given:  # what is cut is still the network
        for one, other in zip(whole.run(list(ACCURACY), {"x": x}), plain.run(list(ACCURACY), {"x": x}), strict=True):
            assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    assert len(every) > 12
    for exit_, cut in every:
        handed = list(cutter.handed_over(exit_, cut))
        tail = as_it_is(cutter._piece(handed, [exit_]))
        head = as_it_is(cutter._piece(taken, handed)) if cut else None
        for x in given:
            between = head.run(handed, {"x": x}) if head is not None else [x]
            (found,) = tail.run([exit_], dict(zip(handed, between, strict=True)))
            assert np.array_equal(found, whole.run([exit_], {"x": x})[0])


def test_a_brevitas_network_is_cut_with_equal_results(tmp_path: Path) -> None:
    from edgesight.plan.split.join import join
    from edgesight.plan.split.measure import measure_onnx

    file = ZOO / "stage1.onnx"
    here, there = (measure_onnx(file, name, repeats=1) for name in ("pi", "server"))
    (exit_,) = [one.name for one in here.exits]
    cutter = _Cutter(file, join(here, there, {exit_: 0.9}, "projected"), {})
    cutter.optimise([(exit_, cut) for cut in range(len(cutter.chains[exit_]))])
    (name,) = cutter.graph.inputs
    x = np.random.default_rng(0).integers(0, 2, cutter.given[name].shape).astype(cutter.given[name].dtype)
    (expected,) = as_it_is(cutter._piece([name], [exit_])).run([exit_], {name: x})
    for cut in range(1, len(cutter.chains[exit_])):
        handed = list(cutter.handed_over(exit_, cut))
        between = as_it_is(cutter._piece([name], handed)).run(handed, {name: x})
        (found,) = as_it_is(cutter._piece(handed, [exit_])).run([exit_], dict(zip(handed, between, strict=True)))
        assert np.array_equal(found, expected)


def test_the_folder_holds_what_may_be_chosen_and_says_what_it_is(
    network: Path, profile: SplitProfile, tmp_path: Path
) -> None:
    slowest = sum(layer.ms["pi"] for layer in profile.layers)
    files = pieces(network, profile, Slo(latency_ms=slowest * 0.8), 1.0, fall_back=True)
    assert files == pieces(network, profile, Slo(latency_ms=slowest * 0.8), 1.0, fall_back=True)
    place_folder(tmp_path / "pieces", files, PIECES)
    found = Pieces.load(tmp_path / "pieces")
    assert {split.exit for split in found.manifest.splits} >= {"third"}
    away = [split for split in found.manifest.splits if split.tail is not None]
    assert away
    for split in found.manifest.splits:
        assert (split.tail is None) == (split.cut == split.layers)
        assert split.head is not None or split.cut == 0
        assert found.split(split.exit, split.cut) == split
    for split in away:
        folder = tmp_path / "pieces" / REPOSITORY / str(split.tail)
        assert (folder / "1" / "model.onnx").is_file()
        assert "level: 2" in (folder / "config.pbtxt").read_text()
    with pytest.raises(SplitError, match="has no pieces for exit third cut behind 99 layers: make them again"):
        found.split("third", 99)


def test_pieces_that_are_not_what_they_were_are_refused(network: Path, profile: SplitProfile, tmp_path: Path) -> None:
    folder = tmp_path / "pieces"
    place_folder(folder, pieces(network, profile, Slo(latency_ms=1e6), 1.0), PIECES)
    found = Pieces.load(folder)
    (folder / found.here[0]).write_bytes(b"another")
    with pytest.raises(SplitError, match=r"is not the file that split.json lists: make the pieces again"):
        Pieces.load(folder)
    (folder / found.here[0]).unlink()
    with pytest.raises(SplitError, match=r"cannot be read \(No such file"):
        Pieces.load(folder)
    told = json.loads((folder / MANIFEST).read_text())
    for changed, said in (
        ({"format": 2}, "format: Input should be 1"),
        ({"files": {"../x": "0" * 64}}, "files: .*no path inside"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ):
        (folder / MANIFEST).write_text(json.dumps({**told, **changed}))
        with pytest.raises(SplitError, match=said):
            Pieces.load(folder)
    with pytest.raises(SplitError, match="name a folder of `edgesight plan pieces`"):
        Pieces.load(tmp_path)


def test_a_profile_of_another_network_is_refused(network: Path, profile: SplitProfile, tmp_path: Path) -> None:
    other = profile.model_copy(update={"exits": [one.model_copy(update={"name": "fourth"}) for one in profile.exits]})
    with pytest.raises(PlanError, match="has no output 'fourth', which is an exit of profile net: give the network"):
        pieces(network, other, Slo(latency_ms=100.0), 1.0)
    shorter = profile.model_copy(update={"layers": profile.layers[1:]})
    with pytest.raises(PlanError, match="the layers before first are not those of profile net"):
        pieces(network, shorter, Slo(latency_ms=100.0), 1.0)
    with pytest.raises(PlanError, match=r"nothing can be within 0\.0001 ms over a round trip of 1 ms: give more time"):
        pieces(network, profile, Slo(latency_ms=1e-4), 1.0)
