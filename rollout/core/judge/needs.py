"""How much more an undecided check is expected to need before it can pass, when nothing changed."""

import math

import numpy as np

from rollout.core.judge.counts import tempering
from rollout.core.judge.detect import rule_out_information
from rollout.core.judge.samples import LEVELS
from rollout.core.judge.state import CheckState
from rollout.core.plan import Plan
from rollout.core.policy import CheckSpec
from rollout.core.signals import BaselineKind, SignalKind

SPOTLESS = 30_000
"""Requests without one failure that are a pass by themselves: less than 1 in 10,000 fail (at 95 %), and so
few are no harm, whatever the baseline shows."""
UNSEEN = 3.0  # events that a rate may still hide when none was seen (95 %)
UNITS = {SignalKind.RATE: "candidate instance-hours"}
MEDIAN = 0.75
"""The way up is a random walk, whose time of arrival is skewed (inverse Gaussian): half arrive in three
quarters of the mean. Even so about a third arrive before half of what is said, or after twice as much."""
ONE_BET = math.log(2)  # nats that one comparison of levels may be worth


def needs(plan: Plan, check: CheckSpec, kind: SignalKind, state: CheckState, enough: float) -> str:
    """In words: exposure and time at the pace of this bake."""
    if state.family == LEVELS:
        return _of_levels(plan, check, state, enough)
    _, n1, _, n0 = state.bake
    if n1 <= 0 or n0 <= 0:
        return "first judged intervals of the candidate and of what it is compared with"
    more = exposure(plan, kind, state, enough)
    if more is None:
        return "more of the baseline beside it: there is next to nothing to compare with"
    if more <= 0:
        return "the next judged block"
    seen_none = state.totals[2] + state.terms["known"][0] < 1
    unit = UNITS.get(kind, "candidate requests")
    words = f"{'more than' if seen_none else 'about'} {rounded(more)} more {unit}"
    if state.judged_s > 0:
        words += f", {minutes(more * state.judged_s / n1)} at the present pace"
    return words + (" (the baseline shows none yet)" if seen_none else "")


def exposure(plan: Plan, kind: SignalKind, state: CheckState, enough: float) -> float | None:
    """More exposure of the candidate, as often too much as too little; None when no exposure is enough."""
    _, n1, _, n0 = state.bake
    known_events, known_exposure = state.terms["known"]
    lately = state.running["pool"] if state.running else (0.0, 0.0)
    events = state.totals[2] + known_events + lately[0]
    beside = state.totals[3] + known_exposure + lately[1]
    base = events / beside if events >= 1 else UNSEEN / beside
    share = 0.0 if state.base == BaselineKind.HISTORY else n1 / (n1 + n0 + known_exposure)
    told = rule_out_information(base, _lift(state), share) / _temper(state, base)
    if told <= 0:
        return None
    more = MEDIAN * max(0.0, enough - state.ruled_out) / told
    if kind in {SignalKind.RATIO, SignalKind.DISTRIBUTION}:
        more = max(more, plan.judging.min_requests - n1)
        if state.bake[0] <= 0:
            more = min(more, SPOTLESS - n1)
    return more


def _lift(state: CheckState) -> float:
    """The harm to rule out, with the drift that is no harm taken off."""
    return max(1.01, float(state.terms["lift"]) / float(state.terms["margin"]))


def _temper(state: CheckState, base: float) -> float:
    """Over-dispersion of a bet of usual size."""
    every = max(1, int(state.terms["every"]))
    blocks = max(1, state.blocks)
    events = base * (state.bake[1] + state.bake[3]) / blocks * every
    return float(tempering(events, state.terms["rho"], state.terms["psi"]))


def _of_levels(plan: Plan, check: CheckSpec, state: CheckState, enough: float) -> str:
    """Levels are compared once a bet, whatever the traffic."""
    terms = state.terms
    usual = abs(state.bake[2] / state.bake[3]) if state.bake[3] > 0 else 0.0
    reach = math.log(terms["lift"]) if terms["relative"] else usual * (terms["lift"] - 1)
    away = (reach - terms["margin"]) / terms["scale"]
    if away <= 0:
        return "nothing would be enough: the level drifts by more than the tolerance without a release"
    told = float(min(ONE_BET, np.log1p(np.tanh(min(away, 1.6) * away)) - 0.0))
    bets = max(1.0, (enough - state.ruled_out) / max(told, 1e-6))
    return f"about {minutes(bets * terms['every'] * plan.block(check))} more of comparison"


def rounded(amount: float) -> str:
    """Two digits are all that such a forecast is worth."""
    if amount < 100:
        return f"{amount:.2g}" if amount < 10 else f"{amount:.0f}"
    digits = math.floor(math.log10(amount)) - 1
    return f"{round(amount, -digits):,.0f}"


def minutes(seconds: float) -> str:
    """A span in one unit, two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{rounded(seconds / 60)} min" if seconds < 5400 else f"{rounded(seconds / 3600)} h"
