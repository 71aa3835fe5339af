"""Picture of the bench of adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

from edgesight.plan.adapt.picture import COLOURS, IDLE
from edgesight.plan.picture import save_picture

if TYPE_CHECKING:
    from edgesight.bench.plan.adapt_grid import Cell


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
        colour = (COLOURS[0] if met else "#e63946") if cell.qualifies else IDLE
        grid.add_patch(Rectangle((x, y), 0.94, 0.9, color=colour))
        text = "black" if colour == IDLE else "white"
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
        colour = COLOURS[number]
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
