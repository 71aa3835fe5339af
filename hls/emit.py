"""From hardware layers to SystemVerilog: one module a stage, its weight memories, and the kernel around the stages.

Words owned here: library (the hand-written modules that kernels are assembled from).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgesight.hls.layers import Hardware, Matrix, Pool
from edgesight.hls.network import Shape, Window
from edgesight.hls.verilog import declare, identifier, instantiate, packed, weight_words
from edgesight.host.package import LIBRARY

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Ports:
    """What the kernel around a stage must know of it."""

    name: str
    source: Shape
    classes: int
    logit_bits: int


@dataclass(frozen=True)
class EmittedStage(Ports):
    """A stage's module and the contents of its weight memories."""

    sources: dict[str, str]  # file name -> text


def ports(name: str, layers: Sequence[Hardware]) -> Ports:
    """The ports of the module `name` that `emit_stage` makes of `layers`."""
    last = layers[-1]
    assert isinstance(last, Matrix)  # edgesight.hls.layers.extract lets nothing else be last
    return Ports(name, layers[0].source, last.shape.channels, last.output_format.bits)


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


def emit_kernel(stages: Sequence[Ports], frame_slots: int, build_hash: str, weights_hash: str) -> str:
    """SystemVerilog of module `kernel`: the cascade's frame handling around the two stages."""
    shape, classes = stages[0].source, stages[0].classes
    taps = [
        f"  output logic tap{k}_valid_o,\n  output logic [31:0] tap{k}_tag_o,\n"
        f"  output logic [{classes * stage.logit_bits - 1}:0] tap{k}_logits_o"
        for k, stage in enumerate(stages)
    ]
    wires, ports, instances = [], [], []
    for k, stage in enumerate(stages):
        wires += [
            f"  logic pixel{k}_valid, pixel{k}_ready, logits{k}_valid, logits{k}_ready;",
            f"  logic [{shape.channels * 8 - 1}:0] pixel{k}_data;",
            f"  logic [{classes * stage.logit_bits - 1}:0] logits{k}_data;",
            f"  assign tap{k}_logits_o = logits{k}_data;",
        ]
        ports += [
            f".pixel{k}_valid_o(pixel{k}_valid), .pixel{k}_ready_i(pixel{k}_ready), .pixel{k}_data_o(pixel{k}_data)",
            f".logits{k}_valid_i(logits{k}_valid), .logits{k}_ready_o(logits{k}_ready), "
            f".logits{k}_data_i(logits{k}_data)",
            f".tap{k}_valid_o, .tap{k}_tag_o",
        ]
        instances += [
            f"  {stage.name} u_{stage.name} (",
            "    .clk_i, .rst_ni(core_rst_n),",
            f"    .s_valid_i(pixel{k}_valid), .s_ready_o(pixel{k}_ready), .s_data_i(pixel{k}_data),",
            f"    .m_valid_o(logits{k}_valid), .m_ready_i(logits{k}_ready), .m_data_o(logits{k}_data)",
            "  );",
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
            ",\n".join(taps),
            ");",
            "  logic core_rst_n;",
            *wires,
            "  cascade #(",
            f"    .Pixels({shape.pixels}), .Channels({shape.channels}), .Classes({classes}),",
            f"    .LogitWidth0({stages[0].logit_bits}), .LogitWidth1({stages[1].logit_bits}),",
            f"    .FrameSlots({frame_slots}), .BuildHash(32'h{build_hash}), .WeightsHash(32'h{weights_hash})",
            "  ) u_cascade (",
            "    " + ", ".join(f".{name}" for name in names) + ",",
            "    .core_rst_no(core_rst_n),",
            ",\n".join(f"    {port}" for port in ports),
            "  );",
            *instances,
            "endmodule",
            "",
        ]
    )


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
