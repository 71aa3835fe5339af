from __future__ import annotations

import json
from importlib import import_module
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from edgesight.cli.plan import group
from edgesight.plan.place import exact as place_exact
from edgesight.plan.place import search as place_search
from edgesight.plan.place.authors import kpath, least_transfer
from edgesight.plan.place.graph import INPUT, Layer, Model
from edgesight.plan.place.plan import METHODS, place, replan
from edgesight.plan.place.problem import Cluster, Found, Node, Placement, Problem, faults
from edgesight.plan.profile import PlanError, checked, read, write
from tests.plan.place.placing import cheapest, clusters, models, placements

app = typer.Typer()
app.add_typer(group, name="plan")
import_module("edgesight.cli.plan.place")  # puts its command into the group


def chain(*sizes: int, parameters: int = 10, version: str = "1", checksums: bool = False) -> Model:
    """A chain of layers with these output bytes."""
    names = ["input", *(f"l{place}" for place in range(len(sizes)))]
    return Model(
        name="chain",
        version=version,
        layers=tuple(
            Layer(
                name=names[place + 1],
                inputs=(names[place],),
                output_bytes=size,
                parameter_bytes=parameters,
                operations=1e6,
                weights_sha256=f"sum {place}" if checksums else None,
            )
            for place, size in enumerate(sizes)
        ),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mbps": [[0, 1e-320], [1, 0]]}, "field mbps.0.1: must be at least 1e-06, or 0 where there is no link"),
        ({"mbps": [[0, -1], [1, 0]]}, "field mbps.0.1: Input should be greater than or equal to 0"),
        ({"nodes": [{"name": "a", "speed": 1e-320}, {"name": "b"}]}, "field nodes.0.speed: Input should be greater"),
    ],
)
def test_speeds_that_no_machine_has_are_refused(change: dict[str, Any], reason: str) -> None:
    cluster = {"nodes": [{"name": "a"}, {"name": "b"}], "mbps": [[0, 1], [1, 0]], **change}
    with pytest.raises(PlanError, match=reason):
        checked(cluster, Cluster, "test")


def uniform(count: int, memory: int | None, mbps: float = 8.0, speed: float | None = None) -> Cluster:
    """Equal nodes, all linked."""
    return Cluster(
        nodes=tuple(Node(name=f"n{place}", memory_bytes=memory, speed=speed) for place in range(count)),
        mbps=tuple((mbps,) * count for _ in range(count)),
    )


@settings(deadline=None, max_examples=150)
@given(models(), clusters())
def test_the_exact_search_equals_brute_force(model: Model, cluster: Cluster) -> None:
    problem = Problem(model, cluster)
    least = cheapest(problem, problem.beta)
    plan = place(model, cluster, "exact")
    assert plan.proven
    assert plan.feasible == np.isfinite(least)
    if plan.feasible:
        assert plan.beta_ms == plan.lower_bound_ms == least
        arrays = (problem.piece_ms, problem.transfer_ms, np.add)
        ties = [place_search.cost(*arrays, found) for found in placements(problem) if problem.beta(found) == least]
        assert plan.latency_ms == pytest.approx(min(ties))


@settings(deadline=None, max_examples=150)
@given(models(), clusters(), st.sampled_from(METHODS), st.integers(0, 5))
def test_no_plan_breaks_a_constraint_or_passes_its_bound(
    model: Model, cluster: Cluster, method: str, seed: int
) -> None:
    plan = place(model, cluster, method, seed=seed)  # type: ignore[arg-type]
    assert faults(plan, model, cluster) == []
    least = cheapest(Problem(model, cluster), Problem(model, cluster).beta)
    if plan.feasible:
        assert plan.lower_bound_ms is not None
        assert plan.beta_ms is not None
        assert plan.lower_bound_ms <= least <= plan.beta_ms
        if plan.proven:
            assert plan.beta_ms <= least * (1 + 1e-9)
    else:
        assert plan.reason
        assert not plan.proven or not np.isfinite(least)


