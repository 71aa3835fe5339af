"""The authors' placement: first the cuts, by the bytes they send; then the nodes, by k-path matching.

Parthasarathy and Krishnamachari, "Partitioning and Placement of Deep Neural Networks on Distributed Edge Devices to
Maximize Inference Throughput", arXiv 2210.12219. Pieces are chosen on the path of fewest transferred bytes through the
graph of all pieces that fit a node. Transfers fall into classes of equal width; from the highest class down, each run
of neighbouring transfers of a class, the longest first, is given the path of free nodes whose slowest link is fastest.
Computing is not counted, and a cluster's memory is its smallest node's.

Where the paper is silent: when no partition fits the smallest node, the nodes of that size are left out and the next
size counts; a plan of one piece goes to the fastest node; a transfer at the upper edge belongs to the highest class.

Also their baseline, *joint*: the same cuts, then from each node on the neighbour with the fastest link; the best of
these.

Words owned here: *class* (transfers of about one size), *run* (neighbouring transfers of one class).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgesight.plan.place.problem import Array, Found, Problem

CLASSES = range(2, 21)  # as published
_MISSED = 0.01  # share of paths that colourings may miss; more where they would take more than these steps
_CERTAIN = 10  # nodes up to which each has a colour of its own: cheap, and no path is missed
_STEPS = 2 * 10**9


def kpath(problem: Problem, classes: Sequence[int] = CLASSES, seed: int = 0) -> dict[int, Found]:
    """The authors' plan for each number of transfer classes, without those for which their method finds none."""
    matching = _Matching(problem, seed)
    plans = {count: matching.plan(count) for count in classes}
    return {count: plan for count, plan in plans.items() if plan is not None}


def least_transfer(problem: Problem, memory_bytes: float, pieces: int) -> tuple[int, ...] | None:
    """Ends of at most `pieces` pieces of at most `memory_bytes` that send the fewest bytes; None where none fit."""
    end = problem.end
    sent = np.full(end + 1, np.inf)  # the fewest bytes sent up to a position, by the pieces so far
    sent[0] = 0.0
    best, best_ends = math.inf, None
    froms: list[npt.NDArray[np.intp]] = []
    fits = np.where(problem.memory <= memory_bytes, 0.0, np.inf)
    for count in range(1, pieces + 1):
        ways = (sent + (problem.sizes if count > 1 else 0.0))[:, None] + fits
        froms.append(ways.argmin(axis=0))
        sent = ways.min(axis=0)
        if sent[end] < best:
            best, ends, position = float(sent[end]), [end], end
            for step in reversed(froms):
                position = int(step[position])
                ends.append(position)
            best_ends = tuple(reversed(ends[:-1]))
        if not np.isfinite(sent).any():
            break
    return best_ends


def joint(problem: Problem) -> Found | None:
    """The authors' joint baseline: the cuts of fewest bytes first, then a walk to the fastest neighbour from each node.

    The plan of least beta over all first nodes; None where no cuts fit, or each walk gets stuck.
    """
    usable, ends = _cuts(problem)
    if ends is None:
        return None
    mbps = np.array(problem.cluster.mbps, float).reshape(problem.nodes, problem.nodes)
    best: Found | None = None
    for first in usable:
        order = [first]
        while len(order) < len(ends):
            free = [node for node in usable if node not in order and mbps[order[-1], node] > 0]
            if not free:
                break
            order.append(max(free, key=lambda node: float(mbps[order[-1], node])))
        else:
            found = Found(tuple(order), ends)
            if best is None or problem.beta(found) < problem.beta(best):
                best = found
    return best


def _cuts(problem: Problem) -> tuple[list[int], tuple[int, ...] | None]:
    """The nodes that count, and the cuts of fewest bytes whose pieces fit the smallest of them."""
    room = [math.inf if node.memory_bytes is None else node.memory_bytes for node in problem.cluster.nodes]
    usable: list[int] = []
    ends = None
    for smallest in sorted(set(room)):
        usable = [node for node, held in enumerate(room) if held >= smallest]
        ends = least_transfer(problem, smallest, len(usable))
        if ends is not None:
            break
    return usable, ends


