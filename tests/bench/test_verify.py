"""The proof by equality: it holds on the shipped kernels, its numbers re-derive, and it can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.verify import load, recount
from edgesight.quant import fashion_mnist, splits

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 500


def data_folder(name: str) -> list[str]:
    """Options that find the data set's files; a skip with its reason where they can't be had."""
    if name != "fashion-mnist" or fashion_mnist.FASHION_MNIST_FOLDER.is_dir():
        return []
    try:
        return ["--data-dir", str(fashion_mnist.install_fashion_mnist(ROOT / "build" / "data"))]
    except splits.DataSetError as error:
        pytest.skip(f"Fashion-MNIST can't be had here: {error}")


@pytest.mark.parametrize("name", ["digits", "fashion-mnist"])
def test_the_shipped_kernels_are_equal_in_all_four_forms(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgesight", "verify", f"bitstreams/{name}", name, "--zoo", f"quant/zoo/{name}"]
    options = ["--images", str(IMAGES), "--out", str(tmp_path), *data_folder(name)]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report, logits, records = load(tmp_path)
    assert report["images"] == IMAGES
    assert all(len(values) == IMAGES for values in logits.values())
    assert {key.split("_")[0] for key in logits} == {"brevitas", "qonnx", "csim", "rtl"}
    assert report["mismatches"] == recount(logits, records)
    assert set(report["mismatches"].values()) == {0}


def test_a_single_wrong_logit_and_record_are_counted() -> None:
    generator = np.random.default_rng(3)
    good = generator.integers(-50, 50, (7, 4))
    wrong = good.copy()
    wrong[2, 1] += 1
    records = generator.integers(0, 5, (7, 4))
    other = records.copy()
    other[6, 0] += 1
    counted = recount({"csim_stage0": good, "rtl_stage0": wrong}, {"csim": records, "rtl": other})
    assert counted["stage0 logits csim=rtl"] == 1
    assert counted["cascade records csim=rtl"] == 1
