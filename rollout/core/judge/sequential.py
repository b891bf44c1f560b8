"""The sequential tests of one check in one region, or of thousands at once: terms, running state, one step.

A step takes one base block. Blocks are gathered into bets of `every` base blocks (the time over which history
is correlated, or over which its incidents last), and one bet is worth at most its cap, so that no single
incident decides. The open bet counts at every look: a capped likelihood ratio that is still being filled is a
supermartingale too (a concave function of a martingale), so looking inside a bet costs nothing.

What must not live here: samples, time, or what history says (calibrate.py settles the terms).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rollout.core.judge import counts, mixture, rates
from rollout.core.judge.mixture import Floats

X1, N1, X0, N0, EXPECTED = range(5)
WIDTH = 5  # of a block: candidate events, exposure, baseline events, exposure, forecast events
SURELY = 1.64  # standard deviations: 5 % of chance
LEVELS = ("level", "step")  # families whose blocks hold levels


@dataclass(frozen=True, slots=True)
class Test:
    """One bet process: its family, whether it bets on a fall, and its part of the check's evidence."""

    family: str  # split | sign | joint | forecast | level | step
    falls: bool
    weight: float

    @property
    def key(self) -> str:
        """Its name in the running state."""
        return f"{self.family}{'-' if self.falls else '+'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is settled before the first block. Arrays have one element for each stream.

    lift: the rise that a pass rules out. horizon: base blocks for which restarts are declared.
    rho, psi: over-dispersion (see counts.py). every: base blocks of one bet. margin: the drift between the
    candidate and what it is compared with that is no harm: a ratio for counts, a difference for levels.
    scale: of the difference of levels, in their unit. known: (events, exposure) of history for `joint`.
    relative: levels are logarithms, and the harm of `lift` is ln(lift) above.
    cap: nats that one bet may be worth, where that is not what its family says.
    """

    tests: tuple[Test, ...]
    lift: float
    horizon: int
    rho: Any = 0.0
    psi: Any = 1.0
    every: Any = 1
    margin: Any = 1.0
    scale: Any = 1.0
    known: tuple[Any, Any] = (0.0, 0.0)
    relative: bool = False
    cap: float = 0.0

    @property
    def family(self) -> str:
        """The family that passes rest on: the first."""
        return self.tests[0].family

    @property
    def sides(self) -> tuple[bool, ...]:
        """On which sides harm is: False for a rise, True for a fall."""
        return tuple(dict.fromkeys(test.falls for test in self.tests))


@dataclass(slots=True)
class Running:
    """What has been accumulated. Leading axes are streams.

    logs: per test, log sums of its bets over closed bets. closed, filled: bets closed, and base blocks in the
    open one. part: sums of the open bet. ever: sums of all, for `joint`. pool: lately usual events and
    exposure, fading. told: log e-value of each test at the last look, for `joint` increments.
    """

    logs: dict[str, Floats]
    closed: Any
    filled: Any
    part: Floats
    ever: Floats
    pool: Floats
    ruled: Floats
    rule_logs: Floats = field(default_factory=lambda: np.zeros(0))


_BETS: Mapping[str, tuple[Floats, Floats, float]] = {
    "split": (counts.RISES, counts.RISE_WEIGHTS, counts.CAP),
    "sign": (counts.SHIFTS, counts.SHIFT_WEIGHTS, counts.CAP),
    "joint": (rates.RISES, rates.RISE_WEIGHTS, rates.CAP),
    "forecast": (rates.RISES, rates.RISE_WEIGHTS, counts.CAP),
    "level": (counts.SHIFTS, counts.SHIFT_WEIGHTS, counts.CAP),
    "step": (counts.STEPS, counts.STEP_WEIGHTS, counts.CAP),
}


def begin(terms: Terms, streams: tuple[int, ...] = (), pool: Any = (0.0, 0.0)) -> Running:
    """The state before the first block."""
    zeros = np.zeros((*streams, WIDTH))
    return Running(
        logs={test.key: mixture.start(streams, len(_BETS[test.family][0])) for test in terms.tests},
        closed=np.zeros(streams, dtype=np.int64),
        filled=np.zeros(streams, dtype=np.int64),
        part=zeros,
        ever=zeros.copy(),
        pool=np.broadcast_to(np.asarray(pool, dtype=np.float64), (*streams, 2)).copy(),
        ruled=np.zeros((*streams, len(terms.sides))),
        rule_logs=np.zeros((*streams, len(terms.sides), len(counts.SHIFTS))),
    )


def forget_passes(terms: Terms, running: Running) -> None:
    """What spoke for a pass starts anew; evidence of harm stays, and the open bet is closed for it."""
    open_ = running.filled > 0
    if np.any(open_):
        _close(terms, running, open_)
    running.ruled = np.zeros_like(running.ruled)
    running.rule_logs = np.zeros_like(running.rule_logs)


def step(terms: Terms, running: Running, block: Floats) -> None:
    """Take in one base block of shape [..., WIDTH]; close the bet where it is full."""
    running.part = running.part + block
    running.filled = running.filled + 1
    full = running.filled >= np.asarray(terms.every)
    if np.any(full):
        _close(terms, running, full)


def _close(terms: Terms, running: Running, full: Any) -> None:
    every = np.maximum(np.asarray(terms.every), 1)
    blocks = np.maximum(terms.horizon // every, 1)
    for test in terms.tests:
        factors = np.minimum(_factors(terms, running, test), terms.cap or _BETS[test.family][2])
        after = mixture.bet(running.logs[test.key], running.closed, factors, blocks)
        running.logs[test.key] = np.where(full[..., None], after, running.logs[test.key])
    _close_pass(terms, running, full)
    events = running.part[..., X1] + running.part[..., X0]
    exposure = running.part[..., N1] + running.part[..., N0]
    fresh = counts.MEMORY * running.pool + np.stack([events, exposure], axis=-1)
    running.pool = np.where((full & (exposure > 0))[..., None], fresh, running.pool)
    running.ever = np.where(full[..., None], running.ever + running.part, running.ever)
    running.part = np.where(full[..., None], 0.0, running.part)
    running.closed = running.closed + full
    running.filled = np.where(full, 0, running.filled)


def log_e(terms: Terms, running: Running) -> Floats:
    """The log e-value against "no harm" of every stream, the open bet included."""
    values = [_value(terms, running, test) for test in terms.tests]
    if len(values) == 1:
        return values[0]
    weights = np.array([test.weight for test in terms.tests])
    return mixture.log_mean(np.stack(values, axis=-1), weights)


def _value(terms: Terms, running: Running, test: Test) -> Floats:
    _, weights, usual_cap = _BETS[test.family]
    cap = terms.cap or usual_cap
    open_ = running.filled > 0
    logs = running.logs[test.key]
    if np.any(open_) and test.family != "sign":
        factors = np.where(open_[..., None], np.minimum(_factors(terms, running, test), cap), 0.0)
        logs = mixture.bet(logs, np.where(open_, running.closed, 0), factors, _blocks(terms))
        started = running.closed + open_
    else:
        started = running.closed
    return mixture.log_e(logs, weights, started, _blocks(terms))


def _blocks(terms: Terms) -> Any:
    return np.maximum(terms.horizon // np.maximum(np.asarray(terms.every), 1), 1)


def _factors(terms: Terms, running: Running, test: Test) -> Floats:
    """Log factors of the open bet, uncapped, one for each bet of the test."""
    part = running.part
    if test.family == "level":
        return counts.shift_logs(_shift(terms, part, test.falls))
    if test.family == "step":
        return counts.student_logs(_shift(terms, part, test.falls))
    if test.family == "forecast":
        expected = part[..., EXPECTED] * (1 / terms.margin if test.falls else terms.margin)
        tempered = counts.tempering(expected, terms.rho, terms.psi)
        return rates.forecast_logs(part[..., X1], expected, tempered, falls=test.falls)
    if test.family == "joint":
        before, after = (
            _known(terms, running.ever, test.falls),
            _known(terms, running.ever + part, test.falls),
        )
        rise = rates.joint_logs(*after, falls=test.falls) - rates.joint_logs(*before, falls=test.falls)
        tempered_rise: Floats = rise / np.asarray(terms.psi)[..., None]
        return tempered_rise
    arms = _arms(terms, part, falls=test.falls)
    if test.family == "split":
        return counts.split_logs(*arms, _temper(terms, running))
    signs: Floats = counts.sign_logs(*arms, _usual(running), terms.rho) / np.asarray(terms.psi)[..., None]
    return signs


def _usual(running: Running) -> Floats:
    """Events per exposure, and half an event more, of the bets before; 0 before there were any."""
    events, exposure = running.pool[..., 0], running.pool[..., 1]
    rate: Floats = np.where(exposure > 0, (events + 0.5) / np.maximum(exposure, 1e-100), 0.0)
    return rate


def _temper(terms: Terms, running: Running) -> Floats:
    """Tempering by the events that were to be expected, or by more where BOTH arms show more.

    By the events themselves, bets would count for more just where the larger arm is quiet by chance, which is
    where the share of the other is high.
    """
    return counts.tempering(counts.ambient(running.part, _usual(running)), terms.rho, terms.psi)


def _arms(terms: Terms, part: Floats, *, falls: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """The arm that would have more events first; the drift that is no harm widens its exposure."""
    x1, n1, x0, n0 = (part[..., place] for place in (X1, N1, X0, N0))
    if falls:
        return x0, n0 * terms.margin, x1, n1
    return x1, n1 * terms.margin, x0, n0


def _known(
    terms: Terms, ever: Floats, falls: bool, surely: bool = False
) -> tuple[Floats, Floats, Floats, Floats]:
    """Events and exposure of the candidate, and of the baseline with its history.

    History is left out once the baseline beside is further on the side of harm than history lets expect: what
    both share is no harm of the candidate's. For a pass it is left out on either side (`surely`).
    """
    events, exposure = (
        np.asarray(terms.known[0], dtype=np.float64),
        np.asarray(terms.known[1], dtype=np.float64),
    )
    due = ever[..., N0] * events / np.maximum(exposure, 1e-300)
    beyond = (due - ever[..., X0]) if falls else (ever[..., X0] - due)
    beyond = np.abs(beyond) if surely else beyond
    believed = beyond <= SURELY * np.sqrt(due) + 0.5
    return (
        ever[..., X1],
        ever[..., N1],
        ever[..., X0] + np.where(believed, events, 0.5),
        ever[..., N0] + np.where(believed, exposure, 0.0),
    )


def _shift(terms: Terms, part: Floats, falls: bool) -> Floats:
    """How far the candidate's level is on the side of harm, beyond the margin, in standard deviations."""
    told = (part[..., N1] > 0) & (part[..., N0] > 0)
    n1, n0 = np.where(told, part[..., N1], 1.0), np.where(told, part[..., N0], 1.0)
    gap = part[..., X1] / n1 - part[..., X0] / n0
    beyond = (-gap if falls else gap) - terms.margin
    shift: Floats = np.where(told, beyond / terms.scale, 0.0)
    return shift


