"""A network is cut from one optimised graph, its atoms are timed, and a plan's pieces give what the whole gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.cluster.deployment import Deployment
from edgesight.plan.place.graph import read_onnx
from edgesight.plan.place.pieces import CutNetwork, session_of
from edgesight.plan.place.plan import place
from edgesight.plan.place.problem import Cluster, Node, Placement, faults
from edgesight.plan.profile import PlanError
from edgesight.plan.split.parts import Graph
from tests.split_network import save_network

pytest.importorskip("onnxruntime")
NODES = ("a", "b", "c")
TIMES = [4.0, 3.0, 2.0, 1.0, 0.5]


def one_answer(path: Path) -> Path:
    """The network of the splits' tests with its last exit alone, whose other branches lead nowhere then."""
    import onnx

    model = onnx.load(str(save_network(path)))
    del model.graph.output[:-1]
    onnx.save(model, str(path))
    return path


def cluster(speed: float | None = None, **node: Any) -> Cluster:
    nodes = tuple(Node(name=name, speed=speed, **node) for name in NODES)
    return Cluster(name="shelf", nodes=nodes, mbps=tuple((1000.0,) * len(NODES) for _ in NODES))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_answer(tmp_path_factory.mktemp("network") / "net.onnx")


@pytest.fixture(scope="module")
def cut(network: Path) -> CutNetwork:
    return CutNetwork(network)


def through(deployment: Deployment, inputs: Any) -> Any:
    values = dict(inputs)
    for piece in deployment.pieces:
        assert set(values) == set(piece.inputs)
        values = dict(zip(piece.outputs, session_of(piece.content).run(list(piece.outputs), values), strict=True))
    return values


def test_layers_are_parts_called_as_the_layers_of_the_file_and_dead_branches_are_none(cut: CutNetwork) -> None:
    assert [layer.name for layer in cut.model.layers] == ["r1", "r2", "r3", "s3", "third_f", "third"]
    assert cut.model.cuts == ("r1", "r2", "s3", "third_f")  # behind r3 the shortcut goes past
    plain = {layer.name: layer for layer in read_onnx(cut._path).layers}
    first = cut.model.layers[0]
    assert first.operations == plain["c1"].operations
    assert first.parameter_bytes == plain["c1"].parameter_bytes + plain["n1"].parameter_bytes
    assert first.output_bytes == 4 * 8 * 32 * 32


def test_every_two_cuts_give_what_the_whole_gives_bit_for_bit(cut: CutNetwork) -> None:
    for inputs, expected in cut.checks:
        for early in range(1, cut.end):
            for late in range(early + 1, cut.end):
                values: dict[str, np.ndarray[Any, Any]] = inputs
                for begin, end in ((0, early), (early, late), (late, cut.end)):
                    session = session_of(cut.piece(begin, end))
                    names = [one.name for one in session.get_outputs()]
                    values = dict(zip(names, session.run(names, values), strict=True))
                assert values["third"].tobytes() == expected["third"].tobytes()
    assert cut.checks[0][1]["third"].tobytes() != cut.checks[1][1]["third"].tobytes()


def test_a_plan_by_measured_times_is_within_its_own_rules_and_runs(cut: CutNetwork) -> None:
    atom_ms = cut.atoms().measure(3)
    assert len(atom_ms) == cut.end
    assert all(ms > 0 for ms in atom_ms)
    model = cut.timed({"a": TIMES, "b": [2 * ms for ms in TIMES], "c": TIMES})
    there = cluster(memory_bytes=1 << 28, cores=0.5)
    plan = place(model, there, "exact")
    assert faults(plan, model, there) == []
    assert plan.beta_ms == pytest.approx(5.0)  # 4 and 3 on the nodes of single speed: 3 + 2 = 5 is the least
    deployment = cut.deployment(plan, there)
    assert deployment.planned_ms == plan.beta_ms
    assert [piece.limits.cores for piece in deployment.pieces] == [0.5] * len(plan.pieces)
    assert [port.name for port in deployment.inputs] == ["x"]
    for inputs, expected in deployment.checks:
        assert through(deployment, inputs)["third"].tobytes() == expected["third"].tobytes()


def test_a_plan_of_the_file_itself_runs_too_though_it_cuts_before_what_runs_together(
    cut: CutNetwork, network: Path
) -> None:
    there = cluster(speed=1.0, memory_bytes=1 << 28)
    plan = place(read_onnx(network), there, "exact")
    assert any(piece.until not in (None, *cut.model.cuts) for piece in plan.pieces)
    deployment = cut.deployment(plan, there)
    inputs, expected = deployment.checks[0]
    assert through(deployment, inputs)["third"].tobytes() == expected["third"].tobytes()


def test_two_plans_have_the_same_file_for_the_same_piece(cut: CutNetwork) -> None:
    assert cut.piece(1, 3) == cut.piece(1, 3)
    assert CutNetwork(cut._path).piece(1, 3) == cut.piece(1, 3)


def altered(plan: Placement, **change: Any) -> Placement:
    return plan.model_copy(update=change)


