"""How deep the buffers between the units of a network are, so that none waits for longer than the interval allows.

That a network goes on at all hangs on no depth but those before joins, of which `edgesight.hls.rtl.joins` knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgesight.hls.dataflow.operators import Add, Concat, IntegerNetwork, Matrix, Scale, Threshold
from edgesight.hls.network import Shape
from edgesight.hls.rtl.units import WAITED, Unit, is_dense, is_pointwise
from edgesight.hls.rtl.windows import gathering_pixels, turn_cycles

_SHALLOW = 2  # beats of a FIFO that decouples two units and no more
_AT_MOST = 1 + 1 / WAITED  # intervals that a frame may take with what the slowest unit waits for pixels


def row_of(shape: Shape) -> int:
    """The depth that decouples a unit that works in bursts of a row from one that works steadily."""
    return max(_SHALLOW, shape.width) if shape.height > 1 else _SHALLOW


class Buffers:
    """The depths, in pixels, of the buffers of a network."""

    def __init__(
        self, network: IntegerNetwork, units: Mapping[int, Unit], interval: int, joins: Mapping[int, Sequence[int]]
    ) -> None:
        """Of a `network` of `units` that is to take `interval` cycles a frame.

        `joins`: for each join's place the pixels that wait before each of its sources.
        """
        self._network, self._units, self._interval, self._joins = network, units, interval, joins

    def before(self, place: int, which: int, source: Shape) -> int:
        """The depth before source `which` of the operator at `place`, which alone takes that stream.

        That is room for the pixels of a frame that come while it ends the one before. Before windows in registers there
        may be so little that pixels wait, but not for longer than the interval allows.
        """
        operator = self._network.operators[place]
        if isinstance(operator, Add | Concat):
            return self._of_join(place, which)
        if not isinstance(operator, Matrix) or is_dense(operator, source):
            return row_of(source)
        if is_pointwise(operator.window):
            return row_of(source) + self._burst(place, source)
        spare = max(0.0, _AT_MOST - self._units[place].steady_cycles / self._interval)
        gathering = gathering_pixels(operator.window, source) - int(spare * source.pixels)
        return max(row_of(source), gathering) + self._burst(place, source)

    def behind_a_fork(self, place: int, which: int, source: Shape) -> int:
        """The depth before source `which` of the operator at `place` where others take that stream, too.

        A fork waits for whoever has no room, and windows in registers take pixels when it suits them: those of one user
        in the even rows, those of another in the odd. So each has room for what comes meanwhile.
        """
        operator = self._network.operators[place]
        if isinstance(operator, Add | Concat):
            return self._of_join(place, which)
        if self.in_memory(place) or not isinstance(operator, Matrix) or is_dense(operator, source):
            return _SHALLOW
        return _SHALLOW if is_pointwise(operator.window) else max(_SHALLOW, gathering_pixels(operator.window, source))

    def in_memory(self, place: int) -> bool:
        """Whether the operator at `place` keeps the pixels that it takes in a memory, with room for those to come."""
        return place in self._units and self._units[place].memory is not None

    def _of_join(self, place: int, which: int) -> int:
        """A join's need, and a row more."""
        return self._joins[place][which] + row_of(self._network.operators[place].output.shape)

    def _burst(self, place: int, source: Shape) -> int:
        """Pixels that come faster than the operator at `place` takes them, from a unit that can't wait for it.

        Windows in registers come while their map is walked, and none while the padding between two frames is.
        """
        operators = self._network.operators
        maker = operators[place].sources[0]
        while isinstance(operators[maker], Threshold | Scale):
            maker = operators[maker].sources[0]
        makes, unit = operators[maker], self._units.get(maker)
        if not isinstance(makes, Matrix) or unit is None or unit.memory is not None:
            return 0
        turn = turn_cycles(makes.window, operators[makes.sources[0]].output.shape, unit.fold.cycles)
        waits = max(0.0, _AT_MOST * self._interval - unit.steady_cycles)
        behind = 1 - (unit.steady_cycles - turn + waits) / self._units[place].steady_cycles
        return max(0, math.ceil(behind * source.pixels))
