"""Tables take names as they are, whatever is in them, and cut nothing at 80 columns."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import edgesight.cli.plan.adapt
import edgesight.cli.plan.place
import edgesight.cli.plan.split
import edgesight.cli.plan.workflow  # noqa: F401 # registers its commands
from edgesight.bench.report import Check, PlainTable, print_checks
from edgesight.cli.plan import group

ODD = "[bold]x[/nope]"


def printed(table: PlainTable, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return out.getvalue()


@pytest.mark.parametrize("width", [30, 80, 200])
def test_no_cell_is_cut_or_taken_for_markup(width: int) -> None:
    table = PlainTable(f"of {ODD}", ("name", "a long header", "n"), words=("name",))
    table.add_row("synthesised-network-" * 3 + ODD, "123456.789", "100.00%")
    text = printed(table, width)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 80:
        body = "".join(text.split()).replace("123456.789", "").replace("100.00%", "")
        assert body.endswith("synthesised-network-" * 3 + ODD)


def test_a_checks_name_may_be_anything() -> None:
    out = io.StringIO()
    assert print_checks(Console(file=out, width=80), [Check(ODD, 1.0, 2.0, True, "[/s]", "measured")])
    assert ODD in out.getvalue()


def situation() -> dict[str, Any]:
    client = {"name": ODD, "slo": {"latency_ms": 100, "rate": 15}, "link": {"mbps": 20, "round_trip_ms": 5}}
    return {"profile": "jellyfish", "clients": [client], "gpus": [{"name": "[/g]"}]}


def workflow(tier: int = 1) -> dict[str, Any]:
    latency = {"[/red]": {"s": 50, "l": 90}, "B": {"x": 50}}
    fast = {"[/red]": {"s": 5, "l": 9}, "B": {"x": 5}}
    near = [{"name": f"w{n}", "tier": 0, "dollars_per_hour": 0.1, "latency_ms": latency} for n in range(2)]
    return {
        "obtained": "quoted",
        "sources": [{"name": "cam", "rate": 10}],
        "operators": [{"name": "[/red]", "variants": ["s", "l"]}, {"name": "B", "variants": ["x"]}],
        "edges": [
            {"source": "cam", "target": "[/red]", "messages": [{"size_bytes": 1000}]},
            {"source": "[/red]", "target": "B", "messages": [{"size_bytes": 100}]},
        ],
        "workers": [*near, {"name": "w2", "tier": tier, "dollars_per_hour": 1, "latency_ms": fast}],
        "tier_links": [{"source": 0, "target": 1, "dollars_per_gib": 0.1}],
        "sink": "B",
        "accuracies": [{"variants": {"[/red]": v}, "accuracy": a} for v, a in (("s", 0.5), ("l", 0.6))],
        "accuracy": 0.5,
    }


def split() -> dict[str, Any]:
    layers = [{"name": f"[/{n}]", "ms": {"d": 10 * n, "c": n}, "output_bytes": 1000 // n} for n in (1, 2, 3)]
    exits = [{"name": "[/e]", "accuracy": 0.8, "after": 3, "answer_bytes": 10}]
    return {
        "name": "p", "device": {"name": "d"}, "datacenter": {"name": "c", "tier": 1},
        "obtained": {"d": "measured", "c": "measured"}, "accuracy_obtained": "quoted", "input_bytes": 5000,
        "layers": layers, "exits": exits,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "command", "name"),
    [
        (situation(), ["adapt"], ODD),
        (situation(), ["adapt", "--method", "authors"], "[/g]"),
        (workflow(), ["workflow", "--method", "authors"], "[/red]"),
        (workflow(), ["workflow", "--method", "authors", "--curve"], "[/red]"),
        (split(), ["split", "--deadline-ms", "200", "--mbps", "20"], "[/e]"),
        (split(), ["split", "--deadline-ms", "1", "--mbps", "20"], "[/e]"),
    ],
)
def test_names_that_look_like_markup_are_printed(
    tmp_path: Path, content: dict[str, Any], command: list[str], name: str
) -> None:
    path = tmp_path / "asked.json"
    path.write_text(json.dumps(content))
    done = CliRunner().invoke(group, [command[0], str(path), *command[1:]], env={"COLUMNS": "80"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert name in done.output
    assert "…" not in done.output


def test_a_series_with_names_that_look_like_markup_is_printed(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(split()))
    (tmp_path / "s.txt").write_text("20\n\n15\n")
    arguments = ["split", str(tmp_path / "p.json"), "--deadline-ms", "200", "--series", str(tmp_path / "s.txt")]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0, done.output
    assert "[/e]" in done.output
    assert "read as Mbit/s, one for each of 2 s" in done.output


def test_tiers_may_be_numbered_as_anyone_likes(tmp_path: Path) -> None:
    path = tmp_path / "far.json"
    path.write_text(json.dumps(workflow(tier=2**40)))
    for method in ("authors", "exact"):
        done = CliRunner().invoke(group, ["workflow", str(path), "--method", method, "--seconds", "10"])
        assert done.exit_code == 0, done.output
        assert "$0.200/h" in done.output
