"""All sections of the photographs' bench on drawn pictures: what each finds, and that a run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgesight.bench.photograph import cascade, kernels, site, stranger
from edgesight.bench.photograph.asked import Asked, Photographs
from edgesight.bench.photograph.bench import bench_photograph
from edgesight.quant import datasets
from edgesight.sim.rtl.runner import ROOT, missing_tools
from tests.bench.drawn_photographs import SIDE, THUMBNAIL, draw, save_back_end

CLOTHES = Path(__file__).resolve().parents[3] / "shared" / "data" / "clothing224.zip"
TEST = 50  # pictures of a class in the test split
OWN = ROOT / "docs" / "examples" / "my_networks.py"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Asked]]:
    """The folder of a run of all sections on drawn pictures, and what it was asked."""
    if missing_tools():
        pytest.skip(f"missing tools: {missing_tools()}")
    folder = tmp_path_factory.mktemp("photograph")
    drawn = draw(folder / "drawn", train=80, test=TEST)
    asked = Asked(
        Photographs(
            f"folder:{drawn}",
            options=("--size", str(THUMBNAIL), "--seeds", "1", "--quick", "--stage0", f"{OWN}:small"),
            backend=save_back_end(folder, "large", SIDE),
            thumbnail=save_back_end(folder, "small", THUMBNAIL),
            cycles="2000",
        )
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patched.setattr(cascade, "SEEDS", 2)
        patched.setattr(cascade, "COMPARED", 20)
        patched.setattr(cascade, "OVER_LINK", 20)
        patched.setattr(stranger, "ASKED", 20)
        patched.setattr(site, "PER_SECOND", 10.0)
        patched.setattr(site, "BEFORE_S", 1.0)
        patched.setattr(site, "AFTER_S", 1.0)
        bench_photograph(folder / "out", Console(stderr=True), asked)
        yield folder / "out", asked


def report_of(out: tuple[Path, Asked]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out[0] / "photograph.json").read_text())
    return found


def check_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [check for check in report["checks"] if check["name"] == name]
    return dict(found)


def test_the_photograph_is_worth_what_a_thumbnail_cannot_show(out: tuple[Path, Asked]) -> None:
    report = report_of(out)
    found = report["sections"]["photograph"]
    assert found["back_ends"] == {**found["back_ends"], "height": SIDE, "accuracy": 1.0}
    assert found["back_ends"]["thumbnail"]["height"] == THUMBNAIL
    for name in ("back end's accuracy", "better than by the thumbnail", "cascade below the data centre alone"):
        assert check_of(report, f"photograph: {name}")["met"], name
    assert found["test_images"] == 3 * TEST
    assert len(found["picked"]["thresholds"]) == 1
    assert len(found["at_loss"]["by_seed"]) == 2
    assert found["ladder"][0]["bytes"] > found["ladder"][-1]["bytes"] or len(found["ladder"]) == 1


def test_all_forms_of_the_stages_answer_alike_and_the_link_is_really_crossed(out: tuple[Path, Asked]) -> None:
    report = report_of(out)
    found = report["sections"]["photograph"]
    pairs = found["compared"]["mismatches"]
    assert {"stage0 logits reference=csim", "stage0 logits reference=rtl"} <= set(pairs)
    assert check_of(report, "photograph: images that differ")["met"]
    assert {"data centre only"} < {row["name"] for row in found["over_link"]}


def test_a_stranger_is_served_and_each_mistake_is_said(out: tuple[Path, Asked]) -> None:
    report = report_of(out)
    found = report["sections"]["stranger"]
    assert all(found["mistakes"].values()), found["mistakes"]
    assert (found["outputs"], found["named"]) == (1_000, 3)
    assert found["served"]["share"] == 1.0
    assert found["served"]["accuracy"] >= 0.9
    for check in report["checks"]:
        assert check["met"] or not check["name"].startswith("stranger"), check


def test_a_site_gets_targets_of_its_own_and_its_edge_answers_meanwhile(out: tuple[Path, Asked]) -> None:
    report = report_of(out)
    found = report["sections"]["site"]
    assert found["rests_on"]["dataset"] == "pictures"
    assert found["targets"]
    assert found["swap"]["asked"] >= 10
    assert found["swap"]["errors"] == []
    assert check_of(report, "own site: answered while thresholds are swapped")["met"]


def test_sections_without_data_are_skipped_with_the_reason(out: tuple[Path, Asked]) -> None:
    assert set(report_of(out)["skipped"]) == {"signs"}


def test_a_second_run_finds_everything_as_it_was(out: tuple[Path, Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    before = report_of(out)
    monkeypatch.setattr(kernels, "run_command", None)  # nothing is made anew
    bench_photograph(out[0], Console(quiet=True), out[1])
    assert report_of(out) == before


def test_real_photographs_are_as_they_are_described() -> None:
    if not CLOTHES.is_file():
        pytest.skip(f"needs {CLOTHES}")
    data = datasets.load(f"folder:{CLOTHES}", size=48, say=lambda line: None, photograph=(224, 224, 3))
    assert len(data.classes) == 10
    assert len(data.train) + len(data.calibration) + len(data.test) == 3_781
    assert data.test.photographs[np.array([0])].shape == (1, 224, 224, 3)
