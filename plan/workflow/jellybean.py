"""Reads workflows in the format that JellyBean's authors published: a directory of CSV, JSON and YAML files.

    logical_graph.csv                  node, node
    input_injection_rates.csv          source, requests a second
    execution_profile.csv              operator, worker, variant, milliseconds (`nan`: the worker cannot run it)
    message_sizes.csv                  node, node, its variant, its variant, KB of 1024 bytes; `default`: any variant
    workers_specs.csv                  worker, dollars an hour
    workers_partition.json             lists of workers, one a tier, nearest the data first
    accuracy_requirement.json          {"sink": operator, "threshold": percent}
    accuracy_profile.csv               a header of operators and accuracy_percent, then variants and the percent
    workers_workers_link.csv           optional: worker, worker, price; a pair left out is free
    sources_workers_link.csv           optional: source, worker, price; a pair left out is free
    throughput_normalization_ratios.csv  optional: node, node, ratio; an edge left out has ratio 1
    workers_numbers.csv                optional: worker, how many; they become worker_0, worker_1, ...
    config.yaml                        optional: INPUT.LATENCY_OVERESTIMATE_RATIO, INPUT.COMM_COST_SCALING_FACTOR

The authors keep accuracies in a pickle as well; pickles can run code, so none is ever read. Links backwards are read
and left out, since data flows forward only. A comma too many at a line's end is read over, with a warning.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgesight.plan.profile import PlanError, checked
from edgesight.plan.workflow.problem import Workflow
from edgesight.plan.workflow.published_files import Directory, Row

_BYTES_PER_KB = 1024
_ANY = "default"
_MOST_OF_A_KIND = 10_000  # workers: more could not be planned for, and a slip of the pen would fill the memory
# The settings of the authors' search that its reimplementation here has built in.
_SEARCH = {"BEAM_SEARCH.BEST_K": 10, "WORKER_ASSIGNMENT.MAX_NUM_ASSIGN_ORDERS": 10,
           "WORKER_ASSIGNMENT.BEST_K_ASSIGNMENTS": 10}  # fmt: skip
_PER_VARIANT = "throughput_normalization_ratios_per_variant.csv"


@dataclass(frozen=True)
class Published:
    """A workflow as it was published, and what was odd about its files."""

    workflow: Workflow
    warnings: tuple[str, ...]


def read_directory(path: Path) -> Published:
    """The workflow in directory `path`. Latencies, sizes and accuracies are quoted, percents become shares, KB bytes.

    Raises PlanError naming file, line and reason.
    """
    files = Directory(path)
    if files.has(_PER_VARIANT):
        raise PlanError(f"{path / _PER_VARIANT}: ratios by variant are not supported; give one ratio for each edge")
    overestimate, price_scale = _settings(files)

    sources = {row.cells[0]: row for row in files.rows("input_injection_rates.csv", 2, unique=1)}
    rates = {name: row.number(1, "the rate", above=True) for name, row in sources.items()}
    edges = {row.cells: row for row in files.rows("logical_graph.csv", 2, unique=2)}
    for name, lines in (("input_injection_rates.csv", sources), ("logical_graph.csv", edges)):
        if not lines:
            raise PlanError(f"{path / name}:1: holds nothing: write at least one row")
    operators: dict[str, dict[str, None]] = {}
    for (source, target), row in edges.items():
        if target in rates:
            raise row.fault(
                f"{target!r} has a rate in input_injection_rates.csv, so nothing may lead to it"
                ": leave one of the two out"
            )
        for name in (source, target):
            if name not in rates:
                operators.setdefault(name, {})
    _check_graph(sources, edges)
    sink, asked = _requirement(files, operators)
    for (source, target), row in edges.items():
        if source == sink:
            raise row.fault(
                f"{sink!r} is the sink of accuracy_requirement.json, so it may not lead to {target!r}"
                ": leave this row out"
            )

    copies = _copies(files)
    tiers = _tiers(files, copies)
    for name, row in sources.items():
        if name in tiers:
            raise row.fault(
                f"{name!r} is a worker of workers_partition.json, and can't be a source as well: rename one of the two"
            )
    prices: dict[str, float] = {}
    for row in files.rows("workers_specs.csv", 2, unique=1):
        for worker in copies.get(row.cells[0], [row.cells[0]]):
            if worker not in tiers:
                raise row.fault(f"{row.cells[0]!r} is in no tier of workers_partition.json: add it to one")
            prices[worker] = row.number(1, "the price")
    for worker in tiers:
        if worker not in prices:
            raise files.fault(
                "workers_partition.json", f'"{worker}"', f"{worker!r} has no price in workers_specs.csv: add it"
            )

    def machines(row: Row, place: int) -> list[str]:
        name = row.cells[place]
        found = copies.get(name, [name])
        if any(worker not in tiers for worker in found):
            raise row.fault(f"{name!r} is no worker of workers_partition.json: name one of these")
        return found

    latencies: dict[str, dict[str, dict[str, float]]] = {worker: {} for worker in tiers}
    for row in files.rows("execution_profile.csv", 4, unique=3):
        operator = row.known(0, operators, "operator of logical_graph.csv")
        operators[operator][row.cells[2]] = None
        if row.cells[3].lower() == "nan":
            continue
        latency = row.number(3, "the latency", above=True) * overestimate
        for worker in machines(row, 1):
            latencies[worker].setdefault(operator, {})[row.cells[2]] = latency
    for (source, target), row in edges.items():
        for name in (source, target):
            if name in operators and not operators[name]:
                raise row.fault(f"{name!r} has neither a rate nor a latency in execution_profile.csv: add one")
    led_to = {target for _, target in edges}
    for (source, _), row in edges.items():
        if source in operators and source not in led_to:
            raise row.fault(
                f"nothing leads to {source!r}, and it has no rate in input_injection_rates.csv: add one or the other"
            )

    def of_edge(row: Row) -> tuple[str, ...]:
        if row.cells[:2] not in edges:
            raise row.fault(f"{row.cells[0]!r} to {row.cells[1]!r} is no edge of logical_graph.csv: name one of these")
        return row.cells[:2]

    messages: dict[tuple[str, ...], list[dict[str, Any]]] = {edge: [] for edge in edges}
    last_size: dict[tuple[str, ...], Row] = {}
    for row in files.rows("message_sizes.csv", 5, unique=4):
        edge = of_edge(row)
        message: dict[str, Any] = {"size_bytes": row.number(4, "the size") * _BYTES_PER_KB}
        for place, end in ((0, "source"), (1, "target")):
            variant = row.cells[place + 2]
            if variant != _ANY:
                if variant not in operators.get(edge[place], ()):
                    raise row.fault(
                        f"{variant!r} is no variant of {edge[place]!r} in execution_profile.csv: name one of these"
                    )
                message[f"{end}_variant"] = variant
        messages[edge].append(message)
        last_size[edge] = row
    for edge, row in edges.items():
        if not messages[edge]:
            raise row.fault(f"{edge[0]!r} to {edge[1]!r} has no size in message_sizes.csv: add it")
        _check_sizes(last_size[edge], messages[edge], operators)
    ratios: dict[tuple[str, ...], float] = {}
    if files.has("throughput_normalization_ratios.csv"):
        for row in files.rows("throughput_normalization_ratios.csv", 3, unique=2):
            ratios[of_edge(row)] = row.number(2, "the ratio", above=True)

    listed: dict[tuple[str, str], float] = {}
    places = {**dict.fromkeys(rates, 0), **tiers}
    for name, ends in (
        ("workers_workers_link.csv", machines),
        (
            "sources_workers_link.csv",
            lambda row, place: [row.known(place, rates, "source of input_injection_rates.csv")],
        ),
    ):
        if files.has(name):
            _read_links(files, name, ends, machines, places, price_scale, listed)

    content = {
        "obtained": "quoted",
        "sources": [{"name": name, "rate": rate} for name, rate in rates.items()],
        "operators": [{"name": name, "variants": list(variants)} for name, variants in operators.items()],
        "edges": [
            {"source": edge[0], "target": edge[1], "ratio": ratios.get(edge, 1.0), "messages": messages[edge]}
            for edge in edges
        ],
        "workers": [
            {"name": name, "tier": tier, "dollars_per_hour": prices[name], "latency_ms": latencies[name]}
            for name, tier in tiers.items()
        ],
        **_links(places, list(tiers), listed),
        "sink": sink,
        "accuracies": _accuracies(files, operators),
        "accuracy": asked,
    }
    return Published(checked(content, Workflow, str(path)), tuple(files.warnings))


def _check_graph(sources: Mapping[str, Row], edges: Mapping[tuple[str, ...], Row]) -> None:
    """Raises PlanError where a source leads nowhere, or edges form a cycle."""
    used = {source for source, _ in edges}
    for name, row in sources.items():
        if name not in used:
            raise row.fault(f"source {name!r} leads nowhere in logical_graph.csv: add an edge, or leave the source out")
    before: dict[str, list[str]] = {}
    for source, target in edges:
        before.setdefault(target, []).append(source)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        # Any of its edges may be the wrong one; the last line is where the file becomes wrong.
        row = max((edges[edge] for edge in pairwise(cycle)), key=lambda row: row.line)
        raise row.fault(f"closes a cycle, {' to '.join(cycle)}: leave one of these edges out") from error


def _check_sizes(row: Row, messages: list[dict[str, Any]], operators: Mapping[str, Mapping[str, object]]) -> None:
    """Raises PlanError where the `messages` of an edge, whose last line is `row`, leave out a variant of its ends."""
    source, target = row.cells[:2]
    given = {(message.get("source_variant"), message.get("target_variant")) for message in messages}
    own: list[str | None] = [*operators[source]] if source in operators else [None]
    for first in own:
        for second in operators[target]:
            if given.isdisjoint({(first, second), (None, second), (first, None), (None, None)}):
                variants = f"variant {second!r}" if first is None else f"variants {first!r} to {second!r}"
                raise row.fault(f"{source!r} to {target!r} has sizes up to here, and none for {variants}: add these")


def _settings(files: Directory) -> tuple[float, float]:
    """The factors on latencies and on link prices."""
    import yaml  # type: ignore[import-untyped] # its stubs are a package of their own

    name = "config.yaml"
    if not files.has(name):
        files.warnings.append(f"{files.path / name}: is not there; latencies and link prices are taken as they stand")
        return 1.0, 1.0
    try:
        content = yaml.safe_load(files.text(name))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        raise PlanError(
            f"{files.path / name}:{line}: is no YAML ({getattr(error, 'problem', None) or error}): repair it"
        ) from error
    if not isinstance(content, dict):
        raise PlanError(f"{files.path / name}:1: write sections such as INPUT")

    def value(section: str, key: str) -> Any:
        within = content.get(section)
        if within is not None and not isinstance(within, dict):
            raise files.fault(name, section, f"{section} holds no settings: write KEY = VALUE below it")
        return None if within is None else within.get(key)

    factors = []
    for key in ("LATENCY_OVERESTIMATE_RATIO", "COMM_COST_SCALING_FACTOR"):
        factor = value("INPUT", key)
        if factor is None:
            files.warnings.append(f"{files.path / name}: no INPUT.{key}; taken as 1")
            factor = 1.0
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
            raise files.fault(name, key, f"{key} is {factor!r}; write a number of at least 0")
        if key == "LATENCY_OVERESTIMATE_RATIO" and factor == 0:
            raise files.fault(name, key, f"{key} is 0; write one above 0")
        factors.append(float(factor))
    for setting, built_in in _SEARCH.items():
        other = value(*setting.split("."))
        if other not in (None, built_in):
            files.warnings.append(f"{files.path / name}: {setting} is {other}; the method here has {built_in} built in")
    return factors[0], factors[1]


def _copies(files: Directory) -> dict[str, list[str]]:
    """The machines of each kind, where workers are given as kinds and numbers."""
    if not files.has("workers_numbers.csv"):
        return {}
    copies = {}
    for row in files.rows("workers_numbers.csv", 2, unique=1):
        number = row.number(1, "the number")
        if number != int(number):
            raise row.fault(f"the number is {number:g}, not a whole one: write a whole one")
        if number > _MOST_OF_A_KIND:
            raise row.fault(f"the number is {number:g}; write at most {_MOST_OF_A_KIND}")
        copies[row.cells[0]] = [f"{row.cells[0]}_{place}" for place in range(int(number))]
    return copies


def _tiers(files: Directory, copies: Mapping[str, list[str]]) -> dict[str, int]:
    """The tier of every worker."""
    name = "workers_partition.json"
    if not files.has(name):
        raise PlanError(f"{files.path / name}: is not there; list the workers of each tier, nearest the data first")
    content = files.json(name)
    if not isinstance(content, list) or not all(isinstance(tier, list) for tier in content) or not content:
        raise PlanError(f"{files.path / name}:1: write a list of lists of workers")
    tiers: dict[str, int] = {}
    for place, tier in enumerate(content):
        for worker in tier:
            if not isinstance(worker, str):
                raise files.fault(name, json.dumps(worker), f"{worker!r} is no worker's name: write names")
            for machine in copies.get(worker, [worker]):
                if machine in tiers:
                    raise files.fault(name, f'"{worker}"', f"{worker!r} is in it twice: leave one out")
                tiers[machine] = place
    if not tiers:
        listed = {worker for tier in content for worker in tier}
        if not listed:
            raise PlanError(f"{files.path / name}:1: lists no worker: write at least one")
        # Then each of them is a kind of which there are none.
        row = next(row for row in files.rows("workers_numbers.csv", 2) if row.cells[0] in listed)
        raise row.fault(f"no worker is left: the number of every kind in {name} is 0: write at least one")
    return tiers


def _requirement(files: Directory, operators: Mapping[str, object]) -> tuple[str, float]:
    """The sink, and the share asked of it."""
    name = "accuracy_requirement.json"
    content = files.json(name)
    if not isinstance(content, dict):
        raise PlanError(f"{files.path / name}:1: write an object with sink and threshold")
    for key in ("sink", "threshold"):
        if key not in content:
            raise PlanError(f"{files.path / name}:1: {key} is missing: add it")
    if not isinstance(content["sink"], str) or content["sink"] not in operators:
        raise files.fault(
            name, "sink", f"sink {content['sink']!r} is no operator of logical_graph.csv: name one of these"
        )
    threshold = content["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 100:
        raise files.fault(name, "threshold", f"threshold is {threshold!r}; write a percent from 0 to 100")
    if 0 < threshold <= 1:
        raise files.fault(
            name,
            "threshold",
            f"threshold is {threshold!r}, which is read as percent: write {100 * threshold:g} for a share of "
            f"{threshold:g}",
        )
    return content["sink"], threshold / 100


def _accuracies(files: Directory, operators: Mapping[str, Mapping[str, object]]) -> list[dict[str, Any]]:
    """The rows of accuracy_profile.csv."""
    name = "accuracy_profile.csv"
    if not files.has(name) and files.has("nodes_accuracy_profiles.pkl"):
        raise PlanError(
            f"{files.path / name}: is not there, and nodes_accuracy_profiles.pkl is not read, since a pickle can run "
            "code; write its rows as CSV: a header of operators and accuracy_percent, then variants and the percent"
        )
    names: tuple[str, ...] | None = None
    seen: dict[tuple[str, ...], int] = {}
    rows = []
    shares: list[float] = []
    for row in files.rows(name, None):
        if names is None:
            if row.cells[-1] != "accuracy_percent":
                raise row.fault("the header's last column is another: call it accuracy_percent")
            names = row.cells[:-1]
            for place, operator in enumerate(names):
                row.known(place, operators, "operator of logical_graph.csv")
                if operator in names[:place]:
                    raise row.fault(f"{operator!r} is in the header twice: leave one out")
            continue
        row.once(len(names), seen)
        for place, operator in enumerate(names):
            row.known(place, operators[operator], f"variant of {operator!r} in execution_profile.csv")
        percent = row.number(len(names), "the accuracy")
        if percent > 100:
            raise row.fault(f"the accuracy is {percent:g}; write at most 100")
        shares.append(percent / 100)
        rows.append({"variants": dict(zip(names, row.cells[:-1], strict=True)), "accuracy": percent / 100})
    if not rows:
        raise PlanError(f"{files.path / name}:1: holds no accuracies: write one a row")
    best = max(shares)
    if 0 < best <= 0.01:
        raise PlanError(
            f"{files.path / name}:1: accuracy_percent is at most {100 * best:g}: these look like shares; write percents"
        )
    return rows


def _read_links(
    files: Directory,
    name: str,
    sources: Callable[[Row, int], list[str]],
    targets: Callable[[Row, int], list[str]],
    tiers: Mapping[str, int],
    scale: float,
    listed: dict[tuple[str, str], float],
) -> None:
    """Put the prices of the links in file `name` that lead forward into `listed`."""
    for row in files.rows(name, 3, unique=2):
        price = row.number(2, "the price") * scale
        for source in sources(row, 0):
            for target in targets(row, 1):
                if tiers[source] < tiers[target]:
                    listed[source, target] = price
                elif tiers[source] == tiers[target] and price and source != target:
                    files.warnings.append(
                        f"{row.path}:{row.line}: a link within a tier; it is free, its price is not used"
                    )
                    break


def _links(places: Mapping[str, int], workers: list[str], listed: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    """One price from tier to tier, the most frequent one, and the pairs that differ from it."""
    groups: dict[tuple[int, int], dict[tuple[str, str], float]] = {}
    for source, first in places.items():
        for worker in workers:
            if first < places[worker]:
                pair = source, worker
                groups.setdefault((first, places[worker]), {})[pair] = listed.get(pair, 0.0)
    tier_links, worker_links = [], []
    for (first, last), prices in sorted(groups.items()):
        values = list(prices.values())
        usual = max(sorted(set(values)), key=values.count)
        tier_links.append({"source": first, "target": last, "dollars_per_gib": usual})
        worker_links += [
            {"source": source, "target": target, "dollars_per_gib": price}
            for (source, target), price in prices.items()
            if price != usual
        ]
    return {"tier_links": tier_links, "worker_links": worker_links}
