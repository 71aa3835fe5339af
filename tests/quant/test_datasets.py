"""Data sets: fixed, disjoint splits whatever the source, and errors that name the file."""

import gzip
import re
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesight.host.pictures import Picture, read, refit
from edgesight.quant import datasets, fashion_mnist, image_folder
from edgesight.quant.image_folder import FolderReading, load_labelled
from edgesight.quant.splits import DataSet, DataSetError

SEED = 20_261


@pytest.fixture
def rng() -> np.random.Generator:
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes((0, 0, 8, values.ndim)) + b"".join(extent.to_bytes(4, "big") for extent in values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()) if path.suffix == ".gz" else header + values.tobytes())


@pytest.fixture
def fashion(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for part, count, suffix in (("train", 60, ".gz"), ("t10k", 20, "")):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", rng.integers(0, 10, count).astype(np.uint8))
    return folder


def ids_of(data: DataSet) -> dict[str, set[str]]:
    return {"train": set(data.train.ids), "calibration": set(data.calibration.ids), "test": set(data.test.ids)}


def assert_disjoint(data: DataSet) -> None:
    ids = ids_of(data)
    total = sum(len(split) for split in (data.train, data.calibration, data.test))
    assert len(ids["train"] | ids["calibration"] | ids["test"]) == total


def save(path: Path, rng: np.random.Generator, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": ()}[mode]
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], *channels), np.uint8), mode).save(path)


def fill_classes(root: Path, rng: np.random.Generator, names: tuple[str, ...], each: int = 10) -> None:
    for name in names:
        for number in range(each):
            save(root / name / f"picture{number}.png", rng)


# ------------------------------------------------------------------------------------------------ Fashion-MNIST


def test_fashion_mnist_splits_are_disjoint_and_a_sixth_calibrates(fashion: Path) -> None:
    data = datasets.load("fashion-mnist", fashion)
    assert (len(data.train), len(data.calibration), len(data.test)) == (50, 10, 20)
    assert data.shape == (28, 28, 1)
    assert_disjoint(data)


def test_the_same_seed_gives_the_same_data_set_and_another_seed_another(fashion: Path) -> None:
    first, again, other = (datasets.load("fashion-mnist", fashion, seed=seed) for seed in (0, 0, 1))
    assert first.checksum == again.checksum
    assert first.calibration.ids == again.calibration.ids
    assert first.calibration.ids != other.calibration.ids
    assert first.test.ids == other.test.ids


