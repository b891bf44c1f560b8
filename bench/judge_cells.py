"""The measurements: each makes traffic for cells, lets every judge see the same of it, and notes each run.

Cells that differ in their last axis only are judged together, in one batch. What must not live here: what a
figure should be, and how it is shown.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from bench import judge_anchors as anchors
from bench import judge_references as references
from bench.judge_numbers import ratio_floor, restart_floor
from bench.judge_outcome import Judge, Outcome
from bench.judge_traffic import RESTARTS_PER_HOUR, Arms, Array, Series, Traffic, beside, regions, restarts
from rollout.core.signals import BaselineKind, SignalKind

Cell = dict[str, Any]
Notes = dict[str, dict[str, Array]]  # judge → figure → one entry for each run

RPM = (60, 600, 6000)  # of each arm when the shares are equal
SHARES = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)  # the candidate's
TOLERANCES = (1.5, 2.0)
LIFTS = (1.2, 1.5, 2.0, 5.0)
REGION_LIFTS = (1.0, *LIFTS)
INSTANCES = (10, 50, 200)
RESTART_LIFTS = (1.0, 2.0, 5.0, 20.0)
PLACEBO_DAYS = (2, 7, 14, 28)
CHECKPOINTS = (5, 15, 30, 60, 120, 240, 480)  # minutes after the deploy
PRODUCT = "product"


Chances = Sequence[np.random.Generator]  # one for each cell
Work = Callable[[Chances, Sequence[Cell], int, int, Judge], list[Notes]]


@dataclass(frozen=True)
class Measurement:
    """A named experiment: the axes of its cells, and what is done in those that differ in the last axis only.

    `work` takes the runs to make of each cell and on how many of them slow anchors (Kayenta) look. `full` and
    `quick` are the runs of a cell, `at_once` how many of them are held in memory. `by_noise` adds the kinds
    of noise as the first axis.
    """

    name: str
    title: str
    work: Work
    axes: Mapping[str, tuple[Any, ...]]
    by_noise: bool
    full: int
    quick: int
    at_once: int = 100

    def groups(self, noises: tuple[str, ...]) -> list[list[Cell]]:
        """Every combination, the last axis fastest, in lists along the last axis."""
        axes = {"noise": noises, **self.axes} if self.by_noise else self.axes
        cells = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
        last = len(list(axes.values())[-1])
        return [cells[first : first + last] for first in range(0, len(cells), last)]


def unchanged(chances: Chances, cells: Sequence[Cell], runs: int, slow: int, judge: Judge) -> list[Notes]:
    """Nothing changed: who rolls back, who passes and when, and whether the said need was right."""
    traffic = [_beside(*each, runs) for each in zip(chances, cells, strict=True)]
    return [
        {PRODUCT: _times(found) | needed_over_said(found, seen.after.n1), **_ratio_anchors(seen, slow)}
        for seen, found in _judged(judge, SignalKind.RATIO, traffic, 2.0)
    ]


def wrong_passes(chances: Chances, cells: Sequence[Cell], runs: int, slow: int, judge: Judge) -> list[Notes]:
    """Harm just as great as the tolerance: who passes. An anchor passes if it did not fail at its end."""
    traffic = [_beside(*each, runs) for each in zip(chances, cells, strict=True)]
    return [
        {
            PRODUCT: _times(found),
            "kayenta doc": _passed(anchors.kayenta(seen.after.runs(slow), anchors.AS_DOCUMENTED), 180),
            "z 60": _passed(anchors.z_test(seen.after, [60]), 60),
        }
        for seen, found in _judged(judge, SignalKind.RATIO, traffic, cells[0]["lift"])
    ]


def delays(chances: Chances, cells: Sequence[Cell], runs: int, slow: int, judge: Judge) -> list[Notes]:
    """Harm from the deploy on, equal shares: how long each takes, beside the floor."""
    traffic = [_beside(*each, runs) for each in zip(chances, cells, strict=True)]
    return [
        {
            PRODUCT: _times(found),
            "floor": {"minutes": ratio_floor(seen.base, cell["lift"], cell["rpm"])},
            **_ratio_anchors(seen, slow),
        }
        for cell, (seen, found) in zip(cells, _judged(judge, SignalKind.RATIO, traffic, 2.0), strict=True)
    ]


def restart_rises(chances: Chances, cells: Sequence[Cell], runs: int, slow: int, judge: Judge) -> list[Notes]:
    """Restarts per instance-hour beside twice the instances, with a week of history."""
    traffic = [restarts(chance, runs, **cell) for chance, cell in zip(chances, cells, strict=True)]
    return [
        {
            PRODUCT: _times(found),
            "floor": {"minutes": np.full(runs, _restart_floor(**cell))},
            **_restart_anchors(seen, slow),
        }
        for cell, (seen, found) in zip(cells, _judged(judge, SignalKind.RATE, traffic, 5.0), strict=True)
    ]


def whole_regions(
    chances: Chances, cells: Sequence[Cell], runs: int, _slow: int, judge: Judge
) -> list[Notes]:
    """The candidate is a whole region; its peers do not have the release."""
    made = [regions(chance, runs, **cell) for chance, cell in zip(chances, cells, strict=True)]
    together = [Series.together(each) for each in zip(*made, strict=True)]
    found = judge.region(BaselineKind.PEERS, together, 2.0).split(len(cells))
    return [
        {PRODUCT: _times(said), **_failures(references.by_region(series))}
        for series, said in zip(made, found, strict=True)
    ]


def placebos(chances: Chances, cells: Sequence[Cell], runs: int, _slow: int, judge: Judge) -> list[Notes]:
    """No release at all, after more or less history: what a calibrated baseline claims, and what it does."""
    return [
        {PRODUCT: _times(judge.region(cell["baseline"], regions(chance, runs, days=cell["days"]), 2.0))}
        for chance, cell in zip(chances, cells, strict=True)
    ]


def needed_over_said(found: Outcome, requests: Array) -> dict[str, Array]:
    """The exposure that a pass really took over the one that was said, [runs, checkpoints].

    `rest` counts from the checkpoint, `whole` from the deploy. nan where the run was over by then, where
    nothing was said, or where the day ended before twice as much; inf where that was exceeded without a pass.
    `silent` is 1 where the run was undecided and nothing was said, 0 where something was, nan otherwise.
    """
    so_far = np.cumsum(requests, 1)
    minutes = np.array([each for each in CHECKPOINTS if each <= so_far.shape[1]])
    last = np.minimum(found.passed, so_far.shape[1]).astype(int) - 1
    at_end = np.take_along_axis(so_far, last[:, None], 1)
    seen, said = so_far[:, minutes - 1], found.needs[:, minutes - 1]
    under_way = (found.passed[:, None] > minutes) & (found.failed[:, None] > minutes)
    told = under_way & (said > 0)
    came = np.isfinite(found.passed)[:, None]
    return {
        "rest": _over(at_end - seen, said, came, told),
        "whole": _over(at_end, seen + said, came, told),
        "silent": np.where(under_way, 1.0 - told, np.nan),
    }


def _over(really: Array, said: Array, came: Array, told: Array) -> Array:
    with np.errstate(all="ignore"):
        ratio = np.where(came, really / said, np.where(really > 2 * said, np.inf, np.nan))
    return np.where(told, ratio, np.nan)


def _beside(chance: np.random.Generator, cell: Cell, runs: int) -> Traffic:
    return beside(chance, runs, **cell)


def _judged(
    judge: Judge, kind: SignalKind, traffic: Sequence[Traffic], tolerance: float
) -> Iterable[tuple[Traffic, Outcome]]:
    """All in one batch."""
    history, after = (Arms.together([getattr(one, part) for one in traffic]) for part in ("history", "after"))
    return zip(traffic, judge.beside(kind, history, after, tolerance).split(len(traffic)), strict=True)


def _times(found: Outcome) -> dict[str, Array]:
    return {"failed": found.failed, "suspected": found.suspected, "passed": found.passed}


def _failures(found: Mapping[str, Array]) -> Notes:
    return {name: {"failed": minutes} for name, minutes in found.items()}


def _passed(failed: Array, at: float) -> dict[str, Array]:
    return {"passed": np.where(np.isinf(failed), at, np.inf)}


def _ratio_anchors(seen: Traffic, slow: int) -> Notes:
    after, few = seen.after, seen.after.runs(slow)
    return _failures(
        {
            "kayenta": anchors.kayenta(few),
            "kayenta doc": anchors.kayenta(few, anchors.AS_DOCUMENTED),
            "flagger": anchors.flagger(after),
            "argo 95": anchors.argo(after, 0.95, 5, 3),
            "argo 99": anchors.argo(after, 0.99, 1, 3),
            "z peek": anchors.z_test(after),
            "z 60": anchors.z_test(after, [60]),
            "reference": references.reference(seen.history, after),
            "e plain": references.plain_mixture(after),
            "e tempered": references.tempered_mixture(seen.history, after),
        }
    )


def _restart_anchors(seen: Traffic, slow: int) -> Notes:
    return _failures(
        {
            "kayenta": anchors.kayenta(seen.after.runs(slow), anchors.EVERY_MINUTE[40::5]),
            "> 3 in 60 min": anchors.restart_threshold(seen.after),
            "own week": references.own_week_rate(seen.history, seen.after),
            "two-sample": references.two_sample_rate(seen.after),
            "reference": references.rate_reference(seen.history, seen.after),
        }
    )


def _restart_floor(instances: int, lift: float) -> float:
    return restart_floor(RESTARTS_PER_HOUR, lift, instances) if lift > 1 else np.nan


MEASUREMENTS = (
    Measurement(
        "unchanged",
        "nothing changed, 24 h, a look every minute",
        unchanged,
        {"rpm": RPM, "share": SHARES},
        by_noise=True,
        full=1000,
        quick=20,
    ),
    Measurement(
        "wrong-passes",
        "harm equal to the tolerance, 24 h",
        wrong_passes,
        {"rpm": RPM, "lift": TOLERANCES, "share": SHARES},
        by_noise=True,
        full=1000,
        quick=16,
    ),
    Measurement(
        "delays",
        "harm from the deploy on, equal shares",
        delays,
        {"rpm": RPM, "lift": LIFTS},
        by_noise=True,
        full=1000,
        quick=40,
    ),
    Measurement(
        "restarts",
        "restarts, 0.02 per instance-hour",
        restart_rises,
        {"instances": INSTANCES, "lift": RESTART_LIFTS},
        by_noise=False,
        full=1000,
        quick=40,
        at_once=50,
    ),
    Measurement(
        "regions",
        "a whole region against its peers",
        whole_regions,
        {"days": (2, 14), "lift": REGION_LIFTS},
        by_noise=False,
        full=400,
        quick=6,
        at_once=5,
    ),
    Measurement(
        "placebo",
        "no release, by days of history",
        placebos,
        {"baseline": (BaselineKind.PEERS, BaselineKind.HISTORY), "days": PLACEBO_DAYS},
        by_noise=False,
        full=300,
        quick=4,
        at_once=4,
    ),
)
