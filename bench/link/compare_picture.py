"""The picture of transports compared: P99 and agreement by link."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from edgesight.bench.link.compare import OURS, TRANSPORTS
from edgesight.plan.picture import save_picture

_COLOURS = {
    "edgesight": "#e76f51",
    "grpc-cubic": "#a8b8c8",
    "grpc-bbr": "#457b9d",
    "quic": "#2a9d8f",
    "udp": "#c9a227",
}


def draw(comparisons: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw P99 and agreement by link, a colour a transport, a row of two panels a comparison."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    shown = [one for found in comparisons.values() for one in found if one["rows"]]
    figure, axes = pyplot.subplots(len(shown), 2, figsize=(14, 3.6 * len(shown)), squeeze=False, layout="constrained")
    for (when, what), one in zip(axes, shown, strict=True):
        links = list(one["links"])
        there = [transport for transport in TRANSPORTS if any(r["transport"] == transport.name for r in one["rows"])]
        width = 0.8 / len(there)
        for place, transport in enumerate(there):
            rows = {row["link"]: row for row in one["rows"] if row["transport"] == transport.name}
            at = [links.index(link) + (place - (len(there) - 1) / 2) * width for link in rows]
            style = {"color": _COLOURS[transport.name], "label": transport.title}
            when.bar(at, [row["p99_ms"] for row in rows.values()], width, **style)
            when.plot(at, [row["p50_ms"] for row in rows.values()], "_", color="black", markersize=60 * width)
            what.bar(at, [100 * row["agreement"] for row in rows.values()], width, **style)
        for axis in (when, what):
            axis.set_xticks(range(len(links)), links)
            axis.spines[["top", "right"]].set_visible(False)
        when.set_yscale("log")
        when.set_ylim(bottom=20.0)
        when.set_ylabel("ms to the answer")
        when.set_title(f"{one['data']}: P99 (black: P50), deadline {1e3 * one['deadline_s']:g} ms")
        what.set_ylim(0, 102)
        what.set_ylabel("agreement, %")
        what.set_title(f"{one['data']}: answered in time as on the unharmed image")
    handles, titles = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=len(titles), frameon=False)
    figure.suptitle(f"{OURS.title} and others over an emulated link, real packets", fontsize=11)
    save_picture(figure, path)
