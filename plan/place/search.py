"""Placements for clusters that are too large for the exact search, and the simple ways to place.

`search` takes the best of the authors' k-path matching, the joint greedy and a sweep, and betters it by colour coding
and local search until it meets the lower bound or its rounds are over. So it is never worse than the ones it starts
from. A best-first search then betters it, proves that it is the best, or at least raises the bound.

Words owned here: *sweep* (the walk recursion, each walk kept off the nodes it has been to), *round* (one colouring).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from edgesight.plan.place.authors import joint, kpath
from edgesight.plan.place.exact import best_first, by_colours, latencies, lower_bound
from edgesight.plan.place.problem import Array, Found, Problem

COLOURS = 8  # so the rounds see plans of up to 8 pieces; the sweep sees longer ones
ROUNDS = 12
_RANDOM_TRIES = 1000
# Bounds of the time that a large problem takes, in array elements worked on: some seconds each.
_STEPS = 2 * 10**9
_EXCHANGE_STEPS = 10**8  # a round
_PATIENCE = 400  # exchanges without a gain
_CLOSE = 1 + 1e-12


Report = Callable[[Found, float], None]  # the best plan so far, and a lower bound of beta, ms


def search(problem: Problem, seed: int = 0, report: Report | None = None) -> tuple[Found | None, float]:
    """Our plan, None where none is found, and a lower bound of beta, ms, which is infinite where there is none.

    Plans on the way are told to `report`, each better than the one before.
    """
    arrays = (problem.piece_ms, problem.transfer_ms, np.maximum)
    begun: list[Found | None] = []
    bound = 0.0
    # The quick ones first, so that there is a plan soon.
    makers: tuple[Callable[[], Found | None], ...] = (
        lambda: joint(problem),
        lambda: sweep(*arrays),
        lambda: joint_greedy(problem),
    )
    for make in makers:
        begun.append(make())
        if report is not None and (found := _least(arrays, begun)) is not None:
            report(found, bound)
        bound = bound or lower_bound(problem)
    begun += kpath(problem, seed=seed).values()
    best, bound = better(*arrays, begun, bound, seed, report)
    if best is None:
        return None, bound
    # Of plans with this beta, the quickest that a sweep finds.
    latency = (*latencies(problem, problem.beta(best)), np.add)
    swept = sweep(*latency)
    return swept if swept is not None and cost(*latency, swept) < cost(*latency, best) else best, bound


def better(
    piece: Array,
    transfer: Array,
    combine: np.ufunc,
    begun: Sequence[Found | None],
    bound: float,
    seed: int,
    report: Report | None = None,
) -> tuple[Found | None, float]:
    """The best of the plans `begun`, bettered, and the bound, raised where that could be shown."""
    rng = np.random.default_rng(seed)
    best, reached = None, np.inf
    for found in begun:
        if found is not None and cost(piece, transfer, combine, found) < reached:
            best, reached = found, cost(piece, transfer, combine, found)
    nodes, positions = piece.shape[:2]
    steps = 2**COLOURS * nodes * positions * (nodes + positions) // 2
    for _ in range(min(ROUNDS, max(1, _STEPS // steps))):
        if report is not None and best is not None:
            report(best, bound)
        if reached <= bound * _CLOSE:
            break
        # Colours are dealt out evenly, so that as few nodes as can be exclude each other.
        colours = rng.permutation(nodes) % COLOURS
        found_below = by_colours(piece, transfer, combine, colours.tolist(), below=reached)
        if found_below is not None:
            best, reached = found_below
        if nodes <= COLOURS:  # none excludes another, so this is the best there is
            return best, reached
        if best is not None:
            best, reached = _exchanged(piece, transfer, combine, best, reached, rng)
    if reached > bound * _CLOSE:
        proven, raised = best_first(piece, transfer, combine, below=reached)
        best, bound = proven or best, max(bound, raised)
    return None if best is None else _trimmed(piece, transfer, combine, best), bound


def _least(arrays: tuple[Array, Array, np.ufunc], begun: Sequence[Found | None]) -> Found | None:
    return min((found for found in begun if found is not None), key=lambda found: cost(*arrays, found), default=None)


def sweep(piece: Array, transfer: Array, combine: np.ufunc) -> Found | None:
    """A plan by the walk recursion, where each walk keeps off its own nodes; None where none is found.

    Of all walks to a node and a position with one number of pieces only the cheapest is kept, so the best plan may be
    lost; plans of any length are seen.
    """
    nodes, end = piece.shape[0], piece.shape[1] - 1
    cost_ = piece[:, 0].copy()  # [n, m+1]: the last piece on that node, ending there
    visited = np.zeros((nodes, end + 1, nodes), bool)
    visited[np.arange(nodes), :, np.arange(nodes)] = True
    back: list[tuple[np.ndarray, np.ndarray]] = []
    best, best_found = np.inf, None
    own = np.arange(nodes)[:, None]
    for _ in range(nodes):
        if cost_[:, end].min() < best:
            best = float(cost_[:, end].min())
            best_found = _traced(int(cost_[:, end].argmin()), end, back)
        ways = combine(cost_[:, None], transfer)
        ways[visited.transpose(0, 2, 1)] = np.inf
        sender = ways.argmin(axis=0)
        arrived = np.take_along_axis(ways, sender[None], axis=0)[0]
        routes = combine(arrived[:, :, None], piece)
        begin = routes.argmin(axis=1)
        cost_ = np.take_along_axis(routes, begin[:, None], axis=1)[:, 0]
        cost_[cost_ >= best] = np.inf
        if not np.isfinite(cost_).any():
            break
        came = sender[own, begin]
        visited = visited[came, begin]
        visited[np.arange(nodes), :, np.arange(nodes)] = True
        back.append((came, begin))
    return best_found


def joint_greedy(problem: Problem) -> Found | None:
    """From each node on: cut where the fewest bytes are sent, then take the free node with the fastest link to it.

    The plan of least beta over all first nodes; None where each gets stuck. Computing is not looked at, as in the
    authors' baseline (arXiv 2210.12219).
    """
    fits = np.isfinite(problem.piece_ms)
    mbps = np.array(problem.cluster.mbps, float).reshape(problem.nodes, problem.nodes)
    best: Found | None = None
    for first in range(problem.nodes):
        node, begin, order, ends = first, 0, [first], list[int]()
        while True:
            reachable = np.nonzero(fits[node, begin])[0]
            if len(reachable) and reachable[-1] == problem.end:
                ends.append(problem.end)
                break
            # Where the next node can go on; of cuts with the same bytes the farthest.
            ways = [
                (problem.sizes[cut], -int(cut), -mbps[node, other], other)
                for other in range(problem.nodes)
                if other not in order and mbps[node, other] > 0
                for cut in reachable
                if fits[other, cut].any()
            ]
            if not ways:
                break
            _, negative, _, node = min(ways)
            begin = -negative
            ends.append(begin)
            order.append(node)
        if ends and ends[-1] == problem.end:
            found = Found(tuple(order), tuple(ends))
            if best is None or problem.beta(found) < problem.beta(best):
                best = found
    return best


def at_random(problem: Problem, seed: int = 0) -> Found | None:
    """Nodes in random order, each with a random piece that fits; None where so many tries fail."""
    rng = np.random.default_rng(seed)
    fits, linked = np.isfinite(problem.piece_ms), np.array(problem.cluster.mbps, float) > 0
    for _ in range(_RANDOM_TRIES):
        begin, order, ends = 0, list[int](), list[int]()
        for node in (int(node) for node in rng.permutation(problem.nodes)):
            reachable = np.nonzero(fits[node, begin])[0]
            if not len(reachable) or (order and not linked[order[-1], node]):
                continue
            begin = int(rng.choice(reachable))
            order.append(node)
            ends.append(begin)
            if begin == problem.end:
                return Found(tuple(order), tuple(ends))
    return None


def cost(piece: Array, transfer: Array, combine: np.ufunc, found: Found) -> float:
    """What `found` costs by these arrays."""
    total, begin = 0.0, 0
    for place, (node, end) in enumerate(zip(found.nodes, found.ends, strict=True)):
        if place:
            total = float(combine(total, transfer[found.nodes[place - 1], node, begin]))
        total = float(combine(total, piece[node, begin, end]))
        begin = end
    return total


def _recut(piece: Array, transfer: Array, combine: np.ufunc, nodes: list[int]) -> tuple[Found, float]:
    """The cheapest cuts for pieces on `nodes`, in this order, one piece each."""
    reached, begins = piece[nodes[0], 0], []
    for before, node in pairwise(nodes):
        ways = combine(combine(reached, transfer[before, node])[:, None], piece[node])
        begins.append(ways.argmin(axis=0))
        reached = ways.min(axis=0)
    ends = [piece.shape[1] - 1]
    for begin in reversed(begins):
        ends.append(int(begin[ends[-1]]))
    return Found(tuple(nodes), tuple(reversed(ends))), float(reached[-1])


def _exchanged(
    piece: Array, transfer: Array, combine: np.ufunc, best: Found, reached: float, rng: np.random.Generator
) -> tuple[Found, float]:
    """Local search: swap two nodes, put another in a piece's place or between two, or leave one out, and cut anew.

    Plans that are no worse are kept, too, since many share the piece that makes the bottleneck.
    """
    count, positions = piece.shape[:2]
    left, idle = _EXCHANGE_STEPS, 0
    moves = _moves(best.nodes, count, rng)
    while left > 0 and idle < _PATIENCE:
        nodes = next(moves, None)
        if nodes is None:
            break
        left -= len(nodes) * positions**2
        found, value = _recut(piece, transfer, combine, nodes)
        idle = 0 if value < reached / _CLOSE else idle + 1
        if value <= reached:
            best, reached = found, value
            moves = _moves(best.nodes, count, rng)
    return best, reached


def _trimmed(piece: Array, transfer: Array, combine: np.ufunc, best: Found) -> Found:
    """As cheap a plan without the pieces that do not make it cheaper."""
    reached, place = cost(piece, transfer, combine, best), 0
    while place < len(best.nodes) > 1:
        found, value = _recut(piece, transfer, combine, [*best.nodes[:place], *best.nodes[place + 1 :]])
        best, place = (found, 0) if value <= reached else (best, place + 1)
    return best


def _moves(nodes: tuple[int, ...], count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """All orders of nodes that are one move away, in random order."""
    free = [node for node in range(count) if node not in nodes]
    length = len(nodes)
    moves: list[tuple[int, int, list[int]]] = []  # from, to, and what is put there
    moves += [(place, place + 1, []) for place in range(length) if length > 1]
    moves += [(place, place + 1, [node]) for place in range(length) for node in free]
    moves += [(place, place, [node]) for place in range(length + 1) for node in free]
    moves += [
        (first, second + 1, [nodes[second], *nodes[first + 1 : second], nodes[first]])
        for first in range(length)
        for second in range(first + 1, length)
    ]
    for index in rng.permutation(len(moves)):
        begin, end, put = moves[index]
        yield [*nodes[:begin], *put, *nodes[end:]]


def _traced(node: int, position: int, back: list[tuple[np.ndarray, np.ndarray]]) -> Found:
    order, ends = [node], [position]
    for came, begin in reversed(back):
        node, position = int(came[node, position]), int(begin[node, position])
        order.append(node)
        ends.append(position)
    return Found(tuple(reversed(order)), tuple(reversed(ends)))
