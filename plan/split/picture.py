"""Pictures of splits: one plan with all that was weighed against it, and the choices along a bandwidth series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesight.plan.picture import save_picture
from edgesight.plan.profile import Link, Slo
from edgesight.plan.split.bandwidth import SeriesPlan
from edgesight.plan.split.plan import Choices, SplitPlan

_POINTS = 200


def draw_plan(choices: Choices, plan: SplitPlan, path: Path) -> None:
    """Draw as PNG: the predicted latency of every exit and cut, and what would be chosen at other bandwidths."""
    pyplot = _pyplot()
    figure, (cuts, map_) = pyplot.subplots(1, 2, figsize=(14, 5), layout="constrained")
    link = Link(mbps=plan.mbps, round_trip_ms=plan.round_trip_ms)
    latency = choices.latency_ms(link)
    for number, exit_ in enumerate(choices.profile.exits):
        mine = np.flatnonzero(choices.exits == number)
        mine = mine[np.argsort(choices.cuts[mine])]
        if len(mine):
            label = f"{exit_.name}, accuracy {exit_.accuracy:.3g}"
            cuts.plot(choices.cuts[mine], latency[mine], marker="o", markersize=3, label=label, color=f"C{number}")
    shown = plan.choice or plan.nearest
    if shown is not None:
        label = "as stated" if plan.method == "fixed" else "the plan" if plan.choice else "the nearest"
        cuts.plot(shown.cut, shown.latency_ms, marker="*", markersize=18, color="#e63946", linestyle="", label=label)
    cuts.axhline(plan.deadline_ms, color="black", linestyle="--", label="deadline")
    cuts.set_ylim(0, max(1.6 * plan.deadline_ms, 1.3 * float(latency.min())))
    cuts.set_xlabel("layers before the cut")
    cuts.set_ylabel("milliseconds to the answer")
    cuts.set_title(f"At {plan.mbps:g} Mbit/s and {plan.round_trip_ms:g} ms round trip")
    cuts.legend(fontsize=8, frameon=False)

    rates = np.geomspace(plan.mbps / 30, plan.mbps * 30, _POINTS)
    slo = Slo(latency_ms=plan.deadline_ms, accuracy=plan.accuracy_needed)
    found = [
        choices.best(Link(mbps=float(mbps), round_trip_ms=plan.round_trip_ms), plan.deadline_ms, slo.accuracy)
        for mbps in rates
    ]
    accuracy = [np.nan if index is None else choices.accuracy[index] for index in found]
    share = [np.nan if i is None else _share_before(choices, i) for i in found]
    map_.step(rates, accuracy, where="mid", color="#2a9d8f", label="accuracy of the exit")
    map_.step(rates, share, where="mid", color="#e9a03b", label="share of its layers before the cut")
    map_.axvline(plan.mbps, color="#e63946", linestyle=":", label="this link")
    map_.set_xscale("log")
    map_.set_ylim(-0.03, 1.03)
    map_.set_xlabel("bandwidth, Mbit/s")
    map_.set_title(f"What is chosen within {plan.deadline_ms:g} ms; gaps: nothing meets it")
    map_.legend(fontsize=8, frameon=False)
    _save(figure, f"{plan.profile}, {plan.method} ({plan.obtained})", path)


def draw_series(plan: SeriesPlan, path: Path) -> None:
    """Draw as PNG: observed bandwidth and what it has been since its last change; below, the exits chosen."""
    pyplot = _pyplot()
    figure, (rate, chosen) = pyplot.subplots(2, 1, figsize=(14, 6.5), sharex=True, layout="constrained")
    places = np.arange(1, len(plan.steps) + 1)
    rate.plot(places, [max(step.observed_mbps, 1e-2) for step in plan.steps], color="#8d99ae", label="observed")
    rate.step(places, [step.run_mbps for step in plan.steps], color="#e63946", label="since the last change")
    rate.set_yscale("log")
    rate.set_ylabel("Mbit/s")
    rate.legend(fontsize=8, frameon=False)
    accuracy = [np.nan if step.accuracy is None else step.accuracy for step in plan.steps]
    colours = ["#2a9d8f" if step.cut == step.layers else "#e76f51" for step in plan.steps]
    chosen.scatter(places, accuracy, c=colours, s=10)
    chosen.scatter([], [], color="#2a9d8f", label="all on the device")
    chosen.scatter([], [], color="#e76f51", label="cut")
    chosen.step(
        places, [step.on_time for step in plan.steps], color="#457b9d", linewidth=0.8, label="probability on time"
    )
    chosen.set_ylim(0, 1.03)
    chosen.set_ylabel("accuracy of the exit")
    chosen.set_xlabel("observation")
    chosen.legend(fontsize=8, frameon=False, loc="lower right")
    _save(figure, f"{plan.profile} within {plan.deadline_ms:g} ms on a link that moves ({plan.obtained})", path)


def _share_before(choices: Choices, index: int) -> float:
    layers = len(choices.profile.chain(choices.profile.exits[int(choices.exits[index])]))
    return float(choices.cuts[index]) / layers


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, title: str, path: Path) -> None:

    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    save_picture(figure, path)