@settings(deadline=None, max_examples=60)
@given(models(layers=9), clusters(nodes=9, least=6), st.integers(0, 3))
def test_ours_is_never_worse_than_the_authors_or_the_greedy(model: Model, cluster: Cluster, seed: int) -> None:
    ours = place(model, cluster, "search", seed=seed)
    best = place(model, cluster, "exact")
    assert faults(ours, model, cluster) == []
    assert ours.feasible == best.feasible  # the best-first search sees all of so few
    if best.feasible:
        assert ours.beta_ms == best.beta_ms
        assert ours.proven
    for other in (place(model, cluster, "kpath", seed=seed), place(model, cluster, "greedy")):
        assert not other.feasible or (ours.beta_ms or 0.0) <= (other.beta_ms or 0.0)


@settings(deadline=None, max_examples=60)
@given(models(layers=9), clusters(nodes=9, least=6), st.integers(0, 3))
def test_a_search_cut_short_still_bounds_from_below(model: Model, cluster: Cluster, budget: int) -> None:
    problem = Problem(model, cluster)
    best = place_exact.exact(problem)
    assume(best is not None)
    assert best is not None
    arrays = (problem.piece_ms, problem.transfer_ms, np.maximum)
    found, bound = place_exact.best_first(*arrays, below=np.inf, budget=budget)
    assert place_exact.walk_bound(*arrays) <= bound <= best[1]
    assert found is None or problem.beta(found) == bound == best[1]
    none, kept = place_exact.best_first(*arrays, below=best[1])
    assert (none, kept) == (None, best[1])


@settings(deadline=None, max_examples=60)
@given(models(layers=9), clusters(nodes=9, least=6), st.integers(0, 3))
def test_what_is_found_without_proof_is_a_plan(model: Model, cluster: Cluster, seed: int) -> None:
    problem = Problem(model, cluster)
    arrays = (problem.piece_ms, problem.transfer_ms, np.maximum)
    colours = np.random.default_rng(seed).integers(0, 4, problem.nodes).tolist()
    coloured = place_exact.by_colours(*arrays, colours)
    swept = place_search.sweep(*arrays)
    for found in (None if coloured is None else coloured[0], swept):
        if found is not None:
            assert len(set(found.nodes)) == len(found.nodes)
            assert np.isfinite(problem.beta(found))
            assert place_search.cost(*arrays, found) == problem.beta(found)
    assert coloured is None or problem.beta(coloured[0]) == coloured[1]
    assert coloured is None or len({colours[node] for node in coloured[0].nodes}) == len(coloured[0].nodes)


@settings(deadline=None, max_examples=100)
@given(models(), st.integers(20, 200), st.integers(1, 5))
def test_the_authors_partition_sends_the_fewest_bytes(model: Model, memory: int, pieces: int) -> None:
    problem = Problem(model, uniform(pieces, memory))

    def sent(ends: tuple[int, ...]) -> float:
        return float(sum(problem.sizes[end] for end in ends[:-1]))

    fitting = [found.ends for found in placements(problem) if np.isfinite(problem.beta(found))]
    ends = least_transfer(problem, memory, pieces)
    assert (ends is None) == (not fitting)
    if ends is not None:
        assert ends in fitting
        assert sent(ends) == min(sent(other) for other in fitting)


@settings(deadline=None, max_examples=60)
@given(clusters(nodes=6, least=3), st.integers(2, 4))
def test_k_path_matching_of_one_class_takes_the_path_whose_slowest_link_is_fastest(
    cluster: Cluster, count: int
) -> None:
    cluster = Cluster(nodes=uniform(len(cluster.nodes), 10).nodes, mbps=cluster.mbps)
    assume(count <= len(cluster.nodes))
    problem = Problem(chain(*[100] * count), cluster)
    plans = kpath(problem, [2])
    best = cheapest(problem, problem.beta)
    assert bool(plans) == np.isfinite(best)
    if plans:
        assert problem.beta(plans[2]) == best


def test_k_path_matching_serves_the_highest_class_first() -> None:
    # Three pieces: 10 bytes behind the first, 1000 behind the second. The fast link is kept for the 1000.
    mbps = np.full((3, 3), 1.0)
    mbps[0, 1] = mbps[1, 0] = 100.0
    cluster = Cluster(nodes=uniform(3, 10).nodes, mbps=tuple(map(tuple, mbps.tolist())))
    plan = place(chain(10, 1000, 5), cluster, "kpath", classes=2)
    assert {plan.pieces[1].node, plan.pieces[2].node} == {"n0", "n1"}
    assert plan.pieces[0].node == "n2"


