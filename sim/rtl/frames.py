"""Drives a module with the pixels of random frames in the cocotb benches, and holds it against a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import cocotb
import numpy as np

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import bench_parameters
from edgesight.sim.rtl.stream import FULL_SPEED, StreamBench


class FrameBench(StreamBench):
    """A module with parameters ImgH, ImgW, Channels and Width that takes frames, a pixel a beat or in parts."""

    def __init__(
        self,
        dut: Any,
        beats_of: Callable[[Any], Iterable[Any]],
        signed: bool = False,
        parts_of: Callable[[Any], Any] | None = None,
    ) -> None:
        """`beats_of`: what the reference makes of an image [ImgH, ImgW, Channels]: values by output beat.

        `parts_of`: the values [..., Channels] of pixels as they come in beats [beats, values] of less than a pixel.
        """
        super().__init__(dut)
        self._beats_of, self._signed = beats_of, signed
        self._parts_of = parts_of or (lambda images: images.reshape(-1, images.shape[-1]))
        self._rng = np.random.default_rng(cocotb.RANDOM_SEED)
        self._parameters: dict[str, Any] = bench_parameters()

    def frames(self, count: int) -> tuple[list[int], list[int]]:
        """Beats with the pixels of random frames, and the output beats that belong to them."""
        height, width, channels, bits = (self._parameters[name] for name in ("ImgH", "ImgW", "Channels", "Width"))
        images = reference.random_values(self._rng, (count, height, width, channels), bits, self._signed)
        pixels = [reference.pack(pixel, bits) for pixel in self._parts_of(images)]
        return pixels, [reference.pack(beat, bits) for image in images for beat in self._beats_of(image)]

    async def check_equality(self, count: int, stalls: tuple[float, float]) -> None:
        """Send random frames; what comes out is the reference's."""
        pixels, beats = self.frames(count)
        assert (await self.transfer(pixels, len(beats), stalls)).beats == beats

    async def check_resets(self, span: int) -> None:
        """Reset up to `span` cycles into frames, again and again; frames after that are answered as the first ones."""
        for _ in range(6):
            pixels, _ = self.frames(3)
            await self.interrupt(pixels, self.random.randrange(1, span), (0.1, 0.2))
            await self.check_equality(2, FULL_SPEED)
