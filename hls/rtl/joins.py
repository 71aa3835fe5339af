"""How deep the FIFOs before joins must be, so that no path of a network waits for another that waits for it.

A join takes a pixel of each source at a time. A source that is ahead must be held meanwhile, or the fork that both come
from cannot give the slower path what it needs: a deadlock. Every unit here takes pixels and gives them in a fixed order
and waits for nothing else, so that the network is a Kahn network, bounded buffers included: if one schedule of a frame
exists that needs no more room than there is, every order of stalls ends with the same result.

The schedule is: pixels of the entry come one at a time, and after each every unit goes as far as it can. The units'
needs are those of the hardware (a window has all pixels up to its last tap) or a pixel more. What waits before a join
meanwhile is at most how far each source then is ahead of where the slowest other was before that pixel: one pixel of
the entry may set many free at once, as the last one before a window over all that is left of a map. The deepest of it
over the frame is the depth.
"""

from __future__ import annotations

import numpy as np

from edgesight.hls.dataflow.operators import Add, Concat, IntegerNetwork, Matrix, MaxPool, Operator, Upsample
from edgesight.hls.network import Integers, Shape
from edgesight.hls.rtl.units import is_dense
from edgesight.hls.rtl.windows import needed_pixels


def join_depths(network: IntegerNetwork) -> dict[int, list[int]]:
    """For each join's place the pixels that wait, at most, before each of its sources."""
    needs = _entry_pixels(network)
    entry = np.arange(network.entry.output.shape.pixels + 1)
    depths = {}
    for place, operator in enumerate(network.operators):
        if isinstance(operator, Add | Concat):
            # How many pixels of each source there are once the entry has given 0, 1, 2, ... pixels.
            made = np.stack([np.searchsorted(needs[source], entry, side="right") for source in operator.sources])
            before = np.pad(made, ((0, 0), (1, 0)))[:, :-1]
            depths[place] = [
                int((made[k] - np.delete(before, k, axis=0).min(axis=0)).max()) for k in range(len(operator.sources))
            ]
    return depths


def _entry_pixels(network: IntegerNetwork) -> list[Integers]:
    """For each operator the entry's pixels that each pixel [height * width] of its stream needs."""
    needs: list[Integers] = []
    for operator in network.operators:
        if not operator.sources:
            needs.append(np.arange(1, operator.output.shape.pixels + 1))
        elif isinstance(operator, Add | Concat):
            needs.append(np.max([needs[source] for source in operator.sources], axis=0))
        else:
            source = operator.sources[0]
            counts = source_pixels(operator, network.operators[source].output.shape)
            needs.append(needs[source][counts - 1])
    return needs


def source_pixels(operator: Operator, source: Shape) -> Integers:
    """For each pixel [height * width] of an operator's stream how many of its source's pixels, in order, it needs."""
    shape = operator.output.shape
    if isinstance(operator, Matrix | MaxPool):
        if isinstance(operator, Matrix) and is_dense(operator, source):
            return np.full(1, source.pixels)
        return needed_pixels(operator.window, source)
    rows, columns = np.divmod(np.arange(shape.pixels), shape.width)
    if isinstance(operator, Upsample):
        first = rows % operator.factor[0] == 0  # the row comes; later its copies do
        row, column = rows // operator.factor[0], columns // operator.factor[1]
        return np.asarray(row * source.width + np.where(first, column + 1, source.width))
    return np.arange(1, shape.pixels + 1)
