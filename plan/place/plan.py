"""Placing a network on a cluster: one way in to all methods, and planning anew.

| method | what it does |
|---|---|
| `exact` | the best plan, proven; up to 10 nodes (`edgesight.plan.place.exact`) |
| `search` | ours: from the best of the others on, by colour coding and local search; any number of nodes |
| `kpath` | the authors': fewest bytes first, then k-path matching (`edgesight.plan.place.authors`) |
| `joint` | the authors' baseline: fewest bytes first, then the fastest neighbour from each node on |
| `greedy` | cuts and nodes chosen together, one after the other |
| `random` | any plan that fits |

Planning anew, after a node is lost or for a new version of the model, moves as few bytes of parameters as it can, while
beta stays within a factor of the best plan's.

Words owned here: *method*, *movement* (parameters carried to nodes that do not hold them).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from edgesight.plan.deadline import best_within
from edgesight.plan.place.authors import CLASSES, joint, kpath
from edgesight.plan.place.exact import EXACT_NODES, by_colours, exact, lower_bound, walk_bound
from edgesight.plan.place.graph import Model
from edgesight.plan.place.problem import Array, Cluster, Found, Movement, Placement, Problem
from edgesight.plan.place.search import at_random, better, joint_greedy, search, sweep
from edgesight.plan.profile import SECONDS, PlanError

Method = Literal["exact", "search", "kpath", "joint", "greedy", "random"]
Remethod = Literal["exact", "search"]  # those that plan anew
METHODS: tuple[Method, ...] = get_args(Method)
_CLOSE = 1 + 1e-12
_PLANNING = 0.95  # share of the time that the search has
_FEW = 7  # nodes and atoms that are planned for in a moment
_MOST_PIECES = 5 * 10**7  # of all nodes: each takes some tens of bytes


def place(
    model: Model,
    cluster: Cluster,
    method: Method = "search",
    *,
    seed: int = 0,
    classes: int | None = None,
    seconds: float = SECONDS,
) -> Placement:
    """Where each piece of `model` runs on `cluster`, with beta, what takes it, and a bound that no plan is below.

    `classes` is the number of transfer classes of `kpath`; without it the best of 2 to 20. After `seconds` it is the
    best plan so far. A plan that is not feasible says why; it is proven where no method could find one. Raises
    PlanError for a method that cannot be asked this.
    """
    problem = Problem(model, cluster)
    _check(problem, method, classes)

    def work(report: Callable[[Placement], None]) -> None:
        report(_placed(problem, method, seed, classes, report))

    return best_within(time.monotonic() + _PLANNING * seconds, work, small=_small(problem)) or _late(problem, method)


def _small(problem: Problem) -> bool:
    return problem.nodes <= _FEW and problem.end <= _FEW


def _late(problem: Problem, method: Method) -> Placement:
    reason = f"method {method} found no plan in the time given; give it more"
    return problem.refusal(method, reason, proven=False)


def _check(problem: Problem, method: Method, classes: int | None) -> None:
    if method not in METHODS:
        raise PlanError(f"method {method}: choose one of {', '.join(METHODS)}")
    if classes is not None and (method != "kpath" or classes < 1):
        raise PlanError(
            f"classes {classes}: only kpath takes them, and at least 1; choose kpath and 1 or more, or leave them out"
        )
    if method == "exact" and problem.nodes > EXACT_NODES:
        raise PlanError(
            f"method exact: goes up to {EXACT_NODES} nodes, and cluster {problem.cluster.name} has {problem.nodes}; "
            "take search, whose plan carries a lower bound"
        )
    if problem.nodes * (problem.end + 1) ** 2 > _MOST_PIECES:
        raise PlanError(
            f"model {problem.model.name}: {problem.end - 1} cuts on {problem.nodes} nodes are more pieces than memory "
            "holds; join layers that need not be parted"
        )


def _placed(
    problem: Problem,
    method: Method,
    seed: int,
    classes: int | None,
    report: Callable[[Placement], None] | None = None,
) -> Placement:
    reason = problem.impossible()
    if reason is not None:
        return problem.refusal(method, reason, proven=True)

    def told(found: Found, bound: float) -> None:
        if report is not None:
            report(problem.placement(method, found, bound, proven=problem.beta(found) <= bound * _CLOSE))

    if method == "exact":
        best = exact(problem)
        if best is None:
            return problem.refusal(method, _unlinked(problem), proven=True)
        return problem.placement(method, best[0], best[1], proven=True)
    if method == "search":
        found, bound = search(problem, seed, told)
    elif method == "kpath":
        plans: dict[int, Found] = {}
        for count in CLASSES if classes is None else [classes]:
            plans.update(kpath(problem, [count], seed))
            if plans and report is not None:
                told(min(plans.values(), key=problem.beta), 0.0)
        found, bound = min(plans.values(), key=problem.beta, default=None), lower_bound(problem)
    else:
        found = (
            joint(problem)
            if method == "joint"
            else joint_greedy(problem)
            if method == "greedy"
            else at_random(problem, seed)
        )
        if found is not None:
            told(found, 0.0)
        bound = lower_bound(problem)
    if found is None:
        if not np.isfinite(bound):
            return problem.refusal(method, _unlinked(problem), proven=True)
        return problem.refusal(method, f"method {method} found no plan; another may", proven=False)
    return problem.placement(method, found, bound, proven=problem.beta(found) <= bound * _CLOSE)


def _unlinked(problem: Problem) -> str:
    return (
        f"no order of the {problem.nodes} nodes has links between all neighbours and memory for all pieces: add links, "
        "nodes or memory"
    )


def replan(
    model: Model,
    cluster: Cluster,
    previous: Placement,
    method: Remethod = "search",
    *,
    within: float = 1.1,
    seed: int = 0,
    seconds: float = SECONDS,
) -> Placement:
    """A plan for `model` on `cluster` that keeps what `previous` has put on nodes, as far as it can.

    Of all plans with beta of at most `within` times the best, the one that moves the fewest bytes of parameters, and of
    those the one of least beta. With `exact` that is proven; with `search` the plan carries a bound of the bytes,
    `movement.least_bytes`. Parameters count as there where the layer's checksum, or else its name and size in the same
    version, is held by that node; what a node held before is dropped where the new plan does not use it. After
    `seconds` it is the plan of fewest bytes so far. Raises PlanError for a factor below 1, or a previous plan without
    pieces.
    """
    if not 1 <= within < np.inf:
        raise PlanError(f"within {within}: is a factor of the best plan's beta: give at least 1")
    if method not in get_args(Remethod):
        raise PlanError(f"method {method}: does not count movement; plan anew with exact or search")
    if not previous.feasible or not previous.pieces:
        raise PlanError("previous plan: field pieces: is empty, so nothing is placed yet; plan without it")
    problem = Problem(model, cluster)
    _check(problem, method, None)

    def work(report: Callable[[Placement], None]) -> None:
        _replanned(problem, previous, method, within, seed, report)

    return best_within(time.monotonic() + _PLANNING * seconds, work, small=_small(problem)) or _late(problem, method)


def _replanned(
    problem: Problem,
    previous: Placement,
    method: Remethod,
    within: float,
    seed: int,
    report: Callable[[Placement], None],
) -> None:
    best = _placed(problem, method, seed, None)
    if not best.feasible or best.beta_ms is None:
        report(best)
        return
    moving, quickest = _moving(problem, previous), _found(problem, best)
    limit, found, least = best.beta_ms * within, quickest, None
    while True:
        # Infinite where beta would pass the limit: what is left is paid for by movement alone.
        piece = np.where(problem.piece_ms <= limit, moving, np.inf)
        transfer = np.where(problem.transfer_ms <= limit, 0.0, np.inf)
        following, bound = _least(problem, method, piece, transfer, [found, quickest], seed)
        if least is None:
            least = bound
        elif following is None or _moved(moving, following) > _moved(moving, found):
            break
        found = following or found
        if problem.beta(found) <= best.beta_ms:
            break
        limit = float(np.nextafter(problem.beta(found), 0.0))  # once more: as little movement, with a smaller beta
        report(_moving_plan(problem, method, best, moving, quickest, found, least, within))
    report(_moving_plan(problem, method, best, moving, quickest, found, least, within))


def _moving_plan(
    problem: Problem,
    method: Method,
    best: Placement,
    moving: Array,
    quickest: Found,
    found: Found,
    least: float,
    within: float,
) -> Placement:
    """`found` as a plan that says what it moves."""
    moved, total = _moved(moving, found), float(problem.parameters[-1])
    movement = Movement(
        moved_bytes=int(moved),
        kept_bytes=int(total - moved),
        least_bytes=int(min(least, moved)),
        within=within,
        best_beta_ms=best.beta_ms or 0.0,
        best_moved_bytes=int(_moved(moving, quickest)),
    )
    bound = best.lower_bound_ms or 0.0
    plan = problem.placement(method, found, bound, proven=problem.beta(found) <= bound * _CLOSE)
    return plan.model_copy(update={"movement": movement})


def _least(
    problem: Problem, method: Method, piece: Array, transfer: Array, begun: Sequence[Found], seed: int
) -> tuple[Found | None, float]:
    """The plan of the least sum of these costs, and a bound that no plan's is below."""
    if method == "exact":
        cheapest = by_colours(piece, transfer, np.add, range(problem.nodes))
        return (None, np.inf) if cheapest is None else cheapest
    bound = walk_bound(piece, transfer, np.add)
    return better(piece, transfer, np.add, [*begun, sweep(piece, transfer, np.add)], bound, seed)


