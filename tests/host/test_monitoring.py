"""The dashboard and the alert rules speak of what the programs tell, of all of it and of nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed: extra `oip`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.power_replay import Bench, World
from edgesight.host.applications.applications import Application, Applications
from edgesight.host.audits import Auditing, Audits
from edgesight.host.cascade import Cascade
from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.repository import Repository
from edgesight.host.datacenter.service import Service
from edgesight.host.doors.metrics import exposition
from edgesight.host.edge import Edge
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.keys import client_keys
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import Server
from edgesight.host.power.meter import EnergyMeter
from edgesight.sim.link.trust import make_trust
from edgesight.sim.rtl.runner import ROOT
from tests.host.by_hand import FakeFabric, package, watched
from tests.host.offloading import SumModel
from tests.host.power_benches import BenchSensor

FOLDER = ROOT / "host" / "monitoring"
TYPE = re.compile(r"^# TYPE (edgesight_\w+) (\w+)$", re.MULTILINE)
NAME = re.compile(r"edgesight_\w+")


async def told_by_both(folder: Path) -> dict[str, str]:
    """Kinds of all metrics that there are, by name, as an edge with all that it can have and a data centre tell."""
    trust, known = make_trust(folder), watched()
    made = package(folder / "kernel", known)
    meter = EnergyMeter(BenchSensor(Bench(World(), 1)))
    client = OffloadClient("127.0.0.1", 1, client_keys(trust.edge, IDLE_TIMEOUT))
    audits = Audits(Auditing(folder / "audits"), known, made.kernel.classes)
    cascade = Cascade(FakeFabric(made), known, client, meter, audits=audits)
    async with Edge(cascade) as edge:
        texts = [exposition(Applications({"shelf": Application(edge)}))]
    cascade.close()
    service = Service(SumModel())
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        configuration = authority.configuration(IDLE_TIMEOUT)
        server = Server(configuration, authority, service.served, service.received, service.gone)
        async with DataCentre(Repository(None, None), Local(1)) as centre:
            centre.link = lambda: (*server.measures(), *service.measures())
            texts.append(exposition(centre))
    return {name: kind for text in texts for name, kind in TYPE.findall(text.decode())}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return asyncio.run(told_by_both(tmp_path_factory.mktemp("told")))


def series_of(told: dict[str, str]) -> set[str]:
    """Names as Prometheus's queries have them."""
    found = {name for name, kind in told.items() if kind != "histogram"}
    for name, kind in told.items():
        if kind == "histogram":
            found |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    return found


def test_the_docs_list_all_that_is_told(told: dict[str, str]) -> None:
    text = (ROOT / "docs" / "watching.md").read_text()
    assert [name for name in told if f"`{name.removeprefix('edgesight_')}`" not in text] == []


def test_the_dashboard_shows_all_that_is_told_and_nothing_else(told: dict[str, str]) -> None:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    shown: set[str] = set()
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            shown |= set(NAME.findall(target["expr"]))
    assert shown - series_of(told) == set()
    for name, kind in told.items():
        assert (f"{name}_count" if kind == "histogram" else name) in shown


def test_the_rules_ask_for_what_is_told_alone(told: dict[str, str]) -> None:
    for name in ("alerts.yml", "alerts_test.yml"):
        assert set(NAME.findall((FOLDER / name).read_text())) - series_of(told) == set()


def test_every_rule_is_shown_firing_and_says_what_to_do() -> None:
    rules, shown = ((FOLDER / name).read_text() for name in ("alerts.yml", "alerts_test.yml"))
    names = re.findall(r"- alert: (\w+)", rules)
    assert re.findall(r"alertname: (\w+)", shown) == names
    assert rules.count("summary: ") == rules.count("action: ") == len(names)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: Debian's package prometheus")
def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        found = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: Debian's package prometheus")
def test_promtool_takes_the_dashboards_queries(tmp_path: Path) -> None:
    """As rules, since it checks no others: what Grafana fills in is filled in."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    filled = [one.replace("$__rate_interval", "1m").replace("$instance", ".*") for one in queries]
    rules = [{"record": f"shown:{number}", "expr": query} for number, query in enumerate(filled)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "shown", "rules": rules}]}))  # JSON is YAML
    found = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_live_page_asks_for_what_is_told_alone(told: dict[str, str]) -> None:
    script = (ROOT / "host" / "doors" / "page" / "live.js").read_text()
    asked = re.findall(r'\b(?:rows|has|total)\(\w+, "(\w+)"', script)
    asked += re.findall(r'\b(?:rate|share|rise)\("(\w+)"', script)
    asked += re.findall(r'\bshare\("\w+", \{[^}]*\}, "(\w+)"', script)
    assert len(set(asked)) > 15
    there = {name.removeprefix("edgesight_").removesuffix("_total") for name in told}
    assert set(asked) - there == set()
