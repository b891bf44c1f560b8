"""What a candidate is compared with where no instance of the version before runs beside it.

Peers: regions that are not upgraded yet, as a ratio to this one by time of day (difference in differences).
History: the region's own past at the same time of day. Both are forecasts learned from history, with a
margin for how far they were off when nothing was released, on days that they had not seen.

A profile holds one number for each hour of the region's own day, daylight saving included, and is read with
linear interpolation, so it does not jump on the hour. It is of constant size.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from rollout.core.judge.mixture import Floats

HOURS = 24
DAY = 86400.0
SHRINK = 20.0  # events by which an hour's own ratio is drawn towards that of the whole day
LEAST_MARGIN = 1.1  # of a ratio: a tenth is no harm between regions
RECENT = 6 * 3600.0  # seconds before a release that say how high today is


def hours_of_day(times: Floats, zone: str) -> Floats:
    """Hour of the day, with its fraction, in the zone's own time, of epoch seconds."""
    where = ZoneInfo(zone)
    stamps = np.asarray(times, dtype=np.float64)
    quarter = np.floor(stamps / 900.0).astype(np.int64)  # no zone changes its offset inside a quarter hour
    known: dict[int, float] = {}
    for each in np.unique(quarter).tolist():
        local = datetime.fromtimestamp(each * 900.0, UTC).astimezone(where)
        known[each] = local.hour + local.minute / 60
    base = np.array([known[each] for each in quarter.tolist()])
    found: Floats = base + (stamps - quarter * 900.0) / 3600.0
    return found


def is_weekend(times: Floats, zone: ZoneInfo) -> list[bool]:
    """Whether epoch seconds fall on a Saturday or Sunday of the zone."""
    noon = 43200.0  # the day is told from its middle; hours near midnight do not matter
    halves = times // noon * noon
    days = {each: datetime.fromtimestamp(each, UTC).astimezone(zone) for each in np.unique(halves).tolist()}
    return [days[each].weekday() >= 5 for each in halves.tolist()]


def at_hours(profile: Sequence[float] | Floats, hours: Floats) -> Floats:
    """The profile, interpolated between the middles of its hours, around midnight too."""
    values = np.asarray(profile, dtype=np.float64)
    around = np.concatenate([values[-1:], values, values[:1]])
    found: Floats = np.interp(hours, np.arange(-0.5, HOURS + 1.0), around)
    return found


def rate_profile(hours: Floats, events: Floats, exposure: Floats) -> Floats:
    """Events per exposure by hour of day: of three hours around each, drawn towards the whole where few."""
    bins = np.minimum(hours.astype(np.int64), HOURS - 1)
    x = _around(np.bincount(bins, events, HOURS).astype(np.float64))
    n = _around(np.bincount(bins, exposure, HOURS).astype(np.float64))
    whole = (events.sum() + 0.5) / max(float(exposure.sum()), 1e-300)
    profile: Floats = (x + SHRINK * 1.0) / (n + SHRINK / whole)
    return profile


def level_profile(hours: Floats, levels: Floats) -> Floats:
    """The median level by hour of day, less the median of all; hours without a sample are like the whole."""
    bins = np.minimum(hours.astype(np.int64), HOURS - 1)
    middle = float(np.median(levels))
    near = [np.isin(bins, [(hour - 1) % HOURS, hour, (hour + 1) % HOURS]) for hour in range(HOURS)]
    return np.array([float(np.median(levels[mask])) - middle if mask.any() else 0.0 for mask in near])


def ratio_margin(error: float) -> float:
    """The drift of a ratio that is no harm, from the standard deviation of its hourly logs: 1.1 at least."""
    return max(LEAST_MARGIN, math.exp(error))


def _around(values: Floats) -> Floats:
    summed: Floats = np.roll(values, 1) + values + np.roll(values, -1)
    return summed