class _Matching:
    """Plans for several numbers of classes, which ask for many of the same paths."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.mbps = np.array(problem.cluster.mbps, float).reshape(problem.nodes, problem.nodes)
        self.paths: dict[tuple[frozenset[int], int, int | None, int | None], list[int] | None] = {}
        self.usable, self.ends = _cuts(problem)

    def plan(self, classes: int) -> Found | None:
        problem, ends = self.problem, self.ends
        if ends is None:
            return None
        if len(ends) == 1:
            taken = problem.atom_ms[self.usable].sum(axis=1)
            return Found((self.usable[int(np.argmin(taken))],), ends)
        edges = np.histogram_bin_edges(problem.sizes[1 : problem.end], bins=classes)
        ranks = np.clip(np.digitize(problem.sizes[list(ends[:-1])], edges), 1, classes)
        placed: list[int | None] = [None] * len(ends)
        for rank in range(classes, 0, -1):
            for first, last in sorted(_runs(ranks == rank), key=lambda run: run[0] - run[1]):
                start, stop = placed[first], placed[last + 1]
                free = frozenset(self.usable) - {node for node in placed if node is not None}
                path = self._fastest_path(free, last - first + 2, start, stop)
                if path is None:
                    return None
                placed[first : last + 2] = path
        nodes = tuple(node for node in placed if node is not None)
        return Found(nodes, ends) if len(nodes) == len(ends) else None

    def _fastest_path(self, free: frozenset[int], length: int, start: int | None, stop: int | None) -> list[int] | None:
        """`length` nodes, between `start` and `stop` where given, whose slowest link is as fast as can be found."""
        asked = (free, length, start, stop)
        if asked in self.paths:
            return self.paths[asked]
        nodes = sorted(free | {node for node in (start, stop) if node is not None})
        mbps = self.mbps[np.ix_(nodes, nodes)]
        ends = tuple(None if node is None else nodes.index(node) for node in (start, stop))
        thresholds = np.unique(mbps[~np.eye(len(nodes), dtype=bool) & (mbps > 0)])[::-1]
        low, high, best = 0, len(thresholds), None
        while low < high:
            middle = (low + high) // 2
            path = _path(mbps >= thresholds[middle], length, ends[0], ends[1], np.random.default_rng(self.seed))
            if path is None:
                low = middle + 1
            else:
                best, high = [nodes[place] for place in path], middle
        self.paths[asked] = best
        return best


def _runs(chosen: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of each run of true values."""
    edges = np.diff(np.concatenate([[0], chosen.astype(int), [0]]))
    return [
        (int(first), int(last) - 1)
        for first, last in zip(np.nonzero(edges == 1)[0], np.nonzero(edges == -1)[0], strict=True)
    ]


def _path(
    linked: npt.NDArray[np.bool_], length: int, start: int | None, stop: int | None, rng: np.random.Generator
) -> list[int] | None:
    """A path of `length` nodes by colour coding, with 1.3 colours for each node; None where none is found.

    With as many colours as nodes, as small clusters get, the answer is certain; otherwise a path is missed with a small
    probability.
    """
    nodes = len(linked)
    linked = linked & ~np.eye(nodes, dtype=bool)
    if length > nodes:
        return None
    count = min(nodes, max(length, math.ceil(1.3 * length)))
    if nodes <= max(count, _CERTAIN):
        return _coloured_path(linked, length, start, stop, np.arange(nodes), nodes)
    hit = math.exp(math.lgamma(count + 1) - math.lgamma(count - length + 1) - length * math.log(count))
    trials = 1 if hit >= 1 else math.ceil(math.log(_MISSED) / math.log1p(-hit))
    affordable = _STEPS // (length * nodes**2 << count)
    for _ in range(min(trials, max(affordable, 1))):
        path = _coloured_path(linked, length, start, stop, rng.integers(0, count, nodes), count)
        if path is not None:
            return path
    return None


def _coloured_path(
    linked: npt.NDArray[np.bool_],
    length: int,
    start: int | None,
    stop: int | None,
    colours: npt.NDArray[np.int_],
    count: int,
) -> list[int] | None:
    """A path of `length` nodes of different colours."""
    nodes = len(linked)
    bits = 1 << colours
    sets = np.arange(1 << count)
    reached: list[npt.NDArray[np.bool_]] = [np.zeros((nodes, 1 << count), bool)]
    for node in range(nodes):
        reached[0][node, bits[node]] = start is None or node == start
    incoming: Array = linked.T.astype(float)
    for _ in range(length - 1):
        before = (incoming @ reached[-1]) > 0
        after = np.zeros_like(before)
        for node in range(nodes):
            free = sets[(sets & bits[node]) == 0]
            after[node, free | bits[node]] = before[node, free]
        reached.append(after)
    last = reached[-1] if stop is None else reached[-1] & (np.arange(nodes) == stop)[:, None]
    hits = np.argwhere(last)
    if not len(hits):
        return None
    node, chosen = (int(part) for part in hits[0])
    path = [node]
    for step in reversed(reached[:-1]):
        chosen ^= int(bits[node])
        node = int(np.nonzero(linked[:, node] & step[:, chosen])[0][0])
        path.append(node)
    return path[::-1]
