"""What a kernel package cannot carry is refused here, before anything is emitted. All raise CompileError."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.emit import Ports
from edgesight.hls.network import CompileError
from edgesight.hls.rtl.units import signed_bits
from edgesight.host.kernel import MAX_FRAME_BYTES, MAX_LOGIT_BITS

MAX_SIDE = 1024  # pixels, as edgesight.host.kernel.Input has it
MAX_CLASSES = 65_536  # labels of a result record
FRAME_SLOTS = 8  # where nothing else is said; also of the kernels that the cost model was fitted to
SLOTS = (4, 8, 16, 32, 64, 128, 256)  # frames that a cascade may buffer, as cascade.sv has it
_IN_ORDER = ("HWC", "HW", "HC", "WC")  # as streams go


def check_order(path: Path, integers: IntegerNetwork) -> None:
    """Refuse an output of which a record would number the values in another order than the file does."""
    for output in integers.outputs:
        for axes in output.axes:
            if len(axes) > 1 and axes not in _IN_ORDER:
                raise CompileError(
                    f"{path}: output {output.name}: it is a flattened map with its {axes[0]} axis first, and its "
                    "values would come in another order; give the map itself as the output, or flatten it channels last"
                )


def check_one_output(what: str, integers: IntegerNetwork) -> None:
    """Refuse what a kernel has no place for."""
    if len(integers.outputs) != 1:
        names = ", ".join(output.name for output in integers.outputs)
        raise CompileError(
            f"{what} has {len(integers.outputs)} outputs ({names}); export it with one output, or compile a zoo folder "
            "that holds it as exits.onnx, for a cascade of its exits"
        )


def check_logits(path: Path, integers: IntegerNetwork) -> None:
    """Refuse logits that a record has no room for."""
    output = integers.outputs[0]
    given = integers.operators[output.source].output
    bits = signed_bits(given.low, given.high)
    if bits > MAX_LOGIT_BITS:
        raise CompileError(
            f"{path}: output {output.name}: its integers have {bits} bits, a record carries {MAX_LOGIT_BITS} at "
            "most; put a quantiser before it, or give its values scales and offsets that are nearer to each other"
        )


def check_alike(networks: Sequence[IntegerNetwork], ports: Sequence[Ports]) -> None:
    """Refuse stages that do not take the same frames or tell the same classes apart."""
    first = ports[0]
    for network, other in zip(networks[1:], ports[1:], strict=True):
        if (first.source, first.classes) != (first.source if other.goes_on else other.source, other.classes):
            raise CompileError(
                f"the stages differ: {first.name} takes {first.source} and has {first.classes} classes, {other.name} "
                f"takes {other.source} and has {other.classes}; train all on the same data set and size"
            )
        here, there = _taken(networks[0]), _taken(network)
        if not other.goes_on and here != there:
            raise CompileError(
                f"the stages differ: {first.name} takes {here}, {other.name} {there}; quantise the pixels alike in all"
            )


def _taken(network: IntegerNetwork) -> str:
    """The values that a network's entry takes, in words."""
    stream = network.entry.output
    sign = "signed" if stream.signed else "unsigned"
    return f"{sign} values of {stream.bits} bits in steps of {network.entry.scale!r}"


def check_frame(ports: Ports, slots: int) -> None:
    """Refuse inputs and outputs that a cascade cannot carry, or a buffer that it has no form for."""
    if slots not in SLOTS:
        raise CompileError(f"{slots} frames in the buffer: give a power of two from {SLOTS[0]} to {SLOTS[-1]}")
    source, form, classes = ports.source, ports.source_format, ports.classes
    if source.channels not in (1, 3) or max(source.height, source.width) > MAX_SIDE:
        raise CompileError(
            f"the networks take {source} values a frame; a cascade's frames are pictures of 1 or 3 channels and at "
            f"most {MAX_SIDE} pixels a side: give the networks such an input, and flatten it in them"
        )
    if source.pixels * source.channels > MAX_FRAME_BYTES:
        raise CompileError(
            f"the networks take {source} bytes a frame; a frame has at most {MAX_FRAME_BYTES}: give them smaller "
            "pictures"
        )
    if form.bits != 8 or form.signed:
        raise CompileError(
            f"the networks take {'signed' if form.signed else 'unsigned'} values of {form.bits} bits; a cascade's "
            "frames are pictures of bytes: begin the networks with an unsigned quantiser of 8 bits, or compile "
            "each file alone"
        )
    if not 2 <= classes <= MAX_CLASSES:
        raise CompileError(
            f"the networks have {classes} outputs; a cascade needs 2 to {MAX_CLASSES} classes: train them on so many"
        )


def check_size(ports: Ports) -> None:
    """Refuse inputs and outputs that a kernel of a network alone cannot carry."""
    source = ports.source
    values = source.pixels * source.channels
    if max(source.height, source.width) > MAX_SIDE or source.channels > MAX_CLASSES or values > MAX_FRAME_BYTES // 2:
        raise CompileError(
            f"the network takes {source} values a frame; a kernel takes at most {MAX_SIDE} a side, {MAX_CLASSES} "
            f"channels and {MAX_FRAME_BYTES // 2} values: cut the input into parts"
        )
    if ports.classes > MAX_CLASSES:
        raise CompileError(
            f"the network has {ports.classes} outputs; a record carries at most {MAX_CLASSES}: cut it into parts"
        )


def check_one_place(path: Path, integers: IntegerNetwork) -> None:
    """Refuse a stage that ends in a map."""
    output = integers.outputs[0]
    places = integers.operators[output.source].output.shape.pixels
    if places > 1:
        raise CompileError(
            f"{path}: output {output.name}: it is a map of {places} places, and the classes of a cascade are channels "
            "of one; end the network in a dense layer or a pooling over all places, or compile its file alone"
        )
