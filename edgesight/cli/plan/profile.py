"""Commands for profiles: measure a network on this machine, and write what the planners read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer
from rich.console import Console

from edgesight.cli.ending import print_json
from edgesight.cli.options import Json
from edgesight.cli.plan import group, print_rows, shows_example, shows_schema
from edgesight.host.obtained import Obtained

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel

    from edgesight.plan.adapt.data import Model
    from edgesight.plan.split.measured import MeasuredNetwork
    from edgesight.plan.split.parts import Step

Found = TypeVar("Found")

_OBTAINED = f"one of {', '.join(get_args(Obtained))}"
ACCURACY_OBTAINED = typer.Option(
    "--accuracy-obtained", help=f"How accuracies were obtained, {_OBTAINED}; default measured."
)


class Reader(str, Enum):
    """The command that is to read what was measured."""

    JOIN = "profile-join"
    SPLIT = "split"
    PLACE = "place"
    WORKFLOW = "workflow"
    ADAPT = "adapt"


# Options that not every reader's file has a place for.
_TAKES: dict[Reader, tuple[str, ...]] = {
    Reader.JOIN: ("--input-bits", "--tensor-bits", "--input", "--shape"),
    Reader.SPLIT: (
        *("--input-bits", "--tensor-bits", "--input", "--shape"),
        *("--accuracy", "--accuracy-obtained", "--datacenter-factor"),
    ),
    Reader.PLACE: ("--into",),
    Reader.WORKFLOW: ("--input", "--shape", "--into", "--operator", "--name"),
    Reader.ADAPT: ("--into", "--name"),
}


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for, checked against the reader."""

    network: Path
    device: str
    repeats: int
    threads: int
    inputs: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]
    ray: str | None  # the cluster in which `device` is the node to measure on; None: here

    def measured(self, measure: Callable[..., Found], runs: int) -> Found:
        """What `measure(network, step=...)` finds, which makes so many `runs`, where the network is to be measured."""
        if self.ray is None:
            with _steps(self.network.name, runs) as step:
                return measure(self.network, step=step)
        from edgesight.host.ray_cluster import joined
        from edgesight.plan.on_node import measured_on

        with joined(self.ray) as library:
            return measured_on(library, self.device, self.network, measure)

    @property
    def runs(self) -> dict[str, Any]:
        """How ONNX Runtime is to run a network whose inputs are as asked."""
        return {"repeats": self.repeats, "threads": self.threads, "inputs": self.inputs, "shapes": self.shapes}


