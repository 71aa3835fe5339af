"""Bitstreams by Vivado, for boards with a Zynq: all that can be made and checked without it, then the run itself.

A prepared folder holds everything that a Vivado run reads (hw/boards/zynq says what it does with it), so that it may be
copied to where Vivado is. Words owned here: prepared folder, dry run, seeded mistake.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgesight.hls import ipxact, kria, registers, vitis, yosys
from edgesight.hls.boards import FOLDER, STAND_INS, Board, BoardError
from edgesight.hls.vivado_reports import reason, timing_of_report, used_of_report
from edgesight.host.board_build import BoardBuild, Used
from edgesight.host.files import write_atomically
from edgesight.host.package import Package

Backend = Literal["rtl", "vitis"]
Mistake = Literal["cell", "connection", "address"]
MISTAKES: tuple[Mistake, ...] = get_args(Mistake)

SHARED = FOLDER / "zynq"  # what all boards with a Zynq have in common
WRAPPER = "edgesight_axi"
COMPONENT = "ip/kernel"
SCRIPT = "build.tcl"
RESULT = "result"
_MADE_BY = "prepared.json"  # tells a prepared folder from any other
_UTILISATION = "utilisation.json"
# Versions that the dry run is made for: those that public designs of PYNQ and FINN were built with, and what lies
# between. Nobody has built this project's bitstreams with any of them yet; others are taken, and warned of.
_KNOWN_VERSIONS = ("2022.1", "2022.2", "2023.1", "2023.2", "2024.1", "2024.2", "2025.1", "2025.2")
_DRY_RUN_SECONDS = 60
_MET_AT_LAST = (-0.1, -0.1, -0.1, 0.5)  # ns of setup slack, by which a dry run goes through all that is tried in vain
_VIVADO_SECONDS = 6 * 3600
# Where Vivado's installer puts it by default, for the message that says where it was looked for.
_USUAL_PLACES = ("/opt/Xilinx", "/tools/Xilinx", "/opt/AMD", "C:/Xilinx")
_NO_TCLSH = "tclsh is not installed (Debian: apt-get install tcl)"
_KERNEL_PORT = re.compile(r"^\s*(input|output)\s+logic\s+(?:\[(\d+):0\]\s+)?(\w+),?$", re.MULTILINE)
_CONNECTION = re.compile(r"^\s*\.(\w+)\((\w*)\),?$", re.MULTILINE)
# Cells of Yosys by what they take: look-up tables, flip-flops, halves of a 36 Kb block RAM, DSPs.
_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "SRL16E": 1,
    "SRLC32E": 1,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM32M": 4,
    "RAM64M": 4,
}
_FLIP_FLOPS = {"FDRE": 1, "FDSE": 1, "FDCE": 1, "FDPE": 1}
_HALF_BLOCKS = {"RAMB18E1": 1, "RAMB36E1": 2}
_MULTIPLIERS = {"DSP48E1": 1}
# The contents of a memory, read by name or handed to hw/rtl/weight_memory.sv.
_MEMORY_FILE = re.compile(r'(?:\$readmem[bh]\s*\(\s*|\.File\()"([^"]+)"')
_ADDRESS = re.compile(r"^set (\w+)_address (0x[0-9A-Fa-f]+)$", re.MULTILINE)


class VivadoMissing(BoardError):
    """Everything was prepared and checked, and Vivado is not here to go on."""


@dataclass(frozen=True)
class Prepared:
    """A folder from which Vivado can make the bitstream."""

    folder: Path
    package: Package
    board: Board
    backend: Backend


def prepare(package: Package, board: Board, out: Path, backend: Backend = "rtl") -> Prepared:
    """Write all that Vivado needs for `package` on `board` into folder `out`, replacing what an earlier call left.

    With `backend` "vitis" the stages are hls4ml's own C++, which Vitis HLS has to synthesise first; until it has, the
    component lists everything but what comes from there. Raises BoardError if the board is not one of Vivado's, or if
    `out` holds something else.
    """
    if board.flow != "vivado":
        raise BoardError(f"board {board.name} is not built by Vivado (its flow is {board.flow}); name one that is")
    for field in ("processing_system", "preset", "memory_mib"):
        if getattr(board, field) is None:
            raise BoardError(
                f"{board.folder / 'board.toml'}: field {field} is missing; Vivado's flow needs it: write it"
            )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _MADE_BY).exists())):
        raise BoardError(f"{out}: holds something that no build left there; name another folder or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _write_prepared(Prepared(building, package, board, backend))
        building.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        building.rename(out)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return Prepared(out, package, board, backend)


def dry_run(prepared: Prepared, *, setup_slack_ns: float | Sequence[float] = _MET_AT_LAST) -> list[str]:
    """What is wrong with a prepared folder, one line a fault; empty if nothing is.

    The component is checked against the IP-XACT schema, its wrapper against the kernel's ports, and the scripts are run
    by tclsh on a copy, for every known version of Vivado, with sim/vivado/recorder.tcl in the tools' place. A setup
    slack below 0 has to end the script; of several, the first is found after routing, the next after optimising that,
    and so on, the last for ever. Raises BoardError if tclsh is not installed.
    """
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        raise BoardError(f"the dry run needs tclsh: {_NO_TCLSH}")
    with tempfile.TemporaryDirectory() as scratch:
        trial = Prepared(Path(scratch) / "trial", prepared.package, prepared.board, prepared.backend)
        shutil.copytree(prepared.folder, trial.folder, ignore=shutil.ignore_patterns(RESULT))
        problems: list[str] = []
        if trial.backend == "vitis":
            problems += vitis.dry_run(trial.board, trial.folder, trial.folder / COMPONENT / "src", tclsh)
            if problems:
                return problems
            _write_component(trial)
        problems += _check_component(trial)
        catalogue = Path(scratch) / "catalogue.tcl"
        catalogue.write_text(_catalogue(trial))
        slacks = [setup_slack_ns] if isinstance(setup_slack_ns, int | float) else setup_slack_ns
        for version in known_versions():
            said = _run_recorder(tclsh, trial, version, catalogue, slacks)
            problems += [f"Vivado {version}: {line}" for line in said if line not in problems]
            if problems:
                break  # the next versions would say the same
    return problems


def estimate(prepared: Prepared) -> dict[str, Used]:
    """What the kernel would take of the board's part by Yosys' count, without DSPs; also left in the folder.

    An estimate: Vivado packs and optimises otherwise, and the DMA and the interconnect come on top. Takes minutes.
    Raises BoardError if the kernel comes from Vitis HLS, which Yosys does not see.
    """
    if prepared.backend != "rtl":
        raise BoardError(
            "Yosys counts our own RTL only; of hls4ml's C++ Vitis HLS reports what it takes; see its report"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = sorted((prepared.folder / COMPONENT / "src").glob("*.sv"))
        # Yosys does not see every folder, and looks for memories' contents where it runs.
        for path in [*sources, *(prepared.folder / COMPONENT / "src").glob("*.mem")]:
            shutil.copyfile(path, folder / path.name)
        script = (
            yosys.read_sources_command([path.name for path in sources], "kernel")
            # Products of few bits are cheaper in look-up tables; Yosys would take a DSP for each. UltraScale+ is
            # counted in cells of the 7 series, whose look-up tables, registers and block RAMs are as large: Yosys 0.70
            # stops at some memories of UltraScale+ (its lutrams_xcu.txt offers what its lutrams_xc5v_map.v refuses).
            + "synth_xilinx -family xc7 -nodsp -top kernel\n"
            + yosys.count_cells_command("cells.json")
        )
        yosys.run_yosys(script, folder)
        cells = yosys.cell_counts(folder / "cells.json")
    used = _used(cells, prepared.board.capacity)
    text = json.dumps({name: row.model_dump() for name, row in used.items()}, indent=1)
    write_atomically(prepared.folder / _UTILISATION, (text + "\n").encode())
    return used


def build(package: Package, board: Board, out: Path, backend: Backend = "rtl") -> Package:
    """Make the bitstream of `package` for `board` in folder `out` and put it into the package; returns the package.

    Prepares, checks by a dry run and then needs Vivado on the PATH. Without it the estimate of Yosys is made too, and
    VivadoMissing says what is there and what is missing. Without tclsh the dry run is left out. Raises BoardError if
    anything is wrong with what was prepared, if Vivado fails, or if timing is missed; then the package stays as it was.
    """
    prepared = prepare(package, board, out, backend)
    checked = shutil.which("tclsh") is not None  # if not, Vivado is the first to read the script
    problems = dry_run(prepared) if checked else []
    if problems:
        raise BoardError(f"the dry run of {prepared.folder} found what to mend; see:\n" + "\n".join(problems))
    vivado = shutil.which("vivado")
    if vivado is None:
        raise VivadoMissing(_missing(prepared, checked))
    tools = {}
    if backend == "vitis":
        tools = vitis.synthesise(prepared.folder, prepared.folder / COMPONENT / "src")
        _write_component(prepared)
    _run_vivado(vivado, prepared)
    made, files = _collect(prepared, tools)
    return package.add_board(made, files)


def dry_run_report(package: Package, boards: Sequence[Board]) -> dict[str, dict[str, object]]:
    """Of each board: whether its dry run passes (`passes`), and how many of the seeded mistakes it catches (`caught`).

    `of` is the count of mistakes; `problems` what was said of the folder without one.
    """
    report: dict[str, dict[str, object]] = {}
    for board in boards:
        with tempfile.TemporaryDirectory() as scratch:
            problems = dry_run(prepare(package, board, Path(scratch) / "sound"))
            caught = 0
            for mistake in MISTAKES:
                prepared = prepare(package, board, Path(scratch) / mistake)
                seed_mistake(prepared, mistake)
                caught += any(problem not in problems for problem in dry_run(prepared))
        report[board.name] = {"passes": not problems, "caught": caught, "of": len(MISTAKES), "problems": problems}
    return report


def seed_mistake(prepared: Prepared, mistake: Mistake) -> None:
    """Put a mistake into a prepared folder that its dry run has to find.

    A misspelt cell, a connection left out, or a kernel that is given more addresses than it has bits.
    """
    old, new = {
        "cell": ("[list $ps_block axi_dma ", "[list $ps_block axi_dna "),
        "connection": ("connect_buses dma/M_AXIS_MM2S kernel/S_AXIS\n", ""),
        "address": ("$kernel_address -range 0x1000 ", "$kernel_address -range 0x10000 "),
    }[mistake]
    path = prepared.folder / SCRIPT
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has changed: {old!r}"
    path.write_text(text.replace(old, new))


def known_versions() -> list[str]:
    """The versions of Vivado that the dry run is made for; a build takes others, too, and warns."""
    return list(_KNOWN_VERSIONS)


def port_faults(wrapper: str, kernel: str) -> list[str]:
    """Where the Verilog wrapper does not fit the ports of module `kernel`; taps may stay open."""
    outside = {port.name: port for bus in ipxact.read_wrapper(wrapper) for port in bus.ports}
    header = kernel[: kernel.index(");")]
    inside = {name: (direction, int(high or 0) + 1) for direction, high, name in _KERNEL_PORT.findall(header)}
    connections = dict(_CONNECTION.findall(wrapper))
    faults = [f"{WRAPPER}.v connects {name}, which the kernel has not" for name in connections if name not in inside]
    for name, (direction, width) in inside.items():
        to = connections.get(name)
        if to is None:
            faults.append(f"{WRAPPER}.v does not connect the kernel's port {name}")
        elif not to:
            if not name.startswith("tap"):
                faults.append(f"{WRAPPER}.v leaves the kernel's port {name} open")
        elif to not in outside:
            faults.append(f"{WRAPPER}.v connects the kernel's port {name} to {to}, which is no port of an interface")
        elif (outside[to].direction, outside[to].width) != (direction, width):
            port = outside[to]
            faults.append(
                f"{WRAPPER}.v: {to} is an {port.direction} of {port.width} bits, the kernel's {name} an {direction} "
                f"of {width}"
            )
    faults += [f"{WRAPPER}.v: port {name} leads nowhere" for name in outside if name not in connections.values()]
    return faults


def _write_prepared(prepared: Prepared) -> None:
    """Fill an empty folder."""
    package, board, folder = prepared.package, prepared.board, prepared.folder
    sources = folder / COMPONENT / "src"
    sources.mkdir(parents=True)
    for name, content in package.sources().items():
        (sources / name).write_bytes(content)
    if prepared.backend == "vitis":
        vitis.write_sources(package, folder, sources)
    (sources / f"{WRAPPER}.v").write_bytes((SHARED / f"{WRAPPER}.v").read_bytes())
    (folder / SCRIPT).write_bytes((SHARED / SCRIPT).read_bytes())
    (folder / "processing_system.tcl").write_bytes((SHARED / f"{board.processing_system}.tcl").read_bytes())
    (folder / "settings.tcl").write_text(_settings(prepared))
    _write_component(prepared)
    made_by = {"kernel": package.kernel.name, "build_hash": package.kernel.build_hash, "board": board.name}
    (folder / _MADE_BY).write_text(json.dumps({**made_by, "backend": prepared.backend}, indent=1) + "\n")


def _write_component(prepared: Prepared) -> None:
    """Describe what now lies in the component's folder."""
    component = prepared.folder / COMPONENT
    interfaces = ipxact.read_wrapper((component / "src" / f"{WRAPPER}.v").read_text())
    files = [path.relative_to(component).as_posix() for path in sorted((component / "src").iterdir())]
    table = registers.own_map()
    write_atomically(component / "component.xml", ipxact.component(WRAPPER, interfaces, files, table))


