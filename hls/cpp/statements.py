"""Each operator of an integer network as layers of hls4ml: what kinds, attributes and integer types they have.

hls4ml's streams know whole convolutions without dilation, depthwise ones, windows without padding, and sums of two.
The rest is said with these: a dilated kernel has zeros between its taps, a grouped one outside its groups.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    Entry,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Scale,
    Stream,
    Threshold,
    Upsample,
    Window,
)
from edgesight.hls.network import CompileError, Integers, Shape
from edgesight.hls.settings import LONGEST_NAME

_MAX_WEIGHTS = 1 << 24  # of a kernel with its zeros
_EXACT = 1 << 53  # hls4ml writes numbers by way of floating point
_STACK = 1 << 17  # products that hls4ml's latency strategy keeps on the stack
_MAX_COPIES = 7  # of a stream, hls4ml's most
_LAST = {"data_format": "channels_last"}


class NotStated(CompileError):
    """hls4ml has no layer for an operator: names it and the reason. The network itself may be compiled all the same."""


@dataclass(frozen=True)
class Statement:
    """One layer of hls4ml: `types` are the names and texts of its Precision, `operator` the place that it belongs to.

    `shape` is that of its output: height, width, channels, or channels alone.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    types: Mapping[str, str]
    attributes: Mapping[str, Any]
    operator: int


def text(low: int, high: int) -> str:
    """The type of integers from `low` to `high`, as hls4ml's configuration has it."""
    stream = Stream(Shape(1, 1, 1), low, high)
    return f"{'ap_int' if stream.signed else 'ap_uint'}<{stream.bits}>"


def statements(network: IntegerNetwork) -> tuple[list[Statement], list[str]]:
    """The layers, each behind its inputs, and the names of those that are the outputs, an output each.

    Raises NotStated for an operator that hls4ml cannot have.
    """
    writer = _Writer(network)
    for place in range(len(network.operators)):
        writer.state(place)
    return writer.made, writer.outputs()


