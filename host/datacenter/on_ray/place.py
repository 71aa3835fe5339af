"""Where the door finds the replicas: the application that runs on the cluster, or the one that it begins there.

Words owned here: place.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgesight.host.datacenter.on_ray.settings import ONGOING, Settings
from edgesight.host.doors.served import own_version
from edgesight.host.ray_cluster import ClusterError, joined

APPLICATION, DEPLOYMENT = "edgesight-models", "Replica"
_TELLS_S = 60.0  # seconds for a replica to say what it is
_RUNNING = "RUNNING"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """The replicas.

    Attributes:
        library: Ray.
        handle: Serve's, of the deployment.
        settings: that it was built with.
    """

    library: Any
    handle: Any
    settings: Settings

    @property
    def at_once(self) -> int:
        """Requests that fill all the replicas that there may be."""
        return self.settings.max_replicas * ONGOING

    def put(self, content: bytes) -> Any:
        """Ray's reference to `content`, which stays there as long as the reference does. Raises what Ray does."""
        return self.library.put(content)

    def replicas(self) -> int:
        """How many run now; asks the cluster."""
        from ray import serve

        application = serve.status().applications.get(APPLICATION)
        deployment = application.deployments.get(DEPLOYMENT) if application is not None else None
        return int(deployment.replica_states.get(_RUNNING, 0)) if deployment is not None else 0


@contextlib.contextmanager
def placed(address: str | None, settings: Settings | None, cpus: float | None = None) -> Iterator[Place]:
    """The replicas on the cluster at `address`; None begins one here, with so many `cpus`, which ends with this.

    Where the application is there (a RayService, or `serve deploy`) it is asked, and left there at the end; else it is
    begun with `settings` and taken away. Raises ClusterError.
    """
    with joined(address, cpus) as library:
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # what matters of it is told by who asks
        try:
            found = serve.status().applications.get(APPLICATION)
        except Exception as error:  # Ray's share no base class
            raise ClusterError(f"Serve does not answer there ({error}): look at it by `serve status`") from error
        if found is None:
            handle = _deployed(library, settings or Settings())
        elif settings is not None:
            raise ClusterError(
                f"the application {APPLICATION} runs there already, with settings of its own: leave out --replicas, "
                "--models-per-replica, --replica-cpus and --replica-gpus, or take it away by `serve shutdown`"
            )
        else:
            handle = serve.get_app_handle(APPLICATION)
        try:
            yield Place(library, handle, _settings_of(handle))
        finally:
            if found is None:
                with contextlib.suppress(Exception):  # the cluster may be gone, and nothing is to be taken away then
                    if address is None:
                        serve.shutdown()
                    else:
                        serve.delete(APPLICATION)


def _deployed(library: Any, settings: Settings) -> Any:
    """Serve's handle of the application, once it runs; raises ClusterError."""
    from ray import serve

    from edgesight.host.datacenter.on_ray.app import build

    cpus = [float(node["Resources"].get("CPU", 0.0)) for node in library.nodes() if node["Alive"]]
    room = sum(int(one / settings.cpus) for one in cpus)
    if room < settings.min_replicas:
        raise ClusterError(
            f"{settings.min_replicas} replicas of {settings.cpus:g} CPUs do not fit on nodes of "
            f"{', '.join(f'{one:g}' for one in cpus)} CPUs: give --replicas or --replica-cpus that do"
        )
    try:
        # Nobody but the doors asks the replicas: Serve's own proxies would let in whoever reaches them.
        serve.start(proxy_location="Disabled")
        return serve.run(build(settings), name=APPLICATION, route_prefix=None)
    except Exception as error:  # its exceptions share no base class
        with contextlib.suppress(Exception):
            serve.delete(APPLICATION)
        raise ClusterError(f"the replicas do not begin ({error}): look why by `serve status`") from error


def _settings_of(handle: Any) -> Settings:
    """What the replicas were built with; raises ClusterError where they are another EdgeSight's."""
    try:
        told = handle.told.remote().result(timeout_s=_TELLS_S)
    except Exception as error:  # Ray's share no base class
        raise ClusterError(f"no replica answers ({error}): look why by `serve status`") from error
    if told["version"] != own_version():
        raise ClusterError(
            f"the replicas are of EdgeSight {told['version']}, and this is {own_version()}: install one and the same "
            "on all nodes"
        )
    return Settings.model_validate(told["settings"])
