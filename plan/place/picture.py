"""Pictures of placements: one plan, and the bench's comparison of methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from edgesight.plan.picture import save_picture
from edgesight.plan.place.problem import Placement

_COMPUTING, _SENDING, _BETA = "#2a9d8f", "#e9a03b", "#e63946"
COLOURS = {"search": "#2a9d8f", "kpath": "#e76f51", "joint": "#e9a03b", "greedy": "#457b9d", "random": "#999999"}
LABELS = {
    "search": "ours (search)",
    "kpath": "the authors' (kpath)",
    "joint": "the authors' joint",
    "greedy": "joint greedy",
    "random": "random",
}


def draw_plan(plan: Placement, path: Path) -> None:
    """Draw how long each piece computes and sends, as PNG; raises PictureError when it cannot be written."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 0.7 * len(plan.pieces) + 2.2), layout="constrained")
    places = list(range(len(plan.pieces)))
    axis.barh([place - 0.19 for place in places], [piece.compute_ms for piece in plan.pieces], 0.36,
              color=_COMPUTING, label="computing")  # fmt: skip
    axis.barh([place + 0.19 for place in places], [piece.transfer_ms for piece in plan.pieces], 0.36,
              color=_SENDING, label="sending on")  # fmt: skip
    axis.axvline(plan.beta_ms or 0.0, color=_BETA, linestyle="--", label=f"bottleneck {plan.beta_ms or 0.0:.4g} ms")
    axis.set_yticks(
        places,
        [
            f"{piece.node}: {piece.layers} layers, {piece.memory_bytes / 1e6:.3g} MB\n"
            f"until {piece.until or 'the answer'}"
            for piece in plan.pieces
        ],
    )
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds for one answer, projected")
    rate = "" if plan.throughput is None else f": {plan.throughput:.4g} answers a second"
    axis.set_title(f"{plan.model} {plan.version} on {plan.cluster}, by {plan.method}{rate}")
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.18 if len(plan.pieces) > 2 else -0.3), ncols=3, frameon=False
    )
    axis.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)


def draw_bench(
    gaps: Mapping[str, Mapping[str, Sequence[float]]],
    classes: Mapping[str, Sequence[tuple[int, float]]],
    large: Mapping[str, Sequence[tuple[int, float]]],
    path: Path,
) -> None:
    """Draw the bench's comparison, as PNG.

    `gaps`: by setting and method, beta above the exact one, %; `classes`: by setting, the authors' mean gap for each
    number of classes, %; `large`: by method, nodes and beta over the lower bound.
    """
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    figure, (small, counts, many) = pyplot.subplots(1, 3, figsize=(18, 6), layout="constrained")
    methods = [method for method in COLOURS if method != "random"]
    for index, method in enumerate(methods):
        for place, setting in enumerate(gaps):
            values = [max(value, 0.0) for value in gaps[setting][method]]
            shift = place + 0.26 * (index - 1)
            small.scatter([shift] * len(values), values, s=9, alpha=0.4, color=COLOURS[method])
            small.plot(
                [shift - 0.1, shift + 0.1], [sorted(values)[len(values) // 2]] * 2, color=COLOURS[method], linewidth=3
            )
        small.scatter([], [], color=COLOURS[method], label=LABELS[method])
    small.set_yscale("symlog", linthresh=1)
    small.set_xticks(range(len(gaps)), list(gaps), fontsize=8, rotation=35, ha="right")
    small.set_ylabel("bottleneck above the exact one, %")
    small.set_title("Up to 10 nodes: each cluster, and the median")
    small.legend(frameon=False, fontsize=9)
    for setting, points in classes.items():
        counts.plot([count for count, _ in points], [gap for _, gap in points], marker=".", label=setting)
    counts.set_xticks(sorted({count for points in classes.values() for count, _ in points}))
    counts.set_xlabel("transfer classes of the authors' method")
    counts.set_ylabel("mean bottleneck above the exact one, %")
    counts.set_yscale("symlog", linthresh=1)
    counts.set_ylim(bottom=-0.1)
    counts.set_title("The authors' method by its number of classes")
    counts.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    for method in ("random", "greedy", "joint", "kpath", "search"):
        points = large[method]
        many.scatter([nodes for nodes, _ in points], [ratio for _, ratio in points], s=10, alpha=0.5,
                     color=COLOURS[method], label=LABELS[method])  # fmt: skip
    many.set_yscale("log")
    many.set_xlabel("nodes")
    many.set_ylabel("bottleneck over its lower bound")
    many.set_title("Up to 50 nodes")
    many.legend(frameon=False, fontsize=9)
    for axis in (small, counts, many):
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Placements on random clusters (projected)")
    save_picture(figure, path)
