"""From hardware layers to SystemVerilog: one module a stage, its weight memories, and the kernel around the stages.

Words owned here: library (the hand-written modules that kernels are assembled from).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesight.hls.layers import Hardware, Matrix, Pool
from edgesight.hls.network import PIXEL, Format, Integers, Shape, Window
from edgesight.host.package import LIBRARY

_INDENT = "    "
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Features:
    """What a stage leaves behind for the next one, at its second output `t_valid_o`, `t_ready_i`, `t_data_o`."""

    beats: int  # of a frame
    bits: int  # of a beat


@dataclass(frozen=True)
class Ports:
    """What the kernel around a stage must know of it.

    A stage that leaves features behind must be able to work on every beat of a frame once that was taken there: only
    one frame of them is sure to find room before the frame's verdict.
    """

    name: str
    source: Shape
    source_format: Format
    classes: int  # logits of a frame
    logit_bits: int
    logit_beats: int  # that they come in: 1, or a map's pixels
    leaves: Features | None = field(default=None, kw_only=True)
    goes_on: bool = field(default=False, kw_only=True)  # from what the stage before leaves, instead of from the pixels


@dataclass(frozen=True)
class EmittedStage(Ports):
    """A stage's module and the contents of its weight memories."""

    sources: dict[str, str]  # file name -> text


def ports(name: str, layers: Sequence[Hardware]) -> Ports:
    """The ports of the module `name` that `emit_stage` makes of `layers`."""
    last = layers[-1]
    assert isinstance(last, Matrix)  # edgesight.hls.layers.extract lets nothing else be last
    return Ports(name, layers[0].source, PIXEL, last.shape.channels, last.output_format.bits, 1)


def library_modules() -> set[str]:
    """Names in lower case that no network may have: the library's modules and packages, and the kernel's own."""
    return {path.stem.lower() for path in LIBRARY.glob("*.sv")} | {"kernel"}


def library_sources() -> dict[str, str]:
    """The hand-written modules that kernels are assembled from: file name -> text."""
    return {path.name: path.read_text() for path in sorted(LIBRARY.glob("*.sv"))}


def library_of(sources: Mapping[str, str]) -> dict[str, str]:
    """The library's files that `sources` need, and those that these need in turn; file name -> text, as `sources`."""
    library = {name.removesuffix(".sv"): text for name, text in library_sources().items()}
    # An instance has parameters or a name behind its module's; what a package holds stands behind two colons.
    uses = {name: re.compile(rf"\b{name}\s*(?:#\s*\(|::|\s\w+\s*\()") for name in library}
    needed: dict[str, str] = {}
    unread = list(sources.values())
    while unread:
        text = _COMMENT.sub(" ", unread.pop())
        for name, use in uses.items():
            if f"{name}.sv" not in needed and use.search(text):
                needed[f"{name}.sv"] = library[name]
                unread.append(library[name])
    return dict(sorted(needed.items()))


def emit_project(name: str, layers: list[Hardware]) -> dict[str, str]:
    """All that a network alone consists of: `emit_stage` and what it needs of the library; file name -> text."""
    sources = emit_stage(name, layers).sources
    return {**library_of(sources), **sources}


