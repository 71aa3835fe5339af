"""Section `da4ml`: fully unrolled networks, ours and da4ml's, through the same synthesis; and one that is too large so.

da4ml makes a network without any folding: constant products as adder trees, every output pixel of a convolution by
hardware of its own.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.coverage.simulate import inputs_of
from edgesight.bench.folding.asked import Asked
from edgesight.bench.folding.cache import found
from edgesight.bench.folding.ours import TOP, cheaper
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.bench.service.environments import environment
from edgesight.hls.cost.cells import Cells
from edgesight.hls.dataflow.operators import (
    IntegerNetwork,
    Matrix,
    Operator,
    Output,
    Scale,
    Stream,
    Window,
    entry,
    matrix,
    scale,
)
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.network import Shape
from edgesight.hls.rtl.network import emit_network
from edgesight.host.errors import EdgeSightError
from edgesight.sim.workers import progress

PACKAGE = "da4ml<0.6"  # as hls4ml 1.3 wants it
AT_MOST = 1.1  # our look-up tables over theirs
# What a Zynq-7020 has.
LUTS, FLIP_FLOPS, HALF_BLOCKS, DSPS = 53_200, 106_400, 280, 220
JETS = "qkeras_jettagging"
CYCLES = 20_000  # a frame of the convolutional network
_JETS_ENTRY = Format(-(1 << 15), (1 << 15) - 1, 2.0**-10)
_PROGRAM = Path(__file__).parent / "peers" / "unrolled.py"
_INPUTS = 64
_SEED = 4


class Da4mlError(EdgeSightError):
    """What da4ml cannot do here: says why."""


@dataclass(frozen=True)
class Unrolled:
    """A network as da4ml makes it. `reckoned`: look-up tables by da4ml itself. `wrong`: answers that are others."""

    cells: Cells | None
    reckoned: float
    stages: int
    wrong: int


def lacks(_: Asked) -> str | None:
    """What is missing: nothing but Yosys and an index of packages, which say so themselves."""
    return None


def section(asked: Asked, folder: Path, console: Console) -> Found:
    """Compare; raises NotInstalled, Da4mlError, BoardError, CompileError."""
    folder = folder.resolve()
    python = environment(folder / "da4ml", PACKAGE)
    name, network = jets(asked)
    large = lenet5(folder)
    products = [each for each in large.operators if isinstance(each, Matrix) and each.groups == 1]
    with progress() as bar:
        task = bar.add_task("unrolled", total=3 + len(products))
        theirs = unrolled(network, python, folder)
        bar.advance(task)
        mine = _ours(network, 1, folder)
        bar.advance(task)
        kernels = []
        for each in products:
            kernels.append((each.name, each.output.shape.pixels, kernel(large, each, python, folder)))
            bar.advance(task)
        folded = _ours(large, CYCLES, folder)
        bar.advance(task)
    console.print(f"{name}: ours {mine}; da4ml's {theirs.cells}", highlight=False)
    console.print(f"LeNet-5, {CYCLES} cycles a frame: {folded}", highlight=False)
    assert theirs.cells is not None  # as `unrolled` was asked
    body: dict[str, Any] = {
        "peer": PACKAGE,
        "network": name,
        "ours": asdict(mine),
        "theirs": asdict(theirs),
        "convolutional": {
            "network": "LeNet-5, weights of 4 bits",
            "ours": asdict(folded),
            "cycles_at_most": CYCLES,
            "kernels": [{"layer": layer, "positions": at, **asdict(one)} for layer, at, one in kernels],
        },
    }
    return Found(body, tuple(checks_of(name, mine, theirs, folded, [(at, one) for _, at, one in kernels])))


def checks_of(
    name: str, mine: Cells, theirs: Unrolled, folded: Cells, kernels: Sequence[tuple[int, Unrolled]]
) -> list[Check]:
    """Our look-up tables over theirs, and who holds the convolutional network on a Zynq-7020.

    Only kernels that were synthesised count against da4ml: those of convolutions.
    """
    assert theirs.cells is not None  # it was synthesised
    unfolded = sum(at * one.cells.luts for at, one in kernels if one.cells is not None)
    what = "LeNet-5 on a Zynq-7020"
    limits = {"LUT": (folded.luts, LUTS), "FF": (folded.flip_flops, FLIP_FLOPS)}
    limits |= {"RAMB18": (folded.half_blocks, HALF_BLOCKS), "DSP": (folded.dsps, DSPS)}
    return [
        Check(f"{name}: our LUT over da4ml's", mine.luts / theirs.cells.luts, AT_MOST, True, "ratio", "measured"),
        Check(f"{name}: answers of da4ml's that are others", theirs.wrong, 0, True, "answers", "simulated"),
        Check(f"{what}: da4ml's, all output pixels at once, does not fit", unfolded, LUTS, False, "LUT", "projected"),
        *(Check(f"{what}: ours", value, bar, True, of, "measured") for of, (value, bar) in limits.items()),
    ]


def jets(asked: Asked) -> tuple[str, IntegerNetwork]:
    """The jet tagger, trained where it was given, else drawn; rounding half up, since da4ml has no half to even."""
    path = asked.trained / f"{JETS}.onnx" if asked.trained is not None else None
    if path is not None and path.is_file():
        return JETS, _half_up(integer_network(path, _JETS_ENTRY)[0])
    return "jet tagger with drawn weights", drawn_jets()


def drawn_jets() -> IntegerNetwork:
    """The jet tagger's shape, with weights of 6 bits of which a third are 0, as training leaves about as many."""
    chance = np.random.default_rng(_SEED)
    operators: list[Operator] = [entry("input", Stream(Shape(1, 1, 16), -(1 << 15), (1 << 15) - 1), 1.0)]
    sizes = [16, 64, 32, 32, 5]
    for at, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        source = operators[-1].output
        weights = chance.integers(-31, 31, (outputs, 1, 1, inputs), endpoint=True)
        weights *= chance.random(weights.shape) > 1 / 3
        sums = matrix(f"dense{at}", len(operators) - 1, source, Window((1, 1)), 1, weights)
        operators.append(sums)
        if outputs != sizes[-1]:
            ones = np.ones(outputs, np.int64)
            bias = chance.integers(-20, 20, outputs, endpoint=True)
            shift = max(sums.output.high.bit_length() - 8, 0)
            operators.append(scale(f"relu{at}", len(operators) - 1, sums.output, ones, bias, shift, 1, (0, 63)))
    ends = np.ones(sizes[-1])
    return IntegerNetwork(tuple(operators), (Output("output", len(operators) - 1, ends, 0 * ends, 0.0, False),))


