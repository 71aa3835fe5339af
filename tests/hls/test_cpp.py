"""hls4ml's C++ of integer networks: what it can state gives the reference's integers, the rest is told."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.hls.cpp.model import model_graph
from edgesight.hls.cpp.package import csim_files
from edgesight.hls.cpp.statements import NotStated, statements
from edgesight.hls.dataflow import operators as op
from edgesight.hls.dataflow.operators import IntegerNetwork, Operator, Output, Stream, Window
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.network import Integers, Shape

GXX = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")


class Maker:
    """Appends operators to a network; each method returns the place of the one that it made."""

    def __init__(self, stream: Stream, seed: int = 0) -> None:
        self.made: list[Operator] = [op.entry("global_in", stream, 0.5)]
        self.random = np.random.default_rng(seed)

    def stream(self, place: int) -> Stream:
        return self.made[place].output

    def append(self, operator: Operator) -> int:
        self.made.append(operator)
        return len(self.made) - 1

    def conv(self, source: int, outputs: int, window: Window, groups: int = 1, low: int = -3, high: int = 3) -> int:
        stream = self.stream(source)
        size = (outputs, *window.kernel, stream.shape.channels // groups)
        weights = self.random.integers(low, high + 1, size)
        weights.flat[:2] = low, high
        return self.append(op.matrix(f"Conv_{len(self.made)}", source, stream, window, groups, weights))

    def dense(self, source: int, outputs: int, low: int = -3, high: int = 3) -> int:
        shape = self.stream(source).shape
        return self.conv(source, outputs, Window((shape.height, shape.width)), 1, low, high)

    def threshold(self, source: int, levels: int = 7, first: int = 0) -> int:
        """Ascending thresholds in the middle of what comes, with channels turned and channels never reached."""
        stream = self.stream(source)
        channels, half = stream.shape.channels, max((stream.high - stream.low) // 4, 1)
        middle = (stream.high + stream.low) // 2
        table = np.sort(self.random.integers(middle - half, middle + half + 1, (channels, levels)), axis=1)
        table[-1, -1] = np.iinfo(np.int64).max
        turned = self.random.integers(0, 2, channels)
        begin, step = np.where(turned, first + levels, first), np.where(turned, -1, 1)
        return self.append(op.threshold(f"Quant_{len(self.made)}", source, stream, table, begin, step))

    def scale(self, source: int, shift: int, rounding: Any, low: int, high: int) -> int:
        stream = self.stream(source)
        channels = stream.shape.channels
        multiplier, offset = self.random.integers(-9, 10, channels), self.random.integers(-40, 41, channels)
        shape = Stream(stream.shape, low, high)
        return self.append(op.Scale(f"Scale_{len(self.made)}", (source,), shape, multiplier, offset, shift, rounding))

    def pool(self, source: int, window: Window) -> int:
        return self.append(op.max_pool(f"MaxPool_{len(self.made)}", source, self.stream(source), window))

    def upsample(self, source: int, factor: tuple[int, int]) -> int:
        return self.append(op.upsample(f"Resize_{len(self.made)}", source, self.stream(source), factor))

    def join(self, how: Callable[..., Operator], *sources: int) -> int:
        streams = [self.stream(source) for source in sources]
        return self.append(how(f"{how.__name__}_{len(self.made)}", sources, streams))

    def network(self, *outputs: int, softmax: bool = False) -> IntegerNetwork:
        given = []
        for place in outputs:
            channels = self.stream(place).shape.channels
            given.append(Output(f"out_{place}", place, np.ones(channels), np.zeros(channels), 0.0, softmax))
        return IntegerNetwork(tuple(self.made), tuple(given))


def maps() -> IntegerNetwork:
    """Convolutions of every kind, poolings, joins and an upsampling of signed maps; nine outputs, most of them maps."""
    make = Maker(Stream(Shape(7, 9, 3), -8, 7), seed=1)
    wide = make.threshold(make.conv(0, 4, Window((3, 2), (2, 1), (1, 2), (1, 0, 2, 1))), 7, first=-4)
    lower = make.pool(wide, Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)))  # padded, with negative integers
    upper = make.upsample(lower, (2, 2))
    depthwise = make.conv(wide, 4, Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), groups=4)
    total = make.threshold(make.join(op.add, depthwise, wide, wide), 3)
    grouped = make.conv(total, 6, Window((3, 3), (1, 1), (2, 1), (2, 1, 2, 1)), groups=2, low=-1, high=1)
    rows = make.conv(total, 2, Window((1, 3), (2, 2)), low=-2, high=1)  # rows skipped by a kernel of one row
    point = make.conv(total, 3, Window((1, 1), (2, 3)), low=0, high=1)
    joined = make.join(op.concat, total, grouped, make.scale(total, 3, 2, -9, 9))
    average = make.conv(joined, 14, Window((4, 4), (2, 2)), groups=14, low=1, high=1)
    everything = make.conv(average, 14, Window(sides(make.stream(average).shape)), groups=14, low=1, high=1)
    logits = make.dense(make.scale(everything, 2, 1, -50, 60), 5)
    return make.network(logits, lower, upper, grouped, rows, point, joined, everything, logits)


def sides(shape: Shape) -> tuple[int, int]:
    return shape.height, shape.width


def vectors() -> IntegerNetwork:
    """Dense layers of bipolar, ternary and two-bit weights, a sum and a concatenation of vectors."""
    make = Maker(Stream(Shape(1, 1, 12), 0, 255), seed=2)
    first = make.threshold(make.dense(0, 6, -1, 1), 1, first=-1)
    second = make.threshold(make.dense(0, 6, -2, 1), 3, first=-2)
    both = make.join(op.concat, first, second)
    total = make.join(op.add, first, second)
    hidden = make.scale(make.dense(both, 6), 4, 0, -8, 7)
    grown = make.upsample(hidden, (2, 3))
    return make.network(make.dense(make.join(op.add, total, hidden), 4), make.dense(grown, 3))


def signals() -> IntegerNetwork:
    """One dimension: rows of one, unsigned, with padding, dilation and strides."""
    make = Maker(Stream(Shape(1, 20, 2), 0, 3), seed=3)
    first = make.threshold(make.conv(0, 5, Window((1, 3), (1, 1), (1, 2), (0, 2, 0, 2))), 15)
    lower = make.pool(first, Window((1, 3), (1, 2), (1, 1), (0, 1, 0, 1)))
    depthwise = make.threshold(make.conv(lower, 5, Window((1, 3), (1, 1), (1, 1), (0, 1, 0, 1)), groups=5), 7)
    return make.network(make.dense(depthwise, 3))


def single_bits() -> IntegerNetwork:
    """Inputs of one bit and weights of one bit, all 0 or 1: none of hls4ml's binary networks of -1 and 1."""
    make = Maker(Stream(Shape(5, 6, 3), 0, 1), seed=4)
    average = make.conv(0, 3, Window((2, 3)), groups=3, low=1, high=1)
    return make.network(average, make.conv(0, 2, Window((2, 2)), low=0, high=1), make.dense(0, 4, low=0, high=1))


