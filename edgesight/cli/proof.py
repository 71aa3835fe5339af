"""Commands of who shows that it works: the verification and the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edgesight.cli import ending
from edgesight.cli.data import FETCHED, data_set
from edgesight.cli.options import (
    DATASET_HELP,
    DataDir,
    DataSetName,
    Grouping,
    Groups,
    Json,
    PackagePath,
    Size,
    SkipDamaged,
    check_reports,
    reading,
)
from edgesight.cli.show import end_of_bench, load
from edgesight.hls.zoo import SHIPPED, shipped_folder

if TYPE_CHECKING:
    from edgesight.host.package import Package
    from edgesight.quant.splits import Split


def verify(  # noqa: PLR0913 - a command's options are its surface
    package: PackagePath,
    dataset: DataSetName,
    zoo: Annotated[
        Path | None,
        typer.Option(help="Zoo folder with the stages' trained networks; without it their QONNX files alone."),
    ] = None,
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

    check_reports(out, "report.json", "logits.npz", "records.npz")

    opened = load(package)
    with ending.nothing_to_clean_up():
        from edgesight.bench.verify import references_of, verify
        from edgesight.hls.csim import build_library as build_csim
        from edgesight.sim.verilate import build_library as build_verilated

        references = references_of(opened, zoo)
    data = data_set(dataset, data_dir, size, opened, reading(groups, skip_damaged))
    pool = np.concatenate([data.test.images, data.calibration.images])[:images]
    build_csim(opened)
    build_verilated(opened)
    met = verify(opened, pool, references, out, Console(stderr=json_))
    end_of_bench(met, out / "report.json", json_)


def demo(  # noqa: PLR0913 - a command's options are its surface
    images: Annotated[int, typer.Option(min=1, help="Test images to answer; with --serve, in turn.")] = 4000,
    all_: Annotated[bool, typer.Option("--all", help="The whole test split.")] = False,
    package: Annotated[
        Path | None, typer.Option(help="Kernel package; default the shipped one of the data set.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASET_HELP + " Default: fashion-mnist, else digits.")] = None,
    loss: Annotated[float, typer.Option(min=0.0, max=0.99, help="Packet loss of the emulated link, each way.")] = 0.05,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for report.json and report.png; with --serve, for a log and audits. Default build/demo, and "
            "build/demo-live."
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Go on until Ctrl-C, and show it on a page; no report is written.")
    ] = False,
    http: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where --serve has its page, on this machine; default a free port."),
    ] = None,
    data_dir: DataDir = None,
    size: Size = None,
    groups: Groups = Grouping.name,
    skip_damaged: SkipDamaged = False,
    json_: Json = False,
) -> None:
    """Answer real images by the whole cascade, on cycle-accurate RTL and over a lossy link, for several targets."""
    from edgesight.bench.demo import demo_data, run_demo
    from edgesight.host.images import photograph_shape
    from edgesight.host.link.addresses import AddressError

    out = out or Path("build/demo-live" if serve else "build/demo")
    if not serve:
        check_reports(out, "report.json", "report.md", "report.png")
        if http is not None:
            raise AddressError("--http without --serve: give both, as only a demo that goes on has a page")

    console = Console(stderr=json_)
    own = load(package) if package is not None else None
    side = size or (own.kernel.input.height if own is not None else None)
    larger = photograph_shape(own.kernel.input, own.kernel.backend_input) if own is not None else None
    data, note = demo_data(dataset, data_dir, side, reading(groups, skip_damaged), FETCHED, larger)
    console.print(note)
    opened = own or load(shipped_folder() / data.name)
    opened.check_trained_on(data.name, data.checksum)
    if serve:
        _serve_demo(opened, data.test, None if all_ else images, out, loss, http or "127.0.0.1:0", json_)
        return
    shipped = opened.path.resolve().parent == SHIPPED
    met = run_demo(opened, data.test, None if all_ else images, loss, out, note, console, shipped=shipped)
    console.print(f"To see it live: {sys.argv[0]} demo --serve, then open the address that it tells.", highlight=False)
    end_of_bench(met, out / "report.json", json_)


def _serve_demo(
    package: Package, test: Split, count: int | None, out: Path, loss: float, http: str, json_: bool
) -> None:
    import numpy as np

    from edgesight.bench.demo_live import Live, serve_demo
    from edgesight.host.link.addresses import host_and_port
    from edgesight.host.process import write_log
    from edgesight.sim.verilate import build_library

    def announce(live: Live) -> None:
        if json_:
            ending.print_json({"edge": live.edge, "datacenter": live.datacenter})
        else:
            print(
                f"The edge is shown at {live.edge}\nThe data centre at   {live.datacenter}\nCtrl-C ends both.",
                flush=True,
            )

    at = host_and_port(http, "--http", least=0)
    build_library(package)
    write_log()
    serve_demo(package, test.take(np.arange(len(test))[:count]), out, loss, at, announce)
