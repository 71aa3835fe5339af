"""Strange pictures: exact p-values, a detector that computes what torch does, refused files, answers that say so."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.cascade import Cascade
from edgesight.host.detector import (
    MOST_SIDE,
    NetworkDetector,
    PhotographDetector,
    detector_of,
    reduced,
    reduced_bytes,
)
from edgesight.host.kernel import BackEndInput, KernelError
from edgesight.host.novelty import NoveltyTest, carry, novelty_test
from edgesight.host.package import Package
from edgesight.host.textures import smaller, textures
from tests.host.by_hand import CLASSES, SHAPE, FakeFabric, ask, calibration, package, random_images

Arrays = dict[str, npt.NDArray[Any]]


def detector(shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES, seed: int = 0) -> NetworkDetector:
    """One of random weights."""
    generator = np.random.default_rng(seed)

    def some(*sizes: int) -> npt.NDArray[np.float32]:
        return generator.standard_normal(sizes).astype(np.float32) / np.float32(np.sqrt(sizes[0]))

    height, width, inputs = reduced(shape)
    convolutions = []
    for outputs in (6, 8, 10):
        convolutions.append((some(9 * inputs, outputs), some(outputs)))
        height, width, inputs = (height + 1) // 2, (width + 1) // 2, outputs
    return NetworkDetector(
        shape,
        np.array([[0, 1], [0, 1]], np.float32),
        convolutions=tuple(convolutions),
        hidden=(some(height * width * inputs, 12), some(12)),
        head=(some(12, classes + 1), some(classes + 1)),
        whitening=some(inputs + 12, inputs + 12),
        centres=some(classes, inputs + 12),
    )


def photograph_detector(shape: tuple[int, int, int] = (224, 224, 3)) -> PhotographDetector:
    """One of random weights, with the convolutions that are trained."""
    generator = np.random.default_rng(0)

    def some(*sizes: int) -> npt.NDArray[np.float32]:
        return generator.standard_normal(sizes).astype(np.float32) / np.float32(np.sqrt(sizes[0]))

    black = np.zeros(shape, np.uint8)
    count = textures(black, smaller(black)).size
    inputs = (shape[2], 32, 48, 64)
    return PhotographDetector(
        shape,
        np.array([[0, 1]] * 4, np.float32),
        mean=np.ones(count, np.float32),
        deviation=np.ones(count, np.float32),
        mixing=(some(count, 128), np.zeros(128, np.float32)),
        judges=some(count + 128, 3),
        convolutions=tuple((some(9 * of, to), some(to)) for of, to in zip(inputs, (*inputs[1:], 96), strict=True)),
        head=some(96),
    )


def packed(arrays: Arrays) -> bytes:
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(file, **named)
    return file.getvalue()


@pytest.fixture
def made(tmp_path: Path) -> Package:
    """A package that tells pictures from 199 of noise."""
    test = NoveltyTest.against(detector(), random_images(199, seed=5), 0.01)
    return carry(package(tmp_path / "kernel", calibration()), test)


def test_p_values_are_ranks_and_ties_count_against_the_picture() -> None:
    test = NoveltyTest(detector(), np.array([0.0, 1.0, 1.0, 2.0]), 0.3)
    scores = np.array([-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert test.p_values(scores).tolist() == [1.0, 1.0, 0.8, 0.8, 0.4, 0.4, 0.2]
    assert test.can_flag
    assert not dataclasses.replace(test, level=0.2).can_flag


@pytest.mark.parametrize("values", [None, 3])
def test_p_values_of_exchangeable_pictures_are_never_too_small_too_often(values: int | None) -> None:
    """Uniform on k / (n + 1) where no scores are alike; with ties, no p-value is had more often than it says."""
    generator = np.random.default_rng(1)
    count, tries = 9, 20_000
    scores = generator.random((tries, count + 1)) if values is None else generator.integers(0, values, (tries, 10)) / 1
    one = detector()
    found = np.array([NoveltyTest(one, np.sort(row[:-1]), 0.1).p_values(row[-1:])[0] for row in scores])
    for k in range(1, count + 2):
        share = (found <= k / (count + 1) + 1e-9).mean()
        deviation = 4 * np.sqrt(0.25 / tries)
        assert share <= k / (count + 1) + deviation
        if values is None:
            assert share >= k / (count + 1) - deviation


def test_calibration_pictures_are_strange_by_the_rule_of_others() -> None:
    """So that those left, given the lowest strange score, are as if drawn anew from the pictures that are not."""
    pictures = random_images(400, seed=3)
    test = NoveltyTest.against(detector(), pictures, 0.01)
    strange = test.strange(pictures)
    assert strange.sum() in (2, 3)  # p-values of 2/401 to 4/401, since each counts itself; those that tie lie above
    scores = test.detector.scores(pictures)
    assert scores[strange].min() > scores[~strange].max()
    lowest = scores[strange].min()
    others = test.detector.scores(random_images(300, seed=4))
    assert np.array_equal(test.p_values(others) < test.level, others >= lowest)


def test_a_detector_computes_what_torch_does() -> None:
    torch = pytest.importorskip("torch")
    for shape in ((28, 28, 1), (9, 5, 3), (48, 33, 3)):
        one = detector(shape)
        image = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
        seen = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
        for weights, bias in one.convolutions:
            filters = torch.from_numpy(weights.reshape(3, 3, seen.shape[1], -1)).permute(3, 2, 0, 1)
            seen = torch.relu(torch.nn.functional.conv2d(seen, filters, torch.from_numpy(bias), 2, 1))
        flat = seen.permute(0, 2, 3, 1).flatten().numpy()
        hidden = np.maximum(flat @ one.hidden[0] + one.hidden[1], 0)
        logits = torch.from_numpy(hidden @ one.head[0] + one.head[1])
        features = np.concatenate([seen.mean((0, 2, 3)).numpy(), hidden]) @ one.whitening
        expected = [
            float(logits[-1] - torch.logsumexp(logits[:-1], 0)),
            np.log(((features - one.centres) ** 2).sum(1).min() + 1e-6),
        ]
        assert one.parts(image) == pytest.approx(expected, abs=1e-4)
        assert one.score(image) == pytest.approx(max(expected), abs=2e-4)


def test_a_photograph_is_judged_by_its_textures_and_by_what_torch_sees_in_it() -> None:
    torch = pytest.importorskip("torch")
    for shape in ((224, 224, 3), (130, 117, 1)):
        one = photograph_detector(shape)
        image = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
        small = smaller(image)
        seen = torch.from_numpy(small.transpose(2, 0, 1)[None] / np.float32(127.5) - np.float32(1))
        for weights, bias in one.convolutions:
            filters = torch.from_numpy(weights.reshape(3, 3, seen.shape[1], -1)).permute(3, 2, 0, 1)
            seen = torch.relu(torch.nn.functional.conv2d(seen, filters, torch.from_numpy(bias), 2, 1))
        expected = one.judged(textures(image, small))
        expected[0] += seen.mean((2, 3)).numpy()[0] @ one.head
        assert one.parts(image) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("shape", [(224, 224, 3), (112, 130, 1), (300, 200, 3)])
def test_photographs_are_made_smaller_by_means_of_four_pixels_a_block(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    step = min(shape[:2]) // 56
    height, width = shape[0] // step, shape[1] // step
    blocks = image[: height * step, : width * step].reshape(height, step, width, step, -1).astype(np.float32)
    near, far = step // 4, step - 1 - step // 4
    assert np.array_equal(smaller(image), blocks[:, [near, far]][:, :, :, [near, far]].mean((1, 3)))


def test_a_detector_of_photographs_is_found_again_and_one_without_a_network_is_refused() -> None:
    one = photograph_detector()
    again = detector_of(one.arrays())
    picture = np.random.default_rng(1).integers(0, 256, one.shape, np.uint8)
    assert isinstance(again, PhotographDetector)
    assert again.score(picture) == one.score(picture)
    before = {name: array for name, array in one.arrays().items() if not name.startswith(("weights", "bias"))}
    with pytest.raises(ValueError, match="0 convolutions: expected 1 to 4"):
        detector_of(before)


def test_a_package_of_photographs_takes_a_detector_whole(tmp_path: Path) -> None:
    form = BackEndInput(
        height=224,
        width=224,
        channels=3,
        layout="NHWC",
        element="uint8",
        mean=[0.0] * 3,
        deviation=[1.0] * 3,
    )
    kernel = package(tmp_path / "kernel", calibration()).put({}, [], backend_input=form.model_dump())
    test = NoveltyTest(photograph_detector(), np.linspace(0.0, 1.0, 99), 0.02)
    found = novelty_test(carry(kernel, test))
    assert found is not None
    assert isinstance(found.detector, PhotographDetector)
    before = kernel.path.joinpath("kernel.json").read_bytes()
    with pytest.raises(KernelError, match=r"tell nothing apart.*calibrate again"):
        carry(kernel, dataclasses.replace(test, reference=test.reference[:9]))
    assert kernel.path.joinpath("kernel.json").read_bytes() == before


def test_large_pictures_are_seen_as_means_of_squares() -> None:
    image = np.arange(100 * 130 * 3, dtype=np.uint32).reshape(100, 130, 3).astype(np.uint8)
    assert reduced(image.shape) == (33, 43, 3)
    assert max(reduced(image.shape)) <= MOST_SIDE
    means = image[:99, :129].reshape(33, 3, 43, 3, 3).astype(float).mean((1, 3))
    assert np.abs(reduced_bytes(image[None])[0] - means).max() <= 0.5
    assert detector(image.shape).score(image) == detector(image.shape).scores(image[None])[0]


def test_textures_tell_where_a_shade_is() -> None:
    """Of two shades, one above the other or around it, which fill as much of the picture: only regions differ."""
    above, below = (np.zeros((224, 224, 3), np.uint8) for _ in range(2))
    above[:112], below[112:] = 255, 255
    around = np.full((224, 224, 3), 255, np.uint8)
    around[33:191, 33:191] = 0  # half of all pixels
    shades = [textures(one, smaller(one))[-5 * 216 :].reshape(5, 216) for one in (above, below, around)]
    black, white = 0, 215
    assert shades[0][0] == pytest.approx(shades[1][0])
    assert [float(one[3, white]) for one in shades[:2]] == [1.0, 0.0]
    assert [float(one[4, black]) for one in shades[:2]] == [1.0, 0.0]
    assert shades[2][1, white] == 1.0
    assert shades[2][2, black] > 0.9 > shades[2][0, black] == pytest.approx(0.5**0.5, abs=0.02)


@pytest.mark.parametrize("shape", [(224, 224, 3), (112, 130, 1), (300, 200, 3)])
def test_textures_are_numbers_whatever_the_picture(shape: tuple[int, int, int]) -> None:
    generator = np.random.default_rng(0)
    black = np.zeros(shape, np.uint8)
    count = textures(black, smaller(black)).shape
    pictures = [np.full(shape, level, np.uint8) for level in (0, 128, 255)]
    for picture in (*pictures, generator.integers(0, 256, shape, np.uint8)):
        found = textures(picture, smaller(picture))
        assert found.shape == count
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
    one = photograph_detector(shape)
    assert NoveltyTest.against(one, np.stack(pictures)).p_value(pictures[0]) > 0
    with pytest.raises(ValueError, match="too small"):
        dataclasses.replace(one, shape=(100, 300, 3))
    with pytest.raises(ValueError, match="judges"):
        dataclasses.replace(one, judges=one.judges[:-1])
    with pytest.raises(ValueError, match="head"):
        dataclasses.replace(one, head=one.head[:-1])
    with pytest.raises(ValueError, match="0 convolutions"):
        dataclasses.replace(one, convolutions=())


@pytest.mark.parametrize("made_by", [lambda: detector((48, 48, 3)), photograph_detector])
def test_a_p_value_takes_a_core_a_millisecond_or_little_more(made_by: Callable[[], Any]) -> None:
    """The least of many, three times over, as the machine does other things, too; a bench measures it undisturbed."""
    one = made_by()
    test = NoveltyTest(one, np.zeros(10_000), 0.01)
    picture = np.random.default_rng(0).integers(0, 256, one.shape, np.uint8)
    spent = []
    for _ in range(60):
        begin = time.thread_time()
        test.p_value(picture)
        spent.append(time.thread_time() - begin)
    assert min(spent) < 3e-3


def test_what_was_packed_is_found_again(made: Package) -> None:
    found = novelty_test(Package.load(made.path))
    assert found is not None
    again = NoveltyTest.against(detector(), random_images(199, seed=5))
    assert np.array_equal(found.reference, again.reference)
    assert found.p_value(random_images(1)[0]) == again.p_value(random_images(1)[0])
    assert found.packed() == again.packed()
    assert made.kernel.novelty is not None
    assert (made.kernel.novelty.images, made.kernel.novelty.level) == (199, 0.01)


def test_another_reference_takes_the_place_of_the_one_before(made: Package) -> None:
    assert made.kernel.novelty is not None
    before = made.kernel.novelty.file
    newer = carry(made, NoveltyTest.against(detector(), random_images(250, seed=6)))
    assert [path.name for path in made.path.glob("novelty-*")] == [newer.kernel.novelty.file]  # type: ignore[union-attr]
    assert before not in Package.load(made.path).kernel.files
    bare = carry(newer, None)
    assert (bare.kernel.novelty, bare.kernel.files, list(made.path.glob("novelty-*"))) == (None, {}, [])
    assert novelty_test(Package.load(made.path)) is None


def _without(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


def _changed(name: str, value: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = value(arrays[name])

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("hidden"), "it has no array 'hidden'"),
        (_without("weights0"), "it has no array 'weights0'"),
        (_without("bias1"), "it has no array 'bias1'"),
        (_without("weights2"), "hidden: .* expected"),
        (_changed("weights1", lambda a: a.T), "weights1: float32"),
        (_changed("weights1", lambda a: a.astype(np.float64)), "weights1: float64"),
        (_changed("head", lambda a: a * np.nan), "head: holds what is no number"),
        (_changed("scale", lambda a: a * 0), "scale: a spread of 0"),
        (_changed("shape", lambda a: a + 1), "weights0|hidden|pictures of"),
        (_changed("shape", lambda a: a * 0), "it is for pictures of"),
        (_changed("shape", lambda a: a[:2]), "shape: int64"),
        (_changed("reference", lambda a: a[::-1]), "its scores must be numbers, and rise"),
        (_changed("reference", lambda a: a[:0]), "reference: float64"),
        (_changed("reference", lambda a: np.array([object()])), "pickle"),
        (_changed("reference", lambda a: np.zeros(1 << 21)), "at most 17 of 8388608 are read"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(made: Package, change: Callable[[Arrays], None], said: str) -> None:
    assert made.kernel.novelty is not None
    with np.load(made.path / made.kernel.novelty.file) as file:
        arrays = dict(file)
    change(arrays)
    _refused(made, packed(arrays), said)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_files_that_hold_no_arrays_are_refused(made: Package, content: bytes) -> None:
    _refused(made, content, "")


def test_every_damaged_byte_is_refused_or_changes_nothing_that_breaks(made: Package) -> None:
    """By its checksum, first of all; without it, by what is read."""
    assert made.kernel.novelty is not None
    whole = (made.path / made.kernel.novelty.file).read_bytes()
    (made.path / made.kernel.novelty.file).write_bytes(whole[:-1])
    with pytest.raises(KernelError, match="checksum differs"):
        novelty_test(made)
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        changed = _with(made, bytes(damaged))
        with contextlib.suppress(KernelError):  # as any other error is not
            found = novelty_test(changed)
            assert found is not None
            assert 0 < found.p_value(random_images(1)[0]) <= 1


def _with(made: Package, content: bytes) -> Package:
    assert made.kernel.novelty is not None
    told = made.kernel.novelty.model_copy(update={"file": "novelty-00000000.npz"})
    return made.put({told.file: content}, [], novelty=told.model_dump())


def _refused(made: Package, content: bytes, said: str) -> None:
    with pytest.raises(KernelError, match=rf"novelty-00000000\.npz: tells no strange pictures \(.*({said})") as caught:
        novelty_test(_with(made, content))
    assert str(caught.value).endswith("calibrate the package again")


def test_the_answer_to_a_strange_picture_is_not_guaranteed(made: Package) -> None:
    test = novelty_test(made)
    assert test is not None
    strange = dataclasses.replace(test, reference=np.full(199, -1e9))
    usual = dataclasses.replace(test, reference=np.full(199, 1e9))
    for one, guaranteed, value in ((strange, False, 0.005), (usual, True, 1.0)):
        for answer in ask(_of(made, one), 0.8, deadline=60.0):
            assert (answer.guaranteed, answer.novelty, answer.degraded) == (guaranteed, value, False)
            assert (answer.guaranteed_for is None) == (answer.reason is not None) == (not guaranteed)
    (said,) = ask(_of(made, strange), 0.8, deadline=60.0, count=1)
    assert said.reason == (
        "target not guaranteed: the picture is unlike those of the calibration split of none "
        "(p-value 0.005, below 0.01)"
    )
    (late,) = ask(_of(made, strange), 0.8, deadline=-1.0, count=1)
    assert (late.degraded, late.guaranteed) == (True, False)
    assert str(late.reason).startswith("the deadline passed on the fabric; and the picture is unlike those of")


def _of(made: Package, test: NoveltyTest) -> Cascade:
    return Cascade(FakeFabric(carry(made, test)), calibration(), None)


def test_without_a_detector_no_picture_is_told_from_others(tmp_path: Path) -> None:
    bare = package(tmp_path / "kernel", calibration())
    assert novelty_test(bare) is None
    (answer,) = ask(Cascade(FakeFabric(bare), calibration(), None), 0.8, deadline=60.0, count=1)
    assert (answer.guaranteed, answer.novelty) == (True, None)


def test_a_cascade_with_a_damaged_detector_does_not_begin(made: Package) -> None:
    with pytest.raises(KernelError, match="tells no strange pictures"):
        Cascade(FakeFabric(_with(made, b"nothing")), calibration(), None)
