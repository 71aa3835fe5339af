"""What all planners read: numbers are numbers, keys are there once, and faults say the unit and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.plan.adapt.data import Situation, read_situation
from edgesight.plan.profile import Link, PlanError, Slo, checked, read
from edgesight.plan.split.measured import MeasuredNetwork
from edgesight.plan.split.plan import SplitProfile
from edgesight.plan.workflow.problem import Workflow


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"mbps": "20"}', 'field mbps: Input should be a valid number (Mbit/s; found "20")'),
        ('{"mbps": true}', "field mbps: Input should be a valid number (Mbit/s; found true)"),
        ('{"mbps": 20, "mbps": 30}', "key 'mbps' is twice in one object; keep one of the two"),
        ('{"mbps": NaN}', "NaN is no number of JSON"),
        ('{"mbps": -1}', "field mbps: Input should be greater than or equal to 0.000001 (Mbit/s; found -1)"),
        ('{"mbps": 20, "round_trip_ms": "5"}', "milliseconds"),
        ("[" * 100_000, "is no JSON"),
        ('{"mbps": 1e-320}', "field mbps: Input should be greater than or equal to 0.000001"),
        ('{"mbps": 20, "round_trip_ms": 1e300}', "field round_trip_ms: Input should be less than or equal to"),
        ('{"mbps": 20, "lag": 5}', "field lag: is none of the fields here; there are mbps, round_trip_ms (found 5)"),
        ('{"mbps": 20, "\\u001b[31m": 5}', r"the text '\x1b[31m' holds the control character U+001B; drop it"),
        ('{"mbps": "\\u202e"}', r"the text '\u202e' holds the control character U+202E"),
        ('{"mbps": ["\\ud800"]}', r"the text '\ud800' holds the control character U+D800"),
        ("[]", "link.json: has to be an object with mbps, round_trip_ms"),
    ],
)
def test_what_is_no_number_is_refused_with_its_unit(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "link.json"
    path.write_text(text)
    with pytest.raises(PlanError) as caught:
        read(path, Link)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_whole_number_is_as_good_as_one_with_a_point(tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    path.write_text('{"mbps": 20}')
    assert read(path, Link).mbps == 20.0


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "link.json"
    path.write_text('{"mbps": 20}', encoding="utf-8-sig")
    assert read(path, Link).mbps == 20.0


def test_faults_deep_inside_say_what_belongs_there() -> None:
    workflow = {
        "obtained": "quoted",
        "sources": [{"name": "camera", "rate": 0}],
        "operators": [],
        "edges": "none",
    }
    with pytest.raises(PlanError) as caught:
        checked(workflow, Workflow, "test")
    told = str(caught.value)
    assert "field sources.0.rate: Input should be greater than or equal to" in told
    assert "field sources: " not in told  # whose entry is faulty, not missing
    assert "field operators: is empty; give at least one" in told
    assert "field edges: has to be a list" in told
    assert told.endswith("; and 3 more")
    client = {"name": "door", "slo": 5, "link": {"mbps": 20, "delay": 1}}
    with pytest.raises(PlanError) as caught:
        checked({"profile": "jellyfish", "clients": [client], "gpus": [{"name": "g"}]}, Situation, "test")
    assert "field clients.0.slo: has to be an object with latency_ms, accuracy, rate" in str(caught.value)
    assert "field clients.0.link.delay: is none of the fields here; there are mbps, round_trip_ms" in str(caught.value)


def test_a_split_of_one_machines_measurement_says_to_join_it() -> None:
    one = {"name": "net", "sha256": "0" * 64, "device": {"name": "pi"}, "layers": []}
    with pytest.raises(
        PlanError, match=r"measured on one machine; join it .* `edgesight plan profile-join DEVICE DATA"
    ):
        checked(one, SplitProfile, "test")
    with pytest.raises(PlanError, match=r"is the profile of two machines, joined already; give `edgesight plan split`"):
        checked({"name": "net", "datacenter": {"name": "dc"}}, MeasuredNetwork, "test")


def test_a_percent_where_a_share_belongs_says_so(tmp_path: Path) -> None:
    path = tmp_path / "slo.json"
    path.write_text('{"accuracy": 56}')
    with pytest.raises(PlanError, match="a share from 0 to 1, not percent; found 56"):
        read(path, Slo)


@pytest.mark.parametrize("kind", [Situation, Workflow])
def test_an_empty_object_names_what_is_missing(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}")
    with pytest.raises(PlanError, match="is missing"):
        read(path, kind)


def test_a_situation_without_clients_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nobody.json"
    path.write_text('{"profile": "jellyfish", "clients": [], "gpus": [{"name": "g"}]}')
    with pytest.raises(PlanError, match=r"field clients: is empty; give at least one"):
        read_situation(path)
