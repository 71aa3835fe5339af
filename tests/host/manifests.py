"""What Kubernetes and KubeRay would say of manifests, by their schemas; a field that there is none of is a fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema
import kubernetes_validate

_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "format": "int32"}


def _object(required: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


_PARAMETERS = {"type": "object", "additionalProperties": _TEXT}
_TEMPLATE = {"type": "object"}  # of a pod, which Kubernetes' own schema is for
_WORKERS = _object(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    rayStartParams=_PARAMETERS,
    template=_TEMPLATE,
)
# Of a RayService's spec what is used here, as KubeRay's reference (1.6) describes it: no package has its schema.
_RAY_SERVICE = _object(
    ("serveConfigV2", "rayClusterConfig"),
    serveConfigV2=_TEXT,
    rayClusterConfig=_object(
        ("headGroupSpec",),
        rayVersion=_TEXT,
        enableInTreeAutoscaling={"type": "boolean"},
        authOptions=_object(mode={"enum": ["disabled", "token"]}, secretName=_TEXT),
        headGroupSpec=_object(("template",), rayStartParams=_PARAMETERS, template=_TEMPLATE),
        workerGroupSpecs={"type": "array", "items": _WORKERS},
    ),
)
_KUBERNETES = kubernetes_validate.latest_version()

Manifest = dict[str, Any]


def faults(manifests: Sequence[Manifest]) -> list[str]:
    """One line for each fault."""
    return [fault for one in manifests for fault in _of(one)]


def _of(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] != "RayService":
        yield from _kubernetes(manifest)
        return
    told = {key: value for key, value in manifest.items() if key != "spec"}
    yield from _kubernetes({**told, "apiVersion": "v1", "kind": "ConfigMap"})  # which is nothing but its metadata
    if manifest["apiVersion"] != "ray.io/v1":
        yield f"apiVersion {manifest['apiVersion']}"
    for error in jsonschema.Draft202012Validator(_RAY_SERVICE).iter_errors(manifest.get("spec")):
        yield f"{error.json_path}: {error.message}"
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = {"selector": {"matchLabels": {"app": "any"}}, "template": group["template"]}
        named = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "any"}}
        yield from _kubernetes({**named, "spec": spec})


def _kubernetes(manifest: Manifest) -> Iterator[str]:
    try:
        kubernetes_validate.validate(manifest, _KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
