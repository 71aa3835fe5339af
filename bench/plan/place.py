"""Bench of placements: ours, the authors', the exact one or a bound, greedy and random, on random clusters.

Clusters are those of Parthasarathy and Krishnamachari (arXiv 2210.12219): nodes at random in a square of 150 x 150,
bandwidth log2(1 + 283230 / d^2) Mbit/s at distance d, 8 / 1.44 bytes an element sent, 2 to 20 transfer classes of which
the authors' method gets the best. Three settings: theirs (computing takes no time, all nodes have the same 64 to 512
MB); the same with so little memory that each model must be cut; and with computing counted, on unlike nodes. Clusters
on which no plan exists, or, without computing, one node holds the whole model, compare nothing: they are drawn again,
and counted.

Words owned here: *setting* (how clusters are drawn), *cell* (a setting, a model and a range of nodes), *gap* (beta
above the exact one or above the bound, %).
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from edgesight.bench.plan import place_published
from edgesight.bench.plan.place_models import MODELS
from edgesight.bench.report import Check, PlainTable
from edgesight.plan.place.authors import CLASSES, kpath
from edgesight.plan.place.exact import EXACT_NODES
from edgesight.plan.place.graph import INPUT, Layer, Model
from edgesight.plan.place.picture import draw_bench
from edgesight.plan.place.plan import Method, place, replan
from edgesight.plan.place.problem import Cluster, Node, Placement, Problem, faults

Setting = Literal["published", "tight", "computing"]
SETTINGS: dict[Setting, str] = {
    "published": "computing takes no time; all nodes have the same memory, one of 64, 128, 256, 512 MB",
    "tight": "computing takes no time; all nodes have the same memory, 1/8 to 1/2 of the model's parameters or what "
    "its largest atom takes",
    "computing": "nodes of 64, 128, 256 or 512 MB and of 0.1 to 10 x 10^9 multiply-accumulates a second",
}
SMALL, LARGE = (5, EXACT_NODES), (EXACT_NODES + 1, 50)  # nodes, from and to
TRIALS = 50  # as published, in each cell
WITHIN = 1.1
QUOTED = "the authors, of their own models and simulation: 9.2 % above the optimum on average (arXiv 2210.12219)"
_SIDE, _GAIN = 150.0, 283230.0
_MEMORIES = tuple(megabytes * 10**6 for megabytes in (64, 128, 256, 512))
_SPEEDS = (0.1, 10.0)
_FEW = 30  # clusters of a published cell in a short bench
_DRAWS = 40  # for each trial of a cell at most; a cell where fewer compare anything is left out
_METHODS: tuple[Method, ...] = ("search", "kpath", "joint", "greedy", "random")


@dataclass(frozen=True)
class _Trial:
    """One cluster: beta by method, and what else is asked of it."""

    nodes: int
    beta: dict[str, float]  # ms; infinite where a method found none
    bound: float  # ms
    proven: bool
    classes: dict[int, float]  # the authors' beta by number of classes, where they found a plan
    seconds: dict[str, float]
    moved: tuple[int, int] | None  # bytes after the loss of a node: least movement, and planning for beta alone


def cluster(rng: np.random.Generator, count: int, model: Model, setting: Setting) -> Cluster:
    """A random cluster of `count` nodes."""
    places = rng.uniform(0, _SIDE, (count, 2))
    squared = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    mbps = np.log2(1 + _GAIN / (squared + np.eye(count)))
    np.fill_diagonal(mbps, 0.0)
    memory = rng.choice(_MEMORIES, count)
    speeds: list[float | None] = [None] * count
    if setting == "computing":
        low, high = _SPEEDS
        speeds = [float(low * (high / low) ** share) for share in rng.uniform(size=count)]
    else:
        memory[:] = memory[0]
    if setting == "tight":
        parameters = sum(layer.parameter_bytes for layer in model.layers)
        memory[:] = max(int(parameters * rng.uniform(1 / 8, 1 / 2)), largest_atom(model))
    return Cluster(
        name=f"{count} nodes",
        nodes=tuple(
            Node(name=f"n{place}", memory_bytes=int(memory[place]), speed=speeds[place]) for place in range(count)
        ),
        mbps=tuple(tuple(row) for row in mbps.tolist()),
    )


def largest_atom(model: Model) -> int:
    """Bytes that the hungriest atom takes on its node."""
    return max(
        sum(layer.parameter_bytes for layer in atom) + max(layer.working_bytes for layer in atom)
        for atom in model.atoms
    )


def bench(
    out: Path,
    console: Console,
    *,
    trials: int = TRIALS,
    seed: int = 0,
    sizes: Sequence[tuple[int, int]] = (SMALL, LARGE),
) -> tuple[list[Check], dict[str, Any]]:
    """Compare all methods on `trials` clusters a cell; draws `place.png` in `out` and prints a table.

    `sizes` are ranges of nodes; ranges up to `EXACT_NODES` are held against the exact search, others against the bound.
    """
    cells: dict[str, Any] = {}
    results: dict[tuple[Setting, str, bool], list[_Trial]] = {}
    wrong: list[str] = []
    for low, high in sizes:
        for name, build in MODELS.items():
            model = build()
            for index, setting in enumerate(SETTINGS):
                small = high <= EXACT_NODES
                title = f"{name}, {setting}, {low} to {high} nodes"
                draws = Counter[str]()
                rng = np.random.default_rng([seed, low, high, index, *name.encode()])
                made = list(_trials(rng, (low, high), model, setting, trials, draws, wrong))
                whole = len(made) == trials
                if whole:
                    results[setting, name, small] = made
                cells[title] = {"drawn": dict(draws), **(_cell(made, small) if whole else {"left_out": _why(draws)})}
                console.print(f"{title}: {f'{trials} compared' if whole else _why(draws)}")
    console.print(_table(cells))
    for kind, gap in _authors_gap(results).items():
        console.print(
            f"{kind}: the authors' plans are {gap['median']:.3g} % above the exact ones in the median, "
            f"{gap['mean']:.3g} % on average ({gap['clusters']} clusters)"
        )
    checks = _checks(results, wrong)
    console.print("SEIFER's published setting ...")
    # Fewer clusters than theirs would say little of a mean: a short bench draws as many as it must, from one seed.
    few = trials < TRIALS
    published = place_published.run(_FEW if few else place_published.TRIALS, searched=1 if few else 5)
    console.print(_published_table(published))
    limit = _limit(seed)
    near = sum(abs(cell.z) <= 2 for cell in published)
    worst = max(cell.search_over_joint for cell in published)
    checks += [
        Check("place: published cells whose mean is within |z| 2 of SEIFER's", near, 10, False, "cells", "projected"),
        Check("place: search over SEIFER's joint baseline, published setting", worst, 1 + 1e-9, True, "", "projected"),
        Check("place: time taken over the time limit", limit["took_s"] / limit["limit_s"], 1.2, True, "", "measured"),
    ]
    _draw(results, out / "place.png")
    body = {
        "settings": dict(SETTINGS),
        "trials": trials,
        "seed": seed,
        "within": WITHIN,
        "speedup_over_authors": _speedup(results),
        "authors_gap_to_exact_percent": _authors_gap(results),
        "quoted": QUOTED,
        "published": place_published.describe(published),
        "time_limit": limit,
        "cells": cells,
        "obtained": "projected",
        "intervals": "of medians: 95 %, by order statistics",
        "faults": wrong,
    }
    return checks, body


def _trials(
    rng: np.random.Generator,
    sizes: tuple[int, int],
    model: Model,
    setting: Setting,
    trials: int,
    draws: Counter[str],
    wrong: list[str],
) -> Iterator[_Trial]:
    """Trials that compare something; what was drawn is counted in `draws`, what is wrong with a plan put in `wrong`."""
    while draws["compared"] < trials and draws.total() < _DRAWS * trials:
        count = int(rng.integers(sizes[0], sizes[1] + 1))
        drawn = cluster(rng, count, model, setting)
        seed = int(rng.integers(2**31))
        problem = Problem(model, drawn)
        if problem.impossible() is not None:
            draws["infeasible"] += 1
            continue
        if setting != "computing" and np.isfinite(problem.piece_ms[:, 0, -1]).any():
            draws["one node holds all"] += 1
            continue
        methods: list[Method] = [*_METHODS, "exact"] if count <= EXACT_NODES else [*_METHODS]
        plans: dict[str, Placement] = {}
        seconds: dict[str, float] = {}
        for method in methods:
            begun = time.perf_counter()
            plans[method] = place(model, drawn, method, seed=seed)
            seconds[method] = time.perf_counter() - begun
            wrong += [f"{model.name}, {setting}, {method}: {fault}" for fault in faults(plans[method], model, drawn)]
        if not plans["search"].feasible:
            draws["infeasible" if plans["search"].proven else "nothing found"] += 1
            continue
        draws["compared"] += 1
        moved = None
        if "exact" in plans and count > 1:
            lost = max(plans["exact"].pieces, key=lambda piece: piece.parameter_bytes).node
            again = replan(model, drawn.without(lost), plans["exact"], "exact", within=WITHIN)
            wrong += [f"{model.name}, {setting}, anew: {fault}" for fault in faults(again, model, drawn.without(lost))]
            if again.movement is not None:
                moved = (again.movement.moved_bytes, again.movement.best_moved_bytes)
        best = plans.get("exact", plans["search"])
        yield _Trial(
            nodes=count,
            beta={method: _beta(plan) for method, plan in plans.items()},
            bound=best.lower_bound_ms or 0.0,
            proven=best.proven,
            classes={count: problem.beta(found) for count, found in kpath(problem, CLASSES, seed).items()},
            seconds=seconds,
            moved=moved,
        )


def _beta(plan: Placement) -> float:
    return math.inf if plan.beta_ms is None else plan.beta_ms


def _gap(beta: float, least: float) -> float:
    """Percent above the least."""
    return 0.0 if beta <= least else 100 * (beta / least - 1) if least > 0 else math.inf


def _median(values: Sequence[float]) -> dict[str, float | None]:
    """The median and its 95 % interval by order statistics; None for what is not finite."""
    ranked, count = sorted(values), len(values)
    below = 0.0  # probability that fewer than `rank` + 1 values are below the median
    rank = 0
    for rank in range(count // 2 + 1):
        below += math.comb(count, rank) / 2**count
        if below > 0.025:
            break
    low, high = (ranked[rank - 1], ranked[count - rank]) if rank > 0 else (-math.inf, math.inf)
    found = {"median": statistics.median(ranked), "low": low, "high": high, "largest": ranked[-1]}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _cell(trials: Sequence[_Trial], small: bool) -> dict[str, Any]:
    against = "exact" if small else "bound"
    body: dict[str, Any] = {
        "held_against": against,
        "proven_best": sum(trial.proven for trial in trials),
        "gap_percent": {
            method: {
                **_median([_gap(trial.beta[method], _least(trial)) for trial in trials]),
                "no_plan": sum(math.isinf(trial.beta[method]) for trial in trials),
            }
            for method in _METHODS
        },
        "gap_percent_of_authors_by_classes": {
            str(count): {
                **_median([_gap(trial.classes.get(count, math.inf), _least(trial)) for trial in trials]),
                "no_plan": sum(count not in trial.classes for trial in trials),
            }
            for count in CLASSES
        },
        "seconds_median": {
            method: statistics.median(trial.seconds[method] for trial in trials) for method in trials[0].seconds
        },
    }
    moved = [trial.moved for trial in trials if trial.moved is not None]
    if moved:
        body["node_lost"] = {
            "planned_anew": len(moved),
            "no_plan_left": len(trials) - len(moved),
            "moved_megabytes": _median([least / 1e6 for least, _ in moved]),
            "moved_megabytes_for_beta_alone": _median([alone / 1e6 for _, alone in moved]),
        }
    return body


def _least(trial: _Trial) -> float:
    return trial.beta.get("exact", trial.bound)


def _why(draws: Counter[str]) -> str:
    return "left out: " + ", ".join(f"{count} {what}" for what, count in draws.items())


def _checks(results: dict[tuple[Setting, str, bool], list[_Trial]], wrong: Sequence[str]) -> list[Check]:
    small = {key: trials for key, trials in results.items() if key[2]}
    exact = [trial for trials in small.values() for trial in trials]
    everything = [trial for trials in results.values() for trial in trials]
    medians = [
        statistics.median(_gap(trial.beta["search"], trial.beta["exact"]) for trial in trials)
        for trials in small.values()
    ]
    worse = {
        other: sum(trial.beta["search"] > trial.beta[other] * (1 + 1e-12) for trial in everything)
        for other in ("kpath", "joint", "greedy")
    }
    any_class = sum(
        trial.beta["search"] > min(trial.classes.values(), default=math.inf) * (1 + 1e-12) for trial in everything
    )
    known = [_gap(trial.beta["kpath"], trial.beta["exact"]) for trial in exact if math.isfinite(trial.beta["kpath"])]
    movement = [trial.moved for trial in exact if trial.moved is not None]
    models = {name for _, name, is_small in results if is_small}

    def check(name: str, value: float, bar: float, unit: str, *, at_most: bool = True) -> Check:
        return Check(f"place: {name}", value, bar, at_most, unit, "projected")

    return [
        check("clusters of up to 10 nodes with k-path's gap to exact", len(known), 50, "clusters", at_most=False),
        check("models among them", len(models), len(MODELS), "models", at_most=False),
        check("search's gap to exact, the worst cell's median", max(medians, default=math.inf), 3, "%"),
        check("clusters where search is worse than k-path, best classes", worse["kpath"] + any_class, 0, "clusters"),
        check("clusters where search is worse than the authors' joint baseline", worse["joint"], 0, "clusters"),
        check("clusters where search is worse than the joint greedy", worse["greedy"], 0, "clusters"),
        check("faults that the independent check finds in plans", len(wrong), 0, "faults"),
        check("node losses where the least movement is more than planning for beta alone",
              sum(least > alone for least, alone in movement), 0, "clusters"),
    ]  # fmt: skip


def _speedup(results: dict[tuple[Setting, str, bool], list[_Trial]]) -> dict[str, Any]:
    """How many times as many answers a second as with the authors' best plan, by setting."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for (setting, _, _), trials in results.items():
        ratios[setting] += [
            trial.beta["kpath"] / trial.beta["search"] for trial in trials if math.isfinite(trial.beta["kpath"])
        ]
    return {setting: _median(values) for setting, values in ratios.items() if values}


