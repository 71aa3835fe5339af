"""What `edgesight.quant.export` promises: equality with Brevitas, equal bytes, and refusals that name the layer."""

from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import onnx
import pytest
import torch
from brevitas.quant.fixed_point import Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from brevitas.quant.scaled_int import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from numpy.typing import NDArray
from torch import nn

from edgesight.quant import answers, export, variants
from edgesight.quant.export import ExportError, StoredStage
from edgesight.quant.variants import Exponents

SEED = 11
ZOO = Path(export.__file__).parent / "zoo"
SHIPPED = sorted(path.parent for path in ZOO.glob("*/card.json"))
BACK_ENDS = [folder for folder in SHIPPED if (folder / "backend.onnx").is_file()]


def random_images(count: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    print(f"seed {SEED}")
    return np.random.default_rng(SEED).integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture(params=["stage0", "stage1"])
def untrained(request: pytest.FixtureRequest) -> StoredStage:
    """A network of random integers, whose sums reach far more often into saturation than a trained one's."""
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    variant = variants.VARIANTS[request.param]
    shape = (12, 12, 3)
    exponents, folded, incoming = {}, {}, variants.INPUT_EXPONENT
    for placed in variants.fit(variant, shape, 6):
        if not placed.parameters:
            continue
        exponents[placed.name] = Exponents(-4, -2 if placed.relu else None)
        inputs = placed.parameters // placed.output_shape[2] - 1
        kernel = (placed.input_shape[2], 3, 3) if placed.relu else (inputs,)
        weight = torch.randint(-3, 4, (placed.output_shape[2], *kernel)) * 2.0**-4
        bias = torch.randint(-50, 51, (placed.output_shape[2],)) * 2.0 ** (incoming - 4)
        folded[placed.name] = (weight, bias)
        incoming = -2
    return StoredStage(variant, shape, 6, exponents, folded)


def test_qonnx_equals_brevitas_on_random_networks_and_images(untrained: StoredStage, tmp_path: Path) -> None:
    images = random_images(100, untrained.shape)
    network = untrained.build()
    export.export_qonnx(network, untrained.shape, tmp_path / "stage.onnx")
    assert np.array_equal(export.qonnx_logits(tmp_path / "stage.onnx", images), answers.infer_exits(network, images))


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_qonnx_equals_brevitas_on_shipped_networks(folder: Path, stage: str) -> None:
    images = random_images(100, export.load_stage(folder, stage).shape)
    assert np.array_equal(
        export.qonnx_logits(folder / f"{stage}.onnx", images), export.brevitas_logits(folder, stage, images)[None]
    )


@pytest.mark.parametrize("stage", ["stage0", "stage1"])
@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_network_is_integer_arithmetic(folder: Path, stage: str) -> None:
    """Recompute a shipped network from its integers alone, without Brevitas, and compare every logit."""
    stored = export.load_stage(folder, stage)
    images = random_images(20, stored.shape)
    with np.load(folder / f"{stage}.npz", allow_pickle=False) as arrays:
        assert arrays["conv1.weight"].dtype == np.int8
        values = torch.from_numpy(images.astype(np.int64)).permute(0, 3, 1, 2)
        incoming = variants.INPUT_EXPONENT
        for placed in variants.fit(stored.variant, stored.shape, stored.classes):
            name, layer = placed.name, placed.layer
            if isinstance(layer, variants.MaxPool):
                values = torch.max_pool2d(values.double(), layer.size).long()
                continue
            weight = torch.from_numpy(arrays[f"{name}.weight"].astype(np.int64))
            bias = torch.from_numpy(arrays[f"{name}.bias"].astype(np.int64))
            if isinstance(layer, variants.Conv):
                padding = layer.kernel // 2 if layer.padding == "same" else 0
                values = torch.conv2d(values.double(), weight.double(), bias.double(), layer.stride, padding).long()
            else:
                values = values.flatten(1) @ weight.T + bias
            incoming += int(arrays[f"{name}.weight_exponent"])
            assert incoming == int(arrays[f"{name}.bias_exponent"])
            if placed.relu:
                outgoing = int(arrays[f"{name}.activation_exponent"])
                values = rounded_half_even(values.clamp(min=0), outgoing - incoming)
                values = values.clamp(max=2 ** (stored.variant.activation_bits or 0) - 1)
                incoming = outgoing
    assert np.array_equal(np.ldexp(values.numpy(), incoming), export.brevitas_logits(folder, stage, images))


def rounded_half_even(values: torch.Tensor, shift: int) -> torch.Tensor:
    """Divide by 2**shift in integers, rounding to the nearest, ties to even."""
    if shift <= 0:
        return values << -shift
    floor, rest, half = values >> shift, values & ((1 << shift) - 1), 1 << (shift - 1)
    up = (rest > half) | ((rest == half) & (floor & 1 == 1))
    return floor + up.long()


def test_exporting_twice_gives_equal_bytes_that_hold_no_path(untrained: StoredStage, tmp_path: Path) -> None:
    for name in ("first", "second"):
        export.export_qonnx(untrained.build(), untrained.shape, tmp_path / name / "stage.onnx")
        export.save_stage(untrained, tmp_path / name / "stage.npz")
    for file in ("stage.onnx", "stage.npz"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    written = (tmp_path / "first" / "stage.onnx").read_bytes()
    for told in (b".py", str(Path.cwd()).encode(), str(tmp_path).encode(), str(Path.home()).encode() + b"/"):
        assert told not in written
    assert {path.name for path in (tmp_path / "first").iterdir()} == {"stage.onnx", "stage.npz"}


def test_a_saved_stage_loads_as_it_was(untrained: StoredStage, tmp_path: Path) -> None:
    name = untrained.variant.name
    export.save_stage(untrained, tmp_path / f"{name}.npz")
    loaded = export.load_stage(tmp_path, name)
    assert loaded.exponents == untrained.exponents
    for layer, (weight, bias) in untrained.folded.items():
        assert torch.equal(loaded.folded[layer][0], weight)
        assert torch.equal(loaded.folded[layer][1], bias)


def test_weights_off_their_grid_are_not_saved(untrained: StoredStage, tmp_path: Path) -> None:
    untrained.folded["conv2"][0][0, 0, 0, 0] += 0.01
    with pytest.raises(ExportError, match=r"conv2\.weight: holds values off the grid of 2\*\*-4"):
        export.save_stage(untrained, tmp_path / "stage.npz")
    assert not (tmp_path / "stage.npz").exists()


def test_a_damaged_or_missing_zoo_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"stage0\.npz: is not there; train it"):
        export.load_stage(tmp_path, "stage0")
    (tmp_path / "stage0.npz").write_bytes(b"not a zip")
    with pytest.raises(ExportError, match=r"stage0\.npz: not a stage of the zoo"):
        export.load_stage(tmp_path, "stage0")
    with pytest.raises(ExportError, match="found 'backend', expected stage0 or stage1"):
        export.load_stage(tmp_path, "backend")


def test_images_of_another_shape_are_refused(untrained: StoredStage, tmp_path: Path) -> None:
    name = untrained.variant.name
    export.save_stage(untrained, tmp_path / f"{name}.npz")
    with pytest.raises(ExportError, match=r"expected uint8 \[N, 12, 12, 3\]"):
        export.brevitas_logits(tmp_path, name, np.zeros((1, 12, 12, 1), np.uint8))


# ----------------------------------------------------------------------------------------------------- refusals


def pixels(quantiser: type = Uint8ActPerTensorFixedPoint) -> nn.Module:
    layer: nn.Module = qnn.QuantIdentity(
        act_quant=quantiser, bit_width=8, scaling_impl_type="const", scaling_init=1.0, return_quant_tensor=False
    )
    return layer


def convolution(**keywords: Any) -> nn.Module:
    given = {"weight_quant": Int8WeightPerTensorFixedPoint, "bias": False} | keywords
    layer: nn.Module = qnn.QuantConv2d(1, 4, 3, **given)
    return layer


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (
            {"input": pixels(Uint8ActPerTensorFloat), "conv1": convolution()},
            r"layer input: its activation scale 0\.0039\d+ is no power of two",
        ),
        (
            {"input": pixels(), "conv1": convolution(weight_quant=Int8WeightPerTensorFloat)},
            r"layer conv1: its weight scale .* is no power of two",
        ),
        (
            {
                "input": pixels(),
                "conv1": convolution(),
                "relu1": qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, scaling_impl_type="const", scaling_init=3.0),
            },
            r"layer relu1: its activation scale .* is no power of two",
        ),
        ({"input": pixels(), "conv1": convolution(bias=True)}, r"layer conv1: its bias is floating-point"),
        ({"input": pixels(), "conv1": convolution(weight_quant=None)}, r"layer conv1: its weight is floating-point"),
        ({"conv1": convolution()}, r"layer conv1: its input is not quantised"),
        ({"input": pixels(), "conv1": convolution(), "conv2": convolution()}, r"layer conv2: its input is not"),
        ({"input": pixels(), "conv1": nn.Conv2d(1, 4, 3)}, r"layer conv1: Conv2d has no exact form"),
        ({"input": pixels(), "pool1": nn.AvgPool2d(2)}, r"layer pool1: AvgPool2d has no exact form"),
    ],
    ids=[
        "float input scale",
        "float weight scale",
        "float activation scale",
        "float bias",
        "float weight",
        "float input",
        "float between",
        "plain convolution",
        "average pooling",
    ],
)
def test_an_inexact_network_is_refused_by_layer_name(layers: dict[str, nn.Module], said: str) -> None:
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    with pytest.raises(ExportError, match=said):
        export.check_exportable(network)


# ----------------------------------------------------------------------------------------------------- back end


def test_the_back_end_runs_on_any_number_of_raw_images_as_torch_does(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(SEED)
    network = variants.fit(variants.BACKEND, (16, 16, 3), 6)
    twin = variants.build_float(variants.BACKEND, network).eval()
    path = tmp_path / "backend.onnx"
    export.export_backend(network, variants.fold(twin), path)
    assert onnx.load(str(path)).ir_version <= 10
    session = onnxruntime.InferenceSession(str(path))
    for count in (1, 5):
        images = random_images(count, (16, 16, 3))
        (logits,) = session.run(["logits"], {"image": images})
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, answers.infer(twin, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("folder", BACK_ENDS, ids=lambda folder: folder.name)
def test_a_shipped_back_end_takes_images_of_its_stages_shape(folder: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    stored = export.load_stage(folder, "stage0")
    session = onnxruntime.InferenceSession(str(folder / "backend.onnx"))
    (logits,) = session.run(["logits"], {"image": random_images(3, stored.shape)})
    assert logits.shape == (3, stored.classes)
