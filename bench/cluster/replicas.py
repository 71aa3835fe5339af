"""The data centre on Ray: replicas on three nodes, of which one is lost under load; and a new version under load.

What a request costs there is measured, too, for `sizing`.

The very program `edgesight datacenter serve --engine ray` answers, asked over gRPC by Triton's own client. The nodes
are Ray's, on this machine. Of the two versions the second is the first with other weights in its last layer, so that
each answer tells which one gave it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.cluster import costs
from edgesight.bench.cluster.asked import Asked
from edgesight.bench.cluster.returning import back_s
from edgesight.bench.kept import Found
from edgesight.bench.link.programs import Program
from edgesight.bench.made import made
from edgesight.bench.report import Check, PlainTable
from edgesight.hls.zoo import shipped_folder
from edgesight.host.datacenter.on_ray.settings import Settings
from edgesight.host.files import write_atomically
from edgesight.plan.place.pieces import session_of
from edgesight.sim.link.options import EmulationError
from edgesight.sim.ray_nodes import RayNodes

NODES: Final = ("a", "b", "c")
MODEL: Final = "garments"
LOAD: Final = 0.5  # of what is answered where there is always another request
BACK_S: Final = 20.0
_AT_ONCE: Final = 12  # requests, to find out what that is
_SECONDS: Final = 10.0
_LOST_AFTER_S: Final = 10.0
_CHANGED_AFTER_S: Final = 5.0
_RUN_S: Final = 45.0  # of requests at the load
_TIMEOUT_S: Final = 30.0  # of a request
_IMAGES: Final = 64
_CLOSE: Final = 1e-3

Images = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]


def lacks(asked: Asked) -> str | None:
    """Why it cannot be run here."""
    try:
        import ray  # noqa: F401
        import tritonclient.grpc.aio  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed: `pip install 'edgesight[oip,ray]'`"
    return None


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Raises EdgeSightError where a run fails."""
    repository = folder / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    first, second = two_versions(folder)
    put(first, repository, "1")
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 1, 28, 28, 1), np.uint8)
    truth = {number: logits_of(path, images) for number, path in (("1", first), ("2", second))}
    with RayNodes(NODES) as there:
        words = ["datacenter", "serve", "--engine", "ray", "--ray", there.address, "--repository", str(repository)]
        words += ["--replicas", f"{len(NODES)}:{len(NODES)}", "--grpc", "127.0.0.1:0", "--health", "127.0.0.1:0"]
        program = Program("data centre", words, "data centre: ", folder / "datacenter.log")
        ran = asyncio.run(_ran(program, there, images, truth, second, repository))
    ran.costs["model_cpu_s"] = costs.model_cpu_s(first, {"image": images[0]})
    return found(ran, console)


def two_versions(folder: Path) -> tuple[Path, Path]:
    """The shipped back end for garments, and the same with the last layer's weights shifted."""
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    first, second = folder / "first.onnx", folder / "second.onnx"
    model = onnx.load(str(shipped_folder() / "fashion-mnist" / "datacenter.onnx"))
    onnx.save(model, str(first))
    (weights,) = [one for one in model.graph.initializer if one.name == "logits.weight"]
    weights.CopyFrom(onnx.numpy_helper.from_array(np.roll(onnx.numpy_helper.to_array(weights), 1, 0), weights.name))
    onnx.save(model, str(second))
    return first, second


def put(model: Path, repository: Path, number: str) -> None:
    """A version into the repository."""
    folder = repository / MODEL / number
    folder.mkdir(parents=True)
    write_atomically(folder / "model.onnx", model.read_bytes())


def logits_of(model: Path, images: Images) -> Logits:
    """Float32 [N, 10] of images [N, 1, H, W, C], by ONNX Runtime alone."""
    session = session_of(model.read_bytes())
    return np.stack([session.run(["logits"], {"image": image})[0][0] for image in images])


@dataclass(frozen=True)
class Ran:
    """What the runs came to: answers a second at most, what a request costs, and what became of those under load."""

    capacity: float
    costs: dict[str, Any]
    lost: dict[str, Any]
    updated: dict[str, Any]


async def _ran(
    program: Program,
    there: RayNodes,
    images: Images,
    truth: Mapping[str, Logits],
    second: Path,
    repository: Path,
) -> Ran:
    import tritonclient.grpc.aio as grpc

    line = await program.start()
    try:
        address = line.split("gRPC at ")[1].split(",")[0]
        async with grpc.InferenceServerClient(address) as client:
            asker = _Asker(client, images, truth)
            capacity = await asker.capacity()
            cost = await asker.costs(costs.parts(program.pid, there.raylets(), os.getpid()), LOAD * capacity)
            health = re.search(r"health at ([\w.:]+)", line)
            assert health is not None
            cost["load_s"], cost["model_bytes"] = await asyncio.to_thread(
                costs.of_metrics, health[1], "model_load_seconds", "model_memory_bytes"
            )
            lost = await asker.under_load(LOAD * capacity, _LOST_AFTER_S, lambda: there.lose(NODES[-1]))
            there.add(NODES[-1])  # in this thread, since Ray sets what becomes of signals

            def change() -> None:
                put(second, repository, "2")

            async def load() -> None:
                await asyncio.to_thread(change)
                await client.load_model(MODEL)

            updated = await asker.under_load(LOAD * capacity, _CHANGED_AFTER_S, load)
            return Ran(capacity, cost, lost, updated)
    finally:
        await program.end(signal.SIGTERM)