def _settings(prepared: Prepared) -> str:
    board = prepared.board
    assert board.memory_mib is not None  # `prepare` lets no other board through
    rows = {
        "kernel_name": prepared.package.kernel.name,
        "part": board.part,
        "preset": board.preset,
        "clock_mhz": f"{board.clock_mhz:g}",
        "memory_bytes": hex(board.memory_mib << 20),
        "kernel_vlnv": ipxact.VLNV,
        "known_versions": " ".join(_KNOWN_VERSIONS),
    }
    lines = "".join(f"set {name} {{{value}}}\n" for name, value in rows.items())
    return f"# Generated. Kernel {prepared.package.kernel.name} on {board.title}; see {SCRIPT}.\n{lines}"


def _check_component(prepared: Prepared) -> list[str]:
    component = prepared.folder / COMPONENT
    xml = (component / "component.xml").read_bytes()
    faults = ipxact.schema_faults(xml)
    if faults:
        return faults
    listed = ipxact.listed_files(xml)
    faults += [
        f"component.xml lists {name}, which does not exist" for name in listed if not (component / name).exists()
    ]
    there = {path.relative_to(component).as_posix() for path in (component / "src").iterdir()}
    faults += [f"component.xml does not list {name}" for name in sorted(there - set(listed))]
    sources = component / "src"
    for path in sorted([*sources.glob("*.sv"), *sources.glob("*.v")]):
        # Vivado runs where it likes: a memory's contents have to be in the source or in the component.
        for name in _MEMORY_FILE.findall(path.read_text()):
            if not (path.parent / name).exists():
                faults.append(f"{path.name} reads {name}, which the component does not bring along")
    return faults + port_faults((sources / f"{WRAPPER}.v").read_text(), (sources / "kernel.sv").read_text())