def test_plans_that_are_for_something_else_are_refused(cut: CutNetwork) -> None:
    there = cluster(memory_bytes=1 << 28)
    plan = place(cut.timed(dict.fromkeys(NODES, TIMES)), there, "exact")
    with pytest.raises(PlanError, match=r"is for net 1, and .* is net .*: plan for this network"):
        cut.deployment(altered(plan, version="1"), there)
    first, *rest = plan.pieces
    for until, said in (
        ("nothing", "has no layer 'nothing', behind which the plan cuts: plan for this network"),
        ("r3", "a path bypasses layer 'r3', behind which the plan cuts: plan anew"),
    ):
        with pytest.raises(PlanError, match=said):
            cut.deployment(altered(plan, pieces=(first.model_copy(update={"until": until}), *rest)), there)
    for pieces in ((), (first,), tuple(reversed(plan.pieces)), (*plan.pieces, rest[-1])):
        with pytest.raises(PlanError, match="its last piece, and no other, has to go on to the answer: plan anew"):
            cut.deployment(altered(plan, pieces=pieces), there)
    with pytest.raises(PlanError, match=r"node [abc] is not in cluster shelf: give the plan's own cluster"):
        cut.deployment(plan, Cluster(name="shelf", nodes=(Node(name="z"),), mbps=((0.0,),)))
    twice = (first.model_copy(update={"until": "c1"}), first.model_copy(update={"until": "r1"}), rest[-1])
    with pytest.raises(PlanError, match=r"cuts within what .* runs together: plan with times that were measured"):
        cut.deployment(altered(plan, pieces=twice), there)
    refused = place(cut.timed({}), cluster(memory_bytes=1000), "exact")
    with pytest.raises(PlanError, match=r"is none \(.*\): give a plan that is feasible"):
        cut.deployment(refused, there)
    with pytest.raises(PlanError, match="repeats is 0; give at least 1"):
        cut.atoms().measure(0)


def test_a_quantised_network_is_cut_too() -> None:
    cut = CutNetwork(Path(__file__).parents[3] / "quant" / "zoo" / "digits" / "stage1.onnx")
    assert cut.end > 2
    inputs, expected = cut.checks[0]
    middle = cut.end // 2
    first, second = session_of(cut.piece(0, middle)), session_of(cut.piece(middle, cut.end))
    names = [one.name for one in first.get_outputs()]
    handed = dict(zip(names, first.run(names, inputs), strict=True))
    (name,) = expected
    assert second.run([name], handed)[0].tobytes() == expected[name].tobytes()


def written(
    path: Path, nodes: Sequence[Any], shape: Sequence[Any] = (1, 4), kind: Any = np.float32, **how: Any
) -> Path:
    """A network of `nodes` from `x` of that `shape` to `y` [*, 3], with weights `w` [4, 8] and `v` [8, 3]."""
    import onnx

    helper, element = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    rng = np.random.default_rng(0)
    weights = [
        onnx.numpy_helper.from_array(rng.normal(size=size).astype(kind), name)
        for name, size in {"w": (4, 8), "v": (8, 3)}.items()
    ]
    x, y = (helper.make_tensor_value_info(name, element, size) for name, size in {"x": shape, "y": ("n", 3)}.items())
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "net", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path), **how)
    return path


TWO = (("MatMul", ["x", "w"], ["m"]), ("Tanh", ["m"], ["t"]), ("MatMul", ["t", "v"], ["y"]))


def test_weights_that_lie_beside_the_file_are_found_from_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside: dict[str, Any] = {"save_as_external_data": True, "location": "net.weights", "size_threshold": 0}
    monkeypatch.chdir(tmp_path.parent)
    outside, inside = written(tmp_path / "a.onnx", TWO, **beside), written(tmp_path / "b.onnx", TWO)
    assert CutNetwork(outside).checks[0][1]["y"].tobytes() == CutNetwork(inside).checks[0][1]["y"].tobytes()
    (tmp_path / "net.weights").unlink()
    with pytest.raises(PlanError, match=r"a\.onnx: .*net\.weights"):
        CutNetwork(outside)


def test_a_network_that_asks_for_its_own_shapes_is_cut_like_others(tmp_path: Path) -> None:
    shaped = (TWO[0], ("Shape", ["m"], ["s"]), ("Reshape", ["m", "s"], ["r"]), ("Tanh", ["r"], ["t"]), TWO[2])
    cut = CutNetwork(written(tmp_path / "net.onnx", shaped, ("n", 4)))
    inputs, expected = cut.checks[0]
    values: dict[str, Any] = dict(inputs)
    for at in range(cut.end):
        session = session_of(cut.piece(at, at + 1))
        names = [one.name for one in session.get_outputs()]
        values = dict(zip(names, session.run(names, values), strict=True))
    assert values["y"].tobytes() == expected["y"].tobytes()
    assert cut.model.layers[0].parameter_bytes + cut.model.layers[-1].parameter_bytes == 4 * (4 * 8 + 8 * 3)


def test_what_cannot_be_cut_or_run_is_said_in_one_line(tmp_path: Path) -> None:
    half = CutNetwork(written(tmp_path / "half.onnx", TWO, kind=np.float16))
    with pytest.raises(PlanError, match=r"cannot be cut at t: ONNX Runtime computes past it, .*: give the network in"):
        half.atoms()
    for shape, said in (((-2, 4), "-2x4"), ((1 << 40, 4), "1099511627776x4")):
        with pytest.raises(PlanError, match=f"input x is {said}; export it with sizes of at least 1, and at most"):
            Graph(written(tmp_path / "odd.onnx", TWO, shape), 1).sample({}, {})
    with pytest.raises(PlanError, match=r"dimension 1 is symbolic \(side\); export it with a fixed one"):
        CutNetwork(written(tmp_path / "open.onnx", TWO, (1, "side")))
