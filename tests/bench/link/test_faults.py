"""Faults of link, data centre and clocks: an edge goes on answering in time, and never passes off what it made up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import struct
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgesight.bench.link.fault_findings import RECOVER_WITHIN_S, Findings, judge
from edgesight.bench.link.faults import LIVED_THROUGH, RESTARTING, _clock_library, run_faults, schedule
from edgesight.bench.link.mischief import Damage, DisturbedLink, garbage, noise
from edgesight.bench.link.programs import ALLOWANCE_S, Asked
from edgesight.bench.report import print_checks
from edgesight.host.answer import Answer
from edgesight.host.datacenter.authority import Authority
from edgesight.host.link.keys import now
from edgesight.host.package import Package
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.relay import _HEADERS
from edgesight.sim.link.trust import make_trust
from tests.waiting import until

BACKEND, EDGE = np.array([3, 4]), np.array([5, 4])


def test_a_short_schedule_of_faults_is_gone_through(digits: Package, tmp_path: Path) -> None:
    console = Console(width=140)
    checks, body = run_faults(tmp_path / "faults", console, seed=3, faults=8, package=digits.path, fabric="csim")
    print({key: value for key, value in body.items() if key != "faults"})
    assert print_checks(console, checks), body
    assert body["sound"] > 0
    assert body["degraded"] > 0


def test_a_schedule_is_its_seeds_and_has_every_kind() -> None:
    long = schedule(1, 200)
    assert long == schedule(1, 200) != schedule(2, 200)
    kinds = Counter(fault.kind for fault in long)
    assert set(kinds) == {*LIVED_THROUGH, *RESTARTING, "idle_connections"}
    assert min(kinds.values()) >= 4
    # The data centre's memory is looked at over one long life.
    restarts = [number for number, fault in enumerate(long) if fault.kind in RESTARTING]
    assert restarts == list(range(160, 200))


def _answer(label: int, stage: str, degraded: bool, reason: str | None = None) -> Answer:
    return Answer.model_validate(
        {
            "label": label,
            "class_name": str(label),
            "confidence": 0.9,
            "stage": stage,
            "accuracy_target": 0.9,
            "degraded": degraded,
            "guaranteed": not degraded,
            "hedged": False,
            "reason": reason,
            "legs": [],
            "energy_joules": None,
        }
    )


def _good() -> Findings:
    return Findings(
        asked=[
            Asked(0, 0.0, 0.1, 0.05, answer=_answer(3, "datacenter", False)),
            Asked(0, 1.0, 0.1, 0.12, answer=_answer(5, "stage1", True, "late")),
        ],
        faults=[{"kind": "noise", "recovery_s": 0.3, "kept_off_s": 0.1}],
        memory_mb={"edge": [(1, 70.0)] * 8},
    )


def _unmet(findings: Findings, unhandled: int = 0, faults: int = 1) -> list[str]:
    return [check.name for check in judge(findings, BACKEND, EDGE, unhandled, faults) if not check.met]


def test_what_is_as_it_should_be_meets_every_bar() -> None:
    assert _unmet(_good()) == []


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({"answer": _answer(4, "datacenter", False)}, "wrong answers marked sound"),
        ({"answer": _answer(5, "stage1", False)}, "the edge's own answers not marked degraded"),
        ({"answer": _answer(5, "stage1", True)}, "the edge's own answers not marked degraded"),
        ({"answer": _answer(4, "stage1", True, "late")}, "the edge's own answers that are not the fabric's"),
        ({"answer": None, "error": "EdgeError: none"}, "queries not answered"),
        ({"took_s": 0.1 + ALLOWANCE_S + 0.01}, "queries not answered"),
    ],
)
def test_a_bad_answer_is_seen(changes: dict[str, Any], unmet: str) -> None:
    findings = _good()
    findings.asked.append(replace(findings.asked[1], **changes))
    found = _unmet(findings)
    assert len(found) == 1
    assert found[0].startswith(unmet)


def test_other_ills_are_seen() -> None:
    assert _unmet(_good(), unhandled=1) == ["unhandled exceptions in both logs"]
    assert _unmet(_good(), faults=2) == ["faults gone through", "sound answers, to know that by"]
    assert _unmet(replace(_good(), ended=["the edge"])) == ["processes that ended by themselves"]
    slow = replace(_good(), faults=[{"kind": "noise", "recovery_s": RECOVER_WITHIN_S + 1, "kept_off_s": 0.1}])
    assert _unmet(slow) == ["longest recovery (less time off the CPU)"]
    leaking = replace(_good(), memory_mb={"edge": [(1, 70.0 + 10 * step) for step in range(8)]})
    assert _unmet(leaking) == ["memory gained by the edge"]


def _through(damage: Damage | None, do: str = "") -> tuple[list[bytes], list[bytes]]:
    """What 200 packets become on their way to a target, and what a client gets of the target's answers."""
    sent = [bytes([number]) * 40 for number in range(200)]
    came: list[bytes] = []
    back: list[bytes] = []

    class Target(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            came.append(data)
            ports.add(addr[1])
            self.transport.sendto(b"answer", addr)

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            back.append(data)

    class Watched(DisturbedLink):
        up_taken = down_taken = 0

        def from_client(self, data: bytes, client: Any) -> None:
            self.up_taken += 1
            super().from_client(data, client)

        def from_target(self, data: bytes, client: Any) -> None:
            self.down_taken += 1
            super().from_target(data, client)

        def all_came(self) -> bool:
            """Whether of all that was taken nothing is held back or on its way, answers included."""
            decided = self.up.delivered >= self.up_taken and self.down.delivered >= self.down_taken == len(came)
            # By their bytes: of a packet that is cut to none, nothing is sent.
            return decided and all(
                counts.delivered == counts.offered
                and counts.delivered_bytes - counts.delivered * _HEADERS == sum(map(len, arrived))
                for counts, arrived in ((self.up, came), (self.down, back))
            )

    ports: set[int] = set()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        target, _ = await loop.create_datagram_endpoint(Target, local_addr=("127.0.0.1", 0))
        link = Watched(target.get_extra_info("sockname"), LinkOptions(), seed=1)
        link.damage = damage
        async with link:
            client, _ = await loop.create_datagram_endpoint(Client, remote_addr=link.address)

            async def settled(count: int) -> None:
                await until(lambda: link.up_taken == count and link.all_came())

            for first in range(0, len(sent), 10):
                for packet in sent[first : first + 10]:
                    client.sendto(packet)
                await until(lambda: link.up_taken == first + 10 and link.all_came())  # noqa: B023 it is called in this turn
            before = len(came)
            offered = link.up.offered + link.down.offered
            if do == "play_back":
                link.play_back(50)
                offered += 50
            elif do:
                link.invent(50, noise if do == "noise" else garbage)
                offered += 100
            elif damage is None:
                link.move_clients()
                client.sendto(b"moved")
                offered += 2
            await until(lambda: link.up.offered + link.down.offered >= offered and link.all_came())
            if do:
                del came[:before]
            client.close()
        target.close()

    asyncio.run(run())
    if damage is None and not do:
        assert len(ports) == 2  # the client moved once
    return came, back


def test_damage_does_what_it_says() -> None:
    sent = [bytes([number]) * 40 for number in range(200)]
    assert _through(None)[0] == [*sent, b"moved"]
    duplicated, _ = _through("duplicated")
    assert sorted(set(duplicated)) == sent
    assert len(duplicated) > 230
    reordered, _ = _through("reordered")
    assert sorted(reordered) == sent != reordered
    corrupted, _ = _through("corrupted")
    assert 20 < sum(packet not in sent for packet in corrupted) < 120
    assert {len(packet) for packet in corrupted} == {40}
    truncated, _ = _through("truncated")
    assert 20 < sum(len(packet) < 40 for packet in truncated) < 120


def test_packets_are_played_back_and_invented_both_ways() -> None:
    sent = {bytes([number]) * 40 for number in range(200)}
    for do in ("play_back", "noise", "garbage"):
        came, back = _through(None, do)
        assert (set(came) <= sent) == (do == "play_back")
        assert came
        assert back


def test_a_wrong_clock_is_wrong_in_its_process_alone_and_can_change(tmp_path: Path) -> None:
    library, clock = _clock_library(tmp_path), tmp_path / "clock"
    clock.write_bytes(struct.pack("=q", 1_000_000))
    program = (
        "import time, datetime\n"
        "def say(): print(time.time(), datetime.datetime.now(datetime.timezone.utc).timestamp(), time.monotonic(), "
        "flush=True)\n"
        "say(); input(); say()"
    )
    environment = {**os.environ, "LD_PRELOAD": str(library), "EDGESIGHT_CLOCK": str(clock)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told = [[float(word) for word in process.stdout.readline().split()]]
        with clock.open("r+b") as file:
            file.write(struct.pack("=q", -1_000_000))
        process.stdin.write("\n")
        process.stdin.flush()
        told.append([float(word) for word in process.stdout.readline().split()])
    here = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"], capture_output=True
    )
    now, monotonic = map(float, here.stdout.split())
    for (clock_s, date_s, monotonic_s), offset in zip(told, (1_000_000, -1_000_000), strict=True):
        assert clock_s - now == pytest.approx(offset, abs=30)
        assert date_s - now == pytest.approx(offset, abs=30)
        assert monotonic_s == pytest.approx(monotonic, abs=30)


def test_a_data_centre_that_started_under_a_wrong_clock_shows_a_valid_certificate_after_the_next_start(
    tmp_path: Path,
) -> None:
    trust = make_trust(tmp_path)
    with contextlib.closing(Authority(trust.datacenter, lambda: now() + datetime.timedelta(days=800))) as opened:
        wrong = opened.configuration(1.0).certificate
    assert wrong.not_valid_before_utc > now()
    with contextlib.closing(Authority(trust.datacenter)) as opened:
        assert opened.configuration(1.0).certificate.not_valid_before_utc < now()
