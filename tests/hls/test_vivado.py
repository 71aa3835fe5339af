"""The Vivado flow without Vivado: the dry run finds what is wrong and nothing else, and `build` keeps its word."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesight.hls import ipxact, kria, vivado, vivado_reports
from edgesight.hls.boards import STAND_INS, Board, BoardError, board_names, load_board
from edgesight.hls.vivado import MISTAKES, SHARED, Mistake, Prepared, dry_run, prepare
from edgesight.host.board_build import Used
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT, missing_tools, tools_on_path
from tests.hls.bit_files import bit_file

DIGITS = ROOT / "bitstreams" / "digits"
BOARDS = [name for name in board_names() if load_board(name).flow == "vivado"]

pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh not found")


@pytest.fixture(scope="module")
def package() -> Package:
    return Package.load(DIGITS)


@pytest.fixture(scope="module")
def sound(package: Package, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """A prepared folder for each board that nobody changes."""
    folder = tmp_path_factory.mktemp("sound")
    return {name: prepare(package, load_board(name), folder / name) for name in BOARDS}


@pytest.fixture
def one_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each mistake under one Vivado; what differs between versions has a test of its own."""
    monkeypatch.setattr(vivado, "known_versions", lambda: ["2024.1"])


def changed(prepared: Prepared, folder: Path, file: str, old: str, new: str) -> Prepared:
    """A copy of a prepared folder with the one occurrence of `old` in `file` replaced."""
    copy = Prepared(folder, prepared.package, prepared.board, prepared.backend)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared.folder, folder)
    text = (folder / file).read_text()
    assert text.count(old) == 1, old
    (folder / file).write_text(text.replace(old, new))
    return copy


def test_there_are_the_three_boards() -> None:
    assert set(BOARDS) == {"pynq-z2", "kv260", "zcu104"}


@pytest.mark.parametrize("name", BOARDS)
def test_the_dry_run_passes_for_every_board_and_version(sound: dict[str, Prepared], name: str) -> None:
    assert len(vivado.known_versions()) >= 4
    assert dry_run(sound[name]) == []


