"""The same layer from FINN's library of hardware, as FINN's own generators fill it in.

FINN's units take a map's channels SIMD at a time and give outputs PE at a time; memories of weights and FIFOs lie
outside. Its files come from a wheel when the bench runs; two of them are changed there, since slang is stricter than
the tools that FINN is made for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgesight.bench.folding.layers import Layer, network_of, parts_of, words
from edgesight.bench.folding.ours import WORK, Simulated, passed
from edgesight.bench.folding.synthesis import synthesised
from edgesight.bench.service.environments import unpacked
from edgesight.hls.cost.cells import Cells
from edgesight.hls.dataflow.operators import Threshold
from edgesight.hls.network import Integers
from edgesight.hls.rtl.units import signed_bits
from edgesight.hls.verilog import memory_file
from edgesight.host.errors import EdgeSightError
from edgesight.sim.streams import Traffic

PACKAGE = "finn-plus==1.6.1"
TOP, WHOLE = "finn_layer", "finn_whole"
_GENERATOR = Path(__file__).parent / "peers" / "window.py"
FILES = (
    "mvu/mvu_pkg.sv", "mvu/mvu_vvu_axi.sv", "mvu/mvu.sv", "mvu/mvu_vvu_8sx9_dsp58.sv", "mvu/replay_buffer.sv",
    "mvu/add_multi.sv", "swg/swg_pkg.sv", "swg/swg_common.sv", "thresholding/hdl/thresholding.sv",
    "thresholding/hdl/thresholding_axi.sv", "fmpadding/hdl/fmpadding.sv", "dwc/hdl/dwc_axi.sv", "dwc/hdl/vpc.sv",
)  # fmt: skip


class FinnError(EdgeSightError):
    """What FINN's library cannot do here: says why."""


@dataclass(frozen=True)
class Change:
    """What a copy of FINN's `file` is changed in: `old`, which it has once, becomes `new`; `why` for people."""

    file: str
    old: str
    new: str
    why: str


_TABLE = """		function leaf_load_t init_leaf_loads();
			automatic leaf_load_t  res;
			for(int unsigned  i = 2*N-1; i-- > N-1;)  res[i] = 1;
			for(int unsigned  i =   N-1; i-- >   0;)  res[i] = res[2*i+1] + res[2*i+2];
			return  res;
		endfunction : init_leaf_loads
"""
CHANGES = (
    Change(
        "add_multi.sv",
        "\t\ttypedef int unsigned  leaf_load_t[2*N-1];\n" + _TABLE,
        "",
        "it stands before the generate block: see the next",
    ),
    Change(
        "add_multi.sv",
        "	localparam int unsigned  L = $clog2(N);  // Number of levels with reductions\n",
        "	localparam int unsigned  L = $clog2(N);  // Number of levels with reductions\n"
        "	typedef int unsigned  leaf_load_t[2*N-1];\n" + _TABLE.replace("\t\t", "\t"),
        "slang refuses a constant function inside a generate block: it stands before it",
    ),
    Change(
        "thresholding.sv",
        "p.ptr[M-1:SN+1] < 2**stage",
        "(p.ptr[M-1:0] >> (SN+1)) < 2**stage",
        "slang refuses a range of no bits, although its value is not used where it has none",
    ),
    Change(
        "mvu.sv",
        "\t\tinitial begin\n\t\t\t#100ns;\n\t\t\tDirty <= 0;\n\t\tend\n",
        "\t\tinitial Dirty = 0;\n",
        "slang refuses time; it is of a warning in simulation alone",
    ),
    Change("vpc.sv", "`default_nettype none\n", "", "slang refuses this directive inside a module"),
    Change("vpc.sv", "`default_nettype wire\n", "", "the same"),
)
# Cells of the part that FINN instantiates, as slang has to know them; Yosys has its own.
PRIMITIVES = ("DSP48E1", "LUT6_2")
_DSP_TEXTS = ("A_INPUT", "B_INPUT", "USE_DPORT", "USE_MULT", "USE_SIMD", "AUTORESET_PATDET", "SEL_MASK", "SEL_PATTERN",
              "USE_PATTERN_DETECT")  # fmt: skip
_DSP_NUMBERS = ("ACASCREG", "ADREG", "ALUMODEREG", "AREG", "BCASCREG", "BREG", "CARRYINREG", "CARRYINSELREG", "CREG",
                "DREG", "INMODEREG", "MREG", "OPMODEREG", "PREG")  # fmt: skip
