"""SEIFER, executed: one network in pieces on four nodes, each held to a share of a core, beside one such node alone.

The nodes are Ray's, on this machine. The network is EfficientNet-lite0 with its published weights, on larger pictures
than it was trained on, so that its pieces are of a size that is worth handing on; what it says of them is not judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from edgesight.bench.cluster.asked import Asked
from edgesight.bench.cluster.returning import back_s
from edgesight.bench.kept import Found
from edgesight.bench.report import Check, PlainTable
from edgesight.host.cluster.deployment import Deployment, Tensors
from edgesight.host.cluster.pipeline import Pipeline, PipelineError
from edgesight.host.limits import Group, Limits
from edgesight.host.limits import missing as no_limits
from edgesight.host.ray_cluster import joined
from edgesight.plan.place.graph import Model
from edgesight.plan.place.model_file import measured
from edgesight.plan.place.on_nodes import OnNodes
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.place.plan import place
from edgesight.plan.place.problem import Cluster, Node, Placement
from edgesight.quant import efficientnet
from edgesight.sim.ray_nodes import RayNodes
from edgesight.sim.workers import progress

NODES: Final = ("a", "b", "c", "d")
CORES: Final = 0.2  # of each node; what Ray itself takes of the two or more that are here is not held
MEMORY: Final = 512 << 20
MBPS: Final = 1_000.0  # between nodes, as stated: what is handed on goes through this machine's memory
SIDE: Final = 320  # pixels
SECONDS: Final = 40.0  # of a measurement of throughput
EQUAL: Final = 1_000  # inputs whose answers are compared
TIMES, LEAST_PIECE_MS, CLOSE = 2.5, 20.0, 0.15
_LOAD: Final = 0.5  # of the throughput, while a node is lost
REPLAN_S: Final = 5.0  # that planning anew may take at most
_LOST_AFTER_S, _AFTER_S = 10.0, 30.0
_AS_SHIPPED: Final = """
import sys, time
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
inputs, took = {"image": numpy.load(sys.argv[2])}, []
for _ in range(25):
    begun = time.monotonic()
    session.run(None, inputs)
    took.append(1e3 * (time.monotonic() - begun))
