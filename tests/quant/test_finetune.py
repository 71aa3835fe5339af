"""The pretrained network is fine-tuned to photographs, goes on where it stopped, and is served as it was trained."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from edgesight.host.datacenter.models import OnnxModel
from edgesight.quant import efficientnet, finetune, learn, views
from edgesight.quant.finetune import FineTuned
from edgesight.quant.learn import Course, Trained
from edgesight.quant.recipe import TrainingError
from edgesight.quant.splits import DataSet, Split, at_back_end
from edgesight.quant.views import FineTuning, tuning_for

SEED = 5
absent = importlib.util.find_spec(efficientnet.MODULE) is None
pytestmark = pytest.mark.skipif(absent, reason=f"{efficientnet.WHEEL} is not installed: extra `build`")


@pytest.fixture(scope="module")
def stripes() -> DataSet:
    """Stripes across or down, at the back end's size."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)

    def split(name: str, count: int) -> Split:
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 100, (count, 16, 16, 3), np.uint8)
        for image, label in zip(images, labels, strict=True):
            (image if label else image.transpose(1, 0, 2))[::4] += 150
        return Split(images, labels.astype(np.int64), tuple(f"{name}/{index}" for index in range(count)))

    data = DataSet(
        name="stripes",
        classes=("across", "down"),
        train=split("train", 32),
        calibration=split("calibration", 16),
        test=split("test", 16),
        checksum="stripes",
        seed=SEED,
        note="made for tests",
        mirrored=True,
    )
    return at_back_end(data, (32, 32, 3))


def trained(data: DataSet, folder: Path, seed: int = 0, console: Console | None = None) -> Trained:
    return FineTuned(32).train(data, seed, Course(folder, quick=True, console=console))


def test_it_learns_says_what_to_expect_and_is_served_as_it_was_trained(stripes: DataSet, tmp_path: Path) -> None:
    said = io.StringIO()
    result = trained(stripes, tmp_path, console=Console(file=said, width=300))
    assert "a linear head, fitted to" in said.getvalue()
    assert "of the fine-tuned network" in said.getvalue()
    assert result.test_accuracy[0] >= 0.9
    form = result.module.form
    assert (form.shape, form.element, form.outputs) == ((32, 32, 3), "uint8", None)
    lessons = FineTuned(32).teach(stripes, result, Course(tmp_path))
    assert lessons.shape == (2, 32, 2)
    assert not np.array_equal(lessons[0], lessons[1])
    names, _ = FineTuned(32).write(result.module, stripes.shape, 2, tmp_path)
    model = OnnxModel(tmp_path / names[-1])
    assert model.input_shape == (32, 32, 3)
    rows = np.arange(len(stripes.train))
    assert np.allclose(model.run(stripes.train.photographs[rows]), lessons[0], atol=1e-3)
    FineTuned(32).tidy(stripes, Course(tmp_path, quick=True))
    assert not list(tmp_path.rglob("*-views/*"))


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    stripes: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(stripes, tmp_path / "whole")
    save, seen = learn.save, views.Frozen.seen
    looked = 0

    def save_once(*held: object) -> None:
        save(*held)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(finetune, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            trained(stripes, tmp_path / "stopped")

    def count(*given: object) -> object:
        nonlocal looked
        looked += 1
        return seen(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(views.Frozen, "seen", count)
    monkeypatch.setattr(FineTuned, "_foretell", lambda *_: None)
    resumed = trained(stripes, tmp_path / "stopped")
    assert looked == 0  # what the frozen blocks made was kept
    assert resumed.module.checksum == whole.module.checksum
    FineTuned(32).tidy(stripes, Course(tmp_path / "stopped", quick=True))
    assert trained(stripes, tmp_path / "stopped").module.checksum == whole.module.checksum
    assert looked == 0  # nor is it wanted once all is trained
    assert trained(stripes, tmp_path / "whole", seed=1).module.checksum != whole.module.checksum


def test_onnx_and_torch_answer_alike(tmp_path: Path) -> None:
    state = efficientnet.pretrained()
    network = efficientnet.EfficientNetLite0()
    network.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    efficientnet.export(state, tmp_path / "net.onnx", 48)
    pictures = np.random.default_rng(SEED).integers(0, 256, (2, 48, 48, 3), np.uint8)
    with torch.inference_mode():
        expected = network(efficientnet.as_input(torch.from_numpy(pictures))).numpy()
    assert np.allclose(OnnxModel(tmp_path / "net.onnx").run(pictures), expected, atol=1e-3)


def test_a_large_set_is_seen_once_and_a_small_one_often(stripes: DataSet) -> None:
    small = tuning_for(stripes, quick=False)
    large = tuning_for(_of(stripes, 39_000), quick=False)
    assert small.views == FineTuning.views
    assert (large.views, large.epochs) == (1, 2)


def _of(data: DataSet, count: int) -> DataSet:
    """`data` with so many train pictures."""
    images = np.broadcast_to(data.train.images[:1], (count, *data.shape)).copy()
    train = Split(images, np.zeros(count, np.int64), ("",) * count)
    return dataclasses.replace(data, train=train)


@pytest.mark.parametrize("side", [0, 7, 225])
def test_a_size_that_cannot_be_enlarged_is_refused(side: int) -> None:
    with pytest.raises(TrainingError, match=f"--backend-size: found {side}, expected 8 to 224"):
        FineTuned(side)