def lenet5(folder: Path) -> IntegerNetwork:
    """The convolutional network, written anew."""
    from edgesight.bench.coverage.examples import EXAMPLES  # torch, which takes seconds

    path = folder / "lenet5.onnx"
    if not path.is_file():
        EXAMPLES["lenet5"].export(path)
    return integer_network(path)[0]


def unrolled(network: IntegerNetwork, python: Path, folder: Path) -> Unrolled:
    """A network of dense layers as da4ml makes it; raises Da4mlError."""
    inputs = inputs_of(network, _INPUTS, [_SEED])
    wanted = Reference(network).integers(inputs)[0].reshape(_INPUTS, -1)
    stream = network.entry.output
    asked = {
        "bits": stream.bits,
        "signed": stream.signed,
        "layers": layers_of(network),
        "inputs": inputs.reshape(_INPUTS, -1).tolist(),
    }
    made, sources = _made(asked, python, folder)
    wrong = int((np.array(made["given"]) != wanted).any(axis=1).sum())
    return Unrolled(synthesised(sources, "unrolled", folder, dsps=False), made["cost"], made["stages"], wrong)


def kernel(network: IntegerNetwork, of: Matrix, python: Path, folder: Path) -> Unrolled:
    """The products of one output pixel of a layer as da4ml makes them; synthesised where there is more than one."""
    taken = network.sources_of(of)[0].output
    layer = {"weights": of.weights.reshape(len(of.weights), -1).tolist(), "bits": 0}
    made, sources = _made({"bits": taken.bits, "signed": taken.signed, "layers": [layer], "inputs": []}, python, folder)
    cells = synthesised(sources, "unrolled", folder, dsps=False) if of.output.shape.pixels > 1 else None
    return Unrolled(cells, made["cost"], made["stages"], 0)


def layers_of(network: IntegerNetwork) -> list[dict[str, Any]]:
    """The layers as `peers/unrolled.py` takes them; raises Da4mlError for what it cannot take."""
    layers: list[dict[str, Any]] = []
    for operator in network.operators[1:]:
        match operator:
            case Matrix() if operator.output.shape.pixels == operator.groups == 1:
                layers.append({"weights": operator.weights.reshape(len(operator.weights), -1).tolist(), "bits": 0})
            case Scale() if (
                (operator.multiplier == 1).all() and not operator.shift and operator is network.operators[-1]
            ):
                layers[-1] |= {"offset": operator.offset.tolist()}
            case Scale() if (operator.multiplier == 1).all() and not operator.output.signed and operator.rounding < 2:
                bits = operator.output.bits
                if operator.output.high != (1 << bits) - 1:
                    raise Da4mlError(
                        f"{operator.name}: clips at {operator.output.high}, da4ml at whole bits alone: use a full range"
                    )
                layers[-1] |= {"offset": operator.offset.tolist(), "shift": operator.shift, "bits": bits}
                layers[-1] |= {"half_up": operator.rounding == 1}
            case _:
                raise Da4mlError(f"{operator.name}: is none of dense layer and rounded shift: give another network")
    return layers


def _half_up(network: IntegerNetwork) -> IntegerNetwork:
    """The same network, rounding half up wherever it rounded half to even."""
    operators = tuple(
        replace(each, rounding=1) if isinstance(each, Scale) and each.rounding == 2 and each.shift else each
        for each in network.operators
    )
    return replace(network, operators=operators)


def _ours(network: IntegerNetwork, cycles: int, folder: Path) -> Cells:
    """All that the network takes as we make it, its weights with it."""
    sources = emit_network(TOP, network, Folding(cycles, {})).project()
    return cheaper(sources, folder) if cycles > 1 else synthesised(sources, TOP, folder, dsps=False)


def _made(asked: dict[str, Any], python: Path, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What da4ml said of a network, and its Verilog by file name."""

    def measure(key: str) -> dict[str, Any]:
        work = folder / key
        work.mkdir(parents=True, exist_ok=True)
        (work / "asked.json").write_text(json.dumps(asked))
        command = [python, _PROGRAM, work / "asked.json", work]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Da4mlError(f"da4ml refuses the network ({said}): see {work / 'asked.json'}")
        files = {path.name: path.read_text() for path in sorted((work / "src").rglob("*.v"))}
        return {**json.loads(done.stdout.splitlines()[-1]), "files": files}

    made = found(
        folder, "edgesight", {"asked": json.dumps(asked), "peer": PACKAGE, "by": _PROGRAM.read_text()}, measure
    )
    return made, {name.replace(".v", ".sv"): text for name, text in made["files"].items() if "wrapper" not in name}
