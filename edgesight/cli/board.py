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
from edgesight.cli.options import Json, PackagePath

if TYPE_CHECKING:
    from edgesight.host.fabric.base import Fabric

FABRIC_HELP = "pynq (on the board itself), serial:PORT such as serial:/dev/ttyUSB0, verilated or csim."

FabricName = Annotated[str, typer.Option("--fabric", help=FABRIC_HELP)]

group = typer.Typer(no_args_is_help=True, help="Boards: make bitstreams, test and measure what runs on one.")


@group.command()
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
    from edgesight.hls.bitstream import build
    from edgesight.hls.boards import load_board
    from edgesight.host.package import Package

    target = load_board(board)
    opened = Package.load(package)
    folder = out / board / opened.kernel.name
    with shown(json_):
        built = build(opened, target, folder, backend=backend, seeds=seeds)
    made = built.board(board)
    if json_:
        print_json({"package": str(built.path), **made.model_dump(mode="json")})
    else:
        print(built.path / made.bitstream)


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
        Path | None, typer.Option("--selftest", help="What `edgesight board selftest --json` printed on the board.")
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, .json; a .txt is written beside it.")] = Path(
        "board-report.json"
    ),
    json_: Json = False,
) -> None:
    """Make the file that tells others what was built, met and answered; send it with an issue."""
    from edgesight.host.board_report import as_text, board_report, check_name, read_selftest, write_report
    from edgesight.host.package import Package

    check_name(out)
    found = read_selftest(selftest_) if selftest_ is not None else None
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


@group.command()
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


@group.command()
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
    from edgesight.host.images import random_images
    from edgesight.host.package import Package

    opened = PynqFabric(Package.load(package))
    try:
        found = opened.throughput_test(random_images(opened.package.kernel.input, images, seed))
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


@group.command()
def power(
    package: PackagePath,
    fabric: FabricName = "pynq",
    sensor: Annotated[
        str,
        typer.Option(
            help="hwmon:CHIP, pynq, pynq:RAIL+RAIL, rapl:DOMAIN, nvml:INDEX, csv:FILE (a meter's log), or auto."
        ),
    ] = "auto",
    pairs: Annotated[
        int, typer.Option(min=1, help="Running windows, each with a control; all lie between two idle ones.")
    ] = 8,
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
    """Measure an answer's energy above idle, the fabric's and the host program's, with their confidence intervals.

    Windows are idle, running and control in turn. In a control the host program does the same at the same pace without
    the fabric: running less control is the fabric's, control less idle the host program's.
    """
    from edgesight.host.power.answers import answering, check
    from edgesight.host.power.measure import measure, windows_of
    from edgesight.host.power.sensors import open_sensor

    check(accuracy, images)
    console = Console(stderr=True)
    meter = open_sensor(sensor)  # before the fabric: what is missing is said at once
    opened = _open(package, fabric)
    try:
        loop, subject = answering(opened, fabric, accuracy, images)
        report = measure(
            meter,
            loop,
            subject=subject,
            pairs=pairs,
            seconds=seconds,
            progress=lambda kind, number: console.print(f"window {number + 1} of {windows_of(pairs)}: {kind}"),
        )
    finally:
        opened.close()
    if json_:
        print(report.model_dump_json(indent=1))
        return
    table = Table(title=escape(report.subject))
    for column in ("", "value", "95 % interval", "unit", "obtained"):
        table.add_column(column)
    for name, figure in report.figures().items():
        bounds = "" if figure.low is None else f"{figure.low:.6g} to {figure.high:.6g}"
        table.add_row(name.replace("_", " "), f"{figure.value:.6g}", bounds, figure.unit, figure.obtained)
    Console().print(table, *map(escape, report.notes), sep="\n")


@group.command()
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
    from edgesight.bench.projected_energy import projected_energy as run
    from edgesight.host.package import Package
    from edgesight.host.power.projection import PUBLISHED, PublishedPower
    from edgesight.host.power.readings import PowerError

    if watts is None and source:
        raise PowerError("--source says where --watts comes from: give --watts, too")
    published = PUBLISHED if watts is None else [PublishedPower(board, watts, "as given", source)]
    opened = Package.load(package)
    projections = run(opened, board, published)
    if json_:
        print(json.dumps({name: found.model_dump() for name, found in projections.items()}, indent=1))
        return
    console, clock = Console(), next(iter(projections.values())).clock_mhz
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
