"""Parts of the photographs' bench by themselves, on what is known without training anything."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import tomllib
from PIL import Image
from rich.console import Console

from edgesight.bench.kept import ROOT, Found, Kept, fingerprint, with_imports
from edgesight.bench.photograph import bench, strange
from edgesight.bench.photograph.asked import Asked
from edgesight.bench.photograph.bench import SECTIONS, Section, bench_photograph
from edgesight.bench.photograph.stranger import OUTPUTS, mistakes, objection, pictures_of, statement, stranger
from edgesight.bench.report import Check
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import BackEndInput
from edgesight.host.package import Package
from edgesight.quant import datasets, foreign
from edgesight.quant.splits import Split
from tests.bench.drawn_photographs import CLASSES, SIDE, draw, save_back_end
from tests.edgesight.commands import DIGITS

QUIET = Console(quiet=True)


def drawn(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Photographs uint8 [N, SIDE, SIDE, 3] of drawn classes, and these."""
    files = sorted(draw(folder, test=5).rglob("*.jpg"))
    labels = np.array([CLASSES.index(file.parent.name) for file in files])
    return np.stack([np.asarray(Image.open(file)) for file in files]), labels


def test_a_stranger_answers_as_the_network_that_it_is_made_of(tmp_path: Path) -> None:
    photographs, labels = drawn(tmp_path / "drawn")
    _, file, _, stated = save_back_end(tmp_path, "own", SIDE)
    path, form = Path(file), foreign.load(Path(file), Path(stated)).form
    logits = OnnxModel(path, form).run(photographs)
    assert (logits.argmax(axis=1) == labels).all()
    made, taken = stranger(path.read_bytes(), form, len(CLASSES))
    path.write_bytes(made)
    assert (taken.layout, taken.element, len(taken.outputs or ())) == ("NCHW", "float32", len(CLASSES))
    served = OnnxModel(path, taken)
    assert np.allclose(served.run(photographs), logits, atol=1e-3)
    everything = OnnxModel(path, taken.model_copy(update={"outputs": None})).run(photographs)
    assert everything.shape == (len(photographs), OUTPUTS)
    assert (everything.argmax(axis=1) != np.array(taken.outputs)[labels]).any()  # others are more likely


def test_a_stranger_can_be_made_of_a_network_of_bytes_and_channels_last(tmp_path: Path) -> None:
    form = BackEndInput(height=4, width=4, channels=3, layout="NHWC", element="uint8", mean=[0] * 3, deviation=[1] * 3)
    own = tmp_path / "own.onnx"
    own.write_bytes(means_of_bytes())
    photographs = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)
    logits = OnnxModel(own, form).run(photographs)
    made, taken = stranger(own.read_bytes(), form, 3)
    own.write_bytes(made)
    assert np.array_equal(OnnxModel(own, taken).run(photographs), logits)


def means_of_bytes() -> bytes:
    """A model whose logits are the means of its picture's three channels."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["logits"], axes=[1, 2], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_statement_says_a_form_and_which_output_each_class_is(tmp_path: Path) -> None:
    _, file, _, stated = save_back_end(tmp_path, "own", SIDE)
    _, form = stranger(Path(file).read_bytes(), foreign.load(Path(file), Path(stated)).form, len(CLASSES))
    said = tomllib.loads(statement(form, CLASSES))
    assert list(said["outputs"].items()) == list(zip(CLASSES, form.outputs or (), strict=True))
    assert (said["layout"], said["height"], said["mean"]) == ("NCHW", SIDE, form.mean)
    wrong = mistakes(form)
    assert len({statement(each, CLASSES) for each in (form, *wrong.values())}) == 1 + len(wrong)


def test_a_warning_or_a_refusal_is_an_objection_and_silence_is_none() -> None:
    assert objection(1, "some\nedgesight: at chance\n") == "edgesight: at chance"
    warned = "warning: own.onnx answers 20.0% of 40 calibration pictures rightly; with 0 to 1 it is 90 %"
    assert objection(0, f"warning: few pictures\n{warned}\nwrote backend.onnx\n") == warned
    assert objection(0, "warning: few pictures\nwrote backend.onnx\n") is None


def test_pictures_are_read_evenly_from_folders_and_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strange, "MOST", 4)
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for level in range(10):
            path = tmp_path / "folder" / "below" / f"{level}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (6, 5), 10 * level).save(path)
            file.write(path, path.name)
        file.writestr("README", "no picture")
    for place in (tmp_path / "folder", archive):
        found = strange.pictures_in(place, (3, 4, 3))
        assert found.shape == (4, 3, 4, 3)
        assert found[:, 0, 0, 0].tolist() == [0, 30, 60, 90]


class Bright:
    """Stands in for a kernel's test: a picture is strange where it is brighter than any digit."""

    level, reference = 0.01, np.zeros(300)

    def p_value(self, image: np.ndarray) -> float:
        return 0.001 if image.mean() > 106 else 0.5

    def strange(self, images: np.ndarray) -> np.ndarray:
        return np.array([self.p_value(image) < self.level for image in images])


