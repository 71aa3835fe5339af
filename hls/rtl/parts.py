"""The instances of the library's modules that a network is made of, and where its memories lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgesight.hls.verilog import instantiate

ADDITIONS = "additions"  # the module of a layer that is not folded, which has a name of its own in each network
_FEW_WORDS, _FEW_BITS = 128, 4096  # of a memory in look-up tables, as window_memory.sv counts


@dataclass(frozen=True)
class Part:
    """An instance of a module of the library, made for the operator at `place`."""

    place: int
    module: str
    instance: str
    parameters: Mapping[str, object]

    def __getitem__(self, parameter: str) -> int:
        """A parameter that is a number."""
        return int(str(self.parameters[parameter]))


class Instances:
    """Instances as they are written into the lines `body` of a module, kept as `parts`."""

    def __init__(self, body: list[str]) -> None:
        """Into `body`."""
        self.body = body
        self.parts: list[Part] = []

    def add(
        self,
        place: int,
        module: str,
        name: str,
        parameters: dict[str, object],
        source: str,
        sink: str,
        extra: list[str] | None = None,
    ) -> None:
        """An instance `name` that takes the stream `source` and gives `sink`; `extra` are more ports."""
        instantiate(self.body, module, f"u_{name}", parameters, source, sink, extra)
        self.count(place, module, name, parameters)

    def count(self, place: int, module: str, name: str, parameters: Mapping[str, object]) -> None:
        """Keep an instance that is written otherwise."""
        self.parts.append(Part(place, module, f"u_{name}", parameters))


def style_of(words: int, bits: int) -> str:
    """Where a memory of thresholds lies: few words, or few bits of them, are cheaper in look-up tables."""
    return "block" if words > _FEW_WORDS and words * bits > _FEW_BITS else "distributed"


def address_bits(words: int) -> int:
    """Bits of the address of a memory."""
    return max(1, (words - 1).bit_length())
