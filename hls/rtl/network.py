"""A whole integer network as one SystemVerilog module, with its memories.

The module takes the entry's map pixel by pixel, all channels in a beat, channel 0 lowest, in the bits and sign of the
entry's stream; it gives each output's map alike. Ports: clk_i, rst_ni (low resets), s_valid_i, s_ready_o, s_data_i,
and m_valid_o, m_ready_i, m_data_o; where there are several outputs, m0_valid_o, m1_valid_o and so on in their order, of
which each must be taken independently of the others. A beat passes in each cycle with valid and ready; what is valid
stays until it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgesight.hls.dataflow.operators import (
    Add,
    Concat,
    IntegerNetwork,
    Matrix,
    MaxPool,
    Operator,
    Scale,
    Stream,
    Threshold,
    Upsample,
    Window,
)
from edgesight.hls.folding import Folding
from edgesight.hls.library import library_of
from edgesight.hls.network import Shape
from edgesight.hls.rtl.joins import join_depths
from edgesight.hls.rtl.memories import Trees, trees
from edgesight.hls.rtl.parts import Part, address_bits, style_of
from edgesight.hls.rtl.units import Unit, beats_of, is_dense, is_pointwise, plan, signed_bits, slowest
from edgesight.hls.rtl.windows import gathering_pixels
from edgesight.hls.verilog import declare, identifier, instantiate, memory_file, packed, weight_words

_MULTIPLIERS = {"auto": 0, "logic": 1, "dsp": 2}  # mvu.sv's numbers
_SHALLOW = 2  # beats of a FIFO that decouples two units and no more
_WAITED = 0.01  # of an interval that the slowest unit may wait for the pixels of the next frame


@dataclass(frozen=True)
class EmittedNetwork:
    """A network's module `name`, its files, and the units and instances that it is made of."""

    name: str
    sources: dict[str, str]  # file name -> text: the module and its memories, without the library
    units: tuple[Unit, ...]
    parts: tuple[Part, ...]

    def project(self) -> dict[str, str]:
        """All that the network alone consists of: its sources and what they need of the library."""
        return {**library_of(self.sources), **self.sources}


def emit_network(name: str, network: IntegerNetwork, folding: Folding) -> EmittedNetwork:
    """The network as module `name`, whose ports are told above.

    Raises CompileError naming the layer that the hardware cannot compute, or a reuse factor for one that is not there.
    """
    units = plan(network, folding)
    module = _Module(name, network, units, slowest(network, list(units.values()))[0], join_depths(network))
    sources = {f"{name}.sv": module.text(), **{file: words() for file, words in module.files.items()}}
    return EmittedNetwork(name, sources, tuple(units.values()), tuple(module.parts))


def parts_of(
    network: IntegerNetwork, units: dict[int, Unit], interval: int, depths: dict[int, list[int]]
) -> list[Part]:
    """The instances that a network of `units` is made of, where it is to take `interval` cycles a frame.

    `depths`: what `join_depths` gives, which no folding changes.
    """
    return _Module("network", network, units, interval, depths).parts


def pixel_bits(stream: Stream) -> int:
    """Bits of a pixel with all of its channels."""
    return stream.shape.channels * stream.bits


