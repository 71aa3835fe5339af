"""Commands of one network over the nodes of a Ray cluster."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesight.cli import doors
from edgesight.cli.workflow import Ray

if TYPE_CHECKING:
    from edgesight.plan.place.model_file import PlannedVersion
    from edgesight.plan.place.problem import Cluster, Placement

group = typer.Typer(no_args_is_help=True, help="One network over several small nodes, which are a Ray cluster's.")


@group.command()
def deploy(  # noqa: PLR0913 - a command's options are its surface
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="ONNX or QONNX file; a newer one in its place is taken over to.")
    ],
    nodes: Annotated[
        Path,
        typer.Option(metavar="CLUSTER", help="Nodes, their memory, cores and links, as for `edgesight plan place`."),
    ],
    ray: Ray = None,
    plan: Annotated[
        Path | None,
        typer.Option(metavar="PLAN", help="Begin as `edgesight plan place --out` planned; default: planned here."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Runs of the network on each node to time it.")] = 15,
    http: doors.Http = None,
    grpc: doors.Grpc = "127.0.0.1:8001",
    health: doors.Health = None,
    insecure: doors.Insecure = False,
    tls: doors.TlsFile = None,
    tokens: doors.TokensFile = None,
) -> None:
    """Run a network in pieces on the nodes of a Ray cluster, and answer clients of the Open Inference Protocol.

    A node is one that was begun by `ray start --labels edgesight-node=NAME`; what CLUSTER states of its cores and
    memory it is held to. The network is timed on each node and planned, so that the slowest piece or transfer is as
    fast as can be; where a node is lost it is planned anew, and requests without an answer are asked again. The pieces
    give, bit for bit, what the network gives in one piece. Stop with Ctrl-C.
    """
    from edgesight.host.cluster.serve import serve
    from edgesight.host.process import write_log
    from edgesight.host.ray_cluster import joined
    from edgesight.plan.place.problem import Cluster, Placement
    from edgesight.plan.profile import read

    write_log()
    cluster = read(nodes, Cluster)
    first = None if plan is None else read(plan, Placement)
    options = doors.options_of(http, grpc, health, insecure, tls, tokens, None)
    assert options is not None  # gRPC has a default
    with joined(ray) as library:
        serve(library, model, _Reader(cluster, first, library, repeats).read, options)


class _Reader:
    """Reads versions of the network, times them on the nodes, and plans them."""

    def __init__(self, cluster: Cluster, first: Placement | None, library: Any, repeats: int) -> None:
        """`first` is the plan that the first version begins with."""
        self._cluster, self._first = cluster, first
        self._ray, self._repeats = library, repeats

    def read(self, path: Path, nodes: Collection[str]) -> PlannedVersion:
        """The version that the file at `path` has."""
        from edgesight.plan.place.model_file import PlannedVersion
        from edgesight.plan.place.on_nodes import OnNodes

        version = PlannedVersion(path, self._cluster, nodes, OnNodes(self._ray, self._repeats))
        first, self._first = self._first, None
        if first is not None:
            version.begin_with(first)
        return version