def test_a_split_keeps_image_label_and_id_together(fashion: Path) -> None:
    data = datasets.load("fashion-mnist", fashion)
    raw = gzip.decompress((fashion / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    images = np.frombuffer(raw, np.uint8).reshape(60, 28, 28)
    labels = gzip.decompress((fashion / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    for image, label, name in zip(data.calibration.images, data.calibration.labels, data.calibration.ids, strict=True):
        index = int(name.removeprefix("train/"))
        assert np.array_equal(image[..., 0], images[index])
        assert label == labels[index]


def cut_plain(folder: Path) -> Path:
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    return path


def cut_gzip(folder: Path) -> Path:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    return path


def wrong_magic(folder: Path) -> Path:
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    return path


def wrong_label(folder: Path) -> Path:
    write_idx(folder / "t10k-labels-idx1-ubyte", np.full(20, 10, np.uint8))
    return folder


def missing(folder: Path) -> Path:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    return folder


@pytest.mark.parametrize("damage", [cut_plain, cut_gzip, wrong_magic, wrong_label, missing])
def test_a_damaged_idx_file_is_named(fashion: Path, damage: Callable[[Path], Path]) -> None:
    named = damage(fashion)
    with pytest.raises(DataSetError) as refused:
        datasets.load("fashion-mnist", fashion)
    assert str(named) in str(refused.value)


def test_a_truncated_idx_file_tells_promised_and_found_bytes(fashion: Path) -> None:
    cut_plain(fashion)
    with pytest.raises(DataSetError, match=r"20 x 28 x 28 = 15680 bytes, found 15675.*fetch it again"):
        datasets.load("fashion-mnist", fashion)


def test_without_apt_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataSetError, match=r"apt-get is not on this system.*digits"):
        fashion_mnist.install_fashion_mnist(tmp_path)


def test_a_failing_apt_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool, script in (("apt-get", "echo 'E: no such source' >&2; exit 100"), ("dpkg-deb", "exit 0")):
        (tools / tool).write_text(f"#!/bin/sh\n{script}\n")
        (tools / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin")
    into = tmp_path / "data"
    with pytest.raises(DataSetError, match=r"exit status 100: E: no such source"):
        fashion_mnist.install_fashion_mnist(into)
    assert list(into.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- digits


def test_digits_splits_are_disjoint_stable_and_span_all_grey_levels() -> None:
    data, again = datasets.load("digits"), datasets.load("digits")
    assert data.checksum == again.checksum
    assert_disjoint(data)
    assert data.shape == (8, 8, 1)
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)
    assert "stand-in" in data.note


def test_digits_can_be_resized() -> None:
    assert datasets.load("digits", size=16).shape == (16, 16, 1)


# ------------------------------------------------------------------------------------------------------ folders


def test_class_names_may_hold_spaces_and_umlauts(tmp_path: Path, rng: np.random.Generator) -> None:
    root = tmp_path / "Straßen schilder"
    fill_classes(root, rng, ("Vorfahrt gewähren", "Überholverbot"))
    data = datasets.load(f"folder:{root}")
    assert data.classes == ("Vorfahrt gewähren", "Überholverbot")
    assert data.name == "Straßen schilder"
    assert data.shape == (12, 12, 3)
    assert_disjoint(data)
    assert all(len(split) for split in (data.train, data.calibration, data.test))


@pytest.mark.parametrize("flagged", [True, False], ids=["utf-8 flag", "no flag"])
def test_a_zip_gives_what_its_folder_gives(tmp_path: Path, rng: np.random.Generator, flagged: bool) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("Vorfahrt gewähren", "Überholverbot"))
    archive = tmp_path / "packed" / "signs.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(root.rglob("*.png")):
            packed.writestr(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    if not flagged:
        clear_utf8_flags(archive)
    folder, zipped = datasets.load(f"folder:{root}"), datasets.load(f"folder:{archive}")
    assert folder.classes == zipped.classes
    for part in ("train", "calibration", "test"):
        ours, theirs = getattr(folder, part), getattr(zipped, part)
        assert np.array_equal(ours.images, theirs.images)
        assert [f"signs/{name}" for name in ours.ids] == list(theirs.ids)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_photographs_are_the_files_pictures_at_the_back_ends_size(
    tmp_path: Path, rng: np.random.Generator, kind: str
) -> None:
    root = tmp_path / "signs"
    for name in ("stop", "yield"):
        for number in range(10):
            save(root / name / f"picture{number}.png", rng, (60, 50))
    place, below = root, root
    if kind == "zip":
        place, below = tmp_path / "signs.zip", tmp_path
        with zipfile.ZipFile(place, "w") as packed:
            for path in sorted(root.rglob("*.png")):
                packed.writestr(path.relative_to(tmp_path).as_posix(), path.read_bytes())
    small = datasets.load(f"folder:{place}", size=8)
    data = datasets.load(f"folder:{place}", size=8, photograph=(40, 44, 3))
    assert (small.checksum, small.shape) == (data.checksum, data.shape)
    assert small.train.photographs is small.train.images
    assert data.train.photographs.shape == (len(data.train), 40, 44, 3)
    chosen = np.array([3, 0])
    for row, index in zip(data.train.photographs[chosen], chosen, strict=True):
        assert np.array_equal(row, read((below / data.train.ids[index]).read_bytes(), 40, 44, 3).pixels)


def test_a_picture_that_is_gone_when_its_photograph_is_wanted_is_named(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("stop", "yield"))
    data = datasets.load(f"folder:{root}", photograph=(40, 40, 3))
    (root / data.test.ids[0]).unlink()
    with pytest.raises(DataSetError, match=re.escape(data.test.ids[0])):
        data.test.photographs[np.array([0])]


def test_photographs_of_arrays_are_made_of_them() -> None:
    data = datasets.load("digits", photograph=(32, 32, 3))
    assert data.shape == (8, 8, 1)
    made = data.test.photographs[np.array([1])]
    assert np.array_equal(made[0], refit(data.test.images[1], (32, 32, 3)))
    assert datasets.load("digits", photograph=(8, 8, 1)).test.larger is None


def clear_utf8_flags(archive: Path) -> None:
    """Clear bit 11 of the flags in every local and central header, as tools do that write UTF-8 without saying so."""
    raw = bytearray(archive.read_bytes())
    for signature, high_flags in ((b"PK\3\4", 7), (b"PK\1\2", 9)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + high_flags] &= ~0x08
            at = raw.find(signature, at + 4)
    archive.write_bytes(raw)


def test_images_of_one_track_never_straddle_splits(tmp_path: Path, rng: np.random.Generator) -> None:
    for label in ("stop", "yield"):
        for track in range(12):
            for frame in range(5):
                save(tmp_path / "signs" / label / f"{track:05d}_{frame:05d}.png", rng, (8, 8))
    for seed in range(5):
        data = datasets.load(f"folder:{tmp_path / 'signs'}", seed=seed)
        tracks = {part: {name.rsplit("_", 1)[0] for name in ids} for part, ids in ids_of(data).items()}
        assert not tracks["train"] & tracks["calibration"]
        assert not tracks["train"] & tracks["test"]
        assert not tracks["calibration"] & tracks["test"]
        assert all(tracks.values())


def test_a_prefix_that_all_files_share_is_no_track(tmp_path: Path, rng: np.random.Generator) -> None:
    for label in ("cat", "dog"):
        for number in range(10):
            save(tmp_path / "pets" / label / f"IMG_{number:04d}.png", rng, (8, 8))
    data = datasets.load(f"folder:{tmp_path / 'pets'}")
    assert all(len(split) >= 2 for split in (data.train, data.calibration, data.test))
    assert_disjoint(data)


def test_a_day_of_a_telephone_is_no_group_and_what_is_one_is_told(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("cat", "dog"):
        for number in range(20):
            save(tmp_path / "pets" / label / f"IMG_2023010{number % 2}_{123400 + number}.png", rng, (8, 8))
            save(tmp_path / "scenes" / label / f"scene{number % 4}_{number}.png", rng, (8, 8))
    data = datasets.load(f"folder:{tmp_path / 'pets'}")
    assert (len(data.train), len(data.calibration), len(data.test)) == (26, 6, 8)
    assert "groups: none found in the names of 40 images" in capsys.readouterr().err
    datasets.load(f"folder:{tmp_path / 'scenes'}")
    assert "groups: 8 found in the names (<group>_<number>) of 40 images; the largest, cat/scene0, has 5" in (
        capsys.readouterr().err
    )
    apart = datasets.load(f"folder:{tmp_path / 'scenes'}", reading=FolderReading(groups="none"))
    assert (len(apart.train), len(apart.calibration), len(apart.test)) == (26, 6, 8)


def test_an_official_test_folder_is_kept_whole(tmp_path: Path, rng: np.random.Generator) -> None:
    root = tmp_path / "signs"
    fill_classes(root / "train", rng, ("a", "b"), each=8)
    fill_classes(root / "test", rng, ("a", "b"), each=4)
    data = datasets.load(f"folder:{root}")
    assert set(data.test.ids) == {f"test/{label}/picture{number}.png" for label in "ab" for number in range(4)}
    assert all(name.startswith("train/") for name in (*data.train.ids, *data.calibration.ids))
    assert len(data.calibration) >= 2


def test_mixed_sizes_become_one_square_and_one_colour_image_makes_all_rgb(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    root = tmp_path / "mixed"
    for label in ("a", "b"):
        for number, size in enumerate([(40, 30), (25, 60), (26, 26), (80, 31), (30, 30)]):
            save(root / label / f"picture{number}.png", rng, size, "L")
    assert datasets.load(f"folder:{root}").shape == (28, 28, 1)
    save(root / "a" / "coloured.jpg", rng, (30, 30))
    assert datasets.load(f"folder:{root}").shape == (28, 28, 3)
    assert datasets.load(f"folder:{root}", size=48).shape == (48, 48, 3)


def test_damaged_images_are_told_all_at_once_and_may_be_skipped(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("a", "b"), each=30)
    whole = (root / "a" / "picture3.png").read_bytes()
    for number in range(25):
        (root / "a" / f"picture{number}.png").write_bytes(whole[:60])
    (root / "b" / "picture3.png").write_bytes(whole[:-40] + b"\0" + whole[-39:])  # found by its checksum
    (root / "b" / "picture4.png").write_bytes(b"no image at all")
    with pytest.raises(DataSetError) as refused:
        datasets.load(f"folder:{root}")
    lines = str(refused.value).splitlines()
    assert "27 of 60 images cannot be read; mend or remove them, or leave them out with --skip-damaged" in lines[0]
    assert "a/picture0.png is damaged: it ends early" in lines[1]
    assert lines[-1].strip() == "and 7 more"
    assert len(lines) == 22
    data = datasets.load(f"folder:{root}", reading=FolderReading(skip_damaged=True))
    assert sum(len(part) for part in (data.train, data.calibration, data.test)) == 33
    assert "are left out" in capsys.readouterr().err
    for number in range(25, 30):
        (root / "a" / f"picture{number}.png").write_bytes(b"x")
    with pytest.raises(DataSetError, match="no image of class 'a' can be read"):
        datasets.load(f"folder:{root}", reading=FolderReading(skip_damaged=True))


def test_a_zips_member_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("a", "b"))
    archive = tmp_path / "signs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(root.rglob("*.png")):
            packed.writestr(path.relative_to(tmp_path).as_posix(), path.read_bytes())
        with packed.open("signs/a/bomb.png", "w", force_zip64=True) as member:
            for _ in range(33):
                member.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(DataSetError, match=r"signs/a/bomb\.png has more than 33554432 bytes"):
        datasets.load(f"folder:{archive}")
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_an_idx_file_that_unpacks_to_too_much_is_refused(fashion: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "_LARGEST_IDX_BYTES", 2**20)
    path = fashion / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + bytes(2**24)))
    with pytest.raises(DataSetError, match="unpacks to more than"):
        datasets.load("fashion-mnist", fashion)


def test_another_decoder_does_not_make_another_data_set(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "pets"
    for label in ("cat", "dog"):
        for number in range(10):
            save(root / label / f"x{number}.jpg", rng)
    before = datasets.load(f"folder:{root}")

    def brighter(content: bytes, height: int, width: int, channels: int) -> Picture:
        return Picture(np.bitwise_or(read(content, height, width, channels).pixels, np.uint8(1)), ())

    monkeypatch.setattr(image_folder, "read", brighter)
    assert datasets.load(f"folder:{root}").checksum == before.checksum
    monkeypatch.undo()
    assert datasets.load(f"folder:{root}", size=8).checksum != before.checksum
    save(root / "cat" / "x3.jpg", rng)
    assert datasets.load(f"folder:{root}").checksum != before.checksum


def test_odd_images_and_files_passed_over_are_told(
    tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("a", "b"))
    for number in (3, 4):
        with Image.open(root / "a" / f"picture{number}.png") as opaque:
            opaque.putalpha(100)
            opaque.save(root / "a" / f"picture{number}.png")
    (root / "a" / "photo.heic").write_bytes(b"x")
    datasets.load(f"folder:{root}")
    said = capsys.readouterr().err
    assert "2 like this: a/picture3.png is transparent in part" in said
    assert "passed over: 1 .heic" in said


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path, rng: np.random.Generator) -> None:
    root = tmp_path / "signs"
    fill_classes(root, rng, ("a", "b"))
    before = datasets.load(f"folder:{root}").checksum
    (root / "Thumbs.db").write_bytes(b"x")
    (root / "a" / "notes.txt").write_text("x")
    (root / ".cache").mkdir()
    (root / ".cache" / "x.png").write_bytes(b"x")
    assert datasets.load(f"folder:{root}").checksum == before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), "found 0 class subfolders"),
        (("only/one.png",), "found 1 class subfolders"),
        (("loose.png", "a/one.png", "b/two.png"), "outside a class subfolder"),
        (("a/one.png", "b/two.png"), "split came out empty"),
    ],
)
def test_an_unusable_folder_is_refused(
    tmp_path: Path, rng: np.random.Generator, made: tuple[str, ...], said: str
) -> None:
    root = tmp_path / "signs"
    root.mkdir()
    for name in made:
        save(root / name, rng)
    with pytest.raises(DataSetError, match=said):
        datasets.load(f"folder:{root}")