_DSP_INPUTS = {
    "ACIN": 30, "BCIN": 18, "CARRYCASCIN": 1, "MULTSIGNIN": 1, "PCIN": 48, "CLK": 1, "ALUMODE": 4, "CARRYINSEL": 3,
    "INMODE": 5, "OPMODE": 7, "A": 30, "B": 18, "C": 48, "CARRYIN": 1, "D": 25,
    **dict.fromkeys(("CEA1", "CEA2", "CEAD", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECARRYIN", "CECTRL", "CED",
                     "CEINMODE", "CEM", "CEP", "RSTA", "RSTB", "RSTC", "RSTD", "RSTALLCARRYIN", "RSTALUMODE",
                     "RSTCTRL", "RSTINMODE", "RSTM", "RSTP"), 1),
}  # fmt: skip
_DSP_OUTPUTS = {
    "ACOUT": 30, "BCOUT": 18, "CARRYCASCOUT": 1, "MULTSIGNOUT": 1, "PCOUT": 48, "OVERFLOW": 1, "PATTERNBDETECT": 1,
    "PATTERNDETECT": 1, "UNDERFLOW": 1, "CARRYOUT": 4, "P": 48,
}  # fmt: skip


def primitives() -> dict[str, str]:
    """Empty modules of PRIMITIVES: file name -> text."""
    parameters = [
        *(f'parameter {name} = ""' for name in _DSP_TEXTS),
        *(f"parameter {name} = 1" for name in _DSP_NUMBERS),
    ]
    parameters += ["parameter [47:0] MASK = 48'h0", "parameter [47:0] PATTERN = 48'h0"]
    ports = [f"input [{bits - 1}:0] {name}" for name, bits in _DSP_INPUTS.items()]
    ports += [f"output [{bits - 1}:0] {name}" for name, bits in _DSP_OUTPUTS.items()]
    lut = "input I0, input I1, input I2, input I3, input I4, input I5, output O5, output O6"
    return {
        "primitives.sv": f"module DSP48E1 #({', '.join(parameters)}) ({', '.join(ports)});\nendmodule\n"
        f"module LUT6_2 #(parameter [63:0] INIT = 64'h0) ({lut});\nendmodule\n"
    }


def library(folder: Path) -> Path:
    """FINN's package, unpacked in `folder`; raises NotInstalled."""
    return unpacked(folder / "finn", PACKAGE)


def hardware(package: Path) -> dict[str, str]:
    """FINN's files that layers are made of, with what was changed: file name -> text. Raises FinnError."""
    found = {}
    for name in FILES:
        path = package / "finn" / "finn-rtllib" / name
        try:
            found[path.name] = path.read_text()
        except OSError as error:
            raise FinnError(f"{path}: cannot be read ({error.strerror}): install {PACKAGE} anew") from error
    for change in CHANGES:
        if found[change.file].count(change.old) != 1:
            raise FinnError(f"{change.file}: is not that of {PACKAGE}: see bench/folding/finn.py for what is changed")
        found[change.file] = found[change.file].replace(change.old, change.new)
    return found


