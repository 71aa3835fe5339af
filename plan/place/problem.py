"""What a placement is made from and what it says: cluster, problem in numbers, plan, and the check of a plan.

A network is cut into pieces, and each piece runs on a node of its own, as a pipeline. Its bottleneck beta is the
longest of all pieces' computing times and of all transfers between them: one answer leaves every beta (Parthasarathy
and Krishnamachari, arXiv 2210.12218 and 2210.12219, who leave computing out: nodes without a speed).

Words owned here: *node*, *cluster*, *piece* (neighbouring atoms on one node), *position* (the number of atoms before a
cut: 0 is the input, the last one the answer), *beta* (the bottleneck, ms).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, model_validator

from edgesight.plan.place.graph import INPUT, Layer, Model
from edgesight.plan.profile import Bytes, Cores, Device, Name, NotNegative, Plain, Plan, PlanError, Positive

Array = npt.NDArray[np.float64]
_BITS_PER_BYTE = 8
Speed = Annotated[float, Field(strict=True, ge=1e-9, le=1e9)]


def _slow(mbps: float) -> float:
    if 0 < mbps < 1e-6:
        raise ValueError("must be at least 1e-06, or 0 where there is no link")
    return mbps


Bandwidth = Annotated[float, Field(strict=True, ge=0, le=1e12), AfterValidator(_slow)]


class Node(Device):
    """A device that may hold one piece."""

    speed: Speed | None = None  # 10^9 multiply-accumulates a second; None: computing takes no time
    cores: Cores | None = None  # of a processor that its piece is held to where the plan is run; None: all
    call_ms: NotNegative = 0.0  # that a piece takes beside its layers, for each answer: taking and handing on


class Cluster(Plain):
    """Nodes, and how fast each sends to each other."""

    name: Name = "cluster"
    nodes: Annotated[tuple[Node, ...], Field(min_length=1)]
    mbps: tuple[tuple[Bandwidth, ...], ...]  # row sends to column; 0 is no link; the diagonal is not read

    @model_validator(mode="after")
    def _fits(self) -> Cluster:
        count = len(self.nodes)
        names = [node.name for node in self.nodes]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"nodes.{place}.name: '{name}' is taken by a node before it; names are unique")
        if len(self.mbps) != count:
            raise ValueError(f"mbps: has {len(self.mbps)} rows for {count} nodes; give one for each")
        for place, row in enumerate(self.mbps):
            if len(row) != count:
                raise ValueError(f"mbps.{place}: has {len(row)} entries for {count} nodes; give one for each")
        return self

    def without(self, lost: str) -> Cluster:
        """What is left when node `lost` is lost; raises PlanError where it is no node or the last one."""
        names = [node.name for node in self.nodes]
        if lost not in names:
            raise PlanError(
                f"lost node {lost}: is not in cluster {self.name}, which has {', '.join(names)}; name one of these"
            )
        if len(names) == 1:
            raise PlanError(
                f"lost node {lost}: is the only one of cluster {self.name}; nothing is left to plan for; add a node"
            )
        return self.among([name for name in names if name != lost])

    def among(self, names: Collection[str]) -> Cluster:
        """The part of it whose nodes are among these; raises PlanError where none is."""
        kept = [index for index, node in enumerate(self.nodes) if node.name in names]
        if not kept:
            known = ", ".join(node.name for node in self.nodes)
            raise PlanError(f"cluster {self.name}: none of its nodes ({known}) is there: start them, and name them so")
        return Cluster(
            name=self.name,
            nodes=tuple(self.nodes[index] for index in kept),
            mbps=tuple(tuple(self.mbps[row][column] for column in kept) for row in kept),
        )


class Piece(Plain):
    """Neighbouring layers on one node, and what they send on."""

    node: Name
    until: Name | None  # the cut behind it; None for the last piece
    layers: Annotated[int, Field(strict=True, ge=1)]
    memory_bytes: Bytes  # parameters, and the activations of its hungriest layer
    parameter_bytes: Bytes
    compute_ms: NotNegative
    transfer_bytes: Bytes  # to the next piece
    transfer_ms: NotNegative
    weights: tuple[str, ...]  # what the node holds, one for each layer with parameters, as `Model.held` says it


class Movement(Plain):
    """What a new plan carries to nodes that do not hold it yet."""

    moved_bytes: Bytes  # of parameters, to be sent to nodes
    kept_bytes: Bytes  # of parameters, already where they are wanted
    least_bytes: Bytes  # no plan within the factor moves less than this
    within: Positive  # beta may be this factor above the best one's
    best_beta_ms: NotNegative  # of the plan that counts no movement
    best_moved_bytes: Bytes  # which that plan would move


class Placement(Plan):
    """Where each piece of a network runs."""

    planner: Literal["place"] = "place"
    model: Name
    version: Name
    cluster: Name
    pieces: tuple[Piece, ...] = ()
    beta_ms: NotNegative | None = None
    bottleneck: str | None = None  # the piece or transfer that takes beta
    throughput: NotNegative | None = None  # answers a second; None where nothing takes time
    latency_ms: NotNegative | None = None  # of one answer through all pieces
    lower_bound_ms: NotNegative | None = None  # no plan's beta is below this
    proven: bool = False  # beta is the least there is, or that there is no plan is certain
    movement: Movement | None = None


@dataclass(frozen=True)
class Found:
    """Nodes in the order of their pieces, and the position where each piece ends."""

    nodes: tuple[int, ...]
    ends: tuple[int, ...]


class Problem:
    """A model and a cluster as arrays: n nodes, atoms between positions 0..m.

    `piece_ms` [n, m+1, m+1]: computing a piece from one position to another on a node; infinite where it does not fit.
    `transfer_ms` [n, n, m+1]: passing a cut's bytes from node to node; infinite without a link.
    """

    def __init__(self, model: Model, cluster: Cluster) -> None:
        """Put the problem of placing `model` on `cluster` in numbers."""
        self.model, self.cluster = model, cluster
        self.atoms = model.atoms
        self.nodes, self.end = len(cluster.nodes), len(model.atoms)
        self.parameters = _summed([float(sum(layer.parameter_bytes for layer in atom)) for atom in model.atoms])
        self.sizes = np.array([0.0, *(float(atom[-1].output_bytes) for atom in model.atoms[:-1]), 0.0])

    @cached_property
    def memory(self) -> Array:
        """Bytes [m+1, m+1] that a piece takes on its node; infinite where it would be empty."""
        memory = np.full((self.end + 1, self.end + 1), np.inf)
        working = [max(layer.working_bytes for layer in atom) for atom in self.atoms]
        for begin in range(self.end):
            peak = np.maximum.accumulate(np.array(working[begin:], float))
            memory[begin, begin + 1 :] = self.parameters[begin + 1 :] - self.parameters[begin] + peak
        return memory

    @cached_property
    def atom_ms(self) -> Array:
        """Milliseconds [n, m] of computing an atom on a node, whether or not it fits."""
        nodes = self.cluster.nodes
        return np.array([[sum(layer_ms(one, node) for one in atom) for atom in self.atoms] for node in nodes], float)

    @cached_property
    def piece_ms(self) -> Array:
        """Milliseconds [n, m+1, m+1] of computing; infinite where memory does not do."""
        summed = np.array([_summed(row.tolist()) for row in self.atom_ms])
        work = np.maximum(summed[:, None, :] - summed[:, :, None], 0.0)
        work += np.array([node.call_ms for node in self.cluster.nodes])[:, None, None]
        held = np.array([_room(node) for node in self.cluster.nodes])
        fits = (self.memory[None] <= held[:, None, None]) & np.isfinite(self.memory)[None]
        return np.where(fits, work, np.inf)

    @cached_property
    def transfer_ms(self) -> Array:
        """Milliseconds [n, n, m+1] of passing a cut's bytes on; infinite without a link and at both ends."""
        mbps = np.array(self.cluster.mbps, float).reshape(self.nodes, self.nodes)
        np.fill_diagonal(mbps, 0.0)
        per_byte = np.where(mbps > 0, _BITS_PER_BYTE / (np.where(mbps > 0, mbps, 1.0) * 1e3), np.inf)
        taken = np.full((self.nodes, self.nodes, self.end + 1), np.inf)
        for position in range(1, self.end):
            linked = np.isfinite(per_byte)
            taken[..., position] = np.where(linked, np.where(linked, per_byte, 0.0) * self.sizes[position], np.inf)
        return taken

    def beta(self, found: Found) -> float:
        """The bottleneck of `found`, ms; infinite where it breaks memory or has no link."""
        taken, begin = 0.0, 0
        for place, (node, end) in enumerate(zip(found.nodes, found.ends, strict=True)):
            if place:
                taken = max(taken, float(self.transfer_ms[found.nodes[place - 1], node, begin]))
            taken = max(taken, float(self.piece_ms[node, begin, end]))
            begin = end
        return taken

    def held(self, begin: int, end: int) -> list[tuple[str, int]]:
        """What says which parameters the piece has, and their bytes."""
        layers = [layer for atom in self.atoms[begin:end] for layer in atom if layer.parameter_bytes]
        return [(self.model.held(layer), layer.parameter_bytes) for layer in layers]

    def placement(self, method: str, found: Found, lower_bound_ms: float, *, proven: bool) -> Placement:
        """`found` as a plan."""
        pieces, times, begin = [], [], 0
        for place, (node, end) in enumerate(zip(found.nodes, found.ends, strict=True)):
            last = end == self.end
            name = self.cluster.nodes[node].name
            transfer = 0.0 if last else float(self.transfer_ms[node, found.nodes[place + 1], end])
            piece = Piece(
                node=name,
                until=None if last else self.atoms[end - 1][-1].name,
                layers=sum(len(atom) for atom in self.atoms[begin:end]),
                memory_bytes=int(self.memory[begin, end]),
                parameter_bytes=int(self.parameters[end] - self.parameters[begin]),
                compute_ms=float(self.piece_ms[node, begin, end]),
                transfer_bytes=int(self.sizes[end]),
                transfer_ms=transfer,
                weights=tuple(identity for identity, _ in self.held(begin, end)),
            )
            pieces.append(piece)
            times.append((piece.compute_ms, f"computing on {name}"))
            if not last:
                following = self.cluster.nodes[found.nodes[place + 1]].name
                times.append((transfer, f"sending {piece.transfer_bytes} bytes from {name} to {following}"))
            begin = end
        beta, bottleneck = max(times)
        return Placement(
            method=method,
            feasible=True,
            model=self.model.name,
            version=self.model.version,
            cluster=self.cluster.name,
            pieces=tuple(pieces),
            beta_ms=beta,
            bottleneck=bottleneck if beta > 0 else None,
            throughput=1e3 / beta if beta > 0 else None,
            latency_ms=sum(taken for taken, _ in times),
            lower_bound_ms=min(lower_bound_ms, beta),
            proven=proven,
        )

    def refusal(self, method: str, reason: str, *, proven: bool) -> Placement:
        """That `method` gives no plan, and why."""
        return Placement(
            method=method,
            feasible=False,
            reason=reason,
            model=self.model.name,
            version=self.model.version,
            cluster=self.cluster.name,
            proven=proven,
        )

    def impossible(self) -> str | None:
        """Why no plan can exist, where that shows at a glance; None does not promise one."""
        fits = np.isfinite(self.piece_ms)
        roomiest = max(self.cluster.nodes, key=lambda node: _room(node))
        for place, atom in enumerate(self.atoms):
            if not fits[:, place, place + 1].any():
                what = f"layer {atom[0].name}" if len(atom) == 1 else f"layers {atom[0].name} to {atom[-1].name}"
                return (
                    f"{what} cannot be cut and takes {int(self.memory[place, place + 1]):,} bytes, but the largest "
                    f"node, {roomiest.name}, has {roomiest.memory_bytes or 0:,}: add memory to a node"
                )
        room, wanted = sum(_room(node) for node in self.cluster.nodes), self.parameters[-1]
        if room < wanted:
            return f"the parameters take {int(wanted):,} bytes, but all nodes together have {int(room):,}: add nodes"
        needed, begin = 0, 0
        while begin < self.end:  # as if every piece had the node that carries it farthest
            begin = int(np.nonzero(fits[:, begin].any(axis=0))[0].max())
            needed += 1
        if needed > self.nodes:
            return (
                f"at least {needed} pieces are needed, but there are {self.nodes} nodes: add nodes, or memory to them"
            )
        if needed > 1 and not np.isfinite(self.transfer_ms).any():
            return f"at least {needed} pieces are needed, but no two nodes are linked: give their bandwidth in mbps"
        return None


