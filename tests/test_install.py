"""Installing: on the boards' images, from wheels alone, and what a wheel of this project must hold.

Each file under boards/ says what one board's image holds. Resolving for it proves that pip finds a wheel for everything
else, without touching what the image has but for the few packages that are named there.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomllib
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOARDS = Path(__file__).parent / "boards"
PACKAGE = ROOT / "bitstreams" / "digits"
SECONDS = 300

PIP = "pip==26.3"  # older ones ask this Python, not the one named, what a package requires
# pip takes another machine's wheels on request, but asks this machine whether a requirement's condition holds.
PIP_ELSEWHERE = """
import json, sys
from pip._vendor.packaging import markers
here, there = markers.default_environment, json.loads(sys.argv[1])
markers.default_environment = lambda: {**here(), **there}
from pip._internal.cli.main import main
sys.exit(main(sys.argv[2:]))
"""

IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import edgesight.host as host
names = [module.name for module in pkgutil.walk_packages(host.__path__, "edgesight.host.")]
for name in names:
    if name in sys.argv[1:]:
        continue
    importlib.import_module(name)
print(len(names))
"""

ASK = """
import json, sys
import edgesight
heavy = {"torch", "onnx", "hls4ml"} & {name.partition(".")[0] for name in sys.modules}
heavy |= {name for name in sys.modules if name.startswith(("edgesight.sim", "edgesight.hls"))}
assert not heavy, heavy
with edgesight.open("digits", fabric=sys.argv[1]) as edge:
    answers = edge.ask_many(sys.argv[2:], accuracy=0.95, deadline_ms=60_000)
assert not {"torch", "hls4ml"} & {name.partition(".")[0] for name in sys.modules}
print(json.dumps([answer.class_name for answer in answers]))
"""

# Of what a board has no wheel or no need.
ELSEWHERE = tuple(f"edgesight.{room}" for room in ("bench", "cli", "hls", "plan", "quant", "sim"))
NOT_ON_A_BOARD = ("scipy", "torch", "brevitas", "hls4ml", *ELSEWHERE)
# scipy; onnxruntime; what the extra `oip` brings
NEEDS_MORE = (
    "edgesight.host.accuracy_targets",
    "edgesight.host.adapt.remote",
    "edgesight.host.calibrate",
    "edgesight.host.datacenter.models",
    "edgesight.host.doors.configuration",
    "edgesight.host.doors.connections",
    "edgesight.host.doors.grpc_door",
    "edgesight.host.doors.http",
    "edgesight.host.doors.live",
    "edgesight.host.doors.messages",
    "edgesight.host.doors.metrics",
    "edgesight.host.doors.pages",
    "edgesight.host.doors.serve",
    "edgesight.host.doors.tracing",
    "edgesight.host.observed",
)


