"""Streams between the units of a network's module: FIFOs, beats of more or fewer channels, numbers of bits.

Words owned here: way (a stream with the channels of a beat).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesight.hls.dataflow.operators import Stream
from edgesight.hls.rtl.parts import Instances
from edgesight.hls.verilog import declare


@dataclass(frozen=True)
class Way:
    """A stream by its name, and how many of a pixel's channels a beat of it has."""

    name: str
    channels: int


def pixel_bits(stream: Stream) -> int:
    """Bits of a pixel with all of its channels."""
    return stream.shape.channels * stream.bits


class Streams:
    """Writes streams into a module, each for the operator at a `place`."""

    def __init__(self, instances: Instances) -> None:
        """Into the module with these instances."""
        self._instances, self._body = instances, instances.body

    def declare(self, name: str, of: Stream) -> None:
        """A stream of whole pixels."""
        declare(self._body, name, pixel_bits(of))

    def fifo(self, place: int, source: str, name: str, of: Stream, depth: int, channels: int | None = None) -> str:
        """What stream `source` gives, as stream `name` behind a buffer; of whole pixels, or of so many channels."""
        bits = (channels or of.shape.channels) * of.bits
        declare(self._body, name, bits)
        self._instances.add(place, "stream_fifo", name, {"Width": bits, "Depth": depth}, source, name)
        return name

    def in_beats(self, place: int, way: Way, of: Stream, channels: int) -> str:
        """The stream of `way` in beats of so many channels, of which a beat has a whole number, or the reverse."""
        if way.channels == channels:
            return way.name
        name = f"{way.name}_by{channels}"
        declare(self._body, name, channels * of.bits)
        narrow, wide = sorted((way.channels, channels))
        parameters: dict[str, object] = {"Width": narrow * of.bits, "Parts": wide // narrow}
        module = "stream_gather" if channels > way.channels else "stream_split"
        self._instances.add(place, module, name, parameters, way.name, name)
        return name

    def whole(self, place: int, way: Way, of: Stream) -> str:
        """The stream of `way` in whole pixels."""
        return self.in_beats(place, way, of, of.shape.channels)

    def numbers(self, way: Way) -> Way:
        """The stream of `way`, of bits that stand for 1 and -1, as numbers of two bits."""
        name = f"{way.name}_numbers"
        declare(self._body, name, 2 * way.channels)
        self._body += [
            f"  assign {name}_valid = {way.name}_valid;",
            f"  assign {way.name}_ready = {name}_ready;",
            f"  for (genvar v = 0; v < {way.channels}; v++) begin : g_{name}",
            f"    assign {name}_data[2*v+:2] = {{!{way.name}_data[v], 1'b1}};",
            "  end",
        ]
        return Way(name, way.channels)
