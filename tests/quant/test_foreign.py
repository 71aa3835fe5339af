"""A back end of the user's own is taken as it is, and what is said of it is held against pictures."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from edgesight.host.kernel import BackEndInput
from edgesight.quant import datasets, foreign
from edgesight.quant.backends import Answers, Served, Wanted
from edgesight.quant.card import model_card
from edgesight.quant.foreign import Foreign
from edgesight.quant.learn import Course
from edgesight.quant.splits import DataSet, Split
from edgesight.quant.statement import BackEndError, read_statement
from edgesight.quant.train import train_all

SEED = 11
SIDE = 6
COLOURS = ("red", "green", "blue")
IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def coloured(count: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures whose colour is the class, and most of which are bright."""
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 150, (count, SIDE, SIDE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., label] += 60
    return images, labels.astype(np.int64)


@pytest.fixture(scope="module")
def colours() -> DataSet:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)

    def split(name: str, count: int) -> Split:
        return Split(*coloured(count, rng), tuple(f"{name}/{index}" for index in range(count)))

    return DataSet(
        name="colours",
        classes=COLOURS,
        train=split("train", 90),
        calibration=split("calibration", 120),
        test=split("test", 60),
        checksum="colours",
        seed=SEED,
        note="made for tests",
        mirrored=False,
    )


def model_file(
    path: Path,
    *,
    outputs: Sequence[int] = (0, 1, 2),
    count: int = 3,
    layout: str = "NCHW",
    element: str = "float32",
    knee: float | None = None,
    leaning: float = 0.0,
) -> Path:
    """A classifier whose output `outputs[c]` says how much of colour `c` there is.

    With `knee` it sees no values beyond that: then it is blind where they are others than it expects. `leaning` is what
    it adds to the output of the first colour.
    """
    nodes, constants = [], []

    def constant(name: str, values: NDArray[Any]) -> str:
        constants.append(numpy_helper.from_array(values, name))
        return name

    value = "picture"
    if element == "uint8":
        nodes.append(helper.make_node("Cast", [value], ["float"], to=TensorProto.FLOAT))
        value = "float"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [value], ["planar"], perm=[0, 3, 1, 2]))
        value = "planar"
    if knee is not None:
        bounds = constant("low", np.array(-knee, np.float32)), constant("high", np.array(knee, np.float32))
        nodes.append(helper.make_node("Clip", [value, *bounds], ["clipped"]))
        value = "clipped"
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    weight = np.zeros((3, count), np.float32)
    for colour, output in enumerate(outputs):
        weight[colour, output] = 1
    bias = np.where(weight.any(0), 0, -1e4).astype(np.float32)
    bias[outputs[0]] += leaning
    nodes.append(helper.make_node("Gemm", ["flat", constant("weight", weight), constant("bias", bias)], ["answer"]))
    sides: list[Any] = ["N", 3, SIDE, SIDE] if layout == "NCHW" else ["N", SIDE, SIDE, 3]
    kind = TensorProto.FLOAT if element == "float32" else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", kind, sides)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", count])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def statement(path: Path, lines: str = "", *, layout: str = "NCHW", element: str = "float32") -> Path:
    path.write_text(
        f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "{layout}"\nelement = "{element}"\n{lines}\n'
    )
    return path


MEAN = f"mean = {IMAGENET[0]}\ndeviation = {IMAGENET[1]}\n"
PLAIN = "mean = [0, 0, 0]\ndeviation = [1, 1, 1]\n"


def checked(one: Foreign, data: DataSet) -> str:
    """What is said of it, where it is not refused."""
    said = io.StringIO()
    one.check(data, Console(file=said, width=400))
    return said.getvalue()


