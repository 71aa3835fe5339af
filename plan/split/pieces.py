"""Cuts a network into the pieces that a moving split may choose, for `edgesight.host.split` to run.

The network is optimised once, with every tensor that may be handed over kept, and the pieces are taken from that graph:
run without further optimisation they compute what it computes, bit for bit. Pieces are made for what may ever be chosen
at the stated deadline, not for every exit and cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgesight.host.files import sha256
from edgesight.host.split.pieces import MANIFEST, REPOSITORY, Manifest, Rest, Split, Taken
from edgesight.plan.extract import extracted
from edgesight.plan.profile import PlanError, Slo
from edgesight.plan.split.bandwidth import MovingSplit
from edgesight.plan.split.parts import Graph, exit_chains, tensors_crossing
from edgesight.plan.split.plan import Choices, SplitProfile, deadline_of

PROFILE: Final = "profile.json"
# Triton's number for a graph that is run as it is: it was optimised before it was cut.
_CONFIG: Final = "optimization { graph { level: 2 } }\n"
_PROBE_CONFIG: Final = (
    'input { name: "x" data_type: TYPE_UINT8 dims: -1 }\noutput { name: "y" data_type: TYPE_INT64 dims: 1 }\n'
)


def pieces(
    network: Path,
    profile: SplitProfile,
    slo: Slo,
    round_trip_ms: float,
    *,
    fall_back: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    besides: Sequence[tuple[str, int]] = (),
) -> dict[str, bytes]:
    """The files of a folder of pieces, by their path in it.

    `profile` is of the ONNX or QONNX network at `network`, as `measure_onnx` and `join` make it; `shapes` are those of
    inputs whose sizes the network leaves open, which are 1 otherwise. With `fall_back` the device has a piece to answer
    with where the data centre's answer does not come. `besides` are exits and cuts that are wanted though the plan may
    never choose them. Raises PlanError where the profile is of another network, where
    nothing can be on time, and as `measure_onnx` does.
    """
    cutter = _Cutter(network, profile, shapes or {})
    choices = Choices.of(profile)
    moving = MovingSplit(choices, slo, round_trip_ms, fall_back=fall_back)
    if not moving.candidates:
        raise PlanError(
            f"{network}: nothing can be within {deadline_of(slo):g} ms over a round trip of {round_trip_ms:g} ms: give "
            "more time, or ask for less accuracy"
        )
    fallbacks = {index: moving.fallback(index) for index in moving.candidates}
    asked = [choices.find(exit_, cut) for exit_, cut in besides]
    indices = dict.fromkeys([*moving.candidates, *(other for other in fallbacks.values() if other >= 0), *asked])
    cuts = {index: (profile.exits[int(choices.exits[index])].name, int(choices.cuts[index])) for index in indices}
    shared = {index: cutter.shared(*cuts[index], cuts[other][0]) for index, other in fallbacks.items() if other >= 0}
    cutter.optimise([*cuts.values(), *((cuts[fallbacks[index]][0], cut) for index, cut in shared.items())])
    splits = []
    for index, (exit_, cut) in cuts.items():
        chain = cutter.chains[exit_]
        handed = cutter.handed_over(exit_, cut)
        rest = None
        if index in shared:
            other, branch = cuts[fallbacks[index]][0], shared[index]
            kept = cutter.handed_over(other, branch)
            rest = Rest(exit=other, file=cutter.on_device(kept, [other]), tensors=kept)
        within = cut < len(chain)
        needed = dict.fromkeys([*(handed if within else [exit_]), *(rest.tensors if rest is not None else ())])
        outside = [name for name in needed if name not in cutter.graph.inputs]
        splits.append(
            Split(
                exit=exit_,
                cut=cut,
                layers=len(chain),
                head=cutter.on_device(list(cutter.graph.inputs), outside) if outside else None,
                tensors=tuple(handed) if within else (),
                tail=cutter.in_repository(f"{exit_}-{cut}", handed, exit_) if within else None,
                datacenter_ms=float(choices.datacenter_ms[index]),
                rest=rest,
            )
        )
    probe = cutter.probe()
    files = {**cutter.files, PROFILE: profile.model_dump_json(indent=2).encode()}
    manifest = Manifest(
        format=1,
        name=profile.name,
        network_sha256=cutter.graph.sha256,
        inputs=tuple(
            Taken(name=name, dtype=str(value.dtype), shape=value.shape) for name, value in cutter.given.items()
        ),
        deadline_ms=deadline_of(slo),
        round_trip_ms=round_trip_ms,
        accuracy=slo.accuracy,
        fall_back=fall_back,
        probe=probe,
        splits=tuple(splits),
        files={name: sha256(content) for name, content in files.items()},
    )
    return {MANIFEST: manifest.model_dump_json(indent=2).encode(), **files}


class _Cutter:
    """A network that is cut, and the files of its pieces so far."""

    def __init__(self, path: Path, profile: SplitProfile, shapes: Mapping[str, Sequence[int]]) -> None:
        """Raises PlanError where the profile is of another network."""
        self.graph = Graph(path, 1)
        self.chains = exit_chains(path, self.graph)
        self.files: dict[str, bytes] = {}
        self._path = path
        self._slug = re.sub(r"[^A-Za-z0-9_.-]", "_", profile.name)[:64]
        self._check(profile)
        self.given = self.graph.sample({}, shapes)
        last = next(reversed(self.chains))
        self._values, _, _ = self.graph.run(1, self.chains[last], last, self.given)
        self._model: Any = None

    def _check(self, profile: SplitProfile) -> None:
        trunk = [layer.name for layer in profile.layers]
        for exit_ in profile.exits:
            if exit_.name not in self.chains:
                raise PlanError(
                    f"{self._path}: has no output {exit_.name!r}, which is an exit of profile {profile.name}: give the "
                    "network that it was measured of"
                )
            found = [part.name for part in self.chains[exit_.name]]
            if found != [*trunk[: exit_.after], *(layer.name for layer in exit_.layers)]:
                raise PlanError(
                    f"{self._path}: the layers before {exit_.name} are not those of profile {profile.name}: give the "
                    "network that it was measured of"
                )

    def handed_over(self, exit_: str, cut: int) -> tuple[str, ...]:
        """Tensors that cross a cut; behind the last layer the answer."""
        return tuple(tensors_crossing(self.chains[exit_], self.graph.inputs, exit_)[cut])

    def shared(self, exit_: str, cut: int, other: str) -> int:
        """Layers before the `cut` that the chain of the `other` exit has, too, from the first on."""
        both = 0
        for one, two in zip(self.chains[exit_][:cut], self.chains[other], strict=False):
            if one is not two:
                break
            both += 1
        return both

    def optimise(self, cuts: Sequence[tuple[str, int]]) -> None:
        """Make the graph that pieces are taken from: the network with all that crosses these `cuts` kept."""
        kept = [name for exit_, cut in cuts for name in (*self.handed_over(exit_, cut), exit_)]
        self._model = self.graph.optimised(
            self.given, list(dict.fromkeys(name for name in kept if name not in self.graph.inputs))
        )

    def on_device(self, inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """The file of a piece that the device runs."""
        content = self._piece(inputs, outputs)
        file = f"device/{sha256(content)[:16]}.onnx"
        self.files[file] = content
        return file

    def in_repository(self, name: str, inputs: Sequence[str], output: str) -> str:
        """The model of a piece that the data centre runs."""
        return self._put(name, self._piece(inputs, [output]))

    def probe(self) -> str:
        """A model that says how many bytes it took."""
        import onnx

        helper = onnx.helper
        taken = helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, ["bytes"])
        given = helper.make_tensor_value_info("y", onnx.TensorProto.INT64, [1])
        graph = helper.make_graph([helper.make_node("Shape", ["x"], ["y"])], "probe", [taken], [given])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return self._put("probe", model.SerializeToString(), _PROBE_CONFIG)

    def _put(self, name: str, content: bytes, config: str = _CONFIG) -> str:
        model = f"{self._slug}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)[:48]}"
        file = f"{REPOSITORY}/{model}/1/model.onnx"
        if self.files.get(file, content) != content:  # exits whose names differ in what a model's name cannot hold
            model = f"{model}-{sha256(content)[:8]}"
            file = f"{REPOSITORY}/{model}/1/model.onnx"
        self.files[file] = content
        self.files[f"{REPOSITORY}/{model}/config.pbtxt"] = config.encode()
        return model

    def _piece(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """What the optimised graph computes from the `inputs` to the `outputs`."""
        return extracted(self._model, self._values, inputs, outputs)