def test_paths_in_large_clusters_are_found_by_colours() -> None:
    # A ring of fast links among slow ones: the path of five runs along it.
    count = 30
    mbps = np.full((count, count), 1.0)
    for node in range(count):
        mbps[node, (node + 1) % count] = mbps[(node + 1) % count, node] = 50.0
    cluster = Cluster(nodes=uniform(count, 10).nodes, mbps=tuple(map(tuple, mbps.tolist())))
    for method in ("kpath", "search"):
        plan = place(chain(*[1000] * 5), cluster, method)
        assert plan.beta_ms == pytest.approx(1000 * 8 / 50e3)
        assert plan.feasible
    assert plan.proven


def test_computing_is_shared_out_where_it_counts() -> None:
    plan = place(chain(0, 0, 0, 0), uniform(4, None, speed=1.0), "exact")
    assert [piece.compute_ms for piece in plan.pieces] == [1.0] * 4
    assert plan.throughput == 1000.0
    free = place(chain(0, 0, 0, 0), uniform(4, None), "exact")
    assert (len(free.pieces), free.beta_ms, free.throughput, free.bottleneck) == (1, 0.0, None, None)


@pytest.mark.parametrize(
    ("model", "cluster", "told"),
    [
        (chain(1, 1, parameters=50), uniform(3, 40), "layer l0 cannot be cut and takes 50 bytes, but the largest"),
        (chain(1, 1, 1), uniform(2, 14), "the parameters take 30 bytes, but all nodes together have 28"),
        (chain(1, 1, 1), uniform(2, 19), "at least 3 pieces are needed, but there are 2 nodes"),
        (chain(1, 1, 1), uniform(4, 10, mbps=0.0), "at least 3 pieces are needed, but no two nodes are linked"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_infeasible_says_why(model: Model, cluster: Cluster, told: str, method: Any) -> None:
    if "have 28" in told:  # so that the sum is what fails
        model = chain(1, 1, 1, parameters=10)
    plan = place(model, cluster, method)
    assert not plan.feasible
    assert plan.proven
    assert plan.reason is not None
    assert told in plan.reason
    assert faults(plan, model, cluster) == []


def test_links_that_lead_nowhere_are_infeasible_for_certain() -> None:
    # n0 -> n1 and n2 -> n1 only: no three nodes in a row.
    cluster = Cluster(nodes=uniform(3, 10).nodes, mbps=((0, 5, 0), (0, 0, 0), (0, 5, 0)))
    for method in ("exact", "search"):
        plan = place(chain(1, 1, 1), cluster, method)
        assert not plan.feasible
        assert plan.proven
        assert "no order of the 3 nodes has links" in (plan.reason or "")


def test_the_check_finds_what_is_wrong_with_a_plan() -> None:
    model, cluster = chain(10, 20, 30, 40), uniform(4, 20, speed=1.0)
    plan = place(model, cluster)
    assert faults(plan, model, cluster) == []
    first, second = plan.pieces[:2]

    def told(**change: Any) -> str:
        return "; ".join(faults(plan.model_copy(update=change), model, cluster))

    def with_first(**change: Any) -> str:
        return told(pieces=(first.model_copy(update=change), *plan.pieces[1:]))

    assert "more than one piece" in with_first(node=second.node)
    assert "is no node" in with_first(node="elsewhere")
    assert "is no layer" in with_first(until="nowhere")
    assert "compute_ms" in with_first(compute_ms=first.compute_ms / 2)
    assert "transfer_ms" in with_first(transfer_ms=first.transfer_ms / 2)
    assert "sends" in with_first(transfer_bytes=1)
    assert "memory" in with_first(memory_bytes=0)
    assert "weights" in with_first(weights=())
    assert "beta_ms" in told(beta_ms=(plan.beta_ms or 0) / 2)
    assert "lower_bound_ms" in told(lower_bound_ms=(plan.beta_ms or 0) * 2)
    assert "does not end" in told(pieces=plan.pieces[:1])
    assert "takes 10 bytes of 5" in "; ".join(faults(plan, model, uniform(4, 5, speed=1.0)))
    assert "no link" in "; ".join(faults(plan, model, uniform(4, 20, mbps=0, speed=1.0)))
    bypass = model.model_copy(
        update={"layers": (*model.layers[:3], model.layers[3].model_copy(update={"inputs": ("l2", "l0")}))}
    )
    for cut in ("l1", "l2"):
        assert cut not in bypass.cuts
    across = plan.model_copy(update={"pieces": (first.model_copy(update={"until": "l1"}), *plan.pieces[1:])})
    assert "bypasses" in "; ".join(faults(across, bypass, cluster))


@settings(deadline=None, max_examples=80)
@given(models(), clusters(nodes=4, least=2), st.sampled_from([1.0, 1.2, 3.0]), st.integers(0, 3))
def test_planning_anew_moves_as_little_as_brute_force(model: Model, cluster: Cluster, within: float, lost: int) -> None:
    before = place(model, cluster, "exact")
    assume(before.feasible)
    left = cluster.without(f"n{lost % len(cluster.nodes)}")
    problem = Problem(model, left)
    least_beta = cheapest(problem, problem.beta)
    held = {piece.node: set(piece.weights) for piece in before.pieces}

    def moved(found: Found) -> float:
        if problem.beta(found) > least_beta * within:
            return np.inf
        begins = (0, *found.ends[:-1])
        return sum(
            size
            for node, begin, end in zip(found.nodes, begins, found.ends, strict=True)
            for identity, size in problem.held(begin, end)
            if identity not in held.get(left.nodes[node].name, set())
        )

    for method in ("exact", "search"):
        plan = replan(model, left, before, method, within=within)
        assert plan.feasible == np.isfinite(least_beta)
        assert faults(plan, model, left) == []
        if plan.feasible:
            assert plan.movement is not None
            assert plan.movement.best_beta_ms == least_beta
            assert plan.beta_ms is not None
            assert plan.beta_ms <= least_beta * within
            assert plan.movement.moved_bytes == plan.movement.least_bytes == cheapest(problem, moved)
            assert plan.movement.moved_bytes <= plan.movement.best_moved_bytes
            assert plan.beta_ms == min(
                problem.beta(found) for found in placements(problem) if moved(found) == plan.movement.moved_bytes
            )


def test_losing_a_node_moves_its_piece_alone() -> None:
    model, cluster = chain(100, 100, 100, 100), uniform(6, 10)
    before = place(model, cluster, "exact")
    lost = before.pieces[1].node
    plan = replan(model, cluster.without(lost), before)
    assert plan.movement is not None
    assert (plan.movement.moved_bytes, plan.movement.kept_bytes) == (10, 30)
    kept = {piece.until: piece.node for piece in before.pieces if piece.node != lost}
    assert {piece.until: piece.node for piece in plan.pieces if piece.until in kept} == kept


def test_a_new_version_moves_what_has_changed() -> None:
    cluster = uniform(6, 10)
    before = place(chain(100, 100, 100, checksums=True), cluster)
    retrained = chain(100, 100, 100, version="2", checksums=True)
    last = retrained.layers[-1].model_copy(update={"weights_sha256": "another sum"})
    retrained = retrained.model_copy(update={"layers": (*retrained.layers[:-1], last)})
    plan = replan(retrained, cluster, before)
    assert plan.movement is not None
    assert (plan.movement.moved_bytes, plan.movement.kept_bytes, plan.version) == (10, 20, "2")
    # Without checksums nothing says that the layers of another version are the same.
    unknown = replan(chain(100, 100, 100, version="2"), cluster, place(chain(100, 100, 100), cluster))
    assert unknown.movement is not None
    assert (unknown.movement.moved_bytes, unknown.movement.kept_bytes) == (30, 0)
    # Nor that those of another size are, whatever the version says.
    grown = replan(chain(100, 100, 100), cluster, place(chain(100, 100, 100, parameters=9), cluster))
    assert grown.movement is not None
    assert (grown.movement.moved_bytes, grown.movement.kept_bytes) == (30, 0)


def test_a_larger_factor_buys_less_movement() -> None:
    # Both pieces on n0 and n1; a faster pair appears, but the parameters would have to move.
    model = chain(1000, 5)
    before = place(model, uniform(2, 10), "exact")
    mbps = np.full((4, 4), 8.0)
    mbps[2, 3] = 10.0
    cluster = Cluster(nodes=uniform(4, 10).nodes, mbps=tuple(map(tuple, mbps.tolist())))
    eager, lazy = (replan(model, cluster, before, within=within) for within in (1.0, 1.3))
    assert eager.movement is not None
    assert lazy.movement is not None
    assert (eager.movement.moved_bytes, lazy.movement.moved_bytes) == (20, 0)
    assert [piece.node for piece in lazy.pieces] == [piece.node for piece in before.pieces]
    assert lazy.movement.best_beta_ms == eager.beta_ms
    assert lazy.movement.best_moved_bytes == 20


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mbps": [[0, 1], [1, 0], [1, 1]]}, "mbps: has 3 rows for 2 nodes"),
        ({"mbps": [[0, 1], [1]]}, "mbps.1: has 1 entries for 2 nodes"),
        ({"mbps": [[0, -1], [1, 0]]}, "field mbps.0.1"),
        ({"mbps": [[0, "fast"], [1, 0]]}, "field mbps.0.1"),
        ({"nodes": [{"name": "a"}, {"name": "a"}]}, "nodes.1.name: 'a' is taken"),
        ({"nodes": []}, "field nodes"),
        ({"nodes": [{"name": "a", "speed": 0}, {"name": "b"}]}, "field nodes.0.speed"),
        ({"nodes": [{"name": "a", "memory_bytes": -1}, {"name": "b"}]}, "field nodes.0.memory_bytes"),
        ({"colour": "red"}, "field colour"),
    ],
)
def test_a_malformed_cluster_is_refused_with_file_field_and_reason(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"nodes": [{"name": "a"}, {"name": "b"}], "mbps": [[0, 1], [1, 0]], **change}))
    with pytest.raises(PlanError) as error:
        read(path, Cluster)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_what_cannot_be_asked_is_refused() -> None:
    model, cluster = chain(1, 2), uniform(11, None)
    with pytest.raises(PlanError, match="method exact: goes up to 10 nodes, and cluster cluster has 11"):
        place(model, cluster, "exact")
    with pytest.raises(PlanError, match="method fastest: choose one of exact"):
        place(model, cluster, "fastest")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="classes 3: only kpath"):
        place(model, cluster, "search", classes=3)
    with pytest.raises(PlanError, match="lost node n99: is not in cluster"):
        cluster.without("n99")
    with pytest.raises(PlanError, match=r"lost node n0: is the only one"):
        uniform(1, None).without("n0")
    before = place(model, cluster)
    with pytest.raises(PlanError, match=r"within 0\.5"):
        replan(model, cluster, before, within=0.5)
    with pytest.raises(PlanError, match="method greedy: does not count movement"):
        replan(model, cluster, before, "greedy")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="previous plan: field pieces: is empty"):
        replan(model, cluster, place(chain(1, parameters=50), uniform(1, 40)))


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    model, cluster = chain(10, 20, 30), uniform(3, 10, speed=2.0)
    plan = replan(model, cluster, place(model, cluster))
    write(tmp_path / "plan.json", plan)
    assert read(tmp_path / "plan.json", Placement) == plan