print(numpy.median(took))
"""


def lacks(asked: Asked) -> str | None:
    """Why it cannot be run here."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "ray is not installed: `pip install 'edgesight[ray]'`"
    return efficientnet.lacking() or no_limits(Limits(CORES, MEMORY))


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Raises EdgeSightError where a run fails."""
    folder.mkdir(parents=True, exist_ok=True)
    network = network_at(folder / "efficientnet-lite0.onnx")
    cut = CutNetwork(network)
    inputs = pictures(EQUAL)
    outputs = answers(cut.whole, inputs)
    with RayNodes(NODES) as there, joined(there.address) as library:
        model, nodes = measured(cut, cluster(), NODES, OnNodes(library, 25))
        alone, together = place(model, nodes.among(NODES[:1])), place(model, nodes)
        runs = _Runs(library, cut, model, nodes, inputs, outputs)
        one = asyncio.run(runs.throughput(alone))
        several = asyncio.run(runs.throughput(together))
        equal = asyncio.run(runs.equal(together))
        lost = asyncio.run(runs.losing(together, there, _LOAD * several["throughput"]))
    shipped_ms = as_shipped_ms(network, folder, inputs[0])
    return found((alone, together), one, several, equal, lost, shipped_ms, console)


def network_at(path: Path) -> Path:
    """The network, for pictures of `SIDE`, as ONNX."""
    import onnx

    weights = efficientnet.pretrained()
    efficientnet.export(weights, path)
    model = onnx.load(str(path))
    sides = model.graph.input[0].type.tensor_type.shape.dim
    for side in (1, 2):
        sides[side].dim_value = SIDE
    onnx.save(model, str(path))
    return path


def cluster() -> Cluster:
    """Of nodes that are all alike."""
    nodes = tuple(Node(name=name, cores=CORES, memory_bytes=MEMORY) for name in NODES)
    return Cluster(name="here", nodes=nodes, mbps=tuple((MBPS,) * len(NODES) for _ in NODES))


def pictures(count: int) -> list[Tensors]:
    """Of blotches, drawn by chance."""
    chance = np.random.default_rng(0)
    coarse = chance.integers(0, 256, (count, 10, 10, 3), np.uint8)
    return [{"image": np.kron(one, np.ones((SIDE // 10, SIDE // 10, 1), np.uint8))[None]} for one in coarse]


def answers(whole: bytes, inputs: Sequence[Tensors]) -> list[Tensors]:
    """Of the network in one piece."""
    session = session_of(whole)
    names = [output.name for output in session.get_outputs()]
    found: list[Tensors] = []
    with progress() as bar:
        task = bar.add_task("the network in one piece", total=len(inputs))
        for one in inputs:
            found.append(dict(zip(names, session.run(names, dict(one)), strict=True)))
            bar.advance(task)
    return found


class _Runs:
    """Runs of the network in pieces."""

    def __init__(
        self,
        library: Any,
        cut: CutNetwork,
        model: Model,
        nodes: Cluster,
        inputs: Sequence[Tensors],
        outputs: Sequence[Tensors],
    ) -> None:
        self._ray, self._cut, self._model, self._nodes = library, cut, model, nodes
        self._inputs, self._outputs = inputs, outputs

    @contextlib.asynccontextmanager
    async def _pipeline(self, plan: Placement) -> AsyncIterator[Pipeline]:
        own = [piece.node for piece in plan.pieces]  # else one node would soon have others beside it

        def replan(names: Collection[str]) -> Deployment:
            there = self._nodes.among([name for name in own if name in names])
            return self._cut.deployment(place(self._model, there, seconds=REPLAN_S), there)

        pipeline = Pipeline(self._ray, self._cut.deployment(plan, self._nodes), replan)
        await pipeline.start()
        try:
            yield pipeline
        finally:
            await pipeline.end()

    async def throughput(self, plan: Placement) -> dict[str, Any]:
        """Answers a second where there is always another request, and what each piece's processor did."""
        took: list[float] = []
        loop = asyncio.get_running_loop()
        numbers = itertools.count()

        async with self._pipeline(plan) as pipeline:

            async def asks(until: float) -> None:
                while loop.time() < until:
                    begun = loop.time()
                    await pipeline.ask(self._inputs[next(numbers) % len(self._inputs)])
                    took.append(loop.time() - begun)

            async def all_ask(seconds: float) -> None:
                until = loop.time() + seconds
                await asyncio.gather(*(asks(until) for _ in range(3 * len(plan.pieces))))

            await all_ask(SECONDS / 8)
            took.clear()
            before, begun = await pipeline.told(), loop.time()
            await all_ask(SECONDS)
            seconds, after = loop.time() - begun, await pipeline.told()
        pieces = []
        for piece, early, late in zip(plan.pieces, before, after, strict=True):
            used = (late.processor_s - early.processor_s) / max(late.runs - early.runs, 1)
            pieces.append({"node": piece.node, "planned_ms": piece.compute_ms, "processor_ms": 1e3 * used})
        return {
            "nodes": len(plan.pieces),
            "throughput": len(took) / seconds,
            "p50_ms": 1e3 * float(np.median(took)),
            "pieces": pieces,
        }

    async def equal(self, plan: Placement) -> int:
        """Inputs for which the pieces give what the network in one piece gives, bit for bit."""
        async with self._pipeline(plan) as pipeline:
            with progress() as bar:
                task = bar.add_task("the same inputs in pieces", total=len(self._inputs))

                async def one(number: int) -> bool:
                    given = await pipeline.ask(self._inputs[number])
                    bar.advance(task)
                    return same(given, self._outputs[number])

                return sum(await asyncio.gather(*map(one, range(len(self._inputs)))))

    async def losing(self, plan: Placement, there: RayNodes, per_s: float) -> dict[str, Any]:
        """What becomes of `per_s` requests a second as a node is lost."""
        loop = asyncio.get_running_loop()
        count = int(per_s * (_LOST_AFTER_S + _AFTER_S))
        answered: list[float] = []
        faults: list[str] = []
        right = 0

        async with self._pipeline(plan) as pipeline:
            begun = loop.time()

            async def one(number: int) -> None:
                nonlocal right
                await asyncio.sleep(begun + number / per_s - loop.time())
                place = number % len(self._inputs)
                try:
                    given = await pipeline.ask(self._inputs[place])
                except PipelineError as error:
                    faults.append(str(error))
                    return
                answered.append(loop.time() - begun)
                right += same(given, self._outputs[place])

            async def lose() -> float:
                await asyncio.sleep(_LOST_AFTER_S)
                await asyncio.to_thread(there.lose, plan.pieces[1].node)
                return loop.time() - begun

            losing = asyncio.create_task(lose())
            await asyncio.gather(*map(one, range(count)))
            lost_at = await losing
            counts = pipeline.counts
        return {
            "per_s": per_s,
            "requests": count,
            "failed": len(faults),
            "faults": list(dict.fromkeys(faults))[:5],
            "right": right,
            "repeated": counts.repeated,
            "pieces_loaded_anew": counts.moved,
            "back_s": back_s(answered, lost_at, _LOST_AFTER_S + _AFTER_S, per_s),
        }


