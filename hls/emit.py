"""The kernel around the stages of a cascade, as SystemVerilog; a stage is a network's module (`hls/rtl`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgesight.hls.layers import Layer
from edgesight.hls.library import library_of as library_of
from edgesight.hls.library import library_sources as library_sources
from edgesight.hls.network import Format, Shape
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.verilog import identifier as identifier


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


def emit_stage(name: str, layers: Sequence[Layer]) -> EmittedNetwork:
    """The network that `layers` are of as module `name`; `sources` are its SystemVerilog and memories."""
    return emit_network(name, layers[0].network, layers[0].folding)


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
