"""Check tiles: a check's value beside its baseline, its difference against zero, its plot. Pure.

What must not live here: words of verdicts (they come with the view), or the plot's own drawing (plotting.py).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from markupsafe import Markup

from api.dashboard import marks
from api.dashboard.marks import Mark
from rollout import svg
from rollout.core.reason import KNOWN_TO, level, odds
from rollout.core.signals import VerdictKind
from rollout.foresight.sight import figure
from rollout.showing.plotting import TILE, Size, draw_pair
from rollout.showing.series import PER_HOUR, SeriesView
from rollout.showing.views import CheckView, RolloutView

Plots = Mapping[tuple[str, str], SeriesView]  # (region, signal) → what its plot draws

_STRENGTHS = ((1.0, "enough to act"), (0.6, "strong"), (0.25, "some"), (0.05, "weak"))
_MORE = re.compile(r"(?:about|more than) ([\d,.]+) more candidate (requests|instance-hours)")
_WIDTH, _HEIGHT = 320, 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its meaning in words; `value` and `of` are in one unit."""

    value: float
    of: float
    words: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus baseline with its interval, against zero and the limit.

    `tone` is bad only when the whole interval is beyond the limit, good when it is within.
    """

    words: str
    tone: str
    picture: Markup


@dataclass(frozen=True, slots=True)
class Tile:
    """One check in one region. `evidence` is None where only a guard can act."""

    view: CheckView
    mark: Mark
    ratio: str
    evidence: Bar | None
    traffic: str
    difference: Difference | None
    plot: Markup
    href: str


def tiles(view: RolloutView, plots: Plots) -> Mapping[str, tuple[Tile, ...]]:
    """The checks of every region that has some, worst verdict first."""
    return {
        region.region: tuple(tile(view.id, c, plots) for c in sorted(region.checks, key=_urgency))
        for region in view.regions
        if region.checks
    }


def tile(rollout: str, check: CheckView, plots: Plots) -> Tile:
    """One check: value beside baseline, how far the evidence of harm has come, and its plot."""
    series = plots.get((check.region, check.signal))
    return Tile(
        view=check,
        mark=mark_of(check),
        ratio=ratio(check),
        evidence=evidence(check),
        traffic=traffic(check),
        difference=difference(check, series.unit if series else ""),
        plot=plot(series),
        href=f"/rollouts/{rollout}/checks/{quote(check.region)}/{quote(check.signal)}",
    )


def mark_of(check: CheckView) -> Mark:
    """The shape and the word of a verdict; of what is suspected, those of the suspicion."""
    return marks.SUSPECTED if check.suspected else marks.VERDICTS[check.verdict]


def plot(series: SeriesView | None, size: Size = TILE) -> Markup:
    """The pair plot; nothing where there is nothing to draw. Its text was escaped where it was drawn."""
    if series is None or not series.points:
        return Markup("")
    name = re.sub(r"[^A-Za-z0-9-]+", "-", f"plot-{series.region}-{series.signal}-{size.width}")
    return Markup(draw_pair(series, size, name))  # noqa: S704  # made of numbers and escaped words


def ratio(check: CheckView) -> str:
    """`×2.1` of the baseline, where both are known."""
    if check.value is None or not check.baseline:
        return ""
    return f"×{figure(check.value / check.baseline, 2)}"


def traffic(check: CheckView) -> str:
    """How much was seen, and of how much when that is not enough yet."""
    if check.seen <= 0:
        return ""
    more = _MORE.search(check.needs) if check.verdict is VerdictKind.UNDECIDED else None
    if more is None:
        return f"{_amount(check.seen)} judged"
    wanted = check.seen + float(more[1].replace(",", ""))
    return f"not enough traffic yet: {_amount(check.seen)} of about {_amount(wanted)} {more[2]}"


def evidence(check: CheckView) -> Bar | None:
    """The evidence of harm against the value at which this check alone rolls back."""
    if check.acts_at is None or check.acts_at <= 0 or check.guard:  # a guard acts on no evidence
        return None
    part = check.log_e / check.acts_at
    word = next((word for least, word in _STRENGTHS if part >= least), "none")
    limit = f"acts alone at {odds(check.acts_at)}" if check.critical else "not critical: holds and pages"
    strong = "" if odds(check.log_e) == odds(0) else f" {odds(check.log_e)}"
    words = f"of harm{strong}: {word}; {limit}"
    return Bar(min(max(check.log_e, 0.0), check.acts_at), check.acts_at, words)


# ------------------------------------------------------------------ the difference


def difference(check: CheckView, unit: str) -> Difference | None:
    """What the candidate adds to the baseline, from the interval of their ratio; None without one."""
    if check.value is None or not check.baseline or check.low is None:
        return None
    low = (check.low - 1) * check.baseline
    known = check.high is not None and check.high < KNOWN_TO
    high = (check.high - 1) * check.baseline if known and check.high is not None else None
    limit = check.limit - check.baseline if check.limit and check.limit > 0 else None
    value = check.value - check.baseline
    upper = f"to {_signed(high, unit)}" if high is not None else "or more"
    words = f"{_signed(value, unit)} (from {_signed(low, unit)} {upper})"
    if limit is not None:
        words += f", limit {_signed(limit, unit)}"
    tone = _tone(low, high, limit)
    return Difference(words, tone, _picture(value, low, high, limit, tone))


def _tone(low: float, high: float | None, limit: float | None) -> str:
    if limit is None:
        return "move"
    if limit < 0:  # harm is a fall
        beyond, within = high is not None and high < limit, low > limit
    else:
        beyond, within = low > limit, high is not None and high < limit
    return "bad" if beyond else "good" if within else "move"


def _picture(value: float, low: float, high: float | None, limit: float | None, tone: str) -> Markup:
    """One line: zero, the limit, and the interval with the value in it. The words stand beside it."""
    known = [0.0, value, low, *([limit] if limit is not None else []), *([high] if high is not None else [])]
    most = 3 * max(abs(limit or 0.0), abs(value), 1e-12)  # a wide interval ends in the frame
    least, end = max(min(known), -most), min(max(known), most)
    room = max(0.08 * (end - least), 1e-12)
    across = svg.Axis(least - room, end + room, 4, _WIDTH - 4)
    left, right = across(low), across(high) if high is not None else _WIDTH - 4
    parts = [
        svg.rule("axis", 4, 15, _WIDTH - 4, 15),
        svg.rule("zero", across(0.0), 4, across(0.0), 26),
        svg.rule("limit", across(limit), 2, across(limit), 28) if limit is not None else "",
        svg.box("interval", left, 10, max(2.0, right - left), 10),
        f'<circle class="value" cx="{across(value):g}" cy="15" r="4.5"/>',
    ]
    frame = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
    drawn = f'<svg class="difference {tone}" {frame} aria-hidden="true">{"".join(parts)}</svg>'
    return Markup(drawn)  # noqa: S704  # made of numbers


def _signed(value: float, unit: str) -> str:
    """`+0.02 points` of a share, `−1.2 per instance-hour`, `+3 ms`."""
    sign = "−" if value < 0 else "+"
    if unit == "%":
        return f"{sign}{100 * abs(value):.2f} points"
    words = {PER_HOUR: " per hour"}.get(unit, f" {unit}" if unit else "")
    return f"{sign}{level(abs(value))}{words}"


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _urgency(check: CheckView) -> tuple[bool, int]:
    order = ("fail", "no_data", "undecided", "pass")
    return check.verdict != "fail" and not check.suspected, order.index(check.verdict)
