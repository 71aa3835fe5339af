"""Small cascades of one shape as two trainings leave them: other weights, biases, scales and signs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesight.hls.compile import DataSetFacts, Network, compile_exits, compile_package
from edgesight.hls.folding import Folding, Runtime
from edgesight.host.kernel import Calibration
from edgesight.host.package import Package
from tests.hls.qonnx_writer import Writer
from tests.host.by_hand import calibration
from tests.host.swapping import telling

SIDE, CLASSES = 8, 5
FACTS = DataSetFacts("five", "0" * 64, [f"class {k}" for k in range(CLASSES)])
ALL = Runtime()


def shifting(path: Path, seed: int, *, bits: int = 4, channels: int = 4) -> Path:
    """Convolution, pooling and logits whose scales are powers of two; a training has its own."""
    writer = Writer((1, SIDE, SIDE), seed)
    exponent = -2 - seed % 2
    weights = writer.weights((channels, 1, 3, 3), bits)
    sums = writer.node("Conv", [writer.pixels(), weights, writer.bias(channels, -11)], kernel_shape=[3, 3])
    maps = writer.pool(writer.relu(sums, exponent))
    return writer.save(path, writer.dense(writer.flatten(maps), 9 * channels, CLASSES, bits))


def counting(path: Path, seed: int) -> Path:
    """A batch normalisation that no shift is, in which some channels fall, and logits with a bias."""
    writer = Writer((1, SIDE, SIDE), seed)
    sums = writer.conv(writer.pixels(), 1, 6, 3)
    rng = np.random.default_rng(seed)
    normal = [rng.uniform(0.5, 1.5, 6) * rng.choice([-1, 1], 6), rng.uniform(-0.5, 0.5, 6), rng.uniform(-0.2, 0.2, 6)]
    constants = [writer.constant(value.astype(np.float32)) for value in (*normal, rng.uniform(0.5, 2.0, 6))]
    maps = writer.relu(writer.node("BatchNormalization", [sums, *constants]), bits=3, scale=0.1 + 0.05 * (seed % 3))
    logits = writer.dense(writer.flatten(writer.pool(maps)), 54, CLASSES)
    bias = writer.integers((CLASSES,), 40, 0)
    return writer.save(path, writer.node("Add", [logits, writer.node("Mul", [bias, writer.constant(_unit(seed))])]))


def _unit(seed: int) -> np.ndarray:
    """What a logit's integer stands for: the scale of the maps times that of the weights."""
    return np.asarray(np.float32(0.1 + 0.05 * (seed % 3)) * np.float32(2.0**-3), np.float32)


def cascade(out: Path, seed: int, runtime: Runtime | None = ALL, known: Calibration | None = None) -> Package:
    """A package of both, as training `seed` leaves them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    paths = [shifting(out.parent / f"{seed}-0.onnx", seed), counting(out.parent / f"{seed}-1.onnx", seed)]
    networks = [Network(f"stage{k}", path, Folding(300, {}, runtime)) for k, path in enumerate(paths)]
    package = compile_package("five", networks, FACTS, None, out)
    return package if known is None else package.replace(calibration=known.model_dump())


def exits(out: Path, seed: int, runtime: Sequence[Runtime | None] = (ALL, ALL)) -> Package:
    """A package of one network with two exits, as training `seed` leaves it; `runtime`: by stage."""
    out.parent.mkdir(parents=True, exist_ok=True)
    writer = Writer((1, SIDE, SIDE), seed)
    tensor = writer.relu(writer.conv(writer.pixels(), 1, 3, 3), scale=np.float32(0.21 + 0.1 * (seed % 2)))
    outputs = []
    for _ in range(2):
        tensor = writer.relu(writer.conv(tensor, 3, 3, 3, pads=[1] * 4), scale=np.float32(0.37 + 0.2 * (seed % 3)))
        outputs.append(writer.dense(writer.flatten(tensor), 3 * 36, CLASSES))
    path = writer.save(out.parent / f"{seed}.onnx", *outputs)
    return compile_exits("five", path, [Folding(200, {}, runtime[0]), Folding(800, {}, runtime[1])], FACTS, None, out)


def said(confidence: float) -> Calibration:
    """A calibration whose answers have this confidence."""
    known = calibration()
    return telling(known, confidence, [0.5] * len(known.targets))


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, H, W, 1]."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 1), dtype=np.uint8)
