"""A model's configuration as Triton tells it, made of the model's metadata."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import model_config_pb2 as mc

from edgesight.host.doors.served import ModelMetadata, TensorForm
from edgesight.host.doors.tensors import BYTES

_CHANNELS = (1, 3, 4)  # of a picture


def configuration(metadata: ModelMetadata) -> Any:
    """A ModelConfig: what clients read to find out how to ask."""
    config = mc.ModelConfig(
        name=metadata.name,
        platform=metadata.platform,
        max_batch_size=metadata.max_batch_size,
    )
    batched = metadata.max_batch_size > 0
    for form in metadata.inputs:
        sides = _sides(form, batched)
        config.input.add(name=form.name, data_type=_data_type(form), dims=sides, format=_format(sides))
    for form in metadata.outputs:
        config.output.add(name=form.name, data_type=_data_type(form), dims=_sides(form, batched))
    for name, value in metadata.parameters.items():
        config.parameters[name].string_value = str(value)
    return config


def as_plain(config: Any) -> dict[str, Any]:
    """A ModelConfig as JSON has it: 64-bit numbers as numbers, which protobuf's own form writes as text."""
    plain: dict[str, Any] = {
        "name": config.name,
        "platform": config.platform,
        "max_batch_size": config.max_batch_size,
        "input": [
            {
                "name": one.name,
                "data_type": mc.DataType.Name(one.data_type),
                "format": mc.ModelInput.Format.Name(one.format),
                "dims": list(one.dims),
            }
            for one in config.input
        ],
        "output": [
            {"name": one.name, "data_type": mc.DataType.Name(one.data_type), "dims": list(one.dims)}
            for one in config.output
        ],
    }
    if config.parameters:
        plain["parameters"] = {name: {"string_value": one.string_value} for name, one in config.parameters.items()}
    return plain


def _sides(form: TensorForm, batched: bool) -> tuple[int, ...]:
    """The shape without the batch, which Triton leaves out."""
    return form.shape[1:] if batched else form.shape


def _data_type(form: TensorForm) -> int:
    name = "TYPE_STRING" if form.datatype == BYTES else f"TYPE_{form.datatype}"
    return int(mc.DataType.Value(name))


def _format(sides: tuple[int, ...]) -> int:
    """Where a picture has its channels; FORMAT_NONE of what is no picture."""
    if len(sides) == 3 and sides[2] in _CHANNELS:
        return int(mc.ModelInput.FORMAT_NHWC)
    if len(sides) == 3 and sides[0] in _CHANNELS:
        return int(mc.ModelInput.FORMAT_NCHW)
    return int(mc.ModelInput.FORMAT_NONE)