class _Module:
    """The module's text as it grows: `body` are its lines, `parts` its instances, `files` make its memories' texts."""

    def __init__(
        self,
        name: str,
        network: IntegerNetwork,
        units: dict[int, Unit],
        interval: int,
        depths: dict[int, list[int]],
    ) -> None:
        self.name, self.network, self.units = name, network, units
        self.body: list[str] = []
        self.parts: list[Part] = []
        self.files: dict[str, Callable[[], str]] = {}
        self._interval, self._depths = interval, depths
        self._ways: dict[tuple[int, int], str] = {}  # (operator, which of its sources) -> stream
        self._ports: dict[int, str] = {}  # output -> stream
        entry = network.entry
        self._declare("s", entry.output)
        self._spread(0, "s", entry.output)
        for unit in units.values():
            self._emit(unit)
        self._connect()

    def text(self) -> str:
        """The whole module."""
        network = self.network
        entry = network.entry.output
        prefixes = ["m"] if len(network.outputs) == 1 else [f"m{k}" for k in range(len(network.outputs))]
        ports, ends, told = [], [], []
        for k, (prefix, output) in enumerate(zip(prefixes, network.outputs, strict=True)):
            stream = network.operators[output.source].output
            told.append(f"{prefix}: {_told(stream)} ({_printable(output.name)})")
            ports += [
                f"  output logic {prefix}_valid_o,",
                f"  input  logic {prefix}_ready_i,",
                f"  output logic [{pixel_bits(stream) - 1}:0] {prefix}_data_o,",
            ]
            ends += [
                f"  assign {prefix}_valid_o = {self._ports[k]}_valid;",
                f"  assign {self._ports[k]}_ready = {prefix}_ready_i;",
                f"  assign {prefix}_data_o = {self._ports[k]}_data;",
            ]
        ports[-1] = ports[-1].rstrip(",")
        return "\n".join(
            [
                f"// Generated. Network `{self.name}`, a pixel with all of its channels a beat. s: {_told(entry)}.",
                *(f"// {line}." for line in told),
                f"module {self.name} (",
                "  input  logic clk_i,",
                "  input  logic rst_ni,",
                "  input  logic s_valid_i,",
                "  output logic s_ready_o,",
                f"  input  logic [{pixel_bits(entry) - 1}:0] s_data_i,",
                *ports,
                ");",
                *self.body,
                *ends,
                "endmodule",
                "",
            ]
        )

    # ---- Streams between units ----------------------------------------------------------------------------------

    def _declare(self, stream: str, of: Stream) -> None:
        declare(self.body, stream, pixel_bits(of))

    def _connect(self) -> None:
        self.body += ["  assign s_valid = s_valid_i;", "  assign s_ready_o = s_ready;", "  assign s_data = s_data_i;"]

    def _instance(
        self,
        place: int,
        module: str,
        name: str,
        parameters: dict[str, object],
        source: str,
        sink: str,
        extra: list[str] | None = None,
    ) -> None:
        instantiate(self.body, module, f"u_{name}", parameters, source, sink, extra)
        self.parts.append(Part(place, module, f"u_{name}", parameters))

    def _fifo(self, place: int, source: str, name: str, of: Stream, depth: int) -> str:
        self._declare(name, of)
        parameters: dict[str, object] = {"Width": pixel_bits(of), "Depth": depth}
        self._instance(place, "stream_fifo", name, parameters, source, name)
        return name

    def _spread(self, place: int, source: str, of: Stream) -> None:
        """Give the stream `source` of the operator at `place` to all that take it."""
        users = [
            (at, which)
            for at, operator in enumerate(self.network.operators)
            for which, taken in enumerate(operator.sources)
            if taken == place
        ]
        outputs = [k for k, output in enumerate(self.network.outputs) if output.source == place]
        if len(users) + len(outputs) == 1:
            for at, which in users:
                self._ways[at, which] = self._buffered(place, source, of, (at, which))
            for k in outputs:
                self._ports[k] = source
            return
        if place:
            source = self._fifo(place, source, f"{source}_q", of, _row(of.shape))
        count = len(users) + len(outputs)
        fork, ways = f"{source}_fork", [f"{source}_way{k}" for k in range(count)]
        self.body += [
            f"  logic [{count - 1}:0] {fork}_valid, {fork}_ready;",
            f"  logic [{pixel_bits(of) - 1}:0] {fork}_data;",
        ]
        self._instance(place, "stream_fork", fork, {"Width": pixel_bits(of), "Users": count}, source, fork)
        for k, way in enumerate(ways):
            self._declare(way, of)
            self.body += [
                f"  assign {way}_valid = {fork}_valid[{k}];",
                f"  assign {fork}_ready[{k}] = {way}_ready;",
                f"  assign {way}_data = {fork}_data;",
            ]
        for (at, which), way in zip(users, ways, strict=False):
            rest = 0 if self._keeps(at) else self._ahead(at, of.shape) - _row(of.shape)
            depth = self._depth(at, which, max(_SHALLOW, rest))
            self._ways[at, which] = self._fifo(at, way, f"{way}_q", of, depth)
        for k, way in zip(outputs, ways[len(users) :], strict=True):
            self._ports[k] = way

    def _buffered(self, place: int, source: str, of: Stream, user: tuple[int, int]) -> str:
        """A stream with one user, with the buffer between them that it wants."""
        makes, takes = self.network.operators[place], self.network.operators[user[0]]
        if isinstance(takes, Add | Concat):
            return self._fifo(user[0], source, f"{source}_q", of, self._depth(*user, _SHALLOW))
        # A quantiser reads sums where they wait for it, and a window's memory has room for pixels to come; who works on
        # the entry's pixels is who paces them.
        reads_in_place = isinstance(takes, Threshold | Scale) and isinstance(makes, Matrix | Add | Concat)
        if not place or reads_in_place or self._keeps(user[0]):
            return source
        return self._fifo(user[0], source, f"{source}_q", of, self._ahead(user[0], of.shape))

    def _ahead(self, place: int, source: Shape) -> int:
        """The depth before the operator at `place`: the pixels of a frame that come while it ends the one before.

        Before windows in registers they may be so few that it waits, but not for longer than it can afford.
        """
        operator = self.network.operators[place]
        if not isinstance(operator, Matrix) or is_dense(operator, source) or is_pointwise(operator.window):
            return _row(source)
        spare = 1 + _WAITED - self.units[place].cycles / self._interval
        return max(_row(source), gathering_pixels(operator.window, source) - int(spare * source.pixels))

    def _keeps(self, place: int) -> bool:
        """Whether the operator at `place` keeps the pixels that it takes in a memory, with room for those to come."""
        return place in self.units and self.units[place].memory is not None

    def _depth(self, place: int, which: int, otherwise: int) -> int:
        """The depth of the buffer before source `which` of the operator at `place`: a join's need, and a row more."""
        if place not in self._depths:
            return otherwise
        return self._depths[place][which] + _row(self.network.operators[place].output.shape)

    # ---- Units --------------------------------------------------------------------------------------------------

    def _emit(self, unit: Unit) -> None:
        operator = self.network.operators[unit.place]
        last = operator if unit.fused is None else self.network.operators[unit.fused]
        stream = f"u{unit.place}_{identifier(operator.name)}"
        sources = [source.output for source in self.network.sources_of(operator)]
        ways = [self._ways[unit.place, which] for which in range(len(sources))]
        self._declare(stream, last.output)
        match operator:
            case Matrix():
                self._matrix(unit, operator, ways[0], stream)
            case MaxPool():
                parameters = {"Signed": int(sources[0].signed), **_window(operator.window, sources[0])}
                self._instance(unit.place, "max_pool", stream, parameters, ways[0], stream)
            case Upsample():
                parameters = {
                    "Width": pixel_bits(sources[0]),
                    "ImgW": sources[0].shape.width,
                    "FactorH": operator.factor[0],
                    "FactorW": operator.factor[1],
                }
                self._instance(unit.place, "upsample", stream, parameters, ways[0], stream)
            case Add() | Concat():
                self._join(unit, operator, sources, ways, stream)
            case Threshold():
                self._threshold(unit, operator, ways[0], stream)
            case Scale():
                self._scale(unit, operator, ways[0], stream)
            case _:
                raise TypeError(f"{type(operator).__name__} is not known here")
        self._spread(unit.place if unit.fused is None else unit.fused, stream, last.output)

    def _matrix(self, unit: Unit, operator: Matrix, source: str, stream: str) -> None:
        taken, sums = self.network.sources_of(operator)[0].output, operator.output
        weights = beats_of(operator, taken.shape)
        outputs, beats, lanes = weights.shape
        taps = operator.window.kernel[0] * operator.window.kernel[1] // beats
        if beats == 1 and not is_dense(operator, taken.shape) and not is_pointwise(operator.window):
            source = self._windows(unit, operator, source, f"{stream}_window")
        file = f"{self.name}_{stream}_weights.mem"
        self.files[file] = partial(weight_words, weights, unit.fold, unit.weight_bits)
        words = beats * (outputs // unit.pe) * (lanes // unit.simd)
        parameters: dict[str, object] = {
            "InLanes": lanes * operator.groups,
            "InWidth": taken.bits,
            "InSigned": int(taken.signed),
            "Beats": beats,
            "Outputs": outputs,
            "Pe": unit.pe,
            "Simd": unit.simd,
            "WeightWidth": unit.weight_bits,
            "Blocks": operator.groups,
            "Taps": taps,
            **({} if unit.memory is None else {"Sliced": 1}),
            **({} if unit.products_in == "auto" else {"Multipliers": _MULTIPLIERS[unit.products_in]}),
        }
        if unit.fused is None:
            parameters |= {"AccWidth": sums.bits, "OutWidth": sums.bits, "OutSigned": int(sums.signed)}
            parameters |= {
                "Shift": 0,
                "Saturate": 0,
                "BiasWidth": 1,
                "Bias": f"{outputs}'d0",
            }
        else:
            scale = self.network.operators[unit.fused]
            assert isinstance(scale, Scale)  # which is what a matrix is fused with
            low, high = int(scale.offset.min()), int(scale.offset.max())
            parameters |= {
                "AccWidth": signed_bits(sums.low + min(low, 0), sums.high + max(high, 0)),
                "BiasWidth": signed_bits(low, high),
                "Bias": packed(scale.offset, signed_bits(low, high)),
                "OutWidth": scale.output.bits,
                "OutSigned": int(scale.output.signed),
                "Shift": scale.shift,
                "Round": scale.rounding,
                "Saturate": 1,
            }
        parameters["BiasShift"] = 0
        weight = f"{stream}_weight"
        self._memory(
            unit.place, weight, file, words, unit.pe * unit.simd * unit.weight_bits, unit.weights_in, rising=False
        )
        extra = [f".weight_{port}({weight}_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
        self._instance(unit.place, "mvu", stream, parameters, source, stream, extra)

    def _windows(self, unit: Unit, operator: Matrix, source: str, stream: str) -> str:
        """The windows of the stream `source` as stream `stream`, whole or by the steps of the unit."""
        taken, memory = self.network.sources_of(operator)[0].output, unit.memory
        parameters = _window(operator.window, taken)
        if memory is None:
            declare(self.body, stream, operator.window.kernel[0] * operator.window.kernel[1] * pixel_bits(taken))
            self._instance(unit.place, "sliding_window", stream, parameters, source, stream)
            return stream
        declare(self.body, stream, memory.side_blocks * unit.simd * taken.bits)
        parameters |= {
            "Blocks": operator.groups,
            "SideBlocks": memory.side_blocks,
            "Simd": unit.simd,
            "Turns": memory.turns,
            "Pixels": memory.pixels,
        }
        self._instance(unit.place, "window_memory", stream, parameters, source, stream)
        return stream

    def _memory(self, place: int, name: str, file: str, words: int, bits: int, style: str, *, rising: bool) -> None:
        """A memory with its signals `name`_en, _addr and _data."""
        wanted = "" if style == "auto" else f', .Style("{style}")'
        self.body += [
            f"  logic {name}_en;",
            f"  logic [{address_bits(words) - 1}:0] {name}_addr;",
            f"  logic [{bits - 1}:0] {name}_data;",
            f'  weight_memory #(.Width({bits}), .Depth({words}), .File("{file}"){wanted}) u_{name} (',
            f"    .clk_i, .en_i({name}_en), .addr_i({name}_addr), .data_o({name}_data)",
            "  );",
        ]
        parameters = {"Width": bits, "Depth": words, "Style": style, "Sorted": int(rising)}
        self.parts.append(Part(place, "weight_memory", f"u_{name}", parameters))

    def _threshold(self, unit: Unit, operator: Threshold, source: str, stream: str) -> None:
        taken, out = self.network.sources_of(operator)[0].output, operator.output
        tree = trees(operator, taken)
        groups = out.shape.channels // unit.pe
        address = address_bits(groups << (tree.levels - 1))
        lanes = tree.levels * unit.pe
        ports = f"{stream}_threshold"
        self.body += [
            f"  logic [{tree.levels - 1}:0] {ports}_en;",
            f"  logic [{lanes * address - 1}:0] {ports}_addr;",
            f"  logic [{lanes * tree.bits - 1}:0] {ports}_data;",
        ]
        for level in range(tree.levels):
            words = groups << level
            for p in range(unit.pe):
                lane, memory = level * unit.pe + p, f"{stream}_level{level}_{p}"
                file = f"{self.name}_{memory}.mem"
                self.files[file] = partial(_level, tree, level, p, unit.pe)
                style = unit.weights_in if unit.weights_in == "auto" else style_of(words, tree.bits)
                self._memory(unit.place, memory, file, words, tree.bits, style, rising=True)
                self.body += [
                    f"  assign {memory}_en = {ports}_en[{level}];",
                    f"  assign {memory}_addr = {ports}_addr[{lane * address}+:{address_bits(words)}];",
                    f"  assign {ports}_data[{lane * tree.bits}+:{tree.bits}] = {memory}_data;",
                ]
        parameters: dict[str, object] = {
            "Channels": out.shape.channels,
            "Pe": unit.pe,
            "InWidth": taken.bits,
            "InSigned": int(taken.signed),
            "Levels": tree.levels,
            "ThresholdWidth": tree.bits,
            "OutWidth": out.bits,
            "First": packed(tree.first, out.bits),
            "Step": packed(operator.step, out.bits),
        }
        extra = [f".threshold_{port}({ports}_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
        self._instance(unit.place, "thresholding", stream, parameters, source, stream, extra)

    def _scale(self, unit: Unit, operator: Scale, source: str, stream: str) -> None:
        taken, out = self.network.sources_of(operator)[0].output, operator.output
        multiplier = signed_bits(int(operator.multiplier.min()), int(operator.multiplier.max()))
        offset = signed_bits(int(operator.offset.min()), int(operator.offset.max()))
        parameters: dict[str, object] = {
            "Channels": out.shape.channels,
            "Pe": unit.pe,
            "InWidth": taken.bits,
            "InSigned": int(taken.signed),
            "MultiplierWidth": multiplier,
            "Multiplier": packed(operator.multiplier, multiplier),
            "OffsetWidth": offset,
            "Offset": packed(operator.offset, offset),
            "Shift": operator.shift,
            "Round": operator.rounding,
            "OutWidth": out.bits,
            "Low": f"64'sh{out.low & (1 << 64) - 1:x}",
            "High": f"64'sh{out.high & (1 << 64) - 1:x}",
        }
        self._instance(unit.place, "rescale", stream, parameters, source, stream)

    def _join(self, unit: Unit, operator: Operator, sources: list[Stream], ways: list[str], stream: str) -> None:
        out, count = operator.output, len(ways)
        sizes = [source.shape.channels * out.bits for source in sources]
        joined = f"{stream}_joined"
        self.body += [
            f"  logic [{count - 1}:0] {joined}_valid, {joined}_ready;",
            f"  logic [{sum(sizes) - 1}:0] {joined}_data;",
        ]
        for k, (way, source) in enumerate(zip(ways, sources, strict=True)):
            start, bits = sum(sizes[:k]), source.bits
            value = f"{way}_data[v*{bits}+:{bits}]"
            self.body += [
                f"  assign {joined}_valid[{k}] = {way}_valid;",
                f"  assign {way}_ready = {joined}_ready[{k}];",
                f"  for (genvar v = 0; v < {source.shape.channels}; v++) begin : g_{joined}{k}",
                f"    assign {joined}_data[{start}+v*{out.bits}+:{out.bits}] = "
                f"{out.bits}'({_extended(value, source.signed)});",
                "  end",
            ]
        if isinstance(operator, Add):
            parameters: dict[str, object] = {"Sources": count, "Values": out.shape.channels, "Width": out.bits}
            self._instance(unit.place, "stream_add", stream, parameters, joined, stream)
        else:
            parameters = {"Sources": count, "Width": sum(sizes)}
            self._instance(unit.place, "stream_concat", stream, parameters, joined, stream)


def _level(tree: Trees, level: int, channel: int, pe: int) -> str:
    return memory_file(tree.words(level, channel, pe), tree.bits)


def _extended(value: str, signed: bool) -> str:
    return f"signed'({value})" if signed else value


def _row(shape: Shape) -> int:
    """The depth that decouples a unit that works in bursts of a row from one that works steadily."""
    return max(_SHALLOW, shape.width) if shape.height > 1 else _SHALLOW


def _window(window: Window, source: Stream) -> dict[str, object]:
    top, left, bottom, right = window.pads
    return {
        "Channels": source.shape.channels,
        "Width": source.bits,
        "ImgH": source.shape.height,
        "ImgW": source.shape.width,
        "PadTop": top,
        "PadLeft": left,
        "PadBottom": bottom,
        "PadRight": right,
        "KernelH": window.kernel[0],
        "KernelW": window.kernel[1],
        "StrideH": window.stride[0],
        "StrideW": window.stride[1],
        "DilationH": window.dilation[0],
        "DilationW": window.dilation[1],
    }


def _told(stream: Stream) -> str:
    return f"{stream.shape} of {stream.bits}-bit {'signed' if stream.signed else 'unsigned'} integers"


def _printable(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
