"""What a request costs a data centre on Ray: processor time, memory and bytes, of each of its kinds of process.

Processor time is the kernel's (/proc/PID/stat): it hangs less on who else has the machine than a time by the clock.

Words owned here: part (the door, the replicas, Ray's own processes of nodes, and those of the head).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors import Recipe, make
from edgesight.sim.link.options import EmulationError

PARTS: Final = ("door", "replicas", "nodes", "head")
SECONDS: Final = 20.0  # of each run
_REPLICA: Final = b"ray::ServeReplica:"  # how Ray calls such a process
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_WARM: Final = 20  # runs of the model that are not counted
_ALONE: Final = 500  # runs of it that are
_AT_ONCE: Final = 12  # requests
_ASK_S: Final = 5.0  # for the door to tell its metrics

Ask = Callable[[int], Awaitable[object]]
"""Asks request number N and waits for its answer."""


def parts(door: int, raylets: Sequence[int], ours: int) -> dict[str, set[int]]:
    """Processes of each part: `door` and `raylets` are at the tops of theirs, and all are below `ours`."""
    below = _tree(door)
    nodes = {pid for raylet in raylets for pid in _tree(raylet)}
    replicas = {pid for pid in nodes if _command(pid).startswith(_REPLICA)}
    head = _tree(ours) - {ours} - below - nodes
    return {"door": below, "replicas": replicas, "nodes": nodes - replicas, "head": head}


def cpu_s(pids: set[int]) -> float:
    """Seconds of a processor that these have had; those that are gone count for nothing."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks * _TICK_S


def memory_bytes(pids: set[int]) -> int:
    """That these hold; what they share counts for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * _PAGE


def model_cpu_s(path: Path, images: Mapping[str, npt.NDArray[Any]]) -> float:
    """Seconds of a processor that a run of the model takes, as a replica runs it, alone and without anything about it.

    `images` is one request's input.
    """
    executor = make(Recipe("onnxruntime", path.name), path.read_bytes())
    for _ in range(_WARM):
        executor.run(images)
    begun = time.process_time()
    for _ in range(_ALONE):
        executor.run(images)
    return (time.process_time() - begun) / _ALONE


async def steady(ask: Ask, per_s: float, seconds: float) -> int:
    """Ask at a steady rate, more slowly where a few are not answered in time; how many were.

    What a request costs is asked here, not how soon it is answered: on a machine that others have, none are to pile up.
    """
    begun = time.monotonic()
    counts = [0] * _AT_ONCE

    async def one(place: int) -> None:
        for number in range(place, int(per_s * seconds), _AT_ONCE):
            await asyncio.sleep(begun + number / per_s - time.monotonic())
            if time.monotonic() > begun + seconds:
                return
            await ask(number)
            counts[place] += 1

    await asyncio.gather(*map(one, range(_AT_ONCE)))
    return sum(counts)


async def measured(there: Mapping[str, set[int]], ask: Ask, per_s: float, replicas: int) -> dict[str, Any]:
    """The costs of each part: idle, and at `per_s` requests a second, by which they grow with each request.

    `there` is by `parts`, and `replicas` is how many there must be; raises EmulationError where there are others.
    """
    if len(there["replicas"]) != replicas:
        raise EmulationError(f"{len(there['replicas'])} replicas run, not {replicas}: run the section again")
    idle = await _spent(there, asyncio.sleep(SECONDS))
    begun = time.monotonic()
    asking = asyncio.ensure_future(steady(ask, per_s, SECONDS))
    busy = await _spent(there, asking)
    count, took = asking.result(), time.monotonic() - begun
    # A node's part is the same on each, and so is a replica's memory.
    many = {"door": 1, "replicas": replicas, "nodes": replicas, "head": 1}
    return {
        "requests": count,
        "per_s": count / took,
        "parts": {
            name: {
                "idle_cores": idle[name] / SECONDS / many[name],
                "cpu_s_a_request": max(busy[name] - idle[name] * took / SECONDS, 0.0) / count,
                "memory_bytes": memory_bytes(pids) / many[name],
            }
            for name, pids in there.items()
        },
    }


async def _spent(there: Mapping[str, set[int]], while_: Awaitable[object]) -> dict[str, float]:
    before = {name: cpu_s(pids) for name, pids in there.items()}
    await while_
    return {name: cpu_s(pids) - before[name] for name, pids in there.items()}


def of_metrics(address: str, *names: str) -> list[float]:
    """Values that the door tells at /metrics of its health's `address`, of the one model that there is."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=_ASK_S) as answer:
        text = answer.read().decode()
    found = [re.search(rf"^edgesight_{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE) for name in names]
    return [float(one[1]) if one is not None else float("nan") for one in found]


def message_bytes(model: str, name: str, image: npt.NDArray[np.uint8]) -> int:
    """Bytes of a request's message in gRPC; what HTTP/2 and TLS put about it not counted."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[image.tobytes()])
    request.inputs.add(name=name, datatype="UINT8", shape=image.shape)
    return int(request.ByteSize())


def _tree(pid: int) -> set[int]:
    """A process and all below it."""
    found, unread = set(), [pid]
    while unread:
        at = unread.pop()
        found.add(at)
        for file in Path(f"/proc/{at}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                unread += [int(child) for child in file.read_text().split()]
    return found


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
