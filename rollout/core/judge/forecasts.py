"""Comparisons that are forecasts: peers as a ratio by time of day, and the region's own past.

A forecast is tried on each day of history in turn, fitted on those before, as a placebo release: how far it
was off is its margin, and the strongest evidence of harm that the tests found there, where there was none,
does not count later (`doubt`). Until 300 such days were clean, 3/n, a forecast acts by itself only on
evidence a hundred times stronger (`discount`).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from rollout.core.judge import baseline, mixture, noise, sequential, streams
from rollout.core.judge.baseline import (
    DAY,
    at_hours,
    hours_of_day,
    is_weekend,
    level_profile,
    rate_profile,
)
from rollout.core.judge.mixture import Floats
from rollout.core.judge.past import Past
from rollout.core.judge.samples import LEVELS
from rollout.core.judge.sequential import WIDTH, Terms
from rollout.core.judge.state import CheckState, dump_running, dump_terms

UNCALIBRATED = math.log(100)
NEVER = 2 * mixture.FAR  # more than any evidence: it holds and pages, and never acts alone
CLEAN_DAYS = 300.0
WEEK = 7 * DAY
_DAYS = {True: "weekend", False: "weekday"}
BET = 2  # base blocks: drift is the margin's work, so bets need not be as long as drift lasts
LEVEL_BET_S = 300.0
LONG_S, LONG_CAP = (
    900.0,
    math.log(25),
)  # a bet of a quarter of an hour outlasts a passing incident: two may do
WORST = 0.9  # of hourly errors of a level's forecast lie within its margin
HOUR = 3600.0


def learn(state: CheckState, past: Past, peers: Sequence[str], terms: Terms) -> None:
    """Fit, try, and settle the terms of a check that is compared with peers, or with history without them."""
    own, others = past.of(past.region), {peer: past.of(peer) for peer in peers}
    known = own.keys() & set().union(*others.values()) if others else own.keys()
    blocks = np.array(sorted(known), dtype=np.int64)
    times: Floats = ((blocks + 1) * past.length).astype(np.float64)
    days = np.floor((times - times[0]) / DAY).astype(np.int64)
    short = bool(days[-1] == 0)
    if short:  # less than a day: its second half is tried, and nothing is known of the day's shape
        days = (np.arange(len(times)) >= len(times) // 2).astype(np.int64)
    state.days = past.days(past.region)
    data = _Data(past, others, blocks, times, hours_of_day(times, past.zone), days)
    learned, tried = _levels(state, data, terms) if past.family == LEVELS else _counts(state, data, terms)
    unseen = "whole day" if short else _unseen_kind_of_day(data, terms.horizon * past.length)
    if unseen:
        learned = replace(learned, margin=_tolerated(learned, data))
    placebo = _placebo(learned, tried, days[data.tried])
    state.doubt = max(0.0, placebo)
    clean = state.days >= CLEAN_DAYS and placebo <= 0
    state.discount = state.doubt + (NEVER if unseen else 0.0 if clean else UNCALIBRATED)
    state.terms = dump_terms(learned)
    state.running = dump_running(sequential.begin(learned, pool=streams.pools(tried[None])[0]))
    what = f"peers {', '.join(peers)}" if peers else "its own past"
    state.learned = (
        f"forecast from {what} by time of day, fitted on {state.days:.1f} days; "
        f"off by {_margin_words(learned)}; {CLEAN_DAYS:g} clean days would let it act alone"
    )
    if unseen:
        state.learned += (
            f"; history has no {unseen}: it never acts alone, and only beyond the tolerance holds"
        )


def _unseen_kind_of_day(data: "_Data", ahead_s: float) -> str:
    """`weekend` or `weekday` where what is to be judged has such a day and history has none; else empty."""
    end, zone = float(data.times[-1]), ZoneInfo(data.past.zone)
    seen = Counter(map(bool, is_weekend(data.times, zone)))
    coming = {bool(each) for each in is_weekend(np.arange(end, end + min(ahead_s, WEEK) + 1.0, HOUR), zone)}
    least = DAY / data.past.length / 2
    return next((name for kind, name in _DAYS.items() if kind in coming and seen[kind] < least), "")


def _tolerated(terms: Terms, data: "_Data") -> float:
    """The margin at which a rise to the tolerance is no harm yet."""
    if terms.tests[0].family != "step":
        return max(float(terms.margin), terms.lift)
    own = data.own()
    usual = float(np.median(np.abs(own[:, 0] / own[:, 1])))
    reach = math.log(terms.lift) if terms.relative else usual * (terms.lift - 1)
    return max(float(terms.margin), reach)


@dataclass(frozen=True, slots=True)
class _Data:
    """History in base blocks that all sides have: their numbers, times, hours of the day, and days."""

    past: Past
    others: Mapping[str, Mapping[int, list[float]]]
    blocks: NDArray[np.int64]
    times: Floats
    hours: Floats
    days: NDArray[np.int64]

    def folds(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Which blocks are tried, one day after the other, and which were before and are fitted."""
        for day in np.unique(self.days)[1:]:
            yield self.days == day, self.days < day

    @property
    def tried(self) -> NDArray[np.bool_]:
        """All that is tried: every day but the first."""
        later: NDArray[np.bool_] = self.days > self.days[0]
        return later

    def column(self, cells: Mapping[int, list[float]]) -> Floats:
        """Events and exposure of one side, [blocks, 2]."""
        empty = [0.0, 0.0]
        rows = [cells.get(block, empty) for block in self.blocks.tolist()]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def own(self) -> Floats:
        """Those of the region itself."""
        return self.column(self.past.of(self.past.region))


