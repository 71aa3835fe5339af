"""Pictures become pixels by one rule, or a clear error."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from host.images import ImageError, read_image
from host.kernel import Input
from quant.datasets import resize_square

GREY = Input(height=28, width=28, channels=1)
COLOUR = Input(height=20, width=32, channels=3)


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([rows * 3 % 256, columns * 5 % 256, rows * columns % 256], -1).astype(np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", [(28, 28), (100, 60), (7, 9)])
def test_pictures_are_read_as_data_sets_are(kind: str, size: tuple[int, int]) -> None:
    content = encoded(gradient(*size), kind)
    for expected in (GREY, Input(height=32, width=32, channels=3)):
        with Image.open(io.BytesIO(content)) as picture:
            trained_on = resize_square(picture, expected.width, grey=expected.channels == 1)
        assert np.array_equal(read_image(content, expected, "x"), trained_on)


def test_sixteen_bit_grey_palette_and_alpha_are_read_as_data_sets_are() -> None:
    wide = Image.fromarray((np.arange(28 * 28, dtype=np.uint16) * 80).reshape(28, 28))
    for picture in (wide, gradient(28, 28).quantize(16), gradient(28, 28).convert("RGBA")):
        content = encoded(picture, "PNG")
        with Image.open(io.BytesIO(content)) as again:
            assert np.array_equal(read_image(content, GREY, "x"), resize_square(again, 28, grey=True))


def test_a_picture_is_stretched_upright_to_the_kernels_shape() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    pixels = read_image(encoded(gradient(64, 40), "PNG", exif=turned), COLOUR, "x")
    assert pixels.shape == COLOUR.shape
    assert np.array_equal(pixels, read_image(encoded(gradient(64, 40).rotate(-90, expand=True), "PNG"), COLOUR, "x"))


def test_an_array_of_the_kernels_shape_is_taken_as_it_is() -> None:
    array = np.random.default_rng(0).integers(0, 256, GREY.shape, dtype=np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, array)
    assert np.array_equal(read_image(buffer.getvalue(), GREY, "x.npy"), array)


def test_an_array_of_another_shape_or_type_is_refused() -> None:
    for array in (np.zeros((28, 28, 3), np.uint8), np.zeros((28, 28), np.uint8), np.zeros((28, 28, 1))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        with pytest.raises(ImageError, match=r"x\.npy holds .* takes uint8 \[28, 28, 1\]"):
            read_image(buffer.getvalue(), GREY, "x.npy")


def test_a_corrupt_jpeg_is_refused_by_name() -> None:
    whole = encoded(gradient(200, 200), "JPEG")
    with pytest.raises(ImageError, match=r"cat\.jpg is damaged"):
        read_image(whole[: len(whole) // 2], GREY, "cat.jpg")
    with pytest.raises(ImageError, match=r"cat\.jpg is no picture"):
        read_image(b"not a picture", GREY, "cat.jpg")
    with pytest.raises(ImageError, match=r"cat\.npy is damaged"):
        read_image(b"\x93NUMPY\x01\x00", GREY, "cat.npy")


def test_a_picture_that_unpacks_to_too_much_is_refused() -> None:
    bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageError, match="12000 x 12000 pixels"):
        read_image(bomb, GREY, "bomb.png")


@given(st.data())
def test_any_bytes_give_pixels_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
    content = bytearray(encoded(gradient(16, 16), kind))
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)))):
        content[position] = value
    with contextlib.suppress(ImageError):
        assert read_image(bytes(content), GREY, "x").shape == GREY.shape
