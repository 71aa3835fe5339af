"""Measurements of a network put into the files that planners read; what was not measured stays as it is stated there.

`plan place` reads a node's speed and memory, `plan workflow` a worker's latency by operator and variant, `plan adapt` a
model's latency by batch size and what loading takes. Accuracies, rates, prices, links, sizes of frames and of messages
are nobody's to measure here: whoever plans states them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgesight.host.obtained import Obtained
from edgesight.plan.adapt.data import Model as AdaptModel
from edgesight.plan.adapt.data import Situation
from edgesight.plan.place.graph import Model
from edgesight.plan.place.problem import Cluster
from edgesight.plan.profile import PlanError, checked
from edgesight.plan.workflow.problem import Workflow


def into_cluster(model: Model, ms: float, node: str, memory_bytes: int, cluster: Cluster | None = None) -> Cluster:
    """The `cluster` with the speed of its `node`, on which all of `model` took `ms`; without one, of that node alone.

    The speed counts multiply-accumulates, as `plan place` does: one for all layers, and a layer without any takes no
    time. `memory_bytes` is put in where the cluster states none. Raises PlanError for a node that is not in the
    cluster, and for a model that multiplies nothing.
    """
    operations = sum(layer.operations for layer in model.layers)
    if operations == 0 or ms <= 0:
        raise PlanError(
            f"{model.name}: has no multiply-accumulates, or took no time: no speed follows; give a network with "
            "convolutions or matrix products"
        )
    speed = operations / (ms * 1e6)
    if cluster is None:
        alone = {"name": node, "speed": speed, "memory_bytes": memory_bytes}
        return checked({"name": node, "nodes": [alone], "mbps": [[0.0]]}, Cluster, f"cluster {node}")
    content = cluster.model_dump()
    entry = _named(content["nodes"], node, f"cluster {cluster.name}: nodes")
    entry["speed"] = speed
    if entry["memory_bytes"] is None:
        entry["memory_bytes"] = memory_bytes
    return checked(content, Cluster, f"cluster {cluster.name}")


def into_workflow(
    workflow: Workflow, worker: str, operator: str, variant: str, ms: float, obtained: Obtained
) -> Workflow:
    """The `workflow` with the latency of one variant on one worker.

    Raises PlanError for a worker, an operator or a variant that it does not have.
    """
    content = workflow.model_dump()
    variants = _named(content["operators"], operator, "workflow: operators")["variants"]
    if variant not in variants:
        raise PlanError(
            f"workflow: operator {operator}: has no variant {variant!r}, only {', '.join(variants)}; name one of these"
        )
    entry = _named(content["workers"], worker, "workflow: workers")
    entry["latency_ms"].setdefault(operator, {})[variant] = ms
    content["obtained"] = _together(workflow.obtained, obtained)
    return checked(content, Workflow, "workflow")


def models_of(situation: Situation, network: str) -> list[AdaptModel]:
    """The models that use the weights `network`; raises PlanError, naming those that there are, where none does."""
    found = [model for model in situation.profile.models if model.weights == network]
    if not found:
        known = dict.fromkeys(model.weights for model in situation.profile.models)
        raise PlanError(
            f"profile {situation.profile.name}: no model has the network {network!r}, only {', '.join(known)}; name one"
            " of these"
        )
    return found


def into_situation(
    situation: Situation, network: str, latencies: Mapping[str, Mapping[int, float]], load_ms: float, origin: str
) -> Situation:
    """The `situation` with `latencies` of models, by name and batch size, and with what loading their `network` takes.

    A model's `obtained` is of its accuracy as well, so that it stays what it is; `origin` is added to the source.
    """
    content = situation.model_dump()
    profile = content["profile"]
    for entry in profile["models"]:
        if entry["name"] in latencies:
            entry["latency_ms"] = dict(latencies[entry["name"]])
    loading = {"name": network, "load_ms": load_ms, "obtained": "measured"}
    profile["networks"] = [*(entry for entry in profile["networks"] if entry["name"] != network), loading]
    profile["source"] = "; ".join(part for part in (profile["source"], f"latencies measured: {origin}") if part)
    return checked(content, Situation, "situation")


def _named(entries: Sequence[dict[str, Any]], name: str, where: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    known = ", ".join(entry["name"] for entry in entries)
    raise PlanError(f"{where}: none is called {name!r}, only {known}; name one of these")


def _together(stated: Obtained, found: Obtained) -> Obtained:
    """How numbers were obtained of which some are now `found`: as measured only where all are."""
    return found if stated == "measured" else stated
