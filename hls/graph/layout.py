"""How a tensor of a graph holds a stream's map: which of its axes are rows, columns and channels.

A stream has its channels last whatever the graph does, so that reshaping and transposing are book-keeping here. Each
axis of a tensor is a group of the map's own axes "H", "W" and "C", outermost first; axes of length 1 are in no group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesight.hls.graph.elementwise import Array
from edgesight.hls.graph.source import Refused
from edgesight.hls.network import Reals, Shape

AGAIN = "export the network again"


@dataclass(frozen=True)
class Layout:
    """A tensor that holds a map of `map`: `groups` are those of its axes."""

    map: Shape
    groups: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(labels: Sequence[str], shape: Shape) -> Layout:
        """Of a tensor with an axis for each label; the label of the batch is empty."""
        sizes = _sizes(shape)
        return Layout(shape, tuple((label,) if sizes.get(label, 1) > 1 else () for label in labels))

    @property
    def shape(self) -> list[int]:
        """The tensor's shape."""
        sizes = _sizes(self.map)
        return [math.prod(sizes[label] for label in group) for group in self.groups]

    def axis(self, axis: int) -> int:
        """An axis counted from the front. Raises Refused where there is none."""
        if not -len(self.groups) <= axis < len(self.groups):
            raise Refused(f"axis {axis} of a tensor with {len(self.groups)}", AGAIN)
        return axis % len(self.groups)

    def labels(self, last: bool = False) -> list[str]:
        """The label of each axis, "" for one that is none of the map's. Raises Refused where an axis holds several.

        Axes of length 1 get the labels that are left; channels of 1 are at axis 1, or at the last one.
        """
        if any(len(group) > 1 for group in self.groups):
            raise Refused("its input was flattened", "give it the feature map")
        found = [group[0] if group else "" for group in self.groups]
        left = [label for label in "CHW" if label not in found]
        free = [place for place, label in enumerate(found) if not label and place > 0]
        if "C" in left and free:
            wanted = len(found) - 1 if last else 1
            place = wanted if wanted in free else free[-1]
            found[place] = "C"
            free.remove(place)
        left = [label for label in left if label != "C"]
        for place, label in zip(free, left[max(len(left) - len(free), 0) :], strict=False):
            found[place] = label
        return found

    def reshaped(self, target: Sequence[int]) -> Layout:
        """As a tensor of shape `target`. Raises Refused where that tears one of the map's axes apart."""
        sizes = _sizes(self.map)
        rest = [label for group in self.groups for label in group]
        groups = []
        for size in target:
            group: list[str] = []
            while math.prod(sizes[label] for label in group) < size and rest:
                group.append(rest.pop(0))
            if math.prod(sizes[label] for label in group) != size:
                raise Refused(
                    f"a reshape of {self.shape} to {list(target)} that tears an axis apart", "flatten, or keep the axes"
                )
            groups.append(tuple(group))
        return Layout(self.map, tuple(groups))

    def transposed(self, perm: Sequence[int]) -> Layout:
        """With the axes in another order. Raises Refused where `perm` is none."""
        order = list(perm) or list(range(len(self.groups)))[::-1]
        if sorted(order) != list(range(len(self.groups))):
            raise Refused(f"perm {order} is no order of {len(self.groups)} axes", AGAIN)
        if self.groups[order[0]]:
            raise Refused(f"perm {order} mixes the batch with the rest", "keep the first axis")
        return Layout(self.map, tuple(self.groups[axis] for axis in order))

    def of_rank(self, rank: int) -> Layout:
        """With axes of length 1 in front, as broadcasting to an operand of `rank` axes makes them."""
        return Layout(self.map, ((),) * (rank - len(self.groups)) + self.groups)

    def per_channel(self, value: Array) -> Reals:
        """An operand [channels] of the tensor that broadcasts to it. Raises Refused where pixels differ in it."""
        sizes = _sizes(self.map)
        value = np.asarray(value, np.float64)
        rank = len(self.groups)
        shape = (1,) * (rank - value.ndim) + value.shape
        if value.ndim > rank or any(size not in (1, whole) for size, whole in zip(shape, self.shape, strict=True)):
            raise Refused(f"an operand of shape {list(value.shape)} for a tensor of {self.shape}", AGAIN)
        long: list[int] = []
        labels: list[str] = []
        for size, group in zip(shape, self.groups, strict=True):
            long += [1 if size == 1 else sizes[label] for label in group]
            labels += group
        spread = value.reshape(long)
        for axis, label in enumerate(labels):
            if label != "C" and spread.shape[axis] > 1:
                first = np.take(spread, [0], axis=axis)
                if not np.array_equal(np.broadcast_to(first, spread.shape), spread):
                    raise Refused("its constant differs from pixel to pixel", "use one for each channel")
                spread = first
        return np.broadcast_to(spread.reshape(-1), (self.map.channels,))


def _sizes(shape: Shape) -> dict[str, int]:
    return {"H": shape.height, "W": shape.width, "C": shape.channels}
