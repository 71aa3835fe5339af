"""Real TCP, UDP and QUIC meet on a link between namespaces what its options say, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.bench.link.emulator import RATE_ERROR, chance_checks, measure_chance, measure_rate, rate_checks
from edgesight.bench.link.probe import Probe
from edgesight.sim.link import namespaces
from edgesight.sim.link.namespaces import (
    DATACENTER_ADDRESS,
    EDGE_ADDRESS,
    NamespaceLink,
    congestion_controls,
    emulate,
    missing,
)
from edgesight.sim.link.options import (
    BandwidthDelayProducts,
    ConstantRate,
    EmulationError,
    LinkOptions,
    MahimahiTrace,
)

PROGRAMS = Path(__file__).with_name("link_programs.py")
WIFI = LinkOptions(ConstantRate(20e6), delay_s=0.02, queue=BandwidthDelayProducts(1.0))

needs_namespaces = pytest.mark.skipif(missing() is not None, reason=f"no link between namespaces: {missing()}")


def program(*words: str | Path | int) -> list[str]:
    return [sys.executable, str(PROGRAMS), *map(str, words)]


def port_of(server: subprocess.Popen[Any]) -> str:
    assert server.stdout is not None
    return str(server.stdout.readline().strip())


def found(client: subprocess.Popen[Any]) -> dict[str, Any]:
    said, _ = client.communicate(timeout=90)
    assert client.returncode == 0
    return dict(json.loads(said))


def inside(namespaces_: set[int]) -> list[int]:
    """Processes whose network namespace is one of these inodes."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "ns" / "net").stat().st_ino in namespaces_:
                found.append(int(folder.name))
    return found


def inodes(link: NamespaceLink) -> set[int]:
    return {os.stat(words[1].removeprefix("--net=")).st_ino for words in link.way_in().values()}


@needs_namespaces
def test_the_rate_is_right_within_two_percent_each_way_and_packets_are_on_time() -> None:
    for check in rate_checks(measure_rate(20.0, busy=False, seconds=3.0)):
        assert check.met, check


@needs_namespaces
def test_loss_bursts_and_delay_are_those_asked_for() -> None:
    for check in chance_checks(*measure_chance()):
        assert check.met, check


@needs_namespaces
def test_the_same_seed_loses_the_same_packets() -> None:
    def lost(seed: int) -> set[int]:
        with NamespaceLink(LinkOptions(loss=0.2), seed=seed) as link:
            came = Probe(link, "up", packets=300, size=100, mbit_per_s=2.0).arrivals()
            report = link.report()["up"]
            assert (report["offered"], report["delivered"], report["lost"]) == (300, len(came.numbers), came.missing)
            return set(range(300)) - set(came.numbers.tolist())

    first = lost(4)
    assert first
    assert first == lost(4) != lost(5)


@needs_namespaces
def test_a_mahimahi_trace_rules_the_rate() -> None:
    trace = MahimahiTrace(tuple(range(1, 1_001)))  # one packet of 1,500 bytes a millisecond: 12 Mbit/s
    with NamespaceLink(LinkOptions(trace), LinkOptions()) as link:
        came = Probe(link, "up", packets=3_000, size=1_500, mbit_per_s=18.0, at_once=20).arrivals()
    assert abs(came.mbit_per_s / 12.0 - 1.0) < RATE_ERROR
    assert link.report()["up"]["queue_delay_ms"]["max"] > 100.0


@needs_namespaces
def test_packets_held_back_are_overtaken_by_their_own_time() -> None:
    with NamespaceLink(LinkOptions(delay_s=0.01, reorder=0.1, reorder_s=0.02), LinkOptions(), seed=1) as link:
        came = Probe(link, "up", packets=400, size=100, mbit_per_s=0.8).arrivals()
    late = came.delays_s > 0.025
    assert late.sum() == link.report()["up"]["reordered"] > 10
    assert came.missing == 0
    assert (np.diff(came.numbers[~late]) > 0).all()
    assert abs(float(np.median(came.delays_s[late])) - 0.03) < 1e-3


