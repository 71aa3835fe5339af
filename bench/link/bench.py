"""The link's measurements in sections, each of which can be run alone and is not run again when it is there already.

What all sections found so far stands together in `link.json`; the comparison is drawn beside it, in `link.png`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.link import fairness, hedging
from edgesight.bench.link.compare import CONGESTION_CODE, code_checksum
from edgesight.bench.link.compare_picture import draw
from edgesight.bench.link.comparisons import COMPARISONS
from edgesight.bench.link.faults import run_faults
from edgesight.bench.link.sections import Found, Section, Settings
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.files import write_atomically
from edgesight.sim.link.namespaces import missing
from edgesight.sim.link.options import EmulationError

ROOT = Path(__file__).resolve().parents[2]


def bench_link(settings: Settings, names: Sequence[str], console: Console) -> bool:
    """Run the sections `names` (none: all) of SECTIONS; returns whether all checks in link.json are met.

    Raises the errors of what it measures; what was measured until then is kept.
    """
    chosen = list(names) or list(SECTIONS)
    due: list[str] = []
    for name in chosen:
        reason = SECTIONS[name].lacks(settings)
        if reason is not None:
            console.print(f"[yellow]{name}: skipped: {reason}[/yellow]")
            if _current(settings, name) is None:
                _keep(settings, name, {"skipped": reason})
        else:
            due.append(name)
    seconds = {name: 0.0 if _done(settings, name) else SECTIONS[name].seconds(settings) for name in due}
    for name in due:
        console.print(f"{name}: {SECTIONS[name].title}: about {seconds[name] / 60:.0f} min")
    console.print(f"about {sum(seconds.values()) / 60:.0f} minutes in all; what is measured is kept if you stop it")
    for name in due:
        if not _done(settings, name):
            console.rule(name)
            found = SECTIONS[name].run(settings, console)
            content = {"checks": [asdict(check) for check in found.checks], "body": found.body}
            _keep(settings, name, {**content, "code": code_checksum(SECTIONS[name].code)})
    return _summarise(settings, console)


def _file(settings: Settings, name: str) -> Path:
    return settings.folder / f"{name}.json"


def _keep(settings: Settings, name: str, content: dict[str, Any]) -> None:
    file = _file(settings, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())


def _read(settings: Settings, name: str) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(_file(settings, name).read_text())
    except (OSError, ValueError):
        return None
    return content


def _current(settings: Settings, name: str) -> dict[str, Any] | None:
    """What a section found, where the code is still the same."""
    content = _read(settings, name)
    same = content is not None and content.get("code") == code_checksum(SECTIONS[name].code)
    return content if same else None


def _done(settings: Settings, name: str) -> bool:
    """Whether a section need not be run."""
    return not (settings.again or SECTIONS[name].resumes) and _current(settings, name) is not None


def _summarise(settings: Settings, console: Console) -> bool:
    """Put all sections' findings together."""
    checks: list[Check] = []
    body: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "machine": platform.machine(), "kernel": platform.release()},
        "python": platform.python_version(),
        "sections": {},
    }
    for name in SECTIONS:
        content, current = _read(settings, name), _current(settings, name)
        if current is not None:
            body["sections"][name] = current["body"]
            checks += [Check(**check) for check in current["checks"]]
        elif content is not None and "skipped" in content:
            body["sections"][name] = content
        else:
            reason = "not run yet" if content is None else "the code has changed since it was run"
            body["sections"][name] = {"skipped": reason}
    write_report(settings.out / "link.json", body, checks)
    comparisons = {
        name: section["comparisons"] for name, section in body["sections"].items() if "comparisons" in section
    }
    if comparisons:
        draw(comparisons, settings.out / "link.png")
    return print_checks(console, checks) and bool(checks)


def _run_fairness(settings: Settings, console: Console) -> Found:
    fairness.bench_fairness(settings.out, console)
    body = json.loads((settings.out / "fairness.json").read_text())
    names = Check.__dataclass_fields__
    checks = [Check(**{key: value for key, value in one.items() if key in names}) for one in body.pop("checks")]
    return Found(checks, body)