# --------------------------------------------------------------------- what speaks for a pass


def ruled_out(terms: Terms, running: Running) -> Floats:
    """Nats against harm of the tolerance, of closed bets and the open one; the least of its sides."""
    if terms.family in LEVELS:
        least: Floats = mixture.log_mean(running.rule_logs, counts.SHIFT_WEIGHTS).min(axis=-1)
        return least
    open_ = (running.filled > 0)[..., None]
    fresh = np.where(open_, np.minimum(_rule_out(terms, running), counts.CAP), 0.0)
    lowest: Floats = np.minimum(running.ruled + fresh, counts.RULED_OUT_MOST).min(axis=-1)
    return lowest


def _close_pass(terms: Terms, running: Running, full: Any) -> None:
    if terms.family in LEVELS:
        kept = np.clip(running.rule_logs + _rule_shift(terms, running.part), -mixture.FAR, mixture.FAR)
        above = np.maximum(mixture.log_mean(kept, counts.SHIFT_WEIGHTS) - counts.RULED_OUT_MOST, 0.0)
        running.rule_logs = np.where(full[..., None, None], kept - above[..., None], running.rule_logs)
        return
    total = running.ruled + np.minimum(_rule_out(terms, running), counts.CAP)
    kept = np.clip(total, -mixture.FAR, counts.RULED_OUT_MOST)
    running.ruled = np.where(full[..., None], kept, running.ruled)