class _Writer:
    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.names = cpp_names(network)
        self.made: list[Statement] = []
        self.by_name: dict[str, Statement] = {}
        self.taken = {name.lower() for name in self.names}
        self.shaped: dict[tuple[str, tuple[int, ...]], str] = {}
        self.place = 0

    def state(self, place: int) -> None:
        """Append the layers of the operator at `place`."""
        self.place = place
        operator, name = self.network.operators[place], self.names[place]
        sources = [self.names[source] for source in operator.sources]
        streams = [source.output for source in self.network.sources_of(operator)]
        match operator:
            case Entry():
                self.add("InputLayer", name, (), _shape(operator.output), operator.output)
            case Matrix():
                self.matrix(operator, name, sources[0])
            case MaxPool():
                self.pool(operator, name, sources[0], streams[0])
            case Upsample():
                self.upsample(operator, name, sources[0], streams[0])
            case Add():
                self.merge(name, sources, streams, _add)
            case Concat():
                self.merge(name, sources, streams, _concat)
            case Threshold():
                self.threshold(operator, name, sources[0], streams[0])
            case Scale():
                self.scale(operator, name, sources[0])
            case _:
                raise NotStated(self.problem(f"{type(operator).__name__} is not known here"))

    def outputs(self) -> list[str]:
        """The names of the outputs' layers; an output that another one gives already has a layer of its own."""
        given: list[str] = []
        for output in self.network.outputs:
            self.place = output.source
            name = self.names[output.source]
            if name in given or output.source == 0:
                name = self.identity(name, self.helper(f"{name}_out"))
            given.append(name)
        uses = Counter([*given, *(source for statement in self.made for source in statement.inputs)])
        for name, count in uses.items():
            if count > _MAX_COPIES:
                self.place = self.by_name[name].operator
                raise NotStated(self.problem(f"{count} others take its output, and hls4ml copies it for {_MAX_COPIES}"))
        return given

    def helper(self, name: str) -> str:
        """A name that no layer has yet, for one that no operator is."""
        while name.lower() in self.taken:
            name += "_"
        self.taken.add(name.lower())
        return name

    def problem(self, reason: str) -> str:
        return f"not stated by hls4ml: layer {self.network.operators[self.place].name}: {reason}"

    def add(
        self, kind: str, name: str, inputs: tuple[str, ...], shape: Sequence[int], stream: Stream, **attributes: Any
    ) -> str:
        """Append a layer that makes `stream`; `types` among the attributes are those beside the result's."""
        types = {"result": text(stream.low, stream.high), **attributes.pop("types", {})}
        made = Statement(kind, name, inputs, tuple(shape), types, attributes, self.place)
        self.made.append(made)
        self.by_name[name] = made
        return name

    def as_map(self, name: str) -> str:
        """The layer `name`, or one behind it that makes a map of its vector."""
        shape = self.by_name[name].shape
        return name if len(shape) == 3 else self.reshaped(name, (1, 1, *shape))

    def reshaped(self, name: str, shape: tuple[int, ...]) -> str:
        """A layer behind `name` with another shape of as many integers; one for all that ask for it."""
        if (name, shape) not in self.shaped:
            before = self.by_name[name]
            called = self.helper(f"{name}_{'map' if len(shape) == 3 else 'flat'}")
            made = replace(
                before, kind="Reshape", name=called, inputs=(name,), shape=shape,
                types={"result": before.types["result"]}, attributes={"target_shape": list(shape)},
            )  # fmt: skip
            self.made.append(made)
            self.by_name[called] = made
            self.shaped[name, shape] = called
        return self.shaped[name, shape]

    def padded(self, name: str, source: str, stream: Stream, pads: tuple[int, int, int, int]) -> str:
        """The layer `source`, or one behind it with zeros around its map."""
        source = self.as_map(source)
        if not any(pads):
            return source
        height, width, channels = self.by_name[source].shape
        top, left, bottom, right = pads
        shape = (height + top + bottom, width + left + right, channels)
        sizes = {"in_height": height, "in_width": width, "out_height": shape[0], "out_width": shape[1]}
        around = {"pad_top": top, "pad_left": left, "pad_bottom": bottom, "pad_right": right}
        wider = replace(stream, low=min(stream.low, 0), high=max(stream.high, 0))
        attributes = {"n_chan": channels, **sizes, **around, **_LAST}
        return self.add("ZeroPadding2D", self.helper(f"{name}_pad"), (source,), shape, wider, **attributes)

    def matrix(self, operator: Matrix, name: str, source: str) -> None:
        stream = self.network.operators[operator.sources[0]].output
        window, weights = operator.window, operator.weights
        map_of = (stream.shape.height, stream.shape.width)
        if window.kernel == map_of and window.reach == map_of and not any(window.pads) and operator.groups == 1:
            table = weights.reshape(len(weights), -1).T
            if len(self.by_name[source].shape) == 3:
                source = self.reshaped(source, (len(table),))
            sizes = {"n_in": len(table), "n_out": len(weights)}
            self.weighted("Dense", name, source, operator.output, table, sizes)
            return
        depthwise = operator.groups == stream.shape.channels == len(weights) and window.kernel[0] > 1
        if not depthwise:
            weights = _whole(weights, operator.groups)
        weights = _undilated(weights, window.dilation)
        pads = window.pads
        if weights.shape[1] == 1 and weights.shape[2] > 1 and window.stride[0] > 1 and stream.shape.height > 1:
            # hls4ml skips no rows where the kernel has one: it gets a second one, of zeros.
            weights = np.concatenate([weights, np.zeros_like(weights)], axis=1)
            pads = (pads[0], pads[1], pads[2] + 1, pads[3])
        if weights.size > _MAX_WEIGHTS:
            raise NotStated(self.problem(f"{weights.size} weights with the zeros of its groups and its dilation"))
        source = self.padded(name, source, stream, pads)
        shape = operator.output.shape
        kind, order = ("DepthwiseConv2D", (1, 2, 0, 3)) if depthwise else ("Conv2D", (1, 2, 3, 0))
        height, width, channels = self.by_name[source].shape
        kernel = Window((weights.shape[1], weights.shape[2]), window.stride)
        geometry: dict[str, Any] = _window_sizes(kernel, "filt") | {
            "in_height": height, "in_width": width, "out_height": shape.height, "out_width": shape.width,
            "n_chan": channels, "n_filt": len(weights), **_LAST,
        }  # fmt: skip
        self.weighted(kind, name, source, operator.output, weights.transpose(order), geometry)

    def weighted(
        self, kind: str, name: str, source: str, stream: Stream, table: Integers, sizes: Mapping[str, Any]
    ) -> None:
        """A layer with the weights `table`, as hls4ml orders them."""
        low, high = int(table.min()), int(table.max())
        # hls4ml takes signed weights of two bits for -1, 0 and 1, and of one bit for -1 and 1 where inputs have one.
        weight = "ap_int<3>" if low == -2 and high < 2 else text(low, high).replace("ap_uint<1>", "ap_uint<2>")
        types = {"weight": weight, "bias": "ap_uint<1>", "accum": text(stream.low, stream.high)}
        strategy = "Resource" if table.size > _STACK else "Latency"
        data = "depthwise_data" if kind == "DepthwiseConv2D" else "weight_data"
        shape = stream.shape
        made = (shape.channels,) if kind == "Dense" else (shape.height, shape.width, shape.channels)
        values = {data: np.ascontiguousarray(table), "bias_data": np.zeros(shape.channels)}
        self.add(kind, name, (source,), made, stream, types=types, Strategy=strategy, **sizes, **values)

    def pool(self, operator: MaxPool, name: str, source: str, stream: Stream) -> None:
        window = operator.window
        if any(d > 1 and k > 1 for d, k in zip(window.dilation, window.kernel, strict=True)):
            raise NotStated(self.problem("dilated max pooling"))
        lifted = any(window.pads) and stream.low < 0
        if lifted:  # what pads is 0, and shall be the smallest
            source = self.shifted(source, self.helper(f"{name}_lift"), stream, -stream.low)
            stream = replace(stream, low=0, high=stream.high - stream.low)
        source = self.padded(name, source, stream, window.pads)
        height, width, channels = self.by_name[source].shape
        shape = operator.output.shape
        sizes = _window_sizes(window, "pool") | _window_sizes(window, "filt") | {
            "in_height": height, "in_width": width, "out_height": shape.height, "out_width": shape.width,
            "n_filt": channels, "n_chan": channels, **_LAST,
        }  # fmt: skip
        called = self.helper(f"{name}_lifted") if lifted else name
        types = {"accum": text(stream.low, stream.high)}
        full = (shape.height, shape.width, channels)
        self.add("MaxPooling2D", called, (source,), full, stream, types=types, **sizes)
        if lifted:
            self.shifted(called, name, replace(operator.output, low=0, high=stream.high), operator.output.low)

    def upsample(self, operator: Upsample, name: str, source: str, stream: Stream) -> None:
        source = self.as_map(source)
        shape = operator.output.shape
        sizes = {
            "in_height": stream.shape.height, "in_width": stream.shape.width, "n_chan": shape.channels,
            "out_height": shape.height, "out_width": shape.width, "algorithm": "nearest", **_LAST,
        }  # fmt: skip
        full = (shape.height, shape.width, shape.channels)
        self.add("Resize", name, (source,), full, operator.output, **sizes)

    def merge(self, name: str, sources: list[str], streams: list[Stream], two: Any) -> None:
        """A chain of joins of two streams each."""
        if len(sources) == 1:
            self.identity(sources[0], name)
            return
        if len({len(self.by_name[source].shape) for source in sources}) > 1:
            sources = [self.as_map(source) for source in sources]
        so_far, stream = sources[0], streams[0]
        for index, (source, other) in enumerate(zip(sources[1:], streams[1:], strict=True), 1):
            called = name if index + 1 == len(sources) else self.helper(f"{name}_part")
            kind, shape, stream, attributes = two(self.by_name[so_far].shape, self.by_name[source].shape, stream, other)
            so_far = self.add(kind, called, (so_far, source), shape, stream, **attributes)

    def threshold(self, operator: Threshold, name: str, source: str, stream: Stream) -> None:
        thresholds = np.clip(operator.thresholds, stream.low, stream.high + 1)
        if thresholds.shape[1] == 0:
            thresholds = np.full((len(thresholds), 1), stream.high + 1)
        tables = {"thresholds": thresholds, "first": operator.first, "step": operator.step}
        self.channelwise("IntegerThreshold", name, source, operator.output, tables)

    def scale(self, operator: Scale, name: str, source: str) -> None:
        tables = {"multiplier": operator.multiplier, "offset": operator.offset}
        numbers = {"shift": int(operator.shift), "rounding": int(operator.rounding)}
        self.channelwise("IntegerScale", name, source, operator.output, tables, **numbers)

    def channelwise(
        self, kind: str, name: str, source: str, stream: Stream, tables: Mapping[str, Integers], **numbers: int
    ) -> str:
        if any(abs(int(edge)) >= _EXACT for table in tables.values() for edge in (table.min(), table.max())):
            raise NotStated(self.problem(f"numbers of 2**{_EXACT.bit_length() - 1} and more"))
        types = {key: text(int(table.min()), int(table.max())) for key, table in tables.items()}
        data = {f"{key}_data": np.ascontiguousarray(table) for key, table in tables.items()}
        limits = {"low": stream.low, "high": stream.high} if kind == "IntegerScale" else {}
        shape = self.by_name[source].shape
        return self.add(kind, name, (source,), shape, stream, types=types, **data, **numbers, **limits)

    def shifted(self, source: str, name: str, stream: Stream, by: int) -> str:
        """A layer that adds `by` to the integers of `stream`."""
        channels = stream.shape.channels
        tables = {"multiplier": np.ones(channels, np.int64), "offset": np.full(channels, by)}
        moved = replace(stream, low=stream.low + by, high=stream.high + by)
        return self.channelwise("IntegerScale", name, source, moved, tables, shift=0, rounding=0)

    def identity(self, source: str, name: str) -> str:
        return self.shifted(source, name, self.network.operators[self.by_name[source].operator].output, 0)


