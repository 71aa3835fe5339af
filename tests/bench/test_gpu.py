"""The GPU bench: on a CPU the same code, shortly; and without a GPU a report that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

pytest.importorskip("torch", reason="torch is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `build`")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")

from edgesight.bench.gpu.bench import bench_gpu
from edgesight.bench.gpu.device import lacking
from edgesight.bench.serve.profiles import gpu_profile
from edgesight.bench.service import gpu
from edgesight.bench.service.asked import Asked
from edgesight.host.datacenter.service import MAX_BATCH


def test_all_is_measured_on_a_cpu_as_it_is_on_a_gpu(tmp_path: Path) -> None:
    with (tmp_path / "said.txt").open("w") as said:
        found = gpu.measure(Asked(), tmp_path, Console(file=said, width=200), "cpu")
    assert all(check.met for check in found.checks)
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert (report["skipped"], report["not_measured"]) == (None, [])
    assert report["device"]
    assert {(cell["executor"], cell["input"]) for cell in report["measured"]} == {
        (executor, kind) for executor in ("PyTorch", "ONNX Runtime (cpu)") for kind in ("pixels", "JPEG")
    }
    for cell in report["measured"]:
        assert cell["answered"] == cell["requests"] > 0
        assert 1.0 <= cell["rows_a_batch"] <= cell["rows_at_most"]
        assert cell["requests_per_second"] > 0.0
        assert 0.0 < cell["p50_ms"] <= cell["p99_ms"]
        assert cell["joules_per_request"] is None  # NVML knows of GPUs alone
    assert report["power"]["lacking"]
    figures = {row["name"]: row["value"] for row in found.body["told"]}
    assert len(figures) == 2 * len(report["measured"])  # no energy
    cell = report["measured"][0]
    name = f"{report['device']}: {cell['executor']}, {cell['input']}, batches of {cell['rows_at_most']}"
    assert figures[f"{name}: P99"] == cell["p99_ms"]
    for model in report["models"]:
        for size in range(1, MAX_BATCH + 1):
            assert 0.0 < min(model["batch_seconds"][str(size)]) < 10.0, size
    profile, whose = gpu_profile(tmp_path / "gpu.json", MAX_BATCH)
    assert profile.usual(MAX_BATCH) > profile.usual(1) > 0.0
    assert report["device"] in whose
    beside = report["models"][0]["jpegs_beside_the_rule"]
    assert beside["largest"] < beside["spread_of_logits"]
    assert [check["met"] for check in report["checks"]] == [True]


def test_without_a_gpu_the_report_says_why(tmp_path: Path) -> None:
    reason = lacking()
    if reason is None:
        pytest.skip("there is a GPU")
    with (tmp_path / "said.txt").open("w") as said:
        assert bench_gpu(tmp_path, Console(file=said, width=80))
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report == {"skipped": reason, "measured": [], "checks": []}
    assert (tmp_path / "said.txt").read_text() == f"No GPU is measured: {reason}\n"