def _moving(problem: Problem, previous: Placement) -> Array:
    """Bytes of parameters [n, m+1, m+1] that a piece on a node brings there."""
    held = {piece.node: set(piece.weights) for piece in previous.pieces}
    moving = np.zeros_like(problem.piece_ms)
    for node, device in enumerate(problem.cluster.nodes):
        there = held.get(device.name, set())
        brought = [
            float(sum(size for identity, size in problem.held(place, place + 1) if identity not in there))
            for place in range(problem.end)
        ]
        summed = np.concatenate([[0.0], np.cumsum(brought)])
        moving[node] = np.maximum(summed[None, :] - summed[:, None], 0.0)
    return moving


def _moved(moving: Array, found: Found) -> float:
    begins = (0, *found.ends[:-1])
    return float(
        sum(moving[node, begin, end] for node, begin, end in zip(found.nodes, begins, found.ends, strict=True))
    )


def _found(problem: Problem, plan: Placement) -> Found:
    """A plan of this problem as positions."""
    names = [node.name for node in problem.cluster.nodes]
    cuts = {name: place for place, name in enumerate(problem.model.cuts, start=1)}
    ends = tuple(problem.end if piece.until is None else cuts[piece.until] for piece in plan.pieces)
    return Found(tuple(names.index(piece.node) for piece in plan.pieces), ends)
