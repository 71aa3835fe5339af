"""A user's own network is trained, exported and carded as the shipped ones are; what cannot be is said at once."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from edgesight.hls import zoo
from edgesight.quant import datasets, export, learn, own, train
from edgesight.quant.answers import as_input, infer, infer_exits
from edgesight.quant.backends import Wanted
from edgesight.quant.card import measured_of, write_card
from edgesight.quant.export import ExportError
from edgesight.quant.learn import Course
from edgesight.quant.networks import FAMILIES, SHIPPED
from edgesight.quant.own import Own, OwnNetworkError
from edgesight.quant.recipe import TrainingError
from edgesight.quant.splits import DataSet, Split

SEED = 3
HEAD = """
import brevitas.nn as qnn
import torch
from torch import nn
"""
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "my_networks.py"
SMALL = (
    HEAD
    + """
def small(shape, classes):
    height, width, channels = shape
    return nn.Sequential(
        qnn.QuantConv2d(channels, 8, 3, weight_bit_width=4, bias=False),
        nn.BatchNorm2d(8),
        qnn.QuantReLU(bit_width=4),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(8 * (height // 2 - 1) * (width // 2 - 1), classes, bias=True, weight_bit_width=4),
    )
"""
)
TWIN = (
    SMALL
    + """
def small_float(shape, classes):
    height, width, channels = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * (height // 2 - 1) * (width // 2 - 1), classes),
    )
"""
)


def written(folder: Path, text: str) -> Path:
    path = folder / "my_networks.py"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str, place: str = "stage0") -> Own:
    return own.load(f"{written(folder, text)}:small", place)


@pytest.mark.parametrize("text", [SMALL, TWIN], ids=["from scratch", "after its float twin"])
def test_an_own_network_learns_the_bars_and_its_qonnx_answers_alike(bars: DataSet, tmp_path: Path, text: str) -> None:
    print(f"seed {SEED}")
    network = loaded(tmp_path, text)
    with learn.deterministic(SEED):
        network.check(bars.shape, 3)
    trained = learn.train(bars, network, SEED, course=Course(tmp_path / "work", epochs=4))
    (accuracy,) = trained.test_accuracy
    assert accuracy >= 0.9
    assert (trained.float_test_accuracy is None) == (text == SMALL)
    found = train.write_network(bars, trained, tmp_path / "zoo")
    assert found.agreement is not None
    assert [path.name for path in found.files] == ["stage0.npz", "stage0.onnx"]
    (logits,) = export.qonnx_logits(tmp_path / "zoo" / "stage0.onnx", bars.test.images)
    assert (logits.argmax(1) == bars.test.labels).mean() == pytest.approx(accuracy, abs=0.02)


def test_the_state_dict_beside_it_gives_the_network_back(bars: DataSet, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    network = loaded(tmp_path, SMALL)
    trained = learn.train(bars, network, SEED, course=Course(tmp_path / "work", epochs=1))
    train.write_network(bars, trained, tmp_path / "zoo")
    again = network.quantised(None, bars.shape, 3, bars.train.images[:1])
    inner = again.get_submodule("network")
    with np.load(tmp_path / "zoo" / "stage0.npz", allow_pickle=False) as held:
        inner.load_state_dict({name: torch.from_numpy(held[name]) for name in held.files})
    images = bars.test.images
    assert np.array_equal(infer(again.eval(), images), infer(trained.module, images))


def test_a_changed_file_is_another_training(bars: DataSet, tmp_path: Path) -> None:
    learn.train(bars, loaded(tmp_path, SMALL), SEED, course=Course(tmp_path / "work", epochs=1))
    kept = {path: path.read_bytes() for path in (tmp_path / "work").rglob("*.pt")}
    changed = loaded(tmp_path, SMALL.replace("bit_width=4", "bit_width=3"))
    learn.train(bars, changed, SEED, course=Course(tmp_path / "work", epochs=1))
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list((tmp_path / "work").rglob("*.pt"))) == 2 * len(kept) == 4


def test_a_cascade_of_own_and_shipped_stages_is_told_by_the_card(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    stages = own.named([f"{path}:small", "shipped", f"{path}:small", None])
    assert [(network.name, network.origin) for network in stages] == [
        ("stage0", "my_networks.py:small"),
        ("stage1", "shipped"),
        ("stage2", "my_networks.py:small"),
    ]
    console = Console(file=io.StringIO(), width=200)
    course = Course(tmp_path / "work", epochs=1, quick=True, console=console)
    train.train_all("digits", Wanted(tuple(stages[:1])), 1, tmp_path / "zoo", course=course)
    card = json.loads((tmp_path / "zoo" / "card.json").read_text(encoding="utf-8"))
    entry = card["networks"]["stage0"]
    assert list(card["networks"]) == ["stage0", "backend"]
    assert entry["network"] == "my_networks.py:small"
    assert entry["command"] == "edgesight train digits --stage0 my_networks.py:small --seeds 1 --quick"
    assert list(entry["recipes"]) == ["scratch", "quantised"]
    # 8x8 digits: 6x6 places of 3x3x8 products, then 3x3x8 inputs of 10 classes.
    assert (entry["parameters"], entry["macs"]) == (72 + 720 + 10, 36 * 72 + 720)
    assert (entry["weight_bits"], entry["activation_bits"]) == (4, "4 to 8")
    assert entry["float_test_accuracy"] is None
    assert card["networks"]["backend"]["gain"]["over"] == "stage0"
    assert "stage0 is `my_networks.py:small`" in (tmp_path / "zoo" / "README.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in json.dumps(card), "no path of this machine"


@pytest.mark.parametrize(("name", "place"), [("small", "stage0"), ("large", "stage1"), ("Trunk", "exits")])
def test_the_networks_of_the_documentation_can_be_trained(name: str, place: str) -> None:
    network = own.load(f"{EXAMPLE}:{name}", place)
    assert network.phases[0] == ("float" if name == "large" else "scratch")
    for shape, classes in (((8, 8, 1), 10), ((13, 12, 3), 4)):
        with learn.deterministic(SEED):
            network.check(shape, classes)


def test_exits_learn_together_and_are_exported_in_order(bars: DataSet, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    network = own.load(f"{EXAMPLE}:Trunk", "exits")
    trained = learn.train(bars, network, SEED, course=Course(tmp_path / "work", epochs=4))
    assert len(trained.test_accuracy) == len(trained.calibration_right) == 2
    assert min(trained.test_accuracy) >= 0.9
    found = train.write_network(bars, trained, tmp_path / "zoo")
    assert [path.name for path in found.files] == ["exits.npz", "exits.onnx"]
    images = bars.test.images[:20]
    exported = export.qonnx_logits(tmp_path / "zoo" / "exits.onnx", images)
    asked = infer_exits(trained.module, images)
    assert exported.shape == (2, 20, 3)
    assert np.array_equal(exported.argmax(2), asked.argmax(2))
    np.testing.assert_allclose(exported, asked, rtol=1e-4, atol=1e-4)
    assert not np.allclose(asked[0], asked[1], atol=0.1), "the exits say different things"


def test_the_card_tells_how_photographs_were_varied(bars: DataSet, tmp_path: Path) -> None:
    def framed(split: Split) -> Split:
        return Split(np.pad(split.images, ((0, 0), (2, 2), (2, 2), (0, 0))), split.labels, split.ids)

    train_, calibration, test = (framed(split) for split in (bars.train, bars.calibration, bars.test))
    data = dataclasses.replace(bars, photographs=True, train=train_, calibration=calibration, test=test)
    trained = learn.train(data, loaded(tmp_path, SMALL), SEED, course=Course(tmp_path / "work", epochs=1))
    written_ = train.write_network(data, trained, tmp_path / "zoo")
    write_card(data, [measured_of(data, [trained], written_)], "edgesight train", tmp_path / "zoo")
    card = json.loads((tmp_path / "zoo" / "card.json").read_text(encoding="utf-8"))
    recipe = card["networks"]["stage0"]["recipes"]["scratch"]
    assert (recipe["shift"], recipe["turn"], recipe["zoom"], recipe["light"]) == (1, 10.0, 0.1, 0.4)


def test_the_card_of_a_network_with_exits_tells_of_each_as_a_stage(tmp_path: Path) -> None:
    network = own.load(f"{EXAMPLE}:Trunk", "exits")
    console = Console(file=io.StringIO(), width=200)
    course = Course(tmp_path / "work", epochs=1, quick=True, console=console)
    report = train.train_all("digits", Wanted((network,)), 1, tmp_path / "zoo", course=course)
    assert [one.variant for one in report.networks] == ["backend", "stage0", "stage1"]
    card = json.loads((tmp_path / "zoo" / "card.json").read_text(encoding="utf-8"))
    page = (tmp_path / "zoo" / "README.md").read_text(encoding="utf-8")
    entry = card["networks"]["exits"]
    assert list(card["networks"]) == ["exits", "backend"]
    assert entry["command"] == "edgesight train digits --exits my_networks.py:Trunk --seeds 1 --quick"
    assert set(entry["files"]) == {"exits.npz", "exits.onnx"}
    assert [recipe["epochs"] for recipe in entry["recipes"].values()] == [1, 1], "as trained, not as the recipe says"
    for told, one in zip(entry["exits"], report.networks[1:], strict=True):
        assert told["test_accuracy"]["by_seed"] == [round(one.test_accuracy[0], 6)]
        assert f"| {one.variant} | 4, " in page
    assert entry["exits"][1]["gain"]["over"] == "stage0"
    assert card["networks"]["backend"]["gain"]["over"] == "stage1"
    assert "trained together, for the sum of their losses" in page
    assert zoo.stages_in(tmp_path / "zoo", card) == 2
    zoo.check_files(tmp_path / "zoo", card, 2)

    before = {path: path.read_bytes() for path in (tmp_path / "zoo").iterdir()}
    with pytest.raises(TrainingError, match="holds exits, and a cascade is of stages or of one network's exits: name"):
        train.train_all("digits", Wanted(), 1, tmp_path / "zoo", course=course)
    assert {path: path.read_bytes() for path in (tmp_path / "zoo").iterdir()} == before


def test_exits_do_not_join_stages(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    data = {"name": "digits", "checksum": datasets.load("digits").checksum}
    card = {"data_set": data, "networks": {"stage0": {"command": "--quick"}, "backend": {"command": "--quick"}}}
    (tmp_path / "zoo" / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(TrainingError, match="holds stage0, and a cascade is of stages or of one network's exits: name"):
        train.train_all("digits", Wanted((own.load(f"{EXAMPLE}:Trunk", "exits"),)), 1, tmp_path / "zoo")


def test_an_export_that_answers_otherwise_is_not_written(
    bars: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = learn.train(bars, loaded(tmp_path, SMALL), SEED, course=Course(tmp_path / "work", epochs=1))
    asked = infer_exits(trained.module, bars.test.images[:32])
    worst = asked.argmin(2)
    for others in (2, 3):
        answered = asked.copy()
        answered[0, range(others), worst[0, :others]] += 100
        monkeypatch.setattr(train, "qonnx_logits", lambda path, images, answered=answered: answered)
        if others == 2:
            assert "the same class as Brevitas on 30 of 32 test images; 2 have logits that differ" in str(
                train.write_network(bars, trained, tmp_path / "zoo").agreement
            )
        else:
            with pytest.raises(ExportError, match=r"stage0\.onnx: answers differently from Brevitas on 3 of 32"):
                train.write_network(bars, trained, tmp_path / "others")
    assert not (tmp_path / "others").exists()


def test_nothing_named_is_the_shipped_cascade_and_no_place_is_left_out(tmp_path: Path) -> None:
    assert own.named([None, None, None, None]) == [SHIPPED["stage0"], SHIPPED["stage1"]]
    with pytest.raises(OwnNetworkError, match="--stage1: there is no --stage0 before it"):
        own.named([None, "shipped", None, None])
    with pytest.raises(OwnNetworkError, match="--stage2 shipped: only stage0 and stage1 are shipped"):
        own.named(["shipped", "shipped", "shipped", None])
    assert own.named(["steep", "steep", None, None]) == [FAMILIES["steep"]["stage0"], FAMILIES["steep"]["stage1"]]
    with pytest.raises(OwnNetworkError, match="--stage2 steep: only stage0 and stage1 are steep"):
        own.named(["steep", "steep", "steep", None])
    with pytest.raises(OwnNetworkError, match=r"--exits a\.py:b: its exits are all of the cascade's stages; leave"):
        own.named(["shipped", "shipped", None, None], "a.py:b")
    with pytest.raises(
        OwnNetworkError, match=r"--exits shipped: name FILE\.py:CALLABLE, such as my_networks\.py:small$"
    ):
        own.named([None], "shipped")


def test_bytes_come_in_whatever_a_network_makes_of_them(tmp_path: Path) -> None:
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    values = as_input(torch.from_numpy(images))
    with_own = SMALL.replace("nn.Sequential(\n", "nn.Sequential(\n        qnn.QuantIdentity(bit_width=5),\n", 1)
    for text in (SMALL, with_own):
        module = loaded(tmp_path, text).quantised(None, (8, 8, 1), 3, images)
        assert torch.equal(module.get_submodule("input")(values), values)
        export.export_qonnx(module, (8, 8, 1), tmp_path / "network.onnx")
        graph = onnx.load(tmp_path / "network.onnx").graph
        (first,) = [node for node in graph.node if graph.input[0].name in node.input]
        (scale,) = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.name == first.input[1]]
        assert (first.op_type, float(scale)) == ("Quant", 1 / 256)


@pytest.mark.parametrize(
    ("said", "text", "error"),
    [
        ("my_networks.py", SMALL, r"name FILE\.py:CALLABLE, such as my_networks\.py:small, or shipped or steep"),
        ("none.py:small", SMALL, r"none\.py cannot be read \(No such file or directory\); name a Python file"),
        ("~nobody_of_that_name/n.py:small", SMALL, r"cannot be read \(No such file or directory\); name a"),
        (
            "my_networks.py:large",
            f"from pathlib import Path\n{SMALL}\nclass Last: ...\n",
            r"has no 'large'; name what it has: small, Last$",
        ),
        (
            "my_networks.py:small",
            "small = 3",
            r"small is an int, which cannot be called; expected small\(shape, classes\)",
        ),
        ("my_networks.py:small", "import nothing_there", r"raises ModuleNotFoundError at line 1 \(No module named"),
        ("my_networks.py:small", "def small(:", r"raises SyntaxError at line 1"),
        ("my_networks.py:small", "raise SystemExit(3)", r"raises SystemExit at line 1 \(3\)"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, text: str, error: str
) -> None:
    written(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OwnNetworkError, match=error) as raised:
        own.named([said, None, None, None])
    assert str(raised.value).startswith(f"--stage0 {said}: ")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["my_networks.py"], "no byte code is left beside it"


BODY = HEAD + "def small(shape, classes):\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (BODY + "    return 3", r"small: returned an int; let it return a torch\.nn\.Module"),
        (BODY + "    return 1 / 0", r"small: raises ZeroDivisionError at line 6 for images \(8, 8, 1\) and 10 classes"),
        (
            BODY + "    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))",
            r"layer 1: Linear has weights that are not quantised; use brevitas\.nn\.QuantLinear",
        ),
        (BODY + "    return nn.Sequential(nn.Flatten())", r"has no Brevitas layer with weights; build it"),
        (
            BODY + "    return nn.Sequential(nn.Flatten(), qnn.QuantLinear(64, classes, bias=True, weight_quant=None))",
            r"layer 1: its weights are floating-point; give it a weight_quant",
        ),
        (
            BODY + "    return nn.Sequential(nn.Flatten(), qnn.QuantLinear(64, 7, bias=True))",
            r"gave \[2, 7\] for 2 pictures; let it return logits \[2, 10\]",
        ),
        (
            BODY + "    return nn.Sequential(nn.Flatten(), qnn.QuantLinear(65, classes, bias=True))",
            r"raises RuntimeError for float pictures \[2, 1, 8, 8\]",
        ),
        (
            TWIN.replace("nn.Conv2d(channels, 8, 3, bias=False)", "nn.Conv2d(channels, 8, 3)"),
            r"small_float: small has no 0\.bias; give both the same names and shapes",
        ),
        (
            TWIN.replace(
                "nn.Conv2d(channels, 8, 3, bias=False)", "nn.Conv2d(channels, 8, 3, bias=False, groups=channels)"
            ).replace("nn.Flatten(),\n        nn.Linear(8 *", "nn.Flatten(),\n        nn.Linear(4 + 8 *"),
            r"small_float: (raises RuntimeError|its parameters do not fit)",
        ),
    ],
    ids=[
        "a number",
        "raises",
        "plain layer",
        "no weights",
        "float weights",
        "classes",
        "shape",
        "twin's names",
        "twin",
    ],
)
def test_what_cannot_be_trained_is_refused_before_training(tmp_path: Path, text: str, error: str) -> None:
    network = loaded(tmp_path, text)
    with pytest.raises(OwnNetworkError, match=error) as raised, learn.deterministic(0):
        network.check((8, 8, 1), 10)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "output", "error"),
    [
        (
            "stage0",
            "x, x",
            r"gave a tuple of \[2, 10\], \[2, 10\] for 2 pictures; .* name a network with exits by --exits",
        ),
        (
            "exits",
            "x",
            r"gave \[2, 10\] for 2 pictures; let it return a tuple of logits \[2, 10\], one for each of 2 to 4",
        ),
        ("exits", "[x]", r"gave a tuple of \[2, 10\] for 2 pictures; let it return a tuple"),
        (
            "exits",
            "[x] * 5",
            r"for 2 pictures; let it return a tuple of logits \[2, 10\], one for each of 2 to 4 exits",
        ),
        ("exits", "x, x[:, :9]", r"gave a tuple of \[2, 10\], \[2, 9\] for 2 pictures"),
        ("exits", "x, None", r"gave a tuple of \[2, 10\], None for 2 pictures"),
        ("stage0", "{'logits': x}", r"gave a dict for 2 pictures; let it return logits \[2, 10\]$"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(tmp_path: Path, place: str, output: str, error: str) -> None:
    text = f"""{HEAD}
class small(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.dense = qnn.QuantLinear(64, classes, bias=True)
    def forward(self, image):
        x = self.dense(image.flatten(1))
        return {output}
"""
    with pytest.raises(OwnNetworkError, match=error) as raised, learn.deterministic(0):
        loaded(tmp_path, text, place).check((8, 8, 1), 10)
    assert "\n" not in str(raised.value)


def test_a_refused_network_leaves_nothing(tmp_path: Path) -> None:
    network = loaded(tmp_path, BODY + "    return 3")
    with pytest.raises(OwnNetworkError):
        train.train_all("digits", Wanted((network,)), 1, tmp_path / "zoo", course=Course(tmp_path / "work", quick=True))
    assert [path.name for path in tmp_path.iterdir()] == ["my_networks.py"]


def test_dataclasses_in_the_file_work(tmp_path: Path) -> None:
    text = "from __future__ import annotations\nimport dataclasses\n" + SMALL
    text += "\n@dataclasses.dataclass\nclass Sizes:\n    filters: int = 3\n"
    assert dataclasses.is_dataclass(loaded(tmp_path, text).make.__globals__["Sizes"])
