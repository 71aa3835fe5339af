"""A whole integer network as one SystemVerilog module, with its memories.

The module takes the entry's map pixel by pixel, all channels in a beat, channel 0 lowest, in the bits and sign of the
entry's stream; it gives each output's map alike. Ports: clk_i, rst_ni (low resets), s_valid_i, s_ready_o, s_data_i,
and m_valid_o, m_ready_i, m_data_o; where there are several outputs, m0_valid_o, m1_valid_o and so on in their order, of
which each must be taken independently of the others. A beat passes in each cycle with valid and ready; what is valid
stays until it is taken.

Between units a pixel may go in parts, beats of fewer channels in order, where the one who makes it and the only one who
takes it both work so: what a folded unit gives is then never kept whole.

Where weights are loaded at run time, `weights_i` is the bus that writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

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
)
from edgesight.hls.dataflow.runtime import shift_bits
from edgesight.hls.folding import Folding
from edgesight.hls.library import library_of
from edgesight.hls.network import Integers
from edgesight.hls.rtl.bipolar import Coding
from edgesight.hls.rtl.buffers import Buffers, row_of
from edgesight.hls.rtl.joins import join_depths
from edgesight.hls.rtl.memories import Memories, loaded_rounding
from edgesight.hls.rtl.parts import Instances, Part
from edgesight.hls.rtl.quantisers import write_scale, write_thresholds
from edgesight.hls.rtl.streams import Streams, Way, pixel_bits
from edgesight.hls.rtl.units import Unit, beats_of, is_dense, is_pointwise, plan, signed_bits, slowest
from edgesight.hls.rtl.unrolled import instantiate_unrolled, unrolled
from edgesight.hls.rtl.windows import in_words, window_parameters
from edgesight.hls.verilog import declare, identifier, memory_file, packed, weight_words

# A register before the memories: they lie far apart.
_BUS = ["  weights_pkg::bus_t weights_q;", "  always_ff @(posedge clk_i) weights_q <= weights_i;"]
_MULTIPLIERS = {"auto": 0, "logic": 1, "dsp": 2, "packed": 3}  # mvu.sv's numbers


@dataclass(frozen=True)
class EmittedNetwork:
    """A network's module `name`, its files, and the units and instances that it is made of."""

    name: str
    sources: dict[str, str]  # file name -> text: the module and its memories, without the library
    units: tuple[Unit, ...]
    parts: tuple[Part, ...]
    loaded: tuple[str, ...] = ()  # files of the memories that are written at run time, in the order of their numbers

    def project(self) -> dict[str, str]:
        """All that the network alone consists of: its sources and what they need of the library."""
        return {**library_of(self.sources), **self.sources}


def emit_network(
    name: str, network: IntegerNetwork, folding: Folding, beat: int | None = None, first_memory: int = 0
) -> EmittedNetwork:
    """The network as module `name`, whose ports are told above; the entry's pixel comes in beats of `beat` channels.

    `first_memory`: the number of the first of its memories that are written at run time. Raises CompileError naming the
    layer that the hardware cannot compute, or a reuse factor for one that is not there.
    """
    units = plan(network, folding, beat)
    entry = beat or network.entry.output.shape.channels
    interval, _ = slowest(network, list(units.values()))
    module = _Module(name, network, units, interval, join_depths(network), entry, first_memory)
    sources = {f"{name}.sv": module.text(), **{file: words() for file, words in module.memories.files.items()}}
    parts, loaded = tuple(module.instances.parts), tuple(module.memories.loaded)
    return EmittedNetwork(name, sources, tuple(units.values()), parts, loaded)


def parts_of(
    network: IntegerNetwork, units: dict[int, Unit], interval: int, depths: dict[int, list[int]]
) -> list[Part]:
    """The instances that a network of `units` is made of, where it is to take `interval` cycles a frame.

    `depths`: what `join_depths` gives, which no folding changes.
    """
    entry = network.entry.output.shape.channels
    return _Module("network", network, units, interval, depths, entry, 0).instances.parts


