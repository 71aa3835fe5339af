"""The results as a page and a picture, made of a report alone: `serve.md` and `serve.png`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

from edgesight.bench.report import Check
from edgesight.bench.serve.grid import BELOWS, NOBODY_ELSE, OFTEN_BETTER, WORSE
from edgesight.bench.serve.page_sections import PARTS, table
from edgesight.bench.serve.systems import SYSTEMS
from edgesight.host.link.strips import QUALITY
from edgesight.plan.picture import save_picture

GRID: Final = "grid-"  # how the names of the grids' sections begin
_COLOURS: Final = ("#c9a227", "#457b9d", "#8a6bb1", "#2a9d8f", "#a8b8c8", "#e9a07b", "#e76f51")

Report = Mapping[str, Any]


def page(report: Report, checks: Sequence[Check]) -> str:
    """The page of a report: bars, the grid of each data set, and where ours is behind."""
    grids = {name: body for name, body in report["sections"].items() if name.startswith(GRID) and "cells" in body}
    told = [
        *_head(report, drawn=bool(grids)),
        *_bars(checks),
        *(line for body in grids.values() for line in _grid(body)),
        *(line for name, part in PARTS.items() if _found(report, name) for line in part(report["sections"][name])),
        *_behind(grids, report["sections"]["energy"] if _found(report, "energy") else None, checks),
        *_skipped(report["skipped"]),
    ]
    return "\n".join([*told, ""])


def _found(report: Report, name: str) -> bool:
    return name in report["sections"] and "failed" not in report["sections"][name]


def _head(report: Report, *, drawn: bool) -> list[str]:
    made = report["made"]
    return [
        "# Results: modeless service under load",
        "",
        f"Written by `{made['command']}` on {made['date']} ({made['cores']} cores, {made['machine']}, Python "
        f"{made['python']}). What a section found is kept beside: where its code and what it was given are the same as "
        "in an earlier run of this folder, its figures are that run's.",
        "",
        "What each figure is stands beside it. *Simulated*: the real programs of edge, link and service run in virtual "
        "time; the link is simulated, the fabric's time is cycles of the simulated RTL, the back end's is drawn from "
        "those measured on this machine. *Measured*: on this machine's clock. *Projected*: from published watts. "
        "*Quoted*: from the source that is named.",
        "",
        "The *floor* of a cell: the same arrivals and offloads over a link of the same rate and delay that loses "
        "nothing, in the fewest bytes that reach the target, to a server that never waits while there is work. What is "
        "late even there counts as its deadline, as with all systems. *Over the floor*: P99 of our offloaded answers "
        "over theirs at the floor.",
        "",
        *(["![P99 of each system in each cell](serve.png)", ""] if drawn else []),
    ]


def _bars(checks: Sequence[Check]) -> list[str]:
    rows = [
        [
            check.name,
            f"{check.value:.4g}",
            f"{'at most' if check.at_most else 'at least'} {check.bar:g}",
            check.unit,
            "yes" if check.met else "**no**",
            check.obtained,
        ]
        for check in sorted(checks, key=lambda check: check.met)
    ]
    return ["## The bars", "", *table(["what", "value", "bar", "unit", "met", "how"], rows), ""]


def _grid(body: Report) -> list[str]:
    """The table of a data set's cells."""
    columns = ["load", "link", "points less", *(system.name for system in SYSTEMS), "floor", "best today",
               "times better", "over the floor"]  # fmt: skip
    rows = []
    for one in body["cells"]:
        ratio = [f"{each:.2f}" for each in one["ratio"]]
        rows.append(
            [
                f"{one['cell']['load']:g}",
                one["cell"]["link"],
                _goals(one["cell"]["goals"]),
                *(f"{row['p99_ms']:.1f}{'' if row['short'] <= 0 else ' miss'}" for row in one["rows"]),
                f"{one['floor_ms']:.1f}",
                one["best"] or "none",
                f"{ratio[0]} ({ratio[1]} to {ratio[2]})" if one["best"] else "",
                f"{one['over_floor']:.2f}" if one["needs"] else "",
            ]
        )
    offloaded = [
        f"less {100 * goal['below']:g}: {goal['offload']:.1%} by ours, {goal['two_stage_offload']:.1%} by two stages"
        for goal in body["goals"]
    ]
    rung, jpeg = body["first_rung"], ""
    if rung is not None:
        smaller = f", each side divided by {rung['divisor']}" if rung["divisor"] > 1 else ""
        jpeg = f" Photographs travel as JPEG of quality {QUALITY}, and by our link of {rung['quality']}{smaller}."
    return [
        f"## {body['data']}, simulated",
        "",
        f"P99 in ms of {body['requests']:,} requests a cell (seed {body['seed']}), all requests counted, late ones as "
        f"wrong; deadlines of {' and '.join(f'{1e3 * one:g}' for one in body['deadlines_s'])} ms. Load 1 is "
        f"{body['capacity_per_s']:.0f} requests a second, what the back end answers in full batches. *miss*: the "
        "accuracy lies below the target. Offloaded on the calibration split, by points less than the data centre: "
        f"{'; '.join(offloaded)}. A selecting server's variant is loaded in "
        f"{1e3 * body['load_seconds_of_a_variant']:.3g} ms.{jpeg}",
        "",
        *table(columns, rows),
        "",
    ]


