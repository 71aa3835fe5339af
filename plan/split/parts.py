"""An ONNX network cut into parts that run one by one on ONNX Runtime, and how long each of them takes.

A part is a node that computes, and the cheap ones behind it. A QONNX network's quantisers become the standard operators
that they stand for, with equal results; what they quantise is counted in their bits.

Words owned here: *part* (nodes that are measured as one layer), *chain* (the parts that an exit's answer runs through).
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesight.host.files import sha256
from edgesight.plan.profile import PlanError, check_text

_QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
# Nodes that are no layer of their own: they follow one value, element by element or by its shape.
_FOLLOWERS = {
    "Abs", "Add", "BatchNormalization", "Cast", "Ceil", "Clip", "Div", "Dropout", "Elu", "Exp", "Flatten", "Floor",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg", "PRelu", "Relu", "Reshape",
    "Round", "Sigmoid", "Softmax", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
# Nodes behind which a value still lies on its quantiser's grid, and so still fits into its bits.
_KEEP_BITS = frozenset(
    (
        "Dropout",
        "Flatten",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "Relu",
        "Reshape",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
# Behind these an integer still says the same.
_RESHAPED = ("Cast", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_MOST_ELEMENTS = 2**28  # of an input

Step = Callable[[], None]


def no_step() -> None:
    """Tell nobody that a repeat is over."""


@dataclass(eq=False)
class Part:
    """A layer-to-be: nodes that run together."""

    name: str
    nodes: list[Any] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)  # tensors from outside, constants not counted
    gives: list[str] = field(default_factory=list)


class Graph:
    """A network, cut into parts that run one by one."""

    def __init__(self, path: Path, threads: int) -> None:
        """Of the network at `path`, run with so many `threads`; raises PlanError as `measure.measure_onnx` does."""
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise PlanError(f"{error.name} is not installed: `pip install 'edgesight[build]'`") from error
        try:
            content = path.read_bytes()
            model = onnx.load(str(path))  # with weights that lie beside it
            onnx.checker.check_model(model)
        except OSError as error:
            raise PlanError(
                f"{path}: cannot be read ({error.strerror or error}): name an ONNX file, its weights beside it"
            ) from error
        except Exception as error:  # protobuf's and the checker's share no base class
            raise PlanError(f"{path}: is no ONNX network ({_first_line(error)}): give an ONNX file") from error
        self.sha256 = sha256(content)
        self._path = path
        self._onnx = onnx
        self._runtime = onnxruntime
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 4  # errors come as exceptions
        self._constants = {constant.name: constant for constant in model.graph.initializer}
        self.inputs = {value.name: value for value in model.graph.input if value.name not in self._constants}
        self.outputs = [value.name for value in model.graph.output]
        check_text([name for node in model.graph.node for name in (node.name, node.op_type, *node.output)], str(path))
        if not model.graph.node or not self.outputs or not self.inputs:
            raise PlanError(f"{path}: has no nodes, no input or no output: nothing to measure; give a whole network")
        self.bits: dict[str, int] = {}
        nodes = self._without_quantisers(model.graph.node)
        self._opset = [opset for opset in model.opset_import if opset.domain not in _QONNX_DOMAINS]
        self._ir_version = model.ir_version
        self.parts = self._parts(self._folded(nodes))
        for output in self.outputs:
            if not any(output in part.gives for part in self.parts):
                raise PlanError(f"{path}: output {output} depends on no input; leave it out")

    def _without_quantisers(self, nodes: Iterable[Any]) -> list[Any]:
        """The nodes, with each Quant written out: (clip(round(x / scale + zero)) - zero) * scale."""
        helper, kept = self._onnx.helper, []
        for node in nodes:
            if node.domain not in _QONNX_DOMAINS:
                kept.append(node)
                if node.op_type in _KEEP_BITS and node.input[0] in self.bits:
                    self.bits[node.output[0]] = self.bits[node.input[0]]
                continue
            options = {option.name: helper.get_attribute_value(option) for option in node.attribute}
            name = node.name or node.output[0]
            if node.op_type != "Quant" or options.get("rounding_mode", b"ROUND") not in (b"ROUND", b"round"):
                raise PlanError(
                    f"{self._path}: node {name}: operator {node.op_type} of {node.domain} cannot be measured: of "
                    "QONNX's own operators only Quant, rounding half to even, has standard ones that equal it; "
                    "export the network with such operators"
                )
            if len(node.input) != 4:
                raise PlanError(
                    f"{self._path}: node {name}: Quant takes 4 inputs (value, scale, zero point, bit width), not "
                    f"{len(node.input)}; export it again"
                )
            value, scale, zero, width = node.input
            if width not in self._constants:
                raise PlanError(f"{self._path}: node {name}: its bit width is no constant; export in evaluation mode")
            bits = float(self._array(width))
            signed, narrow = bool(options.get("signed", 1)), bool(options.get("narrow", 0))
            low = -(2 ** (bits - 1)) + narrow if signed else 0.0
            high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
            names = [f"{node.output[0]}/{step}" for step in ("scaled", "shifted", "rounded", "clipped", "centred")]
            bounds = [f"{node.output[0]}/{side}" for side in ("low", "high")]
            for bound, number in zip(bounds, (low, high), strict=True):
                self._constants[bound] = self._onnx.numpy_helper.from_array(np.float32(number), bound)
            make = helper.make_node
            kept += [
                make("Div", [value, scale], [names[0]]),
                make("Add", [names[0], zero], [names[1]]),
                make("Round", [names[1]], [names[2]]),
                make("Clip", [names[2], *bounds], [names[3]]),
                make("Sub", [names[3], zero], [names[4]]),
                make("Mul", [names[4], scale], [node.output[0]]),
            ]
            self.bits[node.output[0]] = math.ceil(bits)
        return kept

    def _folded(self, nodes: Sequence[Any]) -> list[Any]:
        """The nodes that depend on the input; what constants alone make is computed once, here."""
        live, kept, constant = set(self.inputs), [], []
        for node in nodes:
            if any(name in live for name in reads(node)):
                kept.append(node)
                live.update(node.output)
            else:
                constant.append(node)
        needed = sorted({name for node in kept for name in reads(node)} & {o for n in constant for o in n.output})
        if needed:
            session = self._session(constant, {}, needed)
            for name, value in zip(needed, session.run(needed, {}), strict=True):
                self._constants[name] = self._onnx.numpy_helper.from_array(value, name)
        return kept

    def _parts(self, nodes: Sequence[Any]) -> list[Part]:
        parts: list[Part] = []
        made_by: dict[str, Part] = {}
        outputs = set(self.outputs)
        for node in nodes:
            live = [name for name in reads(node) if name not in self._constants]
            before = made_by.get(live[0]) if len(live) == 1 else None
            # It joins the part that makes its value, unless it belongs to another exit than the node before it.
            joins = node.op_type in _FOLLOWERS and before is not None and live[0] == before.nodes[-1].output[0]
            if joins and before is not None and live[0] not in outputs:
                part = before
            else:
                part = Part(_unique(node.name or node.output[0] or node.op_type, [p.name for p in parts]))
                parts.append(part)
            part.nodes.append(node)
            made_by.update({name: part for name in node.output if name})
        for part in parts:
            inside = {name for node in part.nodes for name in node.output}
            read = dict.fromkeys(name for node in part.nodes for name in reads(node))
            part.needs = [name for name in read if name not in inside and name not in self._constants]
        for part in parts:
            used = {name for other in parts if other is not part for name in other.needs} | outputs
            part.gives = [name for node in part.nodes for name in node.output if name in used]
        return [part for part in parts if part.gives]

    def run(
        self,
        repeats: int,
        chain: Sequence[Part],
        output: str,
        given: Mapping[str, np.ndarray] | None = None,
        step: Step = no_step,
    ) -> tuple[dict[str, np.ndarray], dict[str, float], float]:
        """Every tensor between parts, the median ms of each part, and of the `chain` to `output` in one piece.

        Calls `step` after each of the `repeats`.
        """
        given = dict(self.sample({}, {}) if given is None else given)
        values = dict(given)
        sessions = []
        for part in self.parts:
            session = self._session(part.nodes, {name: values[name] for name in part.needs}, part.gives)
            sessions.append(session)
            results = self._try(part.name, session, part.gives, {name: values[name] for name in part.needs})
            values.update(zip(part.gives, results, strict=True))
        whole_session = self._session([node for part in chain for node in part.nodes], given, [output])
        self._try("(all)", whole_session, [output], given)
        clock = self._clock()
        times: dict[str, list[float]] = {part.name: [] for part in self.parts}
        whole = []
        for _ in range(repeats):
            # Part after part, as they would run, so that each finds the caches as they would be.
            for part, session in zip(self.parts, sessions, strict=True):
                feed = {name: values[name] for name in part.needs}
                start = clock()
                session.run(part.gives, feed)
                times[part.name].append(clock() - start)
            start = clock()
            whole_session.run([output], given)
            whole.append(clock() - start)
            step()
        return values, {name: 1e3 * float(np.median(row)) for name, row in times.items()}, 1e3 * float(np.median(whole))

    def run_whole(self, repeats: int, given: Mapping[str, np.ndarray], step: Step = no_step) -> tuple[float, float]:
        """The median ms of all outputs in one piece, and the ms until it was loaded; calls `step` after each repeat."""
        start = time.perf_counter()
        session = self._session([node for part in self.parts for node in part.nodes], given, self.outputs)
        loaded = time.perf_counter() - start
        feed = dict(given)
        self._try("(all)", session, self.outputs, feed)
        clock, taken = self._clock(), []
        for _ in range(repeats):
            start = clock()
            session.run(self.outputs, feed)
            taken.append(clock() - start)
            step()
        return 1e3 * float(np.median(taken)), 1e3 * loaded

    def _clock(self) -> Callable[[], float]:
        # One thread runs in this one, whose processor time leaves out what other programs took of the machine.
        return time.thread_time if self._options.intra_op_num_threads == 1 else time.perf_counter

    def _session(self, nodes: Sequence[Any], inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Any:
        return self._load(self._model(nodes, inputs, outputs), nodes, self._options)

    def _model(self, nodes: Sequence[Any], inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> bytes:
        helper = self._onnx.helper
        read = {name for node in nodes for name in reads(node)}
        graph = helper.make_graph(
            nodes,
            "part",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for name, value in inputs.items()
            ],
            [self._onnx.ValueInfoProto(name=name) for name in outputs],
            [constant for name, constant in self._constants.items() if name in read],
        )
        model = helper.make_model(graph, opset_imports=self._opset, ir_version=self._ir_version)
        return bytes(model.SerializeToString())

    def _load(self, model: bytes, nodes: Sequence[Any], options: Any) -> Any:
        try:
            return self._runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class
            where = nodes[0].name or nodes[0].op_type
            raise PlanError(
                f"{self._path}: node {where}: ONNX Runtime cannot run it ({_first_line(error)}); only standard "
                "operators and QONNX's Quant can be measured"
                "; export the network with these"
            ) from error

    def optimised(self, inputs: Mapping[str, np.ndarray], kept: Sequence[str], *, extended: bool = False) -> Any:
        """The network as an ONNX model that ONNX Runtime optimised, with standard operators alone.

        Where `extended`, also with those of ONNX Runtime's own that run on any processor.

        The tensors `kept` are its outputs, so that no optimisation joins what lies before one of them with what lies
        behind. Of what is run for the `inputs` (shapes, values) nothing but the shapes counts.
        """
        nodes = [node for part in self.parts for node in part.nodes]
        options = self._runtime.SessionOptions()
        options.log_severity_level = 4
        levels = self._runtime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED if extended else levels.ORT_ENABLE_BASIC
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            self._load(self._model(nodes, inputs, kept), nodes, options)
            return self._onnx.load(options.optimized_model_filepath)

    def _try(self, name: str, session: Any, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return list(session.run(list(outputs), dict(feed)))
        except Exception as error:
            raise PlanError(
                f"{self._path}: layer {name}: ONNX Runtime failed on it ({_first_line(error)})"
                "; export the network so that ONNX Runtime runs it"
            ) from error

    def sample(self, inputs: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        """The inputs that are given, and random ones for the others."""
        rng = np.random.default_rng(0)
        for name in [*inputs, *shapes]:
            if name not in self.inputs:
                raise PlanError(
                    f"{self._path}: has no input {name!r}, only {', '.join(self.inputs)}; name one of these"
                )
        found = {}
        for name, value in self.inputs.items():
            if name in inputs:
                self._check_shape(name, inputs[name].shape)
                dtype = self._onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                if inputs[name].dtype != dtype:
                    raise PlanError(f"{self._path}: input {name} is given as {inputs[name].dtype}; expected {dtype}")
                found[name] = inputs[name]
            elif name in shapes:
                self._check_shape(name, shapes[name])
                found[name] = self._sample(value, rng, shapes[name])
            else:
                found[name] = self._sample(value, rng)
        return found

    def _check_shape(self, name: str, shape: Sequence[int]) -> None:
        kind = self.inputs[name].type.tensor_type
        stated = [size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim]
        fits = len(shape) == len(stated) and all(
            size >= 1 and known in (None, 0, size) for size, known in zip(shape, stated, strict=False)
        )
        if not fits or math.prod(shape) > _MOST_ELEMENTS:
            expected = "x".join("?" if size is None else str(size) for size in stated)
            raise PlanError(
                f"{self._path}: input {name} is given as {'x'.join(map(str, shape))}; expected {expected}, and at most "
                f"{_MOST_ELEMENTS:,} elements"
            )

    def _sample(self, value: Any, rng: np.random.Generator, shape: Sequence[int] | None = None) -> np.ndarray:
        """One random input; without a `shape` a batch that is left open is taken as 1."""
        kind = value.type.tensor_type
        if shape is None:
            shape = [size.dim_value or (1 if axis == 0 else 0) for axis, size in enumerate(kind.shape.dim)]
            if 0 in shape:
                stated = "x".join(str(size or "?") for size in shape)
                raise PlanError(
                    f"{self._path}: input {value.name} is {stated}, with sizes left open, on which times depend; give "
                    f"its shape, as in `--shape {value.name}={stated.replace('?', '224')}`"
                )
        if not all(size > 0 for size in shape) or math.prod(shape) > _MOST_ELEMENTS:
            raise PlanError(
                f"{self._path}: input {value.name} is {'x'.join(map(str, shape))}; export it with sizes of at least 1, "
                f"and at most {_MOST_ELEMENTS:,} elements"
            )
        dtype = np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        if dtype == np.bool_:
            return rng.integers(0, 2, shape).astype(np.bool_)
        if np.issubdtype(dtype, np.integer):
            most = min(self._rows(value.name) or 256, int(np.iinfo(dtype).max) + 1)
            return rng.integers(0, max(1, most), shape).astype(dtype)
        return rng.random(shape).astype(dtype)

    def _rows(self, name: str) -> int | None:
        """Rows of the smallest table that input `name` names rows of, at once or with another shape or type."""
        same, rows = {name}, list[int]()
        for node in (node for part in self.parts for node in part.nodes):
            if node.op_type in _RESHAPED and node.input[0] in same:
                same.update(node.output)
            if node.op_type == "Gather" and node.input[1] in same and node.input[0] in self._constants:
                axis = next((option.i for option in node.attribute if option.name == "axis"), 0)
                rows.append(self._constants[node.input[0]].dims[axis])
        return min(rows, default=None)

    def _array(self, name: str) -> np.ndarray:
        return np.asarray(self._onnx.numpy_helper.to_array(self._constants[name]))


def square_inputs(path: Path, wanted: Sequence[tuple[int, int]]) -> list[dict[str, tuple[int, ...]]]:
    """For each batch size and side in pixels, the shape of the one input of the network at `path`, by its name.

    Channels come first or last, as the size says that the network does not leave open. Raises PlanError for a network
    that takes no such pictures, or not of these sizes.
    """
    inputs = Graph(path, 1).inputs
    shapes = []
    for batch, pixels in wanted:
        name, value = next(iter(inputs.items()))
        stated = [size.dim_value for size in value.type.tensor_type.shape.dim]  # 0 where it is left open
        for axis in (1, 3):
            if len(inputs) != 1 or len(stated) != 4 or stated[axis] == 0:
                continue
            shape = (batch, *(stated[axis] if at == axis else pixels for at in (1, 2, 3)))
            if all(known in (0, size) for known, size in zip(stated, shape, strict=True)):
                shapes.append({name: shape})
                break
        else:
            told = ", ".join(f"{n} ({len(v.type.tensor_type.shape.dim)} dimensions)" for n, v in inputs.items())
            if len(inputs) == 1:
                told = f"{name} of {'x'.join(str(size or '?') for size in stated)}"
            raise PlanError(
                f"{path}: takes {told}, and so no batch of {batch} pictures of {pixels} x {pixels} pixels; give a "
                "network that does, or ask for other sizes"
            )
    return shapes


def exit_chains(path: Path, graph: Graph) -> dict[str, list[Part]]:
    """By output, in the order of their branches: the parts that its answer runs through, the trunk's first."""
    maker = {name: part for part in graph.parts for name in part.gives}
    behind: dict[str, set[Part]] = {}
    for output in graph.outputs:
        found, todo = set(), [maker[output]]
        while todo:
            part = todo.pop()
            if part not in found:
                found.add(part)
                todo += [maker[name] for name in part.needs if name in maker]
        behind[output] = found
    deepest = max(graph.outputs, key=lambda output: (len(behind[output]), graph.outputs.index(output)))
    shared = {output: behind[output] & behind[deepest] for output in graph.outputs}
    ordered = sorted(graph.outputs, key=lambda output: (output == deepest, len(shared[output])))
    for early, late in itertools.pairwise(ordered):
        if not shared[early] <= shared[late]:
            raise PlanError(
                f"{path}: exits {early} and {late} don't branch off one trunk: a cut can't serve both"
                "; leave one of them out"
            )
    # Parts lie in the order of the file; those that an earlier exit needs come first, which none behind them forbids.
    rank = {part: next(n for n, o in enumerate(ordered) if part in shared[o]) for part in behind[deepest]}
    trunk = sorted(behind[deepest], key=lambda part: (rank[part], graph.parts.index(part)))
    return {
        output: [part for part in trunk if part in shared[output]]
        + [part for part in graph.parts if part in behind[output] and part not in behind[deepest]]
        for output in ordered
    }


def tensors_crossing(chain: Sequence[Part], inputs: Iterable[str], output: str) -> list[list[str]]:
    """Tensors that cross each cut 0..N of a chain; behind the last part it is the output."""
    crossing = []
    for cut in range(len(chain)):
        made = [*inputs, *(name for part in chain[:cut] for name in part.gives)]
        needed = {name for part in chain[cut:] for name in part.needs}
        crossing.append([name for name in made if name in needed])
    return [*crossing, [output]]


def reads(node: Any) -> list[str]:
    """Tensors that a node reads, those from outside that its branches or its body read included."""
    read = dict.fromkeys(name for name in node.input if name)
    for option in node.attribute:
        for graph in [option.g] if option.HasField("g") else option.graphs:
            inside = {value.name for value in graph.input} | {constant.name for constant in graph.initializer}
            for inner in graph.node:
                read.update(dict.fromkeys(name for name in reads(inner) if name not in inside))
                inside.update(inner.output)
            read.update(dict.fromkeys(value.name for value in graph.output if value.name not in inside))
    return list(read)


def _unique(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else f"{name}#{len(taken)}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
