"""A worked example of each file that a planner reads, and its JSON Schema. The numbers in them are made up.

The files beside this one are the only copies: `edgesight plan ... --example` prints them, and tests plan from them.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Final

from pydantic import BaseModel

from edgesight.plan.adapt.data import Situation
from edgesight.plan.place.graph import Model
from edgesight.plan.place.problem import Cluster
from edgesight.plan.split.measured import MeasuredNetwork
from edgesight.plan.split.plan import SplitProfile
from edgesight.plan.workflow.problem import Workflow

# What each file of JSON is checked as, by its name here; a trace is text, and has no schema.
KINDS: Final[dict[str, type[BaseModel]]] = {
    "adapt": Situation,
    "measured-datacenter": MeasuredNetwork,
    "measured-device": MeasuredNetwork,
    "place-cluster": Cluster,
    "place-model": Model,
    "split": SplitProfile,
    "workflow": Workflow,
}
TRACE: Final = "trace"


def example(name: str) -> str:
    """The example of that name, as text."""
    return (resources.files(__name__) / (f"{name}.txt" if name == TRACE else f"{name}.json")).read_text()


def schema(name: str) -> str:
    """The JSON Schema of a file: what each field may be. That fields fit together is checked by the planner alone."""
    content = KINDS[name].model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **content}, indent=1) + "\n"
