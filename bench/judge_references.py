"""Anytime-valid tests as they stand in the literature: what the product must beat.

They return what anchors return. An e-process has mean at most 1 at every look when nothing changed, so that
it ever exceeds 1/alpha with at most alpha (Ville). The mean of e-processes is one. `weight` multiplies the
candidate's exposure (its level is not the baseline's), `margin` is the rise that is still no harm.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaln, logsumexp
from scipy.stats import chi2

from bench.judge_anchors import ALPHA, first
from bench.judge_traffic import DAY, Arms, Array, Series, against

GRID = (1.15, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10, 20, 50)
SHIFTS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
CAP = 3.0
TRIMMED = 0.03  # the worst blocks of history; the cap deals with those
NEVER = 1e-9


def alarm(log_e: Array, alpha: float = ALPHA) -> Array:
    """When the e-process first reaches 1/alpha."""
    return first(log_e >= math.log(1 / alpha))


def mean(*logs: Array) -> Array:
    """The mean of e-processes, in logs."""
    return logsumexp(np.array(logs), axis=0) - math.log(len(logs))


def reference(history: Arms, after: Arms) -> Array:
    """The mean of sign symmetry and a tempered, capped likelihood ratio: the best of these."""
    return alarm(_both(history, after))


def plain_mixture(after: Arms) -> Array:
    """The likelihood ratio as if errors were binomial, neither tempered nor capped."""
    return alarm(mixture(after))


def tempered_mixture(history: Arms, after: Arms) -> Array:
    """The likelihood ratio tempered by the over-dispersion of history."""
    return alarm(mixture(after, temper=dispersion(history)))


def beta_binomial(arms: Arms, prior: float = 20.0) -> Array:
    """Two-sided Beta mixture on the split of the errors (Lindon and Malek); for equal shares only."""
    x1, x0 = np.cumsum(arms.x1, 1), np.cumsum(arms.x0, 1)
    log_e = betaln(prior / 2 + x1, prior / 2 + x0) - betaln(prior / 2, prior / 2) + (x1 + x0) * math.log(2)
    return first((log_e >= math.log(1 / ALPHA)) & (x1 > x0))


def two_sample_rate(after: Arms) -> Array:
    """Restarts against the peers' at the same time."""
    return alarm(mixture(after))


def own_week_rate(history: Arms, after: Arms) -> Array:
    """Restarts against the upper bound of the own week."""
    return alarm(_known_rate(history, after))


def rate_reference(history: Arms, after: Arms) -> Array:
    """The mean of the two."""
    return alarm(mean(_known_rate(history, after), mixture(after)))


def dispersion(
    history: Arms,
    weight: Array | float = 1.0,
    blocks: Sequence[int] = (1, 5, 15, 30),
    trim: float = 0.0,
) -> Array:
    """Over-dispersion (>= 1) of the split in history, the largest over blocks, as minutes may be alike."""
    weighted = Arms(history.x1, history.n1 * weight, history.x0, history.n0)
    return np.maximum.reduce([np.ones(len(history.n1)), *(_excess(weighted.blocks(b), trim) for b in blocks)])


def mixture(
    after: Arms,
    weight: Array | float = 1.0,
    temper: Array | None = None,
    cap: float = 0.0,
    margin: Array | float = 1.0,
) -> Array:
    """Evidence (log e) against "the ratio of rates is at most `margin`", by a mixture over greater ratios.

    Of a minute's errors the candidate's part is binomial whatever the exposures do. `cap` limits what a
    minute is worth, so that no single one decides.
    """
    n1, n0 = np.maximum(after.n1 * weight, NEVER), np.maximum(after.n0, NEVER)
    unchanged = margin * n1 / (margin * n1 + n0)
    divisor = 1.0 if temper is None else temper[:, None]
    logs = []
    for ratio in GRID:
        risen = ratio * margin * n1 / (ratio * margin * n1 + n0)
        won = after.x1 * np.log(risen / unchanged) + after.x0 * np.log((1 - risen) / (1 - unchanged))
        won = won / divisor
        logs.append(np.cumsum(np.minimum(won, math.log(cap)) if cap else won, 1))
    return mean(*logs)


def symmetric(after: Arms, scale: Array, weight: Array | float = 1.0, margin: Array | float = 1.0) -> Array:
    """Evidence (log e) against "a minute's studentised difference is as often up as down".

    Any dispersion and heavy tails are fine. tanh(d·z) is the likelihood ratio of a normal shift d given |z|,
    so that little is lost.
    """
    z = _studentised(after, weight * margin) / scale.reshape(-1, 1)
    bets = (np.clip(np.tanh(shift * z), NEVER - 1, 1) for shift in SHIFTS)
    return mean(*(np.cumsum(np.log1p(bet), 1) for bet in bets))