@pytest.mark.parametrize("name", ["mnist", "folder:/no/such/folder"])
def test_an_unknown_source_is_refused(name: str) -> None:
    with pytest.raises(DataSetError, match=r"folder"):
        datasets.load(name)


def test_a_size_outside_the_range_is_refused() -> None:
    with pytest.raises(DataSetError, match="found 257, expected 4 to 256"):
        datasets.load("digits", size=257)


def test_reading_images_imports_no_torch() -> None:
    code = "import sys, edgesight.quant.datasets; sys.exit('torch' in sys.modules or 'brevitas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_in_a_home_that_there_is_not_is_refused() -> None:
    with pytest.raises(DataSetError, match=r"~nobody_of_that_name/pictures: no such folder or \.zip; expected class"):
        datasets.check_name("folder:~nobody_of_that_name/pictures")


def test_labelled_pictures_of_known_classes(tmp_path: Path) -> None:
    """All of them are the sample; a class may be absent, and one alone is no wrapping folder."""
    classes, form = ("ankle/boot", "cat", "dog"), (8, 8, 1)
    for shade, name in enumerate(("ankle_boot/a.png", "ankle_boot/b.png", "dog/left/c.png")):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40, 3), shade, np.uint8)).save(path)
    found = load_labelled(tmp_path / "site", classes, form, FolderReading(), lambda line: None, (32, 32, 3))
    assert found.name == "site"
    assert found.split.ids == ("ankle_boot/a.png", "ankle_boot/b.png", "dog/left/c.png")
    assert found.split.labels.tolist() == [0, 0, 2]
    assert found.split.images.shape == (3, *form)
    assert found.split.photographs[np.arange(3)].shape == (3, 32, 32, 3)
    alone = load_labelled(tmp_path / "site", ("dog", "ankle_boot"), form, FolderReading(), lambda line: None)
    assert alone.checksum != found.checksum
    (tmp_path / "split").mkdir()
    (tmp_path / "site").rename(tmp_path / "split" / "train")
    with pytest.raises(DataSetError, match=r"'ankle_boot' is none of the package's classes \(cat, dog\)"):
        load_labelled(tmp_path / "split", classes[1:], form, FolderReading(), lambda line: None)
    (tmp_path / "split" / "train" / "dog").rename(tmp_path / "dog")
    only = load_labelled(tmp_path / "split", classes, form, FolderReading(), lambda line: None)
    assert only.split.labels.tolist() == [0, 0]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataSetError, match="no images; give subfolders"):
        load_labelled(empty, classes, form, FolderReading(), lambda line: None)


