"""Commands of who measures: the benches."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from edgesight.cli.data import FETCHED, data_set
from edgesight.cli.options import (
    DATASET_HELP,
    DataDir,
    Json,
    budgets_of,
    check_reports,
)
from edgesight.cli.show import end_of_bench, load
from edgesight.hls.zoo import Earlier, calibrated_as, compile_zoo, data_set_of, foldings_of, shipped_folder

if TYPE_CHECKING:
    from edgesight.host.fabric.base import Images

SignsFolder = Annotated[
    Path | None, typer.Option(help="Folder or .zip of GTSRB's signs in class subfolders, 32 x 32 pixels.")
]
SignsZoo = Annotated[
    Path | None, typer.Option(help="Zoo that `train` wrote of the signs; without it, it is trained first.")
]

group = typer.Typer(no_args_is_help=True, help="Measurements, each held against its bars.")


@group.command("coverage")
def bench_coverage_(
    network: Annotated[list[str] | None, typer.Option(help="An example to compare alone; may be given again.")] = None,
    random: Annotated[int, typer.Option(min=0, max=100_000, help="Random networks to build and run.")] = 500,
    trained: Annotated[
        Path | None, typer.Option(help="Folder of trained QONNX files, such as the QONNX model zoo's, to compare, too.")
    ] = None,
    hls4ml_models: Annotated[
        Path | None, typer.Option(help="Folder of the models of hls4ml's own QONNX tests, to compare, too.")
    ] = None,
    zoo: Annotated[
        Path | None, typer.Option(help="Zoo that `train` wrote of --dataset: compile, calibrate, verify and ask it.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=f"Data set of --zoo. {DATASET_HELP}")] = None,
    out: Annotated[Path, typer.Option(help="Folder for coverage.json and what was found of each network.")] = Path(
        "build/bench"
    ),
    json_: Json = False,
) -> None:
    """Hold networks as people have them, and random ones, against the truth: fast reference, csim, RTL. Up to 80 min.

    Stopped, the same command goes on with the networks that are still to be compared.
    """
    if (zoo is None) != (dataset is None):
        raise typer.BadParameter("--zoo and --dataset belong together: give both", param_hint="--zoo")
    if zoo is not None and not (zoo / "card.json").is_file():
        raise typer.BadParameter(
            f"{zoo} has no card.json; name a folder that `edgesight train` wrote", param_hint="--zoo"
        )
    check_reports(out, "coverage.json")  # before torch, which takes seconds
    from edgesight.bench.coverage import by_command
    from edgesight.bench.coverage.bench import Asked, bench_coverage
    from edgesight.bench.coverage.examples import EXAMPLES

    files = sorted(trained.glob("*.onnx")) if trained is not None else []
    there = [*EXAMPLES, *(path.stem for path in files)]
    for name in network or ():
        if name not in there:
            raise typer.BadParameter(f"{name}: expected one of {', '.join(there)}", param_hint="--network")
    cascade = None if zoo is None or dataset is None else by_command.Asked(zoo, dataset)
    asked = Asked(network or (), random, trained, hls4ml_models, cascade)
    met = bench_coverage(out, Console(stderr=json_), asked)
    end_of_bench(met, out / "coverage.json", json_)


@group.command("folding")
def bench_folding_(
    section: Annotated[
        list[str] | None, typer.Option(help="Section to run alone, may be repeated: see --list. Default: all.")
    ] = None,
    zoo: Annotated[
        list[Path] | None,
        typer.Option(help="Zoo that `train` wrote: its cascade is folded, too; may be repeated."),
    ] = None,
    trained: Annotated[
        Path | None, typer.Option(help="Folder of trained QONNX files, such as the QONNX model zoo's, to fold, too.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for folding.json and what each section found.")] = Path(
        "build/bench"
    ),
    json_: Json = False,
) -> None:
    """Hold folded networks against their bounds, and their cells against others' hardware. Up to 75 min.

    Stopped, the same command goes on with what is still to be measured.
    """
    check_reports(out, "folding.json")  # before torch, which takes seconds
    from edgesight.bench.folding.asked import Asked
    from edgesight.bench.folding.bench import SECTIONS, bench_folding

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    met = bench_folding(out, Console(stderr=json_), Asked(tuple(zoo or ()), trained), chosen)
    end_of_bench(met, out / "folding.json", json_)


@group.command("emulator")
def bench_emulator_(
    out: Annotated[Path, typer.Option(help="Folder for emulator.json.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure how true the emulated link is: rates on an idle and a busy machine, loss, bursts, delay. Needs root."""
    from edgesight.bench.link.emulator import bench_emulator

    check_reports(out, "emulator.json")

    met = bench_emulator(out, Console(stderr=json_))
    end_of_bench(met, out / "emulator.json", json_)


