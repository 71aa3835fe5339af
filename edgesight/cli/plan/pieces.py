"""The command that cuts a network into what a split's device and data centre run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesight.cli.options import Json
from edgesight.cli.plan import group, shows_example, shows_schema
from edgesight.cli.plan.profile import shape_of


@group.command()
def pieces(  # noqa: PLR0913 - a command's options are its surface
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="ONNX or Brevitas' QONNX file.")],
    profile: Annotated[Path, typer.Argument(metavar="PROFILE", help="Of that network, as for `edgesight plan split`.")],
    deadline_ms: Annotated[float, typer.Option("--deadline-ms", help="Milliseconds from request to answer.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write, for `edgesight split`.")],
    round_trip_ms: Annotated[float, typer.Option("--round-trip-ms", min=0.0, help="Of the link.")] = 0.0,
    accuracy: Annotated[float | None, typer.Option(help="Least accuracy that will do, 0 to 1.")] = None,
    fall_back: Annotated[
        bool,
        typer.Option(
            "--fall-back", help="The device goes on computing while it waits, and answers where the link fails."
        ),
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN", help="Also for the exit and cut that `plan split --out` chose, for `split --plan`."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=1x3x64x64", help="Shape of an input whose sizes are left open, else 1; repeatable."),
    ] = None,
    json_: Json = False,
    example: Annotated[bool, shows_example("split")] = False,
    schema: Annotated[bool, shows_schema("split")] = False,
) -> None:
    """Cut a network for a link that moves: what `plan split --series` may choose, ready to run.

    The folder's `repository` is served by `edgesight datacenter serve --repository`, or by a Triton server; the rest is
    for `edgesight split` on the device. Pieces run as they are, without further optimisation: together they equal the
    network that was optimised in one piece, bit for bit.
    """
    from edgesight.cli.ending import print_json
    from edgesight.host.files import place_folder
    from edgesight.host.split.pieces import MANIFEST, PIECES, REPOSITORY, Manifest
    from edgesight.plan.profile import Slo, checked, read
    from edgesight.plan.split.pieces import pieces as cut
    from edgesight.plan.split.plan import SplitPlan, SplitProfile
    from edgesight.plan.split.planner import choice_of

    PIECES.check_folder(out)
    needs = checked({"latency_ms": deadline_ms, "accuracy": accuracy}, Slo, "--deadline-ms, --accuracy")
    shapes = dict(shape_of(text) for text in shape or [])
    besides = [] if plan is None else [choice_of(read(plan, SplitPlan))]
    measured = read(profile, SplitProfile)
    files = cut(network, measured, needs, round_trip_ms, fall_back=fall_back, shapes=shapes, besides=besides)
    place_folder(out, files, PIECES)
    manifest = Manifest.model_validate_json(files[MANIFEST])
    if json_:
        print_json(manifest)
        return
    for split in manifest.splits:
        where = f"tail {split.tail}" if split.tail is not None else "all on the device"
        rest = f", else exit {split.rest.exit}" if split.rest is not None else ""
        print(f"exit {split.exit}, cut behind {split.cut} of {split.layers} layers: {where}{rest}")
    print(f"the data centre: edgesight datacenter serve --repository {out / REPOSITORY} --grpc HOST:PORT")
    print(f"this device: edgesight split {out} --datacenter HOST:PORT --input NAME=FILE.npy")
