"""A package's back end at the data centre: pictures in the package's form of them in, logits out.

How a model is run is an executor's (`edgesight.host.datacenter.executors`); what pictures are to it is said here.

Words owned here: classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.back_end import LOGITS, FormError, Port, check_form, check_outputs
from edgesight.host.datacenter.executors.base import DTYPES, ModelError, Recipe
from edgesight.host.datacenter.executors.onnx_runtime import OnnxExecutor
from edgesight.host.doors.served import TensorForm
from edgesight.host.files import read_regular, sha256
from edgesight.host.kernel import BackEndInput
from edgesight.host.link.datagrams import MAX_CLASSES

Images = npt.NDArray[np.uint8]  # [N, H, W, C]
Logits = npt.NDArray[np.float32]  # [N, classes]


class Classifier(Protocol):
    """Tells the classes of pictures apart."""

    sha256: str  # of the model file
    input_shape: tuple[int, int, int]  # H, W, C
    classes: int

    def run(self, images: Images) -> Logits:
        """Logits of uint8 images [N, H, W, C]; called from one thread at a time. Raises ModelError."""


Run = Callable[[Mapping[str, npt.NDArray[Any]], Sequence[str]], Mapping[str, npt.NDArray[Any]]]


class PackageModel:
    """A model that takes pictures in a package's form of them; whoever makes one says how it is run."""

    def __init__(
        self,
        path: Path,
        sha256: str,
        ports: tuple[Sequence[TensorForm], Sequence[TensorForm]],
        run: Run,
        form: BackEndInput | None = None,
        expected_sha256: str | None = None,
    ) -> None:
        """Of the model of the file at `path`: its checksum, its inputs and outputs, and what runs it. It is tried once.

        `form` is the package's `backend_input`; None takes a model that says it all itself: input `image`, uint8
        [N, H, W, C] with fixed H, W, C and free N, output `logits`, the classes. `expected_sha256` is the checksum that
        the calibration was made with; None takes any model. `run` gives the outputs of so many names, and may raise
        ModelError, as this does.
        """
        self.sha256 = sha256
        if expected_sha256 not in (None, sha256):
            raise ModelError(
                f"{path} has checksum {sha256[:12]}, but the kernel was calibrated with "
                f"{str(expected_sha256)[:12]}, and its accuracy targets hold for that model only: serve it, "
                "or calibrate again"
            )
        self._run_model = run
        inputs, outputs = map(_ports, ports)
        self.form = form or _own_form(path, inputs, outputs)
        try:
            self._input, self._output = check_form(self.form, inputs, outputs)
        except FormError as error:
            raise ModelError(f"{path}: {error}") from error
        self.input_shape = self.form.shape
        self._try(path)

    def _try(self, path: Path) -> None:
        """Run it on nothing, and learn how many classes it tells apart."""
        logits = self._logits(np.zeros((1, *self.input_shape), np.uint8))
        if logits.ndim != 2 or logits.shape[0] != 1 or not 2 <= logits.shape[1] <= MAX_CLASSES:
            raise ModelError(
                f"{path}: logits of one image have shape {list(logits.shape)}, expected [1, classes] with 2 to "
                f"{MAX_CLASSES} classes"
            )
        try:
            check_outputs(self.form, logits.shape[1])
        except FormError as error:
            raise ModelError(f"{path}: {error}") from error
        self.classes = logits.shape[1] if self.form.outputs is None else len(self.form.outputs)
        if self._takes_many:
            try:
                many = self._logits(np.zeros((2, *self.input_shape), np.uint8)).shape
            except ModelError as error:
                raise ModelError(
                    f"{path} says that it takes any count of images, but {error}; or export it for 1"
                ) from error
            if many != (2, logits.shape[1]):
                raise ModelError(
                    f"{path} says that it takes any count of images, but its logits of two have shape {list(many)}: "
                    "export it for 1, or mend it"
                )

    @property
    def _takes_many(self) -> bool:
        return self._input.sides is None or self._input.sides[0] is None

    def run(self, images: Images) -> Logits:
        """Logits float32 [N, classes] of uint8 images [N, H, W, C]; raises ModelError."""
        parts = [images] if self._takes_many else np.split(images, len(images))
        logits = np.concatenate([self._logits(part) for part in parts])
        return logits if self.form.outputs is None else logits[:, self.form.outputs]

    def _logits(self, images: Images) -> Logits:
        """All of the model's logits of so many images at once."""
        name = self._output.name
        try:
            logits = self._run_model({self._input.name: as_taken(images, self.form)}, [name])[name]
        except ModelError as error:
            raise ModelError(
                f"the model failed on {list(images.shape)} images ({error}): give a model that ONNX Runtime runs"
            ) from error
        return np.asarray(logits, np.float32)


