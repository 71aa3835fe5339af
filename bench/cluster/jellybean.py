"""JellyBean, executed: a workflow of two branches that meet, planned from what its networks take here, then run so.

A garment and the digit on its label are looked at by two operators, of three networks each; a third puts both together.
Workers are Ray's nodes on this machine: cheap ones held to a small share of a core, dear ones to a larger. A message
takes of a worker the processor's time of its process, handing on included, over its share of a core; it is measured at
the workflow's rate, or at a pace that leaves the worker some rest. The plan is told `RESERVE` times that, since a queue
grows where no time is left over.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console

from edgesight.bench.cluster.asked import Asked
from edgesight.bench.kept import ROOT, Found
from edgesight.bench.report import Check, PlainTable
from edgesight.host.cluster.deployment import Piece, Tensors
from edgesight.host.limits import Limits
from edgesight.host.limits import missing as no_limits
from edgesight.host.ray_cluster import joined
from edgesight.host.workflow.execution import Execution, Flow, Operator, Station
from edgesight.host.workflow.run import Runner, WorkflowError
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.profile import checked
from edgesight.plan.workflow.plan import plan
from edgesight.plan.workflow.problem import Workflow, WorkflowPlan
from edgesight.plan.workflow.stations import execution
from edgesight.quant import datasets
from edgesight.quant.fashion_mnist import FASHION_MNIST_FOLDER
from edgesight.quant.splits import DataSet
from edgesight.sim.ray_nodes import RayNodes
from edgesight.sim.workers import progress

BOX, CENTRE = Limits(cores=0.1), Limits(cores=0.3)
WORKERS: Final = {"box-0": BOX, "box-1": BOX, "box-2": BOX, "centre-0": CENTRE, "centre-1": CENTRE}
DOLLARS: Final = {BOX: 0.05, CENTRE: 0.30}  # an hour, as stated
LINK_DOLLARS: Final = 0.1  # a GiB from a box to the centre, as stated
OPERATORS: Final = {"garment": "fashion-mnist", "digit": "digits"}
VARIANTS: Final = {"small": "stage0.onnx", "middle": "stage1.onnx", "large": "backend.onnx"}
JOIN: Final = "together"
TIMES_A_BOX: Final = 1.3  # the rate, in what a box does of the middle network for garments: one box is too slow for it
BELOW_BEST: Final = 0.02  # accuracy that is asked for
SECONDS: Final = 60.0
RESERVE: Final = 1.25
PROFILED: Final = 300  # messages for a latency
PACE: Final = 0.6  # at which that is measured at most, of what it does where another always waits
SUSTAINED, CLOSE = 0.99, 0.10
_PAIRS: Final = 20_000  # of pictures, on which accuracies of pairs are measured
_PRESSED: Final = 3  # messages at once, so that another waits while one is taken
_SLOWER: Final = 2.0  # times as slow at the end as in the middle: then a queue grows


def lacks(asked: Asked) -> str | None:
    """Why it cannot be run here."""
    try:
        import ray  # noqa: F401
    except ImportError:
        return "ray is not installed: `pip install 'edgesight[ray]'`"
    if asked.fashion_mnist is None and not FASHION_MNIST_FOLDER.is_dir():
        return "Fashion-MNIST is not here: name its folder with --data-dir"
    return no_limits(BOX)


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Raises EdgeSightError where a run fails."""
    models = networks(folder / "networks")
    data = {
        "garment": datasets.load("fashion-mnist", asked.fashion_mnist),
        "digit": datasets.load("digits"),
    }
    networks_of = {key: CutNetwork(path) for key, path in models.items()}
    right = {
        key: answers_right(cut.whole, data[key[0]].calibration.images, data[key[0]].calibration.labels)
        for key, cut in networks_of.items()
        if key[0] != JOIN
    }
    with RayNodes(list(WORKERS)) as there, joined(there.address) as library:
        rate, latency_ms = asyncio.run(profiled(library, networks_of, data))
        workflow = workflow_of(rate, latency_ms, right, data)
        made = plan(workflow, method="exact")
        run = execution(workflow, made, models)
        ran = asyncio.run(_ran(library, run, workflow.sources[0].rate, data))
    return found(workflow, made, ran, console)


def networks(folder: Path) -> dict[tuple[str, str], Path]:
    """The operators' networks, all on pixels as they are, by operator and variant."""
    for operator, data_set in OPERATORS.items():
        (folder / operator).mkdir(parents=True, exist_ok=True)
        for variant, file in VARIANTS.items():
            source = ROOT / "quant" / "zoo" / data_set / file
            on_pixels(source, folder / operator / f"{variant}.onnx")
    (folder / JOIN).mkdir(exist_ok=True)
    put_together(folder / JOIN / "only.onnx")
    return {
        (operator, variant): folder / operator / f"{variant}.onnx"
        for operator, variants in {**dict.fromkeys(OPERATORS, tuple(VARIANTS)), JOIN: ("only",)}.items()
        for variant in variants
    }


