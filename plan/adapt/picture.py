"""Pictures of adaptation: one plan, a replay, the bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from edgesight.plan.adapt.data import AdaptPlan, Situation
from edgesight.plan.picture import save_picture

COLOURS = ("#2a9d8f", "#e9a03b", "#457b9d", "#e76f51", "#8ab17d", "#264653", "#b56576", "#6d6875")
IDLE = "#dddddd"


def draw_plan(situation: Situation, plan: AdaptPlan, path: Path) -> None:
    """Draw what each client's SLO is spent on, and how full each GPU is, as PNG."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    clients, gpus = {client.name: client for client in situation.clients}, {gpu.gpu: gpu for gpu in plan.gpus}
    colours = {gpu.name: COLOURS[number % len(COLOURS)] for number, gpu in enumerate(situation.gpus)}
    height = 0.34 * max(len(clients), 2 * len(gpus), 4) + 2.4
    figure, (spent, load) = pyplot.subplots(1, 2, figsize=(13, height), width_ratios=(1.8, 1), layout="constrained")
    used = {entry.client: entry for entry in plan.clients}
    for place, (name, client) in enumerate(clients.items()):
        if name not in used:
            spent.text(0.01, place, "not served", va="center", color="#e63946", transform=spent.get_yaxis_transform())
            continue
        entry = used[name]
        run = 2 * gpus[entry.gpu].latency_ms
        spent.barh(place, entry.transfer_ms, color="#cccccc")
        spent.barh(place, run, left=entry.transfer_ms, color=colours[entry.gpu])
        label = f"{entry.model}, {entry.accuracy:.0%}"
        spent.text(entry.transfer_ms + run / 2, place, label, ha="center", va="center", color="white", fontsize=8)
        spent.plot([client.latency_ms] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
    spent.plot([], [], color="black", linewidth=2, label="SLO")
    spent.barh([0], [0], color="#cccccc", label="transfer")
    for name, colour in colours.items():
        spent.barh([0], [0], color=colour, label=f"waiting and running on {name}, at most")
    spent.set_yticks(range(len(clients)), list(clients))
    spent.set_ylim(len(clients) - 0.4, -0.6)
    spent.set_xlim(0, 1.05 * max((client.latency_ms for client in clients.values()), default=1.0))
    spent.set_xlabel("ms")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    for place, gpu in enumerate(plan.gpus):
        load.barh(place, gpu.throughput, color=IDLE)
        load.barh(place, gpu.rate, color=colours[gpu.gpu])
        label = f"{gpu.model}, batch {gpu.batch}: {gpu.rate:g} of {gpu.throughput:.0f}" if gpu.model else "idle"
        load.text(0.01, place, label, va="center", fontsize=8, transform=load.get_yaxis_transform())
    load.set_yticks(range(len(plan.gpus)), [gpu.gpu for gpu in plan.gpus])
    load.invert_yaxis()
    load.set_xlabel("frames a second: those that come, of those that may")
    figure.suptitle(
        f"{plan.method}: mean accuracy {plan.mean_accuracy:.1%} (projected), "
        f"{len(used)} of {len(clients)} clients served",
        fontsize=11,
    )
    save_picture(figure, path)


def draw_replay(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw requests in time and accuracy of each run of a replay, as PNG."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, (when, how) = pyplot.subplots(1, 2, figsize=(11, 0.5 * len(rows) + 1.6), sharey=True, layout="constrained")
    places = range(len(rows))
    when.barh(places, [100 * row["in_time"] for row in rows], color=COLOURS[0])
    when.axvline(99, color="black", linewidth=1)
    when.set_xlabel("requests in time, %")
    how.barh(places, [100 * row["accuracy"] for row in rows], color=COLOURS[2])
    how.set_xlabel("mean accuracy per request, missed ones 0, %")
    when.set_yticks(places, [f"{row['trace']}, {row['method']}" for row in rows])
    when.invert_yaxis()
    figure.suptitle("Simulated", fontsize=11)
    save_picture(figure, path)
