"""The best placement there is, for small clusters, and a bound below which none can be, for all.

Cuts and nodes are searched together, by dynamic programming over (nodes used, last node, position), as Held and Karp do
for tours (J. SIAM 10(1), 1962). A larger cluster's nodes share colours, and at most one node of each colour is used
(Alon, Yuster, Zwick: Color-coding, J. ACM 42(4), 1995): what is found is a plan, but perhaps not the best. Without any
memory of nodes used, the same recursion runs over walks, which may come back to a node: every plan is a walk, so the
best walk bounds all plans from below. What the best walk still costs from a node and a position on also guides a
best-first search (Hart, Nilsson, Raphael: A*, IEEE Trans. SSC 4(2), 1968) over plans begun: stopped early, the cheapest
one that it has left to look at is a bound, too, and a better one.

Costs are arrays, so that one search serves every objective: `piece` [n, m+1, m+1] of each piece on each node,
`transfer` [n, n, m+1] of each cut between each two nodes, infinite where forbidden; `combine` is `numpy.maximum` for a
bottleneck, `numpy.add` for a sum.

Words owned here: *colour*, *walk*, *budget* (how many plans the best-first search may begin).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from edgesight.plan.place.problem import Array, Found, Problem

# Above this many nodes subsets are too many for a plan to be had while one waits: 2^n n^2 m^2 steps.
EXACT_NODES = 10
BUDGET = 100_000


def exact(problem: Problem) -> tuple[Found, float] | None:
    """The plan of least beta and its beta, ms, over all cuts and nodes; None where there is no plan.

    Of plans with the same beta, the one of least latency. Raises ValueError above `EXACT_NODES` nodes.
    """
    if problem.nodes > EXACT_NODES:
        raise ValueError(f"{problem.nodes} nodes: the exact search goes up to {EXACT_NODES}")
    colours = range(problem.nodes)
    best = by_colours(problem.piece_ms, problem.transfer_ms, np.maximum, colours)
    if best is None:
        return None
    quickest = by_colours(*latencies(problem, best[1]), np.add, colours)
    return best if quickest is None else (quickest[0], best[1])


def latencies(problem: Problem, beta_ms: float) -> tuple[Array, Array]:
    """What pieces and transfers add to the latency of an answer, infinite where they take longer than `beta_ms`."""
    pieces, transfers = problem.piece_ms, problem.transfer_ms
    return np.where(pieces <= beta_ms, pieces, np.inf), np.where(transfers <= beta_ms, transfers, np.inf)


def by_colours(
    piece: Array, transfer: Array, combine: np.ufunc, colours: Sequence[int], below: float = np.inf
) -> tuple[Found, float] | None:
    """The cheapest plan that uses each colour at most once and costs less than `below`; None where there is none.

    `colours` [n] are numbers from 0 on; with one of its own for each node, the plan is the cheapest of all.
    """
    nodes, end = piece.shape[0], piece.shape[1] - 1
    count = max(colours) + 1
    cost = np.full((1 << count, nodes, end + 1), np.inf)
    bits = [1 << colour for colour in colours]
    for node in range(nodes):
        cost[bits[node], node, 1:] = piece[node, 0, 1:]
    cost[cost >= below] = np.inf
    sets = np.arange(1 << count)
    sizes = np.array([int(chosen).bit_count() for chosen in sets])
    for size in range(1, count):
        level = sets[(sizes == size) & np.isfinite(cost).any(axis=(1, 2))]
        if not len(level):
            break
        for node in range(nodes):
            free = level[(level & bits[node]) == 0]
            if not len(free):
                continue
            # [sets, last node, position] before the transfer, [sets, position] after it, and then behind the piece
            arrived = combine(cost[free], transfer[:, node][None]).min(axis=1)
            reached = combine(arrived[:, :, None], piece[node][None]).min(axis=1)
            reached[reached >= below] = np.inf
            cost[free | bits[node], node] = reached
    totals = cost[:, :, end].min(axis=1)
    cheapest = float(totals.min())
    if not np.isfinite(cheapest):
        return None
    # Of sets with that cost the smallest: fewer pieces wait for each other.
    chosen = int(min(sets[totals == cheapest], key=lambda one: sizes[one]))
    node, position = int(cost[chosen, :, end].argmin()), end
    order, ends = [node], [end]
    while chosen != bits[node]:
        before = chosen ^ bits[node]
        ways = combine(combine(cost[before], transfer[:, node]), piece[node, :, position][None])
        node, position = (int(place) for place in np.unravel_index(int(ways.argmin()), ways.shape))
        chosen = before
        order.append(node)
        ends.append(position)
    return Found(tuple(reversed(order)), tuple(reversed(ends))), cheapest


def walks_to_end(piece: Array, transfer: Array, combine: np.ufunc) -> Array:
    """The cost [n, m+1] of the cheapest walk on from a node where a piece has ended at a position; 0 at the end."""
    nodes, end = piece.shape[0], piece.shape[1] - 1
    left = np.full((nodes, end + 1), np.inf)
    left[:, end] = 0.0
    for _ in range(nodes):
        behind = combine(piece, left[:, None]).min(axis=2)  # [n, m+1]: from a piece's begin on
        closer = np.minimum(left, combine(transfer, behind[None]).min(axis=1))
        if (closer == left).all():
            break
        left = closer
    return left


def best_first(
    piece: Array, transfer: Array, combine: np.ufunc, below: float, budget: int = BUDGET
) -> tuple[Found | None, float]:
    """The cheapest plan that costs less than `below`, and a cost that no plan is below.

    With no plan, nothing below the bound exists: where the bound is `below`, the plan that had this cost was the best.
    """
    end = piece.shape[1] - 1
    left = walks_to_end(piece, transfer, combine)
    heap: list[tuple[float, int, float, int, int]] = []  # bound, the later position first, cost, entry, nodes used
    entries: list[tuple[int, int, int]] = []  # plans begun: node, position and the entry before
    seen: dict[tuple[int, int, int], float] = {}

    def push(cost: Array, visited: int, before: int) -> None:
        bounds = combine(cost, left)
        for node, position in np.argwhere(bounds < below).tolist():
            if visited >> node & 1:
                continue
            taken, nodes_used = float(cost[node, position]), visited | 1 << node
            state = (node, position, nodes_used)
            if seen.get(state, np.inf) <= taken:
                continue
            seen[state] = taken
            heapq.heappush(heap, (float(bounds[node, position]), -position, taken, len(entries), nodes_used))
            entries.append((node, position, before))

    push(piece[:, 0], 0, -1)
    while heap:
        bound, _, taken, entry, visited = heapq.heappop(heap)
        node, position, _ = entries[entry]
        if position == end:
            return _from_entries(entries, entry), bound
        if len(entries) > budget:
            return None, bound
        if seen[node, position, visited] < taken:
            continue
        arrived = combine(taken, transfer[node, :, position])
        push(combine(arrived[:, None], piece[:, position]), visited, entry)
    return None, below


def _from_entries(entries: Sequence[tuple[int, int, int]], entry: int) -> Found:
    order, ends = [], []
    while entry >= 0:
        node, position, entry = entries[entry]
        order.append(node)
        ends.append(position)
    return Found(tuple(reversed(order)), tuple(reversed(ends)))


def walk_bound(piece: Array, transfer: Array, combine: np.ufunc) -> float:
    """The cost of the cheapest walk, which no plan is below; infinite where there is no walk."""
    return float(combine(piece[:, 0], walks_to_end(piece, transfer, combine)).min())


def lower_bound(problem: Problem) -> float:
    """Milliseconds that no plan's beta is below: the best walk, or all nodes computing all the time."""
    whole = problem.atom_ms.sum(axis=1)
    # Of the nodes' loads no average is above the largest, whatever its weights: here by how fast each does the whole.
    weights = 1 / whole / np.sum(1 / whole) if np.all(whole > 0) else np.zeros_like(whole)
    shared = float(np.sum(np.min(weights[:, None] * problem.atom_ms, axis=0)))
    return max(shared, walk_bound(problem.piece_ms, problem.transfer_ms, np.maximum))
