"""Who may import whom: rooms from floors below alone, nothing in circles, and everything by one name."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# A room, and the rooms that it may import from. The same is said in words in docs/architecture.md.
ROOMS = {
    "edgesight": ("bench", "sim", "plan", "hls", "host", "quant"),
    "bench": ("sim", "plan", "hls", "host", "quant"),
    "sim": ("host",),
    "plan": ("host",),
    "hls": ("host",),
    "quant": ("host",),
    "host": (),
}
# Of what runs, who compiles knows the package and its files; who trains, how a picture becomes pixels, what a back end
# takes of it and what runs one, and the arithmetic of the detector of strange pictures.
OF_HOST = {
    "hls": (
        "edgesight.host.kernel",
        "edgesight.host.board_build",  # what the kernel says of boards
        "edgesight.host.back_end",
        "edgesight.host.package",
        "edgesight.host.files",
        "edgesight.host.libraries",
        "edgesight.host.errors",
        "edgesight.host.pixels",
    ),
    "quant": (
        "edgesight.host.detector",
        "edgesight.host.textures",
        "edgesight.host.pictures",
        "edgesight.host.pixels",
        "edgesight.host.picture_files",
        "edgesight.host.kernel",
        "edgesight.host.datacenter.executors.base",
        "edgesight.host.datacenter.models",
        "edgesight.host.files",
        "edgesight.host.errors",
    ),
}
# What a room must do without: a board above all.
TOO_HEAVY = {
    "host": ("torch", "brevitas", "hls4ml", "qonnx", "matplotlib"),
    "plan": ("torch", "brevitas", "hls4ml", "qonnx"),
    "sim": ("torch", "brevitas", "hls4ml", "qonnx"),
    # Who compiles and who trains know of each other no more than a QONNX file.
    "hls": ("torch", "brevitas"),
    "quant": ("hls4ml",),
}
# The modules that may import such a library: in them alone, and only once a user asks for it.
WHERE_ASKED = {
    "edgesight.host.datacenter.executors.pytorch": ("torch",),
    "edgesight.host.datacenter.executors.device_pictures": ("torch",),
}


def modules(root: Path) -> dict[str, str]:
    """The source of each module under `root`, by the name that it is imported by."""
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            if any(part.is_symlink() for part in (path, *path.parents)):
                continue  # the rooms under edgesight/ are links to these
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name if room == "edgesight" else f"edgesight.{name}"] = path.read_text()
    return found


def imported(source: str, known: Iterable[str] = ()) -> set[str]:
    """What a module imports, wherever in it, be it by a call; a name that is itself a `known` module counts as that."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}: name it whole"
            assert node.module is not None  # as only a relative import has none
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in inner}
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            named = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            if called in ("import_module", "__import__") and isinstance(named, str):
                assert not named.startswith("."), f"relative import in line {node.lineno}: name it whole"
                found.add(named)
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "edgesight"


def wrong(sources: Mapping[str, str]) -> list[str]:
    """Every import that the rooms forbid, and every circle."""
    problems = []
    arrows: dict[str, set[str]] = {}
    for module, source in sources.items():
        own = room(module)
        names = imported(source, sources)
        arrows[module] = {name for name in names if name in sources and name != module}
        for name in sorted(names):
            first = name.split(".")[0]
            if first in ROOMS and first != "edgesight":
                problems.append(f"{module} imports {name}: say edgesight.{name}")
            elif first in TOO_HEAVY.get(own, ()) and first not in WHERE_ASKED.get(module, ()):
                problems.append(f"{module} imports {first}, which {own}/ must do without")
            elif first == "edgesight" and room(name) not in (own, *ROOMS[own]):
                problems.append(f"{module} imports {name}: {own}/ knows nothing of {room(name)}/")
            elif own in OF_HOST and room(name) == "host" and name not in OF_HOST[own]:
                problems.append(f"{module} imports {name}: of host/, {own}/ knows {', '.join(OF_HOST[own])}")
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        problems.append(f"in a circle: {' -> '.join(error.args[1])}")
    return problems


