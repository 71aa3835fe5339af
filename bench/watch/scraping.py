"""A real Prometheus that scrapes the programs that are measured, and what it knows of them.

Words owned here: series (a name and its labels).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import edgesight.host
from edgesight.host.errors import EdgeSightError

MONITORING = Path(edgesight.host.__path__[0]) / "monitoring"  # the rules that come along
_NEEDED = ("prometheus", "promtool")
_WITHIN_S = 30.0  # for Prometheus to begin, and for a scrape to pass
_LOOK_EVERY_S = 0.1
_OWN = {"__name__", "instance", "job"}  # labels that Prometheus gives

Series = tuple[str, frozenset[tuple[str, str]]]
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # loopback is behind no proxy


class ScrapeError(EdgeSightError):
    """A Prometheus that does not do its part: says where to look."""


def lacks() -> str | None:
    """Why there can be no Prometheus; None where there can."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    return f"{' and '.join(missing)} not found: install Debian's package prometheus" if missing else None


def get(address: str, path: str) -> Any:
    """The JSON, else the text, at a path of a server. Raises OSError."""
    with _open(f"http://{address}{path}", timeout=_WITHIN_S) as answer:
        content = answer.read().decode()
    with contextlib.suppress(ValueError):
        return json.loads(content)
    return content


def promtool_faults() -> list[str]:
    """What promtool says against the rules that come along, and their tests."""
    faults = []
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        found = subprocess.run(["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False)
        if found.returncode:
            faults.append(f"promtool {' '.join(words)}: {found.stdout}{found.stderr}")
    return faults


class Prometheus:
    """One that scrapes; made by `scraping`."""

    def __init__(self, address: str, jobs: Sequence[str], log: Path) -> None:
        """At HOST:PORT."""
        self._address, self._jobs, self._log = address, jobs, log

    def _ask(self, path: str, **parameters: str) -> Any:
        return get(self._address, f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}")["data"]

    async def scraped(self) -> float:
        """Wait until all was scraped that is there now; then, seconds since 1970. Raises ScrapeError."""
        begun = time.time()
        while time.time() < begun + _WITHIN_S:
            await asyncio.sleep(_LOOK_EVERY_S)
            up = await asyncio.to_thread(self._ask, "query", query="timestamp(up == 1)")
            at = {row["metric"]["job"]: float(row["value"][1]) for row in up["result"]}
            if all(at.get(job, 0.0) > begun for job in self._jobs):
                return max(at.values())
        raise ScrapeError(f"Prometheus scraped not all of {', '.join(self._jobs)} in time: see {self._log}")

    def samples(self, job: str, at: float) -> dict[Series, float]:
        """What it knows of a job at a time, of ours alone."""
        query = f'{{job="{job}", __name__=~"edgesight_.*"}}'
        rows = self._ask("query", query=query, time=repr(at))["result"]
        return {
            (row["metric"]["__name__"], frozenset((k, v) for k, v in row["metric"].items() if k not in _OWN)): float(
                row["value"][1]
            )
            for row in rows
        }

    def kinds(self) -> dict[str, str]:
        """Of each metric whether it is a counter, a gauge or a histogram."""
        return {name: told[0]["type"] for name, told in self._ask("metadata").items() if name.startswith("edgesight_")}

    def unsound_rules(self, names: Sequence[str]) -> list[str]:
        """Those that it does not have, or cannot evaluate."""
        rules = [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]
        sound = {rule["name"] for rule in rules if rule["health"] == "ok"}
        return [name for name in names if name not in sound]

    def alerts(self) -> list[str]:
        """That fire."""
        return sorted({one["labels"]["alertname"] for one in self._ask("alerts")["alerts"] if one["state"] == "firing"})


@contextlib.asynccontextmanager
async def scraping(folder: Path, at: str, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """A Prometheus at HOST:PORT that scrapes `targets`, HOST:PORT by job, every second; it keeps all in `folder`."""
    folder.mkdir(parents=True)
    jobs = [{"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()]
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration = {"global": every, "rule_files": [str(MONITORING / "alerts.yml")], "scrape_configs": jobs}
    path, log = folder / "prometheus.json", folder / "prometheus.log"
    path.write_text(json.dumps(configuration))  # JSON is YAML
    words = [f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={at}"]
    with log.open("wb") as written:
        process = subprocess.Popen(["prometheus", *words], stdin=subprocess.DEVNULL, stdout=written, stderr=written)
    try:
        await _ready(at, process, log)
        yield Prometheus(at, list(targets), log)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def _ready(at: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _WITHIN_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(get, at, "/-/ready")
            return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise ScrapeError(f"Prometheus does not begin: see {log}")
