"""From trained networks to files: QONNX for the fabric's compiler, ONNX for the data centre, integers for the zoo.

This module owns the words *QONNX*, *zoo folder* and *grid*. What it writes is a function of the network alone: the same
weights give the same bytes, on any day and below any path. It refuses networks that the way to the fabric cannot carry
exactly, by the layer's name, rather than write a file that answers slightly differently.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx as brevitas_export_qonnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgesight.host import pixels
from edgesight.host.errors import EdgeSightError
from edgesight.quant import variants
from edgesight.quant.answers import infer
from edgesight.quant.variants import (
    Conv,
    Dense,
    Exponents,
    Folded,
    GlobalMaxPool,
    MaxPool,
    Placed,
    Variant,
)

ONNX_IR_VERSION: Final = 10
"""ONNX Runtime 1.31 reads up to 13 and older ones less, while onnx 1.23 would write 14."""

ONNX_OPSET: Final = 17


class ExportError(EdgeSightError, ValueError):
    """A network that cannot be exported exactly, or a zoo file that cannot be read; names layer or file, and remedy."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place in one step, on disk before it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files private; what is shipped is for all to read.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- QONNX


def export_qonnx(network: nn.Module, input_shape: tuple[int, int, int], path: Path) -> None:
    """Write a Brevitas network as QONNX, whatever its scales; `path` is written whole or not at all.

    The rest as in `qonnx_of`.
    """
    model = qonnx_of(network, input_shape)
    write_atomically(path, lambda temporary: temporary.write_bytes(model.SerializeToString(deterministic=True)))


def qonnx_of(network: nn.Module, input_shape: tuple[int, int, int]) -> Any:
    """Return a Brevitas network as a QONNX model.

    The graph's input is float32 `[1, C, H, W]`, pixel / 256; its output float32 logits `[1, classes]`, and one such
    for each exit, in order, where the network has exits. Equal networks give equal bytes.

    Args:
        network: a Brevitas network; it is put into evaluation mode.
        input_shape: image `(H, W, C)`.
    """
    network.eval()
    height, width, channels = input_shape
    with tempfile.TemporaryDirectory() as folder, _quiet():
        raw = Path(folder) / "raw.onnx"
        brevitas_export_qonnx(network, torch.zeros(1, channels, height, width), export_path=str(raw))
        model = onnx.load(str(raw))
    _strip(model)
    return model


def check_exportable(network: nn.Sequential) -> None:
    """Refuse a network of `variants.build_quantised`'s kinds that would not be integer arithmetic throughout.

    Raises:
        ExportError: names the first layer at fault.
    """
    on_grid = False
    for name, layer in network.named_children():
        if isinstance(layer, qnn.QuantIdentity | qnn.QuantReLU):
            _check_grid(name, "activation", layer.act_quant)
            on_grid = True
        elif isinstance(layer, qnn.QuantConv2d | qnn.QuantLinear):
            if not on_grid:
                raise ExportError(
                    f"layer {name}: its input is not quantised; put a QuantIdentity or QuantReLU before it"
                )
            _check_grid(name, "weight", layer.weight_quant)
            if layer.bias is not None:
                _check_grid(name, "bias", layer.bias_quant)
            on_grid = False
        elif not isinstance(layer, nn.MaxPool2d | nn.Flatten | nn.Dropout | nn.Identity):
            raise ExportError(
                f"layer {name}: {type(layer).__name__} has no exact form on the fabric; expected QuantIdentity, "
                "QuantConv2d, QuantReLU, MaxPool2d, Flatten or QuantLinear"
            )


def _check_grid(name: str, what: str, quantiser: Any) -> None:
    if not quantiser.is_quant_enabled:
        raise ExportError(f"layer {name}: its {what} is floating-point; give it a fixed-point {what} quantiser")
    scale = quantiser.scale()
    if scale is None:
        raise ExportError(
            f"layer {name}: its {what} has no scale of its own; use a quantiser that does not take its input's scale"
        )
    values = torch.as_tensor(scale).detach().flatten()
    if values.numel() != 1:
        raise ExportError(f"layer {name}: its {what} has {values.numel()} scales, expected one for the whole tensor")
    if math.frexp(float(values))[0] != 0.5:
        raise ExportError(
            f"layer {name}: its {what} scale {float(values):.9g} is no power of two; use a FixedPoint quantiser"
        )
    if float(torch.as_tensor(quantiser.zero_point()).abs().max()) != 0.0:
        raise ExportError(f"layer {name}: its {what} has a zero point, expected none; use a symmetric quantiser")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its notes on absent optional packages off the terminal."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _strip(model: Any) -> None:
    """Take out all that depends on where and when a model was written, in place."""
    model.ir_version = min(model.ir_version, ONNX_IR_VERSION)
    model.producer_version = ""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "network"
    graph.doc_string = ""
    for held in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        held.doc_string = ""
        del held.metadata_props[:]