@group.command()
def profile(  # noqa: PLR0913 - a command's options are its surface
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="ONNX or Brevitas' QONNX file, or the folder of a kernel package.")
    ],
    device: Annotated[
        str, typer.Option(help="What the measured machine is to be called; in a file of --into, the node or worker.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSON to write.")],
    reader: Annotated[Reader, typer.Option("--for", help="The `edgesight plan` command that is to read it.")] = (
        Reader.JOIN
    ),
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With place, workflow, adapt: a file of that command, into which the times are put."
        ),
    ] = None,
    operator: Annotated[str | None, typer.Option(help="With workflow: whose variant the network is.")] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What --into's file calls the network (a variant; adapt: weights); default its file's name."),
    ] = None,
    accuracy: Annotated[
        list[str] | None, typer.Option(metavar="EXIT=SHARE", help="With split: accuracy of an exit; one for each.")
    ] = None,
    accuracy_obtained: Annotated[str | None, ACCURACY_OBTAINED] = None,
    datacenter_factor: Annotated[
        float | None,
        typer.Option(
            "--datacenter-factor", help="With split: the data centre's times as a factor of these, so projected."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Measure on node --device of the Ray cluster whose head is at HOST:PORT, or `auto`; default: here.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Runs, of which the medians count.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime.")] = 1,
    input_bits: Annotated[
        int | None,
        typer.Option("--input-bits", help="Bits that an element of the input is sent in; default its type's."),
    ] = None,
    tensor_bits: Annotated[
        int | None,
        typer.Option("--tensor-bits", help="Bits of an element that no quantiser gives bits; default its type's."),
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=FILE", help="An input to run (.npy) instead of a random one; repeatable."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=1x3x64x64",
            help="Shape of an input whose sizes are left open; a batch is 1 otherwise; repeatable.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure a network, or take a kernel's stages from its simulated RTL, for a planner to read.

    For profile-join and split every layer is measured, and every output of the network is an exit. For place, workflow
    and adapt the network runs in one piece, and the times go into that planner's file; what it states of links, rates,
    prices and accuracies stays. Of a kernel package the Verilated library is run, which `edgesight verilate` builds.
    With --ray the network is sent to a node, which was begun by `ray start --labels edgesight-node=NAME`, and is
    measured there.
    """
    from edgesight.plan.profile import PlanError, write

    used = {
        "--into": into, "--operator": operator, "--name": name, "--accuracy": accuracy, "--input": given,
        "--accuracy-obtained": accuracy_obtained, "--datacenter-factor": datacenter_factor, "--shape": shape,
        "--input-bits": input_bits, "--tensor-bits": tensor_bits,
    }  # fmt: skip
    _check_options(reader, {option for option, value in used.items() if value is not None}, network, ray)
    _check_out(reader, out)
    asked = _Asked(
        network,
        device,
        repeats,
        threads,
        dict(array_of(text) for text in given or []),
        dict(shape_of(text) for text in shape or []),
        ray,
    )
    console = Console(stderr=json_)
    made: BaseModel
    if reader in (Reader.JOIN, Reader.SPLIT):
        accuracies = _accuracies(accuracy or [])
        obtained = _obtained(accuracy_obtained)
        if reader is Reader.SPLIT and (datacenter_factor is None or not accuracies):
            raise PlanError(
                "--for split: a profile has two machines and each exit's accuracy; give --datacenter-factor and "
                "--accuracy, or measure the other machine too and join both by `edgesight plan profile-join`"
            )
        measured = _measured(asked, input_bits, tensor_bits)
        made = measured
        if datacenter_factor is not None:
            from edgesight.plan.split.join import join_alone

            made = join_alone(measured, accuracies, obtained, datacenter_factor)
        _print_measured(measured, console)
        if datacenter_factor is not None:
            console.print(
                f"The data centre was not measured: its times are {datacenter_factor:g} times these (projected)."
            )
    elif reader is Reader.PLACE:
        made = _for_place(asked, into, console)
    elif into is None:
        raise PlanError(
            f"--for {reader.value}: its file states rates, links and accuracies, which nothing here measures; give it "
            f"with --into (`edgesight plan {reader.value} --example` prints one)"
        )
    elif reader is Reader.WORKFLOW:
        if operator is None:
            raise PlanError("--for workflow: the network is a variant of an operator; give --operator")
        made = _for_workflow(asked, into, operator, name or network.stem, console)
    else:
        made = _for_adapt(asked, into, name or network.stem, console)
    write(out, made)
    if json_:
        print_json(made)


def _check_options(reader: Reader, used: set[str], network: Path, ray: str | None) -> None:
    from edgesight.plan.profile import PlanError

    for option in sorted(used - set(_TAKES[reader])):
        takers = ", ".join(other.value for other in Reader if option in _TAKES[other])
        raise PlanError(f"{option}: is for {takers}, not for {reader.value}; leave it out, or give another --for")
    if not network.is_dir():
        return
    if used & {"--input", "--shape"}:
        raise PlanError("--input, --shape: a kernel package says what its input is; leave them out")
    if ray is not None:
        raise PlanError(f"--ray: {network} is a kernel package, whose RTL is simulated here; leave it out")
    if reader in (Reader.PLACE, Reader.ADAPT):
        raise PlanError(
            f"{network}: is a kernel package, a fabric for one network: `plan {reader.value}` plans machines that run "
            "any; give an ONNX file"
        )


def _check_out(reader: Reader, out: Path) -> None:
    from edgesight.plan.adapt.data import Situation
    from edgesight.plan.place.problem import Cluster
    from edgesight.plan.profile import claim
    from edgesight.plan.split.measured import MeasuredNetwork
    from edgesight.plan.split.plan import SplitProfile
    from edgesight.plan.workflow.problem import Workflow

    kinds: dict[Reader, type[BaseModel]] = {
        Reader.JOIN: MeasuredNetwork,
        Reader.SPLIT: SplitProfile,
        Reader.PLACE: Cluster,
        Reader.WORKFLOW: Workflow,
        Reader.ADAPT: Situation,
    }
    claim(kinds[reader]).check_file(out)


@contextmanager
def _steps(what: str, repeats: int) -> Iterator[Step]:
    from edgesight.sim.workers import progress

    with progress() as bar:
        task = bar.add_task(what, total=repeats)
        yield lambda: bar.advance(task)


def _measured(asked: _Asked, input_bits: int | None = None, tensor_bits: int | None = None) -> MeasuredNetwork:
    from edgesight.plan.split.measure import measure_onnx, measure_package

    if asked.network.is_dir():
        from edgesight.host.package import Package

        return measure_package(Package.load(asked.network), asked.device)
    measure = partial(measure_onnx, device=asked.device, input_bits=input_bits, tensor_bits=tensor_bits, **asked.runs)
    return asked.measured(measure, asked.repeats)


def _for_place(asked: _Asked, into: Path | None, console: Console) -> BaseModel:
    from edgesight.plan.measured_files import into_cluster
    from edgesight.plan.place.graph import read_onnx
    from edgesight.plan.place.problem import Cluster
    from edgesight.plan.profile import read
    from edgesight.plan.split.measure import measure_whole, memory_here

    cluster = None if into is None else read(into, Cluster)
    model = read_onnx(asked.network)
    into_cluster(model, 1.0, asked.device, memory_here(), cluster)  # refuses what cannot be before it takes time
    whole = asked.measured(partial(measure_whole, **asked.runs), asked.repeats)
    made = into_cluster(model, whole.ms, asked.device, whole.memory_bytes, cluster)
    (node,) = (node for node in made.nodes if node.name == asked.device)
    console.print(
        f"{whole.origin} (measured): {whole.ms:.4g} ms, which is {node.speed:.4g} * 10^9 multiply-accumulates a second "
        "for every layer; one that has none counts as no time.",
        markup=False,
    )
    console.print(
        f"Memory {node.memory_bytes} bytes: what the file states, or else all of the machine's. Bandwidths: not "
        "measured.",
        markup=False,
    )
    return made


def _for_workflow(asked: _Asked, into: Path, operator: str, variant: str, console: Console) -> BaseModel:
    from edgesight.plan.measured_files import into_workflow
    from edgesight.plan.profile import read
    from edgesight.plan.split.measure import measure_whole
    from edgesight.plan.workflow.problem import Workflow

    found = read(into, Workflow)
    into_workflow(found, asked.device, operator, variant, 1.0, "measured")  # refuses names before it takes time
    obtained: Obtained = "measured"
    if asked.network.is_dir():
        measured = _measured(asked)
        ms, origin, obtained = sum(layer.ms for layer in measured.layers), measured.origin, measured.obtained
    else:
        whole = asked.measured(partial(measure_whole, **asked.runs), asked.repeats)
        ms, origin = whole.ms, whole.origin
    made = into_workflow(found, asked.device, operator, variant, ms, obtained)
    console.print(
        f"{origin} ({obtained}): {operator} by {variant} on {asked.device} {ms:.4g} ms. The file's other numbers stay "
        f"as stated; together they are {made.obtained}.",
        markup=False,
    )
    return made


def _for_adapt(asked: _Asked, into: Path, network: str, console: Console) -> BaseModel:
    from statistics import median

    from edgesight.plan.adapt.data import read_situation
    from edgesight.plan.measured_files import into_situation, models_of
    from edgesight.plan.split.measure import measure_shapes
    from edgesight.plan.split.parts import square_inputs

    situation = read_situation(into)
    models = models_of(situation, network)
    wanted = [(model, batch) for model in models for batch in sorted(model.latency_ms)]
    shapes = square_inputs(asked.network, [(batch, model.input_px) for model, batch in wanted])
    measure = partial(measure_shapes, shapes=shapes, repeats=asked.repeats, threads=asked.threads)
    wholes = asked.measured(measure, asked.repeats * len(wanted))
    found: dict[str, dict[int, float]] = {model.name: {} for model in models}
    for (model, batch), whole in zip(wanted, wholes, strict=True):
        found[model.name][batch] = whole.ms
    load_ms, origin = median(whole.load_ms for whole in wholes), wholes[-1].origin
    made = into_situation(situation, network, found, load_ms, f"{network} on {asked.device}: {origin}")
    _print_models(network, models, found, load_ms, origin, console)
    return made


def _print_models(
    network: str,
    models: list[Model],
    found: dict[str, dict[int, float]],
    load_ms: float,
    origin: str,
    console: Console,
) -> None:
    rows = [
        (model.name, str(model.input_px), str(batch), f"{ms:.4g}")
        for model in models
        for batch, ms in found[model.name].items()
    ]
    console.print(f"{origin} (measured)", markup=False)
    print_rows(console, network, ("model", "px", "batch", "ms"), rows)
    console.print(
        f"loaded in {load_ms:.4g} ms; accuracies, bytes of frames, clients and GPUs stay as the file states them",
        markup=False,
    )


def _print_measured(measured: MeasuredNetwork, console: Console) -> None:
    console.print(f"{measured.origin} ({measured.obtained})", markup=False)
    print_rows(
        console,
        f"{measured.name} on {measured.device.name}",
        ("layer", "ms", "bytes behind it"),
        [(layer.name, f"{layer.ms:.4g}", str(layer.output_bytes)) for layer in measured.layers],
    )
    for exit_ in measured.exits:
        own = sum(layer.ms for layer in exit_.layers)
        console.print(
            f"exit {exit_.name}: behind layer {exit_.after}, {len(exit_.layers)} layers of its own, {own:.4g} ms",
            markup=False,
        )
    if measured.whole_ms is not None and measured.apart_ms is not None:
        console.print(
            f"to the last exit {measured.whole_ms:.4g} ms in one piece, which layers are scaled to; by themselves they "
            f"took {measured.apart_ms:.4g} ms"
        )


def _accuracies(texts: list[str]) -> dict[str, float]:
    from edgesight.plan.profile import PlanError

    found = {}
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            found[name] = float(share)
        except ValueError:
            raise PlanError(f"--accuracy {text}: expected EXIT=SHARE, such as exit1=0.92") from None
    return found


def _obtained(text: str | None) -> Obtained:
    from edgesight.plan.profile import PlanError

    for known in get_args(Obtained):
        if known == (text or "measured"):
            return known  # type: ignore[no-any-return] # one of its own
    raise PlanError(f"--accuracy-obtained {text}: choose {_OBTAINED}")


def array_of(text: str) -> tuple[str, np.ndarray]:
    """The name and the array of one `--input`; raises PlanError."""
    import numpy as np

    from edgesight.plan.profile import PlanError

    name, equals, file = text.rpartition("=")
    if not equals or not name:
        raise PlanError(f"--input {text}: expected NAME=FILE, such as image=photo.npy")
    try:
        value = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlanError(f"--input {text}: cannot be read as an array of numpy ({error}): give a .npy file") from error
    if not isinstance(value, np.ndarray):
        raise PlanError(f"--input {text}: holds several arrays; give a .npy file with one")
    return name, value


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """The name and the sizes of one `--shape`; raises PlanError."""
    from edgesight.plan.profile import PlanError

    name, _, sizes = text.rpartition("=")
    parts = sizes.lower().split("x")
    if not name or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise PlanError(f"--shape {text}: expected NAME=SIZES, such as image=1x3x224x224")
    return name, tuple(int(part) for part in parts)


@group.command("profile-join")
def profile_join(  # noqa: PLR0913 - a command's options are its surface
    device: Annotated[
        Path, typer.Argument(metavar="DEVICE", help="What `edgesight plan profile` wrote on the device.")
    ],
    datacenter: Annotated[Path, typer.Argument(metavar="DATACENTER", help="The same, of the data centre.")],
    accuracy: Annotated[list[str], typer.Option(metavar="EXIT=SHARE", help="Accuracy of an exit; one for each.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Profile to write, for `edgesight plan split`.")],
    accuracy_obtained: Annotated[str | None, ACCURACY_OBTAINED] = None,
    device_factor: Annotated[
        float, typer.Option("--device-factor", help="Multiply the device's times, which makes them projected.")
    ] = 1.0,
    datacenter_factor: Annotated[
        float, typer.Option("--datacenter-factor", help="The same, at the data centre.")
    ] = 1.0,
    answer_bytes: Annotated[
        int | None, typer.Option("--answer-bytes", help="Bytes of an answer; default the network's whole output.")
    ] = None,
    example: Annotated[bool, shows_example("measured-device")] = False,
    example_datacenter: Annotated[bool, shows_example("measured-datacenter", "--example-datacenter")] = False,
    schema: Annotated[bool, shows_schema("measured-device")] = False,
    json_: Json = False,
) -> None:
    """Make the profile of a split from two measurements: of one network on two machines, or of two networks."""
    from edgesight.plan.profile import claim, read, write
    from edgesight.plan.split.join import join
    from edgesight.plan.split.measured import MeasuredNetwork
    from edgesight.plan.split.plan import SplitProfile

    claim(SplitProfile).check_file(out)
    accuracies, obtained = _accuracies(accuracy), _obtained(accuracy_obtained)
    joined = join(
        read(device, MeasuredNetwork),
        read(datacenter, MeasuredNetwork),
        accuracies,
        obtained,
        device_factor=device_factor,
        datacenter_factor=datacenter_factor,
        answer_bytes=answer_bytes,
    )
    write(out, joined)
    if json_:
        print_json(joined)
    else:
        print(out)
