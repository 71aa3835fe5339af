"""Commands for boards: make bitstreams, test and measure what runs on one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgesight.cli.ending import print_json, shown

if TYPE_CHECKING:
    from edgesight.hls.boards import Board
    from edgesight.host.fabric.base import Fabric, Images
    from edgesight.host.package import Package

FABRIC_HELP = "pynq (on the board itself), serial:PORT such as serial:/dev/ttyUSB0, verilated or csim."

_INTERVAL_FRAMES = 24

PackagePath = Annotated[Path, typer.Argument(metavar="PACKAGE", help="Kernel package: a folder with kernel.json.")]
FabricName = Annotated[str, typer.Option("--fabric", help=FABRIC_HELP)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]


group = typer.Typer(no_args_is_help=True, help="Boards: which there are, and what became of a build.")


def bitstream(
    package: PackagePath,
    board: Annotated[str, typer.Option(help="Board, as `edgesight board list` names it.")],
    backend: Annotated[
        str, typer.Option(help="Of Vivado's boards: rtl, or vitis for hls4ml's own C++ behind the same wrapper.")
    ] = "rtl",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Of the open flow: seeds to place and route with.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder to build in.")] = Path("build/bitstream"),
    json_: Json = False,
) -> None:
    """Make a board's bitstream of a kernel package and put it into the package, with its reports.

    Without Vivado, its boards' sources and scripts are still made and checked, and what is missing is said.
    """
    from edgesight.hls.boards import load_board
    from edgesight.host.package import Package

    target = load_board(board)
    opened = Package.load(package)
    folder = out / board / opened.kernel.name
    with shown(json_):
        built = _build(opened, target, folder, backend, seeds)
    made = built.board(board)
    if json_:
        print_json({"package": str(built.path), **made.model_dump(mode="json")})
    else:
        print(built.path / made.bitstream)


def _build(opened: Package, target: Board, folder: Path, backend: str, seeds: int) -> Package:
    """Build for a board by its flow; BoardError."""
    from edgesight.hls.boards import BoardError

    if target.flow == "open":
        from edgesight.hls import open_flow

        if backend != "rtl":
            raise BoardError(f"--backend {backend}: board {target.name} has an open flow, which builds the RTL only")
        return open_flow.build(opened, target, folder, range(1, seeds + 1))
    from edgesight.hls import vivado

    if backend not in ("rtl", "vitis"):
        raise BoardError(f"--backend {backend}: choose rtl or vitis")
    return vivado.build(opened, target, folder, backend)  # type: ignore[arg-type] # checked above


@group.command("list")
def list_(json_: Json = False) -> None:
    """Show the boards that a bitstream can be made for."""
    from edgesight.hls.boards import board_names, load_board

    boards = [load_board(name) for name in board_names()]
    if json_:
        print(json.dumps([board.model_dump() for board in boards], indent=1))
        return
    table = Table()
    for column in ("board", "what", "part", "flow", "clock", "run by"):
        table.add_column(column)
    for board in boards:
        clock, run = f"{board.clock_mhz:g} MHz", board.ever_run or "nobody yet"
        table.add_row(board.name, board.title, board.part, board.flow, clock, run)
    Console().print(table)


@group.command()
def report(
    package: PackagePath,
    board: Annotated[str, typer.Option(help="Board that was built for.")],
    selftest_: Annotated[
        Path | None, typer.Option("--selftest", help="What `edgesight selftest --json` printed on the board.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, .json; a .txt is written beside it.")] = Path(
        "board-report.json"
    ),
    json_: Json = False,
) -> None:
    """Make the file that tells others what was built, met and answered; send it with an issue."""
    from edgesight.host.board_report import as_text, board_report, check_name, write_report
    from edgesight.host.kernel import KernelError
    from edgesight.host.package import Package

    check_name(out)
    found = None
    if selftest_ is not None:
        try:
            found = json.loads(selftest_.read_bytes())
        except (OSError, ValueError) as error:
            raise KernelError(f"{selftest_}: is no self-test's JSON ({error}): make it by `selftest --json`") from error
        if not isinstance(found, dict):
            raise KernelError(f"{selftest_}: is no self-test's JSON, which is an object: make it by `selftest --json`")
    made = board_report(Package.load(package), board, found)
    write_report(made, out)
    if json_:
        print_json(made)
    else:
        print(as_text(made))


@group.command()
def overlay(package: PackagePath, json_: Json = False) -> None:
    """On a PYNQ board: put the package's bitstream where `pynq.Overlay` finds it by the kernel's name."""
    from edgesight.host.overlay import install
    from edgesight.host.package import Package

    placed = install(Package.load(package))
    if json_:
        print_json({"bitstream": str(placed)})
    else:
        print(placed)


def selftest(package: PackagePath, fabric: FabricName = "pynq", json_: Json = False) -> None:
    """Compare the package's known answers with the fabric's, bit for bit. The first thing to do on a board."""
    from edgesight.host.selftest import selftest as run

    opened = _open(package, fabric)
    try:
        report = run(opened, opened.package)
    finally:
        opened.close()
    if json_:
        print(json.dumps({**dataclasses.asdict(report), "passed": report.passed}, indent=1))
    elif report.passed:
        print(f"passed: {report.records} records of {report.images} images, all as the package says")
    else:
        print(f"FAILED: {report.mismatches} of {report.records} records differ; first: {report.first_mismatch}")
    if not report.passed:
        raise typer.Exit(1)


def throughput(
    package: PackagePath,
    images: Annotated[int, typer.Option(min=1, help="Images to answer.")] = 4096,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random images.")] = 0,
    json_: Json = False,
) -> None:
    """Measure how fast a PYNQ board answers: the host's legs and, apart from them, the fabric's own counters.

    No threshold is set, so that every image goes through all stages: images that an early stage answers are faster.
    """
    from edgesight.host.fabric.pynq import PynqFabric
    from edgesight.host.package import Package

    opened = PynqFabric(Package.load(package))
    try:
        found = opened.throughput_test(_random_images(opened.package, images, seed))
    finally:
        opened.close()
    facts = dataclasses.asdict(found)
    if json_:
        print(json.dumps(facts, indent=1))
        return
    title = escape(f"{opened.package.kernel.name} on {opened.board}, {found.subject}")
    table = Table(title=title, show_header=False)
    for name, value in {**{k: v for k, v in facts.items() if k != "legs"}, **facts["legs"]}.items():
        table.add_row(name, f"{value:,.6g}" if isinstance(value, float) else str(value))
    Console().print(table)


def power(
    package: PackagePath,
    fabric: FabricName = "pynq",
    sensor: Annotated[
        str,
        typer.Option(
            help="hwmon:CHIP, pynq, pynq:RAIL+RAIL, rapl:DOMAIN, nvml:INDEX, csv:FILE (a meter's log), or auto."
        ),
    ] = "auto",
    pairs: Annotated[int, typer.Option(min=1, help="Running windows; each lies between two idle ones.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.001, help="Length of a window.")] = 10.0,
    accuracy: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Accuracy target to answer under; default: all images answered by stage 0."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Images to answer round and round: a .npy file, uint8 [N, H, W, C]; default: random ones."),
    ] = None,
    json_: Json = False,
) -> None:
    """Measure an answer's energy above idle, with its confidence interval, by idle and running windows in turn.

    It is the whole board's, as its sensor sees it: the fabric's work and that of the host program which feeds it.
    """
    from edgesight.host.fabric.base import ALWAYS
    from edgesight.host.power.measure import fabric_runner, measure
    from edgesight.host.power.readings import PowerError
    from edgesight.host.power.sensors import open_sensor

    if accuracy is not None and images is None:
        raise PowerError("--accuracy needs --images: how many stages an image takes depends on what it shows")
    console = Console(stderr=True)
    meter = open_sensor(sensor)  # before the fabric: what is missing is said at once
    opened = _open(package, fabric)
    try:
        if opened.simulated:
            raise PowerError(f"fabric {fabric} is simulated: a sensor would see the simulation's power; use a board")
        pool = _random_images(opened.package, 512, 0) if images is None else _images(images)
        if accuracy is None:
            opened.set_thresholds(0, [ALWAYS] * len(opened.package.kernel.stages))
            row, what = 0, "every image answered by stage 0"
        else:
            row, what = _target_row(opened, accuracy), f"accuracy target {accuracy:g}"
        report = measure(
            meter,
            fabric_runner(opened, pool, row),
            subject=(
                f"{opened.package.kernel.name} on fabric {fabric} and the host program that feeds it, {what}, "
                f"{images or 'random images'}"
            ),
            pairs=pairs,
            seconds=seconds,
            progress=lambda kind, number: console.print(f"window {number + 1} of {2 * pairs + 1}: {kind}"),
        )
    finally:
        opened.close()
    if json_:
        print(report.model_dump_json(indent=1))
        return
    table = Table(title=escape(report.subject))
    for column in ("", "value", "95 % interval", "unit", "obtained"):
        table.add_column(column)
    for name in ("joules_per_image", "added_watts", "idle_watts", "run_watts", "images_per_second"):
        figure = getattr(report, name)
        bounds = "" if figure.low is None else f"{figure.low:.6g} to {figure.high:.6g}"
        table.add_row(name.replace("_", " "), f"{figure.value:.6g}", bounds, figure.unit, figure.obtained)
    Console().print(table, *map(escape, report.notes), sep="\n")


def projected_energy(
    package: PackagePath,
    board: Annotated[str, typer.Option(help="Board whose published power is taken.")] = "pynq-z2",
    watts: Annotated[
        float | None, typer.Option(min=0.001, help="Power of the board, where you have a better source.")
    ] = None,
    source: Annotated[str, typer.Option(help="Where --watts comes from: who measured what, and where it stands.")] = "",
    json_: Json = False,
) -> None:
    """Project an answer's energy on a board without a meter: published watts times cycles of the simulated RTL.

    Builds and simulates the RTL, so that it takes minutes, g++, make, perl and the extra `sim`.
    """
    from edgesight.host.fabric.verilated import VerilatedFabric
    from edgesight.host.package import Package
    from edgesight.host.power.projection import PUBLISHED, PublishedPower, project, published_for
    from edgesight.host.power.readings import PowerError
    from edgesight.sim.verilate import build_library

    if watts is None and source:
        raise PowerError("--source says where --watts comes from: give --watts, too")
    published = PUBLISHED if watts is None else [PublishedPower(board, watts, "as given", source)]
    published_for(board, published)  # before the minutes that the simulation takes
    opened = Package.load(package)
    build_library(opened)
    fabric = VerilatedFabric(opened)
    intervals = fabric.measure_intervals(_random_images(opened, _INTERVAL_FRAMES, 0))
    fabric.close()
    build = opened.kernel.boards.get(board)
    clock = build.clock_mhz if build is not None else opened.kernel.clock_mhz
    projections = {
        stage.name: project(board, interval.interval_cycles, clock, "simulated: interval of the RTL", published)
        for stage, interval in zip(opened.kernel.stages, intervals, strict=True)
    }
    if json_:
        print(json.dumps({name: found.model_dump() for name, found in projections.items()}, indent=1))
        return
    console = Console()
    table = Table(title=escape(f"{opened.kernel.name} on {board} at {clock:g} MHz, the whole board at full speed"))
    for column in ("answered by", "cycles (simulated)", "energy an image", "from", "to", "obtained"):
        table.add_column(column, justify="left" if column == "answered by" else "right")
    for name, found in projections.items():
        joules = found.joules_per_image
        bounds = [f"{value * 1e6:.2f} µJ" for value in (joules.value, joules.low or 0.0, joules.high or 0.0)]
        table.add_row(name, f"{found.cycles_per_image:,.0f}", *bounds, joules.obtained)
    console.print(table)
    for line in next(iter(projections.values())).sources:
        console.print(f"published: {line}", soft_wrap=True, markup=False)


def _open(path: Path, maker: str) -> Fabric:
    from edgesight.host.fabric.makers import open_fabric
    from edgesight.host.package import Package

    return open_fabric(Package.load(path), maker)


def _target_row(fabric: Fabric, accuracy: float) -> int:
    """Write the row of the target that keeps `accuracy`; returns its index."""
    from edgesight.host.cascade import Cascade
    from edgesight.host.kernel import KernelError

    calibration = fabric.package.kernel.calibration
    if calibration is None:
        raise KernelError(f"{fabric.package.path}: is not calibrated: run `edgesight calibrate` where it was compiled")
    return Cascade(fabric, calibration, None).target(accuracy).set_index


def _images(path: Path) -> Images:
    import numpy as np

    from edgesight.host.images import ImageError

    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: holds no array ({error}): give a .npy file, uint8 [N, H, W, C]") from error
    if not isinstance(loaded, np.ndarray):
        raise ImageError(f"{path}: holds several arrays: give a .npy file with one, uint8 [N, H, W, C]")
    return loaded


def _random_images(package: Package, count: int, seed: int) -> Images:
    import numpy as np

    return np.random.default_rng(seed).integers(0, 256, (count, *package.kernel.input.shape), np.uint8)
