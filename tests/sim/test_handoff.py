"""What the simulated boards' handoffs say of boards and design is what the board files and Vivado's script say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from hls import ipxact
from hls.boards import load_board
from hls.vivado import SHARED
from sim.pynq.handoff import BOARDS, KERNEL_VLNV, SimulatedBoard, handoff

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
    assert re.search(rf"\b{re.escape(block)}\b", (SHARED / "recorder.tcl").read_text())
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