def emit_stage(name: str, layers: list[Hardware]) -> EmittedStage:
    """One network as module `name`: pixels (8 bits a channel) in, one beat of logits out a frame.

    SystemVerilog, and the contents of each layer's weight memory as `.mem`.
    """
    source = layers[0].source
    sources: dict[str, str] = {}
    body: list[str] = []
    stream, bits = "s", source.channels * 8
    for index, layer in enumerate(layers):
        instance = f"l{index}_{identifier(layer.name)}"
        if isinstance(layer, Pool):
            stream, bits = _emit_pool(body, instance, layer, stream)
        else:
            sources[_memory_file(name, instance)] = _weight_words(layer)
            stream, bits = _emit_matrix(body, name, instance, layer, stream)
        if index + 1 < len(layers):
            # A row of the map decouples a layer that works in bursts (a pooling) from one that works steadily.
            stream = _emit_fifo(body, instance, stream, bits, max(2, layer.shape.width))
    outside = ports(name, layers)
    text = "\n".join(
        [
            f"// Generated. Network `{name}`: {source.height}x{source.width}x{source.channels} bytes in, one beat of "
            f"{outside.classes} signed {outside.logit_bits}-bit logits out a frame.",
            f"module {name} (",
            "  input  logic clk_i,",
            "  input  logic rst_ni,",
            "  input  logic s_valid_i,",
            "  output logic s_ready_o,",
            f"  input  logic [{source.channels * 8 - 1}:0] s_data_i,",
            "  output logic m_valid_o,",
            "  input  logic m_ready_i,",
            f"  output logic [{bits - 1}:0] m_data_o",
            ");",
            "  logic s_valid, s_ready;",
            f"  logic [{source.channels * 8 - 1}:0] s_data;",
            "  assign s_valid = s_valid_i;",
            "  assign s_ready_o = s_ready;",
            "  assign s_data = s_data_i;",
            *body,
            f"  assign m_valid_o = {stream}_valid;",
            f"  assign {stream}_ready = m_ready_i;",
            f"  assign m_data_o = {stream}_data;",
            "endmodule",
            "",
        ]
    )
    sources[f"{name}.sv"] = text
    return EmittedStage(**vars(outside), sources=sources)


