"""The kernel package: the one artefact in which the build side and the run side meet.

What its `kernel.json` says, as plain data; `edgesight.host.package` reads and writes the folder.

Words owned here: kernel, stage, frame, threshold set, accuracy target, loss bucket.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from edgesight.host.board_build import BoardBuild
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import sha256
from edgesight.host.manifest_fields import Hex64, Strict, Unit, inside
from edgesight.host.registers import MAX_STAGES as MAX_STAGES
from edgesight.host.registers import THRESHOLD_NEVER as NEVER
from edgesight.host.registers import THRESHOLD_SETS
from edgesight.host.runtime_weights import RuntimeWeights as RuntimeWeights

SCHEMA_VERSION: Final = 6
MAX_FRAME_BYTES: Final = 1 << 22
MAX_LOGIT_BITS: Final = 32
EXITS: Final = "exits"  # the name of a network with several outputs, each of which is a stage of the cascade
ALWAYS: Final = 0  # threshold: answer at this stage whatever the margin
OFFLOAD_EVERYTHING = 1.01  # a confidence that no stage can have


class KernelError(EdgeSightError, ValueError):
    """A kernel package that cannot be used: says which file, what was found and what to do."""


class Input(Strict):
    """What a frame holds: `height` x `width` x `channels` values (HWC), each in one byte, or, where it has more than 8
    bits, in two, the lower one first. `edgesight.host.pixels` says how a picture's bytes count.
    """

    height: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=1, le=1024)]
    channels: Annotated[int, Field(ge=1, le=65_536)]
    bits: Annotated[int, Field(ge=1, le=16)] = 8  # of a value; those above them in its bytes do not count
    signed: bool = False  # two's complement

    @property
    def is_picture(self) -> bool:
        """Whether it is a grey or a colour picture of bytes: what a camera gives and a data centre takes."""
        return self.channels in (1, 3) and self.bits == 8 and not self.signed

    @property
    def element(self) -> str:
        """What a value is on the host, as numpy calls it."""
        return f"{'int' if self.signed else 'uint'}{8 if self.bits <= 8 else 16}"

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel, all its channels."""
        return self.channels * (1 if self.bits <= 8 else 2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of one image."""
        return self.height, self.width, self.channels

    @property
    def frame_bytes(self) -> int:
        """Payload bytes of one frame."""
        return self.height * self.width * self.pixel_bytes


class BackEndInput(Strict):
    """What the data centre's model takes of the picture, stretched to its size by `edgesight.host.pictures`' rule.

    In these bytes, uint8 [H, W, C], the picture goes over the link: the *photograph*.
    """

    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3]
    layout: Literal["NHWC", "NCHW"]
    element: Literal["uint8", "float32"]
    # By channel, in units of a byte: a float is (byte - mean) / deviation. Bytes go as they are.
    mean: list[float]
    deviation: list[Annotated[float, Field(gt=0.0)]]
    # Which of the model's logits each class of the package is; None: they are the classes, in their order.
    outputs: list[Annotated[int, Field(ge=0)]] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of a photograph."""
        return self.height, self.width, self.channels

    @classmethod
    def same_as(cls, fabric: Input) -> BackEndInput:
        """The bytes that the fabric takes, as they are."""
        return cls(
            height=fabric.height,
            width=fabric.width,
            channels=fabric.channels,  # type: ignore[arg-type] # of a picture
            layout="NHWC",
            element="uint8",
            mean=[0.0] * fabric.channels,
            deviation=[1.0] * fabric.channels,
        )

    @model_validator(mode="after")
    def _one_a_channel(self) -> BackEndInput:
        if not len(self.mean) == len(self.deviation) == self.channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.deviation)} deviations for {self.channels} channels"
            )
        if self.element == "uint8" and (any(self.mean) or any(value != 1.0 for value in self.deviation)):
            raise ValueError("bytes go as they are: a mean other than 0 or a deviation other than 1 wants float32")
        if self.outputs is not None and len(set(self.outputs)) != len(self.outputs):
            raise ValueError("outputs: two classes are the same output of the model")
        return self


class Trunk(Strict):
    """Features that an earlier stage leaves behind, from which a later one goes on."""

    stage: Annotated[int, Field(ge=0)]  # which one
    layer: str  # of that stage, whose output they are
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]
    bits: Annotated[int, Field(ge=1, le=32)]
    signed: bool
    multiplications: int  # of a frame, from the pixels to these features

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, C) of one frame's features."""
        return self.height, self.width, self.channels


