"""Prometheus is told what the doors count, in a form that its own reader takes."""

from __future__ import annotations

import httpx
import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed: extra `oip`")

from prometheus_client.parser import text_string_to_metric_families

from edgesight.host.doors.metrics import exposition
from edgesight.host.measures import Spread
from tests.host.doors.small import PLAIN, Small, running


def told(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Values by metric and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_statistics_and_measures_are_told() -> None:
    served = Small()
    found = told(exposition(served).decode())
    assert found["edgesight_ready"] == {(): 1.0}
    (first, *_) = served.statistics("", "")
    key = (("model", first.name), ("outcome", "success"), ("version", "1"))
    assert found["edgesight_requests_total"][key] == first.success.count
    assert found["edgesight_request_seconds_total"][("model", first.name), ("part", "queue"), ("version", "1")] == 3e-6
    assert found["edgesight_batches_total"][("model", first.name), ("size", "4"), ("version", "1")] == 1
    assert found["edgesight_pictures_total"][("model", first.name), ("version", "1")] == 5
    assert found["edgesight_waiting"] == {(): 3.0}
    assert found["edgesight_swaps_total"] == {(("odd", 'a"b\n'),): 2.0}
    assert sorted(found["edgesight_leg_seconds_bucket"].values()) == [1.0, 3.0, 4.0]
    assert found["edgesight_leg_seconds_sum"] == {(("leg", "link"),): pytest.approx(8.05)}
    assert found["edgesight_leg_seconds_count"] == {(("leg", "link"),): 4.0}


def test_they_stand_at_the_port_for_health_alone() -> None:
    with running(Small(), PLAIN) as addresses:
        assert addresses.health is not None
        assert addresses.http is not None
        answer = httpx.get(f"http://127.0.0.1:{addresses.health[1]}/metrics", trust_env=False)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert told(answer.text)["edgesight_ready"] == {(): 1.0}
        assert httpx.get(f"http://127.0.0.1:{addresses.http[1]}/metrics", trust_env=False).status_code == 404


def test_a_value_at_a_bound_counts_below_it() -> None:
    spread = Spread((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1):
        spread.add(value)
    assert spread.counts == [2, 2, 1]
