"""Points -> SVG that needs nothing beside the page it stands in. Pure.

Owns: axes, lines and dots. Colours are classes (`a`, `b`, `faint`), so that the page decides on light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 42

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """Points in the units of the axes. style: a class of the page. dots: (x, y, radius in pixels, what it says)."""

    name: str
    style: str
    line: Sequence[Point] = ()
    dots: Sequence[tuple[float, float, float, str]] = ()


def chart(title: str, x_label: str, y_label: str, x_ticks: Sequence[float], series: Sequence[Series]) -> str:
    """A figure element. x runs over the ticks, y from 0 to 1."""
    low, high = x_ticks[0], x_ticks[-1]

    def x(value: float) -> str:
        return f"{LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(value: float) -> str:
        return f"{HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = []
    for tick in (step / 5 for step in range(6)):
        parts.append(f'<line class="grid" x1="{x(low)}" x2="{x(high)}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{float(y(tick)) + 4:.1f}">{tick:.2g}</text>')
    for tick in x_ticks:
        parts.append(f'<text class="middle" x="{x(tick)}" y="{HEIGHT - BOTTOM + 16}">{tick:g}</text>')
    parts.append(f'<text class="middle" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}">{escape(x_label)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="middle" transform="translate(11 {middle:.0f}) rotate(-90)">{escape(y_label)}</text>')
    for one in series:
        if one.line:
            points = " ".join(f"{x(a)},{y(b)}" for a, b in one.line)
            parts.append(f'<polyline class="{one.style}" points="{points}"/>')
        for a, b, radius, says in one.dots:
            dot = f'<circle class="{one.style}" cx="{x(a)}" cy="{y(b)}" r="{radius:.1f}">'
            parts.append(f"{dot}<title>{escape(says)}</title></circle>")
    legend = " ".join(f'<span class="{one.style}">{escape(one.name)}</span>' for one in series if one.name)
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg><p class="legend">{legend}</p></figure>'
    )