_Joined = tuple[str, tuple[int, ...], Stream, dict[str, Any]]


def _add(first: tuple[int, ...], second: tuple[int, ...], one: Stream, other: Stream) -> _Joined:
    """Kind, shape, stream and attributes of the sum of two layers."""
    return "Merge", first, replace(one, low=one.low + other.low, high=one.high + other.high), {"op": "add"}


def _concat(first: tuple[int, ...], second: tuple[int, ...], one: Stream, other: Stream) -> _Joined:
    """The same of the channels of two layers behind each other."""
    shape = (*first[:-1], first[-1] + second[-1])
    stream = replace(one, low=min(one.low, other.low), high=max(one.high, other.high))
    return "Concatenate", shape, stream, {"op": f"concatenate{len(first)}d", "axis": len(first)}


def _shape(stream: Stream) -> tuple[int, ...]:
    shape = stream.shape
    return (shape.channels,) if shape.pixels == 1 else (shape.height, shape.width, shape.channels)


def _window_sizes(window: Window, what: str) -> dict[str, int]:
    sizes = {"stride_height": window.stride[0], "stride_width": window.stride[1]}
    sizes |= {f"{what}_height": window.kernel[0], f"{what}_width": window.kernel[1]}
    return sizes | {f"pad_{side}": 0 for side in ("top", "left", "bottom", "right")}