@pytest.fixture(scope="session")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a pip of known version; skips where no package index can be reached."""
    folder = tmp_path_factory.mktemp("pip")
    found = _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", folder, PIP)
    if found.returncode:
        pytest.skip(f"no package index can be reached: {found.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed: setuptools leaves its own files in the folder that it builds."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "edgesight", folder / "edgesight", ignore=shutil.ignore_patterns("__pycache__", "zoo"))
    return folder


@pytest.fixture(scope="session")
def wheel(pip: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built = _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, pip=pip)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_all_code_and_all_hardware(source: Path, wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(source).as_posix()
        for package in (source / "edgesight").rglob("__init__.py")
        if package.parent != source / "edgesight" / "sim" / "pynq" / "simulator"  # builds on what is under the GPL 3
        for path in package.parent.iterdir()
        if path.suffix in (".py", ".sv", ".cpp")
    }
    wanted |= {
        path.relative_to(source).as_posix() for path in (source / "edgesight" / "hw").rglob("*") if path.is_file()
    }
    assert "edgesight/sim/harness.cpp" in wanted
    wanted |= {path.relative_to(source).as_posix() for path in (source / "edgesight" / "sim" / "vivado").iterdir()}
    assert "edgesight/sim/vivado/recorder.tcl" in wanted
    examples = source / "edgesight" / "plan" / "examples"
    wanted |= {path.relative_to(source).as_posix() for path in examples.iterdir() if path.is_file()}
    assert "edgesight/plan/examples/trace.txt" in wanted
    page = source / "edgesight" / "host" / "doors" / "page"  # without any of it no door for HTTP opens
    wanted |= {path.relative_to(source).as_posix() for path in page.iterdir()}
    assert "edgesight/host/doors/page/live.svg" in wanted
    assert sorted(wanted - held) == []
    assert {name.split("/")[0] for name in held} == {"edgesight", "edgesight-0.1.0.dist-info"}
    assert sorted(name for name in held if "/test_" in name or "__pycache__" in name) == []
    with zipfile.ZipFile(wheel) as opened:
        gpl = {name for name in held if name.endswith(".py") and b"import cocotbpynq" in opened.read(name)}
    assert not gpl


@pytest.mark.parametrize("board", sorted(path.stem for path in BOARDS.glob("*.toml")))
def test_the_hosts_needs_resolve_from_wheels_beside_what_the_image_holds(
    board: str, pip: Path, wheel: Path, tmp_path: Path
) -> None:
    image = tomllib.loads((BOARDS / f"{board}.toml").read_text())
    python, machine = image["python"], image["machine"]
    pins = [f"{name}=={version}" for name, version in image["has"].items()]
    for name, version in image["has"].items():
        _stand_in(tmp_path, name, version, image["needs"].get(name, []))
    there = {
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
    }
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(image["glibc"], 16, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    report = tmp_path / "report.json"
    done = _run(
        *(sys.executable, "-c", PIP_ELSEWHERE, json.dumps(there), "install", "--dry-run", "--ignore-installed"),
        *("--quiet", "--only-binary", ":all:", "--target", tmp_path / "target", "--report", report),
        *("--python-version", python, "--implementation", "cp", "--abi", f"cp{python.replace('.', '')}"),
        *("--abi", "abi3", "--abi", "none", *(f"--platform={platform}" for platform in platforms)),
        *("--find-links", tmp_path, wheel, *pins),
        pip=pip,
    )
    assert done.returncode == 0, done.stderr
    chosen = {
        entry["metadata"]["name"].lower().replace("_", "-"): entry["metadata"]["version"]
        for entry in json.loads(report.read_text())["install"]
    }
    assert {"edgesight", "numpy", "pillow", "pydantic", "typer"} <= set(chosen)
    assert ({"aioquic", "cryptography"} <= set(chosen)) == (machine != "armv7l")
    assert {name: chosen[name] for name in image["has"]} == image["has"]
    for name, old in image["replaced"].items():
        assert [int(part) for part in chosen[name].split(".")] > [int(part) for part in old.split(".")]


@pytest.mark.parametrize("version", ["3.10", "3.12"])
def test_an_installed_wheel_runs_the_host(version: str, pip: Path, wheel: Path, tmp_path: Path) -> None:
    python = _interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} is here")
    made = _run(python, "-m", "venv", "--without-pip", tmp_path / "venv")
    assert made.returncode == 0, made.stderr
    bin_folder = tmp_path / "venv" / "bin"
    options = ("--quiet", "--no-compile", "--only-binary", ":all:")
    installed = _run(bin_folder / "python", "-m", "pip", "install", *options, wheel, pip=pip)
    assert installed.returncode == 0, installed.stderr
    imported = _run(bin_folder / "python", "-c", IMPORT_EVERYTHING, *NEEDS_MORE, folder=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 20
    for command in (["--help"], ["show", PACKAGE], ["query", "--help"]):
        ran = _run(bin_folder / "edgesight", *command, folder=tmp_path)
        assert ran.returncode == 0, ran.stderr
    if version == "3.10":
        return  # the build side needs Python 3.11
    found = _run(
        bin_folder / "python",
        "-c",
        "from edgesight.hls.boards import FOLDER; print(*FOLDER.iterdir())",
        folder=tmp_path,
    )
    assert str(tmp_path / "venv") in found.stdout


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")
def test_an_installed_wheel_answers_digits_on_simulated_fabrics(pip: Path, wheel: Path, tmp_path: Path) -> None:
    """With the extra `sim` alone, and a shipped package copied beside it: no checkout is near."""
    datasets = pytest.importorskip("sklearn.datasets")
    made = _run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    assert made.returncode == 0, made.stderr
    python = tmp_path / "venv" / "bin" / "python"
    wanted = f"edgesight[sim] @ {wheel.as_uri()}"
    installed = _run(python, "-m", "pip", "install", "--quiet", "--no-compile", wanted, pip=pip)
    assert installed.returncode == 0, installed.stderr
    shutil.copytree(PACKAGE, tmp_path / "digits")
    pictures = []
    for digit, values in enumerate(datasets.load_digits().images[:3]):
        pictures.append(tmp_path / f"{digit}.png")
        Image.fromarray((values * 15.9).astype("uint8")).save(pictures[-1])  # 0 to 16 in the data set
    for fabric in ("csim", "verilated"):
        asked = _run(python, "-I", "-c", ASK, fabric, *pictures, folder=tmp_path, cache=tmp_path / "cache")
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout) == ["0", "1", "2"]


def test_the_host_imports_nothing_that_a_board_has_not() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_A_BOARD!r}))\n"
    ran = _run(sys.executable, "-c", blocked + IMPORT_EVERYTHING, *NEEDS_MORE)
    assert ran.returncode == 0, ran.stderr


def test_without_quic_the_edge_still_starts_and_a_data_centre_is_refused_with_the_way_to_build_it(
    tmp_path: Path,
) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['aioquic', 'cryptography']))\n"
    alone = """
