"""The register map's generator: `hw/registers.toml` in, SystemVerilog, Python and documentation out.

`python -m edgesight.hls.registers` writes the three files anew; `python -m edgesight.hls.registers --check` only
compares.
Words owned here: register, field, access, register map.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Annotated, Literal

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgesight.host.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
SOURCE = "hw/registers.toml"
ADDRESS_SPACE = 0x1000  # bytes; the AXI4-Lite port has 12 address bits
WORD = 4  # bytes a register

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
NOTICE = f"Made from {SOURCE} by `python -m edgesight.hls.registers`; change it there."
# Every byte of the hardware's text counts in the build hash of each kernel, the shipped ones too: kept as it was, which
# works in a checkout, until the hardware changes anyway.
HARDWARE_NOTICE = f"Made from {SOURCE} by `python -m hls.registers`; change it there."


class RegisterMapError(ValueError):
    """The register map's source contradicts itself: says where."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Strict):
    """A number that hardware and host must agree on."""

    value: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1, le=32)]
    text: str


class ErrorCode(_Strict):
    """One value of a record's error byte."""

    name: Name
    value: Annotated[int, Field(ge=0, le=255)]
    text: str


class BitField(_Strict):
    """Bits [high, low] of a register."""

    name: Name
    bits: tuple[int, int]
    text: str

    @property
    def mask(self) -> int:
        """The field's bits set, in place."""
        high, low = self.bits
        return ((1 << (high - low + 1)) - 1) << low


class Register(_Strict):
    """One 32-bit register, or `count` alike in a row."""

    name: Name
    offset: Annotated[int, Field(ge=0, lt=ADDRESS_SPACE, multiple_of=WORD)]
    access: Literal["ro", "rw", "wo", "w1c"]
    reset: str  # a number, or the parameter of the hardware that it shows
    text: str
    count: Annotated[int, Field(ge=1)] = 1
    fields: list[BitField] = []

    @property
    def end(self) -> int:
        """First byte offset behind it."""
        return self.offset + WORD * self.count


class RegisterMap(_Strict):
    """Contents of the source."""

    constants: dict[Name, Constant]
    errors: list[ErrorCode]
    registers: list[Register]

    @model_validator(mode="after")
    def _consistent(self) -> RegisterMap:
        for kind, names in (("error", [e.name for e in self.errors]), ("register", [r.name for r in self.registers])):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{kind} {name}: named twice")
        for name, constant in self.constants.items():
            if constant.value >> constant.width:
                raise ValueError(f"constant {name}: {constant.value:#x} does not fit in {constant.width} bits")
        if [e.value for e in self.errors] != list(range(len(self.errors))):
            raise ValueError("errors: values must count up from 0")
        end = 0
        for register in self.registers:
            if register.offset < end:
                raise ValueError(f"register {register.name}: offset {register.offset:#05x} overlaps the one before")
            end = register.end
            free = 0
            for field in register.fields:
                high, low = field.bits
                if not free <= low <= high <= 31:
                    raise ValueError(f"register {register.name}: field {field.name}: bits {high}:{low} out of order")
                free = high + 1
        if end > ADDRESS_SPACE:
            raise ValueError(f"register {self.registers[-1].name}: reaches beyond {ADDRESS_SPACE:#x}")
        return self