def emit_kernel(
    stages: Sequence[Ports], frame_slots: int, build_hash: str, weights_hash: str, *, logits_in_record: bool = False
) -> str:
    """SystemVerilog of module `kernel`: the cascade's frame handling around one to four stages.

    With `logits_in_record`, around a network alone whose records carry its logits.
    """
    first = stages[0]
    count, shape, classes = len(stages), first.source, first.classes
    widest = max(stage.logit_bits for stage in stages)
    value_bytes = 1 if first.source_format.bits <= 8 else 2
    pixel, at_once = shape.channels * value_bytes * 8, classes // first.logit_beats
    beat = at_once * widest
    from_trunk = sum(stage.goes_on << k for k, stage in enumerate(stages))
    instances = []
    for k, stage in enumerate(stages):
        before = stages[k - 1].leaves if stage.goes_on and k else None
        instances += _gate(k, before) if before is not None else []
        taken = f"pixel{k}"
        if before is None:
            instances += [
                f"  logic [{shape.channels * first.source_format.bits - 1}:0] {taken};",
                *_narrowed(f"pixel_data[{k}]", taken, shape.channels, 8 * value_bytes, first.source_format.bits),
            ]
        source = f"pixel_valid[{k}]", f"pixel_ready[{k}]", taken
        if before is not None:
            source = f"passed{k}_valid", f"passed{k}_ready", f"passed{k}_data"
        instances += [
            f"  logic [{at_once * stage.logit_bits - 1}:0] logits{k};",
            *_left(k, stage.leaves),
            f"  {stage.name} u_{stage.name} (",
            "    .clk_i, .rst_ni(core_rst_n),",
            "    .s_valid_i({}), .s_ready_o({}), .s_data_i({}),".format(*source),
            *([f"    {_LEFT.format(k=k)},"] if stage.leaves is not None else []),
            f"    .m_valid_o(logits_valid[{k}]), .m_ready_i(logits_ready[{k}]), .m_data_o(logits{k})",
            "  );",
            *_widened(f"logits{k}", f"logits[{k}]", at_once, stage.logit_bits, widest),
        ]
    axi = """\
  input  logic clk_i,
  input  logic rst_ni,
  input  logic [63:0] s_axis_tdata,
  input  logic [7:0] s_axis_tkeep,
  input  logic s_axis_tvalid,
  output logic s_axis_tready,
  input  logic s_axis_tlast,
  output logic [63:0] m_axis_tdata,
  output logic [7:0] m_axis_tkeep,
  output logic m_axis_tvalid,
  input  logic m_axis_tready,
  output logic m_axis_tlast,
  input  logic [11:0] s_axil_awaddr,
  input  logic s_axil_awvalid,
  output logic s_axil_awready,
  input  logic [31:0] s_axil_wdata,
  input  logic [3:0] s_axil_wstrb,
  input  logic s_axil_wvalid,
  output logic s_axil_wready,
  output logic [1:0] s_axil_bresp,
  output logic s_axil_bvalid,
  input  logic s_axil_bready,
  input  logic [11:0] s_axil_araddr,
  input  logic s_axil_arvalid,
  output logic s_axil_arready,
  output logic [31:0] s_axil_rdata,
  output logic [1:0] s_axil_rresp,
  output logic s_axil_rvalid,
  input  logic s_axil_rready"""
    names = re.findall(r"(\w+)(?:,|$)", axi, flags=re.MULTILINE)
    return "\n".join(
        [
            "// Generated. The kernel: AXI4-Stream frames in, result records out, AXI4-Lite registers; see cascade.sv.",
            "module kernel (",
            axi + ",",
            f"  output logic [{count - 1}:0] tap_valid_o,",
            f"  output logic [{32 * count - 1}:0] tap_tag_o,",
            f"  output logic [{count * beat - 1}:0] tap_logits_o",
            ");",
            "  logic core_rst_n;",
            f"  logic [{count - 1}:0] pixel_valid, pixel_ready, logits_valid, logits_ready;",
            "  /* verilator lint_off UNUSEDSIGNAL */",
            f"  logic [{count - 1}:0] verdict_valid, verdict_pass;",
            "  /* verilator lint_on UNUSEDSIGNAL */",
            f"  logic [{count - 1}:0][{pixel - 1}:0] pixel_data;",
            f"  logic [{count - 1}:0][{beat - 1}:0] logits;",
            "  assign tap_logits_o = logits;",
            "  cascade #(",
            f"    .Stages({count}), .Pixels({shape.pixels}), .Channels({pixel // 8}), .Classes({classes}),",
            f"    .FromTrunk({from_trunk}),",
            f"    .LogitsInRecord({int(logits_in_record)}), .LogitBeats({first.logit_beats}),",
            f"    .LogitWidth({widest}), .FrameSlots({frame_slots}),",
            f"    .BuildHash(32'h{build_hash}), .WeightsHash(32'h{weights_hash})",
            "  ) u_cascade (",
            "    " + ", ".join(f".{name}" for name in names) + ",",
            "    .core_rst_no(core_rst_n),",
            "    .pixel_valid_o(pixel_valid), .pixel_ready_i(pixel_ready), .pixel_data_o(pixel_data),",
            "    .logits_valid_i(logits_valid), .logits_ready_o(logits_ready), .logits_data_i(logits),",
            "    .verdict_valid_o(verdict_valid), .verdict_pass_o(verdict_pass),",
            "    .tap_valid_o, .tap_tag_o",
            "  );",
            *instances,
            "endmodule",
            "",
        ]
    )


_LEFT = ".t_valid_o(left{k}_valid), .t_ready_i(left{k}_ready), .t_data_o(left{k}_data)"


def _left(k: int, features: Features | None) -> list[str]:
    """Declarations of the stream of features that stage k leaves behind."""
    if features is None:
        return []
    return [f"  logic left{k}_valid, left{k}_ready;", f"  logic [{features.bits - 1}:0] left{k}_data;"]


def _gate(k: int, features: Features) -> list[str]:
    """The gate in front of stage k: it lets the features of those frames pass that the stage before is not sure of."""
    return [
        f"  logic passed{k}_valid, passed{k}_ready;",
        f"  logic [{features.bits - 1}:0] passed{k}_data;",
        f"  feature_gate #(.Width({features.bits}), .Beats({features.beats})) u_gate{k} (",
        "    .clk_i, .rst_ni(core_rst_n),",
        f"    .s_valid_i(left{k - 1}_valid), .s_ready_o(left{k - 1}_ready), .s_data_i(left{k - 1}_data),",
        f"    .verdict_valid_i(verdict_valid[{k - 1}]), .pass_i(verdict_pass[{k - 1}]),",
        f"    .m_valid_o(passed{k}_valid), .m_ready_i(passed{k}_ready), .m_data_o(passed{k}_data)",
        "  );",
        f"  assign pixel_ready[{k}] = 1'b0;",
    ]


