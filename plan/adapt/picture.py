"""Pictures of adaptation: one plan, a replay, the bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from edgesight.bench.report import save_picture
from edgesight.plan.adapt.data import AdaptPlan, Situation

if TYPE_CHECKING:
    from edgesight.bench.plan.adapt import Cell

_COLOURS = ("#2a9d8f", "#e9a03b", "#457b9d", "#e76f51", "#8ab17d", "#264653", "#b56576", "#6d6875")
_IDLE = "#dddddd"


def draw_plan(situation: Situation, plan: AdaptPlan, path: Path) -> None:
    """Draw what each client's SLO is spent on, and how full each GPU is, as PNG."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    clients, gpus = {client.name: client for client in situation.clients}, {gpu.gpu: gpu for gpu in plan.gpus}
    colours = {gpu.name: _COLOURS[number % len(_COLOURS)] for number, gpu in enumerate(situation.gpus)}
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
        load.barh(place, gpu.throughput, color=_IDLE)
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
    when.barh(places, [100 * row["in_time"] for row in rows], color=_COLOURS[0])
    when.axvline(99, color="black", linewidth=1)
    when.set_xlabel("requests in time, %")
    how.barh(places, [100 * row["accuracy"] for row in rows], color=_COLOURS[2])
    how.set_xlabel("mean accuracy per request, missed ones 0, %")
    when.set_yticks(places, [f"{row['trace']}, {row['method']}" for row in rows])
    when.invert_yaxis()
    figure.suptitle("Simulated", fontsize=11)
    save_picture(figure, path)


def draw_bench(
    cells: Sequence[Cell], compared: Sequence[Mapping[str, Any]], rounds: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Draw the grid, how far each method is below exact, and how long it plans, as PNG."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    traces = list(dict.fromkeys(cell.trace for cell in cells))
    slos = sorted({cell.slo_ms for cell in cells})
    rows = list(dict.fromkeys((cell.clients, cell.rate) for cell in cells))
    figure, (grid, below, took) = pyplot.subplots(
        1, 3, figsize=(17, 5.4), width_ratios=(1.0 + 0.7 * len(traces), 1.3, 1.3), layout="constrained"
    )
    for cell in cells:
        x = traces.index(cell.trace) * (len(slos) + 0.4) + slos.index(cell.slo_ms)
        y = rows.index((cell.clients, cell.rate))
        met = cell.in_time >= 0.99
        colour = (_COLOURS[0] if met else "#e63946") if cell.qualifies else _IDLE
        grid.add_patch(Rectangle((x, y), 0.94, 0.9, color=colour))
        text = "black" if colour == _IDLE else "white"
        grid.text(x + 0.47, y + 0.3, f"{100 * cell.in_time:.2f}", ha="center", va="center", fontsize=8, color=text)
        grid.text(x + 0.47, y + 0.65, f"{cell.accuracy:.2f}", ha="center", va="center", fontsize=7, color=text)
    grid.set_xlim(0, len(traces) * (len(slos) + 0.4))
    grid.set_ylim(len(rows), 0)
    columns = [(number * (len(slos) + 0.4) + place + 0.47, f"{slo:g}") for number, _ in enumerate(traces)
               for place, slo in enumerate(slos)]  # fmt: skip
    grid.set_xticks([x for x, _ in columns], [label for _, label in columns])
    grid.set_yticks([y + 0.45 for y in range(len(rows))], [f"{count} x {rate:g}/s" for count, rate in rows])
    for number, name in enumerate(traces):
        grid.text(number * (len(slos) + 0.4) + len(slos) / 2, -0.15, name, ha="center", fontsize=8)
    grid.set_xlabel("SLO, ms")
    grid.set_title(
        "% of requests in time; below it accuracy (simulated)\ngrey: below 99.5 % even when told the bandwidth",
        pad=18,
    )
    methods = list(compared[0]["methods"])
    for number, entry in enumerate(compared):
        places = [place + 0.25 * (number - 1) for place in range(len(methods))]
        found = [entry["methods"][method] for method in methods]
        colour = _COLOURS[number]
        below.barh(places, [100 * row["shortfall_mean"] for row in found], 0.22, color=colour, label=entry["instances"])
        below.plot([100 * row["shortfall_worst"] for row in found], places, "|", color=colour, markersize=9)
        took.barh(places, [row["planning_ms_median"] for row in found], 0.22, color=colour)
        took.plot([row["planning_ms_worst"] for row in found], places, "|", color=colour, markersize=9)
    for axis in (below, took):
        axis.set_yticks(range(len(methods)), methods)
        axis.invert_yaxis()
    below.axvline(1, color="black", linewidth=1)
    below.set_xlabel("mean accuracy below exact, % (mark: worst)")
    below.set_title("8 clients, 2 GPUs (projected)")
    below.legend(frameon=False, fontsize=8)
    took.set_xscale("log")
    took.set_xlabel("ms a plan, median (mark: worst)")
    worst = max(entry["processor_worst_ms"] for entry in rounds)
    took.set_title(f"Planning time (measured)\n64 clients: processor time {worst:.0f} ms at most")
    for axis in (grid, below, took):
        axis.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)
