"""The Helm chart: by default it says what `rayservice.yaml` says, and whatever it is given, what Kubernetes takes.

Helm's own code renders it. No Kubernetes is asked: schemas are held against what it makes.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomllib

pytest.importorskip("jsonschema", reason="jsonschema is not installed: extra `dev`")
pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed: extra `dev`")

from tests.host.manifests import Manifest, faults

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: extra `plan`")
helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed: extra `dev`")

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "host" / "containers" / "chart"
# All that the chart can be given, none of it as it is by default.
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "example.org/ray", "tag": "1.2", "pullPolicy": "Always", "pullSecrets": ["registry"]},
    "secrets": {"ray": "one", "door": "another"},
    "models": {
        "claim": "mine",
        "create": True,
        "size": "1Gi",
        "storageClass": "fast",
        "accessModes": ["ReadOnlyMany"],
    },
    "replicas": {
        "min": 2,
        "max": 9,
        "morePods": True,
        "models": 3,
        "cpus": 0.5,
        "gpus": 0.25,
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "annotations": {"of": "replicas"},
        "labels": {"app": "cannot be taken over", "team": "vision"},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    },
    "doors": {
        "count": 5,
        "arguments": ["--quota", "cam=100"],
        "resources": {"limits": {"cpu": "4"}},
        "ray": {"resources": {"limits": {"cpu": "1"}}},
        "annotations": {"prometheus.io/port": "8080"},
        "nodeSelector": {"doors": "yes"},
    },
    "head": {"resources": {"requests": {"cpu": "500m"}}, "labels": {"of": "head"}, "tolerations": []},
    "service": {"type": "LoadBalancer", "annotations": {"internal": "true"}},
}


def rendered(values: dict[str, Any], name: str = "edgesight") -> list[Manifest]:
    """What Helm makes of the chart, in the order of kinds and names."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        files = chart.render(values, name=name, namespace="default")
    found = [one for file, text in files.items() if file.endswith(".yaml") for one in yaml.safe_load_all(text) if one]
    return _parsed(found)


def _parsed(manifests: list[Manifest]) -> list[Manifest]:
    for one in manifests:
        if one["kind"] == "RayService":
            one["spec"]["serveConfigV2"] = yaml.safe_load(one["spec"]["serveConfigV2"])
    return sorted(manifests, key=lambda one: (one["kind"], one["metadata"]["name"]))


def checkable(manifests: list[Manifest]) -> list[Manifest]:
    """As Kubernetes would get them: the part for Serve is a text."""
    found = copy.deepcopy(manifests)
    for one in found:
        if one["kind"] == "RayService":
            one["spec"]["serveConfigV2"] = yaml.safe_dump(one["spec"]["serveConfigV2"])
    return found


def service(manifests: list[Manifest]) -> Manifest:
    return next(one for one in manifests if one["kind"] == "RayService")


def groups(manifests: list[Manifest]) -> dict[str, Manifest]:
    cluster = service(manifests)["spec"]["rayClusterConfig"]
    return {"head": cluster["headGroupSpec"], **{one["groupName"]: one for one in cluster["workerGroupSpecs"]}}


def test_by_default_it_is_the_manifest_beside_it() -> None:
    beside = list(yaml.safe_load_all((CHART.parent / "rayservice.yaml").read_text()))
    assert faults(beside) == []
    assert rendered({}) == _parsed(beside)


