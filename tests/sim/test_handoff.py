"""The simulated boards' handoffs say what the board files and Vivado's script say, and PYNQ's own parsers take them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import pytest

from edgesight.hls import ipxact
from edgesight.hls.boards import STAND_INS, load_board
from edgesight.hls.vivado import SHARED
from edgesight.host.fabric.base import FabricError
from edgesight.host.fabric.pynq import PynqFabric
from edgesight.host.package import Package
from edgesight.host.registers import INTERFACE_VERSION, KERNEL_ID
from edgesight.sim.pynq.handoff import BOARDS, KERNEL_VLNV, SimulatedBoard, handoff, package_for
from tests.host.stand_ins import stub_package

ROOT = Path(__file__).resolve().parent.parent.parent

BUILD = (SHARED / "build.tcl").read_text()
INSTANCES = {"dma": "dma", "kernel": "kernel", "system_interrupts": "interrupts"}  # of the Tcl's <name>_address


def set_in(script: str, name: str) -> str:
    """What a Tcl script sets a variable to."""
    found = re.search(rf"^set {name} (\S+)$", script, flags=re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_the_kernel_is_the_component_that_vivado_is_given() -> None:
    assert KERNEL_VLNV == ipxact.VLNV


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_a_board_is_that_of_its_file_and_script(board: SimulatedBoard) -> None:
    facts = load_board(board.name)
    assert (board.part, board.pynq_board) == (facts.part, facts.pynq_board)
    assert board.processing_system == facts.processing_system
    block = f"xilinx.com:ip:{board.processing_system}:{board.version}"
    assert re.search(rf"\b{re.escape(block)}\b", (STAND_INS / "recorder.tcl").read_text())
    script = (SHARED / f"{board.processing_system}.tcl").read_text()
    ends = {"ps_control": board.port, "ps_clock": board.clock, "ps_interrupt": board.interrupts}
    assert {name: set_in(script, name) for name in ends} == {name: f"ps/{end}" for name, end in ends.items()}


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_registers_lie_where_the_script_puts_them(board: SimulatedBoard) -> None:
    script = (SHARED / f"{board.processing_system}.tcl").read_text()
    found = {}
    for memory in ElementTree.fromstring(handoff(board, 100.0)).iter("MEMRANGE"):
        first, last = int(memory.attrib["BASEVALUE"], 16), int(memory.attrib["HIGHVALUE"], 16)
        found[memory.attrib["INSTANCE"]] = (first, last - first + 1)
    expected = {}
    for instance, name in INSTANCES.items():
        size = re.search(rf"-offset \${name}_address -range (0x\d+)", BUILD)
        assert size is not None
        expected[instance] = (int(set_in(script, f"{name}_address"), 16), int(size[1], 16))
    assert found == expected


def test_the_dma_has_the_scripts_parameters() -> None:
    (dma,) = (
        module
        for module in ElementTree.fromstring(handoff(BOARDS["kv260"], 100.0)).iter("MODULE")
        if module.attrib["INSTANCE"] == "dma"
    )
    found = {item.attrib["NAME"]: item.attrib["VALUE"] for item in dma.iter("PARAMETER")}
    given = dict(re.findall(r"CONFIG\.(c_\w+) \{(\d+)\}", BUILD))
    assert len(given) == 10
    assert {name: found.get(name) for name in given} == given


# ---- PYNQ's own parsers ---------------------------------------------------------------------------------------------

PARSE = """
import json, sys
from pynqmetadata.frontends import Metadata
from pynqmetadata.views.runtime import RuntimeMetadataParser
parsed = RuntimeMetadataParser(Metadata(input=sys.argv[1]))
names = ("ip_dict", "interrupt_pins", "interrupt_controllers", "clock_dict")
print(json.dumps({name: getattr(parsed, name) for name in names}, default=str))
"""

Parse = Callable[[bytes], dict[str, Any]]


@pytest.fixture(scope="module", params=["0.1.9", "0.2.0"])
def parse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parse:
    """What a version of pynqmetadata reads from a handoff: that of PYNQ 3, and that of PYNQ 4.0."""
    folder = tmp_path_factory.mktemp("pynqmetadata")
    if importlib.util.find_spec("pynqmetadata") is None:
        pytest.skip("not found: pynqmetadata (extra `dev`)")
    paths = [str(ROOT)]
    if request.param != importlib.metadata.version("pynqmetadata"):
        # Without what it requires: an old pydantic, which it can do without.
        pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site")]
        found = subprocess.run(
            [sys.executable, *pip, f"pynqmetadata=={request.param}"], capture_output=True, text=True, check=False
        )
        if found.returncode != 0:
            pytest.skip(f"pynqmetadata {request.param} cannot be fetched: {found.stderr.strip().splitlines()[-1:]}")
        paths.insert(0, str(folder / "site"))

    def run(text: bytes) -> dict[str, Any]:
        (folder / "design.hwh").write_bytes(text)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PARSE, str(folder / "design.hwh")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_pynqs_parsers_find_what_the_host_asks_for(board: SimulatedBoard, parse: Parse) -> None:
    found = parse(handoff(board, 100.0))
    blocks = {name: block for name, block in found["ip_dict"].items() if "phys_addr" in block}
    assert {name: (block["phys_addr"], block["addr_range"]) for name, block in blocks.items()} == {
        "dma": (board.dma_at, 0x1_0000),
        "kernel": (board.kernel_at, 0x1000),
        "system_interrupts": (board.interrupts_at, 0x1_0000),
    }
    assert blocks["kernel"]["type"] == KERNEL_VLNV
    assert blocks["dma"]["parameters"]["c_sg_length_width"] == "26"
    assert found["interrupt_pins"]["dma/s2mm_introut"]["controller"] == "system_interrupts"
    assert (
        found["interrupt_controllers"]["system_interrupts"]["raw_irq"]
        == {"zynq": 61, "zynquplus": 121}[board.architecture]
    )
    assert found["clock_dict"]["0"]["enable"] == 1
    assert found["clock_dict"]["0"]["divisor0"] == 10


def test_pynqs_parsers_find_no_interrupt_where_none_is_connected(parse: Parse) -> None:
    found = parse(handoff(BOARDS["pynq-z2"], 100.0, interrupts=False))
    assert "dma/s2mm_introut" not in found["interrupt_pins"]
    assert {"dma", "kernel"} <= set(found["ip_dict"])


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_fabric_opens_on_what_pynqs_parsers_read(board: SimulatedBoard, parse: Parse, tmp_path: Path) -> None:
    """The registers are a stand-in's; names, addresses, parameters and interrupts come from PYNQ's code."""
    package = package_for(stub_package(tmp_path / "stub"), tmp_path / "kernel", board)
    build = package.board(board.name)
    assert build.handoff is not None
    fabric = _open(package, board, parse(package.read(build.handoff)))
    assert fabric.interrupts
    fabric.close()
    other = next(other for other in BOARDS.values() if other is not board)
    with pytest.raises(FabricError, match="PYNQ remembers another design"):
        _open(package, board, parse(handoff(other, 100.0)))


def _open(package: Package, board: SimulatedBoard, parsed: dict[str, Any]) -> PynqFabric:
    registers = package.kernel.registers
    words = {
        registers["id"]: KERNEL_ID,
        registers["version"]: INTERFACE_VERSION,
        registers["build_hash"]: int(package.kernel.build_hash, 16),
        registers["weights_hash"]: int(package.kernel.weights_sha256[:8], 16),
    }

    class Idle(dict[int, int]):
        def __missing__(self, index: int) -> int:
            return 0x2 if index in (0x04 // 4, 0x34 // 4) else 0

        def __setitem__(self, index: int, value: int) -> None:
            """Whatever is written, the DMA is idle and out of reset."""

    def mmio(base: int, length: int) -> Any:
        if base == board.dma_at:
            return types.SimpleNamespace(array=Idle())
        assert base == board.kernel_at
        return types.SimpleNamespace(read=lambda offset: words.get(offset, 0), write=lambda offset, value: None)

    pynq = types.ModuleType("pynq")
    vars(pynq).update(
        __version__="3.1.2",
        Overlay=lambda bitstream: types.SimpleNamespace(**parsed),
        MMIO=mmio,
        Clocks=types.SimpleNamespace(fclk0_mhz=100.0),
        Interrupt=lambda name: parsed["interrupt_pins"][name],
        allocate=lambda shape, dtype, **_: types.SimpleNamespace(physical_address=0x1000, nbytes=64),
    )
    with (
        mock.patch.dict(sys.modules, {"pynq": pynq}),
        mock.patch.dict(os.environ, {"BOARD": board.pynq_board, "XILINX_XRT": "/usr"}),
        mock.patch.object(os, "geteuid", return_value=0),
    ):
        return PynqFabric(package)
