"""A Ray cluster of several nodes on this machine: a head that runs nothing, and nodes that can be lost.

Each node has processes of its own, as on a machine of its own; memory and processor they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from edgesight.host.ray_cluster import NODE_LABEL, with_secret

_TRIES: Final = 3  # to begin a node
_STORE_BYTES: Final = 96 << 20  # of each node, for what is handed from one to another


class RayNodes:
    """The cluster; use it as a context. Its nodes are called as they are told."""

    def __init__(self, names: Sequence[str], cpus: float = 1.0) -> None:
        """With a node of each name, of so many `cpus`."""
        self._names, self._cpus = tuple(names), cpus
        self._cluster: Any = None
        self._nodes: dict[str, Any] = {}

    def __enter__(self) -> RayNodes:
        """Begin all of them; raises ClusterError where Ray is not installed."""
        with_secret()
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        try:
            self._begun(num_cpus=0, include_dashboard=False)  # the first is the head
            for name in self._names:
                self.add(name)
        except BaseException:
            self._cluster.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all of them."""
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """HOST:PORT by which it is joined."""
        return str(self._cluster.address)

    def raylets(self) -> list[int]:
        """The process of each node that is there, head apart, below which are those that run something on it."""
        return [int(node.all_processes["raylet"][0].process.pid) for node in self._nodes.values()]

    def add(self, name: str) -> None:
        """Begin a node."""
        self._nodes[name] = self._begun(num_cpus=self._cpus, labels={NODE_LABEL: name})

    def _begun(self, **options: Any) -> Any:
        tries_left = _TRIES
        while True:
            try:
                return self._cluster.add_node(object_store_memory=_STORE_BYTES, **options)
            except Exception:  # Ray's share no base class; it waits half a minute for a node, however busy
                tries_left -= 1
                if not tries_left:
                    raise

    def id(self, name: str) -> str:
        """Ray's own name of a node, in hexadecimal."""
        return str(self._nodes[name].node_id)

    def lose(self, name: str) -> None:
        """End a node's processes at once, as when its power fails."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)
