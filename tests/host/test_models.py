"""A model is served when it has the interface and the checksum, and otherwise named with its fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.models import OnnxModel, as_taken
from edgesight.host.files import sha256
from edgesight.host.kernel import BackEndInput
from tests.host.by_hand import CLASSES, SHAPE, random_images, save_onnx, sums
from tests.host.stranger import FORM, LOGITS, NAMED, SIDE, clear_photographs, logits_of, save_stranger

BYTES = {"element": "uint8", "mean": [0.0] * 3, "deviation": [1.0] * 3}


def test_a_model_gives_the_logits_of_a_batch(backend: Path) -> None:
    model = OnnxModel(backend, None, sha256(backend.read_bytes()))
    assert (model.input_shape, model.classes) == (SHAPE, CLASSES)
    images = random_images(5)
    assert np.array_equal(model.run(images), -sums(images, 1).astype(np.float32))


def test_another_model_than_the_calibrated_one_is_refused(backend: Path) -> None:
    with pytest.raises(ModelError, match="calibrated with 111111111111"):
        OnnxModel(backend, None, "1" * 64)


def test_files_that_are_no_such_model_are_named(tmp_path: Path, backend: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx cannot be read"):
        OnnxModel(tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(backend.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"broken\.onnx is no model"):
        OnnxModel(broken)
    save_onnx(tmp_path / "named.onnx", "pixels", np.zeros((784, CLASSES), np.float32))
    with pytest.raises(ModelError, match="expected one, image"):
        OnnxModel(tmp_path / "named.onnx")
    save_onnx(tmp_path / "shaped.onnx", "image", np.zeros((785, CLASSES), np.float32))
    with pytest.raises(ModelError, match=r"shaped\.onnx is no model"):
        OnnxModel(tmp_path / "shaped.onnx")
    save_onnx(tmp_path / "single.onnx", "image", np.zeros((784, 1), np.float32))
    with pytest.raises(ModelError, match=r"have shape \[1, 1\], expected \[1, classes\]"):
        OnnxModel(tmp_path / "single.onnx")


def test_weights_in_another_file_are_refused_wherever_it_lies(
    tmp_path: Path, backend: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    model = onnx.load(backend)
    onnx.save_model(
        model, tmp_path / "apart.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would look
    for place in ("weights.bin", "../weights.bin", str(tmp_path / "weights.bin")):
        moved = onnx.load(tmp_path / "apart.onnx", load_external_data=False)
        for tensor in moved.graph.initializer:
            for entry in tensor.external_data:
                entry.value = place if entry.key == "location" else entry.value
        (tmp_path / "apart.onnx").write_bytes(moved.SerializeToString())
        with pytest.raises(ModelError, match=r"apart\.onnx keeps weights in another file"):
            OnnxModel(tmp_path / "apart.onnx")


@pytest.mark.parametrize("batch", ["N", 1])
def test_a_strangers_model_is_given_what_it_takes_and_its_named_logits_are_the_classes(
    tmp_path: Path, batch: int | str
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    model = OnnxModel(save_stranger(tmp_path / "stranger.onnx", batch), FORM)
    assert (model.input_shape, model.classes) == ((SIDE, SIDE, 3), len(NAMED))
    photographs = clear_photographs(5)
    logits = model.run(photographs)
    assert logits.dtype == np.float32
    assert np.allclose(logits, logits_of(photographs), atol=1e-4)
    every = OnnxModel(tmp_path / "stranger.onnx", FORM.model_copy(update={"outputs": None}))
    assert every.classes == LOGITS
    assert np.array_equal(every.run(photographs)[:, NAMED], logits)


def test_of_several_outputs_the_one_called_logits_counts(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    photographs = clear_photographs(2)
    model = OnnxModel(save_stranger(tmp_path / "two.onnx", names=("features", "logits")), FORM)
    assert np.allclose(model.run(photographs), logits_of(photographs), atol=1e-4)
    with pytest.raises(ModelError, match=r"two\.onnx: it has 2 outputs \(features, .*none of them called logits"):
        OnnxModel(save_stranger(tmp_path / "two.onnx", names=("features", "scores")), FORM)


WRONG = {
    "element": (BYTES, r"its input is pixel_values, float32 \[\*, 3, 224, 224\], but uint8 is stated as `element`"),
    "layout": ({"layout": "NHWC"}, r"but NHWC of 224 x 224 pixels and 3 channels is stated, \[\*, 224, 224, 3\]: mend"),
    "size": ({"height": 192}, r"but NCHW of 192 x 224 pixels and 3 channels is stated, \[\*, 3, 192, 224\]: mend"),
    "channels": ({"channels": 1, "mean": [0.0], "deviation": [1.0]}, "and 1 channels is stated"),
    "outputs": ({"outputs": [5, LOGITS]}, "it has 1000 logits, 0 to 999, but 1000 is stated among `outputs`: give"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_form_that_the_model_gainsays_is_refused_with_both(tmp_path: Path, wrong: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    fields, said = WRONG[wrong]
    form = BackEndInput.model_validate({**FORM.model_dump(), **fields})  # type: ignore[dict-item]
    with pytest.raises(ModelError, match=rf"stranger\.onnx: .*{said}"):
        OnnxModel(save_stranger(tmp_path / "stranger.onnx"), form)


def test_a_count_of_images_that_was_baked_in_is_found_before_it_is_served(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    with pytest.raises(ModelError, match=r"any count of images, but the model failed on \[2, 224, 224, 3\] images"):
        OnnxModel(save_stranger(tmp_path / "baked.onnx", fails_on=1), FORM)
    with pytest.raises(ModelError, match=r"input is pixel_values, float32 \[4, 3, 224, 224\]: export it for any count"):
        OnnxModel(save_stranger(tmp_path / "four.onnx", batch=4), FORM)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_photographs_are_normalised_by_channel_in_either_layout(layout: str) -> None:
    form = FORM.model_copy(update={"layout": layout})
    photographs = np.random.default_rng(1).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    taken = as_taken(photographs, form)
    expected = (photographs - np.array(FORM.mean)) / np.array(FORM.deviation)
    assert taken.dtype == np.float32
    assert taken.flags.c_contiguous
    assert np.allclose(taken if layout == "NHWC" else taken.transpose(0, 2, 3, 1), expected, atol=1e-5)
    assert np.array_equal(
        as_taken(photographs, BackEndInput.model_validate({**FORM.model_dump(), **BYTES})),
        photographs.transpose(0, 3, 1, 2),
    )