def _authors_gap(results: dict[tuple[Setting, str, bool], list[_Trial]]) -> dict[str, Any]:
    """How far the authors' best plan is above the exact one, %, by setting, on clusters where they find a plan."""
    gaps: dict[str, list[float]] = defaultdict(list)
    for (setting, _, small), trials in results.items():
        if small:
            gaps[setting] += [
                _gap(trial.beta["kpath"], trial.beta["exact"]) for trial in trials if math.isfinite(trial.beta["kpath"])
            ]
    return {
        setting: {**_median(values), "mean": statistics.fmean(values), "clusters": len(values)}
        for setting, values in gaps.items()
        if values
    }


def _table(cells: dict[str, Any]) -> PlainTable:
    title = "Bottleneck above the exact one (up to 10 nodes) or the lower bound, %: median (largest)"
    table = PlainTable(title, ("cell", *_METHODS, "proven", "s"), words=("cell",))
    for title, cell in cells.items():
        if "left_out" in cell:
            continue
        gaps = [cell["gap_percent"][method] for method in _METHODS]
        shown = [f"{_shown(gap['median'])} ({_shown(gap['largest'])})" for gap in gaps]
        compared = cell["drawn"]["compared"]
        seconds = f"{cell['seconds_median']['search']:.2f}"
        table.add_row(title, *shown, f"{cell['proven_best']}/{compared}", seconds)
    return table


