"""Pieces of a picture as SVG text: axes, round ticks, lines that break at gaps, bands. Pure; no library.

What must not live here: what a picture is of (offline/plots.py, plotting.py), or its colours.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from xml.sax.saxutils import escape

Point = tuple[float, float]  # epoch seconds, value
Gappy = tuple[float, float | None]  # the same; None where there is nothing
Band = tuple[float, float, float]  # epoch seconds, low, high

_STEPS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800)


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear map from values to pixels; what is beyond an end is drawn at that end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Give the place of a value in pixels, to a tenth."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + part * (self.end - self.start), 1)


def widened(low: float, high: float, least: float) -> tuple[float, float]:
    """Both ends, at least so far apart."""
    return (low, high) if high - low >= least else (low, low + least)


def text(x: float, y: float, style: str, words: str, anchor: str = "start") -> str:
    """One line of words; nothing when there are none."""
    if not words:
        return ""
    return f'<text class="{style}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def line(style: str, points: Sequence[Point], across: Axis, up: Axis) -> str:
    """A line through all points; a single one is a dot."""
    if len(points) == 1:
        (time, value) = points[0]
        return f'<circle class="{style}" cx="{across(time):g}" cy="{up(value):g}" r="3"/>'
    path = " ".join(f"{across(time):g},{up(value):g}" for time, value in points)
    return f'<polyline class="{style}" points="{path}"/>' if path else ""


def broken_line(style: str, points: Iterable[Gappy], across: Axis, up: Axis) -> str:
    """A line for each stretch without a gap, so that nothing is drawn where nothing was measured."""
    runs = groupby(points, key=lambda point: point[1] is not None)
    whole = ([(time, value) for time, value in run if value is not None] for there, run in runs if there)
    return "".join(line(style, run, across, up) for run in whole)


def band(style: str, edges: Sequence[Band], across: Axis, up: Axis) -> str:
    """What lies between a low and a high line."""
    there = [f"{across(time):g},{up(high):g}" for time, _, high in edges]
    back = [f"{across(time):g},{up(low):g}" for time, low, _ in reversed(edges)]
    return f'<polygon class="{style}" points="{" ".join(there + back)}"/>' if len(edges) > 1 else ""


def rule(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A straight line between two places."""
    return f'<line class="{style}" x1="{x1:g}" x2="{x2:g}" y1="{y1:g}" y2="{y2:g}"/>'


def box(style: str, x: float, y: float, width: float, height: float) -> str:
    """A filled rectangle; a width below nothing is nothing."""
    return f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{max(0.0, width):g}" height="{height:g}"/>'


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def clock_ticks(low: float, high: float, most: int = 8) -> list[tuple[float, str]]:
    """Times of day, UTC, between two epoch seconds; with the date where a day begins."""
    span = high - low
    step = next((s for s in _STEPS if span / s <= most), math.ceil(span / most / 86400) * 86400)
    found, day = [], f"{datetime.fromtimestamp(low, UTC):%m-%d}"
    for n in range(math.ceil(low / step), math.floor(high / step) + 1):
        at = datetime.fromtimestamp(n * step, UTC)
        found.append((float(n * step), f"{at:%H:%M}" if f"{at:%m-%d}" == day else f"{at:%m-%d %H:%M}"))
        day = f"{at:%m-%d}"
    return found


def number(value: float) -> str:
    """A tick's number: four digits, or a power of ten."""
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
