"""A zoo folder is held against its model card before anything is compiled; what makes a poor package is said."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from edgesight.hls.zoo import CARD, ZOO, ZooError, check_files, read_card, stages_in, warnings
from edgesight.host.files import OutputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "quant" / "zoo" / "fashion-mnist", tmp_path / "zoo")
    return tmp_path / "zoo"


def with_card(zoo: Path, **shares: float) -> dict[str, Any]:
    """The card with calibration accuracies by network."""
    card = read_card(zoo)
    for name, share in shares.items():
        card["networks"][name]["calibration_accuracy"]["by_seed"][0] = share
    return card


@pytest.mark.parametrize("name", ["fashion-mnist", "fashion-mnist-steep", "digits"])
def test_the_shipped_zoos_are_what_their_cards_say(name: str) -> None:
    folder = ROOT / "quant" / "zoo" / name
    check_files(folder, read_card(folder), 2)


@pytest.mark.parametrize("name", ["stage0", "stage1", "backend"])
def test_a_network_that_is_missing_is_named_with_the_command(zoo: Path, name: str) -> None:
    (zoo / f"{name}.onnx").unlink()
    with pytest.raises(ZooError, match=rf"{name}\.onnx: is missing .* `edgesight train DATASET --variant {name}`"):
        check_files(zoo, read_card(zoo), 2)


def test_a_swapped_network_is_named_with_whose_it_is(zoo: Path) -> None:
    shutil.copy(zoo / "stage0.onnx", zoo / "stage1.onnx")
    with pytest.raises(ZooError, match=r"stage1\.onnx: is not the file that card\.json describes .* it is stage0's"):
        check_files(zoo, read_card(zoo), 2)
    (zoo / "stage1.onnx").write_bytes(b"another")
    with pytest.raises(ZooError, match=r"stage1\.onnx: is not the file .* it has sha256"):
        check_files(zoo, read_card(zoo), 2)


def test_a_zoo_without_a_back_end_is_compiled_with_a_warning(zoo: Path) -> None:
    card = read_card(zoo)
    del card["networks"]["backend"]
    (zoo / "backend.onnx").unlink()
    check_files(zoo, card, 2)
    assert any("has no backend.onnx, so that the package offloads nothing" in line for line in warnings(zoo, card))


def test_a_network_that_is_no_better_than_the_one_before_is_named(zoo: Path) -> None:
    assert warnings(zoo, with_card(zoo, stage0=0.78, stage1=0.80, backend=0.9)) == []
    (said,) = warnings(zoo, with_card(zoo, stage0=0.784, stage1=0.780, backend=0.9))
    assert said.startswith("stage1 is no better than stage0 (78.0% against 78.4% of the calibration split)")


def test_a_gain_within_its_confidence_is_named_and_a_small_proved_one_is_not(zoo: Path) -> None:
    card = with_card(zoo, stage0=0.780, stage1=0.784, backend=0.9)
    card["networks"]["stage1"]["gain"] = {"over": "stage0", "low": -0.007, "high": 0.015, "proved": False}
    (said,) = warnings(zoo, card)
    assert said.startswith("stage1 is no better than stage0 (78.4% against 78.0% of the calibration split; the gain is")
    assert "-0.7% to +1.5%" in said
    assert "leave it out" in said
    card["networks"]["stage1"]["gain"]["proved"] = True
    assert warnings(zoo, card) == []


@pytest.fixture
def zoo_of_exits(zoo: Path) -> Path:
    """A zoo folder whose stages are the three exits of one network."""
    card = read_card(zoo)
    stage0 = card["networks"].pop("stage0")
    del card["networks"]["stage1"]
    for left in zoo.glob("stage*"):
        left.unlink()
    write_exits(zoo, 3)
    exits = [{"calibration_accuracy": {"by_seed": [share]}} for share in (0.7, 0.8, 0.8)]
    file = {"bytes": 1, "sha256": hashlib.sha256((zoo / "exits.onnx").read_bytes()).hexdigest()}
    card["networks"]["exits"] = stage0 | {"exits": exits, "files": {"exits.onnx": file}}
    (zoo / CARD).write_text(json.dumps(card))
    return zoo


def write_exits(zoo: Path, count: int) -> None:
    """An `exits.onnx` with so many outputs, which nothing runs."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 4, 4])
    outputs = [helper.make_tensor_value_info(f"exit{k}", TensorProto.FLOAT, [1, 1, 4, 4]) for k in range(count)]
    nodes = [helper.make_node("Identity", ["image"], [output.name]) for output in outputs]
    graph = helper.make_graph(nodes, "network", [image], outputs)
    (zoo / "exits.onnx").write_bytes(helper.make_model(graph).SerializeToString())