NETWORKS = {"maps": maps, "vectors": vectors, "signals": signals, "single bits": single_bits}


def inputs(network: IntegerNetwork, count: int, seed: int = 5) -> Integers:
    stream = network.entry.output
    shape = (count, stream.shape.height, stream.shape.width, stream.shape.channels)
    return np.random.default_rng(seed).integers(stream.low, stream.high + 1, shape)


def compiled(network: IntegerNetwork, folder: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        model = model_graph(network, "net", folder)
        model.compile()
    return model


@GXX
@pytest.mark.parametrize("name", list(NETWORKS))
def test_hls4mls_cpp_gives_the_references_integers(tmp_path: Path, name: str) -> None:
    network = NETWORKS[name]()
    model = compiled(network, tmp_path)
    integers = inputs(network, 30)
    wanted = Reference(network).integers(integers)
    given = model.predict(integers * network.entry.scale)
    given = given if isinstance(given, list) else [given]
    assert len(given) == len(wanted)
    for output, ours, theirs in zip(network.outputs, wanted, given, strict=True):
        assert len(np.unique(ours.reshape(len(ours), -1), axis=0)) > 10, f"{output.name} says little"
        assert np.array_equal(ours.reshape(theirs.shape), theirs), output.name


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_type_is_an_integer_of_the_streams_bounds(name: str) -> None:
    network = NETWORKS[name]()
    layers, outputs = statements(network)
    types = {layer.name: layer.types for layer in layers}
    for operator in network.operators[1:]:
        stream = operator.output
        wanted = f"{'ap_int' if stream.signed else 'ap_uint'}<{stream.bits}>"
        assert types[operator.name]["result"] == wanted
        if isinstance(operator, op.Matrix):
            assert types[operator.name]["accum"] == wanted
    assert len(outputs) == len(network.outputs) == len(set(outputs))


def dilated_pool() -> IntegerNetwork:
    make = Maker(Stream(Shape(8, 8, 2), 0, 3))
    return make.network(make.pool(0, Window((2, 2), (1, 1), (2, 2))))


def many_users() -> IntegerNetwork:
    make = Maker(Stream(Shape(1, 1, 4), 0, 3))
    first = make.dense(0, 2)
    return make.network(*(make.dense(first, 2) for _ in range(8)))


def wide_groups() -> IntegerNetwork:
    make = Maker(Stream(Shape(3, 3, 2048), 0, 1))
    return make.network(make.conv(0, 4096, Window((3, 3)), groups=1024))


def large_numbers() -> IntegerNetwork:
    make = Maker(Stream(Shape(1, 1, 2), 0, 1))
    stream = Stream(Shape(1, 1, 2), 0, 7)
    return make.network(
        make.append(op.Scale("Scale_1", (0,), stream, np.array([1 << 53, 1]), np.zeros(2, np.int64), 52, 0))
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (dilated_pool, "not stated by hls4ml: layer MaxPool_1: dilated max pooling"),
        (many_users, "not stated by hls4ml: layer Conv_1: 8 others take its output, and hls4ml copies it for 7"),
        (wide_groups, "not stated by hls4ml: layer Conv_1: 75497472 weights with the zeros of its groups"),
        (large_numbers, r"not stated by hls4ml: layer Scale_1: numbers of 2\*\*53 and more"),
    ],
)
def test_what_hls4ml_cannot_state_is_told_by_layer(
    tmp_path: Path, build: Callable[[], IntegerNetwork], message: str
) -> None:
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(NotStated, match=message):
        model_graph(build(), "net", tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_names_of_exporters_become_names_of_cpp(tmp_path: Path) -> None:
    make = Maker(Stream(Shape(1, 1, 4), 0, 3))
    for name in ("/fc1/MatMul", "_fc1_matmul", "0", ""):
        make.append(op.matrix(name, 0, make.stream(0), Window((1, 1)), 1, np.ones((2, 1, 1, 4), np.int64)))
    layers, _ = statements(make.network(1, 2, 3, 4))
    assert [layer.name for layer in layers] == ["in_global_in", "_fc1_MatMul", "_fc1_matmul_2", "layer_0", "layer_"]


def test_a_package_carries_what_hls4ml_does_not(tmp_path: Path) -> None:
    files = csim_files(vectors(), "stage0")
    assert {"csim/stage0/stage0.cpp", "csim/stage0/defines.h", "csim/stage0/nnet_utils/nnet_integers.h"} <= set(files)
    text = files["csim/stage0/stage0.cpp"].decode()
    loaded = {name.rsplit("/", 1)[1] for name in files if name.endswith(".txt")}
    assert loaded
    assert all(f'"{weights}"' in text for weights in loaded)
    assert "nnet_dense.h" not in "".join(files)
    with pytest.raises(NotStated, match="dilated max pooling"):
        csim_files(dilated_pool(), "stage0")