from pathlib import Path
import edgesight.host.queries, edgesight.host.cascade, edgesight.host.selftest
from edgesight.host.applications.run import Setup, run_edge
from edgesight.host.link.datagrams import LinkError
try:
    run_edge([Setup(Path(sys.argv[1]), "csim", datacenter=("::1", 1), keys_folder=Path("keys"))], Path(sys.argv[2]))
except LinkError as error:
    print(error)
"""
    ran = _run(sys.executable, "-c", blocked + alone, PACKAGE, tmp_path / "socket")
    assert ran.returncode == 0, ran.stderr
    assert "aioquic is not installed" in ran.stdout
    assert "run the edge without one" in ran.stdout


def _run(
    *command: Any, folder: Path = ROOT, pip: Path | None = None, cache: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `command` in `folder`, with the given folder's pip before any other, and a cache of its own where one is."""
    words = [str(word) for word in command]
    variables = os.environ if pip is None else {**os.environ, "PYTHONPATH": str(pip)}
    variables = variables if cache is None else {**variables, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        words, cwd=folder, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def _interpreter(version: str) -> Path | None:
    """A Python of this version that can make virtual environments."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(versions.glob(f"{version}.*/bin/python"))]
    for candidate in candidates:
        if candidate is not None:
            said = _run(candidate, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])")
            if said.returncode == 0 and said.stdout.strip() == version:
                return Path(candidate)
    return None


def _stand_in(folder: Path, name: str, version: str, needs: list[str]) -> None:
    """A wheel without content, for a package that the image holds and no index has a wheel of."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{info}/METADATA": "\n".join(
            [
                "Metadata-Version: 2.1",
                f"Name: {name}",
                f"Version: {version}",
                *(f"Requires-Dist: {need}" for need in needs),
            ]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    rows = csv.writer(record)
    for path, text in files.items():
        rows.writerow([path, f"sha256={hashlib.sha256(text.encode()).hexdigest()}", len(text)])
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", record.getvalue())
