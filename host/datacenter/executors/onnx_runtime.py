"""ONNX models in ONNX Runtime: on the CPU, or on a GPU by its CUDA and TensorRT providers where they are present."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors.base import (
    DEFAULT_BATCH,
    GRAPH_LEVEL,
    Arrays,
    ModelError,
    Recipe,
    RunPictures,
    batch_of,
    check_declared,
    first_line,
)
from edgesight.host.doors.served import TensorForm

_DATATYPES = {
    "bool": "BOOL",
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "string": "BYTES",
    **{f"{word}{bits}": f"{word.upper()}{bits}" for word in ("uint", "int") for bits in (8, 16, 32, 64)},
}
_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}


# ONNX Runtime's levels of graph optimisation, by Triton's numbers; without one all are done.
_LEVELS = {"-1": "ORT_ENABLE_BASIC", "1": "ORT_ENABLE_EXTENDED", "2": "ORT_DISABLE_ALL"}


class OnnxExecutor:
    """An ONNX model; its options are `threads`, `device` and `graph_level`."""

    run_pictures: RunPictures | None = None

    def __init__(self, recipe: Recipe, content: bytes) -> None:
        """Load the model of the file `content`; raises ModelError."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError("onnxruntime is not installed: `pip install 'edgesight[datacenter]'`") from error
        name = recipe.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = recipe.threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if (level := recipe.options.get(GRAPH_LEVEL)) is not None:
            if level not in _LEVELS:
                raise ModelError(f"{name}: optimization.graph.level is {level[:40]}: state one of {', '.join(_LEVELS)}")
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[level])
        self._runtime = onnxruntime
        self._device = "cpu" if recipe.options.get("device", "cpu") == "cpu" else "cuda"
        chosen = _providers(recipe, onnxruntime.get_available_providers())
        try:
            # Weights in a file beside the model are looked for in an empty folder: the checksum does not cover them.
            with _empty_folder(name) as empty:
                options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
                ports: Sequence[TensorForm] = ()
                if recipe.options.get("device") == "tensorrt":  # which has to know how large a batch may be
                    plain = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
                    ports = _forms(name, plain.get_inputs())
                providers = [(one, provider_options(one, ports, recipe.max_batch_size)) for one in chosen]
                self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except ModelError:
            raise
        except Exception as error:  # its exceptions share no base class
            if "External data" in str(error):
                raise ModelError(
                    f"{name} keeps weights in another file, which its checksum does not cover: save it as one file"
                ) from error
            raise ModelError(
                f"{name} is no model that ONNX Runtime can load ({first_line(error)}): give a whole .onnx file"
            ) from error
        takes, gives = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: Sequence[TensorForm] = _forms(name, takes)
        self.outputs: Sequence[TensorForm] = _forms(name, gives)
        check_declared(recipe, "input", recipe.inputs, self.inputs)
        check_declared(recipe, "output", recipe.outputs, self.outputs)
        symbols = {one.shape[0] for one in (*takes, *gives) if one.shape and not isinstance(one.shape[0], int)}
        self.max_batch_size = batch_of(recipe, self.inputs, self.outputs, len(symbols) <= 1)
        self._texts = {port.name for port in self.inputs if port.datatype == "BYTES"}
        self._names = [port.name for port in self.outputs]
        self._has_texts = any(port.datatype == "BYTES" for port in (*self.inputs, *self.outputs))

    def run(self, arrays: Arrays, wanted: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
        """As `Executor` says."""
        names = list(wanted) or self._names
        if self._device != "cpu" and not self._has_texts:
            return self.run_bound(arrays, names, self._device)
        taken = {name: _as_text(array) if name in self._texts else array for name, array in arrays.items()}
        try:
            given = self._session.run(names, taken)
        except Exception as error:
            raise ModelError(first_line(error)) from error
        return {name: _as_bytes(np.asarray(array)) for name, array in zip(names, given, strict=True)}

    def run_bound(self, arrays: Arrays, names: Sequence[str], device: str) -> dict[str, npt.NDArray[Any]]:
        """The outputs `names`, of numbers alone: each input is copied to the `device` once, each output back once.

        Raises ModelError.
        """
        binding = self._session.io_binding()
        try:
            for name, array in arrays.items():
                binding.bind_ortvalue_input(name, self._runtime.OrtValue.ortvalue_from_numpy(array, device, 0))
            for name in names:
                binding.bind_output(name, device)
            self._session.run_with_iobinding(binding)
            given = binding.copy_outputs_to_cpu()
        except Exception as error:
            raise ModelError(first_line(error)) from error
        return dict(zip(names, given, strict=True))


@contextlib.contextmanager
def _empty_folder(name: str) -> Iterator[str]:
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError as error:
        raise ModelError(
            f"{name} cannot be loaded: there is no room for a temporary folder ({error.strerror or error}): make some, "
            "or name another place by TMPDIR"
        ) from error
    with folder as empty:
        yield empty


def _providers(recipe: Recipe, present: Sequence[str]) -> list[str]:
    device = recipe.options.get("device", "cpu")
    if device not in _PROVIDERS:
        raise ModelError(f"{recipe.name}: `device` is {device!r}: state one of {', '.join(_PROVIDERS)}")
    wanted = _PROVIDERS[device]
    if wanted[0] not in present:
        raise ModelError(
            f"{recipe.name}: ONNX Runtime has no {wanted[0]} here: install `onnxruntime-gpu` in place of onnxruntime, "
            "or state `device` cpu"
        )
    return [provider for provider in wanted if provider in present]


def provider_options(provider: str, inputs: Sequence[TensorForm], most: int | None) -> dict[str, str]:
    """So that no batch of a size that first comes, of at most `most` rows, has to wait for long."""
    if provider == "CUDAExecutionProvider":
        return {"cudnn_conv_algo_search": "HEURISTIC"}  # the default tries all algorithms for each size
    free = [port for port in inputs if port.shape[:1] == (-1,)]
    if provider != "TensorrtExecutionProvider" or not free or any(-1 in port.shape[1:] for port in inputs):
        return {}
    # One engine for all sizes; without these it is built anew for a larger one.
    largest = most or DEFAULT_BATCH
    return {
        f"trt_profile_{bound}_shapes": ",".join(
            f"{port.name}:{'x'.join(map(str, (rows, *port.shape[1:])))}" for port in free
        )
        for bound, rows in (("min", 1), ("opt", largest), ("max", largest))
    }


def _forms(name: str, arguments: Iterable[Any]) -> tuple[TensorForm, ...]:
    """Inputs or outputs as ONNX Runtime tells them."""
    found = []
    for one in arguments:
        word = one.type.removeprefix("tensor(").removesuffix(")")
        if not one.type.startswith("tensor(") or word not in _DATATYPES:
            raise ModelError(f"{name}: {one.name} is of {one.type}, which the protocol has no word for: export it anew")
        shape = tuple(side if isinstance(side, int) and side >= 0 else -1 for side in one.shape)
        found.append(TensorForm(one.name, _DATATYPES[word], shape))
    return tuple(found)


def _as_text(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """BYTES as ONNX Runtime takes them; raises ModelError where they are no text."""
    try:
        texts = [one.decode() for one in array.ravel()]
    except UnicodeDecodeError as error:
        raise ModelError(f"an element of a BYTES input is no UTF-8 ({error.reason}): send text") from error
    return np.array(texts, object).reshape(array.shape)


def _as_bytes(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind not in "OU":
        return array
    given = np.empty(array.size, object)
    given[:] = [str(one).encode() for one in array.ravel()]
    return given.reshape(array.shape)
