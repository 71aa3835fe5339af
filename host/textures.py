"""What grain, light and colours of a photograph are like, in some thousand numbers that are cheap enough for a board.

Grain: how much neighbouring pixels differ, at several scales and by brightness, in four squares of the photograph as it
is and in all of it made smaller. A picture that was enlarged has none at the finest scale; in an inverted one the light
parts differ as dark ones should. Colours: means of a grid of cells, how brightness, hue and saturation go together, and
how often each shade is there, and where.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

SMALLEST: Final = 112
"""Shorter side, in pixels, from which on a picture is looked at in this way."""
_SEEN = 56  # pixels of the shorter side once it is made smaller, about
_SQUARE = 32
_PLACES = (0.2, 0.8)  # of the squares, along either side
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_LEVELS, _COLOUR_LEVELS = 8, 6  # of brightness
_CELLS = 8
_SHADES = 6  # of red, of green and of blue
# Regions of a picture, as sums of its parts: all, border, middle, upper half, lower half.
_REGIONS = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1]])

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def smaller(picture: Pixels) -> Floats:
    """Every block of pixels as the mean of four in it: float32 [h, w, C], 0 to 255."""
    step = min(picture.shape[:2]) // _SEEN
    height, width = (side // step * step for side in picture.shape[:2])
    first, last = step // 4, step - 1 - step // 4
    rows = picture[first:height:step, :width].astype(np.uint16)
    rows += picture[last:height:step, :width]
    small = (rows[:, first::step] + rows[:, last::step]).astype(np.float32)
    small *= np.float32(0.25)
    return small


def textures(picture: Pixels, small: Floats) -> Floats:
    """The numbers [T] of `picture` uint8 [H, W, C] of at least `SMALLEST` pixels a side, and of its `smaller` form.

    T hangs on the shape alone.
    """
    height, width = picture.shape[:2]
    tops = [int((height - _SQUARE) * place) for place in _PLACES]
    lefts = [int((width - _SQUARE) * place) for place in _PLACES]
    squares = np.stack([picture[y : y + _SQUARE, x : x + _SQUARE] for y in tops for x in lefts])
    light = _luminance(small)
    found = _grain(_luminance(squares)) + _grain(light) + _grain(_halved(light))
    return np.concatenate([np.array(found, np.float32), _colours(small, light)])


def _luminance(pixels: npt.NDArray[np.uint8] | Floats) -> Floats:
    light = pixels[..., 0].astype(np.float32) if pixels.shape[-1] == 1 else pixels @ _LUMINANCE
    return np.asarray(light, np.float32)


def _mean(values: Floats) -> float:
    return float(np.add.reduce(values, axis=None)) / values.size


def _halved(light: Floats) -> Floats:
    """[..., H, W] to [..., H / 2, W / 2], rounded down."""
    height, width = light.shape[-2] // 2 * 2, light.shape[-1] // 2 * 2
    even, odd = light[..., 0:height:2, :width], light[..., 1:height:2, :width]
    both = even + odd
    return (both[..., ::2] + both[..., 1::2]) * np.float32(0.25)


def _grain(light: Floats) -> list[float]:
    """Of brightness [..., H, W], 0 to 255: how much it differs from pixel to pixel, and, by `_LEVELS` of it, where."""
    # Written out where numpy's own functions take longer to call than to compute.
    across, down = light[..., 1:] - light[..., :-1], light[..., 1:, :] - light[..., :-1, :]
    curved = across[..., 1:-1, 1:] - across[..., 1:-1, :-1]
    curved += down[..., 1:, 1:-1]
    curved -= down[..., :-1, 1:-1]
    much = np.abs(curved)
    mean, square = _mean(much), float(np.vdot(curved, curved)) / curved.size
    found = [
        math.log(_mean(np.abs(across)) + 0.05),
        math.log(_mean(np.abs(down)) + 0.05),
        math.log(mean + 0.05),
        math.log(square + 0.01) / 2 - math.log(mean + 0.05),  # uneven
        float(np.vdot(curved, much)) / curved.size / (square + 0.01),  # towards dark or light
        math.log(np.count_nonzero(much < 2) / much.size + 0.01),  # smooth
    ]
    # Every other row tells as much, in half the time.
    level = (light[..., 1:-1:2, 1:-1] * np.float32(_LEVELS / 256)).astype(np.intp).ravel()
    count = np.bincount(level, minlength=_LEVELS)[:_LEVELS]
    total = np.bincount(level, weights=much[..., ::2, :].ravel(), minlength=_LEVELS)[:_LEVELS]
    signed = np.bincount(level, weights=curved[..., ::2, :].ravel(), minlength=_LEVELS)[:_LEVELS]
    found += (np.log((total + 2 * mean) / (count + 4) + 0.05) - math.log(mean + 0.05)).tolist()
    found += (signed / (total + 4 * mean + 1e-3)).tolist()
    found += np.log((count + 2) / (level.size + 2 * _LEVELS)).tolist()
    return found


def _colours(small: Floats, light: Floats) -> Floats:
    """Of pixels [h, w, C] and their brightness [h, w]: how both lie in the picture, and colours by brightness."""
    down, across, channels = small.shape[0] // _CELLS, small.shape[1] // _CELLS, small.shape[2]
    rows, columns = _pooling(_CELLS, down), _pooling(_CELLS, across)
    inside = small[: down * _CELLS, : across * _CELLS]
    cells = rows @ inside.reshape(len(inside), -1)  # along one side by a product, which is far sooner done than a mean
    cells = columns @ cells.reshape(_CELLS, across * _CELLS, channels)
    bright = light[: down * _CELLS, : across * _CELLS]
    rows, columns = _pooling(_CELLS // 2, 2 * down), _pooling(_CELLS // 2, 2 * across)
    means, squares = (rows @ values @ columns.T for values in (bright, bright * bright))
    found: list[npt.NDArray[Any]] = [cells.ravel() / 64, np.sqrt(np.maximum(squares - means * means, 0)).ravel() / 32]
    if channels == 1:
        return np.concatenate(found, dtype=np.float32)
    small, light = small[::2], light[::2]  # every other row, as above
    blue, red = (small[..., 2] - light).ravel(), (small[..., 0] - light).ravel()
    level = (light.ravel() * np.float32(_COLOUR_LEVELS / 256)).astype(np.intp)
    count = np.bincount(level, minlength=_COLOUR_LEVELS)[:_COLOUR_LEVELS] + 20
    for colour in (blue, red):
        by_level = np.bincount(level, weights=colour, minlength=_COLOUR_LEVELS)[:_COLOUR_LEVELS]
        mean = _mean(colour)
        spread = math.sqrt(max(float(np.vdot(colour, colour)) / colour.size - mean * mean, 0.0))
        found += [by_level / count / 16, np.array([mean, spread]) / 16]
    much = np.abs(blue) + np.abs(red)
    hue = (blue > 0) * 4 + (red > 0) * 2 + (np.abs(blue) > np.abs(red))
    mean = _mean(much)
    found += [np.log((np.bincount(hue, much, 8) + 200) / (mean * much.size + 1600)), np.log([mean + 1]), _shades(small)]
    return np.concatenate(found, dtype=np.float32)


def _shades(small: Floats) -> npt.NDArray[np.float64]:
    """How often each shade of red, green and blue together is there, in pixels [h, w, 3]: root of its share.

    In all of the picture, around its border, in its middle, in its upper half and in its lower one.
    """
    level = (small * np.float32(_SHADES / 256)).astype(np.intp)
    shade = (level[..., 0] * _SHADES + level[..., 1]) * _SHADES + level[..., 2]
    shades = _SHADES**3
    parts = np.bincount((shade + shades * _parts(*shade.shape)).ravel(), minlength=len(_REGIONS.T) * shades)
    count = _REGIONS @ parts.reshape(-1, shades)
    roots: npt.NDArray[np.float64] = np.sqrt(count / count.sum(1, keepdims=True))
    return roots.ravel()


@functools.lru_cache(maxsize=8)
def _parts(height: int, width: int) -> npt.NDArray[np.intp]:
    """Where each pixel [height, width] lies: 0 above in the border, 1 below in it, 2 above in the middle, 3 below."""
    down, across = np.arange(height), np.arange(width)
    inside = [(there >= side // 8) & (there < side - side // 8) for there, side in ((down, height), (across, width))]
    part: npt.NDArray[np.intp] = (down >= height // 2)[:, None] + 2 * (inside[0][:, None] & inside[1])
    return part


@functools.lru_cache(maxsize=8)
def _pooling(cells: int, length: int) -> Floats:
    """The matrix [cells, cells * length] that takes means of `length` values in a row."""
    return np.repeat(np.eye(cells, dtype=np.float32) / np.float32(length), length, axis=1)
