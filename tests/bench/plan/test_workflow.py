"""The workflow bench: its checks can fail, and its random workflows are what it says they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the bench needs the extra `sim`")

import edgesight.cli.plan.workflow
from edgesight.bench.plan.workflow import all_cloud, bench, random_workflow
from edgesight.cli.plan import group
from edgesight.plan.profile import PlanError, read, write
from edgesight.plan.workflow.cost import faults
from edgesight.plan.workflow.plan import plan
from edgesight.plan.workflow.problem import Curve, WorkflowPlan

COMMAND = edgesight.cli.plan.workflow.workflow  # importing it puts it into the group
PNG = b"\x89PNG"


def test_a_seed_makes_the_same_workflow_again_and_keeps_to_its_size() -> None:
    assert random_workflow(5) == random_workflow(5)
    assert random_workflow(5) != random_workflow(6)
    largest = random_workflow(5, (6, 5, 20))
    assert (len(largest.operators), len(largest.workers)) == (6, 20)
    assert all(len(operator.variants) == 5 for operator in largest.operators)
    for seed in range(30):
        workflow = random_workflow(seed)
        assert 2 <= len(workflow.operators) <= 6
        assert len(workflow.workers) <= 20


def test_the_cloud_baseline_keeps_to_the_last_tier() -> None:
    found = 0
    for seed in range(12):
        workflow = random_workflow(seed, (2, 2, 12))
        made = all_cloud(workflow)
        tiers = {worker.name: worker.tier for worker in workflow.workers}
        assert {tiers[assignment.worker] for assignment in made.assignments} <= {max(tiers.values())}
        found += made.feasible
    assert found


def test_the_bench_measures_every_bar_and_draws(tmp_path: Path) -> None:
    checks, body = bench(tmp_path, Console(quiet=True), workflows=3, seconds=20.0, size=(2, 2, 8))
    assert all(check.met for check in checks), checks
    assert {check.name.split(":")[0] for check in checks} == {"workflow"}
    assert body["published"].startswith("skipped")
    assert len(body["random"]["seeds"]) == 3
    assert (tmp_path / "workflow.png").read_bytes().startswith(PNG)


def test_a_search_without_time_fails_its_bar(tmp_path: Path) -> None:
    checks, _ = bench(tmp_path, Console(quiet=True), workflows=1, seconds=1e-6, size=(3, 3, 8))
    assert not all(check.met for check in checks)


@pytest.mark.parametrize("seed", [73, 103])  # many rows and few workers; one that HiGHS once failed on
def test_hard_random_workflows_are_proven_optimal(seed: int) -> None:
    workflow = random_workflow(seed)
    made = plan(workflow, method="exact", seconds=60.0)
    assert made.proven
    assert faults(workflow, made) == []


def run(*arguments: str) -> tuple[int, str]:
    """Exit status and output of `edgesight plan ARGUMENTS`; an error that the command line reports is raised."""
    app = typer.Typer()
    app.add_typer(group, name="plan")
    done = CliRunner().invoke(app, ["plan", *arguments])
    if isinstance(done.exception, PlanError):
        raise done.exception
    return done.exit_code, done.output


def test_the_command_plans_draws_and_says_why_not(tmp_path: Path) -> None:
    workflow = random_workflow(1, (2, 2, 8))
    path, planned, picture = tmp_path / "workflow.json", tmp_path / "plan.json", tmp_path / "plan.png"
    write(path, workflow)
    for method in ("exact", "authors"):
        code, output = run("workflow", str(path), "--method", method, "--out", str(planned), "--picture", str(picture))
        assert code == 0, output
        assert "/h = " in output
        assert faults(workflow, read(planned, WorkflowPlan)) == []
        assert picture.read_bytes().startswith(PNG)
    code, output = run("workflow", str(path), "--curve", "--out", str(planned), "--picture", str(picture))
    assert code == 0, output
    assert read(planned, Curve).plans
    code, output = run("workflow", str(path), "--accuracy", "1")
    assert code == 1
    assert "No plan: accuracy 1 is asked for; the best in the accuracies is" in output
    with pytest.raises(PlanError, match="leave one of the two out"):
        run("workflow", str(path), "--curve", "--accuracy", "0.5")
    with pytest.raises(PlanError, match="cannot be read"):
        run("workflow", str(tmp_path / "absent.json"))
