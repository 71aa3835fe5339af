"""Training learns, repeats itself exactly, goes on where it stopped, and writes a true card."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from edgesight.quant import ahead, datasets, export, learn, remarks, train, variants
from edgesight.quant.ahead import Ahead
from edgesight.quant.answers import as_input
from edgesight.quant.backends import Wanted
from edgesight.quant.card import model_card
from edgesight.quant.exponents import choose_exponents
from edgesight.quant.learn import Course, Trained
from edgesight.quant.networks import SHIPPED, Shipped, exponents_of
from edgesight.quant.recipe import RECIPES, Phase, TrainingError, recipe_for
from edgesight.quant.splits import DataSet, Split

SEED = 3
STAGE0 = SHIPPED["stage0"]


def quick(data: DataSet, folder: Path, epochs: int = 4, seed: int = SEED) -> Trained:
    print(f"seed {seed}")
    return learn.train(data, SHIPPED["stage0"], seed, course=Course(folder, epochs=epochs))


def held(trained: Trained) -> variants.Folded:
    assert isinstance(trained.module, nn.Sequential)
    return variants.settled_weights(trained.module)


def assert_equal(first: Trained, second: Trained) -> None:
    assert isinstance(first.module, nn.Sequential)
    assert isinstance(second.module, nn.Sequential)
    assert exponents_of(first.module) == exponents_of(second.module)
    assert first.test_accuracy == second.test_accuracy
    assert np.array_equal(first.calibration_right, second.calibration_right)
    others = held(second)
    for name, (weight, bias) in held(first).items():
        assert torch.equal(weight, others[name][0])
        assert torch.equal(bias, others[name][1])


def test_a_quick_training_learns_the_bars_and_exports_exactly(bars: DataSet, tmp_path: Path) -> None:
    trained = quick(bars, tmp_path / "work")
    assert trained.test_accuracy[0] >= 0.9
    written = train.write_network(bars, trained, tmp_path / "zoo")
    assert written.agreement == "equal to Brevitas in every bit on 32 test images"
    images = bars.test.images
    logits = export.brevitas_logits(tmp_path / "zoo", "stage0", images)
    assert np.array_equal(export.qonnx_logits(tmp_path / "zoo" / "stage0.onnx", images), logits[None])
    assert ((logits.argmax(1) == bars.test.labels).mean(),) == trained.test_accuracy


def test_training_repeats_itself_and_another_seed_differs(bars: DataSet, tmp_path: Path) -> None:
    first, again = (quick(bars, tmp_path / name, epochs=1) for name in ("first", "again"))
    assert_equal(first, again)
    other = quick(bars, tmp_path / "other", epochs=1, seed=SEED + 1)
    assert not torch.equal(held(first)["conv1"][0], held(other)["conv1"][0])


@pytest.mark.parametrize("stopped_in", ["float", "quantised"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    bars: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_in: str
) -> None:
    whole = quick(bars, tmp_path / "whole", epochs=2)
    save = learn.save

    def save_once(path: Path, *held: object) -> None:
        save(path, *held)  # type: ignore[arg-type]
        if path.stem.endswith(stopped_in):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(learn, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            quick(bars, tmp_path / "stopped", epochs=2)
    assert_equal(quick(bars, tmp_path / "stopped", epochs=2), whole)


def test_a_finished_training_is_not_repeated(bars: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = quick(bars, tmp_path, epochs=1)
    monkeypatch.setattr(learn, "save", lambda *_: pytest.fail("an epoch was trained again"))
    again = quick(bars, tmp_path, epochs=1)
    assert_equal(first, again)
    assert again.seconds == first.seconds


def test_a_checkpoint_of_another_training_is_not_taken_up(bars: DataSet, tmp_path: Path) -> None:
    quick(bars, tmp_path / "work", epochs=1)
    assert_equal(quick(bars, tmp_path / "work", epochs=2), quick(bars, tmp_path / "fresh", epochs=2))


def test_other_data_and_other_settings_have_checkpoints_of_their_own(bars: DataSet, tmp_path: Path) -> None:
    quick(bars, tmp_path, epochs=2)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.pt")}
    quick(bars, tmp_path, epochs=1)  # fewer passes, as --quick takes
    quick(dataclasses.replace(bars, checksum="others of the same name"), tmp_path, epochs=2)
    quick(bars, tmp_path, epochs=2, seed=SEED + 1)
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(list(tmp_path.rglob("*.pt"))) == 4 * len(kept) == 8


def test_resuming_says_so_and_from_where(bars: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = learn.save

    def save_once(*held: object) -> None:
        save(*held)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(learn, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            quick(bars, tmp_path, epochs=2)
    said = io.StringIO()
    for _ in range(2):
        learn.train(bars, STAGE0, SEED, course=Course(tmp_path, epochs=2, console=Console(file=said, width=200)))
    (float_checkpoint,) = tmp_path.rglob("*-float.pt")
    label = f"bars-stage0-seed{SEED}"
    assert f"{label}-float: goes on after epoch 1/2, from {float_checkpoint}" in said.getvalue()
    assert f"{label}-float: was finished before, from {float_checkpoint}" in said.getvalue()
    assert f"{label}-quantised: was finished before" in said.getvalue()


def test_a_full_disk_is_said_in_a_line(bars: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"the checkpoint cannot be written .No space left on device.: make room"):
        quick(bars, tmp_path, epochs=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def with_counts(bars: DataSet, *counts: int) -> DataSet:
    """The bars with so many pictures of each class in every split."""

    def cut(split: Split) -> Split:
        chosen = np.concatenate([np.flatnonzero(split.labels == label)[:count] for label, count in enumerate(counts)])
        return Split(split.images[chosen], split.labels[chosen], tuple(split.ids[index] for index in chosen))

    return dataclasses.replace(bars, train=cut(bars.train), calibration=cut(bars.calibration), test=cut(bars.test))


def test_what_is_odd_about_the_pictures_is_said_before_training(bars: DataSet, tmp_path: Path) -> None:
    said = remarks.remarks(with_counts(bars, 30, 30, 1), "bars")
    assert any("few pictures of right (3: 1 train, 1 calibration, 1 test)" in line for line in said), said
    assert "left" not in said[0]
    for name in ("cat", "ship", "nothing"):
        (tmp_path / name).mkdir()
    for name in ("cat", "ship"):
        (tmp_path / name / "1.png").write_bytes(b"")
    said = remarks.remarks(bars, f"folder:{tmp_path}")
    assert said[0].startswith("nothing: an empty folder is no class")


def test_how_many_pictures_are_enough_is_said_with_the_reason(bars: DataSet) -> None:
    (said,) = (line for line in remarks.remarks(bars, "bars") if "calibration images" in line)
    # 42 images are tested on: 1.64 x sqrt(0.9 x 0.1 / 42) = 0.076. A point takes 1.64^2 x 0.09 / 0.01^2 / 0.7 images.
    assert "60 calibration images: at an accuracy of 90 % a target will lie about 7.6 points below" in said
    assert "one point takes about 3,500 of them" in said


def test_a_plan_with_its_time_comes_before_the_training(bars: DataSet) -> None:
    said = io.StringIO()
    ahead = Ahead(bars, [SHIPPED["backend"], STAGE0, STAGE0], True, Console(file=said, width=400))
    phases: tuple[tuple[str, Phase], ...] = (("backend", "float"), ("stage0", "float"), ("stage0", "quantised"))
    recipes = [recipe_for(name, phase, bars, True, None) for name, phase in phases]
    steps = [recipe.epochs * (300 // recipe.batch) for recipe in recipes]
    assert f"1 x backend (float, {steps[0]:,} steps), 2 x stage0 (float, {steps[1]:,} steps)" in said.getvalue()
    assert "Ctrl-C stops it; the same command goes on from the last epoch" in said.getvalue()
    with ahead:
        for name, phase, count, times in (("backend", "float", steps[0], 1), ("stage0", "float", steps[1], 2)):
            for _ in range(times):
                ahead.begin("label", name, phase, 1)  # type: ignore[arg-type] # both are phases
                for _ in range(count - 1):
                    ahead.done(name, phase)  # type: ignore[arg-type] # both are phases
        for _ in range(2):
            ahead.begin("label", "stage0", "quantised", steps[2])
        assert ahead._bar.tasks[0].completed == pytest.approx(ahead._bar.tasks[0].total)


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (80, "80 s"), (600, "10 min"), (11_400, "3 h 10 min")])
def test_a_duration_is_said_as_a_person_would(seconds: float, said: str) -> None:
    assert ahead._duration(seconds) == said


def test_a_zoo_of_other_data_or_of_full_training_is_not_replaced(tmp_path: Path) -> None:
    shutil.copytree(train.ZOO_FOLDER / "digits", tmp_path / "zoo")
    before = {path.name: path.read_bytes() for path in (tmp_path / "zoo").iterdir()}
    digits = datasets.load("digits")
    with pytest.raises(TrainingError, match=r"holds fully trained networks .stage0, stage1, backend.: name another"):
        train.train_all("digits", out=tmp_path / "zoo", course=Course(tmp_path, quick=True))
    with pytest.raises(TrainingError, match=r"holds networks of other data \(digits, .*; this is digits, "):
        train._check_zoo(tmp_path / "zoo", dataclasses.replace(digits, checksum="0" * 64), [], False)
    train._check_zoo(tmp_path / "zoo", digits, [], False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "zoo").iterdir()} == before


def test_a_damaged_checkpoint_is_named(bars: DataSet, tmp_path: Path) -> None:
    quick(bars, tmp_path, epochs=1)
    (checkpoint,) = tmp_path.rglob("*-float.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"-float\.pt: not a readable checkpoint .* remove it"):
        quick(bars, tmp_path, epochs=1)
    learn.train(bars, STAGE0, SEED, course=Course(tmp_path, epochs=1, resume=False))


def test_training_leaves_torch_as_it_was(bars: DataSet, tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    quick(bars, tmp_path, epochs=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_network_of_whole_bytes_settles_in_the_passes_that_it_names(bars: DataSet, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    settling = dataclasses.replace(STAGE0.variant, settling=1)
    trained = learn.train(bars, Shipped(settling), SEED, course=Course(tmp_path, quick=True))
    assert trained.recipes["quantised"].epochs == 1
    assert trained.recipes["float"].epochs > 1


def test_exponents_span_what_they_quantise(bars: DataSet) -> None:
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    variant = variants.STAGE1
    network = variants.fit(variant, bars.shape, 3)
    folded = variants.fold(variants.build_float(variant, network).eval())
    exponents = choose_exponents(variant, network, folded, bars.train.images[:50])
    assert set(exponents) == set(folded)
    for name, (weight, _) in folded.items():
        reach = 7 * 2.0 ** exponents[name].weight
        assert 0.2 < reach / float(weight.abs().max()) < 2
    assert exponents["logits"].activation is None


def test_mirroring_is_told_to_the_teacher(bars: DataSet) -> None:
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    recipe = recipe_for("stage0", "float", bars, quick=False, epochs=None)
    images = torch.from_numpy(bars.train.images[:64].copy())
    batch, mirrored = learn._augment(images, recipe, mirror=True)
    assert 0 < int(mirrored.sum()) < 64
    for image, varied, turned in zip(as_input(images), batch, mirrored, strict=True):
        assert torch.equal(varied, image.flip(2) if turned else image)


def test_an_image_is_shifted_and_a_square_erased_as_the_recipe_says(bars: DataSet) -> None:
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    recipe = dataclasses.replace(RECIPES["backend"]["float"], shift=0, erase=3)
    images = torch.full((32, 12, 12, 1), 128, dtype=torch.uint8)
    batch, _ = learn._augment(images, recipe, mirror=False)
    assert torch.equal((batch == 0).sum(dim=(1, 2, 3)), torch.full((32,), 9))
    recipe = dataclasses.replace(recipe, shift=2, erase=0)
    images[:, 6, 6] = 255
    batch, _ = learn._augment(images, recipe, mirror=False)
    _, _, rows, columns = torch.nonzero(batch == 255 / 256, as_tuple=True)
    assert len(rows) == 32
    assert set(rows.tolist()) == set(columns.tolist()) == {4, 5, 6, 7, 8}


def test_a_photograph_is_seen_from_elsewhere_and_in_another_light() -> None:
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    still = dataclasses.replace(RECIPES["backend"]["float"], shift=0, turn=1e-9)
    images = torch.randint(0, 256, (16, 20, 16, 3), dtype=torch.uint8)
    batch, mirrored = learn._augment(images, still, mirror=True)
    assert 0 < int(mirrored.sum()) < 16
    for image, seen, turned in zip(as_input(images), batch, mirrored, strict=True):
        torch.testing.assert_close(seen, image.flip(2) if turned else image, rtol=0, atol=1e-3)
    turned_by = dataclasses.replace(still, turn=10.0, zoom=0.1, shift=1)
    spot = torch.zeros((16, 20, 16, 1), dtype=torch.uint8)
    spot[:, 2:5, 7:9] = 255  # six and a half pixels above the middle
    batch, _ = learn._augment(spot, turned_by, mirror=False)
    rows, columns = (torch.arange(size).float() for size in (20, 16))
    light = batch.sum((1, 2, 3))
    height = ((batch.sum((1, 3)) * rows).sum(1) / light) - 3
    side = ((batch.sum((1, 2)) * columns).sum(1) / light) - 7.5
    assert 0.3 < float(height.abs().max()) < 2.5
    # So far from the middle, 10 degrees are 1.1 pixels; a zoom and a move add to it.
    assert 0.5 < float(side.abs().max()) < 2.6
    lit = learn._lit(as_input(images), 0.4)
    assert 0 <= float(lit.min()) < float(lit.max()) <= 255 / 256
    ratio = lit.mean((1, 2, 3)) / as_input(images).mean((1, 2, 3))
    assert 0.6 < float(ratio.min()) < 0.9 < 1.1 < float(ratio.max()) < 1.6


def test_photographs_are_varied_and_others_are_not(bars: DataSet) -> None:
    folder = dataclasses.replace(bars, photographs=True)
    assert recipe_for("backend", "float", folder, False, None).turn == 0, "12 pixels are too few"
    large = Split(np.zeros((300, 32, 32, 3), np.uint8), bars.train.labels, bars.train.ids)
    asked: tuple[tuple[str, Phase, int], ...] = (
        ("backend", "float", 1),
        ("stage1", "float", 0),
        ("exits", "scratch", 0),
    )
    for photographs in (False, True):
        data = dataclasses.replace(bars, train=large, photographs=photographs)
        for name, phase, shift in asked:
            recipe = recipe_for(name, phase, data, False, None)
            assert (recipe.turn > 0, recipe.zoom > 0, recipe.light > 0) == (photographs,) * 3
            assert recipe.shift == (2 if photographs else shift)


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [learn.one_cycle(done / 100, 0.25) for done in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[25] == 1
    assert rates[100] == pytest.approx(0)


def test_train_all_writes_a_zoo_folder_whose_card_tells_its_files(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=160)
    course = Course(tmp_path / "work", quick=True, console=console)
    report = train.train_all("digits", seeds=1, out=tmp_path / "zoo", course=course)
    card = json.loads((tmp_path / "zoo" / "card.json").read_text(encoding="utf-8"))
    page = (tmp_path / "zoo" / "README.md").read_text(encoding="utf-8")
    assert list(card["networks"]) == ["stage0", "stage1", "backend"]
    for worse, better in (("stage0", "stage1"), ("stage1", "backend")):
        told = card["networks"][better]
        assert told["gain"]["over"] == worse
        accuracies = [card["networks"][name]["calibration_accuracy"]["by_seed"][0] for name in (worse, better)]
        assert told["gain"]["difference"] == pytest.approx(accuracies[1] - accuracies[0], abs=2e-6)
        assert told["gain"]["proved"] == (told["gain"]["low"] > 0)
        assert (f"**{better} is no better than {worse}**" in page) == (not told["gain"]["proved"])
    assert card["networks"]["stage0"]["network"] == "shipped"
    assert card["data_set"]["checksum"] == datasets.load("digits").checksum
    for network in report.networks:
        entry = card["networks"][network.variant]
        assert entry["command"] == "edgesight train digits --seeds 1 --quick"
        assert entry["test_accuracy"]["by_seed"] == [round(network.test_accuracy[0], 6)]
        assert f"{network.test_accuracy[0]:.2%}" in page
        for file in network.files:
            content = file.read_bytes()
            assert entry["files"][file.name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert not list((tmp_path / "zoo").glob("*.pt"))
    assert "Ahead: 1 x backend" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "accuracy on 359 test images" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in train.ZOO_FOLDER.glob("*/card.json")), ids=lambda folder: folder.name
)
def test_a_shipped_card_tells_the_shipped_files(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    told = {name: facts for entry in card["networks"].values() for name, facts in entry["files"].items()}
    given = {"backend.toml"} - {path.name for path in folder.glob("backend.onnx")}  # what a teacher from outside takes
    there = {path.name for path in folder.iterdir()}
    assert there - given == set(told) | {"card.json", "README.md"}
    assert bool(given & there) == ("--backend-input" in (folder / "README.md").read_text(encoding="utf-8"))
    for name, facts in told.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
    assert (folder / "README.md").read_text(encoding="utf-8") == model_card(card)


def test_impossible_arguments_are_refused(bars: DataSet, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="epochs: found 0"):
        learn.train(bars, STAGE0, course=Course(tmp_path, epochs=0))
    with pytest.raises(TrainingError, match="seeds: found 0"):
        train.train_all("digits", seeds=0)
    with pytest.raises(TrainingError, match="found 'stage2', expected all, stage1, stage0, backend"):
        train.train_all("digits", Wanted(only="stage2"))
