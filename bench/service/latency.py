"""What asking over gRPC costs beside the model itself: one request in flight, over loopback.

The model is on one core, and who serves and who asks on the other. Blocks of requests take turns with blocks of the
bare executor's runs and of a peer's requests, so that what the machine does otherwise meets them alike.

Words owned here: overhead (median of the round trips less that of the bare executor's runs).
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as tritonclient
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Asked, Figure, data_centre, told
from edgesight.bench.service.loads import percentiles, tritonclient_type
from edgesight.bench.service.models import light, put
from edgesight.bench.service.peers import PeerError, mlserver
from edgesight.bench.service.processors import bare, pin, pinned, two_cores

# By name: shape and type of a row, and the overhead that it may have in milliseconds.
INPUTS: dict[str, tuple[tuple[int, ...], type[np.generic], float]] = {
    "784 bytes": ((784,), np.uint8, 1.5),
    "196 KB": ((3, 128, 128), np.float32, 3.0),
}
BLOCKS, BLOCK = 20, 100
PEER_BLOCK = 25  # it takes longer
OURS, BARE, MLSERVER = "ours", "bare", "MLServer"


def measure(asked: Asked, folder: Path, console: Console) -> Found:
    """Each size of input, at ours and beside."""
    repository, files = folder / "models", dict[str, Path]()
    for name, (shape, dtype, _) in INPUTS.items():
        put(repository, _model(name), light(shape, dtype))
        files[_model(name)] = repository / _model(name) / "1" / "model.onnx"
    return asyncio.run(_measure(asked, repository, files, folder, console))


async def _measure(asked: Asked, repository: Path, files: dict[str, Path], folder: Path, console: Console) -> Found:
    serving, running = two_cores()
    skipped: dict[str, str] = {}
    took: dict[str, dict[str, list[float]]] = {}
    async with contextlib.AsyncExitStack() as opened:
        at = await opened.enter_async_context(data_centre(folder / "ours.log", "--repository", repository))
        pin(at.program.pid, serving)
        for worker in at.workers():
            pin(worker, running)
        peer = None
        if asked.peers:
            console.print("MLServer: installed and started ...", highlight=False)
            try:
                peer = opened.enter_context(mlserver(folder.parent / "mlserver", files))
            except PeerError as error:
                skipped[MLSERVER] = str(error)
            else:
                pin(peer.process, serving)
                for worker in peer.workers:
                    pin(worker, running)
        else:
            skipped[MLSERVER] = "no other server was wanted (--no-peers)"
        opened.enter_context(pinned(serving))
        for name, (shape, dtype, _) in INPUTS.items():
            row = np.zeros((1, *shape), dtype)
            with contextlib.ExitStack() as clients:
                executor = clients.enter_context(bare(files[_model(name)], running))
                ways: dict[str, Callable[[], list[float]]] = {
                    BARE: partial(executor.run, 1, BLOCK),
                    OURS: _asking(clients.enter_context(_client(at.grpc)), _model(name), row, BLOCK),
                }
                if peer is not None:
                    ways[MLSERVER] = _asking(clients.enter_context(_client(peer.grpc)), _model(name), row, PEER_BLOCK)
                took[name] = {way: [] for way in ways}
                for _ in range(BLOCKS):
                    for way, run in ways.items():
                        took[name][way] += run()
    return found_of(took, skipped)


def found_of(took: dict[str, dict[str, list[float]]], skipped: dict[str, str]) -> Found:
    """What is reported of the seconds that each took, by input and way."""
    checks, figures, body = [], [], dict[str, Any]()
    for name, ways in took.items():
        median = {way: 1e3 * statistics.median(times) for way, times in ways.items()}
        over = median[OURS] - median[BARE]
        checks.append(
            Check(f"latency: overhead over the executor, {name}", over, INPUTS[name][2], True, "ms", "measured")
        )
        figures.append(Figure(f"latency: the executor itself, {name}", median[BARE], "ms", "measured"))
        if MLSERVER in median:
            beside = median[MLSERVER] - median[BARE]
            figures.append(Figure(f"latency: overhead of MLServer, {name}", beside, "ms", "measured"))
        body[name] = {way: {**percentiles(times), "runs": len(times)} for way, times in ways.items()}
    return Found({"inputs": body, "told": told(*figures), "skipped": skipped}, tuple(checks))


def _model(name: str) -> str:
    return f"takes_{name.split()[0]}"


def _client(at: str) -> Any:
    return tritonclient.InferenceServerClient(at)


def _asking(client: Any, model: str, row: np.ndarray[Any, Any], times: int) -> Callable[[], list[float]]:
    """Seconds of each of so many requests, one after the other, with its answer as an array."""
    tensor = tritonclient.InferInput("x", list(row.shape), tritonclient_type(row))
    tensor.set_data_from_numpy(row)

    def ask() -> list[float]:
        took = []
        for _ in range(times):
            begun = time.perf_counter()
            client.infer(model, [tensor]).as_numpy("y")
            took.append(time.perf_counter() - begun)
        return took

    return ask
