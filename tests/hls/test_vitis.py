"""hls4ml's C++ in our RTL's place: the function around it is exact, and the adapter has the kernel's ports."""

from __future__ import annotations

import ctypes
import io
import shutil
import subprocess
from pathlib import Path

import hls4ml
import numpy as np
import pytest

from edgesight.hls import csim, vitis, vivado
from edgesight.hls.boards import STAND_INS, BoardError, load_board
from edgesight.hls.vivado import Prepared, dry_run, prepare
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT, missing_tools, tools_on_path

BOARD = load_board("kv260")


@pytest.fixture(scope="module")
def package() -> Package:
    return Package.load(ROOT / "bitstreams" / "digits")


@pytest.fixture
def prepared(package: Package, tmp_path: Path) -> Prepared:
    return prepare(package, BOARD, tmp_path / "out", "vitis")


needs_tclsh = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh not found")


@needs_tclsh
@pytest.mark.parametrize("board", ["pynq-z2", "kv260", "zcu104"])
def test_the_dry_run_passes_for_every_board(package: Package, tmp_path: Path, board: str) -> None:
    assert dry_run(prepare(package, load_board(board), tmp_path / "out", "vitis")) == []


@needs_tclsh
@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("synthesise.tcl", "set_top ${stage}_hls", "set_top ${stage}_hsl", "no function is called stage0_hsl"),
        ("synthesise.tcl", "csynth_design\n", "csynth\n", "no command is called csynth"),
        ("synthesise.tcl", "  set_part $part\n", "", "csynth_design comes before set_part"),
        ("synthesise.tcl", "${stage}_hls.cpp]", "${stage}_top.cpp]", "stage0_top.cpp does not exist"),
        ("synthesise.tcl", "-reset all", "-reset every", "no reset every"),
        ("hls/stage1/stage1_hls.cpp", "    #pragma HLS INTERFACE axis port=logits\n", "", "no axis interface"),
        ("hls/stage1/stage1_hls.cpp", "    #pragma HLS INTERFACE ap_ctrl_none port=return\n", "", "ap_start"),
        ("hls/stage0/stage0_hls.cpp", "ap_uint<136>", "ap_uint<130>", "whole bytes"),
    ],
)
def test_a_mistake_is_found_and_named(prepared: Prepared, file: str, old: str, new: str, said: str) -> None:
    text = (prepared.folder / file).read_text()
    assert text.count(old) == 1
    (prepared.folder / file).write_text(text.replace(old, new))
    assert said in "\n".join(dry_run(prepared))


def test_none_of_our_stages_is_left(prepared: Prepared) -> None:
    names = [path.name for path in (prepared.folder / vivado.COMPONENT / "src").glob("stage[01]*")]
    assert sorted(names) == ["stage0.sv", "stage1.sv"]


@needs_tclsh
@pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")
def test_kernel_and_adapters_fit_the_ports_that_the_tool_would_give(prepared: Prepared) -> None:
    sources = prepared.folder / vivado.COMPONENT / "src"
    tclsh = shutil.which("tclsh")
    assert tclsh is not None
    assert vitis.dry_run(BOARD, prepared.folder, sources, tclsh) == []
    files = sorted(sources.iterdir(), key=lambda path: (not path.name.endswith("_pkg.sv"), path.name))
    command = ["verilator", "--lint-only", "-Wall", "-Wno-fatal", "--top-module", "edgesight_axi"]
    with tools_on_path():
        lint = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stderr
    of_adapters = [line for line in lint.stderr.splitlines() if "/stage" in line and "_hls.v:" not in line]
    assert not [line for line in of_adapters if line.startswith("%Warning")]
    widths = ("WIDTH", "PINMISSING", "PINNOTFOUND", "IMPLICIT")
    assert not [line for line in lint.stderr.splitlines() if any(f"%Warning-{width}" in line for width in widths)]


_CALL = """
#include <cstdint>
extern "C" void run(const std::uint8_t *pixels, int count, std::int32_t *logits) {{
    hls::stream<{name}_pixel_t> in("pixels");
    hls::stream<{name}_logits_t> out("logits");
    for (int image = 0; image < count; image++) {{
        for (int pixel = 0; pixel < {pixels}; pixel++)
            in.write({name}_pixel_t(*pixels++));
        {name}_hls(in, out);
        {name}_logits_t beat = out.read();
        for (int label = 0; label < {classes}; label++) {{
            ap_int<{bits}> logit;
            logit.range({bits} - 1, 0) = beat.range({bits} * label + {bits} - 1, {bits} * label);
            *logits++ = logit.to_int();
        }}
    }}
}}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ not found")
@pytest.mark.parametrize("index", [0, 1])
def test_the_function_gives_the_known_answers(package: Package, tmp_path: Path, index: int) -> None:
    stage = package.kernel.stages[index]
    with np.load(io.BytesIO(package.read("vectors.npz"))) as vectors:
        images, expected = np.ascontiguousarray(vectors["images"]), vectors[stage.name]
    csim.lay_out(package, stage, tmp_path)
    call = _CALL.format(name=stage.name, pixels=images[0].size, classes=package.kernel.labels, bits=stage.logit_bits)
    weights = f'#define WEIGHTS_DIR "{tmp_path}/weights"\n#include "{stage.name}.cpp"\n'
    (tmp_path / "all.cpp").write_text(weights + vitis.function(package, stage) + call)
    types = Path(hls4ml.__file__).parent / "templates" / "vivado" / "ap_types"
    library = tmp_path / "all.so"
    command = ["g++", "-std=c++17", "-O1", "-w", "-fPIC", "-shared", f"-I{tmp_path}", f"-I{types}"]
    subprocess.run([*command, "-o", str(library), str(tmp_path / "all.cpp")], check=True, timeout=300)
    logits = np.zeros(expected.shape, np.int32)
    ctypes.CDLL(str(library)).run(
        images.ctypes.data_as(ctypes.c_void_p), len(images), logits.ctypes.data_as(ctypes.c_void_p)
    )
    assert np.array_equal(logits, expected)


def test_without_vitis_hls_the_remedy_is_named(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(BoardError, match="neither `vitis-run` nor `vitis_hls` is on the PATH"):
        vitis.synthesise(prepared.folder, prepared.folder / vivado.COMPONENT / "src")


@needs_tclsh
@pytest.mark.parametrize("program", ["vitis_hls", "vitis-run"])
def test_the_tools_verilog_is_taken_over(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    tools = tmp_path / "Vitis" / "2023.2" / "bin"
    tools.mkdir(parents=True)
    recorder = f"tclsh {STAND_INS}/hls_recorder.tcl synthesise.tcl {BOARD.part}"
    memory = "hls/stage0_project/solution/syn/verilog/stage0_hls_w_rom.dat"
    options = {"vitis_hls": "-f synthesise.tcl", "vitis-run": "--mode hls --tcl synthesise.tcl"}[program]
    (tools / program).write_text(f'#!/bin/sh\nset -e\ntest "$*" = "{options}"\n{recorder}\necho 00 > {memory}\n')
    (tools / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    sources = prepared.folder / vivado.COMPONENT / "src"
    assert vitis.synthesise(prepared.folder, sources) == {"Vitis HLS": "2023.2"}
    assert (sources / "stage1_hls.v").exists()
    assert (sources / "stage0_hls_w_rom.dat").exists()


def test_a_tool_that_fails_is_named_with_its_log(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vitis_hls").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "vitis_hls").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BoardError, match=r"status 3; see its log .*vitis_hls\.log"):
        vitis.synthesise(prepared.folder, prepared.folder / vivado.COMPONENT / "src")
