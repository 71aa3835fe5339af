"""Encoded pictures that a worker makes tensors of itself: by the same rule, within its bounds, each for itself."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight.host.datacenter.executors import ModelError, Recipe, make
from edgesight.host.datacenter.executors import device_pictures as under_test
from edgesight.host.datacenter.executors.device_pictures import DevicePictures, is_for_device, stretched
from edgesight.host.datacenter.models import as_taken
from edgesight.host.datacenter.repository import Repository
from edgesight.host.doors.served import Code, Refused, Request, Response, Tensor
from edgesight.host.kernel import BackEndInput
from edgesight.host.picture_formats import outline
from edgesight.host.pictures import fit, read
from tests.host.datacenter.pictures import CONFIG, FORM, echo, encoded, objects, repository, spoilt
from tests.host.datacenter.tiny import ME, centre, hosted_in, put, run, scaled

torch = pytest.importorskip("torch", reason="torch is not installed: extra `build`")
CPU = torch.device("cpu")
LEVELS = 2.0  # most by which a pixel differs that is filtered in floats
NORMALISED = LEVELS / min(FORM.deviation)
WHOLE = encoded()


def by_rule(content: bytes, form: BackEndInput = FORM) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = as_taken(read(content, *form.shape).pixels[None], form)[0]
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_its_size_is_turned_as_the_rule_turns_it(orientation: int) -> None:
    file = encoded("PNG", orientation=orientation)
    stored = np.array(Image.open(io.BytesIO(file)))
    height, width = (40, 30) if orientation >= 5 else (30, 40)
    pixels = stretched(torch.tensor(stored).permute(2, 0, 1)[None], orientation, height, width)[0].permute(1, 2, 0)
    assert np.array_equal(pixels.numpy(), read(file, height, width, 3).pixels)


@pytest.mark.parametrize("shape", [(30, 40, 3), (9, 7, 3), (301, 13, 3), (224, 224, 1)])
def test_a_picture_is_stretched_to_within_two_levels_of_the_rule(shape: tuple[int, int, int]) -> None:
    pixels = np.array(Image.open(io.BytesIO(encoded("PNG", shape)))).reshape(shape)
    found = stretched(torch.tensor(pixels).permute(2, 0, 1)[None], 1, 12, 16)[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[..., 0] if shape[2] == 1 else pixels)
    assert np.abs(found - fit(image, 12, 16, shape[2])).max() <= LEVELS
    assert np.array_equal(found, found.round())


@pytest.mark.parametrize("element", ["uint8", "float32"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_in_the_form_and_what_the_cpu_reads_is_equal(channels: Any, layout: Any, element: Any) -> None:
    plain = element == "uint8"
    form = BackEndInput(
        height=12,
        width=16,
        channels=channels,
        layout=layout,
        element=element,
        mean=([0.0] * 3 if plain else FORM.mean)[:channels],
        deviation=([1.0] * 3 if plain else FORM.deviation)[:channels],
    )
    files = [encoded("PNG", seed=1), WHOLE, encoded("BMP", (50, 9, 3))]
    made, faults = DevicePictures("m", CPU, form).batch(files)
    assert faults == {}
    for place, file in enumerate(files):
        expected = by_rule(file, form)
        found = made[place].numpy()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(found, expected) or place == 1
        # Of a JPEG in grey, the decoder's brightness beside that of its colours.
        assert np.abs(found.astype(float) - expected).max() <= 2 * (LEVELS if plain else NORMALISED)


def test_only_plain_whole_jpegs_are_for_the_device() -> None:
    with io.BytesIO() as file:
        Image.new("CMYK", (16, 16)).save(file, "JPEG")
        four = file.getvalue()
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
    jfif = WHOLE.index(b"JFIF") - 4
    without = WHOLE[:jfif] + WHOLE[jfif + 2 + WHOLE[jfif + 3] :]
    names = without.index(b"\xff\xc0") + 10  # of its components, which take three bytes each
    named = bytearray(without)
    named[names : names + 9 : 3] = b"RGB"
    for own in (WHOLE, encoded(progressive=True), WHOLE + b"\0\0", WHOLE[:2] + adobe + b"\x01" + WHOLE[2:], without):
        assert is_for_device(outline(own))
    for other in (
        four,
        encoded("PNG"),
        WHOLE[:-40],
        WHOLE[:2] + adobe + b"\x00" + WHOLE[2:],
        bytes(named),
        WHOLE.replace(b"\xff\xc0", b"\xff\xc9"),
    ):
        assert not is_for_device(outline(other))


def test_damaged_pictures_are_named_and_the_others_are_as_they_would_be_alone() -> None:
    pictures = DevicePictures("m", CPU, FORM)
    files = [WHOLE, b"no picture", WHOLE[:-40], spoilt(WHOLE), encoded(seed=3)]
    made, faults = pictures.batch(files)
    assert sorted(faults) == [1, 2, 3]
    assert "is no picture that is read" in faults[1]
    assert "damaged" in faults[2]
    assert "damaged" in faults[3]
    for place in (0, 4):
        assert torch.equal(made[place], pictures.batch([files[place]])[0][0])


def test_pictures_beyond_what_is_held_at_once_go_in_turns_or_by_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [encoded(seed=seed) for seed in range(3)] + [encoded(shape=(60, 50, 3))]
    whole, _ = DevicePictures("m", CPU, FORM).batch(files)
    monkeypatch.setattr(under_test, "_MOST_PIXELS", 30 * 40 + 1)
    made, faults = DevicePictures("m", CPU, FORM).batch(files)
    assert faults == {}
    assert torch.equal(made[:3], whole[:3])
    assert np.array_equal(made[3].numpy(), by_rule(files[3]))


def test_jpegs_that_are_decoded_on_the_device_keep_to_the_rule() -> None:
    pictures = DevicePictures("m", CPU, FORM)
    if not pictures.decodes:
        pytest.skip("torchvision is not installed for this torch: extra `gpu`")
    files = [encoded(orientation=one, seed=one, quality=95) for one in range(1, 9)] + [encoded(shape=(30, 40, 1))]
    made, faults = pictures.batch(files)
    assert faults == {}
    for row, file in zip(made.numpy(), files, strict=True):
        assert np.abs(row - by_rule(file)).max() <= NORMALISED


def test_a_worker_takes_pictures_and_a_damaged_one_costs_only_its_own_request(tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")
    repository(tmp_path)

    async def test() -> None:
        async with centre(tmp_path) as made:
            assert hosted_in(made, "echo").takes_pictures

            async def asked(*files: bytes) -> Response:
                return await made.infer(Request("echo", [Tensor("picture", "BYTES", objects(files))]), ME)

            good, cut, wrong = await asyncio.gather(
                asked(WHOLE, encoded(seed=1)),
                asked(WHOLE, b"no picture"),
                asked(WHOLE, spoilt(WHOLE)),
                return_exceptions=True,
            )
            assert isinstance(good, Response)
            rows = good.outputs[0].values
            assert rows.shape == (2, 3, 12, 16)
            assert np.abs(rows[1] - by_rule(encoded(seed=1))).max() <= NORMALISED
            for told in (cut, wrong):
                assert isinstance(told, Refused)
                assert told.code is Code.INVALID_ARGUMENT
                assert str(told).startswith("picture 1 is ")
            by_pool = await asked(encoded("PNG"), WHOLE)
            assert np.array_equal(by_pool.outputs[0].values[1], by_rule(WHOLE))
            pixels = np.stack([by_rule(WHOLE)])
            answer = await made.infer(Request("echo", [Tensor("x", "FP32", pixels)]), ME)
            assert np.array_equal(answer.outputs[0].values, pixels)
            with pytest.raises(Refused, match="5 pictures: send 1 to 4"):
                await asked(*[WHOLE] * 5)
            (counted,) = made.statistics("echo", "")
            assert (counted.success.count, counted.fail.count) == (3, 3)

    run(test())


@pytest.mark.parametrize(
    ("value", "onnx", "form", "told"),
    [
        ("host", False, True, "`pictures` is 'host': state device"),
        ("device", True, True, "which onnxruntime does not do: give"),
        ("device", False, False, r"there is no form\.json: put it"),
    ],
)
def test_what_cannot_take_pictures_is_refused(value: str, onnx: bool, form: bool, told: str, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")
    repository(tmp_path, CONFIG.replace('"device"', f'"{value}"'))
    if onnx:
        put(tmp_path, "echo", scaled(1.0))
        (tmp_path / "echo" / "1" / "model.pt2").unlink()
    if not form:
        (tmp_path / "echo" / "form.json").unlink()
    with pytest.raises(ModelError, match=told):
        Repository(tmp_path).versions("echo")


def test_a_form_that_the_model_does_not_take_is_refused_as_it_is_loaded() -> None:
    other = FORM.model_copy(update={"layout": "NHWC"})
    with pytest.raises(
        ModelError, match=r"m takes FP32 \[-1, 3, 12, 16\], but form\.json states FP32 \[-1, 12, 16, 3\]"
    ):
        make(Recipe("pytorch", "m", form=other.model_dump_json()), echo())