def _catalogue(prepared: Prepared) -> str:
    """What the recorder is told apart from the scripts."""
    board = prepared.board
    assert board.memory_mib is not None  # `prepare` lets no other board through
    return (
        ipxact.catalogue_entry((prepared.folder / COMPONENT / "component.xml").read_bytes())
        + f"set board_part {board.part}\n"
        + f"set board_clock_mhz {board.clock_mhz:g}\n"
        + f"set board_memory_bytes {board.memory_mib << 20}\n"
    )


def _run_recorder(
    tclsh: str, prepared: Prepared, version: str, catalogue: Path, setup_slacks: Sequence[float]
) -> list[str]:
    recorder = STAND_INS / "recorder.tcl"
    command = [tclsh, str(recorder), SCRIPT, version, str(catalogue), " ".join(map(str, setup_slacks))]
    try:
        done = subprocess.run(
            command, cwd=prepared.folder, capture_output=True, text=True, timeout=_DRY_RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"the script did not end within {_DRY_RUN_SECONDS} s"]
    if done.stderr or done.returncode not in (0, 1):
        raise BoardError(
            f"{recorder} failed (status {done.returncode}), which says nothing of {SCRIPT}; see why:\n{done.stderr}"
        )
    said = done.stdout.splitlines()
    if not said:
        name = prepared.package.kernel.name
        wanted = [f"{name}.bit", f"{name}.hwh", "result.json", "utilization.rpt", "timing.rpt", "power.rpt"]
        return [f"the script did not make {file}" for file in wanted if not (prepared.folder / RESULT / file).exists()]
    return said


