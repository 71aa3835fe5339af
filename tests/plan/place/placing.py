"""Random networks and clusters, and the plain way to find the best placement: look at all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, permutations

from hypothesis import strategies as st

from edgesight.plan.place.graph import INPUT, Layer, Model
from edgesight.plan.place.problem import Cluster, Found, Node, Problem


@st.composite
def models(draw: st.DrawFn, layers: int = 7) -> Model:
    """Networks that are mostly chains, with some branches."""
    made: list[Layer] = []
    for place in range(draw(st.integers(1, layers))):
        inputs = [made[-1].name if made else INPUT]
        if draw(st.integers(0, 3)) == 0:
            earlier = [INPUT, *(layer.name for layer in made)]
            inputs = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=2, unique=True))
        made.append(
            Layer(
                name=f"l{place}",
                inputs=tuple(inputs),
                output_bytes=draw(st.integers(0, 1000)),
                parameter_bytes=draw(st.integers(0, 50)),
                operations=draw(st.integers(0, 10**6)),
                working_bytes=draw(st.integers(0, 20)),
            )
        )
    return Model(name="random", layers=tuple(made))


@st.composite
def clusters(draw: st.DrawFn, nodes: int = 5, least: int = 1) -> Cluster:
    """Clusters with links that may be missing or go one way only, and nodes that may be without bounds."""
    count = draw(st.integers(least, nodes))
    speed = draw(st.sampled_from([st.none(), st.floats(0.001, 10), st.none() | st.floats(0.001, 10)]))
    return Cluster(
        nodes=tuple(
            Node(
                name=f"n{place}",
                memory_bytes=draw(st.integers(30, 200) | st.none()),
                speed=draw(speed),
            )
            for place in range(count)
        ),
        mbps=tuple(
            tuple(draw(st.floats(0.1, 100) | st.sampled_from([0.0, 1.0, 2.0])) for _ in range(count))
            for _ in range(count)
        ),
    )


def placements(problem: Problem) -> Iterator[Found]:
    """All of them, those that do not fit included."""
    for count in range(1, min(problem.nodes, problem.end) + 1):
        for cuts in combinations(range(1, problem.end), count - 1):
            for nodes in permutations(range(problem.nodes), count):
                yield Found(nodes, (*cuts, problem.end))


def cheapest(problem: Problem, price: Callable[[Found], float]) -> float:
    """The least price of all placements."""
    return min(price(found) for found in placements(problem))
