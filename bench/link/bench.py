"""The link's measurements in sections, each of which can be run alone and is not run again when it is there already.

What all sections found so far stands together in `link.json`; the comparison is drawn beside it, in `link.png`.

Words owned here: section.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from edgesight.bench.link import fairness, hedging
from edgesight.bench.link.cases import (
    MOST_PER_SECOND,
    DataCase,
    LinkCase,
    fashion_case,
    loss_cases,
    network_file,
    photo_case,
    slow_cases,
    slow_rate,
    trace_cases,
)
from edgesight.bench.link.compare import (
    CODE,
    OURS,
    TRANSPORTS,
    Cell,
    available_transports,
    code_checksum,
    in_turns,
    make_cells,
    run_cells,
    seconds_of,
)
from edgesight.bench.link.faults import run_faults
from edgesight.bench.link.photos import lacking
from edgesight.bench.link.rows import (
    SLOW_REQUESTS,
    Row,
    best_reliable,
    better_grpc,
    gate_checks,
    make_rows,
    slow_checks,
)
from edgesight.bench.link.workload import Plan, Spacing
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.files import write_atomically
from edgesight.plan.picture import save_picture
from edgesight.sim.link.namespaces import missing
from edgesight.sim.link.options import EmulationError

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 3  # of cells with a gate; the others have one
PHOTO_REQUESTS, FASHION_REQUESTS = 500, 334  # of a seed
_COLOURS = {
    "edgesight": "#e76f51",
    "grpc-cubic": "#a8b8c8",
    "grpc-bbr": "#457b9d",
    "quic": "#2a9d8f",
    "udp": "#c9a227",
}


@dataclass(frozen=True)
class Settings:
    """What a user may choose.

    Attributes:
        out: folder for link.json, link.png and link/, which holds what was measured.
        zoo: folder with the back end of Fashion-MNIST.
        photos: folder or zip of photographs; None: none.
        labels: file that tells what is on them, see `photos.read_photos`; None: nothing does.
        traces: folder of traces, see `cases.trace_cases`; None: none.
        fashion: gives Fashion-MNIST's test images uint8 [N, H, W, C] and labels [N]; None: there are none.
        seeds: of cells with a gate.
        requests: of a cell; None: PHOTO_REQUESTS and FASHION_REQUESTS.
        per_second, spacing, deadline_s: of requests, see `workload.Plan`.
        again: measure again what is there already.
    """

    out: Path
    zoo: Path
    photos: Path | None = None
    labels: Path | None = None
    traces: Path | None = None
    fashion: Callable[[], tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] | None = None
    seeds: int = SEEDS
    requests: int | None = None
    per_second: float = 20.0
    spacing: Spacing = "fixed"
    deadline_s: float = 1.0
    again: bool = False

    @property
    def folder(self) -> Path:
        """Where sections keep what they measured."""
        return self.out / "link"

    def plan(self, requests: int) -> Plan:
        """The plan of a cell of so many requests, unless the user chose another number."""
        count = self.requests if self.requests is not None else requests
        return Plan(count, per_second=self.per_second, spacing=self.spacing, deadline_s=self.deadline_s)


@dataclass(frozen=True)
class Found:
    """What a section found: checks, and plain JSON."""

    checks: list[Check]
    body: dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the bench.

    Attributes:
        title: for people.
        lacks: why it cannot be run, or None.
        seconds: how long it will take, about.
        run: measures, or reads what was measured.
        code: globs of the files it depends on; when one of them has changed, what it found no longer counts.
        resumes: whether it goes on by itself where it was stopped, and so is always run.
    """

    title: str
    lacks: Callable[[Settings], str | None]
    seconds: Callable[[Settings], float]
    run: Callable[[Settings, Console], Found]
    code: tuple[str, ...]
    resumes: bool = False


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
        _draw(comparisons, settings.out / "link.png")
    return print_checks(console, checks) and bool(checks)


# ---------------------------------------------------------------------------------------------------- comparisons


def _cache(settings: Settings) -> Path:
    return settings.folder / "data"


def _lacks_transports() -> str | None:
    if importlib.util.find_spec("grpc") is None:
        return "grpcio is not installed: `pip install 'edgesight[peers]'`"
    return missing()


def _lacks_photos(settings: Settings) -> str | None:
    if settings.photos is None:
        return "no photographs were given (--photos FOLDER or .zip)"
    if not settings.photos.exists():
        return f"{settings.photos} is not there"
    return lacking(network_file(_cache(settings))) or _lacks_transports()


def _lacks_fashion(settings: Settings) -> str | None:
    if settings.fashion is None:
        return "Fashion-MNIST is not there: apt-get install dataset-fashion-mnist, or --data-dir FOLDER"
    return _lacks_transports()


def _lacks_traces(settings: Settings) -> str | None:
    if settings.traces is None:
        return "no traces were given (--traces FOLDER)"
    if not settings.traces.is_dir():
        return f"{settings.traces} is no folder"
    if _lacks_photos(settings) is not None and _lacks_fashion(settings) is not None:
        return "there are neither photographs nor Fashion-MNIST"
    return None


