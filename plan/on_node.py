"""Measures a network on a node of a Ray cluster by what measures it here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import read_regular
from edgesight.host.ray_cluster import last_line, nodes
from edgesight.plan.profile import PlanError

Found = TypeVar("Found")


def measured_on(library: Any, name: str, network: Path, measure: Callable[[Path], Found]) -> Found:
    """What `measure` finds of the `network` on the node `name`, to which it is sent and where nothing of it stays.

    `library` is Ray's, within the cluster. Raises PlanError for a node that is not there, a network whose weights lie
    in other files, and what `measure` raises there.
    """
    there = nodes(library)
    if name not in there:
        raise PlanError(
            f"node {name}: is not in the cluster, which has {', '.join(sorted(there))}: name one of these, or start it "
            f"by `ray start --labels edgesight-node={name}`"
        )
    content = read_regular(network)
    _check_whole(network, content)
    task = library.remote(_measured).options(**there[name].here(), max_retries=0)
    try:
        found: Found = library.get(task.remote(content, network.name, measure))
    except library.exceptions.RayTaskError as error:
        if isinstance(error.cause, EdgeSightError):
            raise PlanError(f"node {name}: {error.cause}") from error
        raise PlanError(_failed(name, error)) from error
    except library.exceptions.RayError as error:
        raise PlanError(_failed(name, error)) from error
    return found


def _failed(name: str, error: BaseException) -> str:
    return (
        f"node {name}: the network cannot be measured there ({last_line(error)}): install EdgeSight on all nodes, of "
        "the same version and with the extra `datacenter`"
    )


def _check_whole(network: Path, content: bytes) -> None:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, which are many
        raise PlanError(f"{network}: is no ONNX file ({error}): give one") from error
    if any(onnx.external_data_helper.uses_external_data(one) for one in model.graph.initializer):
        raise PlanError(
            f"{network}: has weights in other files, which are not sent to a node: save it with them inside"
        )


def _measured(content: bytes, name: str, measure: Callable[[Path], Found]) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return measure(path)
