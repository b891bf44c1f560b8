"""How a policy did on labelled releases: a rollback is positive, in a second count a hold or a page too."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rollout.offline.backtest import Result
from rollout.offline.trial import Trial

CONFIDENCE = 0.95  # of upper bounds
HALVINGS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Right and wrong decisions, with the ratios that are made of them; None where nothing divides."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        """The part of what was acted on that was harmful."""
        return _part(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """The part of what was harmful that was acted on."""
        return _part(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both."""
        wrong = self.false_positives + self.false_negatives
        return _part(2 * self.true_positives, 2 * self.true_positives + wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Figures over all releases. Bounds are one-sided 95 % upper bounds; delays are from harm to rollback.

    `false_days` are false rollbacks a day of judging a harmless release.
    """

    releases: int
    labelled: int
    not_judged: int
    outcomes: dict[str, int]
    rollback: Count
    rollback_or_hold: Count
    false_per_hundred: float | None
    false_per_hundred_at_most: float | None
    good_days: float
    false_days: float | None
    false_days_at_most: float | None
    held: int
    held_good: int
    median_delay_s: float | None


def score(results: Sequence[Result]) -> Score:
    """Count. Releases without a label say only what would have been done."""
    judged = [(result, result.trial) for result in results if result.trial is not None]
    good = [trial for result, trial in judged if result.release.bad is False]
    bad = [trial for result, trial in judged if result.release.bad]
    false = sum(_rolled_back(trial) for trial in good)
    days = sum(trial.days for trial in good)
    delays = [t.delay_s for t in bad if _rolled_back(t) and t.delay_s is not None]
    outcomes = [trial.outcome for _, trial in judged]
    return Score(
        releases=len(results),
        labelled=len(good) + len(bad),
        not_judged=len(results) - len(judged),
        outcomes={name: outcomes.count(name) for name in ("rolled_back", "held", "promoted", "unfinished")},
        rollback=_count(good, bad, _rolled_back),
        rollback_or_hold=_count(good, bad, _acted),
        false_per_hundred=100 * false / len(good) if good else None,
        false_per_hundred_at_most=100 * most_of(false, len(good)) if good else None,
        good_days=days,
        false_days=false / days if days else None,
        false_days_at_most=most_at(false) / days if days else None,
        held=outcomes.count("held"),
        held_good=sum(trial.outcome == "held" for trial in good),
        median_delay_s=median(delays) if delays else None,
    )


def most_of(seen: int, tries: int) -> float:
    """The largest probability under which `seen` or fewer of `tries` still has 5 % (Clopper and Pearson)."""
    if seen >= tries:
        return 1.0
    return _largest(lambda p: _binomial(seen, tries, p), 1.0)


def most_at(seen: int) -> float:
    """The largest mean under which `seen` or fewer events still have 5 % (Garwood)."""
    return _largest(lambda mean: _poisson(seen, mean), 10.0 + 3 * seen)


def _largest(chance: Callable[[float], float], high: float) -> float:
    """Where a falling chance crosses 5 %."""
    low = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if chance(middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _binomial(most: int, tries: int, p: float) -> float:
    """P(X <= most)."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    return sum(
        math.exp(_choose(tries, k) + k * math.log(p) + (tries - k) * math.log1p(-p)) for k in range(most + 1)
    )


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _poisson(most: int, mean: float) -> float:
    """P(X <= most)."""
    if mean <= 0:
        return 1.0
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))


def _count(good: Sequence[Trial], bad: Sequence[Trial], positive: Callable[[Trial], bool]) -> Count:
    right, wrong = sum(map(positive, bad)), sum(map(positive, good))
    return Count(
        true_positives=right,
        false_positives=wrong,
        false_negatives=len(bad) - right,
        true_negatives=len(good) - wrong,
    )


def _rolled_back(trial: Trial) -> bool:
    return trial.outcome == "rolled_back"


def _acted(trial: Trial) -> bool:
    return trial.paged


def _part(some: int, whole: int) -> float | None:
    return some / whole if whole else None