def same(one: Tensors, other: Tensors) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def as_shipped_ms(network: Path, folder: Path, inputs: Tensors) -> float:
    """The median that the file takes of one held node where ONNX Runtime optimises it as it likes, one at a time."""
    given = folder / "input.npy"
    np.save(given, inputs["image"])
    with Group(Limits(CORES)) as held:
        ran = subprocess.run(
            [sys.executable, "-c", _AS_SHIPPED, str(network), str(given)],
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=lambda: held.hold(os.getpid()),
        )
    return float(ran.stdout)


def found(
    plans: tuple[Placement, Placement],
    one: dict[str, Any],
    several: dict[str, Any],
    equal: int,
    lost: dict[str, Any],
    shipped_ms: float,
    console: Console,
) -> Found:
    """What the runs come to; the plans are that of one node and that of all."""
    planned_ms, measured_ms = plans[1].beta_ms or 0.0, 1e3 / several["throughput"]
    away = abs(planned_ms - measured_ms) / measured_ms
    shortest = min(piece["processor_ms"] for piece in several["pieces"]) / CORES
    console.print(_table(plans, one, several))
    body = {
        "cores_of_a_node": CORES,
        "side": SIDE,
        "one_node": one,
        "four_nodes": several,
        "planned_ms_between_answers": {"one node": plans[0].beta_ms, "four nodes": planned_ms},
        "measured_ms_between_answers": {"one node": 1e3 / one["throughput"], "four nodes": measured_ms},
        "one_node_as_onnx_runtime_optimises_it_ms": shipped_ms,
        "throughput_over_that": several["throughput"] * shipped_ms / 1e3,
        "inputs": EQUAL,
        "lost": lost,
    }
    checks = (
        Check("SEIFER: throughput of four nodes over one's", several["throughput"] / one["throughput"], TIMES, False,
              "x", "measured"),
        Check("SEIFER: shortest piece on its node", shortest, LEAST_PIECE_MS, False, "ms", "measured"),
        Check(f"SEIFER: answers in pieces equal to the whole's, of {EQUAL}", equal, EQUAL, False, "inputs", "measured"),
        Check("SEIFER: planned time between answers off the measured", away, CLOSE, True, "share", "measured"),
        Check("SEIFER: requests without an answer as a node is lost", lost["failed"], 0, True, "requests", "measured"),
        Check("SEIFER: answers not equal to the whole's meanwhile", lost["requests"] - lost["failed"] - lost["right"],
              0, True, "answers", "measured"),
    )  # fmt: skip
    return Found(body, checks)


def _table(plans: tuple[Placement, Placement], one: dict[str, Any], several: dict[str, Any]) -> PlainTable:
    columns = ["nodes", "answers a second", "ms between, planned", "ms between", "P50 ms"]
    table = PlainTable(f"One network on nodes of {CORES} of a core (measured)", columns, words=())
    for plan, ran in zip(plans, (one, several), strict=True):
        table.add_row(
            str(ran["nodes"]), f"{ran['throughput']:.2f}", f"{plan.beta_ms or 0.0:.0f}",
            f"{1e3 / ran['throughput']:.0f}", f"{ran['p50_ms']:.0f}",
        )  # fmt: skip
    return table
