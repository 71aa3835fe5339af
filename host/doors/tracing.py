"""Traces by OpenTelemetry: a door's span stands between its client's and those of what is behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACER = trace.get_tracer("edgesight.doors")  # follows the provider that is set later on
HEADER = "traceparent"


def record(name: str, traceparent: str, began: float, ended: float) -> None:
    """A span `name` of what is over, from one time to another, in seconds since 1970."""
    context = _PROPAGATOR.extract({HEADER: traceparent})
    made = _TRACER.start_span(name, context, kind=trace.SpanKind.SERVER, start_time=round(began * 1e9))
    made.end(round(ended * 1e9))


@contextlib.contextmanager
def span(name: str, traceparent: str | None) -> Iterator[str | None]:
    """Meanwhile a span `name` is open; yields its own `traceparent`, None where nobody traces.

    Without an SDK that records, the client's is handed on as it came; one that is malformed counts as none.
    """
    context = _PROPAGATOR.extract({HEADER: traceparent}) if traceparent is not None else None
    with _TRACER.start_as_current_span(name, context, kind=trace.SpanKind.SERVER):
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        yield carrier.get(HEADER)
