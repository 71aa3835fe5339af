"""The register map's generator, and that what it made is what is committed."""

from __future__ import annotations

import re

import pytest

from edgesight.hls.registers import ROOT, RegisterMapError, main, outputs, own_map, read_map
from edgesight.host import registers
from edgesight.host.fabric.base import ALWAYS, NEVER

FRAME_INPUT = ROOT / "hw" / "rtl" / "frame_input.sv"
SMALL = """
[constants]
answer = { value = 42, width = 8, text = "What it is." }

[[header]]
name = "tag"
bits = [31, 0]
text = "Which."
[[header]]
name = "rest"
bits = [47, 32]
text = "Nothing."
[[header]]
name = "magic"
bits = [63, 48]
text = "Something."

[[record]]
name = "tag"
bits = [31, 0]
text = "Which."
[[record]]
name = "flags"
bits = [63, 32]
text = "What it was."
fields = [{ name = "odd", bits = [4, 4], text = "Odd." }]
[[record]]
name = "low"
bits = [95, 64]
text = "Low."
[[record]]
name = "high"
bits = [127, 96]
text = "High."

[[errors]]
name = "none"
value = 0
text = "No error."

[[registers]]
name = "first"
offset = 0x0
access = "ro"
reset = "0"
text = "The first."
fields = [{ name = "low", bits = [3, 0], text = "Low bits." }, { name = "high", bits = [31, 16], text = "High bits." }]

[[registers]]
name = "row"
offset = 0x10
access = "rw"
reset = "0"
count = 4
text = "Four of them."

[serial]
constants = { mark = { value = 0x7E, width = 7, text = "Between packets." } }
packets = [{ name = "ask", value = 2, text = "A question." }]
registers = [{ name = "line", offset = 4096, access = "rw", reset = "0", text = "The line." }]
"""


def test_the_committed_files_are_what_the_source_makes() -> None:
    made = outputs(own_map())
    assert set(made) == {
        *("hw/rtl/registers_pkg.sv", "hw/serial/serial_protocol_pkg.sv", "hw/REGISTERS.md"),
        *("host/registers.py", "host/fabric/serial_protocol.py"),
    }
    for name, text in made.items():
        assert (ROOT / name).read_text() == text, f"{name}: run `python -m edgesight.hls.registers`"
    assert main(["--check"]) == 0


def test_host_and_compiler_see_the_same_offsets() -> None:
    assert {register.name: register.offset for register in own_map().registers} == registers.OFFSETS


def test_the_records_struct_of_the_hardware_has_the_layout_of_the_source() -> None:
    """Its text counts in the build hash of shipped kernels, and is not made anew for want of a reason."""
    package = (ROOT / "hw" / "rtl" / "cascade_pkg.sv").read_text()
    struct = package[: package.index("} record_t;")].rpartition("struct packed {")[2]
    fields = re.findall(r"logic \[ *(\d+):0\] +(\w+);", struct)
    layout, low = {}, 0
    for high, name in reversed(fields):  # the first of a packed struct lies highest
        layout[name] = (low, int(high) + 1)
        low += int(high) + 1
    assert layout == registers.RECORD
    (offload,) = re.findall(r"OffloadBit = (\d+);", package)
    assert 1 << int(offload) == registers.RECORD_STAGE_OFFLOAD
    (first,) = re.findall(r"s_axis_tdata_i\[(\d+):(\d+)\] >= ThresholdSets", FRAME_INPUT.read_text())
    high, low = map(int, first)
    assert (low, high + 1 - low) == registers.HEADER["set"]


def test_always_and_never_are_the_ends_of_a_threshold() -> None:
    assert (ALWAYS, NEVER) == (0, registers.THRESHOLD_NEVER)
    assert NEVER == 0xFFFF_FFFF


def test_every_language_says_the_same() -> None:
    made = outputs(read_map(SMALL))
    assert "localparam logic [7:0] Answer = 8'h2A;" in made["hw/rtl/registers_pkg.sv"]
    assert "localparam logic [11:0] RegRow = 12'h010;" in made["hw/rtl/registers_pkg.sv"]
    assert "localparam int unsigned FirstHighBit = 16;" in made["hw/rtl/registers_pkg.sv"]
    scope: dict[str, object] = {"__name__": "made"}
    exec(made["host/registers.py"], scope)
    assert scope["ANSWER"] == 42
    assert scope["OFFSETS"] == {"first": 0, "row": 0x10}
    assert (scope["FIRST_LOW"], scope["FIRST_HIGH"]) == (0xF, 0xFFFF_0000)
    assert "| 0x010 + 4 x set | `row`[4] | read, write | 0 | Four of them. |" in made["hw/REGISTERS.md"]
    assert "| `first` | 31:16 | `high` | High bits. |" in made["hw/REGISTERS.md"]
    assert scope["HEADER"] == {"tag": (0, 32), "rest": (32, 16), "magic": (48, 16)}
    assert scope["RECORD_FLAGS_ODD"] == 0x10
    assert "| 36 | `flags.odd` | Odd. |" in made["hw/REGISTERS.md"]
    line: dict[str, object] = {"__name__": "made"}
    exec(made["host/fabric/serial_protocol.py"], line)
    assert (line["MARK"], line["LINE"]) == (0x7E, 0x1000)
    assert line["Packet"](2).name == "ASK"  # type: ignore[operator] # made a moment ago
    assert "localparam logic [6:0] Mark = 7'h7E;" in made["hw/serial/serial_protocol_pkg.sv"]
    assert "TypeAsk = 8'd2" in made["hw/serial/serial_protocol_pkg.sv"]
    assert "localparam logic [15:0] RegLine = 16'h1000;" in made["hw/serial/serial_protocol_pkg.sv"]
    assert "| 0x02 | `ask` | A question. |" in made["hw/REGISTERS.md"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("offset = 0x10", "offset = 0x0", "register row: offset 0x000 overlaps"),
        ("offset = 0x10", "offset = 0x11", "registers.1.offset"),
        ("offset = 0x10", "offset = 0xFFC", "reaches beyond"),
        ('name = "row"', 'name = "first"', "register first: named twice"),
        ("bits = [31, 16]", "bits = [31, 3]", "field high: bits 31:3 out of order"),
        ("bits = [31, 16]", "bits = [32, 16]", "field high: bits 32:16 out of order"),
        ("width = 8", "width = 5", "0x2a does not fit in 5 bits"),
        ("value = 0\n", "value = 1\n", "errors: values must count up from 0"),
        ('access = "ro"', 'access = "none"', "registers.0.access"),
        ("bits = [47, 32]", "bits = [46, 32]", "header: field rest: bits 46:32 are not the next 1, 2 or 4 bytes"),
        ("bits = [95, 64]", "bits = [71, 64]", "record: field high: bits 127:96 are not the next"),
        ("bits = [127, 96]", "bits = [111, 96]", "record: its fields have 112 bits of 128"),
        ("bits = [4, 4]", "bits = [32, 4]", "record: field flags: field odd: bits 32:4 out of order"),
        ("offset = 4096", "offset = 0xFFC", "register line: offset 0xffc overlaps"),
        ("width = 7", "width = 4", "constant mark: 0x7e does not fit in 4 bits"),
        ("[constants]", "[constants", "not TOML"),
        ('text = "Four of them."', 'texts = "Four of them."', "registers.1.text"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(old: str, new: str, says: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(RegisterMapError, match=r"hw/registers\.toml: ") as refusal:
        read_map(SMALL.replace(old, new))
    assert says in str(refusal.value)