def test_float_planes_with_a_mean_and_a_thousand_outputs(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", outputs=(610, 3, 999), count=1000, knee=2.0)
    said = statement(tmp_path / "net.toml", MEAN + '[outputs]\ngreen = 3\n"red" = 610\nblue = 999')
    back_end = foreign.load(path, said)
    assert checked(back_end, colours) == ""
    trained = back_end.train(colours, 0, Course(tmp_path / "work"))
    assert trained.module.form.outputs == [610, 3, 999]
    assert trained.test_accuracy[0] > 0.9
    logits = back_end.teach(colours, trained, Course(tmp_path / "work"))
    assert logits.shape == (2, 90, 3)
    assert (logits[0].argmax(1) == colours.train.labels).mean() > 0.9


def test_names_of_all_outputs_say_which_are_the_classes(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", outputs=(2, 0, 3), count=4)
    said = statement(tmp_path / "net.toml", PLAIN + 'outputs = ["green", "cat", "red", "blue"]')
    back_end = foreign.load(path, said)
    assert checked(back_end, colours) == ""
    assert back_end.of(colours).form.outputs == [2, 0, 3]


def test_bytes_by_pixel_need_no_mean(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", layout="NHWC", element="uint8")
    back_end = foreign.load(path, statement(tmp_path / "net.toml", layout="NHWC", element="uint8"))
    assert checked(back_end, colours) == ""
    assert back_end.form == BackEndInput(
        height=SIDE, width=SIDE, channels=3, layout="NHWC", element="uint8", mean=[0.0] * 3, deviation=[1.0] * 3
    )


def test_wrong_preprocessing_is_found_and_named(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", knee=2.0)
    # Bytes as they are lie far beyond what this model sees: all pictures look alike to it.
    with pytest.raises(BackEndError, match=r"who always says the most frequent class.*ImageNet's \(mean") as refused:
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN)), colours)
    assert "its preprocessing or the order of its classes is probably another. With " in str(refused.value)


def test_of_mistakes_that_explain_as_much_the_simpler_is_told_first(
    colours: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [("with one", 0.895), ("with one and another", 0.902), ("with a third", 0.95)]
    monkeypatch.setattr(foreign.Foreign, "_better", lambda *given: iter(found))
    path = model_file(tmp_path / "net.onnx", knee=2.0)
    with pytest.raises(BackEndError, match=r"With a third it .*; with one it .*; with one and another it "):
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN)), colours)


def test_blue_before_red_is_found(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", outputs=(2, 1, 0))
    with pytest.raises(BackEndError, match="blue before red") as refused:
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN)), colours)
    assert "in another order (2, 1, 0 of its outputs)" in str(refused.value)  # which nobody can tell from it


def test_a_usual_mistake_that_leaves_some_accuracy_is_warned_of(colours: DataSet, tmp_path: Path) -> None:
    # Of bytes it sees the colours apart; of values half as large its leaning to red wins as often as not.
    path = model_file(tmp_path / "net.onnx", leaning=30.0)
    halved = "mean = [0, 0, 0]\ndeviation = [2.2, 2.2, 2.2]\n"
    said = checked(foreign.load(path, statement(tmp_path / "net.toml", halved)), colours)
    assert said.startswith("warning: ")
    assert "with bytes as they are (mean 0, deviation 1) it is" in said


def test_another_order_of_classes_is_found(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", outputs=(1, 2, 0))
    with pytest.raises(BackEndError, match=r"in another order \(1, 2, 0 of its outputs\) it is \d+"):
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN)), colours)


