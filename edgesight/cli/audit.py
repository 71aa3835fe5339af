"""Commands of who watches an edge: what its audits tell, and labels for them."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from edgesight.cli import ending
from edgesight.cli.options import Json

if TYPE_CHECKING:
    from edgesight.host.audits import Audit

group = typer.Typer(no_args_is_help=True, help="Whether an edge's accuracy targets still hold, by its audits.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the audits, as `edgesight edge --audits` has it.")]


@group.command("status")
def status(folder: Folder, json_: Json = False) -> None:
    """Tell what was seen of each target, and its alarms. The exit status is 1 where there is one.

    Agreement with the back end is watched without anybody's help. It tells nothing of the truth where both are wrong
    together: for that, label audits.
    """
    from edgesight.bench.report import PlainTable
    from edgesight.host.audits import followed_in

    found = followed_in(_there(folder))
    alarms = [one.alarm for targets in found.values() for one in targets.values() if one.alarm is not None]
    if json_:
        ending.print_json(
            {what: {f"{t:g}": one.model_dump() for t, one in rows.items()} for what, rows in found.items()}
        )
    else:
        console = Console()
        table = PlainTable("", ("target", "watched", "audits", "share", "bound", "alarm"), words=("watched", "alarm"))
        for what, targets in found.items():
            for accuracy, one in sorted(targets.items()):
                watch = one.watch
                share = f"{watch.successes / watch.count:.2%}" if watch.count else "-"
                told = "yes" if one.alarm is not None else "no"
                table.add_row(f"{accuracy:g}", what, f"{watch.count:,}", share, f"{watch.bound:.2%}", told)
        console.print(table)
        for alarm in alarms:
            console.print(alarm.told(), style="red", markup=False, highlight=False, soft_wrap=True)
    if alarms:
        raise typer.Exit(1)


@group.command("list")
def list_(
    folder: Folder,
    most: Annotated[int, typer.Option(min=1, help="So many, the oldest first.")] = 20,
    json_: Json = False,
) -> None:
    """List audits that nobody labelled yet. Label them in this order: a choice of your own biases the test."""
    from edgesight.bench.report import PlainTable
    from edgesight.host.audits import audits_in, picture_of

    found = list(islice(audits_in(_there(folder)), most))
    if json_:
        ending.print_json([_told(audit) | {"picture": str(picture_of(folder, audit.id))} for audit in found])
        return
    table = PlainTable("", ("id", "at", "target", "answered", "by"), words=("id", "at", "answered", "by"))
    for audit in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(audit.at))
        target = f"{audit.accuracy_target:g}"
        table.add_row(audit.id, at, target, audit.classes[audit.label], audit.stage)
    console = Console()
    console.print(table)
    console.print(f"pictures: {picture_of(folder, 'ID')}", markup=False, highlight=False, soft_wrap=True)


@group.command("label")
def label(
    folder: Folder,
    audit: Annotated[str, typer.Argument(metavar="ID", help="Of the audit: its picture's name without .png.")],
    class_name: Annotated[str, typer.Argument(metavar="CLASS", help="What the picture shows.")],
    package: Annotated[Path, typer.Option(help="The kernel package that the edge runs.")],
    json_: Json = False,
) -> None:
    """Say what an audit's picture shows; the exit status is 1 where a target is found not to hold any more.

    The picture goes to FOLDER/labelled/CLASS; `edgesight calibrate PACKAGE folder:FOLDER/labelled` calibrates on those.
    """
    from edgesight.host import audits
    from edgesight.host.package import Package
    from edgesight.host.watches import AuditError

    calibration = Package.load(package).kernel.calibration
    if calibration is None:
        raise AuditError(f"{package}: is not calibrated: name the package that the edge runs")
    alarm = audits.label(_there(folder), audit, class_name, calibration)
    if json_:
        ending.print_json({"id": audit, "class_name": class_name, "alarm": alarm and alarm.model_dump()})
    elif alarm is not None:
        Console(stderr=True).print(alarm.told(), style="red", markup=False, highlight=False, soft_wrap=True)
    if alarm is not None:
        raise typer.Exit(1)


def _there(folder: Path) -> Path:
    from edgesight.host.watches import AuditError

    if not (folder / "unlabelled").is_dir():
        raise AuditError(f"{folder}: holds no audits: name the folder that `edgesight edge --audits` was given")
    return folder


def _told(audit: Audit) -> dict[str, object]:
    return audit.model_dump(exclude={"classes", "calibration"}) | {"class_name": audit.classes[audit.label]}