@needs_namespaces
@pytest.mark.parametrize("control", ["cubic", "bbr"])
def test_tcp_fills_the_link_and_arrives_intact(control: str) -> None:
    if control not in congestion_controls():
        pytest.skip(f"this kernel has no {control}, but {', '.join(congestion_controls())}")
    with NamespaceLink(WIFI, tcp=control) as link:
        server = link.run_datacenter(program("tcp_serve", DATACENTER_ADDRESS), stdout=subprocess.PIPE, text=True)
        client = link.run_edge(
            program("tcp_send", DATACENTER_ADDRESS, port_of(server), 7_500_000), stdout=subprocess.PIPE, text=True
        )
        outcome = found(client)
        report = link.report()
    assert outcome["intact"]
    assert outcome["control"] == outcome["server_control"] == control
    # 1,448 bytes of each 1,500 are the program's; slow start and an emptied queue cost a share.
    assert 14.0 < outcome["mbit_per_s"] < 20.0 * 1_448 / 1_500 * (1 + RATE_ERROR)
    assert report["tcp"] == control
    assert report["up"]["missed"] == report["down"]["missed"] == 0


@needs_namespaces
def test_tcp_gets_everything_through_loss() -> None:
    with NamespaceLink(LinkOptions(delay_s=0.002, loss=0.05), seed=1) as link:
        server = link.run_edge(program("tcp_serve", EDGE_ADDRESS), stdout=subprocess.PIPE, text=True)
        client = link.run_datacenter(
            program("tcp_send", EDGE_ADDRESS, port_of(server), 1_000_000), stdout=subprocess.PIPE, text=True
        )
        assert found(client)["intact"]
        report = link.report()
    assert report["down"]["lost"] > 0
    assert report["up"]["lost"] > 0


@needs_namespaces
def test_quic_crosses_with_streams_whole_and_datagrams_as_they_come() -> None:
    with NamespaceLink(LinkOptions(ConstantRate(20e6), delay_s=0.005, loss=0.05), seed=1) as link:
        server = link.run_datacenter(program("quic_serve", DATACENTER_ADDRESS), stdout=subprocess.PIPE, text=True)
        asking = program("quic_ask", DATACENTER_ADDRESS, port_of(server), 100_000, 100)
        outcome = found(link.run_edge(asking, stdout=subprocess.PIPE, text=True))
    assert outcome["intact"]
    assert 60 < outcome["datagrams"] < 100


@needs_namespaces
def test_two_links_at_once_know_nothing_of_each_other() -> None:
    with NamespaceLink(LinkOptions(delay_s=0.005)) as first, NamespaceLink(LinkOptions(delay_s=0.02)) as second:
        assert not inodes(first) & inodes(second)
        probes = [Probe(link, "up", packets=50, size=100, mbit_per_s=0.8) for link in (first, second)]
        delays = [float(np.median(probe.arrivals().delays_s)) for probe in probes]
        assert [link.report()["up"]["offered"] for link in (first, second)] == [50, 50]
    assert abs(delays[0] - 0.005) < 1e-3
    assert abs(delays[1] - 0.02) < 1e-3


@needs_namespaces
def test_an_error_takes_the_link_and_everything_in_it_down() -> None:
    link = NamespaceLink(LinkOptions())
    seen: set[int] = set()

    def fail_inside() -> None:
        with link:
            seen.update(inodes(link))
            link.run_edge(["sleep", "1000"])
            # What a command leaves behind goes, too, and what does not want to.
            link.run_datacenter(["sh", "-c", "sleep 1000 & exit"]).wait(10)
            deaf = link.run_datacenter(["sh", "-c", "trap '' TERM; echo; sleep 1000 & exec sleep 1000"], stdout=-1)
            port_of(deaf)
            assert len(inside(seen)) >= 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert len(seen) == 2
    assert inside(seen) == []
    assert link.report()["up"]["offered"] == 0


