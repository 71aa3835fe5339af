"""Hardware handoffs (.hwh) for the simulated boards, and packages that hold one.

Vivado writes such a file beside a bitstream: it tells PYNQ which blocks there are, at which addresses, and how they are
connected. These say of the block design what PYNQ reads of it (blocks, parameters, memory map, interrupts, clock), in
a form that PYNQ's own parser takes, and what cocotbpynq reads besides (bus connections, the kernel's ports).
Words owned here: handoff, simulated board.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from host.fabric.pynq import DMA, KERNEL
from host.kernel import BoardBuild, Package

TOP = "edgesight_axi"  # the kernel as a block design takes it in: hw/boards/zynq
KERNEL_VLNV = "edgesight:ip:kernel:1.0"  # of its component; hls.ipxact owns it, and a test holds the two together
# What stands where a bitstream would: nobody can load it.
NO_BITSTREAM = b"no bitstream: this stands beside a handoff for simulation\n"
_AXIS = ("TDATA", "TKEEP", "TVALID", "TREADY", "TLAST")
_AXIL = (
    *("AWADDR", "AWVALID", "AWREADY", "WDATA", "WSTRB", "WVALID", "WREADY", "BRESP", "BVALID", "BREADY"),
    *("ARADDR", "ARVALID", "ARREADY", "RDATA", "RRESP", "RVALID", "RREADY"),
)
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
            clock_source_mhz=1500.0,
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
    hertz = str(round(clock_mhz * 1e6))
    system = ElementTree.Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION="2024.1", TIMESTAMP="")
    ElementTree.SubElement(
        system, "SYSTEMINFO", ARCH=board.architecture, DEVICE=board.part, NAME="edgesight", PACKAGE="", SPEEDGRADE=""
    )
    ElementTree.SubElement(system, "EXTERNALPORTS")
    modules = ElementTree.SubElement(system, "MODULES")

    dma = _module(modules, DMA, "axi_dma", "xilinx.com:ip:axi_dma:7.1")
    _parameters(dma, _DMA_PARAMETERS)
    _ports(dma, [("mm2s_introut", "O", "dma_mm2s_introut", {}), ("s2mm_introut", "O", "dma_s2mm_introut", {})])
    buses = ElementTree.SubElement(dma, "BUSINTERFACES")
    _bus(buses, "M_AXIS_MM2S", "dma_M_AXIS_MM2S", "INITIATOR", "axis", {})
    _bus(buses, "S_AXIS_S2MM", "kernel_M_AXIS", "TARGET", "axis", {})

    # Vivado would give its component's name as its type; cocotbpynq wants that of the simulated module.
    kernel = _module(modules, KERNEL, TOP, KERNEL_VLNV)
    clocked = {"SIGIS": "clk", "CLKFREQUENCY": hertz}
    _ports(
        kernel,
        [
            ("aclk", "I", "ps_clock", clocked),
            ("aresetn", "I", "ps_resetn", {"SIGIS": "rst", "POLARITY": "ACTIVE_LOW"}),
        ],
    )
    buses = ElementTree.SubElement(kernel, "BUSINTERFACES")
    _bus(buses, "S_AXIS", "dma_M_AXIS_MM2S", "TARGET", "axis", {name: f"s_axis_{name.lower()}" for name in _AXIS})
    _bus(buses, "M_AXIS", "kernel_M_AXIS", "INITIATOR", "axis", {name: f"m_axis_{name.lower()}" for name in _AXIS})
    _bus(buses, "S_AXI", "registers", "SLAVE", "aximm", {name: f"s_axi_{name.lower()}" for name in _AXIL})

    joined = _module(modules, "joined_interrupts", "xlconcat", "xilinx.com:ip:xlconcat:2.1")
    _parameters(joined, {"NUM_PORTS": 2})
    lines = ("dma_mm2s_introut", "dma_s2mm_introut") if interrupts else ("nothing_0", "nothing_1")
    _ports(
        joined, [("In0", "I", lines[0], {}), ("In1", "I", lines[1], {}), ("dout", "O", "joined_interrupts_dout", {})]
    )
    controller = _module(modules, "system_interrupts", "axi_intc", "xilinx.com:ip:axi_intc:4.1")
    _ports(controller, [("intr", "I", "joined_interrupts_dout", {}), ("irq", "O", "system_interrupts_irq", {})])

    ps = _module(modules, "ps", board.processing_system, f"xilinx.com:ip:{board.processing_system}:{board.version}")
    clocks = {}
    for number in range(4):  # the logic has one clock, the first
        clocks[board.clock_enable.format(number)] = int(number == 0)
        clocks[board.clock_divisor.format(number, 0)] = round(board.clock_source_mhz / clock_mhz) if number == 0 else 1
        clocks[board.clock_divisor.format(number, 1)] = 1
    _parameters(ps, clocks)
    _ports(
        ps,
        [
            (board.clock, "O", "ps_clock", clocked),
            (board.interrupts, "I", "system_interrupts_irq", {}),
        ],
    )
    memory = ElementTree.SubElement(ps, "MEMORYMAP")
    for instance, base, size, slave in (
        (DMA, board.dma_at, _RANGE, "S_AXI_LITE"),
        (KERNEL, board.kernel_at, _KERNEL_RANGE, "S_AXI"),
        ("system_interrupts", board.interrupts_at, _RANGE, "s_axi"),
    ):
        ElementTree.SubElement(
            memory,
            "MEMRANGE",
            ADDRESSBLOCK="Reg",
            BASEVALUE=f"{base:#010X}".replace("X", "x"),
            HIGHVALUE=f"{base + size - 1:#010X}".replace("X", "x"),
            INSTANCE=instance,
            MASTERBUSINTERFACE=board.port,
            MEMTYPE="REGISTER",
            SLAVEBUSINTERFACE=slave,
        )
    ElementTree.indent(system)
    text: bytes = ElementTree.tostring(system, encoding="utf-8", xml_declaration=True)
    return text


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


def _module(modules: ElementTree.Element, name: str, kind: str, vlnv: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        modules, "MODULE", FULLNAME=f"/{name}", INSTANCE=name, MODTYPE=kind, VLNV=vlnv, IS_ENABLE="1"
    )


def _parameters(module: ElementTree.Element, values: dict[str, int]) -> None:
    parameters = ElementTree.SubElement(module, "PARAMETERS")
    for name, value in values.items():
        ElementTree.SubElement(parameters, "PARAMETER", NAME=name, VALUE=str(value))


def _ports(module: ElementTree.Element, ports: list[tuple[str, str, str, dict[str, str]]]) -> None:
    """Ports by name, direction, signal and what else is known of them."""
    parent = ElementTree.SubElement(module, "PORTS")
    for name, direction, signal, more in ports:
        ElementTree.SubElement(parent, "PORT", {"NAME": name, "DIR": direction, "SIGNAME": signal, **more})


def _bus(parent: ElementTree.Element, name: str, net: str, kind: str, interface: str, ports: dict[str, str]) -> None:
    """A bus interface; `ports` maps the standard's signals to the module's ports."""
    bus = ElementTree.SubElement(
        parent, "BUSINTERFACE", BUSNAME=net, NAME=name, TYPE=kind, VLNV=f"xilinx.com:interface:{interface}:1.0"
    )
    maps = ElementTree.SubElement(bus, "PORTMAPS")
    for logical, physical in ports.items():
        ElementTree.SubElement(maps, "PORTMAP", LOGICAL=logical, PHYSICAL=physical)
