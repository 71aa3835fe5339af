"""What is deployed: `edgesight.host.datacenter.on_ray.app:build`, for `serve deploy`, KubeRay, and the door itself."""

# Serve reads the builder's annotation as it stands: postponed ones would be texts.

from typing import Any

from edgesight.host.datacenter.on_ray.replica import Replica
from edgesight.host.datacenter.on_ray.settings import Settings


def build(args: Settings) -> Any:
    """Serve's application of one deployment, whose replicas hold models. It has no ingress: doors ask it by its handle.

    `args` has the fields of `Settings`.
    """
    from ray import serve

    return serve.deployment(Replica).options(**args.options()).bind(args.model_dump())