def layer_ms(layer: Layer, node: Node) -> float:
    """Milliseconds of computing `layer` on `node`: as measured, else its operations over the node's speed."""
    if node.name in layer.ms:
        return layer.ms[node.name]
    return 0.0 if node.speed is None else layer.operations / node.speed / 1e6


def _room(node: Node) -> float:
    return np.inf if node.memory_bytes is None else float(node.memory_bytes)


def _summed(values: Sequence[float]) -> Array:
    return np.concatenate([[0.0], np.cumsum(np.array(values, float))])


def faults(plan: Placement, model: Model, cluster: Cluster) -> list[str]:
    """What is wrong with `plan`, from the definitions alone: shares no code with what makes plans. Empty: nothing."""
    if not plan.feasible:
        return [] if plan.reason and not plan.pieces else ["a plan that is not feasible needs a reason and no pieces"]
    if not plan.pieces or plan.pieces[-1].until is not None:
        return ["the last piece does not end with the model"]
    wrong: list[str] = []
    numbers = {node.name: number for number, node in enumerate(cluster.nodes)}
    layers = {layer.name: layer for layer in model.layers}
    used = [piece.node for piece in plan.pieces]
    wrong += [f"{name}: is no node of the cluster" for name in used if name not in numbers]
    wrong += [f"{name}: has more than one piece" for name in dict.fromkeys(used) if used.count(name) > 1]
    cuts = [piece.until for piece in plan.pieces[:-1]]
    wrong += [f"{cut}: is no layer" for cut in cuts if cut not in layers]
    if wrong:
        return wrong
    wrong += [f"{cut}: a path bypasses it" for cut in cuts if cut is not None and _bypassed(model, cut)]
    before: set[str] = set()
    times: list[float] = []
    for place, piece in enumerate(plan.pieces):
        behind = _ancestors(layers, piece.until) if piece.until is not None else set(layers)
        mine = [layers[name] for name in behind - before]
        if not before < behind:
            wrong.append(f"{piece.node}: its piece is empty, or ends before it begins")
        before = behind
        node = cluster.nodes[numbers[piece.node]]
        stored = sum(layer.parameter_bytes for layer in mine)
        memory = stored + max((layer.working_bytes for layer in mine), default=0)
        if node.memory_bytes is not None and memory > node.memory_bytes:
            wrong.append(f"{piece.node}: its piece takes {memory} bytes of {node.memory_bytes}")
        sizes = (piece.layers, piece.memory_bytes, piece.parameter_bytes)
        if sizes != (len(mine), memory, stored):
            wrong.append(f"{piece.node}: layers, memory and parameters are {(len(mine), memory, stored)}, not {sizes}")
        if sorted(piece.weights) != sorted(model.held(layer) for layer in mine if layer.parameter_bytes):
            wrong.append(f"{piece.node}: weights are not those of its layers")
        computing = node.call_ms
        for layer in mine:
            if node.name in layer.ms:
                computing += layer.ms[node.name]
            elif node.speed is not None:
                computing += layer.operations / node.speed / 1e6
        sending = 0.0
        sent = 0
        if place + 1 < len(plan.pieces) and piece.until is not None:
            following = plan.pieces[place + 1].node
            mbps = cluster.mbps[numbers[piece.node]][numbers[following]]
            sent = layers[piece.until].output_bytes
            if mbps == 0:
                wrong.append(f"{piece.node}: has no link to {following}")
                continue
            sending = sent * _BITS_PER_BYTE / mbps / 1e3
        if piece.transfer_bytes != sent:
            wrong.append(f"{piece.node}: sends {sent} bytes, not {piece.transfer_bytes}")
        for what, told, true in (
            ("compute_ms", piece.compute_ms, computing),
            ("transfer_ms", piece.transfer_ms, sending),
        ):
            if not np.isclose(told, true, rtol=1e-9, atol=1e-12):
                wrong.append(f"{piece.node}: {what} is {true}, not {told}")
        times += [computing, sending]
    if not wrong and (plan.beta_ms is None or not np.isclose(plan.beta_ms, max(times), rtol=1e-9, atol=1e-12)):
        wrong.append(f"beta_ms is {max(times)}, not {plan.beta_ms}")
    if plan.lower_bound_ms is None or plan.beta_ms is None or plan.lower_bound_ms > plan.beta_ms * (1 + 1e-9):
        wrong.append(f"lower_bound_ms {plan.lower_bound_ms} is above beta_ms {plan.beta_ms}")
    return wrong


def _bypassed(model: Model, cut: str) -> bool:
    """Whether the answer can be reached from the input without passing `cut`."""
    readers, reached, waiting = model.readers, {INPUT}, [INPUT]
    while waiting:
        for reader in readers[waiting.pop()]:
            if reader != cut and reader not in reached:
                reached.add(reader)
                waiting.append(reader)
    return any(name in reached for name in model.answers)


def _ancestors(layers: dict[str, Layer], last: str) -> set[str]:
    """`last` and all layers that it depends on."""
    found, waiting = {last}, [last]
    while waiting:
        for source in layers[waiting.pop()].inputs:
            if source != INPUT and source not in found:
                found.add(source)
                waiting.append(source)
    return found
