"""What a door costs: `python -m tests.host.doors.latency`, one request in flight, client and server on a core each.

Prints a line of JSON for each size: of a bare `Served.infer`, and of requests over gRPC and HTTP, the median in
milliseconds, and the first decile, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import tritonclient.grpc as tritonclient

from edgesight.host.doors.serve import new_event_loop
from edgesight.host.doors.served import Caller, Request, Response, Tensor
from tests.host.doors.small import PLAIN, Small, running

SIZES = (784, 196_608)  # bytes


class Quiet(Small):
    """Answers at once, and remembers nothing."""

    async def infer(self, request: Request, caller: Caller) -> Response:
        return Response(request.model, "1", [Tensor("sum", "FP64", np.zeros(1))], request.id)


def timed(ask: Callable[[], object], times: int) -> list[float]:
    """Milliseconds that `ask` took each time."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - began))
    return took[times // 10 :]


async def bare(size: int, times: int) -> list[float]:
    """Milliseconds that a call without a door took each time."""
    served, request = Quiet(), Request("sums", [Tensor("any", "UINT8", np.zeros(size, np.uint8))])
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await served.infer(request, Caller("a"))
        took.append(1e3 * (time.perf_counter() - began))
    return took


def over_grpc(port: int, size: int) -> Callable[[], object]:
    client = tritonclient.InferenceServerClient(f"127.0.0.1:{port}")
    tensor = tritonclient.InferInput("any", [size], "UINT8")
    tensor.set_data_from_numpy(np.zeros(size, np.uint8))
    return lambda: client.infer("sums", [tensor]).as_numpy("sum")


def over_http(port: int, size: int) -> Callable[[], object]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    header = json.dumps(
        {
            "inputs": [{"name": "any", "shape": [size], "datatype": "UINT8", "parameters": {"binary_data_size": size}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header)), "Content-Type": "application/octet-stream"}
    body = header + bytes(size)

    def ask() -> bytes:
        connection.request("POST", "/v2/models/sums/infer", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content

    return ask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000)
    parser.add_argument("--asyncio", action="store_true", help="with asyncio's own loop")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        factory = asyncio.new_event_loop if options.asyncio else new_event_loop
        with running(Quiet(), PLAIN, factory) as addresses:
            assert addresses.grpc is not None
            assert addresses.http is not None
            print(addresses.grpc[1], addresses.http[1], flush=True)
            sys.stdin.read()
        return
    command = [sys.executable, "-m", "tests.host.doors.latency", "--serve", *(["--asyncio"] if options.asyncio else [])]
    cores = sorted(os.sched_getaffinity(0))
    with subprocess.Popen(["taskset", "-c", str(cores[-1]), *command], stdin=-1, stdout=-1, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        ports = [int(port) for port in server.stdout.readline().split()]
        os.sched_setaffinity(0, cores[:1])
        for size in SIZES:
            took = {
                "bare": asyncio.run(bare(size, options.times)),
                "grpc": timed(over_grpc(ports[0], size), options.times),
                "http": timed(over_http(ports[1], size), options.times),
            }
            found = {f"{way}_ms": round(statistics.median(times), 3) for way, times in took.items()}
            found |= {f"{way}_p10_ms": round(statistics.quantiles(times, n=10)[0], 3) for way, times in took.items()}
            print(json.dumps({"bytes": size, **found}), flush=True)
        server.stdin.close()


if __name__ == "__main__":
    main()