def on_pixels(source: Path, target: Path) -> None:
    """The network with an input `image`, uint8 [1, H, W, 1]; those of a kernel take pixels over 256, channels first."""
    import onnx

    helper, model = onnx.helper, onnx.load(str(source))
    graph = model.graph
    constants = {one.name for one in graph.initializer}
    (taken,) = [one for one in graph.input if one.name not in constants]
    sides = [one.dim_value for one in taken.type.tensor_type.shape.dim]
    if taken.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1 / 256), "a_pixel"))
        before = [
            helper.make_node("Transpose", ["image"], ["image_first"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["image_first"], ["image_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["image_float", "a_pixel"], [taken.name]),
        ]
        nodes = [*before, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        shape = [1, *sides[2:], 1]
        graph.input.remove(taken)
        graph.input.insert(0, helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, shape))
    else:
        taken.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(target))


def put_together(path: Path) -> None:
    """A network that says class of the garment times ten plus the digit, as int64 [1]."""
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("ArgMax", ["garment"], ["which"], axis=1, keepdims=0),
        helper.make_node("ArgMax", ["digit"], ["number"], axis=1, keepdims=0),
        helper.make_node("Mul", ["which", "ten"], ["tens"]),
        helper.make_node("Add", ["tens", "number"], ["both"]),
    ]
    taken = [helper.make_tensor_value_info(name, kinds.FLOAT, [1, 10]) for name in OPERATORS]
    given = [helper.make_tensor_value_info("both", kinds.INT64, [1])]
    ten = onnx.numpy_helper.from_array(np.array(10, np.int64), "ten")
    graph = helper.make_graph(nodes, JOIN, taken, given, [ten])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def answers_right(
    content: bytes, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Of each image [N, H, W, C], whether the network's best class is its label."""
    session = session_of(content)
    (name,) = [one.name for one in session.get_outputs()]
    return np.array(
        [
            int(session.run([name], {"image": image[None]})[0].argmax()) == label
            for image, label in zip(images, labels, strict=True)
        ]
    )


async def profiled(
    library: Any, networks_of: Mapping[tuple[str, str], CutNetwork], data: Mapping[str, DataSet]
) -> tuple[float, dict[tuple[str, str, Limits], float]]:
    """The workflow's rate, and ms that a message takes of a worker by operator, variant and what the worker is held to.

    The rate follows from what a box takes of one of the networks.
    """
    found = {}
    with progress() as bar:
        task = bar.add_task("latencies of the networks", total=2 * len(networks_of) + 1)

        async def one(operator: str, variant: str, worker: str, most_per_s: float) -> float:
            cut = networks_of[operator, variant]
            took = await _latency_ms(library, operator, cut, worker, data, most_per_s)
            bar.advance(task)
            return took

        rate = round(TIMES_A_BOX * 1e3 / (RESERVE * await one("garment", "middle", "box-0", math.inf)), 1)
        for operator, variant in networks_of:
            for worker in ("box-0", "centre-0"):
                found[operator, variant, WORKERS[worker]] = await one(operator, variant, worker, rate)
    return rate, found


async def _latency_ms(
    library: Any, operator: str, cut: CutNetwork, worker: str, data: Mapping[str, DataSet], most_per_s: float
) -> float:
    names = [port.name for port in cut.inputs], [port.name for port in cut.outputs]
    station = Station(operator, Piece(worker, cut.whole, *names, WORKERS[worker]))
    taken = {f"{name}-source": name for name in names[0]}
    sources = dict(zip(taken, cut.inputs, strict=True))
    flows = [Flow(source, operator, None, worker, 1.0) for source in taken]
    alone = Execution(sources, [Operator(operator, "", taken)], [station], flows, operator)
    if operator == JOIN:
        messages = [{source: np.zeros((1, 10), np.float32) for source in sources}]
    else:
        messages = [{source: image[None] for source in sources} for image in data[operator].calibration.images[:64]]
    runner = Runner(library, alone)
    await runner.start()

    async def pressed(count: int) -> float:
        """Seconds that so many take where another always waits."""
        numbers, begun = iter(range(count)), loop.time()

        async def asks() -> None:
            for number in numbers:
                await runner.ask(messages[number % len(messages)])

        await asyncio.gather(*(asks() for _ in range(_PRESSED)))
        return loop.time() - begun

    async def paced(count: int, per_s: float) -> float:
        """Seconds of the processor that the station took for so many."""
        (before,) = (await runner.told()).values()
        begun = loop.time()

        async def one(number: int) -> None:
            await asyncio.sleep(begun + number / per_s - loop.time())
            await runner.ask(messages[number % len(messages)])

        await asyncio.gather(*map(one, range(count)))
        (after,) = (await runner.told()).values()
        return after.processor_s - before.processor_s

    loop = asyncio.get_running_loop()
    try:
        await pressed(PROFILED // 5)
        per_s = min(PACE * PROFILED / await pressed(PROFILED), most_per_s)
        return 1e3 * await paced(PROFILED, per_s) / PROFILED / (WORKERS[worker].cores or 1.0)
    finally:
        await runner.end()


def workflow_of(
    rate: float,
    latency_ms: Mapping[tuple[str, str, Limits], float],
    right: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    data: Mapping[str, DataSet],
) -> Workflow:
    """What is planned from: latencies and accuracies as measured, prices and rate as stated."""
    accuracies = []
    chance = np.random.default_rng(0)
    places = {name: chance.integers(0, len(data[name].calibration.labels), _PAIRS) for name in OPERATORS}
    for garment, digit in itertools.product(VARIANTS, repeat=2):
        both = right["garment", garment][places["garment"]] & right["digit", digit][places["digit"]]
        accuracies.append({"variants": {"garment": garment, "digit": digit}, "accuracy": float(both.mean())})
    best = max(float(str(row["accuracy"])) for row in accuracies)
    told_ms = {key: RESERVE * ms for key, ms in latency_ms.items()}
    sizes = {name: float(data[name].calibration.images[0].nbytes) for name in OPERATORS}
    workers = [
        {
            "name": name,
            "tier": 0 if limits == BOX else 1,
            "dollars_per_hour": DOLLARS[limits],
            "cores": limits.cores,
            "latency_ms": {
                operator: {
                    variant: told_ms[operator, variant, limits]
                    for one, variant, held in told_ms
                    if one == operator and held == limits
                }
                for operator in (*OPERATORS, JOIN)
            },
        }
        for name, limits in WORKERS.items()
    ]
    content = {
        "obtained": "measured",
        "sources": [{"name": f"{name}-camera", "rate": rate} for name in OPERATORS],
        "operators": [
            *({"name": name, "variants": list(VARIANTS)} for name in OPERATORS),
            {"name": JOIN, "variants": ["only"]},
        ],
        "edges": [
            *(
                {"source": f"{name}-camera", "target": name, "messages": [{"size_bytes": sizes[name]}]}
                for name in OPERATORS
            ),
            *({"source": name, "target": JOIN, "messages": [{"size_bytes": 40.0}]} for name in OPERATORS),
        ],
        "workers": workers,
        "tier_links": [{"source": 0, "target": 1, "dollars_per_gib": LINK_DOLLARS}],
        "sink": JOIN,
        "accuracies": accuracies,
        "accuracy": best - BELOW_BEST,
    }
    return checked(content, Workflow, "workflow")


async def _ran(library: Any, run: Execution, rate: float, data: Mapping[str, DataSet]) -> dict[str, Any]:
    """`SECONDS` of requests at the planned rate, whether or not answers keep up."""
    runner = Runner(library, run)
    await runner.start()
    loop = asyncio.get_running_loop()
    count = int(rate * SECONDS)
    chance = np.random.default_rng(1)
    places = {name: chance.integers(0, len(data[name].test.labels), count) for name in OPERATORS}
    took = np.full(count, np.nan)
    right = np.zeros(count, bool)
    faults: list[str] = []

    def message(number: int) -> Tensors:
        return {f"{name}-camera": data[name].test.images[places[name][number]][None] for name in OPERATORS}

    async def one(number: int, begun: float) -> None:
        await asyncio.sleep(begun + number / rate - loop.time())
        try:
            answer = await runner.ask(message(number))
        except WorkflowError as error:
            faults.append(str(error))
            return
        took[number] = loop.time() - begun - number / rate
        truth = [int(data[name].test.labels[places[name][number]]) for name in OPERATORS]
        right[number] = int(next(iter(answer.values()))[0]) == 10 * truth[0] + truth[1]

    try:
        await asyncio.gather(*(one(number, loop.time()) for number in range(20)))
        faults.clear()
        before, begun = await runner.told(), loop.time()
        first = dict(runner.counts.messages)
        await asyncio.gather(*(one(number, begun) for number in range(count)))
        seconds, after = loop.time() - begun, await runner.told()
        messages = {route: sent - first.get(route, 0) for route, sent in runner.counts.messages.items()}
    finally:
        await runner.end()
    return {
        "requests": count,
        "seconds": seconds,
        "faults": list(dict.fromkeys(faults))[:5],
        "unanswered": int(np.isnan(took).sum()),
        "rate": float((~np.isnan(took)).sum()) / seconds,
        "accuracy": float(right.mean()),
        "took_s": took,
        "busy_s": {key: after[key].processor_s - before[key].processor_s for key in after},
        "runs": {key: after[key].runs - before[key].runs for key in after},
        "messages": messages,
    }


def costs(workflow: Workflow, made: WorkflowPlan, ran: Mapping[str, Any]) -> dict[str, float]:
    """Dollars an hour: as planned, and what was measured comes to.

    A worker is paid whole. What it was busy, over what the plan expects of it without the reserve, times its price, is
    its measured price; what went over links is counted in messages of the stated sizes.
    """
    workers = {worker.name: worker for worker in workflow.workers}
    computing = 0.0
    for one in made.assignments:
        worker = workers[one.worker]
        alone_ms = worker.latency_ms[one.operator][made.variants[one.operator]] / RESERVE
        expected = one.rate * alone_ms / 1e3 * ran["seconds"]
        busy = ran["busy_s"][one.operator, one.worker] / (WORKERS[one.worker].cores or 1.0)
        computing += worker.dollars_per_hour * busy / expected
    sent = 0.0
    for (source, before, target, after), messages in ran["messages"].items():
        tier = 0 if before is None else workers[before].tier
        if tier < workers[after].tier:
            (edge,) = [one for one in workflow.edges if (one.source, one.target) == (source, target)]
            size = edge.size(made.variants.get(source), made.variants[target]) or 0.0
            sent += size * messages / ran["seconds"] * 3600 / 1024**3 * LINK_DOLLARS
    return {
        "planned": made.dollars_per_hour,
        "planned_computing": made.compute_dollars_per_hour or 0.0,
        "measured": computing + sent,
        "measured_computing": computing,
    }


def found(workflow: Workflow, made: WorkflowPlan, ran: dict[str, Any], console: Console) -> Found:
    """What the run comes to."""
    rate = workflow.sources[0].rate
    cost = costs(workflow, made, ran)
    took = ran.pop("took_s")
    thirds = [float(np.nanmedian(part)) for part in np.array_split(took, 3)]
    asked = float(workflow.accuracy or 0.0)
    body = {
        "rate": rate,
        "reserve": RESERVE,
        "accuracy_asked": asked,
        "accuracy_planned": made.accuracy,
        "variants": made.variants,
        "assignments": [one.model_dump() for one in made.assignments],
        "workflow": workflow.model_dump(),
        "cost_dollars_per_hour": cost,
        "ran": {
            name: {" ".join(map(str, key)): one for key, one in value.items()} if isinstance(value, dict) else value
            for name, value in ran.items()
        },
        "p50_ms": 1e3 * float(np.nanmedian(took)),
        "p99_ms": 1e3 * float(np.nanpercentile(took, 99)),
        "median_s_by_third": thirds,
    }
    console.print(_table(workflow, made, ran))
    away = abs(cost["measured"] - cost["planned"]) / cost["planned"]
    checks = (
        Check("JellyBean: rate of answers over the planned", ran["rate"] / rate, SUSTAINED, False, "share", "measured"),
        Check("JellyBean: requests without an answer", ran["unanswered"], 0, True, "requests", "measured"),
        Check("JellyBean: median time in the last third over that in the middle one", thirds[2] / thirds[1], _SLOWER,
              True, "ratio", "measured"),
        Check("JellyBean: accuracy over what was asked", ran["accuracy"] - asked, 0.0, False, "share", "measured"),
        Check("JellyBean: cost by measured busy time off the plan's", away, CLOSE, True, "share", "measured"),
    )  # fmt: skip
    return Found(body, checks)


def _table(workflow: Workflow, made: WorkflowPlan, ran: Mapping[str, Any]) -> PlainTable:
    columns = ["worker", "operator", "variant", "messages a second", "busy, planned", "busy, measured"]
    table = PlainTable(
        f"A workflow at {workflow.sources[0].rate:g} requests a second (measured)", columns, words=columns[:3]
    )
    workers = {worker.name: worker for worker in workflow.workers}
    for one in made.assignments:
        variant = made.variants[one.operator]
        planned = one.rate * workers[one.worker].latency_ms[one.operator][variant] / RESERVE / 1e3
        measured = ran["busy_s"][one.operator, one.worker] / (WORKERS[one.worker].cores or 1.0) / ran["seconds"]
        table.add_row(one.worker, one.operator, variant, f"{one.rate:.1f}", f"{planned:.2f}", f"{measured:.2f}")
    return table