def test_the_dry_run_leaves_the_folder_as_it_was(sound: dict[str, Prepared]) -> None:
    folder = sound["pynq-z2"].folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dry_run(sound["pynq-z2"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_weights_come_along_as_contents_of_memories(
    sound: dict[str, Prepared], package: Package, tmp_path: Path
) -> None:
    component = sound["pynq-z2"].folder / vivado.COMPONENT
    memories = {f"src/{name}": content for name, content in package.sources().items() if name.endswith(".mem")}
    assert len(memories) == 9
    assert memories == {name: (component / name).read_bytes() for name in memories}
    xml = (component / "component.xml").read_bytes()
    assert memories.keys() <= set(ipxact.listed_files(xml))
    assert xml.count(b"<spirit:userFileType>mif</spirit:userFileType>") >= len(memories)
    name = min(memories)
    copy = Prepared(tmp_path / "copy", package, sound["pynq-z2"].board, "rtl")
    shutil.copytree(sound["pynq-z2"].folder, copy.folder)
    (copy.folder / vivado.COMPONENT / name).unlink()
    found = dry_run(copy)
    assert f"component.xml lists {name}, which does not exist" in found
    assert f"stage0.sv reads {Path(name).name}, which the component does not bring along" in found


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_seeded_mistake_is_found_by_its_own_name(
    package: Package, tmp_path: Path, name: str, mistake: Mistake
) -> None:
    prepared = prepare(package, load_board(name), tmp_path / "seeded")
    vivado.seed_mistake(prepared, mistake)
    said = "\n".join(dry_run(prepared))
    assert {"cell": "axi_dna", "connection": "kernel/S_AXIS is not connected", "address": "65536 bytes"}[
        mistake
    ] in said


def test_the_report_tells_what_passes_and_what_is_caught(package: Package) -> None:
    report = vivado.dry_run_report(package, [load_board("kv260")])
    assert report == {"kv260": {"passes": True, "caught": 3, "of": 3, "problems": []}}


CONNECTIONS = re.findall(r"^connect_(?:buses|pins) .*\n", (SHARED / "build.tcl").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["pynq-z2", "kv260"])
@pytest.mark.usefixtures("one_version")
def test_every_connection_is_missed_when_it_is_not_there(sound: dict[str, Prepared], tmp_path: Path, name: str) -> None:
    assert len(CONNECTIONS) == 26
    for line in CONNECTIONS:
        assert dry_run(changed(sound[name], tmp_path / "copy", "build.tcl", line, "")), line


@pytest.mark.parametrize("name", ["kv260"])
@pytest.mark.usefixtures("one_version")
def test_every_connection_has_to_lead_to_where_it_belongs(
    sound: dict[str, Prepared], tmp_path: Path, name: str
) -> None:
    for line in CONNECTIONS:
        for end in re.findall(r"[a-z_]+/\w+", line):
            spelt = line.replace(end, end + "x")
            assert dry_run(changed(sound[name], tmp_path / "copy", "build.tcl", line, spelt)), spelt


def settings_of(text: str) -> Iterator[str]:
    yield from dict.fromkeys(re.findall(r"CONFIG\.\w+", text))


@pytest.mark.parametrize(
    ("name", "file"),
    [("pynq-z2", "build.tcl"), ("pynq-z2", "processing_system.tcl"), ("kv260", "processing_system.tcl")],
)
@pytest.mark.usefixtures("one_version")
def test_every_misspelt_property_is_found(sound: dict[str, Prepared], tmp_path: Path, name: str, file: str) -> None:
    for setting in settings_of((sound[name].folder / file).read_text()):
        text = (sound[name].folder / file).read_text()
        line = next(line for line in text.splitlines() if f"{setting} " in line)
        wrong = changed(sound[name], tmp_path / "copy", file, line, line.replace(f"{setting} ", f"{setting}x ", 1))
        assert any("no property" in problem for problem in dry_run(wrong)), setting


@pytest.mark.parametrize("name", ["pynq-z2", "kv260"])
@pytest.mark.usefixtures("one_version")
def test_every_name_of_the_processing_system_matters(sound: dict[str, Prepared], tmp_path: Path, name: str) -> None:
    file = "processing_system.tcl"
    lines = re.findall(r"^set ps_(?!other).*", (sound[name].folder / file).read_text(), flags=re.MULTILINE)
    assert len(lines) == 8  # ps_block has a test of its own
    for line in lines:
        for path in re.findall(r"ps/[\w/]+", line):
            for wrong in (path + "x", "" if "{" in line else "ps"):
                problems = dry_run(changed(sound[name], tmp_path / "copy", file, line, line.replace(path, wrong)))
                assert problems, line.replace(path, wrong)


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("build.tcl", "c_addr_width {32}", "c_addr_width {28}", "cannot be 28"),
        ("build.tcl", "c_sg_length_width {26}", "c_sg_length_width {27}", "cannot be 27"),
        ("build.tcl", "c_m_axis_mm2s_tdata_width {64}", "c_m_axis_mm2s_tdata_width {32}", "has 32 data bits"),
        ("build.tcl", "c_m_axi_s2mm_data_width {64}", "c_m_axi_s2mm_data_width {32}", "behind memory_port has 64"),
        ("build.tcl", "c_include_sg {0}", "c_include_sg {1}", "M_AXI_SG is not connected"),
        ("build.tcl", "NUM_MI {3}", "NUM_MI {2}", "M02_AXI"),
        ("build.tcl", "NUM_SI {2}", "NUM_SI {3}", "memory_port/S02_AXI is not connected"),
        ("build.tcl", "C_IRQ_CONNECTION {1}", "C_IRQ_CONNECTION {0}", "no such pin"),
        ("build.tcl", "-range 0x1000 ", "-range 0x800 ", "2048 bytes"),
        ("build.tcl", "-offset $kernel_address", "-offset $dma_address", "overlap"),
        ("build.tcl", "-offset $kernel_address", "-offset 0x10000000", "leaves the space"),
        ("build.tcl", "-offset $kernel_address", "-offset [expr {$kernel_address + 0x100}]", "not aligned"),
        ("build.tcl", "foreach space {dma/Data_MM2S dma/Data_S2MM}", "foreach space {dma/Data_MM2S}", "neither"),
        (
            "build.tcl",
            "connect_buses dma/M_AXIS_MM2S kernel/S_AXIS",
            "connect_buses kernel/S_AXIS dma/M_AXIS_MM2S",
            "is slave",
        ),
        (
            "build.tcl",
            "connect_buses kernel/M_AXIS dma/S_AXIS_S2MM",
            "connect_buses kernel/M_AXIS memory_port/S01_AXI",
            "is axis",
        ),
        (
            "build.tcl",
            "connect_pins $ps_reset reset/ext_reset_in",
            "connect_pins $ps_clock reset/ext_reset_in",
            "kind clk",
        ),
        ("build.tcl", "validate_bd_design\n", "valid_bd_design\n", "no command is called valid_bd_design"),
        ("build.tcl", "validate_bd_design\n", "", "save_bd_design comes before validate_bd_design"),
        ("build.tcl", "  place_design -directive", "  place_design -fast -directive", "no option -fast"),
        ("build.tcl", "set_property synth_checkpoint_mode None [get_files system.bd]\n", "", "project on disk"),
        ("build.tcl", "write_bitstream -force result/$kernel_name.bit\n", "", "ended before write_bitstream"),
        ("build.tcl", "source settings.tcl", "source setting.tcl", "setting.tcl"),
        ("build.tcl", "connect_pins dma/s2mm_introut", "connect_pins dma/mm2s_introut", "dma/s2mm_introut is not"),
        (
            "build.tcl",
            "set_property CONFIG.c_m_axi_s2mm_data_width.VALUE_SRC USER [get_bd_cells dma]\n",
            "",
            "c_m_axi_s2mm_data_width of dma is derived",
        ),
        ("build.tcl", "VALUE_SRC USER", "VALUE_SRC USED", "cannot be USED"),
        ("build.tcl", "{ExtraTimingOpt Aggr", "{MoreTimingOpt Aggr", "knows no directive MoreTimingOpt"),
        ("build.tcl", "  route_design -unroute\n", "", "unroute what is routed first"),
        ("build.tcl", "write_checkpoint -force checkpoints/routed.dcp", "write_checkpoint checkpoints/routed", ".dcp"),
        ("build.tcl", "write_hw_platform -fixed", "write_hw_platform -fix", "ended before write_hw_platform"),
        (
            "build.tcl",
            "write_bitstream -force",
            "set_param board.repoPaths {}\nwrite_bitstream -force",
            "project is made",
        ),
        ("build.tcl", "ip/kernel/component.xml", "ip/component.xml", "does not exist"),
        (
            "build.tcl",
            "set paths [get_timing_paths -delay_type $delay_type -max_paths 1]",
            "set paths {}",
            "no max path",
        ),
        ("build.tcl", "[get_property PART [current_design]]", "[get_property PORT [current_design]]", "has no PORT"),
        ("build.tcl", "get_property PERIOD $clocks", "get_property PERIOD clock", "has no PERIOD"),
        ("processing_system.tcl", "set timing_clock clk_", "set timing_clock pl_", "no clock is called pl_"),
        ("settings.tcl", "set clock_mhz {100}", "set clock_mhz {125}", "125 MHz, the board with 100 MHz"),
        ("settings.tcl", "set part {xc", "set part {xd", "is not the board's"),
        ("settings.tcl", "set memory_bytes {0x", "set memory_bytes {0x1", "range"),
        ("settings.tcl", "edgesight:ip:kernel:1.0", "edgesight:ip:kernel:1.1", "no block is called"),
    ],
)
@pytest.mark.usefixtures("one_version")
def test_a_mistake_is_found_and_named(
    sound: dict[str, Prepared], tmp_path: Path, name: str, file: str, old: str, new: str, said: str
) -> None:
    problems = dry_run(changed(sound[name], tmp_path / "copy", file, old, new))
    assert said in "\n".join(problems)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("input  wire [11:0] s_axi_awaddr", "input  wire [9:0] s_axi_awaddr", "s_axi_awaddr is an input of 10 bits"),
        ("output wire s_axi_wready", "input  wire s_axi_wready", "s_axi_wready is an input"),
        (".s_axis_tlast(s_axis_tlast)", ".s_axis_tlast()", "leaves the kernel's port s_axis_tlast open"),
        ("    .m_axis_tkeep(m_axis_tkeep),\n", "", "does not connect the kernel's port m_axis_tkeep"),
        (".tap_tag_o()", ".tap_tags_o()", "connects tap_tags_o, which the kernel has not"),
    ],
)
def test_a_wrapper_that_does_not_fit_the_kernel_is_found(
    sound: dict[str, Prepared], tmp_path: Path, old: str, new: str, said: str
) -> None:
    wrong = changed(sound["pynq-z2"], tmp_path / "copy", "ip/kernel/src/edgesight_axi.v", old, new)
    assert said in "\n".join(dry_run(wrong))


