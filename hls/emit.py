"""The kernel around the stages of a cascade, as SystemVerilog; a stage is a network's module (`hls/rtl`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgesight.hls.layers import Layer
from edgesight.hls.library import library_of as library_of
from edgesight.hls.library import library_sources as library_sources
from edgesight.hls.network import Format, Shape
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.verilog import identifier as identifier


@dataclass(frozen=True)
class Features:
    """What a stage leaves behind for the next one, at its second output `m1_*`; its logits are then `m0_*`."""

    beats: int  # of a frame
    bits: int  # of a beat


@dataclass(frozen=True)
class Ports:
    """What the kernel around a stage must know of it.

    A stage that leaves features behind must come to a frame's logits once all of the frame's features were taken: only
    one frame of them is sure to find room before the frame's verdict. Every unit of a network gives all that it makes
    of a frame without a beat of the next one, and the logits need all of the features: so it does.
    """

    name: str
    source: Shape
    source_format: Format
    classes: int  # logits of a frame
    logit_bits: int  # of two's complement
    logit_beats: int  # that they come in: 1, or a map's pixels
    logit_signed: bool = True  # else the stage's port has a bit less, as no logit is negative
    leaves: Features | None = field(default=None, kw_only=True)
    runtime: bool = field(default=False, kw_only=True)  # weights of it are loaded at run time
    goes_on: bool = field(default=False, kw_only=True)  # from what the stage before leaves, instead of from the pixels


def emit_stage(name: str, layers: Sequence[Layer]) -> EmittedNetwork:
    """The network that `layers` are of as module `name`; `sources` are its SystemVerilog and memories."""
    return emit_network(name, layers[0].network, layers[0].folding)


def emit_kernel(
    stages: Sequence[Ports],
    frame_slots: int,
    build_hash: str,
    weights_hash: str,
    *,
    logits_in_record: bool = False,
    weights_words: int = 0,
) -> str:
    """SystemVerilog of module `kernel`: the cascade's frame handling around one to four stages.

    With `logits_in_record`, around a network alone whose records carry its logits. `weights_words`: those of the image
    of weights that are loaded at run time.
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
        port_bits = stage.logit_bits - (not stage.logit_signed)
        port = "m" if stage.leaves is None else "m0"
        instances += [
            f"  logic [{at_once * port_bits - 1}:0] logits{k};",
            *_left(k, stage.leaves),
            f"  {stage.name} u_{stage.name} (",
            "    .clk_i, .rst_ni(core_rst_n),",
            "    .s_valid_i({}), .s_ready_o({}), .s_data_i({}),".format(*source),
            *(["    .weights_i(weights),"] if stage.runtime else []),
            *([f"    {_LEFT.format(k=k)},"] if stage.leaves is not None else []),
            f"    .{port}_valid_o(logits_valid[{k}]), .{port}_ready_i(logits_ready[{k}]), .{port}_data_o(logits{k})",
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
            "  /* verilator lint_off UNUSEDSIGNAL */",
            f"  logic [{count - 1}:0] verdict_valid, verdict_pass;",
            "  weights_pkg::bus_t weights;",
            "  /* verilator lint_on UNUSEDSIGNAL */",
            f"  logic [{count - 1}:0][{pixel - 1}:0] pixel_data;",
            f"  logic [{count - 1}:0][{beat - 1}:0] logits;",
            "  assign tap_logits_o = logits;",
            "  cascade #(",
            f"    .Stages({count}), .Pixels({shape.pixels}), .Channels({pixel // 8}), .Classes({classes}),",
            f"    .FromTrunk({from_trunk}),",
            f"    .LogitsInRecord({int(logits_in_record)}), .LogitBeats({first.logit_beats}),",
            f"    .LogitWidth({widest}), .FrameSlots({frame_slots}),",
            f"    .BuildHash(32'h{build_hash}), .WeightsHash(32'h{weights_hash}), .WeightsWords({weights_words})",
            "  ) u_cascade (",
            "    " + ", ".join(f".{name}" for name in names) + ",",
            "    .core_rst_no(core_rst_n), .weights_o(weights),",
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


_LEFT = ".m1_valid_o(left{k}_valid), .m1_ready_i(left{k}_ready), .m1_data_o(left{k}_data)"


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
