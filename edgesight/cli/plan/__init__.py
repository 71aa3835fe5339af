"""Commands that plan: each reads profiles and needs, and writes a plan as JSON and as a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from edgesight.host.files import Claim

OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="File for all of it, as JSON.")]
PictureFile = Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="File for it as a PNG picture.")]

group = typer.Typer(no_args_is_help=True, help="Plans from measured profiles and stated needs; nothing is run.")

# Every planner's one limit: reading and planning together.
Seconds = Annotated[
    float,
    typer.Option(
        "--seconds", min=0.1, help="Most that this may take; then the best plan so far is given, and says so."
    ),
]


def shows_example(name: str, option: str = "--example") -> Any:
    """An option that prints the example of that name (`edgesight.plan.examples`) and ends."""
    return _shows("example", name, option, f"Print an example of {_INPUTS[name]}, its numbers made up, and end.")


def shows_schema(name: str, option: str = "--schema") -> Any:
    """An option that prints the JSON Schema of the file of that name and ends."""
    return _shows("schema", name, option, f"Print the JSON Schema of {_INPUTS[name]}, and end.")


def _shows(what: str, name: str, option: str, said: str) -> Any:
    def show(asked: bool) -> None:
        if asked:
            from edgesight.plan import examples

            print(getattr(examples, what)(name), end="")
            raise typer.Exit

    return typer.Option(option, callback=show, is_eager=True, help=said)


# The files as their commands call them.
_INPUTS: Final = {
    "adapt": "FILE",
    "measured-datacenter": "DATACENTER",
    "measured-device": "DEVICE",
    "place-cluster": "CLUSTER",
    "place-model": "MODEL as JSON",
    "split": "PROFILE",
    "trace": "a trace",
    "workflow": "WORKFLOW",
}


def check_outputs(out: Path | None, claim: Claim, picture: Path | None) -> None:
    """OutputError, before any work, where a command's files must not or cannot be written."""
    from edgesight.host.files import PICTURE

    if out is not None:
        claim.check_file(out)
    if picture is not None:
        PICTURE.check_file(picture)


def left(seconds: float, begun: float) -> float:
    """What is left of `seconds` since the moment `begun` (of `time.monotonic`), and no less than a twentieth."""
    return max(seconds / 20, seconds - (time.monotonic() - begun))


def print_rows(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in the project's style; the first column holds words."""
    from edgesight.bench.report import PlainTable

    table = PlainTable(title, columns, words=(columns[0], "exit", "cut", "else"))
    for row in rows:
        table.add_row(*row)
    console.print(table)
