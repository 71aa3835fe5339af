"""Hardware handoffs (.hwh) for the simulated boards, and packages that hold one.

Vivado writes such a file beside a bitstream: it tells PYNQ which blocks there are, at which addresses, and how they are
connected. These say of the block design of hw/boards/zynq what PYNQ reads of it (blocks, parameters, ports and their
connections, memory map, clock), so that PYNQ's own parsers (pynqmetadata) take them, and so does cocotbpynq. The path
to memory is left out: nobody looks at it.
Words owned here: handoff, simulated board.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from edgesight.host.board_build import BoardBuild
from edgesight.host.fabric.pynq import DMA, KERNEL
from edgesight.host.package import Package

TOP = "edgesight_axi"  # the kernel as a block design takes it in: hw/boards/zynq
KERNEL_VLNV = (
    "edgesight:ip:kernel:1.0"  # of its component; edgesight.hls.ipxact owns it, and a test holds the two together
)
# What stands where a bitstream would: nobody can load it.
NO_BITSTREAM = b"no bitstream: this stands beside a handoff for simulation\n"
# Signals of a bus by whether its master drives them.
_AXIS = {"TDATA": True, "TKEEP": True, "TVALID": True, "TREADY": False, "TLAST": True}
_AXIL = {
    **{"AWADDR": True, "AWVALID": True, "AWREADY": False, "WDATA": True, "WSTRB": True, "WVALID": True},
    **{"WREADY": False, "BRESP": False, "BVALID": False, "BREADY": True, "ARADDR": True, "ARVALID": True},
    **{"ARREADY": False, "RDATA": False, "RRESP": False, "RVALID": False, "RREADY": True},
}
_DMA_PARAMETERS = {
    "c_include_sg": 0,
    "c_micro_dma": 0,
    "c_sg_length_width": 26,
    "c_include_mm2s": 1,
    "c_include_mm2s_dre": 0,
    "c_m_axi_mm2s_data_width": 64,
    "c_m_axis_mm2s_tdata_width": 64,
    "c_mm2s_burst_size": 16,
    "c_include_s2mm": 1,
    "c_include_s2mm_dre": 0,
    "c_m_axi_s2mm_data_width": 64,
    "c_s_axis_s2mm_tdata_width": 64,
    "c_s2mm_burst_size": 16,
    "c_addr_width": 32,
}


@dataclass(frozen=True)
class SimulatedBoard:
    """What differs between boards in a handoff; a test holds it to their board.toml and the Tcl of hw/boards/zynq."""

    name: str
    pynq_board: str  # environment variable BOARD
    part: str
    architecture: str
    processing_system: str  # type of its block
    version: str  # of that block
    port: str  # of the processing system, by which registers are reached
    clock: str  # its output that clocks the logic
    clock_enable: str  # its parameter by the clock's number
    clock_divisor: str  # its parameter by the clock's number and the divisor's
    clock_source: str  # its parameter by the clock's number: which PLL
    clock_source_mhz: float  # what the divisors divide
    interrupts: str  # its input
    dma_at: int
    kernel_at: int
    interrupts_at: int


BOARDS = {
    board.name: board
    for board in (
        SimulatedBoard(
            name="pynq-z2",
            pynq_board="Pynq-Z2",
            part="xc7z020clg400-1",
            architecture="zynq",
            processing_system="processing_system7",
            version="5.5",
            port="M_AXI_GP0",
            clock="FCLK_CLK0",
            clock_enable="PCW_FPGA_FCLK{}_ENABLE",
            clock_divisor="PCW_FCLK{}_PERIPHERAL_DIVISOR{}",
            clock_source="PCW_FCLK{}_PERIPHERAL_CLKSRC",
            clock_source_mhz=1000.0,
            interrupts="IRQ_F2P",
            dma_at=0x4040_0000,
            kernel_at=0x43C0_0000,
            interrupts_at=0x4180_0000,
        ),
        SimulatedBoard(
            name="kv260",
            pynq_board="KV260",
            part="xck26-sfvc784-2LV-c",
            architecture="zynquplus",
            processing_system="zynq_ultra_ps_e",
            version="3.5",
            port="M_AXI_HPM0_FPD",
            clock="pl_clk0",
            clock_enable="PSU__FPGA_PL{}_ENABLE",
            clock_divisor="PSU__CRL_APB__PL{}_REF_CTRL__DIVISOR{}",
            clock_source="PSU__CRL_APB__PL{}_REF_CTRL__SRCSEL",
            clock_source_mhz=999.99,
            interrupts="pl_ps_irq0",
            dma_at=0xA000_0000,
            kernel_at=0xA001_0000,
            interrupts_at=0xA002_0000,
        ),
    )
}
_RANGE = 0x1_0000  # of the DMA and the interrupt controller
_KERNEL_RANGE = 0x1000  # 12 address bits


def handoff(board: SimulatedBoard, clock_mhz: float, interrupts: bool = True) -> bytes:
    """The .hwh of an EdgeSight design on `board`; without `interrupts`, those of the DMA lead nowhere."""
    clock = ("ps_clock", {"SIGIS": "clk", "CLKFREQUENCY": str(round(clock_mhz * 1e6))})
    reset = ("reset_peripheral_aresetn", {"SIGIS": "rst", "POLARITY": "ACTIVE_LOW"})
    design = _Design(board)

    dma = design.add(DMA, "axi_dma", "xilinx.com:ip:axi_dma:7.1", _DMA_PARAMETERS)
    dma.port("s_axi_lite_aclk", "I", *clock)
    dma.port("m_axi_mm2s_aclk", "I", *clock)
    dma.port("m_axi_s2mm_aclk", "I", *clock)
    dma.port("axi_resetn", "I", *reset)
    dma.port("mm2s_introut", "O", "dma_mm2s_introut")
    dma.port("s2mm_introut", "O", "dma_s2mm_introut")
    dma.bus("S_AXI_LITE", "control_port_M00_AXI", "SLAVE")
    dma.bus("M_AXIS_MM2S", "dma_M_AXIS_MM2S", "INITIATOR")
    dma.bus("S_AXIS_S2MM", "kernel_M_AXIS", "TARGET")

    # Vivado would give its component's name as its type; cocotbpynq wants that of the simulated module.
    kernel = design.add(KERNEL, TOP, KERNEL_VLNV, {})
    kernel.port("aclk", "I", *clock)
    kernel.port("aresetn", "I", *reset)
    kernel.bus("S_AXI", "control_port_M01_AXI", "SLAVE")
    kernel.bus("S_AXIS", "dma_M_AXIS_MM2S", "TARGET")
    kernel.bus("M_AXIS", "kernel_M_AXIS", "INITIATOR")

    controller = design.add("system_interrupts", "axi_intc", "xilinx.com:ip:axi_intc:4.1", {"C_IRQ_CONNECTION": 1})
    controller.port("s_axi_aclk", "I", *clock)
    controller.port("s_axi_aresetn", "I", *reset)
    controller.port("intr", "I", "dma_s2mm_introut" if interrupts else "nothing")
    controller.port("irq", "O", "system_interrupts_irq")
    controller.bus("s_axi", "control_port_M02_AXI", "SLAVE")

    port = design.add("control_port", "smartconnect", "xilinx.com:ip:smartconnect:1.0", {"NUM_SI": 1, "NUM_MI": 3})
    port.port("aclk", "I", *clock)
    port.port("aresetn", "I", "reset_interconnect_aresetn", {"SIGIS": "rst"})
    port.bus("S00_AXI", f"ps_{board.port}", "SLAVE")
    for number in range(3):
        port.bus(f"M{number:02}_AXI", f"control_port_M{number:02}_AXI", "MASTER")

    resets = design.add("reset", "proc_sys_reset", "xilinx.com:ip:proc_sys_reset:5.0", {})
    resets.port("slowest_sync_clk", "I", *clock)
    resets.port("interconnect_aresetn", "O", "reset_interconnect_aresetn", {"SIGIS": "rst"})
    resets.port("peripheral_aresetn", "O", *reset)

    clocks: dict[str, object] = {}
    for number in range(4):  # the logic has one clock, the first
        clocks[board.clock_enable.format(number)] = int(number == 0)
        clocks[board.clock_divisor.format(number, 0)] = round(board.clock_source_mhz / clock_mhz) if number == 0 else 1
        clocks[board.clock_divisor.format(number, 1)] = 1
        clocks[board.clock_source.format(number)] = "IOPLL"
    vlnv = f"xilinx.com:ip:{board.processing_system}:{board.version}"
    ps = design.add("ps", board.processing_system, vlnv, clocks, programmable=False)
    ps.port(board.clock, "O", *clock)
    ps.port(board.interrupts, "I", "system_interrupts_irq")
    ps.bus(board.port, f"ps_{board.port}", "MASTER")
    ps.registers(
        board.port,
        [
            (DMA, "S_AXI_LITE", board.dma_at, _RANGE),
            (KERNEL, "S_AXI", board.kernel_at, _KERNEL_RANGE),
            ("system_interrupts", "s_axi", board.interrupts_at, _RANGE),
        ],
    )
    return design.text()


def package_for(package: Package, folder: Path, board: SimulatedBoard, *, interrupts: bool = True) -> Package:
    """A copy of `package` in `folder` that holds a build for `board`, whose bitstream nobody can load."""
    shutil.copytree(package.path, folder)
    copy = Package.load(folder, verify=False)
    clock_mhz = package.kernel.clock_mhz
    stem = f"boards/{board.name}/{package.kernel.name}"
    build = BoardBuild(
        board=board.name,
        part=board.part,
        flow="vivado",
        bitstream=f"{stem}.bit",
        handoff=f"{stem}.hwh",
        device_tree=None,
        pynq_board=board.pynq_board,
        serial=None,
        clock_mhz=clock_mhz,
        fmax_mhz=clock_mhz,
        worst_slack_ns=0.0,
        utilisation={},
        tools={"none": "a simulated board: no tool ran"},
        reports=[],
    )
    files = {build.bitstream: NO_BITSTREAM, f"{stem}.hwh": handoff(board, clock_mhz, interrupts)}
    return copy.add_board(build, files)


class _Module:
    """A block of a handoff that is being written."""

    def __init__(self, element: ElementTree.Element) -> None:
        self.name = element.attrib["INSTANCE"]
        self._element = element
        self._ports = ElementTree.SubElement(element, "PORTS")
        self._buses = ElementTree.SubElement(element, "BUSINTERFACES")

    def port(self, name: str, direction: str, signal: str, more: Mapping[str, str] = MappingProxyType({})) -> None:
        """A port, `direction` I or O, on a signal; ports on the same one are connected."""
        ElementTree.SubElement(self._ports, "PORT", {"NAME": name, "DIR": direction, "SIGNAME": signal, **more})

    def bus(self, name: str, net: str, role: str) -> None:
        """A bus interface with its ports, whose names begin with its own in small letters.

        `role`: MASTER or SLAVE of an AXI4-Lite bus, INITIATOR or TARGET of a stream.
        """
        stream = role in ("INITIATOR", "TARGET")
        drives = role in ("INITIATOR", "MASTER")
        kind = "xilinx.com:interface:axis:1.0" if stream else "xilinx.com:interface:aximm:1.0"
        element = ElementTree.SubElement(self._buses, "BUSINTERFACE", BUSNAME=net, NAME=name, TYPE=role, VLNV=kind)
        maps = ElementTree.SubElement(element, "PORTMAPS")
        for logical, from_master in (_AXIS if stream else _AXIL).items():
            physical = f"{name}_{logical}".lower()
            self.port(physical, "O" if from_master == drives else "I", f"{net}_{logical}")
            ElementTree.SubElement(maps, "PORTMAP", LOGICAL=logical, PHYSICAL=physical)

    def registers(self, master: str, blocks: Sequence[tuple[str, str, int, int]]) -> None:
        """What the interface `master` reaches: of each block its name, interface, first address and bytes."""
        memory = ElementTree.SubElement(self._element, "MEMORYMAP")
        for instance, slave, base, size in blocks:
            ElementTree.SubElement(
                memory,
                "MEMRANGE",
                ADDRESSBLOCK="Reg",
                BASEVALUE=f"0x{base:08X}",
                HIGHVALUE=f"0x{base + size - 1:08X}",
                INSTANCE=instance,
                MASTERBUSINTERFACE=master,
                MEMTYPE="REGISTER",
                SLAVEBUSINTERFACE=slave,
            )


class _Design:
    """A handoff that is being written."""

    def __init__(self, board: SimulatedBoard) -> None:
        self._system = ElementTree.Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="2024.1", TIMESTAMP="")
        ElementTree.SubElement(
            self._system,
            "SYSTEMINFO",
            ARCH=board.architecture,
            DEVICE=board.part,
            NAME="edgesight",
            PACKAGE="",
            SPEEDGRADE="",
        )
        ElementTree.SubElement(self._system, "EXTERNALPORTS")
        self._modules = ElementTree.SubElement(self._system, "MODULES")

    def add(
        self, name: str, kind: str, vlnv: str, parameters: Mapping[str, object], *, programmable: bool = True
    ) -> _Module:
        """A block; `programmable`: it is made of logic."""
        element = ElementTree.SubElement(
            self._modules,
            "MODULE",
            FULLNAME=f"/{name}",
            INSTANCE=name,
            IS_ENABLE="1",
            IS_PL="TRUE" if programmable else "FALSE",
            MODTYPE=kind,
            VLNV=vlnv,
        )
        values = ElementTree.SubElement(element, "PARAMETERS")
        for key, value in parameters.items():
            ElementTree.SubElement(values, "PARAMETER", NAME=key, VALUE=str(value))
        return _Module(element)

    def text(self) -> bytes:
        """The whole file, in which every output names the inputs that it drives, and every input its output."""
        ends: dict[str, list[tuple[str, ElementTree.Element]]] = {}
        for module in self._modules:
            for port in module.iter("PORT"):
                ends.setdefault(port.attrib["SIGNAME"], []).append((module.attrib["INSTANCE"], port))
        for joined in ends.values():
            for _, port in joined:
                connections = ElementTree.SubElement(port, "CONNECTIONS")
                for instance, other in joined:
                    if other.attrib["DIR"] != port.attrib["DIR"]:
                        ElementTree.SubElement(connections, "CONNECTION", INSTANCE=instance, PORT=other.attrib["NAME"])
        ElementTree.indent(self._system)
        text: bytes = ElementTree.tostring(self._system, encoding="utf-8", xml_declaration=True)
        return text