def read_map(text: str) -> RegisterMap:
    """Parse and check the source's text; raise RegisterMapError that names the entry at fault."""
    try:
        return RegisterMap.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise RegisterMapError(f"{SOURCE}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "map"
        raise RegisterMapError(f"{SOURCE}: {where}: {first['msg']}") from error


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _comment(text: str, start: str) -> list[str]:
    return textwrap.wrap(text, 120, initial_indent=start, subsequent_indent=start)


def systemverilog(table: RegisterMap) -> str:
    """Text of `hw/rtl/registers_pkg.sv`."""
    lines = [
        f"// {HARDWARE_NOTICE}",
        "/// The register map's byte offsets and bit positions, the record's error codes, the protocol's constants.",
        "package registers_pkg;",
        "",
    ]
    for name, constant in table.constants.items():
        digits = (constant.width + 3) // 4
        lines += _comment(constant.text, "  // ")
        lines.append(
            f"  localparam logic [{constant.width - 1}:0] {_camel(name)} = "
            f"{constant.width}'h{constant.value:0{digits}X};"
        )
    lines += ["", "  // Error byte of a record.", "  typedef enum logic [7:0] {"]
    last = table.errors[-1]
    for code in table.errors:
        lines += _comment(code.text, "    // ")
        lines.append(f"    Error{_camel(code.name)} = 8'd{code.value}{'' if code is last else ','}")
    lines += ["  } error_e;", "", "  // Registers: byte offsets."]
    for register in table.registers:
        lines.append(f"  localparam logic [11:0] Reg{_camel(register.name)} = 12'h{register.offset:03X};")
    lines += ["", "  // Fields: lowest bit and width."]
    for register in table.registers:
        for field in register.fields:
            high, low = field.bits
            stem = f"{_camel(register.name)}{_camel(field.name)}"
            lines.append(f"  localparam int unsigned {stem}Bit = {low};")
            if high > low:
                lines.append(f"  localparam int unsigned {stem}Width = {high - low + 1};")
    lines += ["", "endpackage", ""]
    return "\n".join(lines)


def python(table: RegisterMap) -> str:
    """Text of `host/registers.py`."""
    lines = [
        f"# {NOTICE}",
        '"""The kernel\'s register map: byte offsets, field masks, record errors and the protocol\'s constants.',
        "",
        "Words owned here: the names of the registers and of the record's errors.",
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from enum import IntEnum",
        "",
    ]
    for name, constant in table.constants.items():
        lines += _comment(constant.text, "# ")
        lines.append(f"{name.upper()} = 0x{constant.value:0{(constant.width + 3) // 4}X}")
    lines += ["", "", "class Error(IntEnum):", '    """Error byte of a record."""', ""]
    for code in table.errors:
        lines += _comment(code.text, "    # ")
        lines.append(f"    {code.name.upper()} = {code.value}")
    lines += ["", "", "# Byte offset on AXI4-Lite by name; threshold<k> of set s lies 4 * s behind its name's."]
    lines.append("OFFSETS: dict[str, int] = {")
    lines += [f'    "{register.name}": 0x{register.offset:03X},' for register in table.registers]
    lines += ["}", ""]
    for register in table.registers:
        if not register.fields:
            continue
        lines.append(f"# Fields of {register.name}: masks in place.")
        for field in register.fields:
            lines += _comment(field.text, "# ")
            lines.append(f"{register.name.upper()}_{field.name.upper()} = 0x{field.mask:08X}")
        lines.append("")
    return "\n".join(lines)


def markdown(table: RegisterMap) -> str:
    """Text of `hw/REGISTERS.md`."""
    access = {"ro": "read", "rw": "read, write", "wo": "write", "w1c": "read, write 1 to clear"}
    lines = [
        "# Register map",
        "",
        f"<!-- {NOTICE} -->",
        "",
        "AXI4-Lite, 32-bit registers, 12 address bits. Byte strobes are honoured. An address without a register reads",
        "0 and takes writes without effect; every response is OKAY. Reset values that are names are the hardware's",
        "parameters.",
        "",
        "| offset | name | access | reset | meaning |",
        "|---|---|---|---|---|",
    ]
    for register in table.registers:
        name, offset = f"`{register.name}`", f"0x{register.offset:03X}"
        if register.count > 1:
            name, offset = f"`{register.name}`[{register.count}]", f"{offset} + 4 x set"
        lines.append(f"| {offset} | {name} | {access[register.access]} | {register.reset} | {register.text} |")
    lines += ["", "## Fields", "", "| register | bits | field | meaning |", "|---|---|---|---|"]
    for register in table.registers:
        for field in register.fields:
            high, low = field.bits
            bits = f"{high}" if high == low else f"{high}:{low}"
            lines.append(f"| `{register.name}` | {bits} | `{field.name}` | {field.text} |")
    lines += ["", "## Error codes of a record", "", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | `{code.name}` | {code.text} |" for code in table.errors]
    lines += ["", "## Constants", "", "| name | value | meaning |", "|---|---|---|"]
    for name, constant in table.constants.items():
        value = f"0x{constant.value:0{(constant.width + 3) // 4}X}"
        lines.append(f"| `{name}` | {value} | {constant.text} |")
    lines.append("")
    return "\n".join(lines)


def outputs(table: RegisterMap) -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    return {
        "hw/rtl/registers_pkg.sv": systemverilog(table),
        "host/registers.py": python(table),
        "hw/REGISTERS.md": markdown(table),
    }


def offsets() -> dict[str, int]:
    """Byte offset by register name, from the source in this repository."""
    return {register.name: register.offset for register in read_map((ROOT / SOURCE).read_text()).registers}


def main(arguments: list[str]) -> int:
    """Write the generated files, or with `--check` name those that differ; returns the exit status."""
    generated = outputs(read_map((ROOT / SOURCE).read_text()))
    stale = [name for name, text in generated.items() if not _same(ROOT / name, text)]
    if arguments == ["--check"]:
        for name in stale:
            print(f"{name}: differs from what {SOURCE} makes; run `python -m edgesight.hls.registers`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        write_atomically(ROOT / name, generated[name].encode())
        print(f"wrote {name}")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
