"""Networks of a stranger's file go from the command line to the fabric; what cannot be trained is said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgesight.sim.rtl.runner import missing_tools
from tests.edgesight.commands import ROOT, fails, succeeds

EXAMPLE = ROOT / "docs" / "examples" / "my_networks.py"
IMAGES = 60

pytest.importorskip("sklearn", reason="scikit-learn is not installed: the digits come with the extra `sim`")


@pytest.fixture(autouse=True)
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where training keeps its checkpoints, so that none is found from an earlier run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgesight" / "training"


@pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")
@pytest.mark.parametrize(
    "named",
    [("--stage0", f"{EXAMPLE}:small", "--stage1", f"{EXAMPLE}:large"), ("--exits", f"{EXAMPLE}:Trunk")],
    ids=["stages", "exits"],
)
def test_networks_with_any_scales_go_from_training_to_equal_fabrics(tmp_path: Path, named: tuple[str, ...]) -> None:
    zoo, kernel = tmp_path / "zoo", tmp_path / "kernel"
    told = json.loads(succeeds("train", "digits", *named, "--seeds", "1", "--quick", "--out", zoo, "--json"))
    networks = {one["variant"]: one["network"] for one in told["networks"]}
    origins = [Path(one).name for one in named if one.startswith(str(EXAMPLE))]
    assert networks == {"backend": "shipped", "stage0": origins[0], "stage1": origins[-1]}
    assert min(one["test_accuracy"][0] for one in told["networks"]) > 0.85
    succeeds("compile", zoo, "--out", kernel, "--cycles", "500,2000")
    succeeds("calibrate", kernel, "digits", "--targets", "0.8", "--resplits", "0")
    succeeds("verify", kernel, "digits", "--zoo", zoo, "--images", str(IMAGES), "--out", tmp_path / "verify")
    report = json.loads((tmp_path / "verify" / "report.json").read_text())
    assert report["images"] == IMAGES
    pairs = ("qonnx=csim", "qonnx=rtl", "csim=rtl")
    assert {f"{stage} logits {pair}" for stage in ("stage0", "stage1") for pair in pairs} <= set(report["mismatches"])
    assert set(report["mismatches"].values()) == {0}
    with np.load(tmp_path / "verify" / "logits.npz") as logits:
        assert all(len(np.unique(values, axis=0)) > IMAGES // 2 for values in logits.values())


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