class _Module:
    """The module's text as it grows: `body` are its lines, with `instances` and `memories`."""

    def __init__(
        self,
        name: str,
        network: IntegerNetwork,
        units: dict[int, Unit],
        interval: int,
        depths: dict[int, list[int]],
        beat: int,
        first_memory: int,
    ) -> None:
        self.name, self.network, self.units = name, network, units
        self._beat_bits = beat * network.entry.output.bits
        self.body: list[str] = []
        self.instances = Instances(self.body)
        self.memories = Memories(self.instances, name, first_memory)
        self._buffers = Buffers(network, units, interval, depths)
        self._streams = Streams(self.instances)
        self._coding = Coding(network)
        self._ways: dict[tuple[int, int], Way] = {}  # (operator, which of its sources) -> stream
        self._ports: dict[int, str] = {}  # output -> stream
        entry = network.entry
        declare(self.body, "s", self._beat_bits)
        self._spread(0, Way("s", beat), entry.output)
        for unit in units.values():
            self._emit(unit)
        self.body += ["  assign s_valid = s_valid_i;", "  assign s_ready_o = s_ready;", "  assign s_data = s_data_i;"]

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
                f"  input  logic [{self._beat_bits - 1}:0] s_data_i,",
                *(["  input  weights_pkg::bus_t weights_i,"] if self.memories.loaded else []),
                *ports,
                ");",
                *(_BUS if self.memories.loaded else []),
                *self.body,
                *ends,
                "endmodule",
                "",
            ]
        )

    # ---- Streams between units ----------------------------------------------------------------------------------

    def _spread(self, place: int, way: Way, of: Stream) -> None:
        """Give the stream of the operator at `place` to all that take it."""
        users = [
            (at, which)
            for at, operator in enumerate(self.network.operators)
            for which, taken in enumerate(operator.sources)
            if taken == place
        ]
        outputs = [k for k, output in enumerate(self.network.outputs) if output.source == place]
        if len(users) + len(outputs) == 1:
            for user in users:
                self._ways[user] = self._buffered(place, way, of, user)
            for k in outputs:
                output = self.network.operators[place].output
                self._ports[k] = self._streams.whole(place, self._numbers(place, way), output)
            return
        source = self._streams.whole(place, way, of)
        if place:
            source = self._streams.fifo(place, source, f"{source}_q", of, row_of(of.shape))
        count = len(users) + len(outputs)
        fork, ways = f"{source}_fork", [f"{source}_way{k}" for k in range(count)]
        self.body += [
            f"  logic [{count - 1}:0] {fork}_valid, {fork}_ready;",
            f"  logic [{pixel_bits(of) - 1}:0] {fork}_data;",
        ]
        self.instances.add(place, "stream_fork", fork, {"Width": pixel_bits(of), "Users": count}, source, fork)
        for k, name in enumerate(ways):
            self._streams.declare(name, of)
            self.body += [
                f"  assign {name}_valid = {fork}_valid[{k}];",
                f"  assign {fork}_ready[{k}] = {name}_ready;",
                f"  assign {name}_data = {fork}_data;",
            ]
        for (at, which), name in zip(users, ways, strict=False):
            depth = self._buffers.behind_a_fork(at, which, of.shape)
            self._ways[at, which] = Way(self._streams.fifo(at, name, f"{name}_q", of, depth), of.shape.channels)
        for k, name in zip(outputs, ways[len(users) :], strict=True):
            self._ports[k] = self._numbers(place, Way(name, of.shape.channels)).name

    def _numbers(self, place: int, way: Way) -> Way:
        """The stream of the operator at `place` with the numbers that its bits stand for, where it is coded."""
        return self._streams.numbers(way) if place in self._coding.coded else way

    def _taken(self, place: int, which: int = 0) -> Way:
        """The stream that the operator at `place` takes from a source, as its hardware wants it."""
        way = self._ways[place, which]
        return (
            way if self._coding.takes_bits(place) else self._numbers(self.network.operators[place].sources[which], way)
        )

    def _buffered(self, place: int, way: Way, of: Stream, user: tuple[int, int]) -> Way:
        """A stream with one user, with the buffer between them that it wants."""
        makes, takes = self.network.operators[place], self.network.operators[user[0]]
        # A quantiser reads sums where they wait for it, and a window's memory has room for pixels to come; who works on
        # the entry's pixels is who paces them.
        reads_in_place = isinstance(takes, Threshold | Scale) and isinstance(makes, Matrix | Add | Concat)
        replays = user[0] in self.units and self.units[user[0]].replays
        if not place or reads_in_place or replays or self._buffers.in_memory(user[0]):
            return way
        source, depth = self._streams.whole(place, way, of), self._buffers.before(*user, of.shape)
        return Way(self._streams.fifo(user[0], source, f"{source}_q", of, depth), of.shape.channels)

    # ---- Units --------------------------------------------------------------------------------------------------

    def _emit(self, unit: Unit) -> None:
        operator = self.network.operators[unit.place]
        stream = f"u{unit.place}_{identifier(operator.name)}"
        place = unit.place if unit.fused is None else unit.fused
        given = self._coding.given(place)
        channels = unit.pe if isinstance(operator, Matrix | Threshold | Scale) else given.shape.channels
        declare(self.body, stream, channels * given.bits)
        match operator:
            case Matrix():
                self._matrix(unit, operator, stream)
            case Threshold() | Scale():
                taken = self._coding.taken(unit.place)
                source = self._streams.in_beats(unit.place, self._taken(unit.place), taken, unit.pe)
                if isinstance(operator, Scale):
                    write_scale(self.instances, unit, operator, taken, source, stream)
                else:
                    write_thresholds(self.memories, unit, self._coding.quantiser(unit.place), taken, source, stream)
            case _:
                self._by_pixels(unit, operator, stream)
        self._spread(place, Way(stream, channels), given)

    def _by_pixels(self, unit: Unit, operator: Operator, stream: str) -> None:
        """A unit that works on whole pixels."""
        sources = [self._coding.taken(unit.place, which) for which in range(len(operator.sources))]
        ways = [
            self._streams.whole(operator.sources[which], self._taken(unit.place, which), source)
            for which, source in enumerate(sources)
        ]
        match operator:
            case MaxPool():
                parameters = {"Signed": int(sources[0].signed), **window_parameters(operator.window, sources[0])}
                self.instances.add(unit.place, "max_pool", stream, parameters, ways[0], stream)
            case Upsample():
                parameters = {
                    "Width": pixel_bits(sources[0]),
                    "ImgW": sources[0].shape.width,
                    "FactorH": operator.factor[0],
                    "FactorW": operator.factor[1],
                }
                self.instances.add(unit.place, "upsample", stream, parameters, ways[0], stream)
            case Add() | Concat():
                self._join(unit, operator, sources, ways, stream)
            case _:
                raise TypeError(f"{type(operator).__name__} is not known here")

    def _unrolled(self, unit: Unit, operator: Matrix, source: str, stream: str) -> None:
        """A layer of additions, in a pipeline that is told when to move on."""
        scale = None if unit.fused is None else self.network.operators[unit.fused]
        assert scale is None or isinstance(scale, Scale)  # which is what a matrix is fused with
        made = unrolled(f"{self.name}_{stream}_sums", operator, scale, self._coding.taken(unit.place))
        self.memories.files[f"{made.name}.sv"] = lambda: made.text
        instantiate_unrolled(self.instances, unit.place, made, source, stream)

    def _matrix(self, unit: Unit, operator: Matrix, stream: str) -> None:
        taken, sums = self._coding.taken(unit.place), self._coding.given(unit.place)
        agree = unit.place in self._coding.agreeing
        weights = beats_of(operator, taken.shape)
        outputs, beats, lanes = weights.shape
        taps = operator.window.kernel[0] * operator.window.kernel[1] // beats
        if unit.replays:
            source = self._replayed(unit, operator, taken, f"{stream}_window")
        elif not is_dense(operator, taken.shape) and not is_pointwise(operator.window):
            source = self._windows(unit, operator, taken, f"{stream}_window")
        else:
            source = self._streams.whole(operator.sources[0], self._taken(unit.place), taken)
        if unit.unrolled:
            self._unrolled(unit, operator, source, stream)
            return
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
            **({"Sliced": 1} if unit.memory is not None or unit.replays else {}),
            **({"Agree": 1} if agree else {}),
            **({} if unit.products_in == "auto" else {"Multipliers": _MULTIPLIERS[unit.products_in]}),
        }
        bias = [".bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)"]
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
            if scale.runtime:
                bias = self._loaded_bias(unit, scale, sums, stream)
            parameters |= (
                loaded_rounding(scale, sums)
                if scale.runtime
                else {
                    "AccWidth": signed_bits(sums.low + min(low, 0), sums.high + max(high, 0)),
                    "BiasWidth": signed_bits(low, high),
                    "Bias": packed(scale.offset, signed_bits(low, high)),
                    "OutWidth": scale.output.bits,
                    "OutSigned": int(scale.output.signed),
                    "Shift": scale.shift,
                    "Round": scale.rounding,
                    "Saturate": 1,
                }
            )
        parameters["BiasShift"] = 0
        weight = f"{stream}_weight"
        size = words, unit.pe * unit.simd * unit.weight_bits
        file = self.memories.file(f"{stream}_weights", partial(_weights, weights, unit, agree))
        self.memories.write(unit.place, weight, file, *size, unit.weights_in, loaded=operator.runtime)
        extra = [f".weight_{port}({weight}_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
        self.instances.add(unit.place, "mvu", stream, parameters, source, stream, extra + bias)

    def _loaded_bias(self, unit: Unit, scale: Scale, sums: Stream, stream: str) -> list[str]:
        """The ports by which a matrix unit takes bias and rounding that are loaded at run time; their memories."""
        bits = signed_bits(sums.low, sums.high)
        memory = f"{stream}_bias"
        file = self.memories.file(memory, partial(memory_file, scale.offset.reshape(-1, unit.pe), bits))
        self.memories.write(unit.place, memory, file, sums.shape.channels // unit.pe, unit.pe * bits, loaded=True)
        ports = [f".bias_{port}({memory}_{port[:-2]})" for port in ("en_o", "addr_o", "data_i")]
        if scale.reach is None:
            return [*ports, ".rounding_i('0)"]
        shift, memory = shift_bits(bits + 1), f"{stream}_rounding"
        rounding = np.array([[scale.rounding << shift | scale.shift]])
        file = self.memories.file(memory, partial(memory_file, rounding, shift + 2))
        self.memories.write(unit.place, memory, file, 1, shift + 2, loaded=True)
        self.body += [f"  assign {memory}_en = 1'b1;", f"  assign {memory}_addr = 1'b0;"]
        return [*ports, f".rounding_i({memory}_data)"]

    def _windows(self, unit: Unit, operator: Matrix, taken: Stream, stream: str) -> str:
        """The windows of what the unit takes as stream `stream`, whole or by the steps of the unit."""
        way, memory = self._taken(unit.place), unit.memory
        parameters = window_parameters(operator.window, taken)
        if memory is None:
            declare(self.body, stream, operator.window.kernel[0] * operator.window.kernel[1] * pixel_bits(taken))
            source = self._streams.whole(operator.sources[0], way, taken)
            self.instances.add(unit.place, "sliding_window", stream, parameters, source, stream)
            return stream
        word = memory.side_blocks * unit.simd
        worded = in_words(memory, unit.simd, operator.groups, taken.shape.channels, way.channels)
        source = self._streams.in_beats(unit.place, way, taken, word if worded else taken.shape.channels)
        declare(self.body, stream, memory.side_blocks * unit.simd * taken.bits)
        parameters |= {
            "Blocks": operator.groups,
            "SideBlocks": memory.side_blocks,
            "Simd": unit.simd,
            "Turns": memory.turns,
            "Pixels": memory.pixels,
            **({"Worded": 1} if worded else {}),
        }
        self.instances.add(unit.place, "window_memory", stream, parameters, source, stream)
        return stream

    def _replayed(self, unit: Unit, operator: Matrix, taken: Stream, stream: str) -> str:
        """The parts of the unit's pixels as stream `stream`, by its steps."""
        channels = taken.shape.channels
        outputs = len(operator.weights) // operator.groups
        word = max(1, unit.pe // outputs) * unit.simd
        way = self._taken(unit.place)
        even = word % way.channels == 0 or way.channels % word == 0
        if not even:
            way = Way(self._streams.whole(unit.place, way, taken), channels)
        source = self._streams.in_beats(unit.place, way, taken, word)
        if operator.sources != (0,):
            depth = channels // word * self._buffers.before(unit.place, 0, taken.shape)
            source = self._streams.fifo(unit.place, source, f"{source}_q", taken, depth, word)
        declare(self.body, stream, word * taken.bits)
        parameters: dict[str, object] = {"Width": word * taken.bits, "Turns": max(1, outputs // unit.pe)}
        parameters["Words"] = operator.weights[0].size // unit.simd
        self.instances.add(unit.place, "replay_buffer", stream, parameters, source, stream)
        return stream

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
            self.instances.add(unit.place, "stream_add", stream, parameters, joined, stream)
        else:
            parameters = {"Sources": count, "Width": sum(sizes)}
            self.instances.add(unit.place, "stream_concat", stream, parameters, joined, stream)


def _weights(weights: Integers, unit: Unit, agree: bool) -> str:
    return weight_words((weights + 1) // 2 if agree else weights, unit.fold, unit.weight_bits)


def _extended(value: str, signed: bool) -> str:
    return f"signed'({value})" if signed else value


def _told(stream: Stream) -> str:
    return f"{stream.shape} of {stream.bits}-bit {'signed' if stream.signed else 'unsigned'} integers"


def _printable(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