def _margin_words(terms: Terms) -> str:
    if terms.tests[0].family == "step":
        return f"×{math.exp(terms.margin):.2f}" if terms.relative else f"{terms.margin:.3g}"
    return f"×{terms.margin:.2f}"


def _placebo(terms: Terms, tried: Floats, days: NDArray[np.int64]) -> float:
    """The strongest evidence of harm on days without a release, each a release of its own.

    Of every ten days the worst is left out: an incident is no release.
    """
    apart = [tried[days == day] for day in np.unique(days)]
    width = max(len(each) for each in apart)
    padded = np.stack([np.concatenate([each, np.zeros((width - len(each), WIDTH))]) for each in apart])
    worst = np.sort(streams.replay_streams(terms, padded).log_e.max(axis=1))
    return float(worst[len(worst) - 1 - len(worst) // 10])


# --------------------------------------------------------------------- counts


def _counts(state: CheckState, data: _Data, terms: Terms) -> tuple[Terms, Floats]:
    rows = np.zeros((len(data.blocks), WIDTH))
    for late, before in data.folds():
        rows[late] = _compared(data, before)[late]
    rows = rows[data.tried]
    exposed = rows[(rows[:, 1] > 0) & (rows[:, 3] > 0)]
    rho = noise.overdispersion(exposed[:, :4]) if data.others else _forecast_rho(exposed)
    error = _hourly_error(exposed, data.past.length, known=not data.others)
    margin = baseline.ratio_margin(error if data.others else 2 * error)
    state.profiles = _profiles(data, np.ones(len(data.blocks), dtype=bool))
    return replace(terms, margin=margin, rho=rho, psi=1.0, every=BET), rows


def _profiles(data: _Data, fit: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Per peer, the own rate over the peer's by hour; without peers, the own rate."""
    own, hours = data.own(), data.hours[fit]
    mine = rate_profile(hours, own[fit, 0], own[fit, 1])
    if not data.others:
        return {"history": mine.tolist()}
    columns = {peer: data.column(cells)[fit] for peer, cells in data.others.items()}
    return {
        peer: (mine / rate_profile(hours, each[:, 0], each[:, 1])).tolist() for peer, each in columns.items()
    }


def _compared(data: _Data, fit: NDArray[np.bool_]) -> Floats:
    """Rows of the sequential tests, with profiles fitted on the rows of `fit` only."""
    profiles = _profiles(data, fit)
    rows = np.zeros((len(data.blocks), WIDTH))
    rows[:, :2] = data.own()
    for peer, cells in data.others.items():
        column = data.column(cells)
        rows[:, 2] += column[:, 0]
        rows[:, 3] += column[:, 1] / at_hours(profiles[peer], data.hours)
    if not data.others:
        rows[:, 4] = rows[:, 1] * at_hours(profiles["history"], data.hours)
        rows[:, 2], rows[:, 3] = rows[:, 4], rows[:, 1]
    return rows


def _hourly_error(rows: Floats, length: float, *, known: bool) -> float:
    """Standard deviation of log ratios of hours to their forecast, less what chance alone makes of it.

    `known`: what is compared with is a forecast, and no count with a chance of its own.
    """
    grouped = noise.gather(rows, max(1, round(HOUR / length)))
    if not len(grouped):
        return 0.0
    x1, n1, x0, n0 = grouped.T[:4]
    gaps = np.log((x1 + 0.5) / n1) - np.log((x0 + 0.5) / n0)
    chance = float((1 / (x1 + 0.5) + (0 if known else 1) / (x0 + 0.5)).mean())
    return math.sqrt(max(0.0, float((gaps**2).mean()) - chance))


def _forecast_rho(rows: Floats) -> float:
    """The rho of variance λ·(1 + λ·rho) around the forecast λ, by bounded moments."""
    expected = rows[:, 4]
    told = expected > 0
    square, expected = (rows[told, 0] - expected[told]) ** 2, expected[told]
    low, high = 0.0, 1.0
    if not len(square) or float(np.minimum(square / expected, noise.WINSOR).mean()) <= 1:
        return 0.0
    for _ in range(40):
        middle = (low + high) / 2
        mean = float(np.minimum(square / (expected * (1 + expected * middle)), noise.WINSOR).mean())
        low, high = (middle, high) if mean > 1 else (low, middle)
    return high


# --------------------------------------------------------------------- levels


def _levels(state: CheckState, data: _Data, terms: Terms) -> tuple[Terms, Floats]:
    own = data.own()
    raw = own[:, 0] / own[:, 1]
    relative = bool((raw > 0).all())
    levels = np.log(raw) if relative else raw
    beside = {peer: _peer_levels(data, cells, relative) for peer, cells in data.others.items()}
    gaps = levels - _reference(levels, list(beside.values()))
    errors, recent = np.zeros(len(gaps)), np.zeros(len(gaps))
    for late, before in data.folds():
        errors[late] = gaps[late] - _forecast(data.hours, gaps, before, late)
        recent[late] = errors[late] - _today(data, gaps, late, before)
    errors, recent = errors[data.tried], recent[data.tried]
    carried = np.abs(recent).mean() < np.abs(errors).mean()
    tried = recent if carried else errors
    size = max(1, round(HOUR / data.past.length))
    means = noise.gather(tried[:, None], size)[:, 0] / size if len(tried) >= size else tried
    inside = tried[: len(means) * size] - np.repeat(means, size) if size > 1 else tried
    floor = 0.01 if relative else max(1e-9, 0.01 * float(np.median(np.abs(raw))))
    everything = np.ones(len(gaps), dtype=bool)
    last = data.times > data.times[-1] - baseline.RECENT
    drift = float(np.median((gaps - _forecast(data.hours, gaps, everything, everything))[last]))
    sides = {peer: levels - each for peer, each in beside.items()} or {"history": levels}
    state.profiles = {
        name: (_profile(data.hours, side) + (drift if carried else 0.0)).tolist()
        for name, side in sides.items()
    }
    learned = replace(
        terms,
        margin=max(float(np.quantile(np.abs(means), WORST)), floor),
        scale=max(1.4826 * float(np.median(np.abs(inside))), floor),
        every=max(1, round(LEVEL_BET_S / data.past.length)),
        relative=relative,
        cap=LONG_CAP if data.past.length >= LONG_S else 0.0,
    )
    ones, zeros = np.ones(len(tried)), np.zeros(len(tried))
    return learned, np.stack([tried, ones, zeros, ones, zeros], axis=1)


def _forecast(hours: Floats, gaps: Floats, fit: NDArray[np.bool_], late: NDArray[np.bool_]) -> Floats:
    """Levels of the rows of `late` by hour of day, from those of `fit`."""
    usual = float(np.median(gaps[fit])) + level_profile(hours[fit], gaps[fit])
    return at_hours(usual, hours[late])


def _today(data: _Data, gaps: Floats, late: NDArray[np.bool_], fit: NDArray[np.bool_]) -> float:
    """How far the hours before a tried day were off its forecast; 0 where there are none."""
    begin = data.times[late][0]
    before = (data.times < begin) & (data.times >= begin - baseline.RECENT)
    if not before.any():
        return 0.0
    return float(np.median(gaps[before] - _forecast(data.hours, gaps, fit, before)))


def _profile(hours: Floats, side: Floats) -> Floats:
    """The level, or the distance to a peer's, by hour of day; where a peer was silent it says nothing."""
    told = np.isfinite(side)
    found: Floats = float(np.median(side[told])) + level_profile(hours[told], side[told])
    return found


def _peer_levels(data: _Data, cells: Mapping[int, list[float]], relative: bool) -> Floats:
    """A peer's levels in the same unit; nan where it was silent."""
    column = data.column(cells)
    told = column[:, 1] > 0
    raw = np.where(told, column[:, 0] / np.where(told, column[:, 1], 1.0), np.nan)
    levels: Floats = np.log(np.maximum(raw, 1e-12)) if relative else raw
    return levels


def _reference(levels: Floats, peers: Sequence[Floats]) -> Floats:
    """The mean of the peers that are there, each moved to where this region usually is; 0 without peers."""
    if not peers:
        return np.zeros(len(levels))
    moved = np.stack([each + np.nanmedian(levels - each) for each in peers])
    mean: Floats = np.nanmean(moved, axis=0)
    return mean