def _behind(grids: Mapping[str, Report], energy: Report | None, checks: Sequence[Check]) -> list[str]:
    """Where ours loses, or misses what it is held to."""
    lines = [
        f"- {body['data']}, load {one['cell']['load']:g}, {one['cell']['link']}, less {_goals(one['cell']['goals'])}: "
        f"{one['best']} is {1 / one['ratio'][0]:.2f} times faster."
        for body in grids.values()
        for one in body["cells"]
        if one["best"] and 1 / one["ratio"][0] > WORSE
    ]
    level = sum(
        better is not None and better < NOBODY_ELSE and better < 1.1
        for body in grids.values()
        for better in body["better"]
    )
    needing = [one for body in grids.values() for one in body["cells"] if one["needs"]]
    tight = sum(bool(one["best"]) and _left(one) < OFTEN_BETTER for one in needing)
    return [
        "## Where we lose",
        "",
        *lines,
        *(_more_energy(energy) if energy is not None else []),
        f"- In {tight} of the {len(needing)} cells that need offloading the floor itself is less than {OFTEN_BETTER:g} "
        "times better than the best of today's, so that no better link or service would be.",
        f"- In {level} cells that need offloading ours is less than 1.1 times better than the best of today's.",
        *_without_parts(needing),
        *(f"- Unmet: {check.name}: {check.value:.4g} {check.unit}." for check in checks if not check.met),
        "",
    ]


def _more_energy(energy: Report) -> list[str]:
    """The cells in which a system of today's takes less energy than ours, and reaches the target or ours does not."""
    today, ours = {system.name for system in SYSTEMS if system.today}, {one.name for one in SYSTEMS if one.ours}
    lines = []
    for name, of in energy["data"].items():
        for cell in of["cells"]:
            mine = next(row for row in cell["rows"] if row["system"] in ours)
            held = [row for row in cell["rows"] if row["system"] in today and (row["reaches"] or not mine["reaches"])]
            best = min(held, key=lambda row: float(row["microjoules"]), default=mine)
            if best["microjoules"] < mine["microjoules"]:
                lines.append(
                    f"- Energy, {name}, load {cell['load']:g}, {cell['link']}, {cell['board']}: {best['system']} takes "
                    f"{best['microjoules']:,.0f} microjoules an image, ours {mine['microjoules']:,.0f}."
                )
    return lines


def _without_parts(needing: Sequence[Report]) -> list[str]:
    """How often ours does better without one of its parts, by what it is then."""
    ours = next(number for number, system in enumerate(SYSTEMS) if system.ours)
    told = []
    for place, system in enumerate(SYSTEMS):
        if system.today or system.ours:
            continue
        better = sum(_better(one["rows"][place], one["rows"][ours]) for one in needing)
        if better:
            told.append(
                f"- {system.title}: does better than ours in {better} of the {len(needing)} cells that need offloading."
            )
    return told


def _better(one: Report, ours: Report) -> bool:
    """Whether a row reaches the target, and the other does not, or is slower by more than `WORSE`."""
    return bool(one["short"] <= 0 and (ours["short"] > 0 or ours["p99_ms"] > WORSE * one["p99_ms"]))


def _left(one: Report) -> float:
    """How many times better than today's best a system at the floor would be."""
    return next(float(row["p99_ms"]) for row in one["rows"] if row["system"] == one["best"]) / float(one["floor_ms"])


def _skipped(skipped: Mapping[str, str]) -> list[str]:
    if not skipped:
        return []
    return ["## What was not run", "", *(f"- {name}: {reason}." for name, reason in skipped.items()), ""]


def _goals(goals: Sequence[int]) -> str:
    return "all" if len(goals) > 1 else f"{100 * BELOWS[goals[0]]:g}"


def draw(report: Report, path: Path) -> bool:
    """Draw P99 of each system in each cell, a panel a data set, as PNG; whether there was anything to draw."""
    grids = [body for name, body in report["sections"].items() if name.startswith(GRID) and "cells" in body]
    if not grids:
        return False
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    widest = max(len(body["cells"]) for body in grids)
    figure, axes = pyplot.subplots(
        len(grids), 1, figsize=(4 + 0.32 * widest, 4.2 * len(grids)), squeeze=False, layout="constrained"
    )
    for axis, body in zip(axes[:, 0], grids, strict=True):
        cells = body["cells"]
        for place, (system, colour) in enumerate(zip(SYSTEMS, _COLOURS, strict=True)):
            rows = [one["rows"][place] for one in cells]
            for reaches, marker in ((True, "o"), (False, "x")):
                at = [number for number, row in enumerate(rows) if (row["short"] <= 0) is reaches]
                axis.plot(at, [rows[number]["p99_ms"] for number in at], marker, color=colour,
                          markersize=9 if system.ours else 6, label=system.title if reaches else None)  # fmt: skip
        names = [f"{one['cell']['load']:g} {one['cell']['link']} -{_goals(one['cell']['goals'])}" for one in cells]
        axis.set_xticks(range(len(cells)), names, rotation=90, fontsize=8)
        axis.set_yscale("log")
        axis.set_ylabel("P99, ms")
        axis.set_title(f"{body['data']}: P99 by load, link and points below the data centre (x: misses the target)")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
    handles, titles = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=min(4, math.ceil(len(titles))), frameon=False)
    save_picture(figure, path)
    return True