def by_region(series: Sequence[Series]) -> dict[str, Array]:
    """A whole region judged by different baselines; the last two days of its history are used."""
    own, *peers = series
    whole = against(own, tuple(peers))
    last = whole.n1.shape[1]
    day2, day1, after = (whole.minutes(last - back * DAY, last - (back - 1) * DAY) for back in (3, 2, 1))
    yesterday = Arms(after.x1, after.n1, day1.x1, day1.n1)
    day_before = Arms(day1.x1, day1.n1, day2.x1, day2.n1)
    level = _level(day1)
    by_time, margin = _by_time_of_day(day2, day1)
    return {
        "own last hour": alarm(_last_hour(day1, after)),
        "own yesterday": alarm(_both(day_before, yesterday)),
        "peers raw": alarm(_both(day1, after)),
        "DiD plain": alarm(mixture(after, level)),
        "DiD": alarm(_both(day1, after, level)),
        "reference": alarm(_both(day1, after, by_time, margin)),
    }


def _both(history: Arms, after: Arms, weight: Array | float = 1.0, margin: Array | float = 1.0) -> Array:
    temper = dispersion(history, weight * margin, trim=TRIMMED)
    scale = np.sqrt(dispersion(history, weight * margin, blocks=(1,), trim=TRIMMED))
    ratio = mixture(after, weight, temper, CAP, margin)
    return mean(symmetric(after, scale, weight, margin), ratio)


def _excess(arms: Arms, trim: float) -> Array:
    """Squared differences over their binomial variance; what `trim` cuts off is made up for."""
    errors = arms.x1 + arms.x0
    part = arms.n1 / np.maximum(arms.n1 + arms.n0, 1e-12)
    squared, variance = (arms.x1 - errors * part) ** 2, errors * part * (1 - part)
    if not trim:
        return squared.sum(1) / np.maximum(variance.sum(1), NEVER)
    relative = squared / np.maximum(variance, NEVER)
    kept = relative <= np.quantile(relative, 1 - trim, axis=1)[:, None]
    cut = chi2.ppf(1 - trim, 1)
    expected = chi2.cdf(cut, 3) / (1 - trim)  # the mean of a chi-square below its 1 − trim quantile
    return (squared * kept).sum(1) / np.maximum((variance * kept).sum(1), NEVER) / expected


def _studentised(arms: Arms, weight: Array | float) -> Array:
    n1, errors = arms.n1 * weight, arms.x1 + arms.x0
    part = n1 / np.maximum(n1 + arms.n0, 1e-12)
    spread = np.sqrt(np.maximum(errors * part * (1 - part), NEVER))
    return (arms.x1 - errors * part) / spread * (errors > 0)


def _known_rate(history: Arms, after: Arms) -> Array:
    upper = _upper(history.x1.sum(1))[:, None] / history.n1.sum(1)[:, None]
    return mean(*(np.cumsum(after.x1 * math.log(r) - upper * after.n1 * (r - 1), 1) for r in GRID))


def _last_hour(before: Arms, after: Arms) -> Array:
    upper = (_upper(before.x1[:, -60:].sum(1)) / before.n1[:, -60:].sum(1))[:, None]
    won = (after.x1 * math.log(r) - upper * after.n1 * (r - 1) for r in GRID)
    return mean(*(np.cumsum(np.minimum(each, math.log(CAP)), 1) for each in won))


def _upper(events: Array) -> Array:
    """Two standard deviations above a count."""
    return events + 2 * np.sqrt(events + 1) + 1


def _level(day: Arms) -> Array:
    """The candidate's rate over the baseline's, of a whole day."""
    return ((day.x1.sum(1) / day.n1.sum(1)) / (day.x0.sum(1) / day.n0.sum(1)))[:, None]


def _by_time_of_day(day2: Arms, day1: Arms) -> tuple[Array, Array]:
    """The usual ratio at each minute of the day, and a margin: how far yesterday's hours strayed from it."""
    earlier = _shape(day2)
    hours = Arms(day1.x1, day1.n1 * earlier, day1.x0, day1.n0).blocks(60)
    strayed = np.log((hours.x1 + 0.5) / (hours.n1 + NEVER)) - np.log((hours.x0 + 0.5) / hours.n0)
    counting = (1 / (hours.x1 + 0.5) + 1 / (hours.x0 + 0.5)).mean(1)
    margin = np.exp(np.sqrt(np.maximum((strayed**2).mean(1) - counting, 0.0)))[:, None]
    return np.sqrt(earlier * _shape(day1)), np.maximum(margin, 1.1)


def _shape(day: Arms) -> Array:
    """The ratio within an hour of each minute, drawn towards that of the whole day where errors are few."""
    x1, n1, x0, n0 = (_within_an_hour(each) for each in day.each())
    rate1, rate0 = day.x1.sum(1) / day.n1.sum(1), day.x0.sum(1) / day.n0.sum(1)
    rate1, rate0, few = rate1[:, None], rate0[:, None], 200.0
    return rate1 / rate0 * ((x1 + few) / (n1 * rate1 + few)) / ((x0 + few) / (n0 * rate0 + few))


def _within_an_hour(day: Array) -> Array:
    """Sums over the 120 minutes around each; the day is a circle."""
    wrapped = np.concatenate([day[:, -60:], day, day[:, :60]], axis=1)
    so_far = np.pad(np.cumsum(wrapped, 1), ((0, 0), (1, 0)))
    return so_far[:, 120:-1] - so_far[:, : day.shape[1]]
