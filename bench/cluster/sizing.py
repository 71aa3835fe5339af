"""How many replicas, doors, cores and bytes a rate wants: a page, made of what `replicas` measured alone.

Words owned here: wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgesight.bench.made import told

RATES: Final = (10.0, 100.0, 1_000.0)
"""Requests a second, of the worked table."""
MODELS_S: Final = (0.01, 0.1)
"""Seconds of a processor that a request takes of the model alone, of the worked table beside what was measured."""
_GIB: Final = 2**30
_MIB: Final = 2**20

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a rate wants, one of the replicas' nodes and one of the doors' lost.

    Attributes:
        replicas, doors: how many, each on a node of its own.
        busy_cores: that all of them take, Ray and its head with them, at that rate.
        cores: to reserve: one for each replica and each door, and what Ray takes beside them and at its head.
        memory_bytes: that all of them hold.
    """

    replicas: int
    doors: int
    busy_cores: float
    cores: float
    memory_bytes: float


def wanted(body: Body, per_s: float, model_cpu_s: float | None = None) -> Wanted:
    """For `per_s` requests a second of a model that takes so much of a processor; None: the one that was measured."""
    costs = body["costs"]
    door, replica, node, head = (costs["parts"][name] for name in ("door", "replicas", "nodes", "head"))
    load = float(body["load"])
    of_door, of_replica = door["cpu_s_a_request"], of_a_replica(body, model_cpu_s)
    replicas, doors = _many(per_s, of_replica, load), _many(per_s, of_door, load)
    nodes = replicas + doors
    ray = nodes * node["idle_cores"] + head["idle_cores"]
    asked = per_s * (of_door + of_replica + node["cpu_s_a_request"] + head["cpu_s_a_request"])
    return Wanted(
        replicas,
        doors,
        asked + ray + replicas * replica["idle_cores"] + doors * door["idle_cores"],
        nodes + ray + per_s * (node["cpu_s_a_request"] + head["cpu_s_a_request"]),
        replicas * replica["memory_bytes"]
        + doors * door["memory_bytes"]
        + nodes * node["memory_bytes"]
        + head["memory_bytes"],
    )


def of_a_replica(body: Body, model_cpu_s: float | None = None) -> float:
    """Seconds of a processor that a request takes of a replica: what it adds about the model stays the same."""
    costs = body["costs"]
    measured, model = float(costs["parts"]["replicas"]["cpu_s_a_request"]), float(costs["model_cpu_s"])
    return measured if model_cpu_s is None else max(measured - model, 0.0) + model_cpu_s


def _many(per_s: float, cpu_s: float, load: float) -> int:
    """So many of one core each that each is busy for `load` of the time with one of them lost."""
    return math.ceil(per_s * cpu_s / load) + 1


def page(body: Body) -> str:
    """The page."""
    return "\n".join([*_head(body), *_measured(body), *_formula(body), *_table(body), *_says(body), ""])


def _head(body: Body) -> list[str]:
    return [
        "# How many replicas and doors",
        "",
        f"Written by `{body['made']['command']}` {told(body['made'])}. *Measured*: on this machine, as processor time, "
        "which hangs less on who else has it than a time by the clock. *Projected*: computed from that by the formula "
        "below.",
        "",
        f"What is sized is [a cluster of Ray](models.md#on-a-cluster): doors, and replicas of `{body['model']}`, a "
        "small model. Each is on a node of its own, so that a node that is lost takes one of them.",
        "",
    ]


def _measured(body: Body) -> list[str]:
    costs, parts, cores = body["costs"], body["costs"]["parts"], body["made"]["cores"]
    names = {"door": "a door", "replicas": "a replica", "nodes": "Ray beside each", "head": "Ray's head"}
    rows = [
        [
            title,
            f"{1e3 * parts[name]['cpu_s_a_request']:.2f}",
            f"{parts[name]['idle_cores']:.3f}",
            f"{parts[name]['memory_bytes'] / _MIB:,.0f}",
        ]
        for name, title in names.items()
    ]
    per_request = [
        ("processor time of the model alone, by ONNX Runtime", f"{1e3 * costs['model_cpu_s']:.3f} ms"),
        ("a request's message, and an answer's", f"{costs['request_bytes']:,} and {costs['answer_bytes']:,} bytes"),
        ("loading the model in a replica", f"{costs['load_s']:.2f} s"),
        ("memory that the model adds to a replica, within the above", f"{costs['model_bytes'] / _MIB:,.0f} MiB"),
        (
            f"answers a second at most, {body['nodes']} replicas, the door and who asks on {cores} cores",
            f"{body['capacity_per_s']:,.0f}",
        ),
    ]
    return [
        "## Measured",
        "",
        f"At {costs['per_s']:,.0f} requests a second of one picture each, {costs['requests']:,} in all. What a part "
        "takes idle is not in its time a request. Memory that processes share counts for each of them.",
        "",
        *_lines(["part", "processor time a request, ms", "cores, idle", "memory, MiB"], rows),
        "",
        *_lines(["also measured", "figure"], per_request),
        "",
    ]


def _formula(body: Body) -> list[str]:
    load = body["load"]
    return [
        "## The formula",
        "",
        f"For a rate *r*, and a time *t* that a request takes of a processor, of a replica or of a door, each has one "
        f"core and is busy for {load:g} of the time when one is lost:",
        "",
        "```text",
        f"how many = ceil(r * t / {load:g}) + 1",
        "t of a replica with a model of yours = t of a replica above - the model's above + your model's",
        "cores = (replicas + doors) * (1 + Ray's beside each, idle) + Ray's head, idle + r * both of these, a request",
        "memory = replicas * a replica's + doors * a door's + (replicas + doors) * Ray's beside each + Ray's head's",
        "```",
        "",
        "A replica that joins requests into batches takes less for each: the formula counts on none, beyond those that "
        "were measured. A model that runs on more threads than one wants more than one core a replica.",
        "",
    ]


def _table(body: Body) -> list[str]:
    model = body["costs"]["model_cpu_s"]
    rows = []
    for model_s in (None, *MODELS_S):
        for rate in RATES:
            one = wanted(body, rate, model_s)
            rows.append(
                [
                    f"{1e3 * (model if model_s is None else model_s):.3g}{' (measured)' if model_s is None else ''}",
                    f"{rate:,.0f}",
                    f"{one.replicas:,}",
                    f"{one.doors:,}",
                    f"{one.cores:,.1f}",
                    f"{one.busy_cores:,.1f}",
                    f"{one.memory_bytes / _GIB:,.1f}",
                ]
            )
    columns = ["the model's processor time, ms", "requests a second", "replicas", "doors", "cores to reserve",
               "cores busy", "memory, GiB"]  # fmt: skip
    return [
        "## Worked out",
        "",
        "Projected, all of it but the first model's time. With a model of another size, memory is another, too.",
        "",
        *_lines(columns, rows),
        "",
    ]


def _says(body: Body) -> list[str]:
    lost = body["lost"]
    return [
        "## What was tried",
        "",
        f"Measured: one of {body['nodes']} nodes was lost at {lost['per_s']:,.0f} requests a second, a load of "
        f"{body['load']:g}. Of {lost['requests']:,} requests {lost['failed']:,} got no answer, and the rate was back "
        f"after {lost['back_s']:.1f} s. All nodes were on this one machine, so that what is worked out for more cores "
        "was not tried.",
    ]


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
