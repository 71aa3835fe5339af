"""The register map's generator: `hw/registers.toml` in, SystemVerilog, Python and documentation out.

`python -m edgesight.hls.registers` writes all of them anew; `python -m edgesight.hls.registers --check` only compares.
Words owned here: register, field, access, register map, layout.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
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


_PROTOCOL = """\
On the wire a packet stands between flag bytes, as in HDLC over asynchronous lines (RFC 1662): flag and escape bytes
within it are replaced by an escape byte and the byte exclusive-or `escape_flip`. Its last four bytes are the frame
check sequence, lowest byte first: the CRC-32 of ISO 3309 over all bytes before. Numbers go lowest byte first.

A reply repeats its request's sequence byte. Requests and frames may be repeated when no answer came: reading,
writing the same value and answering the same frame again do no harm, and tags tell records apart. Addresses below
0x1000 are the kernel's registers, those from there on the line's own."""


_RECORDS = """\
A record has `record_beats` beats; TLAST can only be on the last of them. The first two are below. A kernel of one
network may say the logits of the frame behind them: signed integers of 32 bits, two a beat, the first in the lower
half, a half that is left over 0. There, records with an error, closing ones too, have as many beats, of 0: all records
are of one length."""


class RegisterMapError(ValueError):
    """The register map's source contradicts itself: says where."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Strict):
    """A number that hardware and host must agree on."""

    value: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1, le=32)]
    text: str


class Code(_Strict):
    """One value of a byte: a record's error, a packet's type."""

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


class LayoutField(BitField):
    """Bits [high, low] of a frame's header or of a record."""

    fields: list[BitField] = []  # their bits count from this one's lowest


class Register(_Strict):
    """One 32-bit register, or `count` alike in a row."""

    name: Name
    offset: Annotated[int, Field(ge=0, lt=1 << 16, multiple_of=WORD)]
    access: Literal["ro", "rw", "wo", "w1c"]
    reset: str  # a number, or the parameter of the hardware that it shows
    text: str
    count: Annotated[int, Field(ge=1)] = 1
    fields: list[BitField] = []

    @property
    def end(self) -> int:
        """First byte offset behind it."""
        return self.offset + WORD * self.count


class SerialProtocol(_Strict):
    """The packets of the serial line, and its own registers behind the kernel's."""

    constants: dict[Name, Constant]
    packets: list[Code]
    registers: list[Register]


class RegisterMap(_Strict):
    """Contents of the source."""

    constants: dict[Name, Constant]
    header: list[LayoutField]
    record: list[LayoutField]
    errors: list[Code]
    registers: list[Register]
    serial: SerialProtocol

    @model_validator(mode="after")
    def _consistent(self) -> RegisterMap:
        kinds: dict[str, Sequence[Code | Register]] = {
            "error": self.errors,
            "register": [*self.registers, *self.serial.registers],
            "packet": self.serial.packets,
        }
        for kind, entries in kinds.items():
            names = [entry.name for entry in entries]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{kind} {name}: named twice")
        for name, constant in {**self.constants, **self.serial.constants}.items():
            if constant.value >> constant.width:
                raise ValueError(f"constant {name}: {constant.value:#x} does not fit in {constant.width} bits")
        if [e.value for e in self.errors] != list(range(len(self.errors))):
            raise ValueError("errors: values must count up from 0")
        _check_layout("header", self.header, 64)
        _check_layout("record", self.record, 128)
        _check_registers(self.registers, 0, ADDRESS_SPACE)
        _check_registers(self.serial.registers, ADDRESS_SPACE, 1 << 16)
        return self


def _check_layout(name: str, fields: Sequence[LayoutField], size: int) -> None:
    """ValueError unless the fields are whole bytes and leave no bit of `size` out."""
    free = 0
    for field in fields:
        high, low = field.bits
        if low != free or high < low or (high + 1 - low) not in (8, 16, 32):
            raise ValueError(f"{name}: field {field.name}: bits {high}:{low} are not the next 1, 2 or 4 bytes")
        _check_fields(f"{name}: field {field.name}", field.fields, high - low)
        free = high + 1
    if free != size:
        raise ValueError(f"{name}: its fields have {free} bits of {size}")


