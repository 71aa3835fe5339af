"""How long offloading takes: `python -m sim.measure_link bitstreams/digits --loss 0.05 --delay-ms 5`.

A data centre process serves the package's back end behind an emulated link; random images of the kernel's shape go
there, some at a time, and the time from image to label is taken. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from host.kernel import Package
from host.link.keys import client_keys, make_keys
from host.link.quic import IDLE_TIMEOUT, NoAnswer, OffloadClient
from sim.emulated_link import EmulatedLink


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--loss", type=float, default=0.0, help="probability of losing a packet, each way")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="each way")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=1, help="requests that are open at a time")
    parser.add_argument("--deadline-ms", type=float, default=500.0)
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(asyncio.run(_measure(parser.parse_args())), indent=1))


async def _measure(asked: argparse.Namespace) -> dict[str, object]:
    shape = Package.load(asked.package).kernel.input.shape
    images = np.random.default_rng(asked.seed).integers(0, 256, (asked.images, *shape), dtype=np.uint8)
    milliseconds: list[float] = []
    services: list[float] = []
    unanswered = repaired = 0
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        make_keys(keys)
        command = [sys.executable, "-m", "edgesight", "datacenter", str(asked.package), "--keys", str(keys)]
        with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None  # PIPE was asked for
                port = int((await asyncio.to_thread(process.stdout.readline)).rsplit(":", 1)[1])
                link = EmulatedLink(("127.0.0.1", port), loss=asked.loss, delay=asked.delay_ms / 1e3, seed=asked.seed)
                async with link:
                    client = OffloadClient(*link.address, client_keys(keys, IDLE_TIMEOUT), max_open=asked.at_once)
                    await client.wait_connected(20.0)
                    places = asyncio.Semaphore(asked.at_once)

                    async def offload(number: int) -> None:
                        nonlocal unanswered, repaired
                        async with places:
                            begin = time.perf_counter()
                            try:
                                reply = await client.offload(images[number], asked.deadline_ms / 1e3)
                            except NoAnswer:
                                unanswered += 1
                                return
                            milliseconds.append((time.perf_counter() - begin) * 1e3)
                            services.append(reply.service_us / 1e3)
                            repaired += reply.missing > 0

                    begin = time.perf_counter()
                    await asyncio.gather(*(offload(number) for number in range(asked.images)))
                    seconds = time.perf_counter() - begin
                    await client.close()
            finally:
                process.terminate()
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "loss_each_way": asked.loss,
        "delay_ms_each_way": asked.delay_ms,
        "at_once": asked.at_once,
        "answered": len(milliseconds),
        "unanswered": unanswered,
        "repaired": repaired,
        "resent": client.resent,
        "per_second": asked.images / seconds,
        "round_trip_ms": _percentiles(milliseconds),
        "service_ms": _percentiles(services),
        "there": asdict(link.there),
        "back": asdict(link.back),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{share:g}": float(np.percentile(values, share)) for share in (50, 90, 99, 100)} if values else {}


if __name__ == "__main__":
    main()
