"""What Kubernetes is given: Ray Serve reads its part, and the doors' arguments are ones that there are."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: extra `plan`")
schema = pytest.importorskip("ray.serve.schema", reason="ray is not installed: extra `ray`")

FILE = Path(__file__).resolve().parents[2] / "host" / "containers" / "rayservice.yaml"


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, Any], dict[str, Any]]:
    service, door, *_ = yaml.safe_load_all(FILE.read_text())
    return service, door


def test_serve_takes_the_application_and_its_builder_takes_the_arguments(parts: tuple[Any, Any]) -> None:
    from edgesight.host.datacenter.on_ray.place import APPLICATION
    from edgesight.host.datacenter.on_ray.settings import Settings

    found = schema.ServeDeploySchema.model_validate(yaml.safe_load(parts[0]["spec"]["serveConfigV2"]))
    (application,) = found.applications
    assert application.name == APPLICATION
    module, _, builder = application.import_path.partition(":")
    private = importlib.import_module("ray.serve._private.api")
    built = private.call_user_app_builder_with_args_if_necessary(
        getattr(importlib.import_module(module), builder), application.args
    )
    settings = Settings.model_validate(application.args)
    groups = {one["groupName"]: one for one in parts[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    assert built._bound_deployment.max_ongoing_requests == settings.options()["max_ongoing_requests"]
    assert groups["replicas"]["minReplicas"] == settings.min_replicas
    assert groups["replicas"]["maxReplicas"] == settings.max_replicas


def test_the_version_of_ray_is_the_one_that_is_tested(parts: tuple[Any, Any]) -> None:
    ray = importlib.import_module("ray")
    assert parts[0]["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__


def test_the_doors_arguments_are_taken_as_far_as_their_files(parts: tuple[Any, Any], tmp_path: Path) -> None:
    groups = {one["groupName"]: one for one in parts[0]["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    pod = groups["doors"]["template"]
    (door,) = (one for one in pod["spec"]["containers"] if one["name"] == "door")
    command = [sys.executable, "-m", "edgesight", "datacenter", "serve", *door["args"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert "/tls/door.pem" in done.stderr  # which is not here
    assert done.returncode == 1
    ports = {one["name"] for one in door["ports"]}
    assert {one["targetPort"] for one in parts[1]["spec"]["ports"]} == ports - {"health"}
    assert {door[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe")} == {"health"}
    for one in door["ports"]:
        assert door["args"][door["args"].index(f"--{one['name']}") + 1] == f"0.0.0.0:{one['containerPort']}"
    assert parts[1]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    volumes = {one["name"] for one in pod["spec"]["volumes"]}
    mounted = [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]
    assert {one["name"] for container in mounted for one in container["volumeMounts"]} == volumes
