"""A cascade of trained networks by command line alone: compiled, calibrated, compared and asked, as its owner would.

The zoo is what `edgesight train` wrote. GTSRB's traffic signs are what the bars are of.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.report import Check

IMAGES = 2_000  # of the comparison
TARGET = 0.975  # accuracy asked of the cascade
BACK_END = 0.98  # accuracy asked of the data centre's model
SENT = 0.25  # share of the images that the data centre may be sent
_CYCLES, _TARGETS = "4000,20000", f"{TARGET},{BACK_END}"


@dataclass(frozen=True)
class Asked:
    """A zoo folder, and the name of the data set that it was trained on as commands take it (`folder:PATH`)."""

    zoo: Path
    dataset: str

    @property
    def key(self) -> str:
        """Differs where the networks do."""
        return hashlib.sha256((self.zoo / "card.json").read_bytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Found:
    """How it did. `back_end`: the data centre's model alone, on the whole test split; `mismatches` by pair of forms."""

    name: str
    test_images: int
    back_end: float
    target: float
    accuracy: float
    sent: float
    compared: int
    mismatches: dict[str, int]
    seconds: float


def by_command(asked: Asked, folder: Path, console: Console) -> Found:
    """Run the commands; what they write lies in `folder`, which is replaced. Raises CommandError."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began, kernel = time.monotonic(), str(folder / "kernel")
    card = json.loads((asked.zoo / "card.json").read_text())
    run_command(console, "compile", str(asked.zoo), "--out", kernel, "--cycles", _CYCLES)
    run_command(console, "calibrate", kernel, asked.dataset, "--targets", _TARGETS)
    verified, demo = folder / "verify", folder / "demo"
    compare = ["verify", kernel, asked.dataset, "--zoo", str(asked.zoo), "--images", str(IMAGES)]
    run_command(console, *compare, "--out", str(verified), report=verified / "report.json")
    ask = ["demo", "--package", kernel, "--dataset", asked.dataset, "--all"]
    run_command(console, *ask, "--out", str(demo), report=demo / "report.json")
    compared, answered = (json.loads((out / "report.json").read_text()) for out in (verified, demo))
    row = next(row for row in answered["rows"] if row["target"] == TARGET)
    return Found(
        name=card["data_set"]["name"],
        test_images=answered["images"],
        back_end=card["networks"]["backend"]["test_accuracy"]["by_seed"][0],
        target=TARGET,
        accuracy=row["accuracy"],
        sent=row["offload"],
        compared=compared["images"],
        mismatches=compared["mismatches"],
        seconds=time.monotonic() - began,
    )


def checks_of(found: Found) -> list[Check]:
    """The cascade held against its bars."""
    where, of_images = f"{found.name} by command", f"of {found.test_images} images"
    wrong = sum(found.mismatches.values())
    return [
        Check(f"{where}: back end's accuracy", found.back_end, BACK_END, False, of_images, "measured"),
        Check(f"{where}: cascade's accuracy", found.accuracy, TARGET, False, of_images, "simulated"),
        Check(f"{where}: sent to the data centre", found.sent, SENT, True, of_images, "simulated"),
        Check(f"{where}: images that differ", wrong, 0, True, f"of {found.compared}", "simulated"),
    ]
