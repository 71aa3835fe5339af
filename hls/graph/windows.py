"""Where the windows of a convolution or a pooling lie on its map."""

from __future__ import annotations

from typing import Any

from edgesight.hls.graph.nodes import CHANNELS_LAST, Nodes
from edgesight.hls.graph.parameters import stored_shape
from edgesight.hls.network import Shape

MAX_SIDE = 4096  # of a map, padding included: what is made of a file is bounded
# Kernel and strides, each rows and columns; pads top, left, bottom, right; rows and columns of the output.
Geometry = tuple[list[int], list[int], tuple[int, int, int, int], tuple[int, int]]


def geometry_of(nodes: Nodes, node: Any, source: Shape) -> Geometry | None:
    """Kernel, strides, pads and output size of a convolution or pooling of `source`, as ONNX defines them.

    None where they cannot be told; problems are noted.
    """
    stored = stored_shape(nodes, node.input[1]) if node.op_type == "Conv" else None
    default = [1, 1]
    if stored is not None and len(stored) == 4:
        default = list(stored[1:3] if node.domain == CHANNELS_LAST else stored[2:])
    elif nodes.attribute(node, "kernel_shape") is None:
        nodes.say(node, "kernel_shape is missing", "export the network again")
        return None
    kernels = nodes.sizes(node, "kernel_shape", default, 1)
    strides = nodes.sizes(node, "strides", [1, 1], 1)
    dilations = nodes.sizes(node, "dilations", [1, 1], 1)
    size = (source.height, source.width)
    reach = [dilation * (kernel - 1) + 1 for kernel, dilation in zip(kernels, dilations, strict=True)]
    automatic = str(nodes.attribute(node, "auto_pad", "NOTSET"))
    pads = nodes.sizes(node, "pads", [0, 0, 0, 0], 0)
    if automatic not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        nodes.say(node, f"auto_pad {automatic}", "use NOTSET with pads")
    elif automatic != "NOTSET":
        if nodes.attribute(node, "pads") is not None:
            nodes.say(node, f"auto_pad {automatic} beside pads {pads}", "give one of both")
        elif node.domain == CHANNELS_LAST and automatic != "VALID":
            nodes.say(node, f"auto_pad {automatic} is not read by hls4ml", "give the pads as numbers")
        pads = automatic_pads(automatic, size, reach, strides)
    if dilations != [1, 1]:
        what = "dilated max pooling" if node.op_type == "MaxPool" else "a dilated convolution"
        nodes.say(node, f"{what} (dilations {dilations})", "use dilation 1")
    if kernels[0] != kernels[1]:
        nodes.say(node, f"kernel {kernels[0]}x{kernels[1]} is not square", "use a square one")
    if max(size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]) > MAX_SIDE:
        nodes.say(node, f"a padded map of more than {MAX_SIDE} rows or columns", "use a smaller one")
        return None
    grown = [size[0] + pads[0] + pads[2] - reach[0], size[1] + pads[1] + pads[3] - reach[1]]
    if min(grown) < 0:
        nodes.say(node, f"its window {reach[0]}x{reach[1]} is larger than the padded map", "use a smaller kernel")
        return None
    out = [grown[0] // strides[0] + 1, grown[1] // strides[1] + 1]
    if node.op_type == "MaxPool":
        ceil = int(nodes.attribute(node, "ceil_mode", 0))
        # A last window that would begin behind the map and its padding does not count.
        up = [-(-grown[i] // strides[i]) + 1 for i in (0, 1)]
        up = [n - 1 if (n - 1) * strides[i] >= size[i] + pads[i] else n for i, n in enumerate(up)]
        if ceil and up != out:
            nodes.say(node, f"ceil_mode {ceil} with windows that hang over the map's edge", "use ceil_mode 0")
            out = up
    return kernels, strides, (pads[0], pads[1], pads[2], pads[3]), (out[0], out[1])


def automatic_pads(mode: str, size: tuple[int, int], reach: list[int], strides: list[int]) -> list[int]:
    """Top, left, bottom and right padding of ONNX's `auto_pad`."""
    if mode == "VALID":
        return [0, 0, 0, 0]
    begins, ends = [], []
    for length, kernel, stride in zip(size, reach, strides, strict=True):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return begins + ends