def test_rooms_import_from_the_floors_below_alone() -> None:
    sources = modules(ROOT)
    assert {room(module) for module in sources} == set(ROOMS)
    assert wrong(sources) == []


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("edgesight.host.edge", "from edgesight.sim.link.relay import relay", "host/ knows nothing of sim/"),
        ("edgesight.host.edge", "import torch", "imports torch, which host/ must do without"),
        ("edgesight.host.edge", 'importlib.import_module("torch")', "imports torch, which host/ must do without"),
        ("edgesight.host.edge", 'def f():\n    __import__("edgesight.sim.verilate")', "host/ knows nothing of sim/"),
        ("edgesight.hls.folding", "import torch", "imports torch, which hls/ must do without"),
        ("edgesight.quant.export", "def f():\n    from hls4ml.model import graph", "quant/ must do without"),
        ("edgesight.plan.profile", "def f():\n    from edgesight.hls import emit", "plan/ knows nothing of hls/"),
        ("edgesight.quant.export", "import edgesight.hls.compile", "quant/ knows nothing of hls/"),
        (
            "edgesight.hls.compile",
            "from edgesight.host.link.client import Client",
            "of host/, hls/ knows edgesight.host.kernel",
        ),
        ("edgesight.bench.report", "from edgesight.cli.app import main", "bench/ knows nothing of edgesight/"),
        ("edgesight.sim.workers", "from host.kernel import Package", "say edgesight.host.kernel"),
        ("edgesight.sim.workers", "import host", "imports host: say edgesight.host"),
        ("edgesight.bench.report", "def f():\n    from host import kernel", "imports host: say edgesight.host"),
        ("edgesight.host.files", "from edgesight.host import kernel", "in a circle: edgesight.host."),
    ],
)
def test_a_forbidden_import_is_seen(module: str, line: str, told: str) -> None:
    sources = modules(ROOT)
    problems = wrong({**sources, module: f"{sources[module]}\n{line}\n"})
    assert problems
    assert told in problems[0]


@pytest.mark.parametrize("line", ["from . import files", "from .files import lines", "from .. import sim"])
def test_a_relative_import_is_seen(line: str) -> None:
    with pytest.raises(AssertionError, match="name it whole"):
        imported(line)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"host/edge.py": "import edgesight.sim.relay", "sim/relay.py": ""}, ["host/ knows nothing of sim/"]),
        (
            {"plan/a.py": "from edgesight.plan import b", "plan/b.py": "from edgesight.plan.a import c"},
            ["in a circle: edgesight.plan."],
        ),
        ({"plan/a.py": "from edgesight.plan import b", "plan/b.py": "import math"}, []),
    ],
)
def test_what_stands_in_files_is_seen(files: Mapping[str, str], told: list[str], tmp_path: Path) -> None:
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    problems = wrong(modules(tmp_path))
    assert len(problems) == len(told)
    assert all(text in problem for text, problem in zip(told, problems, strict=True))


def test_tests_benches_of_modules_and_examples_use_the_one_name() -> None:
    short = set(ROOMS) - {"edgesight"}
    for folder in ("tests", "sim", "docs"):
        for path in (ROOT / folder).rglob("*.py"):
            names = imported(path.read_text())
            assert not {name for name in names if name.split(".")[0] in short}, path


def of_tests(source: str) -> list[str]:
    """Whatever a test imports by or from a test file; what several tests share has a file of its own beside them."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            path = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [".".join([*path, alias.name]) for alias in node.names]
    return [name for name in names if any(part.startswith("test_") for part in name.split("."))]


def test_no_test_imports_a_test() -> None:
    found = {path: of_tests(path.read_text()) for folder in ("tests", "sim") for path in (ROOT / folder).rglob("*.py")}
    assert len(found) > 100
    assert {str(path.relative_to(ROOT)): names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.host.test_offload import run",
        "import tests.host.test_offload",
        "def f():\n    from tests.host import test_offload",
        "from .test_offload import run",
    ],
)
def test_an_import_of_a_test_is_seen(line: str) -> None:
    assert of_tests(line)


def test_nothing_is_loaded_under_a_short_name() -> None:
    """One class under two names would be two."""
    loaded = {name.split(".")[0] for name in sys.modules}
    assert sorted(loaded & (set(ROOMS) - {"edgesight"})) == []
