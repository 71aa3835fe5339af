"""What Prometheus is told: a program's statistics, and what else it counts of itself, by prometheus-client.

Nothing is counted twice: what the doors tell in Triton's words is told here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgesight.host.doors.served import Duration, ModelStatistics, Served
from edgesight.host.measures import Measure, Spread

CONTENT_TYPE = CONTENT_TYPE_LATEST
_PREFIX = "edgesight_"


def exposition(served: Served) -> bytes:
    """All that there is to tell of `served`, in Prometheus's text form."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(served))
    return bytes(generate_latest(registry))


class _Told(Collector):
    """Tells of what stands behind a door whenever it is asked."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        yield from map(_metric, measures_of(self._served))


def _metric(measure: Measure) -> Metric:
    name, labels = f"{_PREFIX}{measure.name}", list(measure.labels)
    if measure.kind == "histogram":
        histogram = HistogramMetricFamily(name, measure.told, labels=labels)
        for key, spread in measure.values.items():
            assert isinstance(spread, Spread)
            bounds = [*map(repr, map(float, spread.bounds)), "+Inf"]
            histogram.add_metric(list(key), list(zip(bounds, accumulate(spread.counts), strict=True)), spread.sum)
        return histogram
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    metric = kind(name, measure.told, labels=labels)
    for key, value in measure.values.items():
        assert not isinstance(value, Spread)
        metric.add_metric(list(key), float(value))
    return metric


def measures_of(served: Served) -> Sequence[Measure]:
    """All that there is to count of `served`."""
    ready = Measure("ready", "Whether requests are taken now.", "gauge", (), {(): float(served.ready())})
    return ready, *_of_statistics(served.statistics("", "")), *served.measures()


def _of_statistics(statistics: Sequence[ModelStatistics]) -> Sequence[Measure]:
    """Triton's statistics as counters."""
    rows = [((one.name, one.version), one) for one in statistics]

    def times(one: ModelStatistics) -> dict[str, Duration]:
        return {
            "success": one.success,
            "fail": one.fail,
            "queue": one.queue,
            "compute_input": one.compute_input,
            "compute_infer": one.compute_infer,
            "compute_output": one.compute_output,
        }

    model = ("model", "version")
    return (
        Measure(
            "requests",
            "Requests that came to their end, by how.",
            "counter",
            (*model, "outcome"),
            {(*key, what): times(one)[what].count for key, one in rows for what in ("success", "fail")},
        ),
        Measure(
            "request_seconds",
            "Time of requests, in all, by what it went to; success and fail are the whole of it.",
            "counter",
            (*model, "part"),
            {(*key, what): took.ns / 1e9 for key, one in rows for what, took in times(one).items()},
        ),
        Measure("pictures", "Rows answered.", "counter", model, {key: one.inference_count for key, one in rows}),
        Measure(
            "batches",
            "Runs of the model, by their size.",
            "counter",
            (*model, "size"),
            {(*key, str(size)): took.count for key, one in rows for size, took in one.batches.items()},
        ),
    )
