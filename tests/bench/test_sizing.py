"""How many replicas and doors: the formula, the page that is made of figures alone, and how these are read."""

from __future__ import annotations

import asyncio
import copy
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.bench.cluster import costs, sizing
from edgesight.bench.made import made
from edgesight.sim.link.options import EmulationError

MIB = 2**20
BODY: dict[str, Any] = {
    "made": made("edgesight bench cluster --section replicas"),
    "nodes": 3,
    "model": "garments",
    "load": 0.5,
    "capacity_per_s": 200.0,
    "costs": {
        "requests": 2_000,
        "per_s": 100.0,
        "model_cpu_s": 0.001,
        "request_bytes": 820,
        "answer_bytes": 90,
        "load_s": 0.07,
        "model_bytes": 32 * MIB,
        "parts": {
            "door": {"idle_cores": 0.01, "cpu_s_a_request": 0.004, "memory_bytes": 200 * MIB},
            "replicas": {"idle_cores": 0.02, "cpu_s_a_request": 0.003, "memory_bytes": 300 * MIB},
            "nodes": {"idle_cores": 0.05, "cpu_s_a_request": 0.0, "memory_bytes": 150 * MIB},
            "head": {"idle_cores": 0.1, "cpu_s_a_request": 0.0001, "memory_bytes": 600 * MIB},
        },
    },
    "lost": {"per_s": 100.0, "requests": 4_500, "failed": 0, "back_s": 1.0},
}


def test_the_formula_by_hand() -> None:
    one = sizing.wanted(BODY, 100.0)
    assert (one.replicas, one.doors) == (2, 2)  # 100 * 3 ms and 100 * 4 ms are less than half of a core's time
    assert one.cores == pytest.approx(4 + 4 * 0.05 + 0.1 + 100 * 0.0001)
    assert one.busy_cores == pytest.approx(100 * 0.0071 + 4 * 0.05 + 0.1 + 2 * 0.02 + 2 * 0.01)
    assert one.memory_bytes == (2 * 300 + 2 * 200 + 4 * 150 + 600) * MIB
    many = sizing.wanted(BODY, 1_000.0)
    assert (many.replicas, many.doors) == (6 + 1, 8 + 1)
    large = sizing.wanted(BODY, 100.0, model_cpu_s=0.1)
    assert (large.replicas, large.doors) == (21 + 1, 2)  # 102 ms each: the engine's 2 ms stay


@pytest.mark.parametrize("rate", [1.0, 99.0, 333.0, 5_000.0])
def test_with_one_lost_none_is_busier_than_the_load_and_one_fewer_would_be(rate: float) -> None:
    one = sizing.wanted(BODY, rate)
    for count, part in ((one.replicas, "replicas"), (one.doors, "door")):
        work = rate * BODY["costs"]["parts"][part]["cpu_s_a_request"]
        assert work / (count - 1) <= 0.5 * (1 + 1e-9)
        assert count == 2 or work / (count - 2) > 0.5


def rows(page: str, heading: str) -> list[list[str]]:
    part = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [line for line in lines[1:] if line[0] != "---"]


def test_the_page_is_of_the_figures_alone() -> None:
    page = sizing.page(BODY)
    assert ["a door", "4.00", "0.010", "200"] in rows(page, "Measured")
    table = rows(page, "Worked out")
    assert len(table) == 9
    assert table[2][:4] == ["1 (measured)", "1,000", "7", "9"]
    assert table[7][:4] == ["100", "100", "22", "2"]
    assert "Of 4,500 requests 0 got no answer" in page
    assert page.count("rojected") >= 2
    other = copy.deepcopy(BODY)
    other["costs"]["parts"]["door"]["cpu_s_a_request"] = 0.008
    other["lost"]["failed"] = 3
    changed = sizing.page(other)
    assert rows(changed, "Worked out")[2][:4] == ["1 (measured)", "1,000", "7", "17"]
    assert "3 got no answer" in changed
    links = re.findall(r"\]\(([^)#]+)", page)
    assert all((Path(__file__).resolve().parents[2] / "docs" / link).exists() for link in links)


BUSY = """
import subprocess, sys, time
holds = "import time; held = b'x' * (64 << 20); print(1, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", holds])
while time.process_time() < 0.5:
    pass
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def busy() -> Iterator[tuple[int, int]]:
    """A process that had half a second of a processor, and its child, which holds 64 MiB."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        (child,) = (int(line) for line in lines if line != "1")
        yield process.pid, child
        os.kill(child, 9)
        process.kill()


def test_processes_are_found_in_their_parts_with_what_they_took(busy: tuple[int, int]) -> None:
    top, child = busy
    there = costs.parts(top, [], os.getpid())
    assert there["door"] == {top, child}
    assert not there["replicas"] | there["nodes"]
    assert not there["head"] & {top, child, os.getpid()}
    assert costs.parts(child, [top], os.getpid())["nodes"] >= {top}
    assert costs.cpu_s({top}) >= 0.48
    assert costs.cpu_s({child}) < 0.48
    assert costs.memory_bytes({child}) > 64 * MIB > costs.memory_bytes({top})
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert costs.cpu_s({process.pid}) == costs.memory_bytes({process.pid}) == 0


def test_a_requests_time_is_what_is_added_to_being_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SECONDS", 1.0)

    async def spin(_: int) -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    there = {"door": {os.getpid()}, "replicas": {0}, "nodes": set[int](), "head": set[int]()}
    found = asyncio.run(costs.measured(there, spin, 10.0, 1))
    assert found["requests"] == 10
    assert 0.015 < found["parts"]["door"]["cpu_s_a_request"] < 0.06
    assert found["parts"]["replicas"]["cpu_s_a_request"] == 0.0
    assert found["parts"]["door"]["idle_cores"] < 0.1
    with pytest.raises(EmulationError, match="run the section again"):
        asyncio.run(costs.measured(there, spin, 10.0, 2))


def test_where_answers_are_late_fewer_are_asked_and_none_pile_up() -> None:
    under_way, most = 0, 0

    async def late(_: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.3)  # sleeps: an answer that takes its time
        under_way -= 1

    assert 12 <= asyncio.run(costs.steady(late, 1_000.0, 0.5)) <= 36
    assert most == 12


def test_a_message_has_its_picture_and_little_more() -> None:
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")
    image = np.zeros((1, 28, 28, 1), np.uint8)
    assert image.size < costs.message_bytes("garments", "image", image) < image.size + 100
