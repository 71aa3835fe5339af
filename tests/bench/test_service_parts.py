"""Sections of the service's bench: each on a small model and for moments, and what it makes of what it measured."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from rich.console import Console

from edgesight.bench.service import fairness, latency, peers, saturation, zipf, zipf_virtual
from edgesight.bench.service.asked import Asked, data_centre
from edgesight.bench.service.baselines import Fifo, Lru
from edgesight.bench.service.loads import Call, Stream, Tally, offer, request_bytes, saturate
from edgesight.bench.service.models import WIDTH, light, put, working
from edgesight.bench.service.peers import PeerError, mlserver
from edgesight.bench.service.processors import lacks_two
from edgesight.bench.service.zipf_virtual import Declared, World, goodput, times_better
from edgesight.host.datacenter.batching import Scheduler
from edgesight.host.datacenter.memory import Memory
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual

QUIET = Console(quiet=True)
two_cores = pytest.mark.skipif(lacks_two() is not None, reason="one processor core")


@two_cores
def test_latency_is_asked_for_at_the_program_and_at_the_bare_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "BLOCKS", 2)
    monkeypatch.setattr(latency, "BLOCK", 3)
    found = latency.measure(Asked(peers=False), tmp_path, QUIET)
    assert [check.name for check in found.checks] == [
        f"latency: overhead over the executor, {name}" for name in ("784 bytes", "196 KB")
    ]
    assert all(check.value > 0 for check in found.checks)
    assert {way: one["runs"] for way, one in found.body["inputs"]["196 KB"].items()} == {"bare": 6, "ours": 6}
    assert found.body["skipped"] == {"MLServer": "no other server was wanted (--no-peers)"}


def test_overhead_is_the_difference_of_medians_and_a_peer_has_no_bar() -> None:
    took = {"784 bytes": {"bare": [0.001] * 3, "ours": [0.002, 0.0025, 0.009], "MLServer": [0.006] * 3}}
    found = latency.found_of(took, {})
    (check,) = found.checks
    assert check.value == pytest.approx(1.5)
    assert check.met is True
    assert found.body["told"][1] == {  # the first is the executor itself
        "name": "latency: overhead of MLServer, 784 bytes",
        "value": pytest.approx(5.0),
        "unit": "ms",
        "obtained": "measured",
    }


def test_a_peer_that_cannot_be_installed_is_told_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PACKAGES", ("no-such-package==0",))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with (
        pytest.raises(
            PeerError, match=r"MLServer is not here \(no-such-package==0 cannot be installed \(ERROR: .*no-such-package"
        ),
        mlserver(tmp_path, {}),
    ):
        pass


@two_cores
def test_saturation_keeps_the_model_busy_with_full_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def network(path: Path) -> Path:
        path.write_bytes(light((saturation.SIDE, saturation.SIDE, 3), np.uint8, "image"))
        return path

    monkeypatch.setattr(saturation, "_network", network)
    for name, value in {"BLOCKS": 1, "SECONDS": 1.0, "RUNS": 3}.items():
        monkeypatch.setattr(saturation, name, value)
    found = saturation.measure(Asked(), tmp_path, QUIET)
    assert found.body["batch"] > 1.0
    assert found.body["through"][0] > 0.0
    (check,) = saturation.found_of([100.0, 90.0, 110.0], [89.0, 95.0, 91.0], 8.0).checks
    assert check.value == pytest.approx(0.91)
    assert check.met is True


def test_others_keep_their_goodput_beside_a_greedy_client_with_a_certificate_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"LAYERS": 8, "WARM_S": 0.5, "CAPACITY_S": 1.0, "ALONE_S": 1.0, "TOGETHER_S": 2.0, "PART": 0.02}
    for name, value in settings.items():
        monkeypatch.setattr(fairness, name, value)
    found = fairness.measure(Asked(), tmp_path, QUIET)
    assert set(found.body["kept"]) == set(fairness.OTHERS)
    assert found.body["together"]["greedy"]["asked"] > 0
    assert set(found.body["together"]["greedy"]["failed"]) <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}


def test_goodput_kept_is_that_of_the_worst_off() -> None:
    alone = {name: Tally(good=50) for name in fairness.OTHERS}
    together = {name: Tally(good=96, late=4) for name in fairness.OTHERS}
    together["ben"] = Tally(good=80, failed=Counter(DEADLINE_EXCEEDED=20))
    together["greedy"] = Tally(good=1, late=1)
    (check,) = fairness.found_of(100.0, 0.25, alone, together).checks
    assert check.value == pytest.approx(0.8)
    assert check.met is False


def test_goodput_of_the_ways_is_compared_and_what_is_simulated_says_so() -> None:
    def way(good: int) -> dict[str, Any]:
        return zipf.summed([Tally(good=good, late=50 - good), Tally(failed=Counter(UNAVAILABLE=50))])

    found = zipf.found_of(
        zipf.Setting(40.0, 0.5, 100 << 20), {"ours": way(42), "lru-fifo": way(30), "lru": way(31)}, {2: [1.5, 1.4, 1.6]}
    )
    (check,) = found.checks
    assert check.value == pytest.approx(1.4)
    assert check.met is True
    assert found.body["ways"]["ours"]["by_model"] == [0.84, 0.0]
    assert found.body["budget_mib"] == 250
    assert [row["value"] for row in found.body["told"] if row["obtained"] == "simulated"] == [1.5]


@pytest.mark.parametrize("kind", ["lru", "lru-fifo"])
def test_a_baseline_is_the_same_program_with_other_parts(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(tmp_path / "models", name, working(1, 4))

    async def test() -> None:
        arguments = ("--repository", tmp_path / "models", "--memory", 100)  # room for one of them
        module = ("edgesight.bench.service.baselines", kind)
        async with (
            data_centre(tmp_path / "log", *arguments, module=module) as at,
            grpc.aio.insecure_channel(at.grpc) as channel,
        ):
            row = np.ones((1, WIDTH), np.float32)
            calls = [Call(channel, request_bytes(name, "x", row)) for name in ("one", "two")]
            answers = {await call() for call in (*calls, calls[0])}
            assert len(answers) == 2  # each has the name of its model
            assert len(at.workers()) == 1
            assert await saturate(lambda: calls[0], 4, 0.1, 0.5) > 0.0
            tallies = await offer([Stream(calls[0], 20.0, 5.0, 1), Stream(calls[0], 5.0, 1e-6, 2)], 1.0)
            assert (tallies[0].share, tallies[1].good) == (1.0, 0)
            assert set(tallies[1].failed) <= {"DEADLINE_EXCEEDED"}

    asyncio.run(test())


def test_fifo_runs_one_by_one_in_the_order_of_coming_and_lru_sends_away_what_ran_longest_ago() -> None:
    async def test() -> None:
        loop, memory, cores = asyncio.get_running_loop(), Lru(2), asyncio.Semaphore(2)
        models = [Declared(name, memory, cores, Fifo) for name in "abc"]
        tasks = [loop.create_task(memory.run()), *(loop.create_task(one.scheduler.run()) for one in models)]
        first, second, third = models
        row = {"x": np.zeros((1, 1), np.float32)}
        await asyncio.gather(first.scheduler.ask("x", row), second.scheduler.ask("x", row))
        ended: list[int] = []

        async def ask(number: int) -> None:
            done = await first.scheduler.ask("x", row, (), 9.0 - number)  # the nearest deadline comes last
            assert done.batch == 1
            ended.append(number)

        await asyncio.gather(*map(ask, range(4)))
        assert ended == [0, 1, 2, 3]
        await third.scheduler.ask("x", row)
        assert (memory.holds(first), memory.holds(second), memory.holds(third)) == (True, False, True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run_virtual(test(), LinkOptions())


def test_in_virtual_time_our_memory_answers_more_in_time_whatever_the_seed() -> None:
    world = World(zipf.IN_MEMORY, 2, zipf.LOAD, zipf.PARTS, 20.0)
    assert min(times_better(world, (0, 1))) >= zipf.BETTER
    assert goodput(world, Lru, Scheduler, 0) < goodput(world, Memory, Scheduler, 0)
    assert zipf_virtual.LOAD_S * zipf.DEADLINE_LOADS == 2.0