def ask(path: Path, model: Model, cluster: Cluster, *options: str) -> Result:
    write(path / "model.json", model)
    write(path / "cluster.json", cluster)
    files = [str(path / "model.json"), str(path / "cluster.json")]
    return CliRunner().invoke(app, ["plan", "place", *files, *options])


@pytest.mark.parametrize("speed", [None, 1.0])
@pytest.mark.parametrize("memory", [None, 10])
def test_the_command_says_truly_that_nothing_takes_time(
    tmp_path: Path, speed: float | None, memory: int | None
) -> None:
    free = chain(0, 0, 0)  # no bytes, so that several pieces send none
    layers = tuple(layer.model_copy(update={"operations": 0.0}) for layer in free.layers)
    done = ask(tmp_path, free.model_copy(update={"layers": layers}), uniform(3, memory, speed=speed))
    assert done.exit_code == 0, done.output
    assert "Nothing takes time, by the operations, speeds, bytes and bandwidths that are stated" in done.output


def test_the_command_refuses_what_would_be_ignored(tmp_path: Path) -> None:
    model, cluster = chain(10, 20, 30), uniform(3, 10)
    refused = ask(tmp_path, model, cluster, "--within", "1.2")
    assert isinstance(refused.exception, PlanError)
    assert "--within: bounds what --previous may cost" in str(refused.exception)
    assert ask(tmp_path, model, cluster, "--seed", "-1").exit_code == 2
    write(tmp_path / "plan.json", place(model, cluster))
    for options, factor in ((("--seed", "0"), 1.1), (("--within", "1.5"), 1.5)):
        previous = ["--previous", str(tmp_path / "plan.json"), "--out", str(tmp_path / "again.json")]
        done = ask(tmp_path, model, cluster, *previous, *options)
        assert done.exit_code == 0, done.output
        again = read(tmp_path / "again.json", Placement)
        assert again.movement is not None
        assert again.movement.within == factor


