"""A cut network, run: against the pieces' own repository in a data centre that is as slow or as dead as is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from edgesight.host.datacenter.application import DataCentre
from edgesight.host.datacenter.local import Local
from edgesight.host.datacenter.repository import Repository
from edgesight.host.doors.served import Request, Tensor
from edgesight.host.files import place_folder
from edgesight.host.split.pieces import PIECES, REPOSITORY, Pieces, SplitError
from edgesight.host.split.run import PROBE_S, RemoteError, Runner, Tensors
from edgesight.plan.profile import Slo
from edgesight.plan.split.pieces import pieces
from tests.host.datacenter.tiny import ME, PLENTY
from tests.split_network import pictures, profile_of, save_network

pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")

T = TypeVar("T")
DATATYPES = {"float32": "FP32", "uint8": "UINT8"}


def run(test: Awaitable[T]) -> T:
    async def limited() -> T:
        return await asyncio.wait_for(test, 60)

    return asyncio.run(limited())


class Chosen:
    """A planner that chooses what it is told, and remembers what it hears."""

    def __init__(self, *choices: tuple[str, int] | None) -> None:
        self.choices, self.heard = list(choices), list[float]()

    def choose(self) -> tuple[str, int] | None:
        return self.choices.pop(0) if len(self.choices) > 1 else self.choices[0]

    def observe(self, mbps: float) -> None:
        self.heard.append(mbps)


class Centre:
    """A real data centre over the repository, behind a link of so many bytes a second; or dead."""

    def __init__(self, centre: DataCentre) -> None:
        self.centre, self.rate, self.dead, self.asked, self.sent = centre, 1e9, False, list[str](), 0

    async def infer(self, model: str, tensors: Tensors, output: str, within: float) -> np.ndarray[Any, Any]:
        self.asked.append(model)
        if self.dead:
            raise RemoteError("nobody is there")
        try:
            async with asyncio.timeout(within):
                self.sent = sum(value.nbytes for value in tensors.values())
                await asyncio.sleep(self.sent / self.rate)  # sleeps: as long as the link takes
                given = [Tensor(name, DATATYPES[str(value.dtype)], value) for name, value in tensors.items()]
                answer = await self.centre.infer(Request(model, given), ME)
        except TimeoutError:
            raise RemoteError("too late") from None
        return next(np.asarray(one.values) for one in answer.outputs if one.name == output)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("split")
    network = save_network(made / "net.onnx")
    profile = profile_of(network)
    slowest = sum(layer.ms["pi"] for layer in profile.layers)
    place_folder(made / "pieces", pieces(network, profile, Slo(latency_ms=slowest * 0.8), 1.0, fall_back=True), PIECES)
    return made / "pieces"


def within(folder: Path, planner: Chosen, test: Callable[[Runner, Centre], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with DataCentre(Repository(folder / REPOSITORY), Local(PLENTY)) as centre:
            await centre.start(None)
            remote = Centre(centre)
            runner = Runner(Pieces.load(folder), planner, remote)
            try:
                return await test(runner, remote)
            finally:
                await runner.close()

    return run(opened())


def away_of(folder: Path) -> Any:
    """A split with a head, a tail and something to fall back on."""
    return next(
        one for one in Pieces.load(folder).manifest.splits if one.head and one.tail and one.rest and one.exit == "third"
    )


def test_a_request_on_which_the_network_fails_is_told_and_the_next_is_answered(tmp_path: Path) -> None:
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    rng = np.random.default_rng(0)
    weights = {"table": rng.normal(size=(10, 8)), "dense": rng.normal(size=(8, 5))}
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["found"]),
        helper.make_node("ReduceMean", ["found"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "dense"], ["third"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("words", kinds.INT64, [1, 4])],
        [helper.make_tensor_value_info("third", kinds.FLOAT, [1, 5])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    network = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(network))
    profile = profile_of(network)
    place_folder(tmp_path / "pieces", pieces(network, profile, Slo(latency_ms=1e4), 1.0), PIECES)

    async def asks(runner: Runner, remote: Centre) -> None:
        failed = await runner.ask({"words": np.array([[1, 2, 3, 99]])})
        assert (failed.by, failed.late, failed.output) == ("nobody", True, None)
        assert "fails on these inputs" in str(failed.fault)
        assert "ask with others" in str(failed.fault)
        assert (await runner.ask({"words": np.array([[1, 2, 3, 4]])})).by == "device"
        assert runner.counts.answers == {"nobody": 1, "device": 1}

    within(tmp_path / "pieces", Chosen(None), asks)


def test_each_split_answers_as_its_pieces_do_one_after_the_other(folder: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    splits = Pieces.load(folder).manifest.splits
    whole = onnxruntime.InferenceSession(str(folder.parent / "net.onnx"), providers=["CPUExecutionProvider"])

    async def test(runner: Runner, remote: Centre) -> None:
        for x in pictures(3):
            for split in splits:
                answer = await runner.ask({"x": x}, 30.0)
                assert (answer.exit, answer.cut, answer.late, answer.fault) == (split.exit, split.cut, False, None)
                assert answer.by == ("data centre" if split.tail else "device")
                assert answer.output is not None
                assert answer.output == pytest.approx(whole.run([split.exit], {"x": x})[0], rel=1e-4, abs=1e-5)
                if split.tail is None:
                    continue
                between = {"x": x}
                if split.head is not None:
                    head = onnxruntime.InferenceSession(folder / split.head, options)
                    between = dict(zip(split.tensors, head.run(split.tensors, between), strict=True))
                tail = onnxruntime.InferenceSession(folder / REPOSITORY / split.tail / "1" / "model.onnx", options)
                assert np.array_equal(answer.output, tail.run([split.exit], between)[0])
                assert answer.sent_bytes == sum(value.nbytes for value in between.values())
        assert sum(runner.counts.answers.values()) == 3 * len(splits)

    assert any(split.tail is None for split in splits)
    assert any(split.head is not None and split.tail is not None for split in splits)
    within(folder, Chosen(*([(split.exit, split.cut) for split in splits] * 3)), test)


def test_the_planner_hears_what_the_link_carried(folder: Path) -> None:
    away = away_of(folder)
    planner = Chosen((away.exit, away.cut))

    async def test(runner: Runner, remote: Centre) -> None:
        await runner.ask({"x": pictures(1)[0]}, 30.0)  # the model is warm
        planner.heard.clear()
        for rate in (5_000.0, 2_000.0):
            remote.rate = rate
            answer = await runner.ask({"x": pictures(1)[0]}, 30.0)
            assert answer.by == "data centre"
        # What else takes time is taken for the link's.
        for heard, rate in zip(planner.heard, (5_000.0, 2_000.0), strict=True):
            assert 0.5 * rate < heard * 1e6 / 8 < 1.2 * rate

    within(folder, planner, test)


def test_the_device_answers_where_the_link_is_too_slow_or_nobody_is_there(folder: Path) -> None:
    away = away_of(folder)
    planner = Chosen((away.exit, away.cut))

    async def test(runner: Runner, remote: Centre) -> None:
        x = pictures(1)[0]
        warm = await runner.ask({"x": x}, 30.0)
        assert warm.by == "data centre"
        before = runner._mbps
        remote.rate = 10.0
        slow = await runner.ask({"x": x}, 0.5)
        assert (slow.by, slow.exit, slow.fault) == ("rest", away.rest.exit, "too late")
        assert 0.5 <= slow.took_s < 5.0
        assert slow.output is not None
        assert 0.0 < planner.heard[-1] < min(before, 8e-6 * slow.sent_bytes / 0.4)
        remote.dead = True
        dead = await runner.ask({"x": x}, 30.0)
        assert (dead.by, dead.late, dead.fault) == ("rest", False, "nobody is there")
        assert dead.output is not None
        assert np.array_equal(dead.output, slow.output)
        assert planner.heard[-1] == 0.0
        remote.dead, remote.rate = False, 1e9
        assert (await runner.ask({"x": x}, 30.0)).by == "data centre"

    within(folder, planner, test)


def test_a_link_that_nothing_is_sent_over_is_probed(folder: Path) -> None:
    here = next(one for one in Pieces.load(folder).manifest.splits if one.tail is None)
    planner = Chosen((here.exit, here.cut))

    async def test(runner: Runner, remote: Centre) -> None:
        await runner.open()
        probe = runner.pieces.manifest.probe
        assert remote.asked == [probe] * 2  # the first one connects
        assert len(planner.heard) == 1
        remote.rate = 20_000.0
        for _ in range(3):
            await runner.ask({"x": pictures(1)[0]})
        assert remote.asked == [probe] * 2  # it was heard of just now
        await asyncio.sleep(PROBE_S)  # sleeps: until the link counts as silent
        for _ in range(3):
            await runner.ask({"x": pictures(1)[0]})
        while len(planner.heard) < 2:
            await asyncio.sleep(0)
        assert (remote.asked, runner.counts.probes) == ([probe] * 3, 2)
        assert 10_000 < planner.heard[-1] * 1e6 / 8 < 24_000

    within(folder, planner, test)


def test_a_probe_takes_a_tenth_of_the_link_and_never_more_than_goes_at_once(folder: Path) -> None:
    here = next(one for one in Pieces.load(folder).manifest.splits if one.tail is None)

    async def test(runner: Runner, remote: Centre) -> None:
        for mbps, expected in ((0.0, 2_048), (0.4, 5_000), (80.0, 13_000)):
            runner._mbps = mbps
            await runner._probe()
            assert remote.sent == expected

    within(folder, Chosen((here.exit, here.cut)), test)


def test_the_bandwidth_that_is_heard_explains_the_time_under_the_round_trip_that_was_planned(folder: Path) -> None:
    away = away_of(folder)
    planner = Chosen((away.exit, away.cut))

    async def test(runner: Runner, remote: Centre) -> None:
        remote.rate = 20_000.0
        answer = await runner.ask({"x": pictures(1)[0]}, 30.0)
        planned = (runner.pieces.manifest.round_trip_ms + away.datacenter_ms) / 1e3
        predicted = answer.device_s + planned + 8e-6 * answer.sent_bytes / planner.heard[-1]
        assert predicted == pytest.approx(answer.took_s, abs=0.002)

    within(folder, planner, test)


def test_where_nothing_can_be_on_time_the_soonest_answer_of_the_device_is_given(folder: Path) -> None:
    async def test(runner: Runner, remote: Centre) -> None:
        answer = await runner.ask({"x": pictures(1)[0]}, 1e-9)
        here = [one for one in runner.pieces.manifest.splits if one.tail is None]
        assert (answer.by, answer.late) == ("device", True)
        assert answer.exit == min(here, key=lambda one: one.layers).exit

    within(folder, Chosen(None), test)


def test_a_change_of_the_cut_is_counted(folder: Path) -> None:
    splits = Pieces.load(folder).manifest.splits[:2]
    one, other = ((split.exit, split.cut) for split in splits)

    async def test(runner: Runner, remote: Centre) -> None:
        for _ in range(5):
            await runner.ask({"x": pictures(1)[0]}, 30.0)
        assert (runner.counts.cuts, runner.counts.changes) == ({one: 3, other: 2}, 3)

    within(folder, Chosen(one, one, other, one, other), test)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "inputs none: give x"),
        ({"y": np.zeros(1)}, "inputs y: give x"),
        ({"x": np.zeros((1, 3, 32, 32))}, r"input x: is float64 \[1, 3, 32, 32\]; give float32"),
        ({"x": np.zeros((2, 3, 32, 32), np.float32)}, r"input x: is float32 \[2, 3, 32, 32\]; give float32 \[1, 3"),
    ],
)
def test_inputs_that_are_none_of_the_networks_are_refused(folder: Path, inputs: Tensors, said: str) -> None:
    async def test(runner: Runner, remote: Centre) -> None:
        with pytest.raises(SplitError, match=said):
            await runner.ask(inputs)

    within(folder, Chosen(None), test)
