"""Anything as a JSON file that a planner reads, and good ones with wrong values."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import pkgutil
from pathlib import Path

from pydantic import BaseModel

import edgesight.plan
from edgesight.plan.profile import PlanError, checked, read
from tests.fuzz.documents import edited
from tests.fuzz.package import scratch

MAX_LENGTH = 2_048
FILE = scratch() / "profile.json"
# Every model of every planner, so that a new one is fuzzed from its first day on.
KINDS: list[type[BaseModel]] = sorted(
    {
        kind
        for module in pkgutil.walk_packages(edgesight.plan.__path__, "edgesight.plan.")
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if issubclass(kind, BaseModel) and kind.__module__.startswith("edgesight.plan.")
    },
    key=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
# What ships with the planners, and the common parts by hand.
DOCUMENTS = [
    json.loads(path.read_bytes())
    for folder in ("adapt/profiles", "examples")
    for path in sorted((Path(edgesight.plan.__path__[0]) / folder).glob("*.json"))
]
DOCUMENTS += [
    json.loads(text)
    for text in (
        b'{"mbps": 20, "round_trip_ms": 40}',
        b'{"name": "door", "tier": 1, "memory_bytes": 1000, "dollars_per_hour": 0.5}',
        b'{"name": "small", "accuracy": 0.9, "latency_ms": {"1": 3.5, "8": 9}, "obtained": "measured"}',
        b'{"latency_ms": 50, "accuracy": 0.9, "rate": 15}',
        b'{"planner": "split", "method": "exact", "feasible": false, "reason": "none", "obtained": "projected"}',
    )
]


def seeds() -> list[bytes]:
    return [json.dumps(document).encode() for document in DOCUMENTS] + [
        bytes([number, 0, 1, 5]) for number in range(len(DOCUMENTS))
    ]


def consume(data: bytes) -> None:
    number = data[0] if data else len(DOCUMENTS)  # no text begins with so low a byte
    text = edited(DOCUMENTS[number], data[1:]) if number < len(DOCUMENTS) else data
    FILE.write_bytes(text)
    # All of them as what the text holds, one as the file that it is.
    with contextlib.suppress(PlanError):
        read(FILE, KINDS[len(data) % len(KINDS)])
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return
    for kind in KINDS:
        try:
            found = checked(content, kind, "text")
        except PlanError:
            continue
        assert kind.model_validate_json(found.model_dump_json()) == found, kind