def _used(cells: Mapping[str, int], capacity: Mapping[str, int]) -> dict[str, Used]:
    weights = {"LUT": _LUTS, "FF": _FLIP_FLOPS, "BRAM36": _HALF_BLOCKS, "DSP": _MULTIPLIERS}
    counts = {
        name: float(sum(cells.get(cell, 0) * each for cell, each in table.items())) for name, table in weights.items()
    }
    counts["BRAM36"] /= 2
    return {name: Used(used=counts[name], available=capacity[name]) for name in weights}


def _missing(prepared: Prepared, checked: bool) -> str:
    """What there is, what there is not, and what to do; `checked`: whether there was a dry run."""
    if prepared.backend == "rtl":
        used = estimate(prepared)
        counted = ", ".join(f"{name} {row.used:g} of {row.available}" for name, row in used.items())
        shares = f"Yosys counts for the kernel alone: {counted}. "
        if any(row.used > row.available for row in used.values()):
            shares += "By this count it does not fit: fold it further, with larger reuse factors. "
    else:
        shares = "hls4ml's C++ for Vitis HLS, which comes with Vivado, too. "
    usual = [place for place in _USUAL_PLACES if Path(place).is_dir()]
    looked = f"on the PATH ({os.environ.get('PATH', '')})"
    done = "done and checked" if checked else f"done but for the dry run ({_NO_TCLSH})"
    hint = f" There is {', '.join(usual)}: source its settings64.sh first." if usual else ""
    return (
        f"Vivado is missing: no `vivado` {looked}.{hint} Everything before it is {done}, in "
        f"{prepared.folder}. {shares}Install Vivado, one of {', '.join(known_versions())}, with support for "
        f"{prepared.board.part}, source its settings64.sh and run this again."
    )


