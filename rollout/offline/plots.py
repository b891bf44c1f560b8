"""One check in one region as SVG: a pure function from numbers to text, with no library.

The upper panel has the rates of candidate and baseline, with the interval of the candidate; the lower one the
evidence of harm with the line at which it acts. A viewer's dark or light scheme is followed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rollout import svg
from rollout.svg import Band, Point

WIDTH, LEFT, RIGHT = 960, 78, 18
TOP, UPPER, GAP, LOWER, BOTTOM = 58, 250, 40, 130, 36
HEIGHT = TOP + UPPER + GAP + LOWER + BOTTOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment that is marked: the deploy, the harm, the decision. `kind` is deploy, harm or decision."""

    time: float
    text: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is drawn. `scale` turns a value into what people read (100 for percent), `unit` follows it.

    `level` is the baseline that the judge compared with, where no baseline ran beside the candidate.
    `evidence` and `combined` are log e-values in nats of this check and of the whole release; `threshold` is
    where the release acts.
    """

    title: str
    subtitle: str = ""
    unit: str = ""
    scale: float = 1.0
    candidate: Sequence[Point] = ()
    baseline: Sequence[Point] = ()
    level: Sequence[Point] = ()
    interval: Sequence[Band] = ()
    evidence: Sequence[Point] = ()
    combined: Sequence[Point] = ()
    threshold: float | None = None
    marks: Sequence[Mark] = field(default_factory=tuple)


def draw(chart: Chart) -> str:
    """The chart as one SVG document."""
    times = [t for series in _series(chart) for t, *_ in series] + [mark.time for mark in chart.marks]
    if not times:
        return _document([svg.text(LEFT, 26, "title", chart.title), svg.text(LEFT, 46, "note", "no samples")])
    across = svg.Axis(*svg.widened(min(times), max(times), 60.0), LEFT, WIDTH - RIGHT)
    upper = svg.Axis(0.0, _top_of_rates(chart), TOP + UPPER, TOP)
    floor, ceiling = _evidence_range(chart)
    lower = svg.Axis(floor, ceiling, HEIGHT - BOTTOM, HEIGHT - BOTTOM - LOWER)
    lines = [
        svg.text(LEFT, 24, "title", chart.title),
        svg.text(LEFT, 43, "note", chart.subtitle),
        *_legend(chart),
        *_grid(upper, lambda v: svg.number(v * chart.scale) + chart.unit),
        *_grid(lower, svg.number),
        *_clock(across),
        svg.text(LEFT, HEIGHT - BOTTOM - LOWER - 8, "note", "evidence of harm, nats"),
        svg.band("interval", chart.interval, across, upper),
        *_marks(chart.marks, across),
        svg.line("level", chart.level, across, upper),
        svg.line("baseline", chart.baseline, across, upper),
        svg.line("candidate", chart.candidate, across, upper),
        svg.line("combined", chart.combined, across, lower),
        svg.line("evidence", chart.evidence, across, lower),
        *_threshold(chart.threshold, lower),
    ]
    return _document(lines)


def _series(chart: Chart) -> tuple[Sequence[tuple[float, ...]], ...]:
    found: tuple[Sequence[tuple[float, ...]], ...] = (
        chart.candidate,
        chart.baseline,
        chart.level,
        chart.interval,
        chart.evidence,
        chart.combined,
    )
    return found


def _top_of_rates(chart: Chart) -> float:
    """So high that all but the wildest hundredth is seen; an interval may be cut off."""
    levels = sorted(v for series in (chart.candidate, chart.baseline, chart.level) for _, v in series)
    if not levels:
        return 1.0
    top = max(levels[math.ceil(0.99 * len(levels)) - 1], levels[-1] / 3)
    return 1.15 * top or 1.0


def _evidence_range(chart: Chart) -> tuple[float, float]:
    values = [v for series in (chart.evidence, chart.combined) for _, v in series]
    acts = chart.threshold if chart.threshold is not None and math.isfinite(chart.threshold) else 1.0
    high = min(max([acts, *values]), 4 * acts)
    return svg.widened(max(min([0.0, *values]), -2 * acts), 1.1 * high, 1.0)


def _document(parts: Iterable[str]) -> str:
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>\n{body}\n</svg>\n'
    )


def _grid(up: svg.Axis, shown: Callable[[float], str]) -> list[str]:
    lines = []
    for value in svg.ticks(up.low, up.high, 4):
        y = up(value)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:g}" y2="{y:g}"/>')
        lines.append(svg.text(LEFT - 8, y + 4, "tick", shown(value), "end"))
    return lines


def _clock(across: svg.Axis) -> list[str]:
    """Times of day, UTC; with the date where a day begins."""
    lines = []
    for time, words in svg.clock_ticks(across.low, across.high):
        x = across(time)
        lines.append(svg.rule("grid", x, TOP, x, HEIGHT - BOTTOM))
        lines.append(svg.text(x, HEIGHT - BOTTOM + 18, "tick", words, "middle"))
    return [*lines, svg.text(WIDTH - RIGHT, HEIGHT - 4, "tick", "UTC", "end")]


def _marks(marks: Sequence[Mark], across: svg.Axis) -> list[str]:
    lines = []
    for place, mark in enumerate(sorted(marks, key=lambda mark: mark.time)):
        x = across(mark.time)
        style = mark.kind if mark.kind in ("deploy", "harm") else "decision"
        side, shift = ("end", -4) if x > WIDTH * 0.8 else ("start", 4)
        lines.append(f'<line class="mark {style}" x1="{x:g}" x2="{x:g}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        lines.append(svg.text(x + shift, TOP + 12 + 14 * (place % 4), f"{style} label", mark.text, side))
    return lines


def _threshold(threshold: float | None, up: svg.Axis) -> list[str]:
    if threshold is None or not math.isfinite(threshold):
        return []
    y = up(threshold)
    line = f'<line class="threshold" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:g}" y2="{y:g}"/>'
    return [line, svg.text(WIDTH - RIGHT - 4, y - 4, "tick", "acts", "end")]


def _legend(chart: Chart) -> list[str]:
    """The words for the lines that are there, from the right."""
    words = (
        ("candidate", "candidate", chart.candidate),
        ("baseline", "baseline", chart.baseline),
        ("level", "compared with", chart.level),
        ("interval", "95 % interval of the candidate", chart.interval),
        ("evidence", "this check", chart.evidence),
        ("combined", "all checks", chart.combined),
    )
    lines, x = [], float(WIDTH - RIGHT)
    for style, word, there in reversed(words):
        if there:
            x -= 6.3 * len(word)
            lines.append(svg.text(x, 24, "note", word))
            shape = f'<line class="{style}" x1="{x - 20:g}" x2="{x - 5:g}" y1="20" y2="20"/>'
            box = f'<rect class="{style}" x="{x - 20:g}" y="14" width="15" height="11"/>'
            lines.append(box if style == "interval" else shape)
            x -= 32
    return lines


_STYLE = """
text{font:12px system-ui,sans-serif;fill:#444}.title{font-size:15px;font-weight:600;fill:#111}
.note{fill:#555}.tick{font-size:11px;fill:#666}.paper{fill:#fff}.grid{stroke:#e6e6e6}
polyline,.level,.combined{fill:none}.candidate{stroke:#c2410c;stroke-width:1.8;fill:none}
.baseline{stroke:#2563eb;stroke-width:1.5;fill:none}.level{stroke:#2563eb;stroke-dasharray:5 4}
circle.candidate{fill:#c2410c}circle.baseline{fill:#2563eb}
.interval{fill:#c2410c;fill-opacity:.14;stroke:none}.evidence{stroke:#7c3aed;stroke-width:1.8}
.combined{stroke:#777;stroke-dasharray:2 3}.threshold{stroke:#b91c1c;stroke-dasharray:7 4}
.mark{stroke-width:1.2}.label{paint-order:stroke;stroke:#fff;stroke-width:3px}
.deploy.label{fill:#15803d}.harm.label{fill:#a16207}.decision.label{fill:#b91c1c}
line.deploy{stroke:#15803d}line.harm{stroke:#a16207;stroke-dasharray:3 3}line.decision{stroke:#b91c1c}
@media(prefers-color-scheme:dark){
.paper{fill:#16181d}text{fill:#c9ccd3}.title{fill:#f2f2f2}.note,.tick{fill:#a5a9b3}.grid{stroke:#2c3038}
.candidate{stroke:#fb923c}.evidence{stroke:#a78bfa}.baseline,.level{stroke:#60a5fa}.interval{fill:#fb923c}
.label{stroke:#16181d}.deploy.label{fill:#4ade80}.harm.label{fill:#facc15}.decision.label{fill:#f87171}
line.deploy{stroke:#4ade80}line.harm{stroke:#facc15}line.decision{stroke:#f87171}.threshold{stroke:#f87171}}
""".replace("\n", "")
