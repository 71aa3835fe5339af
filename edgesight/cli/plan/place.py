"""`edgesight plan place`: a network's pieces on a cluster of small nodes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import OutFile, PictureFile, Seconds, check_outputs, group, left, shows_example, shows_schema

if TYPE_CHECKING:
    from edgesight.plan.place.plan import Method, Remethod
    from edgesight.plan.place.problem import Placement


@group.command()
def place(  # noqa: PLR0913 - a command's options are its surface
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The network: ONNX (weights may be left out), or layers as JSON.")
    ],
    cluster: Annotated[
        Path, typer.Argument(metavar="CLUSTER", help="Nodes with memory and speed, and bandwidths, as JSON.")
    ],
    method: Annotated[
        str,
        typer.Option(help="search (ours), exact (up to 10 nodes), kpath or joint (the authors'), greedy or random."),
    ] = "search",
    classes: Annotated[
        int | None, typer.Option(help="Transfer classes of kpath; default: the best of 2 to 20.")
    ] = None,
    lost: Annotated[
        list[str] | None, typer.Option(metavar="NODE", help="A node that is lost; may be repeated.")
    ] = None,
    previous: Annotated[
        Path | None, typer.Option(metavar="PLAN", help="The plan in force: keep its parameters where they are.")
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            help="With --previous: how many times the best bottleneck may be taken to move less; default 1.1."
        ),
    ] = None,
    bytes_per_element: Annotated[
        float | None, typer.Option(help="Bytes an element takes on the wire (ONNX); default: as in memory.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is left to chance.")] = 0,
    seconds: Seconds = 60.0,
    out: OutFile = None,
    picture: PictureFile = None,
    example: Annotated[bool, shows_example("place-model")] = False,
    schema: Annotated[bool, shows_schema("place-model")] = False,
    example_cluster: Annotated[bool, shows_example("place-cluster", "--example-cluster")] = False,
    schema_cluster: Annotated[bool, shows_schema("place-cluster", "--schema-cluster")] = False,
    json_: Json = False,
) -> None:
    """Cut a network into pieces over a cluster's nodes, so that its slowest piece or transfer is as fast as can be.

    Speeds are 10^9 multiply-accumulates a second; a node without one computes in no time. With --previous, after --lost
    or for a new version of the model, as few bytes of parameters as can be are moved. A file with weights left out
    counts as the same version when it is the same file: nothing in it says that its weights have changed. Exits with 1
    when there is no plan, saying why.
    """
    begun = time.monotonic()
    from edgesight.plan import profile
    from edgesight.plan.place.graph import read_model
    from edgesight.plan.place.plan import place as plan_anew
    from edgesight.plan.place.plan import replan
    from edgesight.plan.place.problem import Cluster, Placement

    check_outputs(out, profile.claim(Placement), picture)
    network = read_model(model, bytes_per_element)
    nodes = profile.read(cluster, Cluster)
    for name in lost or []:
        nodes = nodes.without(name)
    if previous is None:
        if within is not None:
            raise profile.PlanError("--within: bounds what --previous may cost; give --previous too, or leave it out")
        plan = plan_anew(
            network, nodes, cast("Method", method), seed=seed, classes=classes, seconds=left(seconds, begun)
        )
    else:
        if classes is not None:
            raise profile.PlanError(
                "--classes: is for kpath, which does not count movement; leave it or --previous out"
            )
        before = profile.read(previous, Placement)
        factor = 1.1 if within is None else within
        rest = left(seconds, begun)
        plan = replan(network, nodes, before, cast("Remethod", method), within=factor, seed=seed, seconds=rest)
    if out is not None:
        profile.write(out, plan)
    if picture is not None and plan.feasible:
        from edgesight.plan.place.picture import draw_plan

        draw_plan(plan, picture)
    if json_:
        print_json(plan)
    else:
        _show(plan, Console())
    if not plan.feasible:
        raise typer.Exit(1)


def _show(plan: Placement, console: Console) -> None:
    """Print the plan, or why there is none."""
    if not plan.feasible:
        console.print(f"No plan{' exists' if plan.proven else ''}: {plan.reason}", soft_wrap=True, markup=False)
        return
    from edgesight.bench.report import PlainTable

    columns = ("node", "until layer", "layers", "MB held", "computing, ms", "kB sent", "sending, ms")
    title = f"{plan.model} {plan.version} on {plan.cluster}, by {plan.method} (projected)"
    table = PlainTable(title, columns, words=("node", "until layer"))
    for piece in plan.pieces:
        node, until = piece.node, piece.until or "(the answer)"
        sent = ("", "") if piece.until is None else (f"{piece.transfer_bytes / 1e3:.1f}", f"{piece.transfer_ms:.3f}")
        held = f"{piece.memory_bytes / 1e6:.2f}"
        table.add_row(node, until, str(piece.layers), held, f"{piece.compute_ms:.3f}", *sent)
    console.print(table)
    beta, bound = plan.beta_ms or 0.0, plan.lower_bound_ms or 0.0
    if plan.throughput is None:
        console.print(
            "Nothing takes time, by the operations, speeds, bytes and bandwidths that are stated: bottleneck 0 ms.",
            soft_wrap=True,
        )
    else:
        proof = "the least there is" if plan.proven else f"no plan is below {bound:.3f} ms"
        console.print(
            f"Bottleneck {beta:.3f} ms ({plan.bottleneck}), {proof}: {plan.throughput:.3f} answers a second, "
            f"each after {plan.latency_ms:.3f} ms.",
            soft_wrap=True,
            markup=False,
        )
    if plan.movement is not None:
        moved = plan.movement
        console.print(
            f"Moved: {moved.moved_bytes / 1e6:.2f} MB of parameters, {moved.kept_bytes / 1e6:.2f} MB stay; within "
            f"{moved.within:g} times the best bottleneck no plan moves less than {moved.least_bytes / 1e6:.2f} MB. The "
            f"best bottleneck, {moved.best_beta_ms:.3f} ms, moves {moved.best_moved_bytes / 1e6:.2f} MB.",
            soft_wrap=True,
            markup=False,
        )