@needs_namespaces
@pytest.mark.parametrize(("number", "commands_end"), [(signal.SIGINT, True), (signal.SIGKILL, False)])
def test_the_link_ends_with_its_owner(number: signal.Signals, commands_end: bool) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import os, time
                from edgesight.sim.link.namespaces import NamespaceLink
                from edgesight.sim.link.options import LinkOptions
                with NamespaceLink(LinkOptions()) as link:
                    command = link.run_edge(["sleep", "1000"])
                    ends = [os.stat(words[1].removeprefix("--net=")).st_ino for words in link.way_in().values()]
                    print(link._engine.pid, command.pid, *ends, flush=True)
                    time.sleep(1000)
            """),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    engine, command, *ends = map(int, port_of(owner).split())
    engine_gone, command_gone = os.pidfd_open(engine), os.pidfd_open(command)
    owner.send_signal(number)
    owner.wait(30)
    await_end(engine_gone)
    if not commands_end:  # nobody was left to end it
        signal.pidfd_send_signal(command_gone, signal.SIGKILL)
    await_end(command_gone)
    assert inside(set(ends)) == []


def await_end(process: int) -> None:
    """Until the process of this descriptor has ended."""
    ended, _, _ = select.select([process], [], [], 20.0)
    os.close(process)
    assert ended


@needs_namespaces
def test_a_command_that_runs_at_both_ends_reports_what_the_link_did(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    ping = f"{sys.executable} -c \"import socket; socket.socket(2, 2).sendto(b'x', ('{DATACENTER_ADDRESS}', 9))\""
    assert emulate(LinkOptions(), edge=ping, datacenter="sleep 1000", report=report) == 0
    assert json.loads(report.read_text())["up"]["offered"] == 1
    assert emulate(LinkOptions(), edge="sh -c 'exit 3'", report=report) == 3


@needs_namespaces
def test_a_link_without_a_command_stays_until_it_is_told_to_end(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    body = (
        "from pathlib import Path; from edgesight.sim.link.namespaces import emulate;"
        "from edgesight.sim.link.options import LinkOptions;"
        f"print(emulate(LinkOptions(), report=Path({str(report)!r})))"
    )
    command = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    told = [command.stderr.readline() for _ in range(2)]
    for line, own, other in zip(
        told, (EDGE_ADDRESS, DATACENTER_ADDRESS), (DATACENTER_ADDRESS, EDGE_ADDRESS), strict=True
    ):
        assert own in line
        enter = shlex.split(line.partition(": ")[2])[:-1]
        routes = subprocess.run([*enter, "ip", "route"], capture_output=True, text=True, check=True).stdout
        assert routes.startswith(other)
    command.send_signal(signal.SIGTERM)
    assert command.communicate(timeout=30)[0].strip() == "0"
    assert json.loads(report.read_text())["up"]["offered"] == 0


@needs_namespaces
def test_a_congestion_control_that_the_kernel_lacks_is_refused_by_name() -> None:
    with (
        pytest.raises(EmulationError, match=r"no TCP congestion control 'carrier-pigeon': choose one of .*cubic"),
        NamespaceLink(LinkOptions(), tcp="carrier-pigeon"),
    ):
        pass


@needs_namespaces
def test_a_link_that_no_model_can_have_is_refused_without_a_trace() -> None:
    with (
        pytest.raises(EmulationError, match="needs a rate and a delay"),
        NamespaceLink(LinkOptions(queue=BandwidthDelayProducts(1.0))),
    ):
        pass


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 1_000)
        assert missing() == "network namespaces need root"
        with pytest.raises(EmulationError, match="need root"), NamespaceLink(LinkOptions()):
            pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 0)
        patch.setenv("PATH", str(tmp_path))
        assert missing() == "the command ip is missing (apt-get install iproute2)"
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 0)
        patch.setattr("edgesight.sim.link.namespaces.shutil.which", lambda tool: tool)
        patch.setattr(namespaces, "TUN", str(tmp_path / "tun"))
        assert missing() == f"TUN devices need {tmp_path / 'tun'}: No such file or directory"


def test_a_link_that_is_not_up_runs_nothing_and_reports_nothing() -> None:
    link = NamespaceLink(LinkOptions())
    with pytest.raises(EmulationError, match="not up"):
        link.run_edge(["true"])
    with pytest.raises(EmulationError, match="never up"):
        link.report()
