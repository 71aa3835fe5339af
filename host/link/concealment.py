"""What stands in for pixels that got lost: made up from those around them.

Words owned here: concealment.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]  # [H, W, C]
Grid = npt.NDArray[np.float32]  # [h, w, C]
Known = npt.NDArray[np.bool_]  # [h, w]
_RINGS = 16  # of cells that are filled from their neighbours, one by one: beyond, those say nothing any more
_Cell = TypeVar("_Cell", np.float32, np.bool_)


def conceal_blocks(image: Pixels, known: Known, side: int) -> Pixels:
    """`image` with a smooth surface through the means of the known blocks in the place of the others.

    `known` [h, w] tells of each block of `side` x `side` pixels whether it came; at least one must have.
    """
    height, width, channels = image.shape
    rows, columns = known.shape
    picture = _picture(image)
    means = np.asarray(picture.reduce(side), np.float32).reshape(rows, columns, channels)
    smooth = np.clip(np.rint(fill(means, known)), 0, 255).astype(np.uint8)
    # The surface reaches as far as the blocks do, the picture may end inside the last ones.
    box = (0.0, 0.0, width / side, height / side)
    surface = _picture(smooth).resize((width, height), Image.Resampling.BILINEAR, box)
    lost = Image.fromarray(np.where(known, 0, 255).astype(np.uint8))
    mask = lost.resize((width, height), Image.Resampling.NEAREST, box)
    picture.paste(surface, (0, 0), mask)
    return np.array(picture, np.uint8).reshape(image.shape)


def fill(grid: Grid, known: Known) -> Grid:
    """Give every unknown cell of `grid` [h, w, C] a value from its known neighbours; at least one cell must be known.

    A cell between four known sides gets the mean of the two pairs, the pair that differs less weighing more: so an edge
    goes on through the cell and is not blurred. Others get the mean of their known neighbours, ring by ring inwards,
    sides weighing twice as much as corners, and beyond `_RINGS` rings that of all. A constant grid stays constant.
    """
    above, below, left, right = _sides(grid)
    between = np.logical_and.reduce(_sides(known)) & ~known
    vertical, horizontal = np.abs(above - below) + 1, np.abs(left - right) + 1  # one grey level keeps it finite
    directed = ((above + below) * horizontal + (left + right) * vertical) / (2 * (vertical + horizontal))
    grid = np.where(between[..., None], directed, grid).astype(np.float32)
    known = known | between
    came = known
    for _ in range(_RINGS):
        if known.all():
            return grid
        values, counts = np.where(known[..., None], grid, 0), known.astype(np.float32)[..., None]
        total, weight = _blurred(values), _blurred(counts)[..., 0]
        reached = ~known & (weight > 0)
        grid[reached] = total[reached] / weight[reached, None]
        known = known | reached
    grid[~known] = grid[came].mean(axis=0)
    return grid


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _sides(cells: npt.NDArray[_Cell]) -> list[npt.NDArray[_Cell]]:
    """For each of `cells` [h, w, ...] the one above, below, left and right; zero beyond the border."""
    padded = np.pad(cells, [(1, 1), (1, 1)] + [(0, 0)] * (cells.ndim - 2))
    return [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]


def _blurred(grid: Grid) -> Grid:
    """Sum of the neighbours of each cell of `grid` [h, w, C]: the kernel 1 2 1, 2 4 2, 1 2 1, which is separable."""
    rows = np.pad(grid, ((1, 1), (0, 0), (0, 0)))
    rows = rows[:-2] + 2 * rows[1:-1] + rows[2:]
    columns = np.pad(rows, ((0, 0), (1, 1), (0, 0)))
    return columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]
