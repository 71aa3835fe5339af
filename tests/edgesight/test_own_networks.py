"""Networks of a stranger's file go from the command line to the fabric; what cannot be trained is said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgesight.hls.graph.truth import real_outputs
from edgesight.host.fabric.base import ALWAYS, NEVER
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.package import Package
from edgesight.host.pixels import STEPS
from edgesight.quant.datasets import load
from edgesight.sim.rtl.runner import missing_tools
from tests.edgesight.commands import ROOT, fails, succeeds

EXAMPLE = ROOT / "docs" / "examples" / "my_networks.py"
IMAGES = 60
ROUNDING = 1e-9  # share of the largest logit by which two sums in double precision may differ

pytest.importorskip("sklearn", reason="scikit-learn is not installed: the digits come with the extra `sim`")


@pytest.fixture(autouse=True)
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where training keeps its checkpoints, so that none is found from an earlier run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgesight" / "training"


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
def test_networks_with_any_scales_go_from_training_to_equal_fabrics(tmp_path: Path) -> None:
    zoo, kernel = tmp_path / "zoo", tmp_path / "kernel"
    stages = ("--stage0", f"{EXAMPLE}:small", "--stage1", f"{EXAMPLE}:large")
    told = json.loads(succeeds("train", "digits", *stages, "--seeds", "1", "--quick", "--out", zoo, "--json"))
    assert {one["variant"]: one["network"] for one in told["networks"]} == {
        "backend": "shipped",
        "stage0": "my_networks.py:small",
        "stage1": "my_networks.py:large",
    }
    assert min(one["test_accuracy"][0] for one in told["networks"]) > 0.85
    succeeds("compile", zoo, "--out", kernel, "--cycles", "200,2000")
    succeeds("calibrate", kernel, "digits", "--targets", "0.8", "--resplits", "0")
    succeeds("verilate", kernel)

    package, images = Package.load(kernel), load("digits").test.images[:IMAGES]
    assert package.kernel.calibration is not None
    assert len(package.kernel.calibration.targets) == 1
    csim, rtl = CsimFabric(package), VerilatedFabric(package)
    logits = csim.logits(images)
    for stage, by_csim, by_rtl in zip(package.kernel.stages, logits, rtl.logits(images), strict=True):
        assert np.array_equal(by_csim, by_rtl)
        assert len(np.unique(by_csim, axis=0)) > IMAGES // 2
        (truth,) = real_outputs(onnx.load(zoo / f"{stage.name}.onnx"), images / STEPS)
        off = np.abs(by_csim * stage.logit_scale + stage.logit_offset - truth)
        assert off.max() <= stage.logit_error + ROUNDING * np.abs(truth).max()
        assert np.array_equal(by_csim.argmax(1), truth.argmax(1))
    rows = [[ALWAYS, ALWAYS], [NEVER, ALWAYS], [NEVER, NEVER], package.kernel.calibration.targets[0].thresholds]
    for index, row in enumerate(rows):
        csim.set_thresholds(index, row)
        rtl.set_thresholds(index, row)
    sets = (np.arange(IMAGES) % len(rows)).astype(np.uint8)
    found, wanted = rtl.run(images, sets), csim.run(images, sets)
    for field in ("label", "stage", "error", "margin"):
        assert np.array_equal(found[field], wanted[field]), field


def test_what_cannot_be_trained_is_one_line_and_writes_nothing(tmp_path: Path, checkpoints: Path) -> None:
    out, path = tmp_path / "zoo", tmp_path / "bad.py"
    path.write_text(
        "from torch import nn\n"
        "def number(shape, classes):\n    return 3\n"
        "def plain(shape, classes):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    for options, message in (
        (("--stage0", "absent.py:small"), "absent.py cannot be read (No such file or directory); name a Python file"),
        (("--stage0", f"{path}:number"), "number: returned an int; let it return a torch.nn.Module"),
        (
            ("--exits", f"{path}:plain"),
            "layer 1: Linear has weights that are not quantised; use brevitas.nn.QuantLinear",
        ),
        (("--stage0", f"{EXAMPLE}:Trunk"), "or name a network with exits by --exits"),
        (("--stage0", "shipped", "--exits", f"{EXAMPLE}:Trunk"), "leave --stage0 to --stage3 out"),
    ):
        fails(message, "train", "digits", *options, "--quick", "--out", out)
        assert not out.exists()
        assert not checkpoints.exists()