@settings(deadline=None, max_examples=30)
@given(models(layers=5), clusters(nodes=4, least=2))
def test_the_order_of_the_nodes_does_not_matter(model: Model, cluster: Cluster) -> None:
    betas = set()
    for order in list(permutations(range(len(cluster.nodes))))[:6]:
        turned = Cluster(
            nodes=tuple(cluster.nodes[node] for node in order),
            mbps=tuple(tuple(cluster.mbps[row][column] for column in order) for row in order),
        )
        betas.add(place(model, turned, "search").beta_ms)
    assert len(betas) == 1


def test_the_authors_joint_baseline_walks_to_the_fastest_neighbour() -> None:
    """Fewest bytes first: the cut is behind `b`; `n1` and `n2` have the fastest link."""
    layers = tuple(
        Layer(name=name, inputs=(before,), output_bytes=size, parameter_bytes=1)
        for name, before, size in (("a", INPUT, 900), ("b", "a", 100), ("c", "b", 900))
    )
    cluster = Cluster(
        nodes=tuple(Node(name=f"n{place}", memory_bytes=2) for place in range(3)),
        mbps=((0.0, 1.0, 2.0), (1.0, 0.0, 8.0), (2.0, 8.0, 0.0)),
    )
    plan = place(Model(name="three", layers=layers), cluster, "joint")
    assert plan.feasible
    assert plan.pieces[0].until == "b"
    assert {piece.node for piece in plan.pieces} == {"n1", "n2"}
    assert plan.beta_ms == pytest.approx(100 * 8 / 8e3)