def _photos(settings: Settings) -> DataCase:
    assert settings.photos is not None
    return photo_case(settings.photos, settings.labels, _cache(settings))


def _fashion(settings: Settings) -> DataCase:
    assert settings.fashion is not None
    return fashion_case(settings.zoo / "backend.onnx", *settings.fashion(), _cache(settings))


def _loss_cells(settings: Settings, data: DataCase, requests: int) -> list[Cell]:
    transports, _ = available_transports()
    cells = []
    for link in loss_cases():
        seeds = settings.seeds if link.gate is not None else 1
        plan = settings.plan(requests)
        if not link.up.loss:  # here transports differ least
            plan = in_turns(plan, data, len(transports))
        cells += make_cells([link], data, plan, seeds, settings.folder / "cells", transports)
    return cells


def _photo_cells(settings: Settings) -> list[Cell]:
    return _loss_cells(settings, _photos(settings), PHOTO_REQUESTS)


def _fashion_cells(settings: Settings) -> list[Cell]:
    return _loss_cells(settings, _fashion(settings), FASHION_REQUESTS)


def _trace_cells(settings: Settings) -> list[Cell]:
    assert settings.traces is not None
    links, (transports, _) = trace_cases(settings.traces), available_transports()
    cells: list[Cell] = []
    for lacks, data, requests in (
        (_lacks_photos, _photos, PHOTO_REQUESTS),
        (_lacks_fashion, _fashion, FASHION_REQUESTS),
    ):
        if lacks(settings) is None:
            plan = settings.plan(requests)
            cells += make_cells(links, data(settings), plan, 1, settings.folder / "cells", transports)
    return cells


def _lacks_slow(settings: Settings) -> str | None:
    if _lacks_photos(settings) is not None and _lacks_fashion(settings) is not None:
        return f"there are neither photographs nor Fashion-MNIST: {_lacks_fashion(settings)}"
    return None


def _slow_cells(settings: Settings) -> list[Cell]:
    """All links, data sets and rates; the requests are the same for each transport."""
    links = slow_cases()
    if settings.traces is not None and settings.traces.is_dir():
        links += trace_cases(settings.traces)
    transports = [transport for transport in available_transports()[0] if transport.reliable or transport is OURS]
    cells: list[Cell] = []
    for lacks, data_of in ((_lacks_photos, _photos), (_lacks_fashion, _fashion)):
        if lacks(settings) is not None:
            continue
        data = data_of(settings)
        for link in links:
            plan = settings.plan(SLOW_REQUESTS)
            for per_second in (plan.per_second, slow_rate(link, data)):
                at = replace(plan, per_second=per_second)
                if slow_rate(link, data) == MOST_PER_SECOND[data.name]:  # the ends bound it, not the link
                    at = in_turns(at, data, len(transports))
                cells += make_cells([link], data, at, 1, settings.folder / "cells", transports)
    return cells


def _run_slow(settings: Settings, console: Console) -> Found:
    cells = _slow_cells(settings)
    run_cells(cells, console, settings.again, at_once=True)
    checks: list[Check] = []
    comparisons = []
    groups: dict[tuple[str, str, float], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.data.name, cell.link.name, cell.plan.per_second), []).append(cell)
    for (data, _, per_second), own in groups.items():
        rows = make_rows(own)
        checks += slow_checks(rows, per_second, data)
        comparisons.append(_comparison(own[0].data, own[0].plan, [own[0].link], rows))
        _print_rows(console, f"{data}, {per_second:g}/s", rows)
    return Found(checks, {"slow": comparisons})


def _compare(cells_of: Callable[[Settings], list[Cell]], settings: Settings, console: Console) -> Found:
    cells = cells_of(settings)
    run_cells(cells, console, settings.again)
    checks: list[Check] = []
    comparisons = []
    for data in {cell.data.name: cell.data for cell in cells}.values():
        own = [cell for cell in cells if cell.data is data]
        links = list({cell.link.name: cell.link for cell in own}.values())
        rows = make_rows(own)
        checks += gate_checks(rows, links, data.name)
        comparisons.append(_comparison(data, own[0].plan, links, rows))
        _print_rows(console, data.name, rows)
    _, skipped = available_transports()
    for transport, reason in skipped.items():
        console.print(f"[yellow]{transport}: not compared: {reason}[/yellow]")
    return Found(checks, {"comparisons": comparisons, "skipped_transports": skipped})


def _comparison(data: DataCase, plan: Plan, links: Sequence[LinkCase], rows: Sequence[Row]) -> dict[str, Any]:
    def name(row: Row | None) -> str | None:
        return None if row is None else row.transport

    return {
        "data": data.name,
        "identity": data.identity,
        "accuracy_unharmed": data.accuracy,
        "per_second": plan.per_second,
        "spacing": plan.spacing,
        "deadline_s": plan.deadline_s,
        "links": {
            link.name: {
                "up": link.up.describe(),
                "down": link.down.describe(),
                "gated": link.gate is not None,
                "best_reliable": name(best_reliable(rows, link.name)),
                "better_grpc": name(better_grpc(rows, link.name)),
            }
            for link in links
        },
        "rows": [asdict(row) for row in rows],
    }