def test_what_is_worth_nothing_is_refused_without_a_remedy(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx", outputs=(0, 1, 2))
    model = onnx.load(path)
    for held in model.graph.initializer:
        if held.name == "weight":
            held.CopyFrom(numpy_helper.from_array(np.zeros((3, 3), np.float32), "weight"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BackEndError, match="None of the usual mistakes explains it"):
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN)), colours)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("[outputs]\nred = 0\ngreen = 1", "has no class 'blue'"),
        ("[outputs]\nred = 0\ngreen = 1\nblue = 2\nyellow = 3", "the data has no class 'yellow'"),
        ("[outputs]\nred = 0\ngreen = 1\nblue = 1", "'blue' is an output that another class is, too"),
        ("[outputs]\nred = 0\ngreen = 1\nblue = 77", "77"),
        ('outputs = ["red", "green"]', "has no class 'blue'"),
        ("", "has 4 outputs, and the data 3 classes"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(colours: DataSet, tmp_path: Path, lines: str, told: str) -> None:
    path = model_file(tmp_path / "net.onnx", count=4)
    with pytest.raises(BackEndError, match=told):
        checked(foreign.load(path, statement(tmp_path / "net.toml", PLAIN + lines)), colours)


WAY = 'layout = "NCHW"\nelement = "uint8"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("height = ", "cannot be read"),
        ("height = 6", "width: Field required"),
        (f'height = {SIDE}\nwidth = {SIDE}\nchannels = 2\nlayout = "NCHW"\nelement = "uint8"', "channels"),
        (f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "HWC"\nelement = "uint8"', "layout"),
        (
            f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "NCHW"\nelement = "float32"',
            "no mean and no deviation",
        ),
        (
            f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "NCHW"\nelement = "float32"\n'
            "deviation = [1, 1, 1]",
            "says no mean, and",
        ),
        (
            f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "NCHW"\nelement = "uint8"\nmean = [1, 1, 1]',
            "bytes go",
        ),
        (f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "NCHW"\nelement = "float32"\nmean = [1]', "1 means"),
        (f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\nlayout = "NCHW"\nelement = "uint8"\nscale = 2', "scale"),
        (f"height = {SIDE}\nwidth = {SIDE}\nchannels = 3\n{WAY}outputs = 5", "outputs: expected a number from 0 by"),
        (
            f'height = {SIDE}\nwidth = {SIDE}\nchannels = 3\n{WAY}outputs.red = "3"',
            "outputs: expected a number from 0 by",
        ),
    ],
)
def test_a_statement_that_does_not_say_enough_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = model_file(tmp_path / "net.onnx")
    said = tmp_path / "net.toml"
    said.write_text(text)
    with pytest.raises(BackEndError, match=told) as refused:
        foreign.load(path, said)
    assert "\n" not in str(refused.value).rstrip()


def test_a_statement_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """As some editors write it."""
    said = statement(tmp_path / "net.toml", PLAIN)
    plain = read_statement(said)
    said.write_text(said.read_text(), encoding="utf-8-sig")
    assert read_statement(said) == plain


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    said = statement(tmp_path / "net.toml", PLAIN)
    with pytest.raises(BackEndError, match=r"none\.onnx: cannot be read"):
        foreign.load(tmp_path / "none.onnx", said)
    with pytest.raises(BackEndError, match=r"none\.toml: cannot be read"):
        foreign.load(tmp_path / "none.onnx", tmp_path / "none.toml")


def test_models_that_cannot_be_served_are_refused(colours: DataSet, tmp_path: Path) -> None:
    path = model_file(tmp_path / "net.onnx")
    for kind, said in (
        ({"layout": "NHWC"}, PLAIN),  # the model takes planes
        ({"element": "uint8"}, ""),  # the model takes floats
    ):
        with pytest.raises(BackEndError, match=r"net\.onnx with .*net\.toml: ") as refused:
            checked(foreign.load(path, statement(tmp_path / "net.toml", said, **kind)), colours)
        assert "/tmp/tmp" not in str(refused.value)
    model = onnx.load(path)
    onnx.save(
        model,
        tmp_path / "outside.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
        convert_attribute=False,
    )
    with pytest.raises(BackEndError, match="weights in another file"):
        checked(foreign.load(tmp_path / "outside.onnx", statement(tmp_path / "net.toml", PLAIN)), colours)
    (tmp_path / "none.onnx").write_bytes(b"no model")
    with pytest.raises(BackEndError, match="no model that ONNX Runtime can load"):
        checked(foreign.load(tmp_path / "none.onnx", statement(tmp_path / "net.toml", PLAIN)), colours)


def test_answers_are_asked_for_once(colours: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = model_file(tmp_path / "net.onnx")
    served = foreign.load(path, statement(tmp_path / "net.toml", PLAIN)).of(colours).served
    first = Answers(colours, served, Course(tmp_path / "work")).of("test")
    monkeypatch.setattr(Served, "logits", lambda *_: pytest.fail("it was asked again"))
    assert np.array_equal(Answers(colours, served, Course(tmp_path / "work")).of("test"), first)


def test_training_copies_it_and_the_stages_learn_from_it(
    colours: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataclasses.replace(colours, name="digits")  # so that it has a name that is known
    monkeypatch.setattr(datasets, "load", lambda *_, photograph=None, **__: data)
    path = model_file(tmp_path / "net.onnx", outputs=(3, 1, 2), count=4)
    back_end = foreign.load(path, statement(tmp_path / "net.toml", PLAIN + "[outputs]\nred = 3\ngreen = 1\nblue = 2"))
    console = Console(file=io.StringIO(), width=300)
    course = Course(tmp_path / "work", epochs=1, console=console)
    report = train_all("digits", Wanted(only="backend", backend=back_end), 2, tmp_path / "zoo", course=course)
    assert (report.folder / "backend.onnx").read_bytes() == path.read_bytes()
    card = json.loads((report.folder / "card.json").read_text())
    entry = card["networks"]["backend"]
    assert entry["input"] == back_end.of(data).form.model_dump(mode="json")
    assert entry["network"] == "net.onnx"
    assert entry["macs"] is None
    assert entry["test_accuracy"]["min"] > 0.9
    assert "--backend PATH/net.onnx --backend-input PATH/net.toml" in entry["command"]
    page = model_card(card)
    assert "Nothing of it was trained here" in page
    assert "Of its outputs the classes are 3, 1, 2" in page