class Layer(Strict):
    """One hardware layer as it was built, and what it costs."""

    name: str
    kind: Literal["conv", "dense", "max_pool", "threshold", "scale", "add", "concat", "upsample"]
    parameters: int  # weights, biases, thresholds and factors
    multipliers: int  # pe * simd
    pe: int  # outputs computed side by side
    simd: int  # inputs of one output multiplied side by side
    reuse_asked: int  # hls4ml's ReuseFactor in the configuration
    reuse_built: int  # cycles an output position takes; at least what was asked
    weight_bits: int
    accumulator_bits: int
    cycles: int  # lower bound of the layer's interval a frame, padding counted as built


class Stage(Strict):
    """One network of the cascade."""

    name: str
    trunk: Trunk | None = None  # where it begins; None: at the pixels
    parameters: int
    multiplications: int  # of a frame that comes here; unless it begins at the pixels, those before are the trunk's
    outputs: Annotated[int, Field(ge=1, le=65_536)]  # logits a frame, one a class; of a map pixel by pixel
    logit_bits: Annotated[int, Field(ge=1, le=MAX_LOGIT_BITS)]  # width of the signed integer logits
    # A logit's value is logit_scale * integer + logit_offset; it lies within logit_error of the network's own.
    logit_scale: Annotated[float, Field(gt=0.0)]
    logit_offset: float = 0.0
    logit_error: Annotated[float, Field(ge=0.0)] = 0.0
    softmax: bool = False  # the network ends in one, which the host computes
    not_stated: str | None = None  # why hls4ml has no C++ of it; None: csim/ holds it
    layers: list[Layer]
    bound_cycles: int  # folding bound of the interval: the largest of the layers' and of the input's beats
    bound_layer: str

    @property
    def widest_margin(self) -> int:
        """The largest margin that two of its logits can have."""
        return int(2**self.logit_bits - 1)


class ConfidenceCurve(Strict):
    """Calibrated probability of being right as a step function of the integer margin, by stage.

    Confidence at margin m is `confidences[i]` for the largest i with `margins[i] <= m`.
    """

    margins: Annotated[list[int], Field(min_length=1)]  # ascending, first is 0
    confidences: list[Unit]  # ascending, one a margin
    expected_calibration_error: float  # on held-out images

    @model_validator(mode="after")
    def _one_a_margin(self) -> ConfidenceCurve:
        if len(self.confidences) != len(self.margins):
            raise ValueError(f"{len(self.confidences)} confidences for {len(self.margins)} margins")
        if self.margins[0] != 0 or sorted(set(self.margins)) != self.margins:
            raise ValueError("a curve's margins must rise from 0")
        if sorted(self.confidences) != self.confidences:
            raise ValueError("a curve's confidences must not fall")
        return self

    def threshold(self, confidence: float) -> int:
        """The smallest margin whose confidence is at least `confidence`; `NEVER` where none is."""
        block = bisect_left(self.confidences, confidence)
        return self.margins[block] if block < len(self.margins) else NEVER

    def at(self, margin: int) -> float:
        """Confidence at an integer margin."""
        return self.confidences[max(bisect_right(self.margins, margin) - 1, 0)]


class Agreement(Strict):
    """How often fabric and back end said the same, of the tested pictures that the fabric answers under a target."""

    images: Annotated[int, Field(ge=1)]
    agreed: Annotated[int, Field(ge=0)]  # in the worst of the loss buckets that the target holds in
    lower_bound: Unit  # exact, one-sided

    @model_validator(mode="after")
    def _at_most_all(self) -> Agreement:
        if not self.lower_bound * self.images <= self.agreed <= self.images:
            raise ValueError(f"{self.agreed} of {self.images} agreed, and the bound is {self.lower_bound:g}")
        return self