def _run_vivado(vivado: str, prepared: Prepared) -> None:
    command = [vivado, "-mode", "batch", "-nojournal", "-log", "vivado.log", "-source", SCRIPT]
    try:
        done = subprocess.run(
            command, cwd=prepared.folder, capture_output=True, text=True, timeout=_VIVADO_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BoardError(f"{vivado} did not end within {_VIVADO_SECONDS // 3600} hours; see vivado.log") from error
    if done.returncode != 0:
        raise BoardError(
            f"Vivado ended with status {done.returncode}; see its log {prepared.folder / 'vivado.log'}:\n"
            + "\n".join(reason(done.stdout.splitlines() + done.stderr.splitlines()))
        )


def _collect(prepared: Prepared, tools: Mapping[str, str]) -> tuple[BoardBuild, dict[str, bytes]]:
    """The build that Vivado left in the folder, and its files by their names in the package."""
    package, board, result = prepared.package, prepared.board, prepared.folder / RESULT
    try:
        facts = json.loads((result / "result.json").read_text())
        setup, hold = float(facts["setup_slack_ns"]), float(facts["hold_slack_ns"])
        clock, version, part = float(facts["clock_mhz"]), str(facts["vivado"]), str(facts["part"])
        remarks = [str(remark) for remark in facts["remarks"]]
        report, timing = (result / "utilization.rpt").read_text(), (result / "timing.rpt").read_text()
    except (OSError, ValueError, KeyError) as error:
        raise BoardError(f"{result / 'result.json'}: is not what {SCRIPT} writes ({error}); run again") from error
    if part.lower() != board.part.lower() or min(setup, hold) < 0.0 or clock <= 0.0:
        raise BoardError(
            f"{result / 'result.json'}: part {part}, {clock} MHz, slacks {setup} and {hold} ns: not a usable build"
            "; build again"
        )
    unclocked, pulse_width = timing_of_report(timing)
    if unclocked or pulse_width < 0.0:
        raise BoardError(
            f"{result / 'timing.rpt'}: {unclocked} registers without a clock, pulse width slack {pulse_width} ns: "
            "not a usable build"
            "; build again"
        )
    for remark in remarks:
        warnings.warn(remark, stacklevel=2)
    stem = f"boards/{board.name}/{package.kernel.name}"
    names = {f"{stem}.bit": f"{package.kernel.name}.bit", f"{stem}.hwh": f"{package.kernel.name}.hwh"}
    reports = {f"boards/{board.name}/{path.name}": path.name for path in sorted(result.glob("*.rpt"))}
    files = {name: (result / file).read_bytes() for name, file in {**names, **reports}.items()}
    device_tree = None  # PYNQ loads bitstream and handoff by itself, on a Kria too
    if board.xmutil:
        device_tree = f"{stem}.dtbo"
        files |= _without_pynq(prepared, clock, stem, files[f"{stem}.bit"])
    made = BoardBuild(
        board=board.name,
        part=part,
        flow="vitis" if prepared.backend == "vitis" else "vivado",
        bitstream=f"{stem}.bit",
        handoff=f"{stem}.hwh",
        device_tree=device_tree,
        pynq_board=board.pynq_board,
        serial=None,
        clock_mhz=clock,
        fmax_mhz=1000.0 / (1000.0 / clock - setup),
        worst_slack_ns=min(setup, hold),
        utilisation=used_of_report(report),
        tools={"Vivado": version, **tools},
        reports=list(reports),
    )
    return made, files


def _without_pynq(prepared: Prepared, clock_mhz: float, stem: str, bit: bytes) -> dict[str, bytes]:
    """What a board's own Linux, without PYNQ, wants beside the bitstream, by names in the package."""
    script = (prepared.folder / "processing_system.tcl").read_text()
    at = {name: int(address, 16) for name, address in _ADDRESS.findall(script)}
    blocks = {"dma": (at["dma"], 0x1_0000), "kernel": (at["kernel"], registers.ADDRESS_SPACE)}
    return {
        f"{stem}.bit.bin": kria.firmware_image(bit),
        f"{stem}.dtbo": kria.overlay(prepared.package.kernel.name, round(clock_mhz * 1e6), blocks),
        f"{Path(stem).parent.as_posix()}/shell.json": kria.SHELL,
    }
