"""Pictures of workflow plans: who runs what and at which cost, cost against accuracy, and the bench's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from edgesight.plan.picture import save_picture
from edgesight.plan.workflow.cost import Facts
from edgesight.plan.workflow.problem import Curve, Workflow, WorkflowPlan

_COLOURS = ("#2a9d8f", "#e76f51", "#457b9d", "#e9a03b", "#8ab17d", "#6d597a", "#264653", "#b56576")
_METHOD_COLOURS = {"exact": "#2a9d8f", "authors": "#457b9d"}


def draw_plan(workflow: Workflow, plan: WorkflowPlan, path: Path) -> None:
    """Draw each worker, tier by tier: what it runs, how full it is, and its price; unused ones in grey."""
    pyplot = _pyplot()
    facts = Facts.of(workflow)
    runs = {assignment.worker: assignment for assignment in plan.assignments}
    colours = {operator: _COLOURS[place % len(_COLOURS)] for place, operator in enumerate(facts.order)}
    workers = sorted(workflow.workers, key=lambda worker: worker.tier)
    figure, axis = pyplot.subplots(figsize=(10, 0.36 * len(workers) + 2.4), layout="constrained")
    for place, worker in enumerate(workers):
        axis.barh(place, 100, color="#f0f0f0")
        assignment = runs.get(worker.name)
        if assignment is not None:
            operator = assignment.operator
            full = 100 * assignment.rate / facts.capacity(worker.name, operator, plan.variants[operator])
            axis.barh(place, full, color=colours[operator])
            axis.text(1, place, f"{assignment.rate:.3g}/s", va="center", color="white", fontsize=8)
        price = f"${worker.dollars_per_hour:g}/h"
        axis.text(101, place, price, va="center", fontsize=8, color="black" if assignment else "#aaaaaa")
    for operator in facts.order:
        label = f"{operator}: {plan.variants[operator]}, {facts.rates[operator]:.3g}/s"
        axis.barh(0, 0, color=colours[operator], label=label)
    axis.set_yticks(range(len(workers)), [f"{worker.name}  (tier {worker.tier})" for worker in workers], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, 112)
    axis.set_xlabel("how full the worker is, %")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False, fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(
        f"{plan.method}: ${plan.dollars_per_hour:.3f}/h = {plan.compute_dollars_per_hour:.3f} workers + "
        f"{plan.communication_dollars_per_hour:.3f} messages, accuracy {plan.accuracy:.2%} "
        f"({plan.accuracy_asked:.2%} asked), {_gap(plan)}; projected",
        fontsize=9,
    )
    save_picture(figure, path)


def draw_curve(curves: Sequence[Curve], path: Path) -> None:
    """Draw cost against accuracy, a line of steps for each method."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(8, 5), layout="constrained")
    _steps(axis, curves)
    axis.set_title("What accuracy costs, workers and messages; projected", fontsize=10)
    save_picture(figure, path)


def draw_bench(
    savings: Mapping[str, Sequence[float]], seconds: Sequence[float], limit: float, curves: Sequence[Curve], path: Path
) -> None:
    """Draw what the exact plans save over each method, how long they took, and the published workflow's curves.

    `savings`: shares by method, over the random workflows that it found a plan for; `seconds`: one for each workflow.
    """
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 3 if curves else 2, figsize=(15 if curves else 10, 4.6), layout="constrained")
    saved, took = axes[0], axes[1]
    for method, shares in savings.items():
        ordered = sorted(100 * share for share in shares)
        heights = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
        saved.step(ordered, heights, where="post", label=f"{method} ({len(ordered)} planned)")
    saved.set_xlabel("what the exact plan costs less, %")
    saved.set_ylabel("share of random workflows, %")
    saved.set_title("Saving of the exact plan over", fontsize=10)
    saved.legend(frameon=False, fontsize=8, loc="lower right")
    ordered = sorted(seconds)
    heights = [100 * (place + 1) / len(ordered) for place in range(len(ordered))]
    took.step(ordered, heights, where="post", color=_METHOD_COLOURS["exact"])
    took.axvline(limit, color="black", linewidth=1, linestyle=":")
    took.set_xscale("log")
    took.set_xlabel("seconds for one exact plan, this machine")
    took.set_title("Time of the exact method (measured)", fontsize=10)
    if curves:
        _steps(axes[2], curves)
        axes[2].set_title("Published workflow: what accuracy costs", fontsize=10)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)


def _steps(axis: Any, curves: Sequence[Curve]) -> None:
    for curve in curves:
        plans = curve.plans
        accuracies = [100 * (plan.accuracy or 0) for plan in plans]
        costs = [plan.dollars_per_hour for plan in plans]
        colour = _METHOD_COLOURS.get(curve.method)
        unproven = sum(not plan.proven for plan in plans) if curve.method == "exact" else 0
        note = f", {unproven} not proven optimal" if unproven else ""
        axis.step(accuracies, costs, where="pre", marker="o", color=colour, label=f"{curve.method}{note}")
    axis.set_xlabel("accuracy reached, %")
    axis.set_ylabel("$/h")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


def _gap(plan: WorkflowPlan) -> str:
    return "proven optimal" if plan.proven else f"no plan is more than {plan.gap or 0:.1%} cheaper"


def _pyplot() -> Any:
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    return pyplot
