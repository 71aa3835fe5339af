"""A Kria without PYNQ: the files by which its own Linux loads a bitstream (`xmutil loadapp`).

Made without vendor tools, after what AMD's documentation (UG1630, "dfx-mgrd") and public designs name. Nobody has
loaded them into a board yet, and the host has no fabric for them: PYNQ's way needs none of them.

Words owned here: firmware image, device tree overlay.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesight.hls.boards import BoardError

# What the loader wants to know of a bitstream that fills the whole logic.
SHELL = b'{\n "shell_type": "XRT_FLAT",\n "num_slots": "1"\n}\n'

# A .bit file: a field of nine bytes whose contents are always the same, a 1, and fields by letter.
_BIT_HEADER = bytes.fromhex("00090ff00ff00ff00ff0000001")
_TEXT_FIELDS, _DATA_FIELD = b"abcd", b"e"  # design, part, date, time; the configuration

# Flattened device tree, version 17 (Devicetree Specification 0.4, chapter 5).
_MAGIC, _VERSION, _COMPATIBLE = 0xD00DFEED, 17, 16
_BEGIN_NODE, _END_NODE, _PROPERTY, _END = 1, 2, 3, 9
_HEADER_BYTES, _RESERVED_BYTES = 40, 16
_UNRESOLVED = 0xFFFF_FFFF  # stands where the loader writes the number of a node of the board's own tree

_CLOCK = 71  # of the PL's first clock, in Linux' numbers (include/dt-bindings/clock/xlnx-zynqmp-clk.h, PL0_REF)
_RESET = 116  # of the whole PL (include/dt-bindings/reset/xlnx-zynqmp-resets.h, PS_PL0)
# Widths of the ports: what the registers of the AFI by number are set to. 4 and 5 are the two of S_AXI_HP0_FPD: 1 is 64
# bits. 14 has M_AXI_HPM0_FPD's in bits 9:8 and M_AXI_HPM1_FPD's in 11:10: 2 is 128 bits, Vivado's default.
_PORT_WIDTHS = (4, 1, 5, 1, 14, 0xA00)

Value = bytes | str | tuple[int, ...]  # of a property: strings end in 0, numbers are 32-bit cells


@dataclass
class _Node:
    properties: dict[str, Value] = field(default_factory=dict)
    children: dict[str, _Node] = field(default_factory=dict)


def firmware_image(bit: bytes) -> bytes:
    """A .bit file as Linux' FPGA manager takes it (.bit.bin): the configuration alone, the bytes of each word turned.

    Raises BoardError if it is no whole .bit file.
    """
    if not bit.startswith(_BIT_HEADER):
        raise BoardError(
            "the bitstream is no .bit file of Vivado's: its first bytes are others: make it again with `make bitstream`"
        )
    at = len(_BIT_HEADER)
    while bit[at : at + 1] and bit[at : at + 1] in _TEXT_FIELDS:
        (length,) = struct.unpack_from(">H", bit.ljust(at + 3), at + 1)
        at += 3 + length
    data = bit[at + 5 :]
    if bit[at : at + 1] != _DATA_FIELD or len(bit) < at + 5 or not data or len(data) % 4:
        raise BoardError(
            "the bitstream is no whole .bit file of Vivado's: its fields do not add up"
            ": make it again with `make bitstream`"
        )
    (length,) = struct.unpack_from(">I", bit, at + 1)
    if length != len(data):
        raise BoardError(
            f"the bitstream is no whole .bit file: it says {length} bytes and has {len(data)}"
            ": make it again with `make bitstream`"
        )
    return struct.pack(f"<{length // 4}I", *struct.unpack(f">{length // 4}I", data))


def overlay(name: str, clock_hz: int, blocks: Mapping[str, tuple[int, int]]) -> bytes:
    """The device tree overlay (.dtbo) that loads firmware `name`.bit.bin and lets programs map its registers.

    `blocks`: address and bytes by name, each becomes a device of the driver `uio_pdrv_genirq`, as generic-uio.
    """
    region = _Node({"firmware-name": f"{name}.bit.bin", "resets": (_UNRESOLVED, _RESET)})
    devices = _Node(
        {"#address-cells": (2,), "#size-cells": (2,)},
        {
            "clocking0": _Node(
                {
                    "#clock-cells": (0,),
                    "assigned-clock-rates": (clock_hz,),
                    "assigned-clocks": (_UNRESOLVED, _CLOCK),
                    "clock-output-names": "fabric_clk",
                    "clocks": (_UNRESOLVED, _CLOCK),
                    "compatible": "xlnx,fclk",
                }
            ),
            "afi0": _Node({"compatible": "xlnx,afi-fpga", "config-afi": _PORT_WIDTHS}),
            **{
                f"edgesight-{block}@{address:x}": _Node(
                    {
                        "compatible": "generic-uio",
                        "reg": (address >> 32, address & 0xFFFF_FFFF, size >> 32, size & 0xFFFF_FFFF),
                        "linux,uio-name": f"edgesight-{block}",
                    }
                )
                for block, (address, size) in blocks.items()
            },
        },
    )
    clocking = "/fragment@1/__overlay__/clocking0"
    root = _Node(
        children={
            "fragment@0": _Node({"target": (_UNRESOLVED,)}, {"__overlay__": region}),
            "fragment@1": _Node({"target": (_UNRESOLVED,)}, {"__overlay__": devices}),
            # Where the numbers of which nodes of the board's own tree belong: path, property and byte.
            "__fixups__": _Node(
                {
                    "fpga_full": "/fragment@0:target:0",
                    "zynqmp_reset": "/fragment@0/__overlay__:resets:0",
                    "amba": "/fragment@1:target:0",
                    "zynqmp_clk": f"{clocking}:assigned-clocks:0\0{clocking}:clocks:0",
                }
            ),
        }
    )
    return _flattened(root)


def _flattened(root: _Node) -> bytes:
    strings: dict[str, int] = {}  # offset by name
    structure = _node("", root, strings) + struct.pack(">I", _END)
    names = b"".join(name.encode() + b"\0" for name in strings)
    at = _HEADER_BYTES + _RESERVED_BYTES
    total = at + len(structure) + len(names)
    header = (_MAGIC, total, at, at + len(structure), _HEADER_BYTES, _VERSION, _COMPATIBLE, 0, len(names))
    return struct.pack(">10I", *header, len(structure)) + bytes(_RESERVED_BYTES) + structure + names


def _node(name: str, node: _Node, strings: dict[str, int]) -> bytes:
    parts = [struct.pack(">I", _BEGIN_NODE), _padded(name.encode() + b"\0")]
    for key, value in node.properties.items():
        if isinstance(value, str):
            value = value.encode() + b"\0"
        elif isinstance(value, tuple):
            value = struct.pack(f">{len(value)}I", *value)
        at = strings.setdefault(key, sum(len(other) + 1 for other in strings))
        parts += [struct.pack(">3I", _PROPERTY, len(value), at), _padded(value)]
    parts += [_node(child, below, strings) for child, below in node.children.items()]
    return b"".join([*parts, struct.pack(">I", _END_NODE)])


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