def _published_table(cells: Sequence[place_published.PublishedCell]) -> PlainTable:
    title = "SEIFER's published setting: mean bottleneck in s, quoted and here (projected)"
    columns = ("network", "MiB", "nodes", "k-path, theirs", "here", "z", "joint, theirs", "here", "z", "search/joint")
    table = PlainTable(title, columns, words=("network",))
    for cell in cells:
        table.add_row(
            cell.network,
            str(cell.memory_mib),
            str(cell.nodes),
            f"{cell.quoted_s:.4f}",
            f"{cell.mean_s:.4f}",
            f"{cell.z:+.2f}",
            f"{cell.quoted_joint_s:.4f}",
            f"{cell.joint_s:.4f}",
            f"{cell.joint_z:+.2f}",
            f"{cell.search_over_joint:.3f}",
        )
    return table


def _limit(seed: int, limit_s: float = 5.0) -> dict[str, Any]:
    """How long the search takes for a chain and a cluster that it has no time for."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        Layer(
            name=f"layer{place}",
            inputs=(f"layer{place - 1}" if place else INPUT,),
            output_bytes=int(rng.integers(10_000, 1_000_000)),
            parameter_bytes=int(rng.integers(100_000, 4_000_000)),
            operations=float(rng.integers(10**6, 10**9)),
        )
        for place in range(500)
    )
    chain = Model(name="chain", layers=layers)
    begun = time.monotonic()
    plan = place(chain, cluster(rng, 50, chain, "computing"), "search", seed=seed, seconds=limit_s)
    return {"limit_s": limit_s, "took_s": time.monotonic() - begun, "feasible": plan.feasible, "beta_ms": plan.beta_ms}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _draw(results: dict[tuple[Setting, str, bool], list[_Trial]], path: Path) -> None:
    gaps: dict[str, dict[str, list[float]]] = {}
    classes: dict[str, list[tuple[int, float]]] = {}
    large: dict[str, list[tuple[int, float]]] = {method: [] for method in _METHODS}
    for (setting, name, small), trials in results.items():
        for method in _METHODS:
            ratios = [(trial.nodes, trial.beta[method] / trial.bound) for trial in trials if trial.bound > 0]
            large[method] += [] if small else [point for point in ratios if math.isfinite(point[1])]
        if not small:
            continue
        title = f"{name}, {setting}"
        gaps[title] = {
            method: [
                _gap(trial.beta[method], trial.beta["exact"]) for trial in trials if math.isfinite(trial.beta[method])
            ]
            for method in _METHODS
        }
        classes[title] = [
            (count, statistics.fmean(_gap(trial.classes[count], trial.beta["exact"]) for trial in found))
            for count in CLASSES
            if (found := [trial for trial in trials if count in trial.classes])
        ]
    draw_bench(gaps, classes, large, path)
