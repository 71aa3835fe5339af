"""How true the emulator is: what real packets meet on a link between namespaces, held against the link's options.

Words owned here: dependable rate.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import binom

from edgesight.bench.link.probe import Arrivals, Probe
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.sim.link.namespaces import NamespaceLink
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, GilbertElliott, LinkOptions

RATES = (20.0, 50.0, 100.0, 200.0)  # Mbit/s each way
WANTED_RATE = 20.0  # Mbit/s each way that the emulator must carry on a busy machine
RATE_ERROR = 0.02
DELAY_ERROR_MS = 0.5  # of the median
LATE_MS = 1.0  # that 99 % of packets may be handed over after their time
DELAY_S = 0.02
LOSS = 0.05
BURST = 4.0
CONFIDENCE = 0.999
_FULL = 1_500  # bytes
_SECONDS = 4.0  # of each measurement
# Offered over the rate, and bandwidth-delay products that queue: enough for a sender that stands still for 0.1 s.
_OVERLOAD, _QUEUE = 1.5, 4.0
_AT_ONCE = 20  # packets that a sender writes together where it only has to fill the link


def measure_rate(mbit_per_s: float, busy: bool, seconds: float = _SECONDS, seed: int = 0) -> dict[str, Any]:
    """Fill a link of this rate both ways, on an otherwise idle machine or with each core `busy`; plain JSON.

    `rate_error` is the larger of both ways' relative ones. `excess_ms`: by how much the delay of 99 % of packets is at
    most above what a full queue explains. `late_ms` and `missed` are as in `NamespaceLink.report`.
    """
    options = LinkOptions(ConstantRate(mbit_per_s * 1e6), DELAY_S, queue=BandwidthDelayProducts(_QUEUE))
    longest = DELAY_S + _QUEUE * 2 * DELAY_S
    packets = round(mbit_per_s * 1e6 * _OVERLOAD * seconds / 8 / _FULL / _AT_ONCE) * _AT_ONCE
    load = {"packets": packets, "size": _FULL, "mbit_per_s": mbit_per_s * _OVERLOAD, "at_once": _AT_ONCE}
    with _every_core_busy() if busy else contextlib.nullcontext(), NamespaceLink(options, seed=seed) as link:
        probes = [Probe(link, "up", **load), Probe(link, "down", **load)]  # type: ignore[arg-type]
        arrivals = [probe.arrivals() for probe in probes]
        report = link.report()
    reached = [one.mbit_per_s for one in arrivals]
    return {
        "mbit_per_s": mbit_per_s,
        "busy": busy,
        "reached_mbit_per_s": reached,
        "rate_error": max(abs(rate / mbit_per_s - 1.0) for rate in reached),
        "excess_ms": max(float(np.quantile(one.delays_s, 0.99)) - longest for one in arrivals) * 1e3,
        "late_ms": max((report[way]["late_ms"] for way in ("up", "down")), key=lambda late: float(late["p99"])),
        "missed": sum(report[way]["missed"] for way in ("up", "down")),
        "real_time": report["real_time"],
    }


def measure_chance(seconds: float = _SECONDS, seed: int = 0) -> tuple[Arrivals, Arrivals]:
    """A thousand small packets a second each way: LOSS independent up, in bursts of BURST down, DELAY_S both ways."""
    up = LinkOptions(delay_s=DELAY_S, loss=LOSS)
    down = LinkOptions(delay_s=DELAY_S, loss=GilbertElliott.of(LOSS, BURST))
    with NamespaceLink(up, down, seed=seed) as link:
        load = {"packets": round(seconds * 1_000), "size": 100, "mbit_per_s": 0.8}
        probes = [Probe(link, "up", **load), Probe(link, "down", **load)]  # type: ignore[arg-type]
        there, back = (probe.arrivals() for probe in probes)
    return there, back


def chance_checks(up: Arrivals, down: Arrivals) -> list[Check]:
    """What `measure_chance` found against what was asked for; each bar is that of 99.9 % of sound emulators."""
    bursts = down.bursts
    # Bursts are geometric. The share varies as that of independent packets, about 2 BURST - 1 times over.
    wide = float(binom.ppf((1 + CONFIDENCE) / 2, up.sent, LOSS) - up.sent * LOSS) / up.sent
    deviations = 3.3
    burst_wide = deviations * math.sqrt(BURST * (BURST - 1) / max(len(bursts), 1))
    bursty_wide = deviations * math.sqrt(LOSS * (1 - LOSS) * (2 * BURST - 1) / down.sent)
    figures = [
        ("error of independent loss", abs(up.missing / up.sent - LOSS), wide, "share"),
        ("error of bursty loss", abs(down.missing / down.sent - LOSS), bursty_wide, "share"),
        ("error of the mean burst", abs(float(np.mean(bursts or [0])) - BURST), burst_wide, "packets"),
        *(
            (f"error of the median delay, {way}", _delay_error_ms(arrivals), DELAY_ERROR_MS, "ms")
            for way, arrivals in (("up", up), ("down", down))
        ),
    ]
    return [Check(name, value, bar, True, unit, "measured") for name, value, bar, unit in figures]


def rate_checks(measured: dict[str, Any]) -> list[Check]:
    """One result of `measure_rate` against its bars."""
    where = f"{measured['mbit_per_s']:g} Mbit/s each way, {'busy' if measured['busy'] else 'idle'} machine"
    return [
        Check(f"error of the rate, {where}", measured["rate_error"], RATE_ERROR, True, "share", "measured"),
        Check(f"lateness of 99 % of packets, {where}", measured["late_ms"]["p99"], LATE_MS, True, "ms", "measured"),
        Check(f"unexplained delay, {where}", measured["excess_ms"], LATE_MS, True, "ms", "measured"),
        Check(f"missed, {where}", measured["missed"], 0, True, "packets", "measured"),
    ]


def bench_emulator(out: Path, console: Console, rates: Sequence[float] = RATES) -> bool:
    """Measure the emulator at each of `rates` (Mbit/s), idle and busy; returns whether what must hold does.

    The dependable rate is the highest of those up to which every rate met its bars, on a busy machine, too. Writes
    `out`/emulator.json.
    """
    checks = chance_checks(*measure_chance(10.0))
    measured: list[dict[str, Any]] = []
    dependable, failed = 0.0, False
    for rate in sorted(rates):
        console.print(f"Filling a link of {rate:g} Mbit/s each way ...")
        found = [measure_rate(rate, busy) for busy in (False, True)]
        held = [check for one in found for check in rate_checks(one)]
        failed = failed or not all(check.met for check in held)
        if not failed:
            dependable = rate
        if rate <= WANTED_RATE:
            checks += held
        measured += found
        for one in found:
            console.print(
                f"  {'busy' if one['busy'] else 'idle'}: rate off by {one['rate_error']:.2%}, "
                f"99 % at most {one['late_ms']['p99']:g} ms late, {one['excess_ms']:.2f} ms unexplained, "
                f"{one['missed']} missed"
            )
    checks.append(Check("dependable rate each way", dependable, WANTED_RATE, False, "Mbit/s", "measured"))
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "kernel": platform.release()}
    write_report(
        out / "emulator.json",
        {**machine, "python": platform.python_version(), "dependable_mbit_per_s": dependable, "measured": measured},
        checks,
    )
    return print_checks(console, checks)


def _delay_error_ms(arrivals: Arrivals) -> float:
    return abs(float(np.median(arrivals.delays_s)) - DELAY_S) * 1e3


@contextlib.contextmanager
def _every_core_busy() -> Iterator[None]:
    """A process that computes for each core."""
    with contextlib.ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield
