"""A model is served when it has the interface and the checksum, and otherwise named with its fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesight.host.datacenter.models import ModelError, OnnxModel
from edgesight.host.files import sha256
from tests.host.by_hand import CLASSES, SHAPE, random_images, save_onnx, sums


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
