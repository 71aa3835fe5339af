"""What Prometheus knows is held against a run's log: what agrees passes, and whatever does not is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgesight.bench.watch import scraping
from edgesight.bench.watch.held import Comparison, Expected, Range, compare, series
from edgesight.bench.watch.run_log import Life, Relayed, RunLog, Said, of_data_centre, of_edge
from edgesight.bench.watch.scraping import Series
from edgesight.host.audits import Auditing, Audits
from tests.host.by_hand import CLASSES, random_images, stage1_answer, watched

KINDS = {
    "edgesight_swaps_total": "counter",
    "edgesight_offloads_total": "counter",
    "edgesight_leg_seconds": "histogram",
    "edgesight_waiting": "gauge",
}
LINK = (("fabric", "simulated", 0.001), ("link", "measured", 0.04), ("service", "measured", 0.004))


def found_as(expected: Expected) -> dict[Series, float]:
    return {one: known.low for one, known in expected.series.items()}


def expectation() -> Expected:
    expected = Expected()
    expected.add("swaps_total", 2, application="shelf")
    expected.add("offloads_total", Range(3, 5), outcome="answered")
    expected.spread("leg_seconds", [0.001, 0.3, 7.0], leg="link")
    expected.add("waiting", 0)
    return expected


def test_what_agrees_is_told_by_name() -> None:
    expected = expectation()
    found = found_as(expected)
    expected.sum("twice the swaps and the answered", {one: 2.0 for one in found if "_total" in one[0]}, 10)
    assert compare(found, KINDS, expected) == Comparison(
        ["edgesight_leg_seconds", "edgesight_swaps_total"], ["edgesight_offloads_total"], len(found), []
    )
    bucket = series("leg_seconds_bucket", le="0.5", leg="link")
    assert found[bucket] == 2
    assert found[series("leg_seconds_sum", leg="link")] == pytest.approx(7.301)


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("swaps_total", {"application": "shelf"}, 3.0),
        ("offloads_total", {"outcome": "answered"}, 2.0),
        ("offloads_total", {"outcome": "answered"}, 6.0),
        ("leg_seconds_bucket", {"le": "0.5", "leg": "link"}, 3.0),
        ("leg_seconds_sum", {"leg": "link"}, 7.302),
        ("waiting", {}, 1.0),
    ],
)
def test_whatever_is_another_is_found(name: str, labels: dict[str, str], value: float) -> None:
    expected = expectation()
    found = found_as(expected) | {series(name, **labels): value}
    (wrong,) = compare(found, KINDS, expected).wrong
    assert wrong["series"].startswith(f"edgesight_{name}")
    assert wrong["found"] == value


def test_what_is_absent_or_unknown_or_only_its_sum_wrong_is_found() -> None:
    expected = expectation()
    found = found_as(expected)
    del found[series("swaps_total", application="shelf")]
    found[series("offloads_total", outcome="unheard_of")] = 1.0
    found[series("leg_seconds_bucket", leg="other", le="0.5")] = 1.0  # a bucket of a histogram without a count
    expected.sum("all offloads", {series("offloads_total", outcome="answered"): 1.0}, 4)
    told = {one["series"].partition("{")[0]: one["found"] for one in compare(found, KINDS, expected).wrong}
    assert told == {
        "edgesight_swaps_total": None,
        "edgesight_offloads_total": 1.0,
        "edgesight_leg_seconds_bucket": 1.0,
        "all offloads": 3.0,
    }


def said(**more: Any) -> Said:
    plain: dict[str, Any] = {
        "life": 1,
        "meant": "",
        "target": "0.9",
        "stage": "datacenter",
        "degraded": False,
        "guaranteed": True,
        "novelty": 0.5,
        "hedged": False,
        "reason": "",
        "legs": LINK,
    }
    return Said(**{**plain, **more})


def degraded(reason: str, **more: Any) -> Said:
    return said(stage="stage1", degraded=True, guaranteed=False, reason=reason, legs=LINK[:2], **more)


def test_answers_tell_what_became_of_their_requests() -> None:
    assert said().offload == "answered"
    assert said(stage="stage0", legs=LINK[:1]).offload is None
    assert degraded("the data centre's answer came after the deadline").offload == "answered"
    assert degraded("the deadline passed before the data centre's answer came").offload == "unanswered"
    unsent = said(stage="stage1", degraded=True, reason="the data centre was not asked", legs=LINK[:1])
    assert unsent.offload == "not_sent"
    assert said(stage="stage0", hedged=True, legs=LINK[:1]).needless
    told = {"stage": "stage0", "accuracy_target": 0.9, "degraded": False, "guaranteed": True, "hedged": False}
    over_http = Said.of_parameters({**told, "fabric_ms": 2.0, "fabric_obtained": "simulated"}, 1, "")
    assert over_http == said(stage="stage0", novelty=None, legs=(("fabric", "simulated", 0.002),))


def stats(name: str, success: int, rows: int) -> list[dict[str, Any]]:
    """A model's statistics, as a door tells them."""
    parts = {part: {"count": str(success), "ns": "7"} for part in ("success", "queue", "compute_infer")}
    batches = [{"batch_size": "1", "compute_infer": {"count": str(rows)}}] if rows else []
    return [
        {
            "name": name,
            "version": "1",
            "inference_count": str(rows),
            "inference_stats": {**parts, "fail": {}},
            "batch_stats": batches,
        }
    ]