def test_copies_of_a_labelled_picture_count_once_and_in_two_classes_are_refused(tmp_path: Path) -> None:
    for place, name in enumerate(("cat/a.png", "cat/b.png", "cat/copy.png", "dog/c.png")):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), place % 2 if place < 3 else 9, np.uint8)).save(path)
    said: list[str] = []
    found = load_labelled(tmp_path / "site", ("cat", "dog"), (8, 8, 1), FolderReading(), said.append)
    assert found.split.ids == ("cat/a.png", "cat/b.png", "dog/c.png")
    assert said == ["copies: 1 of 4 images are others' copies, byte for byte, and count for nothing"]
    (tmp_path / "site" / "dog" / "d.png").write_bytes((tmp_path / "site" / "cat" / "a.png").read_bytes())
    with pytest.raises(DataSetError, match=r"cat/a\.png and dog/d\.png are one picture in two classes"):
        load_labelled(tmp_path / "site", ("cat", "dog"), (8, 8, 1), FolderReading(), said.append)


def test_of_each_group_of_labelled_pictures_one_is_taken(tmp_path: Path) -> None:
    for shade, name in enumerate(f"cat/{animal}_{number}.png" for animal in ("tom", "tim") for number in range(5)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)
    said: list[str] = []
    by_name = load_labelled(tmp_path, ("cat", "dog"), (8, 8, 1), FolderReading(), said.append)
    assert [name.split("_")[0] for name in by_name.split.ids] == ["cat/tim", "cat/tom"]
    assert "2 found in the names (<group>_<number>) of 10 images: one of each is taken" in said[0]
    each = load_labelled(tmp_path, ("cat", "dog"), (8, 8, 1), FolderReading(groups="none"), said.append)
    assert len(each.split) == 10
    assert len(said) == 1
