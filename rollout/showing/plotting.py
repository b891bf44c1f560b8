"""The pair plot of one check as SVG: candidate and baseline with its band, the limit, the bake and the marks.

A pure function from numbers to text, without a style of its own: whoever shows it brings the colours, for the
classes candidate, baseline, band, level, limit, bake, grid, tick, label and mark (with the kind of the mark).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from rollout import svg
from rollout.showing.series import PER_HOUR, SeriesView

HEADROOM = 1.15  # of the highest value that is drawn
LIMIT_MOST = 3.0  # times the highest value: a limit further up would press both lines flat


@dataclass(frozen=True, slots=True)
class Size:
    """Of a picture, in its own pixels; `left` is the room for numbers, `ticks` about how many of them."""

    width: int
    height: int
    left: int = 44
    right: int = 8
    top: int = 8
    bottom: int = 20
    ticks: int = 3
    times: int = 4
    labels: bool = False  # marks have their words beside them


TILE = Size(360, 132)
LARGE = Size(760, 300, left=62, right=14, top=52, bottom=26, ticks=5, times=7, labels=True)


def draw_pair(series: SeriesView, size: Size = TILE, name: str = "plot") -> str:
    """One <svg> element; `name` is its id. What it says to those who do not see it is `series.text`."""
    across = svg.Axis(
        *svg.widened(series.since.timestamp(), series.until.timestamp(), 60.0),
        size.left,
        size.width - size.right,
    )
    up = svg.Axis(0.0, _top(series), size.height - size.bottom, size.top)
    parts = [
        *_bake(series, size, across),
        *_grid(series, size, across, up),
        *_band(series, size, up),
        *_levels(series, size, up),
        *_marks(series, size, across),
        svg.broken_line("baseline", ((p.at.timestamp(), p.baseline) for p in series.points), across, up),
        svg.broken_line("candidate", ((p.at.timestamp(), p.candidate) for p in series.points), across, up),
    ]
    return _element(series, size, name, parts)


def _element(series: SeriesView, size: Size, name: str, parts: Iterable[str]) -> str:
    title = f"{series.title} in {series.region}"
    box = f'viewBox="0 0 {size.width} {size.height}" width="{size.width}" height="{size.height}"'
    about = f"id={quoteattr(name)} aria-label={quoteattr(f'Plot. {series.text}')}"
    return f'<svg class="pair" {box} role="img" {about}><title>{escape(title)}</title>{"".join(parts)}</svg>'


def _top(series: SeriesView) -> float:
    drawn = [v for p in series.points for v in (p.candidate, p.baseline) if v is not None]
    drawn += list(series.band or ()) + ([series.compared_with] if series.compared_with else [])
    high = max(drawn, default=0.0)
    if series.limit is not None and series.limit <= max(high * LIMIT_MOST, 1e-12):
        high = max(high, series.limit)
    return HEADROOM * high or series.limit or (0.01 if series.unit == "%" else 1.0)


def _grid(series: SeriesView, size: Size, across: svg.Axis, up: svg.Axis) -> Iterable[str]:
    scale, unit = (100.0, " %") if series.unit == "%" else (1.0, "")
    for value in svg.ticks(up.low, up.high * scale, size.ticks):
        y = up(value / scale)
        yield svg.rule("grid", size.left, y, size.width - size.right, y)
        yield svg.text(size.left - 5, y + 4, "tick", svg.number(value) + unit, "end")
    for time, words in svg.clock_ticks(across.low, across.high, size.times):
        if across(time) > size.width - 60:
            continue  # the room of the last word
        yield svg.text(across(time), size.height - 6, "tick", words, "middle")
    yield svg.text(size.width - size.right, size.height - 6, "tick", "UTC", "end")
    if size.labels and series.unit not in ("%", ""):
        yield svg.text(size.left, size.top - 8, "tick", "per h" if series.unit == PER_HOUR else series.unit)


def _bake(series: SeriesView, size: Size, across: svg.Axis) -> Iterable[str]:
    if series.bake is None:
        return
    begun, ended = (across((at or series.until).timestamp()) for at in series.bake)
    yield svg.box("bake", begun, size.top, ended - begun, size.height - size.top - size.bottom)


def _band(series: SeriesView, size: Size, up: svg.Axis) -> Iterable[str]:
    if series.band is not None:
        low, high = up(series.band[0]), up(series.band[1])
        yield svg.box("band", size.left, high, size.width - size.left - size.right, max(1.0, low - high))


def _levels(series: SeriesView, size: Size, up: svg.Axis) -> Iterable[str]:
    """The limit where there is one, and what the judge compares with where no baseline runs beside it."""
    if series.limit is not None and series.limit <= up.high:
        y = up(series.limit)
        yield svg.rule("limit", size.left, y, size.width - size.right, y)
        yield svg.text(size.width - size.right - 2, y - 3, "tick", "limit", "end")
    if series.compared_with is not None and series.baseline_kind not in ("", "beside"):
        y = up(series.compared_with)
        yield svg.rule("level", size.left, y, size.width - size.right, y)


def _marks(series: SeriesView, size: Size, across: svg.Axis) -> Iterable[str]:
    ends = [-1e9] * 3  # of the words in each row
    for mark in series.marks:
        x = across(mark.at.timestamp())
        yield svg.rule(f"mark {mark.kind}", x, size.top, x, size.height - size.bottom)
        if not size.labels:
            yield _dot(mark.kind, x, size.top)
            continue
        row = next((n for n, end in enumerate(ends) if end < x), None)
        if row is not None:
            ends[row] = x + 7.0 * len(_label(mark.text, mark.at)) + 10
            anchor = "end" if ends[row] > size.width else "start"
            yield svg.text(x, 14 + 14 * row, f"label {mark.kind}", _label(mark.text, mark.at), anchor)


def _dot(kind: str, x: float, y: float) -> str:
    return f'<circle class="mark {kind}" cx="{x:g}" cy="{y:g}" r="3"/>'


def _label(text: str, at: datetime) -> str:
    return f"{text} {at:%H:%M}"