def test_helm_finds_nothing_wrong_with_it() -> None:
    for values in ({}, EVERYTHING):
        found = helm.lint(CHART, values, strict=True)
        assert found["total_charts_linted"] == 1
        assert [one["error"] for one in found["messages"]] == ["icon is recommended"]
        assert found["errors"] == []
    written = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert written["appVersion"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_whatever_it_is_given_kubernetes_takes_it_and_everything_arrives() -> None:
    found = rendered(EVERYTHING, "other")
    assert faults(checkable(found)) == []
    assert {(one["kind"], one["metadata"]["name"]) for one in found} == {
        ("RayService", "other"), ("Service", "other-door"), ("PodDisruptionBudget", "other-door"),
        ("PodDisruptionBudget", "other-replica"), ("PersistentVolumeClaim", "mine"),
    }  # fmt: skip
    of = groups(found)
    everywhere = [one for group in of.values() for one in group["template"]["spec"]["containers"]]
    assert {(one["image"], one["imagePullPolicy"]) for one in everywhere} == {("example.org/ray:1.2", "Always")}
    assert all(group["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}] for group in of.values())
    (application,) = service(found)["spec"]["serveConfigV2"]["applications"]
    assert application["args"] == {"min_replicas": 2, "max_replicas": 9, "models": 3, "cpus": 0.5, "gpus": 0.25}
    replicas, doors = of["replicas"], of["doors"]
    assert replicas["template"]["metadata"]["labels"] == {"app": "other-replica", "team": "vision"}
    pod = replicas["template"]["spec"]
    assert {"nodeSelector", "tolerations", "affinity"} <= pod.keys()
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 1}
    assert (doors["replicas"], doors["minReplicas"], doors["maxReplicas"]) == (5, 5, 5)
    assert doors["template"]["metadata"]["annotations"] == {"prometheus.io/port": "8080"}
    (door,) = (one for one in doors["template"]["spec"]["containers"] if one["name"] == "door")
    assert door["args"][-2:] == ["--quota", "cam=100"]
    text = yaml.safe_dump_all(checkable(found))
    assert "edgesight-ray" not in text
    assert "edgesight-door" not in text
    least = {one["metadata"]["name"]: one["spec"]["minAvailable"] for one in found if "Budget" in one["kind"]}
    assert least == {"other-door": 4, "other-replica": 1}
    assert not [one for one in rendered({"disruptionBudgets": False}) if "Budget" in one["kind"]]


def test_budgets_and_the_service_select_the_pods_that_they_name() -> None:
    found = rendered({}, "other")
    labels = {name: group["template"].get("metadata", {}).get("labels") for name, group in groups(found).items()}
    assert labels == {"head": None, "replicas": {"app": "other-replica"}, "doors": {"app": "other-door"}}
    selected = [one["spec"]["selector"] for one in found if one["kind"] != "RayService"]
    assert [one.get("matchLabels", one)["app"] for one in selected] == ["other-door", "other-replica", "other-door"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replica": {"min": 2}}, "replica"),
        ({"replicas": {"minimum": 2}}, "minimum"),
        ({"replicas": {"min": "2"}}, "min"),
        ({"replicas": {"min": 0}}, "min"),
        ({"replicas": {"resources": {"limits": {"memory": "4 GB"}}}}, "memory"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"secrets": {"ray": "Not_A_Name"}}, "ray"),
        ({"models": {"accessModes": []}}, "accessModes"),
        ({"service": {"type": "Public"}}, "type"),
        ({"disruptionBudgets": "yes"}, "disruptionBudgets"),
    ],
)
def test_values_that_there_are_none_of_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(helm.HelmError, match=told):
        rendered(values)


@pytest.mark.parametrize(
    ("values", "name", "told"),
    [
        ({"replicas": {"min": 7}}, "edgesight", "lower it"),
        ({"replicas": {"gpus": 1}}, "edgesight", "raise replicas.resources.limits.nvidia.com/gpu"),
        ({}, "a" * 48, "shorten it"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], name: str, told: str) -> None:
    with pytest.raises(helm.HelmError, match=told):
        rendered(values, name)


def put(*path: str | int, value: Any) -> Callable[[Manifest], None]:
    """What changes a manifest at `path`."""

    def change(manifest: Manifest) -> None:
        at: Any = manifest
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


WORKERS = ("spec", "rayClusterConfig", "workerGroupSpecs")
DOOR = (*WORKERS, 1, "template", "spec", "containers", 1)


@pytest.mark.parametrize(
    "change",
    [
        put("metadata", "nane", value="edgesight"),
        put("spec", "serveConfig", value="a field of KubeRay's first version"),
        put("spec", "rayClusterConfig", "authOptions", "mode", value="tokens"),
        put("spec", "rayClusterConfig", "authOptions", "secretname", value="edgesight-ray"),
        put(*WORKERS, 0, "replicas", value="3"),
        put(*WORKERS, 0, "rayStartParams", "num-cpus", value=0),
        put(*WORKERS, 0, "template", "spec", "containers", 0, "readinessprobe", value={}),
        put(*DOOR, "ports", 0, "containerPort", value="http"),
        put(*DOOR, "livenessProbe", "httpGet", "port", value=[8080]),
        put(*DOOR, "resources", "limit", value={"cpu": "2"}),
        put(*WORKERS, 1, "template", "spec", "terminationGracePeriod", value=40),
    ],
)
def test_a_manifest_with_a_fault_is_refused(change: Callable[[Manifest], None]) -> None:
    manifests = checkable(rendered({}))
    assert faults(manifests) == []
    change(service(manifests))
    assert len(faults(manifests)) == 1


def test_a_ray_node_answers_what_a_pod_is_asked_for_readiness_and_without_a_token() -> None:
    pytest.importorskip("ray.dashboard.http_server_agent", reason="ray is not installed: extra `ray`")
    containers = [groups(rendered({}))[name]["template"]["spec"]["containers"][0] for name in ("replicas", "doors")]
    asked = [one["readinessProbe"]["httpGet"] for one in containers]
    agent = importlib.import_module("ray.dashboard.http_server_agent")
    port = importlib.import_module("ray._private.ray_constants").DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    assert asked == [{"path": "/api/healthz", "port": port}] * 2
    assert asked[0]["path"] in agent.PUBLIC_EXACT_PATHS