class OnnxModel(PackageModel):
    """An ONNX classifier in ONNX Runtime on the CPU, in this process."""

    def __init__(
        self, path: Path, form: BackEndInput | None = None, expected_sha256: str | None = None, threads: int = 1
    ) -> None:
        """Load the model at `path`; all else, and what it raises, is as for `PackageModel`."""
        try:
            content = read_regular(path)
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}): give the back end's .onnx file") from error
        executor = OnnxExecutor(Recipe("onnxruntime", str(path), options={"threads": str(threads)}), content)
        super().__init__(
            path, sha256(content), (executor.inputs, executor.outputs), executor.run, form, expected_sha256
        )


def logits_of(model: Classifier, images: Sequence[npt.NDArray[np.uint8]]) -> Logits | ModelError:
    """Those of images [H, W, C], or why there are none; whatever that is, it ends nothing else."""
    try:
        logits = model.run(np.stack(images))
    except ModelError as error:
        return error
    except Exception as error:
        return ModelError(
            f"the model failed on {len(images)} images ({type(error).__name__}: {error})"
            ": serve a model that ONNX Runtime runs"
        )
    expected = len(images), model.classes
    if logits.shape != expected:
        return ModelError(f"the model's logits have shape {list(logits.shape)}, expected {list(expected)}")
    return logits


def as_taken(images: Images, form: BackEndInput) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Photographs uint8 [N, H, W, C] as the model takes them: in its layout, as bytes or normalised floats."""
    if form.layout == "NCHW":
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if form.element == "uint8":
        return images
    one_a_channel = (-1, 1, 1) if form.layout == "NCHW" else (-1,)
    normalised = images.astype(np.float32)
    normalised -= np.array(form.mean, np.float32).reshape(one_a_channel)
    normalised /= np.array(form.deviation, np.float32).reshape(one_a_channel)
    return normalised


def _ports(forms: Sequence[TensorForm]) -> list[Port]:
    """Inputs or outputs, in the words of a package's form."""
    return [
        Port(one.name, DTYPES[one.datatype].name, tuple(None if side < 0 else side for side in one.shape))
        for one in forms
    ]


def _own_form(path: Path, inputs: list[Port], outputs: list[Port]) -> BackEndInput:
    """The form of a model that no package states one for."""
    told = "; ".join(map(str, inputs))
    if [port.name for port in outputs] != [LOGITS]:
        raise ModelError(f"{path}: outputs are {'; '.join(map(str, outputs))}: expected one, {LOGITS}, of float32")
    expected = "expected one, image, of uint8 and shape [N, H, W, C] with fixed H, W, C and free N"
    if [(port.name, port.element) for port in inputs] != [("image", "uint8")]:
        raise ModelError(f"{path}: inputs are {told}: {expected}")
    batch, *shape = inputs[0].sides or ()
    if batch is not None or len(shape) != 3 or None in shape:
        raise ModelError(f"{path}: inputs are {told}: {expected}")
    height, width, channels = (side or 0 for side in shape)
    try:
        return BackEndInput(
            height=height,
            width=width,
            channels=channels,  # type: ignore[arg-type] # the schema checks it
            layout="NHWC",
            element="uint8",
            mean=[0.0] * channels,
            deviation=[1.0] * channels,
        )
    except ValueError as error:
        raise ModelError(f"{path}: inputs are {told}: {expected}, and 1 or 3 channels") from error
