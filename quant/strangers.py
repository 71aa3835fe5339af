"""Pictures that are none: what a detector of strange pictures is trained against, made from a data set's own and from
nothing.

No other data set is needed. Some are far off (noise of many spectra, flat and smooth ones, waves, shapes, strokes),
some near (own pictures inverted, blurred, cut up, mixed, warped), so that the border lies close around the own ones.

Sources: training against outliers: Hendrycks et al., arXiv 1812.04606; dead leaves and spectra as pictures: Baradad et
al., arXiv 2106.05963.

Words owned here: stranger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Random = np.random.Generator
# Strangers float [N, H, W, C], mostly from 0 to 255, made from as many own pictures of the same shape.
Kind = Callable[[Floats, Random], Floats]


def strangers(pictures: Pixels, count: int, generator: Random) -> Pixels:
    """Some `count` strangers uint8 [M, H, W, C], of all kinds, to `pictures` uint8 [N, H, W, C]; C is 1 or 3."""
    total = sum(weight for _, weight in KINDS)
    made = []
    for kind, weight in KINDS:
        part = max(1, round(count * weight / total))
        own = pictures[generator.integers(0, len(pictures), part)].astype(np.float64)
        made.append(np.clip(np.rint(kind(own, generator)), 0, 255).astype(np.uint8))
    return np.concatenate(made)


def _noise(own: Floats, generator: Random) -> Floats:
    """White: uniform, Gaussian, of two values, or exponential from either end."""
    one = (len(own), 1, 1, 1)
    channels = own.shape[3]
    middle = generator.uniform(0, 255, (len(own), 1, 1, channels))
    drops = generator.exponential(generator.uniform(5, 80, one), own.shape)
    forms = [
        generator.uniform(0, 255, own.shape),
        middle + generator.uniform(5, 90, one) * generator.standard_normal(own.shape),
        255.0 * (generator.random(own.shape) < generator.uniform(0.02, 0.98, one)),
        drops,
        255.0 - drops,
    ]
    return _half_grey(_one_of(forms, generator), generator)


def _spectrum(own: Floats, generator: Random) -> Floats:
    """Noise whose amplitude falls with a power of the frequency."""
    count, height, width, channels = own.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    frequency[0, 0] = 1 / max(height, width)
    power = generator.uniform(0.3, 3.2, (count, 1, 1, 1))
    white = np.fft.fft2(generator.standard_normal(own.shape), axes=(1, 2))
    coloured = np.fft.ifft2(white * frequency[None, :, :, None] ** -power, axes=(1, 2)).real
    colour = generator.random((count, 1, 1, 1)) * (channels > 1)
    return _stretched(coloured * colour + coloured[..., :1] * (1 - colour), generator)


def _blocks(own: Floats, generator: Random) -> Floats:
    """Noise of few pixels, enlarged smoothly or not."""
    made = []
    for cells, part in zip((2, 3, 4, 6, 8, 10, 14), np.array_split(own, 7), strict=True):
        few = generator.uniform(0, 255, (len(part), cells, cells, own.shape[3]))
        enlarged = _enlarged(_half_grey(few, generator), own.shape[1:3], smooth=bool(generator.integers(0, 2)))
        made.append(_stretched(enlarged, generator))
    return np.concatenate(made)


def _flat(own: Floats, generator: Random) -> Floats:
    """Of one colour, many of them white or black, some with faint noise."""
    one = (len(own), 1, 1, 1)
    colour = _half_grey(generator.uniform(0, 255, (len(own), 1, 1, own.shape[3])), generator)
    end = generator.integers(0, 8, one)
    colour = np.where(end == 0, 255.0, np.where(end == 1, 0.0, colour))
    faint = generator.uniform(0, 6, one) * (generator.random(one) < 0.4)
    return colour + faint * generator.standard_normal(own.shape)


def _gradient(own: Floats, generator: Random) -> Floats:
    """From one colour to another, along a line or from a point."""
    one = (len(own), 1, 1)
    down, across = np.mgrid[-1 : 1 : own.shape[1] * 1j, -1 : 1 : own.shape[2] * 1j]
    angle = generator.uniform(0, 2 * np.pi, one)
    line = np.cos(angle) * down + np.sin(angle) * across
    point = np.hypot(down - generator.uniform(-1, 1, one), across - generator.uniform(-1, 1, one))
    return _between(np.where(generator.random(one) < 0.5, line, point), own.shape[3], generator)


def _waves(own: Floats, generator: Random) -> Floats:
    """Stripes and checks: sums of one to three waves, smooth or of two values."""
    one = (len(own), 1, 1)
    down, across = np.mgrid[0 : own.shape[1], 0 : own.shape[2]]
    total = np.zeros(own.shape[:3])
    for number in range(3):
        angle = generator.uniform(0, np.pi, one)
        frequency = np.exp(generator.uniform(np.log(0.03), np.log(0.5), one))
        phase = 2 * np.pi * frequency * (np.cos(angle) * down + np.sin(angle) * across)
        there = generator.random(one) < (1.0, 0.67, 0.33)[number]
        total = total + there * np.sin(phase + generator.uniform(0, 2 * np.pi, one))
    return _between(np.where(generator.random(one) < 0.4, np.sign(total), total), own.shape[3], generator)


def _shapes(own: Floats, generator: Random) -> Floats:
    """Dead leaves: discs, boxes, triangles and rings of all sizes, one over another, some grained, shaded or soft."""
    _, height, width, channels = own.shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    made = np.empty(own.shape)
    for picture in made:
        picture[:] = generator.choice([0, 255]) if generator.random() < 0.3 else generator.uniform(0, 255, channels)
        largest, grain = generator.uniform(0.1, 0.5), generator.uniform(0, 40) * (generator.random() < 0.6)
        for _ in range(int(np.exp(generator.uniform(np.log(2), np.log(60))))):
            size = height * min(largest, 0.04 / np.sqrt(generator.uniform(0.003, 1)))
            angle, stretch = generator.uniform(0, np.pi), np.exp(generator.uniform(-1.2, 1.2))
            y, x = down - generator.uniform(0, height), across - generator.uniform(0, width)
            u, v = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
            inside = (
                (u * stretch) ** 2 + (v / stretch) ** 2 < size**2,
                (np.abs(u * stretch) < size) & (np.abs(v / stretch) < size),
                (u * stretch + np.abs(v) < size) & (u > -size),
                np.abs(np.hypot(u, v) - size) < max(1.0, size / 4),
            )[generator.integers(0, 4)]
            rough = grain * generator.standard_normal((int(inside.sum()), 1)) * (generator.random() < 0.5)
            picture[inside] = generator.uniform(0, 255, channels) + rough
        if generator.random() < 0.5:
            picture[:] = ndimage.gaussian_filter(picture, (height / 40, width / 40, 0))
        if generator.random() < 0.4:
            shade = ndimage.gaussian_filter(generator.standard_normal((height, width, 1)), (height / 8, width / 8, 0))
            picture += shade * generator.uniform(50, 800)
    return np.where(generator.random((len(own), 1, 1, 1)) < 0.15, made.mean(3, keepdims=True), made)


def _strokes(own: Floats, generator: Random) -> Floats:
    """Writing: curved strokes of one width on a plain ground, most of them light on black."""
    _, height, width, channels = own.shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float64)
    steps = np.linspace(0, 1, 14)[:, None]
    bezier = np.concatenate([(1 - steps) ** 3, 3 * (1 - steps) ** 2 * steps, 3 * (1 - steps) * steps**2, steps**3], 1)
    made = np.empty(own.shape)
    for picture in made:
        away = np.full((height, width), np.inf)
        for _ in range(int(generator.integers(1, 5))):
            for y, x in bezier @ (generator.uniform(0.1, 0.9, (4, 2)) * [height, width]):
                away = np.minimum(away, (down - y) ** 2 + (across - x) ** 2)
        edge = (np.sqrt(away) - generator.uniform(0.03, 0.12) * height) / generator.uniform(0.5, 2.5)
        ink = 1 / (1 + np.exp(np.minimum(edge, 50)))[..., None]
        on_black = generator.random() < 0.6
        ground = np.zeros(channels) if on_black else generator.uniform(0, 255, channels)
        picture[:] = ground + (generator.uniform(120 if on_black else 0, 255, channels) - ground) * ink
    return made


def _inverted(own: Floats, generator: Random) -> Floats:
    return 255.0 - own


def _solarised(own: Floats, generator: Random) -> Floats:
    """Inverted above a level, or of two values."""
    level = generator.uniform(60, 200, (len(own), 1, 1, 1))
    return _one_of([np.where(own > level, 255.0 - own, own), 255.0 * (own > level)], generator)


def _turned(own: Floats, generator: Random) -> Floats:
    """Upside down, or, where they are square, on a side."""
    turns = generator.integers(1, 4, len(own)) if own.shape[1] == own.shape[2] else np.full(len(own), 2)
    return np.stack([np.rot90(picture, turn) for picture, turn in zip(own, turns, strict=True)])


def _blurred(own: Floats, generator: Random) -> Floats:
    """So much that hardly a form is left."""
    scale = own.shape[1] / 28
    parts = zip(np.array_split(own, 3), (2.5, 3.5, 5.0), strict=True)
    return np.concatenate([ndimage.gaussian_filter(part, (0, far * scale, far * scale, 0)) for part, far in parts])


def _edges(own: Floats, generator: Random) -> Floats:
    return _stretched(np.hypot(ndimage.sobel(own, 1), ndimage.sobel(own, 2)), generator)


def _shuffled(own: Floats, generator: Random) -> Floats:
    """Cut into 2 x 2 to 6 x 6 pieces, which are put together in another order."""
    made = own.copy()
    for picture in made:
        cells = int(generator.choice([2, 3, 4, 6]))
        down, across = max(1, picture.shape[0] // cells), max(1, picture.shape[1] // cells)
        places = [
            (slice(y, y + down), slice(x, x + across))
            for y in range(0, picture.shape[0] - down + 1, down)
            for x in range(0, picture.shape[1] - across + 1, across)
        ]
        pieces = [picture[place].copy() for place in places]
        for place, piece in zip(places, generator.permutation(len(pieces)), strict=True):
            picture[place] = pieces[piece]
    return made


def _collage(own: Floats, generator: Random) -> Floats:
    """Of two to four pictures, each in its part."""
    _, height, width, _ = own.shape
    others = [own[generator.permutation(len(own))] for _ in range(3)]
    made = own.copy()
    for index, picture in enumerate(made):
        y = int(generator.integers(height // 4, 3 * height // 4 + 1))
        x = int(generator.integers(width // 4, 3 * width // 4 + 1))
        form = generator.integers(0, 3)
        if form != 0:
            picture[:y] = others[0][index, :y]
        if form != 1:
            picture[:, :x] = others[1][index, :, :x]
        if form == 2:
            picture[y:, x:] = others[2][index, y:, x:]
    return made


def _tiled(own: Floats, generator: Random) -> Floats:
    """Four pictures in one, each of half the size."""
    half = own[:, ::2, ::2]
    quarters = [half[generator.permutation(len(own))] for _ in range(4)]
    rows = [np.concatenate(quarters[:2], axis=2), np.concatenate(quarters[2:], axis=2)]
    return np.concatenate(rows, axis=1)[:, : own.shape[1], : own.shape[2]]


def _mixed(own: Floats, generator: Random) -> Floats:
    return (own + own[generator.permutation(len(own))]) / 2


def _magnified(own: Floats, generator: Random) -> Floats:
    """A small part, enlarged."""
    _, height, width, _ = own.shape
    made = np.empty(own.shape)
    for picture, before in zip(made, own, strict=True):
        share = generator.uniform(0.2, 0.33)
        down, across = max(1, round(height * share)), max(1, round(width * share))
        y, x = generator.integers(0, height - down + 1), generator.integers(0, width - across + 1)
        picture[:] = _enlarged(before[None, y : y + down, x : x + across], own.shape[1:3], smooth=True)[0]
    return made


def _other_phase(own: Floats, generator: Random) -> Floats:
    """With their own spectrum, and the phases of noise or of another picture."""
    noise = generator.random((len(own), 1, 1, 1)) < 0.5
    source = np.where(noise, generator.standard_normal(own.shape), own[generator.permutation(len(own))])
    phase = np.exp(1j * np.angle(np.fft.fft2(source, axes=(1, 2))))
    return np.asarray(np.fft.ifft2(np.abs(np.fft.fft2(own, axes=(1, 2))) * phase, axes=(1, 2)).real)


def _warped(own: Floats, generator: Random) -> Floats:
    """As if painted on water."""
    _, height, width, channels = own.shape
    scale = height / 28
    grid = np.mgrid[0:height, 0:width].astype(np.float64)
    made = np.empty(own.shape)
    for picture, before in zip(made, own, strict=True):
        moved = generator.standard_normal((2, height, width))
        moved = ndimage.gaussian_filter(moved, (0, 2.5 * scale, 2.5 * scale))
        moved *= generator.uniform(3, 6) * scale / moved.std()
        for channel in range(channels):
            picture[..., channel] = ndimage.map_coordinates(before[..., channel], grid + moved, order=1, mode="reflect")
    return made


# Each with its weight among all.
KINDS: Final[tuple[tuple[Kind, float], ...]] = (
    (_noise, 1.0),
    (_spectrum, 2.0),
    (_blocks, 1.0),
    (_flat, 1.0),
    (_gradient, 1.0),
    (_waves, 1.0),
    (_shapes, 3.0),
    (_strokes, 2.0),
    (_inverted, 1.0),
    (_solarised, 1.0),
    (_turned, 0.3),
    (_blurred, 0.7),
    (_edges, 1.0),
    (_shuffled, 1.0),
    (_collage, 1.0),
    (_tiled, 1.0),
    (_mixed, 0.5),
    (_magnified, 0.7),
    (_other_phase, 1.5),
    (_warped, 1.0),
)


def _one_of(forms: list[Floats], generator: Random) -> Floats:
    """For each picture one of the `forms`, each [N, H, W, C]."""
    chosen = generator.integers(0, len(forms), len(forms[0]))
    return np.stack(forms)[chosen, np.arange(len(chosen))]


def _half_grey(pictures: Floats, generator: Random) -> Floats:
    """Half of them without colour."""
    return np.where(generator.random((len(pictures), 1, 1, 1)) < 0.5, pictures.mean(3, keepdims=True), pictures)


def _stretched(pictures: Floats, generator: Random) -> Floats:
    """Each brought to a range of its own, from light to dark or from dark to light; many to the whole one."""
    one = (len(pictures), 1, 1, 1)
    whole = generator.random(one) < 0.4
    start = np.where(whole, 0.0, generator.uniform(0, 255, one))
    end = np.where(whole, 255.0, generator.uniform(0, 255, one))
    return start + (end - start) * _unit(pictures)


def _between(levels: Floats, channels: int, generator: Random) -> Floats:
    """Pictures [N, H, W, channels] between two colours, as `levels` [N, H, W] say."""
    start, end = generator.uniform(0, 255, (2, len(levels), 1, 1, channels))
    return _half_grey(start + (end - start) * _unit(levels[..., None]), generator)


def _unit(pictures: Floats) -> Floats:
    """Each from 0 to 1."""
    least, most = pictures.min((1, 2, 3), keepdims=True), pictures.max((1, 2, 3), keepdims=True)
    return np.asarray((pictures - least) / (most - least + 1e-6))


def _enlarged(pictures: Floats, size: tuple[int, ...], *, smooth: bool) -> Floats:
    """To `size` (H, W)."""
    factors = (1, size[0] / pictures.shape[1], size[1] / pictures.shape[2], 1)
    return np.asarray(ndimage.zoom(pictures, factors, order=int(smooth), grid_mode=True, mode="nearest"))
