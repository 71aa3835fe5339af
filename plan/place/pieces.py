"""A network as it runs in pieces on a cluster: its layers with measured times, and the pieces of a plan.

The network is optimised once, with what crosses each of its cuts kept. All pieces of all plans are taken from that
graph and run as they are: together they give what it gives in one piece, bit for bit, and a piece that two plans have
in common is the same file. What is measured is what will run.

Words owned here: *atom* (as `edgesight.plan.place.graph` has it).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgesight.host.cluster.deployment import Deployment, Piece
from edgesight.host.doors.served import TensorForm
from edgesight.host.doors.tensors import DATATYPES
from edgesight.host.files import sha256
from edgesight.host.limits import Limits, held
from edgesight.plan.extract import extracted
from edgesight.plan.place.graph import INPUT, Layer, Model, producers, read_onnx, working_bytes
from edgesight.plan.place.problem import Cluster, Placement
from edgesight.plan.profile import PlanError, checked
from edgesight.plan.split.parts import Graph, Part

_CHECKS: Final = 2  # inputs for which pieces are held against the whole


@dataclass(frozen=True)
class Atoms:
    """A network by its atoms, with what it takes to run them; plain data, for whichever machine.

    Attributes:
        contents: ONNX, in their order.
        outputs: of each.
        whole: all of it.
        given: inputs of the whole.
    """

    contents: Sequence[bytes]
    outputs: Sequence[list[str]]
    whole: bytes
    given: Mapping[str, np.ndarray]

    def measure(self, repeats: int = 15, cores: float | None = None) -> list[float]:
        """What each atom takes here in ms, one input at a time, with one thread.

        Atoms run one after the other, each on what the one before made, and are scaled so that together they take what
        the whole takes: of the processor (medians), or by the clock where this process is held to `cores` meanwhile,
        which takes more than the processor's time over the share. Raises PlanError, or LimitsError where it cannot be
        held.
        """
        if repeats < 1:
            raise PlanError(f"repeats is {repeats}; give at least 1")
        sessions, whole = [session_of(content) for content in self.contents], session_of(self.whole)
        times: list[list[float]] = [[] for _ in sessions]
        whole.run(self.outputs[-1], dict(self.given))  # for warming
        together = []
        for _ in range(repeats):
            values: dict[str, Any] = dict(self.given)
            for session, names, taken in zip(sessions, self.outputs, times, strict=True):
                begun = time.thread_time()
                found = session.run(names, values)
                taken.append(time.thread_time() - begun)
                values = dict(zip(names, found, strict=True))
            begun = time.thread_time()
            whole.run(self.outputs[-1], dict(self.given))
            together.append(time.thread_time() - begun)
        medians = [float(np.median(taken)) for taken in times]
        all_s = float(np.median(together))
        if cores is not None:
            with held(cores):
                begun = time.monotonic()
                for _ in range(repeats):
                    whole.run(self.outputs[-1], dict(self.given))
                all_s = (time.monotonic() - begun) / repeats
        apart = math.fsum(medians)
        return [1e3 * all_s / apart * one if apart else 0.0 for one in medians]


class CutNetwork:
    """A network that can be cut, optimised."""

    def __init__(self, path: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        """The ONNX or QONNX network at `path`; `shapes` are those of inputs that leave sizes open, which are 1 else.

        Raises PlanError as `read_onnx` and `measure_onnx` do.
        """
        self._path = path
        self._graph = Graph(path, 1)
        plain, makes = read_onnx(path), producers(path)
        self._given = self._graph.sample({}, shapes or {})
        self._values, _, _ = self._graph.run(1, self._graph.parts, self._graph.outputs[-1], self._given)
        self._maker = {name: part for part in self._graph.parts for name in part.gives}
        behind_outputs = self._before([self._maker[name] for name in self._graph.outputs])
        self._parts = [part for part in self._graph.parts if part in behind_outputs]  # others make nothing of use
        self._of: dict[str, str] = {}  # by layer of `read_onnx`: the one of `model` that it is in
        self.model, parts = self._by_part(plain, makes)
        behind = [self._behind(parts[cut]) for cut in self.model.cuts]
        self._crossing = [tuple(self._graph.inputs), *behind, tuple(self._graph.outputs)]
        kept = dict.fromkeys(name for names in self._crossing[1:] for name in names)
        self._optimised = self._graph.optimised(self._given, list(kept), extended=True)

    def _by_part(self, plain: Model, makes: Mapping[str, str]) -> tuple[Model, dict[str, Part]]:
        """The model with a layer for each part, called as its last node's; and the parts by these names."""
        layers = {layer.name: layer for layer in plain.layers}
        members: dict[str, list[str]] = {}
        parts: dict[str, Part] = {}
        for part in self._parts:
            inside = [makes[name] for node in part.nodes for name in node.output if name in makes]
            name = inside[-1] if inside else part.name  # shapes alone are no layer of `plain`
            members[name] = list(dict.fromkeys(inside))
            parts[name] = part
        self._of = {layer: name for name, inside in members.items() for layer in inside}
        made = {tensor: name for name, part in parts.items() for tensor in part.gives}
        sources = {
            name: tuple(dict.fromkeys(made.get(tensor, INPUT) for tensor in part.needs)) or (INPUT,)
            for name, part in parts.items()
        }
        bytes_of = {name: sum(self._values[tensor].nbytes for tensor in part.gives) for name, part in parts.items()}
        memory = {**bytes_of, INPUT: sum(value.nbytes for value in self._given.values())}
        outputs = tuple(dict.fromkeys(made[name] for name in self._graph.outputs))
        needed = working_bytes(list(sources.items()), memory, outputs)
        entries = [
            {
                "name": name,
                "inputs": sources[name],
                "output_bytes": bytes_of[name],
                "parameter_bytes": sum(layers[one].parameter_bytes for one in inside),
                "operations": sum(layers[one].operations for one in inside),
                "working_bytes": needed[name],
                "weights_sha256": _together([layers[one] for one in inside]),
            }
            for name, inside in members.items()
        ]  # fmt: skip
        content = {"name": plain.name, "version": plain.version, "layers": entries, "outputs": outputs}
        return checked(content, Model, str(self._path)), parts

    def _behind(self, part: Part) -> tuple[str, ...]:
        """Tensors that cross the cut behind a part that no path bypasses."""
        before = self._before([part])
        needed = {name for other in self._parts if other not in before for name in other.needs}
        return tuple(name for name in part.gives if name in needed)

    def _before(self, parts: Sequence[Part]) -> set[Part]:
        """These parts, and all that they depend on."""
        before, todo = set[Part](), list(parts)
        while todo:
            one = todo.pop()
            if one not in before:
                before.add(one)
                todo += [self._maker[name] for name in one.needs if name in self._maker]
        return before

    def position(self, cut: str) -> int:
        """Atoms before the cut behind the layer `cut`, as `read_onnx` or `model` calls it.

        A layer that runs together with others behind it is cut behind these. Raises PlanError for what is no cut.
        """
        name = self._of.get(cut)
        if name is None:
            raise PlanError(f"{self._path}: has no layer {cut!r}, behind which the plan cuts: plan for this network")
        if name not in self.model.cuts:
            raise PlanError(f"{self._path}: a path bypasses layer {cut!r}, behind which the plan cuts: plan anew")
        return self.model.cuts.index(name) + 1

    def piece(self, begin: int, end: int) -> bytes:
        """The atoms from one position to another, as ONNX."""
        return extracted(self._optimised, self._values, self._crossing[begin], self._crossing[end])

    @cached_property
    def whole(self) -> bytes:
        """All of it."""
        return self.piece(0, self.end)

    @property
    def end(self) -> int:
        """Atoms."""
        return len(self._crossing) - 1

    def atoms(self) -> Atoms:
        """What its times are measured by."""
        contents = [self.piece(at, at + 1) for at in range(self.end)]
        return Atoms(contents, [list(names) for names in self._crossing[1:]], self.whole, self._given)

    def timed(self, atom_ms: Mapping[str, Sequence[float]]) -> Model:
        """The model with times: by node, those of each atom in ms."""
        last = [atom[-1].name for atom in self.model.atoms]
        ms = {name: {node: times[place] for node, times in atom_ms.items()} for place, name in enumerate(last)}
        nothing = dict.fromkeys(atom_ms, 0.0)
        layers = [layer.model_copy(update={"ms": ms.get(layer.name, nothing)}) for layer in self.model.layers]
        return self.model.model_copy(update={"layers": tuple(layers)})

    def deployment(self, plan: Placement, cluster: Cluster) -> Deployment:
        """What runs `plan` on `cluster`, whose nodes say the limits. Raises PlanError for a plan of another network."""
        if not plan.feasible:
            raise PlanError(f"plan for {plan.model}: is none ({plan.reason}): give a plan that is feasible")
        if (plan.model, plan.version) != (self.model.name, self.model.version):
            raise PlanError(
                f"plan: is for {plan.model} {plan.version}, and {self._path} is {self.model.name} "
                f"{self.model.version}: plan for this network"
            )
        nodes = {node.name: node for node in cluster.nodes}
        if not plan.pieces or [piece for piece in plan.pieces if piece.until is None] != [plan.pieces[-1]]:
            raise PlanError("plan: its last piece, and no other, has to go on to the answer: plan anew")
        ends = [self.position(piece.until) for piece in plan.pieces if piece.until is not None]
        if ends != sorted(set(ends)):
            raise PlanError(f"plan: cuts within what {self._path} runs together: plan with times that were measured")
        pieces = []
        for piece, (begin, end) in zip(plan.pieces, itertools.pairwise([0, *ends, self.end]), strict=True):
            node = nodes.get(piece.node)
            if node is None:
                raise PlanError(
                    f"plan: node {piece.node} is not in cluster {cluster.name}: give the plan's own cluster"
                )
            limits = Limits(node.cores, node.memory_bytes)
            names = self._crossing[begin], self._crossing[end]
            pieces.append(Piece(piece.node, self.piece(begin, end), *names, limits))
        return Deployment(
            self.model.name,
            self.model.version,
            self.inputs,
            self.outputs,
            pieces,
            self.checks,
            plan.beta_ms or 0.0,
        )  # fmt: skip

    @property
    def inputs(self) -> list[TensorForm]:
        """Of the whole."""
        return [self._form(name) for name in self._graph.inputs]

    @property
    def outputs(self) -> list[TensorForm]:
        """Of the whole."""
        return [self._form(name) for name in self._graph.outputs]

    def _form(self, name: str) -> TensorForm:
        value = self._values[name]
        return TensorForm(name, _DATATYPE[value.dtype], value.shape)

    @cached_property
    def checks(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Inputs, and what the whole gives for them."""
        session, outputs = session_of(self.whole), self._graph.outputs
        found = []
        for place in range(_CHECKS):
            inputs = {name: np.roll(value, place) for name, value in self._given.items()}
            found.append((inputs, dict(zip(outputs, session.run(list(outputs), inputs), strict=True))))
        return found


_DATATYPE: Final = {dtype: name for name, dtype in DATATYPES.items()}


def session_of(content: bytes) -> Any:
    """A session that runs a piece as it is, with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _together(layers: Sequence[Layer]) -> str | None:
    checksums = [layer.weights_sha256 for layer in layers if layer.parameter_bytes]
    if not checksums or None in checksums:
        return None
    return checksums[0] if len(checksums) == 1 else sha256("".join(map(str, checksums)).encode())
