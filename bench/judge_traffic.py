"""Synthetic traffic of a region, minute by minute, with a history and a day after the deploy.

What happens to the error rate here is made, not learned from anywhere: drift that both arms share, noise of
one arm alone, incidents. Nothing in here may be read by the judge.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

Array = np.ndarray
DAY = 1440  # minutes
NOISES = ("clean", "noisy", "bursty")
HEAVY = ("lognormal", "arm-drift", "slow-instance", "zero-inflated", "gaps")
RESTARTS_PER_HOUR = 0.02  # of one instance
REGION_RPM = (600, 1200, 3000)  # of the candidate's region and of its two peers
MOST = 0.9  # no error rate is higher


@dataclass(frozen=True)
class Arms:
    """Events and exposure of both arms, [runs, minutes]: x1, n1 of the candidate, x0, n0 of the baseline."""

    x1: Array
    n1: Array
    x0: Array
    n0: Array

    def minutes(self, first: int, last: int) -> "Arms":
        """A part in time."""
        return Arms(*(each[:, first:last] for each in self.each()))

    def runs(self, count: int) -> "Arms":
        """The first runs only."""
        return Arms(*(each[:count] for each in self.each()))

    def blocks(self, minutes: int) -> "Arms":
        """Sums over whole blocks; what is left at the end is dropped."""
        return Arms(*(block_sums(each, minutes) for each in self.each()))

    @staticmethod
    def together(parts: Sequence["Arms"]) -> "Arms":
        """Runs of several, behind each other."""
        return Arms(*(np.concatenate(each) for each in zip(*(one.each() for one in parts), strict=True)))

    def each(self) -> tuple[Array, Array, Array, Array]:
        """The four arrays, x1, n1, x0, n0."""
        return self.x1, self.n1, self.x0, self.n0


@dataclass(frozen=True)
class Series:
    """One region: events x and exposure n, [runs, minutes]."""

    x: Array
    n: Array

    @staticmethod
    def together(parts: Sequence["Series"]) -> "Series":
        """Runs of several, behind each other."""
        return Series(np.concatenate([one.x for one in parts]), np.concatenate([one.n for one in parts]))


@dataclass(frozen=True)
class Traffic:
    """What a judge is given; `base` is the true event rate of each run before any rise, for the floors."""

    history: Arms
    after: Arms
    base: Array


@dataclass(frozen=True)
class Weather:
    """What multiplies the error rate of both arms and of each alone, and the load; [runs, minutes]."""

    shared: Array
    load: Array
    candidate: Array
    baseline: Array


def beside(
    rng: np.random.Generator,
    runs: int,
    *,
    rpm: float,
    noise: str = "clean",
    lift: float = 1.0,
    share: float = 0.5,
    history: int = DAY,
    after: int = DAY,
) -> Traffic:
    """Errors of two arms in one region; `lift` multiplies those of the candidate from the deploy on.

    Both arms together get 2 × `rpm` requests a minute, the candidate `share` of them, before the deploy too:
    these are the same slices with the same release.
    """
    minutes = history + after
    base = 10 ** rng.uniform(-3, -2, (runs, 1))
    weather = WEATHERS[noise](rng, runs, minutes)
    load = rpm * _day(rng, runs, minutes, 0.6) * weather.load
    rise = np.where(np.arange(minutes) >= history, lift, 1.0)
    n1, n0 = rng.poisson(2 * share * load), rng.poisson(2 * (1 - share) * load)
    x1 = _errors(rng, n1, base * weather.shared * weather.candidate * rise)
    x0 = _errors(rng, n0, base * weather.shared * weather.baseline)
    whole = Arms(*(each.astype(float) for each in (x1, n1, x0, n0)))
    if noise == "gaps":
        whole = _with_gaps(rng, whole)
    return Traffic(whole.minutes(0, history), whole.minutes(history, minutes), base[:, 0])


def restarts(
    rng: np.random.Generator, runs: int, *, instances: int, lift: float = 1.0, days: int = 7
) -> Traffic:
    """Restarts on instance-hours; the baseline has twice the instances; a week of history."""
    minutes = (days + 1) * DAY
    n1 = np.full((runs, minutes), instances / 60)
    n0 = 2 * n1
    rise = np.where(np.arange(minutes) >= days * DAY, lift, 1.0)
    x1 = rng.poisson(RESTARTS_PER_HOUR * n1 * rise).astype(float)
    x0 = rng.poisson(RESTARTS_PER_HOUR * n0).astype(float)
    whole = Arms(x1, n1, x0, n0)
    return Traffic(
        whole.minutes(0, days * DAY),
        whole.minutes(days * DAY, minutes),
        np.full(runs, RESTARTS_PER_HOUR),
    )


def regions(rng: np.random.Generator, runs: int, *, lift: float = 1.0, days: int = 2) -> tuple[Series, ...]:
    """A whole region and its two peers: `days` of history and a day in which the first one has `lift`.

    They share drift and incidents; each has drift and a daily shape of its own, at a level of its own.
    """
    minutes = (days + 1) * DAY
    shared = drift(rng, runs, minutes, 0.4, 0.995) * bursts(rng, runs, minutes, 4, 8)
    rise = np.where(np.arange(minutes) >= days * DAY, lift, 1.0)
    found = []
    for place, rpm in enumerate(REGION_RPM):
        rate = 10 ** rng.uniform(-2.7, -2.1, (runs, 1)) * shared * drift(rng, runs, minutes, 0.15, 0.99)
        rate = rate * np.exp(0.25 * (_day(rng, runs, minutes, 1.0) - 1)) * rng.gamma(4, 0.25, (runs, minutes))
        n = rng.poisson(rpm * _day(rng, runs, minutes, 0.6))
        x = _errors(rng, n, rate * rise if place == 0 else rate)
        found.append(Series(x.astype(float), n.astype(float)))
    return tuple(found)


def against(own: Series, peers: tuple[Series, ...]) -> Arms:
    """A region as candidate, all its peers together as baseline."""
    return Arms(own.x, own.n, np.sum([one.x for one in peers], 0), np.sum([one.n for one in peers], 0))


def drift(rng: np.random.Generator, runs: int, minutes: int, sd: float, kept: float) -> Array:
    """A wandering factor: its log has the deviation `sd`, and `kept` of it goes on to the next minute."""
    steps = rng.normal(0, sd * math.sqrt(1 - kept * kept), (runs, minutes))
    steps[:, 0] = rng.normal(0, sd, runs)
    return np.exp(lfilter([1.0], [1.0, -kept], steps, axis=1))


def bursts(rng: np.random.Generator, runs: int, minutes: int, per_day: float, length: float) -> Array:
    """Incidents: `per_day` of them, of `length` minutes on average, that multiply the rate by 3 to 10."""
    found = np.ones((runs, minutes))
    for row, count in zip(found, rng.poisson(per_day * minutes / DAY, runs), strict=True):
        for _ in range(count):
            begins, lasts = rng.integers(minutes), 1 + rng.geometric(1 / length)
            row[begins : begins + lasts] *= rng.uniform(3, 10)
    return found


def block_sums(values: Array, minutes: int) -> Array:
    """Sums over whole blocks of `minutes`, along the last axis."""
    blocks = values.shape[-1] // minutes
    return values[..., : blocks * minutes].reshape(*values.shape[:-1], blocks, minutes).sum(-1)


def _day(rng: np.random.Generator, runs: int, minutes: int, depth: float) -> Array:
    """1 on average, up and down by `depth` over the day; each run begins at another time of day."""
    return 1 + depth * np.sin(2 * np.pi * np.arange(minutes) / DAY + rng.uniform(0, 2 * np.pi, (runs, 1)))


def _errors(rng: np.random.Generator, requests: Array, rate: Array) -> Array:
    return rng.binomial(requests, np.minimum(rate, MOST))


def _clean(_rng: np.random.Generator, runs: int, minutes: int) -> Weather:
    calm = np.ones((runs, minutes))
    return Weather(calm, calm, calm, calm)


def _stormy(one_arm: Callable[[np.random.Generator, int, int], Array]) -> Callable[..., Weather]:
    """Drift that both arms share, restless load, and `one_arm` drawn for each arm alone."""

    def weather(rng: np.random.Generator, runs: int, minutes: int) -> Weather:
        return Weather(
            drift(rng, runs, minutes, 0.3, 0.98),
            rng.lognormal(0, 0.1, (runs, minutes)),
            one_arm(rng, runs, minutes),
            one_arm(rng, runs, minutes),
        )

    return weather


def _gamma(rng: np.random.Generator, runs: int, minutes: int) -> Array:
    """Independent minutes with a coefficient of variation of 0.5."""
    return rng.gamma(4, 0.25, (runs, minutes))


def _lognormal(rng: np.random.Generator, runs: int, minutes: int) -> Array:
    """Independent minutes with mean 1 and a coefficient of variation of 1."""
    return rng.lognormal(-math.log(2) / 2, math.sqrt(math.log(2)), (runs, minutes))


def _arm_drift(rng: np.random.Generator, runs: int, minutes: int) -> Array:
    """Noise of one arm that lasts: half of it is still there after seven minutes."""
    return drift(rng, runs, minutes, 0.3, 0.9)


def _slow_instance(rng: np.random.Generator, runs: int, minutes: int) -> Array:
    """One of ten instances wanders off for hours, on top of independent minutes."""
    return _gamma(rng, runs, minutes) * (0.9 + 0.1 * drift(rng, runs, minutes, 0.7, 0.995))


def _zero_inflated(rng: np.random.Generator, runs: int, minutes: int) -> Array:
    """All errors fall in three of ten minutes."""
    return (rng.random((runs, minutes)) < 0.3) / 0.3


def _bursty(rng: np.random.Generator, runs: int, minutes: int) -> Weather:
    """Noisy, with incidents of both arms and a few of one arm alone."""
    calm = WEATHERS["noisy"](rng, runs, minutes)
    return Weather(
        calm.shared * bursts(rng, runs, minutes, 4, 8),
        calm.load,
        calm.candidate * bursts(rng, runs, minutes, 0.5, 4),
        calm.baseline * bursts(rng, runs, minutes, 0.5, 4),
    )


def _with_gaps(rng: np.random.Generator, arms: Arms) -> Arms:
    """One minute in ten of each arm was never reported: no events and no exposure."""
    there1, there0 = (rng.random(arms.n1.shape) >= 0.1 for _ in range(2))
    return Arms(arms.x1 * there1, arms.n1 * there1, arms.x0 * there0, arms.n0 * there0)


WEATHERS: dict[str, Callable[[np.random.Generator, int, int], Weather]] = {
    "clean": _clean,
    "noisy": _stormy(_gamma),
    "bursty": _bursty,
    "lognormal": _stormy(_lognormal),
    "arm-drift": _stormy(_arm_drift),
    "slow-instance": _stormy(_slow_instance),
    "zero-inflated": _stormy(_zero_inflated),
    "gaps": _stormy(_gamma),
}