def test_a_log_says_what_both_sides_counters_are_to_be(tmp_path: Path) -> None:
    known = watched()
    audits = Audits(Auditing(tmp_path / "audits"), known, [str(one) for one in range(CLASSES)])
    (image,) = random_images(1)
    for label, asked in ((1, True), (2, True), (None, True)):
        audits.take(image, stage1_answer(), known, label, asked)
    log = RunLog(said=[said(), degraded("the deadline passed before the data centre's answer came", meant="hung")])
    log.said.append(said(stage="stage0", novelty=0.001, guaranteed=False, legs=LINK[:1]))
    log.taken_back[1], log.began[1], log.swaps = 1, 0.0, 2
    log.edge_door.failed = 1
    folder, relayed = tmp_path / "audits", Relayed(50, 48, 2)
    edge = of_edge(log, "shelf", folder, known, 0.01, stats("shelf", 0, 1), relayed).series
    shelf = {"application": "shelf"}
    for name, labels, value in (
        ("answers_total", {"target": "0.9", "stage": "datacenter"}, 1),
        ("answers_degraded_total", {"target": "0.9"}, 1),
        ("answers_not_guaranteed_total", {}, 2),
        ("answers_strange_total", {}, 1),
        ("offloads_total", {"outcome": "answered"}, 1),
        ("offloads_total", {"outcome": "unanswered"}, 1),
        ("offloads_cancelled_total", {}, 1),
        ("fabric_run_pictures_sum", {}, 4),
        ("leg_seconds_count", {"leg": "link", "obtained": "measured"}, 2),
        ("audits_total", {"target": "0.9", "agreed": "yes"}, 1),
        ("audits_total", {"target": "0.9", "agreed": "no"}, 1),
        ("audits_unanswered_total", {}, 1),
        ("swaps_total", {}, 2),
    ):
        assert edge[series(name, **shelf, **labels)] == Range(value, value), name
    assert edge[series("requests_total", model="shelf", version="1", outcome="fail")] == Range(1, 1)
    life = Life(1, 60.0, "shelf", stats("shelf", 2, 3), stats("shelf", 5, 7), [], 1, {"shelf": 2}, relayed)
    centre = of_data_centre(log, folder, life)
    # One of the audits has no answer, and nobody knows why.
    for outcome, least in (("answered", 3), ("late", 1), ("failed", 0), ("cancelled", 1)):
        more = 0 if outcome == "cancelled" else 1
        assert centre.series[series("link_requests_total", outcome=outcome)] == Range(least, least + more)
    assert centre.sums["all that edges asked the data centre"][1] == Range(5, 6)
    assert centre.series[series("model_workers_lost_total", model="shelf", version="1")] == Range(2, 2)
    assert centre.series[series("link_batch_pictures_count")] == Range(3, 3)
    assert centre.series[series("link_strips_total", what="concealed")] == Range(0, 2)


def test_the_rules_that_prometheus_is_given_lie_where_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads((scraping.MONITORING / "dashboard.json").read_text())["uid"] == "edgesight"
    monkeypatch.setenv("PATH", "")
    assert scraping.lacks() == "prometheus and promtool not found: install Debian's package prometheus"