def _fairness_seconds(settings: Settings) -> float:
    beside = len(fairness.QUEUES) * fairness.SEEDS * fairness.SECONDS
    alone = len(fairness.LOSSES) * (1 + len(fairness.OTHERS)) * fairness.LOSS_SECONDS
    return beside + alone


FAULTS = 200
FUZZED = 10_000_000  # executions
_FAULT_SECONDS, _FUZZ_SECONDS = 1_200.0, 1_200.0


def _run_faults(settings: Settings, console: Console) -> Found:
    return Found(*run_faults(settings.folder / "faults", console, 1, FAULTS))


def _lacks_fuzzer(settings: Settings) -> str | None:
    if not (ROOT / "tests" / "fuzz").is_dir():
        return "the fuzz targets are in the repository alone: run this from a clone"
    if importlib.util.find_spec("atheris") is None:
        return (
            "atheris is not installed: pip install 'edgesight[fuzz]' (wheels: Linux on x86-64, Python 3.11 and newer)"
        )
    return None


def _run_fuzz(settings: Settings, console: Console) -> Found:
    """Run the fuzzers in a process of their own: they are tests, which nothing here imports."""
    out = settings.folder / "fuzz"
    console.print(f"fuzzing all parsers, {FUZZED:,} executions ...")
    result = out / "fuzz.json"
    result.unlink(missing_ok=True)  # what an earlier run found is not this one's
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.run", "--out", str(out.resolve())),
            *("--runs", str(FUZZED), "--seconds", str(3 * _FUZZ_SECONDS)),
        ],
        cwd=ROOT,
    )
    if not result.exists():
        raise EmulationError(f"the fuzzers ended with {ended.returncode} and no result; see what they said above")
    found = json.loads(result.read_text())
    crashes = sum(target["crash"] is not None for target in found["targets"])
    executions = sum(target["executions"] for target in found["targets"])
    checks = [
        Check("fuzzing: executions over all parsers", executions, FUZZED, False, "executions", "measured"),
        Check("fuzzing: targets that crashed", crashes, 0, True, "targets", "measured"),
    ]
    return Found(checks, found)


_HOST_CODE = (
    *("host/*.py", "host/picture_formats/*.py", "host/link/*.py", "host/datacenter/*.py"),
    *("sim/link/relay.py", "sim/link/model.py"),
)
SECTIONS: dict[str, Section] = {
    **COMPARISONS,
    "fairness": Section(
        "our congestion control beside TCP and alone",
        lambda settings: missing(),
        _fairness_seconds,
        _run_fairness,
        (
            *CONGESTION_CODE,
            *(
                f"host/link/{name}.py"
                for name in ("quic", "queue", "loss", "client", "client_peer", "connection", "server")
            ),
            *(f"bench/link/{name}.py" for name in ("fairness", "backlog")),
            *(f"sim/link/{name}.py" for name in ("engine", "model", "namespaces")),
        ),
    ),
    "hedging": Section(
        "hedged against sequential offload",
        lambda settings: None,
        lambda settings: hedging.seconds_of(),
        lambda settings, console: Found(*hedging.run_hedging(settings.folder / "hedging", console)),
        (*_HOST_CODE, "bench/link/hedging.py"),
    ),
    "faults": Section(
        "faults against a real edge and data centre",
        lambda settings: None,
        lambda settings: _FAULT_SECONDS,
        _run_faults,
        (*_HOST_CODE, *(f"bench/link/{name}" for name in ("fault*.py", "mischief.py", "clock.cpp"))),
    ),
    "fuzz": Section(
        "fuzzing all parsers",
        _lacks_fuzzer,
        lambda settings: _FUZZ_SECONDS,
        _run_fuzz,
        ("host/**/*.py", "sim/link/options.py", "tests/fuzz/**/*.py"),
    ),
}
