"""How much of the executor's own throughput is left when its batches come through the door: EfficientNet-Lite0, eight.

Clients ask for one picture each, over gRPC, with as many in flight as keep the model busy; the scheduler makes batches
of eight of them. The bare executor runs batches of eight of its own. The model is on one core with one thread, and who
serves and who asks on the other. Blocks of both take turns.
"""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

import grpc.aio
import numpy as np
import tritonclient.grpc as tritonclient
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.asked import Asked, Figure, data_centre, told
from edgesight.bench.service.loads import Call, request_bytes, saturate
from edgesight.bench.service.models import put
from edgesight.bench.service.processors import Bare, bare, pin, pinned, two_cores

MODEL = "efficientnet-lite0"
BATCH = 8
SIDE = 224  # pixels
LEAST = 0.9  # of the bare executor's pictures a second
IN_FLIGHT = 3 * BATCH  # one batch in work, one ready, one on its way
BLOCKS, SECONDS, RUNS = 8, 4.0, 16


def measure(asked: Asked, folder: Path, console: Console) -> Found:
    """Both, in blocks."""
    put(folder / "models", MODEL, _network(folder / "efficientnet-lite0.onnx").read_bytes(), BATCH)
    return asyncio.run(_measure(folder, console))


def _network(path: Path) -> Path:
    """EfficientNet-Lite0 as ONNX; untrained where its weights are not installed, which computes as much."""
    if not path.is_file():
        from edgesight.quant.efficientnet import EfficientNetLite0, export, lacking, pretrained

        untrained = EfficientNetLite0().state_dict().items() if lacking() else ()
        export({name: tensor.numpy() for name, tensor in untrained} or pretrained(), path, SIDE)
    return path


async def _measure(folder: Path, console: Console) -> Found:
    serving, running = two_cores()
    content = request_bytes(MODEL, "image", np.zeros((1, SIDE, SIDE, 3), np.uint8))
    own, through = list[float](), list[float]()
    async with data_centre(folder / "log", "--repository", folder / "models") as at:
        pin(at.program.pid, serving)
        for worker in at.workers():
            pin(worker, running)
        with pinned(serving), bare(folder / "models" / MODEL / "1" / "model.onnx", running) as executor:
            async with grpc.aio.insecure_channel(at.grpc) as channel:
                call = Call(channel, content)
                await saturate(lambda: call, IN_FLIGHT, 0.0, SECONDS)  # what batches take is learnt
                for _ in range(BLOCKS):
                    own.append(await _own(executor))
                    through.append(await saturate(lambda: call, IN_FLIGHT, SECONDS / 6, SECONDS))
        with tritonclient.InferenceServerClient(at.grpc) as client:
            stats = client.get_inference_statistics(MODEL).model_stats[0]
    console.print(f"{statistics.median(through):.1f} pictures/s of {statistics.median(own):.1f}", highlight=False)
    return found_of(own, through, stats.inference_count / max(stats.execution_count, 1))


async def _own(executor: Bare) -> float:
    """Pictures a second of the bare executor."""
    return BATCH * RUNS / sum(await asyncio.to_thread(executor.run, BATCH, RUNS))


def found_of(own: list[float], through: list[float], batch: float) -> Found:
    """What is reported of pictures a second, by block, and of the pictures that a batch had."""
    share = statistics.median(through) / statistics.median(own)
    check = Check("saturation: of the executor's own throughput at batch 8", share, LEAST, False, "times", "measured")
    figures = [
        Figure("saturation: the executor itself, batches of 8", statistics.median(own), "pictures/s", "measured"),
        Figure("saturation: through the door", statistics.median(through), "pictures/s", "measured"),
        Figure("saturation: pictures in a batch", batch, "pictures", "measured"),
    ]
    body = {"own": own, "through": through, "batch": batch, "in_flight": IN_FLIGHT, "told": told(*figures)}
    return Found(body, (check,))