def test_a_component_lists_its_files_and_no_others(sound: dict[str, Prepared], tmp_path: Path) -> None:
    wrong = changed(sound["kv260"], tmp_path / "copy", "settings.tcl", "set part", "set part")
    (wrong.folder / "ip/kernel/src/stage0.sv").rename(wrong.folder / "ip/kernel/src/stage9.sv")
    said = dry_run(wrong)
    assert any("lists src/stage0.sv, which does not exist" in problem for problem in said)
    assert any("does not list src/stage9.sv" in problem for problem in said)


def test_weights_from_a_file_have_to_lie_in_the_component(sound: dict[str, Prepared], tmp_path: Path) -> None:
    reads = '  initial $readmemh("weights.dat", rom);\nendmodule\n'
    wrong = changed(sound["kv260"], tmp_path / "copy", "ip/kernel/src/kernel.sv", "endmodule\n", reads)
    assert any("kernel.sv reads weights.dat" in problem for problem in dry_run(wrong))


def test_a_component_that_breaks_the_schema_is_found(sound: dict[str, Prepared], tmp_path: Path) -> None:
    xml = (sound["kv260"].folder / "ip/kernel/component.xml").read_bytes()
    assert ipxact.schema_faults(xml) == []
    wrong = changed(
        sound["kv260"], tmp_path / "copy", "ip/kernel/component.xml", "<spirit:library>ip</spirit:library>", ""
    )
    assert any("library" in problem for problem in dry_run(wrong))
    assert ipxact.schema_faults(b"<half") != []