def _narrowed(source: str, sink: str, count: int, wide: int, bits: int) -> list[str]:
    """Assign the lowest `bits` bits of `count` values of `wide` bits in `source` to `sink`."""
    if bits == wide:
        return [f"  assign {sink} = {source};"]
    return [
        f"  for (genvar v = 0; v < {count}; v++) begin : gen_{sink}",
        f"    assign {sink}[v*{bits}+:{bits}] = {source}[v*{wide}+:{bits}];",
        "  end",
    ]


def _widened(source: str, sink: str, count: int, bits: int, wide: int) -> list[str]:
    """Assign `count` signed values of `bits` bits in `source` to values of `wide` bits in `sink`."""
    if bits == wide:
        return [f"  assign {sink} = {source};"]
    name = f"gen_{source}"
    return [
        f"  for (genvar c = 0; c < {count}; c++) begin : {name}",
        f"    assign {sink}[c*{wide}+:{wide}] = {wide}'(signed'({source}[c*{bits}+:{bits}]));",
        "  end",
    ]


def identifier(name: str) -> str:
    """A layer's name as an HDL identifier."""
    return re.sub(r"\W", "_", name, flags=re.ASCII).lower()


def _emit_fifo(body: list[str], instance: str, stream: str, bits: int, depth: int) -> str:
    out = f"{instance}_q"
    _declare(body, out, bits)
    _instantiate(body, "stream_fifo", f"u_{instance}_fifo", {"Width": bits, "Depth": depth}, stream, out)
    return out


def _emit_pool(body: list[str], instance: str, layer: Pool, stream: str) -> tuple[str, int]:
    bits = layer.shape.channels * layer.format.bits
    _declare(body, instance, bits)
    parameters: dict[str, object] = {
        "Channels": layer.shape.channels,
        "Width": layer.format.bits,
        "Signed": int(layer.format.signed),
        "ImgH": layer.source.height,
        "ImgW": layer.source.width,
        "Kernel": layer.window.kernel,
        "Stride": layer.window.stride,
    }
    _instantiate(body, "max_pool", f"u_{instance}", parameters, stream, instance)
    return instance, bits


