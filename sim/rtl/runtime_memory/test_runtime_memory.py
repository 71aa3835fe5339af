"""Builds the memory in three sizes, writes its file, and runs its coroutines."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (32, 24), (70, 9)])
def test_runtime_memory(width: int, depth: int, tmp_path: Path) -> None:
    words = [random.Random(f"{width} {depth} {address}").getrandbits(width) for address in range(depth)]
    (tmp_path / "some.mem").write_text("".join(f"{word:0{-(-width // 4)}x}\n" for word in words))
    run_bench(
        "runtime_memory",
        {"Width": width, "Depth": depth, "Memory": 5, "File": '"some.mem"'},
        sources=[RTL / "weights_pkg.sv", RTL / "runtime_memory.sv"],
        settings={"EDGESIGHT_WORDS": " ".join(map(str, words))},
        memories=tmp_path,
    )
