"""What all planners read: numbers are numbers, keys are there once, and faults say the unit and what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.plan.adapt_data import Situation, read_situation
from host.plan.profile import Link, PlanError, Slo, read
from host.plan.workflow import Workflow


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"mbps": "20"}', 'field mbps: Input should be a valid number (Mbit/s; found "20")'),
        ('{"mbps": true}', "field mbps: Input should be a valid number (Mbit/s; found true)"),
        ('{"mbps": 20, "mbps": 30}', "key 'mbps' is twice in one object; keep one of the two"),
        ('{"mbps": NaN}', "NaN is no number of JSON"),
        ('{"mbps": -1}', "field mbps: Input should be greater than 0 (Mbit/s; found -1)"),
        ('{"mbps": 20, "round_trip_ms": "5"}', "milliseconds"),
        ("[" * 100_000, "is no JSON"),
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


def test_a_percent_where_a_share_belongs_says_so(tmp_path: Path) -> None:
    path = tmp_path / "slo.json"
    path.write_text('{"accuracy": 56}')
    with pytest.raises(PlanError, match="a share from 0 to 1, not percent; found 56"):
        read(path, Slo)


@pytest.mark.parametrize("kind", [Situation, Workflow])
def test_an_empty_object_names_what_is_missing(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "empty.json"
    path.write_text("{}")
    with pytest.raises(PlanError, match="Field required"):
        read(path, kind)


def test_a_situation_without_clients_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nobody.json"
    path.write_text('{"profile": "jellyfish", "clients": [], "gpus": [{"name": "g"}]}')
    with pytest.raises(PlanError, match=r"field clients: is empty; give at least one"):
        read_situation(path)
