"""Commands of who measures what serves: the data centre's doors, watching, all of it under load, plans that run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edgesight.cli.bench import SignsFolder, SignsZoo, chosen_sections, group
from edgesight.cli.data import FETCHED
from edgesight.cli.options import DataDir, Json, check_reports
from edgesight.cli.show import end_of_bench


@group.command("service")
def bench_service_(
    section: Annotated[
        list[str] | None, typer.Option(help="Section to run alone, may be repeated: see --list. Default: all.")
    ] = None,
    image_client: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="tritonclient's image_client.py, which is then run as it is against us."
        ),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option(help="Install other servers by pip below the bench's folder, and measure them beside."),
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Measure again what was measured already.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for service.json and what each section found.")] = Path(
        "build/bench"
    ),
    json_: Json = False,
) -> None:
    """Measure the data centre's doors: latency, load, many models, fairness, clients, fuzzing, kills. About 15 min.

    Stopped, the same command goes on with the sections that are still to be run.
    """
    check_reports(out, "service.json")
    from edgesight.bench.service.asked import Asked
    from edgesight.bench.service.bench import SECTIONS, bench_service

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    met = bench_service(out, Console(stderr=json_), Asked(image_client, peers), chosen, again=again)
    end_of_bench(met, out / "service.json", json_)


@group.command("watch")
def bench_watch_(
    section: Annotated[
        list[str] | None, typer.Option(help="A section to run alone; may be given again. --list lists them.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for watch.json and what each section found.")] = Path("build/bench"),
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Measure how soon audits tell that targets do not hold any more, and how often they are wrong.

    Then every counter against the log of a run with faults, as a real Prometheus scraped it (Debian's package
    prometheus); the live page in headless Chromium (Debian's package chromium); and what an edge that is audited,
    scraped and looked at answers less than one that is not. About 25 min.

    Stopped, the same command goes on with the sections that are still to be run.
    """
    check_reports(out, "watch.json")  # before torch, which takes seconds
    from edgesight.bench.watch.bench import SECTIONS, Asked, bench_watch
    from edgesight.quant.datasets import folder_of
    from edgesight.quant.splits import DataSetError

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    folder = None
    with suppress(DataSetError):  # then the section says what it lacks
        folder = folder_of("fashion-mnist", data_dir, FETCHED)
    end_of_bench(bench_watch(out, Console(stderr=json_), Asked(folder), chosen), out / "watch.json", json_)


@group.command("serve")
def bench_serve_(  # noqa: PLR0913 - each is a flag
    section: Annotated[
        list[str] | None, typer.Option(help="A section to run alone; may be given again. --list lists them.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for serve.json and what each section found.")] = Path("build/bench"),
    photographs: Annotated[
        Path | None, typer.Option(help="Folder or .zip of photographs in class subfolders, the larger the better.")
    ] = None,
    zoo: Annotated[
        Path | None, typer.Option(help="Zoo that `train` wrote of the photographs; without it, it is trained first.")
    ] = None,
    signs: SignsFolder = None,
    signs_zoo: SignsZoo = None,
    traces: Annotated[Path | None, typer.Option(help="Folder with TMobile-LTE-short.up and .down.")] = None,
    gpu_profile: Annotated[
        Path | None, typer.Option(help="gpu.json of `make bench-gpu`, by which the fleet's servers run.")
    ] = None,
    arrivals: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="File of moments at which requests come, in seconds, one a line."
        ),
    ] = None,
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Put the cascade under load beside what people use today: P99 at the same accuracy.

    Simulated with the very edge, link and service, and the back end's times as measured here. Half an hour; as root,
    the section `real` runs six cells for real, too, for about an hour, and holds the simulator against them. Where
    zoos of photographs or signs are not named, their networks are trained first, each for half an hour.

    Stopped, the same command goes on with the sections that are still to be run.
    """
    check_reports(out, "serve.json", "serve.md", "serve.png")  # before torch, which takes seconds
    from edgesight.bench.photograph.asked import Photographs, Signs
    from edgesight.bench.serve.asked import Asked
    from edgesight.bench.serve.bench import SECTIONS, bench_serve
    from edgesight.quant.datasets import folder_of
    from edgesight.quant.splits import DataSetError

    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    folder = None
    with suppress(DataSetError):  # then the section says what it lacks
        folder = folder_of("fashion-mnist", data_dir, FETCHED)
    asked = Asked(
        fashion_mnist=folder,
        photographs=Photographs(f"folder:{photographs}", zoo=zoo) if photographs else None,
        signs=Signs(f"folder:{signs}", zoo=signs_zoo) if signs else None,
        traces=traces,
        gpu=gpu_profile,
        arrivals=arrivals,
    )
    end_of_bench(bench_serve(out, Console(stderr=json_), asked, chosen), out / "serve.json", json_)


@group.command("cluster")
def bench_cluster_(
    section: Annotated[
        list[str] | None, typer.Option(help="A section to run alone; may be given again. --list lists them.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the sections and end.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for cluster.json, sizing.md and what each section found.")] = Path(
        "build/bench"
    ),
    photographs: Annotated[
        Path | None, typer.Option(help="Folder or .zip of photographs in class subfolders, the larger the better.")
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Folder of capacity traces of LTE and WiFi links, .txt files of Mbit/s.")
    ] = None,
    data_dir: DataDir = None,
    json_: Json = False,
) -> None:
    """Run what the planners plan, for real: as root, between network namespaces or on nodes of a Ray cluster here.

    Devices and nodes are held to a share of a core. The section `edgent` trains a network with exits first, for some
    twenty minutes, and then takes ten, as `jellyfish` does; the others take some minutes each.
    """
    check_reports(out, "cluster.json", "sizing.md")
    from edgesight.bench.cluster.asked import Asked
    from edgesight.bench.cluster.bench import SECTIONS, bench_cluster
    from edgesight.quant.datasets import folder_of
    from edgesight.quant.splits import DataSetError

    folder = None
    with suppress(DataSetError):  # then the section says what it lacks
        folder = folder_of("fashion-mnist", data_dir, FETCHED)
    chosen = chosen_sections({name: one.title for name, one in SECTIONS.items()}, section, list_)
    end_of_bench(
        bench_cluster(out, Console(stderr=json_), Asked(photographs, folder, traces), chosen),
        out / "cluster.json",
        json_,
    )
