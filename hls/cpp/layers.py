"""Layers that hls4ml lacks, given to it by its extension API: counted thresholds, and a scale in integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
from hls4ml.model.layers import Layer, register_layer

SOURCES = ("nnet_integers.h", "nnet_real_values.h")
_HEADER = ["nnet_utils/nnet_integers.h"]


class _Channelwise(Layer):  # type: ignore[misc] # hls4ml carries no types
    """A layer that keeps its map's shape and has tables with a row for each channel: attributes `<name>_data`."""

    tables: tuple[str, ...] = ()

    def initialize(self) -> None:
        """The output and the tables, typed by the layer's Precision."""
        self.add_output_variable(self.get_input_variable().shape)
        for table in self.tables:
            self.add_weights_variable(name=table, var_name=table + "{index}")


class IntegerThreshold(_Channelwise):
    """out = first + step * (how many of the channel's thresholds [channels, n] are reached)."""

    tables = ("thresholds", "first", "step")
    _expected_attributes: ClassVar = [part for name in tables for part in (WeightAttribute(name), TypeAttribute(name))]


class IntegerScale(_Channelwise):
    """out = clip(round((in * multiplier + offset) / 2**shift)) to `low` and `high`; rounding as `operators.Scale`."""

    tables = ("multiplier", "offset")
    _expected_attributes: ClassVar = [
        *(Attribute(name, value_type=int) for name in ("shift", "rounding", "low", "high")),
        *(part for name in tables for part in (WeightAttribute(name), TypeAttribute(name))),
    ]


class _Config(LayerConfigTemplate):  # type: ignore[misc]
    kind: type[_Channelwise]
    lines: str

    def __init__(self) -> None:
        super().__init__(self.kind)

    def format(self, node: Any) -> str:
        parameters = self._default_config_params(node)
        shape = node.get_output_variable().shape
        types = "".join(
            f"    typedef {node.get_weights(name).type.name} {_TYPES[name]};\n" for name in self.kind.tables
        )
        numbers = self.lines.format(size=int(np.prod(shape)), channels=shape[-1], **_numbers(node), **parameters)
        return f"{numbers}{types}}};\n"


_TYPES = {
    "thresholds": "threshold_t",
    "first": "first_t",
    "step": "step_t",
    "multiplier": "multiplier_t",
    "offset": "offset_t",
}


def _numbers(node: Any) -> dict[str, int]:
    return {"count": node.get_weights("thresholds").shape[1]} if "thresholds" in node.weights else {}


class ThresholdConfig(_Config):
    """The struct `config<index>` of a threshold."""

    kind = IntegerThreshold
    lines = """struct config{index} : nnet::threshold_config {{
    static const unsigned n_elem = {size};
    static const unsigned n_chan = {channels};
    static const unsigned n_thresholds = {count};
"""


class ScaleConfig(_Config):
    """The struct `config<index>` of a scale."""

    kind = IntegerScale
    lines = """struct config{index} : nnet::scale_config {{
    static const unsigned n_elem = {size};
    static const unsigned n_chan = {channels};
    static const unsigned shift = {shift};
    static const unsigned rounding = {rounding};
    static const long long low = {low};
    static const long long high = {high};
"""


class _Call(FunctionCallTemplate):  # type: ignore[misc]
    kind: type[_Channelwise]
    function: str

    def __init__(self) -> None:
        super().__init__(self.kind, include_header=_HEADER)

    def format(self, node: Any) -> str:
        tables = ", ".join(node.get_weights(name).name for name in self.kind.tables)
        call = f"nnet::{self.function}<{{input_t}}, {{output_t}}, {{config}}>({{input}}, {{output}}, {tables});"
        return call.format(**self._default_function_params(node))


class ThresholdCall(_Call):
    """The call of nnet::threshold."""

    kind, function = IntegerThreshold, "threshold"


class ScaleCall(_Call):
    """The call of nnet::scale."""

    kind, function = IntegerScale, "scale"


def register(backend: Any) -> None:
    """Give `backend` the layers' templates and C++; their classes go to hls4ml once, with the first backend."""
    for kind in (IntegerThreshold, IntegerScale):
        register_layer(kind.__name__, kind)
    for template in (ThresholdConfig, ThresholdCall, ScaleConfig, ScaleCall):
        backend.register_template(template)
    for source in SOURCES:
        backend.register_source(Path(__file__).resolve().parent / source)
