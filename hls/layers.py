"""The hardware layers of a network, as those see them who ask a model of hls4ml: what each is, and how it is folded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.folding import Fold, Folding
from edgesight.hls.network import CompileError, Format, Shape
from edgesight.hls.rtl.units import Unit, plan


@dataclass(frozen=True)
class Layer:
    """One unit of the hardware of `network`: an operator, or a matrix with the scale that its own rounder computes."""

    unit: Unit
    network: IntegerNetwork
    folding: Folding

    @property
    def name(self) -> str:
        """The exporter's."""
        return self.unit.name

    @property
    def source(self) -> Shape:
        """The map that it takes: the first where it joins several."""
        return self.network.sources_of(self.network.operators[self.unit.place])[0].output.shape

    @property
    def shape(self) -> Shape:
        """The map that it makes."""
        return self.network.operators[self._made].output.shape

    @property
    def output_format(self) -> Format:
        """What it makes: integers times 2**-fraction. Between layers, where scales are folded, the fraction is 0.

        Raises CompileError for outputs of the network that are no integers times a power of two.
        """
        stream = self.network.operators[self._made].output
        fraction = 0
        for output in self.network.outputs:
            if output.source == self._made:
                mantissa, exponent = math.frexp(float(output.scale[0]))
                if mantissa != 0.5 or output.offset.any():
                    raise CompileError(
                        f"layer {self.name}: an integer of output {output.name} stands for {output.scale[0]:.6g}, no "
                        "power of two; read scale and offset of the network's outputs"
                    )
                fraction = 1 - exponent
        return Format(stream.bits, fraction, stream.signed)

    @property
    def reuse_asked(self) -> int:
        """The ReuseFactor that was asked for."""
        return self.unit.reuse_asked

    @property
    def fold(self) -> Fold:
        """The fold that was built."""
        return self.unit.fold

    @property
    def cycles(self) -> int:
        """The lower bound of its interval for a frame."""
        return self.unit.cycles

    @property
    def _made(self) -> int:
        return self.unit.place if self.unit.fused is None else self.unit.fused


def layers_of(network: IntegerNetwork, folding: Folding) -> list[Layer]:
    """The layers of a network, in its operators' order; that of its first output is the last.

    Raises CompileError naming what the hardware cannot compute.
    """
    layers = [Layer(unit, network, folding) for unit in plan(network, folding).values()]
    last = network.outputs[0].source
    return sorted(layers, key=lambda layer: last in (layer.unit.place, layer.unit.fused))


def extract(model: Any) -> list[Layer]:
    """The layers of a model of hls4ml that was converted for the RTL backend."""
    return layers_of(model.rtl_route.network, model.rtl_route.folding)


def matrices(layers: list[Layer]) -> Iterator[Layer]:
    """The layers that multiply."""
    return (layer for layer in layers if layer.unit.multipliers)
