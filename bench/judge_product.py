"""The product's own judge over many runs at once, in the shape of the measurements.

Calibration, terms and steps are the product's. What is added here is what stands around them for a release of
one check in one region: its weight beside the check of gaps, the threshold of the budget, rows from minutes.
"""

from collections.abc import Sequence

import numpy as np

from bench.judge_anchors import first
from bench.judge_outcome import Outcome
from bench.judge_traffic import DAY, Arms, Array, Series
from rollout.core.judge import combine, forecasts, streams
from rollout.core.judge.baseline import at_hours, hours_of_day
from rollout.core.judge.past import Past
from rollout.core.judge.samples import COUNTS
from rollout.core.judge.sequential import WIDTH, Terms, Test
from rollout.core.judge.state import CheckState, load_terms
from rollout.core.signals import BaselineKind, SignalKind

BUDGET = 0.01
THRESHOLD = float(np.log(1 / (BUDGET * combine.SEQUENTIAL)))  # nats
BLOCK = 60.0  # seconds
REGION, PEERS = "R3", ("R1", "R2")
PEER_TESTS = (Test("split", False, 0.8), Test("sign", False, 0.2))
HISTORY_TESTS = (Test("forecast", False, 1.0),)

MONDAY = 4 * DAY  # blocks from the epoch: two days of history and the day after are all weekdays


class Product:
    """See Judge."""

    def beside(self, kind: SignalKind, history: Arms, after: Arms, tolerance: float) -> Outcome:
        """Rates know the week of the candidate's own instances, as the anchors do."""
        horizon, rows = after.n1.shape[1], streams.Arms(*after.each()).rows()
        if kind is SignalKind.RATE:
            known = history.x1.sum(1), history.n1.sum(1)
            terms = streams.rates_beside(known, tolerance=tolerance, horizon=horizon)
            return _outcome(streams.replay_streams(terms, rows, say_needs=True))
        terms, pool = streams.beside(streams.Arms(*history.each()), tolerance=tolerance, horizon=horizon)
        return _outcome(streams.replay_streams(terms, rows, pool, say_needs=True))

    def region(self, baseline: BaselineKind, series: Sequence[Series], tolerance: float) -> Outcome:
        """Each run learns its own forecast from the days before the last."""
        peers = PEERS if baseline is BaselineKind.PEERS else ()
        tests = PEER_TESTS if peers else HISTORY_TESTS
        asked = Terms(tests=tests, lift=tolerance, horizon=DAY)
        learned = [_learned(run, series, peers, asked) for run in range(len(series[0].x))]
        rows = np.stack([_rows(run, series, peers, state) for run, state in enumerate(learned)])
        terms = streams.stacked([load_terms(state.terms) for state in learned])
        return _outcome(
            streams.replay_streams(terms, rows, np.array([state.running["pool"] for state in learned])),
            discount=np.array([[state.discount] for state in learned]),
            doubt=np.array([[state.doubt] for state in learned]),
        )


def _outcome(paths: streams.Paths, discount: Array | float = 0.0, doubt: Array | float = 0.0) -> Outcome:
    return Outcome(
        failed=first(_release(paths.log_e - discount) >= THRESHOLD),
        suspected=first(_release(paths.log_e - doubt) >= THRESHOLD),
        passed=first(paths.passed),
        needs=paths.needs,
    )


def _release(log_e: Array) -> Array:
    """Evidence of the whole release: the check of gaps has its part, and says nothing here."""
    rest = combine.GAPS_WEIGHT
    return np.logaddexp(log_e + np.log(1 - rest), np.log(rest))


def _learned(run: int, series: Sequence[Series], peers: Sequence[str], asked: Terms) -> CheckState:
    cells = {
        (name, "before"): {
            block: [events, exposure]
            for block, (events, exposure) in enumerate(
                zip(one.x[run, :-DAY].tolist(), one.n[run, :-DAY].tolist(), strict=True),
                start=MONDAY,
            )
        }
        for name, one in zip((REGION, *peers), series, strict=False)
    }
    state = CheckState()
    past = Past(region=REGION, zone="UTC", length=BLOCK, family=COUNTS, cells=cells)
    forecasts.learn(state, past, peers, asked)
    return state


def _rows(run: int, series: Sequence[Series], peers: Sequence[str], state: CheckState) -> Array:
    """The day after the deploy as the sequential tests take it, peers scaled by time of day."""
    length = series[0].x.shape[1]
    hours = hours_of_day((np.arange(length - DAY, length) + 1) * BLOCK, "UTC")
    rows = np.zeros((DAY, WIDTH))
    rows[:, 0], rows[:, 1] = series[0].x[run, -DAY:], series[0].n[run, -DAY:]
    for name, one in zip(peers, series[1:], strict=False):
        rows[:, 2] += one.x[run, -DAY:]
        rows[:, 3] += one.n[run, -DAY:] / at_hours(state.profiles[name], hours)
    if not peers:
        rows[:, 3] = rows[:, 1]
        rows[:, 2] = rows[:, 4] = rows[:, 1] * at_hours(state.profiles["history"], hours)
    return rows
