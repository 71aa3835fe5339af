"""Variants: every image shape is fitted by the stated rule, and both twins compute the same."""

import dataclasses
import math

import pytest
import torch

from edgesight.quant import variants
from edgesight.quant.variants import Conv, Dense, Exponents, MaxPool, Variant, VariantError

SHAPES = [(28, 28, 1), (8, 8, 1), (32, 32, 3), (16, 16, 3), (48, 40, 3), (64, 64, 3)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", list(variants.VARIANTS))
def test_a_fitted_network_has_the_shapes_that_its_float_twin_computes(name: str, shape: tuple[int, int, int]) -> None:
    variant = variants.VARIANTS[name]
    network = variants.fit(variant, shape, 7)
    twin = variants.build_float(variant, network).eval()
    values = torch.zeros(1, shape[2], shape[0], shape[1])
    outputs = {}
    for part_name, part in twin.named_children():
        values = part(values)
        outputs[part_name] = tuple(values.shape)
    for placed in network:
        height, width, channels = placed.output_shape
        expected = (1, channels) if isinstance(placed.layer, Dense) else (1, channels, height, width)
        assert outputs[placed.name] == expected
    counted = sum(tensor.numel() for pair in variants.fold(twin).values() for tensor in pair)
    assert variants.parameter_count(network) == counted


def test_the_front_end_stages_keep_their_budgets_on_28_pixels() -> None:
    stage0, stage1 = (variants.fit(variants.VARIANTS[name], (28, 28, 1), 10) for name in ("stage0", "stage1"))
    assert 5_000 <= variants.parameter_count(stage0) <= 15_000
    assert 30_000 <= variants.parameter_count(stage1) <= 70_000
    assert variants.mac_count(stage1) <= 2_500_000


@pytest.mark.parametrize("shape", SHAPES)
def test_stage_0_folds_to_one_cycle_an_input_pixel(shape: tuple[int, int, int]) -> None:
    # With every product of an output pixel in one cycle, an interval of H * W cycles needs no more output pixels.
    for placed in variants.fit(variants.STAGE0, shape, 10):
        assert placed.output_shape[0] * placed.output_shape[1] <= shape[0] * shape[1]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["stage0", "stage1"])
def test_filters_are_powers_of_two_and_little_is_flattened(name: str, shape: tuple[int, int, int]) -> None:
    network = variants.fit(variants.VARIANTS[name], shape, 43)
    for placed in network:
        if isinstance(placed.layer, Conv):
            assert math.log2(placed.layer.filters).is_integer()
    assert network[-1].input_shape[0] <= 5


def test_a_large_image_is_strided_and_a_small_map_padded_not_pooled_away() -> None:
    large = variants.fit(variants.STAGE0, (64, 64, 3), 10)
    assert isinstance(large[0].layer, Conv)
    assert large[0].layer.stride == 2
    small = variants.fit(variants.STAGE0, (8, 8, 1), 10)
    assert [placed.name for placed in small] == ["conv1", "pool1", "conv2", "conv3", "logits"]
    assert small[2].layer == dataclasses.replace(Conv(16), padding="same")


@pytest.mark.parametrize(("shape", "classes"), [((3, 8, 1), 10), ((8, 8, 1), 1)])
def test_an_impossible_fit_is_refused(shape: tuple[int, int, int], classes: int) -> None:
    with pytest.raises(VariantError, match="expected at least 4 x 4 x 1 and 2 classes"):
        variants.fit(variants.STAGE0, shape, classes)


def test_folding_batch_normalisation_changes_no_answer() -> None:
    torch.manual_seed(3)
    print("seed 3")
    variant = Variant("made", (Conv(4), MaxPool(), Conv(8, padding="same"), Dense(16)), 4, 4)
    network = variants.fit(variant, (12, 12, 1), 5)
    twin = variants.build_float(variant, network)
    twin(torch.rand(64, 1, 12, 12))  # moves the running statistics
    images = torch.rand(16, 1, 12, 12)
    folded = variants.fold(twin)
    values = images
    for placed in network:
        if isinstance(placed.layer, MaxPool):
            values = torch.max_pool2d(values, 2)
            continue
        weight, bias = folded[placed.name]
        if isinstance(placed.layer, Conv):
            padding = 1 if placed.layer.padding == "same" else 0
            values = torch.conv2d(values, weight, bias, padding=padding)
        else:
            values = values.flatten(1) @ weight.T + bias
        values = values.relu() if placed.relu else values
    torch.testing.assert_close(values, twin.eval()(images), rtol=1e-4, atol=1e-5)


def test_the_back_end_has_no_quantised_form() -> None:
    network = variants.fit(variants.BACKEND, (28, 28, 1), 10)
    with pytest.raises(VariantError, match="backend: is a floating-point variant"):
        variants.build_quantised(variants.BACKEND, network, {})
    residual = Variant("made", (Conv(4, padding="same"), Conv(4, padding="same", residual=True)), 4, 4)
    network = variants.fit(residual, (12, 12, 1), 5)
    with pytest.raises(VariantError, match=r"layer conv2 .* has no quantised form"):
        variants.build_quantised(residual, network, {"conv1": Exponents(-3, -3)})


def test_a_layer_without_exponents_is_named() -> None:
    network = variants.fit(variants.STAGE0, (28, 28, 1), 10)
    with pytest.raises(VariantError, match="layer conv2 has no exponents"):
        variants.build_quantised(variants.STAGE0, network, {"conv1": Exponents(-3, -3)})


def test_first_and_last_layer_may_have_their_own_weight_bits() -> None:
    variant = dataclasses.replace(variants.STAGE0, first_weight_bits=2, last_weight_bits=8)
    names = ["conv1", "conv2", "logits"]
    assert [variants.weight_bits(variant, name, names) for name in names] == [2, 3, 8]