def test_the_exits_of_one_network_are_the_stages_of_a_zoo(zoo_of_exits: Path) -> None:
    card = read_card(zoo_of_exits)
    assert stages_in(zoo_of_exits, card) == 3
    check_files(zoo_of_exits, card, 3)
    (said,) = warnings(zoo_of_exits, card)
    assert said.startswith("stage2 is no better than stage1 (80.0% against 80.0% of the calibration split)")
    ZOO.check_folder(zoo_of_exits)
    for name in (CARD, "README.md"):
        (zoo_of_exits / name).unlink()
    with pytest.raises(OutputError, match=r"holds exits\.onnx and no card\.json"):
        ZOO.check_folder(zoo_of_exits)


def test_every_exit_takes_a_budget_of_cycles(zoo_of_exits: Path) -> None:
    with pytest.raises(ZooError, match=r"exits\.onnx: has 3 exits, .* give --cycles 3 numbers, not 2"):
        check_files(zoo_of_exits, read_card(zoo_of_exits), 2)


def test_a_zoo_has_a_network_with_exits_or_networks_without(zoo_of_exits: Path) -> None:
    (zoo_of_exits / "stage1.onnx").write_bytes(b"another")
    with pytest.raises(ZooError, match=r"holds exits\.onnx and stage1\.onnx, .* move the other to another folder"):
        check_files(zoo_of_exits, read_card(zoo_of_exits), 3)


def test_exits_that_are_missing_or_no_such_file_are_named(zoo_of_exits: Path) -> None:
    card = read_card(zoo_of_exits)
    write_exits(zoo_of_exits, 1)
    with pytest.raises(ZooError, match=r"exits\.onnx: has 1 outputs, expected 2 to 4, one for each exit"):
        check_files(zoo_of_exits, card, 3)
    write_exits(zoo_of_exits, 3)
    (zoo_of_exits / "exits.onnx").write_bytes((zoo_of_exits / "exits.onnx").read_bytes()[:-3])
    with pytest.raises(ZooError, match=r"exits\.onnx: no readable ONNX file .* train it again"):
        check_files(zoo_of_exits, card, 3)
    (zoo_of_exits / "exits.onnx").unlink()
    with pytest.raises(
        ZooError, match=r"exits\.onnx: is missing .* `edgesight train DATASET --exits FILE\.py:CALLABLE`"
    ):
        check_files(zoo_of_exits, card, 3)


def test_only_a_zoo_is_trained_into(zoo: Path, tmp_path: Path) -> None:
    ZOO.check_folder(zoo)
    (zoo / CARD).unlink()
    with pytest.raises(OutputError, match=r"it holds README\.md and no card\.json"):
        ZOO.check_folder(zoo)
    (zoo / CARD).write_text(json.dumps({"ace": "of spades"}))
    with pytest.raises(OutputError, match=r"its card\.json is no model card"):
        ZOO.check_folder(zoo)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda zoo: (zoo / "stage1.onnx").unlink(), "stage1.onnx: is missing"),
        (lambda zoo: shutil.copy(zoo / "stage0.onnx", zoo / "stage1.onnx"), "it is stage0's"),
        (lambda zoo: (zoo / CARD).write_text("{"), "no readable model card"),
    ],
)
def test_compile_says_it_in_one_line_and_writes_nothing(zoo: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(zoo)
    command = [sys.executable, "-m", "edgesight", "compile", str(zoo), "--out", str(tmp_path / "kernel"), "--no-csim"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "kernel").exists()


def test_cycles_out_of_reach_are_said_with_the_layer(tmp_path: Path) -> None:
    zoo = ROOT / "quant" / "zoo" / "digits"
    command = [sys.executable, "-m", "edgesight", "compile", str(zoo), "--out", str(tmp_path / "kernel"), "--no-csim"]
    done = subprocess.run(
        [*command, "--cycles", "10,1000"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (
        "warning: stage0: 10 cycles a frame are out of reach: layer conv1 (node_conv2d), which takes 64" in done.stderr
    )
    assert "stage1:" not in done.stderr