def test_strange_pictures_of_all_kinds_are_counted_and_odd_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Package.load(DIGITS)
    data = datasets.load("digits")
    for name, level in (("white.png", 255), ("noise.png", 20)):
        Image.new("L", (8, 8), level).save(tmp_path / name)
    monkeypatch.setattr(strange, "novelty_test", lambda package: Bright())
    others = {"inverted": 255 - strange.some(data), "dark ones": np.zeros((4, 8, 8, 1), np.uint8)}
    told = {"bright ones": np.full((4, 8, 8, 1), 200, np.uint8)}
    kernel = strange.Kernel(package, data, ("noise.png", "white.png"), others, told)
    found = strange.measure({"digits": kernel}, tmp_path, QUIET)
    flagged = found.body["digits"]["flagged"]
    assert flagged == {"noise": flagged["noise"], "white": 1.0, "inverted": 1.0, "dark ones": 0.0}
    assert flagged["noise"] > 0.95
    assert found.body["digits"]["told"] == {"bright ones": 1.0}
    assert {name: odd["strange"] for name, odd in found.body["digits"]["odd"].items()} == {
        "noise.png": False,
        "white.png": True,
    }
    met = {check.name.partition(": ")[2]: check.met for check in found.checks}
    assert met == {
        "noise": True,
        "white": True,
        "inverted": True,
        "dark ones": False,
        "its own": True,
        "time": True,
        "odd pictures missed": False,
    }
    monkeypatch.setattr(strange, "novelty_test", lambda package: None)
    (untold,) = strange.measure({"digits": kernel}, None, QUIET).checks
    assert not untold.met


def test_files_of_pictures_are_found_in_folders_and_archives(tmp_path: Path) -> None:
    names = [f"class/{number}.png" for number in range(3)]
    split = Split(np.zeros((3, 1, 1, 1), np.uint8), np.zeros(3, np.int64), tuple(names))
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as file:
        for name in names:
            file.writestr(name, name)
    copied = pictures_of(split, np.array([2, 0]), f"folder:{tmp_path / 'pictures.zip'}", tmp_path / "out")
    assert [path.read_text() for path in copied] == [names[2], names[0]]
    assert pictures_of(split, np.array([1]), f"folder:{tmp_path}", tmp_path / "none") == [tmp_path / names[1]]


def test_what_was_found_is_taken_again_until_what_it_hangs_on_changes(tmp_path: Path) -> None:
    files = with_imports([ROOT / "bench" / "photograph" / "bench.py"])
    assert {ROOT / "sim" / "observe.py", ROOT / "bench" / "commands.py"} <= files
    before = fingerprint(files, "one card")
    assert fingerprint(files, "one card") == before != fingerprint(files, "another")
    Kept(tmp_path, before).write("section", {"value": 1})
    assert Kept(tmp_path, before).read("section") == {"value": 1}
    assert Kept(tmp_path, "other").read("section") is None
    (tmp_path / "section.json").write_text("damaged")
    assert Kept(tmp_path, before).read("section") is None


def test_without_data_every_section_is_skipped_with_its_reason(tmp_path: Path) -> None:
    assert bench_photograph(tmp_path, QUIET, Asked())
    report = (tmp_path / "photograph.json").read_text()
    assert all(f'"{name}": "n' in report for name in SECTIONS)


def test_a_section_that_fails_is_unmet_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def fails(run: object) -> Found:
        raise EdgeSightError("no luck: try again")

    def works(run: object) -> Found:
        runs.append("works")
        return Found({"value": 1}, (Check("works", 1, 1, False, "", "measured"),))

    sections = {"one": Section("fails", fails, lambda asked: None), "two": Section("works", works, lambda asked: None)}
    monkeypatch.setattr(bench, "SECTIONS", sections)
    assert not bench_photograph(tmp_path, QUIET, Asked())
    assert "no luck: try again" in (tmp_path / "photograph.json").read_text()
    assert bench_photograph(tmp_path, QUIET, Asked(), ["two"])
    assert runs == ["works"]  # the second time it is as found before