def _whole(weights: Integers, groups: int) -> Integers:
    """Weights [outputs, rows, columns, channels of all groups] of a grouped convolution, zeros outside the groups."""
    if groups == 1:
        return weights
    outputs, rows, columns, channels = weights.shape
    if outputs * rows * columns * channels * groups > _MAX_WEIGHTS:
        return np.broadcast_to(np.int64(0), (outputs, rows, columns, channels * groups))
    whole = np.zeros((outputs, rows, columns, groups, channels), weights.dtype)
    for output in range(outputs):
        whole[output, :, :, output // (outputs // groups)] = weights[output]
    return whole.reshape(outputs, rows, columns, groups * channels)


def _undilated(weights: Integers, dilation: tuple[int, int]) -> Integers:
    """Weights with zeros between the taps of a dilated kernel."""
    outputs, rows, columns, channels = weights.shape
    reach = Window((rows, columns), dilation=dilation).reach
    if reach == (rows, columns):
        return weights
    if outputs * reach[0] * reach[1] * channels > _MAX_WEIGHTS:
        return np.broadcast_to(np.int64(0), (outputs, *reach, channels))
    wide = np.zeros((outputs, *reach, channels), weights.dtype)
    wide[:, :: dilation[0], :: dilation[1]] = weights
    return wide


def cpp_names(network: IntegerNetwork) -> list[str]:
    """A name of C++ for every operator, different from all others whatever their case."""
    names: list[str] = []
    taken: set[str] = set()
    for operator in network.operators:
        plain = re.sub(r"\W", "_", operator.name, flags=re.ASCII)[: LONGEST_NAME - 20]
        if isinstance(operator, Entry):
            plain = f"in_{plain}"
        elif not plain or plain[0].isdigit() or plain == "input":  # which hls4ml keeps for itself
            plain = f"layer_{plain}"
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names
