"""A door's span stands between its client's and those behind the door."""

from __future__ import annotations

import json
import subprocess
import sys

from edgesight.host.doors import tracing

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# In a process of its own: a program has one tracer provider, for good.
RECORDED = f"""
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from edgesight.host.doors import tracing
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
with tracing.span("infer", {TRACE!r}) as own:
    pass
with tracing.span("alone", None) as alone:
    pass
tracing.record("over", own, 12.5, 13.0)
(first, second, third) = exporter.get_finished_spans()
third_is = [third.name, format(third.parent.span_id, "016x"), third.start_time, third.end_time]
first_is = [first.name, format(first.parent.span_id, "016x"), format(first.context.span_id, "016x")]
print(json.dumps([own, *first_is, alone, third_is]))
"""


def test_without_a_recorder_the_clients_trace_is_handed_on() -> None:
    with tracing.span("infer", TRACE) as own:
        assert own == TRACE
    for malformed in (None, "", "00-garbage", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\xff" * 1_000):
        with tracing.span("infer", malformed) as own:
            assert own is None


def test_a_recorded_span_is_the_clients_child() -> None:
    said = subprocess.run([sys.executable, "-c", RECORDED], capture_output=True, text=True, check=True).stdout
    own, name, parent, span, alone, over = json.loads(said)
    assert (name, parent) == ("infer", "b7ad6b7169203331")
    assert own == f"00-0af7651916cd43dd8448eb211c80319c-{span}-01"
    assert alone.startswith("00-")
    assert over == ["over", span, 12_500_000_000, 13_000_000_000]
