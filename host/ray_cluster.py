"""A Ray cluster: one that is there is joined, else one is begun on this machine, which ends with this process.

Ray carries what is beyond one machine: who is there, what runs where, and what becomes of it when a node is lost.

Words owned here: cluster (of Ray), node (of it).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgesight.host.errors import EdgeSightError

NAMESPACE: Final = "edgesight"
NODE_LABEL: Final = "edgesight-node"  # of a node that was given a name: `ray start --labels edgesight-node=NAME`

_KNOCK_S: Final = 5.0

HERE: Final = "here"  # the one node of a cluster that is begun by `joined`


class ClusterError(EdgeSightError):
    """A cluster that cannot be joined or does not have what is asked for: says what and what to do."""


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        id: Ray's own, in hexadecimal.
        name: its label `edgesight-node`, else its address.
        cpus: that Ray may give away.
        memory_bytes: that Ray may give away.
        head: the cluster's state lives there.
    """

    id: str
    name: str
    cpus: float
    memory_bytes: int
    head: bool

    def here(self) -> dict[str, Any]:
        """Ray's options of what runs on this node, and nowhere else.

        What runs where is a plan's to say, and how much of the node it may take its limits': Ray counts nothing.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        where = NodeAffinitySchedulingStrategy(self.id, soft=False)
        return {"num_cpus": 0, "scheduling_strategy": where}


def ray() -> Any:
    """The library; raises ClusterError where it is not installed."""
    # Read when it is imported: it tells nobody that it is used, and wants few words in our log.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    try:
        import ray as found
    except ImportError as error:
        raise ClusterError("ray is not installed: `pip install 'edgesight[ray]'`") from error
    return found


def with_secret() -> Any:
    """The library, with a secret for all clusters that this process begins; without one any process that reaches their
    ports could run what it likes in our name. One that the environment has (RAY_AUTH_TOKEN) is taken."""
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    library = ray()
    inner = importlib.import_module("ray._raylet")
    inner.Config.initialize("")  # it may have been imported, and have read the environment, before
    inner.AuthenticationTokenLoader.instance().reset_cache()
    return library


@contextlib.contextmanager
def joined(address: str | None, cpus: float | None = None) -> Iterator[Any]:
    """Ray's library, within a cluster.

    `address` is HOST:PORT of one that is there, or `auto` for one that this machine belongs to; None begins one here
    alone, whose one node is called `here` and has so many `cpus` (all without); it lets in nobody but who has its
    secret. Raises ClusterError.
    """
    library = with_secret() if address is None else ray()
    options: dict[str, Any] = {}
    if address is None:
        options = {"num_cpus": cpus, "include_dashboard": False, "labels": {NODE_LABEL: HERE}}
    try:
        if address is not None:
            _knock(address)
        # What the cluster says of its nodes it would print where answers are printed, though told to log nothing.
        importlib.import_module("ray._private.worker").__dict__["_worker_logs_enabled"] = False
        library.init(
            address or "local", namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options
        )
    except Exception as error:  # its exceptions share no base class
        where = "a cluster on this machine" if address is None else f"the cluster at {address}"
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ClusterError(
            f"{where} cannot be joined ({why}): see that `ray status` answers there, with the same version of Ray and "
            "Python, and the same RAY_AUTH_MODE and token"
        ) from error
    try:
        yield library
    finally:
        library.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nothing listens at HOST:PORT: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


def nodes(library: Any) -> Mapping[str, Node]:
    """Those that are alive, by name.

    A name that several have is left out: a node that was lost may count as alive for a while, beside the one that takes
    its place.
    """
    found: dict[str, Node] = {}
    names: Counter[str] = Counter()
    for told in library.nodes():
        if not told["Alive"]:
            continue
        resources = told["Resources"]
        name = told["Labels"].get(NODE_LABEL) or told["NodeManagerAddress"]
        names[name] += 1
        found[name] = Node(
            told["NodeID"],
            name,
            float(resources.get("CPU", 0.0)),
            int(resources.get("memory", 0)),
            "node:__internal_head__" in resources,
        )
    return {name: node for name, node in found.items() if names[name] == 1}


def last_line(error: BaseException) -> str:
    """What an exception of Ray's comes to: what was raised on the other machine stands last."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
