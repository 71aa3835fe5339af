"""From hardware layers to SystemVerilog: one module a stage, its weight memories, and the kernel around the stages.

Words owned here: library (the hand-written modules that kernels are assembled from).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesight.hls.layers import Hardware, Matrix, Pool
from edgesight.hls.network import PIXEL, Format, Shape, Window
from edgesight.hls.verilog import declare, identifier, instantiate, packed, weight_words
from edgesight.host.package import LIBRARY

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Ports:
    """What the kernel around a stage must know of it."""

    name: str
    source: Shape
    source_format: Format
    classes: int  # logits of a frame
    logit_bits: int  # of two's complement
    logit_beats: int  # that they come in: 1, or a map's pixels
    logit_signed: bool  # else the stage's port has a bit less, as no logit is negative


@dataclass(frozen=True)
class EmittedStage(Ports):
    """A stage's module and the contents of its weight memories."""

    sources: dict[str, str]  # file name -> text


def ports(name: str, layers: Sequence[Hardware]) -> Ports:
    """The ports of the module `name` that `emit_stage` makes of `layers`."""
    last = layers[-1]
    assert isinstance(last, Matrix)  # edgesight.hls.layers.extract lets nothing else be last
    return Ports(name, layers[0].source, PIXEL, last.shape.channels, last.output_format.bits, 1, True)


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
            sources[_memory_file(name, instance)] = weight_words(layer.weights, layer.fold, layer.weight_format.bits)
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
    instances = []
    for k, stage in enumerate(stages):
        port_bits = stage.logit_bits - (not stage.logit_signed)
        instances += [
            f"  logic [{at_once * port_bits - 1}:0] logits{k};",
            f"  logic [{shape.channels * first.source_format.bits - 1}:0] pixel{k};",
            *_narrowed(f"pixel_data[{k}]", f"pixel{k}", shape.channels, 8 * value_bytes, first.source_format.bits),
            f"  {stage.name} u_{stage.name} (",
            "    .clk_i, .rst_ni(core_rst_n),",
            f"    .s_valid_i(pixel_valid[{k}]), .s_ready_o(pixel_ready[{k}]), .s_data_i(pixel{k}),",
            f"    .m_valid_o(logits_valid[{k}]), .m_ready_i(logits_ready[{k}]), .m_data_o(logits{k})",
            "  );",
            *_widened(f"logits{k}", f"logits[{k}]", at_once, (port_bits, widest), stage.logit_signed),
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
            f"  logic [{count - 1}:0][{pixel - 1}:0] pixel_data;",
            f"  logic [{count - 1}:0][{beat - 1}:0] logits;",
            "  assign tap_logits_o = logits;",
            "  cascade #(",
            f"    .Stages({count}), .Pixels({shape.pixels}), .Channels({pixel // 8}), .Classes({classes}),",
            f"    .LogitsInRecord({int(logits_in_record)}), .LogitBeats({first.logit_beats}),",
            f"    .LogitWidth({widest}), .FrameSlots({frame_slots}),",
            f"    .BuildHash(32'h{build_hash}), .WeightsHash(32'h{weights_hash})",
            "  ) u_cascade (",
            "    " + ", ".join(f".{name}" for name in names) + ",",
            "    .core_rst_no(core_rst_n),",
            "    .pixel_valid_o(pixel_valid), .pixel_ready_i(pixel_ready), .pixel_data_o(pixel_data),",
            "    .logits_valid_i(logits_valid), .logits_ready_o(logits_ready), .logits_data_i(logits),",
            "    .tap_valid_o, .tap_tag_o",
            "  );",
            *instances,
            "endmodule",
            "",
        ]
    )


def _narrowed(source: str, sink: str, count: int, wide: int, bits: int) -> list[str]:
    """Assign the lowest `bits` bits of `count` values of `wide` bits in `source` to `sink`."""
    if bits == wide:
        return [f"  assign {sink} = {source};"]
    return [
        f"  for (genvar v = 0; v < {count}; v++) begin : gen_{sink}",
        f"    assign {sink}[v*{bits}+:{bits}] = {source}[v*{wide}+:{bits}];",
        "  end",
    ]


def _widened(source: str, sink: str, count: int, widths: tuple[int, int], signed: bool) -> list[str]:
    """Assign `count` values of the first of `widths` in bits in `source` to values of the second in `sink`."""
    bits, wide = widths
    if bits == wide:
        return [f"  assign {sink} = {source};"]
    name, sign = f"gen_{source}", "signed'" if signed else "unsigned'"
    return [
        f"  for (genvar c = 0; c < {count}; c++) begin : {name}",
        f"    assign {sink}[c*{wide}+:{wide}] = {wide}'({sign}({source}[c*{bits}+:{bits}]));",
        "  end",
    ]


def _emit_fifo(body: list[str], instance: str, stream: str, bits: int, depth: int) -> str:
    out = f"{instance}_q"
    declare(body, out, bits)
    instantiate(body, "stream_fifo", f"u_{instance}_fifo", {"Width": bits, "Depth": depth}, stream, out)
    return out


def _emit_pool(body: list[str], instance: str, layer: Pool, stream: str) -> tuple[str, int]:
    bits = layer.shape.channels * layer.format.bits
    declare(body, instance, bits)
    parameters: dict[str, object] = {
        "Channels": layer.shape.channels,
        "Width": layer.format.bits,
        "Signed": int(layer.format.signed),
        "ImgH": layer.source.height,
        "ImgW": layer.source.width,
        "Kernel": layer.window.kernel,
        "Stride": layer.window.stride,
    }
    instantiate(body, "max_pool", f"u_{instance}", parameters, stream, instance)
    return instance, bits


def _emit_matrix(body: list[str], stage: str, instance: str, layer: Matrix, stream: str) -> tuple[str, int]:
    outputs, beats, lanes = layer.weights.shape
    if layer.window is not None:
        window = f"{instance}_window"
        declare(body, window, lanes * layer.input_format.bits)
        instantiate(body, "sliding_window", f"u_{window}", _window_parameters(layer, layer.window), stream, window)
        stream = window
    bits = outputs * layer.output_format.bits
    declare(body, instance, bits)
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
        "Bias": packed(layer.bias, layer.bias_format.bits),
        "BiasShift": layer.accumulator.fraction - layer.bias_format.fraction,
        "OutWidth": layer.output_format.bits,
        "OutSigned": int(layer.output_format.signed),
        "Shift": shift,
        "Round": layer.rounding,
        "Saturate": int(layer.saturate),
    }
    extra = [f".weight_{port}({instance}_weight_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
    instantiate(body, "mvu", f"u_{instance}", parameters, stream, instance, extra)
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


def weight_depth(layer: Matrix) -> int:
    """Words of a layer's weight memory."""
    outputs, beats, lanes = layer.weights.shape
    return int(beats * (outputs // layer.fold.pe) * (lanes // layer.fold.simd))


def _memory_file(stage: str, instance: str) -> str:
    return f"{stage}_{instance}_weights.mem"
