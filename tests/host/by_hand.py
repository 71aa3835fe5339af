"""A kernel small enough to be checked by hand, with every part of the run side behind it.

Logit c is the sum of the pixels in the c-th quarter of the columns: stage 0 over the upper half of the image, stage 1
over all of it. The back end takes the *smallest* of the full sums, so its answers are told apart from the edge's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.answer import Answer
from edgesight.host.calibrate import FAMILY_ERROR
from edgesight.host.cascade import Cascade
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import NEVER, OFFLOAD, RECORD, Images, Records, check_images
from edgesight.host.fabric.csim import below, decide
from edgesight.host.images import Picture
from edgesight.host.kernel import (
    Agreement,
    Calibration,
    ConfidenceCurve,
    Input,
    Kernel,
    Layer,
    LossBucket,
    Refused,
    Stage,
    Target,
    calibration_split,
)
from edgesight.host.package import Package, write_package

SHAPE = (28, 28, 1)
CLASSES = 4
CSIM = f"""
#include <stdint.h>
extern "C" int edgesight_csim(int stage, const uint8_t *pixels, int n, int32_t *logits, int32_t *) {{
  const int size = {SHAPE[0] * SHAPE[1] * SHAPE[2]}, classes = {CLASSES}, width = {SHAPE[1]};
  if (stage < 0 || stage > 1) return 7;
  for (int i = 0; i < n; i++) {{
    for (int c = 0; c < classes; c++) logits[i * classes + c] = 0;
    for (int k = 0; k < (stage ? size : size / 2); k++)
      logits[i * classes + k % width * classes / width] += pixels[i * size + k];
  }}
  return 0;
}}
"""


def sums(images: npt.NDArray[np.uint8], stage: int) -> npt.NDArray[np.int32]:
    """Logits [N, CLASSES] of `stage` for images [N, H, W, C]."""
    used = images[:, : SHAPE[0] // 2] if stage == 0 else images
    quarters = used.reshape(len(images), -1, CLASSES, SHAPE[1] // CLASSES)
    return np.asarray(quarters.sum(axis=(1, 3)), np.int32)


def random_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def clear_images(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images whose quarters differ so much that no repair changes their class."""
    generator = np.random.default_rng(seed)
    levels = generator.permuted(np.tile([40, 100, 160, 220], (count, 1)), axis=1)
    noise = generator.integers(-20, 21, (count, *SHAPE))
    return (np.repeat(levels, SHAPE[1] // CLASSES, axis=1)[:, None, :, None] + noise).astype(np.uint8)


def calibration(backend_sha256: str = "0" * 64) -> Calibration:
    """Target 0.8 is answered by stage 0, 0.9 by stage 1, 0.95 by the data centre; 0.99 is refused."""
    curves = [
        ConfidenceCurve(margins=[0, 100], confidences=[low, high], expected_calibration_error=0.0)
        for low, high in ((0.5, 0.7), (0.6, 0.8))
    ]
    # What maps the cascade's parameter to thresholds: stage 1 is sooner sure than stage 0.
    over_all = [
        ConfidenceCurve(margins=[0], confidences=[confidence], expected_calibration_error=0.0)
        for confidence in (0.5, 0.6)
    ]
    rows = {0.8: (0.5, [0, 0]), 0.9: (0.6, [NEVER, 0]), 0.95: (0.7, [NEVER, NEVER])}
    return Calibration(
        images=1_000,
        rests_on=calibration_split("none", "0" * 64),
        family_error=FAMILY_ERROR,
        loss=0.05,
        backend_sha256=backend_sha256,
        buckets=[
            LossBucket(loss=loss, images=1_000, accuracy=accuracy, nothing_came=nothing)
            for loss, accuracy, nothing in ((0.0, 0.98, 0.0), (0.05, 0.97, 0.0), (0.2, 0.9, 0.002))
        ],
        curves=over_all,
        targets=[
            Target(
                accuracy=accuracy,
                set_index=index,
                confidence=parameter,
                thresholds=thresholds,
                lower_bound=accuracy,
                calibration_accuracies=[accuracy, accuracy, 0.75],
                calibration_offload=float(thresholds[1] == NEVER),
                curves=curves,
                backend_confidences=[0.97, 0.96, 0.9],
            )
            for index, (accuracy, (parameter, thresholds)) in enumerate(rows.items())
        ],
        refused=[Refused(accuracy=0.99, best_reachable=0.96)],
        resplits=None,
    )


def watched(bound: float | None = 0.95) -> Calibration:
    """The same, with that bound of agreement; None: it was not measured."""
    agreement = Agreement(images=1_000, agreed=970, lower_bound=bound) if bound is not None else None
    plain = calibration()
    targets = [target.model_copy(update={"agreement": agreement}) for target in plain.targets]
    return plain.model_copy(update={"targets": targets})


def stage1_answer(label: int = 1) -> Answer:
    """As stage 1 gives one under target 0.9."""
    return Answer(
        label=label,
        class_name=f"class {label}",
        confidence=0.9,
        stage="stage1",
        accuracy_target=0.9,
        degraded=False,
        guaranteed=True,
        reason=None,
        hedged=False,
        legs=[],
        energy_joules=None,
    )


def package(folder: Path, known: Calibration | None) -> Package:
    layer = Layer(
        name="dense",
        kind="dense",
        parameters=1,
        multipliers=1,
        pe=1,
        simd=1,
        reuse_asked=1,
        reuse_built=1,
        weight_bits=1,
        accumulator_bits=24,
        cycles=784,
    )
    stage = Stage(
        name="sum",
        parameters=0,
        multiplications=0,
        outputs=CLASSES,
        logit_bits=24,
        logit_scale=1.0,
        layers=[layer],
        bound_cycles=784,
        bound_layer="dense",
    )
    kernel = Kernel(
        schema_version=6,
        name="by-hand",
        build_hash="0badcafe",
        weights_sha256="0" * 64,
        classes=[f"class {k}" for k in range(CLASSES)],
        input=Input(height=SHAPE[0], width=SHAPE[1], channels=1),
        backend_input=None,
        stages=[stage, stage],
        threshold_sets=16,
        frame_slots=4,
        clock_mhz=100.0,
        registers={},
        dataset="none",
        dataset_sha256="0" * 64,
        tools={},
        calibration=known,
        files={},
    )
    return write_package(folder, kernel, {})


def save_onnx(path: Path, input_name: str, weights: npt.NDArray[np.float32]) -> None:
    """A linear model [H*W*C, classes] of the service's interface."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", [input_name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info(input_name, TensorProto.UINT8, ["N", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


async def answers_of(
    cascade: Cascade, images: npt.NDArray[np.uint8], targets: Sequence[Target], deadlines: Sequence[float]
) -> list[Answer]:
    """Of images uint8 [N, H, W, C] that come to an edge at once, each under its target, within its deadline (s)."""
    async with Edge(cascade) as edge:
        pictures = [Picture(image, ()) for image in images]
        return await asyncio.gather(*(edge.ask(*one) for one in zip(pictures, targets, deadlines, strict=True)))


class FakeFabric:
    """The kernel by hand in numpy, counting 1,000,000 cycles a frame where it counts."""

    def __init__(self, made: Package, simulated: bool = False, error: int = 0) -> None:
        self.package = made
        self.simulated = simulated
        self.simulated_cycles = 0
        self._error = error
        self._thresholds = np.zeros((2, 16), np.uint32)

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        self._thresholds[:, set_index] = thresholds

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        check_images(self.package, images)
        records = np.zeros(len(images), RECORD)
        (labels0, margins0), (labels1, margins1) = (decide(stage) for stage in self.logits(images))
        second = below(margins0, self._thresholds[0][sets])
        records["label"] = np.where(second, labels1, labels0)
        records["margin"] = np.where(second, margins1, margins0)
        records["stage"] = second | (second & below(margins1, self._thresholds[1][sets])) * OFFLOAD
        records["cycles"] = 1_000_000 * self.simulated
        records["error"] = self._error
        return records

    def logits(self, images: Images) -> list[npt.NDArray[np.int32]]:
        return [sums(images, stage) for stage in range(2)]

    def close(self) -> None:
        pass


def ask(cascade: Cascade, accuracy: float, deadline: float = 1.0, count: int = 4) -> list[Answer]:
    target = cascade.target(accuracy)
    return asyncio.run(answers_of(cascade, random_images(count), [target] * count, [deadline] * count))