def _check_registers(registers: Sequence[Register], start: int, stop: int) -> None:
    """ValueError unless the registers lie one behind the other in the byte addresses from `start` to `stop`."""
    end = start
    for register in registers:
        if register.offset < end:
            raise ValueError(f"register {register.name}: offset {register.offset:#05x} overlaps the one before")
        end = register.end
        if end > stop:
            raise ValueError(f"register {register.name}: reaches beyond {stop:#x}")
        _check_fields(f"register {register.name}", register.fields, 31)


def _check_fields(where: str, fields: Sequence[BitField], highest: int) -> None:
    free = 0
    for field in fields:
        high, low = field.bits
        if not free <= low <= high <= highest:
            raise ValueError(f"{where}: field {field.name}: bits {high}:{low} out of order")
        free = high + 1


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
        f"// {NOTICE}",
        "/// The register map's byte offsets and bit positions, the record's error codes, the protocol's constants.",
        "package registers_pkg;",
        "",
    ]
    lines += _localparams(table.constants)
    lines += ["", "  // Error byte of a record.", *_enum("error_e", "Error", table.errors)]
    lines += ["", "  // Registers: byte offsets."]
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


def _localparams(constants: Mapping[str, Constant]) -> Iterable[str]:
    for name, constant in constants.items():
        digits = (constant.width + 3) // 4
        yield from _comment(constant.text, "  // ")
        yield (
            f"  localparam logic [{constant.width - 1}:0] {_camel(name)} = "
            f"{constant.width}'h{constant.value:0{digits}X};"
        )


def _enum(name: str, prefix: str, codes: Sequence[Code]) -> Iterable[str]:
    yield "  typedef enum logic [7:0] {"
    for code in codes:
        yield from _comment(code.text, "    // ")
        yield f"    {prefix}{_camel(code.name)} = 8'd{code.value}{'' if code is codes[-1] else ','}"
    yield f"  }} {name};"


def serial_systemverilog(protocol: SerialProtocol) -> str:
    """Text of `hw/serial/serial_protocol_pkg.sv`."""
    lines = [
        f"// {NOTICE}",
        "/// The serial line's packets: framing bytes, types, and the line's own registers, all read-only.",
        "///",
        *(f"/// {line}".rstrip() for line in _PROTOCOL.splitlines()),
        "package serial_protocol_pkg;",
        "",
        *_localparams(protocol.constants),
        "",
        "  // Type byte of a packet.",
        *_enum("type_e", "Type", protocol.packets),
        "",
        "  // Registers: byte offsets.",
    ]
    for register in protocol.registers:
        lines += _comment(register.text, "  // ")
        lines.append(f"  localparam logic [15:0] Reg{_camel(register.name)} = 16'h{register.offset:04X};")
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
    lines += _assignments(table.constants)
    lines += ["", "", "class Error(IntEnum):", '    """Error byte of a record."""', "", *_members(table.errors)]
    lines += ["", *_layout("HEADER", "A frame's first beat", table.header)]
    lines += ["", *_layout("RECORD", "A result record", table.record)]
    lines += ["", "# Byte offset on AXI4-Lite by name; threshold<k> of set s lies 4 * s behind its name's."]
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


def _assignments(constants: Mapping[str, Constant]) -> Iterable[str]:
    for name, constant in constants.items():
        yield from _comment(constant.text, "# ")
        yield f"{name.upper()} = 0x{constant.value:0{(constant.width + 3) // 4}X}"


def _members(codes: Sequence[Code]) -> Iterable[str]:
    for code in codes:
        yield from _comment(code.text, "    # ")
        yield f"    {code.name.upper()} = {code.value}"


def _layout(name: str, what: str, fields: Sequence[LayoutField]) -> Iterable[str]:
    yield ""
    yield f"# {what}, little-endian: lowest bit and bits of each field, in order."
    yield f"{name}: dict[str, tuple[int, int]] = {{"
    for field in fields:
        high, low = field.bits
        yield from _comment(field.text, "    # ")
        yield f'    "{field.name}": ({low}, {high + 1 - low}),'
    yield "}"
    for field in fields:
        for inner in field.fields:
            yield from _comment(inner.text, "# ")
            yield f"{name}_{field.name.upper()}_{inner.name.upper()} = 0x{inner.mask:02X}"


