"""Gates in front of an adder go into it: a carry chain's look-up tables have four inputs, of which Yosys uses two.

Half a CCU2C computes the bit `one ^ two ^ carry in` and passes on the carry if `one ^ two`, else `one`, where `one` may
be any function of its pins A and B, and `two` any of C and D that is 0 where both are 0: the carry's table is the part
of INIT for C = D = 0.

Words owned here: half, operand, taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_ADDER = "1001011010101010"  # INIT of a half as Yosys writes it: A + B, or A - B where C is 1
_PINS = "ABCD"

# A net's number, or a constant, as in Yosys' JSON.
Bit = int | str
Cell = dict[str, Any]


@dataclass(frozen=True)
class _Operand:
    """What is added: a function of up to two nets; `values` are by their values, the first net's counting more."""

    nets: tuple[int, ...]
    values: tuple[bool, ...]

    def inverted(self) -> _Operand:
        return _Operand(self.nets, tuple(not value for value in self.values))

    def at(self, *pins: bool) -> bool:
        """Its value where its nets are `pins`, of which more are not looked at."""
        index = 0
        for pin in pins[: len(self.nets)]:
            index = 2 * index + pin
        return self.values[index]


def absorb(module: dict[str, Any]) -> int:
    """Put the gates of one or two inputs that feed nothing but adders into them, in a `module` of Yosys' JSON.

    Returns how many look-up tables were taken away.
    """
    cells: dict[str, Cell] = module["cells"]
    gates = {cell["connections"]["Z"][0]: cell for cell in cells.values() if cell["type"] == "LUT4"}
    adders = [(cell, half) for cell in cells.values() for half in _halves(cell)]
    operands = {id(cell["connections"][f"{pin}{half}"]) for cell, half in adders for pin in "AB"}
    elsewhere = {bit for bits in _read(module) if id(bits) not in operands for bit in bits}
    taken = {net: gate for net, cell in gates.items() if net not in elsewhere and (gate := _gate(cell)) is not None}
    for cell, half in adders:
        _take(cell, half, taken)
    used = {bit for bits in _read(module) for bit in bits}
    left = {name for name, cell in cells.items() if cell["type"] == "LUT4" and cell["connections"]["Z"][0] not in used}
    for name in left:
        del cells[name]
    return len(left)


def _halves(cell: Cell) -> Iterator[str]:
    """The halves of a cell that add two bits as Yosys writes it."""
    if cell["type"] == "CCU2C":
        for half in "01":
            [c], [d] = cell["connections"][f"C{half}"], cell["connections"][f"D{half}"]
            if cell["parameters"][f"INIT{half}"] == _ADDER and c in ("0", "1") and d == "1":
                yield half


def _read(module: dict[str, Any]) -> Iterator[list[Bit]]:
    """The bits at all pins that read: the cells' inputs and the module's ports."""
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] != "output":
                yield bits
    for port in module["ports"].values():
        yield port["bits"]


def _gate(cell: Cell) -> _Operand | None:
    """A look-up table of one or two nets as an operand; None for one of more."""
    pins: list[Bit] = [cell["connections"][pin][0] for pin in _PINS]
    nets = tuple(dict.fromkeys(pin for pin in pins if isinstance(pin, int)))
    if len(nets) > 2:
        return None
    table = cell["parameters"]["INIT"][::-1]
    values = []
    for found in itertools.product((False, True), repeat=len(nets)):
        known = dict(zip(nets, found, strict=True))
        index = sum((known[pin] if isinstance(pin, int) else pin == "1") << at for at, pin in enumerate(pins))
        values.append(table[index] == "1")
    return _Operand(nets, tuple(values))


def _operand(bit: Bit, taken: dict[int, _Operand]) -> _Operand:
    """What a pin of an adder reads, as the gate in front of it says where that is `taken`."""
    if not isinstance(bit, int):
        return _Operand((), (bit == "1",))
    return taken.get(bit, _Operand((bit,), (False, True)))


def _take(cell: Cell, half: str, taken: dict[int, _Operand]) -> None:
    """Write half an adder anew, with the gates in front of it taken in as far as they fit."""
    pins = cell["connections"]
    [a], [b], [inverts] = pins[f"A{half}"], pins[f"B{half}"], pins[f"C{half}"]
    if a not in taken and b not in taken:
        return
    for gates in (taken, {a: taken.get(a)}, {b: taken.get(b)}):
        known = {net: gate for net, gate in gates.items() if gate is not None}
        first, second = _operand(a, known), _operand(b, known)
        if inverts == "1":
            second = second.inverted()
        for one, two in ((first, second), (second, first)):
            # With one net, or none, pin D stays 1, and the table for 0 is free to say what the carry needs.
            if len(two.nets) < 2 or not two.at(False, False):
                _write(cell, half, one, two)
                return


def _write(cell: Cell, half: str, one: _Operand, two: _Operand) -> None:
    init = 0
    for index in range(16):
        a, b, c, d = (bool(index >> at & 1) for at in range(4))
        other = two.at(c, d) if len(two.nets) == 2 else d and two.at(c)
        init |= (one.at(a, b) ^ other) << index
    cell["parameters"][f"INIT{half}"] = f"{init:016b}"
    for pin, net in zip(_PINS, [*_padded(one), *_padded(two)], strict=True):
        cell["connections"][f"{pin}{half}"] = [net]


def _padded(operand: _Operand) -> tuple[Bit, Bit]:
    """The nets at its two pins; one that is not read is 1, as a pin that is not connected."""
    return tuple([*operand.nets, "1", "1"][:2])  # type: ignore[return-value]
