"""The register map's generator, and that what it made is what is committed."""

from __future__ import annotations

import pytest

from edgesight.hls.registers import ROOT, SOURCE, RegisterMapError, main, offsets, outputs, read_map
from edgesight.host import registers
from edgesight.host.fabric.base import ALWAYS, NEVER

SMALL = """
[constants]
answer = { value = 42, width = 8, text = "What it is." }

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
"""


def test_the_committed_files_are_what_the_source_makes() -> None:
    made = outputs(read_map((ROOT / SOURCE).read_text()))
    assert set(made) == {"hw/rtl/registers_pkg.sv", "host/registers.py", "hw/REGISTERS.md"}
    for name, text in made.items():
        assert (ROOT / name).read_text() == text, f"{name}: run `python -m edgesight.hls.registers`"
    assert main(["--check"]) == 0


def test_host_and_compiler_see_the_same_offsets() -> None:
    assert offsets() == registers.OFFSETS


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
        ("[constants]", "[constants", "not TOML"),
        ('text = "Four of them."', 'texts = "Four of them."', "registers.1.text"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(old: str, new: str, says: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(RegisterMapError, match=r"hw/registers\.toml: ") as refusal:
        read_map(SMALL.replace(old, new))
    assert says in str(refusal.value)