def serial_python(protocol: SerialProtocol) -> str:
    """Text of `host/fabric/serial_protocol.py`."""
    lines = [
        f"# {NOTICE}",
        '"""The serial line\'s packets: framing bytes, types, and byte offsets of the line\'s own registers.',
        "",
        *_PROTOCOL.splitlines(),
        '"""',
        "",
        "from __future__ import annotations",
        "",
        "from enum import IntEnum",
        "",
        *_assignments(protocol.constants),
        "",
        "",
        "class Packet(IntEnum):",
        '    """Type byte of a packet."""',
        "",
        *_members(protocol.packets),
        "",
        "",
        "# Byte offsets of the line's own registers, all read-only; the counters wrap.",
    ]
    for register in protocol.registers:
        lines += _comment(register.text, "# ")
        lines.append(f"{register.name.upper()} = 0x{register.offset:04X}")
    return "\n".join([*lines, ""])


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
        lines += [f"| `{register.name}` {_field(field)}" for field in register.fields]
    records = ["Little-endian.", "", *_RECORDS.splitlines()]
    for title, fields, told in (
        ("Header of a frame", table.header, ["Little-endian."]),
        ("Result record", table.record, records),
    ):
        lines += ["", f"## {title}", "", *told, "", "| bits | field | meaning |", "|---|---|---|"]
        for part in fields:
            lines += [_field(part), *(_field(inner, part) for inner in part.fields)]
    lines += ["", "## Error codes of a record", "", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {code.value} | `{code.name}` | {code.text} |" for code in table.errors]
    lines += ["", "## Constants", "", "| name | value | meaning |", "|---|---|---|"]
    lines += [_constant(name, constant) for name, constant in table.constants.items()]
    protocol = table.serial
    lines += ["", "## Serial line", "", _PROTOCOL, "", "| type | packet | meaning |", "|---|---|---|"]
    lines += [f"| 0x{packet.value:02X} | `{packet.name}` | {packet.text} |" for packet in protocol.packets]
    lines += ["", "The line's own registers are read-only; the counters wrap.", ""]
    lines += ["| address | name | meaning |", "|---|---|---|"]
    lines += [f"| 0x{register.offset:04X} | `{register.name}` | {register.text} |" for register in protocol.registers]
    lines += ["", "| name | value | meaning |", "|---|---|---|"]
    lines += [_constant(name, constant) for name, constant in protocol.constants.items()]
    lines.append("")
    return "\n".join(lines)


def _field(field: BitField, within: BitField | None = None) -> str:
    """A row of a table: bits, name and meaning; of a field `within` another, by the bits of the whole."""
    high, low = (bit + (within.bits[1] if within is not None else 0) for bit in field.bits)
    name = field.name if within is None else f"{within.name}.{field.name}"
    return f"| {f'{high}' if high == low else f'{high}:{low}'} | `{name}` | {field.text} |"


def _constant(name: str, constant: Constant) -> str:
    return f"| `{name}` | 0x{constant.value:0{(constant.width + 3) // 4}X} | {constant.text} |"


def outputs(table: RegisterMap) -> dict[str, str]:
    """Text of every generated file by its path in the repository."""
    return {
        "hw/rtl/registers_pkg.sv": systemverilog(table),
        "hw/serial/serial_protocol_pkg.sv": serial_systemverilog(table.serial),
        "host/registers.py": python(table),
        "host/fabric/serial_protocol.py": serial_python(table.serial),
        "hw/REGISTERS.md": markdown(table),
    }


def own_map() -> RegisterMap:
    """The register map of this very hardware."""
    return read_map((ROOT / SOURCE).read_text())


def main(arguments: list[str]) -> int:
    """Write the generated files, or with `--check` name those that differ; returns the exit status."""
    generated = outputs(own_map())
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
