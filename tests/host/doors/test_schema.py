"""The OpenAPI document is true: what it allows and what it forbids, thrown at the HTTP door, find no fault."""

from __future__ import annotations

import hypothesis
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgesight.host.doors.access import Anyone
from edgesight.host.doors.http import app
from edgesight.host.doors.openapi import document
from tests.host.doors.small import Small

schema = schemathesis.openapi.from_asgi("/openapi.json", app(Small(), Anyone()))


@schema.parametrize()
@hypothesis.settings(max_examples=25, derandomize=True, deadline=None, database=None)
def test_no_request_finds_a_fault(case: schemathesis.Case) -> None:
    response = case.call_and_validate(
        checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
    )
    assert response.status_code != 500  # which the document does not know, either


def test_the_document_tells_of_every_route() -> None:
    found = document("a", "1")["paths"]
    routes = {route.path for route in app(Small(), Anyone()).routes if not hasattr(route, "unserved")}  # type: ignore[attr-defined]
    assert set(found) <= routes
