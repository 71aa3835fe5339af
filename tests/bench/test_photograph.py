"""All sections of the photographs' bench on drawn pictures: what each finds, and that a run goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgesight.bench.photograph import cascade, site, stranger
from edgesight.bench.photograph.asked import Asked, Photographs
from edgesight.bench.photograph.bench import bench_photograph
from edgesight.sim.rtl.runner import ROOT, missing_tools
from tests.bench.drawn_photographs import SIDE, THUMBNAIL, draw, save_back_end

CLOTHES = Path(__file__).resolve().parents[3] / "shared" / "data" / "clothing224.zip"
OWN = ROOT / "docs" / "examples" / "my_networks.py"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a run of all sections on drawn pictures."""
    if missing_tools():
        pytest.skip(f"missing tools: {missing_tools()}")
    folder = tmp_path_factory.mktemp("photograph")
    drawn = draw(folder / "drawn", train=80, test=50)
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