def _print_rows(console: Console, data: str, rows: Sequence[Row]) -> None:
    table = Table(title=f"Time to answer: {data}")
    for column in ("link", "transport", "P50 ms", "P99 ms", "in time", "agreement", "accuracy", "kB sent"):
        table.add_column(column, justify="left" if column in ("link", "transport") else "right")
    titles = {transport.name: transport.title for transport in TRANSPORTS}
    for row in rows:
        table.add_row(
            row.link,
            titles[row.transport],
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.answered:.1%}",
            f"{row.agreement:.1%}",
            "" if row.accuracy is None else f"{row.accuracy:.1%}",
            f"{row.sent_bytes / 1e3:.1f}",
        )
    console.print(table)


def _comparing(title: str, lacks: Callable[[Settings], str | None], cells: Callable[[Settings], list[Cell]]) -> Section:
    return Section(
        title,
        lacks,
        lambda settings: seconds_of(cells(settings), settings.again),
        lambda settings, console: _compare(cells, settings, console),
        CODE,
        resumes=True,
    )


# ------------------------------------------------------------------------------------------------------- fairness


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


# ------------------------------------------------------------------------------------------------ faults and fuzzing

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
        raise EmulationError(f"the fuzzers ended with {ended.returncode} and no result; what they said stands above")
    found = json.loads(result.read_text())
    crashes = sum(target["crash"] is not None for target in found["targets"])
    executions = sum(target["executions"] for target in found["targets"])
    checks = [
        Check("fuzzing: executions over all parsers", executions, FUZZED, False, "executions", "measured"),
        Check("fuzzing: targets that crashed", crashes, 0, True, "targets", "measured"),
    ]
    return Found(checks, found)


_HOST_CODE = (
    *("host/*.py", "host/link/*.py", "host/datacenter/*.py"),
    *("sim/link/relay.py", "sim/link/model.py"),
)
SECTIONS: dict[str, Section] = {
    "photos": _comparing("photographs with EfficientNet-Lite0 under random loss", _lacks_photos, _photo_cells),
    "fashion-mnist": _comparing("Fashion-MNIST under random loss", _lacks_fashion, _fashion_cells),
    "traces": _comparing("both on traces of real links", _lacks_traces, _trace_cells),
    "slow": Section(
        "both on slow links and traces, at two rates",
        _lacks_slow,
        lambda settings: seconds_of(_slow_cells(settings), settings.again, at_once=True),
        _run_slow,
        CODE,
        resumes=True,
    ),
    "fairness": Section(
        "our congestion control beside TCP and alone",
        lambda settings: missing(),
        _fairness_seconds,
        _run_fairness,
        (
            *(f"host/link/{name}.py" for name in ("congestion", "quic", "queue", "loss", "client", "server")),
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


# -------------------------------------------------------------------------------------------------------- picture


def _draw(comparisons: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Draw P99 and agreement by link, a colour a transport, a row of two panels a comparison."""
    matplotlib.use("Agg")  # no display is needed
    from matplotlib import pyplot

    shown = [one for found in comparisons.values() for one in found if one["rows"]]
    figure, axes = pyplot.subplots(len(shown), 2, figsize=(14, 3.6 * len(shown)), squeeze=False, layout="constrained")
    for (when, what), one in zip(axes, shown, strict=True):
        links = list(one["links"])
        there = [transport for transport in TRANSPORTS if any(r["transport"] == transport.name for r in one["rows"])]
        width = 0.8 / len(there)
        for place, transport in enumerate(there):
            rows = {row["link"]: row for row in one["rows"] if row["transport"] == transport.name}
            at = [links.index(link) + (place - (len(there) - 1) / 2) * width for link in rows]
            style = {"color": _COLOURS[transport.name], "label": transport.title}
            when.bar(at, [row["p99_ms"] for row in rows.values()], width, **style)
            when.plot(at, [row["p50_ms"] for row in rows.values()], "_", color="black", markersize=60 * width)
            what.bar(at, [100 * row["agreement"] for row in rows.values()], width, **style)
        for axis in (when, what):
            axis.set_xticks(range(len(links)), links)
            axis.spines[["top", "right"]].set_visible(False)
        when.set_yscale("log")
        when.set_ylim(bottom=20.0)
        when.set_ylabel("ms to the answer")
        when.set_title(f"{one['data']}: P99 (black: P50), deadline {1e3 * one['deadline_s']:g} ms")
        what.set_ylim(0, 102)
        what.set_ylabel("agreement, %")
        what.set_title(f"{one['data']}: answered in time as on the unharmed image")
    handles, titles = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside lower center", ncols=len(titles), frameon=False)
    figure.suptitle(f"{OURS.title} and others over an emulated link, real packets", fontsize=11)
    save_picture(figure, path)
