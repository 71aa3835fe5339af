"""A package takes along how its back end takes pictures, as the model card says, if the model bears that out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_package
from edgesight.hls.datacenter import BackEnd, form_of
from edgesight.hls.network import CompileError
from edgesight.hls.zoo import (
    CARD,
    Earlier,
    ZooError,
    backend_input,
    calibrated_as,
    check_files,
    check_same_networks,
    compile_zoo,
    foldings_of,
    read_card,
)
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.files import sha256
from edgesight.host.kernel import BackEndInput, Input
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT
from tests.host.by_hand import calibration
from tests.host.stranger import FORM, LOGITS, save_stranger

DIGITS = ROOT / "quant" / "zoo" / "digits"
FABRIC = Input(height=8, width=8, channels=1)
CHOSEN = FORM.model_copy(update={"outputs": [907, 3, 500, 41, 10, 11, 12, 13, 14, 0]})  # of the digits


def zoo_of(folder: Path, form: Any, stranger: bool = True) -> Path:
    """The zoo folder of the digits, whose card tells `form` of its back end, a stranger's."""
    shutil.copytree(DIGITS, folder)
    card = json.loads((folder / CARD).read_text())
    card["networks"]["backend"]["input"] = form
    if stranger:
        model = save_stranger(folder / "backend.onnx")
        card["networks"]["backend"]["files"]["backend.onnx"]["sha256"] = sha256(model.read_bytes())
    (folder / CARD).write_text(json.dumps(card))
    return folder


def test_the_cards_form_goes_into_the_package_and_its_model_is_served_by_it(tmp_path: Path) -> None:
    zoo = zoo_of(tmp_path / "zoo", CHOSEN.model_dump())
    check_files(zoo, read_card(zoo), 1)
    package = compile_zoo(zoo, tmp_path / "kernel", foldings_of([2_000]))
    assert Package.load(package.path).kernel.backend_input == CHOSEN
    assert OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input).classes == 10
    # What was calibrated with another form of the very same model holds no more.
    known = {**calibration().model_dump(), "curves": [], "targets": []}
    other = package.kernel.model_copy(
        update={
            "backend_input": CHOSEN.model_copy(update={"mean": [0.0] * 3}),
            "calibration": type(calibration()).model_validate(known),
        }
    )
    for refused in (lambda: calibrated_as(package, Earlier(other, None)), lambda: check_same_networks(zoo, other)):
        with pytest.raises(CompileError, match="takes another form of picture than kernel 'kernel': calibrate anew"):
            refused()


def test_without_a_form_the_back_end_takes_the_fabrics_picture() -> None:
    own = BackEnd((DIGITS / "backend.onnx").read_bytes())
    assert form_of(own, FABRIC, 10) == BackEndInput.same_as(FABRIC)
    assert backend_input(read_card(DIGITS)) is None
    assert backend_input({"networks": {}}) is None


def test_a_card_that_tells_the_form_wrongly_is_refused_before_the_work(tmp_path: Path) -> None:
    zoo = zoo_of(tmp_path / "zoo", {**CHOSEN.model_dump(), "layout": "CHWN"}, stranger=False)
    with pytest.raises(ZooError, match=r"field networks\.backend\.input\.layout: .*: mend it"):
        check_files(zoo, read_card(zoo), 1)
    for wrong in ({"mean": [0.0]}, {"outputs": [1, 1]}, {"height": 9_999}, {"colour": "BGR"}):
        with pytest.raises(ZooError, match=r"field networks\.backend\.input"):
            backend_input({"networks": {"backend": {"input": {**CHOSEN.model_dump(), **wrong}}}})


GAINSAID = {
    "classes": ({}, 9, "`outputs` are 10 of its logits, but there are 9 classes: give one for each class"),
    "no outputs": ({"outputs": None}, 10, "it has 1000 logits, but there are 10 classes: state as `outputs` which"),
    "beyond": ({"outputs": [*range(9), LOGITS]}, 10, "1000 is stated among `outputs`"),
    "layout": ({"layout": "NHWC"}, 10, r"NHWC of 224 x 224 pixels and 3 channels is stated, \[\*, 224, 224, 3\]"),
}


@pytest.mark.parametrize("name", GAINSAID)
def test_a_form_that_the_model_gainsays_is_refused(tmp_path: Path, name: str) -> None:
    fields, classes, said = GAINSAID[name]
    form = BackEndInput.model_validate({**CHOSEN.model_dump(), **fields})  # type: ignore[dict-item]
    model = save_stranger(tmp_path / "stranger.onnx").read_bytes()
    with pytest.raises(CompileError, match=rf"does not take the model card's networks\.backend\.input: .*{said}"):
        form_of(BackEnd(model, form), FABRIC, classes)


def test_a_back_end_that_cannot_be_a_back_end_stops_the_compiler_before_the_work(tmp_path: Path) -> None:
    facts = DataSetFacts("digits", "0" * 64, [str(label) for label in range(10)])
    networks = [Network("stage0", DIGITS / "stage0.onnx", Folding(2_000, {}))]
    stranger = save_stranger(tmp_path / "stranger.onnx").read_bytes()
    broken = (DIGITS / "backend.onnx").read_bytes()[:999]
    for model, said in ((broken, "no readable ONNX file"), (stranger, "does not take the fabric's picture: .*float32")):
        with pytest.raises(CompileError, match=said):
            compile_package("any", networks, facts, BackEnd(model), tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()
