"""The demo's picture: one look tells what the product does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

from edgesight.host.package import Package
from edgesight.plan.picture import save_picture

if TYPE_CHECKING:
    from edgesight.bench.demo_rows import Row

_STAGE_COLOURS = ("#2a9d8f", "#8ab17d", "#e9c46a", "#b5838d")
_DATA_CENTRE = ("data centre, over the link", "#e76f51")

_COLOURS = {"": "#264653", "yes": "#2a9d8f", "in doubt": "#e9a03b", "no": "#e63946"}


def draw(rows: Sequence[Row], package: Package, images: int, loss: float, path: Path) -> None:
    """Draw who answered and how accurately, a line of bars for each target and baseline, as PNG."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, (who, how, when) = pyplot.subplots(
        1, 3, figsize=(15, 0.62 * len(rows) + 2.6), sharey=True, width_ratios=(2.2, 1.6, 1.2), layout="constrained"
    )
    places = range(len(rows))
    left = [0.0] * len(rows)
    stages = zip([stage.name for stage in package.kernel.stages], _STAGE_COLOURS, strict=False)
    by = {name: (f"FPGA stage {index}", colour) for index, (name, colour) in enumerate(stages)}
    for stage, (label, colour) in {**by, "datacenter": _DATA_CENTRE}.items():
        shares = [100 * row.stages[stage] for row in rows]
        who.barh(places, shares, left=left, color=colour, label=label)
        for place, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 6:
                who.text(start + share / 2, place, f"{share:.0f} %", ha="center", va="center", color="white")
        left = [start + share for start, share in zip(left, shares, strict=True)]
    late = any(start < 99.95 for start in left)
    who.set_xlabel("share of answers, %" + ("; what is missing to 100 % had no answer in time" if late else ""))
    who.set_yticks(places, [row.name for row in rows])
    who.invert_yaxis()
    who.set_xlim(0, 100)
    who.set_title("Who answered")
    who.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=min(3, len(by) + 1), frameon=False, fontsize=9)

    for place, row in enumerate(rows):
        colour = _COLOURS[row.verdict]
        low, high = 100 * (row.accuracy - row.low), 100 * (row.high - row.accuracy)
        how.errorbar(100 * row.accuracy, place, xerr=[[low], [high]], fmt="o", color=colour, capsize=4)
        how.annotate(f"{100 * row.accuracy:.1f} %", (100 * row.accuracy, place), xytext=(0, 8),
                     textcoords="offset points", ha="center", fontsize=9, color=colour)  # fmt: skip
        if row.target is not None:
            how.plot([100 * row.target] * 2, [place - 0.38, place + 0.38], color="black", linewidth=2)
    how.plot([], [], color="black", linewidth=2, label="accuracy asked for")
    how.errorbar([], [], xerr=[], fmt="o", color=_COLOURS["yes"], capsize=4, label="reached, 95 % interval")
    for verdict, label in (("in doubt", "in doubt"), ("no", "missed")):
        if any(row.verdict == verdict for row in rows):
            how.errorbar([], [], xerr=[], fmt="o", color=_COLOURS[verdict], capsize=4, label=label)
    how.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, frameon=False, fontsize=9)
    how.set_xlabel("accuracy, %")
    how.set_title("How accurately")

    when.barh(places, [row.total[1] for row in rows], color="#cccccc", label="P99")
    when.barh(places, [row.total[0] for row in rows], color="#457b9d", height=0.4, label="median")
    when.set_xscale("log")
    when.set_xlabel("milliseconds to the answer")
    when.set_title("How soon")
    when.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2, frameon=False, fontsize=9)
    for axis in (who, how, when):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"EdgeSight, {package.kernel.name}: {images} test images, fabric simulated cycle by cycle "
        f"({package.kernel.clock_mhz:g} MHz assumed), link losing {loss:.0%} of packets each way",
        fontsize=11,
    )
    save_picture(figure, path)