def _emit_matrix(body: list[str], stage: str, instance: str, layer: Matrix, stream: str) -> tuple[str, int]:
    outputs, beats, lanes = layer.weights.shape
    if layer.window is not None:
        window = f"{instance}_window"
        _declare(body, window, lanes * layer.input_format.bits)
        _instantiate(body, "sliding_window", f"u_{window}", _window_parameters(layer, layer.window), stream, window)
        stream = window
    bits = outputs * layer.output_format.bits
    _declare(body, instance, bits)
    word = layer.fold.pe * layer.fold.simd * layer.weight_format.bits
    depth = weight_depth(layer)
    address = max(1, (depth - 1).bit_length())
    body += [
        f"  logic {instance}_weight_en;",
        f"  logic [{address - 1}:0] {instance}_weight_addr;",
        f"  logic [{word - 1}:0] {instance}_weight_data;",
        f'  weight_memory #(.Width({word}), .Depth({depth}), .File("{_memory_file(stage, instance)}"))',
        f"  u_{instance}_weights (",
        f"    .clk_i, .en_i({instance}_weight_en), .addr_i({instance}_weight_addr), .data_o({instance}_weight_data)",
        "  );",
    ]
    shift = layer.accumulator.fraction - layer.output_format.fraction
    parameters: dict[str, object] = {
        "InLanes": lanes,
        "InWidth": layer.input_format.bits,
        "InSigned": int(layer.input_format.signed),
        "Beats": beats,
        "Outputs": outputs,
        "Pe": layer.fold.pe,
        "Simd": layer.fold.simd,
        "WeightWidth": layer.weight_format.bits,
        "AccWidth": layer.accumulator.bits,
        "BiasWidth": layer.bias_format.bits,
        "Bias": _packed(layer.bias, layer.bias_format.bits),
        "BiasShift": layer.accumulator.fraction - layer.bias_format.fraction,
        "OutWidth": layer.output_format.bits,
        "OutSigned": int(layer.output_format.signed),
        "Shift": shift,
        "Round": layer.rounding,
        "Saturate": int(layer.saturate),
    }
    extra = [f".weight_{port}({instance}_weight_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
    _instantiate(body, "mvu", f"u_{instance}", parameters, stream, instance, extra)
    return instance, bits


def _window_parameters(layer: Matrix, window: Window) -> dict[str, object]:
    top, left, bottom, right = window.pads
    return {
        "Channels": layer.source.channels,
        "Width": layer.input_format.bits,
        "ImgH": layer.source.height,
        "ImgW": layer.source.width,
        "Kernel": window.kernel,
        "Stride": window.stride,
        "PadTop": top,
        "PadLeft": left,
        "PadBottom": bottom,
        "PadRight": right,
    }


def _declare(body: list[str], stream: str, bits: int) -> None:
    body += [f"  logic {stream}_valid, {stream}_ready;", f"  logic [{bits - 1}:0] {stream}_data;"]


def _instantiate(
    body: list[str],
    module: str,
    instance: str,
    parameters: dict[str, object],
    source: str,
    sink: str,
    extra: list[str] | None = None,
) -> None:
    listed = ", ".join(f".{name}({value})" for name, value in parameters.items())
    ports = [
        ".clk_i, .rst_ni",
        f".s_valid_i({source}_valid), .s_ready_o({source}_ready), .s_data_i({source}_data)",
        f".m_valid_o({sink}_valid), .m_ready_i({sink}_ready), .m_data_o({sink}_data)",
        *(extra or []),
    ]
    body += [f"  {module} #({listed}) {instance} (", ",\n".join(f"{_INDENT}{port}" for port in ports), "  );"]


def weight_depth(layer: Matrix) -> int:
    """Words of a layer's weight memory."""
    outputs, beats, lanes = layer.weights.shape
    return int(beats * (outputs // layer.fold.pe) * (lanes // layer.fold.simd))


def _memory_file(stage: str, instance: str) -> str:
    return f"{stage}_{instance}_weights.mem"


def _weight_words(layer: Matrix) -> str:
    """A weight memory's file, in mvu.sv's word order: address (beat, output group, lane group), lane p * Simd + i.

    Nothing but the words: Vivado takes no comment in such a file, and a line for every word.
    """
    outputs, beats, lanes = layer.weights.shape
    pe, simd, bits = layer.fold.pe, layer.fold.simd, layer.weight_format.bits
    words = (
        layer.weights.reshape(outputs // pe, pe, beats, lanes // simd, simd)
        .transpose(2, 0, 3, 1, 4)
        .reshape(-1, pe * simd)
    )
    return "".join(f"{_digits(word, bits)}\n" for word in words)


def _packed(values: Integers, bits: int) -> str:
    """A SystemVerilog literal of the values side by side, the first in the lowest bits."""
    return f"{np.asarray(values).size * bits}'h{_digits(values, bits)}"


def _digits(values: Integers, bits: int) -> str:
    """Hexadecimal digits of the values side by side, the first in the lowest bits."""
    mask = (1 << bits) - 1
    # Through a bit string, since shifting one huge integer for each value would take quadratic time.
    text = "".join(format(int(value) & mask, f"0{bits}b") for value in np.asarray(values).ravel()[::-1])
    return f"{int(text, 2):0{(len(text) + 3) // 4}x}"
