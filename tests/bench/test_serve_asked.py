"""What a bench of systems under load is given, and what it makes of that before it runs, and in its report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("brevitas", reason="brevitas is not installed: extra `build`")
pytest.importorskip("aioquic", reason="aioquic is not installed: its wheel is missing on this machine")

from edgesight.bench.kept import Found
from edgesight.bench.sections import Section
from edgesight.bench.serve import bench
from edgesight.bench.serve.asked import Asked
from edgesight.bench.serve.profiles import ProfileError
from edgesight.host.datacenter.service import MAX_BATCH
from edgesight.sim.link.options import EmulationError
from edgesight.sim.workload import WorkloadError


def run(out: Path, asked: Asked, *names: str) -> bool:
    return bench.bench_serve(out, Console(quiet=True), asked, names or ("grid-signs",))


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "at least two moments"), ("a\n", "give seconds"), ("0\nnan\n", "rising"), ("2\n1\n", "rising"),
     ("1\n1\n", "all its moments are the same")],
)  # fmt: skip
def test_moments_that_are_none_are_refused_before_anything_runs(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "moments"
    path.write_text(content)
    with pytest.raises(WorkloadError, match=told):
        run(tmp_path / "out", Asked(arrivals=path))
    assert not (tmp_path / "out").exists()


def test_moments_without_an_end_are_refused_at_once(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(1 << 40)  # holds nothing, and takes no room
    for path, told in ((Path("/dev/zero"), "a pipe or a device"), (pipe, "a pipe or a device"), (large, "larger than")):
        with pytest.raises(WorkloadError, match=told):
            run(tmp_path / "out", Asked(arrivals=path))


def test_traces_and_gpus_that_are_none_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match=r"holds no TMobile-LTE-short.up: name the folder"):
        run(tmp_path / "out", Asked(traces=tmp_path))
    (tmp_path / "TMobile-LTE-short.up").write_text("-1\n")
    with pytest.raises(EmulationError, match="is not whole milliseconds"):
        run(tmp_path / "out", Asked(traces=tmp_path))
    with pytest.raises(ProfileError, match="is no report of GPUs"):
        run(tmp_path / "out", Asked(gpu=tmp_path / "absent.json"))
    assert not (tmp_path / "out").exists()


def test_another_file_of_the_same_name_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def measure(asked: Asked, folder: Path, console: Console) -> Found:
        runs.append(asked)
        return Found({}, ())

    monkeypatch.setattr(Section, "module", Path(bench.__file__))
    monkeypatch.setattr(bench, "SECTIONS", {"by hand": Section("by hand", measure, lambda _: None)})
    gpu, traces = tmp_path / "gpu.json", tmp_path / "traces"
    asked = Asked(gpu=gpu, traces=traces)
    traces.mkdir()
    for way in ("up", "down"):
        (traces / f"TMobile-LTE-short.{way}").write_text("1\n2\n")

    def gpu_of(seconds: float) -> None:
        model = {"executor": "y", "batch_seconds": {str(size): [seconds] for size in range(1, MAX_BATCH + 1)}}
        gpu.write_text(json.dumps({"device": "x", "models": [model]}))

    gpu_of(1e-3)
    for _ in range(2):
        run(tmp_path / "out", asked, "by hand")
    assert len(runs) == 1  # as found before
    gpu_of(2e-3)
    run(tmp_path / "out", asked, "by hand")
    assert len(runs) == 2
    (traces / "TMobile-LTE-short.down").write_text("1\n3\n")
    run(tmp_path / "out", asked, "by hand")
    assert len(runs) == 3
    monkeypatch.setattr(bench, "_shipped", lambda: [b"another kernel"])
    run(tmp_path / "out", asked, "by hand")
    assert len(runs) == 4


def test_the_report_is_json_as_all_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"cells": [{"ratio": (float("nan"), 1.5)}], "back_s": float("inf"), "good": {"share": 0.5}}
    section = Section[Asked]("by hand", lambda *_: Found(body, ()), lambda _: None)
    monkeypatch.setattr(Section, "module", Path(bench.__file__))
    monkeypatch.setattr(bench, "page", lambda *_: "")
    monkeypatch.setattr(bench, "SECTIONS", {"by hand": section})
    assert run(tmp_path, Asked(), "by hand")

    def refuse(word: str) -> None:
        raise ValueError(word)

    report = json.loads((tmp_path / "serve.json").read_text(), parse_constant=refuse)
    told = {"cells": [{"ratio": [None, 1.5]}], "back_s": None, "good": {"share": 0.5}}
    assert report["sections"]["by hand"] == told
