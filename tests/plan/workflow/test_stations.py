"""A plan of a workflow and the operators' networks become what is run where; what cannot be run is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgesight.host.limits import Limits
from edgesight.plan.profile import PlanError
from edgesight.plan.workflow.stations import execution, model_files
from tests.workflow_networks import planned, save_networks, workflow

pytest.importorskip("onnxruntime")
pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_networks(tmp_path_factory.mktemp("networks"))


def test_each_assignment_is_a_station_and_each_edge_leads_to_an_input(networks: Path) -> None:
    described = workflow()
    made = planned(described)
    run = execution(described, made, model_files(networks, described))
    assert made.variants == {"left": "large", "right": "large", "sum": "only"}
    assert [operator.name for operator in run.operators][-1] == "sum"
    assert run.sink == "sum"
    assert {operator.name: dict(operator.taken) for operator in run.operators} == {
        "left": {"left-eye": "x"},
        "right": {"right-eye": "x"},
        "sum": {"left": "left", "right": "right"},
    }
    placed = sorted((station.operator, station.piece.node) for station in run.stations)
    assert placed == sorted((one.operator, one.worker) for one in made.assignments)
    assert sum(operator == "left" for operator, _ in placed) == 2  # one worker is too slow for 30 a second
    assert {name: form.shape for name, form in run.sources.items()} == {"left-eye": (1, 4), "right-eye": (1, 3)}


def test_a_workers_limits_are_its_stations(networks: Path) -> None:
    content = workflow().model_dump()
    for worker in content["workers"]:
        worker |= {"cores": 0.5, "memory_bytes": 1 << 28}
    described = workflow(workers=content["workers"])
    run = execution(described, planned(described), model_files(networks, described))
    assert {station.piece.limits for station in run.stations} == {Limits(0.5, 1 << 28)}


def without(networks: Path, tmp_path: Path, name: str) -> Path:
    copied = tmp_path / "networks"
    shutil.copytree(networks, copied)
    (copied / name).unlink()
    return copied


def test_what_cannot_be_run_is_refused(networks: Path, tmp_path: Path) -> None:
    described = workflow()
    made = planned(described)
    models = model_files(networks, described)

    def refused(said: str, workflow_: Any = described, plan_: Any = made, models_: Any = models) -> None:
        with pytest.raises(PlanError, match=said):
            execution(workflow_, plan_, models_)

    absent = model_files(without(networks, tmp_path, "right/large.onnx"), described)
    refused(r"operator right: its network is not there: give right/large\.onnx", models_=absent)
    refused(
        r"its inputs are left, right: call them as what the operator takes from, left-eye",
        models_={**models, ("left", "large"): models["sum", "only"]},
    )
    edges = described.model_dump()["edges"]
    edges[2]["ratio"] = 2.0
    refused(
        r"edges\.2: left to sum has 2 messages for each: only one for one can be run", workflow_=workflow(edges=edges)
    )
    stranger = made.model_copy(
        update={"assignments": tuple(one.model_copy(update={"worker": "z"}) for one in made.assignments)}
    )
    refused("worker z is not in the workflow: give the plan's own workflow", plan_=stranger)
    no_plan = planned(workflow(rate=1000.0))
    refused(r"is none \(.*\): give one that is feasible", plan_=no_plan)