class Target(Strict):
    """One offered accuracy target and the row of the threshold table that keeps it."""

    accuracy: Unit  # promised
    set_index: Annotated[int, Field(ge=0, le=15)]
    confidence: Annotated[float, Field(ge=0.0, le=OFFLOAD_EVERYTHING)]  # the cascade's one parameter p
    # The last stage answers whatever the stages before it leave, with no regard to p, and nothing is offloaded.
    last_stage_always: bool = False
    thresholds: list[int]  # integer margin threshold by stage
    # Exact one-sided lower bound of the accuracy on the calibration split: the least of the guaranteed loss buckets'.
    lower_bound: Unit
    calibration_accuracies: list[Unit]  # by loss bucket
    calibration_offload: Unit  # share of the calibration split that went to the data centre
    # Share of the calibration split that reached each stage, the first 1; None: calibrated before it was counted.
    calibration_reached: list[Unit] | None = None
    # What an answer's confidence is read from. A later stage and the back end only see the images that the stages
    # before them were unsure of under this row, which are the harder ones: each row needs its own.
    curves: list[ConfidenceCurve]  # by stage, over the images that reach it
    backend_confidences: list[Unit]  # by loss bucket: share of the offloaded images that the back end gets right
    # What audits are held against; None: the fabric answered none of the tested images, or nobody had measured it yet.
    agreement: Agreement | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_not_so(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As packages say it that were calibrated before there was such a field: their checksum stays right."""
        later = ("agreement", "last_stage_always", "calibration_reached")
        return {field: value for field, value in written(self).items() if value or field not in later}


class Refused(Strict):
    """A target that the cascade cannot promise."""

    accuracy: Unit
    best_reachable: Unit  # `lower_bound` of offloading everything, the start of every test sequence


class Resplits(Strict):
    """The promise checked: calibrate on one part, look on the other, many times."""

    count: int
    broken: int  # re-splits that broke at least one target in at least one guaranteed loss bucket
    calibration_images: int
    held_out_images: int
    seed: int


class LossBucket(Strict):
    """The back end measured over a link that loses packets; the bucket reaches down to the loss of the one before it.

    Everything in a bucket is measured at its worst: packets are lost at its upper end, independently, and the strips
    carry the parity that a client sends at its lower end.
    """

    loss: Unit  # share of packets, the bucket's upper end
    images: int
    accuracy: Unit  # of the labels that a client ends up with: where nothing came, the last stage's
    nothing_came: Unit  # share of images of which nothing could be had at the data centre


class Rung(Strict):
    """A way for a photograph to the data centre, and what was measured of it on the calibration pictures."""

    quality: Annotated[int, Field(ge=1, le=95)]  # JPEG's, as far as strips say it
    divisor: Annotated[int, Field(ge=1, le=16)]  # by which each side is divided before; the data centre enlarges it
    bytes: Annotated[float, Field(gt=0.0)]  # mean of a picture's, without parity and packets' own
    accuracy: Unit  # of the back end on what arrives, where nothing is lost


class Sample(Strict):
    """The pictures that a calibration was measured on: its targets hold for others that are drawn as they were."""

    dataset: str
    dataset_sha256: Hex64
    split: str  # of the data set
    distribution: str  # in words, behind "pictures like": what others are to be like


def calibration_split(dataset: str, checksum: str) -> Sample:
    """The split of a data set that EdgeSight sets apart for calibration, as a sample."""
    return Sample(
        dataset=dataset,
        dataset_sha256=checksum,
        split="calibration",
        distribution=f"those of the calibration split of {dataset}",
    )


class Calibration(Strict):
    """Threshold table, and what stands behind it."""

    images: int  # of the sample
    rests_on: Sample
    family_error: float  # probability that any offered target is missed
    loss: float  # the targets hold on links that lose up to this share of packets: one of the buckets'
    buckets: Annotated[list[LossBucket], Field(min_length=1)]  # by rising loss; those beyond `loss` hold no promise
    backend_sha256: str
    # How photographs go to the data centre: the first where bandwidth allows, and the targets hold for it alone; then
    # coarser ones, each of fewer bytes. None where they are so small that they travel raw, as they are.
    ladder: list[Rung] = Field(default_factory=list)
    curves: list[ConfidenceCurve]  # by stage, over all images: what maps p to thresholds
    targets: list[Target]
    refused: list[Refused]
    resplits: Resplits | None

    @model_validator(mode="after")
    def _check_buckets(self) -> Calibration:
        losses = [bucket.loss for bucket in self.buckets]
        if losses != sorted(set(losses)) or self.loss not in losses:
            raise ValueError(f"loss {self.loss:g} must be one of the buckets', which must rise: found {losses}")
        for target in self.targets:
            if not len(target.calibration_accuracies) == len(target.backend_confidences) == len(losses):
                raise ValueError(f"target {target.accuracy:g} must have an accuracy and a confidence for each bucket")
        return self

    def bucket(self, loss: float) -> int:
        """Index of the bucket of a link that loses this share of packets; beyond the last, the last."""
        return min(bisect_left([bucket.loss for bucket in self.buckets], loss), len(self.buckets) - 1)


class Novelty(Strict):
    """How a picture is told from those that the kernel was calibrated on."""

    file: Annotated[str, AfterValidator(inside)]  # in the package: the arrays of the detector
    level: Unit  # a picture whose p-value lies below it is none that the guarantee covers
    images: Annotated[int, Field(ge=1)]  # that p-values are told against


class Kernel(Strict):
    """Contents of `kernel.json`."""

    schema_version: Literal[6]
    name: str
    # Of the hardware's structure: every SystemVerilog file, but no weight memory. Register `build_hash` says it.
    build_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    weights_sha256: Hex64  # of the weight memories' files; register `weights_hash` says its first 8 digits
    classes: list[str]  # none where a network alone gives values that are no classes
    logits_in_record: bool = False  # of a network alone: behind every record are its frame's logits
    input: Input  # the fabric's
    backend_input: BackEndInput | None  # None: nothing is known of a back end
    stages: Annotated[list[Stage], Field(min_length=1, max_length=4)]
    threshold_sets: Annotated[int, Field(ge=1, le=THRESHOLD_SETS)]
    frame_slots: Annotated[int, Field(ge=1)]
    clock_mhz: Annotated[float, Field(gt=0.0)]  # the clock that cycles are converted with
    registers: dict[str, int]  # byte offsets on AXI4-Lite
    dataset: str
    dataset_sha256: str
    tools: dict[str, str]
    calibration: Calibration | None
    novelty: Novelty | None = None  # None: no picture is told from others
    runtime_weights: RuntimeWeights | None = None  # None: they are fixed
    boards: dict[str, BoardBuild] = Field(default_factory=dict)  # by the board's name
    # The hand-written modules that the kernel is assembled from, which EdgeSight itself carries: file name -> SHA-256.
    # A package that was packed has them in rtl/, too.
    library: dict[Annotated[str, Field(pattern=r"^\w+\.sv$")], Hex64] = Field(default_factory=dict)
    files: dict[Annotated[str, AfterValidator(inside)], Hex64]  # path inside the package -> SHA-256

    @model_serializer(mode="wrap")
    def _without_what_is_not_so(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As packages say it that were written before there was such a field: their checksum stays right."""
        fields: dict[str, Any] = written(self)
        if self.runtime_weights is None:
            fields.pop("runtime_weights", None)
        return fields

    @property
    def labels(self) -> int:
        """Count of classes."""
        return len(self.classes)

    @property
    def outputs(self) -> int:
        """Logits of a frame, of every stage."""
        return self.stages[0].outputs

    def network_of(self, stage: int) -> tuple[str, int]:
        """The QONNX file in the package that a stage was made of, and which of its outputs are the stage's logits."""
        if any(each.trunk is not None for each in self.stages):
            return f"networks/{EXITS}.onnx", stage
        return f"networks/{self.stages[stage].name}.onnx", 0

    @property
    def networks(self) -> list[str]:
        """The QONNX files in the package that its stages were made of."""
        return list(dict.fromkeys(self.network_of(stage)[0] for stage in range(len(self.stages))))

    @property
    def record_beats(self) -> int:
        """Beats of 64 bits of one record: two, and where it carries them, two logits of 32 bits a beat more."""
        return 2 + (-(-self.outputs // 2) if self.logits_in_record else 0)

    @property
    def checksum(self) -> str:
        """SHA-256 over all fields, written as JSON with sorted keys."""
        return sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode())

    @model_validator(mode="after")
    def _check_whole(self) -> Kernel:
        """Hold the fields against each other; ValueError naming the one that does not fit."""
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes: two have the same name")
        if self.input.frame_bytes > MAX_FRAME_BYTES:
            raise ValueError(f"input: a frame of {self.input.frame_bytes} bytes; it may have {MAX_FRAME_BYTES}")
        if self.logits_in_record:
            if len(self.stages) != 1:
                raise ValueError(f"logits_in_record: {len(self.stages)} stages; only a network alone says its logits")
        elif len(self.classes) < 2:
            raise ValueError(f"classes: {len(self.classes)} names; a cascade tells at least 2 apart")
        elif not self.input.is_picture:
            raise ValueError("input: a cascade takes pictures of 1 or 3 channels, of bytes")
        outputs = self.backend_input.outputs if self.backend_input is not None else None
        if outputs is not None and len(outputs) != len(self.classes):
            raise ValueError(f"backend_input.outputs: {len(outputs)} of the model's for {len(self.classes)} classes")
        for index, stage in enumerate(self.stages):
            if stage.outputs != len(self.classes) and (self.classes or not self.logits_in_record):
                raise ValueError(f"classes: {len(self.classes)} names for the {stage.outputs} outputs of {stage.name}")
            if stage.trunk is not None:
                _check_trunk(stage.trunk, index, self.stages)
        if self.novelty is not None and self.novelty.file not in self.files:
            raise ValueError(f"novelty.file: {self.novelty.file} is not among the package's files")
        if self.runtime_weights is not None and self.runtime_weights.file not in self.files:
            raise ValueError(f"runtime_weights.file: {self.runtime_weights.file} is not among the package's files")
        for name, digest in self.library.items():
            if self.files.get(f"rtl/{name}", digest) != digest:
                raise ValueError(f"library: rtl/{name} is not the file that it names: compile the package again")
        if self.calibration is not None:
            check_thresholds(self.calibration, self.stages, self.threshold_sets)
            backend = self.files.get("datacenter.onnx")
            if backend not in (None, self.calibration.backend_sha256):
                raise ValueError("calibration.backend_sha256 is not that of datacenter.onnx: calibrate anew")
        return self


def _check_trunk(trunk: Trunk, index: int, stages: Sequence[Stage]) -> None:
    """ValueError unless stage `index` can begin at the features that it names."""
    if trunk.stage >= index:
        raise ValueError(
            f"stages.{index}.trunk: stage {trunk.stage} does not come before it: a stage begins at the pixels or at "
            "the features of an earlier one"
        )
    if trunk.layer not in [layer.name for layer in stages[trunk.stage].layers]:
        raise ValueError(f"stages.{index}.trunk: stage {trunk.stage} has no layer {trunk.layer!r}")


def check_thresholds(calibration: Calibration, stages: Sequence[Stage], sets: int) -> None:
    """Hold every threshold against the curves that it was read from; ValueError naming the target."""
    if len(calibration.curves) != len(stages):
        raise ValueError(f"calibration.curves: {len(calibration.curves)} curves for {len(stages)} stages")
    for curve, stage in zip(calibration.curves, stages, strict=True):
        if curve.margins[-1] > stage.widest_margin:
            raise ValueError(f"calibration.curves: margin {curve.margins[-1]} is more than {stage.name} can have")
    rows = [target.set_index for target in calibration.targets]
    if len(set(rows)) != len(rows) or max(rows, default=0) >= sets:
        raise ValueError(f"calibration.targets: threshold sets {rows}: each needs one of its own, below {sets}")
    for target in calibration.targets:
        if len(target.thresholds) != len(stages) or len(target.curves) != len(stages):
            raise ValueError(
                f"target {target.accuracy:g}: {len(target.thresholds)} thresholds and {len(target.curves)} curves "
                f"for {len(stages)} stages"
            )
        reached = target.calibration_reached
        falls = reached is None or (len(reached) == len(stages) and [1, *sorted(reached[1:], reverse=True)] == reached)
        if not falls:
            raise ValueError(
                f"target {target.accuracy:g}: {reached} is no share for each stage, 1 and then none larger"
            )
        fitting = [curve.threshold(target.confidence) for curve in calibration.curves]
        if target.last_stage_always:
            fitting[-1] = ALWAYS
        if target.thresholds != fitting:
            raise ValueError(
                f"target {target.accuracy:g}: thresholds {target.thresholds} do not fit the calibration's curves, "
                f"which give {fitting}"
            )
        if target.lower_bound < target.accuracy:
            raise ValueError(f"target {target.accuracy:g}: its lower bound, {target.lower_bound:g}, does not reach it")
