"""Models at the data centre behind one small interface, so that the service cannot tell what runs them.

Words owned here: executor.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_regular, sha256
from edgesight.host.link.datagrams import MAX_CLASSES

Images = npt.NDArray[np.uint8]  # [N, H, W, C]
Logits = npt.NDArray[np.float32]  # [N, classes]


class ModelError(EdgeSightError):
    """A model that cannot be served: names the file, what was found and what to do."""


class Executor(Protocol):
    """Runs one model on batches of images."""

    sha256: str  # of the model file
    input_shape: tuple[int, int, int]  # H, W, C
    classes: int

    def run(self, images: Images) -> Logits:
        """Logits of uint8 images [N, H, W, C]; called from one thread at a time. Raises ModelError."""


class OnnxModel:
    """ONNX Runtime on the CPU: input `image` uint8 [N, H, W, C], output `logits` float32 [N, classes]."""

    def __init__(self, path: Path, expected_sha256: str | None = None, threads: int = 1) -> None:
        """Load the model at `path` and try it once; raises ModelError.

        `expected_sha256` is the checksum that the calibration was made with; None takes any model.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError("onnxruntime is not installed: `pip install 'edgesight[datacenter]'`") from error
        try:
            content = read_regular(path)
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}): give the back end's .onnx file") from error
        self.sha256 = sha256(content)
        if expected_sha256 not in (None, self.sha256):
            raise ModelError(
                f"{path} has checksum {self.sha256[:12]}, but the kernel was calibrated with "
                f"{str(expected_sha256)[:12]}, and its accuracy targets hold for that model only: serve it, "
                "or calibrate again"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # Weights in a file beside the model are looked for in an empty folder: the checksum does not cover them.
            with tempfile.TemporaryDirectory() as empty:
                options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
                self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            if "External data" in str(error):
                raise ModelError(
                    f"{path} keeps weights in another file, which its checksum does not cover: save it as one file"
                ) from error
            raise ModelError(
                f"{path} is no model that ONNX Runtime can load ({_first_line(error)}): give the back end's .onnx file"
            ) from error
        self.input_shape = _input_shape(path, [(i.name, i.type, list(i.shape)) for i in self._session.get_inputs()])
        outputs = [(o.name, o.type) for o in self._session.get_outputs()]
        if outputs != [("logits", "tensor(float)")]:
            raise ModelError(f"{path}: outputs are {outputs}, expected one, logits, of tensor(float)")
        trial = self.run(np.zeros((1, *self.input_shape), np.uint8))
        if trial.ndim != 2 or trial.shape[0] != 1 or not 2 <= trial.shape[1] <= MAX_CLASSES:
            raise ModelError(
                f"{path}: logits of one image have shape {list(trial.shape)}, expected [1, classes] with 2 to "
                f"{MAX_CLASSES} classes"
            )
        self.classes = int(trial.shape[1])

    def run(self, images: Images) -> Logits:
        """Logits float32 [N, classes] of uint8 images [N, H, W, C]; raises ModelError."""
        try:
            (logits,) = self._session.run(["logits"], {"image": images})
        except Exception as error:
            raise ModelError(
                f"the model failed on {list(images.shape)} images ({_first_line(error)})"
                ": give a model that ONNX Runtime runs"
            ) from error
        return np.asarray(logits, np.float32)


def _input_shape(path: Path, inputs: list[tuple[str, str, list[object]]]) -> tuple[int, int, int]:
    expected = "expected one, image, of tensor(uint8) and shape [N, H, W, C] with fixed H, W, C and free N"
    if len(inputs) != 1 or inputs[0][:2] != ("image", "tensor(uint8)"):
        raise ModelError(f"{path}: inputs are {inputs}, {expected}")
    batch, *sides = inputs[0][2]
    if isinstance(batch, int) or len(sides) != 3:
        raise ModelError(f"{path}: inputs are {inputs}, {expected}")
    height, width, channels = sides
    if not (isinstance(height, int) and isinstance(width, int) and isinstance(channels, int)):
        raise ModelError(f"{path}: inputs are {inputs}, {expected}")
    return height, width, channels


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
