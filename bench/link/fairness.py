"""What our congestion control takes beside TCP, and what random loss leaves it: real packets, over a link between
namespaces.

Words owned here: share (of what two backlogged flows delivered, ours).
"""

from __future__ import annotations

import json
import os
import platform
import select
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.report import Check, print_checks, write_report
from edgesight.host.link.congestion import NAME
from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, NamespaceLink
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, EmulationError, LinkOptions
from edgesight.sim.link.trust import make_trust

RATE = 20.0  # Mbit/s
DELAY_S = 0.02  # each way
QUEUES = (1.0, 4.0)  # bandwidth-delay products
LOSSES = (0.0, 0.01, 0.05, 0.1, 0.2)  # each way
SECONDS, SETTLED = 60.0, 10.0  # of a flow; from when on it counts
LOSS_SECONDS, LOSS_SETTLED = 15.0, 5.0
SEEDS = 5
LEAST_SHARE, MOST_SHARE = 0.20, 0.65
OTHERS = ("reno", "cubic")  # aioquic's own congestion controls
_QUIC_PORT, _TCP_PORT = 4_433, 4_434
_APART = 4.0  # seconds by which the flows may begin one after the other
_SLACK = 30.0  # seconds for flows to begin and to end


@dataclass(frozen=True)
class Delivered:
    """Mbit/s of payload that came to the data centre while it counted; None: there was no such flow."""

    quic: float | None
    tcp: float | None
    missed: int  # packets that the emulator was too slow to take
    late_ms: float  # by which it handed over the latest but one in a hundred

    @property
    def share(self) -> float:
        """QUIC's of both."""
        assert self.quic is not None
        assert self.tcp is not None
        return self.quic / (self.quic + self.tcp)


def run_flows(
    up: LinkOptions,
    *,
    quic: str | None = NAME,
    tcp: str | None = None,
    seconds: float = SECONDS,
    settled: float = SETTLED,
    seed: int = 0,
) -> Delivered:
    """Send as fast as they may, from edge to data centre: QUIC datagrams and TCP, each under the congestion control
    named (None: without that flow), for so many seconds; counts from `settled` on.

    Acknowledgements come back with the same delay and loss. Raises EmulationError where a link cannot be made or a flow
    breaks.
    """
    down = LinkOptions(delay_s=up.delay_s, loss=up.loss)
    program = [sys.executable, "-m", "edgesight.bench.link.backlog"]
    options: dict[str, Any] = {"cwd": Path(__file__).resolve().parent.parent.parent, "text": True}
    with tempfile.TemporaryDirectory() as folder, NamespaceLink(up, down, seed=seed) as link:
        trust = make_trust(Path(folder))
        flows = [
            (kind, str(port), control)
            for kind, port, control in (("quic", _QUIC_PORT, quic), ("tcp", _TCP_PORT, tcp))
            if control is not None
        ]
        keys = {"quic": ([str(trust.datacenter)], [str(trust.edge)]), "tcp": ([], [])}
        receivers: dict[str, subprocess.Popen[str]] = {}
        for kind, port, _ in flows:
            command = [*program, f"{kind}-receive", *keys[kind][0], port]
            receivers[kind] = receiver = link.run_datacenter(command, stdout=subprocess.PIPE, **options)
            assert receiver.stdout is not None
            heard, _, _ = select.select([receiver.stdout], [], [], _SLACK)
            if not heard or receiver.stdout.readline() != "ready\n":
                raise EmulationError(f"the {kind} receiver did not begin; see what it said above")
        for kind, port, control in flows:
            command = [
                *program,
                f"{kind}-send",
                *keys[kind][1],
                DATACENTER_ADDRESS,
                port,
                str(seconds + _APART),
                control,
            ]
            link.run_edge(command, **options)
        counts: dict[str, dict[str, Any]] = {}
        try:
            for kind, receiver in receivers.items():
                said, _ = receiver.communicate(timeout=seconds + _SLACK)
                if receiver.returncode:
                    raise EmulationError(f"the {kind} receiver failed; see what it said above")
                counts[kind] = json.loads(said)
        except subprocess.TimeoutExpired:
            raise EmulationError(
                f"a flow of {seconds:g} s did not end within {_SLACK:g} s more"
                ": try again when this machine is less busy"
            ) from None
        report = link.report()["up"]
    both_began = max(count["began"] for count in counts.values())
    rates = {kind: _mbit_per_s(count, both_began + settled, both_began + seconds) for kind, count in counts.items()}
    return Delivered(rates.get("quic"), rates.get("tcp"), report["missed"], report["late_ms"]["p99"])


def bench_fairness(out: Path, console: Console, seeds: int = SEEDS, seconds: float = SECONDS) -> bool:
    """Measure our share beside one cubic flow, and what random loss leaves alone; returns whether all bars are met.

    Writes `out`/fairness.json. Takes (2 x seeds x seconds + 225) seconds.
    """
    checks: list[Check] = []
    shares: list[dict[str, Any]] = []
    for queue in QUEUES:
        found = []
        for seed in range(seeds):
            delivered = run_flows(_link(queue), tcp="cubic", seconds=seconds, seed=seed)
            found.append(delivered)
            console.print(f"queue of {queue:g} bandwidth-delay products, seed {seed}: {_words(delivered)}")
        share = statistics.median(one.share for one in found)
        shares.append({"queue": queue, "median": share, "runs": [{**asdict(one), "share": one.share} for one in found]})
        name = f"share beside cubic, queue of {queue:g} bandwidth-delay products, median of {seeds}"
        checks.append(Check(name, share, LEAST_SHARE, False, "", "measured"))
        checks.append(Check(name, share, MOST_SHARE, True, "", "measured"))
    alone: list[dict[str, Any]] = []
    for loss in LOSSES:
        for control in (NAME, *OTHERS):
            delivered = run_flows(_link(1.0, loss), quic=control, seconds=LOSS_SECONDS, settled=LOSS_SETTLED)
            alone.append({"control": control, "loss": loss, **asdict(delivered)})
            console.print(f"alone, {loss:.0%} loss each way, {control}: {_words(delivered)}")
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "kernel": platform.release()}
    write_report(
        out / "fairness.json",
        {**machine, "python": platform.python_version(), "rate_mbit_per_s": RATE, "shares": shares, "alone": alone},
        checks,
    )
    return print_checks(console, checks)


def _link(queue: float, loss: float = 0.0) -> LinkOptions:
    return LinkOptions(ConstantRate(RATE * 1e6), DELAY_S, loss=loss, queue=BandwidthDelayProducts(queue))


def _words(delivered: Delivered) -> str:
    words = [f"{name} {rate:.2f} Mbit/s" for name, rate in (("QUIC", delivered.quic), ("TCP", delivered.tcp)) if rate]
    if delivered.quic is not None and delivered.tcp is not None:
        words.append(f"share {delivered.share:.1%}")
    return ", ".join([*words, f"emulator missed {delivered.missed}, late by {delivered.late_ms:g} ms (p99)"])


def _mbit_per_s(count: dict[str, Any], begin: float, end: float) -> float:
    """What arrived between two moments of the machine's monotonic clock."""
    step, began = count["step_s"], count["began"]
    arrived = sum(size for number, size in count["steps"] if begin <= began + number * step < end)
    return float(arrived * 8 / (end - begin) / 1e6)