class _Asker:
    """Asks over gRPC, and holds each answer against the version that it says it is of."""

    def __init__(self, client: Any, images: Images, truth: Mapping[str, Logits]) -> None:
        self._client, self._images, self._truth = client, images, truth
        self._answer_bytes = 0

    async def capacity(self) -> float:
        """Answers a second where there is always another request."""
        await self._all(_SECONDS / 5)
        return await self._all(_SECONDS) / _SECONDS

    async def costs(self, there: Mapping[str, set[int]], per_s: float) -> dict[str, Any]:
        """What a request costs each part, at that rate."""
        found = await costs.measured(there, self._ask, per_s, len(NODES))
        found["request_bytes"] = costs.message_bytes(MODEL, "image", self._images[0])
        return {**found, "answer_bytes": self._answer_bytes}

    async def _all(self, seconds: float) -> int:
        until = time.monotonic() + seconds
        counts = [0] * _AT_ONCE

        async def one(place: int) -> None:
            while time.monotonic() < until:
                await self._ask(counts[place])
                counts[place] += 1

        await asyncio.gather(*map(one, range(_AT_ONCE)))
        return sum(counts)

    async def under_load(self, per_s: float, after_s: float, what: Callable[[], Any]) -> dict[str, Any]:
        """What becomes of `per_s` requests a second while `what` is done `after_s` after the first."""
        begun = time.monotonic()
        count = int(per_s * _RUN_S)
        answered: list[float] = []
        faults: list[str] = []
        versions: dict[str, int] = {}
        mixed = 0

        async def one(number: int) -> None:
            nonlocal mixed
            await asyncio.sleep(begun + number / per_s - time.monotonic())
            try:
                version, right = await self._ask(number)
            except Exception as error:  # whatever it is, the request got no answer
                faults.append(str(error))
                return
            answered.append(time.monotonic() - begun)
            versions[version] = versions.get(version, 0) + 1
            mixed += not right

        async def happens() -> tuple[float, float]:
            await asyncio.sleep(after_s)
            at = time.monotonic() - begun
            done = await asyncio.to_thread(what) if not asyncio.iscoroutinefunction(what) else await what()
            assert done is None
            return at, time.monotonic() - begun - at

        happening = asyncio.create_task(happens())
        await asyncio.gather(*map(one, range(count)))
        at, took = await happening
        return {
            "per_s": per_s,
            "requests": count,
            "failed": len(faults),
            "faults": list(dict.fromkeys(faults))[:5],
            "not_of_their_version": mixed,
            "versions": versions,
            "took_s": took,
            "back_s": back_s(answered, at, _RUN_S, per_s),
        }

    async def _ask(self, number: int) -> tuple[str, bool]:
        """The version that answered, and whether its answer is that version's."""
        import tritonclient.grpc.aio as grpc

        place = number % len(self._images)
        taken = grpc.InferInput("image", list(self._images[place].shape), "UINT8")
        taken.set_data_from_numpy(self._images[place])
        answer = await self._client.infer(MODEL, [taken], client_timeout=_TIMEOUT_S)
        version = answer.get_response().model_version
        self._answer_bytes = answer.get_response().ByteSize()
        if version not in self._truth:
            raise EmulationError(f"version {version} answered, which there is none of: see the data centre's log")
        # Rows of a batch may be rounded otherwise than one alone; the versions are far apart.
        return version, bool(np.allclose(answer.as_numpy("logits")[0], self._truth[version][place], _CLOSE, _CLOSE))


def found(ran: Ran, console: Console) -> Found:
    """What the runs come to."""
    lost, updated = ran.lost, ran.updated
    body = {
        "made": made("edgesight bench cluster --section replicas"),
        "nodes": len(NODES),
        "model": MODEL,
        "capacity_per_s": ran.capacity,
        "costs": ran.costs,
        "load": LOAD,
        "lost": lost,
        "updated": updated,
        "settings": Settings().options(),
    }
    table = PlainTable(
        "The data centre on three nodes, at half of its load (measured)",
        ["run", "requests", "failed", "wrong", "back after, s"],
        words=("run",),
    )
    for name, run in (("a node is lost", lost), ("a new version", updated)):
        cells = (run["requests"], run["failed"], run["not_of_their_version"])
        table.add_row(name, *map(str, cells), f"{run['back_s']:.1f}")
    console.print(table)
    checks = (
        Check("Ray: requests without an answer as a node is lost", lost["failed"], 0, True, "requests", "measured"),
        Check("Ray: until the offered rate is back", lost["back_s"], BACK_S, True, "s", "measured"),
        Check("Ray: requests without an answer as a version goes over", updated["failed"], 0, True, "requests",
              "measured"),
        Check("Ray: answers that are not of the version that they name",
              updated["not_of_their_version"] + lost["not_of_their_version"], 0, True, "answers", "measured"),
        Check("Ray: answers of the new version", updated["versions"].get("2", 0), 1, False, "answers", "measured"),
    )  # fmt: skip
    return Found(body, checks)