def test_a_placement_keeps_its_time_limit_and_gives_the_best_so_far() -> None:
    import time

    rng = np.random.default_rng(0)
    layers = tuple(
        Layer(
            name=f"layer{number}",
            inputs=(f"layer{number - 1}" if number else INPUT,),
            output_bytes=int(rng.integers(10_000, 1_000_000)),
            parameter_bytes=10**6,
            operations=float(rng.integers(10**6, 10**9)),
        )
        for number in range(300)
    )
    chain = Model(name="chain", layers=layers)
    cluster = Cluster(
        nodes=tuple(Node(name=f"n{number}", memory_bytes=30 * 10**6, speed=1.0) for number in range(40)),
        mbps=tuple(tuple(row) for row in rng.uniform(1, 100, (40, 40)).tolist()),
    )
    for method in ("search", "kpath", "joint"):
        begun = time.monotonic()
        plan = place(chain, cluster, method, seconds=6.0)
        assert time.monotonic() - begun < 6.0 * 1.2
        assert plan.feasible or plan.reason is not None
        assert faults(plan, chain, cluster) == []
    begun = time.monotonic()
    late = place(chain, cluster, "search", seconds=0.1)
    assert time.monotonic() - begun < 1.0
    assert not late.proven


def test_more_pieces_than_memory_holds_are_refused() -> None:
    layers = tuple(
        Layer(name=f"l{number}", inputs=(f"l{number - 1}" if number else INPUT,), output_bytes=1)
        for number in range(4000)
    )
    with pytest.raises(PlanError, match="join layers"):
        place(Model(name="long", layers=layers), uniform(5, None))
