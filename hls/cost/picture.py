"""A picture of where the time and the area of a kernel go, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from edgesight.hls.cost.report import CostRow

_LINE, _NAME, _BAR, _NUMBER = 20, 230, 190, 70
_COLUMNS: Sequence[tuple[str, str, Callable[[CostRow], float]]] = (
    ("cycles a frame", "#264653", lambda row: row.interval_cycles),
    ("LUT", "#2a9d8f", lambda row: row.predicted.luts),
    ("FF", "#8ab17d", lambda row: row.predicted.flip_flops),
    ("RAMB18", "#e9a03b", lambda row: row.predicted.half_blocks),
    ("DSP", "#e76f51", lambda row: row.predicted.dsps),
)


def as_svg(stages: Sequence[Sequence[CostRow]]) -> str:
    """A line for each layer of each stage, with bars of its share of the largest."""
    rows = [(f"{at}: {row.layer}", row) for at, stage in enumerate(stages) for row in stage]
    width, height = _NAME + len(_COLUMNS) * (_BAR + _NUMBER), (len(rows) + 2) * _LINE
    body = []
    for column, (title, colour, of) in enumerate(_COLUMNS):
        left = _NAME + column * (_BAR + _NUMBER)
        most = max((of(row) for _, row in rows), default=0) or 1
        body.append(f'<text x="{left}" y="{_LINE - 5}" font-weight="bold">{title}</text>')
        for at, (_, row) in enumerate(rows):
            value, top = of(row), (at + 1) * _LINE
            bar = _BAR * value / most
            body.append(f'<rect x="{left}" y="{top + 3}" width="{bar:.1f}" height="{_LINE - 6}" fill="{colour}"/>')
            body.append(f'<text x="{left + bar + 4:.1f}" y="{top + 14}">{value:,.0f}</text>')
    for at, (name, _) in enumerate(rows):
        body.append(f'<text x="4" y="{(at + 1) * _LINE + 14}">{escape(name)}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
    return "\n".join(
        [f'{head} font-size="12">', '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""]
    )
