"""What one client that asks too much leaves to the others: they are let in by certificates, each under its own name.

Three clients ask one model at random times at a rate that it answers with ease: each alone first, then together with a
fourth, which asks 20 times as often, more than the model can answer. Goodput is what is answered in time.

Words owned here: greedy (the client that asks 20 times as often).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import grpc.aio
import numpy as np
from rich.console import Console

from edgesight.bench.commands import run_command
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Asked, Figure, data_centre, told
from edgesight.bench.service.loads import Call, Stream, Tally, offer, percentiles, request_bytes, saturate
from edgesight.bench.service.models import WIDTH, put, working
from edgesight.host.datacenter.authority import make_authority

MODEL = "shared"
OTHERS = ("ada", "ben", "cleo")
GREEDY = "greedy"
TIMES = 20  # the others' rate
PART = 0.15  # of the capacity, that each of the others asks for
DEADLINE_RUNS = 40.0  # times what an answer takes at full load, a row
LEAST = 0.9  # of its goodput alone
LAYERS = 30
IN_FLIGHT, WARM_S, CAPACITY_S = 16, 2.0, 6.0
ALONE_S, TOGETHER_S = 12.0, 24.0


def measure(asked: Asked, folder: Path, console: Console) -> Found:
    """Each alone, then all together."""
    put(folder / "models", MODEL, working(LAYERS))
    return asyncio.run(_measure(folder, console))


async def _measure(folder: Path, console: Console) -> Found:
    keys = _keys(folder, console)
    arguments = ("--repository", folder / "models", "--keys", keys, "--name", "localhost")
    content = request_bytes(MODEL, "x", np.ones((1, WIDTH), np.float32))
    async with contextlib.AsyncExitStack() as opened:
        at = await opened.enter_async_context(data_centre(folder / "log", *arguments))
        address = at.grpc.replace("127.0.0.1", "localhost")
        calls = {}
        for name in (*OTHERS, GREEDY):
            channel = grpc.aio.secure_channel(address, _credentials(folder / name))
            calls[name] = Call(await opened.enter_async_context(channel), content)
        everyone, chance = list(calls.values()), random.Random(0)
        capacity = await saturate(lambda: chance.choice(everyone), IN_FLIGHT, WARM_S, CAPACITY_S)
        deadline = DEADLINE_RUNS / capacity
        rate = PART * capacity
        console.print(f"capacity {capacity:.1f}/s, a deadline of {deadline:.2f} s", highlight=False)
        streams = {
            name: Stream(call, rate * (TIMES if name == GREEDY else 1), deadline, seed)
            for seed, (name, call) in enumerate(calls.items())
        }
        alone = {name: (await offer([streams[name]], ALONE_S))[0] for name in OTHERS}
        together = dict(zip(streams, await offer(list(streams.values()), TOGETHER_S), strict=True))
    return found_of(capacity, deadline, alone, together)


def found_of(capacity: float, deadline: float, alone: Mapping[str, Tally], together: Mapping[str, Tally]) -> Found:
    """What is reported of the clients, by name."""
    kept = {name: together[name].share / max(tally.share, 1e-9) for name, tally in alone.items()}
    check = Check(
        "fairness: goodput that the least of the others keeps", min(kept.values()), LEAST, False, "times", "measured"
    )
    figures = [
        *(Figure(f"fairness: in time alone, {name}", alone[name].share, "of requests", "measured") for name in alone),
        *(
            Figure(f"fairness: in time together, {name}", tally.share, "of requests", "measured")
            for name, tally in together.items()
        ),
    ]
    body = {
        "capacity": capacity,
        "deadline_s": deadline,
        "alone": {name: _told(tally) for name, tally in alone.items()},
        "together": {name: _told(tally) for name, tally in together.items()},
        "kept": kept,
        "told": told(*figures),
    }
    return Found(body, (check,))


def _told(tally: Tally) -> dict[str, object]:
    return {
        "asked": tally.asked,
        "good": tally.good,
        "late": tally.late,
        "failed": dict(tally.failed),
        **percentiles(tally.seconds),
    }


def _keys(folder: Path, console: Console) -> Path:
    """The data centre's keys, with a certificate of each client in a folder of its name."""
    keys = folder / "keys"
    if not keys.is_dir():
        make_authority(keys)
    for name in (*OTHERS, GREEDY):
        if not (folder / name).is_dir():
            run_command(console, "datacenter", "client", name, "--keys", str(keys), "--out", str(folder / name))
    return keys


def _credentials(folder: Path) -> grpc.ChannelCredentials:
    files: Sequence[str] = ("ca.crt", "client.key", "client.crt")
    return grpc.ssl_channel_credentials(*((folder / name).read_bytes() for name in files))
