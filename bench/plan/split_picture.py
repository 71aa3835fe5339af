"""The picture of splits on moving links: what each planner gains, and ours cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesight.bench.plan.split_moving import FALLING_BACK, GAIN, LOSS, OURS, Cell
from edgesight.plan.picture import save_picture
from edgesight.plan.split.plan import SplitProfile


def draw(cells: Sequence[Cell], intervals: dict[str, tuple[float, float]], profile: SplitProfile, path: Path) -> None:
    """Draw the planners' mean gains, and ours cell by cell beside the oracle's, as PNG."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, (means, each) = pyplot.subplots(1, 2, figsize=(15, 5.6), width_ratios=(1, 1.25), layout="constrained")
    planners = list(cells[0].served)
    for place, planner in enumerate(planners):
        gain, (low, high) = float(np.mean([cell.gain(planner) for cell in cells])), intervals[planner]
        colour = "#2a9d8f" if planner in (OURS, FALLING_BACK) else "#8d99ae"
        means.barh(place, gain, color=colour, xerr=[[gain - low], [high - gain]], capsize=4)
    means.set_yticks(range(len(planners)), [planner.replace(" (", "\n(") for planner in planners], fontsize=9)
    means.invert_yaxis()
    means.axvline(0.0, color="black", linewidth=1)
    means.axvline(GAIN, color="#e76f51", linestyle="--", label=f"bar: {GAIN:g} points")
    means.set_xlabel("points above the best fixed exit and cut in hindsight, with 95 % interval")
    means.set_title("Mean over links and deadlines")
    means.legend(loc="lower left", frameon=False)

    order = sorted(cells, key=lambda cell: (cell.deadline_ms, cell.oracle - cell.fixed))
    each.bar(
        range(len(order)), [100 * (cell.oracle - cell.fixed) for cell in order], width=1.0, color="#dfe3ea",
        label="who knows the future",
    )  # fmt: skip
    families = list(dict.fromkeys(cell.family for cell in cells))
    for number, family in enumerate(families):
        places = [place for place, cell in enumerate(order) if cell.family == family]
        each.scatter(
            places, [order[place].gain(OURS) for place in places], s=18, color=f"C{number}", label=family, zorder=3
        )
    for deadline in dict.fromkeys(cell.deadline_ms for cell in order):
        places = [place for place, cell in enumerate(order) if cell.deadline_ms == deadline]
        each.axvline(places[0] - 0.5, color="#8d99ae", linewidth=0.8)
        each.annotate(f"{deadline:g} ms", (places[0], 1.0), xycoords=("data", "axes fraction"), xytext=(2, -12),
                      textcoords="offset points", fontsize=9)  # fmt: skip
    each.axhline(0.0, color="black", linewidth=1)
    each.axhline(-LOSS, color="#e76f51", linestyle="--", label=f"bar: {-LOSS:g} point")
    each.set_xticks([])
    each.set_xlabel("links, by deadline and by what there is to gain")
    each.set_ylabel("points above the best fixed exit and cut")
    each.set_title("Our planner on each link")
    each.legend(loc="upper right", ncols=2, frameon=False, fontsize=8, bbox_to_anchor=(1.0, 0.95))
    for axis in (means, each):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Where to cut {profile.name} and where to stop, on links that move (simulated; times projected, "
        "accuracies from memory)"
    )
    save_picture(figure, path)