def window(layer: Layer, package: Path, folder: Path) -> dict[str, str]:
    """The layer's sliding window by FINN's generator, if it has one: file name -> text; raises FinnError."""
    if not has_window(layer):
        return {}
    size = layer.size + 2 * layer.pad
    side = (size - layer.kernel) // layer.stride + 1
    data = f"UINT{layer.in_bits}"
    attributes = {
        "ConvKernelDim": [layer.kernel] * 2, "IFMChannels": layer.channels, "IFMDim": [size] * 2, "OFMDim": [side] * 2,
        "Stride": [layer.stride] * 2, "Dilation": [1, 1], "SIMD": layer.beat, "inputDataType": data,
        "outputDataType": data, "ram_style": "auto", "parallel_window": 0,
    }  # fmt: skip
    made = folder / "window"
    made.mkdir(parents=True, exist_ok=True)
    for old in made.iterdir():
        old.unlink()
    # Its settings go to a home folder, and it is to find no others there.
    environment = {**os.environ, "PYTHONPATH": str(package), "HOME": str(folder), "FINN_BUILD_DIR": str(folder)}
    command = [sys.executable, str(_GENERATOR), str(made), json.dumps(attributes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise FinnError(f"FINN's generator refuses {layer.title} ({said}): see {_GENERATOR.name}")
    files = {path.name: path.read_text() for path in sorted(made.iterdir())}
    return {name.replace(".v", ".sv") if name.endswith(".v") else name: text for name, text in files.items()}


def taken(layer: Layer, package: Path, folder: Path, budget: int) -> tuple[Cells, int]:
    """What the layer takes at its cheapest, and how many channels its thresholds then take side by side.

    FINN folds thresholds on their own: as the products, or as few as keep to `budget` cycles a frame, behind a width
    converter.
    """
    fewest = [pe for pe in range(1, layer.pe + 1) if layer.pe % pe == 0]
    slowest = next((pe for pe in fewest if layer.positions * (layer.outputs // pe) <= budget), layer.pe)
    sides = sorted({layer.pe, slowest}) if layer.out_bits else [layer.pe]
    fixed = {**hardware(package), **primitives(), **window(layer, package, folder)}
    return min(((_cells(layer, fixed, folder, pe), pe) for pe in sides), key=lambda each: each[0].cost)


def taken_by_model(layer: Layer, package: Path, folder: Path, threshold_pe: int) -> Cells:
    """What the layer takes where its products are FINN's model for simulations."""
    fixed = {**hardware(package), **primitives(), **window(layer, package, folder)}
    return _cells(layer, fixed, folder, threshold_pe, behavioural=True)


def simulated(layer: Layer, package: Path, folder: Path, threshold_pe: int, frames: Traffic) -> Simulated:
    """Frames of our layer through FINN's, whose products are then its model for simulations."""
    memories = f"{folder / WORK}/"
    sources = {
        **hardware(package),
        **window(layer, package, folder),
        **layer_files(layer, threshold_pe=threshold_pe, memories=memories),
        **whole_files(layer, threshold_pe=threshold_pe, memories=memories),
    }
    return passed(folder, sources, replace(frames, module=WHOLE))


def _cells(layer: Layer, fixed: Mapping[str, str], folder: Path, pe: int, *, behavioural: bool = False) -> Cells:
    sources = {**fixed, **layer_files(layer, threshold_pe=pe, behavioural=behavioural)}
    return synthesised(sources, TOP, folder, primitives=PRIMITIVES)


def has_window(layer: Layer) -> bool:
    """Whether a window is needed at all."""
    return layer.kernel > 1 or layer.stride > 1


def layer_files(layer: Layer, *, threshold_pe: int, memories: str = "./", behavioural: bool = False) -> dict[str, str]:
    """The layer of FINN's modules as module TOP, with the memories of its thresholds; all but its window's files.

    `threshold_pe`: channels side by side in the thresholds; fewer than the products' want a width converter, as FINN
    puts one there. `memories`: the folder of the memories, where they are read from another place than their own.
    `behavioural`: its products by FINN's model for simulations instead of by DSPs.
    """
    sums, last = parts_of(network_of(layer))
    accumulator = sums.output.bits + (not sums.output.signed)
    beat, weight = layer.simd * layer.in_bits, layer.pe * layer.simd * layer.weight_bits
    out = layer.out_bits or accumulator
    given = (threshold_pe if last is not None else layer.pe) * out
    chain = _Chain()
    stream = chain.begin("s", beat)
    if layer.pad:
        stream = chain.padding(stream, layer)
    if has_window(layer):
        stream = chain.window(stream, layer)
    stream = chain.products(stream, layer, accumulator, behavioural)
    files: dict[str, str] = {}
    if last is not None:
        if threshold_pe != layer.pe:
            stream = chain.converter(stream, layer.pe * accumulator, threshold_pe * accumulator)
        bits, files = threshold_files(last, threshold_pe, accumulator)
        stream = chain.thresholds(stream, layer, threshold_pe, accumulator, bits, memories)
    text = f"""module {TOP} (
  input  logic clk_i, input logic rst_ni,
  input  logic w_valid_i, output logic w_ready_o, input logic [{_bytes(weight) - 1}:0] w_data_i,
  input  logic s_valid_i, output logic s_ready_o, input logic [{_bytes(beat) - 1}:0] s_data_i,
  output logic m_valid_o, input logic m_ready_i, output logic [{given - 1}:0] m_data_o
);
{chain.text}  assign m_valid_o = {stream}_valid;
  assign {stream}_ready = m_ready_i;
  assign m_data_o = {stream}_data[{given - 1}:0];
endmodule
"""
    return {f"{TOP}.sv": text, **files}


def whole_files(layer: Layer, *, threshold_pe: int, memories: str) -> dict[str, str]:
    """What a simulation needs around the layer: module WHOLE takes and gives whole pixels, as our layers do."""
    sums, last = parts_of(network_of(layer))
    weights = words(sums.weights.reshape(layer.outputs, -1), layer.pe, layer.simd)
    accumulator = sums.output.bits + (not sums.output.signed)
    beat, weight = layer.simd * layer.in_bits, layer.pe * layer.simd * layer.weight_bits
    out = layer.out_bits or sums.output.bits
    port = layer.out_bits or accumulator
    at_once = threshold_pe if last is not None else layer.pe
    beats, groups = layer.channels // layer.beat, layer.outputs // at_once
    text = f"""module {WHOLE} (
  input  logic clk_i, input logic rst_ni,
  input  logic s_valid_i, output logic s_ready_o, input logic [{layer.channels * layer.in_bits - 1}:0] s_data_i,
  output logic m_valid_o, input logic m_ready_i, output logic [{layer.outputs * out - 1}:0] m_data_o
);
  int beat_q, group_q, word_q;
  logic part_ready, given_valid, given_ready, weight_ready;
  logic [{at_once * port - 1}:0] given;
  logic [{weight - 1}:0] words[{len(weights)}];
  initial $readmemh("{memories}weights.mem", words);
  assign s_ready_o = part_ready && beat_q == {beats - 1};
  assign given_ready = !m_valid_o || m_ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      beat_q <= 0;
      group_q <= 0;
      word_q <= 0;
      m_valid_o <= 1'b0;
    end else begin
      if (s_valid_i && part_ready) beat_q <= beat_q == {beats - 1} ? 0 : beat_q + 1;
      if (weight_ready) word_q <= word_q == {len(weights) - 1} ? 0 : word_q + 1;
      if (given_ready) m_valid_o <= given_valid && group_q == {groups - 1};
      if (given_valid && given_ready) group_q <= group_q == {groups - 1} ? 0 : group_q + 1;
    end
  end
  for (genvar v = 0; v < {at_once}; v++) begin : g_value
    always_ff @(posedge clk_i) begin
      if (given_valid && given_ready) m_data_o[(group_q*{at_once}+v)*{out}+:{out}] <= given[v*{port}+:{out}];
    end
  end
  {TOP} u_layer (
    .clk_i, .rst_ni, .w_valid_i(rst_ni), .w_ready_o(weight_ready), .w_data_i({_bytes(weight)}'(words[word_q])),
    .s_valid_i, .s_ready_o(part_ready), .s_data_i({_bytes(beat)}'(s_data_i[beat_q*{beat}+:{beat}])),
    .m_valid_o(given_valid), .m_ready_i(given_ready), .m_data_o(given)
  );
endmodule
"""
    return {f"{WHOLE}.sv": text, "weights.mem": memory_file(weights, layer.weight_bits)}


def threshold_files(operator: Threshold, pe: int, accumulator: int) -> tuple[int, dict[str, str]]:
    """Bits of a threshold, the fewest that FINN's unit is exact with, and its memories' files."""
    steps = operator.thresholds
    bits = min(signed_bits(int(steps.min()) - 1, int(steps.max())), accumulator)
    levels = int(steps.shape[1]).bit_length()
    files = {
        f"threshs_{lane}_{stage}.dat": memory_file(_searched(steps[lane::pe], levels, stage), bits)
        for lane in range(pe)
        for stage in range(levels)
    }
    return bits, files


def _searched(steps: Integers, levels: int, stage: int) -> Integers:
    """The thresholds of a lane that a stage of the search compares with: by channel, then by what is known."""
    width = 1 << (levels - stage)
    return steps[:, width // 2 - 1 :: width].reshape(-1, 1)


def _bytes(bits: int) -> int:
    """The same in whole bytes, as FINN's streams have it."""
    return -(-bits // 8) * 8


class _Chain:
    """Units behind each other, as they are instantiated in `text`."""

    def __init__(self) -> None:
        self.text = ""

    def _stream(self, name: str, bits: int) -> str:
        self.text += f"  logic {name}_valid, {name}_ready;\n  logic [{_bytes(bits) - 1}:0] {name}_data;\n"
        return name

    def _unit(self, module: str, parameters: Mapping[str, object], ports: str, taken: str, given: str) -> str:
        listed = ", ".join(f".{name}({value})" for name, value in parameters.items())
        values = f" #({listed})" if listed else ""
        self.text += (
            f"  {module}{values} u_{given} (\n    .ap_clk(clk_i), .ap_rst_n(rst_ni),\n"
            f"    {ports.format(taken=taken, given=given)}\n  );\n"
        )
        return given

    def begin(self, name: str, bits: int) -> str:
        self._stream(name, bits)
        self.text += f"  assign {name}_valid = {name}_valid_i;\n  assign {name}_ready_o = {name}_ready;\n"
        self.text += f"  assign {name}_data = {name}_data_i;\n"
        return name

    def padding(self, taken: str, layer: Layer) -> str:
        end = layer.pad + layer.size
        counter = (end + layer.pad).bit_length()
        parameters = {
            "XCOUNTER_BITS": counter, "YCOUNTER_BITS": counter, "NUM_CHANNELS": layer.channels,
            "SIMD": layer.beat, "ELEM_BITS": layer.in_bits, "INIT_XON": layer.pad, "INIT_XOFF": end,
            "INIT_XEND": end + layer.pad - 1, "INIT_YON": layer.pad, "INIT_YOFF": end, "INIT_YEND": end + layer.pad - 1,
        }  # fmt: skip
        given = self._stream("padded", layer.beat * layer.in_bits)
        return self._unit("fmpadding", parameters, f".we('0), .wa('0), .wd('0), {_AXIS}", taken, given)

    def window(self, taken: str, layer: Layer) -> str:
        given = self._stream("window", layer.beat * layer.in_bits)
        ports = (
            ".in0_V_TVALID({taken}_valid), .in0_V_TREADY({taken}_ready), .in0_V_TDATA({taken}_data), "
            ".out0_V_TVALID({given}_valid), .out0_V_TREADY({given}_ready), .out0_V_TDATA({given}_data)"
        )
        return self._unit("finn_window", {}, ports, taken, given)

    def products(self, taken: str, layer: Layer, accumulator: int, behavioural: bool) -> str:
        parameters = {
            "IS_MVU": 1, "VERSION": 1, "MW": layer.lanes, "MH": layer.outputs, "PE": layer.pe, "SIMD": layer.simd,
            "ACTIVATION_WIDTH": layer.in_bits, "WEIGHT_WIDTH": layer.weight_bits, "ACCU_WIDTH": accumulator,
            "NARROW_WEIGHTS": 1, "SIGNED_ACTIVATIONS": 0, "FORCE_BEHAVIORAL": int(behavioural),
        }  # fmt: skip
        given = self._stream("sums", layer.pe * accumulator)
        ports = (
            ".ap_clk2x(1'b0), .s_axis_weights_tvalid(w_valid_i), .s_axis_weights_tready(w_ready_o), "
            ".s_axis_weights_tdata(w_data_i), .s_axis_input_tvalid({taken}_valid), "
            ".s_axis_input_tready({taken}_ready), .s_axis_input_tdata({taken}_data), "
            ".m_axis_output_tvalid({given}_valid), .m_axis_output_tready({given}_ready), "
            ".m_axis_output_tdata({given}_data)"
        )
        return self._unit("mvu_vvu_axi", parameters, ports, taken, given)

    def converter(self, taken: str, wide: int, narrow: int) -> str:
        given = self._stream("narrow", narrow)
        return self._unit("dwc_axi", {"IBITS": wide, "OBITS": narrow}, _AXIS, taken, given)

    def thresholds(self, taken: str, layer: Layer, pe: int, accumulator: int, bits: int, memories: str) -> str:
        parameters = {
            "WI": accumulator, "WT": bits, "N": (1 << layer.out_bits) - 1, "C": layer.outputs, "PE": pe, "SIGNED": 1,
            "THRESHOLDS_PATH": f'"{memories}"', "USE_AXILITE": 0,
        }  # fmt: skip
        given = self._stream("counts", pe * layer.out_bits)
        unused = "".join(f".s_axilite_{port}('0), " for port in _AXILITE)
        return self._unit(
            "thresholding_axi",
            parameters,
            f".s_axis_set_tvalid('0), .s_axis_set_tdata('0), {unused}{_AXIS}",
            taken,
            given,
        )


_AXIS = (
    ".s_axis_tvalid({taken}_valid), .s_axis_tready({taken}_ready), .s_axis_tdata({taken}_data), "
    ".m_axis_tvalid({given}_valid), .m_axis_tready({given}_ready), .m_axis_tdata({given}_data)"
)
_AXILITE = ("AWVALID", "AWADDR", "WVALID", "WDATA", "WSTRB", "BREADY", "ARVALID", "ARADDR", "RREADY")
