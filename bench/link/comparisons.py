"""The sections that compare our transport with others: which cells each measures, and what is said of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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
    in_turns,
    make_cells,
    run_cells,
    seconds_of,
)
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
from edgesight.bench.link.sections import Found, Section, Settings
from edgesight.bench.link.workload import Plan
from edgesight.bench.report import Check
from edgesight.sim.link.namespaces import missing

PHOTO_REQUESTS, FASHION_REQUESTS = 500, 334  # of a seed


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


def comparing(title: str, lacks: Callable[[Settings], str | None], cells: Callable[[Settings], list[Cell]]) -> Section:
    """The section that measures what `cells` gives and compares it, unless it `lacks` something."""
    return Section(
        title,
        lacks,
        lambda settings: seconds_of(cells(settings), settings.again),
        lambda settings, console: _compare(cells, settings, console),
        CODE,
        resumes=True,
    )


COMPARISONS = {
    "photos": comparing("photographs with EfficientNet-Lite0 under random loss", _lacks_photos, _photo_cells),
    "fashion-mnist": comparing("Fashion-MNIST under random loss", _lacks_fashion, _fashion_cells),
    "traces": comparing("both on traces of real links", _lacks_traces, _trace_cells),
    "slow": Section(
        "both on slow links and traces, at two rates",
        _lacks_slow,
        lambda settings: seconds_of(_slow_cells(settings), settings.again, at_once=True),
        _run_slow,
        CODE,
        resumes=True,
    ),
}