@group.command("fairness")
def bench_fairness_(
    seeds: Annotated[int, typer.Option(min=1, help="Flows of each kind; their median counts.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for fairness.json.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure the link's congestion control beside TCP and under random loss; 17 minutes. Needs root."""
    from edgesight.bench.link.fairness import bench_fairness

    check_reports(out, "fairness.json")

    met = bench_fairness(out, Console(stderr=json_), seeds=seeds)
    end_of_bench(met, out / "fairness.json", json_)


@group.command("link")
def bench_link_(  # noqa: PLR0913 - a command's options are its surface
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
    from edgesight.bench.link.bench import SECTIONS, bench_link
    from edgesight.bench.link.sections import Settings
    from edgesight.quant.datasets import folder_of, load
    from edgesight.quant.splits import DataSetError

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    check_reports(out, "link.json", "link.png")
    fashion = None
    with suppress(DataSetError):  # then the section says what it lacks
        folder = folder_of("fashion-mnist", data_dir, FETCHED)

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
    met = bench_link(settings, chosen, Console(stderr=json_))
    end_of_bench(met, out / "link.json", json_)


@group.command("hostile")
def bench_hostile_(
    attack: Annotated[list[str] | None, typer.Option(help="An attack to run alone; may be given again.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, max=600.0, help="Length of each attack.")] = 20.0,
    out: Annotated[Path, typer.Option(help="Folder for hostile.json and logs.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Attack a data centre, as a stranger and as an edge that has turned, while another edge is asked. About 10 min."""
    from edgesight.bench.link.hostile import bench_hostile

    check_reports(out, "hostile.json")
    met = bench_hostile(out, Console(stderr=json_), names=attack or [], seconds=seconds)
    end_of_bench(met, out / "hostile.json", json_)


@group.command("prove")
def bench_prove_(
    cell: Annotated[list[str] | None, typer.Option(help="A cell to prove alone; may be given again.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for prove.json, models and traces.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Prove the stream cells by Yosys and z3: every property, by induction or so many cycles deep. About 5 min."""
    from edgesight.bench.proofs.bench import bench_prove

    check_reports(out, "prove.json")
    met = bench_prove(out, Console(stderr=json_), _cells(cell))
    end_of_bench(met, out / "prove.json", json_)


@group.command("prove-mutants")
def bench_prove_mutants_(
    cell: Annotated[list[str] | None, typer.Option(help="A cell to mutate alone; may be given again.")] = None,
    proofs_alone: Annotated[bool, typer.Option("--proofs-alone", help="Don't run the benches: much faster.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for prove-mutants.json and the mutants.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Change each stream cell in 20 places, one at a time: its bench or its proof must notice. Up to 90 min."""
    from edgesight.bench.proofs.mutants import bench_mutants

    check_reports(out, "prove-mutants.json")
    met = bench_mutants(out, Console(stderr=json_), _cells(cell), benches=not proofs_alone)
    end_of_bench(met, out / "prove-mutants.json", json_)


def chosen_sections(titles: dict[str, str], named: list[str] | None, listed: bool) -> list[str]:
    """The sections `named`, which are of `titles`; where they are to be `listed` that is done, and the command ends."""
    if listed:
        width = max(map(len, titles))
        for name, title in titles.items():
            typer.echo(f"{name:{width}} {title}")
        raise typer.Exit
    for name in named or ():
        if name not in titles:
            raise typer.BadParameter(f"{name}: expected one of {', '.join(titles)}", param_hint="--section")
    return named or []


def _cells(names: list[str] | None) -> list[str]:
    from edgesight.bench.proofs.cells import CELLS

    for name in names or ():
        if name not in CELLS:
            raise typer.BadParameter(f"{name}: expected one of {', '.join(CELLS)}", param_hint="--cell")
    return names or list(CELLS)


@group.command("gpu")
def bench_gpu_(
    device: Annotated[
        str, typer.Option(hidden=True, help="cuda, or cpu for a short run that shows that it works.")
    ] = "cuda",
    out: Annotated[Path, typer.Option(help="Folder for gpu.json and the models.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Measure the data centre on an NVIDIA GPU: throughput, latency under load, energy a request. At most 8 min.

    Without a GPU it says so, and ends.
    """
    check_reports(out, "gpu.json")  # before torch, which takes seconds
    from edgesight.bench.gpu.bench import bench_gpu

    if device not in ("cpu", "cuda"):
        raise typer.BadParameter(f"{device}: expected cpu or cuda", param_hint="--device")
    end_of_bench(bench_gpu(out, Console(stderr=json_), device), out / "gpu.json", json_)


@group.command("photograph")
def bench_photograph_(  # noqa: PLR0913 - a command's options are its surface
    section: Annotated[
        list[str] | None, typer.Option(help="Section to run alone, may be repeated: see --list. Default: all.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Folder or .zip of photographs in class subfolders: networks are trained on it.")
    ] = None,
    zoo: Annotated[
        Path | None,
        typer.Option(help="Zoo that `train --backend` wrote of the photographs; without it, it is trained first."),
    ] = None,
    thumbnail_zoo: Annotated[
        Path | None, typer.Option(help="Likewise, with a back end of a small picture, to compare with.")
    ] = None,
    signs: SignsFolder = None,
    signs_zoo: SignsZoo = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(help="Folder or .zip of pictures that are strange to all kernels; may be repeated."),
    ] = None,
    anything: Annotated[
        Path | None,
        typer.Option(
            help="Folder or .zip of photographs of anything: how many are flagged is told without a bar, since some "
            "may show what a kernel knows."
        ),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of odd pictures: noise.png, white.png, boot-on-white.png.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for photograph.json, the networks and what each section found.")
    ] = Path("build/bench"),
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Measure a back end of photographs, a stranger's, strange pictures, and thresholds for a site. Hours, if trained.

    Stopped, the same command goes on: with the training, and with the sections that are still to be run.
    """
    check_reports(out, "photograph.json")  # before torch, which takes seconds
    from edgesight.bench.photograph.asked import Asked, Photographs, Signs
    from edgesight.bench.photograph.bench import SECTIONS, bench_photograph
    from edgesight.quant.datasets import folder_of
    from edgesight.quant.splits import DataSetError

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    shipped = None
    with suppress(DataSetError):  # then the kernel of the photographs alone is measured
        shipped = shipped_folder() / "fashion-mnist", "fashion-mnist", folder_of("fashion-mnist", data_dir, FETCHED)
    asked = Asked(
        photographs=Photographs(f"folder:{photographs}", zoo=zoo, thumbnail_zoo=thumbnail_zoo) if photographs else None,
        signs=Signs(f"folder:{signs}", zoo=signs_zoo) if signs else None,
        pictures=pictures,
        others={path.stem: path for path in others or ()},
        anything=anything,
        shipped=shipped,
    )
    met = bench_photograph(out, Console(stderr=json_), asked, chosen)
    end_of_bench(met, out / "photograph.json", json_)


@group.command("plan")
def bench_plan_(
    traces: Annotated[Path | None, typer.Option(help="Folder of capacity traces of links that move.")] = None,
    published: Annotated[
        Path | None, typer.Option(help="Directory of JellyBean's visual question answering, as published.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for plan.json and pictures.")] = Path("build/bench"),
    json_: Json = False,
) -> None:
    """Hold every planner against the authors' methods, exact ones or bounds, and simple baselines."""
    from edgesight.bench.plan.bench import bench_plan

    check_reports(out, "plan.json")

    met = bench_plan(out, Console(stderr=json_), traces=traces, published=published)
    end_of_bench(met, out / "plan.json", json_)


@group.command("board")
def bench_board_(  # noqa: PLR0913 - a command's options are its surface
    zoo: Annotated[Path, typer.Argument(metavar="ZOO", help="Folder with stage0.onnx, stage1.onnx and card.json.")],
    cycles: Annotated[
        str,
        typer.Option(help="Cycles a frame that each layer may take on the open board, a number for each stage."),
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
    from edgesight.bench.board import OPEN_BOARD, Counts, bench_board
    from edgesight.hls import open_flow, vivado
    from edgesight.hls.boards import board_names, load_board
    from edgesight.hls.csim import build_library

    check_reports(out, "board.json")
    budgets = budgets_of(cycles)

    console = Console(stderr=json_)
    name = data_set_of(zoo)[0]
    fast = load(shipped_folder() / name)
    package = calibrated_as(compile_zoo(zoo, out / "board" / name, foldings_of(budgets)), Earlier.of(fast.path))
    build_library(package)
    pool = data_set(name, data_dir if name == "fashion-mnist" else None, None, package).test.images
    package = open_flow.build(package, load_board(OPEN_BOARD), out / "board" / OPEN_BOARD, range(1, seeds + 1))
    boards = [load_board(board) for board in board_names()]
    console.print("Vivado's boards: dry runs, sound and with a mistake each ...")
    dry_runs = vivado.dry_run_report(fast, [board for board in boards if board.flow == "vivado"])
    met = bench_board(
        package,
        fast,
        dry_runs,
        pool[: max(images, pin_images)],
        Counts(pin_images=pin_images, pynq_images=images, energy_seeds=energy_seeds),
        out,
        console,
    )
    end_of_bench(met, out / "board.json", json_)
