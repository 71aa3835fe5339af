"""The command line: a data set that no code names goes all the way, and every fault gives one clear message."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.edgesight.commands import DIGITS, ROOT, ZOO, fails, succeeds

CLASSES = ("Kreis rot", "Würfel grün", "Öl & Essig", "zebra")
SEED = 11


def paint(generator: np.random.Generator, kind: int) -> Image.Image:
    """A noisy 16x16 picture whose colour and form say its class."""
    pixels = generator.integers(0, 90, (16, 16, 3))
    row, column = generator.integers(0, 6, 2)
    height, width = ((10, 10), (10, 4), (4, 10), (6, 6))[kind]
    pixels[row : row + height, column : column + width, kind % 3] += 150
    return Image.fromarray(pixels.astype(np.uint8))


def make_folder(folder: Path) -> None:
    generator = np.random.default_rng(SEED)
    for kind, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(120):
            paint(generator, kind).save(folder / name / f"{number:03}.png")


def test_a_folder_of_pictures_goes_from_training_to_the_demo(tmp_path: Path) -> None:
    make_folder(tmp_path / "Bilder aus Köln")
    data = f"folder:{tmp_path / 'Bilder aus Köln'}"
    zoo, package = tmp_path / "zoo", tmp_path / "kernels" / "formen"
    succeeds("train", data, "--seeds", "1", "--quick", "--out", zoo, cwd=tmp_path)
    succeeds("compile", zoo, "--out", package, "--cycles", "500,4000")
    succeeds("calibrate", package, data, "--targets", "0.5,0.6", "--resplits", "20")
    succeeds("verify", package, data, "--zoo", zoo, "--images", "60", "--out", tmp_path / "verify")
    report = json.loads((tmp_path / "verify" / "report.json").read_text())
    assert report["images"] == 60
    assert set(report["mismatches"].values()) == {0}
    # What the shipped kernels are held against does not apply here.
    succeeds("demo", "--dataset", data, "--package", package, "--images", "40", "--out", tmp_path / "demo")
    rows = json.loads((tmp_path / "demo" / "report.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["edge only (stage 1)", "target 50.0%", "target 60.0%", "data centre only"]
    assert Image.open(tmp_path / "demo" / "report.png").size[0] > 1000
    shown = json.loads(succeeds("show", package, "--json"))
    assert set(shown["classes"]) == set(CLASSES)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    copy = tmp_path / "digits"
    shutil.copytree(DIGITS, copy, ignore=shutil.ignore_patterns("lib"))
    return copy


def test_a_truncated_manifest_is_named(package: Path) -> None:
    manifest = package / "kernel.json"
    manifest.write_bytes(manifest.read_bytes()[:500])
    fails("kernel.json: field whole file: Invalid JSON", "show", package)


def test_a_damaged_file_is_named(package: Path) -> None:
    victim = package / "rtl" / "stage0.sv"
    victim.write_bytes(victim.read_bytes() + b" ")
    fails("checksum differs", "show", package)


def test_a_packed_kernel_has_all_of_its_hardware_in_it(package: Path, tmp_path: Path) -> None:
    succeeds("pack", package, "--out", tmp_path / "packed")
    given, made = (json.loads((folder / "kernel.json").read_text()) for folder in (package, tmp_path / "packed"))
    assert set(made["files"]) == set(given["files"]) | {f"rtl/{name}" for name in given["library"]}
    for name, digest in given["library"].items():
        assert hashlib.sha256((tmp_path / "packed" / "rtl" / name).read_bytes()).hexdigest() == digest
    files = {"files", "checksum"}
    assert {key: made[key] for key in made.keys() - files} == {key: given[key] for key in given.keys() - files}


def test_another_data_set_than_the_kernels_is_refused(package: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "others")
    given = (package, f"folder:{tmp_path / 'others'}")
    fails("was trained on data set digits", "demo", "--package", package, "--dataset", given[1])
    fails("is none of the package's classes (0, 1, 2, ", "calibrate", *given, "--targets", "0.5")


def test_malformed_targets_change_nothing(package: Path) -> None:
    before = (package / "kernel.json").read_bytes()
    fails("--targets 0.9,high", "calibrate", package, "digits", "--targets", "0.9,high")
    assert (package / "kernel.json").read_bytes() == before


def test_targets_that_are_all_refused_change_nothing_and_say_what_holds(package: Path) -> None:
    before = (package / "kernel.json").read_bytes()
    fails(
        "calibration images the highest target that holds is",
        *("calibrate", package, "digits", "--targets", "0.995,0.999", "--resplits", "0"),
    )
    assert (package / "kernel.json").read_bytes() == before


def test_a_folder_without_networks_is_named(tmp_path: Path) -> None:
    fails("no readable model card", "compile", tmp_path, "--out", tmp_path / "kernel")
    assert not (tmp_path / "kernel").exists()


def test_wrong_budgets_and_reuse_factors_say_what_is_expected(tmp_path: Path) -> None:
    fails("expected STAGE.LAYER=N", "compile", ZOO, "--out", tmp_path / "kernel", "--reuse", "Conv_1=many")
    fails("expected STAGE.LAYER=N", "compile", ZOO, "--out", tmp_path / "kernel", "--reuse", "stage2.Conv_1=1")
    for cycles in ("1,2,3,4,5", "500,", "0"):
        fails("one to 4 of them", "compile", ZOO, "--out", tmp_path / "kernel", "--cycles", cycles)
    fails(
        "stage2.onnx: is missing (the cascade is to have 3",
        "compile",
        ZOO,
        "--out",
        tmp_path / "kernel",
        "--cycles",
        "9,9,9",
    )
    alone = ("compile", ZOO / "stage0.onnx", "--out", tmp_path / "kernel")
    fails("is a network alone; give one number of --cycles", *alone, "--cycles", "100,200")
    fails("is a network alone", *alone, "--calibration", ROOT / "bitstreams" / "digits")


def test_another_folding_takes_the_calibration_over(tmp_path: Path) -> None:
    fold = ("compile", ZOO, "--out", tmp_path / "slow", "--cycles", "5000,40000", "--no-csim", "--calibration")
    succeeds(*fold, DIGITS)
    made, given = (json.loads((folder / "kernel.json").read_text()) for folder in (tmp_path / "slow", DIGITS))
    assert made["build_hash"] != given["build_hash"]
    assert made["calibration"] == given["calibration"] is not None
    fails("is not that of kernel 'fashion-mnist'", *fold, ROOT / "bitstreams" / "fashion-mnist")


def test_no_edge_listening_is_said(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(picture)
    fails("edge", "query", picture, "--accuracy", "0.9", "--deadline-ms", "50", "--socket", tmp_path / "none.sock")


def test_the_version_is_printed() -> None:
    assert succeeds("--version").strip() == f"edgesight {importlib.metadata.version('edgesight')}"


def test_every_command_explains_itself() -> None:
    commands = ("train", "compile", "show", "verilate", "calibrate", "verify", "demo", "datacenter", "edge", "query",
                "kernels", "keys make", "bench folding")  # fmt: skip
    for command in commands:
        assert "Usage" in succeeds(*command.split(), "--help")


ENTRIES = re.findall(r'^edgesight = "(.+):(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
BEGUN = {
    "python -m": ["-m", "edgesight"],
    "script": ["-c", "from {} import {} as main; main()".format(*ENTRIES[0])],
}


@pytest.mark.parametrize("module", ["typer", "rich", "pydantic"])
@pytest.mark.parametrize("begun", BEGUN)
def test_ctrl_c_while_the_command_line_is_imported_is_one_line(tmp_path: Path, begun: str, module: str) -> None:
    """A module that takes for ever to import, in the place of one that takes long."""
    (tmp_path / f"{module}.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *BEGUN[begun], "kernels"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nstopped\n")


def test_the_names_of_the_package_are_there() -> None:
    import edgesight as package

    named = {name: getattr(package, name).__name__ for name in package.__all__}
    assert named == {name: name for name in package.__all__} | {"open": "open_session"}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing  # type: ignore[attr-defined]
