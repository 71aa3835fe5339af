"""Commands for links: emulate one, between network namespaces or as a relay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgesight.sim.link.options import LinkOptions

SPEC_HELP = (
    "Comma separated: rate=MBIT, rate=mahimahi:FILE or rate=mbit:FILE, delay-ms=, jitter-ms=, loss=SHARE, "
    "burst=PACKETS, reorder=SHARE, reorder-ms=, queue=PACKETS or queue=1bdp."
)

Up = Annotated[str, typer.Option(metavar="SPEC", help="From the edge to the data centre. " + SPEC_HELP)]
Down = Annotated[str | None, typer.Option(metavar="SPEC", help="The way back; default: as --up.")]
Seed = Annotated[int, typer.Option(help="Seed of what is left to chance.")]
Report = Annotated[Path | None, typer.Option(help="File for what the link did, as JSON; default: it is printed.")]

group = typer.Typer(no_args_is_help=True, help="Emulated links, to measure on.")


@group.command()
def emulate(
    up: Up,
    down: Down = None,
    seed: Seed = 0,
    tcp: Annotated[str | None, typer.Option(help="TCP's congestion control on the link, such as cubic or bbr.")] = None,
    edge: Annotated[str | None, typer.Option(metavar="COMMAND", help="To run at the edge's end.")] = None,
    datacenter: Annotated[str | None, typer.Option(metavar="COMMAND", help="To run at the data centre's end.")] = None,
    report: Report = None,
) -> None:
    """Join two network namespaces by a link, packet by packet; TCP, UDP and QUIC cross it. Needs root."""
    from edgesight.sim.link.namespaces import emulate as run

    back = None if down is None else _options(down)
    _check_report(report)
    raise typer.Exit(run(_options(up), back, seed=seed, tcp=tcp, edge=edge, datacenter=datacenter, report=report))


@group.command()
def relay(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where datagrams are passed on to.")],
    up: Up,
    down: Down = None,
    seed: Seed = 0,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients send to; port 0 chooses one.")] = (
        "127.0.0.1:0"
    ),
    report: Report = None,
) -> None:
    """Pass UDP datagrams on over an emulated link. Needs no root."""
    from edgesight.host.link.addresses import host_and_port
    from edgesight.sim.link.relay import relay as run

    back = None if down is None else _options(down)
    _check_report(report)
    at = host_and_port(listen, "--listen", least=0)  # 0: a port of the system's choice
    run(host_and_port(target), _options(up), back, seed=seed, listen=at, report=report)


def _check_report(report: Path | None) -> None:
    """Find out before the link is up, not when there is something to write."""
    from edgesight.host.files import json_claim
    from edgesight.sim.link.options import EmulationError

    if report is not None and not report.absolute().parent.is_dir():
        raise EmulationError(f"--report {report}: its folder does not exist: make it, or name another")
    if report is not None:
        json_claim("link's report", "up", "down").check_file(report)


def _options(text: str) -> LinkOptions:
    from edgesight.sim.link.options import LinkOptions

    return LinkOptions.parse(text)
