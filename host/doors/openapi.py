"""What the HTTP door takes and gives, as an OpenAPI 3.1 document."""

from __future__ import annotations

from typing import Any

from edgesight.host.doors.tensors import DATATYPES, MAX_TENSORS

Json = dict[str, Any]
_NAME = {"type": "string", "minLength": 1, "maxLength": 1024}
_ERRORS = {
    "400": "what was asked cannot be answered",
    "401": "nobody knows who asks",
    "403": "who asks may not, or is a web page",
    "404": "there is no such model",
    "405": "the method is not taken here",
    "408": "the body did not come in time",
    "413": "the body is larger than a message may be",
    "415": "the body is of a kind that is not taken",
    "421": "a door on loopback is not called by that name",
    "429": "too much at a time, or beyond a quota: Retry-After says when to ask again",
    "501": "an extension that is not served",
    "503": "not now: ask again",
    "504": "the time within which an answer is of use has passed",
}


def document(name: str, version: str) -> Json:
    """The document of a server called `name`, in `version`."""
    paths: Json = {
        "/v2/health/live": {"get": _operation("live", _reference("Live"))},
        "/v2/health/ready": {"get": _operation("ready", _reference("Ready"))},
        "/v2": {"get": _operation("serverMetadata", _reference("ServerMetadata"))},
        "/v2/models/stats": {"get": _operation("allStatistics", _reference("Statistics"))},
        "/v2/repository/index": {
            "post": _operation(
                "repositoryIndex",
                {"type": "array", "items": _reference("IndexEntry")},
                {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                required=False,
            )
        },
        "/": {"get": _operation("liveOfVersion1", _reference("Status"))},
        "/live/state": {"get": _operation("liveState", {"type": "object"})},
        "/v1/models": {"get": _operation("models", _reference("Models"))},
        "/v1/models/{model}": {"get": _operation("model", _reference("ModelReady"), path=("model",))},
        "/v1/models/{model}:predict": {
            "post": _operation("predict", _reference("Predictions"), _reference("Instances"), ("model",))
        },
    }
    for action in ("load", "unload"):
        paths[f"/v2/repository/models/{{model}}/{action}"] = {
            "post": _operation(action, {"type": "object"}, _reference("Load"), ("model",), required=False)
        }
    for path, parts in (("/v2/models/{model}", ("model",)), (_VERSIONED, ("model", "version"))):
        suffix = "OfVersion" if len(parts) > 1 else ""
        paths |= {
            path: {"get": _operation(f"metadata{suffix}", _reference("ModelMetadata"), path=parts)},
            f"{path}/ready": {"get": _operation(f"modelReady{suffix}", _reference("ModelReady"), path=parts)},
            f"{path}/config": {"get": _operation(f"config{suffix}", {"type": "object"}, path=parts)},
            f"{path}/stats": {"get": _operation(f"stats{suffix}", _reference("Statistics"), path=parts)},
            f"{path}/infer": {
                "post": _operation(
                    f"infer{suffix}", _reference("InferResponse"), _reference("InferRequest"), parts, binary=True
                )
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": name, "version": version, "description": "Open Inference Protocol"},
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "responses": {
                status: {
                    "description": said,
                    "content": {"application/json": {"schema": _reference("Error")}},
                }
                for status, said in _ERRORS.items()
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
        "security": [{}, {"token": []}, {"certificate": []}],
    }


_VERSIONED = "/v2/models/{model}/versions/{version}"


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(
    name: str,
    answer: Json,
    body: Json | None = None,
    path: tuple[str, ...] = (),
    *,
    required: bool = True,
    binary: bool = False,
) -> Json:
    """An operation; `binary`: bodies may also be JSON with tensors' bytes behind it."""
    answers: Json = {"application/json": {"schema": answer}}
    bodies: Json = {"application/json": {"schema": body}}
    if binary:
        answers["application/octet-stream"] = {"schema": _BINARY}
        bodies["application/octet-stream"] = {"schema": _BINARY}
    operation: Json = {
        "operationId": name,
        "responses": {
            "200": {"description": "answered", "content": answers},
            **{status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS},
        },
    }
    parameters: list[Json] = [{"name": part, "in": "path", "required": True, "schema": _NAME} for part in path]
    if binary:
        header = {"type": "integer", "minimum": 0}
        parameters.append({"name": "Inference-Header-Content-Length", "in": "header", "schema": header})
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": required, "content": bodies}
    return operation


def _object(required: str, **properties: Json) -> Json:
    """An object of those properties, of which those named in `required`, apart by spaces, must be there."""
    return {"type": "object", "properties": properties, "required": required.split()}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_TEXT: Json = {"type": "string"}
_BOOLEAN: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_BINARY: Json = {"type": "string", "format": "binary"}
_DATATYPE: Json = {"type": "string", "enum": list(DATATYPES)}
_SHAPE: Json = _list(_COUNT)
_FORMS: Json = _list(_object("name datatype shape", name=_TEXT, datatype=_TEXT, shape=_list({"type": "integer"})))
_PARAMETERS: Json = {"type": "object", "additionalProperties": {"type": ["boolean", "number", "string"]}}
_DURATION: Json = _object("count ns", count=_COUNT, ns=_COUNT)
_SCHEMAS: Json = {
    "Error": _object("error", error=_TEXT),
    "Live": _object("live", live=_BOOLEAN),
    "Ready": _object("ready", ready=_BOOLEAN),
    "Status": _object("status", status=_TEXT),
    "ServerMetadata": _object("name version extensions", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
    "ModelMetadata": _object(
        "name versions platform inputs outputs",
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=_FORMS,
        outputs=_FORMS,
    ),
    "ModelReady": _object("name ready", name=_TEXT, ready=_BOOLEAN),
    "Models": _object("models", models=_list(_TEXT)),
    "IndexEntry": _object("name version state reason", name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT),
    "Load": {"type": "object", "properties": {"parameters": _PARAMETERS}},
    "Instances": {
        **_object("instances", instances={"type": "array", "minItems": 1}, parameters=_PARAMETERS),
    },
    "Predictions": _object("predictions", predictions={"type": "array"}),
    "Statistics": _object(
        "model_stats",
        model_stats=_list(
            _object(
                "name version last_inference inference_count execution_count inference_stats batch_stats",
                name=_TEXT,
                version=_TEXT,
                last_inference=_COUNT,
                inference_count=_COUNT,
                execution_count=_COUNT,
                inference_stats={"type": "object", "additionalProperties": _DURATION},
                batch_stats=_list(_object("batch_size compute_infer", batch_size=_COUNT, compute_infer=_DURATION)),
            )
        ),
    ),
    "InferRequest": _object(
        "inputs",
        id={"type": "string", "maxLength": 1024},
        parameters=_PARAMETERS,
        inputs={
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_TENSORS,
            "items": _object(
                "name datatype shape",
                name=_NAME,
                datatype=_DATATYPE,
                shape=_SHAPE,
                parameters=_PARAMETERS,
                data={"type": ["array", "boolean", "number", "string"]},
            ),
        },
        outputs=_list(_object("name", name=_NAME, parameters=_PARAMETERS)),
    ),
    "InferResponse": _object(
        "model_name model_version outputs",
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters=_PARAMETERS,
        outputs=_list(
            _object(
                "name datatype shape",
                name=_TEXT,
                datatype=_DATATYPE,
                shape=_SHAPE,
                parameters=_PARAMETERS,
                data={"type": "array"},
            )
        ),
    ),
}