def qonnx_logits(path: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Execute a QONNX file node by node, which is slow and independent of Brevitas.

    Args:
        path: a file that `export_qonnx` wrote.
        images: uint8 `[N, H, W, C]`.

    Returns:
        float32 logits `[exits, N, classes]`, of a network without exits one.
    """
    from qonnx.core.modelwrapper import ModelWrapper  # here, since it takes a second to import
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    values = pixels.as_input(images)
    model = cleanup_model(ModelWrapper(str(path)))
    source, exits = model.graph.input[0].name, [output.name for output in model.graph.output]
    answers = (execute_onnx(model, {source: value[None]}) for value in values)
    return np.concatenate([np.stack([answer[name] for name in exits]) for answer in answers], 1)


# --------------------------------------------------------------------------------------------------- zoo folder


@dataclass(frozen=True)
class StoredStage:
    """A quantised network as the zoo keeps it: integers and powers of two.

    Attributes:
        variant: the variant it was built from.
        shape: image `(H, W, C)`.
        classes: number of logits.
        exponents: powers of two by layer.
        folded: weights and biases by layer, on their grids.
    """

    variant: Variant
    shape: tuple[int, int, int]
    classes: int
    exponents: Mapping[str, Exponents]
    folded: Folded

    def build(self) -> nn.Sequential:
        """Build the Brevitas network, in evaluation mode."""
        network = variants.fit(self.variant, self.shape, self.classes)
        built = variants.build_quantised(self.variant, network, self.exponents)
        variants.load_weights(built, self.folded)
        return built.eval()


def save_stage(stage: StoredStage, path: Path) -> None:
    """Write a quantised network as an .npz of integers, readable without pickle.

    For each layer it holds `<layer>.weight` (int8), `<layer>.bias` (int32), `<layer>.weight_exponent`,
    `<layer>.bias_exponent` and, but for the last, `<layer>.activation_exponent`; and once `shape`, `classes` and
    `family`.

    Raises:
        ExportError: a weight or bias is not on its grid.
    """
    arrays: dict[str, NDArray[Any]] = {
        "shape": np.array(stage.shape, np.int64),
        "classes": np.array(stage.classes, np.int64),
        "family": np.array(stage.variant.family),
    }
    incoming = variants.INPUT_EXPONENT
    for name, (weight, bias) in stage.folded.items():
        at = stage.exponents[name]
        arrays[f"{name}.weight"] = _on_grid(f"{name}.weight", weight, at.weight, np.int8)
        arrays[f"{name}.bias"] = _on_grid(f"{name}.bias", bias, incoming + at.weight, np.int32)
        arrays[f"{name}.weight_exponent"] = np.array(at.weight, np.int64)
        arrays[f"{name}.bias_exponent"] = np.array(incoming + at.weight, np.int64)
        if at.activation is not None:
            arrays[f"{name}.activation_exponent"] = np.array(at.activation, np.int64)
            incoming = at.activation
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy's stub takes any keyword for a flag
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getvalue()))


def _on_grid(name: str, values: Tensor, exponent: int, kind: type[np.signedinteger[Any]]) -> NDArray[Any]:
    exact = values.double().numpy() * 2.0**-exponent
    integers = exact.astype(kind)
    if not np.array_equal(integers, exact):
        raise ExportError(f"{name}: holds values off the grid of 2**{exponent}; save the weights as quantised")
    return integers


def load_stage(folder: Path, stage: str) -> StoredStage:
    """Read a quantised network from a zoo folder.

    Args:
        folder: the zoo folder, with `<stage>.npz`.
        stage: `stage0` or `stage1`.

    Raises:
        ExportError: no such file, or a damaged one.
    """
    path = folder / f"{stage}.npz"
    if stage not in ("stage0", "stage1"):
        raise ExportError(f"stage: found {stage!r}, expected stage0 or stage1")
    if not path.is_file():
        raise ExportError(f"{path}: is not there; train it with `edgesight train` or give another zoo folder")
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        variant = variants.FAMILIES[str(arrays.get("family", "shipped"))][stage]  # older files say nothing
        height, width, channels = (int(extent) for extent in arrays["shape"])
        classes = int(arrays["classes"])
        exponents: dict[str, Exponents] = {}
        folded: Folded = {}
        for placed in variants.fit(variant, (height, width, channels), classes):
            if not placed.parameters:
                continue
            name = placed.name
            weight, bias = int(arrays[f"{name}.weight_exponent"]), int(arrays[f"{name}.bias_exponent"])
            exponents[name] = Exponents(weight, int(arrays[f"{name}.activation_exponent"]) if placed.relu else None)
            folded[name] = (
                torch.from_numpy(np.ldexp(arrays[f"{name}.weight"].astype(np.float32), weight)),
                torch.from_numpy(np.ldexp(arrays[f"{name}.bias"].astype(np.float32), bias)),
            )
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{path}: not a stage of the zoo ({error}); train it again") from error
    return StoredStage(variant, (height, width, channels), classes, exponents, folded)


def brevitas_logits(folder: Path, stage: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a zoo folder's quantised network in Brevitas.

    Every logit is an integer times one power of two, and float32 holds it exactly.

    Args:
        folder: the zoo folder.
        stage: `stage0` or `stage1`.
        images: uint8 `[N, H, W, C]`.

    Returns:
        float32 logits `[N, classes]`.

    Raises:
        ExportError: the stage is missing or damaged, or the images have another shape.
    """
    stored = load_stage(folder, stage)
    if images.dtype != np.uint8 or images.shape[1:] != stored.shape:
        raise ExportError(
            f"images: found {images.dtype} {images.shape}, expected uint8 [N, {', '.join(map(str, stored.shape))}]"
        )
    return infer(stored.build(), images)


# ---------------------------------------------------------------------------------------------------- back end


def export_backend(network: tuple[Placed, ...], folded: Folded, path: Path) -> None:
    """Write the floating-point back end as ONNX.

    The graph takes `image`, uint8 `[N, H, W, C]` with any N, and gives `logits`, float32 `[N, classes]`; division by
    256 and transposition lie inside. Nodes and tensors bear their layers' names, so that a graph can be cut by them.

    Args:
        network: the fitted variant.
        folded: weights and biases by layer, batch normalisation folded.
        path: the file, written whole or not at all.
    """
    height, width, channels = network[0].input_shape
    nodes: list[Any] = []
    held: list[Any] = []

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def hold(name: str, values: NDArray[Any]) -> str:
        held.append(numpy_helper.from_array(values, name))
        return name

    current = add("Cast", ["image"], "image_float", to=TensorProto.FLOAT)
    current = add("Mul", [current, hold("pixel_scale", np.array(1 / pixels.STEPS, np.float32))], "image_scaled")
    current = add("Transpose", [current], "image_planar", perm=[0, 3, 1, 2])
    flat = False
    for placed in network:
        name = placed.name
        match placed.layer:
            case Conv(kernel=kernel, stride=stride, padding=padding, residual=residual):
                weights = [hold(f"{name}.{part}", tensor.numpy()) for part, tensor in _parts(folded, name)]
                pads = [kernel // 2 if padding == "same" else 0] * 4
                block = add(
                    "Conv",
                    [current, *weights],
                    f"{name}_sum",
                    kernel_shape=[kernel, kernel],
                    strides=[stride, stride],
                    pads=pads,
                )
                block = add("Relu", [block], f"{name}_relu" if residual else name)
                current = add("Add", [current, block], name) if residual else block
            case MaxPool(size=size):
                current = add("MaxPool", [current], name, kernel_shape=[size, size], strides=[size, size])
            case GlobalMaxPool():
                current = add("GlobalMaxPool", [current], name)
            case Dense():
                if not flat:
                    current, flat = add("Flatten", [current], "flatten", axis=1), True
                weights = [hold(f"{name}.{part}", tensor.numpy()) for part, tensor in _parts(folded, name)]
                current = add("Gemm", [current, *weights], f"{name}_sum" if placed.relu else name, transB=1)
                if placed.relu:
                    current = add("Relu", [current], name)
    classes = network[-1].output_shape[2]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, channels])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        held,
    )
    model = helper.make_model(
        graph,
        producer_name="edgesight",
        ir_version=ONNX_IR_VERSION,
        opset_imports=[helper.make_opsetid("", ONNX_OPSET)],
    )
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, lambda temporary: temporary.write_bytes(model.SerializeToString(deterministic=True)))


def _parts(folded: Folded, name: str) -> Iterator[tuple[str, Tensor]]:
    weight, bias = folded[name]
    yield "weight", weight.float()
    yield "bias", bias.float()
