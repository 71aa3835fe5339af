"""What the page tells of the sections beside the grids: workloads, fleet, energy, real runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

Report = Mapping[str, Any]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [
        "| " + " | ".join(columns) + " |",
        "|---" * len(columns) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _p99(row: Report) -> str:
    return f"{row['p99_ms']:.1f}{'' if row['short'] <= 0 else ' miss'}"


def _ratio(best: str | None, ratio: Sequence[float]) -> list[str]:
    return [best or "none", f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})" if best else ""]


def _workloads(body: Report) -> list[str]:
    cells, mixed = body["arrival_cells"], body["applications"]["cells"]
    columns = ["arrivals", "link", *(row["system"] for row in cells[0]["rows"]), "best today", "times better"]
    rows = [
        [one["arrivals"], one["cell"]["link"], *map(_p99, one["rows"]), *_ratio(one["best"], one["ratio"])]
        for one in cells
    ]
    names = [row["system"] for row in mixed[0]["rows"]]
    together = [
        [one["arrivals"], one["link"], *map(_p99, one["rows"]),
         str(next(row["swaps"] for row in one["rows"] if row["system"] == "selecting")),
         *_ratio(one["best"], one["ratio"])]
        for one in mixed
    ]  # fmt: skip
    return [
        "## Other arrivals, and several applications, simulated",
        "",
        f"P99 in ms at load {body['load']:g}, all targets and deadlines mixed, seed {body['seed']}.",
        *(f"*{name}*: {what}." for name, what in body["arrivals"].items()),
        "",
        *table(columns, rows),
        "",
        f"{' and '.join(body['applications']['served'])} at once over one link. {body['applications']['data_centre']}.",
        "",
        *table(["arrivals", "link", *names, "swaps of selecting", "best today", "times better"], together),
        "",
    ]


def _fleet(body: Report) -> list[str]:
    region = body["goodput_per_s"]["region_of_what_needs_offloading"]
    answers = ", ".join(f"{count:,} {how.replace('_', ' ')}" for how, count in body["answers"].items())
    return [
        "## A fleet, simulated",
        "",
        f"{body['edges']:,} edges and {body['servers']} servers; {body['requests']:,} requests in "
        f"{body['seconds']:.0f} s at load {body['load']:.2f} by what is offloaded. A server's times are "
        f"{body['profile']['of']} ({body['profile']['obtained']}). The link of one region fails for "
        f"{body['outage']['end_s'] - body['outage']['begin_s']:.0f} s.",
        "",
        f"- {body['unanswered']} requests without an answer; {answers}.",
        f"- Of what the region would offload, {region['before']:.0f} a second are answered in time before, "
        f"{region['during']:.0f} meanwhile, {region['after']:.0f} after; back after {body['back_s']:.1f} s.",
        f"- P99 of what other regions offload: {body['others_offloaded_p99_ms']:.1f} ms.",
        f"- The simulation took {body['run_seconds']:.0f} s and {body['peak_bytes'] / 1e9:.2f} GB (measured).",
        "",
    ]


def _energy(body: Report) -> list[str]:
    names = [row["system"] for row in next(iter(body["data"].values()))["cells"][0]["rows"]]
    rows = [
        [name, f"{cell['load']:g}", cell["link"], cell["board"], cell["radio"],
         *(f"{row['microjoules']:,.0f}{'' if row['reaches'] else ' miss'}" for row in cell["rows"]),
         f"{cell['ratio']:.2f} ({min(cell['sensitivity'].values()):.2f} to {max(cell['sensitivity'].values()):.2f})"]
        for name, of in body["data"].items()
        for cell in of["cells"]
    ]  # fmt: skip
    sources = [one["source"] for one in (*body["boards"], *body["radios"], body["device"])]
    return [
        "## Energy an image, projected",
        "",
        f"In {body['unit']}. The ratio is of the back end answering everything over ours, with each term halved and "
        "doubled in turn.",
        "",
        *table(["data", "load", "link", "board", "radio", *names, "ratio"], rows),
        "",
        f"Assumed: {'; '.join(body['assumed'])}. Left out: {'; '.join(body['left_out'])}.",
        "",
        "Sources, quoted:",
        "",
        *(f"- {one}" for one in dict.fromkeys(sources)),
        "",
    ]


def _real(body: Report) -> list[str]:
    runs, validation = body["runs"], body["validation"]["rows"]
    columns = ["cell", "system", "runs", "accuracy, %", "P50 ms", "simulated", "P99 ms", "simulated", "hosts' time"]

    def median(rows: Sequence[Report], name: str) -> float:
        return float(np.median([row[name] for row in rows]))

    rows = []
    for cell, system in dict.fromkeys((row["cell"], row["system"]) for row in runs):
        real = [row for row in runs if (row["cell"], row["system"]) == (cell, system)]
        held = [row for row in validation if (row["cell"], row["system"]) == (cell, system)]
        rows.append(
            [
                cell,
                system,
                str(len(real)),
                f"{100 * median(real, 'accuracy'):.1f}",
                *(f"{median(held, name):.1f}" for name in
                  ("real_p50_ms", "simulated_p50_ms", "real_p99_ms", "simulated_p99_ms")),
                "fitted here" if held[0]["calibrates"] else "tested here",
            ]
        )  # fmt: skip
    return [
        "## Real runs, measured, and the simulator against them",
        "",
        "Real processes over an emulated link on this machine; gRPC by `tritonclient`. "
        f"{body['requests']:,} requests a run. The back end's model runs for real and is then held to "
        f"{1e3 * body['held_s']['a_run']:g} ms a run and {1e3 * body['held_s']['a_picture']:g} ms a picture, so that "
        f"two cores can ask it. The fabric {body['fabric']}, and takes the time of its simulated cycles. The simulator "
        "is told the same arrivals and the seconds of each of the model's runs.",
        "",
        *table(columns, rows),
        "",
    ]


PARTS: Final[Mapping[str, Callable[[Report], list[str]]]] = {
    "workloads": _workloads,
    "fleet": _fleet,
    "energy": _energy,
    "real": _real,
}
"""By the section's name: its lines, of what it found."""
