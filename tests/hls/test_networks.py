"""Networks of every supported shape, random and untrained: QONNX = csim = RTL at two foldings, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgesight.hls import qonnx_graph
from edgesight.hls.compile import DataSetFacts, Folding, Network, compile_package
from edgesight.hls.csim import build_library as build_csim
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.quant import variants
from edgesight.quant.export import export_qonnx
from edgesight.quant.variants import Conv, Dense, Exponents, MaxPool, Variant
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import build_library as build_verilated

SEED = 23
CLASSES = 5
SHAPE = (13, 14, 3)  # odd and even, not square, three channels
IMAGES = 40

# Between them: kernels 1, 2, 3 and 5, strides 1 and 2, both paddings, 2 to 8 bits, poolings of 2 and 3, hidden dense.
FIRST = Variant(
    "stage0", (Conv(6, kernel=5, stride=2, padding="same"), Conv(4, kernel=1), MaxPool(2)), weight_bits=2,
    activation_bits=2,
)  # fmt: skip
SECOND = Variant(
    "stage1",
    (Conv(8, kernel=2), MaxPool(3), Conv(10, kernel=3, padding="same"), Conv(6, kernel=3, stride=2, padding="same"),
     Dense(12)),
    weight_bits=8, activation_bits=8,
)  # fmt: skip


def make_network(variant: Variant, path: Path, generator: torch.Generator) -> None:
    """Write a network of random integers, whose sums saturate and round far more often than a trained one's."""
    network = variants.fit(variant, SHAPE, CLASSES)
    bits = variant.weight_bits or 0
    top = 2 ** (bits - 1) - 1
    exponents: dict[str, Exponents] = {}
    folded: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    incoming, incoming_bits = variants.INPUT_EXPONENT, variants.INPUT_BITS
    for placed in network:
        if not placed.parameters:
            continue
        outputs = placed.output_shape[2]
        inputs = placed.parameters // outputs - 1
        kernel: tuple[int, ...] = (inputs,)
        if isinstance(placed.layer, Conv):
            kernel = (placed.input_shape[2], placed.layer.kernel, placed.layer.kernel)
        # A step at which typical sums fill the activation's range, so that few values are stuck at its ends.
        typical = np.sqrt(inputs) * top * 2**incoming_bits / 3
        outgoing = incoming - 3 + int(np.ceil(np.log2(typical))) - bits + 1
        exponents[placed.name] = Exponents(-3, outgoing if placed.relu else None)
        weight = torch.randint(-top, top + 1, (outputs, *kernel), generator=generator) * 2.0**-3
        reach = int(typical / 2) + 1
        bias = torch.randint(-reach, reach + 1, (outputs,), generator=generator) * 2.0 ** (incoming - 3)
        folded[placed.name] = (weight, bias)
        incoming, incoming_bits = outgoing, bits
    built = variants.build_quantised(variant, network, exponents)
    variants.load_weights(built, folded)
    export_qonnx(built.eval(), SHAPE, path)


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_every_supported_shape_is_exact_at_every_folding(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    generator = torch.Generator().manual_seed(SEED)
    for variant in (FIRST, SECOND):
        make_network(variant, tmp_path / f"{variant.name}.onnx", generator)
    images = np.random.default_rng(SEED).integers(0, 256, (IMAGES, *SHAPE), np.uint8)
    facts = DataSetFacts("random", "0" * 64, [str(label) for label in range(CLASSES)])
    for budgets in ((200, 1_000), (3_000, 20_000)):
        networks = [
            Network(name, tmp_path / f"{name}.onnx", Folding(budget, {}))
            for name, budget in zip(("stage0", "stage1"), budgets, strict=True)
        ]
        package = compile_package("random", networks, facts, None, tmp_path / f"kernel-{budgets[0]}")
        build_csim(package)
        build_verilated(package)
        csim, rtl = CsimFabric(package).logits(images), VerilatedFabric(package).logits(images)
        for index, stage in enumerate(package.kernel.stages):
            reference = qonnx_graph.execute(networks[index].path, images) / stage.logit_scale
            assert np.unique(reference).size > 20, "a network that always says the same proves nothing"
            assert np.array_equal(csim[index], reference), stage.name
            assert np.array_equal(rtl[index], reference), stage.name