@pytest.mark.parametrize(("slack", "ends"), [(0.0, False), (0.2, False), (-0.001, True)])
def test_a_timing_miss_ends_the_script(sound: dict[str, Prepared], slack: float, ends: bool) -> None:
    problems = dry_run(sound["zcu104"], setup_slack_ns=slack)
    assert [problem for problem in problems if "timing is missed at 100 MHz" in problem] == problems
    assert bool(problems) == ends


@pytest.mark.parametrize("misses", range(5))
@pytest.mark.usefixtures("one_version")
def test_a_miss_is_optimised_then_tried_again_and_then_told(sound: dict[str, Prepared], misses: int) -> None:
    """Routed, optimised, routed with harder directives, optimised: four chances."""
    problems = dry_run(sound["pynq-z2"], setup_slack_ns=[*[-0.02] * misses, 0.0])
    assert ["setup slack -0.02 ns" in problem and "checkpoints/routed.dcp" in problem for problem in problems] == (
        [True] if misses == 4 else []
    )


@pytest.mark.parametrize("name", BOARDS)
def test_any_vivado_is_taken_that_has_the_blocks(
    sound: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """FINN's recommended one, the ends of hls4ml's range, and one that is still to come; each with one family alone."""
    monkeypatch.setattr(vivado, "known_versions", lambda: ["2022.2", "2023.1", "2024.1", "2024.2", "2025.1", "2026.1"])
    assert dry_run(sound[name]) == []


def test_an_unknown_vivado_is_warned_of_with_the_known_ones(
    own_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match=r"Vivado 2031\.2 is not among those .*2022\.1, 2022\.2.*2025\.2\)") as said:
        build_with(own_package, load_board("pynq-z2"), tmp_path, 0.75, monkeypatch, version="2031.2")
    assert len(said) == 1
    assert Package.load(own_package.path).board("pynq-z2").tools == {"Vivado": "2031.2"}


def test_an_installation_without_the_parts_family_is_told_before_anything_else(
    sound: dict[str, Prepared], tmp_path: Path
) -> None:
    wrong = changed(
        sound["pynq-z2"],
        tmp_path / "copy",
        "processing_system.tcl",
        "set ps_block processing_system7",
        "set ps_block zynq_ultra_ps_e",
    )
    (problem,) = dry_run(wrong)
    assert "has no block xilinx.com:ip:zynq_ultra_ps_e: was support for part xc7z020clg400-1 installed?" in problem


def test_missing_board_files_are_told_with_both_ways_to_them(sound: dict[str, Prepared], tmp_path: Path) -> None:
    wrong = changed(sound["pynq-z2"], tmp_path / "copy", "settings.tcl", "pynq-z2:part0:*", "pynq-z2:part1:*")
    (problem,) = dry_run(wrong)
    assert "no board files match tul.com.tw:pynq-z2:part1:*" in problem
    assert "xhub::install [xhub::get_xitems *pynq-z2*]" in problem
    assert "EDGESIGHT_BOARD_FILES" in problem


def test_board_files_are_looked_for_where_the_environment_says(
    sound: dict[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more").mkdir()
    monkeypatch.setenv("EDGESIGHT_BOARD_FILES", f"{tmp_path}:{tmp_path / 'more'}")
    assert dry_run(sound["kv260"]) == []
    monkeypatch.setenv("EDGESIGHT_BOARD_FILES", str(tmp_path / "none"))
    assert "board.repoPaths" in dry_run(sound["kv260"])[0]
    assert "none is no folder" in dry_run(sound["kv260"])[0]


def test_the_script_runs_again_where_it_ran_before(
    sound: dict[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vivado, "known_versions", lambda: ["2024.1", "2024.2"])  # one after the other in one folder
    assert dry_run(sound["pynq-z2"]) == []
    wrong = changed(
        sound["pynq-z2"], tmp_path / "copy", "build.tcl", "file delete -force bd .gen", "file delete -force .gen"
    )
    assert "bd/system exists already" in dry_run(wrong)[0]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("file delete -force bd/system/hw_handoff .gen\nset handoffs {}\n", "found 0"),
        (
            "set file [open .gen/sources_1/system.hwh w]\nputs $file other\nclose $file\nset handoffs {}\n",
            "found 2 that differ: ",
        ),
    ],
)
@pytest.mark.usefixtures("one_version")
def test_a_missing_handoff_ends_the_script_before_synthesis(
    sound: dict[str, Prepared], tmp_path: Path, new: str, said: str
) -> None:
    wrong = changed(sound["pynq-z2"], tmp_path / "copy", "build.tcl", "set handoffs {}\n", new)
    (problem,) = dry_run(wrong)
    assert f"expected one hardware handoff system.hwh, {said}" in problem
    (line,) = re.findall(r"build\.tcl:(\d+)", problem)
    script = (wrong.folder / "build.tcl").read_text().splitlines()
    assert int(line) < next(at for at, text in enumerate(script, 1) if text.startswith("synth_design "))


def test_a_patched_vivado_counts_as_its_release(sound: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vivado, "known_versions", lambda: ["2024.1.2"])
    assert dry_run(sound["pynq-z2"]) == []


def test_a_block_of_another_version_is_refused(
    sound: dict[str, Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vivado, "known_versions", lambda: ["2022.1"])
    block = "[dict get $blocks zynq_ultra_ps_e]"
    wrong = changed(
        sound["kv260"], tmp_path / "copy", "processing_system.tcl", block, "xilinx.com:ip:zynq_ultra_ps_e:3.5"
    )
    assert any("2022.1 has no block xilinx.com:ip:zynq_ultra_ps_e:3.5" in problem for problem in dry_run(wrong))


def test_a_folder_that_holds_something_else_is_left_alone(package: Package, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BoardError, match="no build left there"):
        prepare(package, load_board("pynq-z2"), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_preparing_twice_leaves_the_second(package: Package, tmp_path: Path) -> None:
    prepare(package, load_board("pynq-z2"), tmp_path / "out", "vitis")
    prepare(package, load_board("kv260"), tmp_path / "out")
    assert "xck26" in (tmp_path / "out" / "settings.tcl").read_text()
    assert not (tmp_path / "out" / "hls").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_board_without_what_vivado_needs_is_refused(package: Package, tmp_path: Path) -> None:
    board = load_board("pynq-z2")
    with pytest.raises(BoardError, match="not built by Vivado"):
        prepare(package, board.model_copy(update={"flow": "open"}), tmp_path / "out")
    with pytest.raises(BoardError, match="field preset is missing"):
        prepare(package, board.model_copy(update={"preset": None}), tmp_path / "out")


@pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")
def test_the_wrapper_around_the_kernel_is_plain_verilog_and_clean_under_lint(sound: dict[str, Prepared]) -> None:
    sources = sound["pynq-z2"].folder / "ip" / "kernel" / "src"
    files = sorted(sources.glob("*.*v"), key=lambda path: (not path.name.endswith("_pkg.sv"), path.name))
    # Of the kernel only the taps stay open, as the wrapper says. What is inside it, its own tests look at.
    # Files ending in .v, of which it is the only one, are read as Verilog-2001.
    flags = ["-Wall", "-Wno-fatal", "-Wno-PINCONNECTEMPTY", "+1364-2001ext+v", "--top-module", "edgesight_axi"]
    command = ["verilator", "--lint-only", *flags]
    with tools_on_path():
        lint = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stderr
    assert "edgesight_axi.v" not in lint.stderr


# ---- Reports and builds, with something else in Vivado's place -----------------------------------------------------

UTILISATION = """\
1. Slice Logic
--------------
+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| Slice LUTs*                | 31234 |     0 |          0 |     53200 | 58.71 |
|   LUT as Logic             | 30000 |     0 |          0 |     53200 | 56.39 |
| Slice Registers            | 28150 |     0 |          0 |    106400 | 26.46 |
+----------------------------+-------+-------+------------+-----------+-------+

2. Memory
+-------------------+------+-------+------------+-----------+-------+
|     Site Type     | Used | Fixed | Prohibited | Available | Util% |
+-------------------+------+-------+------------+-----------+-------+
| Block RAM Tile    |  7.5 |     0 |          0 |       140 |  5.36 |
|   RAMB36/FIFO*    |    7 |     0 |          0 |       140 |  5.00 |
+-------------------+------+-------+------------+-----------+-------+

3. DSP
+-----------+------+-------+------------+-----------+-------+
| Site Type | Used | Fixed | Prohibited | Available | Util% |
+-----------+------+-------+------------+-----------+-------+
| DSPs      |    2 |     0 |          0 |       220 |  0.91 |
+-----------+------+-------+------------+-----------+-------+
"""


def test_a_utilisation_report_is_read_by_its_titles() -> None:
    expected = {
        "LUT": Used(used=31234, available=53200),
        "FF": Used(used=28150, available=106400),
        "BRAM36": Used(used=7.5, available=140),
        "DSP": Used(used=2, available=220),
    }
    assert vivado_reports.used_of_report(UTILISATION) == expected
    assert (
        vivado_reports.used_of_report(UTILISATION.replace("Slice LUTs*", "CLB LUTs").replace("Slice R", "CLB R"))
        == expected
    )
    with pytest.raises(BoardError, match="no row for DSP"):
        vivado_reports.used_of_report(UTILISATION.replace("DSPs", "Digs"))


# The head of a timing summary and the rows that matter here, cut down from what Vivado writes.
TIMING = """\
1. checking no_clock (0)
------------------------
 There are 0 register/latch pins with no clock.

2. checking constant_clock (0)
------------------------------
 There are 0 register/latch pins with constant_clock.

| Design Timing Summary
| ---------------------

    WNS(ns)  TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints  WHS(ns)  THS(ns)  THS Failing Endpoints  \
THS Total Endpoints  WPWS(ns)  TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints
    -------  -------  ---------------------  -------------------  -------  -------  ---------------------  \
-------------------  --------  --------  ----------------------  --------------------
      0.750    0.000                      0                62957    0.022    0.000                      0  \
              62957     3.750     0.000                       0                 27711
"""


def test_a_timing_report_tells_what_no_path_does() -> None:
    assert vivado_reports.timing_of_report(TIMING) == (0, 3.75)
    unclocked = " There are 12 register/latch pins with no clock driven by root clock pin: ps/a (HIGH)\n"
    unclocked += " There is 1 register/latch pin with no clock driven by root clock pin: ps/b (HIGH)\n"
    assert vivado_reports.timing_of_report(TIMING.replace(" 3.750 ", " -0.155 ") + unclocked) == (13, -0.155)
    for gone in ("with no clock", "WPWS(ns)"):
        with pytest.raises(BoardError, match="no WPWS"):
            vivado_reports.timing_of_report(TIMING.replace(gone, ""))


def stand_in(folder: Path, board: Board, slack: float, timing: str = TIMING, version: str = "2024.1") -> Path:
    """A program called vivado that runs the script by the recorder, as the dry run does, and leaves its results."""
    assert board.memory_mib is not None
    folder.mkdir()
    (folder / "utilization.rpt").write_text(UTILISATION)
    (folder / "timing.rpt").write_text(timing)
    facts = f"set board_part {board.part}\nset board_clock_mhz 100\nset board_memory_bytes {board.memory_mib << 20}\n"
    (folder / "facts.tcl").write_text(facts)
    program = folder / "vivado"
    program.write_text(
        "#!/bin/sh\nset -e\n"
        'test "$1 $2 $3" = "-mode batch -nojournal" && test "$6 $7" = "-source build.tcl"\n'
        f"cat {folder}/component.tcl {folder}/facts.tcl > {folder}/catalogue.tcl\n"
        f"tclsh {STAND_INS}/recorder.tcl build.tcl {version} {folder}/catalogue.tcl {slack} > found || test -s found\n"
        "sed 's/^/ERROR: /' found > said\n"
        "cat said\ntest ! -s said\n"
        f"cp {folder}/utilization.rpt {folder}/timing.rpt result/\n"
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def own_package(tmp_path: Path) -> Package:
    shutil.copytree(DIGITS, tmp_path / "digits", ignore=shutil.ignore_patterns("lib"))
    return Package.load(tmp_path / "digits")


def build_with(
    package: Package,
    board: Board,
    tmp_path: Path,
    slack: float,
    monkeypatch: pytest.MonkeyPatch,
    timing: str = TIMING,
    version: str = "2024.1",
) -> Package:
    program = stand_in(tmp_path / "tools", board, slack, timing, version)
    prepared = prepare(package, board, tmp_path / "out")
    entry = ipxact.catalogue_entry((prepared.folder / vivado.COMPONENT / "component.xml").read_bytes())
    (program.parent / "component.tcl").write_text(entry)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return vivado.build(package, board, tmp_path / "out")


def test_what_vivado_made_goes_into_the_package(
    own_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = build_with(own_package, load_board("pynq-z2"), tmp_path, 0.75, monkeypatch)
    made = Package.load(package.path).board("pynq-z2")
    assert (made.part, made.flow, made.pynq_board) == ("xc7z020clg400-1", "vivado", "Pynq-Z2")
    assert made.device_tree is None
    assert (made.clock_mhz, made.worst_slack_ns, made.tools) == (100.0, 0.01, {"Vivado": "2024.1"})
    assert made.fmax_mhz == pytest.approx(1000 / 9.25)
    assert made.utilisation["BRAM36"] == Used(used=7.5, available=140)
    assert made.bitstream == "boards/pynq-z2/digits.bit"
    assert made.handoff == "boards/pynq-z2/digits.hwh"
    assert "boards/pynq-z2/timing.rpt" in made.reports
    for name in (made.bitstream, made.handoff, *made.reports):
        assert package.read(name)


def test_a_timing_miss_leaves_the_package_as_it_was(
    own_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BoardError, match="timing is missed"):
        build_with(own_package, load_board("kv260"), tmp_path, -0.3, monkeypatch)
    assert Package.load(own_package.path).kernel.boards == own_package.kernel.boards


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("There are 0 register/latch pins with no clock", "There are 3 register/latch pins with no clock", "3 reg"),
        (" 3.750 ", " -0.100 ", "slack -0.1 ns"),
    ],
)
def test_what_is_not_timed_is_no_usable_build(
    own_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    with pytest.raises(BoardError, match=f"{said}.*not a usable build"):
        build_with(own_package, load_board("kv260"), tmp_path, 0.5, monkeypatch, TIMING.replace(old, new))
    assert Package.load(own_package.path).kernel.boards == own_package.kernel.boards


def test_the_clock_and_part_are_those_that_vivado_reports(
    own_package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(own_package, load_board("kv260"), tmp_path / "out")
    result = prepared.folder / vivado.RESULT
    result.mkdir()
    for name, text in (
        ("utilization.rpt", UTILISATION),
        ("timing.rpt", TIMING),
        ("digits.hwh", ""),
    ):
        (result / name).write_text(text)
    (result / "digits.bit").write_bytes(bit_file(bytes(range(16))))
    facts = '{"vivado": "2024.1", "part": "%s", "clock_mhz": 96.97, "setup_slack_ns": 0.1, "hold_slack_ns": 0.01,'
    facts += ' "remarks": []}'
    (result / "result.json").write_text(facts % "XCK26-SFVC784-2LV-C")
    made, files = vivado._collect(prepared, {})
    assert made.clock_mhz == 96.97
    # A Kria's own Linux loads another form of the bitstream, with a device tree overlay that sets that clock.
    assert made.device_tree == "boards/kv260/digits.dtbo"
    assert files["boards/kv260/digits.bit.bin"] == kria.firmware_image(files["boards/kv260/digits.bit"])
    assert struct.pack(">I", 96_970_000) in files["boards/kv260/digits.dtbo"]
    assert b"edgesight-kernel@a0010000" in files["boards/kv260/digits.dtbo"]
    assert files["boards/kv260/shell.json"] == kria.SHELL
    (result / "result.json").write_text(facts % "xck24-ubva530-2LV-c")
    with pytest.raises(BoardError, match=r"part xck24-ubva530-2LV-c, 96\.97 MHz.* not a usable build"):
        vivado._collect(prepared, {})


def test_the_first_error_is_told_whoever_made_it() -> None:
    """A Tcl error has no prefix: it stands before the first `while executing`. Vivado's own have one."""
    stack = [
        "    while executing",
        '"error ..."',
        '    (procedure "blocks_of_this_vivado" line 5)',
        "    invoked from within",
        '"blocks_of_this_vivado"',
        '    (file "build.tcl" line 33)',
        "INFO: [Common 17-206] Exiting Vivado at Sat Nov 28 07:49:10 2026...",
    ]
    ours = "Vivado 2099.9 is not known to this flow"
    assert vivado_reports.reason([ours, *stack]) == [ours]
    assert vivado_reports.reason(["# set a 1", "INFO: [Common 17-1] hello", "timing is missed:", "by far", *stack]) == [
        "timing is missed:",
        "by far",
    ]
    failed = ["ERROR: [Place 30-640] Too many LUTs", "ERROR: [Common 17-69] Command failed: place_design"]
    assert vivado_reports.reason([*failed, *stack]) == failed
    harmless = ["ERROR: [Common 17-55] caught by the script", "INFO: [Common 17-1] going on"]
    assert vivado_reports.reason([*harmless, ours, *stack]) == [harmless[0], ours]
    assert vivado_reports.reason(["killed"]) == ["killed"]
    assert vivado_reports.reason([]) == []


def test_what_ends_vivado_is_in_the_message(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "vivado").write_text(
        "#!/bin/sh\nprintf 'no board files match this\\n    while executing\\n\"error x\"\\nINFO: bye\\n'\nexit 1\n"
    )
    (tools / "vivado").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(BoardError, match=r"vivado\.log:\nno board files match this$"):
        vivado.build(package, load_board("pynq-z2"), tmp_path / "out")


def test_without_tclsh_only_the_dry_run_is_left_out(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vivado, "estimate", lambda prepared: {"LUT": Used(used=1, available=2)})
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(vivado.VivadoMissing, match=r"done but for the dry run \(tclsh .*install tcl\).*LUT 1 of 2"):
        vivado.build(package, load_board("pynq-z2"), tmp_path / "out")
    (tools / "vivado").write_text("#!/bin/sh\nexit 3\n")
    (tools / "vivado").chmod(0o755)
    with pytest.raises(BoardError, match="Vivado ended with status 3"):
        vivado.build(package, load_board("pynq-z2"), tmp_path / "out")


def test_the_flow_for_our_rtl_imports_no_compiler_of_networks() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['hls4ml', 'qonnx', 'onnx']))\nimport edgesight.hls.vivado"
    ran = subprocess.run([sys.executable, "-c", blocked], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(("used", "fits"), [(53200, True), (53201, False)])
def test_without_vivado_everything_else_is_done_and_said(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, fits: bool
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(vivado, "estimate", lambda prepared: {"LUT": Used(used=used, available=53200)})
    with pytest.raises(vivado.VivadoMissing) as raised:
        vivado.build(package, load_board("pynq-z2"), tmp_path / "out")
    said = str(raised.value)
    assert f"LUT {used} of 53200" in said
    assert ("does not fit" not in said) == fits
    assert str(tmp_path) in said
    assert "2024.1" in said
    assert (tmp_path / "out" / "build.tcl").exists()
    assert (tmp_path / "out" / "ip" / "kernel" / "component.xml").exists()


def test_nothing_is_built_from_a_folder_that_its_dry_run_refuses(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vivado, "dry_run", lambda prepared: ["interface dma/M_AXI_MM2S is not connected"])
    with pytest.raises(BoardError, match="dma/M_AXI_MM2S is not connected"):
        vivado.build(package, load_board("pynq-z2"), tmp_path / "out")


COUNTER = """\
module kernel (input logic clk_i, input logic [7:0] add_i, output logic [11:0] sum_o);
  logic [7:0] memory_q [1024];
  logic [9:0] addr_q;
  logic [7:0] read_q;
  always_ff @(posedge clk_i) begin
    addr_q <= addr_q + 1;
    memory_q[addr_q] <= add_i;
    read_q <= memory_q[addr_q];
    sum_o <= sum_o + 12'(read_q);
  end
endmodule
"""


def test_an_estimate_counts_registers_and_memories(package: Package, tmp_path: Path) -> None:
    board = load_board("pynq-z2")
    prepared = prepare(package, board, tmp_path / "out")
    for path in (prepared.folder / vivado.COMPONENT / "src").glob("*.sv"):
        path.unlink()
    (prepared.folder / vivado.COMPONENT / "src" / "kernel.sv").write_text(COUNTER)
    used = vivado.estimate(prepared)
    assert used["FF"].used == 22  # addr_q and sum_o; read_q is the memory's own
    assert used["BRAM36"].used == 0.5
    assert 0 < used["LUT"].used < 60
    assert used["DSP"].used == 0
    assert {name: row.available for name, row in used.items()} == board.capacity
    assert (prepared.folder / "utilisation.json").exists()
