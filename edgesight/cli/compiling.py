"""The command that compiles networks to a kernel package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from edgesight.cli.aims import AimAsked, Asked, aim_of, solved, with_report
from edgesight.cli.ending import ArgumentError
from edgesight.cli.options import Json, budgets_of, factors_alone, factors_of, runtime_of, warn
from edgesight.cli.show import show_package
from edgesight.hls.folding import Folding, Runtime
from edgesight.hls.onto import Base
from edgesight.hls.zoo import (
    Earlier,
    calibrated_as,
    check_same_networks,
    compile_zoo,
    foldings_of,
    networks_in,
    out_of_reach,
)

_CYCLES = "1500,10000"  # of a cascade of two stages


def compile_(  # noqa: PLR0913 - a command's options are its surface
    zoo: Annotated[
        Path,
        typer.Argument(
            metavar="ZOO|NETWORK.onnx",
            help="Folder with card.json and stage0.onnx, stage1.onnx, ..., or exits.onnx; or the QONNX file of a "
            "network alone.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Kernel package to write.")],
    cycles: Annotated[
        str | None,
        typer.Option(
            help="Cycles that each layer of a stage may take for an image: one to four numbers with commas; default "
            "1500,10000, of a network alone 10000."
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(help="Fold for this board instead of by --cycles: with --fps, or as fast as fits."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Images a second on --board, with the least that it is short of.")
    ] = None,
    max_luts: Annotated[
        int | None, typer.Option("--max-luts", min=1, help="Look-up tables of --board that the kernel may take.")
    ] = None,
    exit_rates: Annotated[
        str | None,
        typer.Option(
            "--exit-rates",
            help="With --board: the share of the images that reaches each stage, such as 1,0.3. A burst of images that "
            "all go on is answered at the last stage's own rate. Default: the shares that --calibration found, under "
            "the target that sends on the most; without one, all reach every stage.",
        ),
    ] = None,
    frame_slots: Annotated[
        int | None,
        typer.Option(
            "--frame-slots",
            help="Frames that a cascade's kernel buffers: a power of two from 4 to 256, default 8. As many images of a "
            "burst as fit may wait for a later stage while the first one goes on.",
        ),
    ] = None,
    reuse: Annotated[
        list[str] | None,
        typer.Option(help="hls4ml ReuseFactor of a layer: STAGE.LAYER=N, of a network alone LAYER=N; may be repeated."),
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="TYPE",
            help="Type of a network alone's input, which its own quantiser need not say then, in hls4ml's words: "
            "fixed<W,I>, ufixed<W,I>, int<W> or uint<W>, of at most 16 bits.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Take over the calibration of this package, of the same networks.")
    ] = None,
    runtime_weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="all|STAGE|STAGE.LAYER",
            help="Load the weights, biases and thresholds of these layers at run time, so that a network of the same "
            "shape runs on the same bitstream; of a network alone all or LAYER; may be repeated.",
        ),
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            metavar="PACKAGE",
            help="Put the network on the hardware of this package, which was compiled with --runtime-weights: same "
            "shape, same bitstreams, no FPGA tool.",
        ),
    ] = None,
    csim: Annotated[bool, typer.Option("--csim/--no-csim", help="Build hls4ml's C++ library as well.")] = True,
    json_: Json = False,
) -> None:
    """Compile one to four QONNX networks to a kernel package: RTL, csim, known answers. Needs no vendor tool.

    A zoo folder becomes a cascade. A file becomes a kernel of that network alone, whose records carry its logits; it
    needs no card and no classes.
    """
    from edgesight.hls.checks import SLOTS
    from edgesight.hls.zoo import check_files, read_card, stages_in, warnings
    from edgesight.host.package import PACKAGE

    # What is wrong is said before hls4ml is loaded, let alone the work begun.
    alone = zoo.suffix == ".onnx"
    if onto is not None and (cycles or board or reuse or runtime_weights or frame_slots is not None):
        raise ArgumentError(
            f"--onto {onto}: it says how the hardware is built: leave out --cycles, --board, --reuse, "
            "--runtime-weights, --frame-slots"
        )
    if frame_slots is not None and frame_slots not in SLOTS:
        raise ArgumentError(f"--frame-slots {frame_slots}: give a power of two from {SLOTS[0]} to {SLOTS[-1]}")
    if alone and frame_slots is not None:
        raise ArgumentError(f"--frame-slots {frame_slots}: {zoo} is a network alone, with no later stage; leave it out")
    if board is not None and runtime_weights:
        raise ArgumentError(
            f"--board {board}: weights that are loaded at run time have no cost model yet: leave out "
            "--runtime-weights, or use --cycles"
        )
    aim = aim_of(Asked(board, fps, max_luts, exit_rates, frame_slots), cycles)
    budgets = budgets_of(cycles or ("10000" if alone else _CYCLES))
    PACKAGE.check_folder(out)
    base = None if onto is None else Base.of(onto, alone)
    if alone:
        if len(budgets) != 1 or calibration is not None:
            raise ArgumentError(f"{zoo} is a network alone; give one number of --cycles, and no --calibration")
        runtime = runtime_of(runtime_weights or [], None)["stage0"]
        told = _Alone(budgets[0], aim, factors_alone(reuse or []), runtime, input_, csim)
        _compile_alone(zoo, out, told, base, json_)
        return
    if input_ is not None:
        raise ArgumentError(f"--input: {zoo} is a zoo folder, whose networks take bytes of pictures; leave it out")
    card = read_card(zoo)
    stages = stages_in(zoo, card)
    before = Earlier.of(calibration) if calibration is not None else None  # `out` may be that very package
    if before is not None:
        check_same_networks(zoo, before.kernel)
    if base is not None:
        budgets = [1] * len(base.foldings)
    elif aim is not None:
        aim = aim.of_stages(zoo, stages, None if before is None else before.kernel.calibration)
        budgets = [1] * len(aim.exit_rates)
    elif cycles is None and stages not in (0, len(budgets)):
        raise ArgumentError(f"{zoo} holds {stages} stages: give --cycles, a number for each, such as {_CYCLES}")
    factors = factors_of(reuse or [], len(budgets))
    check_files(zoo, card, len(budgets))
    if stages > len(budgets):
        given = "--cycles" if aim is None else "--exit-rates"
        warn([f"{zoo}: stage{stages - 1} is left out of the cascade, since {given} has {len(budgets)} numbers"])
    warn(warnings(zoo, card))
    from edgesight.hls.csim import build_library

    if base is None:
        made = None
        if aim is not None:
            made = solved(networks_in(zoo, len(budgets)), aim, list(factors.values()), told=not json_)
        loaded = runtime_of(runtime_weights or [], len(budgets))
        foldings = foldings_of(budgets, factors, loaded) if made is None else list(made.solved.foldings)
        package = with_report(compile_zoo(zoo, out, foldings, frame_slots), made)
        warn(out_of_reach(package, foldings))
    else:
        slots = base.package.kernel.frame_slots
        package = base.put(out, partial(compile_zoo, zoo, foldings=base.foldings, slots=slots))
    if before is not None:
        package = calibrated_as(package, before)
    if csim:
        build_library(package)
    show_package(package, json_)


@dataclasses.dataclass(frozen=True)
class _Alone:
    """What `compile` was told of a network alone."""

    cycles: int
    aim: AimAsked | None
    reuse: Mapping[str, int]
    runtime: Runtime | None
    input: str | None
    csim: bool


def _compile_alone(path: Path, out: Path, told: _Alone, base: Base | None, json_: bool) -> None:
    """Compile the network in the QONNX file `path` by itself, with its logits in the record."""
    from edgesight.hls.compile import Network, compile_alone, entry_of_type
    from edgesight.hls.csim import build_library

    entry = None if told.input is None else entry_of_type(told.input)
    folding = Folding(told.cycles, told.reuse, told.runtime) if base is None else base.foldings[0]
    made = None
    if told.aim is not None:
        made = solved([path], told.aim.of_stages(path, 1), [told.reuse], entry, told=not json_)
        folding = made.solved.foldings[0]
    name, network = out.resolve().name, Network("stage0", path, folding, entry)
    if base is None:
        package = with_report(compile_alone(name, network, out), made)
        warn(out_of_reach(package, [folding]))
    else:
        package = base.put(out, partial(compile_alone, name, network))
    not_stated = package.kernel.stages[0].not_stated
    if not_stated is not None:
        warn([f"the package has no csim: {not_stated}"])
    elif told.csim:
        build_library(package)
    show_package(package, json_)