def _rule_shift(terms: Terms, part: Floats) -> Floats:
    """Log factors of "the level is on the good side of harm", [..., sides, bets]."""
    told = (part[..., N1] > 0) & (part[..., N0] > 0)
    usual = np.abs(part[..., X0] / np.where(told, part[..., N0], 1.0))
    found = []
    for falls in terms.sides:
        away = usual * (1 - 1 / terms.lift if falls else terms.lift - 1)
        reach = math.log(terms.lift) if terms.relative else away
        shift = _shift(terms, part, falls) + (2 * terms.margin - reach) / terms.scale
        found.append(np.where(told[..., None], counts.shift_logs(-shift), 0.0))
    return np.stack(found, axis=-2)


def _rule_out(terms: Terms, running: Running) -> Floats:
    """Log factors of the open bet for "no harm" against harm of the tolerance, [..., sides]."""
    return np.stack([_rule_out_side(terms, running, falls) for falls in terms.sides], axis=-1)


def _rule_out_side(terms: Terms, running: Running, falls: bool) -> Floats:
    part, lift = running.part, terms.lift
    if terms.family == "forecast":
        expected = part[..., EXPECTED]
        tempered = counts.tempering(expected, terms.rho, terms.psi)
        beyond = np.maximum(lift / terms.margin, 1.0)  # drift as large as the tolerance: nothing is ruled out
        expected = expected * (terms.margin if falls else 1 / terms.margin)
        times = 1 / beyond if falls else beyond
        return rates.forecast_rule_out_logs(part[..., X1], expected, times, tempered)
    if terms.family == "joint":
        times = 1 / lift if falls else lift
        both = {"falls": falls, "surely": True}
        before, after = _known(terms, running.ever, **both), _known(terms, running.ever + part, **both)
        rise = rates.joint_rule_out_logs(*after, times) - rates.joint_rule_out_logs(*before, times)
        lowered: Floats = rise / terms.psi
        return lowered
    x1, n1, x0, n0 = _arms(terms, part, falls=falls)
    beyond = np.maximum(lift / np.asarray(terms.margin), 1.0)
    return counts.rule_out_logs(x1, n1 / terms.margin, x0, n0, beyond, _temper(terms, running))
