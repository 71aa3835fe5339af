"""Builds the weight memory in three sizes, writes its file, and runs its coroutines."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (4, 24), (770, 9)])
def test_weight_memory(width: int, depth: int, tmp_path: Path) -> None:
    words = [random.Random(f"{width} {depth} {address}").getrandbits(width) for address in range(depth)]
    (tmp_path / "some.mem").write_text("".join(f"{word:0{-(-width // 4)}x}\n" for word in words))
    run_bench(
        "weight_memory",
        {"Width": width, "Depth": depth, "File": '"some.mem"'},
        settings={"EDGESIGHT_WORDS": " ".join(map(str, words))},
        memories=tmp_path,
    )
