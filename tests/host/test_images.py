"""Pictures become pixels by one rule, or a clear error."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgesight.host.images import ImageError, image_content, listed, picture_of, read_image
from edgesight.host.kernel import BackEndInput, Input
from edgesight.host.pictures import fit

ROOT = Path(__file__).parents[2]
GREY = Input(height=28, width=28, channels=1)
COLOUR = Input(height=20, width=32, channels=3)
PHOTOGRAPH = BackEndInput.same_as(Input(height=64, width=48, channels=3))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([rows * 3 % 256, columns * 5 % 256, rows * columns % 256], -1).astype(np.uint8))


def array_file(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(28, 28), (100, 60), (7, 9), (3_000, 700)])
@pytest.mark.parametrize("expected", [GREY, COLOUR])
def test_scaling_in_bands_is_pillows_own_scaling(size: tuple[int, int], expected: Input) -> None:
    plain = gradient(*size).convert("L" if expected.channels == 1 else "RGB")
    across = plain.resize((expected.width, plain.height), Image.Resampling.BILINEAR)
    down = np.asarray(across.resize((expected.width, expected.height), Image.Resampling.BILINEAR))
    ours = fit(gradient(*size), *expected.shape)
    assert np.array_equal(ours, down.reshape(expected.shape))
    # In one call Pillow may begin with the other direction, which rounds otherwise.
    whole = np.asarray(plain.resize((expected.width, expected.height), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - whole.reshape(expected.shape)).max() <= 1


def test_a_picture_is_stretched_upright_to_the_kernels_shape() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    pixels = read_image(encoded(gradient(64, 40), "PNG", exif=turned), COLOUR, "x").pixels
    assert pixels.shape == COLOUR.shape
    by_hand = encoded(gradient(64, 40).rotate(-90, expand=True), "PNG")
    assert np.array_equal(pixels, read_image(by_hand, COLOUR, "x").pixels)


def test_an_array_of_the_kernels_shape_is_taken_as_it_is() -> None:
    array = np.random.default_rng(0).integers(0, 256, GREY.shape, dtype=np.uint8)
    assert np.array_equal(read_image(array_file(array), GREY, "x.npy").pixels, array)


def test_an_array_of_another_shape_or_type_is_refused() -> None:
    for array in (np.zeros((28, 28, 3), np.uint8), np.zeros((28, 28), np.uint8), np.zeros((28, 28, 1))):
        with pytest.raises(ImageError, match=r"x\.npy holds .* takes uint8 \[28, 28, 1\]"):
            read_image(array_file(array), GREY, "x.npy")


@pytest.mark.parametrize("expected", [GREY, COLOUR])
def test_a_photograph_is_made_of_the_picture_and_not_of_the_thumbnail(expected: Input) -> None:
    drawn = gradient(100, 90)
    found = read_image(encoded(drawn, "PNG"), expected, "x", PHOTOGRAPH)
    assert found.photograph is not None
    assert np.array_equal(found.photograph, fit(drawn, *PHOTOGRAPH.shape))
    assert np.array_equal(found.pixels, fit(drawn, *expected.shape))
    assert found.warnings == ()


def test_a_back_end_that_takes_the_pixels_has_no_photograph() -> None:
    assert read_image(encoded(gradient(64, 40), "PNG"), COLOUR, "x", BackEndInput.same_as(COLOUR)).photograph is None


def test_a_picture_smaller_than_what_the_back_end_takes_is_told() -> None:
    (said,) = read_image(encoded(gradient(40, 63), "PNG"), COLOUR, "x", PHOTOGRAPH).warnings
    assert said == "is 40 x 63 pixels, fewer than the 48 x 64 that the network takes"


def test_an_array_may_have_the_shape_of_either_form() -> None:
    large = np.asarray(gradient(48, 64))
    small = np.asarray(gradient(32, 20))
    of_large = picture_of(large, COLOUR, "x", PHOTOGRAPH)
    assert of_large.photograph is not None
    assert np.array_equal(of_large.photograph, large)
    assert np.array_equal(of_large.pixels, fit(gradient(48, 64), *COLOUR.shape))
    of_small = read_image(array_file(small), COLOUR, "x.npy", PHOTOGRAPH)
    assert of_small.photograph is not None
    assert np.array_equal(of_small.pixels, small)
    assert np.array_equal(of_small.photograph, fit(gradient(32, 20), *PHOTOGRAPH.shape))
    assert of_small.warnings == ("has the fabric's size: for the data centre it is enlarged",)
    with pytest.raises(ImageError, match=r"takes uint8 \[20, 32, 3\] or \[64, 48, 3\]"):
        picture_of(np.zeros((20, 20, 3), np.uint8), COLOUR, "x", PHOTOGRAPH)


def test_a_corrupt_jpeg_is_refused_by_name() -> None:
    whole = encoded(gradient(200, 200), "JPEG")
    with pytest.raises(ImageError, match=r"cat\.jpg is damaged"):
        read_image(whole[: len(whole) // 2], GREY, "cat.jpg")
    with pytest.raises(ImageError, match=r"cat\.jpg is no picture"):
        read_image(b"not a picture", GREY, "cat.jpg")
    with pytest.raises(ImageError, match=r"cat\.npy is damaged"):
        read_image(b"\x93NUMPY\x01\x00", GREY, "cat.npy")


def test_32_bit_boards_read_fewer_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.maxsize", 2**31 - 1)
    for kind in ("JPEG", "PNG", "BMP", "PPM"):
        read_image(encoded(gradient(32, 20), kind), COLOUR, "x")
    for kind in ("GIF", "TIFF", "WEBP"):
        with pytest.raises(ImageError, match=f"{kind}, which 32-bit boards do not read: save it as JPEG, PNG, BMP or"):
            read_image(encoded(gradient(32, 20), kind), COLOUR, "x")


def test_a_picture_that_unpacks_to_too_much_is_refused() -> None:
    bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="12000 x 12000 pixels"):
        read_image(bomb, GREY, "bomb.png")


@settings(deadline=None)  # a busy machine is no fault
@given(st.data())
def test_any_bytes_give_pixels_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
    content = bytearray(encoded(gradient(16, 16), kind))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[position] = value
    with contextlib.suppress(ImageError):
        assert read_image(bytes(content), GREY, "x").pixels.shape == GREY.shape


def test_a_file_is_read_up_to_a_limit_and_a_device_or_folder_not_at_all(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(2**36)
    for path, said in (
        (Path("/dev/zero"), "is a device"),
        (tmp_path, "is a folder"),
        (sparse, "larger than 33554432 bytes"),
        (tmp_path / "none.png", "cannot be read"),
    ):
        with pytest.raises(ImageError, match=said):
            image_content(path)
    small = tmp_path / "small"
    small.write_bytes(b"x" * 1_000)
    assert image_content(small) == b"x" * 1_000


def test_a_pipe_is_read_to_its_end_or_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = b"picture" * 100_000
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert image_content(pipe) == content
    writer.join()
    monkeypatch.setattr("edgesight.host.images._PIPE_S", 0.2)
    with pytest.raises(ImageError, match="gave no whole picture within"):
        image_content(pipe)


def test_standard_input_is_read_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abc")))
    assert image_content(Path("-")) == b"abc"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(2**25 + 2))))
    with pytest.raises(ImageError, match="standard input is larger"):
        image_content(Path("-"))


def test_a_folder_lists_its_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.npy", "notes.txt", ".hidden/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert listed(tmp_path) == [tmp_path / "a" / "c.npy", tmp_path / "b.PNG"]
    assert listed(tmp_path / "b.PNG") == [tmp_path / "b.PNG"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no file"):
        listed(tmp_path / "empty")
